"""A network divided into a part that stays as it is and a head that is trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from skvision._compat import BatchNorm, n_changes
from skvision._random import drawn_since, generator_states

# Layers that draw in training, by which a sequence is divided before them.
_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
# By how much numbers that are the same but for rounding may differ, of the largest.
_ROUNDING = {torch.float64: 1e-11}


class Division(NamedTuple):
    """Where a network's head begins: at a layer, or within a sequence of layers.

    Attributes
    ----------
    name : str
        Of the layer, as ``network.named_modules()`` has it.
    start : int or None
        Of a sequence, the place of the head's first layer.
    """

    name: str
    start: int | None = None

    @property
    def layer(self) -> str:
        """Name of the head's first layer."""
        return (
            self.name if self.start is None else f"{self.name}.{self.start}".lstrip(".")
        )

    def head(self, network: nn.Module) -> nn.Module:
        """Return the head of a network, which shares its layers."""
        layer = network.get_submodule(self.name)
        if self.start is None:
            return layer
        assert isinstance(layer, nn.Sequential)
        return layer[self.start :]

    def cut(self, network: nn.Module) -> nn.Module:
        """Let a network end where its head begins, in place, and return it."""
        rest: nn.Module = nn.Identity()
        if self.start is not None:
            layer = network.get_submodule(self.name)
            assert isinstance(layer, nn.Sequential)
            rest = layer[: self.start]
        if not self.name:
            return rest
        parent, _, name = self.name.rpartition(".")
        setattr(network.get_submodule(parent), name, rest)
        return network


class Divided(NamedTuple):
    """A network that was divided.

    Attributes
    ----------
    division : Division
    trunk : torch.nn.Module
        The part before the head, in evaluation mode, with the network's own weights.
    features : torch.Tensor
        What it makes of the images that it was tried with.
    """

    division: Division
    trunk: nn.Module
    features: torch.Tensor


def divided(
    network: nn.Module, images: torch.Tensor, to_training: Callable[[nn.Module], object]
) -> Divided | None:
    """Return a network divided into what stays as it is and a head that is trained.

    What comes before the head is not trained, draws nothing and remembers nothing, and
    what it makes of an image depends on that image alone; the head gets it and nothing
    else, and its output is the network's. None stands for a network of which this is
    not so.

    Parameters
    ----------
    network : torch.nn.Module
        It is left as it is.
    images : torch.Tensor of shape (n, ...)
        Two images at least, as the network gets them.
    to_training : callable
        Puts a network into the mode in which it is trained.
    """
    try:
        with torch.no_grad():
            own = with_same_weights(network)
            to_training(own)
            for division in _candidates(own):
                if (found := _tried(division, own, images)) is not None:
                    return found
                own = with_same_weights(network)
                to_training(own)
    except Exception:  # Networks may do anything; this one then runs as a whole.
        return None
    return None


def _candidates(network: nn.Module) -> Iterator[Division]:
    """Yield places before all that is trained or changing, the last one first."""
    live = [name for name, layer in network.named_modules() if _is_live(layer)]
    if not live:
        return
    path = _common(live)
    layer = network.get_submodule(path)
    if type(layer) is nn.Sequential:
        yield from _within(path, layer, live)
    elif path:
        yield Division(path)
    while path:
        path, _, name = path.rpartition(".")
        layer = network.get_submodule(path)
        if type(layer) is nn.Sequential:
            yield from _within(path, layer, [f"{path}.{name}".lstrip(".")])
        elif path:
            yield Division(path)


def _within(path: str, layer: nn.Module, live: list[str]) -> Iterator[Division]:
    """Yield where the first live layer of a sequence is, if anything comes before."""
    n_before = len(path.split(".")) if path else 0
    first = {name.split(".")[n_before] for name in live}
    names = [name for name, _ in layer.named_children()]
    start = min(names.index(name) for name in first)
    if start or path:
        yield Division(path, start)


def _common(names: Iterable[str]) -> str:
    """Return the name of the layer that all of these are in."""
    split = [name.split(".") for name in names]
    shared = []
    for parts in zip(*split, strict=False):
        if len({*parts}) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _is_live(layer: nn.Module) -> bool:
    """Whether a layer is trained, or is known to do something else in training."""
    if any(weight.requires_grad for weight in layer.parameters(recurse=False)):
        return True
    if isinstance(layer, _DROPOUTS):
        return layer.training and layer.p > 0
    return layer.training and isinstance(layer, BatchNorm)


def with_same_weights(network: nn.Module) -> nn.Module:
    """Return a network with the same weights, and with buffers of its own."""
    shared = {id(weight): weight for weight in network.parameters()}
    return copy.deepcopy(network, shared)


def _tried(
    division: Division, network: nn.Module, images: torch.Tensor
) -> Divided | None:
    """Divide a network, in place, and try if that changes anything."""
    modes = [(layer, layer.training) for layer in network.modules()]
    head = division.head(network)
    given = _given_to_head(division, network, images)
    alone = _given_to_head(division, network.eval(), images[:1])
    if given is None or alone is None or not _same(head(alone.input), alone.output):
        return None
    for layer, mode in modes:
        layer.training = mode
    trunk = division.cut(network)
    buffers = [*trunk.buffers()]
    before = [n_changes(buffer) for buffer in buffers]
    states = generator_states()
    features = trunk(images)
    drawn = drawn_since(states) is not None
    if drawn or before != [n_changes(buffer) for buffer in buffers]:
        return None
    if features.ndim < 2 or not features.is_floating_point():
        return None
    # In evaluation, without the others, it makes the same of an image.
    if len(features) != len(images) or not _same(features, given.input):
        return None
    if not _same(features[:1], alone.input):
        return None
    return Divided(division, trunk.eval(), features)


class _Given(NamedTuple):
    """What a head got, and what it made of it."""

    input: torch.Tensor
    output: torch.Tensor


def _given_to_head(
    division: Division, network: nn.Module, images: torch.Tensor
) -> _Given | None:
    """Return what the head gets, if that is one tensor, once, and all it needs."""
    whole = network.get_submodule(division.name)
    first = whole
    if division.start is not None:
        first = [*whole.children()][division.start]
    calls: list[Any] = []
    made: list[Any] = []

    def note_input(_: object, args: tuple, kwargs: dict) -> None:
        single = len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor)
        calls.append(args[0].clone() if single else None)

    handles = [
        first.register_forward_pre_hook(note_input, with_kwargs=True),
        whole.register_forward_hook(lambda layer, args, output: made.append(output)),
    ]
    output = network(images)
    for handle in handles:
        handle.remove()
    # What comes after the head would be left out.
    is_last = len(made) == 1 and made[0] is output and isinstance(output, torch.Tensor)
    if len(calls) != 1 or calls[0] is None or not is_last:
        return None
    return _Given(calls[0], output)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether numbers are the same but for rounding."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.numel():
        return True
    size = float(other.abs().max())
    tolerance = _ROUNDING.get(one.dtype, 1e-4) * size
    return torch.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)
