"""Searches of scikit-learn over image estimators, and several scorers at once."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_validate,
)
from torch.utils.data import Subset
from torchvision import transforms as v1

from skvision import ImageClassifier
from skvision.datasets import as_Xy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# -------------------------------------------------------------------- searches


def test_grid_search(images, small):
    grid = {
        "lr": [1e-6, 0.01],
        "optimizer": ["adam", torch.optim.AdamW],
        "module__hidden": [(8,), (16,)],
    }
    search = GridSearchCV(small(), grid, cv=2, error_score="raise")
    search.fit(images.X, images.y)
    assert len(search.cv_results_["params"]) == 8
    scores = search.cv_results_["mean_test_score"]
    rates = search.cv_results_["param_lr"].astype(float)
    assert scores[rates == 0.01].min() > scores[rates == 1e-6].max()
    assert search.best_params_["lr"] == 0.01
    assert search.best_score_ > 0.4
    best = search.best_estimator_
    (width,) = search.best_params_["module__hidden"]
    assert best.module_.layers[0].out_features == width
    expected = {"adam": torch.optim.Adam}.get(best.optimizer, best.optimizer)
    assert type(best.optimizer_) is expected
    assert search.score(images.X_test, images.y_test) > 0.4
    assert_array_equal(search.classes_, np.unique(images.y))


def test_grid_search_over_networks_and_criteria(images):
    grid = [
        {"module": ["mlp"], "module__hidden": [(16,), ()]},
        {
            "module": ["convnet"],
            "module__channels": [(4, 4)],
            "module__hidden": [(8,)],
            "normalize": [None, "channel"],
        },
    ]
    net = ImageClassifier(max_epochs=2, lr=0.01, batch_size=32, random_state=0)
    search = GridSearchCV(net, grid, cv=2, error_score="raise")
    search.fit(images.X, images.y)
    assert len(search.cv_results_["params"]) == 4
    assert search.cv_results_["mean_test_score"].max() > 0.4


def test_misspelt_parameters_fail_in_a_search(images, small):
    for name, nearest in (("max_epoch", "max_epochs"), ("Lr", "lr")):
        with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
            GridSearchCV(small(), {name: [1]}, cv=2).fit(images.X, images.y)
    search = GridSearchCV(small(), {"module__hiden": [(4,)]}, cv=2)
    with pytest.raises(ValueError, match="did you mean 'module__hidden'"):
        search.set_params(error_score="raise").fit(images.X, images.y)


def test_randomized_search(images, small):
    distributions = {
        "lr": loguniform(1e-3, 1e-1),
        "batch_size": [16, 32, 64],
        "optimizer__betas": [(0.9, 0.999), (0.8, 0.99)],
    }
    results = []
    for _ in range(2):
        search = RandomizedSearchCV(
            small(), distributions, n_iter=4, cv=2, random_state=0, error_score="raise"
        ).fit(images.X, images.y)
        results.append(search.cv_results_["mean_test_score"])
    assert_array_equal(*results)
    assert search.best_score_ > 0.4
    group = search.best_estimator_.optimizer_.param_groups[0]
    assert group["lr"] == search.best_params_["lr"]
    assert group["betas"] == search.best_params_["optimizer__betas"]


def test_halving_search_over_epochs(images, small):
    search = HalvingGridSearchCV(
        small(),
        {"lr": [1e-6, 1e-5, 0.003, 0.01]},
        resource="max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        cv=2,
        error_score="raise",
        random_state=0,
    ).fit(images.X, images.y)
    assert search.n_resources_ == [1, 2, 4]
    assert search.n_candidates_ == [4, 2, 1]
    assert search.best_params_["lr"] >= 0.003
    assert search.best_params_["max_epochs"] == 4
    assert len(search.best_estimator_.history) == 4
    assert search.best_score_ > 0.4


@pytest.mark.parametrize("kind", ["adapters", "data set"])
def test_searches_on_data_sets(fashion, kind, small):
    data = Subset(fashion(v1.ToTensor()), range(300))
    given = as_Xy(data) if kind == "adapters" else (data,)
    search = GridSearchCV(small(), {"lr": [1e-6, 0.01]}, cv=2, error_score="raise")
    search.fit(*given)
    assert search.best_params_ == {"lr": 0.01}
    assert search.best_score_ > 0.4
    assert search.score(*given) > 0.4
    assert search.predict(given[0]).shape == (300,)


# ------------------------------------------------------------ cross-validation


def test_several_scorers(images, small):
    scoring = {
        "accuracy": "accuracy",
        "log_loss": "neg_log_loss",
        "auc": "roc_auc_ovr",
        "f1": "f1_macro",
        "top": "top_k_accuracy",
        "own": lambda net, X, y: len(X),
    }
    splits = list(StratifiedKFold(3).split(images.X, images.y))
    result = cross_validate(
        small(),
        images.X,
        images.y,
        cv=splits,
        scoring=scoring,
        return_estimator=True,
        return_train_score=True,
        error_score="raise",
    )
    for i, (net, (train, test)) in enumerate(
        zip(result["estimator"], splits, strict=True)
    ):
        y, proba = images.y[test], net.predict_proba(images.X[test])
        prediction = net.classes_[proba.argmax(1)]
        assert result["test_accuracy"][i] == accuracy_score(y, prediction)
        assert_allclose(result["test_log_loss"][i], -log_loss(y, proba), rtol=1e-6)
        assert_allclose(result["test_f1"][i], f1_score(y, prediction, average="macro"))
        assert result["test_own"][i] == len(test)
        assert result["train_own"][i] == len(train)
    assert result["test_accuracy"].min() > 0.4
    assert result["test_auc"].min() > 0.75
    assert (result["test_top"] > result["test_accuracy"]).all()
    assert result["train_log_loss"].mean() > result["test_log_loss"].mean()
