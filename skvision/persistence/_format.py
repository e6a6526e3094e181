"""One file of weights and what belongs to them, in which nothing is code.

The file is a safetensors file [1]_: a header in JSON, then the bytes of all tensors.
What is not a tensor is JSON text (`_tree`) and stored like one. The header has a
SHA-256 of the whole file, so that a damaged file is found out before it is used.

A format of our own was weighed against skops [2]_, which scikit-learn's users know.
skops rebuilds any object from a zip of JSON by importing its class and setting its
attributes, and leaves it to the user to judge a list of types. Version 0.16 cannot
write a fitted network ("Cannot directly construct TensorBase"). If it could, that list
would have every layer and hook in it, trusted for their names rather than for what is
done with them, and files would depend on private attributes of torch, skorch and
scikit-learn. An estimator here is described by its public parameters and a state of
plain values instead; to build it again is left to its own code.

References
----------
.. [1] https://huggingface.co/docs/safetensors
.. [2] https://skops.readthedocs.io
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from skvision.exceptions import FormatError
from skvision.persistence._atomic import check_target, write_atomically
from skvision.persistence._tree import decode, encode

_KEY, _TREE = "skvision", "tree"
#: Rises when files are written that older releases cannot read.
VERSION = 1
_NO_DIGEST = "0" * 64
# What every file may take, beside a multiple of its own size.
_ROOM = 2**25
_SIZES = {"[": 64, "{": 64, ":": 90, ",": 32, '"': 12}
# Tensors of a small file; each takes more memory than the few bytes that name it.
_TENSORS, _BYTES_PER_TENSOR = 10_000, 1000
_METADATA, _LONGEST_METADATA = b'{"__metadata__":', 10_000


def write_file(path: str | os.PathLike[str], kind: str, tree: Any) -> None:
    """Write nested data as one file, in the place of an older one.

    Parameters
    ----------
    path : str or path-like
    kind : str
        What the file is, "estimator" or "checkpoint".
    tree : object
        See `skvision.persistence._tree.encode`.
    """
    _check_path(path)
    check_target(path)
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(encode(tree, tensors), allow_nan=False, separators=(",", ":"))
    # Tensors that share memory are stored as what each of them shows.
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    # safetensors limits the length of headers, and histories may be long.
    tensors[_TREE] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    header = {"sha256": _NO_DIGEST, "version": VERSION, "kind": kind}
    data = safetensors.torch.save(tensors, metadata={_KEY: json.dumps(header)})
    before, after = data.split(_NO_DIGEST.encode(), 1)
    digest = hashlib.sha256(data).hexdigest().encode()
    del data

    def write(file: Any) -> None:
        for part in (before, digest, after):
            file.write(part)

    write_atomically(path, write)


def read_file(path: str | os.PathLike[str], kind: str) -> Any:
    """Return what `write_file` has written, see `read_sized`."""
    return read_sized(path, kind)[0]


def read_sized(path: str | os.PathLike[str], kind: str) -> tuple[Any, int]:
    """Return what `write_file` has written, and the size of the file.

    The memory and the time that it takes are within a multiple of the size.

    Raises
    ------
    FormatError
        If the file is damaged, of another kind, or of a later version of the format.
    OSError
        If there is no such file, or it cannot be read.
    """
    _check_path(path)
    # What is no file, such as a pipe, might never end.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FormatError(f"{os.fspath(path)!r} is not a file.")
    data = Path(path).read_bytes()
    n_bytes = len(data)
    title = f"{os.fspath(path)!r}"
    header = _header(data, title)
    if type(header.get("version")) is not int:
        raise FormatError(f"{title} does not say in which version of the format it is.")
    if header["version"] > VERSION:
        raise FormatError(
            f"{title} has version {header['version']} of the format, and this "
            f"skvision knows up to {VERSION}. Install a newer skvision."
        )
    _check_digest(data, header.get("sha256"), title)
    if header.get("kind") != kind:
        raise FormatError(f"{title} holds no {kind}, but {header.get('kind')!r}.")
    try:
        tensors = safetensors.torch.load(data)
        del data
        text = str(tensors.pop(_TREE).numpy().data, "ascii")
        # Bytes of lists and dictionaries, of their places, and of numbers and strings.
        n_taken = sum(size * text.count(mark) for mark, size in _SIZES.items())
        if n_taken > _ROOM + 7 * n_bytes:
            raise ValueError("it has far more parts than bytes")
        tree = json.loads(text, parse_constant=_no_constant)
        del text
        return decode(tree, tensors, _ROOM + n_bytes), n_bytes
    except Exception as error:
        reason = str(error) if isinstance(error, FormatError) else f"{error!r}."
        raise FormatError(f"{title} cannot be read: {reason}") from error


def _check_path(path: Any) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path={path!r} should be a str or os.PathLike.")


def _header(data: bytes, title: str) -> dict[str, Any]:
    """Return what the header says besides the places of the tensors."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise FormatError(
            f"{title} is cut off, or was not written by skvision. Pickles are not "
            "read: what joblib or pickle has written is for them to load."
        )
    if (
        data.count(b'"dtype"', 0, 8 + length)
        > _TENSORS + len(data) // _BYTES_PER_TENSOR
    ):
        raise FormatError(f"{title} has far more tensors than bytes.")
    start = 8 + len(_METADATA)
    if data[8:start] != _METADATA:
        raise FormatError(f"{title} was not written by skvision.")
    try:
        text = data[start : 8 + min(length, _LONGEST_METADATA)].decode()
        metadata, _ = json.JSONDecoder().raw_decode(text)
        return dict(json.loads(metadata[_KEY]))
    except KeyError as error:
        raise FormatError(f"{title} was not written by skvision.") from error
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise FormatError(f"The header of {title} is damaged: {error}.") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check_digest(data: bytes, digest: Any, title: str) -> None:
    """Raise an error if the checksum in a file is not that of its bytes."""
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise FormatError(f"{title} has no checksum.")
    place = data.find(digest.encode(), 8)
    found = hashlib.sha256()
    if place >= 0:
        for part in (data[:place], _NO_DIGEST.encode(), memoryview(data)[place + 64 :]):
            found.update(part)
    if found.hexdigest() != digest:
        raise FormatError(
            f"{title} has been changed or damaged since it was written: its checksum "
            "does not fit."
        )
