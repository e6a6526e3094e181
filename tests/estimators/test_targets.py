"""Targets, weights, hold-outs and what is recorded of a training."""

import io
import warnings

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, f1_score, log_loss, make_scorer, r2_score
from sklearn.model_selection import cross_validate
from sklearn.utils.class_weight import compute_sample_weight
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
)
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor

from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {
    "module": "mlp",
    "module__hidden": (16,),
    "max_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
}
DOUBLE = SMALL | {"dtype": "float64"}
NAMES = np.array(["red", "amber", "green"])

# Short trainings, which are compared with each other, need not succeed.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_images(n=40, n_classes=3, seed=0):
    """Return images whose brightest row tells their class."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.random((n, 8, 8))
    X[np.arange(n), y] += 1
    return X, y


def make_targets(X, k=2):
    """Return targets that are sums over parts of the images."""
    targets = np.stack([X[:, i].sum(1) for i in range(k)], axis=1)
    return (targets - targets.mean(0)) / targets.std(0)


def weights(estimator):
    state = estimator.module_.state_dict()
    return {name: value.numpy().copy() for name, value in state.items()}


def assert_same_weights(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name, value in first.items():
        if tolerance:
            assert_allclose(value, second[name], err_msg=name, **tolerance)
        else:
            assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture(scope="module")
def data():
    return make_images()


# ------------------------------------------------------------------ regression targets


def test_shapes_of_regression_targets(data):
    X, _ = data
    y = make_targets(X, k=3)
    one = ImageRegressor(**SMALL).fit(X, y[:, 0])
    column = ImageRegressor(**SMALL).fit(X, y[:, :1])
    several = ImageRegressor(**SMALL).fit(X, y)
    assert one.history[:, "train_loss"] == column.history[:, "train_loss"]
    assert_same_weights(weights(one), weights(column))
    assert one.predict(X).shape == (40,)
    assert column.predict(X).shape == (40, 1)
    assert several.predict(X).shape == (40, 3)
    assert_array_equal(column.predict(X)[:, 0], one.predict(X))
    assert (one.n_outputs_, column.n_outputs_, several.n_outputs_) == (1, 1, 3)
    # A loss over (batch, batch) differences would hardly go below the variance.
    assert several.history[-1, "train_loss"] < several.history[0, "train_loss"]


@pytest.mark.parametrize("criterion", ["mse", "l1", "smooth_l1", nn.HuberLoss])
@pytest.mark.parametrize("k", [1, 2])
def test_loss_of_a_regression(data, criterion, k):
    X, _ = data
    y = make_targets(X, k)
    y = y[:, 0] if k == 1 else y
    estimator = ImageRegressor(
        **DOUBLE | {"batch_size": -1, "max_epochs": 1, "lr": 0.0}, criterion=criterion
    ).fit(X, y)
    difference = torch.from_numpy(estimator.predict(X) - y)
    loss = type(estimator.criterion_)()(difference, torch.zeros_like(difference))
    assert_allclose(estimator.history[0, "train_loss"], loss, rtol=1e-9)


def test_networks_that_return_one_axis(data):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 1)

        def forward(self, X):
            return self.linear(X.flatten(1)).squeeze(1)

    class Column(Flat):
        def forward(self, X):
            return self.linear(X.flatten(1))

    X, _ = data
    y = make_targets(X, 1)
    options = {"max_epochs": 2, "batch_size": 8, "random_state": 0}
    for target in (y, y[:, 0]):
        flat = ImageRegressor(Flat, **options).fit(X, target)
        column = ImageRegressor(Column, **options).fit(X, target)
        assert flat.history[:, "train_loss"] == column.history[:, "train_loss"]
        assert_array_equal(flat.predict(X), column.predict(X))
        assert flat.predict(X).shape == target.shape


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)],
)
def test_dtypes_of_regression_predictions(data, given_dtype, expected):
    X, _ = data
    y = (10 * make_targets(X, 1)[:, 0]).astype(given_dtype)
    for dtype in ("float32", "float64"):
        estimator = ImageRegressor(**SMALL | {"dtype": dtype}).fit(X, y)
        assert estimator.predict(X).dtype == expected


def test_targets_in_other_forms(data):
    import pandas as pd

    X, _ = data
    y = make_targets(X, 2)
    expected = ImageRegressor(**SMALL).fit(X, y).predict(X)
    for form in (
        y.tolist(),
        torch.from_numpy(y),
        pd.DataFrame(y),
        np.asfortranarray(y),
    ):
        assert_array_equal(ImageRegressor(**SMALL).fit(X, form).predict(X), expected)


def test_regression_that_learns(data):
    X, _ = data
    y = make_targets(X, 2)
    options = SMALL | {"max_epochs": 60, "lr": 0.01}
    estimator = ImageRegressor(**options).fit(X, y)
    assert estimator.score(X, y) > 0.95
    assert_allclose(estimator.score(X, y), r2_score(y, estimator.predict(X)))
    assert not hasattr(estimator, "predict_proba")
    assert not hasattr(estimator, "classes_")


def test_other_shapes_of_targets_in_continued_fits(data):
    X, _ = data
    y = make_targets(X, 2)
    estimator = ImageRegressor(**SMALL).fit(X, y[:, 0])
    with pytest.raises(ValueError, match=r"y has shape \(40, 2\)"):
        estimator.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"y has shape \(40, 1\)"):
        estimator.partial_fit(X, y[:, :1])
    with pytest.raises(ValueError, match=r"shape \(40, 2, 2\)|3 dims|dim 3"):
        ImageRegressor(**SMALL).fit(X, np.zeros((40, 2, 2)))
    assert estimator.fit(X, y).predict(X).shape == (40, 2)


# -------------------------------------------------------------------- weights of rows


@settings(max_examples=12, deadline=None)
@given(
    zeros=st.sets(st.integers(0, 39), min_size=1, max_size=30),
    batch_norm=st.booleans(),
    varied=st.booleans(),
    classification=st.booleans(),
)
def test_a_row_of_weight_zero_is_absent(zeros, batch_norm, varied, classification):
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


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_row_of_weight_zero_is_absent_in_float32(data, batch_norm):
    X, y = data
    weight = np.arange(40) % 4 > 0
    options = SMALL | {"module__batch_norm": batch_norm}
    with_zeros = ImageClassifier(**options).fit(X, y, sample_weight=weight)
    absent = ImageClassifier(**options).fit(X[weight], y[weight])
    assert_allclose(
        with_zeros.predict_proba(X), absent.predict_proba(X), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("scale", [1e-3, 7.5, 1e6])
def test_the_scale_of_weights_has_no_influence(data, estimator, scale):
    X, y = data
    weight = np.random.default_rng(1).uniform(0, 3, 40)
    first = estimator(**DOUBLE).fit(X, y, sample_weight=weight)
    second = estimator(**DOUBLE).fit(X, y, sample_weight=scale * weight)
    assert_same_weights(weights(first), weights(second), rtol=1e-6)
    losses = [fitted.history[:, "train_loss"] for fitted in (first, second)]
    assert_allclose(*losses, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("criterion__reduction", ["mean", "sum"])
def test_equal_weights_are_no_weights(data, estimator, criterion__reduction):
    X, y = data
    options = DOUBLE | {"criterion__reduction": criterion__reduction}
    first = estimator(**options).fit(X, y, sample_weight=np.full(40, 2.5))
    second = estimator(**options).fit(X, y)
    assert_same_weights(weights(first), weights(second), rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_whole_weights_repeat_rows(data, estimator):
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


def test_weights_matter(data):
    X, y = data
    y = (y > 0).astype(int)
    noise = np.random.default_rng(1).random(X.shape)
    options = SMALL | {"max_epochs": 20}
    for heavy in (0, 1):
        weight = np.where(y == heavy, 50.0, 1.0)
        estimator = ImageClassifier(**options).fit(noise, y, sample_weight=weight)
        assert (estimator.predict(noise) == heavy).mean() > 0.8


def test_weights_that_are_not_valid(data):
    X, y = data
    for weight, message in [
        (np.zeros(40), "zero"),
        (np.full(40, -1.0), "[Nn]egative"),
        (np.ones(39), r"sample_weight.*shape|inconsistent"),
        (np.ones((40, 2)), "1D|dimension"),
    ]:
        with pytest.raises(ValueError, match=message):
            ImageClassifier(**SMALL).fit(X, y, sample_weight=weight)


def test_weighted_hold_out(data):
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


def test_weights_by_metadata_routing(data):
    X, y = data
    weight = np.random.default_rng(1).integers(0, 3, 40)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = ImageClassifier(**DOUBLE).set_fit_request(sample_weight=True)
        estimator.set_score_request(sample_weight=False)
        result = cross_validate(
            estimator,
            X,
            y,
            cv=2,
            params={"sample_weight": weight},
            return_estimator=True,
            return_indices=True,
        )
    for fitted, rows in zip(
        result["estimator"], result["indices"]["train"], strict=True
    ):
        alone = ImageClassifier(**DOUBLE)
        alone.fit(X[rows], y[rows], sample_weight=weight[rows])
        assert_same_weights(weights(fitted), weights(alone))


# ------------------------------------------------------------------- weights of classes


@pytest.mark.parametrize(
    "labels", [NAMES, np.array([30, -1, 7]), np.array([True, False])]
)
def test_class_weights(labels):
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


def test_class_weights_times_sample_weights(data):
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


def test_class_weights_in_partial_fit(data):
    X, y = data
    y = NAMES[y]
    table = {"red": 3.0, "amber": 2.0, "green": 0.5}
    estimator = ImageClassifier(**DOUBLE, class_weight=table)
    estimator.partial_fit(X, y, classes=NAMES)
    # Rows of some of the classes only.
    rows = y != "amber"
    estimator.partial_fit(X[rows], y[rows])
    by_row = ImageClassifier(**DOUBLE)
    weight = np.array([table[label] for label in y])
    by_row.partial_fit(X, y, classes=NAMES, sample_weight=weight)
    by_row.partial_fit(X[rows], y[rows], sample_weight=weight[rows])
    assert_same_weights(weights(estimator), weights(by_row))


def test_class_weights_of_labels_that_are_absent_for_once(data):
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


def test_class_weights_of_unknown_labels(data):
    X, y = data
    with pytest.raises(ValueError, match="class_weight"):
        ImageClassifier(**SMALL, class_weight={"blue": 2.0}).fit(X, NAMES[y])


# -------------------------------------------------------- partial_fit and warm starts


def test_partial_fit_with_classes():
    X, y = make_images(40)
    y = NAMES[y]
    first = y != "green"
    estimator = ImageClassifier(**SMALL)
    estimator.partial_fit(X[first], y[first], classes=["green", "red", "amber"])
    assert estimator.classes_.tolist() == ["amber", "green", "red"]
    assert estimator.predict_proba(X).shape == (40, 3)
    estimator.set_params(lr=0.02, max_epochs=10).partial_fit(X, y)
    assert estimator.score(X, y) > 0.9
    assert estimator.partial_fit(X[:5], y[:5]) is estimator
    with pytest.raises(ValueError, match=r"\['blue'\].*\['amber', 'green', 'red'\]"):
        estimator.partial_fit(X[:3], ["blue", "red", "amber"])
    with pytest.raises(ValueError, match="differs from that of the first call"):
        estimator.partial_fit(X, y, classes=["red", "amber"])
    estimator.partial_fit(X, y, classes=["red", "green", "amber"])


def test_partial_fit_without_classes_takes_those_of_the_first_call(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).partial_fit(X, y + 4)
    assert estimator.classes_.tolist() == [4, 5, 6]
    for unseen in (y + 5, -y):
        with pytest.raises(ValueError, match=r"not among the classes \[4, 5, 6\]"):
            estimator.partial_fit(X, unseen)
    estimator.partial_fit(X[:4], [4, 4, 4, 4])
    with pytest.raises(ValueError, match="not among"):
        ImageClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_first_partial_fit_is_a_fit(data, estimator):
    X, y = data
    fitted = estimator(**SMALL).fit(X, y)
    partial = estimator(**SMALL).partial_fit(X, y)
    assert_same_weights(weights(fitted), weights(partial))
    assert_array_equal(fitted.predict(X), partial.predict(X))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_warm_start_goes_on(data, estimator):
    X, y = data
    warm = estimator(**SMALL, warm_start=True).fit(X, y)
    network, before = warm.module_, weights(warm)
    assert len(warm.history) == 2
    assert warm.fit(X, y) is warm
    assert warm.module_ is network
    assert len(warm.history) == 4
    assert warm.history[:, "epoch"] == [1, 2, 3, 4]
    assert warm.history[2, "train_loss"] < warm.history[0, "train_loss"]
    assert not np.array_equal(weights(warm)["head.weight"], before["head.weight"])
    # It is what partial_fit does, while an ordinary fit begins again.
    cold = estimator(**SMALL).fit(X, y)
    cold.partial_fit(X, y)
    assert_same_weights(weights(cold), weights(warm))
    cold.fit(X, y)
    assert len(cold.history) == 2
    assert_same_weights(weights(cold), before)


def test_normalisation_is_that_of_the_first_fit(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    mean, std = estimator.scaler_.mean.clone(), estimator.scaler_.std.clone()
    assert_allclose(mean.ravel(), X.mean(), rtol=1e-6)
    assert_allclose(std.ravel(), X.std(), rtol=1e-6)
    estimator.partial_fit(10 * X + 3, y)
    assert_array_equal(estimator.scaler_.mean, mean)
    assert_array_equal(estimator.scaler_.std, std)


# --------------------------------------------------------------------------- hold-outs


class Record(Callback):
    """Keep the data sets and the weights at the end of each epoch."""

    def initialize(self):
        self.datasets, self.states = [], []
        return self

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.datasets.append((dataset_train, dataset_valid))
        self.states.append(weights(net))


def recorded(estimator):
    return dict(estimator.callbacks_)["Record"]


def noisy_images():
    """Return images of which a network soon learns the noise."""
    rng = np.random.default_rng(3)
    X, y = make_images(60, seed=3)
    flip = rng.random(60) < 0.3
    return X + rng.normal(0, 0.5, X.shape), np.where(flip, (y + 1) % 3, y)


@pytest.mark.parametrize("seed", range(3))
def test_early_stopping_restores_the_best_weights(seed):
    X, y = noisy_images()
    names = NAMES[y]
    estimator = ImageClassifier(
        **DOUBLE | {"max_epochs": 60, "lr": 0.02, "random_state": seed},
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=4,
        callbacks=[Record],
    ).fit(X, names)
    losses = estimator.history[:, "valid_loss"]
    best = estimator.best_epoch_
    assert best == np.argmin(losses) + 1
    assert len(losses) == best + 4
    assert losses[-1] > min(losses)
    assert_same_weights(weights(estimator), recorded(estimator).states[best - 1])
    train, valid = recorded(estimator).datasets[0]
    assert (len(train), len(valid)) == (42, 18)
    proba = estimator.predict_proba(valid.X)
    loss = log_loss(valid.y, proba, labels=estimator.classes_)
    assert_allclose(loss, min(losses), rtol=1e-9)
    # Each class is on both sides, in equal parts, and no row is on both.
    counts = [np.unique(y, return_counts=True)[1] for y in (valid.y, names)]
    assert_allclose(counts[0], 0.3 * counts[1], atol=1)
    images = np.concatenate([train.X, valid.X])[:, 0]
    assert_array_equal(np.sort(images[:, 0, 0]), np.sort(X[:, 0, 0]))
    # Only the training rows are known to the normalisation.
    assert_allclose(estimator.scaler_.mean.ravel(), np.mean(train.X))


def test_early_stopping_of_a_regressor():
    X, y = noisy_images()
    estimator = ImageRegressor(
        **DOUBLE | {"max_epochs": 60, "lr": 0.02},
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=3,
        callbacks=[Record],
    ).fit(X, y.astype(float))
    losses = estimator.history[:, "valid_loss"]
    assert len(losses) == estimator.best_epoch_ + 3
    _, valid = recorded(estimator).datasets[0]
    loss = np.mean((estimator.predict(valid.X) - valid.y) ** 2)
    assert_allclose(loss, min(losses), rtol=1e-9)


@pytest.mark.parametrize("again", ["partial_fit", "fit"])
def test_early_stopping_of_a_continued_training(again):
    X, y = noisy_images()
    estimator = ImageClassifier(
        **DOUBLE | {"max_epochs": 30, "lr": 0.02},
        early_stopping=True,
        validation_fraction=0.3,
        warm_start=True,
        callbacks=[Record],
    ).fit(X, y)
    first = len(estimator.history)
    getattr(estimator, again)(X, y)
    best = estimator.best_epoch_
    assert first < best <= len(estimator.history)
    # The network is that of the epoch that is called the best.
    assert_same_weights(weights(estimator), recorded(estimator).states[best - 1])


def test_early_stopping_that_needs_all_epochs(data):
    X, y = data
    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 3, "lr": 1e-4}, early_stopping=True, callbacks=[Record]
    ).fit(X, y)
    assert len(estimator.history) == 3
    best = estimator.best_epoch_
    assert_same_weights(weights(estimator), recorded(estimator).states[best - 1])


@pytest.mark.parametrize(
    ("n", "fraction", "n_valid"),
    [(40, 0.1, 4), (40, 0.5, 20), (41, 0.1, 5), (7, 0.1, 3)],
)
def test_size_of_the_hold_out(n, fraction, n_valid):
    X, y = make_images(n)
    estimator = ImageClassifier(
        **SMALL, early_stopping=True, validation_fraction=fraction, callbacks=[Record]
    ).fit(X, y)
    train, valid = recorded(estimator).datasets[0]
    assert (len(train), len(valid)) == (n - n_valid, n_valid)
    assert set(valid.y) == set(train.y) == {0, 1, 2}


def test_hold_out_with_classes_of_one_row(data):
    X, y = data
    y = y.copy()
    y[0] = 7
    estimator = ImageClassifier(**SMALL, early_stopping=True).fit(X, y)
    assert estimator.classes_.tolist() == [0, 1, 2, 7]
    with pytest.raises(ValueError, match="n_samples=1"):
        ImageRegressor(**SMALL, early_stopping=True).fit(X[:1], y[:1])


class Pictures(Dataset):
    """PIL images and names, as torchvision's data sets have them."""

    def __init__(self, X, names, transform=None):
        self.X = X
        self.targets = list(names)
        self.transform = transform

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        image = Image.fromarray(self.X[i])
        if self.transform is not None:
            image = self.transform(image)
        return image, self.targets[i]


