"""Names of classes that X carries beside its labels, which other data number anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch.utils.data import ConcatDataset

from skvision._warnings import warn
from skvision.images._files import is_hidden
from skvision.images._unwrap import is_own, unwrap

if TYPE_CHECKING:
    from skvision.images._sources import Source


class NamedLabels(NamedTuple):
    """Labels of an `ImageSequence` and the names of their classes.

    Attributes
    ----------
    y : ndarray of shape (n,)
        One for each image of the sequence.
    names : dict
        Name of each label's class.
    """

    y: np.ndarray
    names: Mapping[int, str]

    def take(self, key: Any) -> NamedLabels:
        """Return those of some images."""
        return NamedLabels(self.y[key], self.names)


def names_of(dataset: Any) -> dict[int, str] | None:
    """Return the names of classes by label that a data set carries, or None.

    Data sets have them as torchvision's do, in ``class_to_idx`` or ``classes``.

    Raises
    ------
    ValueError
        If data sets one after the other number their classes differently.
    """
    return _names_of(unwrap(dataset)[0])


def may_have_names(dataset: Any) -> bool:
    """Whether a data set carries names, unless its parts contradict each other."""
    base = unwrap(dataset)[0]
    return _is_joined(base) or _names_of(base) is not None


def _is_joined(dataset: Any) -> bool:
    return type(dataset).__getitem__ is ConcatDataset.__getitem__


def _names_of(dataset: Any) -> dict[int, str] | None:
    """Return the names that a data set has for its labels."""
    if _is_joined(dataset):
        return _names_of_parts(dataset.datasets)
    if getattr(dataset, "target_transform", None) is not None:
        return None
    numbers = getattr(dataset, "class_to_idx", None)
    if isinstance(numbers, Mapping) and len({*numbers.values()}) == len(numbers):
        return _checked({label: name for name, label in numbers.items()})
    classes = getattr(dataset, "classes", None)
    if classes is None and is_own(dataset, "torchvision.datasets."):
        classes = getattr(dataset, "categories", None)
    if not isinstance(classes, (list, tuple, np.ndarray)):
        return None
    # ImageNet has several names for each class.
    joined = [", ".join(c) if isinstance(c, tuple) else c for c in classes]
    return _checked(dict(enumerate(joined)))


def _checked(names: dict[Any, Any]) -> dict[int, str] | None:
    """Return names by labels if they are such, and each but one."""
    if not all(
        isinstance(label, (int, np.integer)) and isinstance(name, str)
        for label, name in names.items()
    ):
        return None
    if not names or len({*names.values()}) < len(names):
        return None
    return {int(label): str(name) for label, name in names.items()}


def _names_of_parts(parts: Any) -> dict[int, str] | None:
    """Return the names of data sets one after the other, which must go together."""
    together: dict[int, str] = {}
    labels: dict[str, int] = {}
    for part in parts:
        names = _names_of(unwrap(part)[0])
        if names is None:
            return None
        for label, name in names.items():
            if together.setdefault(label, name) != name:
                other = f"{label} is {together[label]!r} in one and {name!r} in another"
            elif labels.setdefault(name, label) != label:
                other = f"{name!r} is {labels[name]} in one and {label} in another"
            else:
                continue
            raise ValueError(
                f"The parts of the ConcatDataset number their classes differently: "
                f"{other}. Give the parts a target_transform that makes them agree."
            )
    return together


def class_names_of(net: Any) -> Any:
    """Return the names of `classes_`, also of a pipeline or a search, or None."""
    while net is not None and not hasattr(net, "class_names_"):
        steps = getattr(net, "steps", None)
        net = steps[-1][1] if steps else getattr(net, "best_estimator_", None)
    return None if net is None else net.class_names_


def names_of_fitted(net: Any) -> dict[str, Any]:
    """Return the labels of a classifier by the names of their classes."""
    classes = getattr(net, "classes_", None)
    if classes is None or hasattr(net, "thresholds_"):
        return {}  # Of several labels per image, none is that of a class of X.
    names = class_names_of(net)
    if names is None:
        # Labels that are strings are names themselves.
        strings = all(isinstance(label, str) for label in classes)
        names = classes if strings else []
    return dict(zip(map(str, names), classes, strict=False))


def renamed(y: Any, names: Mapping[int, str] | None, net: Any) -> Any:
    """Return labels as a fitted classifier has them for the same names.

    Raises
    ------
    ValueError
        If a class is none of those that it was fitted on.
    """
    known = names_of_fitted(net)
    if names is None or not known:
        return y
    y = np.asarray(y)
    present, places = np.unique(y, return_inverse=True)
    unknown = [names[label] for label in present.tolist() if names[label] not in known]
    if unknown:
        raise ValueError(
            f"X has images of the class(es) {unknown}, but {type(net).__name__} was "
            f"fitted on {list(known)}. Leave these images out, or fit on all classes."
        )
    labels = np.asarray([known[names[label]] for label in present.tolist()])
    return labels[places]


def warn_if_numbered_otherwise(source: Source, net: Any) -> None:
    """Warn if X has other labels for the names of classes than a classifier has."""
    known = names_of_fitted(net)
    try:
        names = source.names() if known else None
    except ValueError:
        return  # Of data sets that contradict each other, which have images as well.
    for label, name in (names or {}).items():
        if name in known and known[name] not in (label, name):
            warn(
                f"X has other labels for its classes than {type(net).__name__} was "
                f"fitted on: {name!r} is {label} in X, and {known[name]} in classes_. "
                "Predictions are labels of classes_. Compare them with those of X by "
                "name, see class_names_; score(X) does so.",
            )
            return


def warn_if_codes(source: Source, net: Any) -> None:
    """Warn if a regressor gets, for numbers, the codes of classes with other names."""
    try:
        names = source.names()
    except ValueError:
        return  # Of data sets that contradict each other, whose labels stand.
    for label, name in (names or {}).items():
        if name.split()[:1] != [str(label)]:
            warn(
                f"y is None, so that {type(net).__name__} takes the codes of X's "
                f"classes for numbers: {label} is that of {name!r}. Other data may "
                "have other codes. Give the numbers that are meant as y.",
            )
            return


def warn_if_hidden(names: Any) -> None:
    """Warn of classes that are no classes of the user's."""
    hidden = [name for name in names if is_hidden(name)]
    if hidden:
        warn(
            f"X has the class(es) {hidden}, which look like hidden folders. Delete "
            "them, or load the images with load_image_folder, which leaves them out.",
        )


def nameless(X: Any) -> Any:
    """Return an ImageSequence without the names that it carries."""
    return X if getattr(X, "labels", None) is None else type(X)(X.reader, X.rows)
