"""Which parameters a file of an estimator keeps, and what it may set them to.

A file may come from anybody, so this is a list of what is accepted, not of what is
refused: what a prediction and an ordinary fit need, in ranges. How and where the work
is done (compilers, devices, processes, folders, callbacks) is for the machine's owner
to say: such settings are neither written nor read.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from skvision._warnings import warn
from skvision.exceptions import FormatError
from skvision.networks import get_network
from skvision.persistence._objects import (
    GENERATOR,
    check_name,
    describe,
    is_harmless,
    public_name,
)
from skvision.persistence._tree import Made, Name, shown
from skvision.preprocessing._base import BatchTransform
from skvision.training import BatchLoader
from skvision.training._losses import (
    CRITERIA,
    NONLINEARITIES,
    OPTIMIZERS,
    NameOptions,
)

#: What stands in the place of a network, which only code can make again.
INSTANCE = "torch.nn.Module"
#: What stands in the place of a fitted estimator that gave its weights.
ESTIMATOR = "skvision.estimator"

#: Settings that belong to a machine or to a session.
RUN_TIME = frozenset(
    {
        "callbacks",
        "checkpoint",
        "checkpoint_steps",
        "compile",
        "device",
        "image_cache",
        "feature_cache",
        "iterator_train",
        "iterator_valid",
        "verbose",
    }
)
RUN_TIME_PREFIXES = frozenset(
    {"callbacks", "compile", "iterator_train", "iterator_valid"}
)

#: Arguments of iterators that change nothing but the time that things take.
_SPEED = {
    "multiprocessing_context",
    "num_workers",
    "persistent_workers",
    "pin_memory",
    "prefetch_factor",
    "timeout",
}

_LONGEST_TEXT, _DEEPEST, _MOST_ITEMS = 1000, 5, 1000
# To look for a name takes the longer, the more there are.
_MOST_PARAMETERS = 300
_Check = Callable[[Any, Collection[str]], bool]


def is_run_time(name: str, value: Any = None) -> bool:
    """Whether a parameter is for the machine's owner to set."""
    if name == "pretrained":
        # A path would make a later fit open whatever the file's author names.
        return isinstance(value, (str, os.PathLike))
    prefix, _, rest = name.partition("__")
    return name in RUN_TIME or (rest != "" and prefix in RUN_TIME_PREFIXES)


def is_own_module(module: Any) -> bool:
    """Whether a network in a file is one of skvision's, torchvision's or torch's."""
    return isinstance(module, str) or _is_layer(module)


def missed(params: Mapping[str, Any]) -> list[str]:
    """Return the settings that no file keeps and that a later fit depends on."""
    return [
        name
        for name, value in params.items()
        if is_run_time(name, value)
        and name.startswith(("callbacks", "iterator_", "pretrained"))
        and not name.startswith("callbacks__print_log")
        and name.partition("__")[2] not in _SPEED
        and not _is_default(name, value)
    ]


def _is_default(name: str, value: Any) -> bool:
    if "__" in name:
        return False
    if isinstance(value, Name):
        return public_name(value.name) == "skvision.training.BatchLoader"
    empty = isinstance(value, (list, tuple)) and not value
    return empty or value is None or value is BatchLoader


def described_parameters(
    params: Mapping[str, Any],
    title: str,
    described_estimator: Callable[[Any, str], Any],
) -> dict[str, Any]:
    """Return an estimator's parameters as they stand in a file.

    Parameters
    ----------
    params : dict
        Those of a machine or a session are left out.
    title : str
        What errors say before their names, for estimators among parameters.
    described_estimator : callable
        Gets a fitted estimator, which gave its weights, and its title, and returns
        what a file says of it.

    Raises
    ------
    TypeError
        If one is no data; the message names it.
    """
    described: dict[str, Any] = {}
    for name, value in params.items():
        if is_run_time(name, value):
            continue
        if name == "module" and isinstance(value, nn.Module):
            described[name] = Made(INSTANCE, {"class": type(value).__qualname__})
        elif name == "pretrained" and hasattr(value, "module_"):
            tree = described_estimator(value, f"{title}{name}.")
            described[name] = Made(ESTIMATOR, tree)
        elif name == "pretrained" and isinstance(value, nn.Module):
            described[name] = dict(value.state_dict())
        else:
            described[name] = describe(value, f"{title}{name}")
    return described


