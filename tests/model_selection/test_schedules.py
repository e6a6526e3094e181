"""Schedules, clipping, and callbacks that read the history, in stacks."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skvision_tests import small
from torch.optim import lr_scheduler

from skvision.model_selection import StackedGridSearchCV
from skvision.model_selection._plan import reason_not_stackable

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Of stacks that are none, and of schedules that miss an optimizer's steps.
    pytest.mark.filterwarnings("error:Some fits are made one by one"),
    pytest.mark.filterwarnings("error:Detected call of"),
    pytest.mark.filterwarnings("error:Seems like"),
]
RATES = {"lr": [0.03, 0.003]}


class SeenLosses(Callback):
    """Reads the history, and remembers what it saw."""

    def initialize(self):
        self.seen = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(net.history[-1, "train_loss"])
        if len(self.seen) == 3:
            raise KeyboardInterrupt


class Doubled(Callback):
    """Writes into the history."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("twice", 2 * net.history[-1, "train_loss"])


def schedule(policy, step_every="epoch", **params):
    return LRScheduler(policy=policy, step_every=step_every, **params)


SGD = {"optimizer": "sgd", "optimizer__momentum": 0.9}
HELD_OUT = {"early_stopping": True, "n_iter_no_change": 9, "validation_fraction": 0.3}
#: Names of cases; callbacks; other parameters.
CASES = {
    "one-cycle": (
        [schedule(lr_scheduler.OneCycleLR, "batch", max_lr=0.1, total_steps=30)],
        {},
    ),
    "one-cycle of SGD": (
        [schedule(lr_scheduler.OneCycleLR, "batch", max_lr=0.1, total_steps=30)],
        SGD,
    ),
    "cyclic": (
        [schedule("CyclicLR", "batch", base_lr=0.001, max_lr=0.1, step_size_up=3)],
        SGD,
    ),
    "cosine": ([schedule("CosineAnnealingLR", T_max=3)], {"optimizer": "adamw"}),
    "step": ([schedule("StepLR", "batch", step_size=2, gamma=0.5)], {}),
    "exponential": ([schedule("ExponentialLR", gamma=0.5)], SGD),
    "milestones": ([schedule("MultiStepLR", milestones=[1, 2])], {}),
    "warm restarts": (
        [schedule(lr_scheduler.CosineAnnealingWarmRestarts, "batch", T_0=2)],
        {"optimizer": torch.optim.RAdam},
    ),
    "skorch's own": ([("own", LRScheduler)], SGD),
    "plateau by validation": (
        [schedule("ReduceLROnPlateau", monitor="valid_loss", patience=0, threshold=9)],
        HELD_OUT,
    ),
    "plateau by training": (
        [schedule("ReduceLROnPlateau", monitor="train_loss", patience=0)],
        {"lr": 1.0},
    ),
    "plateau of steps": (
        [schedule("ReduceLROnPlateau", "batch", monitor="train_loss", patience=0)],
        SGD,
    ),
    "two": (
        [
            schedule(lr_scheduler.LinearLR, "batch", total_iters=6, event_name="warm"),
            schedule("StepLR", step_size=1),
        ],
        {"epoch_scoring": ["accuracy"]},
    ),
    "clipped": ([GradientNormClipping(0.05)], SGD),
    "clipped twice": (
        [GradientNormClipping(0.3, "inf"), ("b", GradientNormClipping(0.4, 1))],
        SGD,
    ),
    "not clipped": ([GradientNormClipping], {}),
    "clipped and scheduled": (
        [GradientNormClipping(0.05), schedule("ExponentialLR", "batch", gamma=0.9)],
        {"module__dropout": 0.2, "class_weight": "balanced"},
    ),
    "stopped": (
        [EarlyStopping(monitor="train_loss", patience=1, threshold=0.3)],
        {"max_epochs": 6},
    ),
    "the best": (
        [EarlyStopping(patience=2, load_best=True), EpochScoring("accuracy")],
        {"lr": 0.3, "max_epochs": 6, "train_split": None} | HELD_OUT,
    ),
    "readers": ([SeenLosses, Doubled()], {"max_epochs": 5}),
}


@pytest.mark.parametrize("case", CASES)
def test_same_fits(case, small_digits, train_together, assert_same_fit):
    callbacks, params = CASES[case]
    net = small(callbacks=callbacks, **{"max_epochs": 3} | params)
    X, y = (part[:96] for part in small_digits)
    # Two that begin alike and two that do not, of other numbers of rows.
    rates = [net.lr, net.lr, net.lr / 10, net.lr]
    nets = [clone(net).set_params(lr=lr, random_state=i) for i, lr in enumerate(rates)]
    data = [(X, y), (X, y), (X, y), (X[:80], y[:80])]
    assert reason_not_stackable(net, {}) is None
    together = train_together([clone(one) for one in nets], data)
    for one, fitted, rows in zip(nets, together, data, strict=True):
        expected = one.fit(*rows)
        assert_same_fit(fitted, expected)
        groups, others = (f.optimizer_.param_groups for f in (fitted, expected))
        for group, other in zip(groups, others, strict=True):
            names = group.keys() - {"params"}
            assert names == other.keys() - {"params"}
            assert all(
                np.allclose(group[name], other[name], rtol=0, atol=1e-12)
                for name in names
                if isinstance(other[name], (float, tuple))
            )


