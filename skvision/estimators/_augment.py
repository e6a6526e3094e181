"""Random changes of training batches, on the network's device."""

from __future__ import annotations

from skorch.utils import to_tensor

from skvision.preprocessing._augment import (
    apply_transforms,
    check_transforms,
    warn_of_transforms,
)

__all__ = ["AugmentMixin"]

# Images by which it is seen what transforms do.
_N_TRIED = 4


class AugmentMixin:
    """Applies the transforms of the parameter ``augment``."""

    def _check_augmentation(self, data):
        """Warn of transforms that part training from prediction."""
        if check_transforms(self.augment):
            X = data[slice(0, _N_TRIED)][0]
            X = X if data.images.steps is None else data.images.steps(X)
            warn_of_transforms(self._to_transform(X), self.augment)

    def _to_transform(self, X):
        """Return a batch as transforms get it, on the network's device."""
        images = self.scaler_.to_unit(to_tensor(X, device=self.device_))
        # Transforms are for values in [0, 1].
        return self.scaler_.normalised(images) if self.normalize == "range" else images

    def _augmented(self, X):
        """Return a training batch, transformed on the network's device."""
        if not (transforms := check_transforms(self.augment)):
            return X
        images = apply_transforms(self._to_transform(X), transforms)
        if tuple(images.shape[1:]) not in (self.image_shape_, self.network_shape_):
            raise ValueError(
                f"augment={self.augment!r} makes images of shape "
                f"{tuple(images.shape[1:])} of those of shape {self.image_shape_}; the "
                "network needs images of one shape."
            )
        return images
