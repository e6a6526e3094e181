"""What networks have in common that can be trained as one."""

from __future__ import annotations

from typing import Any

from torch import nn

from skvision.estimators._run import TrainingRun
from skvision.model_selection._engines import is_dropout
from skvision.model_selection._purity import attributes_of, state_of

# Losses whose values for rows do not depend on other rows.
_ROW_LOSSES = (
    nn.BCEWithLogitsLoss,
    nn.CrossEntropyLoss,
    nn.NLLLoss,
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
)


def structure(member: TrainingRun) -> str:
    """Return what members of a stack have in common.

    Raises
    ------
    Unidentified
        If the state of a layer cannot be told.
    """
    net = member.net
    layers = [
        (name, type(layer), sorted(_settings(layer).items()))
        for name, layer in member.network.named_modules()
    ]
    tensors = [
        (name, tuple(value.shape), value.dtype, value.requires_grad)
        for name, value in member.network.state_dict(keep_vars=True).items()
    ]
    scaler = net.scaler_
    rest = (
        type(net),
        net.network_shape_,
        None if member.frozen is None else member.frozen.shape,
        scaler.mean is None,
        scaler.divisors,
        scaler.spec,
        getattr(member.data.sample_weight, "ndim", None),
        member.data.images.dtype,
        member.channels_last,
        net.amp,
        net.dtype,
        str(net.device_),
    )
    return repr((layers, tensors, rest))


def _settings(layer: Any) -> dict[str, Any]:
    """Return attributes of a layer by which networks of other structures differ."""
    # The probability of dropout may differ: each network draws for itself.
    free = ("p", "inplace") if is_dropout(layer) else ()
    attributes = attributes_of(layer).items()
    return {key: state_of(value) for key, value in attributes if key not in free}


def criterion_key(member: TrainingRun) -> str | None:
    """Return what tells criteria apart, or None if rows cannot be told apart."""
    net, criterion = member.net, member.net.criterion_
    settings = {
        k: v
        for k, v in vars(criterion).items()
        if not k.startswith("_") and k != "training"
    }
    if (
        type(criterion) not in _ROW_LOSSES
        or "forward" in settings
        or any(hooks for name, hooks in vars(criterion).items() if "_hooks" in name)
        or any(True for _ in criterion.buffers())
        or criterion.reduction not in ("mean", "sum")
        or getattr(criterion, "ignore_index", -1) >= 0
    ):
        return None
    scale = getattr(net.scaler_, "target", None)
    scale = scale and [v.tolist() for v in (scale.mean, scale.std)]
    reduction = getattr(net, "reduction", None)
    return repr((type(criterion).__name__, settings, reduction, scale))
