"""Labels of which an image may have several: y has a column of 0 and 1 for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, check_array

from skvision._warnings import warn
from skvision.training._targets import (
    LabelCodec,
    NoTarget,
    check_not_masked,
    class_weights,
)

_BINARIZE = (
    "give a column of 0 and 1 for each label, as "
    "sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y) makes them."
)
#: Scores that are equal but for rounding.
_ROUNDING = 1e-12


class MultilabelCodec(NoTarget):
    """Tells which labels an image has.

    Parameters
    ----------
    thresholds : ndarray of shape (k,)
        The probability of each label above which it is predicted.
    """

    def __init__(self, thresholds: np.ndarray) -> None:
        self.thresholds = thresholds
        self.classes = np.arange(len(thresholds))

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> MultilabelCodec | None:
        thresholds = attributes.get("thresholds_")
        return None if thresholds is None else cls(thresholds)

    @classmethod
    def check(cls, y: Any) -> np.ndarray:
        check_not_masked(y, "y")
        y = np.asarray(y)  # Of frames of types of pandas' own, it is one of objects.
        y = check_array(y, dtype=None, ensure_all_finite=False, input_name="y")
        if y.dtype.kind not in "biuf":
            raise ValueError(
                f"Unknown label type: y of shape {y.shape} has dtype {y.dtype}, and "
                f"values such as {y.tolist()[0][0]!r}, but only 0 and 1 say which "
                "labels an image has. If all are 0, 1 or truth values, give "
                f"y.astype(int). If each row is a set of labels: {_BINARIZE}"
            )
        assert_all_finite(y, input_name="y")
        if (other := y[(y != 0) & (y != 1)]).size:
            raise ValueError(
                f"Unknown label type: y has shape {y.shape}, so that its columns say "
                f"which labels an image has, by 0 and 1, but {other.size} value(s) are "
                f"others, such as {other[0].item()!r}. For one label per image, give a "
                "y of shape (n,), as y.argmax(axis=1) makes it of scores; for numbers, "
                "use ImageRegressor; for several questions of several classes each, "
                "fit a classifier for each column."
            )
        return y.astype(np.uint8)

    @classmethod
    def learnt(cls, y: Any, classes: Any, names: Any, title: str) -> MultilabelCodec:
        codec = cls(np.full(y.shape[1], 0.5))
        codec.check_same(y, classes)
        _warn_of_columns(y)
        return codec

    def facts(self) -> dict[str, Any]:
        return {
            "classes_inferred_": self.classes,
            "n_outputs_": len(self.classes),
            "thresholds_": self.thresholds,
        }

    def check_same(self, y: Any, classes: Any) -> None:
        n_labels = len(self.classes)
        if y.ndim != 2 or y.shape[1] != n_labels:
            raise ValueError(
                f"y has shape {y.shape}, but that of the first fit had a column for "
                f"each of {n_labels} labels, shape ('n', {n_labels})."
            )
        if classes is not None and not np.array_equal(classes, self.classes):
            raise ValueError(
                f"classes={classes!r}, but of y with {n_labels} columns, each of which "
                f"is a label, the classes are {self.classes.tolist()}. Leave classes "
                "out."
            )

    def encode(self, y: Any) -> torch.Tensor:
        return torch.from_numpy(y)

    def shown(self, targets: torch.Tensor) -> torch.Tensor:
        return targets.long()

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return 1 for labels whose probabilities are above the thresholds, else 0."""
        return (outputs > self.thresholds).astype(np.int64)


class LabelsCodec(LabelCodec):
    """Stands for a `LabelCodec` or a `MultilabelCodec`, by what y is."""

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Any:
        return MultilabelCodec.of(attributes) or LabelCodec.of(attributes)

    @classmethod
    def check(cls, y: Any) -> np.ndarray:
        codec = MultilabelCodec if has_columns(y) else LabelCodec
        return codec.check(y)

    @classmethod
    def learnt(cls, y: Any, classes: Any, names: Any, title: str) -> Any:
        codec: type[NoTarget] = MultilabelCodec if y.ndim == 2 else LabelCodec
        return codec.learnt(y, classes, names, title)


def has_columns(y: Any) -> bool:
    """Whether targets have several columns, as none of one label per image have.

    Raises
    ------
    ValueError
        If they are sets of labels, which are no rows of an array.
    """
    if issparse(y):
        return False  # scikit-learn says that they cannot be.
    rows = y if isinstance(y, (list, tuple)) else np.asarray(y)
    if isinstance(rows, np.ndarray) and (rows.ndim > 1 or rows.dtype != object):
        return rows.ndim > 1 and rows.shape[1] > 1
    several = [
        row
        for row in rows
        if isinstance(row, (set, frozenset, list, tuple)) or getattr(row, "ndim", 0) > 0
    ]
    if not several:
        return False
    is_array = isinstance(rows, (list, tuple)) and len(several) == len(rows)
    is_array = is_array and not any(isinstance(row, (set, frozenset)) for row in rows)
    if not is_array or len({len(row) for row in several}) > 1:
        raise ValueError(
            "Unknown label type: y has sets of labels, such as "
            f"{max(several, key=len)!r}. Instead, {_BINARIZE}"
        )
    return np.ndim(rows) > 1 and np.shape(rows)[1] > 1


