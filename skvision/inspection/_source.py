"""What the functions of this package accept as an estimator."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import nn


def net_of(found: Any, expected: str = "an estimator with a network in module_") -> Any:
    """Return the fitted estimator that has a network.

    Parameters
    ----------
    found : estimator
        Such an estimator, or a pipeline that ends in one, or a search over either.
    expected : str, default="an estimator with a network in module_"
        What the error says it should have been.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    TypeError
        If there is none.
    """
    if isinstance(found, Pipeline):
        return net_of(found.steps[-1][1], expected)
    if hasattr(found, "fit"):
        check_is_fitted(found)
    if hasattr(found, "module_"):
        return found
    if hasattr(found, "best_estimator_"):
        return net_of(found.best_estimator_, expected)
    raise TypeError(f"Expected {expected}; got {type(found).__name__}.")


def network_of(found: Any) -> nn.Module:
    """Return a module as it is, or the network of what `net_of` takes."""
    if isinstance(found, nn.Module):
        return found
    return net_of(found, "a torch module or an estimator with one in module_").module_


def history_of(found: Any) -> History:
    """Return a skorch history as it is, or that of what `net_of` takes."""
    if isinstance(found, History):
        return found
    return net_of(found, "a skorch history or an estimator that has one").history