def validation_sets(X, names):
    """Return one set of uint8 images in several guises."""
    unit = torch.from_numpy(X)[:, None].float() / 255
    yield "skorch", SkorchDataset(X, names)
    yield "skorch, floats", SkorchDataset(unit.numpy(), names)
    yield "PIL", Pictures(X, names)
    yield "ToTensor", Pictures(X, names, ToTensor())
    yield "PILToTensor", Pictures(X, names, PILToTensor())


@pytest.mark.parametrize("normalize", ["channel", None, (0.3, 0.2)])
def test_predefined_split_is_encoded_and_normalised_alike(normalize):
    X, y = make_images(60)
    X, names = (X * 127).astype(np.uint8), NAMES[y]
    train, valid = slice(0, 40), slice(40, 60)
    histories = []
    for title, dataset in validation_sets(X[valid], names[valid]):
        estimator = ImageClassifier(
            **DOUBLE | {"lr": 0.02, "max_epochs": 4},
            train_split=predefined_split(dataset),
            normalize=normalize,
            epoch_scoring="accuracy",
        ).fit(X[train], names[train])
        proba = estimator.predict_proba(X[valid])
        loss = log_loss(names[valid], proba, labels=estimator.classes_)
        rtol = 1e-9 if title not in ("skorch, floats", "ToTensor") else 1e-6
        assert_allclose(estimator.history[-1, "valid_loss"], loss, rtol=rtol)
        score = estimator.score(X[valid], names[valid])
        assert estimator.history[-1, "valid_accuracy"] == pytest.approx(score)
        assert sum(estimator.history[0, "batches", 5:, "valid_batch_size"]) == 20
        assert sum(estimator.history[0, "batches", :5, "train_batch_size"]) == 40
        histories.append(estimator.history[:, "valid_loss"])
        assert estimator.best_epoch_ == np.argmin(histories[-1]) + 1
    for history in histories[1:]:
        assert_allclose(history, histories[0], rtol=1e-6)
    # The validation rows have no part in the training.
    alone = ImageClassifier(
        **DOUBLE | {"lr": 0.02, "max_epochs": 4}, normalize=normalize
    ).fit(X[train], names[train])
    assert_same_weights(weights(alone), weights(estimator))


