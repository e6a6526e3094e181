"""Whole batches, gathered at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import DataLoader, Dataset, Sampler

from skvision.datasets._sequence import ImageSequence

__all__ = ["BatchLoader", "ImageDataset", "ScoringDataset"]


class ImageDataset(Dataset):
    """Checked images, encoded targets and weights, as skorch's loop wants them.

    Parameters
    ----------
    images : ImageSequence of length n
    y : torch.Tensor of shape (n,) or (n, k), default=None
        Class numbers or regression targets.
    sample_weight : torch.Tensor of shape (n,), default=None

    Notes
    -----
    An item is (image, target), or (image, target, weight) where there are weights;
    an array of rows gives a whole batch.
    """

    def __init__(
        self,
        images: ImageSequence,
        y: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
    ) -> None:
        self.images = images
        self.y = y
        self.sample_weight = sample_weight

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> tuple[torch.Tensor, ...]:
        single = np.ndim(rows) == 0 and not isinstance(rows, slice)
        key = np.asarray([rows]) if single else rows
        images = self.images.read(key)
        # skorch unpacks every batch into two, so there must be some target.
        y = torch.zeros(len(images)) if self.y is None else self.y[key]
        batch: tuple[torch.Tensor, ...] = (images, y)
        if self.sample_weight is not None:
            batch += (self.sample_weight[key],)
        return tuple(part[0] for part in batch) if single else batch

    def subset(self, rows: np.ndarray) -> ImageDataset:
        """Return the data set of some rows, sharing the images."""
        return ImageDataset(
            self.images[rows],
            None if self.y is None else self.y[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
        )


class ScoringDataset(SkorchDataset):
    """Images and targets in the user's terms, as skorch's scorers look for them."""

    def __init__(self, images: ImageSequence, y: np.ndarray) -> None:
        super().__init__(images, y, length=len(images))


class BatchLoader(DataLoader):
    """A DataLoader that asks its data set for whole batches.

    The default ``iterator_train`` and ``iterator_valid`` of the estimators. Its
    batches are never collated sample by sample, and its shuffling has a generator
    of its own.

    Parameters
    ----------
    dataset : ImageDataset
        Or any data set that takes a slice or an array of rows as index.
    batch_size : int, default=128
        A single row left over for the last batch joins the batch before it, since
        batch normalisation cannot train on one row.
    shuffle : bool, default=False
        Whether the rows are drawn in random order.
    drop_last : bool, default=False
        Whether a smaller last batch is left out.
    generator : torch.Generator, default=None
        Draws the order; None means torch's default generator.
    num_workers : int, default=0
        Processes that read batches ahead, for images that must be decoded.
    pin_memory, prefetch_factor, persistent_workers, timeout, worker_init_fn, \
multiprocessing_context
        As in `torch.utils.data.DataLoader`.

    Examples
    --------
    >>> import torch
    >>> from skvision.datasets import as_Xy
    >>> from skvision.training import BatchLoader, ImageDataset
    >>> data = torch.utils.data.TensorDataset(torch.rand(9, 1, 8, 8), torch.arange(9))
    >>> X, y = as_Xy(data)
    >>> loader = BatchLoader(ImageDataset(X, torch.from_numpy(y)), batch_size=4)
    >>> [tuple(images.shape) for images, _ in loader]
    [(4, 1, 8, 8), (5, 1, 8, 8)]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 128,
        shuffle: bool = False,
        drop_last: bool = False,
        generator: torch.Generator | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
    ) -> None:
        rows = _BatchRows(len(dataset), batch_size, shuffle, drop_last, generator)  # type: ignore[arg-type]
        if generator is not None:
            # The seeds of workers have a generator of their own: how often they are
            # drawn depends on the number of workers, and the order must not.
            generator = torch.Generator().manual_seed(generator.initial_seed())
        super().__init__(
            dataset,
            batch_size=None,
            sampler=rows,
            collate_fn=_identity,
            generator=generator,
            num_workers=num_workers,
            pin_memory=pin_memory,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            timeout=timeout,
            worker_init_fn=worker_init_fn,
            multiprocessing_context=multiprocessing_context,
        )


class _BatchRows(Sampler):
    """The rows of each batch: slices in order, index arrays when shuffled."""

    def __init__(self, n, batch_size, shuffle, drop_last, generator):
        self.n = n
        self.shuffle = shuffle
        self.generator = generator
        self.ends = [*range(batch_size, n, batch_size), n] if n else []
        if len(self.ends) > 1 and n % batch_size == 1:
            del self.ends[-2]
        elif drop_last and n % batch_size:
            del self.ends[-1]

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Any]:
        starts = [0, *self.ends][: len(self.ends)]
        if self.shuffle:
            order = torch.randperm(self.n, generator=self.generator).numpy()
            yield from (order[a:b] for a, b in zip(starts, self.ends, strict=True))
        else:
            yield from (slice(a, b) for a, b in zip(starts, self.ends, strict=True))


def _identity(batch):
    return batch
