"""Images of any size brought to one: the only resize there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch.nn.functional import interpolate, pad

from skvision._warnings import warn

#: Ways to bring images of other proportions to a size.
WAYS = ("squash", "crop", "pad")
# A decoder that makes an image smaller leaves it at least so many times as large as it
# is to become, for the filter to do the rest: as Pillow's thumbnails have it.
_GAP = 2.0
# Pixels of a whole image, in the size of which the middle is to be cut out, beyond
# which it is cut out first. Only images hundreds of times as long as wide have so many.
_MOST_OF_WHOLE = 2**24


def size_of(image_size: Any) -> tuple[int, int] | None:
    """Return (height, width), or None for images as they are."""
    if image_size is None:
        return None
    size = (image_size,) * 2 if isinstance(image_size, Integral) else image_size
    if len(size) != 2 or not all(isinstance(n, Integral) and int(n) > 0 for n in size):
        raise ValueError(
            f"image_size={image_size!r} should be a positive int, or two of them, "
            "(height, width)."
        )
    return int(size[0]), int(size[1])


def warn_if_unused(resize: str, image_size: Any) -> None:
    """Warn of a way to resize where no size is given."""
    if resize != WAYS[0] and image_size is None:
        warn(
            f"resize={resize!r} has no effect, since image_size=None: it is how images "
            "are brought to that size. Set image_size=(height, width), or leave resize "
            "out."
        )


def fit_size(
    images: torch.Tensor,
    size: tuple[int, int],
    resize: str | int = "squash",
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """Return images in a size, by a filter that leaves no jagged edges.

    Parameters
    ----------
    images : torch.Tensor of shape (b, C, H, W)
    size : tuple of int (height, width)
    resize : {"squash", "crop", "pad"} or int, default="squash"
        "squash" changes the proportions; "crop" keeps the largest part in the middle
        that has those of `size`, and "pad" puts zeros on both sides. An int is the
        length that the shorter side gets before the middle is cut out, as torchvision's
        transforms of a weight set do.
    interpolation : {"bilinear", "bicubic"}, default="bilinear"

    Returns
    -------
    resized : torch.Tensor of shape (b, C, height, width)
        In the type of the images; integers are rounded.
    """
    h, w = size
    height, width = images.shape[-2:]
    # A graph that is made for images of every size does not know theirs.
    is_known = isinstance(height, int) and isinstance(width, int)
    if is_known and (height, width) == size:
        return images
    if resize == "squash":
        return _resized(images, size, interpolation)
    if resize == "pad":
        least = (_at_most(h, height * w // width), _at_most(w, width * h // height))
        return _padded(_resized(images, least, interpolation), size)
    if resize == "crop":
        whole = (
            torch.sym_max(h, height * w // width),
            torch.sym_max(w, width * h // height),
        )
    else:
        length, shorter = int(resize), torch.sym_min(height, width)
        whole = height * length // shorter, width * length // shorter
    is_small = is_known and (whole[0] < h or whole[1] < w)
    is_long = is_known and math.prod(whole) > max(_MOST_OF_WHOLE, height * width)
    if is_long and not is_small:
        # To whole pixels of the image itself.
        images = _middle(images, [height * h / whole[0], width * w / whole[1]])
        return _resized(images, size, interpolation)
    resized = _resized(images, whole, interpolation)
    if is_small:
        return _padded(resized, size)
    top, left = (_half(n - wanted) for n, wanted in zip(whole, size, strict=True))
    return resized.narrow(-2, top, h).narrow(-1, left, w)


def size_to_decode(
    shape: Sequence[int], size: tuple[int, int], resize: str | int
) -> tuple[int, int]:
    """Return the least (height, width) in which an image need be decoded.

    Parameters
    ----------
    shape : sequence of int (height, width)
        Of the image itself.
    size, resize
        As of `fit_size`.
    """
    scales = [length / own for length, own in zip(size, shape, strict=True)]
    if resize == "crop":
        scales = [max(scales)] * 2
    elif resize == "pad":
        scales = [min(scales)] * 2
    elif not isinstance(resize, str):
        scales = [resize / min(shape)] * 2
    height, width = (
        math.ceil(_GAP * scale * own) for scale, own in zip(scales, shape, strict=True)
    )
    return height, width


def _middle(images: torch.Tensor, shape: Sequence[Any]) -> torch.Tensor:
    """Return the middle part of images, of about this (height, width)."""
    for axis, length in zip((-2, -1), shape, strict=True):
        n = min(max(1, round(length)), images.shape[axis])
        images = images.narrow(axis, (images.shape[axis] - n) // 2, n)
    return images


def _at_most(limit: int, length: Any) -> Any:
    return torch.sym_max(1, torch.sym_min(limit, length))


def _half(length: Any) -> Any:
    """Return the half as torchvision rounds it: to the even one of two."""
    half = length // 2
    return half + (length % 2) * (half % 2)


def _padded(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return images with zeros around them, or without what is too much."""
    sides: list[Any] = []
    for length, wanted in zip(images.shape[:-3:-1], size[::-1], strict=True):
        before = (wanted - length) // 2
        sides += [before, wanted - length - before]
    return pad(images, sides)


def _resized(
    images: torch.Tensor, size: tuple[Any, Any], interpolation: str
) -> torch.Tensor:
    """Return images in a size and in the type that they have."""
    dtype = images.dtype
    if dtype == torch.uint8 or dtype.is_floating_point:
        values = images
    else:
        # 16 bits are exact in float32.
        values = images.to(torch.float32 if dtype.itemsize <= 2 else torch.float64)
    resized = interpolate(values, size=size, mode=interpolation, antialias=True)
    if resized.dtype == dtype:
        return resized
    limits = torch.iinfo(dtype)
    # Neither end of the widest types is a float that fits into them.
    low, high = max(limits.min, -(2**53)), min(limits.max, 2**53)
    return resized.round().clamp(low, high).to(dtype)
