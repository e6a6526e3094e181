"""Images in one folder per class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from skvision._compat import StrOptions, validated
from skvision._warnings import warn
from skvision.datasets._base import CHOICE_CONSTRAINTS, choose
from skvision.datasets._image_files import READING_CONSTRAINTS, read_images
from skvision.images._files import is_hidden, named, unreadable
from skvision.images._resize import size_of

# Names of folders that hold parts of a data set, in lower case.
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
# Images that torchvision's folders leave out as well.
_OTHER_FORMATS = (".avif", ".gif", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".svg")
# Why something is left out.
_HIDDEN = "It is hidden, or a system made it, by its name."
_LOOP = "It leads to a folder that is read already."
_BESIDE = "It lies beside the folders of the classes."
_EMPTY = "It is a class folder without an image."


@validated(
    path=[str, os.PathLike],
    subset=[str, None],
    color_mode=[StrOptions({"auto", "grey", "rgb"}), None],
    mode=[StrOptions({"RGB", "L"}), None],
    **READING_CONSTRAINTS,
    **CHOICE_CONSTRAINTS,
)
def load_image_folder(
    path: str | os.PathLike[str],
    *,
    subset: str | None = None,
    classes: ArrayLike | None = None,
    n_samples: int | float | None = None,
    random_state: int | np.random.RandomState | None = None,
    image_size: int | tuple[int, int] | None = None,
    resize: str = "squash",
    color_mode: str | None = None,
    mode: str | None = None,
    on_error: str = "raise",
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray | None]:
    """Load the images of a folder that has a sub-folder for each class.

    Every image is decoded, and all are put into one array. Of files with several
    images, such as pages or the frames of an animation, the first is taken.

    Parameters
    ----------
    path : str or path-like
        The folder. Names of its sub-folders are the names of the classes; images
        may also lie deeper within them. What is hidden, as its name begins with a dot,
        is left out, and so is what systems add (such as ``__MACOSX``). Links that lead
        back to a folder in which they lie are not followed. A folder that has images
        and no sub-folder is loaded without a target.

    subset : str, default=None
        The sub-folder that holds the folders of the classes, where a data set has
        parts, such as "train" and "test". "val", "valid" and "validation" stand for
        each other. None takes `path` itself; parts in it are then an error. A warning
        says if a part has other classes than the one to train on.

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

    image_size : int or tuple of int (height, width), default=None
        Size to which all images are resized; an int is both. Large JPEG files are then
        decoded at a part of their size. None keeps their own size, which must then be
        the same for all.

    resize : {"squash", "crop", "pad"}, default="squash"
        What `image_size` does about other proportions: "squash" changes them, "crop"
        cuts out the largest part in the middle that has the right ones, and "pad" adds
        black bars.

    color_mode : {"auto", "grey", "rgb"}, default=None
        Colours that the images get: "auto" takes them as grey if all files are, and
        in colour otherwise. What is transparent lies on white. None stands for "rgb",
        or for what `mode` says.

    mode : {"RGB", "L"}, default=None
        `color_mode` in other words: "RGB" is "rgb", and "L" is "grey".

    on_error : {"raise", "skip"}, default="raise"
        What happens where an image cannot be read, since its file is damaged or may
        not be opened, and where the folder of a class holds no image. "raise" ends with
        an error that names it. "skip" leaves it out, and a warning says how many there
        were. It is an error nevertheless if none of the images of a class can be read,
        since what is then learnt is another problem, and if images differ in size or
        in bits per channel, which is no damage.

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
        target : ndarray of shape (n,), dtype=int64, or None
            Positions in `target_names`; None without sub-folders.
        target_names : ndarray of str, or None
            Names of the chosen classes, sorted.
        filenames : ndarray of str, shape (n,)
            Path of each image.
        skipped : ndarray of str, shape (n_skipped,)
            Path of all that was left out, sorted: images that `on_error` skipped, and
            empty folders of classes; files of the chosen classes that are no images by
            their extension; what is hidden; and what lies beside the classes' folders.
        skipped_reasons : ndarray of str, shape (n_skipped,)
            Why each of these was left out.
        DESCR : str
            Description of the data set.

    (data, target) : tuple if ``return_X_y=True``
        The arrays described above.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or subset, or no image in it, or in a sub-folder.
    OSError
        If an image cannot be read or, with ``on_error="skip"``, no image of a class.
    ValueError
        If the images differ in size and `image_size` is None, if they differ in bits
        per channel, if an image cannot be turned into these colours (unless skipped),
        if none of the classes is known, if `n_samples` is more than there are, if both
        `color_mode` and `mode` are given, or if the sub-folders are parts of a data
        set, such as "train" and "test", and `subset` chooses none.

    See Also
    --------
    load_images : Images of a list of paths.
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
    size, colours = size_of(image_size), _colours(color_mode, mode)
    root = os.fspath(path)
    place = root if subset is None else os.path.join(root, _part(root, subset))
    found = _find_images(place, classes, on_error)
    every = np.array([label for label, _ in found.files], dtype=np.int64)
    names = found.names or {0: ""}
    rows, target, target_names = choose(
        every, names, classes, n_samples, random_state, absent=True
    )
    files = [found.files[row][1] for row in rows]
    if subset is not None and classes is None:
        _compare(root, os.path.basename(place), [*found.names.values()])
    data, errors = read_images(files, size, resize, colours, on_error)
    read = np.delete(target, [*errors])
    lost = target_names[np.setdiff1d(target, read)].tolist()
    if lost:
        raise OSError(
            f"on_error='skip' leaves no image of the class(es) {', '.join(lost)}: none "
            "of those chosen can be read. Replace them, or give classes= without these "
            f"classes. The first error: {next(iter(errors.values()))}"
        )
    messages = [unreadable(files, errors, f"path={place!r}")] if errors else []
    messages += found.messages
    if messages:
        warn(" ".join(messages))
    labels = read if found.names else None
    if return_X_y:
        return data, labels
    skipped = {files[row]: error for row, error in errors.items()}
    for label, file, reason in found.left_out:
        if label is None or names[label] in target_names:
            skipped[file] = reason
    skipped = dict(sorted(skipped.items()))
    of_classes = f" of {len(target_names)} classes" if found.names else ""
    return Bunch(
        data=data,
        target=labels,
        target_names=target_names if found.names else None,
        filenames=np.delete(files, [*errors]),
        skipped=np.array([*skipped], dtype=str),
        skipped_reasons=np.array([*skipped.values()], dtype=str),
        DESCR=f"{len(data)} images{of_classes} from the folder {place}.",
    )


