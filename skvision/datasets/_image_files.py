"""Images from a list of paths, and how all loaders read files into one array."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skvision._compat import (
    Interval,
    StrOptions,
    num_samples,
    safe_indexing,
    validated,
)
from skvision._warnings import warn
from skvision.images._files import (
    OtherSize,
    is_grey_file,
    is_missing,
    is_path,
    is_shortage,
    other_depth,
    read_image,
    unreadable,
)
from skvision.images._resize import fit_size, size_of, size_to_decode, warn_if_unused
from skvision.images._sources import Paths, source_of

#: Of the parameters that say what becomes of images, for scikit-learn's validated.
READING_CONSTRAINTS = {
    "image_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
    "resize": [StrOptions({"squash", "crop", "pad"})],
    "on_error": [StrOptions({"raise", "skip"})],
}
_EXPECTED = "paths should be a list or a column of paths of image files"
# Types of pixels that torch resizes only as wider ones.
_WIDENED = {"uint16": np.int32, "uint32": np.int64}


@validated(
    paths="no_validation",
    target=["array-like", None],
    folder=[str, os.PathLike, None],
    color_mode=[StrOptions({"auto", "grey", "rgb"})],
    return_X_y=["boolean"],
    **READING_CONSTRAINTS,
)
def load_images(
    paths: Any,
    target: ArrayLike | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    resize: str = "squash",
    color_mode: str = "rgb",
    on_error: str = "raise",
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, Any]:
    """Load the images of a list, or of a table's column, of paths.

    Every image is decoded, and all are put into one array. Of files with several
    images, such as pages or the frames of an animation, the first is taken.

    Parameters
    ----------
    paths : list or column of str or path-like, of length n
        Paths of image files: a list, an array, or a column of a table of pandas, polars
        or pyarrow.

    target : array-like of length n, default=None
        What is known of each image, such as its label or a number.

    folder : str or path-like, default=None
        Where relative paths begin, as those in a CSV file that lies beside the images.
        None stands for the folder of the running program.

    image_size : int or tuple of int (height, width), default=None
        Size to which all images are resized; an int is both. Large JPEG files are then
        decoded at a part of their size. None keeps their own size, which must then be
        the same for all.

    resize : {"squash", "crop", "pad"}, default="squash"
        What `image_size` does about other proportions: "squash" changes them, "crop"
        cuts out the largest part in the middle that has the right ones, and "pad" adds
        black bars.

    color_mode : {"auto", "grey", "rgb"}, default="rgb"
        Colours that the images get: "auto" takes them as grey if all files are, and
        in colour otherwise. What is transparent lies on white.

    on_error : {"raise", "skip"}, default="raise"
        What happens where an image cannot be read: its file is missing or damaged, or
        may not be opened, or its row has no path. "raise" ends with an error that names
        the file. "skip" leaves the image out and its entry of `target` with it, and a
        warning says how many there were. It is an error nevertheless if images differ
        in size or in bits per channel, which is no damage.

    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    images : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n, H, W, 3) or (n, H, W)
            The images, turned as their EXIF data say; without a last axis if they are
            grey. uint8, but uint16 if the files have 16 bits per channel, and int32 or
            float32 if they hold such numbers.
        target : array-like of length n, or None
            As it was given, without the entries of images that were left out.
        filenames : ndarray of str, shape (n,)
            Path of each image.
        skipped : ndarray of str, shape (n_skipped,)
            Path of each image that `on_error` left out.
        skipped_reasons : ndarray of str, shape (n_skipped,)
            Why each of these was left out.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The first two of these.

    Raises
    ------
    OSError
        If `folder` is none, if an image cannot be read or, with ``on_error="skip"``, no
        image at all.
    TypeError
        If `paths` is no list or column, or holds what is no path.
    ValueError
        If `paths` is empty, if `target` differs from it in length, if the images
        differ in size and `image_size` is None, if they differ in bits per channel, or
        if an image cannot be turned into these colours (unless skipped).

    See Also
    --------
    load_image_folder : Images that lie in one folder for each class.

    Notes
    -----
    For more images than the memory holds, give an estimator the paths in place of the
    images: it reads them batch by batch.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skvision.datasets import load_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [Path(folder, "0.png"), Path(folder, "1.png")]
    ...     Image.new("RGB", (8, 6), "blue").save(paths[0])
    ...     Image.new("L", (40, 30), 255).save(paths[1])
    ...     images = load_images(paths, ["sea", "snow"], image_size=(3, 4))
    >>> images.data.shape
    (2, 3, 4, 3)
    >>> images.data[0, 0, 0].tolist(), images.target[0]
    ([0, 0, 255], 'sea')
    """
    size = size_of(image_size)
    column = _column(paths, on_error)
    if target is not None and num_samples(target) != len(column):
        raise ValueError(
            f"target has {num_samples(target)} entries, but paths has {len(column)}. "
            "Give one for each path, in the same order."
        )
    if folder is not None:
        if not os.path.isdir(folder):
            raise NotADirectoryError(
                f"folder={os.fspath(folder)!r} is no folder. Give the one in which "
                "relative paths begin."
            )
        column = [None if path is None else Path(folder, path) for path in column]
    data, errors = read_images(column, size, resize, color_mode, on_error)
    names = ["None" if path is None else os.fspath(path) for path in column]
    if errors:
        warn(unreadable(names, errors, "paths"))
        if target is not None:
            target = safe_indexing(target, np.delete(np.arange(len(names)), [*errors]))
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        filenames=np.delete(names, [*errors]),
        skipped=np.array([names[row] for row in errors], dtype=str),
        skipped_reasons=np.array([*errors.values()], dtype=str),
        DESCR=f"{len(data)} images of a list of paths.",
    )


def _column(paths: Any, on_error: str) -> list[str | os.PathLike[str] | None]:
    """Return the paths of a list or column; None stands for one that is missing."""
    values = _values(paths)
    if not values:
        raise ValueError("paths is empty. Give the path of at least one image file.")
    for i, value in enumerate(values):
        if is_path(value):
            continue
        if not is_missing(value):
            raise TypeError(f"{_EXPECTED}; item {i} is {value!r}.")
        if on_error == "raise":
            raise TypeError(
                f"{_EXPECTED}; item {i} is {value!r}. Leave its row out, as "
                "on_error='skip' does."
            )
        values[i] = None
    return values


def _values(paths: Any) -> list[Any]:
    """Return what a list or column holds; what is neither is an error."""
    if isinstance(paths, (list, tuple)):
        return [*paths]
    got = f"{_EXPECTED}; got"
    if is_path(paths):
        raise TypeError(
            f"{got} a single one, {os.fspath(paths)!r}. Give a list that holds it or, "
            "if it is a folder, call load_image_folder."
        )
    if len(getattr(paths, "columns", ())) > 1:
        raise TypeError(
            f"{got} a table with the columns {[*map(str, paths.columns)]}. Give the "
            "one with the paths alone."
        )
    if hasattr(paths, "__next__"):
        raise TypeError(f"{got} {type(paths).__name__}. Give sorted(paths).")
    source = source_of(paths)
    if isinstance(source, Paths):
        return [*source.X]
    if np.shape(paths) == (0,):
        return []
    raise TypeError(f"{got} {type(paths).__name__} without any path.")


# ------------------------------------------------------------ what all loaders share


class _Size(NamedTuple):
    """What images are brought to, as `read_image` wants to know it."""

    size: tuple[int, int]
    resize: str

    def size_to_decode(self, shape: Sequence[int]) -> tuple[int, int]:
        return size_to_decode(shape, self.size, self.resize)

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """Return an image of shape (H, W) or (H, W, C) in this size."""
        wide = pixels.astype(_WIDENED.get(pixels.dtype.name, pixels.dtype))
        images = torch.from_numpy(np.atleast_3d(wide)).permute(2, 0, 1).unsqueeze(0)
        fitted = fit_size(images, self.size, self.resize)[0].permute(1, 2, 0).numpy()
        shaped = fitted[..., 0] if pixels.ndim == 2 else fitted
        return shaped.astype(pixels.dtype, copy=False)


def read_images(
    paths: Sequence[str | os.PathLike[str] | None],
    size: tuple[int, int] | None,
    resize: str,
    color_mode: str,
    on_error: str,
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the images that can be read, and what is wrong with the other files.

    Parameters
    ----------
    paths : sequence of str, path-like or None
        None stands for a path that is missing.
    size, resize, color_mode, on_error
        As of `load_images`.

    Returns
    -------
    data : ndarray of shape (n, H, W) or (n, H, W, 3)
    errors : dict
        By the positions of the others in `paths`.
    """
    warn_if_unused(resize, size)
    if color_mode == "auto":
        are_grey = all(is_grey_file(path) for path in paths if path is not None)
        color_mode = "grey" if are_grey else "rgb"
    # Grey images of a large size need less memory as what they are.
    mode = "L" if color_mode == "grey" else None
    spec = None if size is None else _Size(size, resize)
    data: np.ndarray | None = None
    first: Any = ""
    errors: dict[int, str] = {}
    for row, path in enumerate(paths):
        if path is None:
            errors[row] = f"Item {row} of paths is missing."
            continue
        own_size = None if data is None or spec is not None else data.shape[1:3]
        try:
            pixels = read_image(path, mode, own_size, spec=spec)
        except OtherSize as error:
            raise _difference(path, error.args[0], first, own_size) from None
        except (OSError, ValueError) as error:
            if on_error == "raise" or is_shortage(error):
                raise
            errors[row] = str(error)
            continue
        image = pixels if spec is None else spec.fit(pixels)
        if mode is None and image.ndim == 2:
            image = np.stack([image] * 3, axis=-1)
        if data is None:
            first = path
            data = np.empty((len(paths), *image.shape), dtype=image.dtype)
        if image.shape != data.shape[1:]:
            raise _difference(path, image.shape[:2], first, data.shape[1:3])
        if image.dtype != data.dtype:
            raise other_depth(path, image.dtype, first, data.dtype)
        data[row - len(errors)] = image
    if data is None:
        raise OSError(
            f"on_error='skip' leaves nothing: none of the {len(paths)} images can "
            f"be read. The first error: {errors[0]}"
        )
    return data[: len(paths) - len(errors)], errors


def _difference(one: Any, size: Any, other: Any, expected: Any) -> ValueError:
    return ValueError(
        f"{os.fspath(one)} has {tuple(size)} pixels (height, width), but "
        f"{os.fspath(other)} has {tuple(expected)}. Pass image_size=(height, width) to "
        "resize all images."
    )
