"""Classification of images."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from skorch import NeuralNetClassifier
from skorch.utils import to_tensor
from torch import nn

from skvision._compat import Interval, StrOptions, fit_context
from skvision._warnings import warn
from skvision.estimators._net import FeaturesMixin, ImageNet
from skvision.estimators._parameters import RoutingMixin, completed
from skvision.images._names import warn_if_numbered_otherwise
from skvision.images._sources import source_of
from skvision.training._losses import (
    CRITERIA,
    NONLINEARITIES,
    OF_SIGNS,
    OVER_CLASSES,
    class_response,
    identity,
    multilabel_response,
    resolve,
)
from skvision.training._multilabel import (
    LabelsCodec,
    given_thresholds,
    has_columns,
    label_weights,
    names_of_columns,
    tuned_thresholds,
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
    if net._is_multilabel:
        known = chosen != "auto" or multilabel_response(criterion) is not None
    elif chosen is None:
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
    """Whether a classifier has outputs that are no probabilities, or may have some."""
    chosen = net.predict_nonlinearity
    if net._is_multilabel:
        return net._get_predict_nonlinearity() is NONLINEARITIES["sigmoid"]
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

    An image has one label, or, where y has a column of 0 and 1 for each of several
    labels, any of them (multi-label): then each has a probability of its own.

    Parameters
    ----------
    criterion : str, class or torch.nn.Module, default="cross_entropy"
        The loss: "cross_entropy", "mse", "l1", "smooth_l1", or a torch class. The
        network returns logits for "cross_entropy", which for y of several columns is
        the mean binary cross-entropy, `torch.nn.BCEWithLogitsLoss`; for
        `torch.nn.NLLLoss` it returns probabilities, as in skorch, or
        log-probabilities.
    predict_nonlinearity : str, callable or None, default="auto"
        Turns outputs into probabilities: "softmax" of logits, "exp" of their
        logarithms, "sigmoid" of logits of y of several columns, or a function of
        tensors. "auto" infers it from the criterion and from what the network returns;
        None leaves outputs as they are. Where that does not tell, as under a loss of
        one's own, there is no ``predict_proba``; for y of several columns, it must be
        set.
    class_weight : dict, list of dict or "balanced", default=None
        Weight of each label; "balanced" makes all classes count the same. For y of
        several columns, a list with a dict for each, such as ``[{1: 5}, {}]``, whose
        weights of 0 and 1 count in that column alone, as if each label had a
        classifier of its own; "balanced" makes 0 and 1 of each column count the same.
    threshold : float, sequence of float or "tuned", default=None
        For y of several columns: the probability above which ``predict`` says 1, or one
        for each label; None means 0.5. "tuned" chooses for each label, when training
        ends, the one of the greatest F1 score on the rows held out by `early_stopping`
        or `train_split`, or given as `X_val`, weighted unless there is a
        `class_weight`. For two classes, see
        `sklearn.model_selection.TunedThresholdClassifierCV`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels seen in ``fit``, sorted. For y of several columns, their numbers from
        0 on, as `sklearn.neural_network.MLPClassifier` has them.
    n_outputs_ : int
        Number of outputs of the network.
    thresholds_ : ndarray of shape (n_outputs_,)
        The probability above which ``predict`` says 1, for each label. Only after a fit
        to y of several columns; it may be changed.

    See Also
    --------
    ImageRegressor : The same for continuous targets.
    sklearn.preprocessing.MultiLabelBinarizer : Makes columns of sets of labels.
    skvision.datasets.as_Xy : Data sets in scikit-learn's tools.

    Notes
    -----
    Weights of rows are scaled to a mean of 1; a row of weight 0 takes no part at all.
    If the loss or a weight of the network becomes infinite or NaN, or the mean
    cross-entropy of an epoch exceeds 100 times that of the untrained network,
    `~skvision.exceptions.DivergedError` is raised. Training that ends no better than a
    constant prediction gives a `sklearn.exceptions.ConvergenceWarning`.

    Searches hand `X_val`, `y_val` and `sample_weight_val` of ``fit`` to each of their
    fits. As of all metadata, scikit-learn gives a fold its own part of those that have
    as many rows as X. A pipeline transforms `X_val` as it does X under metadata routing
    and with ``transform_input=["X_val"]``, else not at all.

    Data sets as torchvision's, and what `~skvision.datasets.as_Xy` makes of them, carry
    names of their classes. Then ``class_names_`` holds those of ``classes_``, and other
    data with names are scored, validated with and trained on by name, whatever their
    labels: an `ImageFolder` that lacks a class numbers the others anew. Where y is a
    frame of several columns, ``class_names_`` holds their names.

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

    Rows to validate on are cut off by `early_stopping`, or given:

    >>> net = ImageClassifier("mlp", max_epochs=3, random_state=0)
    >>> net = net.fit(X_train, y_train, X_val=X_test, y_val=y_test)
    >>> len(net.history[:, "valid_loss"])
    3

    Several labels per image:

    >>> import numpy as np
    >>> labels = np.column_stack([y % 2 == 0, y > 4, np.isin(y, [0, 6, 8, 9])])
    >>> net = ImageClassifier("mlp", early_stopping=True, threshold="tuned")
    >>> net.fit(X, labels).predict(X).shape
    (1797, 3)
    """

    _parameter_constraints: dict[str, Any] = {
        **ImageNet._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "threshold": [
            Interval(Real, 0, 1, closed="neither"),
            StrOptions({"tuned"}),
            "array-like",
            None,
        ],
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
        criterion: Any = "cross_entropy",
        predict_nonlinearity: Any = "auto",
        class_weight: Any = None,
        threshold: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=criterion, **kwargs)
        self.predict_nonlinearity = predict_nonlinearity
        self.class_weight = class_weight
        self.threshold = threshold

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
        y : array-like of shape (n,) or (n, k), default=None
            Labels of any kind, or a column of 0 and 1 for each of k labels, whose names
            are kept where y is a frame; None takes those that X carries.
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
        y : array-like of shape (n,) or (n, k), default=None
            Labels; None takes those that X carries.
        classes : array-like of shape (n_classes,), default=None
            All labels that may come; at the first call None takes those in y. Columns
            of y need none.
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
            In the order of ``classes_``. For y of several columns, that of a 1 in each.
        """
        X = source_of(X)
        warn_if_numbered_otherwise(X, self)
        outputs, chosen = self._raw_predict(X), self.predict_nonlinearity
        if self._is_multilabel:
            _warn_if_beyond(outputs, chosen)
        elif chosen is not None and chosen != "auto":
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

        Only where ``predict_proba`` may be missing, or where outputs are logits of y of
        several columns: these are positive where probabilities are above 0.5.

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
        if self._is_multilabel:
            return outputs
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    @looking
    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image, or its labels.

        Parameters
        ----------
        X : images
            As in ``fit``.

        Returns
        -------
        y : ndarray of shape (n,) or (n, k)
            Labels as they were given to ``fit``. For y of several columns, the ints 1
            where the probability is above that of ``thresholds_``, and 0.
        """
        X = source_of(X)
        warn_if_numbered_otherwise(X, self)
        outputs = self._raw_predict(X)
        if self._is_multilabel:
            return self._targets.decode(outputs)
        return LabelCodec(self.classes_).decode(outputs)

    @property
    def classes_(self) -> np.ndarray:
        """Labels seen in ``fit``, sorted, ndarray of shape (n_classes,)."""
        if "classes_inferred_" in vars(self):
            return self.classes_inferred_
        raise AttributeError(f"This {type(self).__name__} has no classes_ before fit.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def __skvision_identity__(self):
        identity = super().__skvision_identity__()
        return (*identity, self.thresholds_) if self._is_multilabel else identity

    # ------------------------------------------------------------------ hooks

    _codec = LabelsCodec

    @property
    def _is_multilabel(self):
        return "thresholds_" in vars(self)

    @property
    def _named_criteria(self):
        if self._is_multilabel:
            return {**CRITERIA, "cross_entropy": nn.BCEWithLogitsLoss}
        return CRITERIA

    def _check_training_data(self, X, y, sample_weight, *, reset, **learning):
        data = super()._check_training_data(
            X, y, sample_weight, reset=reset, **learning
        )
        if not self._is_multilabel:
            _check_single_label(self)
            return data
        self._compare_columns(names_of_columns(y), reset=reset)
        if reset or not isinstance(self.threshold, str):
            # What has been tuned stays until it is tuned again.
            self.thresholds_ = given_thresholds(self.threshold, self.n_outputs_)
        return data

    def _compare_columns(self, names, *, reset):
        """Learn the names of labels, or check that they come in the same order."""
        if names is None:
            return
        known = vars(self).get("class_names_")
        if reset:
            self.class_names_ = names
        elif known is not None and not np.array_equal(names, known):
            raise ValueError(
                f"y has the columns {names.tolist()}, but those of the first fit were "
                f"{known.tolist()}. Give the same ones in the same order, "
                "y[net.class_names_]."
            )

    def _labels_of(self, source, y):
        y = super()._labels_of(source, y)
        has_columns(y)  # Sets of labels are an error that says what to do.
        return y

    def _encode_target(self, y, weight, **learning):
        codes, weight = super()._encode_target(y, weight, **learning)
        if self.class_weight is None:
            return codes, weight
        if self._is_multilabel:
            return codes, label_weights(self.class_weight, codes.numpy(), weight)
        rows = codes.numpy()
        weights = class_weights(self.class_weight, self.classes_, rows, weight)
        return codes, weights[rows] if weight is None else weight * weights[rows]

    def _check_parts(self, split, *, new=False, anew=True):
        if self._is_multilabel:
            _check_multilabel(self, split, new=new)
        super()._check_parts(split, new=new, anew=anew)

    def _renew_parts(self, changed):
        super()._renew_parts(changed)
        self._match_criterion()

    def _set_facts(self, facts):
        super()._set_facts(facts)
        if hasattr(self, "criterion_"):
            self._match_criterion()

    def _match_criterion(self):
        """Make another loss where the one that was built is for one label per image."""
        named = isinstance(self.criterion, str)
        if named and self._is_multilabel and type(self.criterion_) in OVER_CLASSES:
            with self._plain_device():
                self._initialize_criterion()

    def _after_training(self, split):
        """Choose the thresholds that are to be tuned, by the rows held out."""
        if self._is_multilabel and isinstance(self.threshold, str):
            valid, weight = split.valid, split.valid.sample_weight
            # Weights of labels are not how often these come.
            of_rows = weight is not None and weight.ndim == 1
            self.thresholds_ = tuned_thresholds(
                valid.y.numpy(),
                self._raw_predict(valid),
                weight.numpy() if of_rows else None,
            )

    def _target(self, target):
        return target.to(self._dtype) if self._is_multilabel else target

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
        if self._is_multilabel:
            return multilabel_response(self.criterion_)
        return class_response(self.criterion_, self._output_kind)


def _check_single_label(net: Any) -> None:
    """Refuse settings of a classifier that are for y of several columns.

    Raises
    ------
    ValueError
    """
    if net.threshold is not None:
        raise ValueError(
            f"threshold={net.threshold!r} is for y with a column of 0 and 1 for each "
            f"label, but y has one label per image, of {len(net.classes_)} classes. "
            "Leave it out; for two classes, put the estimator into "
            "FixedThresholdClassifier or TunedThresholdClassifierCV of "
            "sklearn.model_selection."
        )
    if net.predict_nonlinearity == "sigmoid":
        raise ValueError(
            "predict_nonlinearity='sigmoid' is for y with a column of 0 and 1 for each "
            "label, but y has one label per image. Set 'auto' or 'softmax'."
        )


def _check_multilabel(net: Any, split: Any, *, new: bool) -> None:
    """Check the settings of a classifier whose y has several columns.

    Raises
    ------
    ValueError
        If the loss is for something else, if it is not known what makes probabilities
        of outputs, or if there are no rows to tune thresholds by.
    """
    criterion, chosen = net.criterion_, net.predict_nonlinearity
    title = type(criterion).__name__
    why = "y has a column of 0 and 1 for each label, "
    if isinstance(criterion, (*OVER_CLASSES, *OF_SIGNS)):
        other = "signs, -1 or 1" if isinstance(criterion, OF_SIGNS) else "single labels"
        raise ValueError(
            f"{why}but the criterion {title} is for {other}. Set "
            "criterion='cross_entropy', which is the binary cross-entropy then."
        )
    if chosen == "softmax":
        raise ValueError(
            f"{why}which have probabilities of their own, but "
            "predict_nonlinearity='softmax' lets them sum to 1. Set 'sigmoid' or "
            "'auto'."
        )
    if chosen == "auto" and multilabel_response(criterion) is None:
        raise ValueError(
            f"{why}and it is not known what makes probabilities of outputs under the "
            f"criterion {title}. Set predict_nonlinearity to 'sigmoid' if the network "
            "returns logits, to None if it returns probabilities, or to a function."
        )
    if isinstance(net.threshold, str) and split.valid is None:
        raise ValueError(
            "threshold='tuned' chooses thresholds by rows that are held out, but there "
            "are none. Set early_stopping=True, or train_split; give X_val and y_val "
            "to fit; or give the threshold."
        )
    last = [*net.module_.modules()][-1]
    ends = "Sigmoid" if isinstance(last, nn.Sigmoid) else net._output_kind
    if new and ends != "logits" and isinstance(criterion, nn.BCEWithLogitsLoss):
        warn(
            f"The network {type(net.module_).__name__} ends in {ends}, and the "
            f"criterion {title} applies a sigmoid itself: training may stall. Let the "
            "network return logits."
        )


def _warn_if_beyond(outputs: np.ndarray, chosen: Any) -> None:
    """Warn of values that are no probabilities, whatever the user's setting says."""
    if outputs.min() < 0 or outputs.max() > 1:
        warn(
            f"predict_nonlinearity={chosen!r} makes values from {outputs.min():.4g} to "
            f"{outputs.max():.4g}, which are no probabilities. Set 'sigmoid' for "
            "logits."
        )
