"""Networks, losses and optimizers: made of parameters, tried, and made again.

`ChangesMixin` tells what becomes of them where parameters change between trainings.

`build_network` makes a network of what a parameter names. Everything else is done to
networks wherever they come from: subclasses may make their own.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from numbers import Number
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, InputShapeSetter, ParamMapper
from skorch.history import History
from torch import nn

from skvision._compat import forget_compiled, gradient_hooks, maps_at_once
from skvision._identity import fingerprint
from skvision._warnings import warn
from skvision.estimators._parameters import check_names
from skvision.networks import EncoderClassifier, get_network
from skvision.networks._layers import noting_outputs
from skvision.networks._transfer import (
    frozen_names,
    rate_mults,
    released_names,
    split_groups,
)
from skvision.persistence._pickles import moved_parts
from skvision.persistence._tree import shown
from skvision.training._losses import (
    CRITERIA,
    FUSED,
    OPTIMIZERS,
    check_no_layer,
    output_kind,
    resolve,
)
from skvision.training._optimizers import forget_unfit_state, group_setting, set_groups
from skvision.training._schedules import begun_schedules

#: Facts that are inferred at fit and given to networks that name them.
FACTS = ("image_shape", "n_outputs")


def resolve_device(device: Any) -> torch.device:
    """Return the device that a `device` parameter means.

    Raises
    ------
    ValueError
        If it is a CUDA device that torch does not find.
    """
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = {None: "cpu", "auto": automatic}.get(device, device)
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is no torch device: {error}") from error
    if device.type == "meta":
        raise ValueError(
            "device='meta' holds no values. Use device='auto' or device='cpu'."
        )
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= found:
            raise ValueError(
                f"device={str(device)!r}, but torch finds {found} CUDA device(s) on "
                "this machine. Use device='auto' or device='cpu'."
            )
    return device


def twin_of(value: Any, **attributes: Any) -> Any:
    """Return an object of the same attributes, but for some."""
    twin = object.__new__(type(value))
    vars(twin).update(vars(value), **attributes)
    return twin


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy of a network, with the hooks that its weights have.

    torch leaves out what was to happen to their gradients.
    """
    other = copy.deepcopy(module)
    for old, new in zip(module.parameters(), other.parameters(), strict=True):
        hooks, later = gradient_hooks(old)
        if hooks or later:
            trained = new.requires_grad
            new.requires_grad_(True)  # Others take no hooks.
            for hook in hooks:
                new.register_hook(hook)
            for hook in later:
                new.register_post_accumulate_grad_hook(hook)
            new.requires_grad_(trained)
    return other


def build_network(
    module: Any, facts: dict[str, Any], kwargs: dict[str, Any]
) -> nn.Module:
    """Return a fresh network.

    Parameters
    ----------
    module : str, class, callable or torch.nn.Module
        A name, something that returns a network, or a network to copy.
    facts : dict
        ``image_shape`` and ``n_outputs`` as inferred; what the signature does not
        name is left out.
    kwargs : dict
        The ``module__*`` parameters; they win over `facts`.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    TypeError
        If `module` does not give a network, or lacks arguments.
    ValueError
        If it does not take one of `kwargs`.
    """
    if isinstance(module, nn.Module):
        if not kwargs:
            # The instance keeps its weights for the next fit or clone.
            return copied(module)
        warn(
            f"module is an instance of {type(module).__name__}, and "
            f"{', '.join(f'module__{name}' for name in kwargs)} make(s) another one of "
            "its class, without its weights and settings. Give the class and all that "
            "it is to be made with, or set this in the instance."
        )
        module = type(module)
    if isinstance(module, str):
        module = get_network(module)
    check_names("module", module, kwargs)
    parameters = inspect.signature(module).parameters
    known = {
        name: facts[name] for name in FACTS if name in parameters and name in facts
    }
    arguments = known | kwargs
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in arguments
    ]
    if missing:
        raise TypeError(
            f"{_title(module)} needs the argument(s) {', '.join(missing)}: set "
            f"{', '.join('module__' + name for name in missing)}."
        )
    network = module(**arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"module={_title(module)} returned {type(network).__name__}; expected a "
            "torch.nn.Module."
        )
    return network


