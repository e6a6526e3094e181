"""Images in one folder per class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skvision._warnings import warn
from skvision.datasets._base import CHOICE_CONSTRAINTS, choose
from skvision.datasets._files import is_shortage, open_image

__all__ = ["load_image_folder"]

# Skipped files that a warning names.
_N_NAMED = 3


@validate_params(
    {
        "path": [str, os.PathLike],
        "image_size": [tuple, list, None],
        "mode": [StrOptions({"RGB", "L"})],
        "on_error": [StrOptions({"raise", "skip"})],
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
    on_error: str = "raise",
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
        number of samples or, between 0 and 1, as a fraction. None means all. The
        subset is drawn before images are read, and only its images are; those that
        `on_error` skips are not replaced by others.

    random_state : int, RandomState instance or None, default=None
        Determines which samples `n_samples` draws. Pass an int for reproducible
        output across multiple function calls.

    image_size : tuple of int (height, width), default=None
        Size to which all images are resized. None keeps their own size, which must
        then be the same for all.

    mode : {"RGB", "L"}, default="RGB"
        Whether the images become coloured or grey.

    on_error : {"raise", "skip"}, default="raise"
        What happens where an image cannot be read: its file is damaged, or may not be
        opened, or has more than 8 bits per pixel and channel. "raise" ends with an
        error that names the file. "skip" leaves the image out, and a warning says how
        many there were. It is an error nevertheless if a class loses all its images,
        since what is then learnt is another problem, and if images differ in size,
        which is no damage.

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
        skipped : ndarray of str, shape (n_skipped,)
            Path of each image that `on_error` left out.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no sub-folder, or a sub-folder holds no image.
    OSError
        If an image cannot be read or, with ``on_error="skip"``, no image of a class.
    ValueError
        If the images differ in size and `image_size` is None, if an image has more
        than 8 bits per pixel and channel (unless skipped), if a class is unknown, or
        if `n_samples` is more than there are.

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
    data, errors = _read_images(filenames, mode, image_size, on_error)
    skipped = list(errors)
    read = np.delete(target, skipped)
    if errors:
        lost = [names[label] for label in np.setdiff1d(target, read)]
        _report(path, filenames, errors, lost)
    if return_X_y:
        return data, read
    return Bunch(
        data=data,
        target=read,
        target_names=target_names,
        filenames=np.delete(filenames, skipped),
        skipped=np.array([filenames[row] for row in skipped], dtype=str),
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
    filenames: list[str], mode: str, image_size: tuple[int, int] | None, on_error: str
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the images that can be read, and what is wrong with the other files."""
    data: np.ndarray | None = None
    first = ""
    errors: dict[int, str] = {}
    for row, filename in enumerate(filenames):
        try:
            image = _read_image(filename, mode, image_size)
        except (OSError, ValueError) as error:
            if on_error == "raise" or is_shortage(error):
                raise
            errors[row] = str(error)
            continue
        if data is None:
            first = filename
            data = np.empty((len(filenames), *image.shape), dtype=np.uint8)
        if image.shape != data.shape[1:]:
            raise ValueError(
                f"{filename} has {image.shape[:2]} pixels (height, width), but "
                f"{first} has {data.shape[1:3]}. Pass image_size=(height, width) to "
                "resize all images."
            )
        data[row - len(errors)] = image
    if data is None:
        raise OSError(
            f"on_error='skip' leaves nothing: none of the {len(filenames)} images can "
            f"be read. The first error: {errors[0]}"
        )
    return data[: len(filenames) - len(errors)], errors


def _read_image(
    filename: str, mode: str, image_size: tuple[int, int] | None
) -> np.ndarray:
    image = open_image(filename)
    try:
        image = image.convert(mode)
    except ValueError as error:
        raise ValueError(
            f"{filename} cannot be turned into mode={mode!r}: {error}. Save it in that "
            "mode first."
        ) from error
    if image_size is not None:
        from PIL.Image import Resampling

        height, width = image_size
        image = image.resize((width, height), Resampling.BILINEAR)
    return np.asarray(image)


def _report(
    path: str | os.PathLike[str],
    filenames: list[str],
    errors: dict[int, str],
    lost: list[str],
) -> None:
    """Warn of images that are left out; it is an error if they are a whole class."""
    first_error = next(iter(errors.values()))
    if lost:
        raise OSError(
            f"on_error='skip' leaves no image of the class(es) {', '.join(lost)}: none "
            "of those chosen can be read. Replace them, or give classes= without these "
            f"classes. The first error: {first_error}"
        )
    named = ", ".join(repr(filenames[row]) for row in list(errors)[:_N_NAMED])
    if len(errors) > _N_NAMED:
        named += f" and {len(errors) - _N_NAMED} more"
    warn(
        f"{len(errors)} of {len(filenames)} images of path={os.fspath(path)!r} cannot "
        f"be read and are left out: {named}. The first error: {first_error}"
    )
