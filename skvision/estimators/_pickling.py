"""Pickles that load where there is no GPU."""

from __future__ import annotations

import copy
import warnings

import sklearn
import torch
from sklearn.exceptions import InconsistentVersionWarning
from skorch.utils import to_device
from torch import nn

from skvision.estimators._build import resolve_device

__all__ = ["PicklingMixin"]


class PicklingMixin:
    """Pickle the torch parts as they are on the CPU."""

    def __getstate__(self):
        state = dict(vars(self))
        if getattr(self, "device_", torch.device("cpu")).type != "cpu":
            # Copied together, so that the optimizer keeps pointing to the weights.
            names = [n + "_" for n in self._modules + self._criteria + self._optimizers]
            parts = copy.deepcopy([state.get(name) for name in names])
            state |= zip(names, (_moved(part, "cpu") for part in parts), strict=True)
        state["_sklearn_version"] = sklearn.__version__
        return state

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_sklearn_version", None)
        if version != sklearn.__version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=sklearn.__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        vars(self).update(state)
        wanted = state.get("device_", torch.device("cpu"))
        if wanted.type != "cpu":
            try:
                self.device_ = resolve_device(wanted)
            except ValueError:
                self.device_ = torch.device("cpu")
            for name in self._modules + self._criteria + self._optimizers:
                _moved(getattr(self, name + "_", None), self.device_)


def _moved(part, device):
    """Move a module or the state of an optimizer in place."""
    if isinstance(part, nn.Module):
        return part.to(device)
    if isinstance(part, torch.optim.Optimizer):
        for group in part.param_groups:
            # The count of steps stays on the CPU, but for fused optimizers.
            moves_all = str(device) == "cpu" or group.get("fused")
            for parameter in group["params"]:
                state = part.state.get(parameter, {})
                for key, value in state.items():
                    if isinstance(value, torch.Tensor) and (moves_all or value.ndim):
                        state[key] = to_device(value, device)
    return part
