"""What a checkpoint holds and may set: numbers that a training has reached."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from skorch.callbacks import (
    EpochScoring,
    EpochTimer,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
)
from torch import nn

from skvision.exceptions import FormatError
from skvision.networks._transfer import trained_names
from skvision.networks._weights import check_weights
from skvision.persistence._state import (
    PARTS,
    check_history,
    check_optimizer,
    check_trained,
)
from skvision.persistence._tree import encode, shown

_KEYS = {
    *("seed", "stopped", "n_steps", "epoch_began", "history", "untrained_loss"),
    *("random", "callbacks", "lost"),
}
#: Callbacks that never end a training.
_NEVER_STOP = (EpochScoring, EpochTimer, LRScheduler, PassthroughScoring, PrintLog)


class NotRestorable(ValueError):
    """A callback cannot be given what a checkpoint holds of it."""


def check_state(state: Any) -> None:
    """Check what a checkpoint holds beside weights.

    Raises
    ------
    FormatError
        If a part is missing, or is not what a training writes.
    """
    if not isinstance(state, dict) or (missing := _KEYS - state.keys()):
        what = f"{sorted(missing)} are missing" if isinstance(state, dict) else "empty"
        raise FormatError(f"it is incomplete ({what})")
    history = state["history"]
    if not isinstance(history, list):
        raise FormatError("its history is not one")
    check_history(history)
    loss, callbacks = state["untrained_loss"], state["callbacks"]
    wrong = {
        "seed": type(state["seed"]) is not int or not 0 <= state["seed"] < 2**32,
        "stopped": not isinstance(state["stopped"], bool),
        "n_steps": type(state["n_steps"]) is not int or state["n_steps"] < 0,
        "untrained_loss": loss is not None
        and not (isinstance(loss, float) and math.isfinite(loss)),
        "callbacks": not isinstance(callbacks, dict)
        or not all(isinstance(value, dict) for value in callbacks.values()),
        "lost": not isinstance(state["lost"], dict),
        "history": not history,  # It is written at the end of an epoch, or within.
    }
    if names := [name for name, is_wrong in wrong.items() if is_wrong]:
        raise FormatError(f"it has {names[0]}={shown(state[names[0]])}")
    _check_random(state["random"])
    if state["n_steps"]:
        _check_random(state["epoch_began"])


def _check_random(states: Any) -> None:
    """Check the states of generators by giving them to generators of no use."""
    try:
        own, others, *_ = states
        torch.Generator().set_state(own)
        torch.Generator().set_state(others["torch"])
        version, numbers, gauss = others["python"]
        random.Random().setstate((version, tuple(numbers), gauss))
        kind, keys, *rest = others["numpy"]
        np.random.RandomState().set_state((kind, keys, *rest))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise FormatError(f"its random numbers have no such state: {error}") from error


def check_parts(net: Any, state: Mapping[str, Any]) -> None:
    """Check the weights of a checkpoint against a network that is new.

    Raises
    ------
    FormatError
        If they are of another network, not finite, or all zero; or if the training is
        said to have been stopped where nothing could stop it.
    """
    for attribute in PARTS:
        part, name = getattr(net, attribute), attribute.removesuffix("_")
        if attribute == "optimizer_":
            _check_optimizer(part, state.get(name))
        elif hasattr(part, "state_dict") and (fresh := part.state_dict()):
            _check_weights(name, state.get(name), fresh)
    weights = state["module"]
    if not any(weights[name].any() for name in trained_names(net.module_)) and any(
        bool(p.any()) for p in net.module_.parameters() if p.requires_grad
    ):
        raise FormatError("all of its weights are zero")
    check_trained(net.module_, state.get("trained", []))
    may_stop = any(type(c) not in _NEVER_STOP for _, c in net.callbacks_)
    if state["stopped"] and not may_stop:
        raise FormatError("it says that a callback has ended the training; none does")


def _check_weights(name: str, found: Any, fresh: Mapping[str, Any]) -> None:
    """Raise an error if a checkpoint's weights are not such as fresh ones."""
    if not isinstance(found, dict) or found.keys() != fresh.keys():
        raise FormatError(f"its {name} is another one")
    for key, value in fresh.items():
        other = found[key]
        if not isinstance(value, torch.Tensor):
            continue  # Of a module that holds more than tensors, and checks it.
        if not isinstance(other, torch.Tensor) or (other.shape, other.dtype) != (
            value.shape,
            value.dtype,
        ):
            raise FormatError(f"its {name} has another {key!r}")
        check_weights({key: other}, fresh, f"its {name}")


def _check_optimizer(optimizer: torch.optim.Optimizer, found: Any) -> None:
    try:
        check_optimizer(optimizer, found)
    except FormatError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise FormatError(f"its optimizer has no state: {error!r}") from error


