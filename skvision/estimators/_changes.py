"""What a training that goes on makes of parameters that were changed meanwhile."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.callbacks import ParamMapper

from skvision._compat import forget_compiled, maps_at_once
from skvision._identity import fingerprint
from skvision._warnings import warn
from skvision.estimators._builder import resolve_device, warn_about_softmax
from skvision.networks._transfer import frozen_names
from skvision.persistence._pickles import moved_parts
from skvision.training._losses import CRITERIA, OPTIMIZERS, resolve
from skvision.training._optimizers import forget_unfit_state
from skvision.training._schedules import begun_schedules

__all__ = ["UNSET", "ChangesMixin"]

#: Of what a network and its scaling are made: others are another network.
_BUILT = ("module", "dtype", "normalize", "normalize_target")
_WEIGHTS = ("pretrained", "pretrained_mix")
_OPTIMIZER = ("optimizer", "lr", "pretrained_lr_mult")
_CALLBACKS = ("callbacks", "early_stopping", "n_iter_no_change", "epoch_scoring")
#: All others are looked at whenever they are needed.
_TRACKED = {
    *_BUILT,
    *_WEIGHTS,
    *_OPTIMIZER,
    *_CALLBACKS,
    "compile",
    "criterion",
    "device",
    "freeze",
    "memory_format",
    "random_state",
}


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


class _Unset:
    def __repr__(self) -> str:
        return "its default"


#: What stands for the value of a parameter that was not given.
UNSET = _Unset()


class ChangesMixin:
    """Lets changed parameters take effect, each on the part that it is for."""

    #: The parameters that the present parts were made with.
    _made_with: dict[str, Any] = {}
    #: Names of the weights that `freeze` keeps from being trained.
    _frozen: frozenset[str] = frozenset()

    get_params: Any

    def _note_parameters(self) -> None:
        """Remember the parameters that decide what the present parts are."""
        self._made_with = self._tracked()

    def _tracked(self) -> dict[str, Any]:
        """Return the parameters that parts are made with, as they are now."""
        return {
            name: _copied(value) if isinstance(value, (dict, list)) else value
            for name, value in self.get_params(deep=False).items()
            if name.partition("__")[0] in _TRACKED
        }

    def _changed(self) -> dict[str, tuple[Any, Any]]:
        """Return (before, now) of parameters that the parts were not made with."""
        now = self._tracked()
        names = [*self._made_with, *(now.keys() - self._made_with.keys())]
        pairs = {
            name: (self._made_with.get(name, UNSET), now.get(name, UNSET))
            for name in names
        }
        return {k: pair for k, pair in pairs.items() if not _means_the_same(k, *pair)}

    def _checked_changes(self):
        """Return what has changed, if all of it can take effect."""
        self._validate_params()  # scikit-learn leaves it out at partial_fit.
        changed = self._changed()
        self._check_changed(changed)
        if "freeze" in changed and self.freeze is not None:
            frozen_names(self.module_, self.freeze, self._frozen)
        if self.checkpoint is not None:
            warn(
                f"checkpoint={str(self.checkpoint)!r} has no effect on a training that "
                "goes on: checkpoints are written of fits from the beginning."
            )
        return changed

    def _check_changed(self, changed):
        """Refuse changes that cannot take effect on a network that is there."""
        for name, (before, now) in changed.items():
            kind = _kind(name)
            # Weights that are in the network already need their source no more.
            late = kind in _WEIGHTS and self.pretrained is not None
            if kind in _BUILT or late:
                raise ValueError(
                    f"{name}={shown(now)} was set after the network had been built "
                    f"with {shown(before)}, and cannot take effect on a training that "
                    f"goes on. Set {name} back, or build a new network: call fit with "
                    "warm_start=False."
                )

    def _renew_parts(self, changed):
        """Replace parts that are to be others; those that there were stay intact."""
        kinds = _kinds(changed)
        if "device" in kinds:
            self._change_device()
        if "memory_format" in kinds and self._has_facts():
            self._change_memory_format()
        if "criterion" in kinds:
            with self._plain_device():
                self._initialize_criterion()
            warn_about_softmax(self._output_kind, self.module_, self.criterion_)
            vars(self).pop("_untrained_loss", None)
        # Schedules that are gone leave rates that were theirs.
        left = "callbacks" in kinds and bool(begun_schedules(self))
        if kinds & {*_CALLBACKS}:
            self._change_callbacks(changed)
        self._change_optimizer(kinds, anew=left)

    def _settle_changes(self, changed):
        """Change the network itself, now that nothing can fail any more."""
        kinds = _kinds(changed)
        if "freeze" in kinds:
            parameters = dict(self.module_.named_parameters())
            for name in self._frozen:
                parameters[name].requires_grad_(True)
            self._freeze(self.module_)
        if "compile" in kinds:
            forget_compiled(self.module_)
            self.torch_compile(self.module_, "module")
        self._note_parameters()

    def _freeze(self, network):
        """Exclude from training what `freeze` names."""
        names = () if self.freeze is None else frozen_names(network, self.freeze)
        parameters = dict(network.named_parameters())
        self._frozen = frozenset(n for n in names if parameters[n].requires_grad)
        for name in self._frozen:
            parameters[name].requires_grad_(False)

    def _change_device(self):
        device = resolve_device(self.device)
        if device == self.device_:
            return
        self.device_ = device
        vars(self).update(moved_parts(vars(self), device))

    def _change_memory_format(self):
        if self.device_.type == "cpu":
            shape = (self.n_features_in_,) if self._flat else self.network_shape_
            self._try(self.module_, shape)
        elif self.memory_format != "auto":
            self._channels_last = self.memory_format == "channels_last"

    def _change_callbacks(self, changed):
        """Make callbacks anew, but for those of the user's that are the same ones."""
        before = self._named_callbacks(self._made_with.get("callbacks"))
        now = self._named_callbacks(self.callbacks)
        touched = {name.split("__")[1] for name in changed if "callbacks__" in name}
        running = {
            name: callback
            for name, callback in self.callbacks_
            if name in before and before[name] is now.get(name) and name not in touched
        }
        self._initialize_callbacks()
        for name, new in self.callbacks_:
            if name not in running and (at := _epoch_of(new)) <= len(self.history):
                warn(
                    f"The callback {name} acts at the beginning of epoch {at}, and the "
                    f"training goes on with epoch {len(self.history) + 1}: it does "
                    f"nothing. Give it at={len(self.history) + 1}, or set freeze=."
                )
        self.callbacks_ = [(k, running.get(k, new)) for k, new in self.callbacks_]

    def _named_callbacks(self, given):
        """Return callbacks as they were given, by their names."""
        kept, self.callbacks = self.callbacks, given
        try:
            self.callbacks = [] if given == "disable" else given
            return dict(self._uniquely_named_callbacks())
        finally:
            self.callbacks = kept

    def _change_optimizer(self, kinds, *, anew):
        old = self.optimizer_
        held = {id(p) for group in old.param_groups for p in group["params"]}
        wanted = {id(p) for _, p in self.get_all_learnable_params()}
        if anew or kinds & {*_OPTIMIZER} or held != wanted:
            self._initialize_optimizer()
            if type(self.optimizer_) is type(old):
                self.optimizer_.state.update(
                    {p: state for p, state in old.state.items() if id(p) in wanted}
                )
                forget_unfit_state(self.optimizer_)


