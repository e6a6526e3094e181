"""What is known of images: their shape, and how they were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np

#: How arrays hold images: as rows of features, in one channel, or with an axis for the
#: channels.
LAYOUTS = ("flat", "grey", "first", "last")


@dataclass(frozen=True)
class ImageSchema:
    """What is known of images, by which others are compared with them.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width); (1, 1, n_features) of rows of features.
    layout : {"flat", "grey", "first", "last"}
        Where the given array has its channels; "first" for what is no array.
    dtype : numpy.dtype
        Of the values that were given.
    flat : bool, default=False
        Whether networks get rows of features instead of images.
    names : dict, default=None
        The name of each label's class, where X carries such.
    n_channels : int, default=None
        Of the given arrays, where those of `shape` have been made of others.

    Raises
    ------
    ValueError
        If one of them is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.images import open_images
    >>> open_images(np.zeros((5, 8, 8, 3), dtype=np.uint8)).schema
    ImageSchema(shape=(3, 8, 8), layout='last', dtype=dtype('uint8'), flat=False, \
names=None)
    """

    shape: tuple[int, int, int]
    layout: str
    dtype: np.dtype
    flat: bool = False
    names: Mapping[int, str] | None = None
    n_channels: int | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        lengths = self.shape
        if len(lengths) != 3 or not all(
            isinstance(n, Integral) and int(n) > 0 for n in lengths
        ):
            raise ValueError(
                f"shape={lengths!r} must be three positive ints, (channels, height, "
                "width)."
            )
        if self.flat and lengths[:2] != (1, 1):
            raise ValueError(
                f"shape={lengths!r} must be (1, 1, n_features) of flat rows."
            )
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r} must be one of {LAYOUTS}.")


def wrong_shape(
    got: tuple[int, ...], fitted: tuple[int, ...], name: str = "the estimator"
) -> ValueError:
    """Return the error for images of another shape than those of fit."""
    return ValueError(
        f"X has images of shape (channels, height, width) = {tuple(got)}, but {name} "
        f"was fitted on {tuple(fitted)}. With image_size=(height, width), set before "
        "fit, it takes images of any size."
    )