def test_predefined_split_of_a_regressor(data):
    X, _ = data
    y = make_targets(X, 2)
    dataset = SkorchDataset(X[30:], y[30:])
    estimator = ImageRegressor(
        **DOUBLE, train_split=predefined_split(dataset), epoch_scoring="r2"
    ).fit(X[:30], y[:30])
    difference = estimator.predict(X[30:]) - y[30:]
    assert_allclose(estimator.history[-1, "valid_loss"], np.mean(difference**2))
    assert_allclose(estimator.history[-1, "valid_r2"], estimator.score(X[30:], y[30:]))


def test_predefined_split_that_does_not_fit(data):
    X, y = data
    y = NAMES[y]
    for dataset, message in [
        (SkorchDataset(X, np.full(40, "blue")), "blue"),
        (SkorchDataset(X[:, :5], y), r"\(1, 5, 8\).*\(1, 8, 8\)"),
    ]:
        estimator = ImageClassifier(**SMALL, train_split=predefined_split(dataset))
        with pytest.raises(ValueError, match=message):
            estimator.fit(X, y)


@pytest.mark.parametrize("split", [ValidSplit(4), ValidSplit(4, stratified=True)])
def test_splits_of_skorch(data, split):
    X, y = data
    estimator = ImageClassifier(
        **SMALL, train_split=split, epoch_scoring=["accuracy"], callbacks=[Record]
    ).fit(X, NAMES[y])
    train, valid = recorded(estimator).datasets[0]
    assert (len(train), len(valid)) == (30, 10)
    assert estimator.history[-1, "valid_accuracy"] == pytest.approx(
        estimator.score(valid.X, valid.y)
    )
    assert estimator.best_epoch_ in (1, 2)


