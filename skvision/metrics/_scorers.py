"""Scorers that know the classes of the estimator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.metrics import log_loss, top_k_accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from skvision._compat import BaseScorer, Interval, check_sample_weight, validated
from skvision.images._open import labels_by_name
from skvision.persistence._objects import register
from skvision.training._multilabel import MultilabelCodec, has_columns

_TOP_K = "skvision.metrics.top_k_scorer"
_CROSS_ENTROPY = "skvision.metrics.cross_entropy_scorer"


@validated(k=[Interval(Integral, 1, None, closed="left")])
def top_k_scorer(k: int) -> Callable[..., float]:
    """Make a scorer of how often the label is among the k most probable classes.

    Parameters
    ----------
    k : int
        At least 1, and less than the number of classes.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y=None, sample_weight=None)`` with a fitted
        classifier that has ``predict_proba``; without y it takes the labels that X
        carries. In ``epoch_scoring`` it goes by the name "top_k_accuracy", with the
        number in the place of k.

    See Also
    --------
    cross_entropy_scorer : Scores the probability of the label itself.
    sklearn.metrics.top_k_accuracy_score : The metric.

    Notes
    -----
    scikit-learn's own "top_k_accuracy" fails where a fold lacks one of the classes,
    since it does not know them. A label that the classifier has not been trained on
    counts as a miss. Where images may have several labels, it is an error.

    Examples
    --------
    >>> from sklearn.model_selection import cross_validate
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.metrics import cross_entropy_scorer, top_k_scorer
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier(max_epochs=2, random_state=0)
    >>> scoring = {"top_3": top_k_scorer(3), "entropy": cross_entropy_scorer()}
    >>> scores = cross_validate(net, X, y, scoring=scoring, cv=2)
    >>> bool(scores["test_top_3"].min() > 0.8)
    True
    """
    k = int(k)
    metric = partial(_top_k_accuracy, k=k)
    return _ProbabilityScorer(metric, 1, f"top_{k}_accuracy", _TOP_K, k=k)


def cross_entropy_scorer() -> Callable[..., float]:
    """Make a scorer of minus the mean cross-entropy.

    Where y has a column of 0 and 1 for each label, this is the mean of the binary
    cross-entropies of all labels.

    Returns
    -------
    scorer : callable
        Called as ``scorer(estimator, X, y=None, sample_weight=None)`` with a fitted
        classifier that has ``predict_proba``; without y it takes the labels that X
        carries. Greater is better, 0 the best. In ``epoch_scoring`` it goes by the
        name "neg_cross_entropy". A label that the classifier has not been trained on
        is an error.

    See Also
    --------
    top_k_scorer : Scores whether the label is among the most probable classes.
    sklearn.metrics.log_loss : The metric.

    Notes
    -----
    scikit-learn's own "neg_log_loss" fails where a fold lacks one of the classes, and
    takes probabilities below the precision of their data type for as much: float32
    ones below 1.2e-7. Here the limit is 2.2e-16, a cross-entropy of 36 for one image.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.metrics import cross_entropy_scorer
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier(max_epochs=2, random_state=0)
    >>> net.set_params(epoch_scoring=cross_entropy_scorer()).fit(X, y)
    ImageClassifier(...)
    >>> bool(net.history[-1, "train_neg_cross_entropy"] > -1)
    True
    """
    metric = partial(_cross_entropy)
    return _ProbabilityScorer(metric, -1, "neg_cross_entropy", _CROSS_ENTROPY)


class _ProbabilityScorer(BaseScorer):
    """Score the probabilities of all classes.

    As a scorer of scikit-learn's own kind it shares predictions with the other
    scorers of a call, and weights of rows reach it.
    """

    def __init__(
        self, metric: Any, sign: int, name: str, maker: str, **params: Any
    ) -> None:
        metric.__name__ = name  # By which it is recorded in a history.
        super().__init__(metric, sign, {}, "predict_proba")
        given = ", ".join(map(str, params.values()))
        self._shown = f"{maker.rpartition('.')[2]}({given})"
        #: For saved estimators: a name, and the parameters of what goes by it.
        self.made_by = maker, params

    def __repr__(self) -> str:
        return self._shown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ProbabilityScorer) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(self._shown)

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y_true: Any = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> float:
        return super().__call__(
            estimator, X, y_true, sample_weight=sample_weight, **kwargs
        )

    def _score(
        self,
        method_caller: Any,
        estimator: Any,
        X: Any,
        y_true: Any = None,
        **kwargs: Any,
    ) -> float:
        """Return the score of an estimator that must have probabilities."""
        check_is_fitted(estimator)
        if not all(hasattr(estimator, n) for n in ("classes_", "predict_proba")):
            raise TypeError(
                f"{self!r} needs a classifier with classes_ and predict_proba; got "
                f"{type(estimator).__name__}."
            )
        X, y_true = labels_by_name(estimator, X, y_true)
        if y_true is None:
            raise ValueError(f"{self!r} needs y, since X carries no labels.")
        classes = estimator.classes_
        of_several = hasattr(estimator, "thresholds_")
        if len(classes) == 2 and not of_several:
            # Scorers share one column alone, from which a small probability of the
            # other class cannot be told, and which may be that of either class.
            proba = estimator.predict_proba(X)
        else:
            proba = method_caller(estimator, self._response_method, X)
        if several := has_columns(y_true):
            y_true = MultilabelCodec.check(y_true)
        else:
            y_true = column_or_1d(y_true)
        if (several or of_several) and y_true.shape != np.shape(proba):
            raise ValueError(
                f"y has shape {y_true.shape}, but the classifier has probabilities of "
                f"shape {np.shape(proba)}. Give a column of 0 and 1 for each label if "
                "it is one of which images may have several, else one label per image."
            )
        check_consistent_length(y_true, proba)
        if (weight := kwargs.get("sample_weight")) is not None:
            kwargs["sample_weight"] = check_sample_weight(weight, proba)
        if not several:
            unique_labels(
                y_true, classes
            )  # Numbers are not to be compared with strings.
        return self._sign * self._score_func(y_true, proba, labels=classes, **kwargs)


def _top_k_accuracy(
    y_true: np.ndarray,
    y_proba: np.ndarray,
    *,
    k: int,
    labels: np.ndarray,
    sample_weight: Any = None,
) -> float:
    """Return the top-k accuracy, labels that are none of the classes being misses."""
    if y_true.ndim == 2:
        raise ValueError(
            f"top_k_scorer({k}) is for one label per image, but y has a column for "
            "each label, of which an image may have several. Use "
            "cross_entropy_scorer(), or scikit-learn's 'average_precision' or "
            "'f1_macro'."
        )
    if k >= len(labels):
        raise ValueError(
            f"k={k} of the top-k accuracy must be less than the number of classes, "
            f"{len(labels)}: every prediction would count as right."
        )
    known = np.isin(y_true, labels)
    share = float(np.average(known, weights=sample_weight))
    if share == 0:
        return 0.0
    return share * top_k_accuracy_score(
        y_true[known],
        y_proba[known, 1] if len(labels) == 2 else y_proba[known],
        k=k,
        labels=labels,
        sample_weight=None if sample_weight is None else sample_weight[known],
    )


def _cross_entropy(
    y_true: np.ndarray,
    y_proba: np.ndarray,
    *,
    labels: np.ndarray,
    sample_weight: Any = None,
) -> float:
    """Return the mean cross-entropy, with the precision of float64.

    Of columns of 0 and 1 it is the mean of all labels' binary cross-entropies.
    """
    if y_true.ndim == 2:
        least = np.finfo(np.float64).eps
        proba = y_proba.astype(np.float64).clip(least, 1 - least)
        losses = -xlogy(y_true, proba) - xlogy(1.0 - y_true, 1 - proba)
        return float(np.average(losses.mean(axis=1), weights=sample_weight))
    unknown = np.setdiff1d(y_true, labels)
    if len(unknown):
        raise ValueError(
            f"y contains the label(s) {unknown.tolist()}, which are not among the "
            f"classes {labels.tolist()} of the classifier: it gives them no "
            "probability, so that their cross-entropy is infinite."
        )
    precision = np.finfo(y_proba.dtype).eps
    y_proba = y_proba.astype(np.float64)
    sums = y_proba.sum(axis=1, keepdims=True)
    if np.allclose(sums, 1, rtol=np.sqrt(precision)):
        y_proba /= sums
    return log_loss(y_true, y_proba, labels=labels, sample_weight=sample_weight)


register(_TOP_K, top_k_scorer)
register(_CROSS_ENTROPY, cross_entropy_scorer)