def _colours(color_mode: str | None, mode: str | None) -> str:
    """Return "auto", "grey" or "rgb", which either parameter may say."""
    if mode is None:
        return color_mode or "rgb"
    if color_mode is not None:
        raise ValueError(
            f"color_mode={color_mode!r} and mode={mode!r} both say which colours the "
            "images get. Give color_mode alone."
        )
    return {"RGB": "rgb", "L": "grey"}[mode]


# ------------------------------------------------------------- parts of a data set


def _part(root: str, subset: str) -> str:
    """Return the name of the sub-folder that holds a part of the data."""
    _check_folder(root)
    names = _sub_folders(root)
    kind = _PARTS.get(subset.lower())
    alike = [name for name in names if kind and _PARTS.get(name.lower()) == kind]
    if subset in names or len(alike) == 1:
        return subset if subset in names else alike[0]
    there = ", ".join(map(repr, names)) or "none"
    raise FileNotFoundError(
        f"subset={subset!r} should be a sub-folder of path={root!r}; there are: "
        f"{there}. Give one of these, or the path of the folder itself."
    )


def _compare(root: str, part: str, names: list[str]) -> None:
    """Warn if the classes of a part are not those to train on, as labels count."""
    for other in _sub_folders(root):
        if _PARTS.get(other.lower()) != "train" or other == part:
            continue
        expected = _sub_folders(os.path.join(root, other))
        # An empty folder is no class there either.
        lacking = [
            name
            for name in expected
            if name not in names and _has_image(os.path.join(root, other, name))
        ]
        more = [name for name in names if name not in expected]
        if names and expected and (lacking or more):
            differences = [
                f"{verb} {', '.join(map(repr, some))}"
                for verb, some in (("lacks", lacking), ("adds", more))
                if some
            ]
            warn(
                f"subset={part!r} {' and '.join(differences)}, compared with the "
                f"classes of {other!r}: the same label may stand for different classes "
                "in the two. Pass classes=train.target_names, where train is what was "
                f"loaded of {other!r}, to count them alike."
            )


