"""By what a fit is found again: its parameters, its data, and what it began with.

The code that builds a network may read files or the environment, which no name of a fit
tells of. What came of it does: `as_built` looks at the network before it is trained.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import LoadInitState
from torch.utils.data import Dataset

from skvision._identity import Unidentified, examine, library_version
from skvision.images._adapters import images_of
from skvision.images._files import is_path
from skvision.images._identity import file_digest
from skvision.images._labels import labels_of
from skvision.training._schedules import policy_name

#: What has no influence on the weights that a fit ends with.
IRRELEVANT = (
    *("checkpoint", "checkpoint_steps", "image_cache", "feature_cache"),
    *("verbose", "warm_start", "device"),
    "on_error",  # What is left out is not in the data.
)
#: Schedules that are made for a number of steps, and what their lengths are called.
_OF_A_LENGTH = ("OneCycleLR", "CosineAnnealingLR", "PolynomialLR")
_LENGTHS = ("T_max", "total_steps", "total_iters", "epochs", "steps_per_epoch")
#: Values that are looked at at once, and how far equal ones are apart at most: those
#: that are drawn or decomposed may differ in their last digits on another machine.
_AT_ONCE, _TOLERANCE = 2**20, 1e-5
_KNOWN_LIBRARIES = ("skvision", "skorch", "torch", "sklearn", "builtins")


class FitName(NamedTuple):
    """What tells fits apart.

    Attributes
    ----------
    name : str
        Of all but the number of epochs, and the lengths of schedules.
    length : str
        Of these; what is before "-" is the number of epochs.
    depends : str or None
        What makes a training depend on how many epochs it is to have.
    generators : list
        Generators of random numbers among parameters and data.
    """

    name: str
    length: str
    depends: str | None
    generators: list[Any]


def name_of_fit(net: Any, data: Any, held_out: Any, facts: Any) -> FitName:
    """Return what tells a fit from others.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
    data : ImageDataset
        The rows that it is fitted to.
    held_out : ImageDataset or None
        Rows to validate on that the user gave beside them.
    facts : object
        What is known besides of images and classes.

    Raises
    ------
    skvision._identity.Unidentified
        If the state of a parameter or of the data cannot be told.
    """
    params = net.get_params(deep=False)
    params = {
        key: value
        for key, value in params.items()
        if key not in IRRELEVANT and not _is_as_before(key, value)
    }
    for key, value in params.items():
        may_be_file = key == "pretrained" or key.startswith("module__")
        if may_be_file and is_path(value) and os.path.isfile(value):
            suffix = os.path.splitext(value)[1]
            params[key] = "contents of a file", suffix, file_digest(value)
    lengths: dict[str, Any] = {}
    schedules: list[str] = []
    max_epochs = params.pop("max_epochs")
    params = _without_lengths(params, lengths, schedules)
    everything = {
        "estimator": (type(net), set_by_hand(net)),
        **params,
        "X": data.images,
        "y": data.y,
        "sample_weight": data.sample_weight,
        "facts": facts,
    }
    if data.groups is not None:
        everything["groups"] = data.groups
    if held_out is not None:
        rows = held_out.images, held_out.y, held_out.sample_weight
        everything["held_out"] = rows

    def told_of_estimator(other: Any) -> Any:
        # Its methods may hold it; it is no other one once it is fitted.
        return "itself" if other is net else other.__skvision_identity__()

    found = examine(everything, told={**_TOLD, type(net): told_of_estimator})
    length = str(max_epochs)
    if schedules:
        length += f"-{examine(lengths).name}"
    depends = _dependence(params, schedules, found.words)
    return FitName(found.name, length, depends, found.generators)


def set_by_hand(net: Any) -> dict[str, Any]:
    """Return attributes that are neither parameters nor what fits have set.

    Such as methods that are put in the place of the class's.
    """
    own = {*net.get_params(deep=False)}
    return {
        name: value
        for name, value in vars(net).items()
        if name not in own
        and (
            not (name.startswith("_") or name.endswith("_"))
            or callable(getattr(type(net), name, None))
        )
    }


def _told_of_data_set(dataset: Dataset) -> Any:
    """Return what tells a data set among the parameters from others."""
    try:
        return images_of(dataset), labels_of(dataset)
    except (OSError, TypeError, ValueError) as error:
        raise Unidentified(f"a data set that cannot be read: {error}") from error


def _told_of_files(callback: LoadInitState) -> Any:
    raise Unidentified(
        f"a callback {type(callback).__name__}, which begins with weights of files"
    )


#: Parameters that older releases did not have, which fitted as these values say.
_NEW = {
    **{"image_size": None, "resize": "squash", "color_mode": "auto"},
    **{"unfreeze_at": None, "n_views": None},
    "threshold": None,
}

#: How objects among the parameters are told from others.
_TOLD = {Dataset: _told_of_data_set, LoadInitState: _told_of_files}


def _is_as_before(key: str, value: Any) -> bool:
    """Whether a parameter is new, and has the value that changes nothing."""
    # To compare an array gives another one.
    is_array = isinstance(value, np.ndarray)
    return key in _NEW and not is_array and _NEW[key] == value


def _without_lengths(
    params: Mapping[str, Any], lengths: dict[str, Any], schedules: list[str]
) -> dict[str, Any]:
    """Return parameters without the lengths of schedules, which are put elsewhere."""
    params = dict(params)
    given = params.get("callbacks")
    if isinstance(given, (list, tuple)):
        kept = []
        for i, item in enumerate(given):
            name, callback = item if isinstance(item, tuple) else (None, item)
            if (policy := policy_name(callback)) in _OF_A_LENGTH:
                schedules.append(policy)
                state = dict(vars(callback))
                lengths |= {f"{i} {key}": state.pop(key, None) for key in _LENGTHS}
                callback = type(callback), state
            kept.append((name, callback))
        params["callbacks"] = kept
    if schedules:
        for key in list(params):
            if key.startswith("callbacks__") and key.endswith(_LENGTHS):
                lengths[key] = params.pop(key)
    return params


def _dependence(
    params: Mapping[str, Any], schedules: list[str], words: set[str]
) -> str | None:
    """Return what makes a training depend on the number of its epochs."""
    if schedules:
        return f"the schedule {schedules[0]} is made for a number of epochs"
    if "max_epochs" in words:
        return "code of yours uses max_epochs"
    for item in params.get("callbacks") or ():
        callback = item[1] if isinstance(item, tuple) else item
        kind = callback if isinstance(callback, type) else type(callback)
        for module in (base.__module__ for base in kind.__mro__):
            is_known = module.partition(".")[0] in _KNOWN_LIBRARIES
            if not is_known and library_version(module) is not None:
                # What goes by its name alone may be any code.
                return f"the callback {kind.__name__} may use max_epochs"
    return None


def as_built(net: Any) -> dict[str, Any]:
    """Return what tells an estimator's new network and criterion from others.

    Returns
    -------
    built : dict
        "name" of all but the values of tensors, None if it cannot be told; "numbers",
        two of each tensor.
    """
    numbers: list[tuple[float, float]] = []

    def told(tensor: torch.Tensor) -> Any:
        exact = not tensor.is_floating_point() or tensor.is_meta
        if exact or tensor.layout is not torch.strided:
            return str(tensor.dtype), repr(tensor)
        numbers.append(_numbers_of(tensor))
        return str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad

    try:
        parts = net.module_, net.criterion_
        name = examine(*parts, told={torch.Tensor: told}).name
    except Unidentified:
        name, numbers = None, []
        for _, tensor in sorted(net.module_.state_dict().items()):
            told(tensor)
    return {"name": name, "numbers": torch.tensor(numbers, dtype=torch.float64)}


def _numbers_of(tensor: torch.Tensor) -> tuple[float, float]:
    """Return the length of a tensor, and what is left of its values' order."""
    values = tensor.detach().reshape(-1)
    length = order = 0.0
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE].cpu().double()
        # Masks may be infinite; differences of what is could not be told.
        part = part.nan_to_num(nan=1.0, posinf=2.0, neginf=-2.0)
        places = torch.arange(start, start + len(part), dtype=torch.float64)
        length += float(part @ part)
        order += float(part @ places.cos())
    return math.sqrt(length), order


def was_built_alike(before: Any, now: dict[str, Any]) -> bool:
    """Whether a checkpoint's network began as one that is new."""
    if not isinstance(before, dict) or before.keys() != now.keys():
        return False
    one, other = before["numbers"], now["numbers"]
    if before["name"] != now["name"] or not isinstance(one, torch.Tensor):
        return False
    if one.shape != other.shape:
        return False
    lengths = other[:, :1] if len(other) else other
    return bool(((one - other).abs() <= _TOLERANCE * lengths).all())
