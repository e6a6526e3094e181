"""How pixels are brought to the values that a network is trained on, and kept there."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.base import is_classifier

from skvision._warnings import warn
from skvision.preprocessing._pixel_range import (
    divisors_for,
    is_outside,
    pixel_range,
    warn_of_scale,
)
from skvision.preprocessing._scaling import channel_statistics

__all__ = ["PixelsMixin", "check_normalize_pair"]

# Images that are read one by one, of which floats are looked at to know their range.
_N_LOOKED_AT = 64
# Standard deviations that no pixel is from the mean of all.
_FAR = 100


class PixelsMixin:
    """Learns the scale of pixels in fit, and tells of others afterwards."""

    @property
    def pixel_divisor_(self):
        """What integers wider than uint8 are divided by: 255, 65535, or 1."""
        divisors = self.scaler_.divisors
        if divisors is None:
            raise AttributeError(
                f"This {type(self).__name__} has no pixel_divisor_ before fit."
            )
        return divisors.wider

    def _known_scaling(self, spec):
        """Return mean and deviation that need no training rows, or None."""
        if self.normalize is None:
            return None, None
        pair = self.normalize
        if pair == "range" and getattr(self.pretrained, "normalize", None) != "range":
            return None
        if isinstance(pair, str):
            trained = getattr(self.pretrained, "scaler_", None)
            if trained is not None:
                # Pretrained weights go with the pixels that they were trained on.
                if trained.mean is None:
                    return None, None
                pair = [v.flatten().tolist() for v in (trained.mean, trained.std)]
            elif spec is not None and spec.mean is not None:
                pair = spec.mean, spec.std
            else:
                return None
        return check_normalize_pair(pair, self._facts().get("image_shape"), self._flat)

    def _fit_scaling(self, train, valid, *, anew):
        """Learn how pixels are scaled; return whether all training rows were read.

        Who goes on does it as it was learnt, and so do validation rows.
        """
        anew = anew or not self._scaling_known
        all_read = anew and self._learn_scaling(train)
        for part in (None if anew else train, valid):
            if part is not None:
                self._check_scale(part.images)
        for part in (train, valid):
            if part is not None:
                part.images = self._scaled_in_full(part.images)
        return all_read

    def _learn_scaling(self, data):
        images, scaler, stored = data.images, self.scaler_, data.images.dtype
        by_range = self.normalize == "range" and not self._scaling_known
        if by_range or self._scaling_known:
            all_read = by_range or stored.kind in "iu"
            limits = pixel_range(images, None if all_read else _N_LOOKED_AT)
            all_read = all_read and images.reader.stored != np.uint8
        else:
            weight = data.sample_weight
            statistics = channel_statistics(
                images,
                sample_weight=None if weight is None else weight.numpy(),
                dtype=self._dtype,
            )
            all_read, limits = True, (statistics.low, statistics.high)
            scaler.set_statistics(*statistics[:2], device=self.device_)
        trained = getattr(self.pretrained, "scaler_", None)
        if trained is None:
            scaler.divisors = divisors_for(stored, *limits)
        else:
            # Pretrained weights go with the pixels that they were trained on.
            scaler.divisors = trained.divisors or divisors_for(stored, *limits)
            self.pretrained._check_scale(images)
        divisor = scaler.divisors.of_stored(stored)
        low, high = (limit / divisor for limit in limits)
        if by_range and is_outside(low, high):
            scaler.set_statistics([low], [high - low or 1.0], device=self.device_)
        self._check_against_weights(low, high)
        self._check_against_pair(low, high)
        self._check_size(low, high)
        self.pixel_range_ = tuple(map(float, limits))
        self._scaling_known = True
        return all_read

    def _check_against_weights(self, low, high):
        """Warn if the weights of a torchvision network are for other pixels."""
        spec = self.scaler_.spec
        if spec is not None and spec.mean is not None and is_outside(low, high):
            warn(
                f"X has values from {low:.6g} to {high:.6g}, but the weights of "
                f"{type(self.module_).__name__} were trained on pixels in [0, 1]. Give "
                "integers, which are scaled, or floats in [0, 1]."
            )

    def _check_against_pair(self, low, high):
        """Warn if the user's mean and deviation are those of other pixels."""
        if self.normalize is None or isinstance(self.normalize, str):
            return
        mean, std = self.scaler_.mean.abs(), self.scaler_.std
        # Of values in [0, 1], no mean is greater than 1, and no deviation than 0.5.
        of_unit = float(mean.max()) <= 1 and float(std.max()) <= 2
        if is_outside(low, high):
            far = max(-low, high) > _FAR * float(std.min())
            if of_unit and far and not self._flat:
                warn(
                    f"normalize={self.normalize!r} is for pixels in [0, 1], but X has "
                    f"values from {low:.6g} to {high:.6g}, which are taken as they "
                    "are. Scale X to [0, 1], give integers, which are divided by 255 "
                    "or 65535, or set normalize='channel'."
                )
        elif not of_unit:
            warn(
                f"normalize={self.normalize!r} is for pixels beyond [0, 1], but the "
                f"network gets values from {low:.6g} to {high:.6g}: integers are "
                "divided by 255 or 65535 first. Divide the pair likewise, or set "
                "normalize='channel'."
            )

    def _check_size(self, low, high):
        """Refuse training values with which a network cannot compute."""
        limits = torch.tensor([low, high], dtype=torch.float64)
        mean, std = self.scaler_.mean, self.scaler_.std
        if mean is not None and std is not None:
            limits = (limits[:, None] - mean.flatten().cpu()) / std.flatten().cpu()
        # Networks and losses square values.
        if float(limits.abs().max()) > math.sqrt(torch.finfo(self._dtype).max) / 10:
            raise ValueError(
                f"Input X contains values from {low:.4g} to {high:.4g}, which are too "
                f"large to compute with in {self.dtype}. Scale X."
            )

    def _finite(self, outputs, images):
        """Return outputs if they are numbers, or say what they come from."""
        bad = outputs.isnan() if is_classifier(self) else ~outputs.isfinite()
        if not bad.any():
            return outputs
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(1).numpy())
        low, high = pixel_range(images[rows[:_N_LOOKED_AT]])
        weights = [p.detach().abs().max() for p in self.module_.parameters()]
        largest = max(map(float, weights), default=0.0)
        raise ValueError(
            f"The network gives NaN or infinity for {len(rows)} of {len(outputs)} "
            f"images, the first of which is image {rows[0]} of X. Values of X there go "
            f"from {low:.4g} to {high:.4g}, and the greatest weight of the network is "
            f"{largest:.4g}. Numbers that large overflow in {self.dtype}: scale X as "
            "in fit, or fit the network again."
        )

    def _check_scale(self, images):
        """Warn if images are on another scale than those of the fit."""
        # Estimators of files from before do not know it.
        if hasattr(self, "pixel_range_"):
            warn_of_scale(
                images,
                np.dtype(self._pixel_dtype),
                self.pixel_range_,
                self.scaler_.divisors,
                type(self).__name__,
            )

    def _checked_scale(self, opened):
        """Return images that the estimator is applied to, as its scaler gets them."""
        self._check_scale(opened.images)
        return self._scaled_in_full(opened.images)

    def _scaled_in_full(self, images):
        """Return images that leave nothing to a scaler that takes uint8 as it is."""
        divisors = self.scaler_.divisors
        return images.in_full() if divisors and divisors.uint8 == 1 else images


def check_normalize_pair(normalize, image_shape, flat):
    """Return mean and standard deviation given by the user as arrays."""
    try:
        mean, std = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in normalize)
    except (TypeError, ValueError):
        mean = std = None
    if image_shape is None:
        width = 1 if mean is None else mean.size
    else:
        width = image_shape[2] if flat else image_shape[0]
    if (
        mean is None
        or mean.shape not in [(1,), (width,)]
        or std.shape not in [(1,), (width,)]
        or not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all())
    ):
        raise ValueError(
            f"normalize={normalize!r} is not a pair (mean, std) of finite numbers, std "
            f"positive, one for each of the {width} channels or one for all."
        )
    return mean, std