def accepted_parameters(
    kind: type, params: Mapping[str, Any], trusted: Collection[str], own_module: bool
) -> dict[str, Any]:
    """Return what a file says of an estimator's parameters, as far as it is heard.

    Parameters
    ----------
    kind : type
        The class of the estimator. One that is trusted, and not skvision's own, may
        have parameters of its own.
    params : dict
        As they stand in the file, with `Name` and `Made`.
    trusted : collection of str
    own_module : bool
        Whether the network is one of skvision's, torchvision's or torch's. Any other
        gets from the file what its author wrote for it.

    Raises
    ------
    FormatError
        If a value is none that the parameter may have.
    """
    if len(params) > _MOST_PARAMETERS:
        raise FormatError(f"it has {len(params)} parameters")
    accepted = {}
    for name, value in params.items():
        if is_run_time(name, value):
            continue  # Files of skvision 0.1 have them.
        prefix, _, rest = name.partition("__")
        check = ACCEPTED_PREFIXES.get(prefix) if prefix and rest else ACCEPTED.get(name)
        if check is None and f"{kind.__module__}.{kind.__qualname__}" not in trusted:
            if name in inspect.signature(kind).parameters:
                warn(
                    f"The file's {name}={shown(value)} is not taken: {name} is no "
                    "parameter that files may set. Set it by set_params.",
                )
                continue
            raise FormatError(f"there is no parameter {name!r}")
        if prefix == "module" and rest and not own_module:
            check = None
        if check is not None and not check(value, trusted):
            if isinstance(value, Name):
                check_name(value.name, trusted)
            raise FormatError(f"it has {name}={shown(value)}")
        accepted[name] = value
    return accepted


class _Everything:
    def __contains__(self, name: object) -> bool:
        return True


#: What the owner of an estimator trusts.
EVERYTHING: Any = _Everything()


# ------------------------------------------------------------------- the values


def _any_of(*checks: _Check) -> _Check:
    return lambda value, trusted: any(check(value, trusted) for check in checks)


def _one_of(*values: str) -> _Check:
    return lambda value, trusted: isinstance(value, str) and value in values


def _name_of(names: Collection[str]) -> _Check:
    options = NameOptions(set(names))
    return lambda value, trusted: options.is_satisfied_by(value)


def _number(low: float, high: float) -> _Check:
    return lambda value, trusted: _is_real(value) and low <= value <= high


def _integer(low: int, high: int) -> _Check:
    return lambda value, trusted: type(value) is int and low <= value <= high


def _class_of(base: type) -> _Check:
    return lambda value, trusted: (
        isinstance(value, Name) and is_harmless(value.name, base)
    )


def _made_by(is_known: Callable[[str], bool]) -> _Check:
    """Accept what is made of plain values by what has a name that is known."""
    return lambda value, trusted: (
        isinstance(value, Made)
        and is_known(value.name)
        and _is_plain(value.params, trusted)
    )


def _stands_for(name: str) -> _Check:
    return lambda value, trusted: isinstance(value, Made) and value.name == name


def _dict_of(kind: type) -> _Check:
    return lambda value, trusted: (
        isinstance(value, Mapping)
        and all(isinstance(item, kind) for item in value.values())
    )


def _dict(keys: _Check, values: _Check) -> _Check:
    """Accept a small dict of such keys and values."""
    return lambda value, trusted: (
        isinstance(value, Mapping)
        and len(value) <= 100
        and all(keys(k, trusted) and values(v, trusted) for k, v in value.items())
    )


def _each(check: _Check, n: int) -> _Check:
    """Accept a list of n values."""
    return lambda value, trusted: (
        isinstance(value, (list, tuple))
        and len(value) == n
        and all(check(item, trusted) for item in value)
    )


def _some(check: _Check, most: int = _MOST_ITEMS) -> _Check:
    """Accept a value, or a list of them."""

    def check_all(value: Any, trusted: Collection[str]) -> bool:
        if isinstance(value, (np.ndarray, torch.Tensor)):
            value = value.tolist()
        if not isinstance(value, (list, tuple)):
            return check(value, trusted)
        return len(value) <= most and all(check(item, trusted) for item in value)

    return check_all


def _is_real(value: Any, trusted: Collection[str] = ()) -> bool:
    # An int beyond the floats is a Real that isfinite cannot take.
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_none(value: Any, trusted: Collection[str]) -> bool:
    return value is None


def _is_bool(value: Any, trusted: Collection[str]) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any, trusted: Collection[str] = ()) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_trusted(value: Any, trusted: Collection[str]) -> bool:
    return isinstance(value, Name) and value.name in trusted


def _is_network(value: Any, trusted: Collection[str]) -> bool:
    """Whether a value is the name of a network."""
    if not _is_text(value):
        return False
    try:
        return value == "auto" or get_network(value) is not None
    except ValueError:
        return False


def _is_layer(value: Any, trusted: Collection[str] = ()) -> bool:
    # A single number can ask for a million layers of those that are left out.
    stacks = (nn.modules.rnn.__name__, nn.modules.transformer.__name__)
    is_module = _class_of(nn.Module)(value, trusted)
    return is_module and not value.name.startswith(stacks)