def network_shape(image_shape: tuple[int, ...], spec: Any) -> tuple[int, ...]:
    """Return the shape of what a network gets of images, by its `input_spec`."""
    if spec is None or spec.size is None:
        return image_shape
    return (image_shape[0], *spec.size)


def is_convolutional(network: nn.Module) -> bool:
    """Whether a network has layers that are faster with channels last."""
    kinds = nn.Conv2d, nn.ConvTranspose2d
    return any(isinstance(layer, kinds) for layer in network.modules())


def with_channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return images, (b, C, H, W), whose values lie pixel by pixel in memory.

    Convolutions hand on what they get, so that all layers work in this order. Rows of
    features stay as they are.
    """
    if images.ndim != 4:
        return images
    b, n_channels, height, width = images.shape
    if n_channels == 1:
        # Both orders are the same; only strides tell which one is meant.
        rows = images.reshape(b, height, width, 1).contiguous()
        return rows.permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


def with_channels_first(images: torch.Tensor) -> torch.Tensor:
    """Return images, (b, C, H, W), whose values lie channel by channel in memory."""
    if images.ndim == 4 and images.shape[1] == 1:
        return images.flatten(1).view(images.shape)  # See above.
    return images.contiguous()


def probe_network(
    network: nn.Module,
    input_shape: tuple[int, ...],
    n_outputs: int | None,
    *,
    channels_last: bool = False,
) -> tuple[str, int]:
    """Run a network once, so that what does not fit is known before training.

    This also gives lazily shaped layers their parameters.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU; its training mode is left as found.
    input_shape : tuple of int
        Of one image, or (n_features,).
    n_outputs : int or None
        Expected width of the output; None means any.
    channels_last : bool, default=False
        How the images lie in memory.

    Returns
    -------
    kind : {"logits", "Softmax", "LogSoftmax"}
    n_values : int
        In the largest output of a layer, for one image.

    Raises
    ------
    ValueError
        If the network cannot take such images, returns another number of outputs,
        or has nothing to train.
    """
    title = type(network).__name__
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    size = int(torch.Size((2, *input_shape)).numel())
    images = torch.linspace(-1, 1, size, dtype=dtype).reshape(2, *input_shape)
    if channels_last:
        images = with_channels_last(images)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            output, n_values = noting_outputs(network, lambda: network(images))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = "rows" if len(input_shape) == 1 else "images"
        raise ValueError(
            f"The network {title} cannot take {what} of shape {tuple(input_shape)}: "
            f"{error}"
        ) from error
    finally:
        network.train(was_training)
    output = output[0] if isinstance(output, tuple) else output
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"The network {title} returned {type(output).__name__}; expected a tensor "
            "of shape (batch, n_outputs)."
        )
    width = output.shape[1] if output.ndim == 2 else 1 if output.ndim == 1 else None
    if n_outputs is not None and width != n_outputs:
        raise ValueError(
            f"The network {title} returned outputs of shape {tuple(output.shape)} for "
            f"2 images; expected (2, {n_outputs}). A network whose signature names "
            "n_outputs is told the number it needs."
        )
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError(f"The network {title} has no parameters to train.")
    return output_kind(output), n_values


def encoder_and_head(pretrained: Any) -> Callable[..., nn.Module]:
    """Return what makes a classifier's network of an autoencoder's encoder.

    It has new weights, so that those of the autoencoder can be mixed with them later.
    """
    encoder = copy.deepcopy(pretrained.encoder_)
    for layer in encoder.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return partial(EncoderClassifier, encoder=encoder)


def build_criterion(net: Any) -> Any:
    """Return a new loss, by the parameter `criterion` and its arguments.

    Raises
    ------
    ValueError
        If it takes no such argument, or is a layer instead of a loss.
    """
    given, kwargs = net.criterion, net.get_params_for("criterion")
    criterion = resolve(given, net._named_criteria)
    if isinstance(criterion, nn.Module):
        criterion = type(criterion) if kwargs else copied(criterion)
    else:
        check_names("criterion", criterion, kwargs)
    built = net.initialized_instance(criterion, kwargs)
    check_no_layer(built)
    if isinstance(given, nn.Module) and kwargs:
        _warn_of_lost(given, built, kwargs)
    return built.to(net._dtype) if isinstance(built, nn.Module) else built


def build_optimizer(net: Any) -> Any:
    """Return a new optimizer, by the parameter `optimizer` and its arguments.

    Among these are ``param_groups__i__name`` for what one group of weights has.

    Raises
    ------
    TypeError, ValueError
        If it takes no such argument, or has no such group.
    """
    (groups,), kwargs = net.get_params_for_optimizer(
        "optimizer", net.get_all_learnable_params()
    )
    optimizer = resolve(net.optimizer, OPTIMIZERS)
    of_groups = {k: v for k, v in kwargs.items() if "param_groups__" in k}
    kwargs = {k: v for k, v in kwargs.items() if k not in of_groups}
    check_names("optimizer", optimizer, kwargs)
    if (
        net.device_.type in ("cpu", "cuda")
        and any(optimizer is kind for kind in FUSED)
        and not {"foreach", "differentiable"} & kwargs.keys()
    ):
        kwargs.setdefault("fused", True)
    mults = rate_mults(net.module_, net._pretrained_names, net.pretrained_lr_mult)
    if any(mult != 1 for mult in mults.values()):
        groups = split_groups(groups, mults, kwargs["lr"])
    try:
        built = optimizer(groups, **kwargs)
    except TypeError as error:
        shown = ", ".join(f"optimizer__{k}={v!r}" for k, v in kwargs.items())
        raise TypeError(
            f"The optimizer {getattr(optimizer, '__name__', optimizer)} cannot be "
            f"made with {shown}: {error}."
        ) from error
    for name, value in of_groups.items():
        place = group_setting(f"optimizer__{name}")
        if place is None or not set_groups(built, *place, value):
            raise ValueError(
                f"optimizer__{name}={value!r}: the optimizer has "
                f"{len(built.param_groups)} group(s) of parameters, numbered from 0, "
                "and no such setting of one of them."
            )
    return built


def warn_about_softmax(kind: str, network: nn.Module, criterion: nn.Module) -> None:
    """Warn of a softmax that the criterion applies a second time."""
    if kind == "logits" or not isinstance(criterion, nn.CrossEntropyLoss):
        return
    consequence = (
        "twice applied, it flattens the gradients and training may stall"
        if kind == "Softmax"
        else "once is enough"
    )
    warn(
        f"The network {type(network).__name__} ends in {kind}, and the criterion "
        f"{type(criterion).__name__} applies a softmax itself: {consequence}. Let the "
        "network return logits.",
    )


def warn_of_freezing(net: Any) -> None:
    """Warn of random weights that are frozen, and of epochs that do not come.

    Networks of the user's own may bring weights; those that names stand for do not.
    """
    random = net._frozen - net._pretrained_names
    if random and isinstance(net.module, str):
        first, *others = [n for n, _ in net.module_.named_parameters() if n in random]
        warn(
            f"freeze={net.freeze!r} keeps random weights from being trained: {first}"
            f"{f' and {len(others)} others' if others else ''}. Give weights to begin "
            "with, by pretrained=... or, for networks of torchvision and timm, "
            "module__weights=True, or set freeze=None."
        )
    last = max(released_names(net.module_, net._frozen, net.unfreeze_at), default=0)
    if 0 < net.max_epochs < last and not net.warm_start:
        warn(
            f"unfreeze_at={net.unfreeze_at!r} waits for epoch {last}, but max_epochs="
            f"{net.max_epochs}: what was to be trained from then on stays frozen. Set "
            f"max_epochs to {last} or more, or unfreeze_at to less."
        )


def _title(module: Callable) -> str:
    return getattr(module, "__name__", None) or repr(module)


def check_autoencoder(network: nn.Module) -> None:
    """Check that a network is made of an encoder and a decoder."""
    for part in ("encoder", "decoder"):
        if not isinstance(getattr(network, part, None), nn.Module):
            raise ValueError(
                f"The network {type(network).__name__} has no {part}: "
                "ImageAutoencoder needs one with submodules encoder and decoder."
            )


def _warn_of_lost(given, built, kwargs):
    """Warn of settings of a criterion that another one of its class does not have."""
    lost = {
        name: value
        for name, value in vars(given).items()
        if isinstance(value, (bool, int, float, str))
        and name not in {*kwargs, "training"}
        and vars(built).get(name) != value
    }
    if lost:
        warn(
            f"criterion is an instance of {type(given).__name__} with "
            f"{', '.join(f'{k}={v!r}' for k, v in lost.items())}, which is lost, as "
            f"{', '.join(f'criterion__{name}' for name in kwargs)} make(s) another "
            "one. Give the class, and all settings by criterion__*."
        )


def try_loss(net: Any, data: Any) -> None:
    """Compute the loss of some rows, so that what does not fit shows before training.

    Raises
    ------
    ValueError
        If augmentation changes the size of images, or the criterion does not take
        outputs and targets.
    """
    # Losses of the user's may count their calls, and record parts of what they return.
    given, net = net, twin_of(net, history_=History())
    net.history_.new_epoch()
    net.history_.new_batch()
    # Other numbers of rows than outputs, which a loss might take for each other.
    n_rows = 3 if getattr(net, "n_outputs_", None) == 2 else 2
    batch = data[np.arange(min(n_rows, len(data)))]
    X, y, *weight = (part.to(net.device_) for part in batch)
    if data.images.steps is not None:
        X = data.images.steps(X)
    net._enter_mode(training=False)
    with torch.no_grad():
        images, target, *weight = net._prepared((X, y, *weight), training=True)
        if net.compile:
            # The network itself, since to compile it for these rows would take long.
            outputs = net._finished(net.module_.forward(net._to_input(images)))
        else:
            outputs = net.infer(images)
        if net._output_kind is None:
            # It was initialized before it saw images.
            first = outputs[0] if isinstance(outputs, tuple) else outputs
            given._output_kind = net._output_kind = output_kind(first)
        try:
            with warnings.catch_warnings():
                # That shapes differ, of losses that compare all with all.
                warnings.filterwarnings("error", "Using a target size")
                loss = net._loss(outputs, target, images, weight, training=True)
        except (IndexError, RuntimeError, TypeError, ValueError, UserWarning) as error:
            first = outputs[0] if isinstance(outputs, tuple) else outputs
            raise ValueError(
                f"The criterion {_criterion_shown(net)} cannot take outputs of shape "
                f"{tuple(first.shape)} and targets of shape {tuple(target.shape)}: "
                f"{error} Choose another criterion, or other criterion__* parameters."
            ) from error
    if loss.ndim:
        raise ValueError(
            f"The criterion {_criterion_shown(net)} returned {tuple(loss.shape)} "
            "values for a batch; expected one: set criterion__reduction to 'mean'."
        )


def _criterion_shown(net: Any) -> str:
    settings = net.get_params_for("criterion")
    shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"{type(net.criterion_).__name__}({shown})"


#: What another network, loss or optimizer is built of.
_BUILT_ANEW = ("module", "criterion", "optimizer")


class Beginning:
    """Lets callbacks set, in ``on_train_begin``, what the network is built of.

    That is how skorch's `InputShapeSetter` works. What they set by `set_params` is
    built at once, so that callbacks after them find it; what cannot be built yet is
    tried again when all have been told.

    Parameters
    ----------
    net : estimator
    split : Split
        The rows that it is going to be trained on.
    goes_on : bool
        Whether the network was trained before, so that it must stay as it is.
    unbuilt : Exception, default=None
        Why there is no network yet.
    """

    def __init__(
        self, net: Any, split: Any, *, goes_on: bool, unbuilt: Exception | None = None
    ) -> None:
        self.net, self.split, self.goes_on = net, split, goes_on
        self.unbuilt = unbuilt

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Let callbacks be told, and have what they set built when it ends.

        Raises
        ------
        TypeError, ValueError
            If there is no network then, or one that cannot be trained.
        """
        net = self.net
        net._beginning = self
        try:
            yield
        except AttributeError as error:
            if self.unbuilt is None:
                raise
            self.unbuilt.add_note(
                "A callback's on_train_begin might have set what is missing, but one "
                f"before it needed the network: {error}. Let callbacks that set "
                "parameters come first."
            )
            raise self.unbuilt from error
        finally:
            del net._beginning
        if self.unbuilt is not None:
            self._build()
        begun = begun_schedules(net)
        for name, callback in net.callbacks_:
            if name in begun and begun[name].optimizer is not net.optimizer_:
                callback.on_train_begin(net)  # Its optimizer has been replaced since.

    def note(self, names: Iterable[str]) -> None:
        """Build anew what callbacks have set, if it can be built already."""
        changed = {} if self.unbuilt else self.net._changed()
        if self.goes_on:
            self.net._check_changed(changed)
            return
        kinds = {name.partition("__")[0] for name in changed or names}
        if not kinds & {*_BUILT_ANEW}:
            return
        try:
            self._build()
        except (TypeError, ValueError) as error:
            self.unbuilt = error

    def _build(self) -> None:
        with self.net._unchanged_on_error():
            self.net._build_anew(self.split)
        self.unbuilt = None


