"""A fit and other threads on the same estimator keep out of each other's way."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from skorch.callbacks import Callback
from skvision_tests import Steps, run_threads

from skvision import ImageAutoencoder, ImageClassifier
from skvision.export import export_onnx
from skvision.inspection import parameter_table


class Paused(Callback):
    """Stop in the middle of a training until other threads have done their part."""

    def __init__(self, others):
        self.others = others

    def on_batch_end(self, net, training, **kwargs):
        if training and self.others:
            function = self.others.pop()
            thread = threading.Thread(target=function)
            thread.start()
            thread.join()


def paused_fit(net, X, y, function):
    """Fit, and call a function in another thread meanwhile; return its error."""
    errors = []

    def call():
        try:
            function(net)
        except RuntimeError as error:
            errors.append(error)

    net.callbacks[0].others.append(call)
    net.fit(X, y)
    (error,) = errors
    return error


MEANWHILE = {
    "predict": lambda net, X, y: net.predict(X),
    "predict_proba": lambda net, X, y: net.predict_proba(X),
    "score": lambda net, X, y: net.score(X, y),
    "forward": lambda net, X, y: net.forward(X),
    "fit": lambda net, X, y: net.fit(X, y),
    "partial_fit": lambda net, X, y: net.partial_fit(X, y),
    "set_params": lambda net, X, y: net.set_params(lr=0.5),
    "initialize": lambda net, X, y: net.initialize(),
    "save": lambda net, X, y: net.save(os.devnull),
    "export_onnx": lambda net, X, y: export_onnx(net, os.devnull),
    "pickle": lambda net, X, y: pickle.dumps(net),
    "deepcopy": lambda net, X, y: copy.deepcopy(net),
    "save_params": lambda net, X, y: net.save_params(f_params=os.devnull),
    "load_params": lambda net, X, y: net.load_params(f_params=os.devnull),
}


@pytest.mark.parametrize("kind", MEANWHILE)
def test_no_thread_looks_at_a_fit(kind, images):
    X, y = images[0][:200], images[1][:200]
    net = ImageClassifier(
        "mlp", module__dropout=0.5, max_epochs=2, random_state=0, callbacks=[Paused([])]
    )
    expected = net.fit(X, y).predict_proba(X)
    error = paused_fit(net, X, y, lambda net: MEANWHILE[kind](net, X, y))
    assert "another thread" in str(error)
    assert np.array_equal(net.predict_proba(X), expected)


def test_to_tabulate_a_network_that_is_fitted(images):
    X, y = images[0][:200], images[1][:200]
    net = ImageClassifier("mlp", module__dropout=0.5, max_epochs=2, random_state=0)
    expected = net.fit(X, y).predict_proba(X)

    def tabulate():
        assert parameter_table(net).n_parameters > 0

    net.set_params(callbacks=[Paused([tabulate])]).fit(X, y)
    assert np.array_equal(net.predict_proba(X), expected)


@pytest.mark.parametrize("method", ["transform", "reconstruct"])
def test_no_thread_looks_at_an_autoencoder_that_is_fitted(method, images):
    X, y = images[0][:100], images[1][:100]
    net = ImageAutoencoder(max_epochs=1, random_state=0, callbacks=[Paused([])])
    error = paused_fit(net, X, y, lambda net: getattr(net, method)(X))
    assert method in str(error)


def test_a_fit_waits_for_predictions(images, monkeypatch):
    X, y = images
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(X[:100], y[:100])
    expected, steps = net.predict_proba(X[:200]), Steps()
    forward_iter = ImageClassifier.forward_iter

    def slowly(self, *args, **kwargs):
        steps.reach("predicting")
        steps.wait_for("fitted", timeout=0.3)
        yield from forward_iter(self, *args, **kwargs)

    found = {}

    def predict():
        found["proba"] = net.predict_proba(X[:200])

    def fit():
        steps.wait_for("predicting")
        monkeypatch.setattr(ImageClassifier, "forward_iter", forward_iter)
        net.set_params(lr=0.1).fit(X, y)
        steps.reach("fitted")

    monkeypatch.setattr(ImageClassifier, "forward_iter", slowly)
    run_threads(predict, fit)
    assert np.array_equal(found["proba"], expected)
    assert not np.array_equal(net.predict_proba(X[:200]), expected)


class Predicting(Callback):
    def on_epoch_end(self, net, **kwargs):
        X, y = kwargs["dataset_train"].X, kwargs["dataset_train"].y
        net.predict(X), net.score(X, y), pickle.dumps(net), net.set_params(lr=0.1)


def test_callbacks_of_a_fit_may_predict(images):
    X, y = images[0][:100], images[1][:100]

    net = ImageClassifier("mlp", max_epochs=1, callbacks=[Predicting()])
    net.fit(X, y).predict(X)


def test_a_fit_that_failed_leaves_the_estimator_free(images):
    X, y = images[0][:100], images[1][:100]
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError):
        net.fit(X, y[:3])
    found = []
    run_threads(lambda: found.append(net.predict(X)))
    assert np.array_equal(found, [net.predict(X)])