def _is_loss(value: Any, trusted: Collection[str]) -> bool:
    # Any module could stand there, of any size, before a single weight is compared.
    is_module = _class_of(nn.Module)(value, trusted)
    return is_module and value.name.rpartition(".")[0] == nn.modules.loss.__name__


def _is_scoring(value: Any, trusted: Collection[str]) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_text, value)) and _is_scoring([*value.values()], trusted)
    return _some(_is_scorer, 100)(value, trusted)


def _is_plain(value: Any, trusted: Collection[str], depth: int = _DEEPEST) -> bool:
    """Whether a value is plain data of a size that a person would write."""
    if isinstance(value, Mapping):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple)):
        return (
            depth > 0
            and len(value) <= _MOST_ITEMS
            and all(_is_plain(item, trusted, depth - 1) for item in value)
        )
    if value is None or isinstance(value, bool) or _is_text(value):
        return True
    return _is_real(value) and abs(value) < 2**53


def _is_array(value: Any, trusted: Collection[str]) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


_FRACTION = _number(0, 1)
_FACTOR = _number(0, 1e9)
_POSITIVE = _integer(1, 2**31)
_PATTERNS = _some(_is_text, 100)
_is_scorer = _any_of(
    *(_is_none, _is_text, _is_trusted),
    _made_by(lambda name: name.startswith("skvision.metrics.")),
)
_TRANSFORMS = _some(
    _any_of(
        *(_is_none, _is_trusted),
        _made_by(lambda name: is_harmless(name, BatchTransform)),
    ),
    100,
)
_OPTION = _any_of(_is_array, _is_plain)

#: What each parameter may be.
ACCEPTED: dict[str, _Check] = {
    "module": _any_of(_is_network, _stands_for(INSTANCE), _is_layer, _is_trusted),
    "criterion": _any_of(_name_of(CRITERIA), _is_loss, _is_trusted),
    "optimizer": _any_of(
        _name_of(OPTIMIZERS), _class_of(torch.optim.Optimizer), _is_trusted
    ),
    "lr": _FACTOR,
    "max_epochs": _integer(0, 2**31),
    "batch_size": _integer(-1, 2**31),
    "normalize": _any_of(
        _is_none, _one_of("channel", "range"), _each(_some(_is_real), 2)
    ),
    "normalize_target": _any_of(_is_bool, _one_of("auto")),
    "image_size": _any_of(_is_none, _POSITIVE, _each(_POSITIVE, 2)),
    "resize": _one_of("squash", "crop", "pad"),
    "color_mode": _one_of("auto", "grey", "rgb"),
    "on_error": _one_of("raise", "skip"),
    "channels": _one_of("auto", "first", "last"),
    "image_shape": _any_of(_is_none, _each(_POSITIVE, 3)),
    "augment": _TRANSFORMS,
    "noise": _TRANSFORMS,
    "reduction": _one_of("mean", "sum"),
    "class_weight": _any_of(_is_none, _one_of("balanced"), _some(_dict_of(Real))),
    "threshold": _any_of(_is_none, _one_of("tuned"), _some(_FRACTION)),
    "early_stopping": _is_bool,
    "validation_fraction": _FRACTION,
    "n_iter_no_change": _POSITIVE,
    "epoch_scoring": _is_scoring,
    "pretrained": _any_of(_is_none, _dict_of(torch.Tensor), _stands_for(ESTIMATOR)),
    "pretrained_mix": _FRACTION,
    "pretrained_lr_mult": _any_of(_FACTOR, _dict(_is_text, _FACTOR)),
    "freeze": _any_of(_is_none, _PATTERNS),
    "n_views": _any_of(_is_none, _POSITIVE),
    "unfreeze_at": _any_of(_is_none, _POSITIVE, _dict(_POSITIVE, _PATTERNS)),
    "dtype": _one_of("float32", "float64"),
    "amp": _is_bool,
    "memory_format": _one_of("auto", "channels_last", "contiguous"),
    "random_state": _any_of(_is_none, _integer(0, 2**32 - 1), _stands_for(GENERATOR)),
    "warm_start": _is_bool,
    "train_split": _any_of(lambda value, trusted: value in (None, False), _is_trusted),
    "predict_nonlinearity": _any_of(
        _is_none, _one_of("auto", *NONLINEARITIES), _is_trusted
    ),
}
#: The same for what stands behind a prefix.
ACCEPTED_PREFIXES: dict[str, _Check] = {
    "module": _any_of(_is_layer, _is_trusted, _is_plain),
    "criterion": _OPTION,
    "optimizer": _OPTION,
}
