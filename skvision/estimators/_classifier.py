"""Classification of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from skorch import NeuralNetClassifier
from skorch.utils import to_tensor
from torch import nn

from skvision.estimators._base import ImageNet
from skvision.training._batches import BatchLoader

__all__ = ["ImageClassifier"]


class ImageClassifier(ImageNet, NeuralNetClassifier):
    """Doc."""

    _parameter_constraints: dict[str, list[Any]] = {
        **ImageNet._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        module="auto",
        *,
        criterion="cross_entropy",
        optimizer="adam",
        lr=1e-3,
        max_epochs=10,
        batch_size=128,
        normalize="channel",
        channels="auto",
        image_shape=None,
        class_weight=None,
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
        self.class_weight = class_weight
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
        y : array-like of shape (n,), default=None
            Labels of any kind; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative; a row of weight 0 takes no part.

        Returns
        -------
        self : ImageClassifier
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
    def partial_fit(self, X, y=None, classes=None, sample_weight=None):
        """Train ``max_epochs`` more, from where the network stands.

        Parameters
        ----------
        X : images as in ``fit``
        y : array-like of shape (n,), default=None
            Labels; None takes those that X carries.
        classes : array-like of shape (n_classes,), default=None
            All labels that may come; at the first call None takes those in y.
        sample_weight : array-like of shape (n,), default=None
            Not negative.

        Returns
        -------
        self : ImageClassifier
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, afresh=False, classes=classes)

    def predict_proba(self, X):
        """Return the probability of each class.

        Parameters
        ----------
        X : images as in ``fit``

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
            In the order of ``classes_``.
        """
        return self._raw_predict(X)

    def predict(self, X):
        """Return the most probable class of each image.

        Parameters
        ----------
        X : images as in ``fit``

        Returns
        -------
        y : ndarray of shape (n,)
            Labels as they were given to ``fit``.
        """
        best = self._raw_predict(X).argmax(axis=1)
        return self.classes_[best]

    @property
    def classes_(self):
        """Labels seen in ``fit``, sorted, ndarray of shape (n_classes,)."""
        try:
            return self.classes_inferred_
        except AttributeError:
            raise AttributeError(
                f"This {type(self).__name__} has no classes_ before fit."
            ) from None

    # ------------------------------------------------------------------ hooks

    def _check_target(self, y):
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return y

    def _encode_target(self, y, weight, *, reset, classes=None):
        if reset:
            self.classes_inferred_ = np.unique(y if classes is None else classes)
            self.n_outputs_ = len(self.classes_)
            if self.n_outputs_ < 2:
                raise ValueError(
                    f"{type(self).__name__} needs at least 2 classes; y has 1 class, "
                    f"{self.classes_.tolist()}."
                )
        elif classes is not None and not np.array_equal(
            np.unique(classes), self.classes_
        ):
            raise ValueError(
                f"classes={classes!r} differs from that of the first call, "
                f"{self.classes_.tolist()}."
            )
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(
                f"y contains the label(s) {np.unique(y[~known]).tolist()}, which are "
                f"not among the classes {self.classes_.tolist()}. Give all labels to "
                "the first call by classes=."
            )
        if self.class_weight is not None:
            class_weight = compute_sample_weight(self.class_weight, y)
            weight = class_weight if weight is None else weight * class_weight
        return torch.from_numpy(np.searchsorted(self.classes_, y)), weight

    def _strata(self, y):
        return y.numpy()

    def _shown(self, batch):
        # Scorers compare with what predict returns, so they get labels too.
        X, y = batch[0], batch[1]
        if np.array_equal(self.classes_, np.arange(len(self.classes_))):
            return X, y
        return X, self.classes_[y.cpu().numpy()]

    def get_loss(self, y_pred, y_true, X=None, training=False):
        y_pred = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        if isinstance(self.criterion_, nn.NLLLoss) and self._output_kind != "LogSoftmax":
            # skorch pairs NLLLoss with networks that return probabilities.
            y_pred = torch.log(y_pred + torch.finfo(y_pred.dtype).eps)
        return self.criterion_(y_pred, to_tensor(y_true, device=self.device_))

    def _get_predict_nonlinearity(self):
        if (
            self.predict_nonlinearity == "auto"
            and isinstance(self.criterion_, nn.NLLLoss)
            and self._output_kind == "LogSoftmax"
        ):
            return torch.exp
        return super()._get_predict_nonlinearity()
