"""Images that are read when needed and indexed as scikit-learn indexes arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from skvision.datasets._files import open_image

__all__ = ["ArrayReader", "DatasetReader", "ImageSequence", "PathReader", "to_chw"]


class Reader(Protocol):
    """What an `ImageSequence` reads from.

    ``read`` takes a slice or an index array and returns the images as the network
    gets them, uint8 standing for values that are still to be divided by 255.
    ``dtype`` is that of what the items hold once this is done.
    """

    image_shape: tuple[int, int, int]
    dtype: np.dtype
    flat: bool

    def __len__(self) -> int: ...

    def read(self, rows: slice | np.ndarray) -> torch.Tensor: ...


class ImageSequence(Sequence):
    """Images of a data set, indexed like an array of shape (n, C, H, W).

    The model is skorch's ``SliceDataset``: an integer gives one image, anything
    else a view that shares the data. Where the images lie in memory, whole
    batches are gathered at once instead of image by image.

    Made by :func:`~skvision.datasets.as_Xy`.

    Parameters
    ----------
    reader : object
        Has ``__len__``, ``image_shape``, ``dtype`` and ``read(rows)``.
    rows : ndarray of shape (n,), dtype=int64, default=None
        The rows of the reader that belong to the view; None means all.

    Attributes
    ----------
    shape : tuple of int
        (n, channels, height, width).
    dtype : numpy.dtype
        Of the values that indexing gives.

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
    """

    ndim = 4

    def __init__(self, reader: Reader, rows: np.ndarray | None = None) -> None:
        self.reader = reader
        self.rows = rows

    def __len__(self) -> int:
        return len(self.reader) if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.reader.image_shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, channels, height, width)."""
        return (len(self), *self.image_shape)

    @property
    def flat(self) -> bool:
        """Whether batches are rows of features instead of images."""
        return self.reader.flat

    @property
    def dtype(self) -> np.dtype:
        """Data type of the values that indexing gives."""
        return self.reader.dtype

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
            return self._as_items(self.reader.read(np.asarray([rows])))[0]
        if np.ndim(rows) != 1:
            raise IndexError(
                "An ImageSequence is indexed by one axis of rows; got an index of "
                f"{np.ndim(key)} dimensions."
            )
        return type(self)(self.reader, rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("An ImageSequence cannot become an array without a copy.")
        items = self._as_items(self.read(np.arange(len(self))))
        return items if dtype is None else items.astype(dtype, copy=False)

    def _as_items(self, images: torch.Tensor) -> np.ndarray:
        if images.dtype == torch.uint8 and self.dtype != np.uint8:
            images = images.to(torch.float32).div_(255)
        return images.reshape(-1, *self.image_shape).numpy()

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Return some images as a batch.

        Parameters
        ----------
        rows : slice or ndarray of int
            Positions within this sequence.

        Returns
        -------
        images : torch.Tensor of shape (len(rows), C, H, W)
            As stored: uint8 where the network is to get values divided by 255.
            Flat rows come as (len(rows), n_features).
        """
        return self.reader.read(rows if self.rows is None else self.rows[rows])


class ArrayReader:
    """Images in one array, in memory or in a memory map, which is never copied.

    Parameters
    ----------
    array : ndarray
        Of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, n_features).
    layout : {"grey", "last", "first", "flat"}
        Which of these four shapes it is.
    image_shape : tuple of int, default=None
        (C, H, W) of flat rows that are images.
    unit : {"div", "mul"}, default=None
        How the items' values in [0, 1] were made of uint8, as there are two ways that
        differ in the last bit: divided by 255, as the estimators do it as well, or
        multiplied by 1 / 255. None means that items hold what the array holds.
    mean, std : array-like of shape (C,), default=None
        Of the normalisation that the items have gone through.
    """

    def __init__(
        self, array, layout, *, image_shape=None, unit=None, mean=None, std=None
    ):
        self.array = array
        self.layout = layout
        self.flat = layout == "flat" and image_shape is None
        self.image_shape = image_shape or _image_shape(array.shape, layout)
        self.mean, self.std = mean, std
        self.unit = unit
        stored = np.empty(0, np.float32 if unit else array.dtype)
        self.dtype = _to_tensor(stored).numpy().dtype

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        if isinstance(rows, slice):
            batch = self.array[rows].copy()  # Networks may work in place.
        elif not self.array.flags.c_contiguous:
            batch = self.array[rows]
        else:
            batch = self.array.take(rows, axis=0)
        images = _to_tensor(batch)
        if self.layout == "grey":
            images = images.unsqueeze(1)
        elif self.layout == "last":
            images = images.permute(0, 3, 1, 2)
        elif self.layout == "flat" and not self.flat:
            images = images.reshape(-1, *self.image_shape)
        if self.unit == "mul":
            images = images.to(torch.float32).mul_(1 / 255)
        if self.mean is None:
            return images
        if self.unit == "div":
            images = images.to(torch.float32).div_(255)
        mean, std = (
            torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)
            for value in (self.mean, self.std)
        )
        return images.sub_(mean).div_(std)


class DatasetReader:
    """Images that only a data set's own ``__getitem__`` can give.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Its items are images or tuples that begin with one.
    """

    flat = False

    def __init__(self, dataset):
        self.dataset = dataset
        if len(dataset) == 0:
            raise ValueError(f"Found no image in the data set {_name(dataset)}.")
        first = self._image(0)
        self.image_shape = tuple(first.shape)
        self.dtype = first.numpy().dtype

    def __len__(self) -> int:
        return len(self.dataset)

    def _image(self, row: int) -> torch.Tensor:
        item = self.dataset[row]
        image = item[0] if isinstance(item, (tuple, list)) else item
        return to_chw(image, where=f"item {row} of {_name(self.dataset)}")

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        images = [self._image(int(row)) for row in rows]
        for row, image in zip(rows, images, strict=True):
            if tuple(image.shape) != self.image_shape:
                raise ValueError(
                    f"Item {row} of {_name(self.dataset)} has shape "
                    f"{tuple(image.shape)}, the first one {self.image_shape}. Give the "
                    "data set a transform that makes all images equal in size, such "
                    "as torchvision's Resize((height, width))."
                )
            if image.is_floating_point() and not torch.isfinite(image).all():
                raise ValueError(
                    f"Input X contains NaN or infinity, in item {row} of "
                    f"{_name(self.dataset)}."
                )
        return _stack(images, self.image_shape, self.dtype)


class PathReader:
    """Image files, decoded when they are read.

    Parameters
    ----------
    paths : ndarray of shape (n,), dtype=object
        Of str or os.PathLike. The first image decides whether all are read as
        grey or as RGB images.
    """

    flat = False

    def __init__(self, paths):
        self.paths = paths
        self.mode: str | None = None
        first = self._image(0)
        self.mode = "L" if len(first) == 1 else "RGB"
        self.image_shape = tuple(first.shape)
        self.dtype = first.numpy().dtype

    def __len__(self) -> int:
        return len(self.paths)

    def _image(self, row: int) -> torch.Tensor:
        path = os.fspath(self.paths[row])
        image = open_image(path)
        grey = image.mode in ("1", "L", "LA")
        if self.mode == "L" and not grey:
            raise ValueError(
                f"The image file {path!r} has colours (mode {image.mode}), but the "
                f"first one, {os.fspath(self.paths[0])!r}, is grey. Convert the files "
                "to one mode."
            )
        pixels = image.convert(self.mode or ("L" if grey else "RGB"))
        return to_chw(pixels, where=path)

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        images = [self._image(int(row)) for row in rows]
        for row, image in zip(rows, images, strict=True):
            if tuple(image.shape) != self.image_shape:
                raise ValueError(
                    f"The image file {os.fspath(self.paths[row])!r} has shape "
                    f"{tuple(image.shape)}, the first one {self.image_shape}. Resize "
                    "the files, or use load_image_folder(..., image_size=(H, W))."
                )
        return _stack(images, self.image_shape, self.dtype)


def to_chw(image: Any, where: str = "the image") -> torch.Tensor:
    """Return one image as a tensor of shape (channels, height, width).

    Parameters
    ----------
    image : PIL.Image.Image, torch.Tensor or ndarray
        Tensors are taken as (C, H, W) or (H, W), other arrays as (H, W, C), (C, H, W)
        or (H, W), the channel axis being the one of length 1, 3 or 4.
    where : str, default="the image"
        What error messages call it.

    Returns
    -------
    image : torch.Tensor of shape (C, H, W)
    """
    is_pil = hasattr(image, "getbands")
    if is_pil and image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB", "PA", "1", "LA"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    if isinstance(image, torch.Tensor):
        tensor = _to_tensor(image.detach().cpu())
    else:
        try:
            tensor = _to_tensor(np.asarray(image))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Expected an image (PIL image, tensor or array) in {where}; got "
                f"{type(image).__name__}."
            ) from error
    if tensor.ndim == 2:
        return tensor.unsqueeze(0)
    if tensor.ndim != 3:
        raise ValueError(
            f"Expected an image with 2 or 3 axes in {where}; got shape "
            f"{tuple(tensor.shape)}."
        )
    channels_last = not isinstance(image, torch.Tensor) and (
        is_pil or (tensor.shape[0] not in (1, 3, 4) and tensor.shape[2] in (1, 3, 4))
    )
    return tensor.permute(2, 0, 1) if channels_last else tensor


def _image_shape(shape, layout):
    if layout == "flat":
        return (1, 1, shape[1])
    if layout == "grey":
        return (1, *shape[1:])
    if layout == "last":
        return (shape[3], shape[1], shape[2])
    return tuple(shape[1:])


def _to_tensor(array: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Share or copy an array's memory; what networks cannot take becomes a float."""
    if isinstance(array, torch.Tensor):
        tensor = array
    else:
        if array.dtype.kind not in "buif":
            raise TypeError(f"Expected numbers; got an array of dtype {array.dtype}.")
        if array.dtype.byteorder not in "=|":
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        if not array.flags.writeable or any(
            stride < 0 or stride % array.itemsize for stride in array.strides
        ):
            array = array.copy()
        tensor = torch.from_numpy(array)
    if tensor.dtype in (torch.uint8, torch.float32, torch.float64):
        return tensor
    exact_in_32_bits = tensor.dtype in (
        torch.bool,
        torch.int8,
        torch.int16,
        torch.uint16,
    )
    half = tensor.is_floating_point()
    return tensor.to(torch.float32 if exact_in_32_bits or half else torch.float64)


def _stack(
    images: list[torch.Tensor], image_shape: tuple[int, ...], dtype: np.dtype
) -> torch.Tensor:
    if not images:
        return _to_tensor(np.empty((0, *image_shape), dtype=dtype))
    return torch.stack(images)


def _name(dataset: Any) -> str:
    return f"the {type(dataset).__name__} data set"
