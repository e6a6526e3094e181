"""Write a fit's state at each epoch, and go on from it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skorch.history import History

from skvision._identity import Unidentified
from skvision._random import generator_state, next_seed, set_generator_state
from skvision._warnings import warn
from skvision.estimators._fit_name import IRRELEVANT, name_of_fit
from skvision.estimators._gathered import is_small
from skvision.estimators._restoring import (
    TRANSIENT,
    NotRestorable,
    check_parts,
    check_state,
    is_fitted,
    restored,
)
from skvision.exceptions import FormatError
from skvision.networks._transfer import train_only, trained_names
from skvision.persistence._as_built import as_built, was_built_alike
from skvision.persistence._checkpoint import (
    random_states,
    read_checkpoint,
    set_random_states,
    storable,
    write_checkpoint,
)
from skvision.persistence._state import OF_A_RUN, set_optimizer_state

__all__ = ["ResumeMixin"]


class ResumeMixin:
    """Checkpoints of a fit, one file for each pair of parameters and data."""

    _checkpoint_path = _found = _within = _built = _gathered = None
    #: Those of the user's that the fit draws from.
    _generators: Sequence[Any] = ()

    def _forget_checkpoint(self):
        for name in OF_A_RUN:
            vars(self).pop(name, None)

    def __skvision_identity__(self):
        params = self.get_params(deep=False)
        params = {key: value for key, value in params.items() if key not in IRRELEVANT}
        # Of a fitted one, all that predictions are made of.
        parts = [getattr(self, name, None) for name in ("module_", "scaler_")]
        return params, parts, self._facts(), getattr(self, "classes_", None)

    def _find_checkpoint(self, data):
        """Set the path of this fit's file, and what is in it or to begin from."""
        if self.checkpoint is None:
            return
        try:
            fit = name_of_fit(self, data)
        except Unidentified as error:
            warn(
                f"checkpoint={self.checkpoint!r}: this fit is not checkpointed, since "
                f"it could not be told from others: {error}."
            )
            return
        self._generators = fit.generators
        folder = Path(self.checkpoint)
        self._checkpoint_path = folder / f"{fit.name}-{fit.length}.checkpoint"
        self._found = _read(self._checkpoint_path)
        if self._found and _n_ended(self._found) > self.max_epochs:
            with _named(self._checkpoint_path):
                raise FormatError("it has more epochs than max_epochs")
        if self._found is None:
            self._found = self._found_of_another_length(folder, fit)
        if self._found:
            # With random_state=None, the rows held out have to be the same again.
            self._start_randomness(self._found["seed"])
            next_seed(self._generator)  # As has been drawn before the data were read.

    def _found_of_another_length(self, folder, fit):
        """Return the state of a fit that differs in `max_epochs` alone, if it helps."""
        lengths = {}
        for path in sorted(folder.glob(f"{fit.name}-*.checkpoint")):
            number = path.stem.split("-")[1]
            if number.isdecimal():
                lengths[path] = int(number)
        if fit.depends is not None:
            if shorter := [n for n in lengths.values() if n < self.max_epochs]:
                warn(
                    f"max_epochs={self.max_epochs}: there is a checkpoint of this fit "
                    f"with max_epochs={max(shorter)}, but {fit.depends}; training "
                    "begins anew."
                )
            return None
        best = None
        for path in lengths:
            try:
                state = _read(path)
            except FormatError as error:
                warn(f"{error} It is left alone, as max_epochs is another one.")
                continue
            n_ended = _n_ended(state) if state else self.max_epochs + 1
            if n_ended <= self.max_epochs and (
                best is None or n_ended > _n_ended(best)
            ):
                best = state
        return best

    def _check_found(self):
        """Check a checkpoint against the network that it is for.

        Raises
        ------
        FormatError
            If it is none of such a network.
        """
        if self._checkpoint_path is None:
            return
        self._built = as_built(self)
        # Older ones do not say what they began with.
        if self._found and not was_built_alike(
            self._found.get("built", self._built), self._built
        ):
            warn(
                f"Training does not go on from {self._found['path']!r}, but begins "
                "anew: of the same parameters, the network was built in another way or "
                "with other weights, as from files or settings outside of them."
            )
            self._found = None
        if self._found:
            with _named(self._found["path"]):
                check_parts(self, self._found)

    def _write_checkpoint(self, *, stopped=False, n_steps=0):
        """Write what is needed to go on, after some steps of an epoch or all."""
        within = n_steps > 0
        states, lost = callback_states(self.callbacks_, within=within), {}
        gathered, others = self._gathered.changed(self)
        for name, callback in self.callbacks_:
            more = gathered.get(name, {})
            kept = {k: v for k, v in more.items() if is_small(v) and storable(v)}
            states[name] |= kept
            if keys := [*unstorable(callback), *(more.keys() - kept.keys())]:
                lost[name] = keys
        self._tell_of_lost(lost, others)
        parts = self._modules + self._criteria + self._optimizers
        state = {
            name: part.state_dict()
            for name in parts
            if hasattr(part := getattr(self, name + "_"), "state_dict")
        }
        state |= {
            "seed": self._seed,
            "stopped": stopped,
            "n_steps": n_steps,
            "built": self._built,
            "epoch_began": self._epoch_began if within else None,
            "history": self.history.to_list(),
            "untrained_loss": getattr(self, "_untrained_loss", None),
            "random": self._randomness(),
            "callbacks": states,
            "lost": lost,
            # Callbacks freeze weights, and let them go, at epochs that are over then.
            "trained": trained_names(self.module_),
        }
        write_checkpoint(self._checkpoint_path, state)

    def _tell_of_lost(self, lost, others):
        """Warn, once in a fit, of what checkpoints cannot hold."""
        if self._gathered.is_told:
            return
        self._gathered.is_told = bool(lost or others)
        named = dict(self.callbacks_)
        for name, keys in lost.items():
            warn(
                f"A checkpoint cannot hold {', '.join(keys)} of the callback "
                f"{type(named[name]).__name__}; a fit that goes on from it begins with "
                "that attribute as new.",
            )
        if others:
            warn(
                f"A checkpoint cannot hold {', '.join(others)}, which the training "
                "changes; a fit that goes on from it may end with other weights. Keep "
                "it in a buffer of a network or in numbers of a callback."
            )

    def _randomness(self):
        """Return the states of all generators that a fit draws from."""
        users = [generator_state(generator) for generator in self._generators]
        return self._generator.get_state(), random_states(self.device_), users

    def _set_randomness(self, states):
        own, others, *users = states
        self._generator.set_state(own)
        set_random_states(others, self.device_)
        # Older checkpoints have none of the user's.
        for generator, state in zip(self._generators, *users or [()], strict=False):
            set_generator_state(generator, state)

    def _try_randomness(self, state):
        """Check states of generators by giving them to those that they are for."""
        before = self._randomness()
        try:
            for key in ("random", "epoch_began"):
                if state[key] is not None:
                    self._set_randomness(state[key])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise NotRestorable(
                f"a generator of random numbers has no such state: {error}"
            ) from error
        finally:
            self._set_randomness(before)

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
        try:
            changes = restored(self.callbacks_, state)
            self._try_randomness(state)
        except NotRestorable as error:
            warn(
                f"Training does not go on from {state['path']!r}, but begins anew: "
                f"{error}."
            )
            return False
        for name in self._modules + self._criteria + self._optimizers:
            part = getattr(self, name + "_")
            if name in self._optimizers:
                set_optimizer_state(part, state[name])
            elif name in state:
                part.load_state_dict(state[name])
        self.history_ = History(state["history"])
        if state["untrained_loss"] is not None:
            self._untrained_loss = state["untrained_loss"]
        if "trained" in state:  # Older ones do not say it.
            train_only(self.module_, state["trained"])
        for callback, key, value in changes:
            _set(callback, key, value)
        self._set_randomness(state["random"])
        self._within = state if state["n_steps"] else None
        return state["stopped"]


