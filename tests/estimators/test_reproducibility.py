"""Equal seeds give equal networks, and global generators are left alone."""

import pickle
import random

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from skvision_tests import SMALL, disturb, losses, same, weights
from torch.utils.data import DataLoader, Dataset

from skvision import ImageClassifier
from skvision.datasets import as_Xy

DROPOUT = SMALL | {"module__dropout": 0.5}


class Augmenting(Dataset):
    """Images that are changed by one kind of random numbers whenever they are read."""

    def __init__(self, X, y, source="torch"):
        self.X = torch.as_tensor(X, dtype=torch.float32)
        self.y = y
        self.source = source

    def __len__(self):
        return len(self.X)

    def noise(self):
        if self.source == "torch":
            return torch.rand(1, 8, 8)
        if self.source == "numpy":
            return torch.as_tensor(np.random.rand(1, 8, 8), dtype=torch.float32)
        return torch.full((1, 8, 8), random.random())

    def __getitem__(self, i):
        return self.X[i][None] + self.noise(), int(self.y[i])


def global_state():
    kind, keys, *rest = np.random.get_state()
    return (
        random.getstate(),
        (kind, keys.tolist(), *rest),
        torch.get_rng_state().tolist(),
    )


# ----------------------------------------------------------------- equal networks


def test_equal_seeds_give_equal_networks(data, options):
    X, y = data
    disturb(1)
    first = ImageClassifier(**options).fit(X, y)
    disturb(2)
    second = ImageClassifier(**options)
    # Whatever was fitted before, with the same estimator or another.
    ImageClassifier(**DROPOUT | {"random_state": 5}).fit(X, y)
    second.fit(X[:20], y[:20])
    second.fit(X, y)
    assert same(first, second)
    assert losses(first) == losses(second)
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.parametrize(
    ("source", "form", "normalize"),
    [
        ("torch", "dataset", "channel"),
        ("torch", "loader", None),
        ("numpy", "sequence", None),
        ("numpy", "loader", "channel"),
        ("python", "dataset", None),
        ("python", "sequence", "channel"),
    ],
)
def test_data_sets_with_random_transforms(data, source, form, normalize):
    X, y = data
    fitted = []
    for disturbance in (1, 2):
        disturb(disturbance)
        dataset = Augmenting(X, y, source)
        arguments = as_Xy(dataset) if form == "sequence" else (dataset,)
        disturb(disturbance + 2)
        estimator = ImageClassifier(**DROPOUT, normalize=normalize)
        if form == "loader":
            estimator.set_params(iterator_train=DataLoader)
        fitted.append(estimator.fit(*arguments))
    assert losses(fitted[0]) == losses(fitted[1])
    assert same(*fitted)


def test_different_seeds_give_different_networks(data):
    X, y = data
    first, second = (
        ImageClassifier(**SMALL | {"random_state": seed}).fit(X, y) for seed in (0, 1)
    )
    assert not same(first, second)
    unseeded = [ImageClassifier(**SMALL | {"random_state": None}) for _ in range(2)]
    np.random.seed(0)
    unseeded[0].fit(X, y)
    np.random.seed(0)
    unseeded[1].fit(X, y)
    assert not same(*unseeded)


def test_dropout_differs_from_batch_to_batch(data):
    class Look(Callback):
        def initialize(self):
            self.outputs = []
            return self

        def on_batch_end(self, net, training=False, **kwargs):
            self.outputs.append(kwargs["y_pred"].numpy().copy())

    X, y = data
    estimator = ImageClassifier(
        **DROPOUT | {"lr": 0.0, "batch_size": -1},
        iterator_train__shuffle=False,
        callbacks=[Look],
    ).fit(X, y)
    first, second = dict(estimator.callbacks_)["Look"].outputs
    assert not np.array_equal(first, second)
    # In prediction there is none.
    assert_array_equal(estimator.predict_proba(X), estimator.predict_proba(X))


def test_random_state_instances(data):
    X, y = data
    by_int = ImageClassifier(**SMALL).fit(X, y)
    by_instance = ImageClassifier(**SMALL | {"random_state": np.random.RandomState(0)})
    assert same(by_instance.fit(X, y), by_int)
    # As everywhere in scikit-learn, an instance gives other numbers each time.
    first = weights(by_instance)
    by_instance.fit(X, y)
    assert not np.array_equal(weights(by_instance)["head.weight"], first["head.weight"])
    shared = np.random.RandomState(0)
    again = [ImageClassifier(**SMALL | {"random_state": shared}) for _ in range(2)]
    assert same(again[0].fit(X, y), by_int)
    assert same(again[1].fit(X, y), by_instance)


# ------------------------------------------------------------------ global generators


@pytest.mark.parametrize("random_state", [0, None])
def test_global_generators_are_left_alone(data, options, random_state):
    X, y = data
    disturb(3)
    before = global_state()
    fitted = ImageClassifier(**options | {"random_state": random_state})
    for action in (
        lambda: fitted.fit(X, y),
        lambda: fitted.partial_fit(X, y),
        lambda: fitted.predict(X),
        lambda: fitted.predict_proba(X),
        lambda: fitted.score(X, y),
        lambda: fitted.fit(X, y, sample_weight=np.ones(len(y))),
        lambda: clone(fitted),
        lambda: pickle.loads(pickle.dumps(fitted)),
    ):
        action()
        assert global_state() == before


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_global_generators_and_random_transforms(data, source):
    X, y = data
    dataset = Augmenting(X, y, source)
    disturb(3)
    before = global_state()
    estimator = ImageClassifier(**SMALL)
    for action in (
        lambda: estimator.fit(dataset),
        lambda: estimator.partial_fit(dataset),
        lambda: estimator.predict(dataset),
        lambda: estimator.score(dataset),
    ):
        action()
        assert global_state() == before


def test_global_generators_after_an_error(data):
    class Failing(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("enough")

    disturb(3)
    before = global_state()
    with pytest.raises(RuntimeError, match="enough"):
        ImageClassifier(**DROPOUT, callbacks=[Failing]).fit(*data)
    assert global_state() == before
    with pytest.raises(ValueError, match="module__hidden"):
        ImageClassifier("mlp", module__hiden=(3,)).fit(*data)
    assert global_state() == before


def test_initial_weights_of_instances_do_not_move_the_generators(data):
    disturb(3)
    before = global_state()
    ImageClassifier(
        **SMALL, image_shape=(1, 8, 8), module__n_outputs=3, normalize=None
    ).initialize()
    assert global_state() == before