def test_early_stopping_of_skorch_with_a_predefined_split():
    X, y = noisy_images()
    estimator = ImageClassifier(
        **DOUBLE | {"max_epochs": 60, "lr": 0.02},
        train_split=predefined_split(SkorchDataset(X[40:], NAMES[y[40:]])),
        callbacks=[EarlyStopping(patience=3, load_best=True, threshold=0)],
    ).fit(X[:40], NAMES[y[:40]])
    losses = estimator.history[:, "valid_loss"]
    assert len(losses) == estimator.best_epoch_ + 3
    proba = estimator.predict_proba(X[40:])
    loss = log_loss(NAMES[y[40:]], proba, labels=estimator.classes_)
    assert_allclose(loss, min(losses), rtol=1e-9)


# ------------------------------------------------------------------------ data sets


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_data_sets_carry_their_targets(estimator):
    X, y = make_images()
    X = (X * 127).astype(np.uint8)
    transform = Compose([ToTensor(), Normalize((0.25,), (0.5,))])
    dataset = Pictures(X, y, transform)
    arrays = estimator(**SMALL).fit((X[:, None] / np.float32(255) - 0.25) / 0.5, y)
    for arguments in [
        (dataset,),
        as_Xy(dataset),
        ([dataset[i] for i in range(40)],),
        (torch.utils.data.Subset(dataset, range(40)),),
    ]:
        fitted = estimator(**SMALL).fit(*arguments)
        assert_same_weights(weights(fitted), weights(arrays), rtol=1e-3, atol=1e-5)
        assert fitted.score(*arguments) == pytest.approx(
            fitted.score(as_Xy(dataset)[0], y)
        )
    with pytest.raises(ValueError, match="requires y"):
        estimator(**SMALL).fit(X)
    with pytest.raises(ValueError, match="requires y"):
        fitted.score(X)


