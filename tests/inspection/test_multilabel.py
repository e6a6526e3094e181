"""What is shown of labels of which an image may have several."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from skvision.inspection import AccuracyDisplay, PredictionDisplay, class_table
from skvision.metrics import per_class_accuracy

Y_TRUE = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
Y_PRED = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
NAMES = ["cat", "dog", "fox"]


class Echo(ClassifierMixin, BaseEstimator):
    """Predict what the first pixels say."""

    def __init__(self, classes):
        self.classes_ = classes

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0, :3].astype(int)


#: As those of this package and of scikit-learn's networks, and as those of its forests.
CLASSES = [np.arange(3), [np.array([0, 1])] * 3]


@pytest.fixture(params=CLASSES, ids=["numbers", "lists"])
def classifier(request):
    return Echo(request.param)


@pytest.fixture
def images():
    X = np.zeros((4, 4, 4))
    X[:, 0, :3] = Y_PRED
    return X


def test_table(classifier, images):
    table = class_table(classifier, images, Y_TRUE, target_names=NAMES)
    assert table.columns == ["label", "images", "precision", "recall", "F1"]
    assert table.rows == [
        ["cat", 2, pytest.approx(2 / 3), 1.0, pytest.approx(0.8)],
        ["dog", 2, 0.5, 0.5, 0.5],
        ["fox", 0, None, None, None],
        ["all", 4, pytest.approx(0.6), 0.75, pytest.approx(2 / 3)],
    ]
    assert [row[0] for row in class_table(classifier, images, Y_TRUE).rows] == [
        *("0", "1", "2", "all")
    ]


def test_predictions(classifier, images):
    shown = PredictionDisplay.from_estimator(
        classifier, images, Y_TRUE.tolist(), target_names=NAMES
    )
    titles = [ax.get_title() for ax in shown.axes_]
    assert titles == [
        "cat, dog\n(cat, dog)",
        "cat, dog\n(cat)",
        "none\n(none)",
        "cat\n(dog)",
    ]
    right = plt.rcParams["text.color"]
    colours = [ax.title.get_color() for ax in shown.axes_]
    assert colours == [right, "red", right, "red"]
    other = PredictionDisplay.from_predictions(
        images, Y_TRUE, Y_PRED, target_names=NAMES, errors_only=True
    )
    assert [ax.get_title() for ax in other.axes_] == [titles[1], titles[3]]


def test_accuracies(classifier, images):
    shown = AccuracyDisplay.from_estimator(
        classifier, images, Y_TRUE, target_names=NAMES
    )
    assert shown.scores == {"cat": 1.0, "dog": 0.5}
    assert shown.overall == 0.5
    recalls = per_class_accuracy(Y_TRUE, Y_PRED)
    np.testing.assert_array_equal(recalls, [1.0, 0.5, np.nan])
