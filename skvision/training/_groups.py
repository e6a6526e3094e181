"""Rows that belong together, and hold-outs that do not part them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skvision.images._arrays import as_numpy
from skvision.training._targets import check_labels

# Hold-outs that are drawn, of which the most even one is taken.
_N_DRAWS = 50


def check_groups(groups: Any) -> np.ndarray:
    """Return the groups that rows belong to, numbers or text, as an array.

    Raises
    ------
    ValueError
        If one is missing, or if they are not one for each row.
    """
    check_labels(groups, "groups")
    groups = np.asarray(as_numpy(groups, "groups"))
    if groups.ndim != 1:
        raise ValueError(
            f"groups has shape {groups.shape}; expected (n,), one for each row of X."
        )
    if groups.dtype.kind == "f" and np.isnan(groups).any():
        raise ValueError(
            f"groups contains NaN, at {np.isnan(groups).sum()} place(s). Give each row "
            "its group."
        )
    return groups


def rows_of_groups(
    groups: np.ndarray, strata: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to train on and rows to hold out, with no group on both sides.

    Of several hold-outs that are drawn, the one is taken that has most nearly the same
    part of each class.

    Parameters
    ----------
    groups : ndarray of shape (n,)
    strata : ndarray of shape (n,) or None
        The numbers of classes; each keeps rows to train on.
    fraction : float
        Of the groups to hold out.
    seed : int
        Of what is drawn.

    Raises
    ------
    ValueError
        If no group can be held out.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    classes = np.zeros(len(groups), int) if strata is None else strata
    free = _free_groups(numbers, classes)
    if not len(free):
        one = (
            f"all rows belong to {names.tolist()[0]!r}"
            if len(names) == 1
            else (f"each of the {len(names)} groups is the only one of some class")
        )
        raise ValueError(
            f"early_stopping=True cannot hold out whole groups: {one}. Give the "
            "rows to validate on as X_val and y_val, or leave groups out."
        )
    n_held = min(math.ceil(fraction * len(names)), len(free), len(names) - 1)
    totals = np.bincount(classes)
    rng = np.random.RandomState(seed)
    best, least = np.zeros(0, bool), math.inf
    for _ in range(_N_DRAWS):
        is_held = np.zeros(len(names), bool)
        is_held[rng.permutation(free)[:n_held]] = True
        rows = is_held[numbers]
        held = np.bincount(classes[rows], minlength=len(totals))
        missed = np.abs(held - fraction * totals).sum()
        if (held < np.maximum(totals, 1)).all() and missed < least:
            best, least = rows, missed
    if not len(best):
        raise ValueError(
            f"early_stopping=True cannot hold out {n_held} of the {len(names)} groups "
            "without all rows of some class. Set a smaller validation_fraction, or "
            "give the rows to validate on as X_val and y_val."
        )
    return np.flatnonzero(~best), np.flatnonzero(best)


def _free_groups(numbers: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the groups without which each class has rows left."""
    pairs = np.unique(np.stack([classes, numbers]), axis=1)
    _, places, counts = np.unique(pairs[0], return_index=True, return_counts=True)
    needed = pairs[1, places[counts == 1]]
    return np.setdiff1d(numbers, needed)