# ------------------------------------------------------------------ scores by epoch


def score_half(estimator, X, y):
    return 0.5 * estimator.score(X, y)


@pytest.mark.parametrize("labels", [NAMES, np.arange(3), np.array([5, 3, 9])])
def test_epoch_scoring(data, labels):
    X, y = data
    y = labels[y]
    f1 = make_scorer(f1_score, average="macro")
    scorings = [
        ("accuracy", {"accuracy": "accuracy"}),
        (["accuracy"], {"accuracy": "accuracy"}),
        (("neg_log_loss", f1), {"neg_log_loss": "neg_log_loss", "f1_score": f1}),
        (score_half, {"score_half": score_half}),
        (
            {"half": score_half, "f1": f1, "acc": "accuracy"},
            {"half": score_half, "f1": f1, "acc": "accuracy"},
        ),
    ]
    for scoring, expected in scorings:
        estimator = ImageClassifier(
            **DOUBLE | {"lr": 0.02},
            epoch_scoring=scoring,
            early_stopping=True,
            validation_fraction=0.25,
            callbacks=[Record],
        ).fit(X, y)
        assert estimator.best_epoch_ == 2
        _, valid = recorded(estimator).datasets[-1]
        for name, scorer in expected.items():
            values = estimator.history[:, f"valid_{name}"]
            assert len(estimator.history[:, f"train_{name}"]) == 2
            score = sklearn.metrics.check_scoring(estimator, scorer)(
                estimator, valid.X, valid.y
            )
            assert values[-1] == pytest.approx(score), name
    unscored = ImageClassifier(**DOUBLE).fit(X, y)
    keys = {"epoch", "batches", "dur", "train_loss", "train_batch_count"}
    assert set(unscored.history[0]) == keys | {"train_loss_best"}


