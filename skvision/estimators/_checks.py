"""What parameters say together, and whether network, loss and data fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from skorch.history import History
from torch import nn

from skvision._random import isolated_random_state
from skvision.estimators._callbacks import is_callback
from skvision.estimators._schedules import check_policy
from skvision.preprocessing._augment import check_transforms
from skvision.training._losses import output_kind

__all__ = [
    "check_autoencoder",
    "check_batches",
    "check_labels",
    "check_not_masked",
    "check_order",
    "check_settings",
    "class_weights",
    "mean_image_loss",
    "try_loss",
    "wrong_order",
]

# How many images, images to decode, and values tell what the mean image would lose.
_N_COMPARED, _N_DECODED, _VALUES_COMPARED = 1000, 100, 2**24


def check_settings(net: Any) -> None:
    """Check parameters that more than their types decide about.

    Raises
    ------
    TypeError, ValueError
        If one is wrong, or contradicts another one.
    """
    _check_contradictions(net)
    shape = net.image_shape
    if shape is not None and not (
        len(shape) == 3 and all(isinstance(n, Integral) and int(n) > 0 for n in shape)
    ):
        raise ValueError(
            f"image_shape={shape!r} should be three positive ints, (channels, height, "
            "width)."
        )
    for pattern in () if net.freeze is None else np.atleast_1d(net.freeze).tolist():
        if not isinstance(pattern, str):
            raise TypeError(
                f"freeze={net.freeze!r} should be 'encoder', 'backbone' or patterns of "
                "parameter names."
            )
    for name in ("augment", "noise"):
        check_transforms(getattr(net, name, None), name)
    for callback in () if net.callbacks in (None, "disable") else net.callbacks:
        one = callback[1] if isinstance(callback, tuple) else callback
        if not is_callback(one):
            raise TypeError(
                f"callbacks should hold skorch's callbacks, or pairs of a name and a "
                f"callback; got {callback!r}. What is to be one of them needs the "
                "methods of skorch.callbacks.Callback."
            )
        check_policy(one)


def _check_contradictions(net: Any) -> None:
    if net.amp and net.dtype == "float64":
        raise ValueError(
            "amp=True computes in bfloat16, dtype='float64' in float64; set one of "
            "them."
        )
    if net.early_stopping and net.train_split:
        raise ValueError(
            "early_stopping=True holds out validation_fraction of the rows by "
            "itself; set either early_stopping or train_split, not both."
        )
    if net.early_stopping and net.callbacks == "disable":
        raise ValueError(
            "early_stopping=True works by a callback; callbacks='disable' "
            "contradicts it."
        )


def check_batches(net: Any, loader: Any) -> None:
    """Check that there is a batch to train on.

    Raises
    ------
    ValueError
        If all rows are left out.
    """
    if hasattr(loader.loader, "__len__") and len(loader) == 0:
        raise ValueError(
            f"There is no batch: batch_size={net.batch_size} is more than the rows of "
            "X, and iterator_train__drop_last=True leaves out what is less. Choose a "
            "smaller batch_size, or iterator_train__drop_last=False."
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


def check_order(settings: Mapping[str, Any]) -> None:
    """Check the ``iterator_valid__*`` parameters.

    Raises
    ------
    ValueError
        If predictions would come in another order than the images, or not for all.
    """
    for name in ("shuffle", "drop_last"):
        if settings.get(name):
            raise ValueError(
                f"iterator_valid__{name}={settings[name]!r}: predictions must come for "
                f"each row of X and in the order of X. Set iterator_valid__{name}="
                f"False; iterator_train__{name} is for training."
            )


def wrong_order(iterator: Any) -> ValueError:
    """Return the error for an iterator that does not keep to the rows."""
    return ValueError(
        f"iterator_valid={getattr(iterator, '__name__', iterator)} does not give each "
        "row of X once and in the order of X, so that predictions would belong to "
        "other images. Set its iterator_valid__* parameters so that it does neither "
        "shuffle, sample nor leave out rows."
    )


def try_loss(net: Any, data: Any) -> None:
    """Compute the loss of some rows, so that what does not fit shows before training.

    Raises
    ------
    ValueError
        If augmentation changes the size of images, or the criterion does not take
        outputs and targets.
    """
    given, net = net, _on_trial(net)
    # Other numbers of rows than outputs, which a loss might take for each other.
    n_rows = 3 if getattr(net, "n_outputs_", None) == 2 else 2
    batch = data[np.arange(min(n_rows, len(data)))]
    X, y, *weight = (part.to(net.device_) for part in batch)
    if data.images.steps is not None:
        X = data.images.steps(X)
    net._enter_mode(training=False)
    with torch.no_grad():
        images, target, *weight = net._prepared((X, y, *weight), training=True)
        if net.compile:
            # The network itself, since to compile it for these rows would take long.
            outputs = net._finished(net.module_.forward(net._to_input(images)))
        else:
            outputs = net.infer(images)
        if net._output_kind is None:
            # It was initialized before it saw images.
            first = outputs[0] if isinstance(outputs, tuple) else outputs
            given._output_kind = net._output_kind = output_kind(first)
        try:
            with warnings.catch_warnings():
                # That shapes differ, of losses that compare all with all.
                warnings.filterwarnings("error", "Using a target size")
                loss = net._loss(outputs, target, images, weight, training=True)
        except (IndexError, RuntimeError, TypeError, ValueError, UserWarning) as error:
            raise ValueError(_misfit(net, outputs, target, error)) from error
    if loss.ndim:
        raise ValueError(
            f"The criterion {_shown(net)} returned {tuple(loss.shape)} values for a "
            "batch; expected one: set criterion__reduction to 'mean'."
        )


def _on_trial(net: Any) -> Any:
    """Return an estimator that can record in its history, and which is then forgotten.

    Losses of the user's may count their calls, and record parts of what they return.
    """
    trial = object.__new__(type(net))
    vars(trial).update(vars(net), history_=History())
    trial.history_.new_epoch()
    trial.history_.new_batch()
    return trial


def check_autoencoder(network: nn.Module) -> None:
    """Check that a network is made of an encoder and a decoder."""
    for part in ("encoder", "decoder"):
        if not isinstance(getattr(network, part, None), nn.Module):
            raise ValueError(
                f"The network {type(network).__name__} has no {part}: "
                "ImageAutoencoder needs one with submodules encoder and decoder."
            )


def mean_image_loss(net: Any, data: Any) -> float:
    """Return what an autoencoder would lose with the mean image for all images."""
    n = _N_COMPARED if data.images.reading == "memory" else _N_DECODED
    n = min(len(data), n, max(2, _VALUES_COMPARED // net.n_features_in_))
    rows = np.linspace(0, len(data) - 1, n).astype(int)
    with isolated_random_state(net.device_), torch.no_grad():
        X, _, *weight = (part.to(net.device_) for part in data[rows])
        X = X if data.images.steps is None else data.images.steps(X)
        images = net.scaler_(X)
        shares = weight[0].cpu() if weight else None
        mean = torch.from_numpy(np.average(images.cpu(), 0, shares)).to(images)
        return float(net._loss(mean.expand_as(images), images, X, weight, True))


def _misfit(net: Any, outputs: Any, target: torch.Tensor, error: Exception) -> str:
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return (
        f"The criterion {_shown(net)} cannot take outputs of shape "
        f"{tuple(first.shape)} and targets of shape {tuple(target.shape)}: {error} "
        "Choose another criterion, or other criterion__* parameters."
    )


def _shown(net: Any) -> str:
    settings = net.get_params_for("criterion")
    shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"{type(net.criterion_).__name__}({shown})"