def names_of_columns(y: Any) -> np.ndarray | None:
    """Return the names of labels, if y is a frame that has such."""
    names = list(getattr(y, "columns", ()))
    strings = len(names) > 1 and all(isinstance(name, str) for name in names)
    return np.array(names) if strings else None


def _warn_of_columns(y: np.ndarray) -> None:
    """Warn of labels of which nothing can be learnt, and of a single one per image."""
    constant = np.flatnonzero((y == y[0]).all(axis=0))
    if len(constant):
        warn(
            f"{len(constant)} column(s) of y, such as {constant[:10].tolist()}, have "
            f"the same value in all {len(y)} rows, {y[0, constant[:10]].tolist()}: "
            "nothing can be learnt of these labels. Leave them out, or give images "
            "with and without them."
        )
    if y.shape[1] > 2 and (y.sum(axis=1) == 1).all():
        warn(
            f"Each row of y, of shape {y.shape}, has exactly one 1. Each column is "
            "taken for a label of its own, of which an image may have none or several. "
            "If an image can have only one of them, give y.argmax(axis=1)."
        )


def label_weights(
    given: Any, y: np.ndarray, sample_weight: np.ndarray | None
) -> np.ndarray:
    """Return the weight of each label of each row, by a `class_weight` parameter.

    Parameters
    ----------
    given : list of dict or "balanced"
    y : ndarray of shape (n, k)
    sample_weight : ndarray of shape (n,) or None
        Of the rows, which count as much.

    Returns
    -------
    weights : ndarray of shape (n, k)

    Raises
    ------
    ValueError
        If there is not a dict for each label, or if one is not valid.
    """
    n_labels = y.shape[1]
    if isinstance(given, str):
        given = [given] * n_labels
    if isinstance(given, Mapping) or len(given) != n_labels:
        raise ValueError(
            f"class_weight={given!r}, but y has {n_labels} columns: give 'balanced' or "
            "a list of dicts, one for each column, as {0: 1, 1: 5}."
        )
    of_values = [
        class_weights(one, np.array([0, 1]), column, sample_weight)
        for one, column in zip(given, y.T, strict=True)
    ]
    weights = np.stack([of_values[j][y[:, j]] for j in range(n_labels)], axis=1)
    return weights if sample_weight is None else weights * sample_weight[:, None]


# --------------------------------------------------------------------- thresholds


def given_thresholds(threshold: Any, n_labels: int) -> np.ndarray:
    """Return the threshold of each label by the parameter, 0.5 where it names none.

    Raises
    ------
    ValueError
        If there is not one for each label, or if one is not between 0 and 1.
    """
    if threshold is None or isinstance(threshold, str):
        return np.full(n_labels, 0.5)
    try:
        values = np.asarray(threshold, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    is_known = values.shape in ((), (n_labels,))
    if not is_known or not ((values > 0) & (values < 1)).all():
        raise ValueError(
            f"threshold={threshold!r} should be a number between 0 and 1, or a "
            f"sequence of them, one for each of the {n_labels} labels; or 'tuned'."
        )
    return np.broadcast_to(values, n_labels).copy()


def tuned_thresholds(
    y: np.ndarray, proba: np.ndarray, sample_weight: np.ndarray | None
) -> np.ndarray:
    """Return the threshold of each label that gives the greatest F1 score.

    Of several, that nearest to 0.5 is taken, and 0.5 with a warning for a label that no
    row has, or that all have.

    Parameters
    ----------
    y : ndarray of shape (n, k)
    proba : ndarray of shape (n, k)
    sample_weight : ndarray of shape (n,) or None
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    alike = (y == y[0]).all(axis=0)
    if alike.any():
        warn(
            f"threshold='tuned': of the {len(y)} rows that are held out, all or none "
            f"have the label(s) {np.flatnonzero(alike).tolist()}, whose threshold(s) "
            "stay 0.5. Hold out more rows, as by a larger validation_fraction."
        )
    return np.array(
        [
            0.5 if alike[j] else _best_threshold(y[:, j], proba[:, j], weight)
            for j in range(y.shape[1])
        ]
    )


def _best_threshold(y: np.ndarray, proba: np.ndarray, weight: np.ndarray) -> float:
    """Return the threshold of the greatest F1 score of a label that some rows have."""
    order = np.argsort(-proba, kind="stable")
    y, proba, weight = y[order], proba[order].astype(np.float64), weight[order]
    n_found, n_predicted = np.cumsum(weight * y), np.cumsum(weight)
    scores = 2 * n_found / (n_predicted + n_found[-1])
    lower = np.append(proba[1:], 0.0)
    # Rows of equal probability are predicted alike.
    scores[proba == lower] = -1
    between = (proba + lower) / 2
    best = between[scores >= scores.max() - _ROUNDING]
    return float(best[np.abs(best - 0.5).argmin()])
