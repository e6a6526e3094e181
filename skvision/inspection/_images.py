"""From whatever holds images to what matplotlib draws."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skvision.images._layout import CHANNELS, Form, form_of
from skvision.images._sources import source_of
from skvision.preprocessing._pixel_range import divisors_for

# How far values of images in [0, 1] may be beyond, as after a resize.
_OVERSHOT = 0.25


def choose_rows(rows: Any, n_images: int, random_state: Any) -> np.ndarray:
    """Return the first of some rows, or others at random, in their order.

    Parameters
    ----------
    rows : array-like or int
        An int stands for all rows below it.
    n_images : int
    random_state : int, RandomState instance or None
        None takes the first ones.
    """
    rows = np.arange(rows) if np.ndim(rows) == 0 else np.asarray(rows)
    if random_state is None or n_images >= len(rows):
        return rows[:n_images]
    chosen = check_random_state(random_state).choice(len(rows), n_images, replace=False)
    return rows[np.sort(chosen)]


def take_rows(X: Any, rows: np.ndarray, net: Any = None) -> Any:
    """Return some rows of anything that may be given as X.

    Parameters
    ----------
    X : images of any kind
    rows : ndarray of int
    net : estimator, default=None
        A fitted one, that knows where a data set's tensors have their channels.
    """
    return source_of(X).take(rows, form_of(net))


def unit_images(
    X: Any,
    net: Any = None,
    image_shape: tuple[int, int, int] | None = None,
    channels: str = "auto",
) -> torch.Tensor:
    """Return X as floats of shape (n, C, H, W), integers divided as in a fit.

    Parameters
    ----------
    X : images of any kind
    net : estimator, default=None
        A fitted one, that knows how to read X.
    image_shape : tuple of int, default=None
        (C, H, W) of flat rows; None takes that of `net`.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of four axes have their channels, unless `net` knows.
    """
    form = Form(channels) if net is None else form_of(net)
    images = source_of(X).images(form).brought(form)
    expected = getattr(net, "image_shape_", None)
    batch = images.in_full().read(slice(None))
    divisors = getattr(getattr(net, "scaler_", None), "divisors", None)
    if not (batch.is_floating_point() or batch.dtype == torch.bool):
        limits = (float(limit) for limit in batch.aminmax())
        divisors = divisors or divisors_for(images.dtype, *limits)
        divisor = divisors.of(batch.dtype)
        batch = batch.to(torch.float32).div_(divisor)
    elif batch.dtype != torch.float64:
        batch = batch.to(torch.float32)
    if not images.flat:
        return batch
    layout = getattr(getattr(net, "__skvision_schema__", None), "layout", None)
    if not image_shape and expected and layout == "last":
        # Rows of arrays that had their channels last.
        n_channels, height, width = expected
        return batch.reshape(-1, height, width, n_channels).permute(0, 3, 1, 2)
    return _folded(batch, image_shape or expected)


def _folded(batch: torch.Tensor, image_shape: Any) -> torch.Tensor:
    """Return flat rows as images of a shape that must be given."""
    n_features = batch.shape[1]
    if image_shape is None or tuple(image_shape) == (1, 1, n_features):
        raise ValueError(
            f"X has flat rows of {n_features} features, whose shape as images is not "
            "known. Set image_shape=(channels, height, width)."
        )
    if (
        len(image_shape) != 3
        or not all(isinstance(n, Integral) and int(n) > 0 for n in image_shape)
        or math.prod(image_shape) != n_features
    ):
        raise ValueError(
            f"image_shape={tuple(image_shape)} is not the (channels, height, width) of "
            f"rows with {n_features} features."
        )
    return batch.reshape(-1, *image_shape)


def as_drawn(batch: torch.Tensor) -> np.ndarray:
    """Return a batch of images as matplotlib takes them.

    Parameters
    ----------
    batch : torch.Tensor of shape (n, C, H, W)

    Returns
    -------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
    """
    n_channels = batch.shape[1]
    if n_channels not in CHANNELS:
        raise ValueError(
            "Images with 1 (grey), 3 (RGB) or 4 (RGBA) channels can be drawn; X has "
            f"{n_channels}."
        )
    return (batch[:, 0] if n_channels == 1 else batch.permute(0, 2, 3, 1)).numpy()


def drawn(images: Any) -> np.ndarray:
    """Return what `as_drawn` has returned as it is, and other images likewise."""
    shape: tuple[int, ...] = getattr(images, "shape", ())
    last = len(shape) == 4 and shape[3] in CHANNELS
    return as_drawn(unit_images(images, channels="last" if last else "auto"))


def cell_size(images: np.ndarray, width: float) -> tuple[float, float]:
    """Return width and height that suit images."""
    return width, width * min(max(images.shape[1] / images.shape[2], 0.3), 3.0)


def limits_of(images: np.ndarray) -> dict[str, float]:
    """Return the values that are drawn black and white, as imshow's keywords.

    Those of grey images are the least and the greatest. Images in colour are drawn as
    they are where they are in [0, 1], but for what a filter has let overshoot.
    """
    low, high = float(images.min()), float(images.max())
    if images.ndim == 4:
        if low >= -_OVERSHOT and high <= 1 + _OVERSHOT:
            low, high = 0.0, 1.0
        elif low >= 0:
            whole = high <= 255 and (images == images.round()).all()
            low, high = 0.0, 255.0 if whole else high
    return {"vmin": low, "vmax": high}


def draw(ax: Any, image: np.ndarray, limits: dict[str, float]) -> Any:
    """Draw an image without a frame and return what imshow returns."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if image.ndim == 3:
        # What imshow does itself for grey images alone.
        low, high = limits["vmin"], limits["vmax"]
        image = np.clip((image - low) / (high - low), 0, 1)
    return ax.imshow(image, cmap="gray", **limits)
