"""Curves of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skvision.inspection._plotting import add_legend, check_named, single_axes
from skvision.inspection._source import net_of
from skvision.training import GradientRecorder


class GradientDisplay:
    """Mean gradients of the first training steps.

    Made by `from_estimator` or `from_estimators`. All parameters are stored as
    attributes.

    Parameters
    ----------
    means : dict of {str: sequence of float}
        For each run a value per training step. A run whose name is empty is not named
        in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the curves are.
    figure_ : matplotlib Figure
        The figure that has them.
    lines_ : list of matplotlib Line2D
        The curve of each run.

    See Also
    --------
    skvision.training.GradientRecorder : The callback that records them.
    HistoryDisplay : Losses and scores of each epoch.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.inspection import GradientDisplay
    >>> from skvision.training import GradientRecorder
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("mlp", callbacks=[GradientRecorder(20)], max_epochs=2)
    >>> display = GradientDisplay.from_estimator(net.fit(X, y))
    >>> len(display.lines_[0].get_ydata())
    20
    """

    def __init__(self, means: Mapping[str, Sequence[float]]) -> None:
        self.means = means

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        **line_kw: Any,
    ) -> GradientDisplay:
        """Draw the gradients that one training recorded.

        Parameters
        ----------
        estimator : estimator
            Fitted with a `~skvision.training.GradientRecorder` among its callbacks;
            also a pipeline that ends in one, or a search over either.
        name : str, default=None
            Name of the run in the legend.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_kw : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        display : GradientDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If no gradients were recorded.
        """
        return cls.from_estimators({name or "": estimator}, ax=ax, **line_kw)

    @classmethod
    def from_estimators(
        cls, estimators: Mapping[str, Any], *, ax: Any = None, **line_kw: Any
    ) -> GradientDisplay:
        """Draw the gradients that several trainings recorded.

        Parameters
        ----------
        estimators : dict of {str: estimator}
            With the names for the legend.
        ax, **line_kw : optional
            As in `from_estimator`.

        Returns
        -------
        display : GradientDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted.
        ValueError
            If no gradients were recorded.
        """
        check_named(cls, estimators, "estimator")
        means = {name: _recorded(found, name) for name, found in estimators.items()}
        return cls(means).plot(ax=ax, **line_kw)

    def plot(self, *, ax: Any = None, **line_kw: Any) -> GradientDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_kw : dict
            Keywords of matplotlib's ``plot``.

        Returns
        -------
        self : GradientDisplay
            Drawn.
        """
        check_named(self, self.means, "mean gradients")
        ax = single_axes(ax, self)
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_: list[Any] = []
        for name, means in self.means.items():
            steps = np.arange(1, len(means) + 1)
            self.lines_ += ax.plot(steps, means, **{"label": name or None} | line_kw)
        ax.axhline(0, color="grey", linewidth=0.8, zorder=0)
        ax.set(xlabel="training step", ylabel="mean gradient, summed over tensors")
        add_legend(ax)
        return self


def _recorded(estimator: Any, name: str) -> list[float]:
    """Return what the first recorder among the callbacks has."""
    callbacks = [callback for _, callback in net_of(estimator).callbacks_]
    recorders = [one for one in callbacks if isinstance(one, GradientRecorder)]
    if recorders and recorders[0].means_:
        return list(recorders[0].means_)
    of = f" of {name!r}" if name else ""
    raise ValueError(
        f"No gradients of the training{of} were recorded. Fit with "
        "callbacks=[GradientRecorder()] of skvision.training."
    )
