"""Which axis of an array is which."""

from __future__ import annotations

from typing import NamedTuple

from skvision._warnings import warn

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


class Channels(NamedTuple):
    """Where images that come one by one have their channels.

    Attributes
    ----------
    where : {"auto", "first", "last"}
    expected : tuple of int or None
        (C, H, W) that images should have.
    """

    where: str = "auto"
    expected: tuple[int, int, int] | None = None

    def of_image(self, shape: tuple[int, ...]) -> str:
        """Return "first" or "last" for a shape of three axes.

        Raises
        ------
        ValueError
            If it cannot be told.
        """
        if self.where != "auto":
            return self.where
        first, last = tuple(shape), (shape[2], shape[0], shape[1])
        if self.expected is not None and self.expected in (first, last):
            return "first" if self.expected == first else "last"
        if shape[0] in CHANNELS and shape[2] in CHANNELS and self.expected is None:
            warn(
                f"Images of shape {tuple(shape)} may have their channels on the first "
                "or the last axis; the first is taken. Set channels='first' or "
                "channels='last'.",
            )
        if shape[0] in CHANNELS:
            return "first"
        if shape[2] in CHANNELS:
            return "last"
        # As torch has it, for any number of channels, unless it looks otherwise.
        if shape[2] >= shape[0]:
            return "first"
        raise ValueError(
            f"Cannot tell the channels of an image with shape {tuple(shape)}: neither "
            "its first nor its last axis has length 1, 3 or 4. Set channels='first' or "
            "channels='last'."
        )

    def of_batch(self, shape: tuple[int, ...]) -> str:
        """Return the layout of a tensor that holds all images of a data set."""
        if len(shape) == 4 and not {shape[1], shape[3]} & set(CHANNELS):
            return self.of_image(shape[1:])
        return layout_of(shape, self.where, self.expected)


#: Where no parameter says it.
AUTO = Channels()
