"""Regression on images."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from skorch import NeuralNetRegressor
from skorch.utils import to_tensor
from torch import nn

from skvision._compat import StrOptions, fit_context
from skvision.estimators._net import FeaturesMixin, ImageNet
from skvision.estimators._parameters import RoutingMixin, completed
from skvision.images._names import warn_if_codes
from skvision.training._losses import (
    NONLINEARITIES,
    OF_DIFFERENCES,
    OF_THEIR_OWN_SCALE,
    regression_response,
)
from skvision.training._targets import (
    NumberCodec,
    TargetScaler,
    check_domain,
    learn_target_scale,
)
from skvision.training._turns import looking


@completed
class ImageRegressor(FeaturesMixin, ImageNet, NeuralNetRegressor, RoutingMixin):
    """Predict continuous targets from images by a neural network.

    A `skorch.NeuralNetRegressor` that keeps scikit-learn's contract, see
    `ImageClassifier`.

    Parameters
    ----------
    criterion : str, class or torch.nn.Module, default="mse"
        The loss: "mse", "l1", "smooth_l1", "cross_entropy", or a torch class. For
        `torch.nn.GaussianNLLLoss` the network returns a tuple of means and variances.
    predict_nonlinearity : callable, str or None, default="auto"
        Turns outputs, on the scale of y where that is normalised, into predictions:
        "exp", "sigmoid", "softmax", or a function of tensors. "auto" infers it from the
        criterion, so that predictions are on the scale of y: of rates for
        `torch.nn.PoissonNLLLoss`, whose networks return their logarithms. None leaves
        outputs as they are.
    normalize_target : "auto" or bool, default="auto"
        Whether the loss compares targets and predictions after the mean of the
        training targets is subtracted, and divided by their standard deviation, each
        column for itself. "auto" does so for squared, absolute, smooth-l1 and Huber
        losses, and not for other ones. Predictions are on the scale of y either way.

    Attributes
    ----------
    n_outputs_ : int
        Number of outputs of the network.
    scaler_ : torch.nn.Module
        Brings pixels into the range and size that `module_` was trained on. Its
        ``target.mean`` and ``target.std`` are those of `normalize_target`.
    history : skorch.history.History
        Losses, scores and durations of each epoch and batch. Losses are those of
        normalised targets, where they are: of squared errors, in units of the variance
        of y. Scores of `epoch_scoring` compare with y as it was given.

    See Also
    --------
    ImageClassifier : The same for labels; its notes hold here as well.

    Notes
    -----
    Targets of shape (n,) and (n, 1) have the same loss. What is learnt of them for
    `normalize_target` comes from the training rows of the first ``fit`` or
    ``partial_fit``, with their weights, and stays as it is while training goes on; a
    whole pretrained network brings its own, unless y is far from it. Arguments of the
    loss that are distances, such as ``criterion__delta`` of `torch.nn.HuberLoss`, are
    in standard deviations then. ``forward`` and callbacks get outputs on the scale of
    y.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision import ImageRegressor
    >>> from skvision.datasets import load_digits_images
    >>> X, _ = load_digits_images(return_X_y=True)
    >>> brightness = X.mean(axis=(1, 2)) / 255
    >>> net = ImageRegressor("mlp", max_epochs=20, random_state=0)
    >>> bool(net.fit(X, brightness).score(X, brightness) > 0.5)
    True
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageNet._parameter_constraints,
        "normalize_target": [StrOptions({"auto"}), "boolean"],
        "predict_nonlinearity": [
            StrOptions({"auto", *NONLINEARITIES}),
            callable,
            None,
        ],
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        criterion: Any = "mse",
        predict_nonlinearity: Any = "auto",
        normalize_target: Any = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=criterion, **kwargs)
        self.predict_nonlinearity = predict_nonlinearity
        self.normalize_target = normalize_target

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Build the network for these images and train it.

        Parameters
        ----------
        X : images
            An array or tensor of shape (n, H, W), (n, H, W, C), (n, C, H, W) or
            (n, n_features), a pandas frame of such rows, a data set, an
            `~skvision.datasets.ImageSequence` or ``SliceDataset``, or a list of
            images, of (image, label) pairs or of paths of image files. Integers
            are scaled to [0, 1], if they are from 0 to 255 or 65535 in the first
            call; floats are taken as they are, see `pixel_divisor_`. Photos keep their
            full bit depth, and are turned as their EXIF data say.
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative; a row of weight 0 takes no part.
        groups : array-like of shape (n,), default=None
            What each row belongs to, such as a patient: `early_stopping` holds out
            whole groups, `validation_fraction` of them, and `train_split` gets them.
        X_val : images, default=None
            Rows to validate on, in the place of those that `early_stopping` would cut
            off X, or beside all of X without it. They are encoded, resized and
            normalised as X is, and nothing is learnt of them.
        y_val : array-like of shape (n_val,) or (n_val, k), default=None
            Their targets; None takes those that `X_val` carries.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights in validation losses.

        Returns
        -------
        self : ImageRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid; what was fitted before is kept.
        DivergedError
            If training diverges.
        """
        return self._fit(
            X,
            y,
            sample_weight,
            partial=False,
            groups=groups,
            X_val=X_val,
            y_val=y_val,
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
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train ``max_epochs`` more, from where the network stands.

        Parameters
        ----------
        X : images
            As in ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative.
        groups, X_val, y_val, sample_weight_val : optional
            As in ``fit``, for this call alone.

        Returns
        -------
        self : ImageRegressor
            The fitted estimator.
        """
        return self._fit(
            X,
            y,
            sample_weight,
            partial=True,
            groups=groups,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
        )

    @looking
    def predict(self, X: Any) -> np.ndarray:
        """Return the targets that the network predicts.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        y : ndarray of shape (n,) or (n, k)
            In the shape that y had in ``fit``; float32 if y was, else float64. Without
            a fit, with weights of a file alone, (n,) where the network has one output.
        """
        outputs = self._raw_predict(X)
        targets = self._targets or NumberCodec.assumed(outputs[0].size)
        return targets.decode(outputs)

    @property
    def predict_proba(self):
        # skorch gives its regressors one, which makes scikit-learn take them for
        # classifiers here and there.
        raise AttributeError("ImageRegressor has no predict_proba.")

    def __setstate__(self, state):
        scaler = state.get("scaler_")
        if "n_outputs_" in state and not hasattr(scaler, "target"):
            # Written by a release that took targets as they are.
            n = state["n_outputs_"]
            scaler.target = TargetScaler([0.0] * n, [1.0] * n)
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # ------------------------------------------------------------------ hooks

    _codec = NumberCodec

    def _labels_of(self, source, y):
        if y is None:
            warn_if_codes(source, self)
        return super()._labels_of(source, y)

    def _take_over(self, *, own=False):
        super()._take_over(own=own)
        self.scaler_.target = TargetScaler()

    def _renew_parts(self, changed):
        super()._renew_parts(changed)
        if self.scaler_.target.changes and not _normalizes_target(self):
            raise ValueError(
                f"criterion={self.criterion!r} wants y on its own scale, and cannot "
                "take effect on a training that goes on: the network has learnt "
                "normalised targets. Build a new one: call fit with warm_start=False."
            )

    def _fit_scaling(self, train, valid, *, anew):
        """Learn the scaling of pixels and of targets; return whether all were read."""
        all_read = super()._fit_scaling(train, valid, anew=anew)
        _check_target_scaling(self)
        whole = self._pretrained_names >= self.module_.state_dict().keys()
        pretrained = getattr(self.pretrained, "scaler_", None) if whole else None
        learn_target_scale(
            self.scaler_.target,
            train,
            normalizes=_normalizes_target(self),
            trained=getattr(pretrained, "target", None),
            device=self.device_,
        )
        for part in (train, valid):
            if part is not None:
                check_domain(self.criterion_, part.y)
                if not self._compared(part.y).isfinite().all():
                    raise ValueError(
                        f"y contains a value too large for {self.dtype}: "
                        f"{part.y.abs().max():.4g}. Scale y, or set dtype='float64'."
                    )
        return all_read

    def _compared(self, y):
        """Return targets, or outputs on their scale, as the loss compares them."""
        return self.scaler_.target(y.to(self.device_)).to(self._dtype)

    def _finished(self, outputs):
        if isinstance(outputs, tuple):
            return self.scaler_.target.undo(outputs[0]), *outputs[1:]
        return self.scaler_.target.undo(outputs)

    def _response(self):
        return regression_response(self.criterion_)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        first, *others = y_pred if isinstance(y_pred, tuple) else (y_pred,)
        y_true = to_tensor(y_true, device=self.device_)
        pair = self._compared(first.reshape(y_true.shape)), self._compared(y_true)
        if not isinstance(self.criterion_, nn.GaussianNLLLoss):
            return self.criterion_(*pair)
        if not others:
            raise ValueError(
                "GaussianNLLLoss needs a network that returns a tuple of two tensors, "
                "means and variances."
            )
        return self.criterion_(*pair, others[0].reshape(y_true.shape))