def _read(path):
    """Return the state in a checkpoint that is whole, or None where there is none."""
    state = read_checkpoint(path)
    if state is None:
        return None
    with _named(path):
        check_state(state)
    return {**state, "path": str(path)}


@contextlib.contextmanager
def _named(path):
    """Name the file in errors about what is in it."""
    try:
        yield
    except FormatError as error:
        raise FormatError(
            f"{str(path)!r} is no checkpoint of this fit: {error}. Remove it to train "
            "from the beginning."
        ) from error


def _n_ended(state):
    """Return how many epochs of a checkpoint have come to their end."""
    return len(state["history"]) - (state["n_steps"] > 0)


def callback_states(callbacks, *, within=False):
    """Return the fitted attributes of named callbacks as plain data."""
    states = {}
    for name, callback in callbacks:
        fitted = _fitted(callback)
        if not within:
            fitted = {k: v for k, v in fitted.items() if k not in TRANSIENT}
        states[name] = {k: v for k, v in fitted.items() if storable(v)}
    return states


def unstorable(callback):
    """Return the names of a callback's attributes that plain data cannot hold."""
    return [k for k, v in _fitted(callback).items() if not storable(v)]


def _set(callback, key, value):
    own = getattr(callback, key, None)
    if hasattr(own, "load_state_dict"):
        own.load_state_dict(value)
    else:
        if type(own) is list and not key.endswith("_"):
            own[:] = value  # Its owner may hold it, too.
        else:
            setattr(callback, key, value)


def _fitted(callback):
    """Return the fitted attributes of a callback, what has a state of its own by it."""
    return {
        key: value.state_dict() if hasattr(value, "state_dict") else value
        for key, value in vars(callback).items()
        if is_fitted(key, value)
    }
