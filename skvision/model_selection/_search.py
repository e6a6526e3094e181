"""scikit-learn's searches, many candidates and folds trained at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn.base import is_classifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    check_cv,
)
from sklearn.utils import check_random_state, indexable

from skvision._compat import check_method_params, num_samples
from skvision._warnings import warn
from skvision.estimators._net import ImageNet
from skvision.model_selection._fits import MAX_STACK, StackedFits
from skvision.model_selection._lookup import FixedSplits, handing_out, sharing_features
from skvision.model_selection._trainer import Request
from skvision.preprocessing._augment import clonable_transforms


class _OrdinarySearch(Exception):
    """Nothing is to be stacked."""


if TYPE_CHECKING:
    # A search of scikit-learn's stands right of the mixin.
    Search: Any
else:
    Search = object


class StackedSearchMixin(Search):
    """Evaluates candidates of a search as scikit-learn does, but trains them first."""

    estimator: Any
    max_stack: Any
    calibrate: Any
    _get_routed_params_for_fit: Any
    _continuing = False

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Run the search.

        Parameters
        ----------
        X : images
            As in the estimator's ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            Targets.
        **params : dict
            Metadata, such as ``groups`` and ``sample_weight``.

        Returns
        -------
        self : object
            The search, fitted.
        """
        self._validate_params()
        if not isinstance(self.estimator, ImageNet):
            warn(
                f"{type(self).__name__} trains {type(self.estimator).__name__} one by "
                "one: only estimators of skvision can be stacked."
            )
            return super().fit(X, y, **params)
        # A copy does the work, so that an error leaves this search as it was.
        search = copy.copy(self)
        with sharing_features(self.estimator) as (search.estimator, unshared):
            search = search._fitted(X, y, params)
            unshared(vars(search).get("best_estimator_"))
        own = {*self.get_params(deep=False), "_params", "_fits", "_data", "_backend"}
        for name, value in vars(search).items():
            if name not in own:
                setattr(self, name, value)
        return self

    def _fitted(self, X: Any, y: Any, params: dict[str, Any]) -> Any:
        """Return a search that is fitted, in which others may have been."""
        search = copy.copy(self)
        search._params = params
        search.n_jobs = None
        # Splits that can be had only once are for the ordinary search, too.
        search.cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        ordinary = copy.copy(self)
        ordinary.cv = search.cv
        generators = _generators(search)
        states = [generator.get_state() for generator in generators]
        search._stack(X, y, params, self.n_jobs)
        try:
            with handing_out(search._fits):
                super(StackedSearchMixin, search).fit(X, y, **params)
        except _OrdinarySearch:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            search = ordinary
            super(StackedSearchMixin, search).fit(X, y, **params)
        return search

    def _stack(self, X: Any, y: Any, params: dict[str, Any], n_jobs: Any) -> None:
        """Prepare the fits that are to be stacked."""
        X, y = indexable(X, y)
        self._data = X, y
        fit_params = check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(fit_params)
        self._backend = get_active_backend()
        self._fits = StackedFits(
            self.estimator,
            X,
            y,
            routed.estimator.fit,
            n_jobs=n_jobs,
            max_stack=self.max_stack,
            # Epochs that are not trained again save more than a stack could lose.
            calibrate=not self._continuing and self.calibrate,
            continuing=self._continuing,
        )

    def _run_search(
        self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None
    ) -> Any:
        """Evaluate candidates, whose fits have been made before if they stack."""

        def evaluate(
            candidate_params: Iterable[dict[str, Any]],
            cv: Any = None,
            more_results: Any = None,
            **kwargs: Any,
        ) -> Any:
            candidates = list(map(_clonable, candidate_params))
            if "_fits" in vars(self):
                cv = self._train(candidates, cv or self._checked_cv_orig)
            if more_results is not None:
                more_results = {**more_results, **self._costs(len(candidates))}
            return evaluate_candidates(candidates, cv, more_results, **kwargs)

        return super()._run_search(evaluate, callback_ctx=callback_ctx)

    def _train(self, candidates: list[dict[str, Any]], cv: Any) -> FixedSplits:
        """Train candidates before they are evaluated; return the splits of that.

        Raises
        ------
        _OrdinarySearch
            If nothing is stacked, and nothing was before.
        """
        X, y = self._data
        routed = self._get_routed_params_for_fit(self._params)
        splits = list(cv.split(X, y, **routed.splitter.split))
        requests = [
            Request.of(params, train, num_samples(X))
            for params in candidates
            for train, _ in splits
        ]
        backend, n_jobs = self._backend
        with parallel_config(backend, n_jobs=n_jobs):
            self._fits.train(requests)
        if not self._fits.has_stacked:
            raise _OrdinarySearch
        return FixedSplits(splits, cv)

    def _costs(self, n_candidates: int) -> dict[str, Any]:
        """Return columns of `cv_results_` that an evaluation adds."""
        return {}

    def _format_results(
        self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None
    ) -> dict[str, Any]:
        """Return the results, with each fit's part of its stack's time."""
        if "_fits" in vars(self):
            # Each fit's part of the time that its stack took.
            seconds = self._fits.seconds
            out = [
                one if passed is None else {**one, "fit_time": passed}
                for one, passed in zip(out, seconds, strict=True)
            ]
        return super()._format_results(candidate_params, n_splits, out, more_results)


