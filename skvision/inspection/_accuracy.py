"""Accuracy as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, recall_score
from sklearn.utils.multiclass import unique_labels

from skvision.inspection._labels import check_classifier, given_or_carried, names_of
from skvision.inspection._plotting import (
    check_named,
    n_letters,
    require_matplotlib,
    single_axes,
)

_FONT_SIZE = 8.5


class AccuracyDisplay:
    """Bars of accuracies, of classes or of estimators.

    Made by `from_estimator`, `from_estimators` or `from_scores`. All parameters are
    stored as attributes.

    Parameters
    ----------
    scores : dict of {str: float}
        Accuracies in [0, 1] with the names of their bars.
    errors : dict of {str: float}, default=None
        Standard deviations; a name may lack one.
    overall : float, default=None
        An accuracy to draw as a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the bars are.
    figure_ : matplotlib Figure
        The figure that has them.
    bars_ : matplotlib BarContainer
        The bars.
    line_ : matplotlib Line2D or None
        The line of the overall accuracy.

    See Also
    --------
    class_table : Accuracy of each class as a table.
    PredictionDisplay : Images with predicted labels.

    Notes
    -----
    The accuracy of a class is the part of its images that is given its label, its
    recall. Where images have several labels, the overall accuracy is the part of those
    whose labels are all right.

    Examples
    --------
    >>> from skvision.inspection import AccuracyDisplay
    >>> scores = {"deep": [0.83, 0.85, 0.84], "wide": 0.81}
    >>> display = AccuracyDisplay.from_scores(scores)
    >>> [f"{bar.get_height():.2f}" for bar in display.bars_]
    ['0.84', '0.81']
    """

    def __init__(
        self,
        scores: Mapping[str, float],
        errors: Mapping[str, float] | None = None,
        *,
        overall: float | None = None,
    ) -> None:
        self.scores = scores
        self.errors = errors
        self.overall = overall

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        target_names: Any = None,
        ax: Any = None,
        **bar_kw: Any,
    ) -> AccuracyDisplay:
        """Draw the accuracy of each class, and the overall accuracy as a line.

        Parameters
        ----------
        estimator : classifier
            Fitted.
        X : images
            As in ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            True labels; None takes those that X carries. Classes without images have
            no bar.
        target_names : array-like of str, default=None
            Names of the classes, in the order of ``classes_``; None takes those that
            X came with in ``fit``, or the labels.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **bar_kw : dict
            Keywords of matplotlib's ``bar``.

        Returns
        -------
        display : AccuracyDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        TypeError
            If `estimator` is no classifier.
        ValueError
            If there are no labels, or not a name for each class.
        """
        require_matplotlib(cls)
        check_classifier(estimator)
        X, y = given_or_carried(X, y, estimator)
        y_pred = estimator.predict(X)
        unique_labels(y, y_pred)  # Raises an error for strings beside numbers.
        labels = np.unique(y) if y.ndim == 1 else np.flatnonzero(y.any(axis=0))
        names = names_of(labels, target_names, estimator)
        shown = [names[label] for label in labels.tolist()]
        recalls = recall_score(y, y_pred, labels=labels, average=None).tolist()
        overall = float(accuracy_score(y, y_pred))
        scores = dict(zip(shown, recalls, strict=True))
        return cls(scores, overall=overall).plot(ax=ax, **bar_kw)

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        X: Any,
        y: Any = None,
        *,
        ax: Any = None,
        **bar_kw: Any,
    ) -> AccuracyDisplay:
        """Draw the accuracy of each of some classifiers.

        Parameters
        ----------
        estimators : dict of {str: classifier}
            Fitted, with the names of their bars.
        X, y, ax, **bar_kw : optional
            As in `from_estimator`.

        Returns
        -------
        display : AccuracyDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted.
        TypeError
            If an estimator is no classifier.
        ValueError
            If there are no labels.
        """
        check_named(cls, estimators, "classifier")
        for estimator in estimators.values():
            check_classifier(estimator)
        scores = {}
        for name, estimator in estimators.items():
            images, labels = given_or_carried(X, y, estimator)
            scores[name] = float(accuracy_score(labels, estimator.predict(images)))
        return cls(scores).plot(ax=ax, **bar_kw)

    @classmethod
    def from_scores(
        cls, scores: Mapping[str, Any], *, ax: Any = None, **bar_kw: Any
    ) -> AccuracyDisplay:
        """Draw accuracies, those of several repeats with their spread.

        Parameters
        ----------
        scores : dict of {str: float or array-like of shape (n_repeats,)}
            Accuracies in [0, 1] with the names of their bars. Of repeats, mean and
            standard deviation (`numpy.std`) are drawn.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **bar_kw : dict
            Keywords of matplotlib's ``bar``.

        Returns
        -------
        display : AccuracyDisplay

        Raises
        ------
        TypeError
            If `scores` is no dict, or what it holds are no numbers.
        ValueError
            If an accuracy is not in [0, 1].
        """
        check_named(cls, scores, "accuracy or accuracies")
        repeats = {name: _checked(name, score) for name, score in scores.items()}
        means = {name: float(of.mean()) for name, of in repeats.items()}
        errors = {name: float(of.std()) for name, of in repeats.items() if len(of) > 1}
        return cls(means, errors or None).plot(ax=ax, **bar_kw)

    def plot(self, *, ax: Any = None, **bar_kw: Any) -> AccuracyDisplay:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **bar_kw : dict
            Keywords of matplotlib's ``bar``.

        Returns
        -------
        self : AccuracyDisplay
            Drawn.
        """
        check_named(self, self.scores, "accuracy")
        names, n = list(self.scores), len(self.scores)
        ax = single_axes(ax, self, (max(6.4, 1 + 0.25 * n), 4.8))
        self.ax_, self.figure_ = ax, ax.figure
        options: dict[str, Any] = {}
        if self.errors:
            options["yerr"] = [self.errors.get(name, np.nan) for name in names]
            options["capsize"] = 4
        places = np.arange(n)
        self.bars_ = ax.bar(places, list(self.scores.values()), **options | bar_kw)
        self._write_scores()
        self.line_ = None
        if self.overall is not None:
            self.line_ = ax.axhline(self.overall, color="black", linestyle="--")
            self.line_.set_label(f"overall {self.overall:.3f}")
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
        ax.set_xticks(places, names)
        self._turn_names()
        ax.set(ylabel="accuracy", xlim=(-0.6, n - 0.4))
        ax.set_yticks(np.linspace(0, 1, 6))
        return self

    def _write_scores(self) -> None:
        """Write scores above the bars, upright where they are too long for them."""
        texts = [self._text(name) for name in self.scores]
        longest = max(map(len, texts))
        upright = longest * len(texts) > n_letters(self.ax_, _FONT_SIZE)
        # On a ground, so that lines do not run through them.
        ground = {"facecolor": self.ax_.get_facecolor(), "edgecolor": "none", "pad": 1}
        style = {"fontsize": _FONT_SIZE, "rotation": 90 if upright else 0}
        self.ax_.bar_label(self.bars_, texts, padding=4, bbox=ground, **style)
        self.ax_.set_ylim(0, 1.05 + 0.025 * longest if upright else 1.1)

    def _turn_names(self) -> None:
        """Turn the names below the bars where they are too long for them."""
        labels = self.ax_.get_xticklabels()
        width = n_letters(self.ax_, labels[0].get_fontsize()) / len(labels)
        if max(map(len, self.scores)) <= width:
            return
        leaning: dict[str, Any] = {
            "rotation": 30,
            "ha": "right",
            "rotation_mode": "anchor",
        }
        for label in labels:
            # Of text that leans, a line takes the width of four letters.
            label.set(**({"rotation": 90} if width < 4 else leaning))

    def _text(self, name: str) -> str:
        text = f"{self.scores[name]:.3f}"
        if self.errors and name in self.errors:
            text += f" ± {self.errors[name]:.3f}"
        return text


def _checked(name: str, score: Any) -> np.ndarray:
    """Return a score as an array of one axis."""
    try:
        values = np.atleast_1d(np.asarray(score, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Expected a number or a list of numbers for {name!r}; got {score!r}."
        ) from error
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"Expected a number or a list of numbers for {name!r}; got an array of "
            f"shape {values.shape}."
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"Accuracies lie in [0, 1]; got {score!r} for {name!r}.")
    return values
