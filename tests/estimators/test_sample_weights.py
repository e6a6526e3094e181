"""Weights of rows, and of classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.class_weight import compute_sample_weight
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import predefined_split
from skvision_tests import DOUBLE, NAMES, SMALL, make_images, weights
from torch import nn

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]


# -------------------------------------------------------------------- weights of rows


@settings(max_examples=12, deadline=None)
@given(
    zeros=st.sets(st.integers(0, 39), min_size=1, max_size=30),
    batch_norm=st.booleans(),
    varied=st.booleans(),
    classification=st.booleans(),
)
def test_a_row_of_weight_zero_is_absent(
    zeros, batch_norm, varied, classification, assert_same_weights
):
    X, y = make_images()
    weight = np.random.default_rng(1).uniform(0.1, 3, 40) if varied else np.ones(40)
    weight[list(zeros)] = 0
    kept = weight > 0
    if len(np.unique(y[kept])) < 3:
        return
    # Values that would show in any statistics.
    X[~kept] = 1e3
    estimator = ImageClassifier if classification else ImageRegressor
    options = DOUBLE | {"module__batch_norm": batch_norm}
    with_zeros = estimator(**options).fit(X, y, sample_weight=weight)
    absent = estimator(**options).fit(X[kept], y[kept], sample_weight=weight[kept])
    assert_same_weights(weights(with_zeros), weights(absent))
    assert_array_equal(with_zeros.predict(X[kept]), absent.predict(X[kept]))
    if not varied:
        unweighted = estimator(**options).fit(X[kept], y[kept])
        assert_same_weights(weights(with_zeros), weights(unweighted), rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_the_scale_of_weights_has_no_influence(
    data, estimator, scale, assert_same_weights
):
    X, y = data
    weight = np.random.default_rng(1).uniform(0, 3, 40)
    first = estimator(**DOUBLE).fit(X, y, sample_weight=weight)
    second = estimator(**DOUBLE).fit(X, y, sample_weight=scale * weight)
    assert_same_weights(weights(first), weights(second), rtol=1e-6)
    losses = [fitted.history[:, "train_loss"] for fitted in (first, second)]
    assert_allclose(*losses, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("criterion__reduction", ["mean", "sum"])
def test_equal_weights_are_no_weights(
    data, estimator, criterion__reduction, assert_same_weights
):
    X, y = data
    options = DOUBLE | {"criterion__reduction": criterion__reduction}
    first = estimator(**options).fit(X, y, sample_weight=np.full(40, 2.5))
    second = estimator(**options).fit(X, y)
    assert_same_weights(weights(first), weights(second), rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_whole_weights_repeat_rows(data, estimator, assert_same_weights):
    X, y = data
    weight = np.random.default_rng(1).integers(0, 4, 40)
    options = DOUBLE | {"batch_size": -1, "max_epochs": 5, "optimizer": "sgd"}
    weighted = estimator(**options, lr=0.1).fit(X, y, sample_weight=weight)
    repeated = estimator(**options, lr=0.1)
    repeated.fit(X.repeat(weight, axis=0), y.repeat(weight))
    assert_same_weights(weights(weighted), weights(repeated), rtol=1e-6, atol=1e-9)
    assert_allclose(
        weighted.history[:, "train_loss"], repeated.history[:, "train_loss"]
    )


def test_weighted_hold_out(data, assert_same_weights):
    X, y = data
    weight = np.where(np.arange(40) % 4 > 0, 1.0, 0.0)
    options = DOUBLE | {"early_stopping": True, "validation_fraction": 0.25}
    with_zeros = ImageClassifier(**options).fit(X, y, sample_weight=weight)
    absent = ImageClassifier(**options).fit(X[weight > 0], y[weight > 0])
    assert_same_weights(weights(with_zeros), weights(absent), rtol=1e-6)
    assert_allclose(
        with_zeros.history[:, "valid_loss"], absent.history[:, "valid_loss"]
    )
    sizes = with_zeros.history[0, "batches", :, "valid_batch_size"]
    assert sum(size for size in sizes if size) == 8


# ------------------------------------------------------------------- weights of classes


@pytest.mark.parametrize(
    "labels",
    [NAMES, np.array(["0", "1", "2"]), np.array([30, -1, 7]), np.array([True, False])],
)
def test_class_weights(labels, assert_same_weights):
    X, index = make_images(40, n_classes=len(labels))
    keep = (index > 0) | (np.arange(40) % 2 > 0)  # Not equally frequent.
    X, y = X[keep], labels[index[keep]]
    table = {label: 1.5 * i + 0.5 for i, label in enumerate(labels)}
    by_row = ImageClassifier(**DOUBLE).fit(
        X, y, sample_weight=[table[label] for label in y]
    )
    by_class = ImageClassifier(**DOUBLE, class_weight=table).fit(X, y)
    assert_same_weights(weights(by_class), weights(by_row))
    balanced = ImageClassifier(**DOUBLE, class_weight="balanced").fit(X, y)
    weight = compute_sample_weight("balanced", y)
    by_row = ImageClassifier(**DOUBLE).fit(X, y, sample_weight=weight)
    assert_same_weights(weights(balanced), weights(by_row))
    unweighted = ImageClassifier(**DOUBLE).fit(X, y)
    assert not np.array_equal(
        weights(balanced)["head.weight"], weights(unweighted)["head.weight"]
    )


def test_class_weights_times_sample_weights(data, assert_same_weights):
    X, y = data
    y = NAMES[y]
    weight = np.linspace(0.5, 2, 40)
    table = {"red": 3.0, "green": 0.5}  # Amber counts as 1.
    both = ImageClassifier(**DOUBLE, class_weight=table)
    both.fit(X, y, sample_weight=weight)
    product = weight * [table.get(label, 1.0) for label in y]
    assert_same_weights(
        weights(both),
        weights(ImageClassifier(**DOUBLE).fit(X, y, sample_weight=product)),
    )


def test_a_class_of_weight_zero_is_known_all_the_same(data):
    X, y = data
    estimator = ImageClassifier(**SMALL, class_weight={0: 0.0}).fit(X, y)
    assert estimator.classes_.tolist() == [0, 1, 2]
    assert estimator.predict_proba(X).shape == (40, 3)


@pytest.mark.parametrize("module", ["mlp", "convnet"])
def test_a_class_of_weight_zero_is_absent(data, module, assert_same_weights):
    X, y = data
    options = {"module": module, "max_epochs": 2, "batch_size": 8, "random_state": 0}
    net = ImageClassifier(class_weight={0: 0.0}, dtype="float64", **options)
    net.partial_fit(X, y, classes=range(3))
    other = ImageClassifier(dtype="float64", **options)
    other.partial_fit(X[y > 0], y[y > 0], classes=range(3))
    # Batch normalisation and the normalisation of pixels among them.
    assert_same_weights(weights(net), weights(other))
    assert_array_equal(net.scaler_.mean, other.scaler_.mean)
    with pytest.raises(ValueError, match="class_weight is zero for every row"):
        net.partial_fit(X[y == 0], y[y == 0])


@pytest.mark.parametrize("labels", [np.arange(3), np.array(["0", "1", "2"])])
def test_balanced_classes_count_weights_of_rows(data, labels):
    X, y = data
    rows = np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y > 0)]
    X, y = X[rows], labels[y[rows]]
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    options = DOUBLE | {"batch_size": -1, "class_weight": "balanced"}
    one = ImageClassifier(**options).fit(X, y, sample_weight=weight)
    two = ImageClassifier(**options).fit(np.repeat(X, weight, 0), np.repeat(y, weight))
    assert_allclose(one.predict_proba(X), two.predict_proba(X), rtol=1e-9)


class Own(nn.Module):
    """A loss that has no values of rows."""

    def forward(self, outputs, y):
        return nn.functional.cross_entropy(outputs, y)


class Deaf(nn.CrossEntropyLoss):
    """One that does not listen to `reduction`."""

    def forward(self, outputs, y):
        return nn.functional.cross_entropy(outputs, y)


@pytest.mark.parametrize("criterion", [Own, Own(), Deaf])
def test_weights_need_the_loss_of_each_row(data, criterion):
    X, y = data
    net = ImageClassifier(criterion=criterion, **SMALL).fit(X, y)
    before = net.history[:, "train_loss"]
    for weighted in (
        lambda: net.fit(X, y, sample_weight=np.linspace(1, 2, 40)),
        lambda: net.set_params(class_weight="balanced").fit(X, y),
    ):
        with pytest.raises(
            ValueError, match="sample_weight or class_weight.*reduction"
        ):
            weighted()
        assert net.history[:, "train_loss"] == before
    assert not hasattr(net.criterion_, "reduction") or criterion is Deaf


def test_equal_weights_under_the_reduction_of_divergences(data):
    X, y = data
    shares = np.eye(3)[y] * 0.7 + 0.1
    options = DOUBLE | {"criterion": nn.KLDivLoss, "criterion__reduction": "batchmean"}
    plain = ImageRegressor(**options).fit(X, shares)
    weighted = ImageRegressor(**options).fit(X, shares, sample_weight=np.full(40, 3.0))
    assert_allclose(weighted.predict(X), plain.predict(X), rtol=1e-9)


def test_class_weights_of_labels_that_are_absent_for_once(data, assert_same_weights):
    X, y = data
    y = NAMES[y]
    rows = y != "green"
    table = {"red": 3.0, "green": 0.5}  # Amber counts as 1.
    estimator = ImageClassifier(**DOUBLE, class_weight=table)
    estimator.partial_fit(X, y).partial_fit(X[rows], y[rows])
    weight = np.array([table.get(label, 1.0) for label in y])
    by_row = ImageClassifier(**DOUBLE).partial_fit(X, y, sample_weight=weight)
    by_row.partial_fit(X[rows], y[rows], sample_weight=weight[rows])
    assert_same_weights(weights(estimator), weights(by_row))
    # The same with validation rows that lack a class.
    dataset = SkorchDataset(X[rows], y[rows])
    estimator.set_params(train_split=predefined_split(dataset)).fit(X, y)
    by_row.fit(X, y, sample_weight=weight)
    assert_same_weights(weights(estimator), weights(by_row))
