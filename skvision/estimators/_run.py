"""One training: its epochs and steps, what it records, and the state it goes on from.

``fit`` drives one run, and a stack drives many of them side by side. Whatever belongs
to a training (callbacks, schedules, random numbers, checkpoints) is in here, so that
both have it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import EpochScoring, LRScheduler
from skorch.history import History
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skvision._compat import norms, note_step
from skvision._random import (
    generator_state,
    global_states,
    isolated_random_state,
    next_seed,
    set_generator_state,
    set_global_states,
)
from skvision._warnings import warn
from skvision.estimators._builder import Beginning
from skvision.estimators._frozen import (
    Features,
    FrozenPart,
    Views,
    has_own_callbacks,
    part_for_training,
)
from skvision.estimators._own_steps import overrides
from skvision.exceptions import DivergedError
from skvision.networks._transfer import train_only, trained_names
from skvision.persistence._checkpoints import Checkpoint
from skvision.persistence._restorable import (
    NotRestorable,
    callback_states,
    restored,
    set_callback_value,
)
from skvision.persistence._state import part_states, set_part_states
from skvision.preprocessing._augment import check_transforms
from skvision.training._batches import BatchLoader
from skvision.training._schedules import schedules_going_on

# Mean cross-entropy, relative to the untrained network's or that of equal
# probabilities, beyond which training does not come back: a learning rate far too high
# gives 1e5 and then ln(k) for ever.
_DIVERGED = 100.0


class StopTraining(Exception):
    """A callback asked to end the training."""


class TrainingRun:
    """A training of an estimator whose network and rows are ready.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
        Its public hooks of skorch (`notify`, `run_single_epoch`, ...) are called in
        skorch's order.
    split : Split
        Rows to train on and rows to validate on, which may be None.
    checkpoint : Checkpoint, default=None
        Where its state is kept, and perhaps found.
    goes_on : bool, default=False
        Whether the network was trained before, so that it must stay as it is.

    Attributes
    ----------
    n_left : int
        Epochs that are left to train, once it has begun.
    stopped : bool
        Whether a callback has ended the training.

    Notes
    -----
    It is in ``net._run`` until it ends, where the estimator's hooks find it.
    """

    def __init__(
        self,
        net: Any,
        split: Any,
        checkpoint: Checkpoint | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        self.net = net
        self.split = split
        self.checkpoint = checkpoint
        self.goes_on = goes_on
        self.n_left = 0
        self.has_begun = self.stopped = False
        #: What need not run in each epoch, and rows with what it made of their images.
        self.frozen: FrozenPart | None = None
        self._views: Views | None = None
        self._rows = split
        #: Of the global generators, where this run has left them.
        self.states: dict[str, Any] | None = None
        #: A state within an epoch, of which callbacks have been told, until it goes on.
        self.within: dict[str, Any] | None = None
        self._epoch_began: Any = None
        #: Of a run that is driven step by step: its batches, ...
        self.loader: Any = None
        self.valid_loader: Any = None
        #: ... whether they need random numbers, and those of all generators, ...
        self.draws = self.draws_all = True
        #: ... whether callbacks hear of each, and functions of the user's get the
        #: estimator, and may change it.
        self.hears_batches = self.shows_itself = True

    @classmethod
    def of(
        cls, net: Any, X: Any, y: Any, sample_weight: Any = None, **given: Any
    ) -> TrainingRun:
        """Return the run of a fit that has begun, to be driven step by step.

        Parameters
        ----------
        net : ImageClassifier, ImageRegressor or ImageAutoencoder
            Not fitted yet; it is when `finish` has been called.
        X, y, sample_weight, **given : object
            As in ``fit``.

        Raises
        ------
        Exception
            As ``fit`` does before training.
        """
        net._validate_params()
        run = net._begin_fit(X, y, sample_weight, **given)
        with run.turn():
            # Its steps are made with those of others, which begin an epoch together.
            run.begin(within_epoch=False)
            run.run_frozen_part()
        note_step(net.optimizer_)  # Schedules would warn that it makes none.
        run.train_until(net.max_epochs)
        run.loader = net.get_iterator(run.split.train, training=True)
        run.valid_loader = (
            None if run.split.valid is None else net.get_iterator(run.split.valid)
        )
        scorings = [c for _, c in net.callbacks_ if isinstance(c, EpochScoring)]
        run.hears_batches = _hears_batches(net)
        run.shows_itself = any(_is_users(scoring.scoring) for scoring in scorings)
        run.draws, run.draws_all = _draws(net, run)
        return run

    # ------------------------------------------------------------------ as ``fit`` does

    def train(self) -> None:
        """Train as many epochs as the estimator's parameters say."""
        net = self.net
        try:
            if not net.max_epochs and net.history:
                return  # Callbacks that begin anew would forget what they know.
            with self.turn():
                self._train()
        finally:
            vars(net).pop("_run", None)
        # Predictions find it so, also several at once in threads.
        net._enter_mode(training=False)

    def _train(self) -> None:
        """Train what is left, and tell callbacks of the end, however it comes."""
        net = self.net
        try:
            self.begin()
            if not self.stopped:
                self.run_frozen_part()
                net.fit_loop(self.split, epochs=self.n_left)
        except StopTraining:
            self.stopped = True
        except KeyboardInterrupt:
            # The user's, not a callback's: tidy up, then let it through.
            self._tell_of_the_end()
            self._drop_unfinished_epoch()
            raise
        except BaseException:
            net._forget_best_epoch()
            raise
        self._tell_of_the_end()

    def begin(self, *, within_epoch: bool = True) -> None:
        """Tell callbacks, and take over what a checkpoint holds.

        Parameters
        ----------
        within_epoch : bool, default=True
            Whether the run can go on within an epoch. Where it cannot it begins anew,
            and comes to the same.
        """
        net = self.net
        if not self.has_begun:
            self.tell_of_beginning()
        self.n_left = 0 if self.stopped else net.max_epochs
        found = None if self.checkpoint is None else self.checkpoint.take()
        if found and self.n_left and (within_epoch or not found["n_steps"]):
            self.stopped = self.restore(found)
            # The last epoch of the history may be left to be ended.
            n_ended = len(net.history) - (self.within is not None)
            self.n_left = 0 if self.stopped else self.n_left - n_ended

    def tell_of_beginning(self, unbuilt: Exception | None = None) -> None:
        """Tell callbacks that the training begins; they may have the network built.

        Parameters
        ----------
        unbuilt : Exception, default=None
            Why there is no network yet.
        """
        net = self.net
        beginning = Beginning(net, self.split, goes_on=self.goes_on, unbuilt=unbuilt)
        try:
            with schedules_going_on(net, net._schedule_steps), beginning.telling():
                net.notify("on_train_begin", X=self.split.train, y=None)
            vars(net).pop("_schedule_steps", None)  # They are the schedules' own now.
        except StopTraining:
            if beginning.unbuilt is not None:
                raise beginning.unbuilt from None
            self.stopped = True
        self.has_begun = True

    def run_frozen_part(self) -> None:
        """Run the part of the network that is not trained once, if there is one.

        From then on, batches hold what it made of images.
        """
        net = self.net
        self.frozen = part_for_training(net, self.split, self.n_left)
        vars(net).pop("feature_layer_", None)
        if self.frozen is not None:
            net.feature_layer_ = self.frozen.layer
            train, valid = self.split
            if net.augment is None:
                rows = self.frozen.made_of(net, train)
            else:
                self._views = self.frozen.views_of(net, train)
                rows = self._views.rows(np.zeros(len(train), dtype=np.intp))
            self._rows = type(self.split)(rows, self.frozen.made_of(net, valid))
        if net.n_views is not None and (self.frozen is None or net.augment is None):
            warn(
                f"n_views={net.n_views} has no effect, since "
                + (
                    "nothing changes images at random: set augment."
                    if net.augment is None
                    else "no part of the network runs once. That takes freeze, a "
                    "network that can be divided, and two epochs, see feature_cache."
                )
            )

    def begin_pass(self, iterator: Any, *, training: bool, prefix: str) -> Pass:
        """Return a pass over the batches of an epoch that are left."""
        net = self.net
        net._enter_mode(training)
        if self.frozen is not None:
            thorough = has_own_callbacks(net)
            if not self.frozen.is_of(net.module_, thorough=thorough):
                # A callback lets it be trained, or has changed it.
                self.frozen, self._rows = None, self.split
        if self.frozen is not None:
            if training and self._views is not None:
                iterator = self._views
            else:
                rows = self._rows.train if training else self._rows.valid
                iterator = net.get_iterator(rows, training=training)
        return Pass(self, iterator, training=training, prefix=prefix)

    def heard(self, event: str, *, stopped: bool) -> None:
        """Keep in the checkpoint what callbacks have been told.

        Parameters
        ----------
        event : str
            A name of skorch's, such as "on_epoch_end".
        stopped : bool
            Whether one of them ends the training.
        """
        kept: Any = self.checkpoint
        if event == "on_train_begin":
            kept.begin(self.net)
        elif event == "on_epoch_end":
            kept.write(self.net, self.state(stopped=stopped))

    def warn_if_constant(self) -> None:
        """Warn if the network ended no better than a constant prediction."""
        net = self.net
        batches = net.history[-1]["batches"] if len(net.history) else []
        losses = [batch["train_loss"] for batch in batches if "train_loss" in batch]
        if not losses:
            return
        reached = float(np.mean(losses[len(losses) // 2 :]))
        constant = net._constant_loss(self.split.train)
        if constant is not None and reached >= 0.999 * constant > 0:
            warn(
                f"Training ended at a loss of {reached:.4g}, no better than the "
                f"{constant:.4g} of a constant prediction. Train longer (max_epochs="
                f"{net.max_epochs}) or change lr={net.lr}.",
                ConvergenceWarning,
            )

    def _tell_of_the_end(self) -> None:
        self.net.notify("on_train_end", X=self.split.train, y=None)

    def _drop_unfinished_epoch(self) -> None:
        """Leave only those epochs in the history that were trained to their ends."""
        counts = {"train_batch_count"}
        if self.split.valid is not None:
            counts.add("valid_batch_count")
        epochs = self.net.history.to_list()
        if epochs and not counts <= epochs[-1].keys():
            self.net.history_ = History(epochs[:-1])

    # ------------------------------------------------------- step by step, as in stacks

    def train_until(self, max_epochs: int) -> None:
        """Set the epoch to train to, unless the training has been ended."""
        self.net.max_epochs = max_epochs
        self.n_left = 0 if self.stopped else max_epochs - len(self.net.history)

    def begin_epoch(self) -> None:
        """Tell callbacks, and start to read batches."""
        with self.turn():
            self.net.notify("on_epoch_begin", **self._datasets)
            self.epoch = self.begin_pass(self.loader, training=True, prefix="train")
            self.epoch.is_heard = self.hears_batches

    def next_batch(self) -> tuple[Any, ...] | None:
        """Return images and targets after random changes, and weights, if any."""
        if self.draws:
            return self.draw(self.epoch.next_batch)
        return self.epoch.next_batch()

    def after_step(self, loss: torch.Tensor, y_pred: torch.Tensor) -> None:
        """Tell callbacks of a step, where `hears_batches` says that some want to."""
        self.epoch.after_step(loss=loss, y_pred=y_pred)

    def end_epoch(self, losses: list[float]) -> None:
        """Record an epoch, and validate; `n_left` tells how many are left to train.

        Parameters
        ----------
        losses : list of float
            Of all steps; they are known already where callbacks heard of each.

        Raises
        ------
        DivergedError
            If a loss or a weight is not finite, or the loss far too high.
        """
        net = self.net
        with self.turn():
            self.epoch.end(losses)
            net.run_single_epoch(
                self.valid_loader,
                training=False,
                prefix="valid",
                step_fn=net.validation_step,
            )
            try:
                net.notify("on_epoch_end", **self._datasets)
            except StopTraining:
                self.stopped = True
        # As for an ordinary fit, it is too late to change `max_epochs`.
        self.n_left = 0 if self.stopped else self.n_left - 1

    def finish(self) -> Any:
        """Return the estimator, fitted."""
        with self.turn():
            self._tell_of_the_end()
        vars(self.net).pop("_run", None)
        self.net._enter_mode(training=False)
        self.net._after_training(self.split)
        self.warn_if_constant()
        return self.net

    def copied(self) -> TrainingRun:
        """Return a run whose end leaves this one as it is."""
        other = copy.copy(self)
        other.net = copy.deepcopy(self.net)
        other.net._run = other
        if self.frozen is not None:
            other.frozen = self.frozen.of_copy(other.net.module_)
        pairs = zip(other.net.callbacks_, self.net.callbacks_, strict=True)
        for (_, new), (_, old) in pairs:
            # skorch leaves the best weights so far out of copies of `EarlyStopping`.
            vars(new).update(
                {k: v for k, v in vars(old).items() if vars(new).get(k) is None}
            )
        return other

    @property
    def data(self) -> Any:
        """Rows to train on, with what the network that is trained gets."""
        return self._rows.train

    @property
    def network(self) -> nn.Module:
        """What is trained: the network, or its head where the rest runs once."""
        return self.net.module_ if self.frozen is None else self.frozen.head

    @property
    def _datasets(self) -> dict[str, Any]:
        return {"dataset_train": self.split.train, "dataset_valid": self.split.valid}

    # ------------------------------------------------- what a network gets and gives

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and losses."""
        return self.net._dtype

    @property
    def channels_last(self) -> bool:
        """Whether images lie in memory with their channels last."""
        return self.net._channels_last

    def copied_network(self, *, training: bool) -> nn.Module:
        """Return a copy of what is trained as it is in training or evaluation."""
        other = object.__new__(type(self.net))
        vars(other).update(vars(self.net), module_=copy.deepcopy(self.network))
        other._enter_mode(training)
        return other.module_

    def enter_mode(self, training: bool) -> None:
        """Set the network to training or evaluation, frozen layers aside."""
        self.net._enter_mode(training)

    def prepared(self, batch: Any, *, training: bool = False) -> tuple[Any, ...]:
        """Return (images, targets[, weights]) as the steps of a training get them."""
        # What the frozen part made has been changed at random before.
        return self.net._prepared(batch, training and self.frozen is None)

    def to_input(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the network that is trained gets of a batch of its rows."""
        if self.frozen is not None:
            return self.frozen.to_input(images.to(self.net.device_))
        return self.net._to_input(images)

    def for_step(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a prepared batch as the estimator's steps get it."""
        if self.frozen is None:
            return batch
        return Features(batch[0], self.frozen), *batch[1:]

    def finished(self, outputs: Any) -> Any:
        """Return what a network gave as losses, callbacks and users get it."""
        return self.net._finished(outputs)

    def loss(self, outputs: Any, batch: tuple[Any, ...]) -> torch.Tensor:
        """Return the training loss of finished outputs for a prepared batch."""
        images, target, *weight = batch
        return self.net._loss(outputs, target, images, weight, training=True)

    def row_losses(self, outputs: Any, target: torch.Tensor) -> torch.Tensor:
        """Return the criterion's values, one or more for each row."""
        return self.net._unreduced_loss(outputs, target)

    # ------------------------------------------------------------------- random numbers

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Put the global generators where this run has left them, for a while."""
        device = self.net.device_
        seed = next_seed(self.net._generator) if self.states is None else None
        with isolated_random_state(device, seed, alone=True):
            if self.states is not None:
                set_global_states(self.states, device)
            try:
                yield
            finally:
                self.states = global_states(device)

    def draw(self, function: Callable[[], Any]) -> Any:
        """Call a function that draws random numbers of this run.

        Others are kept from the global generators meanwhile, by who drives the run.
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

    def _randomness(self) -> tuple[Any, ...]:
        """Return the states of all generators that the training draws from."""
        users = [generator_state(generator) for generator in self._users_generators]
        return self.net._generator.get_state(), global_states(self.net.device_), users

    def _set_randomness(self, states: tuple[Any, ...]) -> None:
        own, others, *users = states
        self.net._generator.set_state(own)
        set_global_states(others, self.net.device_)
        # Older checkpoints have none of the user's.
        pairs = zip(self._users_generators, *users or [()], strict=False)
        for generator, state in pairs:
            set_generator_state(generator, state)

    @property
    def _users_generators(self) -> Any:
        return () if self.checkpoint is None else self.checkpoint.generators

    # ---------------------------------------------------------------------------- state

    def state(self, *, stopped: bool = False, n_steps: int = 0) -> dict[str, Any]:
        """Return what is needed to go on, as plain data.

        Parameters
        ----------
        stopped : bool, default=False
            Whether a callback ends the training here.
        n_steps : int, default=0
            Steps of an epoch that are done; 0 stands for all.
        """
        net, within = self.net, n_steps > 0
        return {
            **part_states(net),
            "seed": net._seed,
            "stopped": stopped,
            "n_steps": n_steps,
            "epoch_began": self._epoch_began if within else None,
            "history": net.history.to_list(),
            "untrained_loss": getattr(net, "_untrained_loss", None),
            "random": self._randomness(),
            "callbacks": callback_states(net.callbacks_, within=within),
            # Callbacks freeze weights, and let them go, at epochs that are over then.
            "trained": trained_names(net.module_),
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """Take over a state; return whether the training is over.

        Where callbacks or generators cannot take it, a warning says so and the training
        begins anew.
        """
        net = self.net
        try:
            changes = restored(net.callbacks_, state)
            self._try_randomness(state)
        except NotRestorable as error:
            warn(
                f"Training does not go on from {state['path']!r}, but begins anew: "
                f"{error}."
            )
            return False
        set_part_states(net, state)
        net.history_ = History(state["history"])
        if state["untrained_loss"] is not None:
            net._untrained_loss = state["untrained_loss"]
        if "trained" in state:  # Older ones do not say it.
            train_only(net.module_, state["trained"])
        for callback, key, value in changes:
            set_callback_value(callback, key, value)
        self._set_randomness(state["random"])
        self.within = state if state["n_steps"] else None
        return state["stopped"]

    def _try_randomness(self, state: dict[str, Any]) -> None:
        """Check states of generators by giving them to those that they are for."""
        before = self._randomness()
        try:
            for key in ("random", "epoch_began"):
                if state[key] is not None:
                    self._set_randomness(state[key])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise NotRestorable(
                f"a generator of random numbers has no such state: {error}"
            ) from error
        finally:
            self._set_randomness(before)

    def rest_of_epoch(self, iterator: Any) -> tuple[Iterator[Any], int]:
        """Return the batches of a training epoch that are left, and how many were."""
        within: dict[str, Any] = self.within or {"n_steps": 0}
        n_done = within["n_steps"]
        if self.checkpoint is not None:
            if n_done:
                self._set_randomness(within["epoch_began"])
            self._epoch_began = self._randomness()
        batches = iter(iterator)
        for _ in range(n_done):
            next(batches)  # In the order in which they were drawn the first time.
        if n_done:
            self._set_randomness(within["random"])
            self.within = None
        return batches, n_done


class Pass:
    """A pass over the batches of an epoch's training, or of its validation.

    Parameters
    ----------
    run : TrainingRun
    iterator : iterable
        From the estimator's ``get_iterator``.
    training : bool
    prefix : str
        What names in the history begin with.

    Attributes
    ----------
    n_rows : int
        Those of the latest batch.
    """

    def __init__(
        self, run: TrainingRun, iterator: Any, *, training: bool, prefix: str
    ) -> None:
        self.run, self.net = run, run.net
        self.training, self.prefix = training, prefix
        self.fetches_losses = fetches_losses(run.net)
        #: Whether callbacks hear of each batch.
        self.is_heard = True
        self.shown: Any = None
        self.targets = run.net._targets
        self.batches: Iterator[Any]
        self.batches, self.n_steps = (
            run.rest_of_epoch(iterator) if training else (iter(iterator), 0)
        )
        self.losses: list[torch.Tensor] = []
        self.n_rows = 0

    def next_batch(self) -> tuple[Any, ...] | None:
        """Return a prepared batch, None if there is none left."""
        batch = next(self.batches, None)
        if batch is None:
            return None
        self.n_rows = len(batch[0])
        if self.is_heard:
            # In the user's terms.
            self.shown = batch[0], self.targets.shown(batch[1])
            self.net.notify("on_batch_begin", batch=self.shown, training=self.training)
        else:
            self.n_steps += 1
            self._rows().append({f"{self.prefix}_batch_size": self.n_rows})
        return self.run.prepared(batch, training=self.training)

    def after_step(self, **step: Any) -> None:
        """Record a step, and tell callbacks of its loss, its outputs and the rest."""
        net, run = self.net, self.run
        self.n_steps += 1
        self.losses.append(step["loss"])
        if self.fetches_losses:
            self._record([self.losses.pop().item()])
        self._rows()[-1][f"{self.prefix}_batch_size"] = self.n_rows
        net.notify("on_batch_end", batch=self.shown, training=self.training, **step)
        kept = run.checkpoint
        if self.training and kept is not None and kept.is_due(self.n_steps):
            self._record([loss.item() for loss in self.losses])
            self.losses.clear()
            kept.write(net, run.state(n_steps=self.n_steps))

    def end(self, losses: list[float] | None = None) -> None:
        """Record losses that are not yet, and check that the training goes well.

        Parameters
        ----------
        losses : list of float, default=None
            Of all batches, which none that heard of them has recorded.
        """
        if self.losses:
            self._record(torch.stack(self.losses).tolist())
        elif losses is not None and not self.is_heard:
            self._record(losses)
        self.net.history.record(self.prefix + "_batch_count", self.n_steps)
        if self.training:
            _check_divergence(self.net)

    def _rows(self) -> list[dict[str, Any]]:
        # By its index it would take as long as a small network's layer.
        return self.net.history.to_list()[-1]["batches"]

    def _record(self, losses: list[float]) -> None:
        """Put the losses of the last batches into the history."""
        rows = self._rows()
        for row, loss in zip(rows[len(rows) - len(losses) :], losses, strict=True):
            row[f"{self.prefix}_loss"] = loss
            if self.prefix == "train" and not math.isfinite(loss):
                _raise_diverged(self.net, f"the training loss became {loss}")


def _check_divergence(net: Any) -> None:
    """Check the losses of the epoch, and that all weights are finite."""
    losses = net.history[-1, "batches", :, "train_loss"]
    if not hasattr(net, "_untrained_loss") or len(net.history) == 1:
        net._untrained_loss = losses[0]
    # Of labels of which an image may have several, each has its own.
    several = hasattr(net, "thresholds_")
    kind = nn.BCEWithLogitsLoss if several else nn.CrossEntropyLoss
    if isinstance(net.criterion_, kind):
        sizes = net.history[-1, "batches", :, "train_batch_size"]
        mean = np.average(losses, weights=sizes)
        # A network that goes on from elsewhere may begin with a loss near zero, and is
        # not lost where it is no worse than one that knows nothing.
        n_outputs = getattr(net, "n_outputs_", 1)
        chance = math.log(2 if several else n_outputs)
        if net.criterion_.reduction == "sum":
            chance *= max(sizes) * (n_outputs if several else 1)
        if mean > _DIVERGED * max(net._untrained_loss, chance):
            _raise_diverged(net, f"the mean training loss rose to {mean:.4g}")
    weights = [p for p in net.module_.parameters() if p.requires_grad]
    parameters = [p for p in weights if p.is_floating_point()]
    lengths = norms(parameters)
    if not torch.isfinite(torch.stack([n.to(lengths[0]) for n in lengths])).all():
        _raise_diverged(net, "weights of the network became NaN or infinite")


def _raise_diverged(net: Any, what: str) -> None:
    # Ctrl-C may have left batches without one.
    batches = (batch for epoch in net.history for batch in epoch["batches"])
    first = next(b["train_loss"] for b in batches if "train_loss" in b)
    raise DivergedError(
        f"Training diverged in epoch {len(net.history)}: {what}, from {first:.4g} at "
        f"the start, with lr={net.optimizer_.param_groups[0]['lr']}. Use a smaller "
        "learning rate."
    )


# ------------------------------------------------------ which callbacks hear of batches


def fetches_losses(net: Any) -> bool:
    """Return whether losses are fetched batch by batch.

    On a GPU this would make each step wait for the one before, so that all are fetched
    when the epoch ends, unless a callback might look at them.
    """
    return net.device_.type == "cpu" or any(
        not isinstance(callback, EpochScoring)
        and not _counts_steps(callback)
        and overrides(callback, "on_batch_end")
        for _, callback in net.callbacks_
    )


def _counts_steps(callback: Any) -> bool:
    """Whether a callback is a schedule that needs no losses."""
    return type(callback) is LRScheduler and not isinstance(
        callback.lr_scheduler_, ReduceLROnPlateau
    )


def _hears_batches(net: Any) -> bool:
    """Return whether a callback has something to do at batches of the training."""
    return any(
        callback.on_train
        if isinstance(callback, EpochScoring)
        else overrides(callback, "on_batch_begin")
        or overrides(callback, "on_batch_end")
        for _, callback in net.callbacks_
    )


def _is_users(scoring: Any) -> bool:
    """Whether a scorer is more than a name, or one that only asks for predictions."""
    kind = scoring if hasattr(scoring, "__code__") else type(scoring)
    libraries = ("skvision", "sklearn")
    return callable(scoring) and str(kind.__module__).split(".")[0] not in libraries


def _draws(net: Any, run: TrainingRun) -> tuple[bool, bool]:
    """Return whether batches need random numbers, and those of all generators."""
    transforms = [
        *check_transforms(net.augment),
        *check_transforms(getattr(net, "noise", None), "noise"),
    ]
    own = all(type(t).__module__.startswith("skvision.") for t in transforms)
    reads_plainly = run.split.train.images.reading != "each_time" and isinstance(
        run.loader.loader, BatchLoader
    )
    return (
        bool(transforms) or not reads_plainly,
        not own or not reads_plainly or net.device_.type != "cpu",
    )
