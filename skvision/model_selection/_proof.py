"""Engines that are known to compute what the networks compute."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from skvision._random import isolated_random_state
from skvision.model_selection._engines import (
    ENGINES,
    draw_masks,
    dropout_calls,
    joined_state,
)
from skvision.model_selection._member import Member
from skvision.model_selection._purity import hooks_of, side_effect

__all__ = ["NotStackable", "find_engine"]

# Images with which networks are tried.
_N_TRIED = 8
# In double precision, relative to the largest number.
_TOLERANCE = 1e-9
# By how much of their own size weights are changed, so that nothing is hidden behind
# those that are zero or one at first.
_NOISE = 0.1


class NotStackable(ValueError):
    """Networks that cannot be trained as one."""


def find_engine(members: Sequence[Member]) -> Any:
    """Return an engine that computes what the networks compute.

    It keeps networks apart by the way it is made, where they are nothing but a function
    of images and weights. As a last net, outputs and gradients of every member are
    compared with those of its own network, at other weights than it begins with.

    Parameters
    ----------
    members : list of Member
        Of one structure.

    Raises
    ------
    NotStackable
        If there is none; the message says why.
    """
    net = members[0].net
    if any(True for _ in getattr(net.criterion_, "parameters", tuple)()):
        raise NotStackable("the criterion has weights of its own")
    device = net.device_ if net.device_.type in ("cpu", "cuda") else torch.device("cpu")
    with isolated_random_state(net.device_, alone=True):
        if (reason := _impurity(members[0])) is not None:
            raise NotStackable(f"{type(net.module_).__name__}: {reason}")
        trial = _Trial(members, device)
        reasons = []
        for kind in ENGINES:
            try:
                engine = kind(net.module_, channels_last=net._channels_last)
                trial.run(engine)
            except Exception as error:
                reasons.append(f"{kind.__name__}: {_first_line(error)}")
            else:
                return engine
    raise NotStackable("; ".join(reasons))


def _impurity(member: Member) -> str | None:
    """Return what a network does beside computing, None if nothing was seen."""
    if (reason := hooks_of(member.net.module_)) is not None:
        return reason
    try:
        for training in (True, False):
            module = _copy_of(member.net, training)
            if (reason := side_effect(module, _images(member))) is not None:
                return reason
    except Exception as error:  # Networks may do anything.
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _images(member: Member) -> torch.Tensor:
    images = member.train.images.read(slice(0, _N_TRIED)).to(member.net.device_)
    return member.net._to_input(images)


def _copy_of(net: Any, training: bool) -> nn.Module:
    """Return a copy of an estimator's network as it is in training or evaluation."""
    own = net.module_
    net.module_ = copy.deepcopy(own)
    try:
        net._enter_mode(training)
        return net.module_
    finally:
        net.module_ = own


