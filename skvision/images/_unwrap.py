"""What stands behind a view of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import Dataset, Subset

from skvision._compat import num_samples, safe_indexing


def unwrap(dataset: Any) -> tuple[Any, np.ndarray | None]:
    """Return the innermost data set and the rows of it that are meant."""
    rows = None
    while True:
        if is_slice_dataset(dataset) and _is_plain(dataset):
            if dataset.idx != 0:
                raise ValueError(
                    f"Got a SliceDataset with idx={dataset.idx}, which holds no "
                    "images; X expects one with idx=0."
                )
            indices = dataset.indices_
        elif (
            isinstance(dataset, Subset)
            and type(dataset).__getitem__ is Subset.__getitem__
        ):
            indices = dataset.indices
        else:
            break
        indices = np.asarray(indices, dtype=np.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    if (
        not hasattr(dataset, "__len__")
        or type(dataset).__getitem__ is Dataset.__getitem__
    ):
        raise TypeError(
            f"Expected a map-style data set, with __len__ and __getitem__; the "
            f"{type(dataset).__name__} data set has not both, as an IterableDataset."
        )
    return dataset, rows


def held_in(dataset: Dataset) -> tuple[Any, Any] | None:
    """Return X and y that skorch's ``Dataset`` holds, or those of a ``Subset`` of one.

    None where it is another data set, or a subclass that makes items of its own.
    """
    base, rows = unwrap(dataset)
    kind = type(base)
    if (
        not isinstance(base, SkorchDataset)
        or kind.__getitem__ is not SkorchDataset.__getitem__
        or kind.transform is not SkorchDataset.transform
        or isinstance(base.X, Mapping)
        or num_samples(base.X) != len(base)
    ):
        return None
    if rows is None:
        return base.X, base.y
    y = None if base.y is None else safe_indexing(base.y, rows)
    return safe_indexing(base.X, rows), y


def is_own(dataset: Any, module: str) -> bool:
    """Whether a data set gives its items as some module has it."""
    return type(dataset).__getitem__.__module__.startswith(module)


def is_slice_dataset(X: Any) -> bool:
    """Whether X is skorch's SliceDataset."""
    # By its attributes, since skorch.helper is slow to import and rarely needed.
    return all(hasattr(X, name) for name in ("dataset", "idx", "indices_"))


def _is_plain(slice_dataset: Any) -> bool:
    """Whether a SliceDataset leaves its items as they are."""
    return type(slice_dataset).transform.__module__ == "skorch.helper"
