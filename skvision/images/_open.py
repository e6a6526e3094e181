"""The door that everything goes through that may be given as X."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from skvision.images._arrays import as_numpy
from skvision.images._layout import AUTO, CHANNELS, Form, form_of
from skvision.images._names import nameless, names_of_fitted, renamed
from skvision.images._readers import ArrayReader, Cache, given_channels
from skvision.images._schema import ImageSchema, wrong_shape
from skvision.images._sequence import ImageSequence
from skvision.images._sources import Rows, Source, source_of


class OpenedImages(NamedTuple):
    """What `open_images` returns.

    Parameters
    ----------
    images : ImageSequence
        All images; nothing but the first is read yet of those that are not in memory.
    labels : array-like or None
        As they were given, or as X carries them.
    schema : ImageSchema
        What all images are like.
    """

    images: ImageSequence
    labels: Any
    schema: ImageSchema


def open_images(
    X: Any,
    y: Any = None,
    *,
    labelled: bool = True,
    form: Form = AUTO,
    image_shape: tuple[int, int, int] | None = None,
    fitted: ImageSchema | None = None,
    estimator: Any = None,
    cache: Cache = "auto",
    lazy: bool = False,
) -> OpenedImages:
    """Return images of any kind as a sequence, with their labels and what is known.

    Parameters
    ----------
    X : images
        An array or tensor of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n,
        n_features), a frame of such rows, a data set, an `ImageSequence` or
        ``SliceDataset``, a list of images, of (image, label) pairs or of paths of image
        files, or a column of such paths. Or the `Source` that `source_of` has made.
    y : array-like, default=None
        The labels; None takes those that X carries, if `labelled`.
    labelled : bool, default=True
        Whether anybody wants labels; to get those of a data set may take long.
    form : Form, default=AUTO
        How images are taken, and what is made of them.
    image_shape : tuple of int, default=None
        (C, H, W) of flat rows that are images.
    fitted : ImageSchema, default=None
        Of images that these are to be like.
    estimator : estimator, default=None
        Compares names and number of features, or learns them unless there is `fitted`.
        Errors name it.
    cache : {"auto", True, False}, default="auto"
        Which images that are read one by one are kept, see `as_Xy`.
    lazy : bool, default=False
        Whether images of lists are read one by one, and values are not looked at.

    Returns
    -------
    opened : OpenedImages
        Of images, labels and schema.

    Raises
    ------
    TypeError
        If X holds no images.
    ValueError
        If X is empty, not finite, or of another shape than it should be.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.images import open_images
    >>> pairs = [(np.zeros((8, 8)), "a"), (np.ones((8, 8)), "b")]
    >>> images, labels, schema = open_images(pairs)
    >>> images.shape, labels.tolist(), schema.layout
    ((2, 1, 8, 8), ['a', 'b'], 'grey')
    """
    source = source_of(X)
    labels, names = as_numpy(y, "y"), None
    if labelled:
        labels = source.labels() if y is None else labels
        if labels is not None:
            names = source.names_for(labels, given=y is not None)
    if fitted is not None:
        form = form._replace(expected=fitted.shape)
        _check_not_single(source, fitted, form, type(estimator).__name__)
    if isinstance(source, Rows) and estimator is not None:
        images = source.images_for(estimator, reset=fitted is None)
    else:
        images = source.images(form, cache, lazy=lazy)
    if images.flat:
        images = _folded(images, image_shape, fitted)
    shape = images.image_shape
    if image_shape is not None and form.shape_of(shape) != form.shape_of(image_shape):
        raise ValueError(
            f"image_shape={tuple(image_shape)}, but X has images of shape {shape}."
        )
    images = images.brought(form)
    shape = images.image_shape
    if images.flat and form.size is not None and form.of_arrays:
        raise ValueError(
            f"image_size={form.size} resizes images, but X has flat rows. Set "
            "image_shape=(channels, height, width)."
        )
    if fitted is not None:
        wanted = fitted.shape
        if form.size is not None and not form.of_arrays:
            wanted = fitted.shape[0], *shape[1:]  # Batches are resized.
        if (shape, images.flat) != (wanted, fitted.flat):
            raise wrong_shape(shape, fitted.shape, type(estimator).__name__)
    layout, dtype = source.look(images)
    n_channels = given_channels(images)
    schema = ImageSchema(shape, layout, dtype, images.flat, names, n_channels)
    return OpenedImages(images, labels, schema)


def _check_not_single(
    source: Source, fitted: ImageSchema, form: Form, name: str
) -> None:
    """Refuse one image in the place of several, and say what to give."""
    c, height, width = fitted.shape
    c = fitted.n_channels or c
    shapes: set[tuple[int, ...]] = {(c, height, width), (height, width, c)}
    if c == 1:
        # (1, H, W) are images as well, of which there is one.
        shapes = {(height, width), (height, width, 1)}
    shape = tuple(getattr(source.X, "shape", ()))
    is_single = shape in shapes
    if form.size is not None and len(shape) == 3:
        # They may have any, but rows of so few pixels are none.
        is_last = shape[1] > 1 and shape[2] in CHANNELS
        is_single |= is_last or (c > 1 and c in (shape[0], shape[2]))
    if fitted.flat or not is_single:
        return
    message = f"X has the shape of a single image, {shape}."
    if len(shape) == 2:
        message = (
            f"X has {width} features, but {name} is expecting {height * width} "
            f"features as input: it has the shape of a single image, {shape}."
        )
    raise ValueError(f"{message} Give a batch of one, X[None].")


def _folded(
    images: ImageSequence,
    image_shape: tuple[int, int, int] | None,
    fitted: ImageSchema | None,
) -> ImageSequence:
    """Return flat rows, as images where they are to be such."""
    reader: Any = images.reader
    shape, layout = image_shape, "first"
    if shape is None and fitted is not None and not fitted.flat:
        # Tools make rows of n_features_in_ values of the arrays that they get.
        shape, layout = fitted.shape, fitted.layout
    if shape is None:
        return images
    n_channels, height, width = shape
    shape = n_channels, height, width
    n_features = reader.image_shape[2]
    if math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={shape} has {math.prod(shape)} values, but the rows of X "
            f"have {n_features} features."
        )
    if layout == "last":
        array = reader.array.reshape(-1, height, width, n_channels)
        return ImageSequence(ArrayReader(array, "last"), images.rows)
    folded = ArrayReader(reader.array, "flat", image_shape=shape)
    return ImageSequence(folded, images.rows)


def labels_by_name(net: Any, X: Any, y: Any = None) -> tuple[Any, Any]:
    """Return X, and its labels as a fitted classifier has them.

    Parameters
    ----------
    net : estimator
    X : images of any kind
    y : array-like, default=None
        None takes the labels that X carries.

    Returns
    -------
    X : images
        Without the names of classes, of which predictions would warn.
    y : array-like or None
        Where X carries names of classes, labels that `net` has for these names.
    """
    source, given = source_of(X), y is not None
    y = as_numpy(y, "y") if given else source.labels()
    names = None if y is None else source.names_for(y, given=given)
    if names is None or not (known := names_of_fitted(net)):
        return X, y
    if all(known.get(name, label) == label for label, name in names.items()):
        # They are numbered alike; all that can be is a class that is unknown.
        return X, renamed(y, names, net)
    return nameless(source.images(form_of(net))), renamed(y, names, net)
