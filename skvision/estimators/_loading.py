"""Estimators made of files, without trust in what the files say."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from skorch.history import History
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import flop_registry

from skvision._compat import TorchDispatchMode, tree_leaves
from skvision._warnings import warn
from skvision.estimators._autoencoder import ImageAutoencoder
from skvision.estimators._builder import (
    build_network,
    network_shape,
    noting_outputs,
    resolve_device,
)
from skvision.estimators._checks import check_autoencoder
from skvision.estimators._classifier import ImageClassifier
from skvision.estimators._net import ImageNet
from skvision.estimators._regressor import ImageRegressor
from skvision.estimators._resume import set_callback_states, set_optimizer_state
from skvision.estimators._saving import PARTS
from skvision.exceptions import FormatError
from skvision.networks import get_network
from skvision.networks._transfer import train_only
from skvision.networks._weights import check_weights
from skvision.persistence._format import read_sized
from skvision.persistence._objects import resolve_name, restore
from skvision.persistence._parameters import (
    ESTIMATOR,
    INSTANCE,
    RUN_TIME,
    RUN_TIME_PREFIXES,
    accepted_parameters,
    is_own_module,
    is_run_time,
    missed,
    most_parts,
)
from skvision.persistence._state import (
    check_callbacks,
    check_divisors,
    check_facts,
    check_finite,
    check_history,
    check_optimizer,
    check_scaler,
    check_schedules,
    check_target_scaler,
    check_trained,
)
from skvision.persistence._tree import Made

__all__ = ["load"]

_OWN = {
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (ImageAutoencoder, ImageClassifier, ImageRegressor)
}
# How many estimators one may be pretrained on, one after the other.
_GENERATIONS = 50
# Values that a layer may give for an image, and for each of its pixels.
_VALUES, _VALUES_PER_PIXEL = 2**20, 2**11
# Operations that a network may need for an image, and for each of its weights at each
# of its places: torchvision's networks need less than one.
_STEPS, _STEPS_PER_WEIGHT = 2**28, 8
# Numbers that a network may compute with while it is built.
_NUMBERS = 2**16


def load(
    path: str | os.PathLike[str],
    *,
    module: Any = None,
    trusted: Collection[str] = (),
    **settings: Any,
) -> ImageNet:
    """Return the fitted estimator in a file that ``save`` has written.

    Nothing in the file is run. It may come from anybody, unless `trusted` names what
    is not to be trusted.

    Parameters
    ----------
    path : str or path-like
    module : class, callable, torch.nn.Module or str, default=None
        Builds the network where it is none of skvision's or torchvision's; it becomes
        the estimator's parameter ``module``.
    trusted : collection of str, default=()
        Names ("package.module.Class") that may be imported where the file has them:
        a network's class, a criterion, a function. To import is to run code.
    **settings : dict
        Parameters that no file may set, since they belong to a machine or a session:
        ``device``, ``compile``, ``checkpoint``, ``checkpoint_steps``, ``verbose``,
        ``callbacks``, ``iterator_train`` and ``iterator_valid``, all names that begin
        with these, and ``pretrained``. They have their defaults otherwise.

    Returns
    -------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        As it was saved.

    Raises
    ------
    FormatError
        If the file is damaged, was not written by ``save``, contradicts itself, or
        names what is not trusted.
    TypeError
        If `settings` has a parameter that the file sets.
    ValueError
        If the device does not exist.
    OSError
        If there is no such file, or it cannot be read.

    See Also
    --------
    ImageClassifier.save : Writes the file.

    Examples
    --------
    >>> import tempfile
    >>> from torch import nn
    >>> import skvision
    >>> from skvision.datasets import load_digits_images
    >>> X, y = load_digits_images(return_X_y=True)
    >>> layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> net = skvision.ImageClassifier(layers, max_epochs=1).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(f"{folder}/digits.skv")
    ...     loaded = skvision.load(f"{folder}/digits.skv", module=layers)
    >>> bool((loaded.predict(X) == net.predict(X)).all())
    True
    """
    if isinstance(trusted, (str, bytes)):
        raise TypeError(
            f"trusted={trusted!r} should be a list of names, [{trusted!r}] for one."
        )
    trusted = frozenset(trusted)
    device = _check_settings(
        settings if module is None else {**settings, "module": module}
    )
    tree, n_bytes = read_sized(path, "estimator")
    source = _Source(trusted, device, most_parts(n_bytes))
    try:
        return _estimator(tree, module, source, settings)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, ImportError) and trusted:
            raise
        # What is wrong may show anywhere; nobody is to catch all of torch's errors.
        reason = str(error) if isinstance(error, FormatError) else repr(error)
        raise FormatError(f"{os.fspath(path)!r} cannot be loaded: {reason}") from error


def _check_settings(settings: Mapping[str, Any]) -> torch.device:
    """Check what the caller sets, and return the device."""
    for name in settings:
        if name not in ("module", "pretrained") and not is_run_time(name):
            raise TypeError(
                f"load got {name}={settings[name]!r}, which the file sets. It takes "
                f"{', '.join(sorted({*RUN_TIME, 'pretrained'}))} and names that begin "
                f"with {', '.join(sorted(p + '__' for p in RUN_TIME_PREFIXES))}; "
                "change others by set_params afterwards."
            )
    # What the caller gives is none of the file's faults; any estimator tells.
    net = ImageClassifier(**settings)
    net._validate_params()
    net._check_parameters()
    return resolve_device(net.device)


@dataclass
class _Source:
    """What is to be known of a file, and what is left of what it may ask for."""

    trusted: Collection[str]
    device: torch.device
    n_parts: int
    n_generations: int = _GENERATIONS
    n_values: int = 0


def _estimator(
    tree: Any, module: Any, source: _Source, settings: Mapping[str, Any]
) -> ImageNet:
    trusted = source.trusted
    kind = _OWN.get(tree["class"].name) or resolve_name(tree["class"].name, trusted)
    if not (isinstance(kind, type) and issubclass(kind, ImageNet)):
        raise FormatError(f"the class {tree['class'].name!r} is no estimator")
    # What is not skvision's own may run any code, so that it need not be watched.
    given = {} if module is None else {"module": "auto"}  # Put in its place later.
    own = module is None and is_own_module(tree["params"]["module"])
    described = accepted_parameters(
        kind, {**tree["params"], **given}, trusted, own_module=own
    )
    params = _parameters(described, module, source)
    later = _set_later(kind, tree, module, source, own)
    if names := sorted(set(missed(tree["params"])) - settings.keys()):
        warn(
            f"The file's {', '.join(names)} is not taken, though a later fit depends "
            "on it: give it to skvision.load, or to set_params.",
        )
    net: Any = kind(**{**params, **settings})
    net._validate_params()
    net._check_parameters()
    facts = check_facts(net, tree["facts"])
    vars(net).update(facts)
    net.n_features_in_ = math.prod(net.image_shape_)
    if "classes_inferred_" in facts:
        net._set_classes(facts["classes_inferred_"])
    net.device_ = source.device
    net._start_randomness(facts["_seed"])
    net._pretrained_names = {str(name) for name in tree["pretrained_names"]}
    net._stored = partial(_network, state=tree["module_"], own=own, source=source)
    try:
        net.initialize()
    finally:
        del net._stored
    # It says how many images go through the network at once.
    measured = {"_n_values": source.n_values} if own else {}
    _fill(net, tree, {**facts, **measured})
    for name, value in later.items():
        setattr(net, name, value)
    net._validate_params()
    net._check_parameters()
    return net


def _set_later(
    kind: Any, tree: Any, module: Any, source: _Source, own: bool
) -> dict[str, Any]:
    """Return parameters that were set after the parts had been made."""
    later = tree.get("later", {})  # Older files have none.
    given = {"module": "auto"} if module is not None or "module" not in later else {}
    accepted = accepted_parameters(
        kind, {**later, **given}, source.trusted, own_module=own
    )
    params = _parameters(accepted, module, source)
    return {name: value for name, value in params.items() if name in later}


def _parameters(
    described: Mapping[str, Any], module: Any, source: _Source
) -> dict[str, Any]:
    described = dict(described)
    instance = described["module"]
    if module is not None:
        described["module"] = None
    elif isinstance(instance, Made) and instance.name == INSTANCE:
        raise FormatError(
            f"the network was given as an object of the class "
            f"{instance.params.get('class')!r}, which a file cannot hold; load with "
            "module=..., the class or such an object"
        )
    pretrained = described.get("pretrained")
    if isinstance(pretrained, Made) and pretrained.name == ESTIMATOR:
        described["pretrained"] = None
    params = {name: restore(v, source.trusted) for name, v in described.items()}
    if module is not None:
        params["module"] = module
    if isinstance(pretrained, Made) and pretrained.name == ESTIMATOR:
        source.n_generations -= 1
        if source.n_generations < 0:
            raise FormatError("it is pretrained on far too many estimators")
        params["pretrained"] = _estimator(pretrained.params, None, source, {})
    return params


# ------------------------------------------------------------------ the network


def _network(
    net: Any,
    made: nn.Module | None,
    state: Mapping[str, torch.Tensor],
    own: bool,
    source: _Source,
) -> nn.Module:
    """Return the network that an estimator's parameters describe, with its weights.

    It may be `made` already, by a method of a class that is trusted.
    """
    module = net._auto_module() if net.module == "auto" else net.module
    kwargs = net.get_params_for("module")
    if isinstance(module, str) and kwargs.get("weights") is not None:
        # They come from the file instead.
        get_network(module)
        kwargs = kwargs | {"load_weights": False}
    if made is not None or not own:
        if made is None:
            made = build_network(module, net._facts(), kwargs)
        network = made.to(net._dtype)
        check_weights(state, network.state_dict(), "its network")
        network.load_state_dict(state)
    else:
        # Without memory, until it is certain that the file has as much to put there.
        with _few_parts(source), torch.device("meta"):
            try:
                network = build_network(module, net._facts(), kwargs)
            except (NotImplementedError, ValueError):
                # Such as RegNet's, which computes its widths by tensors.
                with _SmallNumbers():
                    network = build_network(module, net._facts(), kwargs)
            network = network.to(net._dtype)
            _check_state(network, state)
            source.n_values = _check_output(net, network)
        check_finite(state)
        network = network.to_empty(device="cpu")
        # As load_state_dict would, but that takes the square of the number of layers.
        for name, value in network.state_dict().items():
            value.copy_(state[name])
    net.network_shape_ = network_shape(
        net.image_shape_, getattr(network, "input_spec", None)
    )
    return network


@contextlib.contextmanager
def _few_parts(source: _Source) -> Iterator[None]:
    """Let networks have about as many parts as a file has bytes."""
    thread = threading.get_ident()

    def count(*args: Any) -> None:
        if threading.get_ident() == thread:
            source.n_parts -= 1
            if source.n_parts < 0:
                raise FormatError("its network has far more layers than weights")

    hooks = [
        register_module_module_registration_hook(count),
        register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _SmallNumbers(TorchFunctionMode):
    """Has lists and short ranges of numbers as they are, not without memory."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        short = func is torch.arange and all(abs(n) < _NUMBERS for n in args)
        if short or func is torch.tensor:
            kwargs = {"device": "cpu", **kwargs}
        return func(*args, **kwargs)


