"""Fits that have been made already, where scikit-learn asks for them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from joblib import parallel_config
from joblib.parallel import (
    LokyBackend,
    MultiprocessingBackend,
    SequentialBackend,
    ThreadingBackend,
    get_active_backend,
)

from skvision.estimators._builder import twin_of
from skvision.estimators._net import made_already
from skvision.model_selection._fits import StackedFits

_LOCAL = LokyBackend, MultiprocessingBackend, SequentialBackend, ThreadingBackend


@contextmanager
def handing_out(fits: StackedFits) -> Iterator[None]:
    """Let estimators of this thread take their fits from those that have been made.

    scikit-learn makes the fits of a search where it is called, one after the other, in
    the order of candidates and splits.
    """
    token = made_already.set(fits.take)
    try:
        # Where joblib's fits go was for the stacks; to look them up takes no time.
        with parallel_config("sequential"):
            yield
    finally:
        made_already.reset(token)


@contextmanager
def sharing_features(estimator: Any) -> Iterator[tuple[Any, Callable[[Any], None]]]:
    """Yield the estimator with a folder where its fits share features meanwhile.

    It has one already where the user says so; workers on other machines have none. With
    it comes what takes the folder from an estimator that was fitted.
    """
    backend, _ = get_active_backend()
    folder: str | None = None

    def unshared(net: Any) -> None:
        if folder is not None and getattr(net, "feature_cache", None) == folder:
            net.feature_cache = None

    if estimator.feature_cache is not None or not isinstance(backend, _LOCAL):
        yield estimator, unshared
        return
    made = tempfile.TemporaryDirectory("-skvision", ignore_cleanup_errors=True)
    folder = made.name
    with made:
        yield twin_of(estimator, feature_cache=folder), unshared


class FixedSplits:
    """A splitter whose splits have been made."""

    def __init__(self, splits: list[tuple[np.ndarray, np.ndarray]], cv: Any) -> None:
        self.splits = splits
        self.cv = cv

    def split(
        self, X: Any = None, y: Any = None, groups: Any = None, **params: Any
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return them."""
        return iter(self.splits)

    def get_n_splits(
        self, X: Any = None, y: Any = None, groups: Any = None, **params: Any
    ) -> int:
        """Return how many there are."""
        return len(self.splits)

    def __getattr__(self, name: str) -> Any:
        # What metadata the splits were made from is asked of the splitter.
        return getattr(vars(self)["cv"], name)
