import copy
import pickle

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch.utils.data import TensorDataset

from skvision import ImageClassifier
from skvision.metrics import cross_entropy_scorer, top_k_scorer


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are the rows of X."""

    def __init__(self, classes=()):
        self.classes = classes
        self.classes_ = np.asarray(classes)
        self.n_calls_ = 0

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.classes_[np.argmax(X, axis=1)]

    def predict_proba(self, X):
        self.n_calls_ += 1
        return np.asarray(X)


THREE = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.2, 0.7, 0.1], [0.4, 0.25, 0.35]])


def probabilities(rng, n, k):
    proba = rng.random((n, k)) + 1e-3
    return proba / proba.sum(1, keepdims=True)


# --------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("names", [[0, 1, 2], [3, 5, 9], ["ant", "bee", "cat"]])
def test_by_hand(names):
    y = np.array(names)[[1, 0, 1, 2]]
    estimator = Given(names)
    assert top_k_scorer(1)(estimator, THREE, y) == 1 / 4
    assert top_k_scorer(2)(estimator, THREE, y) == 3 / 4
    expected = np.log([0.3, 0.1, 0.7, 0.35]).mean()
    assert cross_entropy_scorer()(estimator, THREE, y) == pytest.approx(expected)


def test_weights_by_hand():
    y, weight = np.array([1, 0, 1, 2]), [4, 3, 2, 1]
    estimator = Given(range(3))
    assert top_k_scorer(2)(estimator, THREE, y, weight) == pytest.approx(0.7)
    score = top_k_scorer(2)(estimator, THREE, y, sample_weight=np.array(weight))
    assert score == pytest.approx(0.7)
    entropy = cross_entropy_scorer()(estimator, THREE, y, weight)
    logs = np.log([0.3, 0.1, 0.7, 0.35])
    assert entropy == pytest.approx(np.average(logs, weights=weight))
    scoring = {"top": top_k_scorer(2), "entropy": cross_entropy_scorer()}
    several = sklearn.metrics.check_scoring(estimator, scoring)
    scores = several(estimator, THREE, y, sample_weight=weight)
    assert scores == {"top": pytest.approx(0.7), "entropy": pytest.approx(entropy)}
    for scorer in scoring.values():
        with pytest.raises(ValueError, match="non-zero"):
            scorer(estimator, THREE, y, np.zeros(4))
        with pytest.raises(ValueError, match="weight"):
            scorer(estimator, THREE, y, np.ones(3))


@given(
    n=st.integers(1, 30),
    n_classes=st.integers(2, 6),
    weights=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_as_torch_has_it(n, n_classes, weights, seed):
    rng = np.random.default_rng(seed)
    proba = probabilities(rng, n, n_classes)
    names = np.array(list("fbdace"[:n_classes]))
    names.sort()
    codes = rng.integers(n_classes, size=n)  # Some classes do not occur.
    weight = rng.random(n) + 0.1 if weights else None
    estimator = Given(names)
    logs = torch.from_numpy(proba).log()
    losses = torch.nn.functional.cross_entropy(
        logs, torch.from_numpy(codes), reduction="none"
    )
    score = cross_entropy_scorer()(estimator, proba, names[codes], weight)
    assert score == pytest.approx(-np.average(losses, weights=weight))
    for k in range(1, n_classes):
        best = logs.topk(k).indices.numpy()
        hits = (best == codes[:, None]).any(1)
        score = top_k_scorer(k)(estimator, proba, names[codes], weight)
        assert score == pytest.approx(np.average(hits, weights=weight))


def test_small_probabilities_of_float32():
    proba = np.array([[1, 1e-12], [1e-9, 1]], dtype=np.float32)
    score = cross_entropy_scorer()(Given([0, 1]), proba, [1, 0])
    assert score == pytest.approx(np.log([1e-12, 1e-9]).mean(), rel=1e-6)
    proba = np.array([[1, 0, 0]], dtype=np.float32)
    score = cross_entropy_scorer()(Given([0, 1, 2]), proba, [1])
    assert score == pytest.approx(np.log(np.finfo(np.float64).eps))


def test_what_is_no_probability_is_told():
    with pytest.warns(UserWarning, match="sum to one"):
        cross_entropy_scorer()(Given(range(3)), THREE / 2, [0, 1, 2, 0])


# ----------------------------------------------------------------------------- labels


def test_two_classes():
    proba = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4]])
    estimator = Given(["no", "yes"])
    y = ["no", "no", "yes"]
    assert top_k_scorer(1)(estimator, proba, y) == pytest.approx(1 / 3)
    expected = np.log([0.9, 0.3, 0.4]).mean()
    assert cross_entropy_scorer()(estimator, proba, y) == pytest.approx(expected)
    # Also where all rows are of one class, and beside a scorer of the other one.
    assert top_k_scorer(1)(estimator, proba[2:], y[2:]) == 0
    of_first = sklearn.metrics.make_scorer(
        sklearn.metrics.brier_score_loss,
        response_method="predict_proba",
        pos_label="no",
    )
    scoring = {
        "first": of_first,
        "entropy": cross_entropy_scorer(),
        "k": top_k_scorer(1),
    }
    scores = sklearn.metrics.check_scoring(estimator, scoring)(estimator, proba, y)
    assert scores["entropy"] == pytest.approx(expected)
    assert scores["k"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match=r"k=2 .* number of classes, 2"):
        top_k_scorer(2)(estimator, proba, y)


def test_labels_that_do_not_occur():
    estimator = Given(list("abc"))
    assert top_k_scorer(2)(estimator, THREE, ["b"] * 4) == 3 / 4
    expected = np.log(THREE[:, 1]).mean()
    score = cross_entropy_scorer()(estimator, THREE, ["b"] * 4)
    assert score == pytest.approx(expected)


def test_labels_that_the_classifier_never_saw():
    estimator = Given(list("abd"))
    y = ["c", "d", "b", "e"]
    assert top_k_scorer(1)(estimator, THREE, y) == 2 / 4
    assert top_k_scorer(1)(estimator, THREE, y, [1, 1, 5, 3]) == pytest.approx(0.6)
    assert top_k_scorer(1)(estimator, THREE, ["e"] * 4) == 0
    assert top_k_scorer(1)(estimator, THREE, y, [1, 0, 0, 1]) == 0
    with pytest.raises(ValueError, match=r"\['c', 'e'\].*\['a', 'b', 'd'\]"):
        cross_entropy_scorer()(estimator, THREE, y)


@pytest.mark.parametrize("scorer", [top_k_scorer(1), cross_entropy_scorer()])
def test_labels_of_another_kind(scorer):
    with pytest.raises(ValueError, match="string and number"):
        scorer(Given([0, 1, 2]), THREE, ["0", "1", "2", "0"])
    with pytest.raises(ValueError, match="continuous"):
        scorer(Given([0, 1, 2]), THREE, [0.5, 1, 2, 0])


@pytest.mark.parametrize("scorer", [top_k_scorer(1), cross_entropy_scorer()])
def test_other_estimators(scorer):
    X, y = THREE, np.array([0, 1, 2, 0])
    with pytest.raises(TypeError, match=r"LinearSVC\."):
        scorer(LinearSVC().fit(X, y), X, y)
    with pytest.raises(NotFittedError):
        scorer(LogisticRegression(), X, y)


# ------------------------------------------------------------------------- as objects


def test_equal_scorers():
    scorers = [top_k_scorer(1), top_k_scorer(2), cross_entropy_scorer()]
    for i, scorer in enumerate(scorers):
        for other in (
            [top_k_scorer(1), top_k_scorer(np.int64(2)), cross_entropy_scorer()][i],
            pickle.loads(pickle.dumps(scorer)),
            copy.deepcopy(scorer),
        ):
            assert other == scorer
            assert hash(other) == hash(scorer)
            assert other(Given(range(3)), THREE, [1, 0, 1, 2]) == scorer(
                Given(range(3)), THREE, [1, 0, 1, 2]
            )
        assert [scorer == other for other in scorers].count(True) == 1
        assert scorer != repr(scorer)
    assert list(map(repr, scorers)) == [
        "top_k_scorer(1)",
        "top_k_scorer(2)",
        "cross_entropy_scorer()",
    ]
    scorings = {"one": top_k_scorer(1), "two": [top_k_scorer(2)]}
    cloned = clone(ImageClassifier(epoch_scoring=scorings))
    assert cloned.epoch_scoring == scorings


# ------------------------------------------------------------- scikit-learn's own tools


def test_predictions_are_shared():
    estimator = Given(range(3))
    scoring = {
        "top_1": top_k_scorer(1),
        "top_2": top_k_scorer(2),
        "entropy": cross_entropy_scorer(),
        "log_loss": "neg_log_loss",
    }
    y = [1, 0, 1, 2]
    scores = sklearn.metrics.check_scoring(estimator, scoring)(estimator, THREE, y)
    assert estimator.n_calls_ == 1
    assert scores["top_1"] == 1 / 4
    assert scores["top_2"] == 3 / 4
    assert scores["entropy"] == pytest.approx(scores["log_loss"])


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:240], np.array([f"no. {i}" for i in digits.target[:240]])


def small(**params):
    return ImageClassifier(
        "mlp",
        **{"module__hidden": (16,), "max_epochs": 4, "lr": 0.01, "random_state": 0}
        | params,
    )


def test_cross_validation(data):
    X, y = data
    scoring = {"top_3": top_k_scorer(3), "entropy": cross_entropy_scorer()}
    scores = cross_validate(
        small(), X, y, scoring=scoring, cv=3, return_estimator=True, return_indices=True
    )
    for i, net in enumerate(scores["estimator"]):
        rows = scores["indices"]["test"][i]
        codes = np.searchsorted(net.classes_, y[rows])
        proba = net.predict_proba(X[rows])
        best = np.argsort(proba)[:, -3:]
        assert scores["test_top_3"][i] == (best == codes[:, None]).any(1).mean()
        expected = np.log(proba[np.arange(len(rows)), codes]).mean()
        assert scores["test_entropy"][i] == pytest.approx(expected, rel=1e-5)


def test_classes_that_a_fold_lacks():
    # Unshuffled folds of sorted labels: training rows lack a class of the test rows.
    X, y = np.repeat(np.eye(4), 5, axis=0), np.repeat(list("abcd"), 5)
    model = LogisticRegression()
    folds = sklearn.model_selection.KFold(4)
    assert_allclose(cross_val_score(model, X, y, cv=folds, scoring=top_k_scorer(1)), 0)
    with pytest.warns(UserWarning, match="label"):
        scores = cross_val_score(model, X, y, cv=folds, scoring=cross_entropy_scorer())
    assert np.isnan(scores).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_search(data):
    X, y = data
    grid = {"classifier__lr": [1e-5, 0.01]}
    pipeline = sklearn.pipeline.Pipeline([("classifier", small())])
    scoring = {"top": top_k_scorer(2), "entropy": cross_entropy_scorer()}
    scoring = pickle.loads(pickle.dumps(scoring))  # As it goes to other processes.
    search = GridSearchCV(pipeline, grid, cv=2, scoring=scoring, refit="entropy").fit(
        X, y
    )
    assert search.best_params_ == {"classifier__lr": 0.01}
    assert np.argmax(search.cv_results_["mean_test_top"]) == 1
    assert search.score(X, y) == cross_entropy_scorer()(search.best_estimator_, X, y)
    assert search.score(X, y) == cross_entropy_scorer()(search, X, y)


def test_other_classifiers(data):
    X, y = data
    flat = X.reshape(len(X), -1)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_score(model, flat, y, scoring=top_k_scorer(2), cv=3)
    assert scores.min() > 0.8


def test_weights_are_routed(data):
    X, y = data
    flat = X.reshape(len(X), -1)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = top_k_scorer(1).set_score_request(sample_weight=True)
        model = LogisticRegression(max_iter=1000).set_fit_request(sample_weight=False)
        weight = np.random.default_rng(0).random(len(y))
        weighted = cross_validate(
            model,
            flat,
            y,
            scoring=scorer,
            cv=3,
            params={"sample_weight": weight},
            return_estimator=True,
            return_indices=True,
        )
    for i, fitted in enumerate(weighted["estimator"]):
        rows = weighted["indices"]["test"][i]
        expected = fitted.score(flat[rows], y[rows], weight[rows])
        assert weighted["test_score"][i] == pytest.approx(expected)


def test_labels_that_X_carries(digits):
    images = torch.from_numpy(digits.data[:100, None] / np.float32(255))
    y = digits.target[:100]
    dataset = TensorDataset(images, torch.from_numpy(y))
    net = small().fit(dataset)
    pairs = [dataset[i] for i in range(100)]
    for scorer in (top_k_scorer(2), cross_entropy_scorer()):
        expected = pytest.approx(scorer(net, images, y))
        assert scorer(net, dataset) == expected
        assert scorer(net, pairs) == expected
        assert scorer(net, pairs, None) == expected
    # scikit-learn cuts data sets into lists of pairs.
    scoring = {"top": top_k_scorer(2), "entropy": cross_entropy_scorer()}
    scores = cross_validate(small(), dataset, scoring=scoring, cv=2)
    given_y = cross_validate(
        small(), images, y, scoring=scoring, cv=sklearn.model_selection.KFold(2)
    )
    for key in ("test_top", "test_entropy"):
        assert_allclose(scores[key], given_y[key], rtol=1e-6)
