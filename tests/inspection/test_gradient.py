import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvision import ImageClassifier
from skvision.inspection import GradientDisplay
from skvision.training import GradientRecorder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:100].reshape(100, -1), digits.target[:100]


@pytest.fixture
def net():
    return ImageClassifier(
        "mlp",
        max_epochs=2,
        batch_size=25,
        random_state=0,
        callbacks=[("gradients", GradientRecorder(6))],
    )


def recorded(net):
    return dict(net.callbacks_)["gradients"].means_


def test_one_run(net, data):
    net.fit(*data)
    display = GradientDisplay.from_estimator(net)
    (line,) = display.lines_
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert line.get_ydata().tolist() == recorded(net) == display.means[""]
    assert display.ax_.get_xlabel() == "training step"
    assert "gradient" in display.ax_.get_ylabel()
    assert display.ax_.get_legend() is None
    named = GradientDisplay.from_estimator(net, name="adam", color="green")
    assert named.ax_.get_legend().get_texts()[0].get_text() == "adam"
    assert named.lines_[0].get_color() == "green"


def test_several_runs(net, data):
    pipeline = make_pipeline(StandardScaler(), net).fit(*data)
    other = ImageClassifier(**net.get_params() | {"lr": 0.1}).fit(*data)
    _, ax = plt.subplots()
    display = GradientDisplay.from_estimators({"a": pipeline, "b": other}, ax=ax)
    first, second = display.lines_
    assert_array_equal(first.get_ydata(), recorded(pipeline[-1]))
    assert_array_equal(second.get_ydata(), recorded(other))
    assert not np.array_equal(first.get_ydata(), second.get_ydata())
    assert first.get_color() != second.get_color()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["a", "b"]


def test_values_alone():
    display = GradientDisplay({"a": [0.5, -0.5], "b": [1]}).plot()
    assert [line.get_xdata().tolist() for line in display.lines_] == [[1, 2], [1]]


def test_nothing_recorded(net, data):
    silent = ImageClassifier("mlp", max_epochs=1).fit(*data)
    with pytest.raises(ValueError, match=r"No gradients.*GradientRecorder\(\)"):
        GradientDisplay.from_estimator(silent)
    net.fit(*data)
    with pytest.raises(ValueError, match="No gradients of the training of 'b'"):
        GradientDisplay.from_estimators({"a": net, "b": silent})
    net.initialize()
    with pytest.raises(ValueError, match="No gradients"):
        GradientDisplay.from_estimator(net)
