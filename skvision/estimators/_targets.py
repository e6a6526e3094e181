"""What outputs of a network are, by its loss, and what predictions are made of them."""

from __future__ import annotations

import math
from typing import Any

import torch
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
    "check_reconstruction",
    "check_target_scaling",
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
