"""From what is given as X to the X and y that scikit-learn's tools want."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length

from skvision._compat import StrOptions, validated
from skvision.images._adapters import Listed
from skvision.images._layout import Form
from skvision.images._names import NamedLabels
from skvision.images._open import open_images
from skvision.images._readers import Cache
from skvision.images._sequence import ImageSequence
from skvision.images._sources import Sliced, Stored, source_of

#: The name by which pickles of before have it.
_Listed = Listed


@validated(
    cache=[StrOptions({"auto"}), "boolean"],
    channels=[StrOptions({"auto", "first", "last"})],
)
def as_Xy(
    dataset: Any, y: Any = None, *, cache: Cache = "auto", channels: str = "auto"
) -> tuple[ImageSequence, np.ndarray]:
    """Return the images and labels of a data set as scikit-learn's X and y.

    Parameters
    ----------
    dataset : images of any kind that ``fit`` takes
        A torchvision data set or any other whose items are (image, label) pairs,
        a ``Subset`` of one, or skorch's ``SliceDataset``; a list of such pairs, of
        images, or of paths of image files, or such paths as a column of a table; an
        array or tensor of images, or rows of features, also as a frame. Of an array,
        which may be a memory map, or of image files, scikit-learn's tools then share
        the images instead of copying those of each fold, and other processes open the
        file of a map instead of getting its contents.
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
        `cache`, and otherwise "each_time".
    y : ndarray of shape (n,)
        The labels, taken from the data set's ``targets`` where it has them.

    Raises
    ------
    TypeError
        If `dataset` holds no images.
    ValueError
        If it carries no labels and `y` is None, or if it is empty.
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
    source = source_of(dataset)
    if isinstance(source, Sliced):
        source = Stored(dataset)  # What it is a view of has labels as well.
    images, labels, schema = open_images(
        source,
        y,
        form=Form(channels),
        cache="auto" if cache == "auto" else bool(cache),
        lazy=True,
    )
    if labels is None:
        raise ValueError(
            f"{source.title} no labels: give them as y, or images with labels."
        )
    labels = np.asarray(labels)
    check_consistent_length(images, labels)
    if schema.names is not None:
        named = NamedLabels(labels, schema.names)
        images = ImageSequence(images.reader, images.rows, named)
    return images, labels
