import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch.utils.data import TensorDataset

from skvision import ImageClassifier
from skvision.inspection import PredictionDisplay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def images():
    """Return images that `first_pixel` takes for one of each class and more cats."""
    X = np.zeros((6, 2, 2))
    X[:, 0, 0] = [0, 0, 0, 1, 0, 2]
    X[:, 0, 1] = [1, 0.5, 0.75, 1, 0.35, 1]
    return X, np.array(["cat", "cat", "dog", "dog", "fox", "fox"])


@pytest.fixture
def classifier(first_pixel, images):
    return first_pixel().fit(*images)


def titles(display):
    return [ax.get_title() for ax in display.axes_]


def colours(display):
    return [ax.title.get_color() for ax in display.axes_]


def drawn(display):
    return np.stack([ax.images[0].get_array() for ax in display.axes_])


def test_estimator(classifier, images):
    X, y = images
    display = PredictionDisplay.from_estimator(classifier, X, y)
    assert titles(display) == [
        "cat (cat)\n100%",
        "cat (cat)\n50%",
        "cat (dog)\n75%",
        "dog (dog)\n100%",
        "cat (fox)\n35%",
        "fox (fox)\n100%",
    ]
    right = plt.rcParams["text.color"]
    assert colours(display) == [right, right, "red", right, "red", right]
    assert_array_equal(drawn(display), X)
    assert display.axes_.shape == (6,)
    assert len(display.figure_.axes) == 7  # With those of the whole.
    assert_array_equal(display.y_pred, ["cat", "cat", "cat", "dog", "cat", "fox"])


def test_all_images_have_one_scale(classifier, images):
    X, y = images
    display = PredictionDisplay.from_estimator(classifier, X, y)
    for ax in display.axes_:
        (image,) = ax.images
        assert image.get_clim() == (0, 2)
        assert image.get_cmap().name == "gray"
        assert len(ax.get_xticks()) == len(ax.get_yticks()) == 0


def test_first_images_or_others_at_random(classifier, images):
    X, y = images
    options = {"n_images": 2}
    display = PredictionDisplay.from_estimator(classifier, X, y, **options)
    assert_array_equal(drawn(display), X[:2])
    chosen = {
        tuple(
            PredictionDisplay.from_estimator(
                classifier, X, y, **options, random_state=seed
            ).confidence
        )
        for seed in range(5)
    }
    assert len(chosen) > 1


def test_errors_only(classifier, images):
    X, y = images
    display = PredictionDisplay.from_estimator(classifier, X, y, errors_only=True)
    assert titles(display) == ["cat (dog)\n75%", "cat (fox)\n35%"]
    assert set(colours(display)) == {"red"}
    assert_array_equal(drawn(display), X[[2, 4]])
    one = PredictionDisplay.from_predictions(
        X, y, classifier.predict(X), errors_only=True, n_images=1
    )
    assert titles(one) == ["cat (dog)"]


def test_no_errors(classifier, images):
    X, y = images
    message = "errors_only=True leaves no image: all 2 predictions are right"
    with pytest.raises(ValueError, match=message):
        PredictionDisplay.from_estimator(classifier, X[:2], y[:2], errors_only=True)
    with pytest.raises(ValueError, match=message):
        PredictionDisplay.from_predictions(X[:2], y[:2], y[:2], errors_only=True)


def test_target_names(classifier, images):
    X, y = images
    names = ["C", "D", "F"]
    display = PredictionDisplay.from_estimator(classifier, X, y, target_names=names)
    assert titles(display)[2] == "C (D)\n75%"
    # There is no fox among the images drawn.
    few = PredictionDisplay.from_estimator(
        classifier, X, y, target_names=names, n_images=3
    )
    assert titles(few)[2] == "C (D)\n75%"
    with pytest.raises(ValueError, match="target_names has 2 names"):
        PredictionDisplay.from_estimator(classifier, X, y, target_names=names[:2])


@pytest.mark.parametrize(
    "labels, names, expected",
    [
        ([1, 3, 5], ["one", "three", "five"], ["one (one)", "three (five)"]),
        ([0, 1, 3], list("abcd"), ["a (a)", "b (d)"]),
        (["u", "v", "w"], list("abc"), ["a (a)", "b (c)"]),
        ([1, 3, 5], None, ["1 (1)", "3 (5)"]),
    ],
)
def test_names_of_predictions(labels, names, expected):
    a, b, c = labels
    display = PredictionDisplay.from_predictions(
        np.zeros((2, 3, 3)), [a, c], [a, b], target_names=names
    )
    found = [title.replace("\n", " ") for title in titles(display)]
    assert found == expected


