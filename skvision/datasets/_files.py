"""Decoding of image files."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["is_path", "is_shortage", "open_image"]


def open_image(path: str | os.PathLike[str]) -> Image:
    """Return a decoded image of 8 bits per pixel, in the mode of its file.

    Raises
    ------
    OSError
        If the file is missing or damaged, or too many files are open.
    ValueError
        If it has more than 8 bits per pixel.
    """
    # Pillow, which torchvision depends on, is needed only here.
    from PIL import Image

    path = os.fspath(path)
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:
        if is_shortage(error):
            raise  # The file may be as it should be.
        # Which exception Pillow raises depends on the format and on the damage.
        raise OSError(
            f"{path} cannot be read as an image: {error}. Delete or replace it."
        ) from error
    if image.mode.startswith(("I", "F")):
        # Pillow would clip such pixels at 255.
        raise ValueError(
            f"{path} has more than 8 bits per pixel (mode {image.mode}). Convert it to "
            "8 bits first."
        )
    return image


def is_shortage(error: Exception) -> bool:
    """Whether an error says that memory or open files have run out."""
    lacking = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in lacking


def is_path(x: Any) -> bool:
    """Whether x is the path of a file."""
    return isinstance(x, (str, os.PathLike))
