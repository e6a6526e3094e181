"""How images are given, by which axis is which, and what is to be made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from skvision._warnings import warn
from skvision.images._decode import as_grey

#: Lengths by which an axis is recognised as that of the channels.
CHANNELS = (1, 3, 4)
_MODES = {"grey": "L", "rgb": "RGB"}
#: What to do about images that differ in the number of their channels.
ONE_COLOUR = (
    "Set color_mode='rgb' or color_mode='grey' on the estimator, and all images with 1 "
    "or 3 channels get as many."
)


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
    if (found := _as_expected(first, last, expected)) is not None:
        return found
    if shape[1] in CHANNELS and shape[3] in CHANNELS:
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


class Form(NamedTuple):
    """How images are given, and what is to be made of them.

    Attributes
    ----------
    where : {"auto", "first", "last"}
        Where arrays of images have their channels.
    expected : tuple of int or None
        (C, H, W) that images should have.
    spec : InputSpec or None
        Brings images to its `size`; None takes them as they are.
    color_mode : {"auto", "grey", "rgb"}
        "auto" leaves arrays as they are, and takes files and PIL images as those of
        `expected`.
    of_arrays : bool
        Whether images that lie in one array are brought to the size as well; else who
        scales batches of them does it, on their device.
    folder : str, path-like or None
        Where decoded images of files are kept, see `ImageFolder`.
    """

    where: str = "auto"
    expected: tuple[int, int, int] | None = None
    spec: Any = None
    color_mode: str = "auto"
    of_arrays: bool = True
    folder: Any = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that images are brought to, None for their own."""
        return None if self.spec is None else self.spec.size

    @property
    def mode(self) -> str | None:
        """Pillow's name of the colours that images get; None keeps theirs."""
        if self.color_mode != "auto":
            return _MODES[self.color_mode]
        n_channels = 0 if self.expected is None else self.expected[0]
        return {1: "L", 3: "RGB", 4: "RGBA"}.get(n_channels)

    def same_pixels(self, other: Form) -> bool:
        """Whether both make the same of images."""
        return (self.spec, self.color_mode) == (other.spec, other.color_mode)

    def shape_of(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the shape that an image of some shape, (C, H, W), will have.

        Raises
        ------
        ValueError
            If its channels are none that could become those of `color_mode`.
        """
        n_channels, height, width = shape
        if self.color_mode != "auto":
            if n_channels not in (1, 3):
                remedy = "Set color_mode='auto'."
                if n_channels == 4:
                    remedy = (
                        "If the fourth is their opacity, leave it out, as "
                        "X[..., :3] does, or give PIL images or paths of files."
                    )
                raise ValueError(
                    f"color_mode={self.color_mode!r} takes images with 1 or 3 channels,"
                    f" but X has images of shape (channels, height, width) = {shape}. "
                    f"{remedy}"
                )
            n_channels = 1 if self.color_mode == "grey" else 3
        height, width = self.size or (height, width)
        return n_channels, height, width

    def bring(self, image: torch.Tensor) -> torch.Tensor:
        """Return an image of shape (C, H, W) in these colours and this size."""
        n_channels, height, width = self.shape_of(tuple(image.shape))
        if n_channels < image.shape[0]:
            grey = as_grey(image.movedim(0, -1).numpy())
            image = torch.from_numpy(grey).unsqueeze(0)
        elif n_channels > image.shape[0]:
            image = image.expand(n_channels, -1, -1)
        if tuple(image.shape[1:]) == (height, width):
            return image
        return self.spec.fit_size(image.unsqueeze(0))[0]

    def settled(self, shapes: Iterable[tuple[int, ...]]) -> Form:
        """Return a form that takes images as those of them whose shapes tell.

        Parameters
        ----------
        shapes : iterable of tuple
            Of all images; those of two axes tell nothing.
        """
        if self.where != "auto":
            return self
        ends = [(s[0] in CHANNELS, s[2] in CHANNELS) for s in shapes if len(s) == 3]
        told = {"first" if first else "last" for first, last in ends if first != last}
        return self._replace(where=told.pop()) if len(told) == 1 else self

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
        if (found := _as_expected(first, last, self.expected)) is not None:
            return found
        if shape[0] in CHANNELS and shape[2] in CHANNELS:
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


def _as_expected(
    first: tuple[int, ...],
    last: tuple[int, ...],
    expected: tuple[int, int, int] | None,
) -> str | None:
    """Return the layout that an image of the expected shape has, or of its channels."""
    if expected is None:
        return None
    if expected in (first, last):
        return "first" if expected == first else "last"
    # Images of all sizes may be brought to the one that is expected.
    agree = first[0] == expected[0], last[0] == expected[0]
    return None if agree[0] == agree[1] else "first" if agree[0] else "last"


#: Where no parameter says it.
AUTO = Form()


def form_of(net: Any) -> Form:
    """Return how an estimator takes images; what is none takes them as they are."""
    return getattr(net, "__skvision_form__", AUTO)
