"""From whatever holds images to batches of one shape and scale, and augmentation."""

from skvision.preprocessing._augment import apply_transforms, expand
from skvision.preprocessing._geometry import (
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
)
from skvision.preprocessing._pixels import (
    ColorJitter,
    GaussianNoise,
    RandomErasing,
    UniformNoise,
)
from skvision.preprocessing._scaling import InputSpec

__all__ = [
    "ColorJitter",
    "GaussianNoise",
    "InputSpec",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShift",
    "UniformNoise",
    "apply_transforms",
    "expand",
]
