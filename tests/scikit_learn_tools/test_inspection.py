"""Confusion matrices, curves and importances of image estimators."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.inspection import permutation_importance
from sklearn.metrics import classification_report, confusion_matrix
from skorch.helper import SliceDataset
from torch.utils.data import TensorDataset

from skvision.datasets import as_Xy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 400


def test_importance_of_pixels(digits, small):
    X = digits.data.reshape(-1, 64) / np.float32(255)
    y = digits.target
    net = small(max_epochs=10).fit(X[:1000], y[:1000])
    result = permutation_importance(
        net, X[1000:1300], y[1000:1300], n_repeats=2, random_state=0
    )
    importance = result.importances_mean.reshape(8, 8)
    assert result.importances.shape == (64, 2)
    # Nothing is ever drawn at the left edge.
    assert (importance[1:, 0] == 0).mean() > 0.7
    assert importance[2:6, 2:6].mean() > 0.002
    assert importance[:, 0].max() < importance.max() / 10


def test_confusion_matrices(images, small):
    from sklearn.metrics import ConfusionMatrixDisplay

    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    net = small().fit(images.X, images.y)
    data = TensorDataset(
        torch.from_numpy(images.X_test), torch.from_numpy(images.y_test)
    )
    expected = confusion_matrix(images.y_test, net.predict(images.X_test))
    assert np.trace(expected) > 0.4 * N
    for X, y in (
        (images.X_test, images.y_test),
        as_Xy(data),
        (data, images.y_test),
        (SliceDataset(data), images.y_test),
    ):
        display = ConfusionMatrixDisplay.from_estimator(net, X, y)
        assert_array_equal(display.confusion_matrix, expected)
        assert [text.get_text() for text in display.ax_.get_xticklabels()] == [
            str(label) for label in net.classes_
        ]
    pyplot.close("all")


def test_curves(images, small):
    from sklearn.model_selection import LearningCurveDisplay, ValidationCurveDisplay

    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    display = LearningCurveDisplay.from_estimator(
        small(),
        images.X,
        images.y,
        train_sizes=[40, 200],
        cv=2,
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    assert_array_equal(display.train_sizes, [40, 200])
    assert display.test_scores.shape == (2, 2)
    few, many = display.test_scores.mean(1)
    assert few < many > 0.4
    data = TensorDataset(torch.from_numpy(images.X), torch.from_numpy(images.y))
    display = ValidationCurveDisplay.from_estimator(
        small(),
        *as_Xy(data),
        param_name="lr",
        param_range=[1e-6, 1e-3, 0.01],
        cv=2,
        error_score="raise",
    )
    scores = display.test_scores.mean(1)
    assert scores[0] < scores[1] < scores[2]
    pyplot.close("all")


def test_report_with_names(images, small):
    net = small().fit(images.X, images.names[images.y])
    prediction = net.predict(images.X_test)
    assert prediction.dtype == images.names.dtype
    truth = images.names[images.y_test]
    report = classification_report(truth, prediction, output_dict=True, zero_division=0)
    assert set(images.names) < set(report)
    assert report["accuracy"] == net.score(images.X_test, truth) > 0.4
