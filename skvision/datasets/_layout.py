"""Which axis of an array is which."""

from __future__ import annotations

from skvision._warnings import warn

__all__ = ["CHANNELS", "layout_of"]

#: Lengths by which an axis is recognised as that of the channels.
CHANNELS = (1, 3, 4)


def layout_of(
    shape: tuple[int, ...],
    channels: str = "auto",
    expected: tuple[int, int, int] | None = None,
) -> str:
    """Tell flat, grey, channels-first and channels-last arrays from each other.

    Parameters
    ----------
    shape : tuple of int
        Of 2 to 4 axes.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of 4 axes have their channels.
    expected : tuple of int, default=None
        (C, H, W) that images should have.

    Returns
    -------
    layout : {"flat", "grey", "first", "last"}

    Raises
    ------
    ValueError
        If it cannot be told.
    """
    if len(shape) < 4:
        return "flat" if len(shape) == 2 else "grey"
    if channels != "auto":
        return channels
    first, last = tuple(shape[1:]), (shape[3], shape[1], shape[2])
    if expected is not None and expected in (first, last):
        return "first" if expected == first else "last"
    if shape[1] in CHANNELS and shape[3] in CHANNELS:
        if expected is not None:
            return "first"  # An error about the shape follows.
        warn(
            f"X of shape {tuple(shape)} may have its channels on axis 1 or 3; axis 1 "
            "is taken. Set channels='first' or channels='last'.",
        )
        return "first"
    if shape[1] in CHANNELS:
        return "first"
    if shape[3] in CHANNELS:
        return "last"
    raise ValueError(
        f"Cannot tell the channels of X with shape {tuple(shape)}: neither axis 1 nor "
        "axis 3 has length 1, 3 or 4. Set channels='first' or channels='last'."
    )
