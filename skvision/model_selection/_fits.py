"""The fits of a search, trained together where that is possible and pays."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs

from skvision._compat import Interval
from skvision._identity import Unidentified
from skvision.estimators._run import TrainingRun
from skvision.model_selection._plan import (
    Calibration,
    largest_stack,
    n_steps,
    plan_key,
    reason_not_stackable,
)
from skvision.model_selection._proof import NotStackable, find_engine
from skvision.model_selection._structure import structure
from skvision.model_selection._trainer import (
    Outcome,
    Request,
    Trainer,
    warn_of,
)

#: What the parameter of this name may be.
MAX_STACK = [Interval(Integral, 1, None, closed="left"), None]


class StackedFits:
    """Trains the fits of a search, and hands them out when they are asked for.

    Parameters
    ----------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        Its clones are fitted.
    X, y : object
        All rows.
    fit_params : dict
        Metadata of ``fit``, of all rows.
    n_jobs : int, default=None
        Processes, for stacks and for fits that are not stacked.
    max_stack : int, default=None
        Most networks in a stack; None means as many as memory allows and, on a CPU, as
        gain by it.
    calibrate : bool, default=True
        Whether to measure first if a stack is faster than ordinary fits.
    continuing : bool, default=False
        Whether fits that differ in nothing but more epochs go on from each other.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        *,
        n_jobs: int | None = None,
        max_stack: int | None = None,
        calibrate: bool = True,
        continuing: bool = False,
    ) -> None:
        self.trainer = Trainer(estimator, X, y, fit_params, continuing)
        self.n_jobs = n_jobs
        # What goes on from an earlier round is in this process.
        self._n_jobs = None if continuing else n_jobs
        self.max_stack = max_stack
        self.calibrate = calibrate
        self.has_stacked = False
        #: Fits that have been asked for, with what came of those that have been made.
        self.waiting: list[tuple[Request, Outcome | None]] = []
        #: Seconds of each fit in the order of the requests, None for ordinary ones.
        self.seconds: list[float | None] = []
        #: Epochs of each fit of the last requests.
        self.n_epochs: list[int] = []

    def train(self, requests: Sequence[Request]) -> bool:
        """Train what can be stacked; return whether that is anything.

        The rest is fitted, too, unless it is all.
        """
        # Whatever is faster, to find it out would take too long.
        steps, n_all = self._n_steps(requests), len(requests)
        is_short = self.calibrate and Calibration(steps, n_all, 1).is_useless
        # By what is against stacks, and what they may have in common.
        groups: dict[tuple[str | None, str], list[int]] = defaultdict(list)
        named: list[int] = []
        for i, request in enumerate(requests):
            net = self.trainer.net(request)
            reason = reason_not_stackable(net, self.trainer.fit_params)
            if self.trainer.continuing and net.checkpoint is not None:
                reason = "a checkpoint is that of one fit"
            key = ""
            if not is_short:
                try:
                    self.trainer.key(request)
                    key = plan_key(net)
                    named.append(i)
                except Unidentified as error:
                    # It cannot be asked for by name.
                    reason = reason or f"they could not be told apart: {error}"
            groups[reason, key].append(i)
        stacks: list[list[int]] = []
        for (reason, _), places in groups.items():
            if reason is not None:
                warn_of(reason)
                continue
            size = 1 if is_short else self._size([requests[i] for i in places])
            if size > 1 or (self.trainer.continuing and self.has_stacked):
                stacks += [places[i : i + size] for i in range(0, len(places), size)]
        made = self._run(requests, stacks, named) if stacks else {}
        self.trainer.ready.clear()
        self.waiting = [(one, made.get(i)) for i, one in enumerate(requests)]
        self.n_epochs = [
            self.trainer.like(one).max_epochs if outcome is None else outcome.n_epochs
            for one, outcome in self.waiting
        ]
        self.seconds += [
            None if outcome is None else outcome.seconds for _, outcome in self.waiting
        ]
        self.has_stacked |= bool(stacks)
        return bool(stacks)

    def take(self, net: Any, X: Any, y: Any) -> Any:
        """Return a fitted estimator, once, or None where it has not been made.

        Raises
        ------
        Exception
            That ended the fit.
        """
        for i, (request, outcome) in enumerate(self.waiting):
            if self.trainer.is_for(request, net, X, y):
                del self.waiting[: i + 1]
                if outcome is not None and outcome.error is not None:
                    raise outcome.error
                return outcome and outcome.net
        return None

    def _n_steps(self, requests: Sequence[Request]) -> int:
        """Return how many steps of training there are in all of these."""
        return sum(n_steps(self.trainer.like(one), len(one.rows)) for one in requests)

    def _size(self, group: list[Request]) -> int:
        """Return how many fits, probably of one structure, to make at once."""
        n_workers = min(effective_n_jobs(self._n_jobs), len(group))
        calibration = None
        if self.calibrate:
            calibration = Calibration(self._n_steps(group), len(group), n_workers)
            if calibration.is_useless:
                return 1
        first = self.trainer.prepare(group[0])
        if isinstance(first, Outcome):
            # The others will fail alike, or are better off alone.
            return 1
        try:
            if calibration is not None and not calibration.is_worth_a_proof(first):
                return 1
            limit = max(1, largest_stack(first, self.max_stack, n_workers))
            if limit == 1 and self.max_stack != 1 and len(group) > n_workers:
                raise NotStackable("two of them are too large for half of the memory")
            # As many stacks for each of the processes.
            n_rounds = math.ceil(len(group) / (limit * n_workers))
            size = math.ceil(len(group) / (n_rounds * n_workers))
            if size == 1:
                return 1
            # Of one network alone, all engines compute the same.
            n_tried = min(size, 2 if calibration is None else calibration.n_networks)
            some = [self.trainer.prepare(request) for request in group[1:n_tried]]
            alike = [m for m in some if isinstance(m, TrainingRun)]
            alike = [m for m in alike if structure(m) == structure(first)]
            engine = find_engine([first, *alike])
            if calibration is None or calibration.pays([first, *alike], engine):
                return size
        except Exception as error:
            # It is left to the fits to tell what is wrong.
            warn_of(error)
        return 1

    def _run(
        self, requests: Sequence[Request], stacks: list[list[int]], named: list[int]
    ) -> dict[int, Outcome]:
        """Return what came of stacks and, by name, of fits made one by one."""
        made: dict[int, Outcome | None] = {}
        data = self.trainer.X, self.trainer.y
        jobs = [
            delayed(self.trainer.train)([requests[i] for i in stack], *data)
            for stack in stacks
        ]
        found = Parallel(n_jobs=self._n_jobs)(jobs)
        for stack, outcomes in zip(stacks, found, strict=True):
            made.update(zip(stack, outcomes, strict=True))
        rest = [i for i in named if made.get(i) is None]
        jobs = [delayed(self.trainer.fit_alone)(requests[i], *data) for i in rest]
        made.update(zip(rest, Parallel(n_jobs=self.n_jobs)(jobs), strict=True))
        return {i: outcome for i, outcome in made.items() if outcome is not None}
