"""Stacks trained to their ends, in this process or in another."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from skvision._compat import check_method_params, num_samples, safe_indexing
from skvision._identity import Unidentified, fingerprint
from skvision._warnings import warn
from skvision.estimators._builder import twin_of
from skvision.estimators._run import TrainingRun
from skvision.exceptions import DivergedError
from skvision.images._layout import Form, form_of
from skvision.images._sources import Paths, Rows, source_of
from skvision.model_selection._callbacks import reason_against_callbacks
from skvision.model_selection._memory import is_out_of_memory
from skvision.model_selection._proof import NotStackable, find_engine
from skvision.model_selection._stack import Stack
from skvision.model_selection._structure import structure


class Request(NamedTuple):
    """A fit that a search is going to ask for."""

    params: dict[str, Any] | None
    rows: np.ndarray

    @classmethod
    def of(cls, params: dict[str, Any] | None, train: Any, n_rows: int) -> Request:
        """Return the fit of a fold, whose rows may be a mask or counted from the end.

        It is asked for by the rows that scikit-learn finds there.
        """
        return cls(params, np.arange(n_rows)[np.asarray(train)])


@dataclass
class Outcome:
    """What came of a fit: an estimator or an error, and what it took."""

    net: Any = None
    error: Exception | None = None
    seconds: float = 0.0
    #: Epochs that were trained.
    n_epochs: int = 0


class Trainer:
    """Makes fits of clones of an estimator, many at once; it can be pickled.

    Parameters
    ----------
    estimator, X, y, fit_params, continuing
        As of `StackedFits`.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, fit_params: dict, continuing: bool
    ) -> None:
        self.estimator = estimator
        self.X, self.y, self.fit_params = X, y, fit_params
        self.continuing = continuing
        self.alive: dict[str, TrainingRun] = {}
        #: Members that have been made before they are trained, by ids of requests.
        self.ready: dict[int, TrainingRun] = {}
        self._images: dict[Form, Any] = {}
        self._folds: dict[bytes, tuple[Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # What others have prepared, a process prepares for itself. The data come beside
        # it: so joblib's backends see what all tasks share.
        own: dict[str, Any] = {"alive": {}, "ready": {}, "_images": {}, "_folds": {}}
        return {**vars(self), **own, "X": None, "y": None}

    def net(self, request: Request) -> Any:
        """Return the estimator with the parameters of a fit."""
        net = clone(self.estimator)
        if request.params:
            net.set_params(**clone(request.params, safe=False))
        return net

    def like(self, request: Request) -> Any:
        """Return what has a fit's parameters, and is neither cloned nor fitted."""
        return twin_of(self.estimator, **(request.params or {}))

    def fold(self, request: Request, net: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return X, y and metadata of the rows of a request, as scikit-learn does."""
        rows = request.rows
        # Parameters tell which axis holds the channels, and if files are left out.
        key = f"{net.channels} {net.on_error}".encode() + rows.tobytes()
        if key not in self._folds:
            y = None if self.y is None else safe_indexing(self.y, rows)
            self._folds[key] = self._rows_of_X(rows, net), y
        return *self._folds[key], check_method_params(self.X, self.fit_params, rows)

    def _rows_of_X(self, rows: np.ndarray, net: Any) -> Any:
        """Return images of a fold, which share the memory of others where they can."""
        source = source_of(self.X)
        is_table = hasattr(self.X, "columns") or isinstance(source, Rows)
        skips = net.on_error == "skip" and isinstance(source, Paths)
        if is_table or skips or self.y is None:
            return safe_indexing(self.X, rows)
        # Folds share the images instead of copying them.
        form = form_of(net)
        if form not in self._images:
            self._images[form] = source.images(form).brought(form)
        return self._images[form][rows]

    def train(self, requests: list[Request], X: Any, y: Any) -> list[Outcome | None]:
        """Make fits as a stack; None stands for those that cannot be stacked."""
        self.X, self.y = X, y
        made: dict[int, Outcome] = {}
        self._train(list(enumerate(requests)), made)
        return [made.get(i) for i in range(len(requests))]

    def _train(
        self, requests: list[tuple[int, Request]], made: dict[int, Outcome]
    ) -> None:
        """Make fits, of each structure as a stack, and put them into `made`."""
        stacks: dict[str, list[tuple[int, TrainingRun]]] = defaultdict(list)
        for i, request in requests:
            member = self.member(request)
            if isinstance(member, Outcome):
                made[i] = member
                continue
            reason = reason_against_callbacks(member.net.callbacks_)
            if reason is not None:
                self._forget([(i, member)])
                warn_of(reason)
                continue
            try:
                stacks[structure(member)].append((i, member))
            except Unidentified as error:
                warn_of(f"a network's state cannot be told: {error}")
        too_large = []
        members: Any = None
        for members in stacks.values():
            try:
                self._run(members, made)
            except Exception as error:
                # What is half trained is begun anew.
                self._forget(members)
                if is_out_of_memory(error) and len(members) > 1:
                    too_large.append({i for i, _ in members})
                else:
                    # One fit's error is no reason for others to fail.
                    warn_of(error)
        # From here on nothing holds what took the memory.
        del stacks, member, members
        for places in too_large:
            again = [pair for pair in requests if pair[0] in places]
            half = len(again) // 2
            self._train(again[:half], made)
            self._train(again[half:], made)

    def _forget(self, pairs: list[tuple[int, TrainingRun]]) -> None:
        failed = {member for _, member in pairs}
        self.alive = {k: m for k, m in self.alive.items() if m not in failed}

    def fit_alone(self, request: Request, X: Any, y: Any) -> Outcome:
        """Make a fit as the estimator does it."""
        self.X, self.y = X, y
        outcome = Outcome()
        start = time.perf_counter()
        try:
            net = self.net(request)
            outcome.n_epochs = net.max_epochs
            rows, targets, params = self.fold(request, net)
            outcome.net = net.fit(rows, targets, **params)
            outcome.n_epochs = len(net.history)
        except Exception as error:
            # It is raised again where the search asks for this fit.
            outcome.error = error
        outcome.seconds = time.perf_counter() - start
        return outcome

    def key(self, request: Request) -> str:
        """Return what tells a request from others."""
        return fit_name(self.net(request).get_params(), request.rows)

    def is_for(self, request: Request, net: Any, X: Any, y: Any) -> bool:
        """Whether an estimator's ``fit`` with X and y is what a request asks for."""
        if type(net) is not type(self.estimator) or num_samples(X) != len(request.rows):
            return False
        if y is not None and self.y is not None:
            expected = np.asarray(safe_indexing(self.y, request.rows))
            if not np.array_equal(np.asarray(y), expected):
                return False
        try:
            return fit_name(net.get_params(), request.rows) == self.key(request)
        except Unidentified:
            return False

    def member(self, request: Request) -> TrainingRun | Outcome:
        """Return a fit that is ready to be trained, or the error that it gave."""
        if id(request) in self.ready:
            return self.ready.pop(id(request))
        net = self.net(request)
        # Epochs apart.
        key = fit_name({**net.get_params(), "max_epochs": None}, request.rows)
        if self.continuing and key in self.alive:
            member = self.alive[key]
            member.train_until(net.max_epochs)
            return member
        try:
            rows, targets, params = self.fold(request, net)
            member = TrainingRun.of(net, rows, targets, **params)
        except Exception as error:
            # It is raised again where the search asks for this fit.
            return Outcome(error=error)
        if self.continuing:
            self.alive[key] = member
        return member

    def prepare(self, request: Request) -> TrainingRun | Outcome:
        """Return a fit that is trained when `member` is asked for it the next time."""
        member = self.member(request)
        if isinstance(member, TrainingRun) and not self.continuing:
            self.ready[id(request)] = member
        return member

    def _run(
        self, pairs: list[tuple[int, TrainingRun]], made: dict[int, Outcome]
    ) -> None:
        """Train members of one structure to their ends."""
        engine = find_engine([member for _, member in pairs])
        seconds = dict.fromkeys((member for _, member in pairs), 0.0)
        before = {member: len(member.net.history) for _, member in pairs}
        errors: dict[TrainingRun, DivergedError] = {}
        left = [member for member in seconds if member.n_left > 0]
        while left:
            stack = Stack(left, engine)
            while True:
                start = time.perf_counter()
                diverged = stack.train_epoch()
                passed = time.perf_counter() - start
                n_rows = sum(len(member.data) for member in left)
                for member in left:
                    seconds[member] += passed * len(member.data) / n_rows
                ended = any(member.n_left <= 0 for member in left)
                if diverged or ended or stack.is_stale:
                    break
            errors |= diverged
            left = [m for m in left if m.n_left > 0 and m not in diverged]
        for i, member in pairs:
            outcome = Outcome(error=errors.get(member), seconds=seconds[member])
            outcome.n_epochs = len(member.net.history) - before[member]
            if outcome.error is None:
                outcome.net = (member.copied() if self.continuing else member).finish()
            made[i] = outcome


def fit_name(params: dict[str, Any], rows: np.ndarray) -> str:
    """Return what tells fits apart."""
    return fingerprint({**params, "rows": np.asarray(rows)})


def warn_of(reason: str | Exception) -> None:
    """Warn of fits that cannot be stacked."""
    if isinstance(reason, Exception) and not isinstance(reason, NotStackable):
        reason = f"{type(reason).__name__}: {reason}"
    warn(f"Some fits are made one by one, since they cannot be stacked: {reason}.")
