"""Regression on images."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_array
from skorch import NeuralNetRegressor
from skorch.utils import to_tensor

from skvision.estimators._base import ImageNet
from skvision.training._batches import BatchLoader

__all__ = ["ImageRegressor"]


class ImageRegressor(ImageNet, NeuralNetRegressor):
    """Doc."""

    def __init__(
        self,
        module="auto",
        *,
        criterion="mse",
        optimizer="adam",
        lr=1e-3,
        max_epochs=10,
        batch_size=128,
        normalize="channel",
        channels="auto",
        image_shape=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        epoch_scoring=(),
        dtype="float32",
        device="auto",
        amp=False,
        compile=False,
        random_state=None,
        warm_start=False,
        verbose=0,
        callbacks=None,
        train_split=None,
        iterator_train=BatchLoader,
        iterator_valid=BatchLoader,
        predict_nonlinearity="auto",
        **kwargs,
    ):
        self._check_new_names(kwargs, TypeError)
        self.module = module
        self.criterion = criterion
        self.optimizer = optimizer
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.normalize = normalize
        self.channels = channels
        self.image_shape = image_shape
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.epoch_scoring = epoch_scoring
        self.dtype = dtype
        self.device = device
        self.amp = amp
        self.compile = compile
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.callbacks = callbacks
        self.train_split = train_split
        self.iterator_train = iterator_train
        self.iterator_valid = iterator_valid
        self.predict_nonlinearity = predict_nonlinearity
        vars(self).update(kwargs)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Build the network for these images and train it.

        Parameters
        ----------
        X : images
            An array or tensor of shape (n, H, W), (n, H, W, C), (n, C, H, W) or
            (n, n_features), a pandas frame of such rows, a data set, an
            `~skvision.datasets.ImageSequence` or ``SliceDataset``, or a list of
            images, of (image, label) pairs or of paths of image files. uint8 values
            are divided by 255; floats are taken as they are.
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative; a row of weight 0 takes no part.

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
        return self._fit(X, y, sample_weight, afresh=not self.warm_start)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train ``max_epochs`` more, from where the network stands.

        Parameters
        ----------
        X : images as in ``fit``
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative.

        Returns
        -------
        self : ImageRegressor
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, afresh=False)

    def predict(self, X):
        """Return the targets that the network predicts.

        Parameters
        ----------
        X : images as in ``fit``

        Returns
        -------
        y : ndarray of shape (n,) or (n, k)
            In the shape that y had in ``fit``; float32 if y was, else float64.
        """
        outputs = self._raw_predict(X)
        outputs = outputs.astype(self._target_dtype, copy=False)
        return outputs.reshape(len(outputs), *self._target_shape)

    @property
    def predict_proba(self):
        # skorch gives its regressors one, which makes scikit-learn take them for
        # classifiers here and there.
        raise AttributeError("ImageRegressor has no predict_proba.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # ------------------------------------------------------------------ hooks

    def _check_target(self, y):
        y = check_array(
            y, ensure_2d=False, dtype=[np.float64, np.float32], input_name="y"
        )
        if y.ndim not in (1, 2):
            raise ValueError(
                f"Expected y of shape (n,) or (n, k); got shape {y.shape}."
            )
        return y

    def _encode_target(self, y, weight, *, reset, classes=None):
        shape = y.shape[1:]
        if reset:
            self._target_shape, self._target_dtype = shape, y.dtype
            self.n_outputs_ = int(np.prod(shape))
        elif shape != self._target_shape:
            raise ValueError(
                f"y has shape {y.shape}, but the targets of the first fit had "
                f"{self.n_outputs_} column(s), shape {('n', *self._target_shape)}."
            )
        # Two axes always: the difference of (b, 1) and (b,) would be (b, b).
        y = torch.as_tensor(y, dtype=self._dtype).reshape(len(y), self.n_outputs_)
        return y, weight

    def _strata(self, y):
        return None

    def _shown(self, batch):
        return batch[0], batch[1].reshape(len(batch[1]), *self._target_shape)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        y_pred = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        y_true = to_tensor(y_true, device=self.device_)
        return self.criterion_(y_pred.reshape(y_true.shape), y_true)
