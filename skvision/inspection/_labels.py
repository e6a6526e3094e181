"""Labels, their names, and how well they are predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from skvision.images._names import class_names_of
from skvision.images._open import labels_by_name
from skvision.training._multilabel import MultilabelCodec, has_columns


def check_classifier(found: Any) -> None:
    """Raise an error unless this is a fitted classifier."""
    if not hasattr(found, "predict") or not is_classifier(found):
        name = type(found).__name__
        raise TypeError(f"Expected a fitted classifier; got {name}.")
    check_is_fitted(found)


def given_or_carried(X: Any, y: Any, estimator: Any = None) -> tuple[Any, np.ndarray]:
    """Return X, and y or the labels that X carries, as an estimator has them."""
    X, y = labels_by_name(estimator, X, y)
    if y is None:
        raise ValueError("y is None, and X carries no labels. Give the true labels.")
    y = as_labels(y)
    check_consistent_length(X, y)
    return X, y


def as_labels(y: Any) -> np.ndarray:
    """Return labels, or columns of 0 and 1 that say which labels images have."""
    if has_columns(y):
        return MultilabelCodec.check(y).astype(np.int64)
    return column_or_1d(y, warn=True)


def all_labels(y: np.ndarray, y_pred: Any, known: Any = None) -> np.ndarray:
    """Return all labels that occur, sorted, or the numbers of columns of labels."""
    if known is None or y.ndim == 2:
        return unique_labels(y, y_pred)
    return unique_labels(y, y_pred, known)


def joined_names(y: np.ndarray, names: dict[Any, str]) -> np.ndarray:
    """Return the names of the labels of each image, by columns of 0 and 1."""
    named = np.array([names[label] for label in range(y.shape[1])], dtype=object)
    return np.array([", ".join(named[row == 1]) or "none" for row in y])


def names_of(
    labels: np.ndarray, target_names: Any, estimator: Any = None
) -> dict[Any, str]:
    """Return a dict from labels to their names.

    Parameters
    ----------
    labels : ndarray
        All labels that occur, sorted.
    target_names : array-like of str or None
        None takes the names that the estimator has learnt, if any.
    estimator : classifier, default=None
        The names belong to its ``classes_``; without them to `labels` or, if there are
        more names, to numbers from 0 on.
    """
    names = {label: str(label) for label in labels.tolist()}
    classes = getattr(estimator, "classes_", None)
    if isinstance(classes, list):
        classes = None  # Of each column; scikit-learn's forests have such.
    if target_names is None and classes is not None:
        target_names = class_names_of(estimator)
    if target_names is None:
        return names
    if classes is None:
        classes = labels
        counted = np.arange(len(target_names))
        if len(labels) < len(counted) and np.isin(labels, counted).all():
            classes = counted
    classes = np.asarray(classes).tolist()
    if len(target_names) != len(classes):
        raise ValueError(
            f"target_names has {len(target_names)} names; expected one for each of the "
            f"{len(classes)} classes {classes}."
        )
    if len(set(target_names)) < len(target_names):
        raise ValueError("target_names has the same name twice.")
    return names | dict(zip(classes, map(str, target_names), strict=True))
