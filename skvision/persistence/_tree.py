"""Nested data as what JSON has, and tensors beside it."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skvision.exceptions import FormatError

# Key of the objects that stand for what JSON does not have.
_TAG = "$"
# NumPy evaluates other descriptions of types.
_DTYPE = r"bool|object|u?int\d{1,2}|float\d{2,3}|[<>]?(?:[iuf]\d{1,2}|U\d{1,9})"
_MOST_ODD_KEYS = 100
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


@dataclass(frozen=True)
class Name:
    """What stands in a file for a class or a function."""

    name: str


@dataclass(frozen=True)
class Made:
    """What stands in a file for an object: its class and what it is made with."""

    name: str
    params: dict[str, Any]


def shown(value: Any) -> str:
    """Return a value on one line, as errors name it."""
    # A value's whole repr would take as long as it likes.
    return " ".join(_SHORT.repr(value).split())


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
        _check_keys(value)
        pairs = [[encode(k, tensors), encode(v, tensors)] for k, v in value.items()]
        return _tagged("dict", pairs)
    if isinstance(value, list):
        return [encode(item, tensors) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        if not isinstance(value, tuple):
            _check_keys(value)
        kind = "tuple" if isinstance(value, tuple) else type(value).__name__
        return _tagged(kind, [encode(item, tensors) for item in value])
    raise TypeError(f"{type(value).__name__} is no plain data")


def decode(value: Any, tensors: dict[str, torch.Tensor], room: int = 2**25) -> Any:
    """Return what `encode` was given.

    Parameters
    ----------
    value : object
        Is changed in place, since it may be large.
    tensors : dict of torch.Tensor
        Each is taken out where it is named, and can be named once: a small file must
        not stand for many large tensors.
    room : int, default=2**25
        Bytes that arrays of strings may take more than a few for each character. All
        strings of an array are as long as its longest.

    Raises
    ------
    FormatError
        If the value is anything but the work of `encode`.
    """
    try:
        return _Decoder(tensors, room).decode(value)
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


def _check_keys(keys: Collection[Any]) -> None:
    if not _spread_out(keys):
        raise TypeError(
            f"more than {_MOST_ODD_KEYS} keys that are neither str nor small int are "
            "no plain data"
        )


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


class _Decoder:
    """Makes nested data of what JSON has."""

    def __init__(self, tensors: dict[str, torch.Tensor], room: int) -> None:
        self.tensors = tensors
        self.room = room

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            for i, item in enumerate(value):
                value[i] = self.decode(item)
            return value
        if not isinstance(value, dict):
            return value
        if _TAG not in value:
            for key, item in value.items():
                value[key] = self.decode(item)
            return value
        tag, content = value[_TAG], value["value"]
        if tag == "float":
            if content not in ("nan", "inf", "-inf"):
                raise FormatError(f"The file has {content!r} in the place of a float.")
            return float(content)
        if tag == "tensor":
            return self.tensors.pop(content)
        if tag == "array":
            return self._array(*content)
        if tag == "device":
            return torch.device(content)
        if tag == "name":
            return Name(str(content))
        if tag == "made":
            name, params = content
            return Made(str(name), dict(self.decode(params)))
        return self._collection(tag, content)

    def _collection(self, tag: Any, content: Any) -> Any:
        kinds = {"dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset}
        if not isinstance(content, list) or tag not in kinds:
            raise FormatError(f"The file has a part of an unknown kind, {tag!r}.")
        items = self.decode(content)
        if tag != "tuple":
            keys = [key for key, _ in items] if tag == "dict" else items
            if not _spread_out(keys):
                raise FormatError(f"The file has a {tag} of too many odd keys.")
        return kinds[tag](items)

    def _array(self, dtype: str, shape: list[int], items: list[Any]) -> np.ndarray:
        """Return an array that a file describes, no larger than the file allows."""
        if not re.fullmatch(_DTYPE, dtype):
            raise FormatError(f"The file has an array of dtype {dtype!r}.")
        kind = np.dtype(dtype)
        if kind.kind in "UO" and not all(isinstance(item, str) for item in items):
            raise FormatError("The file has an array of other things than str.")
        if kind.kind == "U":
            self.room -= kind.itemsize * len(items) - 8 * sum(map(len, items))
            if self.room < 0:
                raise FormatError("The file has arrays of strings of odd lengths.")
        if kind.kind in "biuf":
            items = [float(item) if isinstance(item, str) else item for item in items]
        return np.array(items, dtype=kind).reshape(shape)


def _spread_out(keys: Collection[Any]) -> bool:
    """Whether keys can be told apart fast, whoever has chosen them.

    Numbers and tuples can be chosen so that all of them have one hash.
    """
    return len(keys) <= _MOST_ODD_KEYS or all(
        isinstance(key, str) or (type(key) is int and abs(key) < 2**60) for key in keys
    )
