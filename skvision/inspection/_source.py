"""What the functions of this package accept as an estimator."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import nn

__all__ = ["history_of", "net_of", "network_of"]


def net_of(found: Any) -> Any:
    """Return the fitted estimator that has a network.

    Parameters
    ----------
    found : estimator
        Such an estimator, or a pipeline that ends in one, or a search over either.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    TypeError
        If there is none.
    """
    if isinstance(found, Pipeline):
        return net_of(found.steps[-1][1])
    if hasattr(found, "fit"):
        check_is_fitted(found)
    if hasattr(found, "module_"):
        return found
    if hasattr(found, "best_estimator_"):
        return net_of(found.best_estimator_)
    raise TypeError(
        f"Expected an estimator with a network in module_; got {type(found).__name__}."
    )


def network_of(found: Any) -> nn.Module:
    """Return a module as it is, or the network of what `net_of` takes."""
    return found if isinstance(found, nn.Module) else net_of(found).module_


def history_of(found: Any) -> History:
    """Return a skorch history as it is, or that of what `net_of` takes."""
    return found if isinstance(found, History) else net_of(found).history
