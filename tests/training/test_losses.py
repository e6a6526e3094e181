"""Weighted losses, what a constant achieves, and what outputs tell."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from skvision.training._losses import (
    CRITERIA,
    OPTIMIZERS,
    constant_loss,
    output_kind,
    reduce_loss,
    resolve,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# ----------------------------------------------------------------- reduction


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 3)], ids=str)
def test_equal_weights_change_nothing(generator, shape, reduction):
    y_pred, y = torch.rand(2, *shape, generator=generator)
    losses = mse_loss(y_pred, y, reduction="none")
    loss = reduce_loss(losses, torch.ones(8), reduction)
    assert loss.shape == ()
    torch.testing.assert_close(loss, mse_loss(y_pred, y, reduction=reduction))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["cross-entropy", "mse"])
def test_weights_are_repeated_rows(generator, kind, reduction):
    weight = torch.tensor([2.0, 0, 1, 3, 0, 1, 0, 1])
    rows = torch.arange(8).repeat_interleave(weight.long())
    y_pred = torch.rand(8, 3, generator=generator, requires_grad=True)
    if kind == "mse":
        criterion, y = mse_loss, torch.rand(8, 3, generator=generator)
    else:
        criterion, y = cross_entropy, torch.arange(8) % 3
    assert weight.mean() == 1
    weighted = reduce_loss(criterion(y_pred, y, reduction="none"), weight, reduction)
    repeated = criterion(y_pred[rows], y[rows], reduction=reduction)
    torch.testing.assert_close(weighted, repeated)
    gradients = [torch.autograd.grad(loss, y_pred)[0] for loss in (weighted, repeated)]
    torch.testing.assert_close(*gradients)


def test_batches_estimate_the_loss_of_all_rows(generator):
    losses = torch.rand(12, generator=generator)
    weight = torch.rand(12, generator=generator)
    weight /= weight.mean()
    parts = [reduce_loss(losses[i::4], weight[i::4]) for i in range(4)]
    whole = torch.tensor(np.average(losses, weights=weight))
    torch.testing.assert_close(torch.stack(parts).mean().double(), whole.double())


def test_weights_take_the_type_of_the_losses():
    losses = torch.rand(4, dtype=torch.float64)
    assert reduce_loss(losses, torch.ones(4)).dtype == torch.float64


# ------------------------------------------------------------------ constants


def optimised_constant(criterion, y, weight, n_outputs):
    """Return the least weighted loss that a constant output reaches."""
    constant = torch.zeros(n_outputs, dtype=torch.float64, requires_grad=True)
    weight = torch.ones(len(y)) if weight is None else weight
    weight = weight.double() / weight.double().mean()
    optimizer = torch.optim.LBFGS(
        [constant],
        max_iter=300,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        y_pred = constant.expand(len(y), n_outputs)
        criterion.reduction = "none"
        loss = reduce_loss(criterion(y_pred, y), weight)
        criterion.reduction = "mean"
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "frequencies", [[0.5, 0.5], [0.7, 0.2, 0.1], [0.97, 0.02, 0.01]]
)
def test_constant_of_cross_entropy(generator, frequencies, smoothing, weighted):
    y = torch.multinomial(torch.tensor(frequencies), 200, True, generator=generator)
    y[: len(frequencies)] = torch.arange(len(frequencies))
    weight = torch.rand(200, generator=generator) if weighted else None
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
    expected = optimised_constant(criterion, y, weight, len(frequencies))
    assert constant_loss(criterion, y, weight) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_of_squared_error(generator, n_outputs, weighted, dtype):
    y = torch.rand(100, n_outputs, generator=generator, dtype=dtype) * 5 + 2
    weight = torch.rand(100, generator=generator) if weighted else None
    expected = optimised_constant(nn.MSELoss(), y.double(), weight, n_outputs)
    loss = constant_loss(nn.MSELoss(), y, weight)
    assert isinstance(loss, float)
    assert loss == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_constant_is_an_entropy(counts):
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    frequency = np.array(counts) / sum(counts)
    entropy = -(frequency * np.log(frequency)).sum()
    assert constant_loss(nn.CrossEntropyLoss(), y, None) == pytest.approx(entropy)
    weight = 1 / torch.tensor(counts)[y]
    balanced = constant_loss(nn.CrossEntropyLoss(), y, weight)
    assert balanced == pytest.approx(np.log(len(counts)), rel=1e-5)


def test_constant_of_absent_classes():
    # A class without rows costs nothing, and no logarithm of zero comes out.
    y = torch.tensor([0, 2, 2, 0])
    assert constant_loss(nn.CrossEntropyLoss(), y, None) == pytest.approx(np.log(2))
    assert constant_loss(nn.CrossEntropyLoss(), torch.zeros(4).long(), None) == 0


@pytest.mark.parametrize(
    "criterion",
    [
        nn.L1Loss(),
        nn.SmoothL1Loss(),
        nn.NLLLoss(),
        nn.CrossEntropyLoss(weight=torch.ones(3)),
        type("Own", (nn.CrossEntropyLoss,), {})(),
        type("Own", (nn.MSELoss,), {})(),
    ],
    ids=lambda criterion: type(criterion).__name__,
)
def test_constant_of_other_criteria_is_unknown(criterion):
    assert constant_loss(criterion, torch.tensor([0, 1, 2]), None) is None


# --------------------------------------------------------------- output kinds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [2, 3, 1000])
@pytest.mark.parametrize("scale", [0, 1e-3, 1, 50])
def test_outputs_with_and_without_softmax(generator, scale, width, dtype):
    logits = scale * torch.randn(4, width, generator=generator, dtype=dtype)
    assert output_kind(logits) == "logits"
    assert output_kind(logits.softmax(1)) == "Softmax"
    assert output_kind(logits.log_softmax(1)) == "LogSoftmax"
    assert output_kind(logits.requires_grad_().softmax(1)) == "Softmax"


@pytest.mark.parametrize(
    "y_pred",
    [
        torch.full((4, 1), 1.0),
        torch.zeros(4, 1),
        torch.full((4,), 0.25),
        torch.full((4, 2, 2), 0.25),
        torch.full((4, 3), 0.5),
        torch.tensor([[0.5, 0.5], [0.5, 0.6]]),
        torch.tensor([[1.5, -0.5], [0.5, 0.5]]),
        torch.tensor([[0.7, 0.7], [0.5, 0.5]]).sigmoid(),
        torch.full((4, 3), -1.0),
        torch.full((4, 3), float("nan")),
        torch.zeros(4, 5),
    ],
)
def test_logits(y_pred):
    assert output_kind(y_pred) == "logits"


# --------------------------------------------------------------------- names


def test_names():
    assert resolve("adam", OPTIMIZERS) is torch.optim.Adam
    assert resolve("l1", CRITERIA) is nn.L1Loss
    assert resolve(nn.MSELoss, CRITERIA) is nn.MSELoss
    assert set(CRITERIA) == {"cross_entropy", "mse", "l1", "smooth_l1"}
    assert set(OPTIMIZERS) == {"sgd", "adam", "adamw", "rmsprop"}
    for optimizer in OPTIMIZERS.values():
        optimizer([nn.Parameter(torch.zeros(1))], lr=0.1)
    for criterion in CRITERIA.values():
        assert isinstance(criterion(), nn.Module)
