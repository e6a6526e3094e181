"""Networks of files, built so that a small file takes little memory and time.

A file's parameters may describe a network of any size. It is built without memory
first, and gets some only if the file has as many weights; how many layers it has, how
large their outputs are and how long they compute is bounded, too.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import flop_registry

from skvision._compat import TorchDispatchMode, memory_key, tree_leaves
from skvision.exceptions import FormatError
from skvision.persistence._state import check_finite

# How many estimators one may be pretrained on, one after the other.
_GENERATIONS = 50
# Layers and weights that a small file may ask for, and bytes for each one more. Each
# takes a millisecond. Those of torchvision's networks that have more of them are of
# 100 MB and larger.
_PARTS, _BYTES_PER_PART = 1500, 10_000
# Values that a layer may give for an image, and for each of its pixels.
_VALUES, _VALUES_PER_PIXEL = 2**20, 2**11
# Operations that a network may need for an image, and for each of its weights at each
# of its places: torchvision's networks need less than one.
_STEPS, _STEPS_PER_WEIGHT = 2**28, 8
# Numbers that a network may compute with while it is built.
_NUMBERS = 2**16


class Allowance:
    """What a file of some size may still ask for.

    Parameters
    ----------
    n_bytes : int
        The size of the file.

    Attributes
    ----------
    n_parts : int
        Layers and weights.
    n_generations : int
        Estimators that one is pretrained on, one after the other.
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_parts, self.n_generations = _most_parts(n_bytes), _GENERATIONS

    def take_generation(self) -> None:
        """Count an estimator that gave its weights to another one."""
        self.n_generations -= 1
        if self.n_generations < 0:
            raise FormatError("it is pretrained on far too many estimators")

    def take_part(self) -> None:
        """Count a layer or a weight."""
        self.n_parts -= 1
        if self.n_parts < 0:
            raise FormatError("its network has far more layers than weights")


def _most_parts(n_bytes: int) -> int:
    return _PARTS + n_bytes // _BYTES_PER_PART


def check_parts(network: nn.Module) -> None:
    """Refuse to save a network that would not be built for a file of its size.

    Raises
    ------
    ValueError
        If it has far more layers than weights.
    """
    n_parts = sum(1 for part in (*network.modules(), *network.parameters()))
    n_bytes = sum(v.numel() * v.itemsize for v in network.state_dict().values())
    if n_parts > (most := _most_parts(n_bytes)):
        raise ValueError(
            f"The network has {n_parts} layers and weights of {n_bytes:,} bytes, and "
            f"files of that size may have {most} of them. Keep the weights alone, by "
            "save_params."
        )


def build_within(
    allowance: Allowance,
    build: Callable[[], nn.Module],
    try_out: Callable[[nn.Module], object],
    state: Mapping[str, torch.Tensor],
) -> nn.Module:
    """Return a network with the weights of a file.

    Parameters
    ----------
    allowance : Allowance
    build : callable
        Returns the network; it is called where tensors have no memory.
    try_out : callable
        Gets the network, whose weights have no memory, and checks what it returns.
    state : dict of torch.Tensor
        The weights.

    Raises
    ------
    FormatError
        If the network has too many parts, or other weights, or weights that are not
        finite.
    """
    with _few_parts(allowance), torch.device("meta"):
        try:
            network = build()
        except (NotImplementedError, ValueError):
            # Such as RegNet's, which computes its widths by tensors.
            with _SmallNumbers():
                network = build()
        _check_state(network, state)
        try_out(network)
    check_finite(state)
    network = network.to_empty(device="cpu")
    # As load_state_dict would, but that takes the square of the number of layers.
    for name, value in network.state_dict().items():
        value.copy_(state[name])
    return network


def outputs_within(network: nn.Module, images: torch.Tensor, n_places: int) -> Any:
    """Return what a network gives for images that have no memory.

    Parameters
    ----------
    network : torch.nn.Module
        On the meta device; it is left in training mode.
    images : torch.Tensor
    n_places : int
        Pixels of an image, whatever their channels.

    Raises
    ------
    FormatError
        If an output of a layer is far larger than images and weights, or if it computes
        far longer than those need.
    """
    n_images, shape = len(images), tuple(images.shape[1:])
    network.eval()
    with torch.no_grad(), _Work() as work:
        output = network(images)
    network.train()
    n_weights = sum(weight.numel() for weight in network.parameters())
    most = max(_VALUES, _VALUES_PER_PIXEL * math.prod(shape), n_weights)
    if work.n_bytes > n_images * most * images.itemsize:
        raise FormatError(
            f"its network makes {work.n_bytes / 2**20:.0f} MB of an image of shape "
            f"{shape}"
        )
    n_steps = work.n_steps // n_images
    if n_steps > max(_STEPS, _STEPS_PER_WEIGHT * n_weights * n_places):
        raise FormatError(
            f"its network needs {n_steps:.1e} operations for an image of shape {shape}"
        )
    return output


@contextlib.contextmanager
def _few_parts(allowance: Allowance) -> Iterator[None]:
    """Let networks have about as many parts as a file has bytes."""
    thread = threading.get_ident()

    def count(*args: Any) -> None:
        if threading.get_ident() == thread:
            allowance.take_part()

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

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        short = func is torch.arange and all(abs(n) < _NUMBERS for n in args)
        if short or func is torch.tensor:
            kwargs = {"device": "cpu", **kwargs}
        return func(*args, **kwargs)


class _Work(TorchDispatchMode):
    """Notes the largest new tensor, and counts operations on numbers."""

    n_bytes = n_steps = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        given = {memory_key(storage) for storage in _storages(args)}
        for storage in _storages(output):
            if memory_key(storage) not in given:
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
    """Raise an error if weights are not those of a network."""
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
