"""Files from which an interrupted fit goes on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skvision._warnings import warn
from skvision.exceptions import FormatError
from skvision.persistence._format import read_file, write_file
from skvision.persistence._objects import check_numpy_state
from skvision.persistence._tree import encode

__all__ = [
    "random_states",
    "read_checkpoint",
    "set_random_states",
    "storable",
    "write_checkpoint",
]

_KIND = "checkpoint"


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
    np.random.set_state(check_numpy_state((kind, keys, *rest)))
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
