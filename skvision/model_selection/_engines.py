"""Many networks of one structure in one pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call, vmap

from skvision._compat import layers_by_place, without_vmap_warnings
from skvision.estimators._builder import with_channels_last
from skvision.model_selection._tracing import trace
from skvision.model_selection._wide import WideNetwork

Tensors = Mapping[str, torch.Tensor]
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_dropout(layer: nn.Module) -> bool:
    """Whether all that a layer does is to multiply by what one of torch's draws.

    What others do may depend on the numbers that they get.
    """
    own = getattr(layer.forward, "__func__", None)
    return isinstance(layer, _DROPOUTS) and any(own is d.forward for d in _DROPOUTS)


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
        if not is_dropout(layer):
            continue
        if layer.training:

            def note(layer: Any, args: Any, name: str = name) -> None:
                (x,) = args
                if len(x) != len(images):
                    raise ValueError(f"{name} drops along another axis than the rows")
                order = sorted(range(x.ndim), key=lambda axis: -x.stride(axis))
                calls.append(DropoutCall(name, tuple(x.shape[1:]), tuple(order)))

            layer.register_forward_pre_hook(note)
        layer.eval()
    with torch.no_grad():
        module(images)
    return calls


def draw_masks(
    module: nn.Module, calls: Sequence[DropoutCall], images: torch.Tensor
) -> list[torch.Tensor]:
    """Draw what a network's dropout layers would, in the order of its calls."""
    layers = dict(module.named_modules())
    return [call.mask(layers[call.name], images) for call in calls]


def joined_state(modules: Sequence[nn.Module]) -> tuple[dict, dict]:
    """Return parameters and buffers of all networks, (n, ...)."""
    params = _joined([dict(module.named_parameters()) for module in modules])
    return params, joined_buffers(modules)


def joined_buffers(modules: Sequence[nn.Module]) -> dict[str, torch.Tensor]:
    """Return buffers of all networks, (n, ...)."""
    return _joined([dict(module.named_buffers()) for module in modules])


def _joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        name: torch.stack([part[name].detach() for part in parts]) for name in parts[0]
    }


class _Masked(nn.Module):
    """Stands for a dropout layer; others have drawn what it multiplies by.

    Parameters
    ----------
    masks : list of torch.Tensor
        Those that are left, of all layers, for one forward pass.
    """

    def __init__(self, masks: list[torch.Tensor]) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        mask = self.masks.pop(0)
        if mask.shape != x.shape:
            raise ValueError("dropout of something else than rows of channels")
        return x * mask.to(x.dtype)


class _Engine:
    """A network's code, run with the weights of many.

    Called with parameters and buffers (n, ...), images (n, b, ...) and masks of dropout
    layers, it returns outputs (n, b, ...).
    """

    def __init__(self, module: nn.Module, *, channels_last: bool) -> None:
        #: For the dropout layers of a pass.
        self.masks: list[torch.Tensor] = []
        #: Shapes of batches for which it is known that networks compute alone.
        self.tried: set[torch.Size] = set()
        #: Whether the criterion is known to have to do with one network alone.
        self.knows_criterion = False
        self.channels_last = channels_last
        self.template = self._replaced(copy.deepcopy(module), {})

    def _replaced(
        self, module: nn.Module, known: dict[nn.Module, nn.Module]
    ) -> nn.Module:
        """Return a network with other layers; some may be in several places."""
        if module not in known:
            drops = is_dropout(module)
            known[module] = _Masked(self.masks) if drops else module
            for key, child in () if drops else layers_by_place(module):
                if child is not None:
                    setattr(module, key, self._replaced(child, known))
        return known[module]

    def set_mode(self, module: nn.Module) -> None:
        """Take over which layers of a network are in training mode."""
        every = module.named_modules(remove_duplicate=False)
        modes = {name: layer.training for name, layer in every}
        for name, layer in self.template.named_modules():
            layer.training = modes[name]

    def _run(self, params: Tensors, buffers: Tensors, x: Any, masks: Any) -> Any:
        """Call the network's own code with other weights."""
        self.masks[:] = masks
        outputs = functional_call(self.template, (dict(params), dict(buffers)), (x,))
        if self.masks:
            raise ValueError("some dropout layers are not called in training")
        return outputs


