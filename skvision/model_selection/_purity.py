"""Whether a network does nothing but compute outputs from images and weights.

Where many are trained as one, a network's own code runs for all of them at once, or not
at all, since its operations are known. What it does beside computing would be lost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from skvision._compat import (
    forward_hooks,
    forward_pre_hooks,
    gradient_hooks,
    has_global_hooks,
    layer_gradient_hooks,
    n_changes,
)
from skvision._identity import Unidentified, fingerprint
from skvision._random import drawn_since, generator_states, isolated_random_state
from skvision.model_selection._engines import is_dropout

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_NUMBERS = (bool, int, float, str)
_OWN = ("_parameters", "_buffers", "_modules", "training")
_LIBRARIES = ("torch", "torchvision", "skvision", "builtins")
# How often a network must be seen to draw.
_N_DRAWS = 5
# What changes gradients on their way, or goes backward by itself.
_HOOKS = ("register_hook", "register_post_accumulate_grad_hook", "backward", "grad")


def side_effect(module: nn.Module, images: torch.Tensor) -> str | None:
    """Return what else a network does as it computes, None if nothing was seen.

    Parameters
    ----------
    module : torch.nn.Module
        In training or evaluation mode; it is left as it is. Its dropout layers are
        known to draw random numbers, and do nothing meanwhile.
    images : torch.Tensor
        A batch of its inputs.
    """
    found = []
    for _ in range(2):
        tried = _without_dropout(module)
        before, calls = _State(tried), _Calls()
        with calls:
            outputs, drawn = _run(tried, images)
        if drawn is not None and _draws(module, images):
            where = _where_drawn(module, images)
            return (
                f"it draws random numbers of {drawn} outside of dropout layers{where}"
            )
        if (change := before.changed(tried)) is not None:
            return change
        if calls.found is not None:
            return f"{calls.found} is called as it computes"
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        nodes = (node for part in parts for node in _history(part))
        if any(isinstance(node, BackwardCFunction) for node in nodes):
            return "an autograd function of its own goes backward in its own way"
        found.append([part.detach() for part in parts])
    if not all(same_numbers(a, b) for a, b in zip(*found, strict=True)):
        return "the same images give other outputs when they come again"
    return None


def _draws(module: nn.Module, images: torch.Tensor) -> bool:
    """Return whether it is the network that draws: other threads do not each time."""
    tries = (_run(_without_dropout(module), images) for _ in range(_N_DRAWS))
    return all(drawn is not None for _, drawn in tries)


def _run(module: nn.Module, images: torch.Tensor) -> tuple[Any, str | None]:
    """Return a network's outputs, and a generator that was drawn from meanwhile."""
    with isolated_random_state(images.device):
        states = generator_states()
        with torch.set_grad_enabled(module.training):
            outputs = module(images.clone())
        return outputs, drawn_since(states)


def _where_drawn(module: nn.Module, images: torch.Tensor) -> str:
    """Return which layer draws first, if it is not the network itself."""
    tried = _without_dropout(module)
    states: dict[nn.Module, Any] = {}
    found: list[nn.Module] = []

    def begin(layer: nn.Module, given: Any) -> None:
        states[layer] = generator_states()

    def end(layer: nn.Module, given: Any, outputs: Any) -> None:
        if drawn_since(states[layer]) is not None:
            found.append(layer)

    names = {layer: name for name, layer in tried.named_modules() if name}
    for layer in names:
        layer.register_forward_pre_hook(begin)
        layer.register_forward_hook(end)
    with isolated_random_state(images.device):
        tried(images.clone())
    if not found:
        return ""
    return f", in {names[found[0]]}, of type {type(found[0]).__name__}"


