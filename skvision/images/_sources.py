"""What X is: each kind of it knows how to read images, labels and names."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, validate_data

from skvision._compat import safe_indexing
from skvision.images._adapters import Listed, images_of
from skvision.images._arrays import (
    as_image_array,
    as_numpy,
    check_finite,
    check_not_empty,
    check_one_kind,
    check_one_shape,
    check_sizes,
    stacked,
)
from skvision.images._decode import is_grey, is_pil
from skvision.images._files import is_file, is_missing, is_path, name_of
from skvision.images._labels import labels_at_hand, labels_of
from skvision.images._layout import AUTO, Form, layout_of
from skvision.images._names import may_have_names, names_of
from skvision.images._readers import (
    ArrayReader,
    BroughtReader,
    Cache,
    PathReader,
    to_chw,
)
from skvision.images._sequence import ImageSequence
from skvision.images._unwrap import held_in, is_slice_dataset


class Source:
    """What was given as X.

    Parameters
    ----------
    X : object
        What holds the images. Array-likes of other libraries are NumPy's arrays.
    y : array-like, default=None
        The labels that came with them in one object.
    """

    #: Whether X is a data set or files, which are read when they are needed.
    is_read_later = False

    def __init__(self, X: Any, y: Any = None) -> None:
        self.X = X
        self.y = y

    @property
    def title(self) -> str:
        """What errors say that carries no labels."""
        return "Arrays and paths carry"

    def labels(self) -> np.ndarray | None:
        """Return the labels that X carries, or None."""
        return None if self.y is None else np.asarray(as_numpy(self.y, "y"))

    def names(self) -> Mapping[int, str] | None:
        """Return the names of classes by label that X carries, or None."""
        return None

    def named_labels(self) -> np.ndarray | None:
        """Return the labels that names belong to, if no image need be read for it."""
        return None

    def names_for(self, y: Any, *, given: bool) -> Mapping[int, str] | None:
        """Return the names that X carries if they belong to some labels.

        Parameters
        ----------
        y : array-like
        given : bool
            Whether the labels came beside X: then they may be others than X carries.
        """
        y = np.asarray(y)
        if y.ndim != 1 or y.dtype.kind not in "iu":
            return None
        if given or self.y is not None:
            own = self.named_labels()
            if own is None or not np.array_equal(y, own):
                return None
        names = self.names()
        return names if names is not None and np.isin(y, list(names)).all() else None

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        """Return the images.

        Parameters
        ----------
        form : Form, default=AUTO
            Where images have their channels, as far as X does not say it, and in
            which size and colours images that are read one by one are wanted.
        cache : {"auto", True, False}, default="auto"
            Which images that are read one by one are kept, see `PixelCache`.
        lazy : bool, default=False
            Whether images of lists are read one by one when they are needed, and
            values are left to be checked by who reads them.

        Raises
        ------
        TypeError
            If X holds no images.
        ValueError
            If X is empty, not finite, or of several shapes or kinds.
        """
        raise NotImplementedError

    def look(self, images: ImageSequence) -> tuple[str, np.dtype]:
        """Return layout and data type of what was given and has become `images`."""
        reader = images.reader
        if isinstance(reader, BroughtReader):
            reader = reader.inner
        if isinstance(reader, ArrayReader):
            return reader.layout, reader.array.dtype
        return "first", images.dtype

    def take(self, rows: np.ndarray, form: Form = AUTO) -> Any:
        """Return some rows of X, of the same kind or as images."""
        return safe_indexing(self.X, rows)


class NoImages(Source):
    """What holds none, and the error that says so to who wants to read some."""

    def __init__(self, X: Any, error: Exception) -> None:
        super().__init__(X)
        self.error = error

    def images(self, *args: Any, **kwargs: Any) -> ImageSequence:
        raise self.error


class Sequenced(Source):
    """An `ImageSequence`."""

    def names(self) -> Mapping[int, str] | None:
        return None if self.X.labels is None else self.X.labels.names

    def named_labels(self) -> np.ndarray | None:
        return None if self.X.labels is None else self.X.labels.y

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        return _checked(self.X, lazy)

    def look(self, images: ImageSequence) -> tuple[str, np.dtype]:
        # Whatever they are read from, the items are (C, H, W).
        return "flat" if images.flat else "first", images.dtype

    def take(self, rows: np.ndarray, form: Form = AUTO) -> Any:
        return self.X[rows]


class Stored(Sequenced):
    """A data set of torch's kind, or a view of one."""

    is_read_later = True

    @property
    def title(self) -> str:
        return f"The items of the {type(self.X).__name__} data set carry"

    def labels(self) -> np.ndarray | None:
        return labels_of(self.X) if self.y is None else super().labels()

    def names(self) -> Mapping[int, str] | None:
        return names_of(self.X)

    def named_labels(self) -> np.ndarray | None:
        return labels_at_hand(self.X) if may_have_names(self.X) else None

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        return _checked(images_of(self.X, cache, form), lazy)

    def take(self, rows: np.ndarray, form: Form = AUTO) -> Any:
        return images_of(self.X, form=form)[rows]


