"""Memory maps that other processes open anew instead of getting their contents."""

from __future__ import annotations

import mmap
import os
from typing import Any, NamedTuple

import numpy as np


class MapReference(NamedTuple):
    """Where the values of an array lie in a file."""

    path: str
    size: int
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def open(self) -> np.ndarray:
        """Return the array, read-only.

        Raises
        ------
        OSError
            If the file is not there, or is another one by its length.
        """
        if not os.path.exists(self.path):
            raise FileNotFoundError(
                f"The memory map {self.path!r} is not there: all processes that share "
                "its images, also on other machines, need the file at the same place."
            )
        size = os.path.getsize(self.path)
        if size != self.size:
            raise OSError(
                f"The memory map {self.path!r} has {size} bytes, but had {self.size} "
                "where it comes from."
            )
        return np.memmap(
            self.path, mode="r", offset=self.offset, dtype=self.dtype, shape=self.shape
        )


def reference_to(array: Any) -> MapReference | None:
    """Return where an array lies in a file, None if it does not or may be changed.

    Changes of a map that is opened for copying on writing are nowhere but in memory.
    """
    root = array
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    if (
        not isinstance(root, np.memmap)
        or root.filename is None
        or root.mode == "c"
        or not array.flags.c_contiguous
    ):
        return None
    root.flush()
    address = array.__array_interface__["data"][0]
    offset = root.offset + address - root.__array_interface__["data"][0]
    path = os.path.abspath(root.filename)
    size = os.path.getsize(path) if os.path.exists(path) else -1
    return MapReference(path, size, offset, array.dtype, array.shape)
