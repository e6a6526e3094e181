"""What the transforms of training images have in common."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor

from skvision._compat import Interval, make_constraint


class BatchTransform(BaseEstimator):
    """Base class of transforms that change a whole batch at once.

    As an estimator it has parameters that a search can set, and a readable repr. It
    learns nothing: a call checks the parameters and leaves the transform as it is.
    Subclasses have ``_transform`` and the constraints of their parameters.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Return transformed images, each by a draw of its own.

        Parameters
        ----------
        images : torch.Tensor of shape (b, C, H, W)
            Of a float dtype with values in [0, 1], on any device.
        generator : torch.Generator, default=None
            Where all random numbers come from, on the CPU or on the device of
            `images`; None means torch's default generator of that device.

        Returns
        -------
        images : torch.Tensor of shape (b, C, H, W)
            A new tensor of the same dtype, on the same device.

        Raises
        ------
        TypeError
            If `images` is no tensor.
        ValueError
            If a parameter is out of its range, or `images` is no batch of floats.
        """
        self.check_params()
        if not isinstance(images, Tensor):
            raise TypeError(
                f"{type(self).__name__} expects a torch.Tensor of shape (b, C, H, W); "
                f"got {type(images).__name__}."
            )
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} expects float images of shape (b, C, H, W); "
                f"got {images.dtype} of shape {tuple(images.shape)}."
            )
        return self._transform(images, generator)

    def check_params(self) -> None:
        """Check the parameters, as each call does.

        Raises
        ------
        ValueError
            If one is out of its range; the message names it.
        """
        # As scikit-learn does it, which knows no pairs.
        for name, constraints in self._parameter_constraints.items():
            value = getattr(self, name)
            constraints = [
                c if isinstance(c, Pair) else make_constraint(c) for c in constraints
            ]
            if not any(c.is_satisfied_by(value) for c in constraints):
                # An InvalidParameterError would be taken for that of a function
                # which gets the transform.
                raise ValueError(
                    f"The {name!r} parameter of {type(self).__name__} must be "
                    f"{' or '.join(map(str, constraints))}. Got {value!r} instead."
                )

    def _transform(self, images: Tensor, generator: Generator | None) -> Tensor:
        """Return a batch, each image changed by itself."""
        raise NotImplementedError


class Pair:
    """Constraint of a parameter that is a pair of numbers, beside scikit-learn's.

    Parameters
    ----------
    *constraints : Interval
        Each number satisfies one of them.
    ordered : bool, default=True
        Whether the first number is at most the second.
    """

    def __init__(self, *constraints: Any, ordered: bool = True) -> None:
        self.constraints = constraints
        self.ordered = ordered

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether the constraint holds."""
        return (
            isinstance(val, (tuple, list))
            and len(val) == 2
            and all(any(c.is_satisfied_by(v) for c in self.constraints) for v in val)
            and (not self.ordered or val[0] <= val[1])
        )

    def __str__(self) -> str:
        kind = "an increasing pair" if self.ordered else "a pair"
        return f"{kind}, each of it {' or '.join(map(str, self.constraints))}"


#: Constraints of parameters.
FINITE = Interval(Real, None, None, closed="neither")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")
PROBABILITY = Interval(Real, 0, 1, closed="both")
SCALE = Pair(Interval(Real, 0, 1, closed="right"))
RATIO = Pair(Interval(Real, 0, None, closed="neither"))


def as_pair(value: Any) -> tuple[Any, Any]:
    """Return a pair as it is, and anything else twice."""
    first, second = value if isinstance(value, (tuple, list)) else (value, value)
    return first, second


def uniform(
    images: Tensor,
    generator: Generator | None,
    shape: tuple[int, ...],
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Draw uniform numbers in [low, high) with the dtype and device of `images`."""
    device = images.device if generator is None else generator.device
    values = torch.empty(shape, dtype=images.dtype, device=device)
    return values.uniform_(low, high, generator=generator).to(images.device)


def random_boxes(
    images: Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator | None,
) -> tuple[Tensor, ...]:
    """Draw a rectangle of whole pixels in each image.

    As in torchvision, sides are drawn ten times and the first that fit are taken. If
    none do, sides that are too long are cut off.

    Parameters
    ----------
    images : torch.Tensor of shape (b, C, H, W)
    scale : tuple of float
        Range of the area, as a fraction of the image's.
    ratio : tuple of float
        Range of the width divided by the height, its logarithm drawn uniformly.
    generator : torch.Generator or None

    Returns
    -------
    top, left, height, width : torch.Tensor of shape (b,)
        Integers in the dtype of `images`.
    """
    b, _, n_rows, n_columns = images.shape
    area = uniform(images, generator, (b, 10), *scale) * (n_rows * n_columns)
    aspect = uniform(images, generator, (b, 10), *map(math.log, ratio)).exp()
    heights = (area / aspect).sqrt().round().clamp(min=1)
    widths = (area * aspect).sqrt().round().clamp(min=1)
    fit = (heights <= n_rows) & (widths <= n_columns)
    # Of equal values argmax takes the first.
    chosen = fit.int().argmax(dim=1, keepdim=True)
    height = heights.gather(1, chosen).squeeze(1).clamp(max=n_rows)
    width = widths.gather(1, chosen).squeeze(1).clamp(max=n_columns)
    top = (uniform(images, generator, (b,)) * (n_rows - height + 1)).floor()
    left = (uniform(images, generator, (b,)) * (n_columns - width + 1)).floor()
    return top, left, height, width
