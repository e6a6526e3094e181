"""Halving that goes on ends where halving that begins anew ends."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline

from skvision import ImageClassifier
from skvision.model_selection import StackedHalvingGridSearchCV
from skvision.model_selection._stack import Stack

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error:Some fits are made one by one"),
]
SPLIT = ShuffleSplit(1, test_size=40, random_state=0)


def small(**params):
    defaults = {
        "module": "mlp",
        "module__hidden": (6,),
        "lr": 0.03,
        "batch_size": 40,
        "random_state": 0,
        "dtype": "float64",
    }
    return ImageClassifier(**defaults | params)


@pytest.fixture
def compare(small_digits, assert_same_results):
    """Function that makes both searches, and compares all but what they cost."""

    def run(net, grid, fit=None, **options):
        options = {"resource": "max_epochs", "cv": SPLIT} | options
        options.setdefault("scoring", "neg_log_loss")
        ordinary = HalvingGridSearchCV(net, grid, **options)
        if options["max_resources"] == "auto":
            ordinary.max_resources = net.max_epochs
        ordinary.fit(*small_digits, **fit or {})
        stacked = StackedHalvingGridSearchCV(net, grid, **options)
        before = stacked.get_params()
        stacked.fit(*small_digits, **fit or {})
        assert stacked.get_params() == before
        results = dict(stacked.cv_results_)
        results.pop("n_epochs_trained", None)
        assert_same_results(results, ordinary.cv_results_)
        for name in ("n_resources_", "n_candidates_", "n_iterations_", "best_index_"):
            assert getattr(stacked, name) == getattr(ordinary, name)
        assert stacked.best_params_ == ordinary.best_params_
        assert stacked.best_score_ == pytest.approx(ordinary.best_score_, abs=1e-6)
        assert type(stacked.best_estimator_) is type(ordinary.best_estimator_)
        return stacked, ordinary

    return run


@pytest.fixture
def epochs(monkeypatch):
    """Numbers of epochs that networks have been trained for, one entry a stack."""
    trained = []
    train = Stack.train_epoch

    def counted(stack):
        trained.append(len(stack.members))
        return train(stack)

    monkeypatch.setattr(Stack, "train_epoch", counted)
    return trained


CANDIDATES = {
    "lr": np.geomspace(1e-4, 0.3, 9).tolist(),
    "optimizer": ["sgd", "adam", "rmsprop"],
}


def test_survivors_go_on(compare, epochs):
    stacked, _ = compare(small(max_epochs=9), CANDIDATES, max_resources="auto")
    results = stacked.cv_results_
    assert [int(n) for n in stacked.n_resources_] == [1, 3, 9]
    assert stacked.n_candidates_ == [27, 9, 3]
    # 27 candidates for 1 epoch, 9 for 2 more, 3 for 6 more.
    assert sum(epochs) == np.sum(results["n_epochs_trained"]) == 63
    assert np.sum(results["n_resources"]) == 81
    assert max(epochs) == 27
    assert len(stacked.best_estimator_.history) == 9


def test_factor_of_two(compare, epochs):
    grid = {"lr": np.geomspace(1e-3, 0.3, 8).tolist()}
    stacked, _ = compare(small(max_epochs=8), grid, max_resources="auto", factor=2)
    # 8 + 4 + 2 * 2 + 1 * 4 epochs instead of 8 + 8 + 8 + 8.
    assert sum(epochs) == np.sum(stacked.cv_results_["n_epochs_trained"]) == 20
    assert np.sum(stacked.cv_results_["n_resources"]) == 32


@pytest.mark.parametrize("some_stacked", [False, True])
def test_epochs_of_fits_made_one_by_one(some_stacked, small_digits):
    few = {"optimizer": [torch.optim.LBFGS], "optimizer__max_iter": [2]}
    grid = [few | {"lr": [0.1, 0.2]}]
    if some_stacked:
        grid.append({"lr": [1e-3, 0.01]})
    search = StackedHalvingGridSearchCV(
        small(), grid, max_resources=4, factor=2, cv=2, min_resources=2
    )
    with pytest.warns(UserWarning, match="one by one.*LBFGS"):
        results = search.fit(*small_digits).cv_results_
    n_epochs = dict(zip(results["iter"], results["n_epochs_trained"], strict=True))
    assert n_epochs[0] == 2
    begun_anew = "optimizer" in results["params"][-1]
    assert n_epochs[1] == (4 if begun_anew else 2)
    assert begun_anew or some_stacked


@pytest.mark.parametrize(
    "params",
    [
        {"module__dropout": 0.3},
        {"module": "convnet", "module__channels": (2, 3)},
        {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1},
        {"epoch_scoring": "accuracy"},
    ],
    ids=["dropout", "normalisation", "early stopping", "scores"],
)
def test_what_goes_on(params, compare):
    grid = {"lr": [1e-3, 0.02, 0.1, 0.5], "optimizer": ["adam"]}
    options = {"max_resources": 4, "factor": 2, "cv": 2}
    stacked, ordinary = compare(small(**params), grid, **options)
    lengths = [len(s.best_estimator_.history) for s in (stacked, ordinary)]
    assert lengths[0] == lengths[1]


def test_stopped_fits_do_not_go_on(compare, epochs):
    stop = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1}
    grid = {"lr": [0.3, 0.5, 0.7, 0.9]}
    compare(small(**stop), grid, max_resources=12, factor=2)
    # If none had stopped, the second candidates would be trained for all epochs.
    assert sum(epochs) < 4 * 3 + 2 * 3 + 6
    assert len(epochs) < 12


def test_resource_of_rows(compare):
    options = {"resource": "n_samples", "max_resources": "auto", "cv": 2}
    net = small(max_epochs=2)
    options |= {"min_resources": 60, "random_state": 0, "factor": 2}
    stacked = StackedHalvingGridSearchCV(net, {"lr": [0.1, 0.01]}, **options)
    assert stacked.resource == "n_samples"


def test_candidates_that_fail(small_digits):
    grid = {"lr": [0.01, 0.1, 1e300, 1e200], "optimizer": ["sgd"]}
    search = StackedHalvingGridSearchCV(
        small(), grid, max_resources=4, factor=2, cv=2, error_score=-1.0
    )
    with pytest.warns(FitFailedWarning, match="DivergedError"):
        search.fit(*small_digits)
    assert search.best_params_["lr"] in (0.01, 0.1)
    failed = np.array([p["lr"] > 1 for p in search.cv_results_["params"]])
    assert (search.cv_results_["mean_test_score"][failed] == -1).all()


def test_out_of_memory(monkeypatch, compare):
    step = Stack._step
    seen = []

    def limited(stack, batches):
        seen.append(len(stack.members))
        # In the middle of the second epoch of the second round.
        if len(stack.members) == 4 and seen.count(4) == 6:
            raise torch.OutOfMemoryError("not enough memory")
        return step(stack, batches)

    monkeypatch.setattr(Stack, "_step", limited)
    grid = {"lr": [1e-3, 0.01, 0.1, 0.3]}
    options = {"max_resources": 8, "min_resources": 2, "factor": 2, "cv": 2}
    compare(small(module__dropout=0.2, batch_size=16), grid, **options)
    # Both halves begin anew.
    assert [size for size in seen if size != 8][:7] == [4, 4, 4, 4, 4, 4, 2]


def test_checkpoints(small_digits, tmp_path, epochs):
    # Each is that of a fit with its number of epochs; nothing goes on beyond it.
    net = small(checkpoint=tmp_path)
    grid = {"lr": [1e-3, 0.01, 0.1, 0.3]}
    options = {"max_resources": 4, "factor": 2, "cv": 2}
    scores = []
    for _ in range(2):
        search = StackedHalvingGridSearchCV(net, grid, **options)
        with pytest.warns(UserWarning, match="one by one.*a checkpoint"):
            scores.append(search.fit(*small_digits).cv_results_["mean_test_score"])
    assert np.array_equal(*scores)
    assert epochs == []


def test_what_cannot_be_halved(small_digits):
    X, y = small_digits
    net = make_pipeline(small())
    search = StackedHalvingGridSearchCV(net, {"imageclassifier__lr": [0.1, 0.2]})
    with (
        pytest.warns(UserWarning, match="trains Pipeline one by one"),
        pytest.raises(ValueError, match="resource=max_epochs"),
    ):
        search.fit(X, y)
    search = StackedHalvingGridSearchCV(small(), {"max_epochs": [1, 2]})
    with pytest.raises(ValueError, match="part of the searched parameters"):
        search.fit(X, y)
    assert search.max_resources == "auto"
