"""Parameters that lie side by side change as each network's own would."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skvision import ImageClassifier
from skvision.estimators._run import TrainingRun
from skvision.model_selection._engines import joined_state
from skvision.model_selection._optimizers import StackOptimizers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Idle(nn.Module):
    """Has weights that take no part in its outputs."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))
        self.linear = nn.Linear(int(np.prod(image_shape)), n_outputs)

    def forward(self, x):
        return self.linear(x.flatten(1))


def test_weights_without_gradients_do_not_decay(
    small_digits, train_together, assert_same_fit
):
    X, y = small_digits
    settings = {"optimizer": "adamw", "optimizer__weight_decay": 0.5}
    net = ImageClassifier(
        Idle, dtype="float64", max_epochs=2, random_state=0, **settings
    )
    nets = [clone(net).set_params(lr=lr) for lr in (0.1, 0.01)]
    for found in train_together(nets, [(X, y)] * 2):
        assert (found.module_.idle == 1).all()
        assert_same_fit(found, clone(found).fit(X, y))


@pytest.fixture
def stack(small_digits):
    """Two members with different rates for weights and biases, and their weights."""
    groups = [("*bias", {"lr": 0.1})]
    net = ImageClassifier(
        "mlp", module__hidden=(4,), optimizer="sgd", random_state=0, lr=0.5
    )
    nets = [net, clone(net).set_params(optimizer__param_groups=groups)]
    members = [TrainingRun.of(net, *small_digits) for net in nets]
    return members, joined_state([member.net.module_ for member in members])[0]


def test_steps_go_by_each_members_groups(stack):
    members, params = stack
    before = {name: value.clone() for name, value in params.items()}
    optimizers = StackOptimizers(members, params, [*params])
    assert len(optimizers.blocks) == 2
    grads = {name: torch.ones_like(value) for name, value in params.items()}
    optimizers.step(grads, [1, 1])
    for name, value in params.items():
        rates = [0.5, 0.1 if name.endswith("bias") else 0.5]
        for i, rate in enumerate(rates):
            torch.testing.assert_close(value[i], before[name][i] - rate)


def test_members_without_a_batch_stay(stack):
    members, params = stack
    before = {name: value.clone() for name, value in params.items()}
    optimizers = StackOptimizers(members, params, [*params])
    grads = {name: torch.ones_like(value) for name, value in params.items()}
    optimizers.step(grads, [0, 1])
    for name, value in params.items():
        assert torch.equal(value[0], before[name][0])
        assert (value[1] != before[name][1]).all()


def test_gradients_that_come_and_go(stack):
    members, params = stack
    first, *others = params
    grads = {name: torch.ones_like(value) for name, value in params.items()}
    optimizers = StackOptimizers(members, params, others)
    with pytest.raises(ValueError, match="other parameters have gradients"):
        optimizers.step(grads, [1, 1])
    del grads[first], grads[others[0]]
    with pytest.raises(ValueError, match="other parameters have gradients"):
        optimizers.step(grads, [1, 1])
