"""Images in one folder per class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skvision.datasets._base import CHOICE_CONSTRAINTS, choose
from skvision.datasets._files import open_image

__all__ = ["load_image_folder"]


@validate_params(
    {
        "path": [str, os.PathLike],
        "image_size": [tuple, list, None],
        "mode": [StrOptions({"RGB", "L"})],
        **CHOICE_CONSTRAINTS,
    },
    prefer_skip_nested_validation=True,
)
def load_image_folder(
    path: str | os.PathLike[str],
    *,
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    image_size: tuple[int, int] | None = None,
    mode: str = "RGB",
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load the images of a folder that has a sub-folder for each class.

    Every image is decoded, and all are put into one array.

    Parameters
    ----------
    path : str or path-like
        The folder. Names of its sub-folders are the names of the classes; images
        may also lie deeper within them.

    classes : array-like of int or str, default=None
        Labels or names of the classes to load; None means all. The targets keep
        their labels.

    n_samples : int or float, default=None
        Size of a random subset in which the classes keep their proportions, as a
        number of samples or, between 0 and 1, as a fraction. Only these images are
        read. None means all.

    random_state : int, RandomState instance or None, default=None
        Determines which samples `n_samples` draws. Pass an int for reproducible
        output across multiple function calls.

    image_size : tuple of int (height, width), default=None
        Size to which all images are resized. None keeps their own size, which must
        then be the same for all.

    mode : {"RGB", "L"}, default="RGB"
        Whether the images become coloured or grey.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, H, W, 3) or (n, H, W), dtype=uint8
            The images; without a last axis if ``mode="L"``.
        target : ndarray of shape (n,), dtype=int64
            Labels: positions in the sorted list of all sub-folders.
        target_names : ndarray of str
            Names of the chosen classes, in the order of their labels.
        filenames : ndarray of str, shape (n,)
            Path of each image.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no sub-folder, or a sub-folder holds no image.
    OSError
        If an image cannot be read.
    ValueError
        If the images differ in size and `image_size` is None, if an image has more
        than 8 bits per pixel and channel, if a class is unknown, or if `n_samples`
        is more than there are.

    See Also
    --------
    sklearn.datasets.load_files : The same for texts.
    torchvision.datasets.ImageFolder : Finds the images.

    Notes
    -----
    For folders larger than the memory, give an estimator a list or an array of the
    paths of the images in place of the images: it reads them batch by batch.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skvision.datasets import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("blue", "red"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (8, 6), name).save(Path(folder, name, "0.png"))
    ...     images = load_image_folder(folder)
    >>> images.data.shape
    (2, 6, 8, 3)
    >>> images.target_names[images.target]
    array(['blue', 'red'], dtype='<U4')
    """
    from torchvision.datasets import ImageFolder

    _check_image_size(image_size)
    try:
        folder = ImageFolder(path)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FileNotFoundError(
            f"path={os.fspath(path)!r} should be a folder that has a sub-folder with "
            f"images for each class. {exc}"
        ) from exc
    target = np.array(folder.targets, dtype=np.int64)
    names = dict(enumerate(folder.classes))
    rows, target_names = choose(target, names, classes, n_samples, random_state)
    target = target[rows]
    filenames = [folder.samples[row][0] for row in rows]
    data = _read_images(filenames, mode, image_size)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=target_names,
        filenames=np.array(filenames),
        DESCR=f"{len(data)} images of {len(target_names)} classes from the folder "
        f"{os.fspath(path)}.",
    )


def _check_image_size(image_size: Any) -> None:
    if image_size is not None and not (
        len(image_size) == 2
        and all(
            isinstance(length, (int, np.integer)) and length > 0
            for length in image_size
        )
    ):
        raise ValueError(
            f"image_size={image_size!r} should be a pair of positive integers, "
            "(height, width)."
        )


def _read_images(
    filenames: list[str], mode: str, image_size: tuple[int, int] | None
) -> np.ndarray:
    first = _read_image(filenames[0], mode, image_size)
    data = np.empty((len(filenames), *first.shape), dtype=np.uint8)
    for row, filename in enumerate(filenames):
        image = _read_image(filename, mode, image_size)
        if image.shape != first.shape:
            raise ValueError(
                f"{filename} has {image.shape[:2]} pixels (height, width), but "
                f"{filenames[0]} has {first.shape[:2]}. Pass "
                "image_size=(height, width) to resize all images."
            )
        data[row] = image
    return data


def _read_image(
    filename: str, mode: str, image_size: tuple[int, int] | None
) -> np.ndarray:
    image = open_image(filename).convert(mode)
    if image_size is not None:
        from PIL.Image import Resampling

        height, width = image_size
        image = image.resize((width, height), Resampling.BILINEAR)
    return np.asarray(image)
