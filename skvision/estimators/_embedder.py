"""Features of images by a network that is not trained."""

from __future__ import annotations

import os
import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from skvision._compat import Interval, StrOptions, fit_context
from skvision._warnings import warn
from skvision.estimators._builder import twin_of
from skvision.estimators._regressor import ImageRegressor
from skvision.exceptions import FormatError
from skvision.images._sources import source_of
from skvision.networks._layers import unknown_network
from skvision.networks._timm import PREFIX, check_timm_name
from skvision.networks._torchvision import torchvision_names


class ImageEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Make features of images by a pretrained network, without training it.

    A transformer for pipelines: any estimator of scikit-learn can learn from the
    features. What ``fit`` learns of images is their shape and type.

    Parameters
    ----------
    module : str, default="resnet18"
        The name of one of torchvision's classification networks or, after "timm/", of
        timm's, such as "timm/convnext_tiny".
    weights : bool, str or os.PathLike, default=True
        The weights, such as "IMAGENET1K_V1" or a tag of timm's; True takes the best of
        torchvision's, timm's first. They are downloaded unless they are on disk, and
        bring the size and the normalisation of images. A path to a file of weights
        (.pt, .pth, .bin or .safetensors) takes the place of those of True. False draws
        random weights, with a warning.
    layer : str, default=None
        Name of the layer whose output is taken. None takes what the network's head
        gets, as ``ImageClassifier.transform`` does.
    pooling : {"mean", "max"} or None, default="mean"
        What is taken of each map, where the layer gives maps of shape (n, channels,
        height, width). None takes all values. What the head gets is most often one row
        for each image already, of which pooling changes nothing.
    image_size, resize, color_mode, channels, image_shape, image_cache : optional
        As in `ImageClassifier`.
    batch_size : int, default=None
        Images that go through the network at once. None takes 64 to 1024, by the size
        of the network's layers.
    device : str or torch.device, default="auto"
        "auto" takes the GPU if torch finds one, else the CPU.
    dtype : {"float32", "float64"}, default="float32"
        Of network and features.
    random_state : int, RandomState instance or None, default=None
        Draws weights where ``weights=False``.

    Attributes
    ----------
    net_ : ImageRegressor
        The untrained estimator whose network, ``net_.module_``, makes the features.

    See Also
    --------
    ImageClassifier : Trains networks, and gives the features that they have learnt.

    Notes
    -----
    Pickle it to keep it, by itself or in a pipeline. With ``Pipeline(..., memory=...)``
    a search makes the features of the same images once.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skvision import ImageEmbedder
    >>> embedder = ImageEmbedder("resnet18", weights="IMAGENET1K_V1")
    >>> model = make_pipeline(embedder, LogisticRegression())
    """

    _parameter_constraints: dict[str, Any] = {
        "module": [str],
        "weights": ["boolean", str, os.PathLike],
        "layer": [str, None],
        "pooling": [StrOptions({"mean", "max"}), None],
        **{
            name: ImageRegressor._parameter_constraints[name]
            for name in (
                "image_size",
                "resize",
                "color_mode",
                "channels",
                "image_cache",
            )
        },
        "image_shape": [tuple, list, None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, torch.device, None],
        "dtype": [StrOptions({"float32", "float64"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        module: str = "resnet18",
        *,
        weights: bool | str | os.PathLike[str] = True,
        layer: str | None = None,
        pooling: str | None = "mean",
        image_size: int | tuple[int, int] | None = None,
        resize: str = "squash",
        color_mode: str = "auto",
        channels: str = "auto",
        image_shape: tuple[int, int, int] | None = None,
        image_cache: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        device: str | torch.device | None = "auto",
        dtype: str = "float32",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.module = module
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.resize = resize
        self.color_mode = color_mode
        self.channels = channels
        self.image_shape = image_shape
        self.image_cache = image_cache
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Build the network for these images.

        Parameters
        ----------
        X : images
            As in ``ImageClassifier.fit``.
        y : ignored
            For scikit-learn's pipelines.

        Returns
        -------
        self : ImageEmbedder
            The fitted transformer.

        Raises
        ------
        OSError
            If the weights are not on disk and cannot be downloaded; the message says
            where to put the file, or that its path may be `weights`.
        ValueError
            If X or a parameter is not valid, or if there is no such layer.
        """
        if self.module.startswith(PREFIX):
            check_timm_name(self.module)
        elif self.module not in (names := torchvision_names()):
            raise unknown_network(self.module, names)
        source = source_of(_column(X))
        # What has no length is no images, of which the network's fit tells.
        n = len(source.X) if hasattr(source.X, "__len__") else 1
        net = self._built(source, n)
        last = getattr(net.module_, "output_fmt", "") == "NHWC"  # As timm says it.
        if (last or self.module.startswith("swin")) and self.layer and self.pooling:
            raise ValueError(
                f"pooling={self.pooling!r} is for maps of shape (n, channels, height, "
                f"width), but layers of {self.module} have their channels last. Set "
                "pooling=None, or layer=None."
            )
        n_features = self._reading(net)._n_features_out  # Checks the layer, too.
        if self.weights is False:
            warn(
                f"weights=False leaves {self.module} with random weights, so that its "
                "features know nothing of images. Set weights=True, or the name of "
                "weights."
            )
        self.net_, self._n_features_out = net, n_features
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        features : ndarray of shape (n, n_features)
            One row for each image, float32 or as `dtype` says; a frame after
            ``set_output``.
        """
        check_is_fitted(self)
        return self._reading(self.net_)._features(_column(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = [self.dtype]
        return tags

    def _network(self) -> ImageRegressor:
        """Return what makes the features, before it has seen images."""
        options: dict[str, Any] = {}
        if _is_file(self.weights):
            options |= {"module__weights": True, "pretrained": self.weights}
        elif self.weights is not False:
            options["module__weights"] = self.weights
        else:
            options["normalize"] = None
        if self.batch_size is not None:
            options["iterator_valid__batch_size"] = self.batch_size
        names = ("image_size", "resize", "color_mode", "channels", "image_shape")
        for name in (*names, "image_cache", "device", "dtype", "random_state"):
            options[name] = getattr(self, name)
        return ImageRegressor(
            self.module,
            max_epochs=0,
            normalize_target=False,
            callbacks="disable",
            **options,
        )

    def _built(self, source: Any, n: int) -> ImageRegressor:
        """Return what makes the features, with its weights."""
        try:
            with warnings.catch_warnings():
                # The head of a file's weights is not needed.
                warnings.filterwarnings("ignore", "pretrained=")
                return self._network().fit(source, np.zeros(n))
        except (FormatError, FileNotFoundError) as error:
            message = str(error)
            if not message.startswith("pretrained="):
                raise
            raise type(error)(message.replace("pretrained", "weights", 1)) from None

    def _reading(self, net: ImageRegressor) -> Any:
        """Return an estimator that gives the features of the layer."""
        return twin_of(net, _layer=self.layer, _pooling=self.pooling)


def _is_file(weights: Any) -> bool:
    suffixes = (".pt", ".pth", ".bin", ".safetensors")
    return isinstance(weights, os.PathLike) or (
        isinstance(weights, str) and weights.endswith(suffixes)
    )


def _column(X: Any) -> Any:
    """Return the only column of a frame of paths, as a ColumnTransformer hands it."""
    if hasattr(X, "columns") and len(X.columns) == 1:
        column = np.asarray(X)[:, 0]
        return column.tolist() if column.dtype.kind in "OUT" else X
    return X
