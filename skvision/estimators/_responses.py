"""What outputs of a network are, by its loss, and what predictions are made of them."""

from __future__ import annotations

from typing import Any

from torch import nn

from skvision.training._losses import (
    CRITERIA,
    OF_DIFFERENCES,
    OF_THEIR_OWN_SCALE,
    OVER_CLASSES,
    class_response,
    regression_response,
    resolve,
)

__all__ = [
    "check_target_scaling",
    "has_decisions",
    "has_probabilities",
    "normalizes_target",
]


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
