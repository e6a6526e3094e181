"""From data sets to the X and y that scikit-learn's tools want."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from skvision.datasets._sequence import ArrayReader, DatasetReader, ImageSequence

__all__ = ["as_Xy", "images_of", "is_dataset", "labels_of"]


def as_Xy(dataset: Any) -> tuple[ImageSequence, np.ndarray]:
    """Return the images and labels of a data set as scikit-learn's X and y.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        A torchvision data set or any other whose items are (image, label) pairs,
        a ``Subset`` of one, or skorch's ``SliceDataset``.

    Returns
    -------
    X : ImageSequence of shape (n, C, H, W)
        What the data set's items hold after its transforms, to be indexed like an
        array. Images that the data set holds in memory are neither copied nor
        decoded one by one, as long as its transforms are among ``ToTensor``,
        ``PILToTensor``, ``ToImage``, ``ToDtype``, ``ConvertImageDtype`` and
        ``Normalize``. All else is read item by item when it is needed.
    y : ndarray of shape (n,)
        The labels, taken from the data set's ``targets`` where it has them.

    Raises
    ------
    TypeError
        If `dataset` is not a data set.
    ValueError
        If its items carry no labels.

    See Also
    --------
    skorch.helper.SliceDataset : The model for X; decodes image by image.

    Notes
    -----
    Random transforms are drawn again whenever an item is read.

    Examples
    --------
    >>> import torch
    >>> from sklearn.model_selection import cross_val_score
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import as_Xy
    >>> images = torch.rand(40, 1, 8, 8)
    >>> data = torch.utils.data.TensorDataset(images, torch.arange(40) % 2)
    >>> scores = cross_val_score(ImageClassifier(max_epochs=1), *as_Xy(data), cv=2)
    >>> scores.shape
    (2,)
    """
    if not is_dataset(dataset):
        raise TypeError(
            "as_Xy expects a data set (torch.utils.data.Dataset or SliceDataset); got "
            f"{type(dataset).__name__}. Arrays go into scikit-learn as they are."
        )
    y = labels_of(dataset)
    if y is None:
        raise ValueError(
            f"The items of the {type(dataset).__name__} data set carry no labels; "
            "as_Xy expects items that are (image, label) pairs."
        )
    return images_of(dataset), y


def is_dataset(X: Any) -> bool:
    """Whether X is a map-style data set or skorch's SliceDataset."""
    return isinstance(X, Dataset) or _is_slice_dataset(X)


def images_of(dataset: Any) -> ImageSequence:
    """Return the images of a data set as an `ImageSequence`."""
    base, rows = _unwrap(dataset)
    if len(base) == 0 or (rows is not None and len(rows) == 0):
        raise ValueError(
            f"Found array with 0 sample(s): {type(base).__name__} data set is empty."
        )
    return ImageSequence(_memory_reader(base) or DatasetReader(base), rows)


def labels_of(dataset: Any) -> np.ndarray | None:
    """Return the labels of a data set, or None where its items carry none.

    Images are decoded only where no ``targets`` or ``labels`` are to be had.
    """
    base, rows = _unwrap(dataset)
    labels = _stored_labels(base)
    if labels is None:
        rows = np.arange(len(base)) if rows is None else rows
        items = [base[int(row)] for row in rows]
        if not all(isinstance(item, (tuple, list)) and len(item) > 1 for item in items):
            return None
        return np.asarray([item[1] for item in items])
    return labels if rows is None else labels[rows]


def _is_slice_dataset(X):
    # By its attributes, since skorch.helper is slow to import and rarely needed.
    return all(hasattr(X, name) for name in ("dataset", "idx", "indices_"))


def _is_plain(slice_dataset):
    """Whether a SliceDataset leaves its items as they are."""
    return type(slice_dataset).transform.__module__ == "skorch.helper"


def _unwrap(dataset):
    """Return the innermost data set and the rows of it that are meant."""
    rows = None
    while True:
        if _is_slice_dataset(dataset) and _is_plain(dataset):
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
            return dataset, rows
        indices = np.asarray(indices, dtype=np.int64)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset


def _stored_labels(dataset):
    """Return labels that need no decoding of images, or None."""
    if _is_own(dataset, "torchvision.datasets.folder"):
        labels = [label for _, label in dataset.samples]
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
        labels.ndim == 1 and _is_own(dataset, "torchvision.datasets.")
    ):
        return labels
    return labels if _labels_agree(labels, dataset) else None


def _is_own(dataset, module):
    """Whether a data set gives its items as some module has it."""
    return type(dataset).__getitem__.__module__.startswith(module)


def _labels_agree(labels, dataset):
    # What a class of the user's calls targets may be anything.
    for row in {0, len(dataset) // 2, len(dataset) - 1}:
        item = dataset[row]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            return False
        if not np.array_equal(np.asarray(item[1]), labels[row]):
            return False
    return True


def _memory_reader(dataset):
    """Read whole batches from a data set's own array, if that gives the same."""
    if type(dataset) is TensorDataset:
        array = dataset.tensors[0].detach().cpu()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
        layout = {2: "flat", 3: "grey", 4: "first"}.get(array.ndim)
        return layout and ArrayReader(array, layout)
    if not _is_own(dataset, "torchvision.datasets."):
        return None  # A class of the user's may do anything in __getitem__.
    array = getattr(dataset, "data", None)
    array = array.numpy() if isinstance(array, torch.Tensor) else array
    steps = _pixel_steps(getattr(dataset, "transform", None))
    if (
        steps is None
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
    reader = ArrayReader(array, layout, **steps)
    return reader if _agrees(reader, dataset) else None


def _pixel_steps(transform):
    """Read a transform as ArrayReader's arguments; None if it is anything else."""
    if transform is None:
        return {}
    if not type(transform).__module__.startswith("torchvision.transforms"):
        return None
    name = type(transform).__name__
    if name == "Compose":
        steps: dict[str, Any] | None = {}
        for part in transform.transforms:
            more = _pixel_steps(part)
            if more is None or "mean" in steps or ("mean" in more and not steps):
                return None
            steps |= more
        return steps
    if name in ("PILToTensor", "ToImage"):
        return {}
    if name == "ToTensor" or (
        getattr(transform, "dtype", None) == torch.float32
        and (name == "ConvertImageDtype" or getattr(transform, "scale", False))
    ):
        is_v2 = type(transform).__module__.startswith("torchvision.transforms.v2")
        return {"unit": "mul" if is_v2 and name != "ToTensor" else "div"}
    if name == "Normalize":
        return {
            "mean": np.atleast_1d(np.asarray(transform.mean)),
            "std": np.atleast_1d(np.asarray(transform.std)),
        }
    return None


def _agrees(reader, dataset):
    # The recognised transforms should give equal values; three items prove that
    # the data set does nothing else with its images.
    rows = np.unique([0, len(dataset) // 2, len(dataset) - 1])
    sequence = ImageSequence(reader)
    slow = DatasetReader(dataset)
    return slow.image_shape == reader.image_shape and all(
        np.array_equal(sequence[row], slow.read(np.asarray([row]))[0].numpy())
        for row in rows
    )
