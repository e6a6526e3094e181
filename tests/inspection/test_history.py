import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.history import History

from skvision import ImageClassifier
from skvision.inspection import HistoryDisplay
from skvision.inspection._history import _smoothed


def record(**columns):
    """Make a history of columns; None stands for an epoch without the key."""
    history = History()
    for epoch in range(len(next(iter(columns.values())))):
        history.new_epoch()
        history.record("epoch", epoch + 1)
        for key, values in columns.items():
            if values[epoch] is not None:
                history.record(key, values[epoch])
    return history


@pytest.fixture
def history():
    return record(
        train_loss=[3.0, 2.0, 1.0],
        valid_loss=[3.0, 2.5, 2.75],
        valid_loss_best=[True, True, False],
        valid_acc=[0.5, 0.75, 0.5],
    )


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def colours(lines):
    return [line.get_color() for line in lines]


def test_default_keys(history):
    display = HistoryDisplay.from_estimator(history)
    assert display.keys == ["train_loss", "valid_loss"]
    train, valid = display.lines_
    assert train.get_xdata().tolist() == valid.get_xdata().tolist() == [1, 2, 3]
    assert train.get_ydata().tolist() == [3, 2, 1]
    assert valid.get_ydata().tolist() == [3, 2.5, 2.75]
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "value"
    assert legend(display) == ["train_loss", "valid_loss", "best epoch"]
    assert display.raw_lines_ == []


def test_default_keys_are_those_that_all_runs_have(history):
    runs = {"a": history, "b": record(train_loss=[1.0])}
    display = HistoryDisplay.from_estimators(runs)
    assert [len(line.get_ydata()) for line in display.lines_] == [3, 1]
    assert display.ax_.get_ylabel() == "train_loss"


def test_one_key_of_one_run(history):
    display = HistoryDisplay.from_estimator(history, "valid_acc", mark_best=False)
    (line,) = display.lines_
    assert line.get_ydata().tolist() == [0.5, 0.75, 0.5]
    assert display.ax_.get_ylabel() == "valid_acc"
    assert display.ax_.get_legend() is None
    named = HistoryDisplay.from_estimator(history, ["valid_acc"], name="adam")
    assert named.ax_.get_ylabel() == "valid_acc"
    assert legend(named) == ["adam", "best epoch"]


def test_several_keys_of_a_run_with_a_name(history):
    keys = ["train_loss", "valid_acc", "train_loss"]
    display = HistoryDisplay.from_estimator(history, keys, name="a", mark_best=False)
    assert legend(display) == ["a, train_loss", "a, valid_acc"]


def test_one_key_of_several_runs(history):
    runs = {"a": history, "b": record(train_loss=[1, 2])}
    display = HistoryDisplay.from_estimators(runs, "train_loss", mark_best=False)
    assert [line.get_ydata().tolist() for line in display.lines_] == [[3, 2, 1], [1, 2]]
    assert legend(display) == ["a", "b"]
    assert len(set(colours(display.lines_))) == 2


def test_several_keys_of_several_runs(history):
    keys = ["valid_loss", "valid_acc"]
    display = HistoryDisplay.from_estimators({"a": history, "b": history}, keys)
    a_loss, a_acc, b_loss, b_acc = display.lines_
    assert_array_equal(a_acc.get_ydata(), [0.5, 0.75, 0.5])
    # Colours tell the runs, styles the keys.
    assert a_loss.get_color() == a_acc.get_color() != b_loss.get_color()
    assert b_loss.get_color() == b_acc.get_color()
    assert a_loss.get_linestyle() == b_loss.get_linestyle() == "-"
    assert a_acc.get_linestyle() == b_acc.get_linestyle() == "--"
    assert legend(display) == ["a", "b", *keys, "best epoch"]
    handles = display.ax_.get_legend().legend_handles
    assert [handle.get_linestyle() for handle in handles[2:4]] == ["-", "--"]
    assert display.ax_.get_ylabel() == "value"


def test_many_runs_have_colours_of_their_own_and_a_legend_outside(history):
    runs = {f"run {i}": history for i in range(12)}
    display = HistoryDisplay.from_estimators(runs, "train_loss")
    assert len({tuple(colour) for colour in colours(display.lines_)}) == 12
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    assert box.x0 >= display.ax_.get_window_extent().x1
    assert box.x1 <= display.figure_.bbox.x1