def _normalizes_target(net: Any) -> bool:
    """Whether the loss of a regressor is to compare normalised targets."""
    if net.normalize_target == "auto":
        return type(net.criterion_) in OF_DIFFERENCES
    return bool(net.normalize_target)


def _check_target_scaling(net: Any) -> None:
    """Check what a regressor's criterion and the scale of its targets say together.

    Raises
    ------
    ValueError
        If the criterion needs targets as they are, but they are normalised, or if it
        cannot tell what a prediction is.
    """
    criterion = net.criterion_
    title = type(criterion).__name__
    if isinstance(criterion, OF_THEIR_OWN_SCALE) and _normalizes_target(net):
        raise ValueError(
            f"normalize_target=True, but {title} needs targets as they are. Set "
            "normalize_target='auto' or False."
        )
    if regression_response(criterion) is None and net.predict_nonlinearity == "auto":
        raise ValueError(
            f"{title} compares distances, so that it cannot be told what "
            f"{type(net).__name__} is to predict. Choose another criterion, or set "
            "predict_nonlinearity."
        )
    if isinstance(criterion, nn.CrossEntropyLoss) and net.n_outputs_ == 1:
        raise ValueError(
            f"{title} compares the columns of y, probabilities of classes, but y has "
            "only one. Use criterion='mse', or ImageClassifier for labels."
        )
