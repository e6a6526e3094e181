"""Write a fit's state at each epoch, and go on from it."""

from __future__ import annotations

from pathlib import Path

from skorch.history import History

from skvision._random import next_seed
from skvision._warnings import warn
from skvision.training._checkpoint import (
    fingerprint,
    random_states,
    read_checkpoint,
    set_random_states,
    storable,
    write_checkpoint,
)

__all__ = ["ResumeMixin"]

# What has no influence on the weights that a fit ends with.
_IRRELEVANT = ("checkpoint", "verbose", "warm_start", "device")
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
        self._checkpoint_path = Path(self.checkpoint) / f"{name}.pt"
        self._found = read_checkpoint(self._checkpoint_path)
        if self._found:
            # With random_state=None, the rows held out have to be the same again.
            self._start_randomness(self._found["seed"])
            next_seed(self._generator)  # As has been drawn before the data were read.

    def _write_checkpoint(self, *, stopped):
        parts = self._modules + self._criteria + self._optimizers
        state = {
            name: part.state_dict()
            for name in parts
            if hasattr(part := getattr(self, name + "_"), "state_dict")
        }
        state |= {
            "seed": self._seed,
            "stopped": stopped,
            "history": storable(self.history.to_list()),
            "untrained_loss": self._untrained_loss,
            "generator": self._generator.get_state(),
            "random_states": random_states(self.device_),
            "callbacks": {name: _callback_state(cb) for name, cb in self.callbacks_},
        }
        write_checkpoint(self._checkpoint_path, state)

    def _resume(self, state):
        """Take over the state of a checkpoint; return whether training is over."""
        for name in self._modules + self._criteria + self._optimizers:
            if name in state:
                getattr(self, name + "_").load_state_dict(state[name])
        self.history_ = History(state["history"])
        self._untrained_loss = state["untrained_loss"]
        self._generator.set_state(state["generator"])
        for name, callback in self.callbacks_:
            for key, value in state["callbacks"].get(name, {}).items():
                own = getattr(callback, key, None)
                if hasattr(own, "load_state_dict"):
                    own.load_state_dict(value)
                else:
                    setattr(callback, key, value)
        set_random_states(state["random_states"], self.device_)
        return state["stopped"]


def _callback_state(callback):
    """Return the fitted attributes of a callback as plain data."""
    state = {}
    for key, value in vars(callback).items():
        if not key.endswith("_") or key in _TRANSIENT or callable(value):
            continue
        if hasattr(value, "state_dict"):
            value = value.state_dict()
        try:
            state[key] = storable(value)
        except TypeError:
            warn(
                f"A checkpoint cannot hold {key} of the callback "
                f"{type(callback).__name__}; a fit that goes on from it begins with "
                "that attribute as new.",
            )
    return state