def test_epoch_scoring_without_hold_out(data):
    X, y = data
    estimator = ImageClassifier(
        **DOUBLE | {"lr": 0.0}, epoch_scoring=["accuracy", "neg_log_loss"]
    ).fit(X, NAMES[y])
    assert not [key for key in estimator.history[-1] if key.startswith("valid")]
    # The network does not change, so that it scores in each epoch as it does now.
    for name in ("accuracy", "neg_log_loss"):
        score = sklearn.metrics.get_scorer(name)(estimator, X, NAMES[y])
        assert estimator.history[:, f"train_{name}"] == pytest.approx([score, score])


def test_epoch_scoring_of_a_regressor(data):
    X, _ = data
    for k in (1, 2):
        y = make_targets(X, k)
        y = y[:, 0] if k == 1 else y
        estimator = ImageRegressor(
            **DOUBLE | {"lr": 0.0}, epoch_scoring=["r2", "neg_mean_absolute_error"]
        ).fit(X, y)
        assert estimator.history[-1, "train_r2"] == pytest.approx(estimator.score(X, y))
        error = np.abs(estimator.predict(X) - y).mean()
        recorded_error = estimator.history[-1, "train_neg_mean_absolute_error"]
        assert recorded_error == pytest.approx(-error)


def test_unknown_scorers_are_found_before_training(data):
    class Never(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise AssertionError("training has begun")

    for scoring in ("acuracy", ["accuracy", "acuracy"], {"a": "acuracy"}):
        estimator = ImageClassifier(**SMALL, epoch_scoring=scoring, callbacks=[Never])
        with pytest.raises(ValueError, match="acuracy"):
            estimator.fit(*data)


# ------------------------------------------------------------------ skorch's callbacks


@pytest.mark.parametrize("labels", [NAMES, np.arange(3)])
@pytest.mark.parametrize("use_caching", [True, False])
def test_epoch_scoring_callback(data, labels, use_caching):
    X, y = data
    callbacks = [
        EpochScoring("accuracy", lower_is_better=False, use_caching=use_caching),
        (
            "train",
            EpochScoring(
                "accuracy", name="seen", on_train=True, use_caching=use_caching
            ),
        ),
        Record,
    ]
    estimator = ImageClassifier(
        **SMALL | {"lr": 0.0}, callbacks=callbacks, train_split=ValidSplit(4)
    ).fit(X, labels[y])
    train, valid = recorded(estimator).datasets[0]
    for name, part in (("accuracy", valid), ("seen", train)):
        score = accuracy_score(part.y, estimator.predict(part.X))
        assert estimator.history[:, name] == pytest.approx([score, score])
    assert estimator.history[0, "accuracy_best"]


def test_learning_rate_scheduler(data):
    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 3, "lr": 0.4},
        callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5)],
    ).fit(*data)
    assert estimator.history[:, "event_lr"] == [0.4, 0.2, 0.1]
    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 1, "lr": 0.4},
        callbacks=[
            LRScheduler(
                torch.optim.lr_scheduler.ExponentialLR, gamma=0.5, step_every="batch"
            )
        ],
    ).fit(*data)
    assert_allclose(estimator.optimizer_.param_groups[0]["lr"], 0.4 / 2**5)


