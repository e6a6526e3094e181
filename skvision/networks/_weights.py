"""Weights from files and from elsewhere, looked at before they are used."""

from __future__ import annotations

import json
import os
import pickle
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from skvision._compat import versions_in, with_versions
from skvision.exceptions import FormatError

# Tensors of a small file, and bytes for each one more: to make one takes a while.
_ENTRIES, _BYTES_PER_ENTRY = 10_000, 1000
#: What trainings that keep more than weights call these in their files.
_ENTRY_NAMES = ("state_dict", "model_state_dict", "model", "module", "network", "net")


def read_weights(
    path: str | os.PathLike[str], title: str
) -> tuple[dict[str, torch.Tensor], str]:
    """Return the tensors of a file, and what to say of them; nothing in it is run.

    Parameters
    ----------
    path : str or path-like
        What ``torch.save`` made of a ``state_dict``, or of a dict that has one, or,
        with the suffix .safetensors, a safetensors file.
    title : str
        What errors call it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FormatError
        If it is no file of weights.
    """
    path = os.fspath(path)
    try:
        check_file(path, title)
    except FileNotFoundError:
        raise FileNotFoundError(f"{title}: there is no such file.") from None
    if path.endswith(".safetensors"):
        return read_safetensors(path, title)[0], ""
    found, said = unwrapped(read_torch(path, title))
    state = state_of(found, title)
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise FormatError(f"{title} holds no state_dict of tensors.")
    return state, said


def unwrapped(found: Any) -> tuple[Any, str]:
    """Return the weights among what a training has kept, and what to say of them."""
    said = ""
    while isinstance(found, dict) and not _are_weights(found):
        entries = {key: value for key, value in found.items() if _is_entry(value)}
        key = next((name for name in _ENTRY_NAMES if name in entries), None)
        if key is None:
            break
        if others := [k for k, v in entries.items() if k != key and _are_weights(v)]:
            said = f"its entry {key!r} was taken, not {', '.join(map(repr, others))}"
        found = entries[key]
    return found, said


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0


def _are_weights(value: Any) -> bool:
    return _is_entry(value) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in value.items()
    )


def check_file(source: Any, title: str) -> None:
    """Check that a file, or an archive in it, takes no more memory than its size.

    Raises
    ------
    FormatError
        If it does, or if it is no file: a pipe, for one, might never end.
    """
    if isinstance(source, (str, os.PathLike)):
        if not stat.S_ISREG(os.stat(source).st_mode):
            raise FormatError(f"{title} is not a file.")
    elif not hasattr(source, "read"):
        raise TypeError(f"{title} should be the path of a file, or an open one.")
    elif not source.seekable():
        return
    try:
        problem = _problem_of_archive(source)
    except zipfile.BadZipFile as error:
        problem = f"is damaged: {error}"
    if problem is not None:
        raise FormatError(f"{title} {problem}.")


def read_torch(source: Any, title: str, device: Any = "cpu") -> Any:
    """Return what ``torch.save`` has written; nothing in it is run.

    Parameters
    ----------
    source : str, path-like or file
    title : str
        What errors call it.
    device : torch.device or str, default="cpu"

    Raises
    ------
    FormatError
        If it cannot be read.
    """
    check_file(source, title)
    try:
        return torch.load(source, map_location=device, weights_only=True)
    except Exception as error:
        # Not what torch says of a pickle, which is how to run the code in it.
        reason = "" if isinstance(error, pickle.UnpicklingError) else f" {error}"
        raise FormatError(
            f"{title} is not a file of weights: expected what "
            f"torch.save(module.state_dict(), path) writes.{reason}"
        ) from error


def read_safetensors(
    source: Any, title: str
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    check_file(source, title)
    try:
        if not isinstance(source, (str, os.PathLike)):
            data = source.read()
            state = safetensors.torch.load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return state, header.get("__metadata__", {})
        with safetensors.safe_open(source, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, file.metadata() or {}
    except (SafetensorError, ValueError) as error:
        raise FormatError(f"{title} is damaged: {error}") from error


def state_of(state: Any, title: str) -> OrderedDict[str, Any]:
    """Return a ``state_dict`` that was read, without what else its author made it.

    Raises
    ------
    FormatError
        If it is none.
    """
    # Attributes of its own would stand before the methods of a dictionary.
    items = dict(dict.items(state)) if isinstance(state, dict) else {0: state}
    if not all(isinstance(name, str) for name in items) or any(
        isinstance(value, torch.Tensor) and value.is_nested for value in items.values()
    ):
        raise FormatError(f"{title} holds no state_dict of tensors.")
    plain = OrderedDict(items)
    versions = versions_in(state)
    if isinstance(versions, dict) and all(
        isinstance(version, dict) for version in versions.values()
    ):
        with_versions(plain, versions)
    return plain


def _problem_of_archive(source: Any) -> str | None:
    """Say what keeps an archive from holding as many bytes as it says that it has."""
    place = None if isinstance(source, (str, os.PathLike)) else source.tell()
    try:
        if not zipfile.is_zipfile(source):
            return None
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            assert archive.fp is not None
            n_bytes = archive.fp.seek(0, os.SEEK_END)
    finally:
        if place is not None:
            source.seek(place)
    # torch.save compresses nothing; a thousandth might be enough for zeros.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "is compressed"
    if sum(entry.file_size for entry in entries) > n_bytes:
        return "says that it has more bytes than it holds"
    if len(entries) > _ENTRIES + n_bytes // _BYTES_PER_ENTRY:
        return "has far more tensors than bytes"
    return None


def check_weights(
    state: Mapping[str, Any],
    own: Mapping[str, torch.Tensor],
    title: str,
    error: type[ValueError] = FormatError,
) -> None:
    """Check that all values are ordinary tensors of numbers that a network can have.

    Parameters
    ----------
    state : dict of torch.Tensor
    own : dict of torch.Tensor
        The network's, of the same names and shapes. What is infinite there may be so in
        `state`, such as masks, and what is complex.
    title : str
        What errors say first.
    error : type, default=FormatError

    Raises
    ------
    FormatError, or `error`
        If one is not; the message names it.
    """
    for name, value in state.items():
        if problem := _problem(value, own[name]):
            raise error(
                f"{title} cannot be used: {name!r} {problem}. Expected finite real "
                "numbers in ordinary (dense) tensors."
            )


def _problem(value: torch.Tensor, own: torch.Tensor) -> str | None:
    """Say what keeps a tensor from being weights."""
    if value.is_meta:
        return "is on the meta device, which holds no values"
    if value.layout is not torch.strided or value.is_nested:
        return f"is not dense, but of layout {value.layout}"
    if value.is_quantized:
        return f"is quantized ({value.dtype})"
    if value.is_complex() and not own.is_complex():
        return f"has complex numbers ({value.dtype})"
    if not own.is_floating_point():
        return None
    # Numbers of float64 may be too large for the network's own.
    value = value.to(own)
    odd = ~torch.isfinite(value)
    if odd.any() and (odd & (value != own)).any():
        shown = f"{int(odd.sum())} of {value.numel()} values"
        return f"has {shown} that are NaN or infinite as {own.dtype}"
    return None
