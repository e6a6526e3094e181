"""Files of images and their paths."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from typing import IO, Any, NoReturn

import numpy as np

from skvision.images._decode import (
    UnsuitableImage,
    check_grey,
    is_grey,
    orientation_of,
    pixels_of,
)

#: A path, or what such a file holds.
File = str | os.PathLike[str] | bytes

# What systems and programs put into folders, beside names that begin with a dot.
_NOT_THE_USERS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN")
# Formats that are programs; Pillow runs others to draw them.
_DRAWINGS = ("EPS", "WMF")
# Pixels of an image that may be decoded only to tell whether its file is damaged.
_MODERATE = 1 << 22


# Skipped files that a warning names.
_N_NAMED = 3


class OtherSize(Exception):
    """An image has another size than was asked for; the argument is its own."""


def read_image(
    path: File,
    mode: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    spec: Any = None,
    only_grey: bool = False,
) -> np.ndarray:
    """Return the pixels of an image file.

    Parameters
    ----------
    path : str, path-like or bytes
        Bytes are those of a file.
    mode : {"RGB", "L"}, default=None
        Whether the pixels become coloured or grey; None leaves that to the file.
    size : tuple of int (height, width), default=None
        Large images of another one are not decoded, as that may need much memory.
        Images that are to be turned may have the two in either order.
    spec : InputSpec, default=None
        What the image is to be brought to afterwards. A large JPEG is then decoded at
        a part of its size, by which few of its coefficients need be computed.
    only_grey : bool, default=False
        Whether an image with colours is an error.

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
            if only_grey:
                check_grey(image, name_of(path))
            wanted = None if spec is None else spec.size
            # To ask others for how they lie would load them, at 8 bits.
            if wanted is not None and image.format in ("JPEG", "MPO"):
                image.draft(None, _decoded_size(image, spec)[::-1])
            pixels = pixels_of(image, mode, where=name_of(path))
    except OtherSize:
        raise
    except Exception as error:
        _raise_named(path, error)
    if not fits:
        raise OtherSize((image.height, image.width))
    return pixels


def _decoded_size(image: Any, spec: Any) -> tuple[int, int]:
    """Return the least (height, width) in which an image need be decoded."""
    shape = image.height, image.width
    turned = orientation_of(image) > 4
    height, width = spec.size_to_decode(shape[::-1] if turned else shape)
    return (width, height) if turned else (height, width)


def is_grey_file(path: File) -> bool:
    """Whether an image file has no colours, or cannot be read."""
    try:
        with open_image(path) as image:
            return is_grey(image)
    except (OSError, ValueError):
        return True  # What is wrong will be told by who reads it.


@contextlib.contextmanager
def open_image(path: File) -> Iterator[Any]:
    """Open an image file as a PIL image that is not decoded yet."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_regular_file(path))
            image = stack.enter_context(_identified(file, path))
        except Exception as error:
            _raise_named(path, error)
        yield image


def _regular_file(path: File) -> IO[bytes]:
    """Return a file opened for reading; others than regular ones are errors."""
    if isinstance(path, bytes):
        return io.BytesIO(path)
    # To open a pipe would wait for somebody who writes.
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise OSError("it is a directory")
    if not stat.S_ISREG(mode):
        raise OSError("it is no regular file")
    return open(path, "rb")


def _identified(file: IO[bytes], path: File) -> Any:
    """Return the PIL image in a file, not decoded yet."""
    # Pillow, which torchvision depends on, is needed only here.
    from PIL import Image

    image = Image.open(file)
    if image.format in _DRAWINGS:
        raise UnsuitableImage(
            f"{name_of(path)} is a drawing ({image.format}), for which another "
            "program would have to be run. Save it as a PNG file."
        )
    return image


def other_depth(
    path: File, dtype: np.dtype, first: File, expected: np.dtype
) -> ValueError:
    """Return the error for an image that is deeper than the first one, or less deep."""
    path, first = name_of(path), name_of(first)
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
def errors_of(path: File) -> Iterator[None]:
    """Name the file in whatever is raised."""
    try:
        yield
    except Exception as error:
        _raise_named(path, error)


def _raise_named(path: File, error: Exception) -> NoReturn:
    """Raise an error of reading an image file again, with the name of the file."""
    path = name_of(path)
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


def is_file(x: Any) -> bool:
    """Whether x is the path of a file, or the bytes of one."""
    return isinstance(x, (str, os.PathLike, bytes))


def is_missing(value: Any) -> bool:
    """Whether a table's cell is empty."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ == "NAType"


def name_of(path: File) -> str:
    """Return what errors call a file."""
    if isinstance(path, bytes):
        return f"<{len(path)} bytes that begin with {path[:8]!r}>"
    return os.fspath(path)


def unreadable(names: Sequence[str], errors: dict[int, str], where: str) -> str:
    """Return what a warning says of files that cannot be read."""
    return (
        f"{len(errors)} of {len(names)} images of {where} cannot be read and are left "
        f"out: {named([names[row] for row in errors])}. The first error: "
        f"{next(iter(errors.values()))}"
    )


def named(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    text = ", ".join(repr(name) for name in names[:_N_NAMED])
    more = len(names) - _N_NAMED
    return f"{text} and {more} more" if more > 0 else text
