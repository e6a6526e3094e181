"""From stored pixels to the values that a network is trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skvision.images._resize import WAYS, fit_size, size_to_decode
from skvision.images._sequence import ImageSequence
from skvision.preprocessing._pixel_range import Divisors, divisors_for

# Pixels per step when all images are read: 2 MB of float64 values, which stay in the
# processor's cache and come from memory that the process has already.
_CHUNK = 1 << 18
# Where equal pixels are counted.
_N_PLACES = 8


@dataclass(frozen=True)
class InputSpec:
    """What a network that has been trained before wants its images to be.

    A network that carries one as its attribute ``input_spec`` gets such images from
    the estimators: `~skvision.networks.torchvision_model` does it with pretrained
    weights. Images that have the size already are left as they are; all others are
    resized, with antialiasing.

    Parameters
    ----------
    mean, std : tuple of float, default=None
        Of the normalisation, one number per channel or one for all; None leaves that
        to the estimator.
    size : tuple of int (height, width), default=None
        Of the network's images; None takes images of any size.
    resize : int or {"squash", "crop", "pad"}, default=None
        How images of other proportions get this size. An int is the length of the
        shorter side, after which the middle is cut out, as torchvision's transforms of
        a weight set do; None means the lesser of `size`. "squash" changes the
        proportions, "crop" cuts the largest part in the middle that has those of
        `size`, and "pad" puts zeros, which are black, on both sides.
    interpolation : {"bilinear", "bicubic"}, default="bilinear"
        Between which pixels new ones lie.

    Raises
    ------
    ValueError
        If a value is none of these, or of `mean` and `std` only one is given.

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import InputSpec
    >>> spec = InputSpec(size=(224, 224), resize=256)
    >>> spec.fit_size(torch.rand(2, 3, 40, 32)).shape
    torch.Size([2, 3, 224, 224])
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    resize: int | str | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError(
                f"mean={self.mean!r} needs std={self.std!r} to be given, too, or "
                "neither of them."
            )
        size, resize = self.size, self.resize
        if size is not None and not (
            isinstance(size, tuple) and len(size) == 2 and all(map(_is_length, size))
        ):
            raise ValueError(
                f"size={size!r} must be a tuple of positive ints, (height, width)."
            )
        if resize is not None and resize not in WAYS and not _is_length(resize):
            raise ValueError(
                f"resize={resize!r} must be a positive int or one of {WAYS}."
            )
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(
                "interpolation must be 'bilinear' or 'bicubic'; got "
                f"{self.interpolation!r}."
            )

    def fit_size(self, images: Tensor) -> Tensor:
        """Return images in the size that the network wants.

        Parameters
        ----------
        images : torch.Tensor of shape (b, C, H, W)
            A batch of any size.

        Returns
        -------
        resized : torch.Tensor of shape (b, C, height, width)
            In the type of the images; integers are rounded.
        """
        if self.size is None:
            return images
        return fit_size(images, self.size, self._how, self.interpolation)

    def size_to_decode(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return how much of an image need be decoded before it gets the size.

        Parameters
        ----------
        shape : sequence of int (height, width)
            Of the image.

        Returns
        -------
        size : tuple of int (height, width)
            The least in which a decoder that makes images smaller may give it.
        """
        height, width = shape
        return size_to_decode(shape, self.size or (height, width), self._how)

    @property
    def decisive(self) -> tuple[Any, ...]:
        """What decides about the pixels of an image that gets the size."""
        return type(self).__qualname__, self.size, self._how, self.interpolation

    @property
    def _how(self) -> str | int:
        return self.resize or min(self.size or (1,))


def _is_length(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) > 0


class PixelScaler(nn.Module):
    """Turn stored batches into network input: integers to [0, 1], resize, normalise.

    Parameters
    ----------
    mean, std : array-like of shape (C,) or (1,) or float, default=None
        Subtracted and divided by, per channel; None leaves values as they are.
    flat : bool, default=False
        Whether batches have shape (b, n_features).
    dtype : torch.dtype, default=torch.float32
        Of the result.
    spec : InputSpec, default=None
        Of the network, whose size of images is taken from it.

    Attributes
    ----------
    divisors : Divisors or None
        What integers are divided by; None as long as no training rows have decided.

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing._scaling import PixelScaler
    >>> scaler = PixelScaler(mean=[0.5], std=[0.5])
    >>> scaler(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    mean: Tensor | None
    std: Tensor | None
    #: Of scalers that were pickled when uint8 alone was divided.
    divisors: Divisors | None = Divisors(255, 1)

    def __init__(
        self,
        mean: Any = None,
        std: Any = None,
        *,
        flat: bool = False,
        dtype: torch.dtype = torch.float32,
        spec: InputSpec | None = None,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.spec = spec
        self.shape = (-1,) if flat else (-1, 1, 1)
        self.divisors = None
        self.register_buffer("mean", None)
        self.register_buffer("std", None)
        self.set_statistics(mean, std)

    def set_statistics(self, mean: Any, std: Any, device: Any = "cpu") -> None:
        """Set what is subtracted and divided by, per channel; None is nothing."""
        for name, value in (("mean", mean), ("std", std)):
            if value is not None:
                value = torch.as_tensor(value, dtype=self.dtype, device=device)
                value = value.reshape(self.shape)
            setattr(self, name, value)

    def to_unit(self, images: Tensor) -> Tensor:
        """Return floats, integers divided as the training rows decided."""
        divisor = (self.divisors or Divisors()).of(images.dtype)
        values = images.to(self.dtype)
        return values if divisor == 1 else values.div_(divisor)

    def from_unit(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what `to_unit` was given; floats keep the type that they have."""
        if dtype.is_floating_point or dtype == torch.bool:
            return images
        limits, divisor = torch.iinfo(dtype), (self.divisors or Divisors()).of(dtype)
        images = images if divisor == 1 else images * divisor
        # Neither end of the widest types is a float that fits into them.
        low, high = max(limits.min, -(2**53)), min(limits.max, 2**53)
        return images.round().clamp(low, high).to(dtype)

    def get_extra_state(self) -> Tensor:
        """Return the divisors as ``state_dict`` holds them."""
        return torch.tensor(self.divisors or (), dtype=torch.int64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the divisors from a ``state_dict``."""
        self.divisors = Divisors(*state.tolist()) if len(state) else None

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Take over statistics, also from files of before there was more to them."""
        # What was learnt fits into a scaler that has learnt nothing yet.
        for name in ("mean", "std"):
            value = state_dict.get(prefix + name)
            if value is not None and getattr(self, name) is None:
                setattr(self, name, torch.empty_like(value))
        # Older states have none.
        state_dict.setdefault(prefix + "_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def undo(self, images: Tensor) -> Tensor:
        """Return the values that were normalised, as `to_unit` gives them."""
        if self.mean is None or self.std is None:
            return images
        return images * self.std + self.mean

    def normalised(self, images: Tensor) -> Tensor:
        """Return what `undo` takes."""
        if self.mean is None or self.std is None:
            return images
        return (images - self.mean).div_(self.std)

    def forward(self, images: Tensor) -> Tensor:
        scaled = self.to_unit(images)
        if self.spec is not None:
            scaled = self.spec.fit_size(scaled)
        if scaled is images or self.mean is None or self.std is None:
            return self.normalised(scaled)
        return scaled.sub_(self.mean).div_(self.std)


class Statistics(NamedTuple):
    """What all pixels of some images tell.

    Attributes
    ----------
    mean, std : ndarray of shape (C,), dtype=float64
        Of what a network will see, that is of integers after their division.
        A channel without variation has a standard deviation of 1.
    low, high : float
        The least and the greatest value before it; of uint8 the limits of the type.
    """

    mean: np.ndarray
    std: np.ndarray
    low: float
    high: float


def channel_statistics(
    images: ImageSequence,
    sample_weight: np.ndarray | None = None,
    dtype: torch.dtype = torch.float32,
) -> Statistics:
    """Return mean and standard deviation per channel of what a network will see.

    Flat rows that are not images count as one channel. All is summed in float64,
    so that the result does not depend on how the images are stored.

    Parameters
    ----------
    images : ImageSequence of length n
    sample_weight : ndarray of shape (n,), default=None
        Weight of each row.
    dtype : torch.dtype, default=torch.float32
        In which the network sees the values. They are summed in float64.

    Returns
    -------
    statistics : Statistics

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    totals, counts = np.zeros((3, 1)), torch.zeros(1, 256, dtype=torch.int64)
    lows, highs = [], []
    n_images = max(1, _CHUNK // math.prod(images.image_shape))
    for start in range(0, len(images), n_images):
        part = slice(start, start + n_images)
        weight = None if sample_weight is None else sample_weight[part]
        pixels = images.read(part)
        pixels = pixels[:, None] if pixels.ndim == 2 else pixels.flatten(2)
        is_uint8 = pixels.dtype == torch.uint8
        low, high = (0, 255) if is_uint8 else map(float, pixels.aminmax())
        lows.append(low)
        highs.append(high)
        is_8_bit = not pixels.is_floating_point() and low >= 0 and high <= 255
        if is_8_bit and weight is None:
            counts = counts + _counts(pixels.to(torch.uint8))
        else:
            totals = totals + _sums(pixels, weight, dtype)
    low, high = min(lows), max(highs)
    if pixels.dtype == torch.uint8 and images.dtype != np.uint8:
        low, high = 0, 1  # What the user gave are floats, which they stand for.
    divisor = 1
    if pixels.dtype == torch.uint8:
        divisor = 255
    elif not pixels.is_floating_point():
        divisor = divisors_for(images.dtype, low, high).wider
        totals = totals / [[1], [divisor], [divisor**2]]
    totals = totals + _sums_of_counts(counts, dtype, divisor)
    count, total, squares = totals
    if not np.isfinite(total).all():
        raise ValueError("Input X contains NaN or infinity.")
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    # Rounding leaves a tiny variance where there is none.
    std = np.where(variance > 1e-12 * np.maximum(mean**2, 1e-12), np.sqrt(variance), 1)
    return Statistics(mean, std, low, high)


def _sums(pixels: Tensor, weight: np.ndarray | None, dtype: torch.dtype) -> np.ndarray:
    """Return weight, sum and sum of squares of (b, C, n) per channel, shape (3, C).

    uint8 values are divided by 255; all others are as they are.
    """
    if pixels.dtype == torch.uint8:
        pixels = pixels.to(dtype).div_(255)
    values = pixels.to(dtype).to(torch.float64)
    total = values.sum(2)
    if values is pixels:
        values = values.clone()  # The caller's tensor is not ours to change.
    squares = values.square_().sum(2)
    weights = (
        torch.ones(len(pixels), dtype=torch.float64)
        if weight is None
        else torch.as_tensor(weight, dtype=torch.float64)
    )
    count = (weights.sum() * values.shape[2]).expand(values.shape[1])
    return torch.stack([count, weights @ total, weights @ squares]).numpy()


def _counts(pixels: Tensor) -> Tensor:
    """Return how often each value occurs in uint8 images, shape (C, 256).

    Neighbours are counted in different places: where many are equal, as in a black
    background, each would wait for the one before.
    """
    places = 256 * (torch.arange(pixels.shape[2], dtype=torch.int16) % _N_PLACES)
    counts = [
        torch.bincount((channel + places).view(-1), minlength=256 * _N_PLACES)
        for channel in pixels.unbind(1)
    ]
    return torch.stack(counts).view(-1, _N_PLACES, 256).sum(1)


def _sums_of_counts(counts: Tensor, dtype: torch.dtype, divisor: int) -> np.ndarray:
    """Return what `_sums` does, five times as fast."""
    values = torch.arange(256).to(dtype).div_(divisor).to(torch.float64)
    numbers = counts.double()
    return torch.stack([numbers.sum(1), numbers @ values, numbers @ values**2]).numpy()
