"""What criteria, callbacks, validations and autocast do to members of a stack."""

import pytest
import torch
from skorch.callbacks import EpochScoring
from skvision_tests import Calling, small
from torch import nn
from torch.nn import functional as F

from skvision import ImageClassifier
from skvision.estimators._run import TrainingRun
from skvision.model_selection import StackedGridSearchCV
from skvision.model_selection._proof import NotStackable, find_engine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ONE_BY_ONE = "Some fits are made one by one, since they cannot be stacked: "


@pytest.fixture
def fits(small_digits):
    """Function that returns two estimators, fitted by a stacked search or alone."""
    X, y = (part[:48] for part in small_digits)

    def run(net, stacked):
        made = []

        def note(net, X, y):
            made.append(net)
            return 0.0

        if stacked:
            options = {"cv": [(range(48), range(8))], "refit": False, "scoring": note}
            grid = {"lr": [0.03, 0.003]}
            StackedGridSearchCV(net, grid, calibrate=False, **options).fit(X, y)
            return made
        clones = [net.__sklearn_clone__().set_params(lr=lr) for lr in (0.03, 0.003)]
        return [clone.fit(X, y) for clone in clones]

    return run


def assert_same(fits, net, assert_same_fit):
    for one, other in zip(fits(net, True), fits(net, False), strict=True):
        assert_same_fit(one, other)


# ----------------------------------------------------------------------- criteria


class Counting(nn.CrossEntropyLoss):
    """All of its class count together."""

    n_calls = 0

    def forward(self, output, target):
        Counting.n_calls += 1
        return super().forward(output, target) / Counting.n_calls


class Penalised(nn.CrossEntropyLoss):
    def forward(self, output, target):
        return super().forward(output, target) + self.penalty()


class WithPenalty(ImageClassifier):
    def initialize_criterion(self):
        super().initialize_criterion()
        net = self

        def penalty():
            return sum(p.square().sum() for p in net.module_.parameters())

        self.criterion_.penalty = penalty
        return self


def test_criteria_that_have_to_do_with_others(fits, stack_sizes):
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "the criterion changes its cl"):
        fits(small(criterion=Counting, max_epochs=2), True)
    net = small(WithPenalty, criterion=Penalised, max_epochs=2)
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "the criterion uses weights"):
        fits(net, True)
    assert stack_sizes == [2, 2]  # Seen in the first epoch, and begun anew.


def hooked():
    criterion = nn.CrossEntropyLoss()
    # The mean of all rows is not to be that of other members' rows.
    criterion.register_forward_hook(lambda m, given, loss: loss * loss.detach().mean())
    return criterion


def patched():
    criterion = nn.CrossEntropyLoss()
    criterion.forward = lambda output, y: F.cross_entropy(output, y).square().mean()
    return criterion


@pytest.mark.parametrize("build", [hooked, patched])
def test_criteria_that_are_changed(build, fits, assert_same_fit, stack_sizes):
    assert_same(fits, small(criterion=build(), max_epochs=2), assert_same_fit)
    assert stack_sizes == [2, 2]


# ----------------------------------------------------------- scorers and validations


def clamping(net, X, y=None):
    for weight in net.module_.parameters():
        weight.data.clamp_(-0.05, 0.05)
    return 0.0


def slowing(net, X, y=None):
    net.optimizer_.param_groups[0]["lr"] /= 2
    return 0.0


def forgetting(net, X, y=None):
    for state in net.optimizer_.state.values():
        state["exp_avg"].zero_()
    return 0.0


def shortening(net, X, y=None):
    net.max_epochs = 1
    return 0.0


def freezing(net, X, y=None):
    next(net.module_.parameters()).requires_grad_(False)
    return 0.0


@pytest.mark.parametrize("scorer", [clamping, slowing, forgetting, shortening])
def test_scorers_that_change_what_is_trained(
    scorer, fits, assert_same_fit, stack_sizes
):
    callbacks = [EpochScoring(scorer, name="changing", on_train=True)]
    assert_same(fits, small(callbacks=callbacks, max_epochs=3), assert_same_fit)
    assert stack_sizes == [2, 2, 2]


def test_scorers_that_freeze(fits, assert_same_fit):
    net = small(callbacks=[EpochScoring(freezing, on_train=True)], max_epochs=2)
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "a callback freezes or unfr"):
        assert_same(fits, net, assert_same_fit)


class CountsAlways(nn.Module):
    """Its buffer changes in validation, too."""

    def __init__(self, n_outputs):
        super().__init__()
        self.linear = nn.Linear(64, n_outputs)
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, x):
        self.n_calls.add_(1)
        return self.linear(x.flatten(1)) / self.n_calls


def test_validations_that_change_buffers(fits, assert_same_fit, stack_sizes):
    options = {"dtype": "float64", "random_state": 0, "batch_size": 16}
    net = ImageClassifier(CountsAlways, early_stopping=True, max_epochs=3, **options)
    assert_same(fits, net, assert_same_fit)
    assert stack_sizes == [2, 2, 2]


# -------------------------------------------------------- what is around a search


def test_without_gradients_around_it(fits, assert_same_fit, stack_sizes):
    with torch.no_grad():
        assert_same(fits, small(), assert_same_fit)
    assert stack_sizes == [2, 2]


def by_number(m, x):
    return m.linear(x.flatten(1)) * (2 if torch.is_autocast_enabled("cpu") else 1)


def by_type(m, x):
    out = m.linear(x.flatten(1))
    return out.float().tanh() if out.dtype == torch.bfloat16 else out


@pytest.mark.parametrize("forward", [by_number, by_type])
def test_networks_that_go_by_autocast(forward, small_digits):
    def module(image_shape, n_outputs):
        return Calling(forward, linear=nn.Linear(64, 10))

    for amp in (False, True):
        net = ImageClassifier(module, amp=amp, random_state=0)
        members = [
            TrainingRun.of(net.__sklearn_clone__(), *small_digits) for _ in range(2)
        ]
        if amp:
            with pytest.raises(NotStackable, match="autocast"):
                find_engine(members)
        else:
            find_engine(members)
