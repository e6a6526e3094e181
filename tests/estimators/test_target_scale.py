"""Targets of a regression whatever their scale."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.helper import predefined_split
from skvision_tests import DOUBLE, SMALL, make_images, make_targets
from torch import nn
from torch.utils.data import TensorDataset

import skvision
from skvision import ImageRegressor
from skvision.model_selection import StackedGridSearchCV
from skvision.persistence._format import read_file, write_file

OF_DIFFERENCES = ["mse", "l1", "smooth_l1", nn.HuberLoss]


@pytest.fixture(scope="module")
def data():
    X, _ = make_images(n=60)
    return X, make_targets(X, 2)


@pytest.fixture(scope="module")
def learnt(data):
    X, y = data
    options = DOUBLE | {"max_epochs": 5, "lr": 0.01}
    return {
        criterion: ImageRegressor(criterion=criterion, **options).fit(X, y[:, 0])
        for criterion in OF_DIFFERENCES
    }


@pytest.mark.parametrize("criterion", OF_DIFFERENCES)
@pytest.mark.parametrize(
    ("scale", "shift"),
    [(1e-6, 0), (1e-150, 0), (1e200, 1e201), (1, 1e6)],
)
def test_scale_and_shift_change_nothing_else(data, learnt, criterion, scale, shift):
    X, y = data
    options = DOUBLE | {"max_epochs": 5, "lr": 0.01}
    net = ImageRegressor(criterion=criterion, **options)
    net.fit(X, y[:, 0] * scale + shift)
    expected = learnt[criterion].predict(X) * scale + shift
    assert_allclose(net.predict(X), expected, rtol=1e-6, atol=1e-6 * scale)
    assert_allclose(
        net.history[:, "train_loss"], learnt[criterion].history[:, "train_loss"], 1e-6
    )


@pytest.mark.parametrize("make", [lambda t: t * 1e-6, lambda t: t + 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_are_learnt(data, make, dtype):
    X, y = data
    y = make((y[:, 0] - y[:, 0].min()) / np.ptp(y[:, 0])).astype(dtype)
    net = ImageRegressor(**SMALL | {"max_epochs": 40, "lr": 0.01}).fit(X, y)
    assert net.score(X, y) > 0.8
    assert net.predict(X).dtype == dtype


def test_each_column_has_a_scale_of_its_own(data):
    X, y = data
    factors, shifts = np.array([1e-4, 1e5]), np.array([1.0, -1e6])
    expected = ImageRegressor(**DOUBLE).fit(X, y).predict(X) * factors + shifts
    net = ImageRegressor(**DOUBLE).fit(X, y * factors + shifts)
    assert_allclose(net.predict(X), expected, rtol=1e-6)
    assert_allclose(net.scaler_.target.std, y.std(0) * factors)
    assert_allclose(net.scaler_.target.mean, y.mean(0) * factors + shifts)


@pytest.mark.parametrize("value", [0.0, 1e-6, -1e6])
def test_constant_targets(data, value):
    X, _ = data
    y = np.full(60, value)
    net = ImageRegressor(**SMALL | {"max_epochs": 30, "lr": 0.01}).fit(X, y)
    assert_allclose(net.predict(X), y, rtol=0.3, atol=0.3 if value == 0 else 0)


def test_weights_of_rows_count_for_the_scale(data):
    X, y = data
    weight = np.random.default_rng(0).integers(0, 4, 60)
    options = DOUBLE | {"batch_size": -1, "normalize": None}
    one = ImageRegressor(**options).fit(X, y, sample_weight=weight)
    two = ImageRegressor(**options).fit(
        np.repeat(X, weight, 0), np.repeat(y, weight, 0)
    )
    assert_allclose(one.scaler_.target.std, two.scaler_.target.std, rtol=1e-12)
    assert_allclose(one.predict(X), two.predict(X), rtol=1e-9)


def test_scale_of_the_training_rows_alone(data):
    X, y = data
    net = ImageRegressor(early_stopping=True, **SMALL).fit(X, y)
    dataset = TensorDataset(torch.from_numpy(X[:, None] + 50), torch.from_numpy(y + 50))
    split = predefined_split(dataset)
    other = ImageRegressor(train_split=split, **SMALL).fit(X, y)
    assert_allclose(other.scaler_.target.mean, y.mean(0), atol=1e-12)
    assert net.scaler_.target.mean.shape == (2,)
    assert not np.allclose(net.scaler_.target.mean, y.mean(0), atol=1e-12)


def test_scale_stays_while_training_goes_on(data):
    X, y = data
    net = ImageRegressor(**DOUBLE).fit(X, y)
    scale = net.scaler_.target.std.clone(), net.scaler_.target.mean.clone()
    net.partial_fit(X, 3 * y + 7)
    net.set_params(warm_start=True).fit(X, 3 * y + 7)
    assert_array_equal(net.scaler_.target.std, scale[0])
    assert_array_equal(net.scaler_.target.mean, scale[1])
    net.set_params(warm_start=False).fit(X, 3 * y + 7)
    assert_allclose(net.scaler_.target.std, 3 * scale[0])


def test_turned_off_and_on(data):
    class Own(nn.Module):
        def forward(self, outputs, y):
            return (outputs - y).square().mean()

    X, y = data
    y = 5 * y + 3
    for off in (
        ImageRegressor(normalize_target=False, **DOUBLE).fit(X, y),
        ImageRegressor(criterion=Own, **DOUBLE).fit(X, y),
    ):
        assert_array_equal(off.scaler_.target.std, [1, 1])
        error = np.mean((off.predict(X) - y) ** 2)
        still = off.set_params(lr=0.0, max_epochs=1, batch_size=-1)
        loss = still.partial_fit(X, y).history[-1, "train_loss"]
        assert_allclose(loss, error, rtol=1e-9)
    own = ImageRegressor(criterion=Own, normalize_target=True, **DOUBLE).fit(X, y)
    expected = ImageRegressor(**DOUBLE).fit(X, y)
    assert_allclose(own.predict(X), expected.predict(X), rtol=1e-9)


def test_losses_of_ones_own_see_the_scale_of_y(data):
    class Plain(ImageRegressor):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            return self.criterion_(y_pred, y_true)

    X, y = data
    y = 0.1 * y + 3
    net = Plain(**DOUBLE | {"batch_size": -1, "lr": 0.0, "max_epochs": 1}).fit(X, y)
    error = np.mean((net.predict(X) - y) ** 2)
    assert_allclose(net.history[-1, "train_loss"], error, rtol=1e-9)
    assert_allclose(net.forward(X), net.predict(X))


def test_scorers_and_callbacks_see_y_as_it_is(data):
    X, y = data
    y = 1e4 * np.abs(y[:, 0])  # A logarithm takes nothing below zero, not by rounding.
    y[::7] = 0.0
    seen = []

    def smallest(net, X, y):
        seen.append(np.asarray(y).min())
        return net.score(X, y)

    scorers = {"smallest": smallest}
    net = ImageRegressor(early_stopping=True, epoch_scoring=scorers, **SMALL).fit(X, y)
    assert min(seen) == 0.0
    assert net.history[-1, "valid_smallest"] <= 1


# ----------------------------------------------------------------- what is kept


def test_scale_in_files_and_copies(data, tmp_path):
    X, y = data
    y = 1e3 * y + 7
    net = ImageRegressor("mlp", max_epochs=1, random_state=0).fit(X, y)
    net.save(tmp_path / "net")
    for other in (skvision.load(tmp_path / "net"), pickle.loads(pickle.dumps(net))):
        assert_array_equal(other.predict(X), net.predict(X))
        other.partial_fit(X, y - 1)
        assert_array_equal(other.scaler_.target.mean, net.scaler_.target.mean)
    for name in ("weights.pt", "weights.safetensors"):
        path, safe = tmp_path / name, name.endswith("safetensors")
        net.save_params(f_params=path, use_safetensors=safe)
        fresh = ImageRegressor("mlp", image_shape=(1, 8, 8), module__n_outputs=2)
        fresh.initialize().load_params(f_params=path, use_safetensors=safe)
        assert_array_equal(fresh.predict(X), net.predict(X))
    net.save_params(f_scaler=tmp_path / "scaler.pt")
    other = ImageRegressor("mlp", max_epochs=1, random_state=0).fit(X, y * 2)
    other.module_.load_state_dict(net.module_.state_dict())
    other.load_params(f_scaler=tmp_path / "scaler.pt")
    assert_array_equal(other.predict(X), net.predict(X))


def test_files_from_before_there_was_a_scale(data, tmp_path):
    X, y = data
    net = ImageRegressor("mlp", normalize_target=False, max_epochs=1).fit(X, y)
    net.save(tmp_path / "net")
    tree = read_file(tmp_path / "net", "estimator")
    del tree["target_scaler"], tree["params"]["normalize_target"]
    write_file(tmp_path / "old", "estimator", tree)
    old = skvision.load(tmp_path / "old")
    assert_array_equal(old.predict(X), net.predict(X))
    old.partial_fit(X, 100 * y)
    assert_array_equal(old.scaler_.target.std, [1, 1])


def test_pickles_from_before_there_was_a_scale(data, tmp_path):
    X, y = data
    net = ImageRegressor("mlp", normalize_target=False, max_epochs=1).fit(X, y)
    state = net.__getstate__()
    del state["normalize_target"], state["_made_with"], state["scaler_"].target
    old = ImageRegressor.__new__(ImageRegressor)
    old.__setstate__(copy.deepcopy(state))
    expected = old.predict(X)
    assert expected.shape == y.shape
    assert old.normalize_target == "auto"
    old.save(tmp_path / "old")
    assert_array_equal(skvision.load(tmp_path / "old").predict(X), expected)
    old.partial_fit(X, 100 * y)
    assert_array_equal(old.scaler_.target.std, [1, 1])


@pytest.mark.parametrize("pair", [[[0.0], [1.0]], [[0.0, 0.0], [1.0, 0.0]]])
def test_wrong_scales_in_files(data, tmp_path, pair):
    X, y = data
    net = ImageRegressor("mlp", max_epochs=1).fit(X, y)
    net.save(tmp_path / "net")
    tree = read_file(tmp_path / "net", "estimator")
    tree["target_scaler"] = tuple(torch.tensor(v, dtype=torch.float64) for v in pair)
    write_file(tmp_path / "net", "estimator", tree)
    with pytest.raises(skvision.exceptions.FormatError, match="scale of its targets"):
        skvision.load(tmp_path / "net")


def test_scale_of_a_fit_that_goes_on_from_a_checkpoint(data, tmp_path):
    X, y = data
    options = {"module": "mlp", "max_epochs": 3, "random_state": 0}
    for _ in range(2):
        net = ImageRegressor(checkpoint=tmp_path, **options).fit(X, 1e3 * y)
        expected = ImageRegressor(**options).fit(X, 1e3 * y).predict(X)
        assert_array_equal(net.predict(X), expected)


def test_a_whole_pretrained_network_brings_its_scale(data):
    X, y = data
    base = ImageRegressor(**DOUBLE).fit(X, 1e3 * y)
    still = DOUBLE | {"lr": 0.0, "max_epochs": 1}
    net = ImageRegressor(pretrained=base, **still).fit(X[:30], 1e3 * y[:30] + 5)
    assert_allclose(net.predict(X), base.predict(X))
    # Of its encoder alone, nothing is known of the head's scale.
    other = ImageRegressor(pretrained=base, **still).fit(X, 1e-3 * y[:, 0])
    assert_allclose(other.scaler_.target.std, 1e-3 * y[:, :1].std(0))


@pytest.mark.parametrize("make", [lambda t: 1e6 * t, lambda t: 1e-6 * t + 2])
def test_targets_far_from_those_that_a_scale_was_learnt_of(data, make):
    X, y = data
    base = ImageRegressor("mlp", max_epochs=5, random_state=0).fit(X, y)
    net = ImageRegressor("mlp", pretrained=base, max_epochs=20, random_state=0)
    assert net.fit(X, make(y)).score(X, make(y)) > 0.5
    with pytest.warns(UserWarning, match="far from the targets of the first fit"):
        base.partial_fit(X, make(y))


@pytest.mark.filterwarnings("error:.*cannot be stacked")
def test_stacked_fits_have_a_scale_each(data):
    from sklearn.model_selection import GridSearchCV

    X, y = data
    y = 1e3 * y[:, 0] + np.linspace(0, 5e3, 60)
    for criterion in ("mse", nn.HuberLoss):
        net = ImageRegressor(
            criterion=criterion, **DOUBLE, epoch_scoring="r2", early_stopping=True
        )
        grid = {"lr": [0.01, 0.003]}
        kwargs = {"cv": 3, "scoring": "neg_mean_absolute_error"}
        expected = GridSearchCV(net, grid, **kwargs).fit(X, y)
        search = StackedGridSearchCV(net, grid, calibrate=False, **kwargs).fit(X, y)
        for i in range(3):
            name = f"split{i}_test_score"
            assert_allclose(search.cv_results_[name], expected.cv_results_[name], 1e-9)
        found, wanted = search.best_estimator_, expected.best_estimator_
        assert_allclose(found.predict(X), wanted.predict(X), rtol=1e-9)
        assert found.history[:, "train_r2"] == pytest.approx(
            wanted.history[:, "train_r2"], rel=1e-9
        )