def test_plateaus_part(small_digits, train_together):
    """Members whose settings were the same have others later."""
    callbacks, params = CASES["plateau by training"]
    nets = [
        small(callbacks=callbacks, max_epochs=6, random_state=i, **params)
        for i in range(4)
    ]
    together = train_together(nets, [small_digits] * 4)
    assert len({tuple(net.history[:, "event_lr"]) for net in together}) > 1


@pytest.mark.parametrize("case", ["one-cycle", "plateau by validation", "clipped"])
def test_same_searches(case, small_digits, assert_same_results, stack_sizes):
    callbacks, params = CASES[case]
    net = small(callbacks=callbacks, **{"max_epochs": 3} | params)
    X, y = (part[:96] for part in small_digits)
    options = {"cv": 3, "scoring": "neg_log_loss", "refit": False}
    stacked = StackedGridSearchCV(net, RATES, calibrate=False, **options).fit(X, y)
    ordinary = GridSearchCV(net, RATES, **options).fit(X, y)
    assert_same_results(stacked.cv_results_, ordinary.cv_results_)
    scores = (search.cv_results_["mean_test_score"] for search in (stacked, ordinary))
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-9)
    assert set(stack_sizes) == {6}


def test_settings_of_schedules_are_searched(
    small_digits, assert_same_results, stack_sizes
):
    net = small(callbacks=[("rates", schedule("ExponentialLR", gamma=0.5))])
    grid = {"callbacks__rates__gamma": [0.9, 0.1]}
    options = {"cv": 3, "scoring": "neg_log_loss", "refit": False}
    stacked = StackedGridSearchCV(net, grid, calibrate=False, **options)
    stacked.fit(*small_digits)
    ordinary = GridSearchCV(net, grid, **options).fit(*small_digits)
    assert_same_results(stacked.cv_results_, ordinary.cv_results_)
    assert set(stack_sizes) == {6}


# --------------------------------------------------------------- what is not stacked


class OwnSchedule(lr_scheduler.ExponentialLR):
    pass


class Doubling(Callback):
    """Changes the network between epochs."""

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            for weight in net.module_.parameters():
                weight.mul_(2)


class Freezing(Callback):
    def on_epoch_begin(self, net, **kwargs):
        for name, weight in net.module_.named_parameters():
            weight.requires_grad_("bias" not in name or len(net.history) < 2)


class Hooking(Callback):
    def on_epoch_begin(self, net, **kwargs):
        net.module_.register_forward_hook(halved)


def halved(module, given, outputs):
    return outputs / 2


class Counting(Callback):
    """Stops by what it has in common with others."""

    n_epochs = [0]

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs[0] += 1


class OfBatches(Callback):
    def on_batch_end(self, net, **kwargs):
        pass


def per_epoch(n_epochs):
    return 0.5


REASONS = {
    "the schedule OwnSchedule": schedule(OwnSchedule, gamma=0.5),
    "lr_lambda of the schedule LambdaLR": schedule("LambdaLR", lr_lambda=per_epoch),
    "the monitor of the schedule": schedule("ReduceLROnPlateau", monitor=len),
    "the callback Own": type("Own", (LRScheduler,), {})("StepLR", step_size=1),
    "the callback OfBatches may touch": OfBatches(),
    "the callback Clip": type("Clip", (GradientNormClipping,), {}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_refused(reason):
    assert reason_not_stackable(small(callbacks=[REASONS[reason]]), {}).startswith(
        reason
    )


def test_refused_where_a_parameter_sets_it(small_digits, stack_sizes):
    net = small(callbacks=[("rates", schedule("ExponentialLR", gamma=0.5))])
    net.set_params(callbacks__rates__policy=OwnSchedule)
    search = StackedGridSearchCV(net, RATES, cv=2, refit=False, calibrate=False)
    with pytest.warns(UserWarning, match="OwnSchedule is none of torch's"):
        search.fit(*small_digits)
    assert stack_sizes == []


@pytest.mark.parametrize(
    ("callback", "changed"),
    [
        (Doubling, "the weight"),
        (Freezing, "the network|freezes"),
        (Hooking, "hooks"),
        (Counting, "refers to"),
    ],
)
def test_whoever_changes_more_is_fitted_alone(
    callback, changed, small_digits, assert_same_results
):
    net = small(callbacks=[callback], max_epochs=3)
    options = {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    with pytest.warns(UserWarning, match=f"one by one.*({changed})"):
        stacked = StackedGridSearchCV(net, RATES, calibrate=False, **options).fit(
            *small_digits
        )
    ordinary = GridSearchCV(net, RATES, **options).fit(*small_digits)
    assert_same_results(stacked.cv_results_, ordinary.cv_results_)
