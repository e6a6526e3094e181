"""Files from which an interrupted fit goes on."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn

from skvision._warnings import warn
from skvision.datasets._readers import ArrayReader
from skvision.datasets._sequence import ImageSequence
from skvision.exceptions import FormatError
from skvision.storage._format import read_file, write_file
from skvision.storage._tree import encode

__all__ = [
    "fingerprint",
    "random_states",
    "read_checkpoint",
    "set_random_states",
    "storable",
    "write_checkpoint",
]

_KIND = "checkpoint"
_IMAGES_AT_ONCE = 1024


def fingerprint(*parts: Any) -> str:
    """Return a name for parameters and data that are equal, in any process.

    Parameters
    ----------
    *parts : object
        Parameters, arrays, tensors, networks and containers of them.

    Returns
    -------
    name : str of 32 hexadecimal digits
    """
    return joblib.hash(_comparable(parts))


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace a checkpoint in one step, or leave the old one and warn.

    A training that has run for hours does not end for want of a few megabytes of disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, _KIND, state)
    except OSError as error:
        warn(
            f"The checkpoint {str(path)!r} could not be written: {error}. Training "
            "goes on; the last checkpoint that was written is kept.",
        )


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state in a checkpoint, or None where there is no such file.

    Raises
    ------
    FormatError
        If the file is damaged. No code in it is run.
    """
    if not path.exists():
        return None
    try:
        return read_file(path, _KIND)
    except FormatError as error:
        raise FormatError(f"{error} Remove it to train from the beginning.") from error


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators, as plain data."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put the global generators into states that `random_states` returned."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys, *rest))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def storable(value: Any) -> bool:
    """Whether a checkpoint can hold a value."""
    try:
        encode(value, {})
    except TypeError:
        return False
    return True


def _comparable(value: Any) -> Any:
    # joblib hashes what pickle writes, and that of a tensor holds its address.
    if isinstance(value, torch.Tensor):
        return ("tensor", value.detach().cpu().numpy())
    if isinstance(value, ImageSequence) and isinstance(value.reader, ArrayReader):
        # In whatever array they lie, alone or among others.
        return ("images", value.shape, value.flat, value.steps, _content_of(value))
    if isinstance(value, nn.Module):
        return (_name(type(value)), repr(value), _comparable(value.state_dict()))
    if isinstance(value, Mapping):
        return {key: _comparable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [_comparable(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return ("set", sorted((_comparable(item) for item in value), key=repr))
    if isinstance(value, functools.partial):
        return ("partial", _comparable([value.func, value.args, value.keywords]))
    if isinstance(value, (type, np.ufunc)) or hasattr(value, "__code__"):
        code = getattr(value, "__code__", None)
        return (_name(value), code and (code.co_code, repr(code.co_consts)))
    if hasattr(value, "get_params"):
        network = getattr(value, "module_", None)
        return (_name(type(value)), _comparable([value.get_params(), network]))
    if isinstance(value, np.random.RandomState):
        return _comparable(value.get_state())
    if isinstance(value, torch.device):
        return str(value)
    if hasattr(value, "__dict__") and not isinstance(value, np.ndarray):
        return (_name(type(value)), _comparable(vars(value)))
    return value


def _content_of(images: ImageSequence) -> str:
    """Return a digest of all values."""
    digest = hashlib.sha256()
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = images.read_stored(slice(start, start + _IMAGES_AT_ONCE))
        digest.update(str(part.dtype).encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def _name(value):
    return f"{value.__module__}.{value.__qualname__}"
