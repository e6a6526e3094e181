"""Optimizers whose steps are those of many members of a stack."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Any

import torch
from torch import nn

from skvision.estimators._run import TrainingRun
from skvision.training._optimizers import group_settings

# What an optimizer has one of for all numbers of a parameter.
_COMMON_STATE = ("step", "mu_product")


class StackOptimizers:
    """An optimizer of torch for each run of members with the same settings.

    What optimizers treat alike lies side by side in memory, (n, numbers), so that each
    has few tensors to step through. Each number changes as it would in the optimizer of
    one member.

    Parameters
    ----------
    members : list of TrainingRun
        In the order of the stack.
    params : dict of torch.Tensor of shape (n, ...)
        Changed to views of the memory that steps change.
    names : list of str
        Those that have gradients.
    """

    def __init__(
        self,
        members: Sequence[TrainingRun],
        params: dict[str, torch.Tensor],
        names: Sequence[str],
    ) -> None:
        self.members = members
        self.names = set(names)
        self.ends = [*ranges([optimizer_key(member) for member in members])]
        firsts = [members[a] for a, _ in self.ends]
        places = [_group_numbers(member) for member in firsts]
        # Of each block, the group of parameters it belongs to in each optimizer.
        self.blocks: dict[tuple[Any, ...], list[str]] = {}
        for name in names:
            key = params[name].dtype, *(numbers.get(name) for numbers in places)
            self.blocks.setdefault(key, []).append(name)
        flat = [_side_by_side(params, names) for names in self.blocks.values()]
        #: For each optimizer, its part of each block.
        self.parts = [[block[a:b] for block in flat] for a, b in self.ends]
        self.optimizers = [
            self._optimizer(i, member.net.optimizer_) for i, member in enumerate(firsts)
        ]
        self._read_states()

    def _optimizer(self, i: int, own: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return an optimizer for the joined weights of some networks."""
        groups: list[dict[str, Any]] = []
        for number, group in enumerate(own.param_groups):
            parts = [
                part
                for key, part in zip(self.blocks, self.parts[i], strict=True)
                if key[1 + i] == number
            ]
            if parts:
                groups.append({**group, "params": parts, "stands_for": number})
        known = inspect.signature(type(own)).parameters
        defaults = {k: v for k, v in own.defaults.items() if k in known}
        return type(own)(groups, **defaults)

    def take_settings(self) -> bool:
        """Take over what schedules have set, such as rates.

        Returns
        -------
        agree : bool
            Whether the members of each optimizer still have the same settings.
        """
        for i, (a, b) in enumerate(self.ends):
            first, *others = (
                group_settings(member.net.optimizer_) for member in self.members[a:b]
            )
            if any(settings != first for settings in others):
                return False
            for group in self.optimizers[i].param_groups:
                group.update(first[group["stands_for"]])
        return True

    def step(self, grads: dict[str, torch.Tensor], takes_part: Sequence[Any]) -> None:
        """Make a step of the members that take part, with gradients (n, ...)."""
        if grads.keys() != self.names:
            raise ValueError("other parameters have gradients than in the first batch")
        joined = [
            torch.cat([_rows(grads[name]) for name in names], 1)
            for names in self.blocks.values()
        ]
        for i, (a, b) in enumerate(self.ends):
            if takes_part[a]:
                for part, grad in zip(self.parts[i], joined, strict=True):
                    part.grad = grad[a:b]
                self.optimizers[i].step()

    def _named_parts(self, i: int) -> Iterator[tuple[list[str], torch.Tensor]]:
        return zip(self.blocks.values(), self.parts[i], strict=True)

    def _read_states(self) -> None:
        """Take over the states that the networks' own optimizers have."""
        for i, (a, b) in enumerate(self.ends):
            owns = [
                (member.net.optimizer_.state, _parameters(member))
                for member in self.members[a:b]
            ]
            for names, part in self._named_parts(i):
                states = [[state.get(named[n]) for n in names] for state, named in owns]
                if not states[0][0]:
                    continue
                self.optimizers[i].state[part] = {
                    key: torch.stack([_row(state, key) for state in states])
                    if _is_elementwise(key, value)
                    else copy.deepcopy(value)
                    for key, value in states[0][0].items()
                }

    def write_back(self) -> None:
        """Give each member its part of the states."""
        for i, (a, b) in enumerate(self.ends):
            for names, part in self._named_parts(i):
                if not (state := self.optimizers[i].state.get(part)):
                    continue
                for row, member in enumerate(self.members[a:b]):
                    named, start = _parameters(member), 0
                    for name in names:
                        parameter = named[name]
                        columns = slice(start, start := start + parameter.numel())
                        member.net.optimizer_.state[parameter] = {
                            key: _like(parameter, value[row, columns])
                            if _is_elementwise(key, value)
                            else copy.deepcopy(value)
                            for key, value in state.items()
                        }


