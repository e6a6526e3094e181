"""Criteria and optimizers by name, weighted losses, and what they tell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import xlogy
from torch import nn

from skvision._compat import StrOptions

#: What turns the outputs of a network into predictions.
Response = Callable[[torch.Tensor], torch.Tensor]

CRITERIA: dict[str, type[nn.Module]] = {
    "cross_entropy": nn.CrossEntropyLoss,
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "smooth_l1": nn.SmoothL1Loss,
}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
#: Optimizers whose step torch can do in one operation, also on the CPU. It is exactly
#: these classes: what a subclass adds may need the step as it was.
FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
#: Losses over classes, under which it is known what outputs are.
OVER_CLASSES = (nn.CrossEntropyLoss, nn.MultiMarginLoss, nn.NLLLoss)
#: Losses that compare each output with a 0 or 1 of its own.
OVER_LABELS = (nn.BCELoss, nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss)
#: Losses that compare an output with a sign.
OF_SIGNS = (nn.HingeEmbeddingLoss, nn.SoftMarginLoss)
#: Losses of differences, whose targets may be of any scale. It is exactly these
#: classes: a subclass may do anything with its arguments.
OF_DIFFERENCES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
#: Losses whose targets are counts, probabilities or signs, or have a variance.
OF_THEIR_OWN_SCALE = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.CrossEntropyLoss,
    nn.GaussianNLLLoss,
    nn.HingeEmbeddingLoss,
    nn.KLDivLoss,
    nn.MultiLabelSoftMarginLoss,
    nn.PoissonNLLLoss,
    nn.SoftMarginLoss,
)
#: Responses by name.
NONLINEARITIES: dict[str, Response] = {
    "softmax": partial(torch.softmax, dim=-1),
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
}


def check_no_layer(criterion: nn.Module) -> None:
    """Refuse a loss that has the network's last layer, which predictions would lack.

    Raises
    ------
    ValueError
    """
    # Older versions of torch have only one.
    names = ("AdaptiveLogSoftmaxWithLoss", "LinearCrossEntropyLoss")
    if isinstance(
        criterion, tuple(vars(nn)[name] for name in names if name in vars(nn))
    ):
        raise ValueError(
            f"criterion={type(criterion).__name__} has a layer of its own, without "
            "which nothing can be predicted. Let the network end in that layer, and "
            "set criterion='cross_entropy'."
        )


class NameOptions(StrOptions):
    """Names in whatever capitals, among the parameters that are valid."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is one of the names."""
        return isinstance(val, str) and val.lower() in self.options


def resolve(value: Any, names: dict[str, Any]) -> Any:
    """Return what a name stands for; anything but a string stands for itself."""
    return names[value.lower()] if isinstance(value, str) else value


