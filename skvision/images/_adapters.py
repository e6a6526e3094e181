"""From data sets to the sequences of images that estimators read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from skvision._random import isolated_random_state
from skvision.images._arrays import as_numpy
from skvision.images._layout import AUTO, Form
from skvision.images._readers import (
    ArrayReader,
    Cache,
    DatasetReader,
    FlatItemError,
    Reader,
    kind_of,
)
from skvision.images._sequence import ImageSequence
from skvision.images._transforms import SplitTransform
from skvision.images._unwrap import unwrap
from skvision.images._vision import (
    faithful,
    is_unchanged,
    visible_split,
    with_transform,
)

_CPU = torch.device("cpu")


class Listed(Dataset):
    """Images, or pairs of images and labels, in a list."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Any:
        return self.items[row]


def images_of(dataset: Any, cache: Cache = "auto", form: Form = AUTO) -> ImageSequence:
    """Return the images of a data set as an `ImageSequence`."""
    base, rows = unwrap(dataset)
    if len(base) == 0 or (rows is not None and len(rows) == 0):
        raise ValueError(
            f"Found array with 0 sample(s): {type(base).__name__} data set is empty."
        )
    with isolated_random_state(_CPU):  # The first items may be random.
        split = visible_split(base)
        if split is not None:
            # What torchvision makes of images is known; parameters are for others.
            form = form._replace(where="auto")
        if (reader := _memory_reader(base, split, form)) is not None:
            return ImageSequence(reader, rows)
        if cache == "auto" and not is_unchanged(base):
            cache = False
        base = faithful(base)
        split = visible_split(base)
        kept = None
        if rows is not None:
            # Nothing need be kept of images that are not meant.
            kept, rows = np.unique(rows, return_inverse=True)
        plain = form._replace(spec=None)
        make = partial(DatasetReader, rows=kept, form=plain)
        try:
            reader = _item_reader(base, make, split, cache)
            return ImageSequence(reader, rows).brought(form)
        except FlatItemError:
            return ImageSequence(_row_reader(base, kept), rows)


def _row_reader(dataset: Any, rows: np.ndarray | None) -> Reader:
    """Read a data set whose items are rows of features, which are small, at once."""
    items = [
        dataset[int(row)] for row in (range(len(dataset)) if rows is None else rows)
    ]
    parts = [item[0] if isinstance(item, (tuple, list)) else item for item in items]
    arrays = [
        np.asarray(part.detach().cpu() if isinstance(part, torch.Tensor) else part)
        for part in parts
    ]
    # One array of all is to hold each as it is alone.
    looks = [(array.shape, kind_of(array.dtype)) for array in arrays]
    if odd := [i for i, look in enumerate(looks) if look != looks[0]]:
        first, other = arrays[0], arrays[odd[0]]
        raise ValueError(
            f"Item {odd[0] if rows is None else rows[odd[0]]} of the "
            f"{type(dataset).__name__} data set has shape {other.shape} and "
            f"{other.dtype} values, the first one {first.shape} and {first.dtype}. "
            "Give all rows as many features, and one type."
        )
    return ArrayReader(np.stack(arrays), "flat")


def _memory_reader(
    dataset: Any, split: SplitTransform | None, form: Form
) -> Reader | None:
    """Read whole batches from a data set's own array, if that gives the same."""
    if type(dataset) is TensorDataset:
        array = as_numpy(dataset.tensors[0], "the TensorDataset")
        if array.ndim not in (2, 3, 4):
            return None
        return ArrayReader(array, form.of_batch(array.shape))
    data = getattr(dataset, "data", None)
    array = data.numpy() if isinstance(data, torch.Tensor) else data
    if (
        split is None
        or not split.is_pixelwise
        or not isinstance(array, np.ndarray)
        or array.dtype != np.uint8
        or len(array) != len(dataset)
    ):
        return None
    if array.ndim == 3:
        layout = "grey"
    elif array.ndim == 4 and 3 in (array.shape[1], array.shape[3]):
        layout = "first" if array.shape[1] == 3 else "last"
    else:
        return None
    reader = ArrayReader(array, layout, steps=split.steps)
    return reader if _agrees(reader, DatasetReader(dataset)) else None


def _item_reader(
    dataset: Any,
    make: Callable[..., DatasetReader],
    split: SplitTransform | None,
    cache: Cache,
) -> Reader:
    """Read a data set item by item, but do in whole batches what can be done so."""
    if split is None:
        return make(dataset, cache=cache is True)
    if cache == "auto" and not split.is_deterministic:
        cache = False
    with isolated_random_state(_CPU, 0):
        # What is kept must not mix with what another transform gives later on.
        whole = make(copy.copy(dataset), cache=cache)
    if split.steps is None:
        return whole
    try:
        with isolated_random_state(_CPU, 0):
            dataset = with_transform(dataset, split.per_image)
            parted = make(dataset, steps=split.steps, cache=cache)
        return parted if _agrees(parted, whole) else whole
    except Exception:
        return whole  # Which errors an unsuitable transform raises is not known.


def _agrees(reader: Reader, whole: Reader) -> bool:
    """Whether a reader gives the items of a data set, by three of them."""
    if (reader.image_shape, reader.dtype) != (whole.image_shape, whole.dtype):
        return False
    sequence = ImageSequence(reader)
    n_equal = 0
    for row in np.unique([0, len(whole) // 2, len(whole) - 1]):
        try:
            with isolated_random_state(_CPU, int(row)):
                expected = whole.read(np.array([row]))[0].numpy()
        except (OSError, ValueError):
            continue  # It will be raised when the image is needed.
        with isolated_random_state(_CPU, int(row)):
            if not np.array_equal(sequence[row], expected):
                return False
        n_equal += 1
    return n_equal > 0
