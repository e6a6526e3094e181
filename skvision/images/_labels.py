"""Labels that data sets carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, TensorDataset

from skvision._random import isolated_random_state
from skvision.images._unwrap import is_own, unwrap

_CPU = torch.device("cpu")
# Items whose labels are compared with those that a data set has on its own.
_N_COMPARED = 32


def labels_of(dataset: Any) -> np.ndarray | None:
    """Return the labels of a data set, or None where its items carry none.

    Images are decoded only where no ``targets`` or ``labels`` are to be had.
    """
    base, rows = unwrap(dataset)
    with isolated_random_state(_CPU):
        labels = _stored_labels(base)
        if labels is not None:
            return labels if rows is None else labels[rows]
        found = []
        for row in range(len(base)) if rows is None else rows:
            item = base[int(row)]
            if not isinstance(item, (tuple, list)) or len(item) < 2:
                return None
            found.append(item[1])  # And not the image, of which there are many.
    return np.asarray(found)


def labels_at_hand(dataset: Any) -> np.ndarray | None:
    """Return the labels for which no image need be decoded, or None."""
    base, rows = unwrap(dataset)
    labels = _stored_labels(base)
    return labels if labels is None or rows is None else labels[rows]


def _stored_labels(dataset: Any) -> np.ndarray | None:
    """Return the labels that a data set stores beside its items, if it does."""
    if type(dataset) is ConcatDataset:
        parts = [labels_at_hand(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None and part.ndim == 1]
        return np.concatenate(known) if len(known) == len(parts) else None
    if is_own(dataset, "torchvision.datasets.folder"):
        labels: Any = [label for _, label in dataset.samples]
    elif type(dataset) is TensorDataset:
        labels = dataset.tensors[1] if len(dataset.tensors) > 1 else None
    else:
        names = ("targets", "labels", "y")
        stored = (getattr(dataset, name, None) for name in names)
        labels = next((value for value in stored if value is not None), None)
    if labels is None:
        return None
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu()
    labels = np.asarray(labels)
    if labels.ndim == 0 or len(labels) != len(dataset):
        return None
    transform = getattr(dataset, "target_transform", None)
    if transform is not None and labels.ndim > 1:
        return None
    if transform is not None:
        labels = np.asarray([transform(label) for label in labels.tolist()])
    if type(dataset) is TensorDataset or (
        labels.ndim == 1 and is_own(dataset, "torchvision.datasets.")
    ):
        return labels
    return labels if _labels_agree(labels, dataset) else None


def _labels_agree(labels: np.ndarray, dataset: Any) -> bool:
    # What a class of the user's calls targets may be anything, and may differ in some.
    for row in np.unique(np.linspace(0, len(dataset) - 1, _N_COMPARED).astype(int)):
        item = dataset[int(row)]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            return False
        if not np.array_equal(np.asarray(item[1]), labels[row]):
            return False
    return True
