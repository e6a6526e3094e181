"""get_params, set_params and clone."""

import copy
import inspect

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EpochScoring
from skvision_tests import Scaled, weights
from torch import nn

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


def own_names(estimator):
    return list(inspect.signature(estimator).parameters)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constructor_sets_parameters_only(estimator):
    assert set(vars(estimator())) == set(own_names(estimator))
    instance = estimator(module__hidden=(4,), optimizer__weight_decay=0.1)
    expected = {*own_names(estimator), "module__hidden", "optimizer__weight_decay"}
    public = {name for name in vars(instance) if not name.startswith("_")}
    assert public == set(own_names(estimator))
    assert instance.module__hidden == (4,)
    assert set(instance.get_params()) == expected
    assert set(instance.get_params(deep=False)) == expected


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fit_does_not_change_the_class(data, estimator):
    def attributes():
        return {
            (base, name): copy.copy(value)
            for base in estimator.__mro__
            for name, value in vars(base).items()
            if isinstance(value, (list, dict, tuple, str, int, type(None)))
        }

    before = attributes()
    fitted = estimator(**SMALL, callbacks=[EpochScoring("r2")]).fit(*data)
    fitted.partial_fit(*data)
    assert attributes() == before
    # Nor is another instance fitted by it.
    assert set(vars(estimator())) == set(own_names(estimator))
    assert not estimator().initialized_
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_parameters_are_the_objects_that_were_given(estimator):
    given_objects = {
        "module": Scaled(),
        "callbacks": [EpochScoring("r2")],
        "module__hidden": [1, 2],
        "epoch_scoring": ["r2"],
        "image_shape": [1, 8, 8],
        "criterion": nn.MSELoss(),
    }
    parameters = estimator(**given_objects).get_params(deep=False)
    for name, value in given_objects.items():
        assert parameters[name] is value, name


@pytest.mark.parametrize("fitted", [False, True])
def test_clone_takes_all_parameters(data, fitted, assert_same_weights):
    estimator = ImageClassifier(
        **SMALL,
        optimizer="sgd",
        optimizer__momentum=0.9,
        criterion__label_smoothing=0.1,
        iterator_train__drop_last=True,
        callbacks__print_log=None,
        random_state=7,
    )
    if fitted:
        estimator.fit(*data)
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    # Nothing but parameters is copied.
    public = {name for name in vars(copied) if not name.startswith("_")}
    assert public == set(own_names(ImageClassifier))
    with pytest.raises(NotFittedError):
        check_is_fitted(copied)
    with pytest.raises(NotFittedError):
        copied.predict(data[0])
    if fitted:
        assert_same_weights(weights(copied.fit(*data)), weights(estimator))


def test_set_params_of_unfitted_estimators():
    estimator = ImageClassifier()
    assert estimator.set_params(module__hidden=(8,), lr=0.5) is estimator
    assert estimator.get_params()["module__hidden"] == (8,)
    assert estimator.lr == 0.5
    copied = clone(estimator)
    assert copied.module__hidden == (8,)
    assert estimator.set_params() is estimator
    estimator.set_params(**ImageClassifier(max_epochs=3).get_params())
    assert estimator.max_epochs == 3


def test_repr_shows_what_was_set():
    text = repr(ImageClassifier("mlp", lr=0.5, module__hidden=(8,), dtype="float64"))
    assert text == (
        "ImageClassifier(dtype='float64', lr=0.5, module='mlp', module__hidden=(8,))"
    )


def test_fitted_networks_are_not_touched_by_set_params(data, assert_same_weights):
    X, y = data
    estimator = ImageClassifier(**SMALL, random_state=0).fit(X, y)
    network, optimizer, before = (
        estimator.module_,
        estimator.optimizer_,
        weights(estimator),
    )
    probabilities = estimator.predict_proba(X)
    callbacks = estimator.callbacks_
    estimator.set_params(
        module__hidden=(8,),
        criterion__label_smoothing=0.1,
        optimizer__weight_decay=0.1,
        iterator_train__shuffle=False,
        callbacks=[EpochScoring("accuracy")],
        callbacks__epoch_timer=None,
        lr=0.5,
        batch_size=4,
        class_weight="balanced",
    )
    assert estimator.module_ is network
    assert estimator.optimizer_ is optimizer
    assert estimator.callbacks_ is callbacks
    assert_same_weights(weights(estimator), before)
    assert_array_equal(estimator.predict_proba(X), probabilities)
    estimator.fit(X, y)
    assert estimator.module_.head.in_features == 8
    assert network.head.in_features == 16
    # set_params(module=...) and (optimizer=...) wait for the next fit as well.
    network = estimator.module_
    estimator.set_params(module="lenet", optimizer="sgd", criterion=nn.NLLLoss)
    assert estimator.module_ is network
    assert isinstance(estimator.optimizer_, torch.optim.Adam)


def test_learning_rate_reaches_the_optimizer_of_partial_fit(data, assert_same_weights):
    X, y = data
    estimator = ImageClassifier(**SMALL, random_state=0).fit(X, y)
    before = weights(estimator)
    estimator.set_params(lr=0).partial_fit(X, y)
    assert_same_weights(weights(estimator), before)
    assert estimator.optimizer_.param_groups[0]["lr"] == 0
    estimator.set_params(lr=0.25, optimizer__weight_decay=0.5, optimizer__eps=1e-3)
    group = estimator.optimizer_.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["eps"]) == (0.25, 0.5, 1e-3)
    estimator.partial_fit(X, y)
    assert not np.array_equal(weights(estimator)["head.weight"], before["head.weight"])
    group = estimator.optimizer_.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["eps"]) == (0.25, 0.5, 1e-3)


def test_optimizer_lr_wins_over_lr(data):
    estimator = ImageClassifier(**SMALL, lr=0.5, optimizer__lr=0.25).fit(*data)
    assert estimator.optimizer_.param_groups[0]["lr"] == 0.25
    estimator.set_params(optimizer__lr=0.125)
    assert estimator.optimizer_.param_groups[0]["lr"] == 0.125


def test_parameters_in_pipelines_and_searches(data):
    X, y = data
    pipeline = make_pipeline(
        MinMaxScaler(),
        ImageClassifier(**SMALL, image_shape=(1, 8, 8), random_state=0),
    )
    pipeline.set_params(imageclassifier__module__hidden=(4,))
    assert pipeline[-1].module__hidden == (4,)
    with pytest.raises(ValueError, match="has no parameter 'max_epoch'"):
        pipeline.set_params(imageclassifier__max_epoch=1)
    grid = {"imageclassifier__module__hidden": [(4,), (5,)]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X.reshape(len(X), -1), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    network = search.best_estimator_[-1].module_
    best = search.best_params_["imageclassifier__module__hidden"]
    assert network.head.in_features == best[0]


def test_missing_attributes_are_named():
    with pytest.raises(AttributeError, match="ImageClassifier.* 'module__hidden'"):
        _ = ImageClassifier().module__hidden
    with pytest.raises(AttributeError, match="ImageClassifier.* 'anything'"):
        _ = ImageClassifier().anything
