"""What outputs of a network are, by its loss, and what predictions are made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from skvision.training._losses import (
    CRITERIA,
    OF_DIFFERENCES,
    OF_THEIR_OWN_SCALE,
    OVER_CLASSES,
    class_response,
    identity,
    regression_response,
    resolve,
)

__all__ = [
    "check_domain",
    "check_labels",
    "check_not_masked",
    "check_reconstruction",
    "check_target_scaling",
    "class_weights",
    "has_decisions",
    "has_probabilities",
    "normalizes_target",
]

# What targets of torch's losses are: the least, the greatest, and in words. Beyond, a
# loss has no least value, or none at all. It is exactly these classes.
_PROBABILITIES = (0.0, 1.0, "probabilities, from 0 to 1")
_DOMAINS: dict[type[nn.Module], tuple[float, float, str]] = {
    nn.BCELoss: _PROBABILITIES,
    nn.BCEWithLogitsLoss: _PROBABILITIES,
    nn.CrossEntropyLoss: _PROBABILITIES,
    nn.MultiLabelSoftMarginLoss: _PROBABILITIES,
    nn.KLDivLoss: _PROBABILITIES,
    nn.PoissonNLLLoss: (0.0, math.inf, "counts or rates, not below 0"),
    nn.SoftMarginLoss: (-1.0, 1.0, "signs, -1 or 1"),
}
# What rounding may leave beyond them.
_ROUNDING = 1e-5


def has_probabilities(net: Any) -> bool:
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


def has_decisions(net: Any) -> bool:
    """Whether a classifier's outputs may be of a kind that is not known."""
    chosen = net.predict_nonlinearity
    return chosen is None or (
        isinstance(chosen, str) and chosen == "auto" and not _is_over_classes(net)
    )


def _is_over_classes(net: Any) -> bool:
    criterion = resolve(net.criterion, CRITERIA)
    kind = criterion if isinstance(criterion, type) else type(criterion)
    return issubclass(kind, OVER_CLASSES)


def normalizes_target(net: Any) -> bool:
    """Whether the loss of a regressor is to compare normalised targets."""
    if net.normalize_target == "auto":
        return type(net.criterion_) in OF_DIFFERENCES
    return bool(net.normalize_target)


def check_target_scaling(net: Any) -> None:
    """Check what a regressor's criterion and the scale of its targets say together.

    Raises
    ------
    ValueError
        If the criterion needs targets as they are, but they are normalised, or if it
        cannot tell what a prediction is.
    """
    criterion = net.criterion_
    title = type(criterion).__name__
    if isinstance(criterion, OF_THEIR_OWN_SCALE) and normalizes_target(net):
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


def check_domain(criterion: nn.Module, y: torch.Tensor) -> None:
    """Check that targets of a regression are what a loss is made for.

    Parameters
    ----------
    criterion : torch.nn.Module
    y : torch.Tensor of shape (n, k)

    Raises
    ------
    ValueError
        If one is not; the message names it.
    """
    domain = _DOMAINS.get(type(criterion))
    if domain is None or getattr(criterion, "log_target", False):
        return
    low, high, words = domain
    bad = (y < low - _ROUNDING) | (y > high + _ROUNDING)
    if isinstance(criterion, nn.SoftMarginLoss):
        bad |= y.abs() != 1
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{type(criterion).__name__} is for targets that are {words}, but y has "
            f"{int(bad.sum())} value(s) of other kinds, such as {y[row, column]:.6g}. "
            "Bring y there, or choose another criterion, as criterion='mse'."
        )
    if isinstance(criterion, nn.CrossEntropyLoss):
        sums = y.sum(1)
        if (sums - 1).abs().max() > 1e-3:
            raise ValueError(
                "CrossEntropyLoss is for targets that are probabilities of classes, "
                f"but rows of y sum to {sums.min():.6g} up to {sums.max():.6g}. Divide "
                "each by its sum."
            )


def check_reconstruction(net: Any, y_pred: torch.Tensor, y_true: torch.Tensor) -> None:
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


def check_not_masked(values: Any, name: str) -> None:
    """Refuse an array whose mask would be lost."""
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is an array in which {int(np.ma.count_masked(values))} value(s) "
            "are masked. Leave these rows out."
        )


def check_labels(labels: Any, name: str) -> None:
    """Check that there are labels, of a kind that can be sorted.

    Parameters
    ----------
    labels : array-like
        As they were given: in an array of text, a number would be text, too.
    name : str
        Of the argument.

    Raises
    ------
    ValueError
        If one is missing, or if there are others beside text.
    """
    check_not_masked(labels, name)
    is_array = isinstance(labels, np.ndarray)
    if not isinstance(labels, (list, tuple)):
        labels = np.asarray(labels)
        if labels.dtype != object or labels.ndim == 0:
            return  # What is no array at all, scikit-learn says.
    labels = list(np.ravel(np.array(labels, dtype=object)))
    if missing := [row for row, label in enumerate(labels) if _is_missing(label)]:
        raise ValueError(
            f"{name} has no label at {len(missing)} place(s), such as {missing[:5]}, "
            "but None or NaN. Leave these rows out, or name what they have."
        )
    kinds = {"str" if isinstance(v, str) else type(v).__name__ for v in labels}
    if "str" in kinds and len(kinds) > 1:
        raise ValueError(
            f"{name} has labels of several types, {sorted(kinds)}; they cannot be "
            "sorted. Give labels of one type."
        )
    if "str" in kinds:
        return
    dtype = np.array(labels).dtype
    if dtype.kind == "O":
        raise ValueError(
            f"Unknown label type: {name} has labels of type "
            f"{', '.join(sorted(kinds))}. Give strings, whole numbers or truth values, "
            "as [str(label) for label in labels]."
        )
    if is_array:
        # scikit-learn does not look into arrays of objects.
        raise ValueError(
            f"Unknown label type: {name} has dtype object. Give {name}.astype("
            f"'{dtype}')."
        )


def _is_missing(label: Any) -> bool:
    # pandas has its own; neither is equal to itself.
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, Real) and label != label


def class_weights(
    given: Mapping[Any, Any] | str,
    classes: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray | None,
) -> np.ndarray:
    """Return the weight of each class, by a `class_weight` parameter.

    Parameters
    ----------
    given : dict or "balanced"
    classes : ndarray of shape (k,)
    codes : ndarray of shape (n,)
        The class number of each row; some classes may be absent for once.
    sample_weight : ndarray of shape (n,) or None
        Of the rows, which count as much.

    Raises
    ------
    ValueError
        If a weight of the dict is not valid.
    """
    if isinstance(given, Mapping):
        _check_class_weight(given, classes)
        return np.array([float(given.get(label, 1)) for label in classes.tolist()])
    present = np.unique(codes)
    weights = np.ones(len(classes))
    weights[present] = compute_class_weight(
        "balanced", classes=present, y=codes, sample_weight=sample_weight
    )
    return weights


def _check_class_weight(weights: Mapping[Any, Any], classes: np.ndarray) -> None:
    """Check the weights of labels.

    Raises
    ------
    ValueError
        If one is no number or negative, all are zero, or a label is unknown.
    """
    for label, weight in weights.items():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(
                f"class_weight gives the label {label!r} the weight {weight!r}; "
                "expected a number that is not negative."
            )
    unknown = [label for label in weights if label not in classes.tolist()]
    if unknown:
        raise ValueError(
            f"class_weight names the label(s) {unknown}, which are not among the "
            f"classes {classes.tolist()}."
        )
    if not any(weights.get(label, 1) for label in classes.tolist()):
        raise ValueError(
            "class_weight is zero for every class; give one a positive weight."
        )
