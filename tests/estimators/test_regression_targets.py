"""Shapes, dtypes and losses of a regressor's targets."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skvision_tests import DOUBLE, SMALL, make_targets, weights
from torch import nn

from skvision import ImageRegressor


def test_shapes_of_regression_targets(data, assert_same_weights):
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


def test_other_shapes_of_targets_in_continued_fits(data):
    X, _ = data
    y = make_targets(X, 2)
    estimator = ImageRegressor(**SMALL).fit(X, y[:, 0])
    with pytest.raises(ValueError, match=r"y has shape \(40, 1\)"):
        estimator.partial_fit(X, y[:, :1])
    assert estimator.fit(X, y).predict(X).shape == (40, 2)
