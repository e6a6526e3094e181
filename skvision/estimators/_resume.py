"""Write a fit's state at each epoch, and go on from it."""

from __future__ import annotations

from pathlib import Path

import torch
from skorch.history import History

from skvision._random import next_seed
from skvision._warnings import warn
from skvision.storage._checkpoint import (
    fingerprint,
    random_states,
    read_checkpoint,
    set_random_states,
    storable,
    write_checkpoint,
)

__all__ = [
    "ResumeMixin",
    "callback_states",
    "set_callback_states",
    "set_optimizer_state",
]

# What has no influence on the weights that a fit ends with.
_IRRELEVANT = ("checkpoint", "checkpoint_steps", "verbose", "warm_start", "device")
# Filled during an epoch and emptied when the next one begins.
_TRANSIENT = ("y_trues_", "y_preds_")


class ResumeMixin:
    """Checkpoints of a fit, one file for each pair of parameters and data."""

    def _find_checkpoint(self, data):
        """Set the path of this fit's file, and what is in it."""
        if self.checkpoint is None:
            return
        params = self.get_params(deep=False)
        params = {key: value for key, value in params.items() if key not in _IRRELEVANT}
        parts = data.images, data.y, data.sample_weight
        name = fingerprint(type(self).__name__, params, *parts)
        self._checkpoint_path = Path(self.checkpoint) / f"{name}.checkpoint"
        self._found = read_checkpoint(self._checkpoint_path)
        if self._found:
            # With random_state=None, the rows held out have to be the same again.
            self._start_randomness(self._found["seed"])
            next_seed(self._generator)  # As has been drawn before the data were read.

    def _write_checkpoint(self, *, stopped=False, n_steps=0):
        """Write what is needed to go on, after some steps of an epoch or all."""
        parts = self._modules + self._criteria + self._optimizers
        state = {
            name: part.state_dict()
            for name in parts
            if hasattr(part := getattr(self, name + "_"), "state_dict")
        }
        within = n_steps > 0
        state |= {
            "seed": self._seed,
            "stopped": stopped,
            "n_steps": n_steps,
            "epoch_began": self._epoch_began if within else None,
            "history": self.history.to_list(),
            "untrained_loss": getattr(self, "_untrained_loss", None),
            "random": self._randomness(),
            "callbacks": callback_states(self.callbacks_, within=within),
        }
        write_checkpoint(self._checkpoint_path, state)

    def _randomness(self):
        """Return the states of all generators that a fit draws from."""
        return self._generator.get_state(), random_states(self.device_)

    def _set_randomness(self, states):
        own, others = states
        self._generator.set_state(own)
        set_random_states(others, self.device_)

    def _begin_epoch(self, iterator):
        """Return the batches of a training epoch that are left, and how many were."""
        n_done = 0 if self._within is None else self._within["n_steps"]
        if self._checkpoint_path is not None:
            if n_done:
                self._set_randomness(self._within["epoch_began"])
            self._epoch_began = self._randomness()
        batches = iter(iterator)
        for _ in range(n_done):
            next(batches)  # In the order in which they were drawn the first time.
        if n_done:
            self._set_randomness(self._within["random"])
            self._within = None
        return batches, n_done

    def _checkpoint_is_due(self, n_steps):
        return (
            self._checkpoint_path is not None
            and self.checkpoint_steps is not None
            and n_steps % self.checkpoint_steps == 0
        )

    def _resume(self, state):
        """Take over the state of a checkpoint; return whether training is over."""
        for name in self._modules + self._criteria + self._optimizers:
            part = getattr(self, name + "_")
            if name in self._optimizers:
                set_optimizer_state(part, state[name])
            elif name in state:
                part.load_state_dict(state[name])
        self.history_ = History(state["history"])
        if state["untrained_loss"] is not None:
            self._untrained_loss = state["untrained_loss"]
        set_callback_states(self.callbacks_, state["callbacks"])
        self._set_randomness(state["random"])
        self._within = state if state["n_steps"] else None
        return state["stopped"]


def set_optimizer_state(optimizer, state):
    """Give an optimizer the state of one whose training goes on."""
    optimizer.load_state_dict(state)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    numbers = [i for group in state["param_groups"] for i in group["params"]]
    for param, number in zip(params, numbers, strict=True):
        for key, value in state["state"].get(number, {}).items():
            # torch gives everything but the step the parameter's dtype, also NAdam's
            # and ASGD's factors, which are of single precision.
            if isinstance(value, torch.Tensor) and value.ndim == 0:
                own = optimizer.state[param]
                own[key] = own[key].to(value.dtype)


def callback_states(callbacks, *, within=False):
    """Return the fitted attributes of named callbacks as plain data."""
    return {name: _callback_state(callback, within) for name, callback in callbacks}


def set_callback_states(callbacks, states):
    """Give callbacks the attributes that `callback_states` found."""
    for name, callback in callbacks:
        for key, value in states.get(name, {}).items():
            own = getattr(callback, key, None)
            if hasattr(own, "load_state_dict"):
                own.load_state_dict(value)
            else:
                setattr(callback, key, value)


def _callback_state(callback, within):
    """Return the fitted attributes of a callback as plain data."""
    state = {}
    for key, value in vars(callback).items():
        if not key.endswith("_") or callable(value):
            continue
        if key in _TRANSIENT and not within:
            continue
        if hasattr(value, "state_dict"):
            value = value.state_dict()
        if storable(value):
            state[key] = value
        else:
            warn(
                f"A checkpoint cannot hold {key} of the callback "
                f"{type(callback).__name__}; a fit that goes on from it begins with "
                "that attribute as new.",
            )
    return state
