"""Transforms that move pixels."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from skvision._compat import Interval, RealNotInt, StrOptions
from skvision.preprocessing._base import (
    FINITE,
    NON_NEGATIVE,
    PROBABILITY,
    RATIO,
    SCALE,
    BatchTransform,
    Pair,
    as_pair,
    random_boxes,
    uniform,
)

_FILL = [FINITE, StrOptions({"reflect"})]
_SIZE = Interval(Integral, 1, None, closed="left")
_SHIFTS = (
    Interval(Integral, 0, None, closed="left"),
    Interval(RealNotInt, 0, 1, closed="left"),
)


class RandomHorizontalFlip(BatchTransform):
    """Swap left and right of some images.

    Parameters
    ----------
    p : float, default=0.5
        Probability that an image is flipped; 1.0 flips all.

    See Also
    --------
    torchvision.transforms.v2.RandomHorizontalFlip : For single images.

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import RandomHorizontalFlip
    >>> RandomHorizontalFlip(p=1.0)(torch.tensor([[[[0.0, 0.5, 1.0]]]]))
    tensor([[[[1.0000, 0.5000, 0.0000]]]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"p": [PROBABILITY]}

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        flipped = uniform(images, generator, (len(images), 1, 1, 1)) < self.p
        return torch.where(flipped, images.flip(-1), images)


class RandomShift(BatchTransform):
    """Shift images by whole pixels.

    The same as padding images on all sides and cropping them to their size at a
    random place, as [1]_ do with 4 pixels for images of 32x32.

    Parameters
    ----------
    max_shift : int, float or tuple of two, default=4
        How far images move at most up, down, left and right: an int is a number of
        pixels, a float in [0, 1) a fraction of height and width. A pair has one of
        these for the vertical and one for the horizontal direction.
    fill : float or "reflect", default=0.0
        Value of the pixels that come into the image; "reflect" mirrors the image at
        its border.

    Raises
    ------
    ValueError
        When called with ``fill="reflect"`` and images no larger than the shift.

    See Also
    --------
    torchvision.transforms.v2.RandomCrop : For single images, with `padding`.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image
       recognition", CVPR 2016, https://arxiv.org/abs/1512.03385

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import RandomShift
    >>> shift = RandomShift(max_shift=(0, 1), fill=0.5)
    >>> image = torch.tensor([[[[0.0, 1.0]]]])
    >>> shift(image.expand(4, -1, -1, -1), torch.Generator().manual_seed(0)).squeeze()
    tensor([[0.5000, 0.0000],
            [0.0000, 1.0000],
            [0.0000, 1.0000],
            [1.0000, 0.5000]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_shift": [*_SHIFTS, Pair(*_SHIFTS, ordered=False)],
        "fill": _FILL,
    }

    def __init__(
        self,
        max_shift: int | float | tuple[int | float, int | float] = 4,
        fill: float | str = 0.0,
    ) -> None:
        self.max_shift = max_shift
        self.fill = fill

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        b, _, height, width = images.shape
        dy, dx = (
            int(limit) if isinstance(limit, Integral) else round(limit * size)
            for limit, size in zip(
                as_pair(self.max_shift), (height, width), strict=True
            )
        )
        padding = (dx, dx, dy, dy)
        if isinstance(self.fill, str):
            if dy >= height or dx >= width:
                raise ValueError(
                    "With fill='reflect', max_shift must be less than height and width "
                    f"of the images, {height} and {width}; got {self.max_shift!r}."
                )
            padded = F.pad(images, padding, mode="reflect")
        else:
            padded = F.pad(images, padding, value=self.fill)
        # A view of all crops, (b, C, 2 * dy + 1, 2 * dx + 1, height, width).
        crops = padded.unfold(2, height, 1).unfold(3, width, 1)
        top, left = (
            (uniform(images, generator, (b,)) * crops.shape[axis]).long()
            for axis in (2, 3)
        )
        return crops[torch.arange(b, device=images.device), :, top, left]


class RandomRotation(BatchTransform):
    """Rotate images about their centre, with bilinear interpolation.

    Parameters
    ----------
    degrees : float or tuple of float, default=10.0
        Range (low, high) of the angle, counter-clockwise; a float d means (-d, d).
    fill : float or "reflect", default=0.0
        Value of the pixels that come into the image; "reflect" mirrors the image at
        its border.

    See Also
    --------
    torchvision.transforms.v2.RandomRotation : For single images.

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import RandomRotation
    >>> RandomRotation(degrees=(90, 90))(torch.eye(2)[None, None]).round()
    tensor([[[[0., 1.],
              [1., 0.]]]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "degrees": [NON_NEGATIVE, Pair(FINITE)],
        "fill": _FILL,
    }

    def __init__(
        self, degrees: float | tuple[float, float] = 10.0, fill: float | str = 0.0
    ) -> None:
        self.degrees = degrees
        self.fill = fill

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        b, _, height, width = images.shape
        limits = self.degrees
        if not isinstance(limits, (tuple, list)):
            limits = (-limits, limits)
        angle = uniform(images, generator, (b, 1, 1), *limits).deg2rad()
        cos, sin = angle.cos(), angle.sin()
        options: dict[str, Any] = {"dtype": images.dtype, "device": images.device}
        y = torch.arange(height, **options)[:, None] - (height - 1) / 2
        x = torch.arange(width, **options) - (width - 1) / 2
        # grid_sample measures both axes from -1 to 1.
        places = (cos * x - sin * y) * 2 / width, (sin * x + cos * y) * 2 / height
        grid = torch.stack(places, dim=-1)
        if isinstance(self.fill, str):
            return F.grid_sample(
                images, grid, padding_mode="reflection", align_corners=False
            )
        # Outside of images grid_sample sees 0.
        return F.grid_sample(images - self.fill, grid, align_corners=False) + self.fill


class RandomResizedCrop(BatchTransform):
    """Crop a random part of each image and resize it.

    Known as the crop of the Inception networks [1]_.

    Parameters
    ----------
    size : int or tuple of int, default=None
        (height, width) of the result; an int means both. None means those of the
        images, which are the ones that a network is made for.
    scale : tuple of float, default=(0.08, 1.0)
        Range (low, high) of the area of the part, as a fraction of the image's.
    ratio : tuple of float, default=(3 / 4, 4 / 3)
        Range (low, high) of the width of the part divided by its height.

    See Also
    --------
    torchvision.transforms.v2.RandomResizedCrop : For single images.

    Notes
    -----
    Interpolation is bilinear, with the filter widened where the part is larger than
    the result (antialiasing).

    References
    ----------
    .. [1] C. Szegedy et al., "Going deeper with convolutions", CVPR 2015,
       https://arxiv.org/abs/1409.4842

    Examples
    --------
    >>> import torch
    >>> from skvision.preprocessing import RandomResizedCrop
    >>> crop = RandomResizedCrop(size=(24, 32), scale=(0.5, 1.0))
    >>> crop(torch.rand(8, 3, 48, 48)).shape
    torch.Size([8, 3, 24, 32])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "size": [_SIZE, Pair(_SIZE, ordered=False), None],
        "scale": [SCALE],
        "ratio": [RATIO],
    }

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = size
        self.scale = scale
        self.ratio = ratio

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        rows, columns = as_pair(self.size or tuple(images.shape[2:]))
        top, left, height, width = random_boxes(
            images, self.scale, self.ratio, generator
        )
        # Each row of the result mixes rows of the image, each column columns.
        vertical = _resize_weights(top, height, rows, images.shape[2])
        horizontal = _resize_weights(left, width, columns, images.shape[3])
        return torch.einsum("bchw,bjw,bih->bcij", images, horizontal, vertical)


def _resize_weights(start: Tensor, length: Tensor, n_out: int, n_in: int) -> Tensor:
    """Return what each of n_in pixels adds to each of n_out, shape (b, n_out, n_in).

    The n_out pixels cover those from `start` on, `length` of them. Weights fall off
    linearly with the distance, over the width of one pixel of the coarser grid.
    """
    start, length = start[:, None, None], length[:, None, None]
    options: dict[str, Any] = {"dtype": start.dtype, "device": start.device}
    pixels = torch.arange(n_in, **options) + 0.5
    step = length / n_out
    centers = start + step * (torch.arange(n_out, **options)[:, None] + 0.5)
    weights = (1 - (pixels - centers).abs() / step.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixels > start) & (pixels < start + length))
    return weights / weights.sum(dim=-1, keepdim=True)