def _epoch_of(callback: Any) -> float:
    """Return the only epoch at which a callback maps weights, if it is such a one."""
    if not isinstance(callback, ParamMapper):
        return math.inf
    # initialize() has put functions there.
    at = callback.at
    if not isinstance(at, partial) or not maps_at_once(callback):
        return math.inf
    return at.keywords.get("epoch", math.inf)


def shown(value: Any) -> str:
    """Return a parameter's value in a few words."""
    return _SHORT.repr(value)


def _kind(name: str) -> str:
    return name.partition("__")[0]


def _kinds(changed: Mapping[str, Any]) -> set[str]:
    return {_kind(name) for name in changed}


def _copied(value: Any) -> Any:
    """Return a parameter whose containers do not change with the user's."""
    if type(value) is list:
        return [_copied(item) for item in value]
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return value


def _means_the_same(name: str, before: Any, now: Any) -> bool:
    if name == "optimizer":
        before, now = resolve(before, OPTIMIZERS), resolve(now, OPTIMIZERS)
    elif name == "criterion":
        before, now = resolve(before, CRITERIA), resolve(now, CRITERIA)
    return _same(before, now)


def _same(one: Any, other: Any) -> bool:
    """Whether two parameters are equal, also where they are arrays or objects."""
    if one is other:
        return True
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (torch.Tensor, np.ndarray)):
        same = type(one) is type(other) and one.shape == other.shape
        return same and bool((one == other).all())
    if type(one) is not type(other):
        return isinstance(one, (int, float)) and bool(one == other)
    if isinstance(one, (bool, int, float, str)):
        return one == other
    try:
        return fingerprint(one) == fingerprint(other)
    except Exception:
        return False  # What cannot be compared is another one.