class Grouped(_Engine):
    """Networks side by side as the channels of one wide network.

    The network's own code is run once for each size of batches, to learn of its
    operations; then these are done for all networks at once. Convolutions have one
    group for each, so that elementwise operations and pooling in between need no
    change, and nothing is moved in memory.

    Called, it raises a ValueError if an operation is not known to keep networks apart.
    """

    def __init__(self, module: nn.Module, *, channels_last: bool) -> None:
        super().__init__(module, channels_last=channels_last)
        found = set()
        for name, layer in self.template.named_modules(remove_duplicate=False):
            if type(layer) in _BATCH_NORM and layer.momentum is None:
                # Its mean over all batches reads a number, which is done otherwise.
                layer.momentum = 1.0
                found.add(f"{name}." if name else "")
        self.cumulative = frozenset(found)
        self.programs: dict[Any, tuple[WideNetwork, bool]] = {}

    def __call__(
        self, params: Tensors, buffers: Tensors, x: Any, masks: Any = ()
    ) -> Any:
        modes = tuple(layer.training for layer in self.template.modules())
        key = x.shape[1:], x.dtype, x.device, modes
        if key not in self.programs:
            self.programs[key] = self._program(params, buffers, x, masks)
        program, several = self.programs[key]
        wide = [mask.transpose(0, 1).flatten(1, 2) for mask in masks]
        if self.channels_last and x.ndim == 5:
            # What flatten returns may be a view that lies otherwise in memory.
            images = x.permute(1, 3, 4, 0, 2).flatten(3).contiguous()
            images = images.permute(0, 3, 1, 2)
        else:
            images = x.transpose(0, 1).flatten(1, 2)
        values = [*params.values(), *buffers.values(), images, *wide]
        outputs = tuple(
            out.unflatten(1, (len(x), -1)).transpose(0, 1)
            for out in program(len(x), values)
        )
        return outputs if several else outputs[0]

    def _program(
        self, params: Tensors, buffers: Tensors, x: torch.Tensor, masks: Sequence
    ) -> tuple[WideNetwork, bool]:
        """Return the wide network, and whether it has several outputs."""
        names, several = [*params, *buffers], False

        def run(*values: torch.Tensor) -> Sequence[torch.Tensor]:
            nonlocal several
            given = dict(zip(names, values, strict=False))
            inputs, *rest = values[len(names) :]
            outputs = self._run(given, {}, inputs, rest)
            several = isinstance(outputs, tuple)
            return list(outputs) if several else [outputs]

        images = x[0].detach()
        arrange = with_channels_last if self.channels_last else torch.Tensor.contiguous
        every = [*params.values(), *buffers.values()]
        ones = [value[0].detach() for value in (*every, *masks)]
        ones.insert(len(names), arrange(images))
        with torch.autocast(x.device.type, enabled=False):
            graph = trace(run, ones)
        return WideNetwork(graph, names, self.cumulative), several


class Vmapped(_Engine):
    """Networks on an axis of their own, by `torch.func.vmap`; takes most networks.

    It keeps networks apart by the way it works, and refuses random operations and
    decisions by numbers.
    """

    def __call__(
        self, params: Tensors, buffers: Tensors, x: Any, masks: Any = ()
    ) -> Any:
        if self.channels_last and x.ndim == 5:
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        # Not all of torch's operations heed how weights lie in memory.
        copies = {name: value.contiguous() for name, value in params.items()}
        run = vmap(self._run, randomness="error")
        with without_vmap_warnings():
            return run(copies, dict(buffers), x, tuple(masks))


#: In the order in which they are tried.
ENGINES: tuple[type[_Engine], ...] = (Grouped, Vmapped)
