"""Outputs of networks that stay as they are, in files that several fits share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from skvision._warnings import warn
from skvision.persistence._atomic import write_atomically

_SUFFIX = ".features"
#: Bytes of what images are called.
NAME_SIZE = 16


class FeatureStore:
    """What one network makes of images, by their names, in a folder.

    A file holds an array of names and one of features, as NumPy's ``.npy`` files do, of
    numbers alone. It is there as a whole or not at all, and does not change, so that
    several processes may read and write at once.

    Parameters
    ----------
    folder : str or path-like
        It is made when something is written.
    network : str
        Name of the network with all that happens to images before it.
    """

    def __init__(self, folder: str | os.PathLike[str], network: str) -> None:
        self.folder = Path(folder) / network
        self._read: set[str] = set()
        self._parts: list[np.ndarray] = []
        self._places: dict[bytes, tuple[int, int]] = {}

    def take(self, names: Sequence[bytes], out: np.ndarray) -> np.ndarray:
        """Put the features that are known into `out`, and return the other rows.

        Parameters
        ----------
        names : sequence of bytes
            Of the images.
        out : ndarray of shape (len(names), ...)
            Of the shape and the type that the network's outputs have.

        Returns
        -------
        missing : ndarray of int
            Numbers of rows whose features are not there.
        """
        self._look()
        places = [self._places.get(name) for name in names]
        by_part: dict[int, list[int]] = {}
        for row, place in enumerate(places):
            if place is not None and self._fits(place[0], out):
                by_part.setdefault(place[0], []).append(row)
            else:
                by_part.setdefault(-1, []).append(row)
        for number, rows in by_part.items():
            if number >= 0:
                inner = [places[row][1] for row in rows]  # type: ignore[index]
                out[rows] = self._parts[number][inner]
        return np.array(by_part.get(-1, []), dtype=np.intp)

    def put(self, names: Sequence[bytes], features: np.ndarray) -> None:
        """Keep the features of some images.

        Raises
        ------
        OSError
            If there is no space, or no permission.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        table = np.frombuffer(b"".join(names), np.uint8).reshape(-1, NAME_SIZE)

        def write(file: BinaryIO) -> None:
            for array in (table, features):
                np.lib.format.write_array(file, array, allow_pickle=False)

        write_atomically(self.folder / (secrets.token_hex(8) + _SUFFIX), write)

    def _fits(self, number: int, out: np.ndarray) -> bool:
        part = self._parts[number]
        return part.shape[1:] == out.shape[1:] and part.dtype == out.dtype

    def _look(self) -> None:
        """Open the files that are new; those that are damaged count as missing."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("*" + _SUFFIX)):
            if path.name in self._read:
                continue
            self._read.add(path.name)
            try:
                names, features = _opened(path)
            except (OSError, ValueError) as error:
                warn(
                    f"feature_cache: the file {str(path)!r} is left out, and its "
                    f"features are made again, since it is damaged: {error}."
                )
                continue
            for row, name in enumerate(names):
                self._places.setdefault(name.tobytes(), (len(self._parts), row))
            self._parts.append(features)


def _opened(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the names in a file, and its features as a memory map.

    Raises
    ------
    OSError, ValueError
        If it is not what it should be.
    """
    with open(path, "rb") as file:
        names = np.lib.format.read_array(file, allow_pickle=False)
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"its second array has the format {version}")
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if names.dtype != np.uint8 or names.shape != (shape[0], NAME_SIZE):
        raise ValueError("its names are not those of its features")
    if dtype.kind != "f" or in_columns:
        raise ValueError(f"its features are of the type {dtype}")
    if path.stat().st_size != start + int(np.prod(shape)) * dtype.itemsize:
        raise ValueError("it ends too early or too late")
    return names, np.memmap(path, dtype, mode="r", offset=start, shape=shape)