def reduce_loss(
    losses: torch.Tensor, sample_weight: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """Return the weighted mean (or sum) of the losses of a batch.

    Weights have a mean of 1 over all training rows, so that batches estimate the
    weighted loss of all rows without bias and its scale does not depend on theirs.

    Parameters
    ----------
    losses : torch.Tensor of shape (b,) or (b, k)
        A criterion's values, not reduced.
    sample_weight : torch.Tensor of shape (b,) or (b, k)
        Of rows, or of each value in them.
    reduction : {"mean", "sum", "batchmean"}, default="mean"
        The last is `torch.nn.KLDivLoss`'s mean over rows of sums over columns.

    Returns
    -------
    loss : torch.Tensor of shape ()
    """
    rows = losses.reshape(len(losses), -1)
    of_values = sample_weight.ndim == 2
    if of_values:
        rows = weighted_values(rows, sample_weight)
    rows = rows.sum(1) if reduction in ("sum", "batchmean") else rows.mean(1)
    weighted = rows if of_values else rows * sample_weight.to(losses)
    return weighted.sum() if reduction == "sum" else weighted.mean()


def weighted_values(losses: torch.Tensor, sample_weight: torch.Tensor) -> torch.Tensor:
    """Return losses of shape (..., k) times the weight of each.

    Raises
    ------
    ValueError
        If the criterion has no loss for each label.
    """
    if losses.shape != sample_weight.shape:
        raise ValueError(
            "class_weight weighs each label of a row, but the criterion gives "
            f"{losses.shape[-1]} value(s) for the {sample_weight.shape[-1]} labels of "
            "a row. Set criterion='cross_entropy', or leave class_weight out."
        )
    return losses * sample_weight.to(losses)


def output_kind(y_pred: torch.Tensor) -> str:
    """Tell by a network's outputs whether it ends in a softmax.

    Looking at values finds ``torch.softmax`` in ``forward`` as well as a layer.

    Returns
    -------
    kind : {"logits", "Softmax", "LogSoftmax"}
    """
    if y_pred.ndim != 2 or y_pred.shape[1] < 2:
        return "logits"
    y_pred = y_pred.detach().double()
    one = torch.ones(len(y_pred), dtype=torch.float64, device=y_pred.device)
    if (y_pred >= 0).all() and torch.allclose(y_pred.sum(1), one, atol=1e-4):
        return "Softmax"
    if (y_pred <= 0).all() and torch.allclose(y_pred.exp().sum(1), one, atol=1e-4):
        return "LogSoftmax"
    return "logits"


def identity(outputs: torch.Tensor) -> torch.Tensor:
    """Return outputs as they are."""
    return outputs


def class_response(criterion: Any, kind: str | None) -> Response | None:
    """Return what turns outputs into probabilities of classes, if that is known.

    Parameters
    ----------
    criterion : torch.nn.Module
        A loss over classes.
    kind : {"logits", "Softmax", "LogSoftmax"} or None
        Of the network's outputs, see `output_kind`; None where they were never seen.

    Returns
    -------
    response : callable or None
        None if neither the loss nor the outputs tell: a loss that is not torch's may
        read anything into them.
    """
    if isinstance(criterion, nn.CrossEntropyLoss):
        return NONLINEARITIES["softmax"]
    if kind == "Softmax":
        return identity
    if kind == "LogSoftmax":
        return torch.exp
    if isinstance(criterion, nn.MultiMarginLoss):
        return NONLINEARITIES["softmax"]
    # skorch pairs it with networks that return probabilities.
    return identity if isinstance(criterion, nn.NLLLoss) and kind is None else None


def multilabel_response(criterion: Any) -> Response | None:
    """Return what turns outputs into the probability of each label, if it is known.

    Returns
    -------
    response : callable or None
        For a loss of differences from 0 and 1, outputs as far as they are between. None
        for a loss that is not torch's, which may read anything into outputs.
    """
    if isinstance(criterion, (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss)):
        return NONLINEARITIES["sigmoid"]
    if type(criterion) in OF_DIFFERENCES:
        return partial(torch.clamp, min=0, max=1)
    return identity if isinstance(criterion, nn.BCELoss) else None


def regression_response(criterion: Any) -> Response | None:
    """Return what brings outputs onto the scale of targets, by the loss.

    Returns
    -------
    response : callable or None
        None for a loss that compares distances, of which no target can be told. For a
        loss that is not torch's, outputs are taken to be on the scale of targets.
    """
    if isinstance(criterion, nn.PoissonNLLLoss):
        return torch.exp if criterion.log_input else identity
    if isinstance(criterion, nn.KLDivLoss):
        return identity if criterion.log_target else torch.exp
    if isinstance(criterion, (nn.BCEWithLogitsLoss, nn.MultiLabelSoftMarginLoss)):
        return torch.sigmoid
    if isinstance(criterion, nn.CrossEntropyLoss):
        return NONLINEARITIES["softmax"]
    if isinstance(criterion, nn.SoftMarginLoss):
        return _expected_sign
    return None if isinstance(criterion, nn.HingeEmbeddingLoss) else identity


def _expected_sign(outputs: torch.Tensor) -> torch.Tensor:
    """Return the mean of targets that are -1 or 1, whose log-odds are given."""
    return torch.tanh(outputs / 2)


def constant_loss(
    criterion: nn.Module, y: torch.Tensor, sample_weight: torch.Tensor | None
) -> float | None:
    """Return the least loss of a prediction that does not depend on the image.

    Parameters
    ----------
    criterion : torch.nn.Module
    y : torch.Tensor of shape (n,) or (n, k)
        Class numbers, labels (as uint8) or regression targets of the training rows.
    sample_weight : torch.Tensor of shape (n,) or (n, k), default=None

    Returns
    -------
    loss : float or None
        The entropy of the class frequencies for cross-entropy, the mean of those of
        all labels for binary cross-entropy, the variance for squared error; None for
        criteria that it is not known for.
    """
    if getattr(criterion, "reduction", None) != "mean":
        return None
    values = y.detach().cpu().numpy()
    weight = None if sample_weight is None else sample_weight.cpu().numpy()
    if values.dtype == np.uint8 and type(criterion) in OVER_LABELS:
        given = criterion.weight, getattr(criterion, "pos_weight", None)
        return _constant_entropy(values, weight) if given == (None, None) else None
    if weight is not None and weight.ndim > 1:
        return None
    if type(criterion) is nn.CrossEntropyLoss and criterion.weight is None:
        if values.ndim == 2:  # Probabilities of classes.
            frequency = np.average(values, axis=0, weights=weight)
        else:
            frequency = np.bincount(values, weight)
        frequency = frequency / frequency.sum()
        smoothing = criterion.label_smoothing
        frequency = (1 - smoothing) * frequency + smoothing / len(frequency)
        return float(-(frequency * np.log(np.maximum(frequency, 1e-300))).sum())
    if type(criterion) is nn.MSELoss:
        mean = np.average(values, axis=0, weights=weight)
        return float(np.average((values - mean) ** 2, axis=0, weights=weight).mean())
    return None


def _constant_entropy(y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean entropy of columns of 0 and 1, whose weights have a mean of 1."""
    weights = np.ones(y.shape) if weight is None else weight.reshape(len(y), -1)
    weights = np.broadcast_to(weights, y.shape)
    total = weights.sum(axis=0)
    found = (weights * y).sum(axis=0)
    lost = -xlogy(found, found / np.maximum(total, 1e-300))
    lost -= xlogy(total - found, (total - found) / np.maximum(total, 1e-300))
    return float(lost.mean() / len(y))
