"""Where images come from: arrays, data sets and files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch

from skvision.images._cache import PixelCache
from skvision.images._decode import check_grey, is_pil, pixels_of
from skvision.images._disk import ImageFolder
from skvision.images._files import (
    OtherSize,
    is_file,
    is_grey_file,
    is_missing,
    is_shortage,
    name_of,
    other_depth,
    read_image,
)
from skvision.images._layout import AUTO, ONE_COLOUR, Form
from skvision.images._maps import MapReference, reference_to
from skvision.images._steps import PixelSteps

Cache = bool | Literal["auto"]


class Reader(Protocol):
    """What an `ImageSequence` reads from.

    ``read`` takes a slice or an index array and returns the images as they are stored,
    to which `steps` are still to be applied. ``stored`` is their data type, ``dtype``
    that of the values after this. ``reading`` is "memory", "once" or "each_time", see
    `ImageSequence`.
    """

    image_shape: tuple[int, int, int]
    flat: bool
    steps: PixelSteps | None
    stored: np.dtype

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def reading(self) -> str: ...

    def __len__(self) -> int: ...

    def read(self, rows: slice | np.ndarray) -> torch.Tensor: ...


class FlatItemError(ValueError):
    """An item of a data set is a row of features and no image."""


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
    steps : PixelSteps, default=None
        What the items have gone through; None means that they hold what the array
        holds.
    """

    reading = "memory"

    def __init__(
        self,
        array: np.ndarray,
        layout: str,
        *,
        image_shape: tuple[int, int, int] | None = None,
        steps: PixelSteps | None = None,
    ) -> None:
        self.array = array
        self.layout = layout
        self.flat = layout == "flat" and image_shape is None
        self.image_shape = image_shape or _image_shape(array.shape, layout)
        self.steps = steps
        self.stored = _to_tensor(np.empty(0, array.dtype)).numpy().dtype
        self.dtype = self.stored if steps is None else steps.dtype_of(self.stored)

    def __getstate__(self) -> dict[str, Any]:
        # Processes that get a map open the file.
        return {**vars(self), "array": reference_to(self.array) or self.array}

    def __setstate__(self, state: dict[str, Any]) -> None:
        array = state["array"]
        if isinstance(array, MapReference):
            state = {**state, "array": array.open()}
        vars(self).update(state)

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
            return images.unsqueeze(1)
        if self.layout == "last":
            return images.permute(0, 3, 1, 2)
        if self.layout == "flat" and not self.flat:
            return images.reshape(-1, *self.image_shape)
        return images


