"""Targets: how they are encoded, scaled and decoded, and which a loss is made for.

`LabelCodec`, `NumberCodec` and `NoTarget` have the same methods. One of them holds what
was learnt of the targets of a fit; its `facts` are the attributes of the estimator
that tell it, from which `of` makes it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from torch import nn

from skvision._warnings import warn
from skvision.images._names import warn_if_hidden

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


class NoTarget:
    """Of estimators that compare images with themselves."""

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> NoTarget | None:
        """Return what a fitted estimator's attributes tell, None before a fit."""
        return cls()

    @classmethod
    def check(cls, y: Any) -> Any:
        """Return targets of the user's as an array, if they may be such.

        Raises
        ------
        ValueError
            If they may not.
        """
        return None

    @classmethod
    def learnt(cls, y: Any, classes: Any, names: Any, title: str) -> NoTarget:
        """Return what is to be learnt of checked targets of a fit.

        Parameters
        ----------
        y : ndarray or None
        classes : array-like or None
            All labels that may come, where the user names them.
        names : dict or None
            Names of classes by their labels, where X has such.
        title : str
            Of the estimator, for errors.

        Raises
        ------
        ValueError
            If it cannot be learnt.
        """
        return cls()

    @classmethod
    def assumed(cls, n_outputs: int) -> NoTarget | None:
        """Return what targets are taken to be for weights without a fit, if anything.

        Parameters
        ----------
        n_outputs : int
            Of the network that has the weights.
        """
        return None

    def facts(self) -> dict[str, Any]:
        """Return the attributes of an estimator that tell what was learnt."""
        return {}

    def check_same(self, y: Any, classes: Any) -> None:
        """Check that targets of a later call are like those of the first.

        Raises
        ------
        ValueError
            If they are others.
        """

    def encode(self, y: Any) -> torch.Tensor | None:
        """Return checked targets as losses get them."""
        return None

    def strata(self, targets: Any) -> np.ndarray | None:
        """Return what a hold-out has its share of, for each row, or None."""
        return None

    def shown(self, targets: Any) -> Any:
        """Return encoded targets as the user has them."""
        return targets


