"""Many networks of one structure in one pass."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, vmap

__all__ = ["ENGINES", "DropoutCall", "Grouped", "Vmapped", "dropout_calls"]

Tensors = Mapping[str, torch.Tensor]
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class DropoutCall(NamedTuple):
    """A call of a dropout layer: its name, and what its input looks like."""

    name: str
    #: Without the rows.
    shape: tuple[int, ...]
    #: The axes as they lie in memory, in which order random numbers are drawn.
    order: tuple[int, ...]

    def mask(self, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Draw what a network's own layer would multiply its input by."""
        shape = (len(images), *self.shape)
        ones = images.new_ones([shape[axis] for axis in self.order])
        return layer(ones.permute([self.order.index(i) for i in range(len(shape))]))


def dropout_calls(module: nn.Module, images: torch.Tensor) -> list[DropoutCall]:
    """Return the calls of dropout layers that train, in the order of a forward pass.

    Raises
    ------
    ValueError
        If the first axis of a layer's input is not the one of the images.
    """
    module = copy.deepcopy(module)
    calls = []
    for name, layer in module.named_modules():
        if isinstance(layer, DROPOUTS) and layer.training:

            def note(layer: Any, args: Any, name: str = name) -> None:
                (x,) = args
                if len(x) != len(images):
                    raise ValueError(f"{name} drops along another axis than the rows")
                order = sorted(range(x.ndim), key=lambda axis: -x.stride(axis))
                calls.append(DropoutCall(name, tuple(x.shape[1:]), tuple(order)))

            layer.register_forward_pre_hook(note)
    with torch.no_grad():
        module.eval()(images)
    return calls


class _Context:
    """What the layers of an engine work with at the moment."""

    n: int
    params: Tensors
    buffers: Tensors
    masks: Iterator[torch.Tensor]


class _Masked(nn.Module):
    """Stands for a dropout layer; others have drawn what it multiplies by."""

    def __init__(self, context: _Context) -> None:
        super().__init__()
        self.context = context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        mask = next(self.context.masks)
        if mask.shape != x.shape:
            raise ValueError("dropout of something else than rows of channels")
        return x * mask.to(x.dtype)