class _Trial:
    """Networks of members at other weights, and what comes of them by themselves.

    All is in double precision, in which rounding leaves no room for other errors.
    """

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        modules = []
        self.inputs: list[torch.Tensor] = []
        for i, member in enumerate(members):
            generator = torch.Generator().manual_seed(i)
            module = _copy_of(member.net, training=True).to(device, torch.float64)
            _perturb(module, generator)
            images = _images(member).to(device, torch.float64)
            noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
            # Not only where images lie otherwise in memory.
            self.inputs.append(images.add_(noise.to(images), alpha=_NOISE))
            modules.append(module)
        self.start = joined_state(modules)
        self.template = modules[0]
        calls = dropout_calls(modules[0], self.inputs[0])
        self.expected, by_module = [], []
        for i, (module, x) in enumerate(zip(modules, self.inputs, strict=True)):
            with isolated_random_state(device, i):
                by_module.append(draw_masks(module, calls, x))
            with isolated_random_state(device, i):
                outputs = module(x)
            trained = {k: p for k, p in module.named_parameters() if p.requires_grad}
            grads = _derived(_weighted(outputs, i), trained)
            self.expected.append((tuple(map(torch.detach, _as_tuple(outputs))), grads))
        self.masks = [torch.stack(masks) for masks in zip(*by_module, strict=True)]
        _, self.after = joined_state(modules)

    def run(self, engine: Any) -> None:
        """Compare what an engine makes of the networks.

        Raises
        ------
        ValueError
            If it differs.
        """
        engine.set_mode(self.template)
        weights, buffers = self.start
        # Weights stay as they are, and are too large to have many copies of.
        params = {name: value.detach() for name, value in weights.items()}
        buffers = {name: value.clone() for name, value in buffers.items()}
        for name, value in self.template.named_parameters():
            params[name].requires_grad_(value.requires_grad)
        # Other random numbers are not to agree by chance.
        with isolated_random_state(self.inputs[0].device, len(self.inputs)):
            outputs = engine(params, buffers, torch.stack(self.inputs), self.masks)
        leaves = {name: value for name, value in params.items() if value.requires_grad}
        total = sum(_weighted(_part(outputs, i), i) for i in range(len(self.inputs)))
        grads = _derived(total, leaves)
        for i, (expected, wanted) in enumerate(self.expected):
            found = _as_tuple(_part(outputs, i))
            for out, other in zip(found, _as_tuple(expected), strict=True):
                _check(out, other, "outputs differ from those of the network")
            own = {k: None if grad is None else grad[i] for k, grad in grads.items()}
            _check_gradients(own, wanted)
        for name, value in self.after.items():
            _check(buffers[name], value, f"{name} differs from the network's")


def _perturb(module: nn.Module, generator: torch.Generator) -> None:
    """Change weights and buffers, so that none hides what lies before it."""

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like)

    with torch.no_grad():
        for weight in module.parameters():
            size = float(weight.square().mean().sqrt()) if weight.numel() else 0.0
            n_rows = max(1, len(weight)) if weight.ndim else 1
            n_inputs = max(1, weight.numel() // n_rows)
            weight.add_(noise(weight), alpha=_NOISE * size or n_inputs**-0.5)
        for name, value in module.named_buffers():
            if name.endswith("num_batches_tracked"):
                value.copy_(torch.randint(1, 9, (), generator=generator))
            elif name.endswith("running_mean"):
                value.add_(noise(value), alpha=_NOISE)
            elif value.is_floating_point():
                # Masks stay masks, and variances positive.
                value.mul_(noise(value).mul_(_NOISE).exp_())


def _as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _part(outputs: Any, i: int) -> tuple[torch.Tensor, ...]:
    return tuple(out[i] for out in _as_tuple(outputs))


def _weighted(outputs: Any, seed: int) -> torch.Tensor:
    """Return a sum of all outputs in which each has a part of its own."""
    generator = torch.Generator().manual_seed(seed)
    total: Any = 0
    for out in _as_tuple(outputs):
        weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        total = total + (out * weight.to(out)).sum()
    return total


def _derived(total: Any, params: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    leaves = [*params.values()]
    if not leaves:
        return {}
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return dict(zip(params, found, strict=True))


def _check(found: Any, expected: Any, message: str, least: float = 0.0) -> None:
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    atol = _TOLERANCE * max(scale, least)
    if found.shape != expected.shape or not torch.allclose(
        found, expected, rtol=_TOLERANCE, atol=atol
    ):
        raise ValueError(message)


def _check_gradients(found: dict[str, Any], expected: dict[str, Any]) -> None:
    sizes = [float(grad.abs().max()) for grad in expected.values() if grad is not None]
    for name, grad in expected.items():
        message = f"the gradient of {name} differs from the network's"
        if grad is None or found[name] is None:
            if grad is not found[name]:
                raise ValueError(message)
            continue
        # Those that cancel out, as of a bias before a normalisation, are nothing but
        # rounding errors of larger ones.
        _check(found[name], grad, message, least=1e-3 * max(sizes))
