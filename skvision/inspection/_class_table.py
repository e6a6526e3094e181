"""How well each class is recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from skvision.inspection._labels import (
    all_labels,
    check_classifier,
    given_or_carried,
    names_of,
)
from skvision.inspection._table import Table


def class_table(
    estimator: Any, X: Any, y: Any = None, *, target_names: Any = None
) -> Table:
    """Tabulate for each class how many of its images are recognised.

    Parameters
    ----------
    estimator : classifier
        Fitted; any with ``predict``.
    X : images
        As in ``fit``.
    y : array-like of shape (n,) or (n, k), default=None
        True labels; None takes those that X carries.
    target_names : array-like of str, default=None
        Names of the classes, in the order of ``classes_``; None takes those that X came
        with in ``fit``, or the labels.

    Returns
    -------
    table : Table
        A row for each label that the estimator knows or that occurs: its number of
        images, the part of them that is given this label, and the label that most of
        the others are given, the first of several. The last row is that of all images.
        Where y has a column of 0 and 1 for each label, it is the number of images that
        have the label, precision, recall and F1 score; the last row is that of all
        labels of all images.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.
    TypeError
        If `estimator` is no classifier.
    ValueError
        If there are no labels, or not a name for each class.

    See Also
    --------
    AccuracyDisplay : The accuracies as bars.
    sklearn.metrics.classification_report : Precision and F-score, too.
    sklearn.metrics.ConfusionMatrixDisplay : All that is mistaken for anything.

    Notes
    -----
    The accuracy of a class is its recall. The cells of a class without images are
    empty.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from skvision.inspection import class_table
    >>> X, y = np.zeros((4, 8, 8)), np.array(["cat", "dog", "dog", "dog"])
    >>> print(class_table(DummyClassifier().fit(X, y), X, y))
    label      images    accuracy  most often mistaken for
    -------  --------  ----------  -------------------------
    cat             1           0  dog
    dog             3           1
    all             4        0.75
    """
    check_classifier(estimator)
    X, y = given_or_carried(X, y, estimator)
    y_pred = estimator.predict(X)
    classes = getattr(estimator, "classes_", None)
    labels = all_labels(y, y_pred, classes)
    names = names_of(labels, target_names, estimator)
    shown = [names[label] for label in labels.tolist()]
    if y.ndim == 2:
        return _label_table(y, y_pred, shown)
    matrix = confusion_matrix(y, y_pred, labels=labels)
    mistaken = matrix - np.diag(np.diag(matrix))
    rows: list[list[Any]] = []
    for i, n_images in enumerate(matrix.sum(axis=1).tolist()):
        accuracy = float(matrix[i, i] / n_images) if n_images else None
        other = shown[mistaken[i].argmax()] if mistaken[i].any() else None
        rows.append([shown[i], n_images, accuracy, other])
    rows.append(["all", len(y), float(np.trace(matrix) / len(y)), None])
    return Table(["label", "images", "accuracy", "most often mistaken for"], rows)


def _label_table(y: np.ndarray, y_pred: np.ndarray, shown: list[str]) -> Table:
    """Return the table of labels of which an image may have several."""
    # The last is of all answers together.
    pairs = [*zip(y.T, y_pred.T, strict=True), (y.ravel(), y_pred.ravel())]
    rows: list[list[Any]] = []
    for title, (true, found) in zip([*shown, "all"], pairs, strict=True):
        scores = precision_recall_fscore_support(
            true, found, average="binary", zero_division=np.nan
        )
        known = [None if np.isnan(score) else float(score) for score in scores[:3]]
        rows.append([title, int(true.sum()), *known])
    return Table(["label", "images", "precision", "recall", "F1"], rows)
