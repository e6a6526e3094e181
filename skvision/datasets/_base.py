"""What the fetchers and loaders have in common."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import resample
from sklearn.utils._param_validation import Interval, RealNotInt

__all__ = ["CHOICE_CONSTRAINTS", "choose"]

#: Of the parameters that choose samples, for scikit-learn's validate_params.
CHOICE_CONSTRAINTS = {
    "classes": ["array-like", None],
    "n_samples": [
        Interval(Integral, 1, None, closed="left"),
        Interval(RealNotInt, 0, 1, closed="neither"),
        None,
    ],
    "random_state": ["random_state"],
    "return_X_y": ["boolean"],
}


def choose(
    target: np.ndarray,
    names: dict[int, str],
    classes: Any,
    n_samples: Any,
    random_state: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and the class names that `classes` and `n_samples` choose.

    Parameters
    ----------
    target : ndarray of shape (n,)
        Labels of all samples.
    names : dict
        Name of each label's class.
    classes, n_samples, random_state
        As given to a fetcher.

    Returns
    -------
    rows : ndarray of int
        In increasing order.
    target_names : ndarray of str
        In the order of the labels.
    """
    if classes is None:
        labels = sorted(names)
        rows = np.arange(len(target))
    else:
        labels = _chosen_labels(classes, names)
        rows = np.flatnonzero(np.isin(target, labels))
    if n_samples is not None:
        if n_samples > len(rows):
            raise ValueError(
                f"n_samples={n_samples} was asked for, but only {len(rows)} samples "
                "are available in the chosen subset and classes."
            )
        if not isinstance(n_samples, Integral):
            n_samples = max(1, round(n_samples * len(rows)))
        rows = resample(
            rows,
            replace=False,
            n_samples=n_samples,
            stratify=target[rows],
            random_state=random_state,
        )
        rows.sort()
    return rows, np.array([names[label] for label in labels])


def _chosen_labels(classes: Any, names: dict[int, str]) -> list[int]:
    known: dict[Any, int] = {label: label for label in names}
    known |= {name: label for label, name in names.items()}
    labels = set()
    for name in classes:
        # A bool would pass as label 0 or 1 where a mask was meant.
        is_key = isinstance(name, (str, Integral)) and not isinstance(name, bool)
        if not is_key or name not in known:
            available = ", ".join(f"{key} ({names[key]})" for key in sorted(names))
            raise ValueError(
                f"classes={classes!r} contains {name!r}, which is neither the label "
                f"nor the name of a class. Available are {available}."
            )
        labels.add(known[name])
    if not labels:
        raise ValueError("classes is empty; expected at least one label or name.")
    return sorted(labels)