def clip_gradients(
    grads: dict[str, torch.Tensor], clippings: Sequence[Sequence[tuple[float, float]]]
) -> dict[str, torch.Tensor]:
    """Return gradients, scaled for each member where their norm is too large.

    Parameters
    ----------
    grads : dict of torch.Tensor of shape (n, ...)
    clippings : sequence of n lists of (largest norm, order of the norm)
        What happens to each member's gradients, one after the other, as
        `torch.nn.utils.clip_grad_norm_` does it.
    """
    for limits in zip_longest(*clippings):
        for order in dict.fromkeys(limit[1] for limit in limits if limit):
            rows = [i for i, one in enumerate(limits) if one and one[1] == order]
            sizes = [
                torch.linalg.vector_norm(_rows(grad), order, dim=1)
                for grad in grads.values()
            ]
            total = torch.linalg.vector_norm(torch.stack(sizes), order, dim=0)
            scale = torch.ones_like(total)
            largest = torch.tensor([limits[i][0] for i in rows]).to(total)
            scale[rows] = torch.clamp(largest / (total[rows] + 1e-6), max=1.0)
            grads = {
                name: grad * scale.to(grad).view(-1, *[1] * (grad.ndim - 1))
                for name, grad in grads.items()
            }
    return grads


def _side_by_side(
    params: dict[str, torch.Tensor], names: Sequence[str]
) -> torch.Tensor:
    """Return a copy of some parameters, (n, numbers), and make them views of it."""
    flat = torch.cat([_rows(params[name].detach()) for name in names], 1)
    start = 0
    for name in names:
        shape = params[name].shape
        columns = flat[:, start : (start := start + params[name][0].numel())]
        params[name] = columns.view(shape).requires_grad_()
    return flat


def _rows(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(len(values), -1)


def _row(states: Sequence[dict[str, torch.Tensor]], key: str) -> torch.Tensor:
    return torch.cat([state[key].flatten() for state in states])


def _like(parameter: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    # In the order in memory that a fused step expects.
    new = torch.empty_like(parameter, dtype=numbers.dtype, requires_grad=False)
    return new.copy_(numbers.view(parameter.shape))


def _is_elementwise(key: str, value: Any) -> bool:
    return isinstance(value, torch.Tensor) and key not in _COMMON_STATE


def _parameters(member: TrainingRun) -> dict[str, nn.Parameter]:
    return dict(member.network.named_parameters())


def _names(member: TrainingRun) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in _parameters(member).items()}


def _group_numbers(member: TrainingRun) -> dict[str | None, int]:
    names = _names(member)
    return {
        names.get(parameter): number
        for number, group in enumerate(member.net.optimizer_.param_groups)
        for parameter in group["params"]
    }


def optimizer_key(member: TrainingRun) -> str:
    """Tell apart what one optimizer cannot do together."""
    own, names = member.net.optimizer_, _names(member)
    groups = [
        {**group, "params": [names.get(p) for p in group["params"]]}
        for group in own.param_groups
    ]
    steps = [float(state["step"]) for state in own.state.values() if "step" in state]
    kind = f"{type(own).__module__}.{type(own).__qualname__}"
    return repr((kind, groups, len(member.loader), steps[:1], bool(own.state)))


def ranges(values: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yield the ends of runs of equal values."""
    start = 0
    for _, run in groupby(values):
        stop = start + len([*run])
        yield start, stop
        start = stop
