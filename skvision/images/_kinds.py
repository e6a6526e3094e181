"""What X is, and what to give in the place of what holds no images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse

from skvision.images._decode import is_pil
from skvision.images._files import is_path

__all__ = ["check_kind", "is_pairs", "paths_of"]


def paths_of(X: Any) -> np.ndarray | None:
    """Return the paths of image files that X holds as an array of objects, or None.

    X may be a list, or a column of a table in any form: one that can be made a NumPy
    array of one axis, or of one column.
    """
    if isinstance(X, (list, tuple)):
        return _objects(X) if len(X) and is_path(X[0]) else None
    if isinstance(X, (torch.Tensor, torch.utils.data.Dataset)) or is_pil(X):
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
    return column if any(map(is_path, column)) else None


def _objects(values: Any) -> np.ndarray:
    # Not by np.asarray, for which paths may be sequences.
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def check_kind(X: Any, must: str = "X must be an array, a data set,") -> None:
    """Refuse what holds no images, or is a single one, and say what to give.

    Parameters
    ----------
    X : object
    must : str
        How the message begins.
    """
    advice = ""
    if issparse(X):
        return  # Of which scikit-learn tells more.
    if is_path(X) or is_pil(X):
        got = f"a single one, {X!r}"
        advice = " Give a list that holds it, [x]."
    elif isinstance(X, torch.utils.data.DataLoader):
        got = type(X).__name__
        advice = " Give its data set, X.dataset; batch_size is the estimator's."
    elif isinstance(X, (bytes, Mapping)):
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
        _check_objects(X)
        return
    raise TypeError(
        f"{must} or a list of images or of paths of image files; got {got}.{advice}"
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


def _check_objects(X: Any) -> None:
    first = _first_of(X)
    if isinstance(first, (bytes, Mapping)) or hasattr(first, "read"):
        raise TypeError(
            f"X holds items of type {type(first).__name__}. Give a list of images, as "
            "PIL.Image.open makes of files, or of their paths as strings."
        )
    if not isinstance(X, (list, tuple)) and (np.ndim(first) or is_pil(first)):
        raise ValueError(
            f"X has dtype object and items of type {type(first).__name__}. Give a "
            "list of images of one shape, list(X), or stack them: np.stack(X)."
        )
    columns = getattr(X, "columns", None)
    if columns is None or len(columns) < 2 or not len(X):
        return
    row = np.asarray(X[:1]).ravel()
    strings = [str(c) for c, v in zip(columns, row, strict=False) if is_path(v)]
    if strings:
        raise ValueError(
            f"X is a table with strings in the column(s) {strings}. Give the column "
            f"with the paths of images alone, as X[{strings[0]!r}], and labels as y."
        )


def is_pairs(X: Any) -> bool:
    """Whether X is a list of (image, label) pairs."""
    if not isinstance(X, (list, tuple)) or not len(X):
        return False
    first = X[0]
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
