"""Weights from elsewhere, weights that stay as they are, and features for others."""

from __future__ import annotations

import copy
import difflib
import fnmatch
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from skvision._warnings import warn
from skvision.exceptions import FormatError
from skvision.networks._weights import check_weights, read_weights, unwrapped

#: Under what names others keep a network: for several GPUs, compiled, or in trainings.
_WRAPPERS = ("module", "_orig_mod", "model", "backbone")


def load_pretrained(network: nn.Module, pretrained: Any, mix: float) -> set[str]:
    """Put pretrained weights into a network, in place, and return their names.

    Tried in this order: the whole network; the encoder of both; the source as the
    network's encoder. The encoder is the submodule of that name or, where there is
    none, all layers but the last one that has parameters. The names may have prefixes
    that wrappers give them. A warning tells what a file or a dict has that was left
    out, and what prefix was.

    Parameters
    ----------
    network : torch.nn.Module
    pretrained : fitted estimator, torch.nn.Module, dict, str or os.PathLike
        Where the weights come from; a file is one that ``torch.save`` made of a
        ``state_dict``, or of a dict that has one, or, with the suffix .safetensors, a
        safetensors file.
    mix : float
        In [0, 1]: weights become ``mix * pretrained + (1 - mix) * own``.

    Raises
    ------
    ValueError
        If the weights do not fit, or are no finite numbers; the message has the names.
    """
    source, said = _state_of(pretrained)
    target = network.state_dict()
    before_head = encoder_names(network)
    ours = [name for name in target if name in before_head]
    tried = []
    for prefix in _prefixes(source):
        names = [name for name in source if name.startswith(prefix)]
        plain = {name.removeprefix(prefix): source[name] for name in names}
        candidates = [
            (plain, list(target)),
            ({name: plain[name] for name in ours if name in plain}, ours),
            ({f"encoder.{name}": value for name, value in plain.items()}, ours),
        ]
        tried += [
            (_misfits(one, target, names), one, prefix)
            for one, names in candidates
            if names
        ]
    problems, candidate, prefix = min(tried, key=lambda found: len(found[0]))
    if problems:
        raise ValueError(
            f"The pretrained weights do not fit the network {type(network).__name__}: "
            f"{'; '.join(problems)}."
        )
    is_file = isinstance(pretrained, (str, os.PathLike))
    shown = f"={os.fspath(pretrained)!r}" if is_file else ""
    error = FormatError if is_file else ValueError
    check_weights(candidate, target, f"pretrained{shown}", error)
    if is_file or isinstance(pretrained, Mapping):
        _warn_of_others(f"pretrained{shown}", said, source, candidate, target, prefix)
    with torch.no_grad():
        for name, value in candidate.items():
            own = target[name]
            value = value.to(own)
            if own.is_floating_point():
                # lerp gives exactly the pretrained weights at mix=1, and NaN of two
                # values that are infinite, as in masks.
                value = torch.where(own == value, own, own.lerp(value, mix))
            own.copy_(value)
    return set(candidate)


def _prefixes(source: Mapping[str, Any]) -> list[str]:
    """Return what wrappers may have put before the names of weights, nothing first."""
    found = {"": None}
    for name in source:
        prefix = ""
        for part in name.split(".")[:-1][:3]:
            if part not in _WRAPPERS:
                break
            prefix += part + "."
            found[prefix] = None
    return [*found]


def _warn_of_others(
    title: str,
    said: str,
    source: Mapping[str, torch.Tensor],
    taken: Mapping[str, torch.Tensor],
    target: Mapping[str, torch.Tensor],
    prefix: str,
) -> None:
    """Warn of weights that were left out, and of names that were changed."""
    parts = [said] if said else []
    if prefix:
        parts.append(f"the prefix {prefix!r} of its names was left out")
    ids = {id(value) for value in taken.values()}
    if left := {k: v for k, v in source.items() if id(v) not in ids}:
        parts.append(f"of its weights, these were not taken: {_listed(left)}")
    if own := {k: v for k, v in target.items() if k not in taken}:
        parts.append(f"the network has new ones in its head: {_listed(own)}")
    if said or prefix or left:
        warn(f"{title}: {'; '.join(parts)}.")