def restored(
    callbacks: list[tuple[str, Any]], state: Mapping[str, Any]
) -> list[tuple[Any, str, Any]]:
    """Return callbacks, names of attributes, and what these are to become.

    Parameters
    ----------
    callbacks : list of (str, Callback)
        As they are when a training begins. What they do not have then, or of another
        kind, is not set; nor are texts, which might be paths.
    state : dict
        Of a checkpoint.

    Raises
    ------
    NotRestorable
        If a callback had other attributes when the checkpoint was written.
    """
    found, lost, changes = state["callbacks"], state["lost"], []
    if strangers := found.keys() - dict(callbacks).keys():
        raise NotRestorable(f"there is no callback {min(strangers)!r}")
    for name, callback in callbacks:
        values = found.get(name, {})
        kind = type(callback).__name__
        own = {k: v for k, v in vars(callback).items() if is_fitted(k, v)}
        # What is no fitted attribute by its name, and yet changes in a training.
        own |= {k: vars(callback)[k] for k in values if k in vars(callback)}
        if unknown := values.keys() - own.keys():
            raise NotRestorable(
                f"the callback {kind} has no attribute {min(unknown)} when a training "
                "begins; set it in initialize() or on_train_begin()"
            )
        for key, fresh in own.items():
            if key in values:
                try:
                    changes.append((callback, key, _like(fresh, values[key])))
                except NotRestorable:
                    raise NotRestorable(
                        f"the callback {kind} begins with {key}={shown(fresh)}, and "
                        f"the checkpoint has {shown(values[key])}"
                    ) from None
            elif key not in lost.get(name, ()) and key not in TRANSIENT:
                raise NotRestorable(f"it has no {key} of the callback {kind}")
    return changes


#: Filled during an epoch and emptied when the next one begins.
TRANSIENT = ("y_trues_", "y_preds_")


def is_fitted(key: str, value: Any) -> bool:
    """Whether an attribute of a callback is what a training has made of it."""
    return key.endswith("_") and not key.endswith("__") and not callable(value)


def _like(fresh: Any, value: Any) -> Any:
    """Return a value if it is of the kind of what is there when a training begins."""
    if hasattr(fresh, "load_state_dict"):
        fresh = fresh.state_dict()
        if not isinstance(value, Mapping) or value.keys() != fresh.keys():
            raise NotRestorable
        return {key: _like(fresh[key], value[key]) for key in fresh}
    if fresh is None:
        return _plain(value)
    if isinstance(fresh, (bool, np.bool_)):
        return _of(value, bool)
    if isinstance(fresh, Real):
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            return value  # As optimizers that are captured keep their rates.
        return _of(value, Real, but=bool)
    if isinstance(fresh, (torch.Tensor, np.ndarray)):
        value = _of(value, type(fresh) if fresh is not nn.Parameter else torch.Tensor)
        if value.dtype != fresh.dtype:
            raise NotRestorable
        return value
    if isinstance(fresh, Mapping):
        return type(fresh)(_plain(_of(value, Mapping)))  # type: ignore[call-arg]
    if isinstance(fresh, (list, tuple, set)):
        if type(value) is type(fresh) and value == fresh:
            return value
        return type(fresh)(_plain(_of(value, (list, tuple, set))))
    if type(value) is type(fresh) and value == fresh:
        return value
    raise NotRestorable


def _of(value: Any, kinds: Any, but: Any = ()) -> Any:
    if not isinstance(value, kinds) or isinstance(value, but):
        raise NotRestorable
    return value


def _plain(value: Any) -> Any:
    """Return numbers, tensors, and containers of them; texts only as keys."""
    if value is None or isinstance(value, (Real, torch.Tensor, np.ndarray)):
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf":
            raise NotRestorable
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(map(_plain, value))
    raise NotRestorable


def storable(value: Any) -> bool:
    """Whether a checkpoint can hold a value."""
    try:
        encode(value, {})
    except TypeError:
        return False
    return True


def callback_states(callbacks: Any, *, within: bool = False) -> dict[str, Any]:
    """Return the fitted attributes of named callbacks as plain data."""
    states = {}
    for name, callback in callbacks:
        fitted = _fitted(callback)
        if not within:
            fitted = {k: v for k, v in fitted.items() if k not in TRANSIENT}
        states[name] = {k: v for k, v in fitted.items() if storable(v)}
    return states


def unstorable(callback: Any) -> list[str]:
    """Return the names of a callback's attributes that plain data cannot hold."""
    return [k for k, v in _fitted(callback).items() if not storable(v)]


def set_callback_value(callback: Any, key: str, value: Any) -> None:
    """Give a callback an attribute, or a part of it its state."""
    own: Any = getattr(callback, key, None)
    if hasattr(own, "load_state_dict"):
        own.load_state_dict(value)
    else:
        if type(own) is list and not key.endswith("_"):
            own[:] = value  # Its owner may hold it, too.
        else:
            setattr(callback, key, value)


def _fitted(callback: Any) -> dict[str, Any]:
    """Return the fitted attributes of a callback, what has a state of its own by it."""
    return {
        key: value.state_dict() if hasattr(value, "state_dict") else value
        for key, value in vars(callback).items()
        if is_fitted(key, value)
    }
