"""Classification of images."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNetClassifier
from skorch.utils import to_tensor
from torch import nn

from skvision._compat import StrOptions, fit_context
from skvision._warnings import warn
from skvision.estimators._net import FeaturesMixin, ImageNet
from skvision.estimators._parameters import RoutingMixin, completed
from skvision.images._names import warn_if_numbered_otherwise
from skvision.images._sources import source_of
from skvision.training._losses import (
    CRITERIA,
    OVER_CLASSES,
    class_response,
    identity,
    resolve,
)
from skvision.training._targets import LabelCodec, class_weights
from skvision.training._turns import looking

# By how much sums of probabilities may miss 1, as of float16.
_FAR_FROM_ONE = 0.01


def _has_probabilities(net: Any) -> bool:
    """Whether it is known what makes probabilities of a classifier's outputs.

    Raises
    ------
    AttributeError
        If it is not; the message says what to do.
    """
    chosen, kind = net.predict_nonlinearity, net._output_kind
    criterion = getattr(net, "criterion_", net.criterion)
    if chosen is None:
        known = kind == "Softmax"
    elif chosen != "auto":
        known = True
    elif hasattr(net, "criterion_"):
        known = class_response(criterion, kind) is not None
    else:
        known = _is_over_classes(net)
    if not known:
        title = getattr(criterion, "__name__", type(criterion).__name__)
        raise AttributeError(
            f"it is not known what makes probabilities of outputs under the criterion "
            f"{title} and predict_nonlinearity={chosen!r}. Set predict_nonlinearity to "
            "'softmax' if the network returns logits, to 'exp' if it returns "
            "logarithms of probabilities, or to a function. decision_function returns "
            "outputs as they are."
        )
    return True


def _has_decisions(net: Any) -> bool:
    """Whether a classifier's outputs may be of a kind that is not known."""
    chosen = net.predict_nonlinearity
    return chosen is None or (chosen == "auto" and not _is_over_classes(net))


def _is_over_classes(net: Any) -> bool:
    criterion = resolve(net.criterion, CRITERIA)
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, OVER_CLASSES)


