"""stacked_cross_validate gives what cross_validate gives."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    cross_validate,
)
from skvision_tests import small

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.model_selection import stacked_cross_validate

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error:Some fits are made one by one"),
]


@pytest.fixture
def compare(small_digits, stack_sizes, assert_same_results):
    def run(net, X=None, y=None, **options):
        X, y = small_digits if X is None else (X, y)
        stack_sizes.clear()
        expected = cross_validate(net, X, y, **options)
        assert not stack_sizes
        found = stacked_cross_validate(net, X, y, calibrate=False, **options)
        assert stack_sizes
        assert_same_results(found, expected)
        return found, expected

    return run


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scoring": "neg_log_loss", "return_train_score": True, "cv": 3},
        {"scoring": ["accuracy", "f1_macro"], "cv": KFold(2, shuffle=True)},
        {"scoring": {"a": "accuracy"}, "cv": ShuffleSplit(3, random_state=0)},
    ],
    ids=["default", "loss", "two", "dict"],
)
def test_options(options, compare):
    if isinstance(options.get("cv"), KFold):
        options = options | {"cv": KFold(2, shuffle=True, random_state=2)}
    found, _ = compare(small(), **options)
    assert (found["fit_time"] > 0).all()


def test_other_estimators(compare, small_digits):
    X, y = small_digits
    compare(small(ImageRegressor), X, y / 10, cv=3)
    net = small(ImageAutoencoder, module="dense_autoencoder", module__hidden=(8, 3))
    compare(net, X, cv=3)


def test_estimators_and_rows(compare):
    net = small()
    found, expected = compare(net, cv=3, return_estimator=True, return_indices=True)
    for one, other in zip(found["estimator"], expected["estimator"], strict=True):
        assert type(one) is ImageClassifier
        for name, value in one.module_.state_dict().items():
            wanted = other.module_.state_dict()[name]
            torch.testing.assert_close(value, wanted, rtol=0, atol=1e-9)
    for part in ("train", "test"):
        pairs = zip(found["indices"][part], expected["indices"][part], strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)
    assert not hasattr(net, "module_")


def test_splits_that_are_drawn(small_digits, assert_same_results):
    results = []
    for validate in (cross_validate, stacked_cross_validate):
        np.random.seed(0)
        results.append(validate(small(), *small_digits, cv=ShuffleSplit(3)))
    assert_same_results(*results)


@pytest.mark.parametrize("make", [list, iter])
def test_splits_of_ones_own(make, small_digits, stack_sizes):
    rows = np.arange(120)
    splits = [(rows[:70], rows[70:]), (rows[20:], rows[:20])]
    options = {"scoring": "accuracy"}
    expected = cross_validate(small(), *small_digits, cv=splits, **options)
    for calibrate in (False, True):
        found = stacked_cross_validate(
            small(), *small_digits, cv=make(splits), calibrate=calibrate, **options
        )
        assert np.array_equal(found["test_score"], expected["test_score"])
    assert stack_sizes[:2] == [2, 2]


def test_groups_and_weights(compare):
    weight = np.random.RandomState(0).rand(120)
    compare(
        small(),
        groups=np.arange(120) % 7,
        params={"sample_weight": weight},
        cv=GroupKFold(3),
        scoring="neg_log_loss",
    )


@pytest.mark.parametrize("fit", [True, False])
def test_routed_metadata(fit, compare, small_digits):
    weight = np.random.RandomState(0).rand(120)
    params = {"sample_weight": weight, "groups": np.arange(120) % 7}
    with config_context(enable_metadata_routing=True):
        net = small().set_fit_request(sample_weight=fit)
        net.set_score_request(sample_weight=True)
        options = {"params": params, "cv": GroupKFold(3), "return_estimator": True}
        found, _ = compare(net, **options)
        routing = found["estimator"][0].get_metadata_routing()
        assert repr(routing) == repr(net.get_metadata_routing())
        with pytest.raises(ValueError, match="groups"):
            stacked_cross_validate(net, *small_digits, groups=params["groups"])


def test_failures(compare, small_digits):
    net = small(optimizer="sgd", lr=1e300)
    with pytest.raises(ValueError, match="All the 3 fits failed"):
        stacked_cross_validate(net, *small_digits, cv=3, calibrate=False)
    X, y = small_digits
    y = np.where(np.arange(120) < 60, 0, y)  # The last fold has one class alone.
    splits = [(np.arange(60), np.arange(60, 120)), (np.arange(30, 120), np.arange(30))]
    splits += [(np.arange(20, 120), np.arange(20))]
    with pytest.warns(FitFailedWarning, match="at least 2 classes"):
        found, _ = compare(small(), X, y, cv=splits[1:] + splits[:1], error_score=-1)
    assert found["test_score"].tolist()[2] == -1


def test_estimators_of_others(small_digits):
    X, y = small_digits
    net = LogisticRegression(max_iter=20)
    rows = X.reshape(120, 64) / 255
    with pytest.warns(UserWarning, match="trains LogisticRegression fold by fold"):
        found = stacked_cross_validate(net, rows, y, cv=2)
    expected = cross_validate(clone(net), rows, y, cv=2)
    assert np.array_equal(found["test_score"], expected["test_score"])


def test_what_cannot_be_stacked(small_digits, stack_sizes):
    net = small(optimizer=torch.optim.LBFGS, optimizer__max_iter=2, max_epochs=1)
    with pytest.warns(UserWarning, match="one by one.*the optimizer LBFGS"):
        found = stacked_cross_validate(net, *small_digits, cv=2)
    expected = cross_validate(net, *small_digits, cv=2)
    assert np.array_equal(found["test_score"], expected["test_score"])
    assert stack_sizes == []
