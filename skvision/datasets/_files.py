"""Decoding of image files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["open_image"]


def open_image(path: str | os.PathLike[str]) -> Image:
    """Return a decoded image of 8 bits per pixel, in the mode of its file.

    Raises
    ------
    OSError
        If the file is missing or damaged.
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
