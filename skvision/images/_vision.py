"""How torchvision's own data sets give their items, and how photos become upright."""

from __future__ import annotations

import copy
import inspect
import os
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from skvision._warnings import warn
from skvision.images._decode import is_deep, pixels_of
from skvision.images._files import errors_of, open_image
from skvision.images._transforms import (
    SplitTransform,
    Upright,
    split_transform,
)
from skvision.images._unwrap import is_own

_TRANSFORMS = {"transform", "transforms", "target_transform"}


def visible_split(dataset: Any) -> SplitTransform | None:
    """Split the transform of one of torchvision's data sets; None if it is not seen."""
    names = _names_in_getitem(dataset)
    if "transforms" in names:
        joint = getattr(dataset, "transforms", None)
        if joint is not None and type(joint).__name__ != "StandardTransform":
            return None  # It sees the label, too.
        return split_transform(joint and joint.transform)
    if "transform" not in names:
        return None
    return split_transform(getattr(dataset, "transform", None))


def with_transform(dataset: Any, parts: list[Any]) -> Any:
    """Return a shallow copy that has other transforms."""
    from torchvision.transforms import Compose

    dataset = copy.copy(dataset)
    transform = Compose(parts) if parts else None
    if "transforms" in _names_in_getitem(dataset):
        dataset.transforms = copy.copy(dataset.transforms)
        dataset.transforms.transform = transform
    else:
        dataset.transform = transform
    return dataset


def is_unchanged(dataset: Any) -> bool:
    """Whether nothing of the user's, such as a loader, takes part in reading items."""
    names = _names_in_getitem(dataset)
    for kind in type(dataset).__mro__:
        if kind.__module__.startswith("torchvision.datasets."):
            break
        if names & vars(kind).keys():
            return False
    values = [vars(dataset).get(name) for name in names - _TRANSFORMS]
    return all(
        (getattr(value, "__module__", None) or "").startswith("torchvision.")
        for value in values
        if callable(value)
    )


def faithful(dataset: Any) -> Any:
    """Return a copy of a data set that gives upright images, as far as it is known how.

    The transform of one of torchvision's gets photos turned as their EXIF data say,
    and files that torchvision's own loader would read come at the depth that they have.
    """
    if type(dataset) is ConcatDataset:
        joined = copy.copy(dataset)
        joined.datasets = [faithful(part) for part in dataset.datasets]
        return joined
    if type(dataset) is Subset:
        return Subset(faithful(dataset.dataset), dataset.indices)
    names = _names_in_getitem(dataset)
    transform = getattr(dataset, "transform", None)
    if "transforms" in names:
        joint = getattr(dataset, "transforms", None)
        if joint is None or type(joint).__name__ != "StandardTransform":
            return dataset  # What is done to images alone is nothing, or not known.
        transform = joint.transform
    if _has_default_loader(dataset):
        dataset = copy.copy(dataset)
        as_array = transform is None and "transform" in names
        dataset.loader = ImageLoader(as_array, getattr(dataset, "root", ""))
    if {"transform", "transforms"} & names:
        parts = [Upright(), *([] if transform is None else [transform])]
        dataset = with_transform(dataset, parts)
    return dataset


def _has_default_loader(dataset: Any) -> bool:
    if "loader" not in vars(dataset):
        return False
    from torchvision.datasets import folder

    own = (folder.default_loader, folder.pil_loader)
    return isinstance(dataset, folder.DatasetFolder) and dataset.loader in own


class ImageLoader:
    """Read image files as torchvision does, but none in silence with less depth.

    Parameters
    ----------
    as_array : bool
        Whether images of more than 8 bits per channel may be arrays, since there is no
        transform that wants PIL images.
    root : str
        What warnings call the data set.
    """

    def __init__(self, as_array: bool, root: Any) -> None:
        self.as_array = as_array
        self.root = os.fspath(root)

    def __call__(self, path: str) -> Any:
        from PIL import Image

        with open_image(path) as image, errors_of(path):
            is_flat = not is_deep(image)
            pixels = pixels_of(image, "RGB", where=path)
        if is_flat:
            return Image.fromarray(pixels)
        if self.as_array:
            return pixels
        if pixels.dtype != np.uint16:
            raise ValueError(
                f"{path} holds {pixels.dtype} values, which the transform of this data "
                "set cannot take. Give a list of paths, or another loader=."
            )
        warn(
            f"The data set {self.root!r} has images of 16 bits per channel, of which "
            "its transform gets the upper 8, as PIL images in colour have no more. "
            "Lists of paths, and data sets without a transform, keep all of them."
        )
        return Image.fromarray((pixels >> 8).astype(np.uint8))


def _names_in_getitem(dataset: Any) -> set[str]:
    """Return what a data set of torchvision's looks up to give an item."""
    if not is_own(dataset, "torchvision.datasets."):
        return set()  # A class of the user's may do anything in __getitem__.
    return set(inspect.unwrap(type(dataset).__getitem__).__code__.co_names)
