"""Callbacks that record what goes on in a training."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import nn

from skvision._compat import Interval, validate_parameter_constraints


class GradientRecorder(Callback):
    """Record the mean gradients of the first training steps.

    Each step has one number: the sum, over the parameter tensors that are trained, of
    the mean of that tensor's gradient. Numbers that stay at 0 or grow without bounds
    tell of gradients that vanish or explode.

    Parameters
    ----------
    n_steps : int, default=100
        Number of training steps (batches) that are recorded.

    Attributes
    ----------
    means_ : list of float
        The number of each step so far, `n_steps` at most. ``partial_fit`` and
        ``warm_start`` go on with the list, any other ``fit`` begins a new one.

    See Also
    --------
    skvision.ImageClassifier : Keeps the callbacks that ran in ``callbacks_``.

    Notes
    -----
    Frozen parameters are left out. An optimizer that evaluates a batch several times
    has the gradient of the first time recorded. The numbers stay on the network's
    device until the epoch ends, so that recording does not hold up a GPU.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.training import GradientRecorder
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("mlp", callbacks=[GradientRecorder(n_steps=20)])
    >>> recorder = dict(net.fit(X, y).callbacks_)["GradientRecorder"]
    >>> len(recorder.means_)
    20
    """

    _parameter_constraints: dict[str, list] = {
        "n_steps": [Interval(Integral, 1, None, closed="left")]
    }

    def __init__(self, n_steps: int = 100) -> None:
        self.n_steps = n_steps

    @property
    def means_(self) -> list[float]:
        """One number for each step so far."""
        self._collect()
        return self.collected_

    def initialize(self) -> GradientRecorder:
        # Called by each fit that does not go on.
        validate_parameter_constraints(
            self._parameter_constraints, {"n_steps": self.n_steps}, type(self).__name__
        )
        # skorch takes what does not end in an underscore for a parameter.
        self.collected_: list[float] = []
        self._pending_: list[torch.Tensor] = []
        self._is_new_batch_ = False
        return self

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        self._is_new_batch_ = training

    def on_grad_computed(
        self,
        net: Any,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        **kwargs: Any,
    ) -> None:
        n_steps = len(self.collected_) + len(self._pending_)
        if not self._is_new_batch_ or n_steps >= self.n_steps:
            return
        self._is_new_batch_ = False
        means = [
            # In float32 at least.
            parameter.grad.mean(
                dtype=torch.promote_types(parameter.dtype, torch.float32)
            )
            for _, parameter in named_parameters
            if parameter.requires_grad and parameter.grad is not None
        ]
        # A network may lie on several devices.
        total = torch.stack([mean.to(means[0]) for mean in means]).sum()
        self._pending_.append(total.detach())

    def on_epoch_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        self._collect()

    def on_train_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        # An epoch may not have been finished.
        self._collect()

    def _collect(self) -> None:
        if pending := vars(self).get("_pending_"):
            self.collected_ += torch.stack(pending).tolist()
            pending.clear()

    def __getstate__(self) -> dict[str, Any]:
        # Pickles hold nothing that needs the device, whenever they are made.
        self._collect()
        return dict(vars(self))
