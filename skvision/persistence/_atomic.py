"""Files that are the old ones or the new ones at every moment."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any
try:
    import fcntl
except ImportError:  # On Windows, where nothing that was left is removed.
    fcntl = None


_SUFFIX = ".tmp"


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], object]
) -> None:
    """Replace a file in one step, or leave the old one if anything goes wrong.

    What a writer that was killed has left beside the file is removed.

    Parameters
    ----------
    path : str or path-like
        Where a link leads, the file that it leads to is replaced.
    write : callable
        Gets an open file, next to `path`, and writes all of it.

    Raises
    ------
    OSError
        If there is no such folder, no space or no permission, or if `path` is
        something else than a file.
    """
    target = check_target(path)
    prefix = f".{target.name[:100]}."
    _clear(target.parent, prefix)
    handle, name, lock = _new_file(target.parent, prefix)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        _set_mode(name, target)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _sync_folder(target.parent)


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return where a file is to be written, if there is a file or nothing.

    Raises
    ------
    OSError
        If there is something else, which would be replaced: a folder, a pipe, a device.
    """
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(target).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(
                f"{os.fspath(path)!r} is a folder; give the path of a file in it."
            )
        if not stat.S_ISREG(mode):
            raise OSError(
                f"{os.fspath(path)!r} is a pipe, a device or the like, which saving "
                "would replace by a file; give another path."
            )
    return target


def _new_file(folder: Path, prefix: str) -> tuple[int, str, int | None]:
    """Make a file and return its handle and name, and a handle that keeps it locked."""
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=_SUFFIX, dir=folder)
        if fcntl is None:
            return handle, name, None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            return handle, name, None  # Not every file system has locks.
        if os.path.exists(name):
            # The lock ends with the last handle, or with the process.
            return handle, name, os.dup(handle)
        os.close(handle)  # Another writer took it for one that was left.


def _clear(folder: Path, prefix: str) -> None:
    """Remove files that nobody is writing any more."""
    if fcntl is None:
        return
    pattern = re.compile(re.escape(prefix) + "[a-z0-9_]{8}" + re.escape(_SUFFIX))
    with contextlib.suppress(OSError):
        for name in filter(pattern.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):
                _remove_if_left(os.path.join(folder, name))


def _remove_if_left(name: str) -> None:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Else it is in use.
            os.unlink(name)
    finally:
        os.close(handle)


def _set_mode(name: str, target: Path) -> None:
    """Give a file the permissions of the one it replaces, or of any new file."""
    try:
        mode = target.stat().st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    with contextlib.suppress(OSError):
        os.chmod(name, mode)


def _sync_folder(folder: Path) -> None:
    """Make the new name of a file survive a loss of power, where folders allow it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
