"""Schedules of rates go on from where they are, whatever a training goes on from."""

import copy
import math
import pickle
from functools import partial

import numpy as np
import pytest
from skorch.callbacks import Checkpoint, Freezer, LoadInitState, LRScheduler
from skvision_tests import weights
from torch.optim import lr_scheduler as schedules

import skvision
from skvision import ImageClassifier


def one_after_the_other(optimizer, last_epoch=-1):
    parts = schedules.LinearLR(optimizer, 0.1, 1, 2), schedules.ExponentialLR
    parts = [parts[0], parts[1](optimizer, 0.5)]
    return schedules.SequentialLR(optimizer, parts, milestones=[2])


def two_at_once(optimizer, last_epoch=-1):
    parts = schedules.LinearLR(optimizer, 0.1, 1, 3), schedules.ExponentialLR
    return schedules.ChainedScheduler([parts[0], parts[1](optimizer, 0.5)])


#: Schedules of which each computes rates in a way of its own.
SCHEDULES = {
    "steps": partial(LRScheduler, "StepLR", step_size=1),
    "linear": partial(LRScheduler, schedules.LinearLR, total_iters=3),
    "milestones": partial(LRScheduler, "MultiStepLR", milestones=[2]),
    "function": partial(LRScheduler, "LambdaLR", lr_lambda=lambda n: 0.9**n),
    "cycles": partial(
        LRScheduler,
        "CyclicLR",
        base_lr=0.01,
        max_lr=0.1,
        step_size_up=3,
        cycle_momentum=False,
        step_every="batch",
    ),
    "one cycle": partial(
        LRScheduler,
        schedules.OneCycleLR,
        max_lr=0.5,
        total_steps=60,
        step_every="batch",
    ),
    "sequence": partial(LRScheduler, one_after_the_other),
    "chain": partial(LRScheduler, two_at_once),
}


def build(n, *callbacks, **params):
    return ImageClassifier(
        "mlp",
        module__hidden=(4,),
        batch_size=16,
        random_state=0,
        max_epochs=n,
        callbacks=list(callbacks),
        **{"lr": 0.1, "optimizer": "sgd"} | params,
    )


def rates(net, first=0):
    epochs = net.history[first:]
    if "event_lr" in epochs[0]:
        return [epoch["event_lr"] for epoch in epochs]
    return [batch["event_lr"] for epoch in epochs for batch in epoch["batches"]]


def saved(net, tmp_path):
    net.set_params(callbacks=None).save(tmp_path / "net.skv")
    return tmp_path / "net.skv"


@pytest.mark.parametrize("kind", SCHEDULES)
def test_rates_of_a_training_in_two_parts(kind, data, tmp_path):
    make = SCHEDULES[kind]
    files = Checkpoint(dirname=tmp_path, monitor=None)
    half = build(2, make(), files).fit(*data)
    copied = copy.deepcopy(half).set_params(warm_start=True)
    path = saved(half, tmp_path)
    once_more = tmp_path / "again.skv"
    skvision.load(path).save(once_more)
    whole = build(4, make()).fit(*data)
    for net in (
        skvision.load(path, callbacks=[make()]),
        skvision.load(once_more).set_params(callbacks=[make()]),
        build(2, LoadInitState(files), make()),
        build(2, make(), LoadInitState(files)),
    ):
        np.testing.assert_allclose(rates(net.partial_fit(*data)), rates(whole))
    np.testing.assert_allclose(rates(copied.fit(*data)), rates(whole))
    # Settings that change take effect from the step that is next.
    for change in ({"lr": 0.2}, {"optimizer": "adam"}):
        net = build(2, make()).fit(*data).set_params(**change).partial_fit(*data)
        expected = build(4, make(), **{"optimizer": "sgd"} | change).fit(*data)
        np.testing.assert_allclose(rates(net, 2), rates(expected, 2))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_what_is_added_begins_at_its_beginning(kind, data, tmp_path):
    make = SCHEDULES[kind]
    expected = rates(build(2, make()).fit(*data))
    net = build(2).fit(*data)
    path = saved(net, tmp_path)
    for other in (net, skvision.load(path)):
        other.set_params(callbacks=[make()]).partial_fit(*data)
        np.testing.assert_allclose(rates(other, 2), expected)
    # Also in the place of another one.
    net.set_params(callbacks=[LRScheduler("ExponentialLR", gamma=0.5)])
    net.partial_fit(*data).set_params(callbacks=[make()]).partial_fit(*data)
    np.testing.assert_allclose(rates(net, 6), expected)


def test_what_goes_by_losses_remembers_them(data):
    make = partial(
        LRScheduler, "ReduceLROnPlateau", monitor="train_loss", mode="max", patience=2
    )
    whole = build(6, make()).fit(*data)
    half = build(3, make()).fit(*data).partial_fit(*data)
    assert rates(half) == rates(whole)
    assert len({*rates(whole)}) > 1


@pytest.mark.parametrize("again", [False, True])
def test_what_a_callback_has_frozen_stays_so_in_files(again, data, tmp_path):
    net = build(2, Freezer("*0.weight", at=2)).fit(*data)
    if again:
        net.partial_fit(*data)
    loaded = skvision.load(saved(net, tmp_path))
    before = weights(loaded)["layers.0.weight"]
    for other in (net, loaded):
        other.partial_fit(*data)
        assert np.array_equal(weights(other)["layers.0.weight"], before)
    for name, value in weights(net).items():
        assert np.array_equal(value, weights(loaded)[name]), name


def test_two_schedules_go_on_beside_each_other(data):
    callbacks = [
        (name, LRScheduler("StepLR", step_size=n, event_name=name))
        for n, name in ((1, "one"), (2, "two"))
    ]
    whole = build(4, *callbacks).fit(*data)
    half = build(2, *callbacks).fit(*data)
    for again in (pickle.loads(pickle.dumps(half)), half):
        again.partial_fit(*data)
        for name in ("one", "two"):
            assert again.history[:, name] == whole.history[:, name]


def test_a_cycle_at_its_end_begins_again(data):
    n_steps = 2 * math.ceil(len(data[0]) / 16)
    schedule = LRScheduler(
        schedules.OneCycleLR,
        max_lr=0.1,
        total_steps=n_steps + 1,
        step_every="batch",
    )
    net = build(2, schedule).fit(*data)
    least = net.optimizer_.param_groups[0]["lr"]
    net.set_params(max_epochs=1).partial_fit(*data)
    assert net.optimizer_.param_groups[0]["lr"] > 100 * least
