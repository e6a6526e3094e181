"""Arrays of images and of rows: made of tensors and lists, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_array

from skvision.images._decode import is_pil
from skvision.images._layout import CHANNELS, ONE_COLOUR
from skvision.images._readers import ArrayReader, check_tensor, kind_of

if TYPE_CHECKING:
    from skvision.images._sequence import ImageSequence


def as_numpy(X: Any, where: str = "X") -> Any:
    """Return a tensor, on whatever device, as an array, and anything else as it is.

    Errors call the tensor as `where` says.
    """
    if not isinstance(X, torch.Tensor):
        return X
    check_tensor(X, lambda: where)
    tensor = X.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def as_image_array(X: Any, *, finite: bool = True) -> np.ndarray:
    """Check an array of images and return it, without a copy where possible.

    Parameters
    ----------
    X : array-like or tensor of 3 or 4 axes
    finite : bool, default=True
        Whether all values are looked at, by which a memory map is read.
    """
    array = np.asarray(as_numpy(X))
    if array.ndim not in (3, 4):
        raise ValueError(
            "Expected X of shape (n, height, width), (n, height, width, channels), "
            f"(n, channels, height, width) or (n, n_features); got shape {array.shape}."
        )
    check_not_empty(array.shape)
    # The pixels of uint8 images need no check.
    if array.dtype == np.uint8 or not (finite or array.dtype == object):
        return array
    return check_array(array, dtype="numeric", allow_nd=True, input_name="X")


def stacked(images: Sequence[Any]) -> np.ndarray:
    """Return images or rows of one shape and one kind as one array of all."""
    arrays = [np.asarray(as_numpy(image)) for image in images]
    check_one_shape([array.shape for array in arrays], "image")
    check_one_kind(images, "image")
    return np.stack(arrays) if arrays else np.empty((0, 0, 0))


def check_finite(images: ImageSequence) -> None:
    """Refuse NaN and infinity in images that lie in memory.

    Those that are read one by one are checked when that is done.
    """
    reader = images.reader
    if isinstance(reader, ArrayReader) and reader.array.dtype.kind == "f":
        for start in range(0, len(images), 1024):
            part = images.read_stored(slice(start, start + 1024))
            assert_all_finite(part.numpy(), input_name="X")


def check_not_empty(shape: tuple[int, ...]) -> None:
    """Refuse arrays without images, and images without pixels."""
    if shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={tuple(shape)}) while a minimum of 1 "
            "is required."
        )
    if 0 in shape:
        raise ValueError(f"X has images without pixels: its shape is {tuple(shape)}.")


def check_one_shape(shapes: Sequence[tuple[int, ...]], what: str) -> None:
    """Refuse images or rows, as `what` says, that differ in shape."""
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        remedy = " Give all rows as many features."
        if _differ_in_colour(shapes[0], shapes[odd]):
            remedy = f" {ONE_COLOUR}"
        elif what == "image":
            remedy = (
                " Set image_size=(height, width) on the estimator, and all are resized."
            )
        raise ValueError(
            f"The {what}s of X differ in shape: {what} 0 has {shapes[0]}, {what} {odd} "
            f"has {shapes[odd]}.{remedy}"
        )


def _differ_in_colour(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two images are equal in size, but not in the number of channels."""
    if {len(shape), len(other)} == {2, 3}:
        shape, other = sorted((shape, other), key=len)
        return shape in (other[1:], other[:2])
    if len(shape) != 3 or len(other) != 3:
        return False
    ends = {shape[0], other[0]}, {shape[2], other[2]}
    first, last = (lengths <= set(CHANNELS) for lengths in ends)
    return (first and shape[1:] == other[1:]) or (last and shape[:2] == other[:2])


def check_sizes(images: Sequence[Any]) -> None:
    """Check the sizes of PIL images before they are decoded, which may need much."""
    sizes = [image.size[::-1] for image in images if is_pil(image)]
    # Those that are to be turned may have the two in either order.
    if len({tuple(sorted(size)) for size in sizes}) > 1:
        check_one_shape(sizes, "image")


def check_one_kind(items: Sequence[Any], what: str) -> None:
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


def _dtype_of(item: Any) -> np.dtype | None:
    """Return the type of an array's, a tensor's or an image's values, else None."""
    if is_pil(item):
        return np.asarray(item).dtype
    if not getattr(item, "ndim", 0):
        return None  # Numbers of Python's have no type of their own.
    return as_numpy(item).dtype
