"""Images that are read when needed and indexed as scikit-learn indexes arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from skvision._random import isolated_random_state
from skvision.images._identity import identity_of
from skvision.images._layout import Form
from skvision.images._names import NamedLabels
from skvision.images._readers import ArrayReader, BroughtReader, ItemReader, Reader
from skvision.images._steps import PixelSteps

_CPU = torch.device("cpu")


class ImageSequence(Sequence):
    """Images of a data set, indexed like an array of shape (n, C, H, W).

    The model is skorch's ``SliceDataset``: an integer gives one image, anything
    else a view that shares the data. Where the images lie in memory, whole
    batches are gathered at once instead of image by image.

    Made by :func:`~skvision.datasets.as_Xy`.

    Parameters
    ----------
    reader : object
        Has ``__len__``, ``image_shape``, ``dtype``, ``stored``, ``flat``, ``steps``,
        ``reading`` and ``read(rows)``.
    rows : ndarray of shape (n,), dtype=int64, default=None
        The rows of the reader that belong to the view; None means all.
    labels : NamedLabels, default=None
        The labels that the images came with, if their classes have names. Estimators
        that are given the same labels as y then know the names.
    leaves_unit : bool, default=True
        Whether to divide uint8 by 255, where that is all there is to be done, is left
        to who reads.

    Attributes
    ----------
    shape : tuple of int
        (n, channels, height, width), or (n, n_features) where the images are flat rows.
    dtype : numpy.dtype
        Of the values that indexing gives.
    reading : {"memory", "once", "each_time"}
        How images are read:

        - "memory": whole batches are taken from an array that holds all images;
        - "once": an image is decoded and transformed when it is first read, and its
          pixels are kept in a file for the next time, as all that happens to it
          is known to give the same again;
        - "each_time": it is decoded and transformed at every reading, as a transform
          is random or unknown, or as the pixels of all images need too much space.

        What :func:`~skvision.datasets.as_Xy` says about `cache` leads to the last two.

    See Also
    --------
    as_Xy : Images and labels of a data set.

    Examples
    --------
    >>> import torch
    >>> from skvision.datasets import as_Xy
    >>> data = torch.utils.data.TensorDataset(torch.rand(10, 1, 8, 8), torch.arange(10))
    >>> X, y = as_Xy(data)
    >>> X.shape
    (10, 1, 8, 8)
    >>> X[[1, 5]].shape, X[3].shape
    ((2, 1, 8, 8), (1, 8, 8))
    >>> X
    ImageSequence(shape=(10, 1, 8, 8), dtype=float32, reading='memory')
    """

    def __init__(
        self,
        reader: Reader,
        rows: np.ndarray | None = None,
        labels: NamedLabels | None = None,
        *,
        leaves_unit: bool = True,
    ) -> None:
        self.reader = reader
        self.rows = rows
        self.labels = labels
        self._leaves_unit = leaves_unit
        #: (channels, height, width).
        self.image_shape: tuple[int, int, int] = reader.image_shape
        #: Whether batches are rows of features instead of images.
        self.flat: bool = reader.flat
        #: Data type of the values that indexing gives.
        self.dtype: np.dtype = reader.dtype
        self._item_shape = self.image_shape[-1:] if self.flat else self.image_shape
        n_images = len(reader) if rows is None else len(rows)
        #: (n, channels, height, width), or (n, n_features) of flat rows.
        self.shape: tuple[int, ...] = (n_images, *self._item_shape)
        #: The number of axes, 4, or 2 of flat rows.
        self.ndim = len(self.shape)

    def __getstate__(self) -> dict[str, Any]:
        state = {"reader": self.reader, "rows": self.rows, "labels": self.labels}
        return state | {"_leaves_unit": self._leaves_unit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        leaves_unit = state.pop("_leaves_unit")
        vars(self).update(vars(type(self)(**state, leaves_unit=leaves_unit)))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype}, "
            f"reading={self.reading!r})"
        )

    @property
    def reading(self) -> str:
        """How images are read: "memory", "once" or "each_time"."""
        return self.reader.reading

    @property
    def steps(self) -> PixelSteps | None:
        """What is to be done to what `read_stored` gives; None where `read` does not.

        It takes batches on any device.
        """
        steps = self.reader.steps
        # Estimators divide uint8 by 255, which is all that some steps do.
        only_unit = steps is not None and steps.mean is None and steps.unit == "div"
        return None if only_unit and self._leaves_unit else steps

    def brought(self, form: Form) -> ImageSequence:
        """Return the images in the size and the colours of a form.

        Parameters
        ----------
        form : Form
            What leaves size or colours open keeps those of the images.

        Returns
        -------
        images : ImageSequence
            The same one where there is nothing to do.
        """
        reader = self.reader
        if self.flat:
            return self
        if isinstance(reader, ArrayReader) and not form.of_arrays:
            form = form._replace(spec=None)
        with isolated_random_state(_CPU):  # The first item may be random.
            if isinstance(reader, ItemReader):
                other: Reader = reader.brought(form)
            elif form.shape_of(self.image_shape) == self.image_shape:
                return self
            else:
                other = BroughtReader(reader, form)
        if other is reader:
            return self
        return type(self)(other, self.rows, self.labels, leaves_unit=self._leaves_unit)

    def in_full(self) -> ImageSequence:
        """Return a view whose `steps` leave nothing to who reads.

        Returns
        -------
        view : ImageSequence
            Of the same images.
        """
        return type(self)(self.reader, self.rows, self.labels, leaves_unit=False)

    def __skvision_identity__(self) -> Any:
        return identity_of(self)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            # scikit-learn selects rows by X[rows, ...].
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(
                    "Only rows can be selected from an ImageSequence, as in X[rows] "
                    f"or X[rows, ...]; got X[{', '.join(map(str, key))}]. "
                    "np.asarray(X) gives an array."
                )
            key = key[0]
        if isinstance(key, torch.Tensor):
            key = key.numpy()
        if isinstance(key, list) and not key:
            key = np.empty(0, dtype=np.intp)
        every_row = np.arange(len(self)) if self.rows is None else self.rows
        rows = every_row[key]
        if np.ndim(rows) == 0:
            return self._as_items(self._finish(self.reader.read(np.array([rows]))))[0]
        if np.ndim(rows) != 1:
            raise IndexError(
                "An ImageSequence is indexed by one axis of rows; got an index of "
                f"{np.ndim(key)} dimensions."
            )
        labels = None if self.labels is None else self.labels.take(key)
        return type(self)(self.reader, rows, labels, leaves_unit=self._leaves_unit)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("An ImageSequence cannot become an array without a copy.")
        items = self._as_items(self.read(np.arange(len(self))))
        return items if dtype is None else items.astype(dtype, copy=False)

    def _as_items(self, images: torch.Tensor) -> np.ndarray:
        if images.dtype == torch.uint8 and self.dtype != np.uint8:
            images = images.to(torch.float32).div_(255)
        return images.reshape(-1, *self.shape[1:]).numpy()

    def _finish(self, images: torch.Tensor) -> torch.Tensor:
        return images if self.steps is None else self.steps(images)

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Return some images as a batch.

        Parameters
        ----------
        rows : slice or ndarray of int
            Positions within this sequence.

        Returns
        -------
        images : torch.Tensor of shape (len(rows), C, H, W)
            Their values, but uint8 where they are to be divided by 255. Flat rows
            come as (len(rows), n_features).
        """
        return self._finish(self.read_stored(rows))

    def read_stored(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Return some images as a batch, as they are stored.

        ``steps(read_stored(rows))`` is what `read` gives, but the steps can be done on
        another device, which gets uint8 where that is stored.

        Parameters
        ----------
        rows : slice or ndarray of int
            Positions within this sequence.

        Returns
        -------
        images : torch.Tensor of shape (len(rows), C, H, W)
            Flat rows come as (len(rows), n_features).
        """
        return self.reader.read(rows if self.rows is None else self.rows[rows])
