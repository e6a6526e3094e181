"""Scores of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import recall_score


def per_class_accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, *, labels: ArrayLike | None = None
) -> np.ndarray:
    """Compute the accuracy within each class.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, k)
        True labels, or a column of 0 and 1 for each.
    y_pred : array-like of shape (n,) or (n, k)
        Predicted labels.
    labels : array-like of shape (n_classes,), default=None
        The classes, in the order wanted, such as an estimator's ``classes_``. None
        takes all labels in `y_true` and `y_pred`, sorted.

    Returns
    -------
    accuracies : ndarray of shape (n_classes,)
        The fraction of the images of each class that are predicted as such; NaN for
        a class of which there is no image.

    See Also
    --------
    sklearn.metrics.recall_score : Another name for the same number.
    sklearn.metrics.balanced_accuracy_score : The mean over classes.

    Examples
    --------
    >>> from skvision.metrics import per_class_accuracy
    >>> y_true = ["cat", "cat", "dog", "dog", "dog", "dog"]
    >>> y_pred = ["cat", "dog", "dog", "dog", "dog", "cat"]
    >>> per_class_accuracy(y_true, y_pred, labels=["dog", "cat"])
    array([0.75, 0.5 ])
    """
    return recall_score(
        y_true, y_pred, labels=labels, average=None, zero_division=np.nan
    )