class ItemReader:
    """Images that are read one by one, and kept where they may be.

    They are brought to the size and the colours of `form` before they are kept.
    """

    flat = False
    image_shape: tuple[int, int, int]
    #: What is made of each image.
    form = AUTO
    #: What to do about images that differ in shape.
    advice: str
    #: Whether images are decoded by what draws no random numbers, and lets other
    #: threads run meanwhile.
    decodes = False
    # What was made of the images lately, by which the next fold need not decode them.
    _others: tuple[tuple[Form, ItemReader], ...] = ()

    def _begin(self, form: Form, cache: Cache, steps: PixelSteps | None = None) -> None:
        """Learn from the first image what all are like."""
        self.form = form
        first = self._brought(0)
        self.steps = steps
        self.image_shape = (first.shape[0], first.shape[1], first.shape[2])
        self.stored = first.numpy().dtype
        self._cache = PixelCache((len(self), *self.image_shape), self.stored, cache)

    def __copy__(self) -> Any:
        copied = object.__new__(type(self))
        vars(copied).update(vars(self), _cache=copy.copy(self._cache), _others=())
        return copied

    def brought(self, form: Form) -> ItemReader:
        """Return a reader whose images have another size or other colours."""
        own = self.form
        # What is left open stays as it is already.
        mode = own.color_mode if form.color_mode == "auto" else form.color_mode
        form = form._replace(
            where=own.where, spec=form.spec or own.spec, color_mode=mode
        )
        if own.same_pixels(form):
            return self
        for asked, other in self._others:
            if form in (asked, asked._replace(expected=other.image_shape)):
                return other
        other = copy.copy(self)
        other._begin(form, self._cache.cache, self.steps)
        self._others = ((form, other), *self._others[:1])
        return other

    def __len__(self) -> int:
        raise NotImplementedError

    def _image(self, row: int) -> torch.Tensor:
        raise NotImplementedError

    def _brought(self, row: int) -> torch.Tensor:
        """Return an image as it is kept."""
        image = self._image(row)
        if self.form.same_pixels(AUTO):
            return image
        try:
            return self.form.bring(image)
        except ValueError as error:
            error.add_note(f"This came of {self._where(row)}.")
            raise

    def _where(self, row: int) -> str:
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype:
        return self.stored if self.steps is None else self.steps.dtype_of(self.stored)

    @property
    def reading(self) -> str:
        return "once" if self._cache.enabled else "each_time"

    def read(self, rows: slice | np.ndarray) -> torch.Tensor:
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        rows = np.asarray(rows, dtype=np.int64)
        kept = self._cache.take(rows, self._several)
        if kept is not None:
            return torch.from_numpy(kept)
        if not len(rows):
            return torch.from_numpy(np.empty((0, *self.image_shape), self.stored))
        return torch.stack([*self._several(rows)])

    def _several(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        """Yield images in the order of their rows."""
        return map(self._checked, rows.tolist())

    def _checked(self, row: int) -> torch.Tensor:
        """Return an image that one array with the others holds as it is."""
        image = self._brought(row)
        if tuple(image.shape) != self.image_shape:
            raise self._wrong_shape(self._where(row), tuple(image.shape))
        if image.is_floating_point() and not torch.isfinite(image).all():
            raise ValueError(
                f"Input X contains NaN or infinity, in {self._where(row)}."
            )
        dtype = image.numpy().dtype
        if dtype != self.stored and (
            self._cache.enabled
            or self.steps is not None
            or kind_of(dtype) != kind_of(self.stored)
        ):
            # A batch of both would be of one type, which decides how it is scaled.
            raise ValueError(
                f"{_capitalised(self._where(row))} holds {dtype} values, the first one "
                f"{self.stored}. Give all images one type."
            )
        return image

    def _wrong_shape(self, where: str, shape: tuple[int, ...]) -> ValueError:
        same_size = shape[1:] == self.image_shape[1:]
        return ValueError(
            f"{_capitalised(where)} has shape {shape}, the first one "
            f"{self.image_shape}. {ONE_COLOUR if same_size else self.advice}"
        )


class BroughtReader(ItemReader):
    """Images of another reader in another size, or in other colours.

    Parameters
    ----------
    inner : Reader
        Its images are all of one shape.
    form : Form
        What is made of them.
    cache : {"auto", True, False}, default="auto"
        Which images are kept when they have been read, see `PixelCache`.
    """

    advice = ""

    def __init__(self, inner: Reader, form: Form, cache: Cache = "auto") -> None:
        self.inner = inner
        self._begin(form, cache, inner.steps)

    def __len__(self) -> int:
        return len(self.inner)

    def _image(self, row: int) -> torch.Tensor:
        return self.inner.read(slice(row, row + 1))[0]

    def _where(self, row: int) -> str:
        return f"image {row} of X"


def given_channels(images: Any) -> int | None:
    """Return how many channels arrays have, None if that is as many as `images`."""
    reader = images.reader
    n_channels = getattr(reader, "inner", reader).image_shape[0]
    return None if n_channels == images.image_shape[0] else n_channels


class DatasetReader(ItemReader):
    """Images that only a data set's own ``__getitem__`` can give.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Its items are images or tuples that begin with one.
    rows : ndarray of int, default=None
        The items to read; None means all.
    steps : PixelSteps, default=None
        What is still to be done to the pixels of the items.
    cache : {"auto", True, False}, default=False
        Which images are kept when they have been read, see `PixelCache`.
    form : Form, default=AUTO
        Which axis of an item is that of the channels, and what is made of images.
    """

    advice = (
        "Set image_size=(height, width) on the estimator, or give the data set a "
        "transform that makes all images equal in size, such as torchvision's "
        "Resize((height, width))."
    )

    def __init__(
        self,
        dataset: Any,
        rows: np.ndarray | None = None,
        *,
        steps: PixelSteps | None = None,
        cache: Cache = False,
        form: Form = AUTO,
    ) -> None:
        self.dataset = dataset
        self.rows = rows
        if len(self) == 0:
            name = type(dataset).__name__
            raise ValueError(f"Found no image in the {name} data set.")
        self._begin(form, cache, steps)

    def _begin(self, form: Form, cache: Cache, steps: PixelSteps | None = None) -> None:
        super()._begin(form, cache, steps)
        # The first item has decided.
        self.form = form._replace(expected=self.image_shape)

    def __len__(self) -> int:
        return len(self.dataset) if self.rows is None else len(self.rows)

    def _image(self, row: int) -> torch.Tensor:
        """Return the image of a row; errors say which it is."""
        number = row if self.rows is None else int(self.rows[row])
        try:
            item = self.dataset[number]
        except Exception as error:
            where = self._where(row)
            if isinstance(error, OSError) and error.errno is None:
                # Pillow names no file, as the system does.
                missing = isinstance(error, FileNotFoundError)
                raise (FileNotFoundError if missing else OSError)(
                    f"{_capitalised(where)} cannot be read: {error}. Replace it, or "
                    "leave it out with torch.utils.data.Subset."
                ) from error
            error.add_note(f"This came of reading {where}.")
            raise
        image = item[0] if isinstance(item, (tuple, list)) else item
        return to_chw(image, partial(self._where, row), self.form)

    def _where(self, row: int) -> str:
        item = row if self.rows is None else int(self.rows[row])
        where = f"item {item} of the {type(self.dataset).__name__} data set"
        # As torchvision's data sets of image files have them.
        samples = getattr(self.dataset, "samples", None)
        if isinstance(samples, list) and isinstance(samples[item], tuple):
            where += f" ({samples[item][0]})"
        return where


class PathReader(ItemReader):
    """Image files, decoded when they are read.

    Parameters
    ----------
    paths : ndarray of shape (n,), dtype=object
        Of str or os.PathLike, or the bytes of such files. Images are turned as their
        EXIF data say.
    cache : {"auto", True, False}, default="auto"
        Which images are kept when they have been read, see `PixelCache`.
    form : Form, default=AUTO
        What is made of the images. Unless it says which colours, they are all grey if
        all files are, and in RGB otherwise.
    """

    advice = (
        "Set image_size=(height, width) on the estimator, and all are resized; "
        "load_image_folder has it, too."
    )
    #: The first image until it is kept, so that it is decoded once.
    _first: torch.Tensor | None = None
    decodes = True

    def __init__(self, paths: Any, cache: Cache = "auto", form: Form = AUTO) -> None:
        for i, path in enumerate(paths):
            if not is_file(path):
                remedy = " Leave its row out, as on_error='skip' does for fit."
                raise TypeError(
                    "Expected paths of image files, each a str or os.PathLike, or the "
                    f"bytes of such files; item {i} is {path!r}."
                    f"{remedy if is_missing(path) else ''}"
                )
        self.paths = paths
        self._begin(form, cache)

    def _begin(self, form: Form, cache: Cache, steps: PixelSteps | None = None) -> None:
        self.mode = form.mode or ("L" if all(map(is_grey_file, self.paths)) else "RGB")
        self._depth: np.dtype | None = None
        self._known = False
        self._folder = _folder_of(form, self.mode)
        super()._begin(form, cache)
        self._known = True
        if self._folder is not None:
            self._cache.enabled = False  # Once is enough.
        if not self._cache.enabled:
            self._first = None

    @property
    def reading(self) -> str:
        return "once" if self._folder is not None else super().reading

    def __len__(self) -> int:
        return len(self.paths)

    def _where(self, row: int) -> str:
        return f"the image file {name_of(self.paths[row])!r}"

    def _several(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        n_threads = min(torch.get_num_threads(), len(rows))
        if n_threads < 2:
            yield from super()._several(rows)
            return
        # Decoders let other threads run meanwhile.
        pool = ThreadPoolExecutor(n_threads)
        try:
            yield from pool.map(self._checked, rows.tolist())
        finally:
            # After an error, or Ctrl-C, nobody wants the others.
            pool.shutdown(cancel_futures=True)

    def _image(self, row: int) -> torch.Tensor:
        """Return the image of a row; errors say which it is."""
        first = self._first
        if row == 0 and first is not None:
            self._first = None
            return first
        path, form = self.paths[row], self.form
        one_size = self._known and form.size is None
        try:
            pixels = read_image(
                path,
                # Grey images of a large size need less memory as what they are.
                None if self.mode == "RGB" else self.mode,
                size=self.image_shape[1:] if one_size else None,
                spec=form.spec,
                only_grey=_only_grey(form, self.mode),
            )
        except OtherSize as error:
            shape = (self.image_shape[0], *error.args[0])
            raise self._wrong_shape(self._where(row), shape) from None
        self._check_depth(row, pixels.dtype)
        tensor = _to_tensor(pixels)
        tensor = tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.permute(2, 0, 1)
        if self.mode == "RGB":
            tensor = tensor.expand(3, -1, -1)
        if not self._known:
            self._first = tensor
        return tensor

    def _check_depth(self, row: int, dtype: np.dtype) -> np.dtype:
        """Return the type of all files' pixels, which that of the first one decides."""
        if self._depth is None:
            self._depth = dtype
        elif dtype != self._depth:
            raise other_depth(self.paths[row], dtype, self.paths[0], self._depth)
        return self._depth

    def _brought(self, row: int) -> torch.Tensor:
        folder = self._folder
        place = None if folder is None else folder.place_of(self.paths[row])
        if folder is None or place is None:
            return super()._brought(row)
        if (kept := folder.read(place)) is not None:
            self._check_depth(row, kept[1])
            return kept[0]
        image = super()._brought(row)
        folder.keep(place, image, cast(np.dtype, self._depth))
        return image


def _only_grey(form: Form, mode: str) -> bool:
    """Whether images in colours are errors."""
    return mode == "L" and form.color_mode == "auto"


def _folder_of(form: Form, mode: str) -> ImageFolder | None:
    """Return where images in some colours are kept for others, None for nowhere."""
    if form.folder is None:
        return None
    how = () if form.size is None else form.spec.decisive
    return ImageFolder(form.folder, mode, _only_grey(form, mode), *how)


def unreadable_files(paths: Any, form: Form, title: str = "X") -> dict[int, str]:
    """Return why files cannot be read, by their positions.

    Each is decoded for it, unless its image is kept for others.

    Parameters
    ----------
    paths : ndarray of shape (n,), dtype=object
        Of str, os.PathLike or bytes. A cell that is empty cannot be read.
    form : Form
        What is to be made of the images.
    title : str, default="X"
        What the paths are called.
    """
    mode = "L" if form.mode == "L" else None
    modes = ("L", "RGB") if form.mode is None else (form.mode,)
    folders = [_folder_of(form, m) for m in modes if form.folder is not None]

    def reason(row: int) -> str | None:
        path = paths[row]
        if is_missing(path):
            return f"Item {row} of {title} is missing."
        if not is_file(path):
            return None  # Of which the reader tells.
        if any(folder is not None and folder.has(path) for folder in folders):
            return None
        try:
            read_image(path, mode, spec=form.spec)
        except (OSError, ValueError) as error:
            if is_shortage(error):
                raise
            return str(error)
        return None

    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        reasons = dict(enumerate(pool.map(reason, range(len(paths)))))
    finally:
        pool.shutdown(cancel_futures=True)
    return {row: text for row, text in reasons.items() if text is not None}


def to_chw(
    image: Any, where: Callable[[], str] = str, form: Form = AUTO
) -> torch.Tensor:
    """Return one image as a tensor of shape (channels, height, width).

    Parameters
    ----------
    image : PIL.Image.Image, torch.Tensor or ndarray
        PIL images are turned as their EXIF data say. Tensors and arrays are taken as
        (C, H, W), (H, W, C) or (H, W).
    where : callable, default=str
        Returns what error messages call it, "the image" if that is empty.
    form : Form, default=AUTO
        Which axis of tensors and arrays is that of the channels, and which colours PIL
        images get.

    Returns
    -------
    image : torch.Tensor of shape (C, H, W)
    """
    if isinstance(image, torch.Tensor):
        check_tensor(image, where)
        # Subclasses, such as torchvision's, make every operation slow.
        tensor = _to_tensor(image.detach().cpu().as_subclass(torch.Tensor))
    elif not isinstance(image, np.ndarray) and is_pil(image):
        if form.mode == "L" and form.color_mode == "auto":
            check_grey(image, _named(where))
        pixels = pixels_of(image, form.mode, where=where())
        return _channels_first(_to_tensor(pixels))
    elif isinstance(image, Mapping):
        raise TypeError(
            f"Expected an image (PIL image, tensor or array) in {_named(where)}; got "
            f"{type(image).__name__} with the keys {[*image]}. Give images, or (image, "
            "label) pairs."
        )
    else:
        try:
            tensor = _to_tensor(np.asarray(image))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Expected an image (PIL image, tensor or array) in {_named(where)}; "
                f"got {type(image).__name__}: {error}"
            ) from error
    if tensor.ndim == 2:
        return tensor.unsqueeze(0)
    shape = tuple(tensor.shape)
    if len(shape) != 3:
        raise (FlatItemError if len(shape) == 1 else ValueError)(
            f"Expected an image with 2 or 3 axes in {_named(where)}; got shape {shape}."
        )
    if form.where == "auto" and shape == form.expected:
        return tensor
    last = form.of_image(shape) == "last"
    return _channels_first(tensor) if last else tensor


def _named(where: Callable[[], str]) -> str:
    return where() or "the image"


def _capitalised(where: str) -> str:
    return where[0].upper() + where[1:]


def _channels_first(image: torch.Tensor) -> torch.Tensor:
    return image.unsqueeze(0) if image.ndim == 2 else image.permute(2, 0, 1)


def _image_shape(shape: tuple[int, ...], layout: str) -> tuple[int, int, int]:
    if layout == "flat":
        return (1, 1, shape[1])
    if layout == "grey":
        return (1, shape[1], shape[2])
    if layout == "last":
        return (shape[3], shape[1], shape[2])
    return (shape[1], shape[2], shape[3])


#: Types that networks' operations take; others become one of these.
_KEPT = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_KEPT |= {torch.float32, torch.float64}
_WIDENED = {
    torch.bool: torch.float32,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.uint16: torch.int32,
    torch.uint32: torch.int64,
}


def _to_tensor(array: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Share or copy an array's memory; what networks cannot take is widened.

    Integers stay integers, by which it is known later on that they are.
    """
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
    if tensor.dtype in _KEPT:
        return tensor
    if tensor.dtype == torch.uint64:
        # As signed ones, those that do not fit are negative.
        tensor = tensor.view(torch.int64)
        if tensor.numel() and int(tensor.min()) < 0:
            raise ValueError(
                "X has uint64 values beyond 2**63 - 1; give them as floats, "
                "X.astype('float64')."
            )
        return tensor
    return tensor.to(_WIDENED.get(tensor.dtype, torch.float64))


def check_tensor(tensor: torch.Tensor, where: Callable[[], str]) -> None:
    """Refuse tensors that hold no real numbers which could be read.

    Parameters
    ----------
    tensor : torch.Tensor
    where : callable
        Returns what error messages call it, "the image" if that is empty.

    Raises
    ------
    TypeError
        If the tensor is complex, sparse, quantized, nested, or without values.
    """
    if tensor.is_meta:
        got = "is on the meta device, that is without values"
        remedy = "Give a tensor that holds some."
    elif tensor.is_complex():
        got = f"has complex values ({tensor.dtype})"
        remedy = "Give real ones, such as tensor.abs() or torch.view_as_real(tensor)."
    elif tensor.is_nested:
        got, remedy = "is nested", "Give images of one shape, torch.stack(images)."
    elif tensor.layout != torch.strided:
        got = f"is sparse ({tensor.layout})"
        remedy = "Give a dense one, tensor.to_dense()."
    elif tensor.is_quantized:
        got, remedy = f"is quantized ({tensor.dtype})", "Give tensor.dequantize()."
    elif tensor.is_floating_point() and tensor.itemsize < 2:
        got, remedy = f"has values of {tensor.dtype}", "Give tensor.float()."
    else:
        return
    raise TypeError(f"The tensor in {_named(where)} {got}. {remedy}")


def kind_of(dtype: np.dtype) -> str:
    """Return how values of a type are scaled: as uint8, as other integers, or not."""
    if dtype == np.uint8:
        return "uint8"
    return "wider integers" if dtype.kind in "iu" else "floats"
