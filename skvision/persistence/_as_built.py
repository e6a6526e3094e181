"""What parameters made of a network, before it was trained.

The code that builds it may have read files or the environment, which no name of a fit
tells of. What came of it does.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from skvision._identity import Unidentified, examine

__all__ = ["as_built", "was_built_alike"]

#: Values that are looked at at once, and how far equal ones are apart at most: those
#: that are drawn or decomposed may differ in their last digits on another machine.
_AT_ONCE, _TOLERANCE = 2**20, 1e-5


def as_built(net: Any) -> dict[str, Any]:
    """Return what tells an estimator's new network and criterion from others.

    Returns
    -------
    built : dict
        "name" of all but the values of tensors, None if it cannot be told; "numbers",
        two of each tensor.
    """
    numbers: list[tuple[float, float]] = []

    def told(tensor: torch.Tensor) -> Any:
        exact = not tensor.is_floating_point() or tensor.is_meta
        if exact or tensor.layout is not torch.strided:
            return str(tensor.dtype), repr(tensor)
        numbers.append(_numbers_of(tensor))
        return str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad

    try:
        parts = net.module_, net.criterion_
        name = examine(*parts, told={torch.Tensor: told}).name
    except Unidentified:
        name, numbers = None, []
        for _, tensor in sorted(net.module_.state_dict().items()):
            told(tensor)
    return {"name": name, "numbers": torch.tensor(numbers, dtype=torch.float64)}


def _numbers_of(tensor: torch.Tensor) -> tuple[float, float]:
    """Return the length of a tensor, and what is left of its values' order."""
    values = tensor.detach().reshape(-1)
    length = order = 0.0
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE].cpu().double()
        # Masks may be infinite; differences of what is could not be told.
        part = part.nan_to_num(nan=1.0, posinf=2.0, neginf=-2.0)
        places = torch.arange(start, start + len(part), dtype=torch.float64)
        length += float(part @ part)
        order += float(part @ places.cos())
    return math.sqrt(length), order


def was_built_alike(before: Any, now: dict[str, Any]) -> bool:
    """Whether a checkpoint's network began as one that is new."""
    if not isinstance(before, dict) or before.keys() != now.keys():
        return False
    one, other = before["numbers"], now["numbers"]
    if before["name"] != now["name"] or not isinstance(one, torch.Tensor):
        return False
    if one.shape != other.shape:
        return False
    lengths = other[:, :1] if len(other) else other
    return bool(((one - other).abs() <= _TOLERANCE * lengths).all())
