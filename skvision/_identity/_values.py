"""Values of arrays and tensors, however they lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

# What is copied at once of an array whose values do not follow each other in memory.
_BYTES_AT_ONCE = 2**24


def array_values(array: np.ndarray) -> Iterator[Any]:
    """Yield the values of an array: buffers, or objects where it holds such."""
    array = np.asarray(array)
    if array.dtype.names is not None:
        for name in array.dtype.names:  # There may be anything between them.
            yield from array_values(array[name])
    elif array.dtype.hasobject:
        yield from array.ravel().tolist()
    elif array.dtype.kind in "fc" and array.dtype.char in "gG":
        # Bytes of long doubles are not all used.
        yield from map(repr, array.ravel())
    elif array.dtype.itemsize and array.size:
        for part in _contiguous(array):
            yield part.reshape(-1).view(np.uint8).data


def _contiguous(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array in parts that lie in memory row by row."""
    if array.ndim == 0 or array.flags.c_contiguous:
        yield np.ascontiguousarray(array)
        return
    row_bytes = array.nbytes // len(array)
    if row_bytes > _BYTES_AT_ONCE and array.ndim > 1:
        for row in array:
            yield from _contiguous(row)
        return
    n_rows = max(1, _BYTES_AT_ONCE // max(row_bytes, 1))
    for start in range(0, len(array), n_rows):
        yield np.ascontiguousarray(array[start : start + n_rows])


def tensor_values(tensor: torch.Tensor) -> tuple[list[Any], list[torch.Tensor]]:
    """Return what describes a tensor, and plain tensors of bytes that it consists of.

    Raises
    ------
    NotImplementedError, RuntimeError, TypeError
        If its values cannot be read.
    """
    head: list[Any] = [tensor.dtype, tensor.layout, tensor.requires_grad]
    if torch.nn.parameter.is_lazy(tensor):
        return [*head, "not initialized"], []
    plain = tensor.detach()
    if type(plain) is not torch.Tensor:
        plain = plain.as_subclass(torch.Tensor)
    head.append(tuple(plain.shape))
    if plain.is_meta:
        return [*head, "meta"], []
    if plain.is_quantized:
        head.append(str(plain.qscheme()))
        return head, [_bytes(plain.int_repr()), _bytes(plain.dequantize())]
    if plain.layout is torch.sparse_coo:
        plain = plain.coalesce()
        parts = [plain.indices(), plain.values()]
    elif plain.layout is torch.strided:
        parts = [plain]
    else:
        raise TypeError(f"its layout is {plain.layout}")
    return head, [_bytes(part) for part in parts]


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8)
