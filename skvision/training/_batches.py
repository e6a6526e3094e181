"""Whole batches, gathered at once."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, pairwise
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib.parallel import get_active_backend
from sklearn.utils import check_consistent_length
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import DataLoader, Dataset, Sampler

from skvision._random import isolated_random_state
from skvision.images._sequence import ImageSequence

# Rows that are on their way to a GPU at once.
_ROWS_TO_COPY = 4096
# Batches that are decoded ahead by a thread, as many as torch's workers read each.
_N_AHEAD = 2
_CPU = torch.device("cpu")


class SeededRows(NamedTuple):
    """Rows of a batch, and what random transforms of a data set are drawn by.

    So each worker process draws what one process alone does.
    """

    rows: slice | np.ndarray
    seed: int


class ImageDataset(Dataset):
    """Checked images, encoded targets and weights, as skorch's loop wants them.

    Parameters
    ----------
    images : ImageSequence of length n
        Rows that an estimator has checked.
    y : torch.Tensor of shape (n,) or (n, k), default=None
        Class numbers, 0 and 1 for each label, or regression targets.
    sample_weight : torch.Tensor of shape (n,) or (n, k), default=None
        Not negative; of rows, or of each label of a row.
    groups : ndarray of shape (n,), default=None
        What the rows belong to; a hold-out keeps those of one group together.

    Notes
    -----
    An item is (image, target), or (image, target, weight) where there are weights;
    an array of rows gives a whole batch. Images are as they are stored; what a data
    set's transform does to their pixels is left to `DeviceLoader`.
    """

    def __init__(
        self,
        images: ImageSequence,
        y: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
        groups: np.ndarray | None = None,
    ) -> None:
        check_consistent_length(images, y, sample_weight, groups)
        self.images = images
        self.y = y
        self.sample_weight = sample_weight
        self.groups = groups
        self._resident: ResidentDataset | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> tuple[torch.Tensor, ...]:
        if isinstance(rows, SeededRows):
            with isolated_random_state(_CPU, rows.seed):
                return self[rows.rows]
        single = not isinstance(rows, (slice, np.ndarray)) and np.ndim(rows) == 0
        key = np.asarray([rows]) if single else rows
        images = self.images.read_stored(key)
        # skorch unpacks every batch into two, so there must be some target.
        y = torch.zeros(len(images)) if self.y is None else self.y[key]
        batch: tuple[torch.Tensor, ...] = (images, y)
        if self.sample_weight is not None:
            batch += (self.sample_weight[key],)
        return tuple(part[0] for part in batch) if single else batch

    def subset(self, rows: np.ndarray) -> ImageDataset:
        """Return the data set of some rows, sharing the images.

        Parameters
        ----------
        rows : ndarray of int
            Their numbers.

        Returns
        -------
        part : ImageDataset
            Of as many rows.
        """
        return ImageDataset(
            self.images[rows],
            None if self.y is None else self.y[rows],
            None if self.sample_weight is None else self.sample_weight[rows],
            None if self.groups is None else self.groups[rows],
        )

    def on_gpu(self, device: torch.device) -> Dataset:
        """Return the data set with everything on a GPU, or itself if that is too much.

        No more is taken than a quarter of the memory that is free there.

        Parameters
        ----------
        device : torch.device
            Where the network is.

        Returns
        -------
        data : Dataset
            With the same items.
        """
        if device.type != "cuda" or self.images.reading != "memory":
            return self
        if self._resident is None:
            nbytes = len(self) * self.images.read_stored(slice(0, 1)).nbytes
            if nbytes > torch.cuda.mem_get_info(device)[0] // 4:
                return self
            self._resident = ResidentDataset(self, device)
        return self._resident


class ResidentDataset(Dataset):
    """The rows of an `ImageDataset`, copied to a device as they are stored."""

    def __init__(self, data: ImageDataset, device: torch.device) -> None:
        self.device = device
        self.parts: list[torch.Tensor] = []
        for start in range(0, len(data), _ROWS_TO_COPY):
            stop = min(start + _ROWS_TO_COPY, len(data))
            for i, part in enumerate(data[start:stop]):
                if start == 0:
                    shape = (len(data), *part.shape[1:])
                    whole = torch.empty(shape, dtype=part.dtype, device=device)
                    self.parts.append(whole)
                self.parts[i][start:stop] = part

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: Any) -> tuple[torch.Tensor, ...]:
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows).to(self.device, non_blocking=True)
            return tuple(part[rows] for part in self.parts)
        # Networks may work in place.
        return tuple(part[rows].clone() for part in self.parts)


class ShownDataset(SkorchDataset):
    """Images and targets in the user's terms, as skorch's data sets hold them.

    What `train_split`, callbacks and scorers get. ``type(data)(X, y)`` makes another.

    Parameters
    ----------
    X : ImageSequence or images as in ``fit``
    y : array-like of shape (n,) or (n, k), default=None
    source : ImageDataset, default=None
        The checked rows that an estimator shows.
    """

    def __init__(
        self, X: Any, y: Any = None, *, source: ImageDataset | None = None
    ) -> None:
        check_consistent_length(X, y)
        super().__init__(X, y, length=len(X))
        self.source = source


class RowsReader:
    """The images of an `ImageDataset`, which keep track of the rows that they are.

    Parameters
    ----------
    data : ImageDataset
    """

    def __init__(self, data: ImageDataset) -> None:
        self.data = data
        reader = data.images.reader
        self.image_shape = reader.image_shape
        self.flat = reader.flat
        self.steps = reader.steps
        self.dtype = reader.dtype
        self.reading = reader.reading
        self.decodes = getattr(reader, "decodes", False)

    def __len__(self) -> int:
        return len(self.data)

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Return some images as they are stored."""
        return self.data.images.read_stored(rows)


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
        batch normalisation cannot train on one row, unless `drop_last` leaves it out.
    shuffle : bool, default=False
        Whether the rows are drawn in random order.
    drop_last : bool, default=False
        Whether a smaller last batch is left out, so that all are of `batch_size`.
    generator : torch.Generator, default=None
        Draws the order; None means torch's default generator.
    num_workers : int, default=0
        Processes that read batches ahead, for data sets whose own code reads images.
        Files that are given by their paths need none: with 0, a thread of this process
        decodes two batches ahead, by as many further threads as torch has. Inside a
        joblib worker there are no more processes than its share of the cores less one
        for training, and no such thread. Batches are the same with any number, and so
        is what random transforms of data sets draw from the generators of Python, NumPy
        and torch.
    pin_memory, prefetch_factor, persistent_workers, timeout, worker_init_fn, \
