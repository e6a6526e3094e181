"""What a pickle holds of an estimator, so that it loads where there is no GPU."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import sklearn
import torch
from sklearn.exceptions import InconsistentVersionWarning
from skorch.utils import to_device
from torch import nn

from skvision.persistence._state import OF_A_RUN, PARTS

_VERSION = "_sklearn_version"


def to_pickle(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an estimator's attributes as a pickle holds them, tensors on the CPU."""
    state = {k: v for k, v in attributes.items() if k not in OF_A_RUN}
    if state.get("device_", torch.device("cpu")).type != "cpu":
        state |= moved_parts(state, "cpu")
    return {**state, _VERSION: sklearn.__version__}


def from_pickle(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the attributes that `to_pickle` was given.

    Parameters
    ----------
    state : dict
    name : str
        The estimator's class, for the warning where scikit-learn was another one.
    """
    version = state.get(_VERSION)
    if version != sklearn.__version__:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=name,
                current_sklearn_version=sklearn.__version__,
                original_sklearn_version=version,
            ),
            stacklevel=3,
        )
    return {key: value for key, value in state.items() if key != _VERSION}


def moved_parts(attributes: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Return copies, on another device, of those attributes that hold tensors.

    They are copied together, so that the optimizer keeps pointing to the weights.
    """
    parts = copy.deepcopy({k: attributes[k] for k in PARTS if k in attributes})
    move_parts(parts.values(), device)
    return parts


def move_parts(parts: Iterable[Any], device: Any) -> None:
    """Move modules and the states of optimizers, in place."""
    for part in parts:
        if isinstance(part, nn.Module):
            part.to(device)
        elif isinstance(part, torch.optim.Optimizer):
            _move_optimizer(part, device)


def _move_optimizer(optimizer: torch.optim.Optimizer, device: Any) -> None:
    for group in optimizer.param_groups:
        # The count of steps stays on the CPU, but for fused optimizers.
        moves_all = str(device) == "cpu" or group.get("fused")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and (moves_all or value.ndim):
                    state[key] = to_device(value, device)
