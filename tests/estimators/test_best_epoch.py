"""The best epoch is the one whose weights the network has."""

import pickle

import numpy as np
import pytest
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit
from skvision_tests import make_images, weights

import skvision
from skvision import ImageClassifier

SMALL = {"max_epochs": 1, "batch_size": 16, "random_state": 0}


class Weights(Callback):
    def initialize(self):
        self.states_ = {}
        return self

    def on_epoch_end(self, net, **kwargs):
        self.states_[net.history[-1, "epoch"]] = weights(net)


def assert_best(net):
    """Check that the network has the weights of the epoch that is called the best."""
    states = dict(net.callbacks_)["Weights"].states_
    for name, value in states[net.best_epoch_].items():
        np.testing.assert_array_equal(weights(net)[name], value)


@pytest.mark.parametrize("go_on", ["partial_fit", "warm_start"])
def test_best_epoch_of_a_training_that_goes_on(data, go_on):
    def train(net, X, y):
        if go_on == "partial_fit":
            return net.partial_fit(X, y)
        return net.set_params(warm_start=True).fit(X, y)

    X, y = make_images(60)
    net = ImageClassifier(
        "mlp", **SMALL | {"max_epochs": 6}, early_stopping=True, callbacks=[Weights]
    ).fit(X, y)
    assert_best(net)
    # It gets worse, and its losses are those of other rows than in the first call.
    train(net.set_params(lr=0.05, max_epochs=2), X, np.roll(y, 1))
    losses = net.history[:, "valid_loss"]
    assert min(losses[6:]) > min(losses[:6])
    assert net.best_epoch_ > 6
    assert_best(net)
    assert_best(pickle.loads(pickle.dumps(net)))
    train(net.set_params(early_stopping=False), X, y)
    assert not hasattr(net, "best_epoch_")


def test_best_epoch_by_another_score(data):
    stopper = EarlyStopping(monitor="valid_acc", lower_is_better=False, load_best=True)
    net = ImageClassifier(
        "mlp",
        **SMALL | {"max_epochs": 4, "lr": 0.01},
        train_split=ValidSplit(4),
        callbacks=[stopper, Weights],
    ).fit(*data)
    assert net.best_epoch_ == np.argmax(net.history[:, "valid_acc"]) + 1
    assert_best(net)


def test_no_best_epoch_after_an_error_in_training(data):
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise OSError("disk full")

    net = ImageClassifier(
        "mlp", **SMALL | {"max_epochs": 5}, early_stopping=True, callbacks=[Fails]
    )
    with pytest.raises(OSError, match="disk full"):
        net.fit(*data)
    assert not hasattr(net, "best_epoch_")


def test_early_stopping_that_is_turned_on_stops(data):
    net = ImageClassifier("mlp", **SMALL).fit(*data)
    net.set_params(early_stopping=True, n_iter_no_change=2, max_epochs=40, lr=0.1)
    net.set_params(callbacks=[Weights]).partial_fit(*data)
    assert len(net.history) < 41
    assert len(net.history) == net.best_epoch_ + 2
    assert_best(net)


def test_best_epochs_in_files(data, tmp_path):
    net = ImageClassifier("mlp", **SMALL, early_stopping=True).fit(*data)
    best = net.best_epoch_
    net.set_params(early_stopping=False).save(tmp_path / "net")
    assert skvision.load(tmp_path / "net").best_epoch_ == net.best_epoch_ == best
