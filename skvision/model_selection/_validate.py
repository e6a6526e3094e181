"""scikit-learn's cross-validation, all folds trained at once."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, check_cv, cross_validate
from sklearn.utils import indexable

from skvision._compat import (
    check_method_params,
    num_samples,
    routing_enabled,
    validate_params,
)
from skvision._warnings import warn
from skvision.estimators._net import ImageNet
from skvision.model_selection._fits import MAX_STACK, StackedFits
from skvision.model_selection._lookup import FixedSplits, handing_out, sharing_features
from skvision.model_selection._trainer import Request


@validate_params(
    {
        "n_jobs": [Integral, None],
        "max_stack": MAX_STACK,
        "calibrate": ["boolean"],
    },
    # cross_validate checks the others.
    prefer_skip_nested_validation=False,
)
def stacked_cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: int | str = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: Any = np.nan,
    max_stack: int | None = None,
    calibrate: bool = True,
) -> dict[str, Any]:
    """Evaluate an estimator by cross-validation, all folds trained as one network.

    Parameters
    ----------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        Anything else is left to `sklearn.model_selection.cross_validate`.
    X : images
        As in the estimator's ``fit``.
    y : array-like of shape (n,) or (n, k), default=None
        Targets.
    groups, scoring, cv, n_jobs, verbose, params, pre_dispatch, return_train_score, \
return_estimator, return_indices, error_score : optional
        As in `sklearn.model_selection.cross_validate`; `n_jobs` is the number of
        processes that stacks and other fits are divided among.
    max_stack, calibrate : optional
        As in `StackedGridSearchCV`.

    Returns
    -------
    scores : dict of {str: ndarray of shape (n_splits,)}
        As of `sklearn.model_selection.cross_validate`. The fit time of a stack is
        divided among its folds.

    See Also
    --------
    StackedGridSearchCV : Several candidates, and what can be stacked.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.model_selection import stacked_cross_validate
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("convnet", max_epochs=2, random_state=0)
    >>> scores = stacked_cross_validate(net, X, y, cv=3)
    >>> bool(scores["test_score"].mean() > 0.8)
    True
    """
    options: dict[str, Any] = {
        "groups": groups,
        "scoring": scoring,
        "verbose": verbose,
        "return_train_score": return_train_score,
        "return_estimator": return_estimator,
        "return_indices": return_indices,
        "error_score": error_score,
    }
    if not isinstance(estimator, ImageNet):
        warn(
            f"stacked_cross_validate trains {type(estimator).__name__} fold by fold: "
            "only estimators of skvision can be stacked."
        )
        how = {"n_jobs": n_jobs, "pre_dispatch": pre_dispatch}
        return cross_validate(estimator, X, y, cv=cv, params=params, **options, **how)
    fitting = {"max_stack": max_stack, "calibrate": calibrate, "n_jobs": n_jobs}
    with sharing_features(estimator) as (shared, unshared):
        scores = _validated(shared, X, y, cv, params, options, fitting, pre_dispatch)
        for net in scores.get("estimator", ()):
            unshared(net)
    return scores


def _validated(
    estimator: Any,
    X: Any,
    y: Any,
    cv: Any,
    params: dict[str, Any] | None,
    options: dict[str, Any],
    fitting: dict[str, Any],
    pre_dispatch: Any,
) -> dict[str, Any]:
    """Return the scores of an estimator whose folds are stacked where that pays."""
    X, y = indexable(X, y)
    params = dict(params or {})
    splitter = check_cv(cv, y, classifier=is_classifier(estimator))
    given = params if routing_enabled() else {**params, "groups": options["groups"]}
    routed = _routed(estimator, options["scoring"], splitter, X, given)
    splits = list(splitter.split(X, y, **routed.splitter.split))
    fits = StackedFits(estimator, X, y, routed.estimator.fit, **fitting)
    fixed = FixedSplits(splits, splitter)
    n_rows = num_samples(X)
    if not fits.train([Request.of(None, train, n_rows) for train, _ in splits]):
        how = {"n_jobs": fitting["n_jobs"], "pre_dispatch": pre_dispatch}
        return cross_validate(
            estimator, X, y, cv=fixed, params=params, **options, **how
        )
    with handing_out(fits):
        scores = cross_validate(estimator, X, y, cv=fixed, params=params, **options)
    scores["fit_time"] = np.array(fits.seconds, dtype=float)
    return scores


def _routed(estimator: Any, scoring: Any, cv: Any, X: Any, params: dict) -> Any:
    """Return metadata by where they go in a search."""
    router = GridSearchCV(estimator, {}, scoring=scoring, refit=False, cv=cv)
    return router._get_routed_params_for_fit(check_method_params(X, params))