def sets_parameters(net: Any) -> bool:
    """Whether a callback of the user's, or the estimator's own, may set parameters."""
    own = getattr(type(net), "on_train_begin", None)
    if own is not NeuralNet.on_train_begin:
        return True
    return any(
        getattr(type(callback), "on_train_begin", None) is not Callback.on_train_begin
        and (
            type(callback).__module__.partition(".")[0] not in ("skorch", "skvision")
            or isinstance(callback, InputShapeSetter)
        )
        for _, callback in net.callbacks_
    )


#: Of what a network and its scaling are made: others are another network.
_BUILT = ("module", "dtype", "normalize", "normalize_target", "image_size", "resize")
_WEIGHTS = ("pretrained", "pretrained_mix")
_OPTIMIZER = ("optimizer", "lr", "pretrained_lr_mult")
_CALLBACKS = ("callbacks", "early_stopping", "n_iter_no_change", "epoch_scoring")
#: All others are looked at whenever they are needed.
_TRACKED = {
    *(*_BUILT, *_WEIGHTS, *_OPTIMIZER, *_CALLBACKS),
    *("compile", "criterion", "device", "freeze", "unfreeze_at"),
    *("memory_format", "random_state"),
}


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
        if changed.keys() & {"freeze", "unfreeze_at"} and self.freeze is not None:
            names = frozen_names(self.module_, self.freeze, self._frozen)
            released_names(self.module_, names, self.unfreeze_at)
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
        device = resolve_device(self.device) if "device" in kinds else self.device_
        if device != self.device_:
            vars(self).update(moved_parts(vars(self), device), device_=device)
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
        if kinds & {"freeze", "unfreeze_at"}:
            parameters = dict(self.module_.named_parameters())
            for name in self._frozen:
                parameters[name].requires_grad_(True)
            self._freeze(self.module_)
            self._unfreeze(range(len(self.history) + 1))
        if "compile" in kinds:
            forget_compiled(self.module_)
            self.torch_compile(self.module_, "module")
        self._made_with = self._tracked()

    def _freeze(self, network):
        """Exclude from training what `freeze` names."""
        names = () if self.freeze is None else frozen_names(network, self.freeze)
        parameters = dict(network.named_parameters())
        self._frozen = frozenset(n for n in names if parameters[n].requires_grad)
        released_names(network, self._frozen, self.unfreeze_at)  # Raises if in vain.
        for name in self._frozen:
            parameters[name].requires_grad_(False)

    def _unfreeze(self, epochs):
        """Train from now on what `unfreeze_at` has for these epochs."""
        names = released_names(self.module_, self._frozen, self.unfreeze_at)
        parameters = dict(self.module_.named_parameters())
        for epoch in names.keys() & {*epochs}:
            for name in names[epoch]:
                parameters[name].requires_grad_(True)

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
        kept, self.callbacks = self.callbacks, [] if given == "disable" else given
        try:
            return dict(self._uniquely_named_callbacks())
        finally:
            self.callbacks = kept

    def _change_optimizer(self, kinds, *, anew):
        """Make a new optimizer if what it is made of is other; what fits is kept."""
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
    if isinstance(one, Number) and isinstance(other, Number):
        return bool(one == other)
    try:
        return fingerprint(one) == fingerprint(other)
    except Exception:
        return False  # What cannot be compared is another one.
