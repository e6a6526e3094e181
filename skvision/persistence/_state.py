"""What an estimator is once it is fitted: the one list of its attributes.

Saving, loading, files of weights, pickles and the checks of what they hold go by this
list. An attribute of a fitted estimator is one of these:

- a fact (`FACTS`): a plain value, which files keep as it is;
- kept by entries of a file (`ENTRIES`): it has a state that is more than a plain value;
- made again (`REMADE`) of parameters and facts when a file is read;
- of a run (`OF_A_RUN`): part of a training that is going on, and kept nowhere.

What stands in none of them would be lost by ``save`` without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier, is_regressor
from skorch.history import History
from torch import nn

from skvision._random import generator_state
from skvision.exceptions import FormatError
from skvision.networks._transfer import train_only, trained_names
from skvision.networks._weights import check_weights
from skvision.persistence._tree import encode, shown
from skvision.preprocessing._pixel_range import Divisors
from skvision.training._optimizers import missing_state

#: Attributes of skorch's callbacks that training goes on from; all others come from
#: the parameters.
_REMEMBERED = ("best_epoch_", "best_score_", "dynamic_threshold_", "misses_")

# What optimizers keep once for each weight, not for each of its values, and those that
# keep what has other shapes.
_SCALARS = ("step", "eta", "mu", "mu_product")
_FREE = (torch.optim.Adafactor, torch.optim.LBFGS)
# What schedules leave in the groups of an optimizer.
_LEFT = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum", "swa_lr"}


# What an entry writes that is to be left out.
_NOTHING: Any = object()


@dataclass(frozen=True)
class Fact:
    """An attribute that is a plain value.

    Parameters
    ----------
    name : str
    is_valid : callable
        Whether a file may set it to a value.
    needed_by : tuple of str
        The kinds of estimators (see `kind_of`) that have it whenever they are fitted.
    with_weights : bool, default=True
        Whether an estimator that has seen no data takes it from a file of weights. What
        belongs to a training does not.
    """

    name: str
    is_valid: Callable[[Any], bool]
    needed_by: tuple[str, ...] = ()
    with_weights: bool = True


@dataclass(frozen=True)
class Entry:
    """A part of a file that holds the state of an attribute, or some of it.

    Parameters
    ----------
    key : str
        Its name in the file.
    attribute : str
    write : callable
        Returns what the file is to hold of the attribute's value, if anything.
    check : callable
        Gets what a file holds, and the attributes of the estimator that it is for, with
        the entries before this one. Returns it, or raises what is wrong.
    put : callable
        Gives it to such an estimator.
    absent : callable, default=None
        Returns what stands for it where a file's tree does not have it, as older files.
        By default that is an error.
    with_weights : bool, default=False
        Whether files of weights have it, too.
    """

    key: str
    attribute: str
    write: Callable[[Any], Any]
    check: Callable[[Any, Mapping[str, Any]], Any]
    put: Callable[[Any, Any], None]
    absent: Callable[[Mapping[str, Any]], Any] | None = None
    with_weights: bool = False


def kind_of(estimator: Any) -> str:
    """Return "classifier", "regressor" or "autoencoder"."""
    if is_classifier(estimator):
        return "classifier"
    return "regressor" if is_regressor(estimator) else "autoencoder"


# ------------------------------------------------------------------------ facts


def facts_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return those attributes of an estimator that are plain values.

    Raises
    ------
    TypeError
        If one is not, such as labels that are dates.
    """
    facts = {
        fact.name: attributes[fact.name] for fact in FACTS if fact.name in attributes
    }
    for name, value in facts.items():
        if isinstance(value, np.dtype):
            facts[name] = value = str(value)
        try:
            encode(value, {})
        except TypeError as error:
            name = "classes_" if name == "classes_inferred_" else name
            raise TypeError(
                f"A file cannot hold {name}={shown(value)}: {error}. Labels may be "
                "numbers, booleans or strings: give fit such ones, as by y.astype(str)."
            ) from None
    return facts


