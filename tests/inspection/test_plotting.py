import sys

import matplotlib.pyplot as plt
import pytest

from skvision.inspection import (
    AccuracyDisplay,
    GradientDisplay,
    HistoryDisplay,
    PredictionDisplay,
    ReconstructionDisplay,
)
from skvision.inspection._plotting import grid_axes, single_axes

IMAGES = [[[0, 1], [1, 0]]]
DISPLAYS = [
    AccuracyDisplay({"a": 0.5}),
    GradientDisplay({"a": [0.5]}),
    HistoryDisplay({"a": {"train_loss": [1]}}, "train_loss"),
    PredictionDisplay(IMAGES, [1], [1]),
    ReconstructionDisplay({"a": IMAGES}),
]


def parametrize(displays):
    ids = [type(display).__name__ for display in displays]
    return pytest.mark.parametrize("display", displays, ids=ids)


@parametrize(DISPLAYS)
def test_plot_without_matplotlib(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    name = type(display).__name__
    with pytest.raises(
        ImportError, match=rf"{name} requires matplotlib.*'skvision\[plot\]'"
    ):
        display.plot()


@pytest.mark.parametrize(
    "make, n_arguments",
    [
        (AccuracyDisplay.from_estimator, 2),
        (AccuracyDisplay.from_estimators, 2),
        (AccuracyDisplay.from_scores, 1),
        (GradientDisplay.from_estimator, 1),
        (GradientDisplay.from_estimators, 1),
        (HistoryDisplay.from_estimator, 1),
        (HistoryDisplay.from_estimators, 1),
        (PredictionDisplay.from_estimator, 2),
        (PredictionDisplay.from_predictions, 3),
        (ReconstructionDisplay.from_estimator, 2),
        (ReconstructionDisplay.from_estimators, 2),
    ],
)
def test_matplotlib_is_missed_before_anything_is_done(make, n_arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="requires matplotlib"):
        make(*[None] * n_arguments)


@parametrize(DISPLAYS)
def test_plot_returns_self_and_draws_in_the_axes_given(display):
    figure, (left, _) = plt.subplots(1, 2)
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    assert display.figure_ is figure
    assert display.plot() is display
    assert display.figure_ is not figure


def test_grid_in_axes_of_a_grid():
    _, (left, right) = plt.subplots(1, 2, layout="constrained")
    left.set_title("title")
    ax, axes = grid_axes(left, None, 2, 3, cell=(1, 1))
    assert ax is left and not left.axison
    assert axes.shape == (2, 3)
    left.figure.canvas.draw()
    beside, title = right.get_position(), left.title.get_window_extent()
    for part in axes.flat:
        assert part.get_position().x1 <= beside.x0
        assert part.get_tightbbox().y1 <= title.y0


def test_grid_in_axes_with_a_place_of_their_own():
    figure = plt.figure()
    ax = figure.add_axes([0.5, 0.25, 0.25, 0.5])
    _, axes = grid_axes(ax, None, 2, 2, cell=(1, 1))
    first, last = axes[0, 0].get_position(), axes[1, 1].get_position()
    assert first.x0 == pytest.approx(0.5) and first.y1 == pytest.approx(0.75, abs=0.01)
    assert last.x1 == pytest.approx(0.75) and last.y0 == pytest.approx(0.25)


def test_grid_of_a_subfigure():
    _, part = plt.figure().subfigures(1, 2)
    ax, axes = grid_axes(part.subplots(), None, 1, 2, cell=(1, 1))
    assert ax.figure is part
    assert [found.figure for found in axes.flat] == [part, part]


def test_size_of_a_new_grid():
    ax, _ = grid_axes(None, None, 2, 3, cell=(1, 0.5), margin=(0.75, 0.25))
    assert ax.figure.get_size_inches().tolist() == [3.75, 1.25]
    assert single_axes(None, None, (5, 2)).figure.get_size_inches().tolist() == [5, 2]
