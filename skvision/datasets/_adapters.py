"""From what is given as X to the X and y that scikit-learn's tools want."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_consistent_length

from skvision._compat import StrOptions, validate_params
from skvision.images._adapters import Listed, images_of
from skvision.images._decode import is_pil
from skvision.images._kinds import check_kind, is_pairs, paths_of
from skvision.images._labels import labels_of
from skvision.images._layout import Channels, layout_of
from skvision.images._names import NamedLabels, names_for
from skvision.images._readers import ArrayReader, Cache, PathReader
from skvision.images._sequence import ImageSequence
from skvision.images._unwrap import held_in, is_dataset

__all__ = ["as_Xy"]

#: The name by which pickles of before have it.
_Listed = Listed


@validate_params(
    {
        "cache": [StrOptions({"auto"}), "boolean"],
        "channels": [StrOptions({"auto", "first", "last"})],
    },
    prefer_skip_nested_validation=True,
)
def as_Xy(
    dataset: Any, y: Any = None, *, cache: Cache = "auto", channels: str = "auto"
) -> tuple[ImageSequence, np.ndarray]:
    """Return the images and labels of a data set as scikit-learn's X and y.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset, ndarray, tensor, list or column of paths
        A torchvision data set or any other whose items are (image, label) pairs,
        a ``Subset`` of one, or skorch's ``SliceDataset``; a list of such pairs, of
        images, or of paths of image files, or such paths as a column of a table. Of an
        array, which may be a memory map, or of image files, scikit-learn's tools then
        share the images instead of copying those of each fold, and other processes
        open the file of a map instead of getting its contents.
    y : array-like of shape (n,) or (n, k), default=None
        The labels; None takes those that the data set's items carry.
    cache : {"auto", True, False}, default="auto"
        Whether the pixels of images that are decoded or transformed one by one are
        kept in a file when they have been read:

        - "auto" keeps them where reading them again is known to give the same: the
          data set is one of torchvision's own, and what its transform does to each
          image is not random, as with ``Resize``, ``CenterCrop``, ``Pad``,
          ``Grayscale`` and conversions. All images together may take 2 GiB, and half
          of the free space in the folder for temporary files.
        - True keeps the pixels of any data set. Reading an item must then give the
          same every time; random transforms are drawn once and for all.
        - False keeps nothing.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of four axes, and a data set's tensors and arrays, have their
        channels. "auto" takes the axis of length 1, 3 or 4, and on a tie the first,
        with a warning.

    Returns
    -------
    X : ImageSequence of shape (n, C, H, W)
        What the data set's items hold after its transforms, to be indexed like an
        array. Its attribute `reading` says how images are read. It is "memory" where
        the data set holds all images in an array, as long as its transforms are among
        ``ToTensor``, ``PILToTensor``, ``ToImage``, ``ToDtype``, ``ConvertImageDtype``
        and ``Normalize``: they are neither copied nor taken one by one. All else is
        read item by item when it is needed, "once" where the pixels are kept, see
        `cache`, and otherwise "each time".
    y : ndarray of shape (n,)
        The labels, taken from the data set's ``targets`` where it has them.

    Raises
    ------
    TypeError
        If `dataset` is not a data set.
    ValueError
        If its items carry no labels.
    OSError
        If `cache` is True and there is no space when the first batch is read.

    See Also
    --------
    skorch.helper.SliceDataset : The model for X; decodes image by image.

    Notes
    -----
    Random transforms are drawn again whenever an item is read, and so are transforms
    that are the user's own functions or classes, unless `cache` is True.

    What a transform of torchvision's own data sets does to pixels alone, that is
    scaling and normalising, is done to whole batches instead of single images. The
    values are equal to the last bit.

    Images are read at the depth of their files, of 8 or 16 bits per channel, and turned
    as their EXIF data say: files, PIL images, and those that torchvision's data sets
    read, before their transforms. What code of your own decodes and makes a tensor or
    an array of is taken as it is.

    Where a data set has names of its classes, as torchvision's do, X carries them, so
    that estimators compare labels of several data sets by name.

    The file has no name and goes with X. It lies in Python's folder for temporary
    files, which the environment variable ``TMPDIR`` names; if that is held in memory,
    so is the file. Views ``X[rows]`` and the workers of a ``DataLoader`` share it, the
    latter not on Windows; pickles and copies begin anew. Changes that are made to
    the data set after the call may go unseen.

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
    cache = "auto" if cache == "auto" else bool(cache)
    if (held := held_in(dataset)) is not None:
        dataset, y = held[0], held[1] if y is None else y
    if is_pairs(dataset) or _is_list_of_images(dataset):
        dataset = Listed(dataset)
    if is_dataset(dataset):
        X = images_of(dataset, cache, Channels(channels))
        given = y is not None
        y = y if given else labels_of(dataset)
        if y is not None and (names := names_for(dataset, y, given=given)) is not None:
            X.labels = NamedLabels(np.asarray(y), names)
        name = type(dataset).__name__
        listed = isinstance(dataset, Listed)
        what = "Lists carry" if listed else f"The items of the {name} data set carry"
    else:
        X = _images_without_labels(dataset, cache, channels)
        what = "Arrays and paths carry"
    if y is None:
        raise ValueError(f"{what} no labels: give them as y, or images with labels.")
    y = np.asarray(y)
    check_consistent_length(X, y)
    return X, y


def _is_list_of_images(X: Any) -> bool:
    if not isinstance(X, (list, tuple)) or not len(X):
        return False
    return is_pil(X[0]) or getattr(X[0], "ndim", 0) in (2, 3)


def _images_without_labels(X: Any, cache: Cache, channels: str) -> ImageSequence:
    if (paths := paths_of(X)) is not None:
        return ImageSequence(PathReader(paths, cache))
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    check_kind(X, "as_Xy expects a data set or an array,")
    if isinstance(X, (list, tuple)) and not len(X):
        raise TypeError("as_Xy expects images or paths; got list without any.")
    if isinstance(X, (list, tuple)) or hasattr(X, "__array__"):
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.dtype != object:
        if X.ndim not in (2, 3, 4) or 0 in X.shape:
            raise ValueError(
                "as_Xy expects an array of shape (n, height, width), (n, height, "
                "width, channels), (n, channels, height, width) or (n, n_features); "
                f"got shape {X.shape}."
            )
        return ImageSequence(ArrayReader(X, layout_of(X.shape, channels)))
    raise TypeError(
        "as_Xy expects a data set or an array, a tensor, or a list of images or of "
        f"paths of image files; got {type(X).__name__}."
    )
