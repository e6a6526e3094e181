"""Images beside what an autoencoder makes of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from skvision._compat import Interval, num_samples, validated
from skvision._random import draw_seed, isolated_random_state
from skvision.images._readers import ArrayReader
from skvision.images._sequence import ImageSequence
from skvision.inspection._images import (
    as_drawn,
    cell_size,
    choose_rows,
    draw,
    drawn,
    limits_of,
    take_rows,
    unit_images,
)
from skvision.inspection._plotting import check_named, grid_axes
from skvision.inspection._source import net_of
from skvision.preprocessing._augment import apply_transforms, check_transforms

_CONSTRAINTS: dict[str, Any] = {
    "n_images": [Interval(Integral, 1, None, closed="left")],
    "noise": [callable, list, tuple, None],
    "random_state": ["random_state"],
    "image_shape": [tuple, list, None],
}


class ReconstructionDisplay:
    """Images and their reconstructions, in rows.

    Made by `from_estimator` or `from_estimators`. All parameters are stored as
    attributes.

    Parameters
    ----------
    rows : dict of {str: images}
        Rows of as many images each, the originals first, with what is written beside
        them.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What the images are drawn in; itself it shows no more than a title.
    axes_ : ndarray of shape (n_rows, n_images)
        The axes of each image.
    figure_ : matplotlib Figure
        The figure that has them.

    See Also
    --------
    skvision.ImageAutoencoder : Reconstructs images.

    Notes
    -----
    All rows are drawn in the range of the originals, so that they compare. That of
    images in colour is [0, 1] where they are within it.

    Examples
    --------
    >>> from skvision import ImageAutoencoder
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.inspection import ReconstructionDisplay
    >>> X, _ = load_digits_images(return_X_y=True)
    >>> net = ImageAutoencoder("dense_autoencoder", max_epochs=2, random_state=0)
    >>> display = ReconstructionDisplay.from_estimator(net.fit(X), X, n_images=8)
    >>> display.axes_.shape
    (2, 8)
    """

    def __init__(self, rows: Mapping[str, Any]) -> None:
        self.rows = rows

    @classmethod
    def from_estimator(
        cls,
        autoencoder: Any,
        X: Any,
        *,
        n_images: int = 10,
        noise: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        random_state: int | np.random.RandomState | None = None,
        image_shape: tuple[int, int, int] | None = None,
        ax: Any = None,
    ) -> ReconstructionDisplay:
        """Draw images and what an autoencoder makes of them.

        Parameters
        ----------
        autoencoder : ImageAutoencoder
            Fitted; also a pipeline that ends in one, or a search over either.
        X : images as in ``fit``
            After a pipeline's earlier steps they are drawn as these leave them.
        n_images : int, default=10
            Number of images, if X has as many.
        noise : transform or list of transforms, default=None
            Makes noisy images, which are drawn as well, and reconstructed in place of
            the originals.
        random_state : int, RandomState instance or None, default=None
            Chooses images, and determines the noise. None takes the first images, and
            makes other noise each time.
        image_shape : tuple of int, default=None
            (channels, height, width) of flat rows; None takes that which the
            autoencoder was fitted with.
        ax : matplotlib Axes, default=None
            Whose place to draw in; None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `autoencoder` is not fitted.
        TypeError
            If `autoencoder` is none.
        ValueError
            If X is not what it was fitted with, or has flat rows of unknown shape.
        """
        return cls.from_estimators(
            {"reconstructed": autoencoder},
            X,
            n_images=n_images,
            noise=noise,
            random_state=random_state,
            image_shape=image_shape,
            ax=ax,
        )

    @classmethod
    @validated(**_CONSTRAINTS)
    def from_estimators(
        cls,
        autoencoders: Mapping[str, Any],
        X: Any,
        *,
        n_images: int = 10,
        noise: Callable[..., Any] | list[Callable[..., Any]] | None = None,
        random_state: int | np.random.RandomState | None = None,
        image_shape: tuple[int, int, int] | None = None,
        ax: Any = None,
    ) -> ReconstructionDisplay:
        """Draw images and what several autoencoders make of them.

        Parameters
        ----------
        autoencoders : dict of {str: ImageAutoencoder}
            With what is written beside their rows.
        X, n_images, noise, random_state, image_shape, ax : optional
            As in `from_estimator`.

        Returns
        -------
        display : ReconstructionDisplay

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If an autoencoder is not fitted.
        TypeError
            If what should be an autoencoder is none.
        ValueError
            If X is not what they were fitted with, or has flat rows of unknown shape.
        """
        check_named(cls, autoencoders, "autoencoder")
        noise = check_transforms(noise, "noise")
        nets = [_autoencoder(found) for found in autoencoders.values()]
        chosen = choose_rows(num_samples(X), n_images, random_state)
        chosen = take_rows(X, chosen, nets[0])
        seed = draw_seed(random_state)
        rows: dict[str, Any] = {}
        for name, autoencoder in autoencoders.items():
            net, seen = _at_net(autoencoder, chosen)
            net.transform(seen)  # Warns of values that are not as those of the fit.
            images = unit_images(seen, net, image_shape)
            rows.setdefault("original", as_drawn(images))
            if noise:
                with isolated_random_state(torch.device("cpu"), seed):
                    images = _noisy(net, images, noise)
                rows.setdefault("noisy", as_drawn(images))
            if name in rows:
                raise ValueError(f"The name {name!r} is that of another row.")
            rows[name] = _reconstructed(net, images)
        return cls(rows).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> ReconstructionDisplay:
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Whose place to draw in; None makes a figure.

        Returns
        -------
        self : ReconstructionDisplay
            Drawn.

        Raises
        ------
        ValueError
            If the rows differ in their number of images.
        """
        check_named(self, self.rows, "images")
        rows = {name: drawn(images) for name, images in self.rows.items()}
        lengths = {name: len(images) for name, images in rows.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"The rows differ in their numbers of images: {lengths}.")
        first = next(iter(rows.values()))
        self.ax_, self.axes_ = grid_axes(
            ax,
            self,
            len(rows),
            len(first),
            cell=cell_size(first, 0.9),
            margin=(0.15 + 0.08 * max(map(len, rows)), 0.1),
        )
        self.figure_ = self.ax_.figure
        limits = limits_of(first)
        for axes, (name, images) in zip(self.axes_, rows.items(), strict=True):
            axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
            for image_ax, image in zip(axes, images, strict=True):
                draw(image_ax, image, limits)
                # So that the names' place does not depend on the images' size.
                image_ax.set_anchor("W")
        return self