def _clonable(params: dict[str, Any]) -> dict[str, Any]:
    """Return a candidate whose values scikit-learn can clone."""
    return {name: clonable_transforms(value) for name, value in params.items()}


def _generators(search: Any) -> list[np.random.RandomState]:
    """Return those that candidates and splits may be drawn with."""
    given = [getattr(part, "random_state", None) for part in (search, search.cv)]
    own = [g for g in given if isinstance(g, np.random.RandomState)]
    return [check_random_state(None), *own]


class StackedGridSearchCV(StackedSearchMixin, GridSearchCV):
    """`sklearn.model_selection.GridSearchCV` that trains many networks as one.

    All fits of a search whose networks have the same structure go through the epochs
    side by side: their weights lie in common tensors, and each operation is done for
    all networks at once. A fit's weights are those that ``fit`` alone would give, but
    for rounding. Where a stack would not be faster, or is not possible, fits are made
    one by one.

    Parameters
    ----------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        Anything else is searched as `~sklearn.model_selection.GridSearchCV` does it.
    param_grid : dict or list of dict
        Learning rate, weight decay, momentum, optimizer, dropout rate, label
        smoothing, augmentation and random_state may differ within a stack; other
        parameters make a stack each.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, \
return_train_score : optional
        As in `~sklearn.model_selection.GridSearchCV`; `n_jobs` is the number of
        processes that stacks and other fits are divided among.
    max_stack : int, default=None
        Most networks in a stack; None takes as many as fit into half of the free
        memory and, on a CPU, about as many as its cache is good for.
    calibrate : bool, default=True
        Whether to measure steps first, up to 2 % of those that there are to train, and
        to stack only where that is faster. Where too few would be measured, fits are
        made one by one.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_ : object
        As in `~sklearn.model_selection.GridSearchCV`. The fit times of a stack are
        divided among its fits.

    See Also
    --------
    stacked_cross_validate : Folds of one estimator.

    Notes
    -----
    Estimators with callbacks of their own, ``compile=True``, optimizers that do not
    treat each weight by itself, or overridden training methods are fitted one by one,
    with a warning that says why. So are networks that do anything else than compute
    outputs from images and weights, such as to count their calls, to decide by the
    numbers of a batch or to draw random numbers outside of dropout layers. Operations
    of a stack are known to keep its networks apart; before a training, outputs and
    gradients are compared with those of each network besides.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.model_selection import StackedGridSearchCV
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("convnet", max_epochs=2, random_state=0)
    >>> search = StackedGridSearchCV(net, {"lr": [0.01, 0.0001]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'lr': 0.01}
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **GridSearchCV._parameter_constraints,
        "max_stack": MAX_STACK,
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_stack: int | None = None,
        calibrate: bool = True,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_stack = max_stack
        self.calibrate = calibrate


class StackedRandomizedSearchCV(StackedSearchMixin, RandomizedSearchCV):
    """`sklearn.model_selection.RandomizedSearchCV` that trains many networks as one.

    Parameters
    ----------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        As in `StackedGridSearchCV`.
    param_distributions : dict or list of dict
        Lists, or distributions with a method ``rvs``.
    n_iter, scoring, n_jobs, refit, cv, verbose, pre_dispatch, random_state, \