def _check_parts(root: str, folders: list[str], classes: Any) -> None:
    """Refuse parts of a data set that would be taken for classes."""
    parts = [name for name in folders if name.lower() in _PARTS]
    named_ones = [] if classes is None else [c for c in classes if isinstance(c, str)]
    if not parts or {*parts} & {*named_ones}:
        return
    deeper = [name for name in parts if _sub_folders(os.path.join(root, name))]
    lie = ", whose class folders lie one deeper" if deeper else ""
    first = next((p for p in parts if _PARTS[p.lower()] == "train"), parts[0])
    text = (
        f"path={root!r} has the sub-folder(s) {', '.join(map(repr, parts))}, which are "
        f"named like parts of a data set{lie}. Pass subset={first!r} to load "
    )
    if len(deeper) > 1 or len(parts) == len(folders):
        raise ValueError(
            f"{text}one of them or, if they are classes, classes={folders!r}."
        )
    if deeper:
        warn(f"{text}one of them. Here they are taken as classes.")


def _sub_folders(folder: str) -> list[str]:
    """Return the names of folders in a folder that are not hidden, sorted."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return sorted(name for name in names if not is_hidden(name))


# --------------------------------------------------------------- files of a folder


class _Found(NamedTuple):
    """What lies in a folder.

    Attributes
    ----------
    names : dict
        Names of classes by their labels, empty for a folder without sub-folders.
    files : list of (label, path)
        The images.
    left_out : list of (label or None, path, reason)
        Other files.
    messages : list of str
        What the user is warned of.
    """

    names: dict[int, str]
    files: list[tuple[int, str]]
    left_out: list[tuple[int | None, str, str]]
    messages: list[str]


def _check_folder(root: str) -> None:
    if not os.path.isdir(root):
        raise FileNotFoundError(f"{_expected(root)} There is no such folder.")


def _expected(root: str) -> str:
    return (
        f"path={root!r} should be a folder that has a sub-folder with images for each "
        "class, or that has images and no sub-folder."
    )


def _find_images(root: str, classes: Any, on_error: str) -> _Found:
    """Return the images of a folder, and what is left out of it."""
    _check_folder(root)
    above = _identities_above(root)
    folders, loose = [], []
    left_out: list[tuple[int | None, str, str]] = []
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if is_hidden(entry.name):
            left_out.append((None, entry.path, _HIDDEN))
        elif not entry.is_dir():
            loose.append(entry.path)
        elif _identity(entry.path) in above:
            left_out.append((None, entry.path, _LOOP))
        else:
            folders.append(entry.name)
    left_out += [(None, file, _no_image(file)) for file in loose if _no_image(file)]
    images = [file for file in loose if not _no_image(file)]
    if not folders:
        if not images:
            raise FileNotFoundError(
                f"{_expected(root)} Couldn't find any class folder, and no image."
            )
        if classes is not None:
            raise ValueError(
                f"classes={classes!r} chooses among sub-folders, but path={root!r} has "
                "none: its images have no classes. Leave classes out."
            )
        messages = _other_formats(root, left_out)
        return _Found({}, [(0, file) for file in images], left_out, messages)
    _check_parts(root, folders, classes)
    left_out += [(None, file, _BESIDE) for file in images]
    files = []
    for label, name in enumerate(folders):
        found, others = _files_in(os.path.join(root, name))
        left_out += [(label, *other) for other in others]
        for file in found:
            if reason := _no_image(file):
                left_out.append((label, file, reason))
            else:
                files.append((label, file))
    return _without_empty(root, folders, files, left_out, classes, on_error)


def _without_empty(
    root: str,
    folders: list[str],
    files: list[tuple[int, str]],
    left_out: list[tuple[int | None, str, str]],
    classes: Any,
    on_error: str,
) -> _Found:
    """Return what was found without class folders that hold no image.

    They are an error, unless they are to be skipped or classes are chosen.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS

    names = dict(enumerate(folders))
    empty = sorted({*names} - {label for label, _ in files})
    may_be_empty = classes is not None or on_error == "skip"
    if not files or (empty and not may_be_empty):
        skip = " Or pass on_error='skip' to leave them out." if files else ""
        raise FileNotFoundError(
            f"{_expected(root)} Found no valid file for the classes "
            f"{', '.join(names[label] for label in empty)}. Supported extensions are: "
            f"{', '.join(IMG_EXTENSIONS)}.{skip}"
        )
    messages = []
    if classes is None and empty:
        messages.append(
            f"{len(empty)} of {len(folders)} class folders of path={root!r} hold no "
            f"image and are left out: {named([names[label] for label in empty])}."
        )
        for label in empty:
            left_out.append((None, os.path.join(root, names.pop(label)), _EMPTY))
        left_out = [
            (None if label in empty else label, file, reason)
            for label, file, reason in left_out
        ]
    beside = [file for _, file, reason in left_out if reason == _BESIDE]
    if beside:
        messages.append(
            f"{len(beside)} image(s) lie beside the class folders of path={root!r} and "
            f"are left out: {named(beside)}."
        )
    messages += _other_formats(root, left_out)
    return _Found(names, files, left_out, messages)


