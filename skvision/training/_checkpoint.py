"""Files from which an interrupted fit goes on."""

from __future__ import annotations

import functools
import os
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn

from skvision._warnings import warn
from skvision.exceptions import FormatError

__all__ = [
    "fingerprint",
    "random_states",
    "read_checkpoint",
    "set_random_states",
    "storable",
    "write_checkpoint",
]


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

    At every moment the file is the old one or the new one, whole. A training that
    has run for hours does not end for want of a few megabytes of disk.
    """
    handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.stem, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write as a RuntimeError.
        if handle is not None:
            Path(name).unlink(missing_ok=True)
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
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FormatError(
            f"The checkpoint {str(path)!r} cannot be read: {error}. Remove it to train "
            "from the beginning."
        ) from error


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators, as plain data."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
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
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def storable(value: Any) -> Any:
    """Return numbers, strings, tensors and containers of them as plain data.

    Raises
    ------
    TypeError
        If there is anything else.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(storable(item) for item in value)
    raise TypeError(f"{type(value).__name__} is no plain data.")


def _comparable(value: Any) -> Any:
    # joblib hashes what pickle writes, and that of a tensor holds its address.
    if isinstance(value, torch.Tensor):
        return ("tensor", value.detach().cpu().numpy())
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


def _name(value):
    return f"{value.__module__}.{value.__qualname__}"
