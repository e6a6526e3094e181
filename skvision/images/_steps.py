"""What transforms do to pixels alone, done to whole batches on their device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


class PixelSteps:
    """Scaling and normalisation of stored pixels, as a data set's transform has it.

    Parameters
    ----------
    unit : {"div", "mul"}, default=None
        How values in [0, 1] are made of uint8, as there are two ways that differ in
        the last bit: divided by 255, as the estimators do it as well, or multiplied
        by 1 / 255. None leaves values as they are; so do both with other dtypes.
    mean, std : array-like of shape (C,) or (1,), default=None
        Of the normalisation that follows.

    Examples
    --------
    >>> import torch
    >>> from skvision.images._steps import PixelSteps
    >>> steps = PixelSteps("div", mean=[0.5], std=[0.5])
    >>> steps(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    def __init__(self, unit: str | None = None, mean: Any = None, std: Any = None):
        self.unit = unit
        self.mean = mean
        self.std = std
        self._constants: dict[torch.device, list[torch.Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_constants": {}}

    def dtype_of(self, stored: np.dtype) -> np.dtype:
        """Return the data type that values have after the steps."""
        scaled = self.unit is not None and stored == np.uint8
        normalised = self.mean is not None and stored.kind in "iu"
        return np.dtype(np.float32) if scaled or normalised else stored

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the values of a batch, which is left as it is.

        Parameters
        ----------
        images : torch.Tensor of shape (b, C, H, W)
            As stored, on any device.

        Returns
        -------
        values : torch.Tensor of shape (b, C, H, W)
        """
        values = images
        if self.unit and images.dtype == torch.uint8:
            values = images.to(torch.float32)
            if self.unit == "mul":
                values.mul_(1 / 255)
            else:
                values.div_(self._on(images.device)[0])
        if self.mean is None:
            return values
        _, mean, std = self._on(images.device)
        # The caller's tensor is not ours to change.
        values = values - mean if values is images else values.sub_(mean)
        return values.div_(std)

    def _on(self, device: torch.device) -> list[torch.Tensor]:
        """Return the constants of the steps on a device."""
        if device not in self._constants:
            # GPUs multiply by the rounded 1 / 255 if 255 is a plain number.
            self._constants[device] = [torch.tensor(255.0, device=device)] + [
                torch.as_tensor(value, dtype=torch.float32, device=device).reshape(
                    -1, 1, 1
                )
                for value in (self.mean, self.std)
                if value is not None
            ]
        return self._constants[device]