def _no_image(file: str) -> str:
    """Return why a file is not read as an image, by its name; "" if it is."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    if file.lower().endswith(IMG_EXTENSIONS):
        return ""
    extension = os.path.splitext(file)[1]
    own = f"extension {extension!r}" if extension else "name without an extension"
    return f"Its {own} is none of {', '.join(IMG_EXTENSIONS)}."


def _other_formats(root: str, left_out: list[tuple[int | None, str, str]]) -> list[str]:
    """Return what the user is told of images in formats that are not read."""
    others = [
        file
        for _, file, reason in left_out
        if reason != _HIDDEN and file.lower().endswith(_OTHER_FORMATS)
    ]
    if not others:
        return []
    return [
        f"{len(others)} image(s) of path={root!r} are left out because of their "
        f"extension: {named(others)}. Convert them, or give paths to load_images, "
        "which tries files of all kinds."
    ]


def _files_in(folder: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the files in a folder and those below, each folder once.

    Beside them, paths of what is left out, each with the reason.
    """

    def fail(error: OSError) -> None:
        raise error  # os.walk would leave out what may not be opened.

    seen = _identities_above(folder)
    found = []
    left_out = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        below = []
        for name in sorted(folders):
            path = os.path.join(place, name)
            identity = _identity(path)
            if is_hidden(name):
                left_out.append((path, _HIDDEN))
            elif identity in seen:
                left_out.append((path, _LOOP))
            else:
                seen.add(identity)
                below.append(name)
        folders[:] = below
        paths = []
        for name in sorted(files):
            path = os.path.join(place, name)
            if is_hidden(name):
                left_out.append((path, _HIDDEN))
            else:
                paths.append(path)
        found.append((place, paths))
    return [file for _, files in sorted(found) for file in files], left_out


def _has_image(folder: str) -> bool:
    return not all(_no_image(file) for file in _files_in(folder)[0])


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _identities_above(folder: str) -> set[tuple[int, int]]:
    """Return what tells a folder, and those in which it lies, from others."""
    place = Path(folder).resolve()
    return {_identity(str(one)) for one in (place, *place.parents)}
