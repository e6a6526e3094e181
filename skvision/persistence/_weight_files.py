"""Files of weights alone, and beside the weights what predictions need.

Such a file is a ``state_dict`` as torch or safetensors writes it. What else a
prediction needs, such as classes and the normalisation of pixels, is a note, which only
`read_state` looks for: an attribute of the ``state_dict``, or an entry of the header of
safetensors.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import safetensors.torch
import torch
from skorch.history import History

from skvision.exceptions import FormatError
from skvision.networks._weights import read_safetensors, read_torch
from skvision.persistence._atomic import write_atomically
from skvision.persistence._state import (
    ENTRIES,
    check_facts,
    facts_of,
    written_entries,
)
from skvision.persistence._tree import decode, encode

_ATTRIBUTE, _ENTRY = "_skvision", "skvision"
_DTYPES = {"torch.float32": torch.float32, "torch.float64": torch.float64}


def write_state(
    target: Any,
    state: Mapping[str, Any],
    note: str | None = None,
    use_safetensors: bool = False,
) -> None:
    """Write a ``state_dict``; an older file is kept if anything goes wrong.

    Parameters
    ----------
    target : str, path-like or file
    state : dict
    note : str, default=None
    use_safetensors : bool, default=False
        Whether safetensors writes it, which takes tensors alone.
    """
    if isinstance(target, (str, os.PathLike)):
        write_atomically(
            target,
            lambda file: write_state(file, state, note, use_safetensors),
        )
    elif use_safetensors:
        metadata = {} if note is None else {"format": "pt", _ENTRY: note}
        target.write(safetensors.torch.save(dict(state), metadata or None))
    elif note is None:
        torch.save(state, target)
    else:
        # The weights alone are tensors; torch does not look at attributes.
        noted = OrderedDict(state)
        setattr(noted, _ATTRIBUTE, note)
        torch.save(noted, target)


def read_state(
    source: Any, title: str, use_safetensors: bool, device: Any
) -> tuple[Any, str | None]:
    """Return what is in a file, and the note beside it or None."""
    if use_safetensors:
        state, metadata = read_safetensors(source, title)
        return state, metadata.get(_ENTRY)
    state = read_torch(source, title, device)
    return state, getattr(state, _ATTRIBUTE, None)


def write_history(target: Any, history: History) -> None:
    """Write a history as JSON; an older file is kept if anything goes wrong."""
    if isinstance(target, (str, os.PathLike)):
        text = json.dumps(history.to_list())
        write_atomically(target, lambda file: file.write(text.encode()))
    else:
        history.to_file(target)


class Note(NamedTuple):
    """What goes with weights.

    Attributes
    ----------
    facts : dict or None
        None if they are those of another kind of estimators.
    entries : dict
        By their keys; those that are not known are left out.
    """

    facts: dict[str, Any] | None
    entries: dict[str, Any]


def written_note(kind: str, attributes: Mapping[str, Any]) -> str:
    """Return what goes with an estimator's weights, as a line of text.

    Parameters
    ----------
    kind : str
        See `kind_of`.
    attributes : dict
        Of an estimator that is initialized.
    """
    has_seen_data = "n_features_in_" in attributes
    note = {"kind": kind, "facts": facts_of(attributes) if has_seen_data else None}
    note |= written_entries(attributes, with_weights=True)
    if not attributes.get("_scaling_known"):
        note["scaler"] = None
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(encode(note, tensors))
    numbers = {k: [str(v.dtype), v.tolist()] for k, v in tensors.items()}
    return json.dumps([text, numbers])


def checked_note(text: str, kind: str, attributes: Mapping[str, Any] | None) -> Note:
    """Return what `written_note` was given, as far as it can be taken over.

    Parameters
    ----------
    text : str
    kind : str
        Of the estimator that is to take it.
    attributes : dict or None
        Of that estimator, if it has seen data.

    Raises
    ------
    FormatError
        If the note is damaged.
    """
    try:
        text, numbers = json.loads(text)
        tensors = {
            k: torch.tensor(v, dtype=_DTYPES[d]) for k, (d, v) in numbers.items()
        }
        note = decode(json.loads(text), tensors)
        facts = note["facts"] if note["kind"] == kind else None
        if facts is not None:
            facts = check_facts(kind, facts)
        # Which images the scale of pixels is for.
        of = facts if facts is not None else attributes
        if of is None:
            mean = (note["scaler"] or [None])[0]
            n_channels = 0 if mean is None else mean.numel()
            of = {"_flat": False, "image_shape_": (n_channels, 1, 1)}
        names = () if note["scaler"] is None else ("scaler", "divisors")
        found = {name: note[name] for name in names}
        if facts is not None:
            found["target_scaler"] = note.get("target_scaler")
        entries = {
            entry.key: found[entry.key] and entry.check(found[entry.key], of)
            for entry in ENTRIES
            if entry.key in found
        }
        if (entries.get("target_scaler") or (None,))[0] is None:
            entries.pop("target_scaler", None)
        return Note(facts, entries)
    except Exception as error:
        raise FormatError(
            f"What stands beside the weights is damaged: {error!r}. Read the file by "
            "torch.load, and give its weights to module_.load_state_dict."
        ) from error
