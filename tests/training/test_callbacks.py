import copy
import os
import pickle

import numpy as np
import pytest
import skorch
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.exceptions import DivergedError
from skvision.training import GradientRecorder

BATCH = 64


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:500].astype(np.float32) / 255, digits.target[:500]


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.BatchNorm1d(32),
        nn.Linear(32, 10),
    ).to(dtype)


def build(n_steps=100, **params):
    """An estimator that trains as `by_hand` does."""
    params = {
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": BATCH,
        "normalize": None,
        "max_epochs": 3,
        "iterator_train__shuffle": False,
        "module": network(),
        "callbacks": [GradientRecorder(n_steps)],
    } | params
    return ImageClassifier(**params)


def recorder_of(net):
    return dict(net.callbacks_)["GradientRecorder"]


def by_hand(X, y, epochs=3, dtype=torch.float32, frozen=(), amp=False):
    """Train by a plain loop and return the mean gradients of each step."""
    net = network(dtype)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in frozen)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    X, y = torch.from_numpy(X).to(dtype), torch.from_numpy(y)
    means = []
    for _ in range(epochs):
        for start in range(0, len(X), BATCH):
            rows = slice(start, start + BATCH)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=amp):
                outputs = net(X[rows])
            nn.functional.cross_entropy(outputs.to(dtype), y[rows]).backward()
            means.append(sum(p.grad.mean().item() for p in trained))
            optimizer.step()
    return means


# ----------------------------------------------------------------------------- values


