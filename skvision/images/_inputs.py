"""Everything that may be given as X becomes an ImageSequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_array

from skvision.images._adapters import images_of
from skvision.images._decode import is_pil
from skvision.images._kinds import check_kind, is_pairs, paths_of
from skvision.images._labels import labels_of
from skvision.images._layout import Channels, layout_of
from skvision.images._names import nameless, names_for, names_of_fitted, renamed
from skvision.images._readers import (
    ArrayReader,
    PathReader,
    check_tensor,
    kind_of,
    to_chw,
)
from skvision.images._sequence import ImageSequence
from skvision.images._unwrap import held_in, is_dataset

__all__ = [
    "appearance",
    "as_array",
    "as_image_array",
    "as_images",
    "as_targets",
    "is_flat",
    "labels_by_name",
    "labels_in",
    "without_labels",
    "wrong_shape",
]


def labels_in(X: Any) -> np.ndarray | None:
    """Return the labels that X carries, or None.

    Data sets and lists of (image, label) pairs carry labels; scikit-learn makes the
    latter of the former when it indexes them.
    """
    if isinstance(X, ImageSequence):
        return None
    if (held := held_in(X)) is not None:
        return None if held[1] is None else np.asarray(as_targets(held[1]))
    if is_dataset(X):
        # SliceDataset yields images alone, so that labels are given beside it.
        return labels_of(X) if isinstance(X, torch.utils.data.Dataset) else None
    return np.asarray([label for _, label in X]) if is_pairs(X) else None


def as_targets(y: Any, name: str = "y") -> Any:
    """Return targets that are a tensor, on whatever device, as an array."""
    return _to_numpy(y, name) if isinstance(y, torch.Tensor) else y


def labels_by_name(net: Any, X: Any, y: Any = None) -> tuple[Any, Any]:
    """Return X, and its labels as a fitted classifier has them.

    Parameters
    ----------
    net : estimator
    X : images of any kind
    y : array-like, default=None
        None takes the labels that X carries.

    Returns
    -------
    X : images
        Without the names of classes, of which predictions would warn.
    y : array-like or None
        Where X carries names of classes, labels that `net` has for these names.
    """
    given = y is not None
    y = as_targets(y) if given else labels_in(X)
    names = None if y is None else names_for(X, y, given=given)
    if names is None or not (known := names_of_fitted(net)):
        return X, y
    if all(known.get(name, label) == label for label, name in names.items()):
        # They are numbered alike; all that can be is a class that is unknown.
        return X, renamed(y, names, net)
    channels = getattr(net, "channels", "auto")
    expected = getattr(net, "image_shape_", None)
    images = as_images(X, channels=channels, expected=expected)
    return nameless(images), renamed(y, names, net)


def is_flat(X: Any) -> bool:
    """Whether X is array-like with rows of numbers, of shape (n, n_features).

    It is an error if X is nothing that may hold images.
    """
    X = without_labels(X)
    if isinstance(X, ImageSequence) or is_dataset(X):
        return False
    if paths_of(X) is not None:
        return False
    check_kind(X)
    if isinstance(X, (list, tuple)) or getattr(X, "shape", None) == (0,):
        if not len(X):
            raise ValueError(
                f"Found array with 0 sample(s): X is an empty {type(X).__name__}. Give "
                "at least one image, path of an image file, or row of features."
            )
        # To ask a PIL image for its axes would load it.
        if is_pil(X[0]) or np.ndim(X[0]) > 1:
            return False
        _check_one_shape([_shape_of_row(row) for row in X], "row")
        _check_one_kind(X, "row")
        return True
    return getattr(X, "ndim", 2) <= 2


def without_labels(X: Any) -> Any:
    """Return the images of a list of (image, label) pairs, anything else as it is.

    skorch's data sets hold images and labels apart.
    """
    if (held := held_in(X)) is not None:
        return held[0]
    if not is_pairs(X):
        return as_array(X)
    images = [image for image, _ in X]
    # Rows of features become an array; images may be of several kinds.
    return _stack(images) if getattr(images[0], "ndim", 0) == 1 else images


def as_array(X: Any) -> Any:
    """Return as a NumPy array what can be made one and is not known otherwise."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim > 1:
        # scikit-learn would make floats of integers, which are scaled otherwise.
        plain = np.array(X.tolist())
        return plain if plain.dtype.kind in "iu" else X
    if _is_nullable(X):
        widths = [getattr(dtype, "numpy_dtype", dtype) for dtype in X.dtypes]
        return X.astype(np.result_type(*widths))
    if hasattr(X, "ndim") or hasattr(X, "columns") or is_dataset(X) or is_pil(X):
        return X
    if hasattr(X, "__array__") or hasattr(X, "__array_interface__"):
        return np.asarray(X)
    return np.from_dlpack(X) if hasattr(X, "__dlpack__") else X


