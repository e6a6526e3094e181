"""Images in one folder per class."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skvision._compat import StrOptions, validated
from skvision._warnings import warn
from skvision.datasets._base import CHOICE_CONSTRAINTS, choose
from skvision.images._files import (
    OtherSize,
    is_hidden,
    is_shortage,
    other_depth,
    read_image,
)

# Skipped files that a warning names.
_N_NAMED = 3


@validated(
    path=[str, os.PathLike],
    image_size=[tuple, list, None],
    mode=[StrOptions({"RGB", "L"})],
    on_error=[StrOptions({"raise", "skip"})],
    **CHOICE_CONSTRAINTS,
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

    Every image is decoded, and all are put into one array. Of files with several
    images, such as pages or the frames of an animation, the first is taken.

    Parameters
    ----------
    path : str or path-like
        The folder. Names of its sub-folders are the names of the classes; images
        may also lie deeper within them. What is hidden, as its name begins with a dot,
        is left out, and so is what systems add (such as ``__MACOSX``). Links that lead
        back to a folder in which they lie are not followed.

    classes : array-like of int or str, default=None
        Names of the classes to load, or their positions in the sorted list of all
        sub-folders; None means all. The targets are counted anew: positions in
        `target_names`, the sorted names of these classes. Names that have no images
        here, but have others elsewhere, count as well, so that
        ``classes=train.target_names`` gives the labels of the training images.

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
        opened, or cannot be turned into `mode`. "raise" ends with an error that names
        the file. "skip" leaves the image out, and a warning says how many there were.
        It is an error nevertheless if a class loses all its images, since what is then
        learnt is another problem, and if images differ in size or in bits per channel,
        which is no damage.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, H, W, 3) or (n, H, W)
            The images, turned as their EXIF data say; without a last axis if
            ``mode="L"``. uint8, but uint16 if the files have 16 bits per channel, and
            int32 or float32 if they hold such numbers.
        target : ndarray of shape (n,), dtype=int64
            Positions in `target_names`.
        target_names : ndarray of str
            Names of the chosen classes, sorted.
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
        If the images differ in size and `image_size` is None, if they differ in bits
        per channel, if an image cannot be turned into `mode` (unless skipped), if none
        of the classes is known, or if `n_samples` is more than there are.

    See Also
    --------
    sklearn.datasets.load_files : The same for texts.
    torchvision.datasets.ImageFolder : The same as a data set of torch.

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
    _check_image_size(image_size)
    names, found = _find_images(path, may_be_empty=classes is not None)
    every = np.array([label for label, _ in found], dtype=np.int64)
    rows, target, target_names = choose(
        every, names, classes, n_samples, random_state, absent=True
    )
    filenames = [found[row][1] for row in rows]
    data, errors = _read_images(filenames, mode, image_size, on_error)
    skipped = list(errors)
    read = np.delete(target, skipped)
    if errors:
        lost = target_names[np.setdiff1d(target, read)].tolist()
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


def _find_images(
    path: str | os.PathLike[str], may_be_empty: bool
) -> tuple[dict[int, str], list[tuple[int, str]]]:
    """Return names of classes by their labels, and label and path of each image."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    root = os.fspath(path)
    what = (
        f"path={root!r} should be a folder that has a sub-folder with images for each "
        "class."
    )
    if not os.path.isdir(root):
        raise FileNotFoundError(f"{what} There is no such folder.")
    above = _identities_above(root)
    folders = [entry.name for entry in os.scandir(root) if entry.is_dir()]
    classes = [
        name
        for name in sorted(folders)
        if not is_hidden(name) and _identity(os.path.join(root, name)) not in above
    ]
    if not classes:
        raise FileNotFoundError(f"{what} Couldn't find any class folder.")
    found = [
        (label, file)
        for label, name in enumerate(classes)
        for file in _files_in(os.path.join(root, name))
        if file.lower().endswith(IMG_EXTENSIONS)
    ]
    empty = {*range(len(classes))} - {label for label, _ in found}
    if not found or (empty and not may_be_empty):
        raise FileNotFoundError(
            f"{what} Found no valid file for the classes "
            f"{', '.join(classes[label] for label in sorted(empty))}. Supported "
            f"extensions are: {', '.join(IMG_EXTENSIONS)}"
        )
    return dict(enumerate(classes)), found


def _files_in(folder: str) -> list[str]:
    """Return the paths of all files in a folder and those below, each folder once."""

    def fail(error: OSError) -> None:
        raise error  # os.walk would leave out what may not be opened.

    seen = _identities_above(folder)
    found = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        below = []
        for name in sorted(folders):
            identity = _identity(os.path.join(place, name))
            if not is_hidden(name) and identity not in seen:
                seen.add(identity)
                below.append(name)
        folders[:] = below
        kept = sorted(name for name in files if not is_hidden(name))
        found.append((place, [os.path.join(place, name) for name in kept]))
    return [file for _, files in sorted(found) for file in files]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _identities_above(folder: str) -> set[tuple[int, int]]:
    """Return what tells a folder, and those in which it lies, from others."""
    place = Path(folder).resolve()
    return {_identity(str(one)) for one in (place, *place.parents)}


def _check_image_size(image_size: Any) -> None:
    """Raise an error unless this is None or (height, width)."""
    if image_size is not None and not (
        len(image_size) == 2
        and all(isinstance(n, Integral) and int(n) > 0 for n in image_size)
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
        size = None if data is None or image_size is not None else data.shape[1:3]
        try:
            # Grey images of a large size need less memory as what they are.
            pixels = read_image(filename, "L" if mode == "L" else None, size)
            image = _resized(pixels, image_size)
            if mode == "RGB" and image.ndim == 2:
                image = np.stack([image] * 3, axis=-1)
        except OtherSize as error:
            raise _difference(filename, error.args[0], first, size) from None
        except (OSError, ValueError) as error:
            if on_error == "raise" or is_shortage(error):
                raise
            errors[row] = str(error)
            continue
        if data is None:
            first = filename
            data = np.empty((len(filenames), *image.shape), dtype=image.dtype)
        if image.shape != data.shape[1:]:
            raise _difference(filename, image.shape[:2], first, data.shape[1:3])
        if image.dtype != data.dtype:
            raise other_depth(filename, image.dtype, first, data.dtype)
        data[row - len(errors)] = image
    if data is None:
        raise OSError(
            f"on_error='skip' leaves nothing: none of the {len(filenames)} images can "
            f"be read. The first error: {errors[0]}"
        )
    return data[: len(filenames) - len(errors)], errors


def _difference(one: str, size: Any, other: str, expected: Any) -> ValueError:
    return ValueError(
        f"{one} has {tuple(size)} pixels (height, width), but {other} has "
        f"{tuple(expected)}. Pass image_size=(height, width) to resize all images."
    )


def _resized(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return an image of another size, in the data type that it had."""
    if size is None:
        return pixels
    from PIL import Image

    shape = (size[1], size[0])
    bilinear = Image.Resampling.BILINEAR
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(shape, bilinear))
    # Pillow resizes deeper ones as floats, and one channel at a time.
    channels = [
        np.asarray(Image.fromarray(channel).resize(shape, bilinear))
        for channel in np.moveaxis(np.atleast_3d(pixels), 2, 0).astype(np.float32)
    ]
    resized = np.stack(channels, axis=-1) if pixels.ndim == 3 else channels[0]
    if pixels.dtype.kind != "f":
        resized = resized.round()
    return resized.astype(pixels.dtype)


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