def _listed(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the names and shapes of a few weights."""
    shown = [f"{name} {tuple(value.shape)}" for name, value in weights.items()]
    more = f" and {len(shown) - 4} others" if len(shown) > 4 else ""
    return ", ".join(shown[:4]) + more


def has_encoder(network: nn.Module) -> bool:
    """Whether what a network's head gets is made by a submodule of that name.

    In others, as torchvision's vision transformers, it is one step on the way to that.
    """
    if not isinstance(getattr(network, "encoder", None), nn.Module):
        return False
    first, _ = next(network.named_parameters(), ("encoder.", None))
    return first.startswith("encoder.")


def encoder_names(network: nn.Module) -> set[str]:
    """Return the names of all weights and buffers before the network's head."""
    names = network.state_dict().keys()
    if has_encoder(network):
        return {name for name in names if name.startswith("encoder.")}
    head = _head_name(network) + "."
    return {name for name in names if not name.startswith(head)}


def _head_name(network: nn.Module) -> str:
    *_, (last, _) = network.named_parameters(remove_duplicate=False)
    return last.rpartition(".")[0]


def frozen_names(
    network: nn.Module, freeze: str | Iterable[str], released: Iterable[str] = ()
) -> set[str]:
    """Return the names of parameters that are to be excluded from training.

    Parameters
    ----------
    network : torch.nn.Module
    freeze : str or list of str
        "encoder" or "backbone" (all before the head), or patterns of parameter names
        such as ``"layer1.*"``.
    released : iterable of str, default=()
        Names of parameters that are excluded now, and will be trained unless they are
        named again.

    Raises
    ------
    ValueError
        If nothing matches, or nothing would be left to train.
    """
    parameters = dict(network.named_parameters())
    frozen: set[str] = set()
    for pattern in [freeze] if isinstance(freeze, str) else freeze:
        matched = _matching(network, pattern)
        if not matched:
            raise ValueError(
                f"freeze={pattern!r} matches no parameter of the network "
                f"{type(network).__name__}; it has: {', '.join(parameters)}."
            )
        frozen |= matched
    trained = {name for name, p in parameters.items() if p.requires_grad}
    if not {*trained, *released} - frozen:
        raise ValueError(
            f"freeze={freeze!r} leaves the network {type(network).__name__} without "
            "parameters to train."
        )
    return frozen


def _matching(network: nn.Module, pattern: str) -> set[str]:
    """Return the names of parameters that a pattern, or "encoder", stands for."""
    parameters = dict(network.named_parameters())
    if pattern in ("encoder", "backbone"):
        return encoder_names(network) & parameters.keys()
    return set(fnmatch.filter(parameters, pattern))


def released_names(
    network: nn.Module,
    frozen: Collection[str],
    unfreeze_at: int | Mapping[int, str | Iterable[str]] | None,
) -> dict[int, set[str]]:
    """Return which frozen parameters are trained from which epochs on.

    Parameters
    ----------
    network : torch.nn.Module
    frozen : collection of str
        Names of parameters that are excluded from training.
    unfreeze_at : int, dict or None
        The epoch from which on all are trained, or a dict of epochs and patterns.

    Raises
    ------
    ValueError
        If a pattern matches none of them.
    """
    if unfreeze_at is None:
        return {}
    if not isinstance(unfreeze_at, Mapping):
        return {unfreeze_at: {*frozen}}
    found: dict[int, set[str]] = {}
    for epoch, patterns in unfreeze_at.items():
        found[epoch] = set()
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matched = _matching(network, pattern) & {*frozen}
            if not matched:
                raise ValueError(
                    f"unfreeze_at={unfreeze_at!r}: {pattern!r} matches none of the "
                    f"parameters that freeze= excludes from training: "
                    f"{', '.join(sorted(frozen))}."
                )
            found[epoch] |= matched
    return found


def train_unfrozen(network: nn.Module) -> None:
    """Keep frozen parts in evaluation mode as a whole.

    Those are the submodules that have parameters, none of which is trained. In training
    mode running statistics would drift away from the frozen weights, and dropout would
    make other features of the same image each time.
    """
    frozen, kept, left = [], [], [network]
    while left:
        module = left.pop()
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            frozen.append(module)
        else:
            kept.append((module, module.training))
            left += module.children()
    for module in frozen:
        module.eval()
    for module, mode in kept:
        module.training = mode  # Some are in a frozen part and elsewhere, too.


def rate_mults(
    network: nn.Module,
    pretrained: Collection[str],
    pretrained_lr_mult: float | Mapping[str, float],
) -> dict[int, float]:
    """Return what rates of pretrained weights are multiplied by, by the weights' ids.

    Raises
    ------
    ValueError
        If a pattern matches no pretrained weight.
    """
    by_pattern = pretrained_lr_mult
    if not isinstance(by_pattern, Mapping):
        by_pattern = {"*": by_pattern} if pretrained else {}
    parameters = dict(network.named_parameters())
    found: dict[int, float] = {}
    for pattern, mult in by_pattern.items():
        matched = _matching(network, pattern) & {*pretrained}
        if not matched:
            names = [name for name in parameters if name in pretrained]
            raise ValueError(
                f"pretrained_lr_mult={pretrained_lr_mult!r}: {pattern!r} matches no "
                f"pretrained weight; there are: {', '.join(names) or 'none'}."
            )
        for name in matched:
            found.setdefault(id(parameters[name]), mult)
    return found


def split_groups(
    groups: list[dict[str, Any]], mults: Mapping[int, float], lr: float
) -> list[dict[str, Any]]:
    """Return an optimizer's groups, those apart whose rates are other ones.

    Parameters
    ----------
    groups : list of dict
        As an optimizer takes them.
    mults : dict
        What the rate is multiplied by, by the weights' ids; others have 1. Groups keep
        it as "lr_mult", for those who change the rate later.
    lr : float
        Of the groups that have none of their own.
    """
    own, others = [], []
    for group in groups:
        parts: dict[float, list[Any]] = {}
        for parameter in group["params"]:
            parts.setdefault(mults.get(id(parameter), 1), []).append(parameter)
        rate = group.get("lr", lr)
        if 1 in parts:
            own.append(group | {"params": parts.pop(1)})
        for mult, params in parts.items():
            changes = {"params": params, "lr": rate * mult, "lr_mult": mult}
            others.append(group | changes)
    return own + others


def _state_of(pretrained: Any) -> tuple[Mapping[str, torch.Tensor], str]:
    """Return the weights that `pretrained` stands for, and what to say of them."""
    network = getattr(pretrained, "module_", pretrained)
    if isinstance(network, nn.Module):
        return network.state_dict(), ""
    if isinstance(pretrained, dict):
        pretrained, said = unwrapped(pretrained)
        for name, value in pretrained.items():
            if not isinstance(value, torch.Tensor):
                raise TypeError(
                    f"pretrained={{{name!r}: ...}} should hold tensors; got "
                    f"{type(value).__name__}."
                )
        return pretrained, said
    if not isinstance(pretrained, (str, os.PathLike)):
        raise TypeError(
            "pretrained expects a fitted estimator, a module, a state_dict or a file; "
            f"got {type(pretrained).__name__}."
        )
    return read_weights(pretrained, f"pretrained={os.fspath(pretrained)!r}")


def _misfits(
    source: Mapping[str, torch.Tensor],
    target: Mapping[str, torch.Tensor],
    names: list[str],
) -> list[str]:
    """Say what keeps `source` from providing exactly the weights `names`."""
    missing = [f"{name} is missing" for name in names if name not in source]
    extra = [f"{name} is not in the network" for name in source if name not in names]
    shapes = [
        f"{name} has shape {tuple(source[name].shape)} instead of "
        f"{tuple(target[name].shape)}"
        for name in names
        if name in source and source[name].shape != target[name].shape
    ]
    return shapes + missing + extra


def trained_names(network: nn.Module) -> list[str]:
    """Return the names of a network's weights that are trained."""
    return [name for name, p in network.named_parameters() if p.requires_grad]


def train_only(network: nn.Module, names: Collection[str]) -> None:
    """Let some of a network's weights be trained, and no others."""
    for name, weight in network.named_parameters():
        weight.requires_grad_(name in names)


class FeatureReader:
    """Tells what a layer of a network makes of images, or what its head gets of them.

    The head gets what the encoder makes, where there is a submodule of that name, else
    what the last layer that has parameters gets.

    Parameters
    ----------
    network : torch.nn.Module
        It is not changed: a copy of its layers, in evaluation mode, has its weights.
    layer : str, default=None
        Name of a layer; None stands for the head's input.
    pooling : {"mean", "max"}, default=None
        What is taken of each map, where there are maps, (n, channels, height, width).
        None takes all values.

    Raises
    ------
    ValueError
        If there is no such layer, or, when called, if it does not make one tensor with
        a row for each image, or if it cannot be told what the head is.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str | None = None,
        pooling: str | None = None,
    ) -> None:
        self._title = type(network).__name__
        # Others may use the network meanwhile, compiled or with hooks of their own.
        weights = [*network.parameters(), *network.buffers()]
        own = copy.deepcopy(network, {id(tensor): tensor for tensor in weights})
        self._network, self._layer, self._pooling = own.eval(), layer, pooling
        self._calls: list[tuple[nn.Module, Any]] = []
        layers = dict(own.named_modules(remove_duplicate=False))
        self._children = [name for name, _ in own.named_children()]
        self._of_encoder = layer is None and has_encoder(own)
        if layer is not None and (layer == "" or layer not in layers):
            raise ValueError(
                f"layer={layer!r} is no layer of the network {self._title}"
                f"{_near(layer, layers) or '.'} It has, among others: "
                f"{', '.join(self._children)}; all names are in "
                "module_.named_modules()."
            )
        if layer is not None or self._of_encoder:
            self._chosen = layers["encoder" if layer is None else layer]
            self._chosen.register_forward_hook(self._note_output)
            return
        self._chosen = layers[_head_name(own)]
        for module in own.modules():
            if [*module.parameters(recurse=False)]:
                module.register_forward_pre_hook(self._note_input, with_kwargs=True)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch, (n, n_features)."""
        self._calls.clear()
        with torch.no_grad():
            self._network(images)
        found = [value for layer, value in self._calls if layer is self._chosen]
        problem = self._problem(found, len(images))
        if not problem:
            return self._flat(found[0])
        if self._layer is not None:
            raise ValueError(
                f"layer={self._layer!r} of the network {self._title} {problem}. Choose "
                "a layer that makes one tensor, with a row for each image."
            )
        raise ValueError(
            f"It cannot be told what the head of the network {self._title} gets: the "
            f"{'encoder' if self._of_encoder else 'last layer with parameters'} "
            f"{problem}. Give the name of a layer, whose output is taken: layer='...'. "
            f"There are, among others: {', '.join(self._children)}."
        )

    def _flat(self, features: torch.Tensor) -> torch.Tensor:
        if features.ndim == 4 and self._pooling is not None:
            at = (2, 3)
            return features.mean(at) if self._pooling == "mean" else features.amax(at)
        return features.flatten(1)

    def _problem(self, found: list[Any], n_images: int) -> str:
        """Return what keeps the values that were noted from being features, or ""."""
        if len(found) != 1:
            return f"is called {len(found)} times for a batch"
        if self._chosen is self._network:
            return "is none of its layers, but it itself"
        if self._layer is None and self._calls[-1][0] is not self._chosen:
            return "is not the last that is called"
        (value,) = found
        verb = "makes" if self._layer is not None or self._of_encoder else "gets"
        if not isinstance(value, torch.Tensor):
            return f"{verb} {type(value).__name__} instead of a tensor"
        if value.ndim == 0 or len(value) != n_images:
            return f"{verb} a tensor of shape {tuple(value.shape)} of {n_images} images"
        return ""

    def _note_output(self, layer: nn.Module, args: Any, output: Any) -> None:
        # Layers that come later may work in place.
        is_tensor = isinstance(output, torch.Tensor)
        self._calls.append((layer, output.clone() if is_tensor else output))

    def _note_input(self, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        value = next(iter([*args, *kwargs.values()]), None)
        if layer is self._chosen and isinstance(value, torch.Tensor):
            value = value.clone()
        self._calls.append((layer, value if layer is self._chosen else None))


def _near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x' or 'y'?", or nothing where no name is near."""
    close = difflib.get_close_matches(name, [*known], n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
