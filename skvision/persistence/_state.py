"""What a file of an estimator may hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier, is_regressor
from torch import nn

from skvision.exceptions import FormatError
from skvision.persistence._parameters import shown
from skvision.preprocessing._pixel_range import Divisors
from skvision.training._optimizers import missing_state

__all__ = [
    "LEFT",
    "REMEMBERED",
    "check_callbacks",
    "check_divisors",
    "check_facts",
    "check_finite",
    "check_history",
    "check_optimizer",
    "check_optimizer_states",
    "check_scaler",
    "check_schedules",
    "check_target_scaler",
    "check_trained",
]

#: Attributes of skorch's callbacks that training goes on from; all others come from
#: the parameters.
REMEMBERED = ("best_epoch_", "best_score_", "dynamic_threshold_", "misses_")

# What optimizers keep once for each weight, not for each of its values, and those that
# keep what has other shapes.
_SCALARS = ("step", "eta", "mu", "mu_product")
_FREE = (torch.optim.Adafactor, torch.optim.LBFGS)
#: What schedules leave in the groups of an optimizer.
LEFT = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr"}


def check_finite(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return tensors by their names if they are finite numbers."""
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FormatError(f"its {name!r} has values that are NaN or infinite")
    return state


def check_scaler(net: Any, pair: Any) -> tuple[Any, Any]:
    """Return mean and deviation of a file, or None twice."""
    mean, std = pair
    if mean is None or std is None:
        return None, None
    n_values = 1 if net._flat else net.image_shape_[0]
    for value in (mean, std):
        if value.numel() not in (1, n_values) or not value.is_floating_point():
            raise FormatError("its normalisation does not fit its images")
    if not (std > 0).all():
        raise FormatError("its normalisation divides by what is not positive")
    check_finite({"mean": mean, "standard deviation": std})
    return mean, std


def check_target_scaler(net: Any, pair: Any) -> tuple[Any, Any]:
    """Return mean and deviation of the targets of a file, or None twice."""
    mean, std = pair
    if mean is None or std is None:
        return None, None
    for value in (mean, std):
        if value.shape != (net.n_outputs_,) or not value.is_floating_point():
            raise FormatError("the scale of its targets does not fit its outputs")
    if not (std > 0).all():
        raise FormatError("the scale of its targets divides by what is not positive")
    check_finite({"mean of targets": mean, "deviation of targets": std})
    return mean, std


def check_divisors(value: Any) -> Divisors | None:
    """Return what a file says that integers are divided by."""
    if value is None:
        return None
    divisors = Divisors(*value)
    if divisors.uint8 not in (1, 255) or divisors.wider not in (1, 255, 65535):
        raise FormatError(f"it divides integers by {value!r}")
    return divisors


