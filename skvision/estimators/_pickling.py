"""Pickles that load where there is no GPU."""

from __future__ import annotations

import copy
import inspect
import warnings

import sklearn
import torch
from sklearn.exceptions import InconsistentVersionWarning
from skorch.utils import to_device
from torch import nn

from skvision.estimators._builder import resolve_device
from skvision.estimators._resume import OF_A_FIT
from skvision.estimators._turns import looking

__all__ = ["PicklingMixin", "moved_parts"]


class PicklingMixin:
    """Pickle the torch parts as they are on the CPU."""

    @looking
    def __getstate__(self):
        state = {k: v for k, v in vars(self).items() if k not in OF_A_FIT}
        if getattr(self, "device_", torch.device("cpu")).type != "cpu":
            state |= moved_parts(state, self._part_names(), "cpu")
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
        vars(self).update({**self._new_parameters(state), **state})
        if self.initialized_ and "_made_with" not in state:
            # Written by an older release.
            self._note_parameters()
            if self.freeze is not None:
                named = self.module_.named_parameters()
                self._frozen = frozenset(k for k, p in named if not p.requires_grad)
        wanted = state.get("device_", torch.device("cpu"))
        if wanted.type != "cpu":
            try:
                self.device_ = resolve_device(wanted)
            except ValueError:
                self.device_ = torch.device("cpu")
            for name in self._part_names():
                _moved(state.get(name), self.device_)

    @classmethod
    def _new_parameters(cls, state):
        """Return the defaults of parameters that an older release did not have."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.name not in state and p.default is not p.empty
        }

    def _part_names(self):
        """Return the attributes that hold tensors."""
        return [n + "_" for n in self._modules + self._criteria + self._optimizers]


def moved_parts(state, names, device):
    """Return copies, on another device, of those attributes that there are.

    They are copied together, so that the optimizer keeps pointing to the weights.
    """
    parts = copy.deepcopy({name: state[name] for name in names if name in state})
    return {name: _moved(part, device) for name, part in parts.items()}


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