@pytest.mark.parametrize("n_steps", [1, 7, 8, 13, 24, 100])
def test_as_a_loop_by_hand(data, n_steps):
    net = build(n_steps).fit(*data)
    expected = by_hand(*data)
    assert len(expected) == 24
    means = recorder_of(net).means_
    assert all(type(mean) is float for mean in means)
    assert_allclose(means, expected[:n_steps], rtol=0, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


def test_float64(data):
    net = build(dtype="float64", module=network(torch.float64)).fit(*data)
    expected = by_hand(*data, dtype=torch.float64)
    assert_allclose(recorder_of(net).means_, expected, rtol=1e-9, atol=1e-14)


def test_amp(data):
    net = build(amp=True).fit(*data)
    means = recorder_of(net).means_
    assert_allclose(means, by_hand(*data, amp=True), rtol=0, atol=1e-6)
    assert not np.allclose(means, by_hand(*data), rtol=0, atol=1e-6)


def test_frozen_parameters_are_left_out(data):
    frozen = ["1.weight", "4.bias"]
    net = build(freeze=frozen).fit(*data)
    expected = by_hand(*data, frozen=frozen)
    assert_allclose(recorder_of(net).means_, expected, rtol=0, atol=1e-6)


def test_gradients_that_are_left_from_before_count_no_more(data):
    class FreezeAfter(Callback):
        """Freeze the first layer in the second epoch, its gradients left as is."""

        def on_epoch_end(self, net, **kwargs):
            net.module_[1].requires_grad_(False)

    class Keep(torch.optim.SGD):
        def zero_grad(self, set_to_none=False):
            super().zero_grad(set_to_none=False)
            for group in self.param_groups:
                for parameter in group["params"]:
                    if not parameter.requires_grad:
                        parameter.grad.fill_(7.0)

    net = build(optimizer=Keep, callbacks=[GradientRecorder(), FreezeAfter()])
    assert np.abs(recorder_of(net.fit(*data)).means_).max() < 7


def test_half_precision_is_averaged_in_single():
    recorder = GradientRecorder().initialize()
    parameter = nn.Parameter(torch.zeros(3, dtype=torch.float16))
    parameter.grad = torch.tensor([1e-7, 1e-7, 1.0], dtype=torch.float16)
    recorder.on_batch_begin(None, training=True)
    recorder.on_grad_computed(None, [("w", parameter)], training=True)
    expected = parameter.grad.double().mean().item()
    assert recorder.means_ == pytest.approx([expected], rel=1e-7)


def test_one_number_for_a_step_of_several_evaluations(data):
    class Twice(torch.optim.SGD):
        def step(self, closure):
            closure()
            return super().step(closure)

    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    once = build(module=linear).fit(*data)
    twice = build(optimizer=Twice, module=linear).fit(*data)
    assert recorder_of(twice).means_ == recorder_of(once).means_


@pytest.mark.parametrize("estimator", [ImageRegressor, ImageAutoencoder])
def test_other_estimators(data, estimator):
    X, y = data
    net = estimator(callbacks=[GradientRecorder(6)], max_epochs=2, early_stopping=True)
    means = recorder_of(net.fit(X, y.astype(np.float32))).means_
    assert len(means) == 6
    assert np.isfinite(means).all()


def test_plain_skorch(data):
    X, y = data
    net = skorch.NeuralNetClassifier(
        network(),
        criterion=nn.CrossEntropyLoss,
        lr=0.1,
        batch_size=BATCH,
        max_epochs=3,
        train_split=None,
        callbacks=[GradientRecorder(10)],
        verbose=0,
    )
    net.fit(X, y)
    expected = by_hand(X, y)[:10]
    assert_allclose(recorder_of(net).means_, expected, rtol=0, atol=1e-6)


# -------------------------------------------------------------------- more than one fit


def test_a_new_fit_begins_a_new_list(data):
    net = build(10).fit(*data)
    recorder, first = recorder_of(net), recorder_of(net).means_
    assert recorder_of(net.fit(*data)).means_ == first
    assert recorder.means_ == first
    assert not hasattr(net.callbacks[0], "means_")


@pytest.mark.parametrize("again", ["partial_fit", "warm_start"])
def test_training_that_goes_on(data, again):
    net = build(20, max_epochs=1, warm_start=again == "warm_start").fit(*data)
    assert len(recorder_of(net).means_) == 8
    for n_steps in (16, 20, 20):
        net.partial_fit(*data) if again == "partial_fit" else net.fit(*data)
        assert len(recorder_of(net).means_) == n_steps
    expected = by_hand(*data)[:20]
    assert_allclose(recorder_of(net).means_, expected, rtol=0, atol=1e-6)


class Interrupt(Callback):
    """Raise in a batch that is told from outside of parameters and code."""

    def on_batch_end(self, net, **kwargs):
        at = len(net.history), len(net.history[-1, "batches"])
        if os.environ.get("INTERRUPT_AT") == str(at):
            raise RuntimeError("interrupted")


@pytest.mark.parametrize("at", [(2, 1), (2, 5), (3, 8)])
def test_checkpoints(data, tmp_path, at, monkeypatch):
    callbacks = [GradientRecorder(22), Interrupt()]
    params = {"callbacks": callbacks, "random_state": 0}
    expected = recorder_of(build(**params).fit(*data)).means_
    assert len(expected) == 22
    monkeypatch.setenv("INTERRUPT_AT", str(at))
    with pytest.raises(RuntimeError, match="interrupted"):
        build(**params, checkpoint=tmp_path).fit(*data)
    monkeypatch.delenv("INTERRUPT_AT")
    resumed = build(**params, checkpoint=tmp_path).fit(*data)
    assert recorder_of(resumed).means_ == expected
    finished = build(**params, checkpoint=tmp_path).fit(*data)
    assert recorder_of(finished).means_ == expected


def test_divergence_leaves_what_led_to_it(data):
    net = build(lr=1e20)
    with pytest.raises(DivergedError):
        net.fit(*data)
    means = recorder_of(net).means_
    assert 1 < len(means) <= 8
    assert means[0] == pytest.approx(by_hand(*data)[0], abs=1e-6)


# --------------------------------------------------------------------------- as objects


def test_copies_and_pickles(data):
    net = build(5).fit(*data)
    means = recorder_of(net).means_
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert recorder_of(other).means_ == means
        other.set_params(max_epochs=1).partial_fit(*data)
    assert recorder_of(net).means_ == means
    assert clone(recorder_of(net)).get_params() == {"n_steps": 5}
    assert not hasattr(clone(recorder_of(net)), "means_")


def test_a_pickle_made_in_an_epoch_holds_numbers(data):
    class Pickles(Callback):
        def on_batch_end(self, net, **kwargs):
            recorder = recorder_of(net)
            assert len(recorder._pending_) == 1
            state = pickle.loads(pickle.dumps(recorder))
            assert state._pending_ == []
            assert len(state.means_) == len(net.history[-1, "batches"])
            assert b"torch" not in pickle.dumps(recorder)

    build(max_epochs=1, callbacks=[GradientRecorder(), Pickles()]).fit(*data)


def test_numbers_are_fetched_once_an_epoch(data, monkeypatch):
    fetched = []
    tolist = torch.Tensor.tolist

    def counting(tensor):
        fetched.append(len(tensor))
        return tolist(tensor)

    net = build(20)
    monkeypatch.setattr(torch.Tensor, "tolist", counting)
    net.fit(*data)
    assert fetched == [8, 8, 4]


def test_parameters_from_outside(data):
    net = build(callbacks=[("gradients", GradientRecorder)])
    net.set_params(callbacks__gradients__n_steps=3).fit(*data)
    assert len(dict(net.callbacks_)["gradients"].means_) == 3
