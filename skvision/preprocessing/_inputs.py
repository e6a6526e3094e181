"""Everything that may be given as X becomes an ImageSequence."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_array

from skvision._warnings import warn
from skvision.datasets._adapters import images_of, is_dataset, labels_of
from skvision.datasets._sequence import ArrayReader, ImageSequence, PathReader, to_chw

__all__ = [
    "as_image_array",
    "as_images",
    "is_flat",
    "labels_in",
    "without_labels",
    "wrong_shape",
]

#: Lengths by which an axis is recognised as that of the channels.
CHANNELS = (1, 3, 4)


def labels_in(X: Any) -> np.ndarray | None:
    """Return the labels that X carries, or None.

    Data sets and lists of (image, label) pairs carry labels; scikit-learn makes the
    latter of the former when it indexes them.
    """
    if isinstance(X, ImageSequence):
        return None
    if is_dataset(X):
        # SliceDataset yields images alone, so that labels are given beside it.
        return labels_of(X) if isinstance(X, torch.utils.data.Dataset) else None
    return np.asarray([label for _, label in X]) if _is_pairs(X) else None


def is_flat(X: Any) -> bool:
    """Whether X is array-like with rows of numbers, of shape (n, n_features)."""
    if isinstance(X, ImageSequence) or is_dataset(X):
        return False
    X = without_labels(X)
    if isinstance(X, (list, tuple)):
        first = X[0] if len(X) else []
        return np.ndim(first) <= 1 and not _is_path(first) and not _is_pil(first)
    if getattr(X, "ndim", 2) == 1 and len(X) and _is_path(X[0]):
        return False
    return getattr(X, "ndim", 2) <= 2


def without_labels(X: Any) -> Any:
    """Return the images of a list of (image, label) pairs, anything else as it is."""
    if not _is_pairs(X):
        return X
    images = [image for image, _ in X]
    # Rows of features become an array; images may be of several kinds.
    return _stack(images) if getattr(images[0], "ndim", 0) == 1 else images


def as_images(
    X: Any, *, channels: str = "auto", expected: tuple[int, int, int] | None = None
) -> ImageSequence:
    """Return X, which is not flat, as an ImageSequence.

    Parameters
    ----------
    X : ImageSequence, data set, array of 3 or 4 axes, or list
        A list holds images, (image, label) pairs, or paths of image files.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of 4 axes have their channels.
    expected : tuple of int, default=None
        The (C, H, W) that an estimator was fitted with: "auto" then takes the axis
        that gives this shape.

    Returns
    -------
    images : ImageSequence

    Raises
    ------
    ValueError
        If X is empty, not finite, or of another shape.
    """
    if isinstance(X, ImageSequence) or is_dataset(X):
        images = X if isinstance(X, ImageSequence) else images_of(X)
        _check_not_empty(images.shape)
        _check_finite(images)
        return images
    pairs = _is_pairs(X)
    X = without_labels(X)
    if isinstance(X, (list, tuple, np.ndarray)) and len(X) and _is_path(X[0]):
        return ImageSequence(PathReader(np.asarray(X, dtype=object)))
    if isinstance(X, (list, tuple)):
        if pairs or (len(X) and _is_pil(X[0])):
            # Read as the data set is that the pairs come from.
            stacked = _stack([to_chw(image) for image in X])
            images = ImageSequence(ArrayReader(stacked, "first"))
            _check_finite(images)
            return images
        X = _stack(X)
    array = as_image_array(X)
    if array.ndim == 3:
        return ImageSequence(ArrayReader(array, "grey"))
    return ImageSequence(ArrayReader(array, _layout(array.shape, channels, expected)))


def as_image_array(X: Any) -> np.ndarray:
    """Check an array of images and return it, without a copy where possible."""
    array = _to_numpy(X) if isinstance(X, torch.Tensor) else np.asarray(X)
    if array.ndim not in (3, 4):
        raise ValueError(
            "Expected X of shape (n, height, width), (n, height, width, channels), "
            f"(n, channels, height, width) or (n, n_features); got shape {array.shape}."
        )
    _check_not_empty(array.shape)
    # The pixels of uint8 images need no check, and a memory map no reading.
    if array.dtype == np.uint8:
        return array
    return check_array(array, dtype="numeric", allow_nd=True, input_name="X")


def wrong_shape(
    got: tuple[int, ...], fitted: tuple[int, ...], name: str = "the estimator"
) -> ValueError:
    """Return the error for images of another shape than those of fit."""
    return ValueError(
        f"X has images of shape (channels, height, width) = {tuple(got)}, but {name} "
        f"was fitted on {tuple(fitted)}."
    )


def _layout(shape, channels, expected):
    """Tell channels-first from channels-last arrays."""
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


def _check_finite(images):
    # Images that are read one by one are checked when that is done.
    if isinstance(images.reader, ArrayReader) and images.dtype.kind == "f":
        for start in range(0, len(images), 1024):
            part = images.read(slice(start, start + 1024))
            if part.is_floating_point():
                assert_all_finite(part.numpy(), input_name="X")


def _check_not_empty(shape):
    if shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={tuple(shape)}) while a minimum of 1 "
            "is required."
        )
    if 0 in shape:
        raise ValueError(f"X has images without pixels: its shape is {tuple(shape)}.")


def _stack(images):
    arrays = [
        _to_numpy(image) if isinstance(image, torch.Tensor) else np.asarray(image)
        for image in images
    ]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        odd = next(
            i for i, array in enumerate(arrays) if array.shape != arrays[0].shape
        )
        raise ValueError(
            f"The images of X differ in shape: image 0 has {arrays[0].shape}, image "
            f"{odd} has {arrays[odd].shape}. Resize them to one shape."
        )
    return np.stack(arrays) if arrays else np.empty((0, 0, 0))


def _to_numpy(tensor):
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _is_path(x):
    return isinstance(x, (str, os.PathLike))


def _is_pil(x):
    return hasattr(x, "getbands")


def _is_pairs(X):
    """Whether X is a list of (image, label) pairs."""
    if not isinstance(X, (list, tuple)) or not len(X):
        return False
    first = X[0]
    return (
        isinstance(first, (list, tuple))
        and len(first) == 2
        and (_is_pil(first[0]) or getattr(first[0], "ndim", 0) >= 1)
        and np.ndim(first[1]) <= 1
        and not _is_pil(first[1])
    )