class Sliced(Stored):
    """skorch's SliceDataset, which yields images alone: labels are given beside it."""

    def labels(self) -> None:
        return None


class Paths(Source):
    """Paths of image files, as an array of objects."""

    is_read_later = True

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        return ImageSequence(PathReader(self.X, cache, form))


class Listing(Source):
    """Images in a list."""

    @property
    def title(self) -> str:
        return "Lists carry"

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        as_pil = is_pil(self.X[0])
        if as_pil and form.mode is None and any(map(is_pil, self.X)):
            grey = all(is_grey(image) for image in self.X if is_pil(image))
            form = form._replace(color_mode="grey" if grey else "rgb")
        if lazy and (as_pil or getattr(self.X[0], "ndim", 0) in (2, 3)):
            return images_of(Listed(self.items()), cache, form)
        changes = form.size is not None or form.color_mode != "auto"
        shapes = [] if as_pil or not changes else [*map(np.shape, self.X)]
        if as_pil or len(set(shapes)) > 1:
            if form.size is None:
                check_sizes(self.X)
            form = form.settled(shapes)
            # Read as a data set is that has such images.
            images = [form.bring(to_chw(image, form=form)) for image in self.X]
            reader = ArrayReader(stacked(images), "first")
        else:
            array = as_image_array(stacked(self.X), finite=not lazy)
            reader = ArrayReader(array, self.layout(array.shape, form))
        return _checked(ImageSequence(reader), lazy)

    def items(self) -> Sequence[Any]:
        """Return the list as it was given."""
        return self.X

    def layout(self, shape: tuple[int, ...], form: Form) -> str:
        """Return the layout of an array of all images, which has some shape."""
        return layout_of(shape, form.where, form.expected)

    def look(self, images: ImageSequence) -> tuple[str, np.dtype]:
        if not is_pil(self.X[0]):
            return super().look(images)
        # Rows that tools make of such images have their channels last.
        return "grey" if images.image_shape[0] == 1 else "last", images.dtype


class Pairs(Listing):
    """Images with their labels in a list, as scikit-learn makes them of data sets."""

    def __init__(self, X: Sequence[Any]) -> None:
        super().__init__([image for image, _ in X], [label for _, label in X])
        self.pairs = X

    def items(self) -> Sequence[Any]:
        return self.pairs

    def layout(self, shape: tuple[int, ...], form: Form) -> str:
        # As the data set has its items that the pairs come from.
        return "grey" if len(shape) == 3 else form.of_image(shape[1:])

    def take(self, rows: np.ndarray, form: Form = AUTO) -> Any:
        return safe_indexing(self.pairs, rows)


class Arrays(Source):
    """An array or tensor of three axes or more."""

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        array = as_image_array(self.X, finite=not lazy)
        layout = layout_of(array.shape, form.where, form.expected)
        return ImageSequence(ArrayReader(array, layout))

    def take(self, rows: np.ndarray, form: Form = AUTO) -> Any:
        if isinstance(self.X, torch.Tensor):
            return self.X[torch.from_numpy(rows)]
        return super().take(rows)


class Rows(Arrays):
    """Rows of features, of which scikit-learn knows what they may be."""

    def images(
        self, form: Form = AUTO, cache: Cache = "auto", *, lazy: bool = False
    ) -> ImageSequence:
        if not (isinstance(self.X, (list, tuple)) or hasattr(self.X, "__array__")):
            raise TypeError(f"{_EXPECTED}; got {type(self.X).__name__}.")
        X = check_array(
            as_numpy(self._of_one_kind()),
            dtype="numeric",
            ensure_all_finite=not lazy,
            input_name="X",
        )
        return ImageSequence(ArrayReader(X, "flat"))

    def images_for(self, estimator: Any, *, reset: bool) -> ImageSequence:
        """Return the rows; let an estimator learn or compare names and numbers.

        Parameters
        ----------
        estimator : estimator
            As scikit-learn's `validate_data` takes it.
        reset : bool
            Whether it learns them.
        """
        X = as_numpy(self._of_one_kind())
        X = validate_data(estimator, X, reset=reset, dtype="numeric")
        return ImageSequence(ArrayReader(X, "flat"))

    def _of_one_kind(self) -> Any:
        """Return X; refuse lists of rows that differ in length or in kind."""
        if isinstance(self.X, (list, tuple)):
            check_one_shape(list(map(_shape_of_row, self.X)), "row")
            check_one_kind(self.X, "row")
        return self.X


