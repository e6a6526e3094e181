"""One fit whose epochs are trained together with those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from skorch.callbacks import EpochScoring
from skorch.dataset import get_len

from skvision._random import isolated_random_state, next_seed
from skvision.estimators._loop import StopTraining
from skvision.persistence._checkpoint import random_states, set_random_states
from skvision.preprocessing._augment import check_transforms
from skvision.training._batches import BatchLoader

__all__ = ["Member"]


class Member:
    """A fit that gives its batches away and gets back weights and losses.

    Everything but the training steps is done by the estimator's own methods, in the
    order in which ``fit`` does it and with the random numbers that ``fit`` would draw.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
        Not fitted yet; it is when `finish` has been called.
    X, y, sample_weight : object
        As in ``fit``.

    Raises
    ------
    Exception
        As ``fit`` does before training.
    """

    def __init__(self, net: Any, X: Any, y: Any, sample_weight: Any = None) -> None:
        net._validate_params()
        self.net = net
        split = net._begin_fit(X, y, sample_weight)
        self.seed = next_seed(net._generator)
        self.states: dict[str, Any] | None = None
        self.train = split.train
        self.datasets = {"dataset_train": split.train, "dataset_valid": split.valid}
        #: Whether a callback has ended the training.
        self.stopped = False
        self._begin()
        self.loader = net.get_iterator(split.train, training=True)
        self.valid_loader = (
            None if split.valid is None else net.get_iterator(split.valid)
        )
        scorings = [c for _, c in net.callbacks_ if isinstance(c, EpochScoring)]
        self.shows_batches = any(scoring.on_train for scoring in scorings)
        #: Whether functions of the user's get the estimator, and may change it.
        self.shows_itself = any(_is_own(scoring.scoring) for scoring in scorings)
        transforms = [
            *check_transforms(net.augment),
            *check_transforms(getattr(net, "noise", None), "noise"),
        ]
        own = all(type(t).__module__.startswith("skvision.") for t in transforms)
        reads_plainly = split.train.images.reading != "each time" and isinstance(
            self.loader.loader, BatchLoader
        )
        #: Whether batches need random numbers, and those of all generators.
        self.draws = bool(transforms) or not reads_plainly
        self.draws_all = not own or not reads_plainly or net.device_.type != "cpu"

    def _begin(self) -> None:
        net = self.net
        with self.turn():
            try:
                net.notify("on_train_begin", X=self.train, y=None)
                # Stacks cannot begin within an epoch; to begin anew gives the same.
                if net._found and not net._found["n_steps"]:
                    self.stopped = net._resume(net._found)
                net._found = None
            except StopTraining:
                self.stopped = True
        self.train_until(net.max_epochs)

    def train_until(self, max_epochs: int) -> None:
        """Set the epoch to train to, unless the training has been ended."""
        self.net.max_epochs = max_epochs
        self.n_left = 0 if self.stopped else max_epochs - len(self.net.history)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Put the global generators where this fit has left them."""
        device = self.net.device_
        seed = self.seed if self.states is None else None
        with isolated_random_state(device, seed, alone=True):
            if self.states is not None:
                set_random_states(self.states, device)
            try:
                yield
            finally:
                self.states = random_states(device)

    def draw(self, function: Callable[[], Any]) -> Any:
        """Call a function that draws random numbers of this fit.

        Others are kept from the global generators meanwhile, by `Stack.train_epoch`.
        """
        if self.draws_all or self.states is None:
            with self.turn():
                return function()
        # All of them would take longer than a small network's step.
        before = torch.get_rng_state()
        torch.set_rng_state(self.states["torch"])
        try:
            return function()
        finally:
            self.states["torch"] = torch.get_rng_state()
            torch.set_rng_state(before)

    def begin_epoch(self) -> None:
        """Tell callbacks, and start to read batches."""
        with self.turn():
            self.net.notify("on_epoch_begin", **self.datasets)
            self.net._enter_mode(True)
        self.batches = iter(self.loader)
        self.sizes: list[int] = []

    def next_batch(self) -> tuple[Any, ...] | None:
        """Return images and targets after random changes, and weights, if any."""
        if self.draws:
            return self.draw(self._next_batch)
        return self._next_batch()

    def _next_batch(self) -> tuple[Any, ...] | None:
        batch = next(self.batches, None)
        if batch is None:
            return None
        X, y, *weight = batch
        self.sizes.append(get_len(X))
        if self.shows_batches:
            self.shown = self.net._shown(batch)
            self.net.notify("on_batch_begin", batch=self.shown, training=True)
        images, target = self.net._drawn(X, y, training=True)
        return images, self.net._target(target), *weight

    def show_step(self, loss: torch.Tensor, y_pred: torch.Tensor) -> None:
        """Tell callbacks of a step, where `shows_batches` says that some want to."""
        self.net._record_losses([loss.item()], "train")
        self.net.history.record_batch("train_batch_size", self.sizes[-1])
        self.net.notify(
            "on_batch_end", batch=self.shown, training=True, loss=loss, y_pred=y_pred
        )

    def end_epoch(self, losses: list[float]) -> None:
        """Record an epoch; `n_left` tells how many more there are to train.

        Raises
        ------
        DivergedError
            If a loss or a weight is not finite, or the loss far too high.
        """
        net = self.net
        with self.turn():
            if not self.shows_batches:
                rows = [{"train_batch_size": size} for size in self.sizes]
                net.history[-1]["batches"].extend(rows)
                net._record_losses(losses, "train")
            net.history.record("train_batch_count", len(losses))
            net._check_divergence()
            net.run_single_epoch(
                self.valid_loader,
                training=False,
                prefix="valid",
                step_fn=net.validation_step,
            )
            try:
                net.notify("on_epoch_end", **self.datasets)
            except StopTraining:
                self.stopped = True
        # As for an ordinary fit, it is too late to change `max_epochs`.
        self.n_left = 0 if self.stopped else self.n_left - 1

    def finish(self) -> Any:
        """Return the estimator, fitted."""
        with self.turn():
            self.net.notify("on_train_end", X=self.train, y=None)
        self.net._enter_mode(training=False)
        self.net._warn_if_constant(self.train)
        return self.net


def _is_own(scoring: Any) -> bool:
    """Whether a scorer is more than a name, or one that only asks for predictions."""
    kind = scoring if hasattr(scoring, "__code__") else type(scoring)
    libraries = ("skvision", "sklearn")
    return callable(scoring) and str(kind.__module__).split(".")[0] not in libraries
