"""Weights from files and from elsewhere, looked at before they are used."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from skvision.exceptions import FormatError

__all__ = ["check_weights", "read_weights"]


def read_weights(path: str | os.PathLike[str], title: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file; nothing in it is run.

    Parameters
    ----------
    path : str or path-like
        What ``torch.save`` made of a ``state_dict`` or, with the suffix .safetensors,
        a safetensors file.
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
        # What is no file, such as a pipe, might never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FormatError(f"{title} is not a file.")
    except FileNotFoundError:
        raise FileNotFoundError(f"{title}: there is no such file.") from None
    if path.endswith(".safetensors"):
        try:
            return load_file(path)
        except SafetensorError as error:
            raise FormatError(f"{title} is damaged: {error}") from error
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FormatError(
            f"{title} is not a file of weights: expected what "
            f"torch.save(module.state_dict(), path) writes. {error}"
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor)
        for name, value in state.items()
    ):
        raise FormatError(f"{title} holds no state_dict of tensors.")
    return state


def _check_archive(path: str) -> None:
    """Check that a file holds as many bytes as it says that it has."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        # torch.save compresses nothing; a thousandth might be enough for zeros.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise FormatError("It is compressed.")


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