def test_checkpoint_callback(data, tmp_path):
    X, y = data
    checkpoint = Checkpoint(dirname=tmp_path, monitor="train_loss_best")
    estimator = ImageClassifier(**SMALL, callbacks=[("saved", checkpoint)]).fit(X, y)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"params.pt", "optimizer.pt", "criterion.pt", "history.json"}
    fresh = clone(estimator).set_params(
        callbacks=None, max_epochs=1, random_state=9, batch_size=4
    )
    fresh.fit(X, y)
    assert not np.array_equal(fresh.predict_proba(X), estimator.predict_proba(X))
    fresh.load_params(checkpoint=dict(estimator.callbacks_)["saved"])
    assert_array_equal(fresh.predict_proba(X), estimator.predict_proba(X))
    assert fresh.history[:, "train_loss"] == estimator.history[:, "train_loss"]


def test_progress_bar(data, capsys):
    estimator = ImageClassifier(**SMALL, callbacks=[ProgressBar(detect_notebook=False)])
    estimator.fit(*data)
    shown = capsys.readouterr()
    assert "/5 [" in shown.err  # Five batches.


def test_verbose_prints_epochs(data, capsys):
    ImageClassifier(**SMALL).fit(*data)
    assert capsys.readouterr().out == ""
    ImageClassifier(**SMALL, verbose=1, epoch_scoring="accuracy").fit(*data)
    out = capsys.readouterr().out
    assert "train_loss" in out
    assert "train_accuracy" in out
    assert len(out.strip().splitlines()) == 4
    ImageClassifier(**SMALL, verbose=1, callbacks__print_log=None).fit(*data)
    assert "train_loss" not in capsys.readouterr().out


def test_gradient_clipping(data):
    def path(callbacks):
        estimator = ImageClassifier(
            **DOUBLE | {"optimizer": "sgd", "lr": 1.0, "max_epochs": 1},
            callbacks=[*callbacks, Record, Begin],
        ).fit(*data)
        begin = dict(estimator.callbacks_)["Begin"].state
        end = weights(estimator)
        return np.sqrt(sum(((end[name] - begin[name]) ** 2).sum() for name in end))

    class Begin(Callback):
        def on_train_begin(self, net, **kwargs):
            self.state = weights(net)

    assert path([]) > 0.1
    # Five batches, each with a step of at most this length.
    assert path([GradientNormClipping(1e-3)]) < 5.001e-3


def test_freezer(data):
    first = ImageClassifier(**SMALL | {"lr": 0.0}).fit(*data)
    frozen = ImageClassifier(**SMALL, callbacks=[Freezer("layers*")]).fit(*data)
    before, after = weights(first), weights(frozen)
    assert_array_equal(after["layers.0.weight"], before["layers.0.weight"])
    assert not np.array_equal(after["head.weight"], before["head.weight"])


def test_callbacks_see_images_and_labels(data):
    class Look(Callback):
        def initialize(self):
            self.seen = []
            return self

        def on_batch_end(self, net, batch=None, training=False, **kwargs):
            X, y = batch
            self.seen += list(y)
            assert X.shape[1:] == (1, 8, 8)
            assert kwargs["y_pred"].shape == (len(X), 3)
            assert not kwargs["y_pred"].requires_grad
            assert np.isfinite(float(kwargs["loss"]))

    X, y = data
    y = NAMES[y]
    for weight in (None, np.linspace(1, 2, 40)):
        estimator = ImageClassifier(**SMALL | {"max_epochs": 1}, callbacks=[Look])
        estimator.fit(X, y, sample_weight=weight)
        assert sorted(dict(estimator.callbacks_)["Look"].seen) == sorted(y)


# ------------------------------------------------------------------ saved parameters


