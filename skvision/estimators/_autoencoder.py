"""Codes of images, learnt by reconstructing them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_array
from skorch import NeuralNet
from skorch.utils import to_tensor

from skvision._compat import StrOptions, fit_context
from skvision._random import isolated_random_state
from skvision.estimators._builder import check_autoencoder
from skvision.estimators._net import FeatureNames, ImageNet
from skvision.estimators._parameters import RoutingMixin, completed
from skvision.preprocessing._augment import apply_transforms, check_transforms
from skvision.training._losses import (
    identity,
    regression_response,
)
from skvision.training._turns import looking


@completed
class ImageAutoencoder(
    FeatureNames,
    TransformerMixin,
    ImageNet,
    NeuralNet,
    RoutingMixin,
):
    """Learn short codes of images by reconstructing them.

    A transformer on skorch's `NeuralNet` that keeps scikit-learn's contract, see
    `ImageClassifier`.

    Parameters
    ----------
    module : str, class, callable or torch.nn.Module, default="auto"
        The network: a subclass of `torch.nn.Module` or a function that returns one, a
        name ("conv_autoencoder", "dense_autoencoder"), or an instance, which is copied
        at each fit, its weights being the initial ones.
        It has submodules ``encoder`` and ``decoder``. "auto" takes
        `~skvision.networks.ConvAutoencoder` for images and
        `~skvision.networks.DenseAutoencoder` for flat rows. If the signature names
        ``image_shape`` (channels, height, width), it is given as inferred from the
        data; flat rows count as images of shape (1, 1, n_features).
        Further arguments are set by ``module__name``.
    criterion : str, class or torch.nn.Module, default="mse"
        The loss of a pixel: "mse", "l1", "smooth_l1", or a torch class.
    reduction : {"mean", "sum"}, default="mean"
        Whether the loss is the mean over pixels, or their sum for an image.
    normalize : "range", "channel", None or (mean, std), default="range"
        "range" brings floats beyond [0, 1], such as those from 0 to 255, there by the
        training rows' least and greatest value, since a sigmoid reaches no others, and
        brings back what comes out. None leaves them; else as in `ImageClassifier`.
    noise : transform or list of transforms, default=None
        Applied to what the network gets in training, but not to what it is compared
        with, so that it learns to remove it.
    epoch_scoring : callable, list or dict of them, default=()
        Called as ``scorer(estimator, X, None)`` after each epoch; the values are
        recorded in `history` as ``train_name`` and, where there are validation rows,
        ``valid_name``. None in a list or dict means `score`. X holds the images
        without noise and augmentation, in their order.
    pretrained : estimator, module, dict, str or os.PathLike, default=None
        Initial weights: of a fitted estimator, a network, a ``state_dict``, or a file
        of one (as `torch.save` writes it, or safetensors). They fit the whole network
        or its encoder; else an error lists the names that do not. Clones share it.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        The parts of `module_`.

    See Also
    --------
    ImageClassifier : Takes a fitted autoencoder's encoder by ``pretrained``.
    sklearn.decomposition.PCA : The best linear codes.

    References
    ----------
    .. [1] G. Hinton, R. Salakhutdinov, "Reducing the dimensionality of data with
       neural networks", Science 313 (2006).
    .. [2] P. Vincent et al., "Extracting and composing robust features with denoising
       autoencoders", ICML 2008.

    Examples
    --------
    >>> from skvision import ImageAutoencoder
    >>> from skvision.datasets import load_digits_images
    >>> X, _ = load_digits_images(return_X_y=True)
    >>> net = ImageAutoencoder("dense_autoencoder", module__hidden=(64, 16))
    >>> net.set_params(random_state=0).fit(X).transform(X).shape
    (1797, 16)
    >>> net.reconstruct(X[:3]).shape
    (3, 8, 8)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageNet._parameter_constraints,
        "normalize": [StrOptions({"range", "channel"}), tuple, list, None],
        "noise": [callable, list, tuple, None],
        "reduction": [StrOptions({"mean", "sum"})],
    }

    # Scorers compare images with what comes back of them; the outputs of an epoch's
    # batches are those of shuffled images with noise.
    use_caching = False

    def __init__(
        self,
        module: Any = "auto",
        *,
        criterion: Any = "mse",
        reduction: str = "mean",
        normalize: Any = "range",
        noise: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=criterion, normalize=normalize, **kwargs)
        self.reduction = reduction
        self.noise = noise

    # ------------------------------------------------------------------ codes

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Build the network for these images and train it to reconstruct them.

        Parameters
        ----------
        X : images
            As in `ImageClassifier.fit`.
        y : ignored
            For scikit-learn's pipelines.
        sample_weight : array-like of shape (n,), default=None
            Not negative; a row of weight 0 takes no part.
        groups : array-like of shape (n,), default=None
            What each row belongs to, such as a patient: `early_stopping` holds out
            whole groups, `validation_fraction` of them, and `train_split` gets them.
        X_val : images, default=None
            Images to validate on, in the place of those that `early_stopping` would cut
            off X, or beside all of X without it. Nothing is learnt of them.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights in validation losses.

        Returns
        -------
        self : ImageAutoencoder
            The fitted estimator.
        """
        return self._fit(
            X,
            None,
            sample_weight,
            partial=False,
            groups=groups,
            X_val=X_val,
            sample_weight_val=sample_weight_val,
        )

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train ``max_epochs`` more, from where the network stands.

        Parameters
        ----------
        X : images
            As in ``fit``.
        y : ignored
            For scikit-learn's pipelines.
        sample_weight : array-like of shape (n,), default=None
            Not negative.
        groups, X_val, sample_weight_val : optional
            As in ``fit``, for this call alone.

        Returns
        -------
        self : ImageAutoencoder
            The fitted estimator.
        """
        return self._fit(
            X,
            None,
            sample_weight,
            partial=True,
            groups=groups,
            X_val=X_val,
            sample_weight_val=sample_weight_val,
        )

    @looking
    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of images.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        codes : ndarray of shape (n, n_codes)
            What the encoder makes of each image.
        """

        def encode(batch):
            return self.module_.encoder(self._to_input(batch))

        return self._batches(X, encode).flatten(1).numpy()

    @looking
    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the images of codes.

        Parameters
        ----------
        X : array-like of shape (n, n_codes)
            Codes.

        Returns
        -------
        images : ndarray
            In layout, range and type of the images in ``fit``.
        """
        self.check_is_fitted()
        codes = check_array(X, dtype=[np.float64, np.float32], input_name="codes")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"The codes have {codes.shape[1]} columns; expected "
                f"{self._n_features_out}."
            )
        self._enter_mode(training=False)
        parts = []
        with torch.no_grad():
            for start in range(0, len(codes), 1024):
                part = torch.as_tensor(codes[start : start + 1024], dtype=self._dtype)
                images = self.decoder_(part.to(self.device_))
                parts.append(self.scaler_.undo(images).cpu())
        return self._as_given(torch.cat(parts), self._layout, self._pixel_dtype)

    @looking
    def reconstruct(self, X: Any) -> np.ndarray:
        """Return images as they come back from their codes.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        images : ndarray
            In the layout and range of X, and integers of its type if it holds such.
        """
        self.check_is_fitted()
        opened = self._opened(X)
        images = self._batches(opened, self.infer).to(self.device_)
        schema = opened.schema
        return self._as_given(
            self.scaler_.undo(images).cpu(), schema.layout, schema.dtype
        )

    @looking
    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean squared error of the reconstructions.

        Parameters
        ----------
        X : images
            As in ``fit``.
        y : ignored
            For scikit-learn's pipelines.

        Returns
        -------
        score : float
            Of pixels in [0, 1] where X holds integers, else in the units of X.
        """
        return -float(self._errors(X).double().mean())

    @looking
    def score_samples(self, X: Any) -> np.ndarray:
        """Return minus the mean squared error of each reconstruction.

        The less an image is like those of ``fit``, the lower its score tends to be,
        so that those below a threshold are anomalies. The mean over all images is
        `score`.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        scores : ndarray of shape (n,)
            ``-((reconstructed - pixels) ** 2).mean()`` of each image, over all its
            pixels and channels, float32 or as `dtype` says. Pixels are in [0, 1] where
            X holds integers, else in the units of X. What comes back is not rounded to
            integers, as `reconstruct` does.

        Examples
        --------
        >>> import numpy as np
        >>> from skvision import ImageAutoencoder
        >>> from skvision.datasets import load_digits_images
        >>> X, _ = load_digits_images(return_X_y=True)
        >>> net = ImageAutoencoder("dense_autoencoder", lr=0.003, random_state=0)
        >>> scores = net.fit(X).score_samples(X)
        >>> threshold = np.quantile(scores, 0.01)
        >>> strange = X[:3].copy()
        >>> strange[:, ::2] = 255  # Every second row of each image is white.
        >>> net.score_samples(strange) < threshold
        array([ True,  True,  True])
        """
        return -self._errors(X).numpy()

    @property
    def encoder_(self) -> Any:
        """The part of ``module_`` that makes codes of images."""
        self.check_is_fitted()
        return self.module_.encoder

    @property
    def decoder_(self) -> Any:
        """The part of ``module_`` that makes images of codes."""
        self.check_is_fitted()
        return self.module_.decoder

    @property
    def predict(self):
        raise AttributeError("ImageAutoencoder has no predict; see reconstruct.")

    @property
    def predict_proba(self):
        raise AttributeError("ImageAutoencoder has no predict_proba.")

    # ------------------------------------------------------------------ hooks

    def _errors(self, X):
        """Return the mean squared error of each image, a tensor."""

        def errors(batch):
            batch = to_tensor(batch, device=self.device_)
            images = self.scaler_.undo(self.infer(batch))
            return (images - self.scaler_.to_unit(batch)).square().flatten(1).mean(1)

        return self._batches(X, errors)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = [self.dtype]
        return tags

    def _auto_module(self):
        return "dense_autoencoder" if self._flat else "conv_autoencoder"

    def _labels_of(self, source, y):
        return None

    def _by_name(self, X, y):
        return X, y

    def _try(self, network, shape):
        """Check that the network returns images of the shape that it gets."""
        check_autoencoder(network)
        super()._try(network, shape)
        images = torch.zeros((1, *shape), dtype=self._dtype)
        with torch.no_grad():
            output = network.eval()(images)
            self._n_features_out = network.encoder(images).flatten(1).shape[1]
        if output.shape != images.shape:
            raise ValueError(
                f"The network {type(network).__name__} returned images of shape "
                f"{tuple(output.shape[1:])} for images of shape {tuple(shape)}."
            )

    def _drawn(self, X, y, training):
        clean = noisy = self._to_transform(X)
        if training:
            clean = apply_transforms(clean, check_transforms(self.augment))
            noisy = apply_transforms(clean, check_transforms(self.noise, "noise"))
        by_range = self.normalize == "range"
        return [self.scaler_.undo(x) if by_range else x for x in (noisy, clean)]

    def _target(self, target):
        return self.scaler_(target)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        _check_reconstruction(self, y_pred, y_true)
        loss = self.criterion_(y_pred, y_true)
        # The sum over pixels of an image, as a mean over images, where asked for.
        return loss * y_true[0].numel() if self.reduction == "sum" else loss

    def _constant_loss(self, data):
        return _mean_image_loss(self, data)

    def _as_given(self, images, layout, dtype):
        """Return images in the layout and data type that the user's have."""
        if dtype.kind in "iu":
            native = torch.from_numpy(np.empty(0, dtype.newbyteorder("="))).dtype
            images = self.scaler_.from_unit(images, native)
        if layout == "flat":
            images = images.flatten(1)
        elif layout == "grey" and images.shape[1] == 1:
            images = images[:, 0]
        elif layout != "first":
            images = images.permute(0, 2, 3, 1)
        return images.contiguous().numpy()


