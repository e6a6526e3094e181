"""Training steps of many networks at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from skvision._random import drawn_since, generator_states, isolated_random_state
from skvision.estimators._builder import with_channels_last
from skvision.estimators._run import TrainingRun
from skvision.exceptions import DivergedError
from skvision.model_selection._callbacks import clippings_of, schedules_of, untouched
from skvision.model_selection._engines import (
    DropoutCall,
    draw_masks,
    dropout_calls,
    joined_state,
)
from skvision.model_selection._optimizers import (
    StackOptimizers,
    clip_gradients,
    optimizer_key,
    ranges,
)
from skvision.model_selection._proof import NotStackable
from skvision.model_selection._purity import (
    classes_of,
    leaves_of,
    same_numbers,
    side_effect,
)
from skvision.model_selection._structure import criterion_key
from skvision.training._losses import weighted_values


class Stack:
    """Fits that go through the epochs side by side.

    Parameters
    ----------
    members : list of TrainingRun
        Of one structure, with epochs left to train.
    engine : object
        From `find_engine`.
    """

    def __init__(self, members: Sequence[TrainingRun], engine: Any) -> None:
        # What is done for some members alone is done for a range of the stack.
        keys = {member: optimizer_key(member) for member in members}
        self.members = sorted(members, key=lambda m: (len(m.data), keys[m]))
        self.engine = engine
        nets = [member.net for member in self.members]
        self.first, self.net = self.members[0], nets[0]
        self.modules = [member.network for member in self.members]
        self.params, self.buffers = joined_state(self.modules)
        for name, parameter in self.modules[0].named_parameters():
            self.params[name].requires_grad_(parameter.requires_grad)
        self.trained = [n for n, p in self.params.items() if p.requires_grad]
        #: Made when it is known which parameters get gradients.
        self.optimizers: StackOptimizers | None = None
        self.criteria = [criterion_key(member) for member in self.members]
        #: Whether members are no longer as this has left them.
        self.is_stale = False
        self.clippings = [clippings_of(member) for member in self.members]
        #: Whether settings of optimizers may change before each step.
        self.is_scheduled = any(map(schedules_of, self.members))
        self.first.enter_mode(training=True)
        engine.set_mode(self.modules[0])
        #: By the shape of batches, by which a network may call other layers.
        self.calls: dict[torch.Size, list[DropoutCall]] = {}
        self.diverged: dict[TrainingRun, DivergedError] = {}
        self.mean, self.std = (
            None
            if getattr(self.net.scaler_, name) is None
            else torch.stack([getattr(net.scaler_, name) for net in nets]).unsqueeze(1)
            for name in ("mean", "std")
        )

    def train_epoch(self) -> dict[TrainingRun, DivergedError]:
        """Train all members for an epoch, and return those that diverged.

        Raises
        ------
        NotStackable
            If the network draws random numbers that no member's generator gives, if the
            criterion has to do with others, or a callback with what is trained.
        """
        # Members take turns with the global generators, which are for no other thread
        # then.
        with isolated_random_state(self.net.device_, alone=True):
            self._train_epoch()
        return self.diverged

    def _train_epoch(self) -> None:
        """Train an epoch, and note which members diverged."""
        self.diverged, states = {}, generator_states()
        # Other threads of a process draw from this one, those of a Dask worker do.
        del states["Python's random"]
        for member in self.members:
            with untouched(member):
                member.begin_epoch()
            if member.network not in self.modules:
                raise NotStackable("a callback changes what is frozen")
        losses: list[torch.Tensor] = []
        while batches := {
            i: batch
            for i, member in enumerate(self.members)
            if (batch := member.next_batch()) is not None
        }:
            losses.append(self._step(batches))
        if (drawn := drawn_since(states)) is not None:
            raise NotStackable(f"the network draws random numbers of {drawn}")
        self.write_back()
        # One transfer for all members and batches.
        table = torch.stack(losses).T.tolist()
        for member, row in zip(self.members, table, strict=True):
            if member in self.diverged:
                continue
            try:
                with untouched(member):
                    member.end_epoch(row[: member.epoch.n_steps])
            except DivergedError as error:
                self.diverged[member] = error
        self.is_stale = any(
            self._is_changed(i)
            for i, member in enumerate(self.members)
            if member not in self.diverged
        )

    # As in an ordinary fit, whatever is around it.
    @torch.enable_grad()
    def _step(self, batches: dict[int, tuple[Any, ...]]) -> torch.Tensor:
        """Make a training step of the members that have a batch."""
        kind = {"dtype": self.first.dtype, "device": self.net.device_}
        losses = torch.zeros(len(self.members), **kind)
        sizes = [
            len(batches[i][0]) if i in batches else 0 for i in range(len(self.members))
        ]
        heard: list[tuple[int, torch.Tensor]] = []
        total: Any = 0
        for a, b in ranges(sizes):
            if not sizes[a]:
                continue
            part = [batches[i] for i in range(a, b)]
            outputs = self._forward(a, b, [batch[0] for batch in part])
            found = self._losses(a, b, outputs, part)
            total = total + found.sum()
            losses[a:b] = found.detach()
            heard += [
                (i, outputs[i - a].detach())
                for i in range(a, b)
                if self.members[i].hears_batches
            ]
        self._optimize(total, sizes)
        for i, outputs in heard:
            member = self.members[i]
            if member not in self.diverged:
                try:
                    member.after_step(losses[i], member.finished(outputs))
                except DivergedError as error:
                    self.diverged[member] = error
        return losses

    def _optimize(self, total: torch.Tensor, sizes: list[int]) -> None:
        """Change weights of members that have a batch, by the sum of all losses."""
        leaves = [self.params[name] for name in self.trained]
        values = torch.autograd.grad(total, leaves, allow_unused=True)
        grads = {
            name: grad
            for name, grad in zip(self.trained, values, strict=True)
            if grad is not None
        }
        grads = clip_gradients(grads, self.clippings)
        if self.optimizers is None:
            self.optimizers = StackOptimizers(self.members, self.params, [*grads])
        elif self.is_scheduled and not self.optimizers.take_settings():
            # Those that had an optimizer in common have other settings from here on.
            self.optimizers.write_back()
            self.optimizers = StackOptimizers(self.members, self.params, [*grads])
        self.optimizers.step(grads, sizes)

    def _forward(self, a: int, b: int, images: list[torch.Tensor]) -> torch.Tensor:
        """Return the outputs of the members from a to b for their batches."""
        whole = (a, b) == (0, len(self.members))
        params, buffers = (
            values if whole else {name: value[a:b] for name, value in values.items()}
            for values in (self.params, self.buffers)
        )
        if len({image.dtype for image in images}) > 1:
            # Some have been transformed, and are floats already.
            images = [self.net.scaler_.to_unit(image) for image in images]
        x = self._to_input(a, b, torch.stack(images))
        masks = self._masks(a, b, x)
        kind = self.net.device_.type
        amp = torch.autocast(kind, dtype=torch.bfloat16) if self.net.amp else None
        with amp or nullcontext():
            outputs = self.engine(params, buffers, x, masks)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        return first.to(self.first.dtype)

    def _to_input(self, a: int, b: int, images: torch.Tensor) -> torch.Tensor:
        """Do for several members what a `PixelScaler` does for one."""
        if self.first.frozen is not None:
            return self.first.to_input(images)
        scaler = self.net.scaler_
        scaled = scaler.to_unit(images)
        if scaler.spec is not None:
            scaled = scaler.spec.fit_size(scaled.flatten(0, 1)).unflatten(
                0, (b - a, -1)
            )
        if self.mean is None or self.std is None:
            return scaled
        return scaled.sub(self.mean[a:b]).div_(self.std[a:b])

    def _masks(self, a: int, b: int, x: torch.Tensor) -> list[torch.Tensor]:
        """Draw what each member's dropout layers would draw."""
        if x[0].shape not in self.calls:
            one = with_channels_last(x[0]) if self.first.channels_last else x[0]
            self._try(one)
            self.calls[one.shape] = dropout_calls(self.modules[0], one)
        if not (calls := self.calls[x[0].shape]):
            return []
        by_member = [
            member.draw(partial(draw_masks, member.network, calls, x[0]))
            for member in self.members[a:b]
        ]
        return [torch.stack(masks) for masks in zip(*by_member, strict=True)]

    def _try(self, images: torch.Tensor) -> None:
        """Check that a network does no more in batches of this size than in others."""
        if images.shape not in self.engine.tried:
            module = self.modules[0]
            if (reason := side_effect(module, images)) is not None:
                raise NotStackable(f"{type(module).__name__}: {reason}")
            self.engine.tried.add(images.shape)

    def _losses(
        self, a: int, b: int, outputs: torch.Tensor, batches: list[tuple[Any, ...]]
    ) -> torch.Tensor:
        """Return one loss for each member, shape (b - a,)."""
        members, keys = self.members[a:b], self.criteria[a:b]
        if keys[0] is not None and len({*keys}) == 1:
            return _row_losses(members[0], outputs, batches)
        found: list[Any] = [None] * (b - a)
        for key in dict.fromkeys(keys):
            places = [i for i, other in enumerate(keys) if other == key]
            chosen = [batches[i] for i in places]
            if key is None:
                for i, batch in zip(places, chosen, strict=True):
                    found[i] = self._own_loss(members[i], outputs[i], batch)
                continue
            losses = _row_losses(members[places[0]], outputs[places], chosen)
            for i, loss in zip(places, losses.unbind(), strict=True):
                found[i] = loss
        return torch.stack(found)

    def _own_loss(
        self, member: TrainingRun, outputs: torch.Tensor, batch: tuple[Any, ...]
    ) -> torch.Tensor:
        """Return what a member's own criterion makes of its outputs."""
        net = member.net
        # A criterion of the user's may draw random numbers.
        with member.turn():
            first = not self.engine.knows_criterion
            before = classes_of(net.criterion_) if first else None
            loss = member.loss(member.finished(outputs), batch)
        if first:
            # Alone, each fit would make all of its steps before the next one does.
            if classes_of(net.criterion_) != before:
                raise NotStackable("the criterion changes its class, or what that uses")
            others = {id(p) for p in member.network.parameters() if p.requires_grad}
            if others & {id(leaf) for leaf in leaves_of(loss)}:
                raise NotStackable("the criterion uses weights of the network")
            self.engine.knows_criterion = True
        return loss

    def _is_changed(self, i: int) -> bool:
        """Whether callbacks or the validation may have changed a member's network.

        Raises
        ------
        NotStackable
            If other weights are to be trained than before.
        """
        member = self.members[i]
        if member.network is not self.modules[i]:
            raise NotStackable("a callback changes what is frozen")
        for name, weight in member.network.named_parameters():
            if weight.requires_grad != self.params[name].requires_grad:
                raise NotStackable(f"a callback freezes or unfreezes {name}")
        return member.shows_itself or not all(
            same_numbers(buffer, self.buffers[name][i])
            for name, buffer in member.network.named_buffers()
        )

    def write_back(self) -> None:
        """Give each member its weights and the state of its optimizer."""
        values = {**self.params, **self.buffers}
        with torch.no_grad():
            for i, member in enumerate(self.members):
                own = member.network
                for name, tensor in (*own.named_parameters(), *own.named_buffers()):
                    tensor.copy_(values[name][i])
        if self.optimizers is not None:
            self.optimizers.write_back()


def _row_losses(
    member: TrainingRun, outputs: torch.Tensor, batches: list[Any]
) -> torch.Tensor:
    """Return a loss for each of some members with the same criterion."""
    reduction = member.net.criterion_.reduction
    targets = torch.stack([batch[1] for batch in batches])
    finished = member.finished(outputs.flatten(0, 1))
    losses = member.row_losses(finished, targets.flatten(0, 1))
    losses = losses.reshape(*outputs.shape[:2], -1)
    weights = torch.stack([batch[2] for batch in batches]) if batches[0][2:] else None
    if weights is not None and weights.ndim == 3:
        losses, weights = weighted_values(losses, weights), None
    losses = losses.sum(2) if reduction == "sum" else losses.mean(2)
    if weights is not None:
        losses = losses * weights.to(losses)
    return losses.sum(1) if reduction == "sum" else losses.mean(1)
