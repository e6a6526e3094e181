"""Settings of optimizers that change in the course of a training."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch


def group_setting(name: str) -> tuple[int | None, str] | None:
    """Return (group, setting) that a parameter is for, None if it is for no group.

    Parameters
    ----------
    name : str
        "lr" or "optimizer__setting" for all groups, whose number is None then, or
        "optimizer__param_groups__number__setting".
    """
    if name == "lr":
        return None, "lr"
    found = re.fullmatch(r"optimizer__(?:param_groups__(\d+)__)?(\w+)", name)
    if found is None or "__" in found[2] or found[2] in ("params", "param_groups"):
        return None
    return None if found[1] is None else int(found[1]), found[2]


def group_settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each group, without its weights."""
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def set_groups(
    optimizer: torch.optim.Optimizer, place: int | None, setting: str, value: Any
) -> bool:
    """Change a setting of one group or, where `place` is None, of all.

    Returns
    -------
    known : bool
        Whether the groups have such a setting; they are left as they are if not.
    """
    groups = optimizer.param_groups
    groups = groups if place is None else groups[place : place + 1]
    if not groups or not all(setting in group for group in groups):
        return False
    for group in groups:
        group[setting] = value
        if setting == "lr":
            if place is None:
                group["lr"] = value * group.get("lr_mult", 1)
            if "initial_lr" in group:
                group["initial_lr"] = group["lr"]  # Where schedules begin.
    forget_unfit_state(optimizer)
    return True


def forget_unfit_state(optimizer: torch.optim.Optimizer) -> None:
    """Begin an optimizer's state anew if its settings need what it does not have."""
    for group in optimizer.param_groups:
        states = [
            (p, optimizer.state[p]) for p in group["params"] if p in optimizer.state
        ]
        if missing_state(optimizer, group, states):
            optimizer.state.clear()
            return


def separate_first_steps(optimizer: torch.optim.Optimizer) -> None:
    """Let weights that join in later take their first step as if they were alone.

    torch's fused SGD takes first steps for all weights of a group or for none, and
    fails where some have been trained and others, such as unfrozen ones, have not.
    """
    if type(optimizer) is not torch.optim.SGD:
        return
    for group in optimizer.param_groups:
        if group["momentum"] and group.get("fused"):
            known: Mapping[Any, Any] = optimizer.state
            states = [known.get(p, {}) for p in group["params"] if p.requires_grad]
            begun = {state.get("momentum_buffer") is not None for state in states}
            if len(begun) == 2:
                group["fused"] = False


def missing_state(
    optimizer: torch.optim.Optimizer,
    group: Mapping[str, Any],
    states: Iterable[tuple[torch.Tensor, Mapping[str, Any]]],
) -> str | None:
    """Return a name that an optimizer's next step would look for in vain.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    group : dict
        The settings of a group.
    states : iterable of (Tensor, dict)
        Weights, and what is remembered of each; nothing is that of a new one.
    """
    trials: dict[int, dict[str, Any]] = {}
    for weight, state in states:
        if weight.ndim not in trials:
            trials[weight.ndim] = _state_after_a_step(optimizer, group, weight)
        for name, value in trials[weight.ndim].items() if state else ():
            tensor = isinstance(value, torch.Tensor)
            if name not in state or (tensor and not torch.is_tensor(state[name])):
                return name
    return None


def _state_after_a_step(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], like: torch.Tensor
) -> dict[str, Any]:
    """Return what an optimizer remembers of a weight of as many dimensions."""
    weight = torch.zeros([1] * like.ndim, dtype=like.dtype, device=like.device)
    weight.requires_grad_(True).grad = torch.zeros_like(weight)
    try:
        trial = copy.copy(optimizer)
        trial.state = defaultdict(dict)
        trial.param_groups = [{**group, "params": [weight]}]
        trial.step()
        return dict(trial.state[weight])
    except Exception:
        # One that wants a closure, or weights of other shapes: it is not known.
        return {}
