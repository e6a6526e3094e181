"""Callbacks that networks can have which are trained together.

They are those that leave the network alone and hear of no steps, and some of skorch's,
of which it is known what they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from skorch.callbacks import (
    Callback,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    WarmRestartLR,
)
from torch.optim import lr_scheduler

from skvision._compat import n_changes
from skvision._identity import Unidentified
from skvision.estimators._run import TrainingRun
from skvision.model_selection._proof import NotStackable
from skvision.model_selection._purity import hooks_of, plain_values, state_of
from skvision.model_selection._structure import criterion_key, structure

#: Those that do nothing but record and end a training, and what a stack does by itself.
_KNOWN = (
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    GradientNormClipping,
    PassthroughScoring,
    PrintLog,
)
#: What callbacks hear between the steps of different networks.
_BETWEEN_EPOCHS = ("on_epoch_begin", "on_epoch_end", "on_train_end")


def reason_against_callbacks(callbacks: Any) -> str | None:
    """Return why networks with some callbacks cannot be trained together, if so.

    Parameters
    ----------
    callbacks : list
        As in an estimator's parameter, or pairs (name, callback).
    """
    given = (one[-1] if isinstance(one, tuple) else one for one in callbacks)
    return next(filter(None, map(_reason_against, given)), None)


def _reason_against(callback: Any) -> str | None:
    """Return why networks with a callback cannot be trained together, if so."""
    kind = callback if isinstance(callback, type) else type(callback)
    if kind in _KNOWN or callback is LRScheduler:
        return None
    if kind is LRScheduler:
        return _reason_against_schedule(callback)
    if not _hears_only_of_epochs(kind):
        return f"the callback {kind.__name__} may touch the network"
    for name, value in () if callback is kind else vars(callback).items():
        if not plain_values(value):
            return f"the callback {kind.__name__} may share {name} with others"
    try:
        _code_of(kind)
    except Unidentified as error:
        return f"what the callback {kind.__name__} does cannot be told: {error}"
    return None


def _reason_against_schedule(schedule: LRScheduler) -> str | None:
    """Return why a schedule may do more than follow numbers and its monitor."""
    policy = schedule.policy
    name = policy if isinstance(policy, str) else getattr(policy, "__name__", policy)
    of_torch = getattr(lr_scheduler, str(name), None)
    if not isinstance(policy, str) and policy not in (of_torch, WarmRestartLR):
        return f"the schedule {name} is none of torch's"
    if not isinstance(schedule.monitor, str):
        return f"the monitor of the schedule {name} may touch the network"
    for key, value in schedule.kwargs.items():
        if not plain_values(value):
            return f"{key} of the schedule {name} may do anything"
    return None


def _hears_only_of_epochs(kind: Any) -> bool:
    """Whether a class of callbacks has nothing to do where training begins or steps."""
    hooks = [name for name in vars(Callback) if name.startswith("on_")]
    return issubclass(kind, Callback) and not any(
        getattr(kind, name) is not getattr(Callback, name)
        for name in hooks
        if name not in _BETWEEN_EPOCHS
    )


def _is_users(callback: Any) -> bool:
    return type(callback) not in (*_KNOWN, LRScheduler)


def _code_of(kind: type) -> list[Any]:
    """Return the state of a class, and of all that its code refers to."""
    libraries = ("builtins", "skorch", "skvision", "sklearn")
    own = [k for k in kind.__mro__ if k.__module__.partition(".")[0] not in libraries]
    return [state_of(cls) for cls in own]


def schedules_of(member: TrainingRun) -> list[Any]:
    """Return the callbacks that change settings of a member's optimizer."""
    return [c for _, c in member.net.callbacks_ if isinstance(c, LRScheduler)]


def clippings_of(member: TrainingRun) -> list[tuple[float, float]]:
    """Return the largest norms of a member's gradients, and which norms are meant."""
    return [
        (float(c.gradient_clip_value), float(c.gradient_clip_norm_type))
        for _, c in member.net.callbacks_
        if isinstance(c, GradientNormClipping) and c.gradient_clip_value is not None
    ]


@contextmanager
def untouched(member: TrainingRun) -> Iterator[None]:
    """Let callbacks of a member hear of an epoch.

    Raises
    ------
    NotStackable
        If one of the user's does more than look.
    """
    # Of the others it is known what they do.
    if not any(_is_users(callback) for _, callback in member.net.callbacks_):
        yield
        return
    before = dict(_parts(member))
    yield
    now = dict(_parts(member))
    for name in sorted({*now, *before}):
        if now.get(name) != before.get(name):
            raise NotStackable(f"a callback changes {name}")


def _parts(member: TrainingRun) -> Iterator[tuple[str, Any]]:
    """Yield what callbacks might change, with what tells each from another."""
    net = member.net
    yield "the network", (id(net.module_), structure(member))
    yield "hooks of the network", hooks_of(net.module_)
    for name, weight in net.module_.named_parameters():
        yield f"the weight {name}", (id(weight), n_changes(weight))
    for name, layer in net.module_.named_modules():
        yield f"dropout of {name}", getattr(layer, "p", None)
    yield "the criterion", (id(net.criterion_), criterion_key(member))
    states = [
        (id(value), n_changes(value) if torch.is_tensor(value) else value)
        for state in net.optimizer_.state.values()
        for value in state.values()
    ]
    yield "the optimizer", (id(net.optimizer_), states)
    # What their code refers to would be shared with the other members.
    for name, callback in net.callbacks_:
        if _is_users(callback):
            yield f"what {name} refers to", _code_of(type(callback))