@completed
class ImageClassifier(FeaturesMixin, ImageNet, NeuralNetClassifier, RoutingMixin):
    """Classify images by a neural network.

    A `skorch.NeuralNetClassifier` that keeps scikit-learn's contract: it takes arrays,
    tensors, data sets or files, infers their shape and the number of classes, encodes
    labels, and can be cloned, searched, pickled and repeated.

    Parameters
    ----------
    criterion : str, class or torch.nn.Module, default="cross_entropy"
        The loss: "cross_entropy", "mse", "l1", "smooth_l1", or a torch class. The
        network returns logits for "cross_entropy"; for `torch.nn.NLLLoss` it returns
        probabilities, as in skorch, or log-probabilities.
    predict_nonlinearity : {"auto", "softmax", "exp"}, callable or None, default="auto"
        Turns outputs into probabilities: the softmax of logits, the exponential of
        their logarithms, or a function of tensors. "auto" infers it from the criterion
        and from what the network returns; None leaves outputs as they are. Where that
        does not tell, as under a loss of one's own, there is no ``predict_proba``.
    class_weight : dict or "balanced", default=None
        Weight of each label; "balanced" makes all classes count the same.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels seen in ``fit``, sorted.
    n_outputs_ : int
        Number of outputs of the network.

    See Also
    --------
    ImageRegressor : The same for continuous targets.
    skvision.datasets.as_Xy : Data sets in scikit-learn's tools.

    Notes
    -----
    Weights of rows are scaled to a mean of 1; a row of weight 0 takes no part at all.
    If the loss or a weight of the network becomes infinite or NaN, or the mean
    cross-entropy of an epoch exceeds 100 times that of the untrained network,
    `~skvision.exceptions.DivergedError` is raised. Training that ends no better than a
    constant prediction gives a `sklearn.exceptions.ConvergenceWarning`.

    Data sets as torchvision's, and what `~skvision.datasets.as_Xy` makes of them, carry
    names of their classes. Then ``class_names_`` holds those of ``classes_``, and other
    data with names are scored, validated with and trained on by name, whatever their
    labels: an `ImageFolder` that lacks a class numbers the others anew.

    Ctrl-C ends ``fit`` by a ``KeyboardInterrupt``; `history`, of the epochs that had
    ended, and the weights reached are kept, and ``partial_fit`` goes on from them.

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> X, y = load_digits_images(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> net = ImageClassifier(max_epochs=5, random_state=0).fit(X_train, y_train)
    >>> bool(net.score(X_test, y_test) > 0.9)
    True
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageNet._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "predict_nonlinearity": [
            StrOptions({"auto", "softmax", "exp"}),
            callable,
            None,
        ],
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        criterion: Any = "cross_entropy",
        predict_nonlinearity: Any = "auto",
        class_weight: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=criterion, **kwargs)
        self.predict_nonlinearity = predict_nonlinearity
        self.class_weight = class_weight

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
            from 0 to 255 or 65535 are scaled to [0, 1]; floats are taken as they are.
            Photos keep their full bit depth, and are turned as their EXIF data say.
        y : array-like of shape (n,), default=None
            Labels of any kind; None takes those that X carries.
        sample_weight : array-like of shape (n,), default=None
            Not negative; a row of weight 0 takes no part.
        groups : array-like of shape (n,), default=None
            What each row belongs to, such as a patient: `early_stopping` holds out
            whole groups, `validation_fraction` of them, and `train_split` gets them.
        X_val : images, default=None
            Rows to validate on, in the place of those that `early_stopping` would cut
            off X, or beside all of X without it. They are encoded, resized and
            normalised as X is, and nothing is learnt of them.
        y_val : array-like of shape (n_val,), default=None
            Their labels; None takes those that `X_val` carries.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights in validation losses.

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
        classes: Any = None,
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
        y : array-like of shape (n,), default=None
            Labels; None takes those that X carries.
        classes : array-like of shape (n_classes,), default=None
            All labels that may come; at the first call None takes those in y.
        sample_weight : array-like of shape (n,), default=None
            Not negative.
        groups, X_val, y_val, sample_weight_val : optional
            As in ``fit``, for this call alone.

        Returns
        -------
        self : ImageClassifier
            The fitted estimator.
        """
        return self._fit(
            X,
            y,
            sample_weight,
            partial=True,
            classes=classes,
            groups=groups,
            X_val=X_val,
            y_val=y_val,
            sample_weight_val=sample_weight_val,
        )

    @available_if(_has_probabilities)
    @looking
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Only where it is known what makes probabilities of the network's outputs: under
        torch's losses over classes, of a network that ends in a softmax, or as
        `predict_nonlinearity` says.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
            In the order of ``classes_``.
        """
        X = source_of(X)
        warn_if_numbered_otherwise(X, self)
        outputs, chosen = self._raw_predict(X), self.predict_nonlinearity
        if chosen is not None and chosen != "auto":
            sums = outputs.sum(1)
            if outputs.min() < 0 or abs(sums - 1).max() > _FAR_FROM_ONE:
                warn(
                    f"predict_nonlinearity={chosen!r} makes values from "
                    f"{outputs.min():.4g} on, whose sums in a row go from "
                    f"{sums.min():.4g} to {sums.max():.4g}, of what "
                    f"{type(self.module_).__name__} returns: these are no "
                    "probabilities of classes. Set 'softmax' for logits, 'exp' for "
                    "logarithms of probabilities."
                )
        return outputs

    @available_if(_has_decisions)
    @looking
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the network's outputs, of which the greatest is predicted.

        Only where ``predict_proba`` may be missing.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        decisions : ndarray of shape (n, n_classes) or (n,)
            In the order of ``classes_``; of two classes, the second's output less the
            first's.
        """
        outputs = self._raw_predict(X, identity)
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    @looking
    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        y : ndarray of shape (n,)
            Labels as they were given to ``fit``.
        """
        X = source_of(X)
        warn_if_numbered_otherwise(X, self)
        outputs = self._raw_predict(X)
        return LabelCodec(self.classes_).decode(outputs)

    @property
    def classes_(self) -> np.ndarray:
        """Labels seen in ``fit``, sorted, ndarray of shape (n_classes,)."""
        if "classes_inferred_" in vars(self):
            return self.classes_inferred_
        raise AttributeError(f"This {type(self).__name__} has no classes_ before fit.")

    # ------------------------------------------------------------------ hooks

    _codec = LabelCodec

    def _encode_target(self, y, weight, **learning):
        codes, weight = super()._encode_target(y, weight, **learning)
        if self.class_weight is not None:
            rows = codes.numpy()
            weights = class_weights(self.class_weight, self.classes_, rows, weight)
            weight = weights[rows] if weight is None else weight * weights[rows]
        return codes, weight

    def get_loss(self, y_pred, y_true, X=None, training=False):
        y_pred = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        if isinstance(self.criterion_, nn.NLLLoss):
            if self._output_kind == "logits":
                raise ValueError(
                    "it takes logarithms of probabilities, or probabilities, but the "
                    f"outputs of {type(self.module_).__name__} are neither. Let the "
                    "network end in LogSoftmax, or set criterion='cross_entropy'."
                )
            if self._output_kind != "LogSoftmax":
                # skorch pairs NLLLoss with networks that return probabilities.
                y_pred = torch.log(y_pred + torch.finfo(y_pred.dtype).eps)
        return self.criterion_(y_pred, to_tensor(y_true, device=self.device_))

    def _response(self):
        return class_response(self.criterion_, self._output_kind)
