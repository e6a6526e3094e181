"""Images that are decoded once and kept in a file."""

from __future__ import annotations

import errno
import functools
import math
import mmap
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import IO, Any, Literal

import numpy as np
import torch

#: Size of the pixels up to which they are kept if the user does not say so.
MAX_BYTES = 2 << 30

# Looking at some images is not worth a file.
_FEW = 16


class PixelCache:
    """Pixels of images, each kept from when it is first asked for.

    They lie in a file without a name in the folder of `tempfile`, which goes with the
    object. It is mapped as shared memory: the system can write it out and take the
    memory back, and worker processes fill it together, but on Windows. Pickles and
    copies begin anew.

    Parameters
    ----------
    shape : tuple of int
        (n, channels, height, width).
    dtype : numpy.dtype
    cache : {"auto", True, False}, default="auto"
        "auto" keeps up to `MAX_BYTES`, and takes no more than half of the free space;
        True keeps all, or raises an error.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        cache: bool | Literal["auto"] = "auto",
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.cache = cache
        self.enabled = self.nbytes > 0 and (self._fits() if cache == "auto" else cache)
        #: Pixels, and which images have been read.
        self._kept: tuple[np.ndarray, np.ndarray] | None = None
        self._fd = -1
        self._n_single = 0
        if self.enabled:
            _open_before_forks()
            _unopened.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.shape, self.dtype, self.cache)
        if get_spawning_popen() is None or sys.platform == "win32":
            return type(self), arguments
        # A worker process is on its way that is not forked; it gets the file as well.
        with suppress(OSError):
            self.open()
        if self._kept is None:
            return type(self), arguments
        return _attach, (*arguments, reduction.DupFd(self._fd))

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return math.prod(self.shape) * self.dtype.itemsize

    def take(
        self, rows: np.ndarray, images: Callable[[np.ndarray], Iterable[torch.Tensor]]
    ) -> np.ndarray | None:
        """Return the pixels of some rows as a new array, or None without a file.

        Parameters
        ----------
        rows : ndarray of int
        images : callable
            Gives the images of rows that are not kept yet.
        """
        if self._kept is None and self.enabled:
            self._n_single += len(rows) == 1
            if len(rows) > 1 or self._n_single > _FEW:
                self.open()
        if (kept := self._kept) is None:
            return None
        # Those of one file, also if another thread opens one meanwhile.
        pixels, filled = kept
        missing = np.unique(rows[~filled[rows]])
        for row, image in zip(missing, images(missing), strict=True):
            pixels[row] = image.numpy()
            filled[row] = True
        return pixels.take(rows, axis=0)

    def open(self) -> None:
        """Make the file; with "auto", do without where that fails.

        Raises
        ------
        OSError
            If `cache` is True and there is no space.
        """
        if not self.enabled or self._kept is not None:
            return
        try:
            if self.cache == "auto" and not self._fits():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with tempfile.TemporaryFile(prefix="skvision-") as file:
                _reserve(file, self.nbytes + self.shape[0])
                self.map(os.dup(file.fileno()))
        except OSError as error:
            if self.cache == "auto":
                self.enabled = False
                _unopened.discard(self)
                return
            raise OSError(
                error.errno,
                f"cache=True needs {self.nbytes / 1e9:.3g} GB in the folder for "
                f"temporary files ({error}). Let the environment variable TMPDIR name "
                "a folder with more space, or set cache='auto'.",
            ) from error

    def map(self, fd: int) -> None:
        """Take a file, which holds the pixels and then a flag for each image."""
        weakref.finalize(self, os.close, fd)
        shared = mmap.mmap(fd, self.nbytes + self.shape[0])
        pixels = np.frombuffer(shared, self.dtype, count=math.prod(self.shape))
        filled = np.frombuffer(shared, bool, offset=self.nbytes)
        self._kept = pixels.reshape(self.shape), filled
        self._fd = fd
        self.enabled = True
        _unopened.discard(self)

    def _fits(self) -> bool:
        try:
            free = shutil.disk_usage(tempfile.gettempdir()).free
        except OSError:
            return False
        return self.nbytes <= min(MAX_BYTES, free // 2)


def _attach(shape: Any, dtype: Any, cache: Any, shared: Any) -> PixelCache:
    attached = PixelCache(shape, dtype, cache)
    attached.map(shared.detach())
    return attached


def _reserve(file: IO[bytes], nbytes: int) -> None:
    """Take the space now: on a full disk, writing to the map would be fatal."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, nbytes)
            return
        except OSError as error:
            # Not every file system can do it.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    zeros = bytes(1 << 20)
    for start in range(0, nbytes, len(zeros)):
        file.write(zeros[: nbytes - start])
    file.flush()


_unopened: weakref.WeakSet[PixelCache] = weakref.WeakSet()


def _open_all() -> None:
    # Only what is there before workers are forked is shared with them.
    for cache in list(_unopened):
        with suppress(OSError):
            cache.open()


@functools.cache
def _open_before_forks() -> None:
    """Let worker processes be forked from now on with all files open."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_open_all)