def _is_nullable(X: Any) -> bool:
    """Whether X is a frame of integers that might lack values, but does not."""
    dtypes: Any = getattr(X, "dtypes", None)
    if not hasattr(dtypes, "to_numpy") or not len(dtypes):
        return False
    whole = all(getattr(dtype, "kind", "") in ("i", "u") for dtype in dtypes)
    plain = all(isinstance(dtype, np.dtype) for dtype in dtypes)
    return whole and not plain and not X.isna().to_numpy().any()


def as_images(
    X: Any, *, channels: str = "auto", expected: tuple[int, int, int] | None = None
) -> ImageSequence:
    """Return X, which is not flat, as an ImageSequence.

    Parameters
    ----------
    X : ImageSequence, data set, array of 3 or 4 axes, or list
        A list holds images, (image, label) pairs, or paths of image files.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of 4 axes and a data set's tensors have their channels.
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
    pairs = is_pairs(X)
    X = without_labels(X)
    if isinstance(X, ImageSequence) or is_dataset(X):
        images = (
            X
            if isinstance(X, ImageSequence)
            else images_of(X, channels=Channels(channels, expected))
        )
        _check_not_empty(images.shape)
        _check_finite(images)
        return images
    if (paths := paths_of(X)) is not None:
        return ImageSequence(PathReader(paths))
    if isinstance(X, (list, tuple)):
        if pairs or (len(X) and is_pil(X[0])):
            _check_sizes(X)
            # Read as the data set is that the pairs come from.
            where = Channels(channels, expected)
            first = to_chw(X[0], channels=where)
            where = Channels(channels, (first.shape[0], *first.shape[1:]))
            rest = [to_chw(image, channels=where) for image in X[1:]]
            stacked = _stack([first, *rest])
            images = ImageSequence(ArrayReader(stacked, "first"))
            _check_finite(images)
            return images
        X = _stack(X)
    array = as_image_array(X)
    layout = layout_of(array.shape, channels, expected)
    return ImageSequence(ArrayReader(array, layout))


def appearance(given: Any, images: ImageSequence) -> tuple[str, np.dtype]:
    """Return layout and data type of what a user gave and has become `images`."""
    reader, given = images.reader, without_labels(given)
    if isinstance(given, ImageSequence) or is_dataset(given):
        # Whatever they read from, their items are (C, H, W).
        return "flat" if images.flat else "first", images.dtype
    if isinstance(given, (list, tuple)) and is_pil(given[0]):
        # Rows that tools make of such images have their channels last.
        return "grey" if images.image_shape[0] == 1 else "last", images.dtype
    if isinstance(reader, ArrayReader):
        return reader.layout, reader.array.dtype
    return "first", images.dtype


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


def _check_finite(images):
    # Images that are read one by one are checked when that is done.
    reader = images.reader
    if isinstance(reader, ArrayReader) and reader.array.dtype.kind == "f":
        for start in range(0, len(images), 1024):
            part = images.read_stored(slice(start, start + 1024))
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
    _check_one_shape([array.shape for array in arrays], "image")
    _check_one_kind(images, "image")
    return np.stack(arrays) if arrays else np.empty((0, 0, 0))


def _check_one_shape(shapes, what):
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise ValueError(
            f"The {what}s of X differ in shape: {what} 0 has {shapes[0]}, {what} {odd} "
            f"has {shapes[odd]}. Resize them to one shape."
        )


def _check_sizes(images):
    """Check the sizes of PIL images before they are decoded, which may need much."""
    sizes = [image.size[::-1] for image in images if is_pil(image)]
    # Those that are to be turned may have the two in either order.
    if len({tuple(sorted(size)) for size in sizes}) > 1:
        _check_one_shape(sizes, "image")


def _check_one_kind(items, what):
    """Check that one array of all would scale each as one of it alone is scaled."""
    dtypes = [_dtype_of(item) for item in items]
    kinds = [None if dtype is None else kind_of(dtype) for dtype in dtypes]
    odd = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), None)
    if odd is not None:
        raise ValueError(
            f"The {what}s of X differ in kind: {what} 0 holds {dtypes[0] or 'numbers'} "
            f"values, {what} {odd} {dtypes[odd] or 'numbers'}. Integers are scaled to "
            "[0, 1] and floats are not, so give all one type."
        )


def _dtype_of(item):
    """Return the type of an array's, a tensor's or an image's values, else None."""
    if is_pil(item):
        return np.asarray(item).dtype
    if not getattr(item, "ndim", 0):
        return None  # Numbers of Python's have no type of their own.
    return _to_numpy(item).dtype if isinstance(item, torch.Tensor) else item.dtype


def _shape_of_row(row):
    # NumPy would copy a list to tell.
    return (len(row),) if isinstance(row, (list, tuple)) else np.shape(row)


def _to_numpy(tensor, where="X"):
    check_tensor(tensor, where)
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