def test_smoothing(history):
    display = HistoryDisplay.from_estimator(history, "train_loss", smoothing=0.5)
    (line,), (raw,) = display.lines_, display.raw_lines_
    assert line.get_ydata().tolist() == [3, 2.5, 1.75]
    assert raw.get_ydata().tolist() == [3, 2, 1]
    assert raw.get_color() == line.get_color()
    assert raw.get_alpha() < 0.5 and raw.get_zorder() < line.get_zorder()


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=20),
    st.floats(0, 0.99),
)
def test_smoothing_is_that_of_pandas(values, smoothing):
    expected = pd.Series(values).ewm(alpha=1 - smoothing, adjust=False).mean()
    assert_allclose(_smoothed(np.array(values), smoothing), expected, atol=1e-9)


def test_epochs_without_a_value_are_gaps():
    history = record(loss=[1.0, 1.0, 1.0, 1.0], score=[None, 1.0, None, 0.0])
    display = HistoryDisplay.from_estimator(history, "score", smoothing=0.5)
    assert_array_equal(display.lines_[0].get_ydata(), [np.nan, 1, np.nan, 0.5])
    assert_array_equal(display.raw_lines_[0].get_ydata(), [np.nan, 1, np.nan, 0])


def test_a_single_epoch_is_seen():
    display = HistoryDisplay.from_estimator(record(train_loss=[1.0]))
    assert display.lines_[0].get_marker() == "."


def test_best_epoch(history):
    display = HistoryDisplay.from_estimator(history, smoothing=0.5)
    assert [marker.get_xdata().tolist() for marker in display.markers_] == [[2], [2]]
    # On the curves.
    assert [m.get_ydata().tolist() for m in display.markers_] == [[2.5], [2.75]]
    assert colours(display.markers_) == colours(display.lines_)
    assert display.plot(mark_best=False).markers_ == []
    assert legend(display) == ["train_loss", "valid_loss"]


@pytest.mark.parametrize("valid_loss", [None, [np.nan, np.nan]])
def test_no_best_epoch(valid_loss):
    columns = {} if valid_loss is None else {"valid_loss": valid_loss}
    display = HistoryDisplay.from_estimator(record(train_loss=[2.0, 1.0], **columns))
    assert display.markers_ == []


def test_epochs_are_whole_numbers(history):
    display = HistoryDisplay.from_estimator(history)
    assert all(tick == round(tick) for tick in display.ax_.get_xticks())


def test_keywords_of_lines(history):
    options = {"c": "red", "lw": 3, "alpha": 0.5}
    display = HistoryDisplay.from_estimator(history, "train_loss", **options)
    (line,) = display.lines_
    assert line.get_color() == "red"
    assert line.get_linewidth() == 3
    assert line.get_alpha() == 0.5


def test_displays_in_the_same_axes(history):
    _, ax = plt.subplots()
    first = HistoryDisplay.from_estimator(history, "train_loss", name="a", ax=ax)
    second = HistoryDisplay.from_estimator(history, "valid_loss", name="b", ax=ax)
    assert first.lines_[0].get_color() != second.lines_[0].get_color()
    assert legend(second) == ["a", "best epoch", "b"]


def test_other_columns_of_a_display(history):
    display = HistoryDisplay.from_estimator(history)
    assert list(display.runs[""]) == ["train_loss", "valid_loss", "valid_acc"]
    display.keys = "valid_acc"
    assert display.plot().lines_[0].get_ydata().tolist() == [0.5, 0.75, 0.5]


def test_what_a_display_is_made_of():
    runs = {"a": {"loss": [2, 1]}, "b": {"loss": (3, 2, 1)}}
    display = HistoryDisplay(runs, ["loss"]).plot()
    assert [len(line.get_ydata()) for line in display.lines_] == [2, 3]


def test_fitted_estimators(digits):
    X, y = digits.data[:200], digits.target[:200]
    net = ImageClassifier(
        "mlp", lr=0.01, max_epochs=4, early_stopping=True, random_state=0
    )
    net.fit(X, y)
    display = HistoryDisplay.from_estimator(net)
    assert_array_equal(display.lines_[1].get_ydata(), net.history[:, "valid_loss"])
    assert display.markers_[0].get_xdata() == [net.best_epoch_]
    pipeline = make_pipeline(StandardScaler(), net)
    search = GridSearchCV(pipeline, {"imageclassifier__lr": [0.01]}, cv=2)
    search.fit(X.reshape(200, -1), y)
    (line,) = HistoryDisplay.from_estimator(search, "train_loss").lines_
    best = search.best_estimator_[-1]
    assert_array_equal(line.get_ydata(), best.history[:, "train_loss"])


def test_histories_without_epochs_or_losses():
    with pytest.raises(ValueError, match="no column 'train_loss'; it has loss"):
        HistoryDisplay.from_estimator(record(loss=[1.0]))
    with pytest.raises(ValueError, match="The history has no epoch"):
        HistoryDisplay.from_estimator(History())
    with pytest.raises(ValueError, match="The history of 'a' has no epoch"):
        HistoryDisplay.from_estimators({"a": History()})
