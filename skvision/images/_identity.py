"""What tells images apart: their values, wherever they come from."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skvision._identity import examine, fingerprint
from skvision._random import (
    generator_state,
    isolated_random_state,
    set_generator_state,
)
from skvision.images._readers import ArrayReader, DatasetReader, PathReader

if TYPE_CHECKING:
    from skvision.images._sequence import ImageSequence

_CPU = torch.device("cpu")
_BYTES_AT_ONCE = 2**24
#: Digests of files by all that the system tells of them.
_known: dict[tuple[Any, ...], str] = {}
_MOST_KNOWN = 1_000_000
# A file may be changed twice before its time is another one.
_SETTLED_AFTER = 2.0


def identity_of(images: ImageSequence) -> Any:
    """Return what tells images from others.

    That is the values that are read, which lie in memory or in the file where they are
    kept. What is read anew each time is a matter of the contents of the image files;
    or, of a data set that may do anything, of the items that it gives when random
    numbers begin at a fixed seed, and of all that it holds.
    """
    reader, rows = images.reader, images.rows
    shape = len(images), *images.image_shape
    common = shape, images.flat, str(images.dtype), images.steps
    if isinstance(reader, ArrayReader):
        # Integers and floats of equal values are scaled in different ways.
        return *common, reader.array.dtype.str[1:], _values(images)
    if isinstance(reader, PathReader) and images.reading == "each_time":
        paths = reader.paths if rows is None else reader.paths[rows]
        return *common, [file_digest(path) for path in paths]
    if not isinstance(reader, DatasetReader) or images.reading != "each_time":
        return *common, _values(images)
    with _put_back(examine(reader.dataset).generators):
        values = _values(images)
    # What it keeps of items that it has read is in there only now.
    return *common, values, reader.dataset


def _values(images: ImageSequence) -> str:
    """Return a digest of all values."""
    n_values = max(1, int(np.prod(images.image_shape)))
    at_once = max(1, _BYTES_AT_ONCE // (8 * n_values))
    digest = hashlib.sha256()
    with isolated_random_state(_CPU, 0):
        for start in range(0, len(images), at_once):
            part = images.read_stored(slice(start, start + at_once))
            digest.update(str(part.dtype).encode())
            digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def row_names(images: ImageSequence) -> list[bytes]:
    """Return what tells single images from others, 16 bytes for each.

    Of files that is what they hold, so that they need not be decoded.
    """
    reader, rows = images.reader, images.rows
    common = [images.image_shape, images.flat, str(images.dtype), images.steps]
    if isinstance(reader, PathReader):
        common += [reader.form._replace(folder=None), reader.mode]
    start = hashlib.blake2b(fingerprint(*common).encode(), digest_size=16)
    if isinstance(reader, PathReader):
        paths = reader.paths if rows is None else reader.paths[rows]
        return [_name_of(start, file_digest(path).encode()) for path in paths]
    names: list[bytes] = []
    n_values = max(1, math.prod(images.image_shape))
    at_once = max(1, _BYTES_AT_ONCE // (8 * n_values))
    for first in range(0, len(images), at_once):
        part = images.read_stored(slice(first, first + at_once)).contiguous()
        kind = str(part.dtype).encode()
        names += [_name_of(start, kind, image.numpy().data) for image in part]
    return names


def _name_of(start: Any, *parts: Any) -> bytes:
    digest = start.copy()
    for part in parts:
        digest.update(part)
    return digest.digest()


@contextlib.contextmanager
def _put_back(generators: Iterable[Any]) -> Iterator[None]:
    """Leave generators of random numbers as they were found."""
    before = [(g, generator_state(g)) for g in generators]
    try:
        yield
    finally:
        for generator, state in before:
            set_generator_state(generator, state)


def file_digest(path: str | os.PathLike[str] | bytes) -> str:
    """Return a digest of a file's contents; it is read anew only if it has changed.

    Bytes are the contents themselves.
    """
    if isinstance(path, bytes):
        return hashlib.sha256(path).hexdigest()
    found = os.stat(path)
    key = (
        os.path.abspath(path),
        *(found.st_dev, found.st_ino, found.st_size),
        *(found.st_mtime_ns, found.st_ctime_ns),
    )
    if key in _known:
        return _known[key]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(found.st_mtime, found.st_ctime) > _SETTLED_AFTER:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = digest
    return digest
