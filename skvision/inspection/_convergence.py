"""When a training had converged."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from skorch.history import History

from skvision._compat import Interval, validated
from skvision.inspection._source import history_of


@validated(
    source="no_validation",
    key=[str],
    tol=[Interval(Real, 0, None, closed="neither")],
    n_epochs=[Interval(Integral, 1, None, closed="left")],
)
def convergence_epoch(
    source: Any, key: str = "valid_acc", *, tol: float = 1e-3, n_epochs: int = 1
) -> int | None:
    """Find the epoch at which a value has stopped changing.

    Parameters
    ----------
    source : estimator, skorch.history.History or sequence of float
        A fitted estimator, a pipeline that ends in one, a search over either, its
        history, or the values themselves, one per epoch.
    key : str, default="valid_acc"
        Column of the history.
    tol : float, default=1e-3
        A change by less than this counts as none.
    n_epochs : int, default=1
        For how many epochs in a row the value must not have changed.

    Returns
    -------
    epoch : int or None
        The last of the first `n_epochs` epochs in a row, counted from 1, in each of
        which the value differs by less than `tol` from that of the epoch before; so at
        least ``n_epochs + 1``. None if there are none.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If there are no values in `source`.
    ValueError
        If the history has no column `key`, or a parameter is out of its range.

    See Also
    --------
    HistoryDisplay : Draws such values.

    Notes
    -----
    A change to or from a value that is missing, infinite or NaN is a change.

    Examples
    --------
    >>> from skvision.inspection import convergence_epoch
    >>> accuracy = [0.71, 0.80, 0.8004, 0.83, 0.8301, 0.8303]
    >>> convergence_epoch(accuracy)
    3
    >>> convergence_epoch(accuracy, n_epochs=2)
    6
    """
    values = _values(source, key)
    with np.errstate(invalid="ignore"):
        unchanged = np.abs(np.diff(values)) < tol
    in_a_row = 0
    for epoch, same in enumerate(unchanged, start=2):
        in_a_row = in_a_row + 1 if same else 0
        if in_a_row == n_epochs:
            return epoch
    return None


def _values(source: Any, key: str) -> np.ndarray:
    """Return a value for each epoch, NaN where there is none."""
    is_known = isinstance(source, (str, History)) or hasattr(source, "fit")
    if not is_known and (isinstance(source, Sequence) or hasattr(source, "__array__")):
        try:
            values = np.asarray(source, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"Expected a sequence of numbers, one per epoch; got {source!r}."
            ) from error
        if values.ndim != 1:
            raise ValueError(
                "Expected a sequence of numbers, one per epoch; got an array of shape "
                f"{values.shape}."
            )
        return values
    history = history_of(source)
    if not any(key in row for row in history):
        columns = dict.fromkeys(name for row in history for name in row)
        columns.pop("batches", None)
        raise ValueError(
            f"The history has no column {key!r}. It has: {', '.join(columns)}."
            if columns
            else f"The history has no column {key!r}, since it is empty."
        )
    return np.asarray([row.get(key, np.nan) for row in history], dtype=np.float64)