def check_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Check the state of an optimizer in a file against one that is new."""
    fresh = optimizer.state_dict()
    groups = state["param_groups"]
    if len(groups) != len(fresh["param_groups"]):
        raise FormatError("its optimizer has another number of groups")
    for group, expected in zip(groups, fresh["param_groups"], strict=True):
        if not expected.keys() <= group.keys() <= {*expected, *LEFT}:
            raise FormatError("its optimizer has other settings")
        if group["params"] != expected["params"]:
            raise FormatError("its optimizer is that of other weights")
        for name, value in group.items():
            if not _is_like(value, expected.get(name, 0.0)):
                raise FormatError(f"its optimizer has {name}={shown(value)}")
    check_optimizer_states(optimizer, state)


def check_optimizer_states(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Check what an optimizer remembers of its weights, in groups like its own."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for group in state["param_groups"]:
        places = [i for i in group["params"] if i in state["state"]]
        states = [(weights[i], state["state"][i]) for i in places]
        if name := missing_state(optimizer, group, states):
            raise FormatError(f"its optimizer does not know {name!r} of each weight")
    for place, values in state["state"].items():
        for name, value in values.items():
            parts = value if isinstance(value, (list, tuple)) else [value]
            for part in parts:
                if isinstance(part, torch.Tensor):
                    check_finite({f"optimizer's {name}": part})
            if isinstance(value, torch.Tensor) and not _keeps_any_shape(optimizer):
                # A fused step reads and writes as many values as the weights have.
                shape = () if name in _SCALARS else weights[place].shape
                if value.shape != shape or value.is_complex():
                    raise FormatError(f"its optimizer's {name!r} has another shape")
            if name == "step" and value < 0:
                raise FormatError(f"its optimizer has taken {float(value)} steps")


def _keeps_any_shape(optimizer: torch.optim.Optimizer) -> bool:
    others = not type(optimizer).__module__.startswith("torch.")
    fused = any(group.get("fused") for group in optimizer.param_groups)
    return isinstance(optimizer, _FREE) or (others and not fused)


def _is_like(value: Any, expected: Any) -> bool:
    """Whether a value is of the kind that a fresh optimizer has."""
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    if isinstance(expected, bool):
        return value is None or isinstance(value, bool)
    if expected is None or isinstance(expected, str):
        return value is None or isinstance(value, (bool, str))
    if isinstance(expected, (tuple, list)):
        return (
            isinstance(value, (tuple, list))
            and len(value) == len(expected)
            and all(map(_is_like, value, expected))
        )
    if not isinstance(value, Real) or not math.isfinite(value):
        return False
    return float(value) >= 0 or expected < 0


def check_history(epochs: Any) -> list[dict[str, Any]]:
    """Return the rows of a history if they are such rows."""
    rows = [epochs] if not isinstance(epochs, list) else epochs
    for epoch in rows:
        batches = epoch.get("batches") if isinstance(epoch, dict) else None
        if not isinstance(batches, list) or not all(
            isinstance(batch, dict) for batch in batches
        ):
            raise FormatError("its history is not one")
    return rows


def check_callbacks(states: Any) -> dict[str, dict[str, Any]]:
    """Return what callbacks remember if it is numbers."""
    for state in states.values():
        for name, value in state.items():
            if name not in REMEMBERED or not isinstance(value, Real):
                raise FormatError(f"its callbacks have {name}={shown(value)}")
    return states


def check_schedules(steps: Any, history: list[Any]) -> dict[str, tuple[str, int]]:
    """Return kinds of schedules and the steps that they have taken in a training."""
    most = sum(1 + len(epoch["batches"]) for epoch in history)
    for name, pair in steps.items():
        kind, n_steps = pair
        if not (isinstance(kind, str) and type(n_steps) is int):
            raise FormatError(f"its schedule {name!r} is {shown(pair)}")
        if not 0 <= n_steps <= most:
            raise FormatError(f"its schedule {name!r} has taken {n_steps} steps")
    return {name: tuple(pair) for name, pair in steps.items()}


def check_trained(network: nn.Module, names: Any) -> frozenset[str]:
    """Return the names of weights that are trained, if the network has them all."""
    able = {k for k, p in network.named_parameters() if p.is_floating_point()}
    if not isinstance(names, list) or not able.issuperset(map(str, names)):
        raise FormatError("the weights that it trains are not the network's")
    return frozenset(names)


def check_facts(net: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain attributes of a fitted estimator if they go together."""
    needed = {"image_shape_", "_flat", "_scaling_known", "_seed"}
    needed |= {"_layout", "_pixel_dtype"}
    if is_classifier(net):
        needed |= {"classes_inferred_"}
    elif is_regressor(net):
        needed |= {"n_outputs_", "_target_shape", "_target_dtype"}
    else:
        needed |= {"_n_features_out"}
    if missing := needed - facts.keys():
        raise FormatError(f"{sorted(missing)} are missing")
    for name, value in facts.items():
        if name not in _CHECKS or not _CHECKS[name](value):
            raise FormatError(f"it has {name}={shown(value)}")
    dtypes = {k: np.dtype(v) for k, v in facts.items() if k.endswith("_dtype")}
    facts = {**facts, **dtypes}
    if is_regressor(net) and math.prod(facts["_target_shape"]) != facts["n_outputs_"]:
        raise FormatError("its targets have another shape than its outputs")
    names = facts.get("class_names_")
    if names is not None and len(names) != len(facts.get("classes_inferred_", ())):
        raise FormatError("it has not a name for each class")
    if facts["_flat"] and facts["image_shape_"][:2] != (1, 1):
        raise FormatError("its rows are flat, but have the shape of images")
    return facts


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**40


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(map(_is_size, value))


def _is_one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in values


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_names(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == object


def _is_classes(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.ndim == 1
        and len(value) > 1
        # Of floats, NaN is not; to look for equal ones by hashes may take for ever.
        and bool((value[1:] > value[:-1]).all())
    )


def _is_class_names(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "U"


def _is_target_shape(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) < 2 and all(map(_is_size, value))


def _is_pixel_dtype(value: Any) -> bool:
    return isinstance(value, str) and np.dtype(value).kind in "buif"


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(limit, float) and math.isfinite(limit) for limit in value)
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "image_shape_": _is_shape,
    "feature_names_in_": _is_names,
    "classes_inferred_": _is_classes,
    "class_names_": _is_class_names,
    "n_outputs_": _is_size,
    "_flat": _is_bool,
    "_scaling_known": _is_bool,
    "_output_kind": _is_one_of("logits", "Softmax", "LogSoftmax"),
    "_channels_last": _is_bool,
    "_n_values": lambda value: type(value) is int and value >= 0,
    "_seed": lambda value: type(value) is int and 0 <= value < 2**32,
    "_untrained_loss": lambda value: isinstance(value, float),
    "_target_shape": _is_target_shape,
    "_target_dtype": _is_one_of("float32", "float64"),
    "_layout": _is_one_of("grey", "first", "last", "flat"),
    "_pixel_dtype": _is_pixel_dtype,
    "pixel_range_": _is_range,
    "_n_features_out": _is_size,
}