class _Layer(nn.Module):
    """A layer of n networks whose channels lie side by side on the second axis."""

    def __init__(self, context: _Context, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.context = context
        self.names = {
            key: f"{name}.{key}" if name else key
            for key, value in [*layer._parameters.items(), *layer._buffers.items()]
            if value is not None
        }
        # As an entry of a tuple it is no part of this module.
        self.kept: tuple[Any] = (layer,)

    def get(self, key: str) -> Any:
        """Return a parameter or buffer of all networks, (n, ...), or None."""
        name = self.names.get(key)
        if name is None:
            return None
        values = self.context.params
        return values[name] if name in values else self.context.buffers[name]

    def joined(self, key: str) -> Any:
        """Return a parameter or buffer with the networks on its first axis."""
        value = self.get(key)
        # torch's batch normalisation goes backward as if its weights were contiguous.
        return None if value is None else value.flatten(0, 1).contiguous()

    def with_bias(self, outputs: torch.Tensor) -> torch.Tensor:
        """Add the bias, whose gradient takes libraries long where groups are small."""
        bias = self.joined("bias")
        if bias is None:
            return outputs
        return outputs.add_(bias.view(-1, *[1] * (outputs.ndim - 2)))


class _Convolution(_Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (layer,) = self.kept
        weight, padding = self.get("weight"), layer.padding
        groups = self.context.n * layer.groups
        if (n_shared := self._n_shared(x)) > 1:
            weight = _block_diagonal(weight, n_shared)
            groups //= n_shared
        weight = weight.flatten(0, 1)
        if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            weight = weight.contiguous(memory_format=torch.channels_last)
        if layer.padding_mode != "zeros":
            pad = layer._reversed_padding_repeated_twice
            x, padding = F.pad(x, pad, mode=layer.padding_mode), 0
        convolve = getattr(F, type(layer).__name__.lower())
        rest = layer.stride, padding, layer.dilation, groups
        return self.with_bias(convolve(x, weight, None, *rest))

    def _n_shared(self, x: torch.Tensor) -> int:
        """Return how many networks to convolve in one group.

        With few channels each, they fill a vector register of a processor together;
        the zeros between them cost nothing then. Images alone are convolved so: what is
        not finite must not get from one network to others, neither by inputs nor by
        their gradients.
        """
        (layer,) = self.kept
        if x.requires_grad or layer.groups > 1 or x.device.type != "cpu":
            return 1
        limit = max(1, _n_lanes() // layer.out_channels)
        most = max(i for i in range(1, limit + 1) if self.context.n % i == 0)
        return most if most > 1 and x.sum().isfinite() else 1


def _block_diagonal(weight: torch.Tensor, n_shared: int) -> torch.Tensor:
    """Return weights (n, out, in, ...) for inputs that some networks share.

    The shape is (n / n_shared, n_shared * out, n_shared * in, ...).
    """
    blocks = weight.unflatten(0, (-1, n_shared)).movedim(1, -1)
    # Axes: group, out, in, size, and the network twice.
    blocks = torch.diag_embed(blocks).movedim((-2, -1), (1, 3))
    return blocks.flatten(3, 4).flatten(1, 2)


@functools.cache
def _n_lanes() -> int:
    """Return how many float32 a vector register of this processor holds."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": 16, "AVX2": 8}.get(capability, 4)


class _TransposedConvolution(_Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (layer,) = self.kept
        name = type(layer).__name__.lower().replace("transpose", "_transpose")
        convolve = getattr(F, name)
        groups = self.context.n * layer.groups
        rest = layer.stride, layer.padding, layer.output_padding, groups
        outputs = convolve(x, self.joined("weight"), None, *rest, layer.dilation)
        return self.with_bias(outputs)


class _Linear(_Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.get("weight").transpose(1, 2), self.get("bias")
        rows = x.unflatten(1, (self.context.n, -1)).transpose(0, 1)
        if bias is None:
            outputs = torch.bmm(rows, weight)
        else:
            outputs = torch.baddbmm(bias[:, None], rows, weight)
        return outputs.transpose(0, 1).flatten(1)


class _BatchNorm(_Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (layer,) = self.kept
        count, momentum = self.get("num_batches_tracked"), layer.momentum
        running = self.joined("running_mean"), self.joined("running_var")
        mean, var = running
        if self.training and count is not None:
            count.add_(1)
            if momentum is None:
                # The mean over all batches, of which each network has had its own
                # number.
                mean, var, momentum = mean.clone(), var.clone(), 1.0
        outputs = F.batch_norm(
            x,
            mean,
            var,
            self.joined("weight"),
            self.joined("bias"),
            self.training or not layer.track_running_stats,
            momentum or 0.0,
            layer.eps,
        )
        if mean is not running[0]:
            part = count.to(mean).reciprocal()
            part = part.repeat_interleave(len(mean) // len(count))
            for value, new in zip(running, (mean, var), strict=True):
                value.lerp_(new, part)
        return outputs


class _GroupNorm(_Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (layer,) = self.kept
        n_groups = self.context.n * layer.num_groups
        return F.group_norm(
            x, n_groups, self.joined("weight"), self.joined("bias"), layer.eps
        )


class _Unflatten(_Layer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (layer,) = self.kept
        n_channels, *size = layer.unflattened_size
        return x.unflatten(1, (self.context.n * n_channels, *size))


_LAYERS: dict[type[nn.Module], type[_Layer]] = {
    **dict.fromkeys(_CONVOLUTIONS, _Convolution),
    **dict.fromkeys(_TRANSPOSED, _TransposedConvolution),
    **dict.fromkeys(_BATCH_NORM, _BatchNorm),
    nn.Linear: _Linear,
    nn.GroupNorm: _GroupNorm,
    nn.Unflatten: _Unflatten,
}

# Layers whose backward pass does not need their outputs.
_MAKING = (_Convolution, _TransposedConvolution, _Linear, _BatchNorm, _GroupNorm)


class _Engine:
    """A network's code, run with the weights of many."""

    def __init__(self, module: nn.Module, *, channels_last: bool) -> None:
        self.context = _Context()
        self.channels_last = channels_last
        self.template = self._replaced(copy.deepcopy(module), "", {})

    def _replaced(
        self, module: nn.Module, name: str, known: dict[nn.Module, nn.Module]
    ) -> nn.Module:
        """Return a network with other layers; some may be in several places."""
        if module not in known:
            new = self._replacement(module, name)
            known[module] = module if new is None else new
            for key, child in module._modules.items() if new is None else ():
                if child is not None:
                    full = f"{name}.{key}" if name else key
                    setattr(module, key, self._replaced(child, full, known))
            if type(module) is nn.Sequential:
                _work_in_place(module)
        return known[module]

    def _replacement(self, module: nn.Module, name: str) -> nn.Module | None:
        return _Masked(self.context) if isinstance(module, DROPOUTS) else None

    def set_mode(self, module: nn.Module) -> None:
        """Take over which layers of a network are in training mode."""
        every = module.named_modules(remove_duplicate=False)
        modes = {name: layer.training for name, layer in every}
        for name, layer in self.template.named_modules():
            layer.training = modes[name]

    def __call__(
        self,
        params: Tensors,
        buffers: Tensors,
        x: torch.Tensor,
        masks: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Return outputs (n, b, ...) of images (n, b, ...)."""
        raise NotImplementedError


class Grouped(_Engine):
    """Networks side by side as the channels of one wide network.

    Convolutions have one group for each network, so that elementwise operations and
    pooling in between need no change, and nothing is moved in memory.

    Raises
    ------
    ValueError
        If the network has parameters in layers that this is not known of.
    """

    def _replacement(self, module: nn.Module, name: str) -> nn.Module | None:
        if type(module) in _LAYERS:
            return _LAYERS[type(module)](self.context, name, module)
        if [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            raise ValueError(f"{type(module).__name__} has weights of its own")
        return super()._replacement(module, name)

    def __call__(self, params, buffers, x, masks=()):
        context = self.context
        context.n = len(x)
        context.params, context.buffers = params, buffers
        context.masks = (mask.transpose(0, 1).flatten(1, 2) for mask in masks)
        if self.channels_last and x.ndim == 5:
            # What flatten returns may be a view that lies otherwise in memory.
            wide = x.permute(1, 3, 4, 0, 2).flatten(3).contiguous()
            wide = wide.permute(0, 3, 1, 2)
        else:
            wide = x.transpose(0, 1).flatten(1, 2)
        return _map(
            lambda out: out.unflatten(1, (context.n, -1)).transpose(0, 1),
            self.template(wide),
        )


class Vmapped(_Engine):
    """Networks on an axis of their own, by `torch.func.vmap`; takes most networks."""

    def __call__(self, params, buffers, x, masks=()):
        def run(params: Tensors, buffers: Tensors, x: torch.Tensor, masks: Any) -> Any:
            self.context.masks = iter(masks)
            return functional_call(self.template, (dict(params), dict(buffers)), (x,))

        if self.channels_last and x.ndim == 5:
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        # Not all of torch's operations heed how weights lie in memory.
        copies = {name: value.contiguous() for name, value in params.items()}
        return vmap(run)(copies, dict(buffers), x, tuple(masks))


#: In the order in which they are tried.
ENGINES: tuple[type[_Engine], ...] = (Grouped, Vmapped)


def _work_in_place(layers: nn.Sequential) -> None:
    """Let ReLUs overwrite what the layer before has made, and nothing else reads."""
    for key, (before, layer) in zip(
        [*layers._modules][1:], pairwise(layers), strict=True
    ):
        if isinstance(before, _MAKING) and type(layer) is nn.ReLU:
            setattr(layers, key, nn.ReLU(inplace=True))


def _map(function: Callable, outputs: Any) -> Any:
    if isinstance(outputs, tuple):
        return tuple(function(output) for output in outputs)
    return function(outputs)
