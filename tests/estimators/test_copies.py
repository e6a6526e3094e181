"""Copies and pickles go on as the original would."""

import copy
import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from skorch.callbacks import LRScheduler
from skvision_tests import SMALL, disturb, losses, make_images, same, weights
from torch import nn

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]
DROPOUT = SMALL | {"module__dropout": 0.5}


# ------------------------------------------------------------------ copies and pickles


def through_joblib(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


COPIES = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "joblib": through_joblib,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_copies_of_unfitted_estimators(data, estimator):
    original = estimator(
        **SMALL,
        optimizer__weight_decay=0.1,
        callbacks=[("rate", LRScheduler)],
        callbacks__rate__policy="StepLR",
        callbacks__rate__step_size=1,
        epoch_scoring=["r2"],
    )
    for duplicate in [copied(original) for copied in COPIES.values()]:
        assert type(duplicate) is estimator
        assert repr(duplicate) == repr(original)
        assert duplicate.get_params().keys() == original.get_params().keys()
        assert same(duplicate.fit(*data), original.fit(*data))


def test_copies_of_fitted_estimators(data, options):
    X, y = data
    original = ImageClassifier(**options).fit(X, np.array(["a", "b", "c"])[y])
    for copied in COPIES.values():
        duplicate = copied(original)
        assert_array_equal(duplicate.predict_proba(X), original.predict_proba(X))
        assert_array_equal(duplicate.predict(X), original.predict(X))
        assert duplicate.history.to_list() == original.history.to_list()
        assert duplicate.get_params().keys() == original.get_params().keys()
        for name in ("classes_", "image_shape_", "n_features_in_", "n_outputs_"):
            assert_array_equal(getattr(duplicate, name), getattr(original, name))


@pytest.mark.parametrize(
    ("estimator", "kind", "optimizer"),
    [
        (ImageClassifier, "pickle", "sgd"),
        (ImageClassifier, "deepcopy", "adam"),
        (ImageRegressor, "joblib", "adam"),
    ],
)
def test_copies_go_on_as_the_original_would(data, estimator, kind, optimizer):
    X, y = data
    options = DROPOUT | {"optimizer": optimizer, "epoch_scoring": ["r2"]}
    if optimizer == "sgd":
        options["optimizer__momentum"] = 0.9
    callbacks = [LRScheduler("StepLR", step_size=1, gamma=0.9)]
    uninterrupted = estimator(**options, callbacks=callbacks)
    uninterrupted.partial_fit(X, y).partial_fit(X, y).partial_fit(X, y)
    original = estimator(**options, callbacks=callbacks).partial_fit(X, y)
    disturb(4)
    duplicate = COPIES[kind](original)
    before = weights(original)
    duplicate.partial_fit(X, y)
    # The original is not touched by what the copy does.
    assert_array_equal(weights(original)["head.weight"], before["head.weight"])
    assert len(original.history) == 2
    duplicate = COPIES[kind](duplicate).partial_fit(X, y)
    assert same(duplicate, uninterrupted)
    assert losses(duplicate) == losses(uninterrupted)
    assert_array_equal(duplicate.predict(X), uninterrupted.predict(X))
    original.partial_fit(X, y).partial_fit(X, y)
    assert same(original, uninterrupted)


@pytest.mark.parametrize("kind", ["pickle", "deepcopy"])
def test_the_optimizer_of_a_copy_points_to_its_weights(data, kind):
    duplicate = COPIES[kind](ImageClassifier(**SMALL).fit(*data))
    held = [p for group in duplicate.optimizer_.param_groups for p in group["params"]]
    own = list(duplicate.module_.parameters())
    assert [id(p) for p in held] == [id(p) for p in own]
    assert set(duplicate.optimizer_.state) == set(own)


@pytest.mark.parametrize("kind", ["pickle", "deepcopy", "copy"])
def test_copies_of_module_instances(data, kind, Linear):
    X, y = data
    instance = Linear()
    original = ImageClassifier(instance, max_epochs=2, random_state=0).fit(X, y)
    duplicate = COPIES[kind](original)
    assert_array_equal(duplicate.predict_proba(X), original.predict_proba(X))
    assert torch.equal(duplicate.module.linear.weight, instance.linear.weight)
    # The instance's weights are still those with which a fit begins.
    assert same(duplicate.fit(X, y), original)


def test_pickles_of_earlier_fits_do_not_change(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    stored, shallow = pickle.dumps(estimator), copy.copy(estimator)
    proba = estimator.predict_proba(X)
    estimator.set_params(random_state=1, module__hidden=(4,)).fit(X, y)
    assert_array_equal(pickle.loads(stored).predict_proba(X), proba)
    assert_array_equal(shallow.predict_proba(X), proba)
    assert len(shallow.history) == 2


def test_size_of_a_pickle(data):
    # No batches, gradients or data go with it.
    X, y = make_images(2000)
    small = ImageClassifier(**SMALL | {"batch_size": 100}, epoch_scoring="accuracy")
    size = len(pickle.dumps(small.fit(X, y)))
    assert size < 100_000 < X.nbytes


def test_other_versions_of_scikit_learn(data):
    estimator = ImageClassifier(**SMALL).fit(*data)
    state = estimator.__getstate__()
    assert state["_sklearn_version"]
    state["_sklearn_version"] = "0.1"
    duplicate = ImageClassifier.__new__(ImageClassifier)
    with pytest.warns(InconsistentVersionWarning, match="0.1"):
        duplicate.__setstate__(state)
    assert "_sklearn_version" not in vars(duplicate)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(estimator))


# --------------------------------------------------------------------------- devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_pickle_from_a_gpu_loads_without_one(data, device):
    X, y = data
    options = DROPOUT | {"optimizer": "adam"}
    expected = ImageClassifier(**options).fit(X, y)
    estimator = ImageClassifier(**options).fit(X, y)
    # As after a fit on a GPU, except that the tensors are here already.
    estimator.device_ = torch.device("cuda", 0)
    estimator.device = device
    estimator._made_with = estimator._tracked()
    stored = pickle.dumps(estimator)
    assert estimator.device_ == torch.device("cuda", 0)
    assert same(estimator, expected)
    duplicate = pickle.loads(stored)
    assert duplicate.device_ == torch.device("cpu")
    assert duplicate.device == device
    assert_array_equal(duplicate.predict_proba(X), expected.predict_proba(X))
    held = [p for group in duplicate.optimizer_.param_groups for p in group["params"]]
    assert [id(p) for p in held] == [id(p) for p in duplicate.module_.parameters()]
    assert same(duplicate.partial_fit(X, y), expected.partial_fit(X, y))


def without(parameter):
    parameter.grad = None


@pytest.mark.parametrize("copied", [lambda net: net, clone])
@pytest.mark.parametrize("float64", [False, True])
def test_networks_come_with_what_happens_to_gradients(data, copied, float64):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    network[1].weight.register_hook(torch.zeros_like)
    network[1].bias.register_post_accumulate_grad_hook(without)
    dtype = "float64" if float64 else "float32"
    net = copied(ImageClassifier(network, dtype=dtype, max_epochs=1)).fit(*data)
    for one, other in zip(net.module_.parameters(), network.parameters(), strict=True):
        assert torch.equal(one.float(), other)
