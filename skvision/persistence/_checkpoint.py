"""Files from which an interrupted fit goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skvision._warnings import warn
from skvision.exceptions import FormatError
from skvision.persistence._format import read_file, write_file
from skvision.persistence._tree import encode

__all__ = [
    "read_checkpoint",
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


def storable(value: Any) -> bool:
    """Whether a checkpoint can hold a value."""
    try:
        encode(value, {})
    except TypeError:
        return False
    return True
