"""Settings of optimizers that change in the course of a training."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from typing import Any

import torch

__all__ = ["forget_unfit_state", "group_setting", "set_groups"]


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
    states = [state for state in optimizer.state.values() if state]
    if states:
        needed = _state_names(optimizer)
        if not all(needed <= state.keys() for state in states):
            optimizer.state.clear()


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """Return what an optimizer remembers of a weight after a step."""
    parameter = next(p for group in optimizer.param_groups for p in group["params"])
    weight = torch.zeros_like(parameter.detach().flatten()[:1], requires_grad=True)
    weight.grad = torch.zeros_like(weight)
    try:
        trial = copy.copy(optimizer)
        trial.state = defaultdict(dict)
        trial.param_groups = [optimizer.param_groups[0] | {"params": [weight]}]
        trial.step()
        return set(trial.state[weight])
    except Exception:
        # One that wants a closure, or weights of other shapes: it is not known.
        return set()