def missing_facts(kind: str, facts: Mapping[str, Any]) -> list[str]:
    """Return the names of what an estimator of that kind would need to be fitted."""
    needed = {fact.name for fact in FACTS if kind in fact.needed_by}
    return sorted(needed - facts.keys())


def check_facts(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain attributes of a fitted estimator if they go together.

    Raises
    ------
    FormatError
        If one is missing, is unknown, has a value that it cannot have, or contradicts
        another one.
    """
    if missing := missing_facts(kind, facts):
        raise FormatError(f"{missing} are missing")
    known = {fact.name: fact.is_valid for fact in FACTS}
    for name, value in facts.items():
        if name not in known or not known[name](value):
            raise FormatError(f"it has {name}={shown(value)}")
    dtypes = {k: np.dtype(v) for k, v in facts.items() if k.endswith("_dtype")}
    facts = {**facts, **dtypes}
    if kind == "regressor" and math.prod(facts["_target_shape"]) != facts["n_outputs_"]:
        raise FormatError("its targets have another shape than its outputs")
    names = facts.get("class_names_")
    if names is not None and len(names) != len(facts.get("classes_inferred_", ())):
        raise FormatError("it has not a name for each class")
    thresholds = facts.get("thresholds_")
    classes = facts.get("classes_inferred_", np.empty(0))
    if thresholds is not None and not np.array_equal(
        classes, np.arange(len(thresholds))
    ):
        raise FormatError("it has not a threshold for each label")
    if facts["_flat"] and facts["image_shape_"][:2] != (1, 1):
        raise FormatError("its rows are flat, but have the shape of images")
    return facts


def _is_int(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value < high


_is_size = _is_int(1, 2**40)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(map(_is_size, value))


def _is_one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in values


def _is_a(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_vector(value: Any, kinds: str) -> bool:
    is_flat = isinstance(value, np.ndarray) and value.ndim == 1
    return is_flat and value.dtype.kind in kinds


def _is_classes(value: Any) -> bool:
    # Of floats, NaN is not; to look for equal ones by hashes may take for ever.
    is_vector = _is_vector(value, "biufOU") and len(value) > 1
    return is_vector and bool((value[1:] > value[:-1]).all())


def _is_thresholds(value: Any) -> bool:
    is_vector = _is_vector(value, "f") and len(value) > 1
    return is_vector and bool(((value > 0) & (value < 1)).all())


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


_ALL = ("classifier", "regressor", "autoencoder")

FACTS = (
    Fact("image_shape_", _is_shape, _ALL),
    Fact("feature_names_in_", lambda value: _is_vector(value, "O")),
    Fact("classes_inferred_", _is_classes, ("classifier",)),
    Fact("class_names_", lambda value: _is_vector(value, "U")),
    # Of classifiers of labels of which an image may have several.
    Fact("thresholds_", _is_thresholds),
    Fact("n_outputs_", _is_size, ("regressor",)),
    Fact("skipped_", lambda value: _is_vector(value, "U"), with_weights=False),
    Fact("skipped_reasons_", lambda value: _is_vector(value, "U"), with_weights=False),
    Fact("pixel_range_", _is_range),
    Fact("_flat", _is_a(bool), _ALL),
    Fact("_scaling_known", _is_a(bool), _ALL),
    Fact("_output_kind", _is_one_of("logits", "Softmax", "LogSoftmax")),
    Fact("_channels_last", _is_a(bool)),
    Fact("_n_values", _is_int(0, 2**62)),
    Fact("_seed", _is_int(0, 2**32), _ALL, with_weights=False),
    Fact("_untrained_loss", _is_a(float), with_weights=False),
    Fact("_target_shape", _is_target_shape, ("regressor",)),
    Fact("_target_dtype", _is_one_of("float32", "float64"), ("regressor",)),
    Fact("_layout", _is_one_of("grey", "first", "last", "flat"), _ALL),
    Fact("_pixel_dtype", _is_pixel_dtype, _ALL),
    Fact("_resize", _is_one_of("squash", "crop", "pad")),
    Fact("_n_channels", _is_int(1, 4)),
    Fact("feature_layer_", _is_a(str), with_weights=False),
    Fact("_n_features_out", _is_size, ("autoencoder",)),
)


# ---------------------------------------------------------------------- entries


def written_entries(
    attributes: Mapping[str, Any], *, with_weights: bool = False
) -> dict[str, Any]:
    """Return what a file holds of attributes that are more than plain values.

    Parameters
    ----------
    attributes : dict
        Of a fitted estimator.
    with_weights : bool, default=False
        Whether a file of weights is meant, which has less.
    """
    written = {
        entry.key: entry.write(attributes[entry.attribute])
        for entry in ENTRIES
        if entry.with_weights or not with_weights
    }
    return {key: value for key, value in written.items() if value is not _NOTHING}


def read_entries(
    tree: Mapping[str, Any], attributes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the entries of a file by their keys, all of them checked.

    Parameters
    ----------
    tree : dict
        What the file holds.
    attributes : dict
        Of the estimator that is to get them, whose parts have been made.

    Raises
    ------
    FormatError
        If one is missing, damaged or does not fit.
    """
    values: dict[str, Any] = {}
    for entry in ENTRIES:
        if entry.key in tree or entry.absent is None:
            value = tree[entry.key]
        else:
            value = entry.absent(tree)
        values[entry.key] = entry.check(value, {**values, **attributes})
    return values


def check_optimizer(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Check the state of an optimizer in a file against one that is new."""
    fresh = optimizer.state_dict()
    groups = state["param_groups"]
    if len(groups) != len(fresh["param_groups"]):
        raise FormatError("its optimizer has another number of groups")
    for group, expected in zip(groups, fresh["param_groups"], strict=True):
        if not expected.keys() <= group.keys() <= {*expected, *_LEFT}:
            raise FormatError("its optimizer has other settings")
        if group["params"] != expected["params"]:
            raise FormatError("its optimizer was made for other weights")
        for name, value in group.items():
            if not _is_like(value, expected.get(name, 0.0)):
                raise FormatError(f"its optimizer has {name}={shown(value)}")
    _check_optimizer_states(optimizer, state)


def _check_optimizer_states(optimizer: torch.optim.Optimizer, state: Any) -> None:
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


def check_history(epochs: Any, of: Any = None) -> list[dict[str, Any]]:
    """Return the rows of a history if they are such rows."""
    rows = [epochs] if not isinstance(epochs, list) else epochs
    for epoch in rows:
        batches = epoch.get("batches") if isinstance(epoch, dict) else None
        if not isinstance(batches, list) or not all(
            isinstance(batch, dict) for batch in batches
        ):
            raise FormatError("its history is not one")
    return rows


def check_trained(network: nn.Module, names: Any) -> frozenset[str]:
    """Return the names of weights that are trained, if the network has them all."""
    able = {k for k, p in network.named_parameters() if p.is_floating_point()}
    if not isinstance(names, list) or not able.issuperset(map(str, names)):
        raise FormatError("the weights that it trains are not the network's")
    return frozenset(names)


def check_finite(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return tensors by their names if they are finite numbers."""
    for name, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise FormatError(f"its {name!r} has values that are NaN or infinite")
    return state


def set_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
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


def part_states(net: Any) -> dict[str, Any]:
    """Return the states of an estimator's network, scaler, loss and optimizer."""
    states = {name.removesuffix("_"): _state_of(getattr(net, name)) for name in PARTS}
    return {name: state for name, state in states.items() if state is not _NOTHING}


def set_part_states(net: Any, states: Mapping[str, Any]) -> None:
    """Give the parts of an estimator states of `part_states`, where there are some."""
    for attribute in PARTS:
        name, part = attribute.removesuffix("_"), getattr(net, attribute)
        if attribute == "optimizer_":
            set_optimizer_state(part, states[name])
        elif name in states:
            part.load_state_dict(states[name])


def _state_of(part: Any) -> Any:
    return part.state_dict() if hasattr(part, "state_dict") else _NOTHING


def _take(value: Any, of: Mapping[str, Any]) -> Any:
    return value


def _leave(net: Any, value: Any) -> None:
    pass


def _take_loss(state: Any, of: Mapping[str, Any]) -> Any:
    own = of["criterion_"]
    if not hasattr(own, "load_state_dict"):
        return None
    if state is None:
        raise FormatError("its criterion has no state")
    check_weights(state, own.state_dict(), "its criterion")
    return state


def _put_loss(net: Any, state: Any) -> None:
    if state is not None:
        net.criterion_.load_state_dict(state)


def _take_optimizer(state: Any, of: Mapping[str, Any]) -> Any:
    check_optimizer(of["optimizer_"], state)
    return state


def _put_optimizer(net: Any, state: Any) -> None:
    set_optimizer_state(net.optimizer_, state)


def _pixels(scaler: Any) -> Any:
    return scaler.mean, scaler.std


def _check_pair(pair: Any, what: str, fits: Callable[[Any], bool]) -> tuple[Any, Any]:
    """Return a mean and a deviation that can be used, or None twice."""
    mean, std = pair
    if mean is None or std is None:
        return None, None
    for name, value in (("mean", mean), ("deviation", std)):
        if not fits(value) or not value.is_floating_point():
            raise FormatError(f"the scale of its {what} has another shape or type")
        check_finite({f"{name} of {what}": value})
    if not (std > 0).all():
        raise FormatError(f"the scale of its {what} divides by what is not positive")
    return mean, std


def _check_pixels(pair: Any, of: Mapping[str, Any]) -> tuple[Any, Any]:
    n_values = 1 if of["_flat"] else of["image_shape_"][0]
    return _check_pair(pair, "pixels", lambda value: value.numel() in (1, n_values))


def _put_pixels(net: Any, pair: Any) -> None:
    net.scaler_.set_statistics(*pair, device=net.device_)


def _divisors(scaler: Any) -> Any:
    return scaler.divisors and tuple(scaler.divisors)


def _check_divisors(value: Any, of: Mapping[str, Any]) -> Divisors | None:
    """Return what a file says that integers are divided by."""
    if value is None:
        if "pixel_range_" in of:
            raise FormatError("it has a range of pixels, but not what divides them")
        return None
    divisors = Divisors(*value)
    if divisors.uint8 not in (1, 255) or divisors.wider not in (1, 255, 65535):
        raise FormatError(f"it divides integers by {value!r}")
    return divisors


def _put_divisors(net: Any, value: Any) -> None:
    net.scaler_.divisors = value


def _scale(scaler: Any) -> Any:
    target = getattr(scaler, "target", None)
    return _NOTHING if target is None else (target.mean, target.std)


def _check_scale(pair: Any, of: Mapping[str, Any]) -> tuple[Any, Any]:
    if "_target_shape" not in of:
        return None, None
    shape = (of["n_outputs_"],)
    return _check_pair(pair, "targets", lambda value: value.shape == shape)


def _put_scale(net: Any, pair: Any) -> None:
    if hasattr(net.scaler_, "target"):
        net.scaler_.target.set_statistics(*pair, device=net.device_)


def _no_scale(tree: Mapping[str, Any]) -> Any:
    """Return the scale of targets of before there was one: none at all."""
    if "normalize_target" in tree["params"]:
        raise FormatError("it has no scale of its targets")
    n_outputs = tree["facts"].get("n_outputs_")
    return (
        None if n_outputs is None else (torch.zeros(n_outputs), torch.ones(n_outputs))
    )


def _check_generator(state: Any, of: Mapping[str, Any]) -> Any:
    torch.Generator().set_state(state)  # Of another kind or length is an error.
    return state


def _put_generator(net: Any, state: Any) -> None:
    vars(net)["_generator"].set_state(state)


def _put_history(net: Any, epochs: Any) -> None:
    net.history_ = History(epochs)


def _remembered(callbacks: Any) -> dict[str, dict[str, Any]]:
    """Return what training goes on from, by the names of callbacks."""
    return {
        name: {
            key: vars(callback)[key]
            for key in _REMEMBERED
            if vars(callback).get(key) is not None
        }
        for name, callback in callbacks
    }


def _check_remembered(states: Any, of: Mapping[str, Any]) -> Any:
    for state in states.values():
        for name, value in state.items():
            if name not in _REMEMBERED or not isinstance(value, Real):
                raise FormatError(f"its callbacks have {name}={shown(value)}")
    return states


def _put_remembered(net: Any, states: Any) -> None:
    for name, callback in net.callbacks_:
        for key, value in states.get(name, {}).items():
            setattr(callback, key, value)


def _take_names(names: Any, of: Mapping[str, Any]) -> set[str]:
    return {str(name) for name in names}


def _check_schedules(steps: Any, of: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return kinds of schedules and the steps that they have taken in a training."""
    most = sum(1 + len(epoch["batches"]) for epoch in of["history"])
    for name, pair in steps.items():
        kind, n_steps = pair
        if not (isinstance(kind, str) and type(n_steps) is int):
            raise FormatError(f"its schedule {name!r} is {shown(pair)}")
        if not 0 <= n_steps <= most:
            raise FormatError(f"its schedule {name!r} has taken {n_steps} steps")
    return {name: tuple(pair) for name, pair in steps.items()}


def _take_trained(names: Any, of: Mapping[str, Any]) -> Any:
    return None if names is None else check_trained(of["module_"], names)


def _put_trained(net: Any, names: Any) -> None:
    if names is not None:
        train_only(net.module_, names)


def _put_names(net: Any, names: Any) -> None:
    vars(net)["_pretrained_names"] = names


def _put_schedules(net: Any, steps: Any) -> None:
    vars(net)["_schedule_steps"] = steps


def _none(tree: Mapping[str, Any]) -> None:
    return None


ENTRIES = (
    # The network gets its weights when it is built, within limits.
    Entry("module_", "module_", _state_of, _take, _leave),
    Entry("criterion_", "criterion_", _state_of, _take_loss, _put_loss, _none),
    Entry("optimizer_", "optimizer_", _state_of, _take_optimizer, _put_optimizer),
    Entry("scaler", "scaler_", _pixels, _check_pixels, _put_pixels, with_weights=True),
    # Files of before divided uint8 alone, and said nothing.
    Entry(
        *("divisors", "scaler_", _divisors, _check_divisors, _put_divisors),
        absent=lambda tree: (255, 1),
        with_weights=True,
    ),
    Entry(
        *("target_scaler", "scaler_", _scale, _check_scale, _put_scale),
        absent=_no_scale,
        with_weights=True,
    ),
    Entry("generator", "_generator", generator_state, _check_generator, _put_generator),
    Entry("history", "history_", History.to_list, check_history, _put_history),
    Entry("callbacks", "callbacks_", _remembered, _check_remembered, _put_remembered),
    Entry("pretrained_names", "_pretrained_names", sorted, _take_names, _put_names),
    Entry(
        *("schedules", "_schedule_steps", dict, _check_schedules, _put_schedules),
        absent=lambda tree: {},
    ),
    Entry("trained", "module_", trained_names, _take_trained, _put_trained, _none),
)

#: What holds tensors, which pickles have as they are on the CPU.
PARTS = ("module_", "scaler_", "criterion_", "optimizer_")

#: What is made again of the parameters and the facts; pickles have it as it is.
REMADE = {
    *("_frozen", "_made_with", "_prefixed", "n_features_in_"),
    *("network_shape_", "device_", "initialized_", "init_context_"),
    *("virtual_params_", "prefixes_", "cuda_dependent_attributes_"),
}

#: What a training that is going on knows of itself; neither files nor pickles have it.
OF_A_RUN = {"_run"}
