"""Curves of what training recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from numbers import Real
from typing import Any

import numpy as np

from skvision._compat import Interval, validated
from skvision.inspection._plotting import (
    add_legend,
    check_named,
    require_matplotlib,
    single_axes,
)
from skvision.inspection._source import history_of

_DEFAULT_KEYS = ("train_loss", "valid_loss")
_STYLES = ("-", "--", ":", "-.")
#: Matplotlib's own colours begin again after as many.
_N_COLOURS = 10


class HistoryDisplay:
    """Curves of the losses and scores of each epoch.

    Made by `from_estimator` or `from_estimators`. All parameters are stored as
    attributes.

    Parameters
    ----------
    runs : dict of {str: dict of {str: sequence of float}}
        For each run its columns: a value per epoch, NaN where there is none. A run
        whose name is empty is not named in the legend.
    keys : str or list of str
        The columns to draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the curves are.
    figure_ : matplotlib Figure
        The figure that has them.
    lines_ : list of matplotlib Line2D
        The curves, smoothed where asked for, key by key for each run.
    raw_lines_ : list of matplotlib Line2D
        The curves as recorded; empty without smoothing.
    markers_ : list of matplotlib Line2D
        A dot at the best epoch of each curve whose run has one.

    See Also
    --------
    convergence_epoch : The epoch from which on a score changes little.
    GradientDisplay : Gradients of the first training steps.

    Notes
    -----
    Smoothing by a factor f draws s_1 = v_1 and s_t = f * s_{t-1} + (1 - f) * v_t for
    the values v_t.

    The best epoch is that of the lowest validation loss, in column ``valid_loss``. An
    estimator's ``best_epoch_`` is the best one of the last ``fit`` or ``partial_fit``.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.inspection import HistoryDisplay
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("mlp", early_stopping=True, random_state=0).fit(X, y)
    >>> display = HistoryDisplay.from_estimator(net, smoothing=0.6)
    >>> [line.get_label() for line in display.lines_]
    ['train_loss', 'valid_loss']
    """

    def __init__(
        self, runs: Mapping[str, Mapping[str, Any]], keys: str | Sequence[str]
    ) -> None:
        self.runs = runs
        self.keys = keys

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        keys: str | Sequence[str] | None = None,
        *,
        name: str | None = None,
        smoothing: float = 0.0,
        mark_best: bool = True,
        ax: Any = None,
        **line_kw: Any,
    ) -> HistoryDisplay:
        """Draw the history of one training.

        Parameters
        ----------
        estimator : estimator or skorch.history.History
            Fitted; also a pipeline that ends in one, or a search over either.
        keys : str or list of str, default=None
            Columns of the history; None takes "train_loss" and "valid_loss", where
            there are these.
        name : str, default=None
            Name of the run in the legend.
        smoothing : float, default=0.0
            Factor of the exponential smoothing, at least 0 and less than 1. The
            recorded values are drawn faintly behind.
        mark_best : bool, default=True
            Whether the best epoch is marked.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        **line_kw : dict
            Keywords of matplotlib's ``plot`` for the curves.

        Returns
        -------
        display : HistoryDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If the history has no epoch or lacks a column of `keys`.
        """
        runs = {name or "": estimator}
        options = {"smoothing": smoothing, "mark_best": mark_best, "ax": ax}
        return cls.from_estimators(runs, keys, **options, **line_kw)

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Any],
        keys: str | Sequence[str] | None = None,
        *,
        smoothing: float = 0.0,
        mark_best: bool = True,
        ax: Any = None,
        **line_kw: Any,
    ) -> HistoryDisplay:
        """Draw the histories of several trainings.

        Parameters
        ----------
        estimators : dict of {str: estimator or skorch.history.History}
            With the names for the legend.
        keys : str or list of str, default=None
            Columns that all histories have; None takes those of "train_loss" and
            "valid_loss" that they have.
        smoothing, mark_best, ax, **line_kw : optional
            As in `from_estimator`.

        Returns
        -------
        display : HistoryDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If an estimator is not fitted.
        ValueError
            If a history has no epoch or lacks a column of `keys`.
        """
        check_named(cls, estimators, "estimator")
        runs = {name: _columns(found, name) for name, found in estimators.items()}
        if keys is None:
            known = set.intersection(*map(set, runs.values()))
            keys = [key for key in _DEFAULT_KEYS if key in known] or _DEFAULT_KEYS[0]
        options = {"smoothing": smoothing, "mark_best": mark_best, "ax": ax}
        return cls(runs, keys).plot(**options, **line_kw)

    @validated(
        smoothing=[Interval(Real, 0, 1, closed="left")],
        mark_best=["boolean"],
    )
    def plot(
        self,
        *,
        smoothing: float = 0.0,
        mark_best: bool = True,
        ax: Any = None,
        **line_kw: Any,
    ) -> HistoryDisplay:
        """Draw the curves.

        Parameters
        ----------
        smoothing, mark_best, ax, **line_kw : optional
            As in `from_estimator`.

        Returns
        -------
        self : HistoryDisplay
            Drawn.
        """
        plt = require_matplotlib(self)
        from matplotlib.ticker import MaxNLocator

        keys = self._checked_keys()
        ax = single_axes(ax, self)
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_: list[Any] = []
        self.raw_lines_: list[Any] = []
        self.markers_: list[Any] = []
        several = len(self.runs) > 1 and len(keys) > 1
        colours: list[Any] = [None] * len(self.runs)
        if len(self.runs) > _N_COLOURS:
            colours = list(plt.get_cmap("turbo")(np.linspace(0, 1, len(self.runs))))
        for colour, (name, run) in zip(colours, self.runs.items(), strict=True):
            for key, style in zip(keys, cycle(_STYLES), strict=False):
                label = _label(name, key, keys, several)
                options = {"color": colour, "label": label}
                options |= {"linestyle": style} if several else {}
                values = np.asarray(run[key], dtype=np.float64)
                line = self._draw_curve(values, smoothing, options, line_kw)
                if several:
                    colour = line.get_color()
                if mark_best:
                    self._draw_marker(line, run)
        self._draw_keys_of_styles(keys, several)
        ax.set(xlabel="epoch", ylabel=keys[0] if len(keys) == 1 else "value")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        add_legend(ax)
        return self

    def _checked_keys(self) -> list[str]:
        """Return the columns to draw, which all runs must have."""
        keys = [self.keys] if isinstance(self.keys, str) else list(self.keys)
        if not keys:
            raise ValueError("keys is empty; expected names of columns.")
        for (name, run), key in product(self.runs.items(), keys):
            if key not in run:
                raise ValueError(
                    f"The history{_of(name)} has no column {key!r}; it has "
                    f"{', '.join(run)}."
                )
        return list(dict.fromkeys(keys))

    def _draw_curve(
        self,
        values: np.ndarray,
        smoothing: float,
        options: dict[str, Any],
        line_kw: dict[str, Any],
    ) -> Any:
        """Return the line of a column, drawn."""
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        options |= normalize_kwargs(line_kw, Line2D)
        if len(values) == 1:
            options.setdefault("marker", ".")  # A line of one point is not seen.
        epochs = np.arange(1, len(values) + 1)
        (line,) = self.ax_.plot(epochs, _smoothed(values, smoothing), **options)
        self.lines_.append(line)
        if smoothing > 0:
            faint = {"alpha": 0.3, "linewidth": 1, "zorder": line.get_zorder() - 0.5}
            faint |= {"color": line.get_color()}
            self.raw_lines_ += self.ax_.plot(epochs, values, **faint)
        return line

    def _draw_marker(self, line: Any, run: Mapping[str, Any]) -> None:
        """Mark the epoch of the lowest validation loss on a line."""
        losses = np.asarray(run.get("valid_loss", ()), dtype=np.float64)
        if not np.isfinite(losses).any():
            return
        best = int(np.nanargmin(losses))
        place = [best + 1], [line.get_ydata()[best]]
        style = {"color": line.get_color(), "zorder": line.get_zorder() + 0.5}
        self.markers_ += self.ax_.plot(*place, "o", **style)

    def _draw_keys_of_styles(self, keys: list[str], several: bool) -> None:
        """Add empty lines for the legend that say what styles mean."""
        entries: list[tuple[str, dict[str, Any]]] = [
            (key, {"linestyle": style})
            for key, style in zip(keys, cycle(_STYLES), strict=False)
            if several
        ]
        if self.markers_:
            entries.append(("best epoch", {"linestyle": "none", "marker": "o"}))
        there = self.ax_.get_legend_handles_labels()[1]
        for label, style in entries:
            if label not in there:
                self.ax_.plot([], [], color="grey", label=label, **style)


def _of(name: str) -> str:
    return f" of {name!r}" if name else ""


def _columns(source: Any, name: str) -> dict[str, np.ndarray]:
    """Return the numbers of a history, epoch by epoch."""
    history = history_of(source)
    if not len(history):
        raise ValueError(f"The history{_of(name)} has no epoch.")
    keys = dict.fromkeys(
        key
        for row in history
        for key, value in row.items()
        if isinstance(value, Real) and not isinstance(value, bool) and key != "epoch"
    )
    return {
        key: np.asarray([row.get(key, np.nan) for row in history], dtype=np.float64)
        for key in keys
    }


def _label(name: str, key: str, keys: list[str], several: bool) -> str | None:
    """Return what the legend says of a curve."""
    if several:
        return name if key == keys[0] else None
    if len(keys) == 1:
        return name or None
    return f"{name}, {key}" if name else key


def _smoothed(values: np.ndarray, smoothing: float) -> np.ndarray:
    """Smooth exponentially, passing over values that are missing."""
    smooth, last = values.copy(), np.nan
    for i, value in enumerate(values):
        if not np.isnan(value):
            before = value if np.isnan(last) else last
            smooth[i] = last = smoothing * before + (1 - smoothing) * value
    return smooth
