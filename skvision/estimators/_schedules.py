"""Schedules of rates where a training goes on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from skorch.callbacks import LRScheduler
from skorch.callbacks import lr_scheduler as skorchs
from skorch.history import History
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skvision.estimators._parameters import nearest
from skvision.training._callbacks import policy_name

__all__ = [
    "begun_schedules",
    "check_policy",
    "schedules_going_on",
    "steps_of_schedules",
]


def check_policy(callback: Any) -> None:
    """Check that a schedule's kind is known, if it is given by name.

    Raises
    ------
    ValueError
        If skorch knows none of that name.
    """
    policy = getattr(callback, "policy", None)
    known = {k for k, v in vars(skorchs).items() if isinstance(v, type)}
    known &= lr_scheduler.__dict__.keys() | {"WarmRestartLR"}
    if not isinstance(callback, LRScheduler) or not isinstance(policy, str):
        return
    if policy not in known:
        there = f"torch.optim.lr_scheduler.{policy}"
        remedy = (
            f"Give the class {there}"
            if hasattr(lr_scheduler, policy)
            else "Give a class of torch.optim.lr_scheduler"
        )
        raise ValueError(
            f"callbacks: LRScheduler(policy={policy!r}): skorch knows no schedule of "
            f"that name{nearest(policy, known)}. {remedy}."
        )


def begun_schedules(net: Any) -> dict[str, Any]:
    """Return torch's schedules that have run, by the names of their callbacks."""
    found = {
        name: getattr(callback, "lr_scheduler_", None)
        for name, callback in net.callbacks_
        if isinstance(callback, LRScheduler)
    }
    return {name: schedule for name, schedule in found.items() if schedule is not None}


def steps_of_schedules(net: Any) -> dict[str, tuple[str, int]]:
    """Return kinds of schedules and how many steps they have taken, by their names."""
    own = {
        name: (policy_name(dict(net.callbacks_)[name]), _n_steps(schedule))
        for name, schedule in begun_schedules(net).items()
    }
    return net._schedule_steps | own


@contextlib.contextmanager
def schedules_going_on(net: Any) -> Iterator[None]:
    """Let schedules go on from where they are where a training that goes on begins.

    skorch makes them anew there, at the number of epochs even if they count batches,
    and torch's take the step that led to that epoch a second time. Here they stay as
    they are; where the rate that they begin at has become another, they take their
    steps once more from there. One that has not run yet is at its beginning, and so is
    a cycle that had come to its end.
    """
    going_on = _GoingOn(net)
    callbacks = [(k, c) for k, c in net.callbacks_ if isinstance(c, LRScheduler)]
    for name, callback in callbacks:
        # It asks when callbacks before it may have read weights and rates from files.
        vars(callback)["_get_scheduler"] = going_on.maker(name, callback)
    try:
        yield
        if net.history:
            for callback in going_on.too_early:
                callback.on_train_begin(net)
    finally:
        for _, callback in callbacks:
            del vars(callback)["_get_scheduler"]
    going_on.settle()
    vars(net).pop("_schedule_steps", None)  # They are the schedules' own now.


class _GoingOn:
    """The schedules of a training that goes on, made one after the other."""

    def __init__(self, net: Any) -> None:
        self.net = net
        self.begun = begun_schedules(net)
        #: Whether they are as they were; None until the first is asked for.
        self.stay: bool | None = None
        self.guessed = False
        #: Those that were made before another callback has read a history.
        self.too_early: list[Any] = []
        self.begin: dict[str, Callable[[], Any]] = {}

    def maker(self, name: str, callback: Any) -> Callable[..., Any]:
        """Return what makes the schedule of a callback."""
        make = callback._get_scheduler

        def schedule(net: Any, policy: Any, **kwargs: Any) -> Any:
            # skorch hands on whatever is an attribute.
            kwargs.pop("_get_scheduler", None)
            if not net.history:
                self.too_early.append(callback)
            if not net.history or "last_epoch" in kwargs:
                return make(net, policy, **kwargs)
            if self.stay is None:
                self.decide()
            if self.stay and name in self.begun:
                return self.begun[name]

            def begin() -> Any:
                history, net.history_ = net.history_, History()
                try:
                    return make(net, policy, **kwargs)
                finally:
                    net.history_ = history

            self.begin[name] = begin
            made = begin()
            for _ in range(self.n_steps(name, callback)):
                if _is_at_its_end(made):
                    return begin()
                made.step()
            return begin() if _is_at_its_end(made) else made

        return schedule

    def decide(self) -> None:
        """Decide whether schedules stay; if not, begin at the rates of the start."""
        optimizer = self.net.optimizer_
        self.settings = _settings(optimizer)
        rates = [group["lr"] for group in optimizer.param_groups]
        bases = [group.get("initial_lr") for group in optimizer.param_groups]
        begun = self.begun.values()
        led_here = any(getattr(s, "_last_lr", None) == rates for s in begun)
        self.stay = bool(begun) and all(
            schedule.optimizer is optimizer
            and (led_here or _bases(schedule) == bases)
            and not _is_at_its_end(schedule)
            for schedule in begun
        )
        # Steps that have been taken before are no sign of a wrong order.
        optimizer._opt_called = True
        if not self.stay:
            _to_the_start(optimizer)

    def n_steps(self, name: str, callback: Any) -> int:
        """Return how many steps a schedule has taken that is made again."""
        if name in self.begun:
            return 0 if _is_at_its_end(self.begun[name]) else _n_steps(self.begun[name])
        if self.begun or "initial_lr" not in self.settings[0]:
            return 0
        if callback.policy_ is ReduceLROnPlateau:
            return 0
        if name in self.net._schedule_steps:
            kind, n_steps = self.net._schedule_steps[name]
            return n_steps if kind == policy_name(callback) else 0
        self.guessed = True
        by_epoch = callback.step_every == "epoch"
        return len(self.net.history) if by_epoch else callback.batch_idx_

    def settle(self) -> None:
        """Take rates that came from a file as they are, if the schedules led there."""
        if not self.begin or self.begun or "initial_lr" not in self.settings[0]:
            return
        optimizer = self.net.optimizer_
        pairs = zip(optimizer.param_groups, self.settings, strict=True)
        if all(math.isclose(a["lr"], b["lr"], rel_tol=1e-6) for a, b in pairs):
            for group, before in zip(
                optimizer.param_groups, self.settings, strict=True
            ):
                group.update(before)
        elif self.guessed:
            # Others had led there.
            _to_the_start(optimizer)
            for name, callback in self.net.callbacks_:
                if name in self.begin:
                    callback.lr_scheduler_ = self.begin[name]()


def _settings(optimizer: Any) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups
    ]


def _to_the_start(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.get("initial_lr", group["lr"])


def _parts(schedule: Any) -> list[Any]:
    return getattr(schedule, "_schedulers", [])


def _n_steps(schedule: Any) -> int:
    if isinstance(schedule, ReduceLROnPlateau):
        return 0  # It goes by losses.
    if hasattr(schedule, "last_epoch"):
        return schedule.last_epoch
    return max(map(_n_steps, _parts(schedule)), default=0)


def _bases(schedule: Any) -> Any:
    """Return the rates that a schedule begins at."""
    if hasattr(schedule, "base_lrs"):
        return schedule.base_lrs
    return next(map(_bases, _parts(schedule)), None)


def _is_at_its_end(schedule: Any) -> bool:
    n_steps = getattr(schedule, "total_steps", None)
    return n_steps is not None and schedule.last_epoch + 1 >= n_steps
