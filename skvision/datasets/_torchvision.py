"""Reading and downloading torchvision's data sets, with errors that tell the remedy."""

from __future__ import annotations

import math
import os
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets as sklearn_datasets

_TRAIN = {"train": [True], "test": [False], "all": [True, False]}


def get_data_home(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which the fetchers look for data.

    It can be given to torchvision's data sets as ``root``.

    Parameters
    ----------
    data_home : str or path-like, default=None
        The folder, if it is known. None means the one that the environment variable
        SKVISION_DATA names, or else ``skvision`` within
        :func:`sklearn.datasets.get_data_home`.

    Returns
    -------
    path : pathlib.Path
        With ``~`` replaced; it need not exist.

    Examples
    --------
    >>> from skvision.datasets import get_data_home
    >>> get_data_home("images").name
    'images'
    """
    if not isinstance(data_home, (str, os.PathLike, type(None))):
        raise TypeError(
            f"data_home must be a path (str or os.PathLike) or None; got {data_home!r}."
        )
    if data_home is None:
        data_home = os.environ.get("SKVISION_DATA") or Path(
            sklearn_datasets.get_data_home(), "skvision"
        )
    return Path(data_home).expanduser()


def read_torchvision(
    name: str,
    data_home: str | os.PathLike[str] | None,
    subset: str,
    download: bool,
    **split: str,
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return images, labels and a dict of class names of a torchvision data set.

    Parameters
    ----------
    name : str
        Of a class of torchvision.datasets: CIFAR10 or of the MNIST family.
    data_home, subset, download
        As given to a fetcher.
    **split
        The ``split`` of EMNIST.
    """
    from torchvision import datasets

    root = get_data_home(data_home)
    dataset = getattr(datasets, name)
    parts = [_read(dataset, root, train, download, **split) for train in _TRAIN[subset]]
    data = np.concatenate([np.asarray(part.data) for part in parts])
    target = np.concatenate([np.asarray(part.targets) for part in parts])
    if name == "EMNIST":
        # Its files hold the images column by column.
        data = data.swapaxes(1, 2)
    # EMNIST's letters start at 1; torchvision fills the gap with a placeholder.
    names = {i: name for i, name in enumerate(parts[0].classes) if name != "N/A"}
    return data, target.astype(np.int64), names


def _read(dataset: Any, root: Path, train: bool, download: bool, **split: str) -> Any:
    """Return a data set of torchvision's, whose files are known to be whole."""
    folder, files = _needed_files(dataset, root, train, **split)
    for file, md5 in files.items():
        if (folder / file).is_file():
            _check_file(folder / file, md5)
    try:
        part = dataset(root, train=train, download=download, **split)
    except (RuntimeError, OSError, HTTPException) as exc:
        missing = ", ".join(file for file in files if not (folder / file).is_file())
        if not missing:
            raise
        if not download:
            raise OSError(
                "Data not found and `download_if_missing` is False: the folder "
                f"{folder} lacks {missing}."
            ) from exc
        raise OSError(
            f"{dataset.__name__} could not be downloaded. Place the official files "
            f"{missing} in {folder}, or pass a data_home which has them."
        ) from exc
    if len(part.data) != len(part.targets):
        raise OSError(
            f"{folder} holds {len(part.data)} images, but {len(part.targets)} labels "
            f"({', '.join(files)}). Delete the files and fetch them again."
        )
    return part


def _needed_files(
    dataset: Any, root: Path, train: bool, split: str | None = None
) -> tuple[Path, dict[str, str | None]]:
    """Return a folder and what torchvision needs of it: names and MD5 checksums.

    For the MNIST family, only the checksums of the downloaded archives are known.
    """
    if dataset.__name__ == "CIFAR10":
        meta = dataset.meta["filename"], dataset.meta["md5"]
        files = dict([*dataset.train_list, *dataset.test_list, meta])
        return root / dataset.base_folder, files
    names = [Path(archive).stem for archive, _ in dataset.resources]
    if split is not None:
        prefix = f"emnist-{split}-{'train' if train else 'test'}"
        names = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
    return root / dataset.__name__ / "raw", dict.fromkeys(names)


def _check_file(path: Path, md5: str | None) -> None:
    """Raise an OSError if a file is truncated or corrupt."""
    if md5 is not None:
        from torchvision.datasets.utils import check_integrity

        intact = check_integrity(path, md5)
        expected = f"its MD5 checksum should be {md5}"
    else:
        # An idx file starts with a magic number and the length of each axis.
        n_axes = 3 if "idx3" in path.name else 1
        header = np.fromfile(path, dtype=">u4", count=1 + n_axes).tolist()
        n_bytes = path.stat().st_size
        intact = (
            len(header) == 1 + n_axes
            and header[0] == 0x800 + n_axes
            and n_bytes - 4 * len(header) == math.prod(header[1:]) > 0
        )
        expected = f"its {n_bytes} bytes do not fit its header"
    if not intact:
        raise OSError(
            f"{path} is truncated or corrupt: {expected}. Delete it and fetch it again."
        )