@pytest.mark.parametrize("use_safetensors", [False, True])
@pytest.mark.parametrize("normalize", [None, (0.5, 0.25)])
def test_parameters_in_a_new_estimator(data, tmp_path, use_safetensors, normalize):
    if use_safetensors:
        pytest.importorskip("safetensors")
    X, y = data
    estimator = ImageClassifier(**SMALL, normalize=normalize).fit(X, y)
    path = tmp_path / "weights"
    estimator.save_params(f_params=path, use_safetensors=use_safetensors)
    fresh = clone(estimator).set_params(image_shape=(1, 8, 8), module__n_outputs=3)
    with pytest.raises(NotFittedError, match="initialize"):
        fresh.load_params(f_params=path, use_safetensors=use_safetensors)
    assert fresh.initialize() is fresh
    fresh.load_params(f_params=path, use_safetensors=use_safetensors)
    assert_array_equal(fresh.predict_proba(X), estimator.predict_proba(X))
    assert fresh.device == "auto"


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_learnt_normalisation_is_saved_by_its_own_name(data, tmp_path, use_safetensors):
    if use_safetensors:
        pytest.importorskip("safetensors")
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    files = {"f_params": tmp_path / "params", "f_scaler": tmp_path / "scaler"}
    estimator.save_params(**files, use_safetensors=use_safetensors)
    fresh = clone(estimator).set_params(image_shape=(1, 8, 8), module__n_outputs=3)
    fresh.initialize().load_params(
        f_params=files["f_params"], use_safetensors=use_safetensors
    )
    with pytest.raises(NotFittedError, match="normalize='channel'"):
        fresh.predict_proba(X)
    fresh.load_params(**files, use_safetensors=use_safetensors)
    assert_array_equal(fresh.predict_proba(X), estimator.predict_proba(X))


def test_parameters_in_buffers_and_fitted_estimators(data):
    X, y = data
    estimator = ImageRegressor(**SMALL).fit(X, y)
    files = {f"f_{name}": io.BytesIO() for name in ("params", "optimizer", "history")}
    files["f_history"] = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.save_params(f_params=files["f_params"])
        estimator.save_params(f_optimizer=files["f_optimizer"])
    other = ImageRegressor(**SMALL | {"random_state": 1}).fit(X, y)
    for name in ("f_params", "f_optimizer"):
        files[name].seek(0)
        other.load_params(**{name: files[name]})
    assert_array_equal(other.predict(X), estimator.predict(X))
    state = other.optimizer_.state_dict()["state"]
    for key, values in estimator.optimizer_.state_dict()["state"].items():
        for name, value in values.items():
            assert_array_equal(value, state[key][name])


# -------------------------------------------------------------------- users' iterators


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_data_loader_as_iterator(data, estimator, weighted):
    X, y = data
    weight = np.linspace(0.5, 2, 40) if weighted else None
    options = DOUBLE | {
        "iterator_train": DataLoader,
        "iterator_train__num_workers": 0,
        "iterator_valid": DataLoader,
        "lr": 0.02,
        "max_epochs": 8,
    }
    shuffled = estimator(**options, iterator_train__shuffle=True)
    shuffled.fit(X, y, sample_weight=weight)
    assert shuffled.score(X, y) > 0.8
    again = estimator(**options, iterator_train__shuffle=True)
    again.fit(X, y, sample_weight=weight)
    assert_same_weights(weights(shuffled), weights(again))
    # In the order of the rows it does what our own iterator does unshuffled.
    loader = estimator(**options, iterator_train__shuffle=False)
    loader.fit(X, y, sample_weight=weight)
    own = estimator(**DOUBLE | {"lr": 0.02, "max_epochs": 8})
    own.set_params(iterator_train__shuffle=False).fit(X, y, sample_weight=weight)
    assert_same_weights(weights(loader), weights(own), rtol=1e-6)
    assert_allclose(loader.predict(X), own.predict(X), rtol=1e-6)


def test_data_loader_keeps_its_semantics(data):
    X, y = data
    estimator = ImageClassifier(
        **SMALL | {"batch_size": 9},
        iterator_train=DataLoader,
        iterator_train__drop_last=True,
        iterator_valid__batch_size=7,
        train_split=ValidSplit(4),
    ).fit(X, y)
    sizes = estimator.history[0, "batches"]
    assert [b["train_batch_size"] for b in sizes if "train_batch_size" in b] == [9] * 3
    assert [b["valid_batch_size"] for b in sizes if "valid_batch_size" in b] == [7, 3]


def test_own_iterator_options(data):
    X, y = data
    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 1},
        iterator_train__batch_size=16,
        iterator_train__drop_last=True,
    ).fit(X, y)
    assert estimator.history[0, "batches", :, "train_batch_size"] == [16, 16]
    estimator = ImageClassifier(**SMALL | {"max_epochs": 1, "batch_size": -1})
    estimator.fit(X, y)
    assert estimator.history[0, "batches", :, "train_batch_size"] == [40]
