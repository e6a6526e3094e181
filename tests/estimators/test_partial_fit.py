"""Fits that go on: partial_fit and warm starts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skvision_tests import NAMES, SMALL, make_images, weights

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]


def test_partial_fit_with_classes():
    X, y = make_images(40)
    y = NAMES[y]
    first = y != "green"
    estimator = ImageClassifier(**SMALL)
    estimator.partial_fit(X[first], y[first], classes=["green", "red", "amber"])
    assert estimator.classes_.tolist() == ["amber", "green", "red"]
    assert estimator.predict_proba(X).shape == (40, 3)
    estimator.set_params(lr=0.02, max_epochs=10).partial_fit(X, y)
    assert estimator.score(X, y) > 0.9
    assert estimator.partial_fit(X[:5], y[:5]) is estimator
    with pytest.raises(ValueError, match=r"\['blue'\].*\['amber', 'green', 'red'\]"):
        estimator.partial_fit(X[:3], ["blue", "red", "amber"])
    with pytest.raises(ValueError, match="differs from that of the first call"):
        estimator.partial_fit(X, y, classes=["red", "amber"])
    estimator.partial_fit(X, y, classes=["red", "green", "amber"])


def test_partial_fit_without_classes_takes_those_of_the_first_call(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).partial_fit(X, y + 4)
    assert estimator.classes_.tolist() == [4, 5, 6]
    for unseen in (y + 5, -y):
        with pytest.raises(ValueError, match=r"not among the classes \[4, 5, 6\]"):
            estimator.partial_fit(X, unseen)
    estimator.partial_fit(X[:4], [4, 4, 4, 4])
    with pytest.raises(ValueError, match="not among"):
        ImageClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_first_partial_fit_is_a_fit(data, estimator, assert_same_weights):
    X, y = data
    fitted = estimator(**SMALL).fit(X, y)
    partial = estimator(**SMALL).partial_fit(X, y)
    assert_same_weights(weights(fitted), weights(partial))
    assert_array_equal(fitted.predict(X), partial.predict(X))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_warm_start_goes_on(data, estimator, assert_same_weights):
    X, y = data
    warm = estimator(**SMALL, warm_start=True).fit(X, y)
    network, before = warm.module_, weights(warm)
    assert len(warm.history) == 2
    assert warm.fit(X, y) is warm
    assert warm.module_ is network
    assert len(warm.history) == 4
    assert warm.history[:, "epoch"] == [1, 2, 3, 4]
    assert warm.history[2, "train_loss"] < warm.history[0, "train_loss"]
    assert not np.array_equal(weights(warm)["head.weight"], before["head.weight"])
    # It is what partial_fit does, while an ordinary fit begins again.
    cold = estimator(**SMALL).fit(X, y)
    cold.partial_fit(X, y)
    assert_same_weights(weights(cold), weights(warm))
    cold.fit(X, y)
    assert len(cold.history) == 2
    assert_same_weights(weights(cold), before)


def test_normalisation_is_that_of_the_first_fit(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    mean, std = estimator.scaler_.mean.clone(), estimator.scaler_.std.clone()
    assert_allclose(mean.ravel(), X.mean(), rtol=1e-6)
    assert_allclose(std.ravel(), X.std(), rtol=1e-6)
    estimator.partial_fit(10 * X + 3, y)
    assert_array_equal(estimator.scaler_.mean, mean)
    assert_array_equal(estimator.scaler_.std, std)
