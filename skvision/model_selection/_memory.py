"""What networks take of memory."""

from __future__ import annotations

import torch
from torch import nn


def saved_bytes(module: nn.Module, images: torch.Tensor) -> int:
    """Return how much a forward pass keeps for going backward, beside weights."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        # What a layer makes may be kept by it and by the next one.
        kept[tensor.data_ptr()] = tensor.nbytes
        # The tensor itself would hold the graph that holds it, for ever.
        return tensor.detach()

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.enable_grad(), hooks:
        module(images)
    for weight in module.parameters():
        kept.pop(weight.data_ptr(), None)
    return sum(kept.values())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
