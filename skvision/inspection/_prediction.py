"""Images with what a classifier says of them."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import unique_labels

from skvision._compat import Interval, num_samples, validated
from skvision.inspection._images import (
    as_drawn,
    cell_size,
    choose_rows,
    draw,
    drawn,
    limits_of,
    take_rows,
    unit_images,
)
from skvision.inspection._labels import (
    all_labels,
    as_labels,
    check_classifier,
    given_or_carried,
    joined_names,
    names_of,
)
from skvision.inspection._plotting import grid_axes, n_letters, require_matplotlib
from skvision.inspection._source import net_of

_CONSTRAINTS: dict[str, Any] = {
    "n_images": [Interval(Integral, 1, None, closed="left")],
    "errors_only": ["boolean"],
    "target_names": ["array-like", None],
    "random_state": ["random_state"],
    "image_shape": [tuple, list, None],
}
#: If any title is longer, all are broken before the true label.
_MAX_TITLE = 12
_FONT_SIZE = 8.5


class PredictionDisplay:
    """Images with predicted and true labels.

    Made by `from_estimator` or `from_predictions`. All parameters are stored as
    attributes.

    Parameters
    ----------
    images : images
        Those to draw.
    y_true : ndarray of shape (n_images,)
        True labels.
    y_pred : ndarray of shape (n_images,)
        Predicted labels.
    confidence : ndarray of shape (n_images,), default=None
        Probability of each predicted label.
    target_names : dict of {label: str}, default=None
        Names of labels; None writes the labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What the images are drawn in; itself it shows no more than a title.
    axes_ : ndarray of shape (n_images,)
        The axes of each image. The title is "predicted (true)", in red if the two
        differ.
    figure_ : matplotlib Figure
        The figure that has them.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : How often labels are mistaken for others.
    AccuracyDisplay : Accuracy of each class.

    Notes
    -----
    Images in colour are drawn as they are where they are in [0, 1], else from 0 or the
    least value to the greatest, one scale for all.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.inspection import PredictionDisplay
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("mlp", random_state=0).fit(X[:1000], y[:1000])
    >>> display = PredictionDisplay.from_estimator(net, X[1000:], y[1000:], n_images=9)
    >>> len(display.axes_)
    9
    """

    def __init__(
        self,
        images: Any,
        y_true: Any,
        y_pred: Any,
        confidence: Any = None,
        *,
        target_names: dict[Any, str] | None = None,
    ) -> None:
        self.images = images
        self.y_true = y_true
        self.y_pred = y_pred
        self.confidence = confidence
        self.target_names = target_names

    @classmethod
    @validated(**_CONSTRAINTS)
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        n_images: int = 16,
        errors_only: bool = False,
        target_names: Any = None,
        random_state: int | np.random.RandomState | None = None,
        image_shape: tuple[int, int, int] | None = None,
        ax: Any = None,
    ) -> PredictionDisplay:
        """Predict labels of images and draw them.

        Parameters
        ----------
        estimator : classifier
            Fitted. Where it has ``predict_proba``, the probability of the predicted
            label is written below, unless images have several.
        X : images
            As in ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            True labels; None takes those that X carries. Columns of 0 and 1 are those
            of k labels, whose names stand beside each other.
        n_images : int, default=16
            Number of images, if there are as many.
        errors_only : bool, default=False
            Whether to draw only images whose predicted label is wrong.
        target_names : array-like of str, default=None
            Names of the classes, in the order of ``classes_``; None takes those that
            X came with in ``fit``, or the labels.
        random_state : int, RandomState instance or None, default=None
            Chooses images; None takes the first ones.
        image_shape : tuple of int, default=None
            (channels, height, width) of flat rows; None takes that which the
            classifier was fitted with.
        ax : matplotlib Axes, default=None
            Whose place to draw in; None makes a figure.

        Returns
        -------
        display : PredictionDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        TypeError
            If `estimator` is no classifier.
        ValueError
            If there are no labels, no wrong ones where only these are to be drawn, or
            flat rows of unknown shape.
        """
        require_matplotlib(cls)
        check_classifier(estimator)
        X, y = given_or_carried(X, y, estimator)
        known = getattr(estimator, "classes_", None)
        rows: Any = _wrong_rows(y, estimator.predict(X)) if errors_only else len(y)
        rows = choose_rows(rows, n_images, random_state)
        net = _net_or_none(estimator)
        X, y = take_rows(X, rows, net), y[rows]
        y_pred = np.asarray(estimator.predict(X))
        names: Any = names_of(all_labels(y, y_pred, known), target_names, estimator)
        confidence = None
        if y.ndim == 2:
            y, y_pred = joined_names(y, names), joined_names(y_pred, names)
            names = None
        elif hasattr(estimator, "predict_proba"):
            confidence = np.asarray(estimator.predict_proba(X)).max(axis=1)
        images = as_drawn(unit_images(X, net, image_shape))
        return cls(images, y, y_pred, confidence, target_names=names).plot(ax=ax)

    @classmethod
    @validated(**_CONSTRAINTS)
    def from_predictions(
        cls,
        X: Any,
        y_true: Any,
        y_pred: Any,
        confidence: Any = None,
        *,
        n_images: int = 16,
        errors_only: bool = False,
        target_names: Any = None,
        random_state: int | np.random.RandomState | None = None,
        image_shape: tuple[int, int, int] | None = None,
        ax: Any = None,
    ) -> PredictionDisplay:
        """Draw images with labels that have been predicted.

        Parameters
        ----------
        X : images
            As in an estimator's ``fit``.
        y_true : array-like of shape (n,) or (n, k)
            True labels; None takes those that X carries.
        y_pred : array-like of shape (n,) or (n, k)
            Predicted labels.
        confidence : array-like of shape (n,), default=None
            Probability of each predicted label.
        n_images, errors_only : optional
            As in `from_estimator`.
        target_names : array-like of str, default=None
            Names of the labels that occur, sorted, or of all labels from 0 on.
        random_state : optional
            As in `from_estimator`.
        image_shape : tuple of int, default=None
            (channels, height, width) of flat rows.
        ax : optional
            As in `from_estimator`.

        Returns
        -------
        display : PredictionDisplay

        Raises
        ------
        ValueError
            If lengths differ, if there are no wrong labels where only these are to be
            drawn, or flat rows of unknown shape.
        """
        require_matplotlib(cls)
        X, y_true = given_or_carried(X, y_true)
        y_pred = as_labels(y_pred)
        check_consistent_length(X, y_true, y_pred, confidence)
        names: Any = names_of(all_labels(y_true, y_pred), target_names)
        rows: Any = _wrong_rows(y_true, y_pred) if errors_only else num_samples(X)
        rows = choose_rows(rows, n_images, random_state)
        images = as_drawn(unit_images(take_rows(X, rows), image_shape=image_shape))
        if confidence is not None:
            confidence = column_or_1d(confidence)[rows]
        y_true, y_pred = y_true[rows], y_pred[rows]
        if y_true.ndim == 2:
            y_true, y_pred = joined_names(y_true, names), joined_names(y_pred, names)
            names = None
        return cls(images, y_true, y_pred, confidence, target_names=names).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> PredictionDisplay:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Whose place to draw in; None makes a figure.

        Returns
        -------
        self : PredictionDisplay
            Drawn.
        """
        plt = require_matplotlib(self)
        check_consistent_length(self.images, self.y_true, self.y_pred, self.confidence)
        images, titles = drawn(self.images), self._titles()
        n = len(images)
        n_columns = n if n < 4 else int(np.ceil(np.sqrt(n)))
        n_rows = -(-n // n_columns)
        longest = max(len(line) for title in titles for line in title.split("\n"))
        width, height = cell_size(images, max(1.1, 0.08 * longest))
        height += 0.1 + 0.15 * (titles[0].count("\n") + 1)
        ax, axes = grid_axes(ax, self, n_rows, n_columns, cell=(width, height))
        size = _FONT_SIZE * min(1, n_letters(ax, _FONT_SIZE) / n_columns / longest)
        self.ax_, self.figure_ = ax, ax.figure
        for unused in axes.flat[n:]:
            unused.remove()
        self.axes_ = axes.ravel()[:n]
        limits = limits_of(images)
        wrong = np.asarray(self.y_true) != np.asarray(self.y_pred)
        right_colour = plt.rcParams["text.color"]
        for i, image_ax in enumerate(self.axes_):
            draw(image_ax, images[i], limits)
            colour = "red" if wrong[i] else right_colour
            image_ax.set_title(titles[i], color=colour, fontsize=size, pad=3)
        return self

    def _titles(self) -> list[str]:
        """Return what stands above each image."""
        names = self.target_names or {}
        predicted, true = (
            [str(names.get(label, label)) for label in np.asarray(labels).tolist()]
            for labels in (self.y_pred, self.y_true)
        )
        pairs = list(zip(predicted, true, strict=True))
        too_long = any(len(f"{p} ({t})") > _MAX_TITLE for p, t in pairs)
        titles = [f"{p}\n({t})" if too_long else f"{p} ({t})" for p, t in pairs]
        if self.confidence is None:
            return titles
        return [
            f"{title}\n{confidence:.0%}"
            for title, confidence in zip(titles, self.confidence, strict=True)
        ]


def _wrong_rows(y_true: np.ndarray, y_pred: Any) -> np.ndarray:
    unique_labels(y_true, y_pred)  # Raises an error for strings beside numbers.
    differ = y_true != np.asarray(y_pred)
    wrong = np.flatnonzero(differ.reshape(len(differ), -1).any(axis=1))
    if not len(wrong):
        raise ValueError(
            f"errors_only=True leaves no image: all {len(y_true)} predictions are "
            "right."
        )
    return wrong


def _net_or_none(estimator: Any) -> Any:
    """Return the estimator with a network, which knows shapes, if there is one."""
    try:
        return net_of(estimator)
    except TypeError:
        return None
