"""What objects of the user's gather in the course of a training.

A callback may count, a network or a transform remember what it has seen. A checkpoint
holds what callbacks have of that if it is numbers, and it is told of all the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.history import History
from torch import nn
from torch.utils.data import Dataset

from skvision._identity import Unidentified, examine
from skvision._random import GENERATORS, generator_state
from skvision.persistence._fit_names import set_by_hand
from skvision.persistence._restorable import is_fitted

_OF_TORCH = {*vars(nn.Module()), "_compiled_call_impl"}
# What callbacks and methods may hold, a reference to which is no state of theirs.
_LOOKED_AT_ELSEWHERE = NeuralNet, nn.Module, torch.optim.Optimizer, Dataset, History
# Bytes of arrays that are looked at, and values that a checkpoint holds of one thing.
_BYTES, _VALUES = 2**20, 100_000


class Gathered:
    """How the objects of a fit were when its training began.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
    kept : sequence
        Generators of random numbers whose states checkpoints have.
    """

    def __init__(self, net: Any, kept: Sequence[Any]) -> None:
        self.kept = {id(generator) for generator in kept}
        self.names = {place: self.name(value) for place, value in _places(net)}
        self.is_told = False

    def name(self, value: Any) -> str | None:
        """Return what tells values apart, None if nothing does."""
        told: dict[type, Any] = {
            **dict.fromkeys(_LOOKED_AT_ELSEWHERE, lambda other: type(other).__name__),
            torch.Tensor: lambda tensor: str(tensor.dtype),
            np.ndarray: _of_array,
            **dict.fromkeys(GENERATORS, self.of_generator),
        }
        try:
            return examine(value, told=told).name
        except Unidentified:
            return None

    def of_generator(self, generator: Any) -> Any:
        return None if id(generator) in self.kept else generator_state(generator)

    def changed(self, net: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return what has become another.

        Returns
        -------
        of_callbacks : dict of dict
            Attributes by the names of callbacks.
        others : list of str
        """
        of_callbacks: dict[str, dict[str, Any]] = {}
        others = []
        for (owner, what), value in _places(net):
            same = self.names.get((owner, what)) == self.name(value)
            if same or isinstance(value, _LOOKED_AT_ELSEWHERE):
                continue
            if owner.startswith("callback "):
                of_callbacks.setdefault(owner[len("callback ") :], {})[what] = value
            else:
                others.append(f"{what} of the {owner}")
        return of_callbacks, others


def _places(net: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield objects that may change in a training, and whose they are."""
    for name in ("module", "criterion"):
        part = getattr(net, name + "_")
        layers = part.named_modules() if isinstance(part, nn.Module) else ()
        for place, layer in layers:
            for key, value in vars(layer).items():
                if key not in _OF_TORCH:
                    yield (name, f"{place}.{key}".lstrip(".")), value
    for name in ("augment", "noise"):
        if getattr(net, name, None) is not None:
            yield ("estimator", name), getattr(net, name)
    for name, value in set_by_hand(net).items():
        yield ("estimator", name), value
    for name, callback in net.callbacks_:
        for key, value in vars(callback).items():
            if not is_fitted(key, value) and not callable(value):
                yield (f"callback {name}", key), value


def _of_array(array: np.ndarray) -> Any:
    small = array.nbytes < _BYTES and not array.dtype.hasobject
    return str(array.dtype), array.shape, array.tobytes() if small else None


def is_small(value: Any) -> bool:
    """Whether a value is numbers, and not too many of them."""
    return _n_values(value) <= _VALUES


def _n_values(value: Any) -> float:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.size if isinstance(value, np.ndarray) else value.numel()
    if isinstance(value, dict):
        return sum(map(_n_values, value.values()))
    if isinstance(value, (list, tuple, set)):
        return sum(map(_n_values, value))
    return float("inf") if isinstance(value, str) else 1