_EXPECTED = (
    "X must be an array, a data set, or a list of images or of paths of image files"
)


@functools.singledispatch
def source_of(X: Any) -> Source:
    """Return the source of X, which may be of any kind; nothing is read of it yet.

    Raises
    ------
    ValueError
        If X is a list that begins with an (image, label) pair, but not all are such,
        or a view of a data set's labels.
    """
    if is_slice_dataset(X):
        return Sliced(X)
    if _is_nullable(X):
        widths = [getattr(dtype, "numpy_dtype", dtype) for dtype in X.dtypes]
        return _of_table(X.astype(np.result_type(*widths)))
    if not (hasattr(X, "ndim") or hasattr(X, "columns") or is_pil(X)):
        if hasattr(X, "__array__") or hasattr(X, "__array_interface__"):
            return source_of(np.asarray(X))
        if hasattr(X, "__dlpack__"):
            return source_of(np.from_dlpack(X))
    return _of_table(X)


@source_of.register
def _(X: Source) -> Source:
    return X


@source_of.register
def _(X: ImageSequence) -> Source:
    return Sequenced(X)


@source_of.register
def _(X: torch.utils.data.Dataset) -> Source:
    if (held := held_in(X)) is None:
        return Stored(X)
    source = source_of(held[0])
    if held[1] is not None:
        source.y = held[1]
    return source


@source_of.register
def _(X: np.ndarray) -> Source:
    if X.dtype.kind in "buif" and type(X) is np.ndarray and X.shape != (0,):
        return Rows(X) if X.ndim <= 2 else Arrays(X)
    if X.dtype == object and X.ndim > 1:
        # scikit-learn would make floats of integers, which are scaled otherwise.
        plain = np.array(X.tolist())
        X = plain if plain.dtype.kind in "iu" else X
    return _of_table(X)


@source_of.register
def _(X: torch.Tensor) -> Source:
    return _of_table(X)


@source_of.register(list)
@source_of.register(tuple)
def _(X: Sequence[Any]) -> Source:
    if _is_pairs(X):
        pairs = Pairs(X)
        if getattr(pairs.X[0], "ndim", 0) == 1:
            return Rows(stacked(pairs.X), pairs.y)
        return pairs
    # Of paths, some may be missing, the first among them.
    if is_file(next((item for item in X if not is_missing(item)), None)):
        return Paths(_objects(X))
    if (error := _refusal(X)) is not None:
        return NoImages(X, error)
    if not len(X):
        return NoImages(X, _empty(X))
    # To ask a PIL image for its axes would load it.
    return Listing(X) if is_pil(X[0]) or np.ndim(X[0]) > 1 else Rows(X)


def _of_table(X: Any) -> Source:
    """Return the source of an array, a tensor, a frame, or a column of a table."""
    if (paths := _paths_in(X)) is not None:
        return Paths(paths)
    if (error := _refusal(X)) is not None:
        return NoImages(X, error)
    if getattr(X, "shape", None) == (0,):
        return NoImages(X, _empty(X))
    return Rows(X) if getattr(X, "ndim", 2) <= 2 else Arrays(X)


def _checked(images: ImageSequence, lazy: bool) -> ImageSequence:
    """Return images; refuse none, and values that are not finite unless `lazy`."""
    check_not_empty(images.shape)
    if not lazy:
        check_finite(images)
    return images


def _shape_of_row(row: Any) -> tuple[int, ...]:
    # NumPy would copy a list to tell.
    return (len(row),) if isinstance(row, (list, tuple)) else np.shape(row)


def _paths_in(X: Any) -> np.ndarray | None:
    """Return the paths of image files that X holds as an array of objects, or None.

    X may be a column of a table in any form: one that can be made a NumPy array of one
    axis, or of one column.
    """
    if isinstance(X, torch.Tensor) or is_pil(X):
        return None
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 1 and tuple(shape[1:]) != (1,):
        return None
    if not isinstance(X, np.ndarray):
        if not hasattr(X, "__array__"):
            return None
        X = np.asarray(X)
    if X.dtype.kind not in "OUT" or X.ndim not in (1, 2):
        return None
    column = _objects(X.ravel().tolist())
    # Where some are missing, which is an error, the others tell what is meant.
    return column if any(map(is_file, column)) else None