error_score, return_train_score : optional
        As in `~sklearn.model_selection.RandomizedSearchCV`.
    max_stack, calibrate : optional
        As in `StackedGridSearchCV`.

    See Also
    --------
    StackedGridSearchCV : All combinations, and what can be stacked.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.model_selection import StackedRandomizedSearchCV
    >>> X, y = load_digits_images(return_X_y=True)
    >>> search = StackedRandomizedSearchCV(
    ...     ImageClassifier("mlp", max_epochs=1, random_state=0),
    ...     {"lr": loguniform(1e-4, 1e-2)},
    ...     n_iter=3,
    ...     cv=2,
    ...     random_state=0,
    ... )
    >>> len(search.fit(X, y).cv_results_["params"])
    3
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **RandomizedSearchCV._parameter_constraints,
        "max_stack": MAX_STACK,
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        max_stack: int | None = None,
        calibrate: bool = True,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_stack = max_stack
        self.calibrate = calibrate


class StackedHalvingGridSearchCV(StackedSearchMixin, HalvingGridSearchCV):
    """Successive halving that goes on with the survivors' training.

    The resource is the number of epochs. `~sklearn.model_selection.HalvingGridSearchCV`
    begins each round anew; here, those that are left train only the epochs that a
    round adds.

    Parameters
    ----------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        As in `StackedGridSearchCV`.
    param_grid : dict or list of dict
        As in `StackedGridSearchCV`.
    factor, resource, max_resources, min_resources, aggressive_elimination, cv, \
scoring, refit, error_score, return_train_score, random_state, n_jobs, \
verbose : optional
        As in `~sklearn.model_selection.HalvingGridSearchCV`, but `resource` is
        "max_epochs" by default, and `max_resources` "auto" then is that of the
        estimator.
    max_stack : optional
        As in `StackedGridSearchCV`.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, n_resources_, ... : object
        As in `~sklearn.model_selection.HalvingGridSearchCV`. In `cv_results_`,
        ``n_resources`` has the epochs of a candidate so far, and
        ``n_epochs_trained`` those that its round has trained, on average over the
        splits: those that were added, or all where fits are made one by one.

    See Also
    --------
    StackedGridSearchCV : All candidates to the end, and what can be stacked.

    References
    ----------
    K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and
    Hyperparameter Optimization", AISTATS 2016.

    Examples
    --------
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.model_selection import StackedHalvingGridSearchCV
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("mlp", max_epochs=4, random_state=0)
    >>> grid = {"lr": [0.01, 0.001, 0.0001, 0.00001]}
    >>> search = StackedHalvingGridSearchCV(net, grid, factor=2, cv=2).fit(X, y)
    >>> [int(n) for n in search.n_resources_]
    [1, 2, 4]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **HalvingGridSearchCV._parameter_constraints,
        "max_stack": MAX_STACK,
    }
    _continuing = True

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "max_epochs",
        max_resources: int | str = "auto",
        min_resources: int | str = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        max_stack: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.max_stack = max_stack

    def _check_input_parameters(self, X: Any, y: Any, split_params: Any) -> None:
        """Check them with the epochs of the estimator as the most, if that is left."""
        self.max_resources: Any
        automatic = self.resource == "max_epochs" and self.max_resources == "auto"
        if automatic:
            # scikit-learn says what is wrong with an estimator that has none.
            self.max_resources = getattr(self.estimator, "max_epochs", "auto")
        try:
            super()._check_input_parameters(X, y, split_params)
        finally:
            if automatic:
                self.max_resources = "auto"

    def _costs(self, n_candidates: int) -> dict[str, Any]:
        if self.resource != "max_epochs":
            return {}
        if "_fits" not in vars(self):
            # Each fit begins anew.
            return {"n_epochs_trained": [self.n_resources_[-1]] * n_candidates}
        n_epochs = np.reshape(self._fits.n_epochs, (n_candidates, -1)).mean(1)
        whole = n_epochs.astype(int)
        same = np.array_equal(whole, n_epochs)
        return {"n_epochs_trained": (whole if same else n_epochs).tolist()}
