"""What the displays share: matplotlib, axes and legends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: A legend with more entries stands beside the axes.
_MAX_INSIDE = 5
#: Width of a letter as a part of the size of its font, a little more than the mean.
_LETTER = 0.62


def require_matplotlib(caller: Any) -> Any:
    """Return pyplot, or say how to install it for the display `caller`."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        name = getattr(caller, "__name__", type(caller).__name__)
        raise ImportError(
            f"{name} requires matplotlib. Install it by pip install 'skvision[plot]'."
        ) from error
    return plt


def single_axes(
    ax: Any, caller: Any, figsize: tuple[float, float] | None = None
) -> Any:
    """Return the axes given, or those of a new figure."""
    plt = require_matplotlib(caller)
    if ax is None:
        return plt.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, plt.Axes):
        raise TypeError(f"ax must be a matplotlib Axes; got {type(ax).__name__}.")
    return ax


def grid_axes(
    ax: Any,
    caller: Any,
    n_rows: int,
    n_columns: int,
    *,
    cell: tuple[float, float],
    margin: tuple[float, float] = (0.0, 0.0),
) -> tuple[Any, np.ndarray]:
    """Divide the place of axes into a grid.

    Parameters
    ----------
    ax : matplotlib Axes or None
        It becomes the grid's title and is not seen otherwise. None makes a figure.
    caller : display
    n_rows, n_columns : int
    cell, margin : tuple of float
        Width and height in inches, in a new figure, of a cell and of what is beside
        the cells.

    Returns
    -------
    ax : matplotlib Axes
    axes : ndarray of shape (n_rows, n_columns)
    """
    size = (n_columns * cell[0] + margin[0], n_rows * cell[1] + margin[1])
    ax = single_axes(ax, caller, size)
    ax.set_axis_off()
    place = ax.get_subplotspec()
    if place is None:
        from matplotlib.gridspec import GridSpec

        left, bottom, right, top = ax.get_position().extents
        place = GridSpec(1, 1, ax.figure, left, bottom, right, top)[0]
    # A strip of next to no height, since a title needs a place of its own.
    strip, below = place.subgridspec(2, 1, height_ratios=[0.001, 1], hspace=0)
    ax.set_subplotspec(strip)
    grid = below.subgridspec(n_rows, n_columns, wspace=0.06, hspace=0.06)
    axes = [ax.figure.add_subplot(part) for part in grid]
    return ax, np.array(axes, dtype=object).reshape(n_rows, n_columns)


def n_letters(ax: Any, size: float) -> float:
    """Return how many letters of a size in points fit beside each other in axes."""
    inches = ax.get_window_extent().width / ax.figure.dpi
    return inches * 72 / (_LETTER * size)


def add_legend(ax: Any) -> None:
    """Add a legend if anything has a label, beside the axes if it is a long one."""
    n_entries = len(ax.get_legend_handles_labels()[1])
    if n_entries > _MAX_INSIDE:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    elif n_entries:
        ax.legend()


def check_named(caller: Any, found: Any, what: str) -> None:
    """Check that `found` is a dict {name: what} to be drawn, and matplotlib there."""
    require_matplotlib(caller)
    if not isinstance(found, Mapping):
        raise TypeError(
            f"Expected a dict {{name: {what}}}; got {type(found).__name__}."
        )
    if not found:
        raise ValueError(f"Expected a dict {{name: {what}}}; got an empty one.")