def _autoencoder(found: Any) -> Any:
    expected = "a fitted autoencoder, which has a method reconstruct"
    net = net_of(found, expected)
    if not hasattr(net, "reconstruct"):
        raise TypeError(f"Expected {expected}; got {type(net).__name__}.")
    return net


def _at_net(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the network's estimator and what arrives there of X."""
    if isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        return _at_net(estimator.steps[-1][1], X)
    if hasattr(estimator, "best_estimator_"):
        return _at_net(estimator.best_estimator_, X)
    return estimator, X


def _noisy(net: Any, images: torch.Tensor, noise: Any) -> torch.Tensor:
    """Return images with noise as an autoencoder gets it in training."""
    if getattr(net, "normalize", None) != "range":
        return apply_transforms(images, noise)
    # Transforms are for values in [0, 1].
    scaler = copy.deepcopy(net.scaler_).cpu()
    return scaler.undo(apply_transforms(scaler.normalised(images), noise))


def _reconstructed(net: Any, images: torch.Tensor) -> np.ndarray:
    given: Any = ImageSequence(ArrayReader(images.numpy(), "first"))
    if tuple(images.shape[1:]) != tuple(net.image_shape_):
        given = images.flatten(1).numpy()  # They are images for the display alone.
    with warnings.catch_warnings():
        # They had their names and types when they were given.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        warnings.filterwarnings("ignore", "X holds .* values")
        result = net.reconstruct(given)
    return as_drawn(torch.from_numpy(result).reshape(images.shape))
