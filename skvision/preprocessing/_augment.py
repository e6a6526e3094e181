"""Lists of transforms applied to training images, all at once or beforehand."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_consistent_length
from torch import Generator, Tensor

from skvision._compat import StrOptions, validated
from skvision._random import draw_seed, isolated_random_state
from skvision._warnings import warn
from skvision.images._arrays import as_image_array, as_numpy
from skvision.images._layout import layout_of
from skvision.images._sequence import ImageSequence
from skvision.images._sources import NoImages, Rows, source_of
from skvision.preprocessing._base import BatchTransform
from skvision.preprocessing._pixel_range import is_outside

# Values per step of `expand`: 16 MB of float32.
_CHUNK = 2**22
# Calls that give one result before a transform is taken for not random.
_N_CALLS = 16


def check_transforms(
    augment: Any, name: str = "augment"
) -> list[Callable[..., Tensor]]:
    """Check transforms and return them as a list.

    Parameters
    ----------
    augment : callable, list or tuple of callable, or None
        One transform or several. None and entries that are None stand for no
        transform, so that a search can switch one off.
    name : str, default="augment"
        What error messages call it.

    Returns
    -------
    transforms : list of callable
        Without the entries that are None.

    Raises
    ------
    TypeError
        If an entry is not callable, or is a class.
    ValueError
        If a parameter of a transform is out of its range.
    """
    entries = augment if isinstance(augment, (list, tuple)) else [augment]
    transforms = [entry for entry in entries if entry is not None]
    for transform in transforms:
        if isinstance(transform, type) or not callable(transform):
            got = f"{transform!r} of type {type(transform).__name__}"
            if isinstance(transform, type):
                name_of = transform.__name__
                got = f"the class {name_of}. Make one of it: {name_of}()"
            raise TypeError(
                f"{name} expects transforms, which are callable; got {got}."
            )
        if isinstance(transform, BatchTransform):
            transform.check_params()
    return transforms


def apply_transforms(
    images: Tensor, transforms: Any, generator: Generator | None = None
) -> Tensor:
    """Apply transforms to a batch of images, one after the other.

    Parameters
    ----------
    images : torch.Tensor of shape (b, C, H, W)
        Of a float dtype with values in [0, 1].
    transforms : callable, list or tuple of callable, or None
        Those of :mod:`skvision.preprocessing` get the whole batch. All others, such
        as those of ``torchvision.transforms.v2``, get image by image as a tensor of
        shape (C, H, W), since they would treat all images of a batch alike. Entries
        that are None are skipped.
    generator : torch.Generator, default=None
        Where the transforms of :mod:`skvision.preprocessing` draw from; None means
        torch's default generator of the images' device. All others draw from what
        they draw from, as a rule torch's default generator.

    Returns
    -------
    images : torch.Tensor of shape (b, C, H, W)
        A new tensor of the same dtype, or `images` if there is nothing to apply.
        Height and width are those that the transforms give.

    Raises
    ------
    TypeError
        If `images` is no tensor, or if a transform is not callable or does not return
        a float tensor.
    ValueError
        If a parameter of a transform is out of its range, or the results of a
        transform are not images of one shape.

    See Also
    --------
    expand : Add transformed copies to the training images.

    Examples
    --------
    >>> import torch
    >>> from torchvision.transforms import v2
    >>> from skvision.preprocessing import RandomShift, apply_transforms
    >>> images = torch.rand(8, 3, 32, 32)
    >>> transforms = [RandomShift(4), v2.RandomGrayscale(p=0.2)]
    >>> apply_transforms(images, transforms).shape
    torch.Size([8, 3, 32, 32])
    """
    for transform in check_transforms(transforms, "transforms"):
        if isinstance(transform, BatchTransform):
            images = transform(images, generator)
        else:
            images = _one_by_one(images, transform)
    return images


def copy_transforms(transforms: Any) -> Any:
    """Return what scikit-learn's ``clone`` should make of transforms.

    It takes those of torchvision that have a static method called ``get_params`` for
    estimators.
    """
    if isinstance(transforms, (list, tuple)):
        return type(transforms)([copy_transforms(entry) for entry in transforms])
    if isinstance(transforms, BaseEstimator):
        return clone(transforms)
    return copy.deepcopy(transforms)


def clonable_transforms(value: Any) -> Any:
    """Return a candidate's parameter as scikit-learn's ``clone`` takes it.

    Transforms that it takes for estimators are put into a ``Compose``, which does the
    same; anything else is left as it is.
    """
    if type(value) in (list, tuple):
        return type(value)(map(clonable_transforms, value))
    method = inspect.getattr_static(type(value), "get_params", None)
    if not isinstance(method, staticmethod):
        return value
    from torchvision.transforms import v2

    return v2.Compose([value])


def warn_of_transforms(images: Tensor, augment: Any) -> None:
    """Warn of transforms that make other images in training than in prediction.

    Parameters
    ----------
    images : torch.Tensor of shape (b, C, H, W)
        Some of the training images.
    augment : callable, list or tuple of callable, or None
        Applied to training batches alone.
    """
    group: list[Any] = []
    for transform in _parts(check_transforms(augment)):
        group.append(transform)
        result = apply_transforms(images, group)
        if result.shape != images.shape:
            continue  # What follows brings them back, as a crop does after a pad.
        name = ", ".join(map(repr, group))
        if _always_gives(result, images, group):
            warn(
                f"augment has {name}, which is not random: it changes all images in "
                "training, and none in prediction. Do to X what all images need, "
                "or use normalize; augment is for random changes."
            )
        low, high = float(images.min()), float(images.max())
        if is_outside(low, high) and not is_outside(*map(float, result.aminmax())):
            warn(
                f"augment has {name}, which clips values to [0, 1], but X has values "
                f"from {low:.6g} to {high:.6g}. Scale X to [0, 1]."
            )
        images, group = result, []


def _parts(transforms: list[Any]) -> list[Any]:
    """Return the transforms that follow each other, also those within others."""
    parts: list[Any] = []
    for transform in transforms:
        if isinstance(transform, torch.nn.Sequential):
            parts += _parts(list(transform))
        elif type(transform).__name__ == "Compose":
            parts += _parts(list(transform.transforms))
        else:
            parts.append(transform)
    return parts


def _always_gives(result: Tensor, images: Tensor, transforms: list[Any]) -> bool:
    """Whether transforms change images, and in the same way each time."""
    return not torch.equal(result, images) and all(
        torch.equal(apply_transforms(images, transforms), result)
        for _ in range(_N_CALLS)
    )


@validated(
    channels=[StrOptions({"auto", "first", "last"})],
    random_state=["random_state"],
)
def expand(
    X: Any,
    y: Any,
    transforms: Any,
    *,
    channels: str = "auto",
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Add transformed copies to the training images.

    This enlarges the data once, before training, where an estimator that transforms
    its batches draws anew in each epoch.

    Parameters
    ----------
    X : array-like or ImageSequence
        Images of shape (n, H, W), (n, H, W, C) or (n, C, H, W), with uint8 values or
        floats in [0, 1].
    y : array-like of shape (n,) or (n, n_outputs), or None
        Their targets.
    transforms : callable, or list of (callable or list of callable)
        One block of n images is added for each entry: a transform, or a list of
        transforms that are applied in order, as in :func:`apply_transforms`. Entries
        that are None are skipped.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of 4 axes have their channels; "auto" takes the axis of length
        1, 3 or 4.
    random_state : int or RandomState instance, default=None
        Seed of all that is random; None gives other images each time. The global
        generators of Python, NumPy and torch are left as they were.

    Returns
    -------
    X : ndarray of shape (n * (1 + n_blocks), ...)
        The images as given, then the blocks in the order of `transforms`, in the
        layout and dtype of the input; (n, C, H, W) for an ImageSequence. Values that
        come back as uint8 are rounded.
    y : ndarray of shape (n * (1 + n_blocks),) or (n * (1 + n_blocks), n_outputs)
        The targets, repeated; None if none were given.

    Raises
    ------
    TypeError
        If a transform is not callable or does not return a float tensor.
    ValueError
        If the values of `X` are neither uint8 nor floats in [0, 1], if `X` and `y`
        differ in length, if a parameter of a transform is out of its range, or if a
        transform changes the shape of the images.

    See Also
    --------
    apply_transforms : Apply transforms to a batch of images.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.preprocessing import RandomHorizontalFlip, UniformNoise, expand
    >>> X = np.zeros((5, 8, 8), dtype=np.uint8)
    >>> y = np.arange(5)
    >>> flip, noise = RandomHorizontalFlip(p=1.0), UniformNoise()
    >>> X_more, y_more = expand(X, y, [flip, noise, [flip, noise]], random_state=0)
    >>> X_more.shape, X_more.dtype
    ((20, 8, 8), dtype('uint8'))
    >>> y_more
    array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    """
    X, layout = _check_images(X, channels)
    y = as_numpy(y, "y")
    if y is not None:
        check_consistent_length(X, y)
    entries = transforms if isinstance(transforms, (list, tuple)) else [transforms]
    blocks = [
        check_transforms(entry, "transforms") for entry in entries if entry is not None
    ]
    n = len(X)
    size = max(1, _CHUNK // math.prod(X.shape[1:]))
    chunks = [slice(i, min(i + size, n)) for i in range(0, n, size)]
    # torch knows only the native byte order.
    dtype = X.dtype.newbyteorder("=")
    result = np.empty((n * (1 + len(blocks)), *X.shape[1:]), dtype=dtype)
    # What is written to this view of shape (..., C, H, W) is in the result.
    images = result[:, None] if layout == "grey" else result
    images = np.moveaxis(result, 3, 1) if layout == "last" else images
    with isolated_random_state(torch.device("cpu"), draw_seed(random_state)):
        # Read once: images may have to be decoded and be random themselves.
        for rows in chunks:
            result[rows] = X[rows]
            _check_values(result[rows])
        for i, block in enumerate(blocks, start=1):
            copies = images[n * i : n * (i + 1)]
            for rows in chunks:
                batch = apply_transforms(_to_unit(images[rows]), block)
                if batch.shape[1:] != images.shape[1:]:
                    raise ValueError(
                        f"expand needs images to keep their shape {images.shape[1:]}; "
                        f"{block} gave {tuple(batch.shape[1:])}."
                    )
                copies[rows] = _from_unit(batch, dtype)
    return result, None if y is None else np.concatenate([y] * (1 + len(blocks)))


def _one_by_one(images: Tensor, transform: Callable[[Tensor], Any]) -> Tensor:
    """Return images each transformed by itself, by a transform of one image."""
    if not isinstance(images, Tensor):
        raise TypeError(
            "Transforms expect a torch.Tensor of shape (b, C, H, W); got "
            f"{type(images).__name__}."
        )
    # A transform may work in place; then it changes the clone.
    results = [transform(image) for image in images.clone()]
    for result in results:
        if not isinstance(result, Tensor) or not result.is_floating_point():
            kind = result.dtype if hasattr(result, "dtype") else type(result).__name__
            raise TypeError(
                f"The transform {transform!r} must return a float tensor; got {kind}."
            )
    shapes = dict.fromkeys(tuple(result.shape) for result in results)
    if len(shapes) > 1 or any(len(shape) != 3 for shape in shapes):
        raise ValueError(
            f"The transform {transform!r} must return images of one shape (C, H, W); "
            f"got {' and '.join(map(str, shapes))}."
        )
    return torch.stack(results).to(images.dtype) if results else images.clone()


def _check_images(X: Any, channels: str) -> tuple[np.ndarray | ImageSequence, str]:
    """Return images and where they have their channels."""
    source = source_of(X)
    if source.is_read_later:
        raise TypeError(
            f"expand needs arrays of images; got {type(X).__name__}. Give X and y of "
            "as_Xy, which reads data sets and files."
        )
    if isinstance(source, NoImages):
        raise source.error
    if X.flat if isinstance(X, ImageSequence) else isinstance(source, Rows):
        raise ValueError(
            "expand needs images; X has rows of features. Reshape it to (n, height, "
            "width) or (n, height, width, channels)."
        )
    if isinstance(X, ImageSequence):
        layout = "first"
    else:
        X = as_image_array(source.X)
        layout = layout_of(X.shape, channels)
    if X.dtype != np.uint8 and X.dtype.kind != "f":
        raise ValueError(f"X must have uint8 values or floats; got dtype {X.dtype}.")
    return X, layout


def _check_values(images: np.ndarray) -> None:
    if images.dtype != np.uint8 and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            "X must have uint8 values or floats in [0, 1]; got values from "
            f"{images.min():.3g} to {images.max():.3g}. Scale them first."
        )


def _to_unit(images: np.ndarray) -> Tensor:
    """Return what transforms take: floats in [0, 1]."""
    batch = torch.from_numpy(images)
    if batch.dtype == torch.uint8:
        return batch.div(255)
    return batch if batch.dtype == torch.float64 else batch.to(torch.float32)


def _from_unit(batch: Tensor, dtype: np.dtype) -> np.ndarray:
    """Return what `_to_unit` was given, up to a float's precision."""
    if dtype == np.uint8:
        batch = batch.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return batch.numpy()