def test_predictions_with_confidence():
    X = np.zeros((2, 3, 3))
    display = PredictionDisplay.from_predictions(X, [0, 1], [0, 0], [0.994, 0.5])
    assert titles(display) == ["0 (0)\n99%", "0 (1)\n50%"]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PredictionDisplay.from_predictions(X, [0, 1], [0, 0], [0.5])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PredictionDisplay.from_predictions(X, [0, 1], [0])


def test_what_a_display_is_made_of():
    colour = np.full((2, 4, 5, 3), 200, dtype=np.uint8)
    display = PredictionDisplay(colour, [7, 8], [8, 8]).plot()
    assert titles(display) == ["8 (7)", "8 (8)"]
    assert_allclose(drawn(display), colour / 255, rtol=1e-6)


def test_one_long_name_breaks_all_titles():
    X = np.zeros((2, 3, 3))
    names = {0: "bag", 1: "ankle boot"}
    display = PredictionDisplay(X, [0, 1], [0, 0], target_names=names).plot()
    assert titles(display) == ["bag\n(bag)", "bag\n(ankle boot)"]


@pytest.mark.parametrize("in_grid", [False, True])
def test_titles_do_not_run_into_each_other(in_grid):
    names = {0: "tall green forest frog", 1: "frog"}
    X = np.zeros((16, 3, 3))
    y = np.arange(16) % 2
    ax = plt.subplots(1, 2, layout="constrained")[1][0] if in_grid else None
    confidence = [0.5] * 16
    display = PredictionDisplay(X, y, 1 - y, confidence, target_names=names).plot(ax=ax)
    display.figure_.canvas.draw()
    boxes = [ax.title.get_window_extent() for ax in display.axes_]
    images = [ax.get_window_extent() for ax in display.axes_]
    for i in range(15):
        if i % 4 < 3:
            assert boxes[i].x1 <= boxes[i + 1].x0
        if i < 12:
            assert boxes[i + 4].y1 <= images[i].y0


def test_grid_is_as_wide_as_it_is_high():
    for n, shape in [(1, (1, 1)), (3, (1, 3)), (5, (2, 3)), (16, (4, 4))]:
        display = PredictionDisplay(np.zeros((n, 2, 2)), [0] * n, [0] * n).plot()
        assert len(display.axes_) == n == len(display.figure_.axes) - 1
        grid = display.axes_[0].get_subplotspec().get_gridspec()
        assert (grid.nrows, grid.ncols) == shape


def test_data_sets_and_flat_rows(digits):
    X, y = digits.data[:100], digits.target[:100]
    net = ImageClassifier("mlp", random_state=0).fit(X, y)
    data = TensorDataset(torch.from_numpy(X)[:, None], torch.from_numpy(y))
    display = PredictionDisplay.from_estimator(net, data, n_images=4)
    assert_array_equal(display.y_true, y[:4])
    assert_array_equal(display.y_pred, net.predict(X[:4]))
    assert_allclose(display.confidence, net.predict_proba(X[:4]).max(axis=1))
    assert_allclose(drawn(display), X[:4] / 255, rtol=1e-6)

    rows = X.reshape(100, -1)
    net = ImageClassifier("mlp", image_shape=(1, 8, 8), random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), net).fit(rows, y)
    display = PredictionDisplay.from_estimator(pipeline, rows, y, n_images=4)
    assert_allclose(drawn(display), X[:4] / 255, rtol=1e-6)


def test_classifiers_without_networks(digits):
    X, y = digits.data[:100], digits.target[:100]
    rows = X.reshape(100, -1) / 255
    linear = LogisticRegression().fit(rows, y)
    display = PredictionDisplay.from_estimator(
        linear, rows, y, n_images=4, image_shape=(1, 8, 8)
    )
    assert_allclose(drawn(display), X[:4] / 255, rtol=1e-6)
    with pytest.raises(ValueError, match=r"Set image_shape=\(channels"):
        PredictionDisplay.from_estimator(linear, rows, y)
