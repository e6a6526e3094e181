"""Engines that are known to compute what the networks compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from skvision._random import isolated_random_state
from skvision.estimators._run import TrainingRun
from skvision.model_selection._engines import (
    ENGINES,
    draw_masks,
    dropout_calls,
    joined_buffers,
)
from skvision.model_selection._memory import saved_bytes
from skvision.model_selection._purity import (
    goes_by_autocast,
    hooks_of,
    overlap_of,
    side_effect,
)
from skvision.training._memory import free_memory

# Images with which networks are tried.
_N_TRIED = 8
# In double precision, relative to the largest number.
_TOLERANCE = 1e-9
# By how much of their own size weights are changed, so that nothing is hidden behind
# those that are zero or one at first.
_NOISE = 0.1
# Random numbers for a layer's weights, at most.
_N_DRAWN = 2**20


class NotStackable(ValueError):
    """Networks that cannot be trained as one."""


def find_engine(members: Sequence[TrainingRun]) -> Any:
    """Return an engine that computes what the networks compute.

    It keeps networks apart by the way it is made, where they are nothing but a function
    of images and weights. As a last net, outputs and gradients of every member are
    compared with those of its own network, at other weights than it begins with.

    Parameters
    ----------
    members : list of TrainingRun
        Of one structure.

    Raises
    ------
    NotStackable
        If there is none; the message says why.
    """
    net, network = members[0].net, members[0].network
    if any(True for _ in getattr(net.criterion_, "parameters", tuple)()):
        raise NotStackable("the criterion has weights of its own")
    with isolated_random_state(net.device_, alone=True), torch.enable_grad():
        if (reason := _impurity(members[0])) is not None:
            raise NotStackable(f"{type(network).__name__}: {reason}")
        parts, trial = _parts(members), None
        reasons = []
        for kind in ENGINES:
            try:
                engine = kind(network, channels_last=members[0].channels_last)
                for part in parts:
                    if trial is None or trial.members is not part:
                        trial = None  # There is no room for two of them.
                        trial = _Trial(part)
                    trial.run(engine)
            except Exception as error:
                reasons.append(f"{kind.__name__}: {_first_line(error)}")
            else:
                return engine
    raise NotStackable("; ".join(reasons))


def _parts(members: Sequence[TrainingRun]) -> list[Sequence[TrainingRun]]:
    """Return members that are tried at once, as many as there is memory for.

    Raises
    ------
    NotStackable
        If there is none for two.
    """
    net, n = members[0].net, len(members)
    module = members[0].copied_network(training=True)
    images = _images(members[0])
    weights = 8 * sum(weight.numel() for weight in module.parameters())
    with isolated_random_state(net.device_, 0):
        # In double precision.
        saved = saved_bytes(module, images) * 8 // images.element_size()
    # Weights and gradients of all, and of one what it has by itself, and is compared.
    needed, beside = 2 * weights + 2 * saved, 2 * weights
    free = free_memory(_device(net)) // 2
    size = min(n, (free - beside) // max(needed, 1))
    if size < min(n, 2):
        total = (min(n, 2) * needed + beside) / 2**30
        raise NotStackable(
            f"to compare networks of this size takes {total:.2g} GB of memory, and "
            f"half of what is free are {free / 2**30:.2g} GB"
        )
    starts = [min(i, n - size) for i in range(0, n, size)]
    return [members[i : i + size] for i in starts]


def _device(net: Any) -> torch.device:
    """Return where an estimator's networks are compared."""
    has_doubles = net.device_.type in ("cpu", "cuda")
    return net.device_ if has_doubles else torch.device("cpu")


def _impurity(member: TrainingRun) -> str | None:
    """Return what a network does beside computing, None if nothing was seen."""
    module = member.network
    if (reason := hooks_of(module) or overlap_of(module)) is not None:
        return reason
    try:
        for training in (True, False):
            module = member.copied_network(training=training)
            if (reason := side_effect(module, _images(member))) is not None:
                return reason
            amp = member.net.amp and training
            if amp and goes_by_autocast(module, _images(member)):
                return "what it does depends on whether autocast is on"
    except Exception as error:  # Networks may do anything.
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _images(member: TrainingRun) -> torch.Tensor:
    images = member.data.images.read(slice(0, _N_TRIED)).to(member.net.device_)
    return member.to_input(images)