def _objects(values: Any) -> np.ndarray:
    # Not by np.asarray, for which paths may be sequences.
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _is_nullable(X: Any) -> bool:
    """Whether X is a frame of integers that might lack values, but does not."""
    dtypes: Any = getattr(X, "dtypes", None)
    if not hasattr(dtypes, "to_numpy") or not len(dtypes):
        return False
    whole = all(getattr(dtype, "kind", "") in ("i", "u") for dtype in dtypes)
    plain = all(isinstance(dtype, np.dtype) for dtype in dtypes)
    return whole and not plain and not X.isna().to_numpy().any()


def _is_pairs(X: Any) -> bool:
    """Whether a list is one of (image, label) pairs."""
    first = X[0] if len(X) else None
    if not (
        isinstance(first, (list, tuple))
        and len(first) == 2
        and (is_pil(first[0]) or getattr(first[0], "ndim", 0) >= 1)
        and np.ndim(first[1]) <= 1
        and not is_pil(first[1])
    ):
        return False
    for i, item in enumerate(X):
        if not isinstance(item, (list, tuple)) or len(item) != 2:
            raise ValueError(
                f"X is a list of (image, label) pairs, but item {i} is none. Give "
                "each image a label, or images alone with their labels as y."
            )
    return True


# ------------------------------------------------------------- what holds no images


def _empty(X: Any) -> ValueError:
    return ValueError(
        f"Found array with 0 sample(s): X is an empty {type(X).__name__}. Give at "
        "least one image, path of an image file, or row of features."
    )


def _refusal(X: Any) -> Exception | None:
    """Return the error for what holds no images, or is a single one, else None."""
    advice = ""
    if issparse(X):
        return None  # Of which scikit-learn tells more.
    if is_file(X) or is_pil(X):
        got = f"a single one, {X if is_pil(X) else name_of(X)!r}"
        advice = " Give a list that holds it, as in predict([x])."
    elif isinstance(X, torch.utils.data.DataLoader):
        got = type(X).__name__
        advice = " Give its data set, X.dataset; batch_size is the estimator's."
    elif isinstance(X, Mapping):
        got = type(X).__name__
    elif np.ma.is_masked(X):
        got = "an array in which values are masked"
        advice = " Give one that has them all, X.filled(0)."
    elif (
        isinstance(X, Iterable)
        and not hasattr(X, "__getitem__")
        and not hasattr(X, "__array__")
    ):
        got = type(X).__name__
        advice = " Give a list of what it holds, list(X)."
    else:
        return _refusal_of_items(X)
    return TypeError(f"{_EXPECTED}; got {got}.{advice}")


def _refusal_of_items(X: Any) -> Exception | None:
    """Return the error for what holds other things than images, else None."""
    first = _first_of(X)
    if isinstance(first, Mapping) or hasattr(first, "read"):
        return TypeError(
            f"X holds items of type {type(first).__name__}. Give a list of images, as "
            "PIL.Image.open makes of files, of their paths as strings, or of their "
            "contents as bytes."
        )
    if not isinstance(X, (list, tuple)) and (np.ndim(first) or is_pil(first)):
        return ValueError(
            f"X has dtype object and items of type {type(first).__name__}. Give a "
            "list of images of one shape, list(X), or stack them: np.stack(X)."
        )
    columns = getattr(X, "columns", None)
    if columns is None or len(columns) < 2 or not len(X):
        return None
    row = np.asarray(X[:1]).ravel()
    strings = [str(c) for c, v in zip(columns, row, strict=False) if is_path(v)]
    if not strings:
        return None
    return ValueError(
        f"X is a table with strings in the column(s) {strings}. Give the column with "
        f"the paths of images alone, as X[{strings[0]!r}], and labels as y."
    )


def _first_of(X: Any) -> Any:
    """Return the first item of a list, or of a column of objects; else None."""
    if isinstance(X, (list, tuple)):
        return X[0] if X else None
    shape = getattr(X, "shape", ())
    if not shape or not shape[0] or shape[1:] not in [(), (1,)]:
        return None
    column = None if isinstance(X, torch.Tensor) else np.asarray(X[:1])
    return (
        column.ravel()[0] if column is not None and column.dtype.kind in "OS" else None
    )
