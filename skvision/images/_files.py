"""Files of images and their paths."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import IO, Any, NoReturn

import numpy as np

from skvision.images._decode import UnsuitableImage, pixels_of

# What systems and programs put into folders, beside names that begin with a dot.
_NOT_THE_USERS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN")
# Formats that are programs; Pillow runs others to draw them.
_DRAWINGS = ("EPS", "WMF")
# Pixels of an image that may be decoded only to tell whether its file is damaged.
_MODERATE = 1 << 22


class OtherSize(Exception):
    """An image has another size than was asked for; the argument is its own."""


def read_image(
    path: str | os.PathLike[str],
    mode: str | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return the pixels of an image file.

    Parameters
    ----------
    path : str or path-like
    mode : {"RGB", "L"}, default=None
        Whether the pixels become coloured or grey; None leaves that to the file.
    size : tuple of int (height, width), default=None
        Large images of another one are not decoded, as that may need much memory.
        Images that are to be turned may have the two in either order.

    Returns
    -------
    pixels : ndarray of shape (H, W) or (H, W, 3)
        Upright and at the depth of the file, see `pixels_of`.

    Raises
    ------
    OSError
        If the file is missing (FileNotFoundError) or damaged, is no regular file, or
        too many files are open.
    ValueError
        If its pixels cannot be read at their depth or turned into the mode.
    OtherSize
        If `size` is not that of the image, and the file is not damaged.
    """
    try:
        with _regular_file(path) as file, _identified(file, path) as image:
            fits = size is None or sorted(size) == sorted(image.size)
            if not fits and image.height * image.width > _MODERATE:
                raise OtherSize((image.height, image.width))
            pixels = pixels_of(image, mode, where=os.fspath(path))
    except OtherSize:
        raise
    except Exception as error:
        _raise_named(path, error)
    if not fits:
        raise OtherSize((image.height, image.width))
    return pixels


@contextlib.contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open an image file as a PIL image that is not decoded yet."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_regular_file(path))
            image = stack.enter_context(_identified(file, path))
        except Exception as error:
            _raise_named(path, error)
        yield image


def _regular_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Return a file opened for reading; others than regular ones are errors."""
    # To open a pipe would wait for somebody who writes.
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise OSError("it is a directory")
    if not stat.S_ISREG(mode):
        raise OSError("it is no regular file")
    return open(path, "rb")


def _identified(file: IO[bytes], path: str | os.PathLike[str]) -> Any:
    """Return the PIL image in a file, not decoded yet."""
    # Pillow, which torchvision depends on, is needed only here.
    from PIL import Image

    image = Image.open(file)
    if image.format in _DRAWINGS:
        raise UnsuitableImage(
            f"{os.fspath(path)} is a drawing ({image.format}), for which another "
            "program would have to be run. Save it as a PNG file."
        )
    return image


def other_depth(
    path: str | os.PathLike[str],
    dtype: np.dtype,
    first: str | os.PathLike[str],
    expected: np.dtype,
) -> ValueError:
    """Return the error for an image that is deeper than the first one, or less deep."""
    path, first = os.fspath(path), os.fspath(first)
    if expected == np.uint8:
        return ValueError(
            f"{path} has more than 8 bits per channel ({dtype}), but {first} has 8. "
            "Convert it to 8 bits first, or all images to one depth."
        )
    return ValueError(
        f"{path} has {8 * dtype.itemsize} bits per channel ({dtype}), but {first} has "
        f"{8 * expected.itemsize} ({expected}). Convert all images to one depth."
    )


@contextlib.contextmanager
def errors_of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in whatever is raised."""
    try:
        yield
    except Exception as error:
        _raise_named(path, error)


def _raise_named(path: str | os.PathLike[str], error: Exception) -> NoReturn:
    """Raise an error of reading an image file again, with the name of the file."""
    path = os.fspath(path)
    if isinstance(error, FileNotFoundError):
        raise FileNotFoundError(
            f"{path} cannot be read as an image: {error.strerror}."
        ) from error
    if is_shortage(error) or isinstance(error, UnsuitableImage):
        raise error  # The file may be as it should be.
    # Which exception Pillow raises depends on the format and on the damage.
    raise OSError(
        f"{path} cannot be read as an image: {error}. Delete or replace it."
    ) from error


def is_shortage(error: Exception) -> bool:
    """Whether an error says that memory or open files have run out."""
    lacking = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in lacking


def is_hidden(name: str) -> bool:
    """Whether a name says that a file or folder is none of the user's."""
    return name.startswith(".") or name in _NOT_THE_USERS


def is_path(x: Any) -> bool:
    """Whether x is the path of a file."""
    return isinstance(x, (str, os.PathLike))