multiprocessing_context : optional
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
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise ValueError(
                f"batch_size must be an int of at least 1; got {batch_size!r}."
            )
        reader = getattr(getattr(dataset, "images", None), "reader", None)
        decodes = getattr(reader, "decodes", False)
        is_random = not decodes and getattr(reader, "reading", None) == "each_time"
        rows = _BatchRows(
            len(dataset), batch_size, shuffle, drop_last, generator, seeds=is_random
        )
        #: Whether a thread reads batches ahead.
        self._thread: bool = decodes and not num_workers and _affordable(1) > 0
        # The seeds of workers have a generator of their own: how often they are drawn
        # depends on the number of workers, and the order must not.
        seed = generator.initial_seed() if generator else torch.initial_seed()
        generator = torch.Generator().manual_seed(seed)
        if num_workers and not (num_workers := _affordable(num_workers)):
            prefetch_factor, persistent_workers, timeout = None, False, 0
        if num_workers and multiprocessing.get_start_method() == "loky":
            # joblib's own way to start processes is made for its workers alone.
            multiprocessing_context = (
                multiprocessing_context or multiprocessing.get_all_start_methods()[0]
            )
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

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self._thread:
            yield from self._read_ahead()
        elif self.num_workers or self.pin_memory:
            yield from super().__iter__()
        else:
            # DataLoader's own iterator does the same with more ado about each batch.
            for rows in self.sampler:
                yield self.dataset[rows]

    def _read_ahead(self) -> Iterator[Any]:
        """Yield batches, of which the next ones are read by a thread meanwhile."""
        pins = self.pin_memory and torch.cuda.is_available()
        batches: deque[Future[Any]] = deque()
        pool = ThreadPoolExecutor(1, "skvision-read")
        try:
            for rows in [*self.sampler, *[None] * _N_AHEAD]:
                if rows is not None:
                    batches.append(pool.submit(self.dataset.__getitem__, rows))
                if len(batches) > _N_AHEAD or (rows is None and batches):
                    batch = batches.popleft().result()
                    yield tuple(part.pin_memory() for part in batch) if pins else batch
        finally:
            # After an error, or Ctrl-C, nobody waits for more than one batch.
            pool.shutdown(cancel_futures=True)


class DeviceLoader:
    """Batches on a device, with the steps done that a data set does to pixels.

    Parameters
    ----------
    loader : iterable of (images, target) or (images, target, weight)
    device : torch.device
    steps : callable, default=None
        From stored to finished images.
    """

    def __init__(
        self,
        loader: Any,
        device: torch.device,
        steps: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.loader = loader
        self.device = device
        self.steps = steps

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.loader:
            # Only from pinned memory is the copy made while the GPU computes.
            images, *others = [
                part.to(self.device, non_blocking=True) for part in batch
            ]
            yield (images if self.steps is None else self.steps(images), *others)


class _BatchRows(Sampler):
    """The rows of each batch: slices in order, index arrays when shuffled."""

    def __init__(
        self,
        n: int,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        generator: torch.Generator | None,
        *,
        seeds: bool = False,
    ) -> None:
        self.n = n
        self.seeds = seeds
        self.shuffle = shuffle
        self.generator = generator
        self.ends = [*range(batch_size, n, batch_size), n] if n else []
        if drop_last and n % batch_size:
            del self.ends[-1]
        elif len(self.ends) > 1 and n % batch_size == 1:
            del self.ends[-2]

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Any]:
        order: Any = None
        if self.shuffle:
            order = torch.randperm(self.n, generator=self.generator).numpy()
        # Of the generator that transforms would draw from in this process.
        first = int(torch.randint(2**31, ())) if self.seeds else 0
        for (start, stop), seed in zip(
            pairwise([0, *self.ends]), count(first), strict=False
        ):
            rows = slice(start, stop) if order is None else order[start:stop]
            yield SeededRows(rows, seed) if self.seeds else rows


def _affordable(num_workers: int) -> int:
    """Return how many worker processes a process may start."""
    if multiprocessing.current_process().daemon:
        return 0  # Python allows it none.
    if get_active_backend()[0].nesting_level:
        # joblib has divided the cores among its workers by their threads.
        return min(num_workers, torch.get_num_threads() - 1)
    return num_workers


def _identity(batch: Any) -> Any:
    return batch
