"""Transforms that change the values of pixels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from skvision._compat import StrOptions
from skvision.preprocessing._base import (
    FINITE,
    NON_NEGATIVE,
    PROBABILITY,
    RATIO,
    SCALE,
    BatchTransform,
    Pair,
    random_boxes,
    uniform,
)


class UniformNoise(BatchTransform):
    """Add a uniform random number to each value [1]_.

    Parameters
    ----------
    low : float, default=-0.1
        Least of the numbers.
    high : float, default=0.1
        Greatest of the numbers.
    clip : bool, default=True
        Whether sums below 0 become 0 and sums above 1 become 1.

    Raises
    ------
    ValueError
        When called, if `low` is greater than `high`.

    See Also
    --------
    GaussianNoise : Noise of a normal distribution.

    References
    ----------
    .. [1] C. M. Bishop, "Training with noise is equivalent to Tikhonov
       regularization", Neural Computation 7 (1995),
       https://doi.org/10.1162/neco.1995.7.1.108

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import UniformNoise
    >>> noisy = UniformNoise(low=0.0, high=0.2)(torch.zeros(100, 1, 8, 8))
    >>> bool(noisy.min() >= 0), bool(noisy.max() <= 0.2)
    (True, True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "low": [FINITE],
        "high": [FINITE],
        "clip": ["boolean"],
    }

    def __init__(self, low: float = -0.1, high: float = 0.1, clip: bool = True) -> None:
        self.low = low
        self.high = high
        self.clip = clip

    def check_params(self) -> None:
        super().check_params()
        if self.low > self.high:
            raise ValueError(
                "The 'low' parameter of UniformNoise must be at most 'high'. Got "
                f"low={self.low!r} and high={self.high!r} instead."
            )

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        noisy = uniform(images, generator, images.shape, self.low, self.high)
        noisy.add_(images)
        return noisy.clamp_(0, 1) if self.clip else noisy


class GaussianNoise(BatchTransform):
    """Add a normally distributed random number to each value [1]_.

    Parameters
    ----------
    std : float, default=0.1
        Standard deviation of the numbers, whose mean is 0.
    clip : bool, default=True
        Whether sums below 0 become 0 and sums above 1 become 1.

    See Also
    --------
    UniformNoise : Noise of a uniform distribution.
    torchvision.transforms.v2.GaussianNoise : For single images.

    References
    ----------
    .. [1] C. M. Bishop, "Training with noise is equivalent to Tikhonov
       regularization", Neural Computation 7 (1995),
       https://doi.org/10.1162/neco.1995.7.1.108

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import GaussianNoise
    >>> noise = GaussianNoise(std=0.2, clip=False)
    >>> noisy = noise(torch.zeros(100, 1, 8, 8), torch.Generator().manual_seed(0))
    >>> round(noisy.std().item(), 2)
    0.2
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "std": [NON_NEGATIVE],
        "clip": ["boolean"],
    }

    def __init__(self, std: float = 0.1, clip: bool = True) -> None:
        self.std = std
        self.clip = clip

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        device = images.device if generator is None else generator.device
        noisy = torch.empty(images.shape, dtype=images.dtype, device=device)
        noisy = noisy.normal_(0, self.std, generator=generator).to(images.device)
        noisy.add_(images)
        return noisy.clamp_(0, 1) if self.clip else noisy


class ColorJitter(BatchTransform):
    """Change brightness, contrast and saturation, in this order [1]_.

    Parameters
    ----------
    brightness : float or tuple of float, default=0.0
        Range (low, high) of the factor that values are multiplied by; a float v
        means (max(0, 1 - v), 1 + v), so that 0.0 changes nothing.
    contrast : float or tuple of float, default=0.0
        Range of the factor that multiplies the distance of values from the mean
        grey value of their image, given like `brightness`.
    saturation : float or tuple of float, default=0.0
        Range of the factor that multiplies the distance of values from the grey
        value of their pixel, given like `brightness`. Grey images have none.

    Raises
    ------
    ValueError
        When called with images that have neither 1 nor 3 channels.

    See Also
    --------
    torchvision.transforms.v2.ColorJitter : For single images, in random order.

    Notes
    -----
    Values are clipped to [0, 1] after each change.

    References
    ----------
    .. [1] A. G. Howard, "Some improvements on deep convolutional neural network
       based image classification", 2013, https://arxiv.org/abs/1312.5402

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import ColorJitter
    >>> ColorJitter(brightness=(0.5, 0.5))(torch.ones(1, 1, 1, 2))
    tensor([[[[0.5000, 0.5000]]]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        name: [NON_NEGATIVE, Pair(NON_NEGATIVE)]
        for name in ("brightness", "contrast", "saturation")
    }

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0.0,
        contrast: float | tuple[float, float] = 0.0,
        saturation: float | tuple[float, float] = 0.0,
    ) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        if images.shape[1] not in (1, 3):
            raise ValueError(
                "ColorJitter expects images with 1 or 3 channels; got "
                f"{images.shape[1]}."
            )

        def factor(limits: Any) -> Tensor:
            if not isinstance(limits, (tuple, list)):
                limits = (max(0, 1 - limits), 1 + limits)
            return uniform(images, generator, (len(images), 1, 1, 1), *limits)

        images = (images * factor(self.brightness)).clamp_(0, 1)
        if self.contrast != 0:
            mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
            images = torch.lerp(mean, images, factor(self.contrast)).clamp_(0, 1)
        if self.saturation != 0 and images.shape[1] == 3:
            grey = _grey(images)
            images = torch.lerp(grey, images, factor(self.saturation)).clamp_(0, 1)
        return images


class RandomErasing(BatchTransform):
    """Overwrite a random rectangle in some images [1]_.

    Parameters
    ----------
    p : float, default=0.5
        Probability that something is erased from an image.
    scale : tuple of float, default=(0.02, 0.33)
        Range (low, high) of the area of the rectangle, as a fraction of the image's.
    ratio : tuple of float, default=(0.3, 3.3)
        Range (low, high) of the width of the rectangle divided by its height.
    value : float or "random", default=0.0
        What is written there; "random" draws uniform numbers in [0, 1).

    See Also
    --------
    torchvision.transforms.v2.RandomErasing : For single images.

    References
    ----------
    .. [1] Z. Zhong, L. Zheng, G. Kang, S. Li, Y. Yang, "Random erasing data
       augmentation", AAAI 2020, https://arxiv.org/abs/1708.04896

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import RandomErasing
    >>> erase = RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1, 1))
    >>> erase(torch.ones(1, 1, 8, 8)).sum()
    tensor(48.)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "p": [PROBABILITY],
        "scale": [SCALE],
        "ratio": [RATIO],
        "value": [FINITE, StrOptions({"random"})],
    }

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | str = 0.0,
    ) -> None:
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        chosen = uniform(images, generator, (len(images), 1, 1, 1)) < self.p
        top, left, height, width = random_boxes(
            images, self.scale, self.ratio, generator
        )
        rows = _within(top, height, images.shape[2])[:, None, :, None]
        columns = _within(left, width, images.shape[3])[:, None, None, :]
        erased = chosen & rows & columns
        if isinstance(self.value, str):
            return torch.where(erased, uniform(images, generator, images.shape), images)
        return images.masked_fill(erased, self.value)


def _grey(images: Tensor) -> Tensor:
    """Return grey values, of shape (b, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    # The weights of ITU-R BT.601 as torchvision has them.
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _within(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Whether each of `size` positions lies in an interval, shape (b, size)."""
    positions = torch.arange(size, device=start.device)
    start, length = start[:, None], length[:, None]
    return (positions >= start) & (positions < start + length)
