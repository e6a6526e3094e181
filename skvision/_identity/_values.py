"""Plain values, arrays and tensors as bytes, and digests of what is made of them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

# What is copied at once of an array whose values do not follow each other in memory.
_BYTES_AT_ONCE = 2**24


class Unidentified(TypeError):
    """An object's state cannot be told, such as that of an open file or a lock.

    Attributes
    ----------
    path : str
        Where it is, as in ``criterion.log[0]``.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.path = ""

    def __str__(self) -> str:
        return f"{self.path.lstrip('.')} is {self.what}" if self.path else self.what


def joined(tag: str, parts: Iterable[Any]) -> bytes:
    """Return a digest of parts, of which each is bytes or a buffer of them."""
    digest = hashlib.sha256(tag.encode() + b"\0")
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return b"#" + digest.digest()


def _float(value: float) -> bytes:
    return b"fnan" if value != value else b"f" + struct.pack("<d", value)


#: How plain values, of exactly these types, are written.
ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    type(...): lambda value: b"E",
    type(NotImplemented): lambda value: b"I",
    bool: lambda value: b"b1" if value else b"b0",
    int: lambda value: b"i%x" % value,
    float: _float,
    complex: lambda value: b"c" + _float(value.real) + _float(value.imag),
    str: lambda value: b"s" + value.encode("utf-8", "surrogatepass"),
    bytes: lambda value: b"y" + value,
    torch.dtype: lambda value: b"d" + str(value).encode(),
    torch.device: lambda value: b"D" + str(value).encode(),
    torch.layout: lambda value: b"L" + str(value).encode(),
    torch.memory_format: lambda value: b"M" + str(value).encode(),
}


def is_plain(value: Any) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(is_plain, value))
    return type(value) in ATOMS


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