# How many images, images to decode, and values tell what the mean image would lose.
_N_COMPARED, _N_DECODED, _VALUES_COMPARED = 1000, 100, 2**24


def _mean_image_loss(net: Any, data: Any) -> float:
    """Return what an autoencoder would lose with the mean image for all images."""
    n = _N_COMPARED if data.images.reading == "memory" else _N_DECODED
    n = min(len(data), n, max(2, _VALUES_COMPARED // net.n_features_in_))
    rows = np.linspace(0, len(data) - 1, n).astype(int)
    with isolated_random_state(net.device_), torch.no_grad():
        X, _, *weight = (part.to(net.device_) for part in data[rows])
        X = X if data.images.steps is None else data.images.steps(X)
        images = net.scaler_(X)
        shares = weight[0].cpu() if weight else None
        mean = torch.from_numpy(np.average(images.cpu(), 0, shares)).to(images)
        return float(net._loss(mean.expand_as(images), images, X, weight, True))


def _check_reconstruction(net: Any, y_pred: torch.Tensor, y_true: torch.Tensor) -> None:
    """Check that a loss compares images with images.

    Raises
    ------
    ValueError
        If shapes differ, or the loss takes outputs for something else than pixels.
    """
    name = type(net).__name__
    if y_pred.shape != y_true.shape:
        raise ValueError(
            f"{name} compares images with images; got outputs of shape "
            f"{tuple(y_pred.shape)} and targets of shape {tuple(y_true.shape)}. Its "
            "score compares images with themselves."
        )
    if regression_response(net.criterion_) is not identity:
        raise ValueError(
            f"{type(net.criterion_).__name__} takes outputs for logits, logarithms or "
            f"distances, while {name} takes them for pixels. Under criterion='mse', "
            "'l1' or torch.nn.BCELoss, whose network ends in a sigmoid, they are."
        )