def _without_dropout(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    for layer in module.modules():
        if is_dropout(layer):
            layer.eval()
    return module


def same_numbers(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether tensors hold the same numbers, or nearly so on a GPU."""
    # A GPU may add up in another order each time.
    rtol = 0.0 if one.device.type == "cpu" else 1e-3
    if one.shape != other.shape:
        return False
    return torch.equal(one, other) or torch.allclose(
        one, other, rtol=rtol, atol=0.0, equal_nan=True
    )


# ------------------------------------------------------------------------------ hooks


def hooks_of(module: nn.Module) -> str | None:
    """Return which hooks of a network may change what it computes, if any."""
    if has_global_hooks():
        return "hooks are registered for all modules"
    for name, parameter in module.named_parameters():
        if any(gradient_hooks(parameter)):
            return f"hooks may change gradients of {name}"
    for name, layer in module.named_modules():
        if layer_gradient_hooks(layer):
            return f"hooks may change gradients of {_named(name, layer)}"
        for hook in forward_hooks(layer) + forward_pre_hooks(layer):
            # torch's normalise weights.
            if not _is_of_a_library(hook if hasattr(hook, "__name__") else type(hook)):
                return f"a forward hook of {_named(name, layer)} may do anything"
    return None


def overlap_of(module: nn.Module) -> str | None:
    """Return which trained weights lie where others do, if any.

    A step changes both, as it would not in a stack, where each has a place of its own.
    """
    named = [*module.named_parameters(), *module.named_buffers()]
    places = sorted(
        (value.data_ptr(), name, value) for name, value in named if value.numel()
    )
    end, before, trained = 0, "", False
    for start, name, value in places:
        if start < end and (trained or value.requires_grad):
            return f"{before} and {name} lie in the same memory"
        sizes = zip(value.shape, value.stride(), strict=True)
        extent = 1 + sum((n - 1) * step for n, step in sizes)
        its_end = start + extent * value.element_size()
        if its_end > end:
            end, before, trained = its_end, name, value.requires_grad
    return None


class _Calls(TorchFunctionMode):
    """Notes calls of torch's functions, and of what may change gradients."""

    found: str | None = None

    def __init__(self) -> None:
        super().__init__()
        #: Names of functions, and numbers that they got.
        self.made: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        given = *enumerate(args), *kwargs.items()
        self.made.append((name, [(k, v) for k, v in given if isinstance(v, _NUMBERS)]))
        if name in _HOOKS:
            self.found = name
        return func(*args, **kwargs)


def goes_by_autocast(module: nn.Module, images: torch.Tensor) -> bool:
    """Whether a network's code does something else where autocast is on.

    Types of numbers may differ.
    """
    found = []
    for enabled in (False, True):
        tried, calls = _without_dropout(module), _Calls()
        kind = images.device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled), calls:
            tried(images.clone())
        found.append(calls.made)
    return found[0] != found[1]


def leaves_of(output: torch.Tensor) -> list[torch.Tensor]:
    """Return the tensors that something has gradients of."""
    nodes = [node for node in _history(output) if hasattr(node, "variable")]
    return [node.variable for node in nodes]


def _history(output: torch.Tensor) -> Iterator[Any]:
    """Yield what goes backward from a tensor."""
    left, seen = [output.grad_fn], set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [other for other, _ in node.next_functions]
            yield node


# ----------------------------------------------------------------------------- state


class _State:
    """All that a network is made of, at some time."""

    def __init__(self, module: nn.Module) -> None:
        self.values = {}
        for what, value in _reached(module):
            try:
                self.values[what] = state_of(value)
            except Unidentified as error:
                raise ValueError(f"{what} may change unseen: {error}") from error
        self.weights = {
            name: (value, value.data_ptr(), n_changes(value), value.detach().clone())
            for name, value in module.named_parameters()
        }
        self.buffers = dict(module.named_buffers())

    def changed(self, module: nn.Module) -> str | None:
        """Return what of a network is no longer as it was."""
        params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
        if params.keys() != self.weights.keys():
            return "it gets other weights as it computes"
        for name, (value, place, version, numbers) in self.weights.items():
            now = params[name]
            same = now is value and now.data_ptr() == place
            if not same or n_changes(now) != version or not same_numbers(now, numbers):
                return f"it changes the weight {name} as it computes"
        if buffers.keys() != self.buffers.keys():
            return "it gets other buffers as it computes"
        for name, buffer in self.buffers.items():
            if buffers[name] is not buffer:
                return f"it puts another tensor in the place of the buffer {name}"
        values = dict(_reached(module))
        for what in self.values.keys() | values.keys():
            if what not in self.values or what not in values:
                return f"{what} comes or goes as it computes, and is no buffer"
            if state_of(values[what]) != self.values[what]:
                return f"{what} changes as it computes, and is no buffer"
        return None


def state_of(value: Any) -> Any:
    """Return what tells values apart, quickly where they are plain."""
    if isinstance(value, _PLAIN):
        return type(value), repr(value)
    if isinstance(value, (tuple, list)) and all(isinstance(v, _PLAIN) for v in value):
        return type(value), repr(value)
    return fingerprint(value)


def plain_values(value: Any) -> bool:
    """Whether a value is plain, or a container of such values."""
    if isinstance(value, dict):
        return plain_values([*value.keys(), *value.values()])
    if isinstance(value, (list, tuple, set)):
        return all(map(plain_values, value))
    return isinstance(value, _PLAIN)


def attributes_of(layer: nn.Module) -> dict[str, Any]:
    """Return what a layer holds beside weights, buffers and other layers."""
    hooks = forward_pre_hooks(layer)
    # torch's normalisations of weights compute these anew each time.
    left_out = {*_OWN, *(getattr(hook, "name", None) for hook in hooks)}
    return {
        # Hooks have numbers, which are others for each network.
        key: [*value.values()] if "_hooks" in key and value else value
        for key, value in vars(layer).items()
        if key not in left_out and not (isinstance(value, dict) and not value)
    }


def classes_of(function: Any) -> dict[str, Any]:
    """Return the state of a function or module's code, and of all that it refers to.

    Raises
    ------
    Unidentified
        If that cannot be told.
    """
    if isinstance(function, nn.Module):
        layers = [*function.modules()]
        kinds = dict.fromkeys(cls for one in layers for cls in type(one).__mro__)
    else:
        kinds = dict.fromkeys([function, *type(function).__mro__])
    return {
        str(i): state_of(kind)
        for i, kind in enumerate(kinds)
        if not _is_of_a_library(kind)
    }


def _reached(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield attributes of layers and, with all that their code refers to, classes."""
    classes: dict[type, None] = {}
    for name, layer in module.named_modules():
        for key, value in attributes_of(layer).items():
            yield f"the attribute {key} of {_named(name, layer)}", value
        classes.update(dict.fromkeys(type(layer).__mro__))
    for cls in classes:
        if not _is_of_a_library(cls):
            yield f"what the class {cls.__name__} or its code refers to", cls


def _is_of_a_library(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] in _LIBRARIES


def _named(name: str, layer: nn.Module) -> str:
    return name or type(layer).__name__
