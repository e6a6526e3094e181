"""Fits of fitted estimators begin anew, go on, or fail and leave what was there."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from skvision_tests import (
    NAMES,
    SMALL,
    Scaled,
    make_images,
    make_ordered_images,
    weights,
)
from torch.utils.data import DataLoader

from skvision import ImageClassifier, ImageRegressor


class Widths(Callback):
    """Sets one after the other when training begins, or fails there."""

    def __init__(self, *widths):
        self.widths = widths

    def on_train_begin(self, net, **kwargs):
        for width in self.widths:
            if width is None:
                raise ValueError("no width")
            net.set_params(module__hidden=width)


# ----------------------------------------- a fit that fails leaves what was there


def failing_fits():
    X, y = make_ordered_images()
    nan = X.copy()
    nan[3, 0, 0] = np.nan
    yield "name of an argument", {"module__hiden": (8,)}, (X, y)
    yield "name for the optimizer", {"optimizer__weight_decy": 1}, (X, y)
    yield "value for the optimizer", {"optimizer__betas": (2, 2)}, (X, y)
    yield (
        "value for the loader",
        {"iterator_train": DataLoader, "batch_size": -7},
        (X, y),
    )
    yield "network", {"module": "nonsense"}, (X, y)
    yield "device", {"device": "cuda:99"}, (X, y)
    yield "scorer", {"epoch_scoring": "acuracy"}, (X, y)
    yield "callback", {"callbacks": [("probe", None)], "callbacks__probe__a": 1}, (X, y)
    yield "what a callback sets", {"callbacks": [Widths((7,), (0,))]}, (X, y)
    yield "what a callback raises", {"callbacks": [Widths((7,), None)]}, (X, y)
    yield "lengths", {}, (X, y[:-1])
    yield "NaN without statistics", {"normalize": None}, (nan, y)
    yield "no target", {}, (X, None)


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [pytest.param(*case[1:], id=case[0]) for case in failing_fits()],
)
def test_a_failing_fit_leaves_a_fitted_estimator_as_it_was(
    parameters, arguments, assert_same_weights
):
    X, y = make_ordered_images()
    fitted = ImageClassifier(**SMALL).fit(X, y)
    predictions = fitted.predict(X)
    before, history = weights(fitted), list(fitted.history)
    fitted.set_params(**parameters)
    attributes = dict(vars(fitted))
    with pytest.raises((ValueError, TypeError, AttributeError)):
        fitted.fit(*arguments)
    assert_array_equal(fitted.predict(X), predictions)
    assert_same_weights(weights(fitted), before)
    assert list(fitted.history) == history
    assert vars(fitted).keys() == attributes.keys()
    for name, value in attributes.items():
        assert vars(fitted)[name] is value, name


def test_an_interrupted_construction_leaves_a_fitted_estimator_as_it_was(data):
    class Interrupted(Scaled):
        def __init__(self):
            raise KeyboardInterrupt

    fitted = ImageClassifier(Scaled, max_epochs=1, random_state=0).fit(*data)
    before = fitted.predict_proba(data[0])
    fitted.set_params(module=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(*data)
    assert_array_equal(fitted.predict_proba(data[0]), before)


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_a_failing_continuation_leaves_a_fitted_estimator_as_it_was(
    data, method, assert_same_weights
):
    X, y = data
    fitted = ImageClassifier(**SMALL, warm_start=True).fit(X, y)
    before, classes = weights(fitted), fitted.classes_
    for arguments in [(X, y + 1), (X[:, :5], y), (X, y[:3])]:
        with pytest.raises(ValueError, match="among the classes|shape|inconsistent"):
            getattr(fitted, method)(*arguments)
        assert_same_weights(weights(fitted), before)
        assert_array_equal(fitted.classes_, classes)
        assert len(fitted.history) == 2


# ---------------------------------------------------------------------- refits


def test_refit_on_other_shapes_and_classes():
    estimator = ImageClassifier(max_epochs=1)
    parameters = estimator.get_params()
    for shape, expected, n_classes in [
        ((8, 8), (1, 8, 8), 3),
        ((3, 6, 6), (3, 6, 6), 2),
        ((64,), (1, 1, 64), 4),
        ((6, 8, 3), (3, 6, 8), 5),
        ((8, 8), (1, 8, 8), 2),
    ]:
        n = 20
        X = np.random.default_rng(0).random((n, *shape))
        y = np.arange(n) % n_classes
        estimator.fit(X, y)
        assert estimator.image_shape_ == expected
        assert estimator.n_features_in_ == np.prod(shape)
        assert estimator.n_outputs_ == n_classes
        assert estimator.predict_proba(X).shape == (n, n_classes)
        assert estimator.get_params() == parameters
        name = "MLP" if shape == (64,) else "ConvNet"
        assert type(estimator.module_).__name__ == name
        assert len(estimator.history) == 1


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
    estimator.partial_fit(X, y, classes=["red", "green", "amber"])


def test_partial_fit_without_classes_takes_those_of_the_first_call(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).partial_fit(X, y + 4)
    assert estimator.classes_.tolist() == [4, 5, 6]
    estimator.partial_fit(X[:4], [4, 4, 4, 4])
    with pytest.raises(ValueError, match=r"not among the classes \[4, 5, 6\]"):
        estimator.partial_fit(X, y + 5)


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