class _Trial:
    """Networks of members at other weights, to be compared with an engine's.

    All is in double precision, in which rounding leaves no room for other errors. The
    weights of all lie in one place, where each network and the engine find theirs.
    """

    def __init__(self, members: Sequence[TrainingRun]) -> None:
        self.members, self.device = members, _device(members[0].net)
        self.modules: list[nn.Module] = []
        self.inputs: list[torch.Tensor] = []
        self.weights: dict[str, torch.Tensor] = {}
        for i, member in enumerate(members):
            generator = torch.Generator().manual_seed(i)
            module = member.copied_network(training=True).to(self.device, torch.float64)
            _perturb(module, generator)
            self._join(i, module)
            self.modules.append(module)
            images = _images(member).to(self.device, torch.float64)
            noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
            # Not only where images lie otherwise in memory.
            self.inputs.append(images.add_(noise.to(images), alpha=_NOISE))
        self.buffers = joined_buffers(self.modules)
        calls = dropout_calls(self.modules[0], self.inputs[0])
        by_module = []
        for i, (module, x) in enumerate(zip(self.modules, self.inputs, strict=True)):
            with isolated_random_state(self.device, i):
                by_module.append(draw_masks(module, calls, x))
        self.masks = [torch.stack(masks) for masks in zip(*by_module, strict=True)]

    def _join(self, i: int, module: nn.Module) -> None:
        """Bring a network's weights to those of others, and leave them there."""
        for name, weight in module.named_parameters():
            if name not in self.weights:
                shape = len(self.members), *weight.shape
                self.weights[name] = weight.data.new_empty(shape)
            weight.data = self.weights[name][i].copy_(weight.data)

    def run(self, engine: Any) -> None:
        """Compare what an engine makes of the networks.

        Raises
        ------
        ValueError
            If it differs.
        """
        engine.set_mode(self.modules[0])
        params = {name: value.detach() for name, value in self.weights.items()}
        buffers = {name: value.clone() for name, value in self.buffers.items()}
        for name, value in self.modules[0].named_parameters():
            params[name].requires_grad_(value.requires_grad)
        # Other random numbers are not to agree by chance.
        with isolated_random_state(self.device, len(self.inputs)):
            outputs = engine(params, buffers, torch.stack(self.inputs), self.masks)
        leaves = {name: value for name, value in params.items() if value.requires_grad}
        total = sum(_weighted(_part(outputs, i), i) for i in range(len(self.inputs)))
        grads = _derived(total, leaves)
        outputs = tuple(out.detach() for out in _as_tuple(outputs))
        del total  # And with it what was kept for going backward.
        for i, module in enumerate(self.modules):
            own = {k: None if grad is None else grad[i] for k, grad in grads.items()}
            after = {name: value[i] for name, value in buffers.items()}
            self._compare(i, module, _part(outputs, i), own, after)

    def _compare(
        self, i: int, module: nn.Module, outputs: tuple, grads: dict, buffers: dict
    ) -> None:
        """Compare what an engine made of a network with what that makes by itself."""
        for name, value in module.named_buffers():
            value.copy_(self.buffers[name][i])
        with isolated_random_state(self.device, i):
            expected = _as_tuple(module(self.inputs[i]))
        for out, other in zip(outputs, expected, strict=True):
            _check(out, other.detach(), "outputs differ from those of the network")
        trained = {k: p for k, p in module.named_parameters() if p.requires_grad}
        _check_gradients(grads, _derived(_weighted(expected, i), trained))
        for name, value in module.named_buffers():
            _check(buffers[name], value, f"{name} differs from the network's")


def _perturb(module: nn.Module, generator: torch.Generator) -> None:
    """Change weights and buffers, so that none hides what lies before it."""

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like)

    with torch.no_grad():
        for weight in module.parameters():
            n_rows = max(1, len(weight)) if weight.ndim else 1
            n_inputs = max(1, weight.numel() // n_rows)
            size = (
                float(torch.linalg.vector_norm(weight)) / max(1, weight.numel()) ** 0.5
            )
            # The same for some rows and for the next ones, where there are many: it
            # takes long to draw.
            rows = weight if weight.ndim else weight[None]
            parts = rows.split(max(1, _N_DRAWN // max(1, n_inputs)))
            drawn, alpha = noise(parts[0]), _NOISE * size or n_inputs**-0.5
            for part in parts:
                part.add_(drawn[: len(part)], alpha=alpha)
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
    """Raise an error with this message if numbers are too far apart."""
    atol = 0.0
    if expected.is_floating_point() or expected.is_complex():
        atol = _TOLERANCE * max(_largest(expected), least)
    try:
        assert_close(found, expected, rtol=0.0, atol=atol)
    except AssertionError as error:
        raise ValueError(message) from error


def _largest(numbers: torch.Tensor) -> float:
    """Return the size of the largest number that is finite."""
    finite = numbers[numbers.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def _check_gradients(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise an error that names the first gradient that differs."""
    sizes = [_largest(grad) for grad in expected.values() if grad is not None]
    for name, grad in expected.items():
        message = f"the gradient of {name} differs from the network's"
        if grad is None or found[name] is None:
            if grad is not found[name]:
                raise ValueError(message)
            continue
        # Those that cancel out, as of a bias before a normalisation, are nothing but
        # rounding errors of larger ones.
        _check(found[name], grad, message, least=1e-3 * max(sizes, default=0.0))
