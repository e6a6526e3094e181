"""Targets of a regression as its loss compares them, and back on their own scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["TargetScaler"]

# Standard deviations beyond which targets are not those of the same question.
_FAR = 10.0


class TargetScaler(nn.Module):
    """Subtract the mean of each column of y, and divide by its standard deviation.

    All is computed in float64: of targets near 1e6 that differ by 1, float32 would
    lose most. What is not known yet, and a mean of 0 with a deviation of 1, leave
    values as they are.

    Parameters
    ----------
    mean, std : array-like of shape (k,), default=None
        Of each column; None where they are not known yet.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.training._targets import TargetScaler
    >>> scaler = TargetScaler()
    >>> _ = scaler.learn(np.array([[1.0], [3.0]]))
    >>> scaler(torch.tensor([[5.0]]))
    tensor([[3.]], dtype=torch.float64)
    """

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(self, mean: Any = None, std: Any = None) -> None:
        super().__init__()
        self.register_buffer("mean", None)
        self.register_buffer("std", None)
        self.set_statistics(mean, std)

    def set_statistics(self, mean: Any, std: Any, device: Any = "cpu") -> None:
        """Set what is subtracted and divided by, one number per column."""
        for name, value in (("mean", mean), ("std", std)):
            if value is not None:
                value = torch.as_tensor(value, dtype=torch.float64, device=device)
            setattr(self, name, value)
        self.changes = (
            self.mean is not None
            and self.std is not None
            and not bool((self.mean == 0).all() and (self.std == 1).all())
        )

    def learn(
        self,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        device: Any = "cpu",
    ) -> TargetScaler:
        """Take mean and deviation from targets of shape (n, k).

        A column without variation is divided by its value, so that predictions of it
        are near in its own terms.
        """
        y = y.astype(np.float64)
        # Squares of what is very large or small are no numbers any more.
        size = np.abs(y).max(axis=0)
        size[size == 0] = 1
        mean = np.average(y / size, axis=0, weights=sample_weight) * size
        rest = np.abs(y - mean).max(axis=0)
        rest[rest == 0] = 1
        squares = ((y - mean) / rest) ** 2
        std = np.sqrt(np.average(squares, axis=0, weights=sample_weight)) * rest
        constant = (y.max(axis=0) == y.min(axis=0)) | (std == 0)
        mean = np.where(constant, y[0], mean)
        self.set_statistics(mean, np.where(constant, size, std), device)
        return self

    def suits(self, y: torch.Tensor) -> bool:
        """Whether targets of shape (n, k) are of the size that was learnt.

        They are not where all are far from the mean, or differ by next to nothing.
        """
        if not self.changes:
            return True
        compared = self(y.to(self.mean))
        spread = compared.std(0, correction=0)
        far = compared.square().mean(0).sqrt() > _FAR
        close = (spread < 1 / _FAR**3) & (spread > 0)
        return not bool((far | close).any())

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return targets, (..., k), as the loss compares them."""
        if self.mean is None or self.std is None or not self.changes:
            return y
        return (y.double() - self.mean) / self.std

    def undo(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return a network's outputs, (..., k), on the scale of the targets."""
        if self.mean is None or self.std is None or not self.changes:
            return outputs
        return outputs.double() * self.std + self.mean

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # Files from before targets were scaled have none, and a scaler that has learnt
        # nothing yet takes any number of columns.
        for name, value in (("mean", 0.0), ("std", 1.0)):
            found = state_dict.setdefault(prefix + name, torch.tensor(value))
            setattr(self, name, torch.empty_like(found, dtype=torch.float64))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.set_statistics(self.mean, self.std, found.device)
