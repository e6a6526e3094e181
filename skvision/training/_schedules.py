"""Schedules of rates where a training goes on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from skorch.callbacks import LRScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skvision._compat import note_step
from skvision.training._optimizers import group_settings


def policy_name(callback: Any) -> str:
    """Return the name of a schedule's kind, nothing of what is no schedule."""
    if not isinstance(callback, LRScheduler):
        return ""
    policy = callback.policy
    return policy if isinstance(policy, str) else getattr(policy, "__name__", "")


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
    return {
        name: (policy_name(dict(net.callbacks_)[name]), _n_steps(schedule))
        for name, schedule in begun_schedules(net).items()
    }


@contextlib.contextmanager
def schedules_going_on(
    net: Any, known: Mapping[str, tuple[str, int]]
) -> Iterator[None]:
    """Let schedules go on from where they are where a training that goes on begins.

    skorch makes them anew there, at the number of epochs even if they count batches,
    and torch's take the step that led to that epoch a second time. Here they stay as
    they are; where the rate that they begin at has become another, they take their
    steps once more from there. One that has not run yet is at its beginning, and so is
    a cycle that had come to its end.

    Parameters
    ----------
    net : estimator
    known : dict of (str, int)
        Kinds of schedules that are not there any more, such as those of a network that
        comes out of a file, and how many steps they had taken, by their names.
    """
    going_on = _GoingOn(net, known)
    callbacks = [(k, c) for k, c in net.callbacks_ if isinstance(c, LRScheduler)]
    policies = [callback.policy_ for _, callback in callbacks]
    for (name, callback), policy in zip(callbacks, policies, strict=True):
        # It is asked when callbacks before it may have read weights and rates.
        callback.policy_ = going_on.maker(name, callback, policy)
    try:
        yield
        if net.history:
            for callback in going_on.too_early:
                callback.on_train_begin(net)
    finally:
        for (_, callback), policy in zip(callbacks, policies, strict=True):
            callback.policy_ = policy
    going_on.settle()


class _GoingOn:
    """The schedules of a training that goes on, made one after the other."""

    def __init__(self, net: Any, known: Mapping[str, tuple[str, int]]) -> None:
        self.net, self.known = net, known
        self.begun = begun_schedules(net)
        #: Whether they are as they were; None until the first is asked for.
        self.stay: bool | None = None
        self.guessed = False
        #: Those that were made before another callback has read a history.
        self.too_early: list[Any] = []
        self.begin: dict[str, Callable[[], Any]] = {}

    def maker(self, name: str, callback: Any, policy: Any) -> Callable[..., Any]:
        """Return what makes the schedule of a callback, in the place of its policy."""
        begins_itself = "last_epoch" in callback.kwargs

        def schedule(optimizer: Any, last_epoch: int = -1, **kwargs: Any) -> Any:
            history = self.net.history
            if not history:
                self.too_early.append(callback)

            def begin(last_epoch: int = -1) -> Any:
                if policy is ReduceLROnPlateau and not begins_itself:
                    return policy(optimizer, **kwargs)
                return policy(optimizer, last_epoch=last_epoch, **kwargs)

            if not history or begins_itself:
                return begin(last_epoch)
            if self.stay is None:
                self.decide()
            if self.stay and name in self.begun:
                return self.begun[name]
            self.begin[name] = begin
            made = begin()
            for _ in range(self.n_steps(name, callback, policy)):
                if _is_at_its_end(made):
                    return begin()
                made.step()
            return begin() if _is_at_its_end(made) else made

        return schedule

    def decide(self) -> None:
        """Decide whether schedules stay; if not, begin at the rates of the start."""
        optimizer = self.net.optimizer_
        self.settings = group_settings(optimizer)
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
        note_step(optimizer)
        if not self.stay:
            _to_the_start(optimizer)

    def n_steps(self, name: str, callback: Any, policy: Any) -> int:
        """Return how many steps a schedule has taken that is made again."""
        if name in self.begun:
            return 0 if _is_at_its_end(self.begun[name]) else _n_steps(self.begun[name])
        if self.begun or "initial_lr" not in self.settings[0]:
            return 0
        if policy is ReduceLROnPlateau:
            return 0
        if name in self.known:
            kind, n_steps = self.known[name]
            return n_steps if kind == policy_name(callback) else 0
        self.guessed = True
        by_epoch = callback.step_every == "epoch"
        return len(self.net.history) if by_epoch else callback.batch_idx_

    def settle(self) -> None:
        """Take rates that came from a file as they are, if the schedules led there."""
        if not self.begin or self.begun or "initial_lr" not in self.settings[0]:
            return
        optimizer = self.net.optimizer_
        pairs = [*zip(optimizer.param_groups, self.settings, strict=True)]
        if all(math.isclose(a["lr"], b["lr"], rel_tol=1e-6) for a, b in pairs):
            for group, before in pairs:
                group.update(before)
        elif self.guessed:
            # Others had led there.
            _to_the_start(optimizer)
            for name, callback in self.net.callbacks_:
                if name in self.begin:
                    callback.lr_scheduler_ = self.begin[name]()


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
