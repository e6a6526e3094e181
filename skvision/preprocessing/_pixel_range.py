"""On which scale pixels are: what integers are divided by, and what does not fit it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from skvision._warnings import warn
from skvision.images._sequence import ImageSequence

# Pixels per step when all images are read.
_CHUNK = 1 << 20
# What rounding, in scaling to [0, 1], may leave below 0 and above 1.
_TOLERANCE = 1e-3
# Floats beyond these are no values in [0, 1] that a filter has let overshoot, or noise.
_LOW, _FAR = -0.5, 2
# How many times brighter or darker than all of the fit no image is.
_BRIGHTER, _DARKER = 4, 10
# What is black, or nearly, among values in [0, 1].
_BLACK = 0.05


class Divisors(NamedTuple):
    """What integers are divided by, as one fit decides for good.

    Attributes
    ----------
    uint8 : int
    wider : int
        Of all other integers. 1 leaves them as they are.
    """

    uint8: int = 255
    wider: int = 255

    def of(self, dtype: torch.dtype) -> int:
        """Return the divisor of a tensor's values, which is 1 for floats."""
        if dtype == torch.uint8:
            return self.uint8
        return 1 if dtype.is_floating_point or dtype == torch.bool else self.wider

    def of_stored(self, dtype: np.dtype) -> int:
        """Return the divisor of an array's values."""
        if dtype == np.uint8:
            return self.uint8
        return self.wider if dtype.kind in "iu" else 1


def divisors_for(dtype: np.dtype, low: float, high: float) -> Divisors:
    """Return what integers are divided by where training values are such ones.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the training values.
    low, high : float
        The least and the greatest of them.
    """
    if dtype.kind in "iu":
        if low < 0 or high > 65535:
            return Divisors(1, 1)  # No pixels as files have them.
        return Divisors(255, 255 if high <= 255 else 65535)
    if low >= 0 and high > _FAR:
        # The network has learnt such numbers as they are.
        return Divisors(1, 1)
    return Divisors()


def is_outside(low: float, high: float) -> bool:
    """Whether some of the values from `low` to `high` are not in [0, 1]."""
    return low < -_TOLERANCE or high > 1 + _TOLERANCE


def pixel_range(
    images: ImageSequence, n_looked_at: int | None = None
) -> tuple[float, float]:
    """Return the least and the greatest value of images.

    Parameters
    ----------
    images : ImageSequence
        Of uint8 pixels, the range is that of the type: nothing is read.
    n_looked_at : int, default=None
        How many images to look at where they are read one by one, spread over all;
        None means all.
    """
    if images.reader.stored == np.uint8:
        limits = torch.tensor([0, 255], dtype=torch.uint8)
        if images.reader.steps is not None:
            shape = (1, images.image_shape[0], 1, 2)
            limits = images.reader.steps(limits.expand(shape))
        return float(limits.min()), float(limits.max())
    rows = np.arange(len(images))
    if n_looked_at is not None and images.reading != "memory":
        rows = np.unique(np.linspace(0, len(rows) - 1, n_looked_at).astype(int))
    ranges = []
    for part in _parts(images, rows):
        ranges.append([float(value) for value in part.aminmax()])
    lows, highs = zip(*ranges, strict=True)
    return min(lows), max(highs)


def _parts(images: ImageSequence, rows: Any) -> Iterator[torch.Tensor]:
    """Yield all values of some images, not too many at once."""
    n_images = max(1, _CHUNK // math.prod(images.image_shape))
    every = len(rows) == len(images)
    for start in range(0, len(rows), n_images):
        chunk = slice(start, start + n_images)
        yield images.read(chunk if every else rows[chunk])


def warn_of_scale(
    images: ImageSequence,
    fitted: np.dtype,
    fitted_range: tuple[float, float],
    divisors: Divisors,
    name: str,
) -> None:
    """Warn if images are on another scale than those that a network was trained on.

    That they are darker is none. Of images that are read one by one, no more than a
    few are looked at.

    Parameters
    ----------
    images : ImageSequence
    fitted : numpy.dtype
        Of the training values.
    fitted_range : tuple of float
        The least and the greatest of them.
    divisors : Divisors
        What integers are divided by since then.
    name : str
        What the warning calls the estimator.
    """
    whole, was_whole = images.dtype.kind in "iu", fitted.kind in "iu"
    was_outside = is_outside(*fitted_range)
    # Neither is divided by anything, so that the two ranges compare.
    as_they_are = not (whole or was_whole) or (was_whole and divisors.wider == 1)
    if whole and was_whole and not as_they_are and images.dtype == np.uint8:
        return
    if as_they_are and was_outside and images.flat:
        return  # Features may have any range.
    low, high = pixel_range(images, n_looked_at=16)
    text = (
        f"X holds {images.dtype} values from {low:.6g} to {high:.6g}, but {name} was "
        f"fitted on {fitted} values from {fitted_range[0]:.6g} to "
        f"{fitted_range[1]:.6g}. "
    )
    if as_they_are:
        if _is_other_scale(images, (low, high), fitted_range):
            remedy = "Bring X to the range that was fitted."
            remedy = remedy if was_outside else _remedy(low, high)
            warn(f"{text}Values are taken as they are. {remedy}")
    elif whole and not was_whole and was_outside:
        divisor = divisors.of_stored(images.dtype)
        if divisor == 1:
            text += "Its integers are taken as they are. Give X.astype('float32')"
        else:
            text += f"Its integers are divided by {divisor}. Give floats"
        warn(f"{text} of the range that was fitted, or fit on integers.")
    elif whole and (low < 0 or high > divisors.wider):
        warn(
            f"{text}Integers are divided by {divisors.wider}, as the fit decided. Fit "
            "on images of the full range, or bring X to the range that was fitted."
        )
    elif not whole and was_whole and is_outside(low, high):
        warn(
            f"{text}Those integers were divided by {divisors.of_stored(fitted)}, and "
            f"floats are taken as they are. {_remedy(low, high)}"
        )


def _is_other_scale(
    images: ImageSequence, limits: tuple[float, float], fitted: tuple[float, float]
) -> bool:
    """Whether values can hardly be on the scale of those of the fit, both as they are.

    Parameters
    ----------
    images : ImageSequence
    limits, fitted : tuple of float
        The least and the greatest value of `images`, and of those of the fit.
    """
    low, high = limits
    if fitted[0] >= _LOW and fitted[1] <= _FAR:
        if images.flat:
            return high > _FAR and _are_whole(images)
        return low < _LOW or high > _FAR
    size, was_size = max(-low, high), max(-fitted[0], fitted[1])
    if size > _BRIGHTER * was_size:
        return True
    unsigned = fitted[0] < _LOW and low >= 0
    if size > 1 + _TOLERANCE:
        return unsigned and high > 1.5 * fitted[1]
    if unsigned and low < _BLACK and high > -_LOW:
        return True
    # Of black images, values up to 1 are whole.
    return size > 0 and was_size >= _DARKER * size and not _are_whole(images)


def _remedy(low: float, high: float) -> str:
    if low < 0 or high > 65535:
        return "Bring X to [0, 1], as the pixels of the fit were."
    divisor = 255 if high <= 255 else 65535
    dtype = "uint8" if high <= 255 else "uint16"
    return f"If they are pixels, give X / {divisor}, or X.astype('{dtype}')."


def _are_whole(images: ImageSequence) -> bool:
    parts = _parts(images, np.arange(len(images)))
    return all(bool((part == part.round()).all()) for part in parts)
