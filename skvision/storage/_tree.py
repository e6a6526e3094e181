"""Nested data as what JSON has, and tensors beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skvision.exceptions import FormatError

__all__ = ["Made", "Name", "decode", "encode"]

# Key of the objects that stand for what JSON does not have.
_TAG = "$"


@dataclass(frozen=True)
class Name:
    """What stands in a file for a class or a function."""

    name: str


@dataclass(frozen=True)
class Made:
    """What stands in a file for an object: its class and what it is made with."""

    name: str
    params: dict[str, Any]


def encode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return nested data as what JSON has.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, NumPy scalars and arrays, tensors, devices, `Name`
        and `Made`, and lists, tuples, sets and dictionaries of them.
    tensors : dict
        Tensors are put here, under the names by which the result refers to them.

    Raises
    ------
    TypeError
        If there is anything else; the message names its type.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if isinstance(value, torch.Tensor):
        name = f"tensor {len(tensors)}"
        tensors[name] = value.detach().cpu()
        return _tagged("tensor", name)
    if isinstance(value, np.ndarray):
        return _tagged("array", [str(value.dtype), list(value.shape), _items(value)])
    if isinstance(value, torch.device):
        return _tagged("device", str(value))
    if isinstance(value, Name):
        return _tagged("name", value.name)
    if isinstance(value, Made):
        return _tagged("made", [value.name, encode(value.params, tensors)])
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key != _TAG for key in value):
            return {key: encode(item, tensors) for key, item in value.items()}
        pairs = [[encode(k, tensors), encode(v, tensors)] for k, v in value.items()]
        return _tagged("dict", pairs)
    if isinstance(value, list):
        return [encode(item, tensors) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        kind = "tuple" if isinstance(value, tuple) else type(value).__name__
        return _tagged(kind, [encode(item, tensors) for item in value])
    raise TypeError(f"{type(value).__name__} is no plain data")


def decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Return what `encode` was given.

    Raises
    ------
    FormatError
        If the value is anything but the work of `encode`.
    """
    try:
        return _decode(value, tensors)
    except FormatError:
        raise
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise FormatError(f"The file's description is damaged: {error!r}.") from error


def _items(array: np.ndarray) -> list[Any]:
    if array.dtype.kind not in "biufUO":
        raise TypeError(f"an array of dtype {array.dtype} is no plain data")
    items: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "O" and not all(isinstance(item, str) for item in items):
        raise TypeError("an array of objects that are not str is no plain data")
    if array.dtype.kind == "f":
        items = [item if math.isfinite(item) else repr(item) for item in items]
    return items


def _tagged(tag: str, value: Any) -> dict[str, Any]:
    return {_TAG: tag, "value": value}


def _decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TAG not in value:
        return {key: _decode(item, tensors) for key, item in value.items()}
    tag, content = value[_TAG], value["value"]
    if tag == "float":
        if content not in ("nan", "inf", "-inf"):
            raise FormatError(f"The file has {content!r} in the place of a float.")
        return float(content)
    if tag == "tensor":
        return tensors[content]
    if tag == "array":
        return _array(*content)
    if tag == "device":
        return torch.device(content)
    if tag == "name":
        return Name(str(content))
    if tag == "made":
        name, params = content
        return Made(str(name), dict(_decode(params, tensors)))
    kinds = {"dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset}
    if not isinstance(content, list) or tag not in kinds:
        raise FormatError(f"The file has a part of an unknown kind, {tag!r}.")
    return kinds[tag](_decode(content, tensors))


def _array(dtype: str, shape: list[int], items: list[Any]) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind not in "biufUO":
        raise FormatError(f"The file has an array of dtype {dtype!r}.")
    if kind.kind in "UO" and not all(isinstance(item, str) for item in items):
        raise FormatError("The file has an array of other things than str.")
    if kind.kind == "U" and kind.itemsize > 4 * max(map(len, items), default=1):
        # Else a few bytes could ask for any amount of memory.
        raise FormatError(f"The file has short strings in an array of dtype {dtype!r}.")
    if kind.kind in "biuf":
        items = [float(item) if isinstance(item, str) else item for item in items]
    return np.array(items, dtype=kind).reshape(shape)
