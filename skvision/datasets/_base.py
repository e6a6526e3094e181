"""What the fetchers and loaders have in common."""

from __future__ import annotations

import difflib
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import Bunch, resample

from skvision._compat import Interval, RealNotInt
from skvision._warnings import warn

#: Of the parameters that choose samples, for scikit-learn's validated.
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


def chosen(
    found: tuple[np.ndarray, np.ndarray, dict[int, str]],
    descr: str,
    classes: Any,
    n_samples: Any,
    random_state: Any,
    return_X_y: bool,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Return what a fetcher does, of all images, labels and names of classes."""
    data, target, names = found
    rows, target, target_names = choose(target, names, classes, n_samples, random_state)
    data = np.ascontiguousarray(data[rows])
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, target_names=target_names, DESCR=descr)


def choose(
    target: np.ndarray,
    names: dict[int, str],
    classes: Any,
    n_samples: Any,
    random_state: Any,
    *,
    absent: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows that `classes` and `n_samples` choose, and their classes.

    Parameters
    ----------
    target : ndarray of shape (n,)
        Labels of all samples.
    names : dict
        Name of each label's class.
    classes, n_samples, random_state
        As given to a fetcher.
    absent : bool, default=False
        Whether `classes` may name some that there are not.

    Returns
    -------
    rows : ndarray of int
        In increasing order.
    codes : ndarray of int64
        Positions in `target_names` of the classes of these rows.
    target_names : ndarray of str
        In the order of the labels; with absent ones, in that of the alphabet.
    """
    keys: list[int | str] = sorted(names)
    if classes is not None:
        keys = _keys(classes, names, absent)
    labels = np.array([key if key in names else -1 for key in keys])
    rows = np.flatnonzero(np.isin(target, labels[labels >= 0]))
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
    order = np.argsort(labels)
    codes = order[np.searchsorted(labels, target[rows], sorter=order)]
    target_names = np.array([names.get(key, key) for key in keys])  # type: ignore
    return rows, codes.astype(np.int64), target_names


def _keys(classes: Any, names: dict[int, str], absent: bool) -> list[int | str]:
    """Return the labels of classes in their order, and the names of absent ones."""
    known: dict[Any, int] = {label: label for label in names}
    known |= {name: label for label, name in names.items()}
    found, lacking, unknown = set(), set(), []
    for name in classes:
        # A bool would pass as label 0 or 1 where a mask was meant.
        is_key = isinstance(name, (str, Integral)) and not isinstance(name, bool)
        if is_key and name in known:
            found.add(known[name])
        elif absent and isinstance(name, str):
            lacking.add(str(name))
        else:
            unknown.append(name)
    if not len(classes):
        raise ValueError("classes is empty; expected at least one label or name.")
    if unknown or not found:
        name = [*unknown, *classes][0]
        available = ", ".join(f"{key} ({names[key]})" for key in sorted(names))
        raise ValueError(
            f"classes={classes!r} contains {name!r}, which is neither the label nor "
            f"the name of a class. Available are {available}."
        )
    others = [name for label, name in names.items() if label not in found]
    for name in sorted(lacking):
        for other in difflib.get_close_matches(name, others, n=1, cutoff=0.8):
            warn(
                f"classes has {name!r}, of which there are no images, but lacks "
                f"{other!r}, of which there are. Is it misspelt?"
            )
    if not lacking:
        return sorted(found)
    return sorted([*found, *lacking], key=lambda key: names.get(key, key))  # type: ignore