class _Work(TorchDispatchMode):
    """Notes the largest new tensor, and counts operations on numbers."""

    n_bytes = n_steps = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        given = {storage._cdata for storage in _storages(args)}
        for storage in _storages(output):
            if storage._cdata not in given:
                self.n_bytes = max(self.n_bytes, storage.nbytes())
        self.n_steps += _steps_of(func, args, kwargs, output)
        return output


def _steps_of(func: Any, args: Any, kwargs: Any, output: Any) -> int:
    """Return about how many numbers an operation computes with."""
    kind = func.overloadpacket
    if kind in flop_registry:  # Products of matrices, and convolutions.
        return int(flop_registry[kind](*args, **kwargs, out_val=output))
    n_values = sum(tensor.numel() for tensor in _tensors(output))
    name = kind.__name__
    pools = "pool" in name and "adaptive" not in name
    return n_values * math.prod(args[1]) if pools else n_values


def _tensors(values: Any) -> list[torch.Tensor]:
    return [v for v in tree_leaves(values) if isinstance(v, torch.Tensor)]


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [tensor.untyped_storage() for tensor in _tensors(values)]


def _check_state(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    expected = {k: (tuple(v.shape), v.dtype) for k, v in network.state_dict().items()}
    if unknown := [k for k, _ in network.named_buffers() if k not in expected]:
        raise FormatError(f"its network has {unknown[0]!r}, which no file holds")
    found = {k: (tuple(v.shape), v.dtype) for k, v in state.items()}
    if expected != found:
        odd = sorted(k for k in {*expected, *found} if expected.get(k) != found.get(k))
        raise FormatError(
            f"its weights do not fit its network {type(network).__name__}: "
            f"{', '.join(odd[:5])}"
        )


def _check_output(net: Any, network: nn.Module) -> int:
    """Check what comes out of a network on the meta device for the file's shapes.

    Returns
    -------
    n_values : int
        In the largest output of a layer, for one image.
    """
    shape = network_shape(net.image_shape_, getattr(network, "input_spec", None))
    images = torch.empty((2, math.prod(shape)) if net._flat else (2, *shape))
    images = images.to(net._dtype)
    if isinstance(net, ImageAutoencoder):
        check_autoencoder(network)
    network.eval()
    with torch.no_grad(), _Work() as work, noting_outputs(network) as sizes:
        output: Any = network(images)
    network.train()
    n_weights = sum(weight.numel() for weight in network.parameters())
    most = max(_VALUES, _VALUES_PER_PIXEL * math.prod(shape), n_weights)
    if work.n_bytes > len(images) * most * net._dtype.itemsize:
        raise FormatError(
            f"its network makes {work.n_bytes / 2**20:.0f} MB of an image of shape "
            f"{shape}"
        )
    n_steps = work.n_steps // len(images)
    if n_steps > max(_STEPS, _STEPS_PER_WEIGHT * n_weights * math.prod(shape[1:])):
        raise FormatError(
            f"its network needs {n_steps:.1e} operations for an image of shape {shape}"
        )
    n_outputs = getattr(net, "n_outputs_", None)
    first = output[0] if isinstance(output, tuple) else output
    expected = images.shape if n_outputs is None else (2, n_outputs)
    if tuple(first.shape) != tuple(expected):
        raise FormatError(
            f"its network returns {tuple(first.shape)} in the place of "
            f"{tuple(expected)}"
        )
    return max(sizes)


# ---------------------------------------------------------------- all the rest


def _fill(net: Any, tree: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Put the state of a file into the parts of an estimator."""
    net.scaler_.set_statistics(*check_scaler(net, tree["scaler"]), device=net.device_)
    if isinstance(net, ImageRegressor):
        pair = torch.zeros(net.n_outputs_), torch.ones(net.n_outputs_)
        # Files from before there was a scale have neither.
        if "normalize_target" in tree["params"]:
            pair = check_target_scaler(net, tree["target_scaler"])
        net.scaler_.target.set_statistics(*pair, device=net.device_)
    # Files of before divided uint8 alone, and said nothing.
    net.scaler_.divisors = check_divisors(tree.get("divisors", (255, 1)))
    if net.scaler_.divisors is None and hasattr(net, "pixel_range_"):
        raise FormatError("it has a range of pixels, but not what divides them")
    if hasattr(net.criterion_, "load_state_dict"):
        state = tree[PARTS[1]]
        check_weights(state, net.criterion_.state_dict(), "its criterion")
        net.criterion_.load_state_dict(state)
    check_optimizer(net.optimizer_, tree[PARTS[2]])
    set_optimizer_state(net.optimizer_, tree[PARTS[2]])
    net._generator.set_state(tree["generator"])
    net.history_ = History(check_history(tree["history"]))
    set_callback_states(net.callbacks_, check_callbacks(tree["callbacks"]))
    vars(net).update({k: v for k, v in facts.items() if k != "classes_inferred_"})
    # Files of before say neither.
    steps = tree.get("schedules", {})
    net._schedule_steps = check_schedules(steps, net.history_.to_list())
    if "trained" in tree:
        train_only(net.module_, check_trained(net.module_, tree["trained"]))
    net._enter_mode(training=False)
