"""StackedGridSearchCV finds what GridSearchCV finds."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_score,
)
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from skvision_tests import small
from torch.utils.data import TensorDataset

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.model_selection import StackedGridSearchCV, StackedRandomizedSearchCV
from skvision.preprocessing import RandomShift

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # A test whose fits are not stacked would test nothing.
    pytest.mark.filterwarnings("error:Some fits are made one by one"),
]
RATES = {"lr": [0.03, 0.003]}


@pytest.fixture
def compare(small_digits, stack_sizes, assert_same_results):
    """Function that makes both searches, and compares all that they leave.

    A `cv` or `random_state` that goes on is given by a function that makes one.
    """

    def run(
        net, grid, X=None, y=None, *, random=False, fit=None, max_stack=None, **options
    ):
        X, y = small_digits if X is None else (X, y)
        options = {"cv": lambda: 3} | options
        searches = []
        for stacked in (False, True):
            kind = KINDS[random, stacked]
            own = {k: v() if k in MADE else v for k, v in options.items()}
            if stacked:
                own |= {"calibrate": False, "max_stack": max_stack}
                assert not stack_sizes
            np.random.seed(0)
            search = kind(net, grid, **own).fit(X, y, **fit or {})
            searches.append((search, np.random.get_state()[1:3]))
        assert stack_sizes
        (ordinary, after), (stacked, after_stacked) = searches
        np.testing.assert_equal(after_stacked, after)
        assert_same_results(stacked.cv_results_, ordinary.cv_results_)
        check_attributes(stacked, ordinary)
        return stacked, ordinary

    return run


KINDS = {
    (False, False): GridSearchCV,
    (False, True): StackedGridSearchCV,
    (True, False): RandomizedSearchCV,
    (True, True): StackedRandomizedSearchCV,
}
MADE = ("cv", "random_state")


def check_attributes(stacked, ordinary):
    own = {"max_stack", "calibrate"}
    assert vars(stacked).keys() == vars(ordinary).keys() | own
    assert stacked.n_splits_ == ordinary.n_splits_
    assert stacked.multimetric_ == ordinary.multimetric_
    if hasattr(ordinary, "best_index_"):
        assert stacked.best_index_ == ordinary.best_index_
        assert str(stacked.best_params_) == str(ordinary.best_params_)
    if hasattr(ordinary, "best_score_"):
        assert stacked.best_score_ == pytest.approx(ordinary.best_score_, abs=1e-6)
    if ordinary.refit:
        best, other = stacked.best_estimator_, ordinary.best_estimator_
        assert type(best) is type(other)
        assert vars(best).keys() == vars(other).keys()
        for name, value in best.module_.state_dict().items():
            assert torch.equal(value, other.module_.state_dict()[name])


def both_scores(net, X, y):
    return {"n": len(y), "m": net.score(X, y)}


def worst(results):
    return int(results["mean_test_score"].argmin())


# ------------------------------------------------------------ parameters of searches


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "neg_log_loss", "return_train_score": True},
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
        {"scoring": {"a": "accuracy", "b": "f1_macro"}, "refit": False},
        {"refit": worst},
        {"scoring": both_scores, "refit": "m"},
        {"cv": lambda: KFold(4, shuffle=True, random_state=1), "verbose": 1},
    ],
    ids=["default", "loss", "two", "no refit", "callable refit", "dict", "KFold"],
)
def test_options(options, compare):
    compare(small(), RATES, **options)


def test_times(compare):
    stacked, _ = compare(small(), {"max_epochs": [1, 4]}, refit=False)
    short, long = stacked.cv_results_["mean_fit_time"]
    assert 0 < short < long
    assert (stacked.cv_results_["mean_score_time"] > 0).all()


def test_several_structures(compare, stack_sizes):
    grid = [
        {"module__hidden": [(8,), (5, 4)], **RATES, "batch_size": [16, 40]},
        {"module": ["convnet"], "module__channels": [(2, 3)], "module__hidden": [()]},
        {"module__dropout": [0.0, 0.3, 0.5], "random_state": [0, 1]},
    ]
    compare(small(max_epochs=1), grid, cv=lambda: 2, scoring="neg_log_loss")
    # Networks without dropout are as those that were not asked for any.
    assert sorted(stack_sizes) == [2, 4, 4, 4, 8, 8]


def test_parameters_that_share_a_stack(compare, stack_sizes):
    grid = [
        {"augment": [None, [RandomShift(1)]]},
        {"class_weight": ["balanced"], "criterion__label_smoothing": [0.1, 0.2]},
        {"module__dropout": [0.1, 0.6], "optimizer__weight_decay": [0.1]},
        {"optimizer": ["sgd", "adamw", torch.optim.NAdam], "max_epochs": [1, 3]},
        {"random_state": [1, np.random.RandomState(0)]},
    ]
    options = {"cv": lambda: 2, "scoring": "neg_log_loss", "refit": False}
    compare(small(module__dropout=0.2, max_epochs=1), grid, **options)
    # Three candidates train for three epochs. Weights of classes are weights of rows,
    # which other fits have not.
    assert stack_sizes == [24, 6, 6, 4]


def test_the_same_candidate_twice(compare):
    stacked, _ = compare(small(), {"lr": [0.03, 0.03]}, refit=False)
    first, second = stacked.cv_results_["mean_test_score"]
    assert first == second


@pytest.mark.parametrize("max_stack", [2, 5])
def test_max_stack(max_stack, compare, stack_sizes):
    compare(small(max_epochs=1), RATES, max_stack=max_stack)
    assert stack_sizes == {2: [2, 2, 2], 5: [3, 3]}[max_stack]


@pytest.mark.parametrize("max_stack", [None, 6])
def test_stacks_on_a_cpu_are_small(max_stack, compare, stack_sizes, monkeypatch):
    monkeypatch.setattr("skvision.model_selection._plan._IN_CACHE", 1)
    monkeypatch.setattr("skvision.model_selection._plan._GAIN_MOST", 2)
    compare(small(max_epochs=1, device="cpu"), RATES, max_stack=max_stack)
    assert stack_sizes == ([6] if max_stack else [2, 2, 2])


def test_randomized_search(compare):
    spaces = {"lr": loguniform(1e-4, 0.1), "optimizer": ["adam", "sgd"]}
    compare(small(), spaces, random=True, n_iter=3, random_state=lambda: 3)


@pytest.mark.parametrize("seed", [None, 0])
def test_generators_that_go_on(seed, compare):
    # Without a seed, NumPy's global generator draws.
    def generator():
        return None if seed is None else np.random.RandomState(seed)

    compare(
        small(),
        {"lr": loguniform(1e-4, 0.1)},
        random=True,
        n_iter=2,
        random_state=generator,
        cv=lambda: ShuffleSplit(2, train_size=50, random_state=generator()),
        refit=False,
    )


@pytest.mark.parametrize("kind", [list, iter])
def test_splits_of_ones_own(kind, compare):
    rows = np.random.RandomState(0).permutation(120)
    splits = [(rows[:50], rows[50:]), (rows[30:100], rows[:30]), (rows, rows)]
    compare(small(), RATES, cv=lambda: kind(splits))


def test_objects_of_the_same_state_share_a_stack(compare, stack_sizes):
    net = small(
        callbacks=[EarlyStopping(monitor="train_loss", patience=3)],
        train_split=ValidSplit(3, random_state=None),
        criterion=torch.nn.CrossEntropyLoss(),
    )
    compare(net, RATES, refit=False)
    assert stack_sizes == [6, 6]


def test_objects_of_other_states_do_not(compare, stack_sizes):
    stops = [[EarlyStopping("train_loss", patience=n)] for n in (1, 3)]
    compare(small(), {"callbacks": stops}, refit=False)
    assert stack_sizes == [3, 3, 3, 3]


class NoState:
    """Of which nobody can tell if it is as another one."""

    def __reduce_ex__(self, protocol):
        raise TypeError("no state")

    def __deepcopy__(self, memo):
        return self

    def __call__(self, images):
        return images


def test_objects_without_state_are_named(small_digits, stack_sizes):
    net = small(module__activation="relu", criterion=torch.nn.CrossEntropyLoss())
    net.criterion.note = NoState()
    search = StackedGridSearchCV(net, RATES, cv=3, calibrate=False)
    with pytest.warns(UserWarning, match="could not be told apart.*note"):
        search.fit(*small_digits)
    assert stack_sizes == []


def counted_from_the_end(rows):
    return rows - 120


def as_mask(rows):
    return np.isin(np.arange(120), rows)


@pytest.mark.parametrize("form", [counted_from_the_end, as_mask])
def test_rows_in_other_forms(form, compare, stack_sizes, monkeypatch):
    fits, fit_loop = [], NeuralNet.fit_loop

    def noted(net, *args, **kwargs):
        fits.append(net)
        return fit_loop(net, *args, **kwargs)

    monkeypatch.setattr(NeuralNet, "fit_loop", noted)
    rows = np.arange(120)
    splits = [(form(rows[:50]), rows[50:]), (form(rows[30:100]), rows[:30])]
    compare(small(), RATES, cv=lambda: splits, refit=False)
    assert stack_sizes == [4, 4]
    assert len(fits) == 4  # Of the ordinary search alone.


# ------------------------------------------------------------------- kinds of data


def as_frame(X, y):
    frame = pd.DataFrame(X.reshape(120, 64) / 255).add_prefix("pixel ")
    return frame, pd.Series([f"digit {label}" for label in y])


def as_tensors(X, y):
    return as_Xy(TensorDataset(torch.from_numpy(X)[:, None], torch.from_numpy(y)))


AUTOENCODER = {"module": "dense_autoencoder", "module__hidden": (8, 3)}
TWO = {"scoring": ["r2", "neg_mean_absolute_error"], "refit": "r2"}
#: Estimators, what is made of images and labels, and options of the search.
KINDS_OF_DATA = {
    "autoencoder": (small(ImageAutoencoder, **AUTOENCODER), lambda X, y: (X,), {}),
    "regressor": (
        small(ImageRegressor),
        lambda X, y: (X, np.stack([y, y**2], axis=1) / 10),
        TWO,
    ),
    "data set": (small(module="convnet", module__channels=(2, 3)), as_tensors, {}),
    "pairs": (small(), lambda X, y: ([*zip(X, y.tolist(), strict=True)],), {}),
    "frame": (small(), as_frame, {"scoring": "f1_macro"}),
}


def test_groups_for_splits_and_for_hold_outs(compare):
    net, groups = small(early_stopping=True), np.arange(120) % 9
    with config_context(enable_metadata_routing=True):
        net.set_fit_request(groups=True)
        stacked, _ = compare(
            net, RATES, cv=lambda: GroupKFold(3), fit={"groups": groups}
        )
    assert n_validated(stacked.best_estimator_) == 13  # One group.


def n_validated(net):
    """Return the number of rows that an epoch was validated on."""
    return sum(b.get("valid_batch_size", 0) for b in net.history[0, "batches"])


@pytest.mark.parametrize("n", [30, 120])  # scikit-learn takes as many as X for rows.
@pytest.mark.parametrize("kind", [ImageClassifier, ImageAutoencoder])
def test_rows_to_validate_on(kind, n, small_digits, compare):
    X, y = small_digits
    net, valid = small(kind, early_stopping=True), {"X_val": X[:n]}
    if kind is ImageAutoencoder:
        net.set_params(**AUTOENCODER)
    else:
        valid |= {"y_val": y[:n], "sample_weight_val": np.arange(n)}
    stacked, ordinary = compare(net, RATES, X, y, fit=valid)
    for search in (stacked, ordinary):
        net = search.best_estimator_
        assert sum(net.history[0, "batches", :8, "train_batch_size"]) == 120
        assert n_validated(net) == n - (kind is ImageClassifier)  # One has weight 0.


@pytest.mark.parametrize("kind", KINDS_OF_DATA)
def test_kinds_of_data(kind, compare, small_digits):
    net, convert, options = KINDS_OF_DATA[kind]
    stacked, _ = compare(net, RATES, *convert(*small_digits), **options)
    if kind == "frame":
        assert stacked.feature_names_in_[0] == "pixel 0"
        assert stacked.classes_[0] == "digit 0"


def test_candidates_that_read_axes_in_another_way(compare, small_digits):
    X = small_digits[0][:, :7, :6].reshape(120, 3, 14)
    X = np.stack([X, X, X], axis=-1)
    grid = {"channels": ["first", "last"]}
    compare(small(), grid, X, small_digits[1], scoring="neg_log_loss", refit=False)


# ------------------------------------------------------------------------ metadata


def test_groups(compare):
    groups = np.arange(120) % 7
    compare(small(), RATES, fit={"groups": groups}, cv=lambda: GroupKFold(3))


def test_weights(compare):
    weight = np.random.RandomState(0).rand(120)
    compare(small(), RATES, fit={"sample_weight": weight}, scoring="neg_log_loss")


@pytest.mark.parametrize("fit", [True, False])
@pytest.mark.parametrize("score", [True, False])
def test_routed_metadata(fit, score, compare):
    given = {"groups": np.arange(120) % 7}
    if fit or score:
        given["sample_weight"] = np.random.RandomState(0).rand(120)
    with config_context(enable_metadata_routing=True):
        net = small().set_fit_request(sample_weight=fit)
        net.set_score_request(sample_weight=score)
        cv = GroupKFold(3)
        stacked, _ = compare(net, RATES, fit=given, cv=lambda: cv)
        best = stacked.best_estimator_
        assert repr(best.get_metadata_routing()) == repr(net.get_metadata_routing())


def test_routing_leaves_no_trace(compare):
    with config_context(enable_metadata_routing=True):
        groups = {"groups": np.arange(120) % 7}
        cv = GroupKFold(3)
        stacked, ordinary = compare(small(), RATES, fit=groups, cv=lambda: cv)
        requests = (
            search.best_estimator_.get_metadata_routing()
            for search in (stacked, ordinary)
        )
        assert repr(next(requests)) == repr(next(requests))


def test_routed_scorer(compare):
    weight = np.random.RandomState(0).rand(120)
    with config_context(enable_metadata_routing=True):

        def weighted(y, y_pred, sample_weight=None):
            return np.average(y == y_pred, weights=sample_weight)

        scorer = make_scorer(weighted).set_score_request(sample_weight="importance")
        net = small().set_fit_request(sample_weight=False)
        compare(net, RATES, fit={"importance": weight}, scoring=scorer)


# ------------------------------------------------------------- the search as object


def test_search_is_an_estimator(small_digits):
    X, y = small_digits
    net = small()
    before = net.get_params()
    search = StackedGridSearchCV(net, RATES, cv=3, calibrate=False, max_stack=7)
    with pytest.raises(NotFittedError):
        search.predict(X)
    copy = clone(search).set_params(estimator__lr=0.1, cv=2)
    assert copy.get_params()["estimator__lr"] == 0.1
    assert copy.max_stack == 7
    assert search.fit(X, y) is search
    assert search.estimator is net
    assert search.n_jobs is None
    assert search.cv == 3
    assert net.get_params() == before
    assert not hasattr(net, "module_")
    assert type(search.best_estimator_) is ImageClassifier
    assert search.score(X, y) == search.best_estimator_.score(X, y)
    assert np.array_equal(search.predict(X), search.best_estimator_.predict(X))
    alone = clone(net).set_params(**search.best_params_).fit(X, y)
    assert np.array_equal(alone.predict_proba(X), search.predict_proba(X))


@pytest.mark.parametrize("scoring", [None, "accuracy", ["accuracy", "f1_macro"]])
def test_pickle(scoring, small_digits):
    X, y = small_digits
    refit = "f1_macro" if isinstance(scoring, list) else True
    search = StackedGridSearchCV(
        small(), RATES, cv=2, scoring=scoring, refit=refit, calibrate=False
    )
    new = pickle.loads(pickle.dumps(search)).fit(X, y)
    copy = pickle.loads(pickle.dumps(new))
    assert copy.score(X, y) == new.score(X, y)
    assert copy.best_params_ == new.best_params_
    # Images are not kept.
    assert len(pickle.dumps(new)) < len(pickle.dumps(new.best_estimator_)) + 20_000


def test_fitted_again(small_digits, stack_sizes):
    X, y = small_digits
    search = StackedGridSearchCV(small(), RATES, cv=2, calibrate=False).fit(X, y)
    first = search.cv_results_["mean_test_score"]
    search.fit(X[:80], y[:80])
    assert not np.array_equal(search.cv_results_["mean_test_score"], first)
    search.fit(X, y)
    assert np.array_equal(search.cv_results_["mean_test_score"], first)


def test_best_estimator_is_an_ordinary_one(small_digits):
    X, y = small_digits
    search = StackedGridSearchCV(small(), RATES, cv=2, calibrate=False).fit(X, y)
    best = search.best_estimator_
    copy = clone(best).fit(X, y)
    assert np.array_equal(copy.predict_proba(X), best.predict_proba(X))
    best.partial_fit(X, y)
    assert len(best.history) == 4


def test_nested_cross_validation(small_digits):
    X, y = small_digits
    scores = [
        cross_val_score(kind(small(max_epochs=1), RATES, cv=2, **own), X, y, cv=2)
        for kind, own in [
            (GridSearchCV, {}),
            (StackedGridSearchCV, {"calibrate": False}),
        ]
    ]
    np.testing.assert_allclose(*scores, atol=1e-6)


def test_scorers_may_fit(compare):
    """What a scorer fits is its own, and the estimator is the user's, as it was."""

    def refitted(net, X, y):
        assert type(net) is ImageClassifier
        fresh = clone(net).fit(X, y)
        again = clone(net).set_params(lr=RATES["lr"][1]).fit(X[:20], y[:20])
        return fresh.score(X, y) + again.score(X, y)

    compare(small(), RATES, scoring=refitted, refit=False)


class Reversed(ImageClassifier):
    """Predicts what is least likely."""

    def evaluation_step(self, batch, training=False):
        return -super().evaluation_step(batch, training=training)


def test_members_evaluate_by_their_own_methods(compare):
    compare(small(Reversed, epoch_scoring=["accuracy"]), RATES, refit=False)