class LabelCodec(NoTarget):
    """Numbers the labels of a classification.

    Parameters
    ----------
    classes : ndarray of shape (k,)
        The labels, sorted.
    names : ndarray of shape (k,), default=None
        Of the classes.
    """

    def __init__(self, classes: np.ndarray, names: np.ndarray | None = None) -> None:
        self.classes, self.names = classes, names

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> LabelCodec | None:
        classes = attributes.get("classes_inferred_")
        return None if classes is None else cls(classes, attributes.get("class_names_"))

    @classmethod
    def check(cls, y: Any) -> np.ndarray:
        check_labels(y, "y")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return y

    @classmethod
    def learnt(cls, y: Any, classes: Any, names: Any, title: str) -> LabelCodec:
        found = np.unique(y if classes is None else _checked_classes(classes))
        if len(found) < 2:
            raise ValueError(
                f"{title} needs at least 2 classes; y has 1 class, {found.tolist()}."
            )
        if not names or not all(label in names for label in found.tolist()):
            return cls(found)
        warn_if_hidden(known := [names[label] for label in found.tolist()])
        return cls(found, np.array(known))

    @classmethod
    def assumed(cls, n_outputs: int) -> LabelCodec | None:
        return cls(np.arange(n_outputs)) if n_outputs > 1 else None

    def facts(self) -> dict[str, Any]:
        facts = {"classes_inferred_": self.classes, "n_outputs_": len(self.classes)}
        return facts if self.names is None else {**facts, "class_names_": self.names}

    def check_same(self, y: Any, classes: Any) -> None:
        if y.ndim != 1:
            raise ValueError(
                f"y has shape {y.shape}, but that of the first fit had one label per "
                f"image, of the classes {self.classes.tolist()}."
            )
        if classes is None:
            return
        if not np.array_equal(np.unique(_checked_classes(classes)), self.classes):
            raise ValueError(
                f"classes={classes!r} differs from that of the first call, "
                f"{self.classes.tolist()}."
            )

    def encode(self, y: Any) -> torch.Tensor:
        known = np.isin(y, self.classes)
        if not known.all():
            raise ValueError(
                f"y contains the label(s) {np.unique(y[~known]).tolist()}, which are "
                f"not among the classes {self.classes.tolist()}. Leave these rows "
                "out, or give all labels to the first call of partial_fit by classes=."
            )
        return torch.from_numpy(np.searchsorted(self.classes, y))

    def strata(self, targets: torch.Tensor) -> np.ndarray:
        return targets.numpy()

    @cached_property
    def _are_numbers(self) -> bool:
        return np.array_equal(self.classes, np.arange(len(self.classes)))

    def shown(self, targets: torch.Tensor) -> Any:
        if self._are_numbers:
            return targets
        # Scorers compare with what predict returns, labels.
        return self.classes[targets.cpu().numpy()]

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the label of the greatest output in each row."""
        return self.classes[outputs.argmax(axis=1)]


class NumberCodec(NoTarget):
    """Brings the targets of a regression into columns, and back.

    Parameters
    ----------
    shape : tuple of int
        Of the targets of a row: () or (k,).
    dtype : numpy.dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.float64) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> NumberCodec | None:
        if "_target_shape" not in attributes:
            return None
        return cls(attributes["_target_shape"], attributes["_target_dtype"])

    @classmethod
    def check(cls, y: Any) -> np.ndarray:
        check_not_masked(y, "y")
        dtypes = [np.float64, np.float32]
        y = check_array(y, ensure_2d=False, dtype=dtypes, input_name="y")
        if y.ndim not in (1, 2):
            raise ValueError(
                f"Expected y of shape (n,) or (n, k); got shape {y.shape}."
            )
        return y

    @classmethod
    def learnt(cls, y: Any, classes: Any, names: Any, title: str) -> NumberCodec:
        return cls(y.shape[1:], y.dtype)

    @classmethod
    def assumed(cls, n_outputs: int) -> NumberCodec:
        return cls(() if n_outputs == 1 else (n_outputs,))

    @property
    def n_outputs(self) -> int:
        """Number of targets of a row."""
        return math.prod(self.shape)

    def facts(self) -> dict[str, Any]:
        return {
            "_target_shape": self.shape,
            "_target_dtype": self.dtype,
            "n_outputs_": self.n_outputs,
        }

    def check_same(self, y: Any, classes: Any) -> None:
        if y.shape[1:] != self.shape:
            raise ValueError(
                f"y has shape {y.shape}, but the targets of the first fit had "
                f"{self.n_outputs} column(s), shape {('n', *self.shape)}."
            )

    def encode(self, y: Any) -> torch.Tensor:
        # Two axes always: the difference of (b, 1) and (b,) would be (b, b).
        columns = np.array(y, order="C").reshape(len(y), self.n_outputs)
        return torch.from_numpy(columns)

    def shown(self, targets: torch.Tensor) -> torch.Tensor:
        return targets.reshape(len(targets), *self.shape)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs in the shape and type of the targets."""
        outputs = outputs.astype(self.dtype, copy=False)
        return outputs.reshape(len(outputs), *self.shape)


def _checked_classes(classes: Any) -> Any:
    """Return labels that the user announces, if they may be such."""
    if np.ndim(classes) != 1 or len(classes) < 2:
        raise ValueError(
            f"classes={classes!r} should be an array of all labels, at least 2."
        )
    check_labels(classes, "classes")
    return classes


def learn_target_scale(
    scaler: TargetScaler,
    data: Any,
    *,
    normalizes: bool,
    trained: TargetScaler | None,
    device: torch.device,
) -> None:
    """Let a regressor's scaler learn of training rows, or compare it with them.

    It warns of rows that are far from those that it has learnt of before.

    Parameters
    ----------
    scaler : TargetScaler
    data : ImageDataset
        Training rows.
    normalizes : bool
        Whether the loss is to compare normalised targets.
    trained : TargetScaler or None
        That of a pretrained network, whose head is taken over.
    device : torch.device
    """
    y, weight = data.y, data.sample_weight
    if scaler.mean is not None and scaler.std is not None:
        if not scaler.suits(y):
            warn(
                f"y goes from {y.min():.6g} to {y.max():.6g}, far from the targets of "
                f"the first fit, of mean {scaler.mean.tolist()} and standard deviation "
                f"{scaler.std.tolist()}, whose scale is kept while training goes on. "
                "Give y on that scale, or call fit with warm_start=False."
            )
    elif not normalizes:
        n_columns = y.shape[1]
        scaler.set_statistics(np.zeros(n_columns), np.ones(n_columns), device=device)
    elif trained is not None and trained.mean is not None and trained.suits(y):
        # The head gives what was on this scale.
        scaler.set_statistics(trained.mean, trained.std, device=device)
    else:
        weight = None if weight is None else weight.numpy()
        scaler.learn(y.numpy(), weight, device=device)


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
    if not isinstance(given, (Mapping, str)):
        raise ValueError(
            f"class_weight={given!r} is for a y of several columns, but there is one "
            "label per image: give 'balanced' or a dict of labels and weights."
        )
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


# Standard deviations beyond which targets are not those of the same question.
_FAR = 10.0


class TargetScaler(nn.Module):
    """Subtract the mean of each column of y, and divide by its standard deviation.

    All is computed in float64: of targets near 1e6 that differ by 1, float32 would
    lose most. What is not known yet, and a mean of 0 with a deviation of 1, leave
    values as they are.

    Parameters
    ----------
    mean, std : array-like of shape (k,), default=None
        Of each column; None where they are not known yet.

    Examples
    --------
    >>> import numpy as np
    >>> from skvision.training._targets import TargetScaler
    >>> scaler = TargetScaler()
    >>> _ = scaler.learn(np.array([[1.0], [3.0]]))
    >>> scaler(torch.tensor([[5.0]]))
    tensor([[3.]], dtype=torch.float64)
    """

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(self, mean: Any = None, std: Any = None) -> None:
        super().__init__()
        self.register_buffer("mean", None)
        self.register_buffer("std", None)
        self.set_statistics(mean, std)

    def set_statistics(self, mean: Any, std: Any, device: Any = "cpu") -> None:
        """Set what is subtracted and divided by, one number per column."""
        for name, value in (("mean", mean), ("std", std)):
            if value is not None:
                value = torch.as_tensor(value, dtype=torch.float64, device=device)
            setattr(self, name, value)
        self.changes = (
            self.mean is not None
            and self.std is not None
            and not bool((self.mean == 0).all() and (self.std == 1).all())
        )

    def learn(
        self,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        device: Any = "cpu",
    ) -> TargetScaler:
        """Take mean and deviation from targets of shape (n, k).

        A column without variation is divided by its value, so that predictions of it
        are near in its own terms.
        """
        y = y.astype(np.float64)
        # Squares of what is very large or small are no numbers any more.
        size = np.abs(y).max(axis=0)
        size[size == 0] = 1
        mean = np.average(y / size, axis=0, weights=sample_weight) * size
        rest = np.abs(y - mean).max(axis=0)
        rest[rest == 0] = 1
        squares = ((y - mean) / rest) ** 2
        std = np.sqrt(np.average(squares, axis=0, weights=sample_weight)) * rest
        constant = (y.max(axis=0) == y.min(axis=0)) | (std == 0)
        mean = np.where(constant, y[0], mean)
        self.set_statistics(mean, np.where(constant, size, std), device)
        return self

    def suits(self, y: torch.Tensor) -> bool:
        """Whether targets of shape (n, k) are of the size that was learnt.

        They are not where all are far from the mean, or differ by next to nothing.
        """
        if not self.changes:
            return True
        compared = self(y.to(self.mean))
        spread = compared.std(0, correction=0)
        far = compared.square().mean(0).sqrt() > _FAR
        close = (spread < 1 / _FAR**3) & (spread > 0)
        return not bool((far | close).any())

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return targets, (..., k), as the loss compares them."""
        if self.mean is None or self.std is None or not self.changes:
            return y
        return (y.double() - self.mean) / self.std

    def undo(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return a network's outputs, (..., k), on the scale of the targets."""
        if self.mean is None or self.std is None or not self.changes:
            return outputs
        return outputs.double() * self.std + self.mean

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        # Files from before targets were scaled have none, and a scaler that has learnt
        # nothing yet takes any number of columns.
        for name, value in (("mean", 0.0), ("std", 1.0)):
            found = state_dict.setdefault(prefix + name, torch.tensor(value))
            setattr(self, name, torch.empty_like(found, dtype=torch.float64))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.set_statistics(self.mean, self.std, found.device)
