"""Which part of a transform is work on one image, and which on pixels alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from skvision.images._decode import is_pil, upright
from skvision.images._steps import PixelSteps

#: torchvision's transforms that draw no random numbers.
DETERMINISTIC = {
    *("CenterCrop", "ConvertImageDtype", "Grayscale", "Identity", "Normalize"),
    *("LinearTransformation", "PILToTensor", "Pad", "RGB", "Resize", "ToDtype"),
    *("ToImage", "ToPILImage", "ToPureTensor", "ToTensor"),
}


class SplitTransform(NamedTuple):
    """A transform in two parts.

    Attributes
    ----------
    per_image : list of callable
        What is done to each image; uint8 is left as it is where that may be.
    steps : PixelSteps or None
        What is done to the pixels of whole batches.
    is_pixelwise : bool
        Whether `per_image` only turns images into tensors.
    is_deterministic : bool
        Whether `per_image` is known to give the same at every reading.
    """

    per_image: list[Any]
    steps: PixelSteps | None
    is_pixelwise: bool
    is_deterministic: bool


def split_transform(transform: Any) -> SplitTransform:
    """Split a transform into work on one image and on pixels of whole batches."""
    parts = _parts(transform)
    start = len(parts)
    while start and _pixel_steps(parts[start - 1 :]) is not None:
        start -= 1
    steps = _pixel_steps(parts[start:])
    per_image = parts[:start]
    for part in parts[start:]:
        if _name(part) == "ToTensor":
            per_image.append(_ToPixels())
        elif _name(part) in ("PILToTensor", "ToImage"):
            per_image.append(part)
    return SplitTransform(
        per_image,
        PixelSteps(**steps) if steps else None,
        is_pixelwise=start == 0,
        is_deterministic=all(
            _name(part) in DETERMINISTIC or isinstance(part, Upright)
            for part in parts[:start]
        ),
    )


def _name(part: Any) -> str | None:
    """Return the name of a transform's class if it is torchvision's own."""
    own = type(part).__module__.startswith("torchvision.transforms.")
    return type(part).__name__ if own else None


def _parts(transform: Any) -> list[Any]:
    """Return the transforms that follow each other."""
    if transform is None:
        return []
    if _name(transform) == "Compose":
        return [part for step in transform.transforms for part in _parts(step)]
    if _name(transform) == "ImageClassification":
        # What the weights of torchvision's networks come with.
        from torchvision import transforms as v1

        return [
            v1.Resize(
                transform.resize_size,
                transform.interpolation,
                antialias=transform.antialias,
            ),
            v1.CenterCrop(transform.crop_size),
            v1.PILToTensor(),
            v1.ConvertImageDtype(torch.float32),
            v1.Normalize(transform.mean, transform.std),
        ]
    return [transform]


def _pixel_steps(parts: list[Any]) -> dict[str, Any] | None:
    """Read transforms as PixelSteps' arguments; None if they are anything else."""
    steps: dict[str, Any] = {}
    for part in parts:
        name = _name(part)
        if name in ("Identity", "PILToTensor", "ToImage", "ToPureTensor"):
            continue
        if name == "ToTensor" and not steps:
            steps["unit"] = "div"
        elif _is_to_unit(part, name):
            if not steps:  # Else values are floats already, which it leaves alone.
                is_v2 = type(part).__module__.startswith("torchvision.transforms.v2.")
                steps["unit"] = "mul" if is_v2 else "div"
        elif name == "Normalize" and "mean" not in steps:
            mean, std = (
                np.atleast_1d(np.asarray(value)) for value in (part.mean, part.std)
            )
            if not (np.isfinite(mean).all() and np.isfinite(std).all()):
                return None
            steps |= {"mean": mean, "std": std}
        else:
            return None
    return steps


def _is_to_unit(part: Any, name: str | None) -> bool:
    """Whether uint8 becomes float32 in [0, 1]."""
    return (
        name in ("ConvertImageDtype", "ToDtype")
        and part.dtype == torch.float32
        and (name == "ConvertImageDtype" or part.scale)
    )


class Upright:
    """Turn PIL images as their EXIF data say; everything else is left as it is."""

    def __call__(self, image: Any) -> Any:
        return upright(image) if is_pil(image) else image


class _ToPixels:
    """Do as torchvision's ToTensor, without dividing by 255."""

    def __call__(self, image: Any) -> torch.Tensor:
        from torchvision.transforms import functional

        mode = getattr(image, "mode", None)
        if mode == "1":
            image = image.convert("L")
        if mode is not None and not mode.startswith(("I", "F")):
            return functional.pil_to_tensor(image)
        is_array = isinstance(image, np.ndarray) and image.dtype == np.uint8
        if is_array and image.ndim in (2, 3):
            return torch.from_numpy(np.moveaxis(np.atleast_3d(image), 2, 0))
        return functional.to_tensor(image)
