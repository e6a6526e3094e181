"""The file in which a fit keeps the state of its training, to go on from there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skvision._identity import Unidentified
from skvision._warnings import warn
from skvision.exceptions import FormatError
from skvision.persistence._fit_names import (
    FitName,
    as_built,
    name_of_fit,
    was_built_alike,
)
from skvision.persistence._format import read_file, write_file
from skvision.persistence._gathered import Gathered, is_small
from skvision.persistence._restorable import (
    check_parts,
    check_state,
    storable,
    unstorable,
)


class Checkpoint:
    """The file of a fit, one for each pair of parameters and data.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
    path : pathlib.Path
    generators : sequence of generators of random numbers
        Those of the user's that the fit draws from.
    found : dict, default=None
        A state to go on from.
    """

    def __init__(
        self,
        net: Any,
        path: Path,
        generators: Sequence[Any] = (),
        found: dict[str, Any] | None = None,
    ) -> None:
        self.path, self.generators, self.found = path, generators, found
        self.every = net.checkpoint_steps
        #: What the network began with, once it is built.
        self.built: Any = None

    @classmethod
    def of(cls, net: Any, data: Any, held_out: Any, facts: Any) -> Checkpoint | None:
        """Return the checkpoint of a fit, None if nothing tells the fit from others.

        Parameters
        ----------
        net : ImageClassifier, ImageRegressor or ImageAutoencoder
        data : ImageDataset
            The rows.
        held_out : ImageDataset or None
            Rows to validate on, where they are none of these.
        facts : object
            What is known besides of images and classes.

        Raises
        ------
        FormatError
            If the file is damaged, or that of another fit.
        """
        try:
            fit = name_of_fit(net, data, held_out, facts)
        except Unidentified as error:
            warn(
                f"checkpoint={net.checkpoint!r}: this fit is not checkpointed, since "
                f"it could not be told from others: {error}."
            )
            return None
        folder = Path(net.checkpoint)
        path = folder / f"{fit.name}-{fit.length}.checkpoint"
        found = _read(path)
        if found and _n_ended(found) > net.max_epochs:
            with _named(path):
                raise FormatError("it has more epochs than max_epochs")
        if found is None:
            found = _found_of_another_length(net, folder, fit)
        return cls(net, path, fit.generators, found)

    def check(self, net: Any) -> None:
        """Check what was found against the network that it is for, once it is built.

        Raises
        ------
        FormatError
            If it is none of such a network.
        """
        self.built = as_built(net)
        # Older ones do not say what they began with.
        if self.found and not was_built_alike(
            self.found.get("built", self.built), self.built
        ):
            warn(
                f"Training does not go on from {self.found['path']!r}, but begins "
                "anew: of the same parameters, the network was built in another way or "
                "with other weights, as from files or settings outside of them."
            )
            self.found = None
        if self.found:
            with _named(self.found["path"]):
                check_parts(net, self.found)

    def take(self) -> dict[str, Any] | None:
        """Return the state that was found, once."""
        found, self.found = self.found, None
        return found

    def begin(self, net: Any) -> None:
        """Note how everything is where the training begins."""
        self._gathered = Gathered(net, self.generators)

    def is_due(self, n_steps: int) -> bool:
        """Whether a state is to be written after so many steps of an epoch."""
        return self.every is not None and n_steps % self.every == 0

    def write(self, net: Any, state: dict[str, Any]) -> None:
        """Write a run's state, and what callbacks have gathered beside it.

        A warning tells, once, of what a file cannot hold.
        """
        states, lost = state["callbacks"], {}
        gathered, others = self._gathered.changed(net)
        for name, callback in net.callbacks_:
            more = gathered.get(name, {})
            kept = {k: v for k, v in more.items() if is_small(v) and storable(v)}
            states[name] |= kept
            if keys := [*unstorable(callback), *(more.keys() - kept.keys())]:
                lost[name] = keys
        self._tell_of_lost(dict(net.callbacks_), lost, others)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = {**state, "built": self.built, "lost": lost}
            write_file(self.path, "checkpoint", whole)
        except OSError as error:
            # A training of hours does not end for want of a few megabytes of disk.
            warn(
                f"The checkpoint {str(self.path)!r} could not be written: {error}. "
                "Training goes on; the last checkpoint that was written is kept.",
            )

    def _tell_of_lost(self, callbacks: Any, lost: Any, others: Any) -> None:
        """Warn, once, of what a checkpoint cannot hold."""
        if self._gathered.is_told:
            return
        self._gathered.is_told = bool(lost or others)
        for name, keys in lost.items():
            warn(
                f"A checkpoint cannot hold {', '.join(keys)} of the callback "
                f"{type(callbacks[name]).__name__}; a fit that goes on from it begins "
                "with that attribute as new.",
            )
        if others:
            warn(
                f"A checkpoint cannot hold {', '.join(others)}, which the training "
                "changes; a fit that goes on from it may end with other weights. Keep "
                "it in a buffer of a network or in numbers of a callback."
            )


def _found_of_another_length(
    net: Any, folder: Path, fit: FitName
) -> dict[str, Any] | None:
    """Return the state of a fit that differs in `max_epochs` alone, if it helps."""
    lengths = {}
    for path in sorted(folder.glob(f"{fit.name}-*.checkpoint")):
        number = path.stem.split("-")[1]
        if number.isdecimal():
            lengths[path] = int(number)
    if fit.depends is not None:
        if shorter := [n for n in lengths.values() if n < net.max_epochs]:
            warn(
                f"max_epochs={net.max_epochs}: there is a checkpoint of this fit with "
                f"max_epochs={max(shorter)}, but {fit.depends}; training begins anew."
            )
        return None
    best = None
    for path in lengths:
        try:
            state = _read(path)
        except FormatError as error:
            warn(f"{error} It is left alone, as max_epochs is another one.")
            continue
        n_ended = _n_ended(state) if state else net.max_epochs + 1
        if n_ended <= net.max_epochs and (best is None or n_ended > _n_ended(best)):
            best = state
    return best


def _read(path: Path) -> dict[str, Any] | None:
    """Return the state in a checkpoint that is whole, or None where there is none."""
    if not path.exists():
        return None
    try:
        state = read_file(path, "checkpoint")
    except FormatError as error:
        raise FormatError(f"{error} Remove it to train from the beginning.") from error
    with _named(path):
        check_state(state)
    return {**state, "path": str(path)}


@contextlib.contextmanager
def _named(path: Any) -> Iterator[None]:
    """Name the file in errors about what is in it."""
    try:
        yield
    except FormatError as error:
        raise FormatError(
            f"{str(path)!r} is no checkpoint of this fit: {error}. Remove it to train "
            "from the beginning."
        ) from error


def _n_ended(state: Mapping[str, Any]) -> int:
    """Return how many epochs of a checkpoint have come to their end."""
    return len(state["history"]) - (state["n_steps"] > 0)
