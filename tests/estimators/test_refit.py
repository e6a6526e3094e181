"""Fits of fitted estimators begin anew, or fail and leave what was there."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from skvision_tests import Scaled, make_ordered_images, weights
from torch.utils.data import DataLoader

from skvision import ImageClassifier

SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


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
    yield "name for the criterion", {"criterion__reductio": "sum"}, (X, y)
    yield "name for the iterator", {"iterator_train__shufle": True}, (X, y)
    yield "value of a parameter", {"lr": -1}, (X, y)
    yield "value of an argument", {"module__hidden": (-1,)}, (X, y)
    yield "value for the optimizer", {"optimizer__betas": (2, 2)}, (X, y)
    yield "value for the iterator", {"iterator_train__num_workers": -1}, (X, y)
    yield (
        "value for the loader",
        {"iterator_train": DataLoader, "batch_size": -7},
        (X, y),
    )
    yield "network", {"module": "nonsense"}, (X, y)
    yield "network that fits nothing", {"module": Scaled(5)}, (X, y)
    yield "device", {"device": "cuda:99"}, (X, y)
    yield "normalisation", {"normalize": (0.5, -1)}, (X, y)
    yield "contradiction", {"early_stopping": True, "train_split": ValidSplit()}, (X, y)
    yield "scorer", {"epoch_scoring": "acuracy"}, (X, y)
    yield "callback", {"callbacks": [("probe", None)], "callbacks__probe__a": 1}, (X, y)
    yield "what a callback sets", {"callbacks": [Widths((7,), (0,))]}, (X, y)
    yield "what a callback raises", {"callbacks": [Widths((7,), None)]}, (X, y)
    yield "lengths", {}, (X, y[:-1])
    yield "NaN", {}, (nan, y)
    yield "NaN without statistics", {"normalize": None}, (nan, y)
    yield "target", {}, (X, [None] * len(X))
    yield "no target", {}, (X, None)
    yield "nothing", {}, (X[:0], y[:0])


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [pytest.param(*case[1:], id=case[0]) for case in failing_fits()],
)
def test_a_failing_fit_leaves_a_fitted_estimator_as_it_was(
    parameters, arguments, assert_same_weights
):
    X, y = make_ordered_images()
    fitted = ImageClassifier(**SMALL, random_state=0).fit(X, y)
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
    fitted = ImageClassifier(**SMALL, warm_start=True, random_state=0).fit(X, y)
    before, classes = weights(fitted), fitted.classes_
    for arguments in [(X, y + 1), (X[:, :5], y), (X, y[:3])]:
        with pytest.raises(ValueError, match="among the classes|shape|inconsistent"):
            getattr(fitted, method)(*arguments)
        assert_same_weights(weights(fitted), before)
        assert_array_equal(fitted.classes_, classes)
        assert len(fitted.history) == 1


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


def test_refit_begins_a_new_history(data):
    estimator = ImageClassifier(**SMALL).fit(*data)
    history = estimator.history
    estimator.fit(*data)
    assert len(estimator.history) == len(history) == 1
    assert estimator.history is not history
