"""What happens around every batch and epoch of skorch's loop."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from skorch.history import History
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skvision._compat import norms
from skvision._warnings import warn
from skvision.estimators._callbacks import raised_by_callback
from skvision.estimators._gathered import Gathered
from skvision.exceptions import DivergedError
from skvision.training._batches import ImageDataset, ShownDataset
from skvision.training._losses import constant_loss
from skvision.training._optimizers import separate_first_steps

__all__ = ["LoopMixin", "StopTraining"]

# Mean cross-entropy, relative to the untrained network's or that of equal
# probabilities, beyond which training does not come back: a learning rate far too high
# gives 1e5 and then ln(k) for ever.
_DIVERGED = 100.0


class StopTraining(Exception):
    """A callback asked to end the training."""


class LoopMixin:
    """Tells callbacks, records losses, and stops a training that has diverged."""

    def notify(self, method_name, **cb_kwargs):
        if method_name == "on_epoch_begin" and self._within is not None:
            return  # It has begun already.
        if method_name == "on_train_end" and not self.history:
            return  # Callbacks look at the last epoch.
        if "batch" not in method_name:
            cb_kwargs = self._in_users_terms(cb_kwargs)
        getattr(self, method_name)(self, **cb_kwargs)
        stop = False
        unheard = getattr(Callback, method_name, None)
        for _, callback in self.callbacks_:
            method = getattr(callback, method_name)
            if getattr(method, "__func__", method) is unheard:
                continue  # Most of them do nothing at a batch, hundreds of times.
            try:
                method(self, **cb_kwargs)
            except KeyboardInterrupt as error:
                # skorch's callbacks end a training by raising this error.
                if not raised_by_callback(error):
                    raise
                stop = True
        if self._checkpoint_path is not None:
            if method_name == "on_train_begin":
                self._gathered = Gathered(self, self._generators)
            elif method_name == "on_epoch_end":
                self._write_checkpoint(stopped=stop)
        if stop:
            raise StopTraining

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        self._enter_mode(training)
        at_once = self._losses_at_once()
        batches, n_steps = self._begin_epoch(iterator) if training else (iterator, 0)
        losses = []
        for batch in batches:
            shown = self._shown(batch)
            self.notify("on_batch_begin", batch=shown, training=training)
            step = step_fn(self._prepared(batch, training), **fit_params)
            n_steps += 1
            losses.append(step["loss"])
            if at_once:
                self._record_losses([losses.pop().item()], prefix)
            self.history.record_batch(prefix + "_batch_size", len(batch[0]))
            self.notify("on_batch_end", batch=shown, training=training, **step)
            if training and self._checkpoint_is_due(n_steps):
                self._record_losses([loss.item() for loss in losses], prefix)
                losses.clear()
                self._write_checkpoint(n_steps=n_steps)
        if losses:
            self._record_losses(torch.stack(losses).tolist(), prefix)
        self.history.record(prefix + "_batch_count", n_steps)
        if training:
            self._check_divergence()

    def _drop_unfinished_epoch(self, split):
        """Leave only those epochs in the history that were trained to their ends."""
        counts = {"train_batch_count"}
        if split.valid is not None:
            counts.add("valid_batch_count")
        epochs = self.history.to_list()
        if epochs and not counts <= epochs[-1].keys():
            self.history_ = History(epochs[:-1])

    def _step_optimizer(self, step_fn):
        separate_first_steps(self.optimizer_)
        super()._step_optimizer(step_fn)

    def _prepared(self, batch, training):
        """Return (images, targets[, weights]) as the steps of the loop get them.

        A step of the user's, as skorch's documentation has them, needs do no more than
        compare the outputs for the images with the targets.
        """
        X, y, *weight = batch
        images, target = self._drawn(X, y, training)
        return images, self._target(target), *weight

    def _losses_at_once(self):
        """Whether losses are fetched batch by batch.

        On a GPU this would make each step wait for the one before, so that all are
        fetched when the epoch ends, unless a callback might look at them.
        """
        return self.device_.type == "cpu" or any(
            not isinstance(callback, EpochScoring)
            and not _counts_steps(callback)
            and getattr(type(callback), "on_batch_end", None)
            is not Callback.on_batch_end
            for _, callback in self.callbacks_
        )

    def _record_losses(self, losses, prefix):
        """Put the losses of the last batches into the history."""
        batches = self.history[-1]["batches"]
        rows = batches[len(batches) - len(losses) :]
        for row, loss in zip(rows, losses, strict=True):
            row[f"{prefix}_loss"] = loss
            if prefix == "train" and not math.isfinite(loss):
                self._raise_diverged(f"the training loss became {loss}")

    def _in_users_terms(self, kwargs):
        """Return what callbacks are told, with data sets as skorch has them."""
        kwargs = dict(kwargs)
        for name, value in kwargs.items():
            if isinstance(value, ImageDataset):
                shown = self._shown_dataset(value)
                # Scorers that get no targets are for images.
                kwargs[name] = shown.X if shown.y is None else shown
        if isinstance(data := kwargs.get("X"), ShownDataset):
            kwargs |= {"X": data.X, "y": data.y}
        return kwargs

    def _shown_dataset(self, data):
        """Return rows as the user has them."""
        y = None if data.y is None else np.asarray(self._shown((None, data.y))[1])
        return ShownDataset(data.images, y, source=data)

    def _shown(self, batch):
        """Return a batch as callbacks see it: images and targets in user's terms."""
        return batch[0], batch[1]

    def _check_divergence(self):
        losses = self.history[-1, "batches", :, "train_loss"]
        if not hasattr(self, "_untrained_loss") or len(self.history) == 1:
            self._untrained_loss = losses[0]
        if isinstance(self.criterion_, nn.CrossEntropyLoss):
            sizes = self.history[-1, "batches", :, "train_batch_size"]
            mean = np.average(losses, weights=sizes)
            # A network that goes on from elsewhere may begin with a loss near zero,
            # and is not lost where it is no worse than one that knows nothing.
            chance = math.log(getattr(self, "n_outputs_", 1))
            if self.criterion_.reduction == "sum":
                chance *= max(sizes)
            if mean > _DIVERGED * max(self._untrained_loss, chance):
                self._raise_diverged(f"the mean training loss rose to {mean:.4g}")
        parameters = [p for p in self.module_.parameters() if p.is_floating_point()]
        lengths = norms(parameters)
        if not torch.isfinite(torch.stack([n.to(lengths[0]) for n in lengths])).all():
            self._raise_diverged("weights of the network became NaN or infinite")

    def _raise_diverged(self, what):
        # Ctrl-C may have left batches without one.
        batches = (batch for epoch in self.history for batch in epoch["batches"])
        first = next(b["train_loss"] for b in batches if "train_loss" in b)
        raise DivergedError(
            f"Training diverged in epoch {len(self.history)}: {what}, from {first:.4g} "
            f"at the start, with lr={self.optimizer_.param_groups[0]['lr']}. Use a "
            "smaller learning rate."
        )

    def _warn_if_constant(self, data):
        """Warn if the network ended no better than a constant prediction."""
        batches = self.history[-1]["batches"] if len(self.history) else []
        losses = [batch["train_loss"] for batch in batches if "train_loss" in batch]
        if not losses:
            return
        reached = float(np.mean(losses[len(losses) // 2 :]))
        constant = self._constant_loss(data)
        if constant is not None and reached >= 0.999 * constant > 0:
            warn(
                f"Training ended at a loss of {reached:.4g}, no better than the "
                f"{constant:.4g} of a constant prediction. Train longer (max_epochs="
                f"{self.max_epochs}) or change lr={self.lr}.",
                ConvergenceWarning,
            )

    def _constant_loss(self, data):
        """Return the least loss of a constant prediction, None if it is not known."""
        y = self._compared(data.y)
        return constant_loss(self.criterion_, y, data.sample_weight)


def _counts_steps(callback):
    """Whether a callback is a schedule that needs no losses."""
    return type(callback) is LRScheduler and not isinstance(
        callback.lr_scheduler_, ReduceLROnPlateau
    )
