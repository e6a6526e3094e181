"""Small images, and what it means that two fits are the same."""

import numpy as np
import pytest
import torch
from torch import nn

from skvision.datasets import load_digits_images
from skvision.estimators._run import TrainingRun
from skvision.model_selection._proof import find_engine
from skvision.model_selection._stack import Stack


@pytest.fixture(scope="session")
def small_digits():
    """120 digits of 8x8 pixels, 12 of each class, shuffled."""
    return load_digits_images(return_X_y=True, n_samples=120, random_state=0)


@pytest.fixture(scope="session")
def train_together():
    """Function that trains estimators as one network.

    It takes estimators and one (X, y) or (X, y, sample_weight) for each, and returns
    them, fitted.
    """

    def train(nets, data):
        members = [
            TrainingRun.of(net, *part) for net, part in zip(nets, data, strict=True)
        ]
        engine = find_engine(members)
        left = [member for member in members if member.n_left > 0]
        while left:
            assert Stack(left, engine).train_epoch() == {}
            left = [member for member in left if member.n_left > 0]
        return [member.finish() for member in members]

    return train


@pytest.fixture(scope="session")
def assert_same_fit():
    """Function that compares weights, what was recorded, and optimizers' states."""

    def check(net, expected, atol=1e-9):
        assert type(net) is type(expected)
        assert_close_states(net.module_, expected.module_, atol)
        assert net.module_.training == expected.module_.training
        assert recorded(net) == recorded(expected)
        losses, others = numbers(net), numbers(expected)
        np.testing.assert_allclose(losses, others, rtol=0, atol=max(atol, 1e-8))
        states, others = optimizer_states(net), optimizer_states(expected)
        assert states.keys() == others.keys()
        for key, value in states.items():
            assert value.shape == others[key].shape, key
            assert value.dtype == others[key].dtype, key

    return check


def assert_close_states(module, expected, atol):
    """Compare weights and buffers, but for biases that a normalisation takes away.

    Their gradients are nothing but rounding errors.
    """
    state, other = module.state_dict(), expected.state_dict()
    assert state.keys() == other.keys()
    biases = cancelled(module)
    # Where it is positive, ELU hands a bias on to a later normalisation, and what is
    # left of its gradient is small enough for Adam to raise rounding errors.
    linear = biases and any(isinstance(layer, nn.ELU) for layer in module.modules())
    for name in state.keys() - biases.keys():
        value, wanted = state[name], other[name]
        tolerance = atol
        if name in biases.values():
            tolerance = 1e-4  # The bias is in the mean.
        elif linear and name.endswith("bias"):
            tolerance = max(atol, 1e-6)
        torch.testing.assert_close(value, wanted, rtol=0, atol=tolerance, msg=name)


def cancelled(module):
    """Return {bias: mean that holds it} of layers before batch normalisation."""
    found, before = {}, ""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and before:
            found[f"{before}.bias"] = f"{name}.running_mean"
        if [*layer.parameters(recurse=False)]:
            before = name if getattr(layer, "bias", None) is not None else ""
    return found


def recorded(net):
    """Return the names in a history, and what is counted there."""
    return [
        (
            sorted(epoch),
            [sorted(batch) for batch in epoch["batches"]],
            [batch.get("train_batch_size") for batch in epoch["batches"]],
        )
        for epoch in net.history
    ]


def numbers(net):
    """Return all of a history that is measured, in one list."""
    found = []
    for epoch in net.history:
        rows = [epoch, *epoch["batches"]]
        found += [
            float(row[key])
            for row in rows
            for key in sorted(row)
            if key not in ("dur", "batches", "epoch")
        ]
    return found


def optimizer_states(net):
    optimizer = net.optimizer_
    names = {p: name for name, p in net.module_.named_parameters()}
    return {
        (names[parameter], key): torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if value is not None
    }


@pytest.fixture
def stack_sizes(monkeypatch):
    """Numbers of networks of all stacks that are trained during a test."""
    sizes = []
    train = Stack.train_epoch

    def noted(stack):
        sizes.append(len(stack.members))
        return train(stack)

    monkeypatch.setattr(Stack, "train_epoch", noted)
    return sizes


def nearly_equal(results, rank):
    scores = np.sort(results[rank.replace("rank_", "mean_")])
    return bool((np.abs(np.diff(scores)) < 1e-9).any())


@pytest.fixture(scope="session")
def assert_same_results():
    """Function that compares two dicts of scikit-learn, but for times."""

    def check(found, expected):
        assert found.keys() == expected.keys()
        for key, value in found.items():
            if key.endswith("_time"):
                assert np.isfinite(value).all()
                assert (np.asarray(value) >= 0).all()
            elif key.startswith("rank_") and nearly_equal(found, key):
                continue  # Rounding errors decide.
            elif isinstance(value, np.ndarray) and value.dtype.kind in "if":
                np.testing.assert_allclose(
                    value, expected[key], rtol=0, atol=1e-6, err_msg=key
                )
            elif key not in ("estimator", "indices"):
                assert str(value) == str(expected[key]), key

    return check
