"""Decoded images in a folder, for later epochs, fits and processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import zlib
from typing import Any

import numpy as np
import torch

from skvision._identity import library_version
from skvision._warnings import warn
from skvision.images._files import File, name_of

# What is done to the pixels of files between their decoder and the resize; another
# number makes all images anew.
_VERSION = 1
_MAGIC = b"SKVI\x00\x01\r\n"
# Depth of the file, channels, height and width, and a checksum of the pixels.
_HEAD = struct.Struct("<8sIIIII")
#: Depths of files, and the types in which their pixels are handed to networks.
_DEPTHS: dict[int, np.dtype[Any]] = {8: np.dtype("<u1"), 16: np.dtype("<i4")}


class ImageFolder:
    """Images of files as they are handed on, each in a file of its own.

    The name of that is made of the image file (path, size, time of its last change, or
    the bytes that were given) and of all that decides about pixels. It is put into
    place in one step when it is complete, so that processes can share the folder and
    none waits for another; at worst, two of them decode the same image.

    Parameters
    ----------
    folder : str or path-like
        It is made if it is not there.
    *settings : object
        What the pixels depend on beside the file and the versions of libraries; their
        representations are compared.

    Raises
    ------
    OSError
        If there is no such folder, and it cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], *settings: Any) -> None:
        self.folder = os.path.abspath(folder)
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"image_cache={os.fspath(folder)!r} cannot be made a folder: {error}. "
                "Give the path of one that is there, or can be made."
            ) from error
        facts = _VERSION, library_version("PIL"), library_version("torch"), *settings
        self.settings = hashlib.sha256(repr(facts).encode()).digest()
        self._writes = True

    def place_of(self, path: File) -> str | None:
        """Return where the image of a file is kept, None for one that is not there."""
        digest = hashlib.sha256(self.settings)
        if isinstance(path, bytes):
            digest.update(b"bytes\x00" + path)
        else:
            try:
                found = os.stat(path)
            except OSError:
                return None  # Who decodes it will tell what is wrong.
            facts = f"{found.st_size} {found.st_mtime_ns} {os.path.abspath(path)}"
            digest.update(b"path\x00" + os.fsencode(facts))
        name = digest.hexdigest()
        return os.path.join(self.folder, name[:2], f"{name[2:]}.pixels")

    def has(self, path: File) -> bool:
        """Whether the image of a file is kept, damaged or not."""
        place = self.place_of(path)
        return place is not None and os.path.exists(place)

    def read(self, place: str) -> tuple[torch.Tensor, np.dtype] | None:
        """Return an image of shape (C, H, W) and the type of its file, if it is kept.

        A damaged one is as good as none, but for a warning.
        """
        try:
            with open(place, "rb") as file:
                content = bytearray(os.fstat(file.fileno()).st_size)
                file.readinto(content)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn_of_damage(place, str(error))
            return None
        try:
            magic, depth, *shape, checksum = _HEAD.unpack_from(content)
            pixels: np.ndarray = np.frombuffer(
                content, _DEPTHS[depth], offset=_HEAD.size
            ).reshape(shape)
        except (struct.error, KeyError, ValueError) as error:
            self._warn_of_damage(place, str(error))
            return None
        if magic != _MAGIC or checksum != zlib.crc32(pixels.data):
            self._warn_of_damage(place, "it does not have the pixels that it had")
            return None
        return torch.from_numpy(pixels), np.dtype(f"u{depth // 8}")

    def keep(self, place: str, image: torch.Tensor, dtype: np.dtype) -> None:
        """Keep an image of shape (C, H, W), whose file has some type.

        Only 8 and 16 bits are kept. Where the folder takes no more, nothing is.
        """
        depth = 8 * dtype.itemsize
        pixels = np.ascontiguousarray(image.numpy())
        if not self._writes or dtype.kind != "u" or _DEPTHS.get(depth) != pixels.dtype:
            return
        head = _HEAD.pack(_MAGIC, depth, *pixels.shape, zlib.crc32(pixels.data))
        name = None
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            handle, name = tempfile.mkstemp(dir=os.path.dirname(place), suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                file.write(head)
                file.write(pixels.data)
            os.replace(name, place)
        except OSError as error:
            self._writes = False
            warn(
                f"image_cache={self.folder!r} takes no more images, which are decoded "
                f"each time that they are needed: {error}. Choose a folder with space "
                "that may be written to.",
            )
        finally:
            if name is not None:
                with contextlib.suppress(OSError):
                    os.unlink(name)  # Of one that did not get into its place.

    def _warn_of_damage(self, place: str, what: str) -> None:
        warn(
            f"A file of image_cache, {name_of(place)!r}, cannot be read ({what}); its "
            "image is decoded again.",
        )
