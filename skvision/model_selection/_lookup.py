"""Estimators that take their fit from those that have been made already."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skvision._compat import routing_enabled
from skvision.model_selection._fits import StackedFits

__all__ = ["ROWS", "FixedSplits", "looking_up"]

#: Metadata of ``fit``: scikit-learn hands it on for the rows of a fold alone, which
#: tells one fit from the other.
ROWS = "rows_of_X"


def looking_up(estimator: Any, fits: StackedFits) -> Any:
    """Return a clone of an estimator whose ``fit`` takes what `fits` has.

    Once fitted, it and its clones are of the estimator's own class.
    """
    own = type(estimator)
    requests = {k: v for k, v in vars(estimator).items() if k == "_metadata_request"}

    class LookingUp(own):  # type: ignore[misc, valid-type]
        def fit(self, X, y=None, rows_of_X=None, **fit_params):
            params = self.get_params()
            self.__class__ = own
            vars(self).pop("_metadata_request", None)
            vars(self).update(requests)
            if (found := fits.take(params, rows_of_X)) is None:
                # Targets that X carries are looked for by fit itself.
                targets = () if y is None else (y,)
                return self.fit(X, *targets, **fit_params)
            if found.error is not None:
                raise found.error
            vars(self).update(vars(found.net))
            return self

    LookingUp.__name__, LookingUp.__qualname__ = own.__name__, own.__qualname__
    LookingUp.__module__ = own.__module__
    new = clone(estimator)
    new.__class__ = LookingUp
    if routing_enabled():
        new.set_fit_request(**{ROWS: True})
    return new


class FixedSplits:
    """A splitter whose splits have been made."""

    def __init__(self, splits: list[tuple[np.ndarray, np.ndarray]], cv: Any) -> None:
        self.splits = splits
        self.cv = cv

    def split(self, X=None, y=None, groups=None, **params):
        """Return them."""
        return iter(self.splits)

    def get_n_splits(self, X=None, y=None, groups=None, **params):
        """Return how many there are."""
        return len(self.splits)

    def __getattr__(self, name: str) -> Any:
        # What metadata the splits were made from is asked of the splitter.
        return getattr(vars(self)["cv"], name)
