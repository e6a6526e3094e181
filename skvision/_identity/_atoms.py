"""Plain values as bytes, and digests of what is made of them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from typing import Any

import torch


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
