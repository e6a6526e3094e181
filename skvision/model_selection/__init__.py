"""Searches and cross-validation: many networks trained as one, or on a cluster."""

from skvision.model_selection._dask import on_dask
from skvision.model_selection._search import (
    StackedGridSearchCV,
    StackedHalvingGridSearchCV,
    StackedRandomizedSearchCV,
)
from skvision.model_selection._validate import stacked_cross_validate

__all__ = [
    "StackedGridSearchCV",
    "StackedHalvingGridSearchCV",
    "StackedRandomizedSearchCV",
    "on_dask",
    "stacked_cross_validate",
]
