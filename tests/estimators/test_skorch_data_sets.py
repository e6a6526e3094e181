"""Data sets as skorch has them: get_dataset, train_split, callbacks, flat rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from skorch.helper import SliceDataset
from skorch.scoring import loss_scoring
from skvision_tests import (
    DOUBLE,
    NAMES,
    SMALL,
    Items,
    make_targets,
    weights,
)
from torch import nn
from torch.utils.data import (
    DataLoader,
    Subset,
    TensorDataset,
    random_split,
)

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy

ODD = np.array([7, 2, 5])
STILL = SMALL | {"lr": 0.0, "max_epochs": 1}


# ---------------------------------------------------------------- get_dataset


@pytest.mark.parametrize("labels", [np.arange(3), ODD, NAMES])
def test_loss_scoring_knows_labels(data, labels):
    X, y = data
    net = ImageClassifier(**DOUBLE).fit(X, labels[y])
    proba = net.predict_proba(X)
    codes = np.searchsorted(net.classes_, labels[y])
    expected = -np.log(proba[np.arange(len(y)), codes]).mean()
    carried = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    assert_allclose(loss_scoring(net, X, labels[y]), expected)
    assert_allclose(loss_scoring(net, SkorchDataset(X, labels[y])), expected)
    if labels is not NAMES:
        carried = TensorDataset(torch.from_numpy(X), torch.from_numpy(labels[y]))
        assert_allclose(loss_scoring(net, carried), expected)
    dataset = net.get_dataset(X, labels[y])
    assert_array_equal(dataset.y, labels[y])
    assert dataset.X.shape == (40, 1, 8, 8)
    half = type(dataset)(dataset.X[:20], dataset.y[:20])
    losses = -np.log(proba[np.arange(20), codes[:20]])
    assert_allclose(loss_scoring(net, half), losses.mean())
    assert_array_equal(net.predict(half), net.predict(X[:20]))
    assert net.score(half) == net.score(X[:20], labels[y[:20]])
    with pytest.raises(ValueError, match="brown|77"):
        loss_scoring(net, X, np.full(len(X), "brown" if labels is NAMES else 77))


@pytest.mark.parametrize("k", [None, 1, 2])
def test_loss_scoring_knows_targets(data, k):
    X, _ = data
    y = make_targets(X, k or 1)
    y = y[:, 0] if k is None else y
    net = ImageRegressor(**DOUBLE).fit(X, y)
    expected = ((net.predict(X) - y) ** 2).mean()
    found = loss_scoring(net, X, y)
    # Of targets that have a deviation of 1.
    assert_allclose(found, expected, rtol=1e-6)
    assert_array_equal(net.get_dataset(X, y).y, y)


def test_weights_take_no_part_in_loss_scoring(data):
    X, y = data
    params = DOUBLE | {"lr": 0.0, "normalize": None}
    plain = ImageClassifier(**params).fit(X, y)
    weighted = ImageClassifier(**params, class_weight={0: 5.0})
    weighted.fit(X, y, sample_weight=np.linspace(1, 2, 40))
    assert_allclose(loss_scoring(weighted, X, y), loss_scoring(plain, X, y))


def test_a_data_set_without_targets(data):
    X, y = data
    net = ImageClassifier(**SMALL).fit(X, y)
    dataset = net.get_dataset(X)
    assert dataset.y is None
    (images, _), *_ = net.get_iterator(dataset)
    assert images.shape == (40, 1, 8, 8)
    for estimator in (ImageClassifier, ImageRegressor):
        # Its items have a zero in the place of a target.
        with pytest.raises(ValueError, match="carries no labels"):
            estimator(**SMALL).fit(SkorchDataset(X))


# ---------------------------------------------------------------- train_split


def halves(dataset, y):
    kind = type(dataset)
    train = kind(dataset.X[:30], dataset.y[:30])
    return train, kind(dataset.X[30:], y[30:])


def by_rows(dataset, y):
    return Subset(dataset, range(30)), Subset(dataset, np.arange(30, 40))


def nested(dataset, y):
    whole = Subset(dataset, np.arange(39, -1, -1))
    return Subset(whole, np.arange(39, 9, -1)), Subset(whole, np.arange(9, -1, -1))


def of_halves(dataset, y):
    whole = type(dataset)(dataset.X, dataset.y)
    return Subset(whole, range(30)), Subset(whole, range(30, 40))


def as_arrays(dataset, y):
    X = np.asarray(dataset.X)
    return SkorchDataset(X[:30], y[:30]), SkorchDataset(X[30:], y[30:])


SPLITS = [halves, by_rows, nested, of_halves, as_arrays]


@pytest.mark.parametrize("split", SPLITS)
def test_splits_of_classes(data, split, assert_same_weights):
    X, y = data
    labels, seen = NAMES, []

    def watched(dataset, y):
        seen.append((dataset, y))
        return split(dataset, y)

    net = ImageClassifier(**DOUBLE, train_split=watched, epoch_scoring="accuracy")
    net.fit(X, labels[y])
    ((dataset, targets),) = seen
    assert_array_equal(targets, labels[y])
    assert_array_equal(dataset.y, labels[y])
    image, label = dataset[3]
    assert_array_equal(image[0], X[3])
    assert label == labels[y][3]
    assert net.history[-1, "valid_accuracy"] == net.score(X[30:], labels[y][30:])
    plain = ImageClassifier(**DOUBLE).fit(X[:30], labels[y][:30])
    assert_same_weights(weights(net), weights(plain))


@pytest.mark.parametrize("split", SPLITS)
def test_splits_of_targets(data, split):
    X, _ = data
    y = make_targets(X, 2)
    net = ImageRegressor(**DOUBLE, train_split=split, epoch_scoring="r2").fit(X, y)
    expected = net.score(X[30:], y[30:])
    assert net.history[-1, "valid_r2"] == pytest.approx(expected)


@pytest.mark.parametrize("split", [halves, by_rows, of_halves])
def test_weights_go_with_their_rows(data, split, assert_same_weights):
    X, y = data
    weight = np.linspace(1, 5, 40)
    weight[[3, 33]] = 0
    # Rows twice, with other weights.
    rows = np.r_[0:40, 5:12]
    images, _ = as_Xy(X, y)
    weights_of_rows = np.r_[weight, weight[5:12] * 2]
    given = images[rows], y[rows], weights_of_rows
    plain = ImageClassifier(**DOUBLE, class_weight={1: 3.0})
    kept = rows[weights_of_rows > 0]
    first = kept[:30]
    w = weights_of_rows[weights_of_rows > 0][:30]
    plain.fit(X[first], y[first], sample_weight=w)
    net = ImageClassifier(**DOUBLE, class_weight={1: 3.0}, train_split=split)
    net.fit(*given)
    assert_same_weights(weights(net), weights(plain), rtol=1e-6)


def test_weights_cannot_be_lost(data):
    X, y = data
    net = ImageClassifier(**DOUBLE, train_split=as_arrays, class_weight="balanced")
    net.fit(X, y)
    with pytest.raises(ValueError, match=r"train_split.*sample_weight.*Subset"):
        net.fit(X, y, sample_weight=np.linspace(1, 2, 40))


def test_a_split_may_change_targets(data):
    X, y = data

    def swapped(dataset, y):
        return type(dataset)(dataset.X, NAMES[::-1][y % 3]), dataset

    def noisy(dataset, y):
        swap = np.where(y == "red", "amber", "red")
        return type(dataset)(dataset.X, swap), dataset

    labels = NAMES[y % 2]
    net = ImageClassifier(**DOUBLE | {"max_epochs": 30, "lr": 0.02}, train_split=noisy)
    net.fit(X, labels)
    assert net.score(X, labels) < 0.2
    with pytest.raises((ValueError, IndexError, TypeError)):
        net.set_params(train_split=swapped).fit(X, labels)


@pytest.mark.parametrize("split", [False, None])
def test_no_split(data, split):
    net = ImageClassifier(**SMALL, train_split=split).fit(*data)
    assert "valid_loss" not in net.history[-1]
    ImageClassifier(**SMALL, train_split=split, early_stopping=True).fit(*data)


def test_random_split_and_autoencoders(data):
    X, _ = data

    def split(dataset):
        return random_split(dataset, [30, 10])

    params = {"max_epochs": 1, "random_state": 0}
    net = ImageAutoencoder(**params, train_split=split).fit(X)
    assert sum(net.history[0, "batches", :1, "train_batch_size"]) == 30
    net = ImageAutoencoder(**params, train_split=ValidSplit(4)).fit(X)
    assert net.history[-1, "valid_loss"] > 0

    def halved(dataset):
        return type(dataset)(dataset.X[:30]), type(dataset)(dataset.X[30:])

    net = ImageAutoencoder(**params, train_split=halved).fit(X)
    assert net.history[-1, "valid_loss"] > 0


# ------------------------------------------------------------------ callbacks


def test_what_callbacks_are_told(data):
    class Look(Callback):
        def on_train_begin(self, net, X=None, y=None, **kwargs):
            seen.append((X, y))

        def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kw):
            seen.extend([(d.X, d.y) for d in (dataset_train, dataset_valid)])
            assert dataset_valid[0][1] == dataset_valid.y[0]

        on_train_end = on_train_begin
        on_epoch_end = on_epoch_begin

    seen = []
    X, y = data
    y = NAMES[y]
    net = ImageClassifier(**STILL, callbacks=[Look], train_split=by_rows).fit(X, y)
    train, valid = (X[:30], y[:30]), (X[30:], y[30:])
    expected = [train, train, valid, train, valid, train]
    for (images, targets), (true_images, true_targets) in zip(
        seen, expected, strict=True
    ):
        assert_array_equal(np.asarray(images)[:, 0], true_images)
        assert_array_equal(targets, true_targets)
        assert_array_equal(net.predict(images), net.predict(true_images))


# -------------------------------------------------------- the order of the rows


@pytest.mark.parametrize("name", ["shuffle", "drop_last"])
@pytest.mark.parametrize("iterator", ["ours", DataLoader])
def test_iterators_that_lose_the_order(data, name, iterator):
    X, y = data
    params = {f"iterator_valid__{name}": True, "iterator_valid__batch_size": 12}
    if iterator is DataLoader:
        params["iterator_valid"] = iterator
    with pytest.raises(ValueError, match=f"iterator_valid__{name}=True"):
        ImageClassifier(**SMALL, **params).fit(X, y)
    net = ImageClassifier(**SMALL).fit(X, y)
    expected = net.predict_proba(X)
    net.set_params(**params)
    with pytest.raises(ValueError, match=f"iterator_valid__{name}=True"):
        net.predict_proba(X)
    net.set_params(**{f"iterator_valid__{name}": False})
    assert_allclose(net.predict_proba(X), expected, rtol=1e-5)


class Backwards(DataLoader):
    """Has an order of its own."""

    def __init__(self, dataset, **kwargs):
        super().__init__(dataset, sampler=range(len(dataset) - 1, -1, -1), **kwargs)


class Fewer(DataLoader):
    def __init__(self, dataset, **kwargs):
        super().__init__(dataset, drop_last=True, **kwargs)


@pytest.mark.parametrize("iterator", [Backwards, Fewer])
@pytest.mark.parametrize("estimator", [ImageClassifier, ImageAutoencoder])
def test_own_iterators_that_lose_the_order(data, iterator, estimator):
    X, y = data
    net = estimator(max_epochs=1, iterator_valid=iterator, random_state=0)
    net.set_params(iterator_valid__batch_size=12).fit(X, y)
    with pytest.raises(ValueError, match=rf"iterator_valid={iterator.__name__}.*order"):
        net.predict(X) if estimator is ImageClassifier else net.transform(X)


def test_forward_in_training_mode_keeps_the_order(data):
    X, y = data
    net = ImageClassifier(**SMALL).fit(X, y)
    expected = net.forward(X)
    assert_array_equal(net.forward(X, training=True).detach(), expected)
    assert len(list(net.forward_iter(X, training=True))) == 1
    assert not expected.requires_grad


# -------------------------------------------------------- rows of n_features_in_


@pytest.mark.parametrize(
    ("estimator", "dtype"),
    [(ImageClassifier, np.uint8), (ImageRegressor, np.float64)],
)
@pytest.mark.parametrize("shape", [(8, 8), (8, 6, 3), (3, 8, 6), (8, 6, 1), (4, 6, 4)])
@pytest.mark.filterwarnings("ignore:X of shape")
def test_rows_as_n_features_in_says(shape, dtype, estimator):
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    X = (rng.random((30, *shape)) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    net = estimator(max_epochs=1, random_state=0).fit(X, y)
    expected = net.predict(X)
    rows = X.reshape(len(X), -1)
    assert rows.shape[1] == net.n_features_in_
    kinds = [rows, torch.from_numpy(rows), SkorchDataset(rows, y)]
    kinds += [TensorDataset(torch.from_numpy(rows), torch.from_numpy(y))]
    if dtype != np.uint8:
        kinds += [rows.tolist(), np.asfortranarray(rows)]
    for kind in kinds:
        assert_array_equal(net.predict(kind), expected, err_msg=type(kind).__name__)
    assert net.score(rows, y) == net.score(X, y)
    shape_of_images = net.image_shape_
    assert net.partial_fit(rows, y).image_shape_ == shape_of_images
    assert_array_equal(net.predict(rows), net.predict(X))
    for wrong in (rows[:, 1:], np.c_[rows, rows[:, :1]]):
        with pytest.raises(ValueError, match=r"features"):
            net.predict(wrong)


def test_rows_of_an_autoencoder(data):
    X, _ = data
    net = ImageAutoencoder(max_epochs=1, random_state=0).fit(X)
    rows = X.reshape(len(X), -1)
    assert_array_equal(net.transform(rows), net.transform(X))
    assert net.score(rows) == net.score(X)
    assert net.reconstruct(rows).shape == rows.shape


# ------------------------------------------------------- skorch's data set as X


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("kind", ["rows", "tensor", "frame", "images", "colours"])
def test_skorchs_data_set_is_as_its_X(data, kind, subset, assert_same_weights):
    X, y = data
    y = NAMES[y]
    rows = X.reshape(len(X), -1)
    held = {
        "rows": rows,
        "tensor": torch.from_numpy(rows),
        "frame": pd.DataFrame(rows, columns=[f"p{i}" for i in range(64)]),
        "images": X,
        "colours": np.repeat(X[..., None], 3, axis=3),
    }[kind]
    dataset = SkorchDataset(held, y)
    some = slice(None)
    if subset:
        dataset, some = Subset(dataset, range(5, 35)), slice(5, 35)
    plain = ImageClassifier(**SMALL).fit(held[some], y[some])
    net = ImageClassifier(**SMALL).fit(dataset)
    assert_same_weights(weights(net), weights(plain))
    assert net.image_shape_ == plain.image_shape_
    assert_array_equal(net.predict(dataset), plain.predict(held[some]))
    assert net.score(dataset) == plain.score(held[some], y[some])
    if kind not in ("frame", "tensor"):
        images, labels = as_Xy(dataset)
        assert_array_equal(labels, y[some])
        assert images.reading == "memory"
        assert_array_equal(net.predict(images), plain.predict(held[some]))


def test_a_data_set_that_makes_its_items(data):
    class Doubled(SkorchDataset):
        def transform(self, X, y):
            return 2 * X, y

    X, y = data
    net = ImageClassifier(**SMALL, normalize=None).fit(Doubled(X, y))
    expected = ImageClassifier(**SMALL, normalize=None).fit(2 * X, y)
    assert_allclose(net.predict_proba(2 * X), expected.predict_proba(2 * X), rtol=1e-4)


@pytest.mark.parametrize(
    ("view", "as_tensors"), [("whole", False), ("subset", True), ("slices", False)]
)
def test_items_that_are_rows(data, as_tensors, view, assert_same_weights):
    X, y = data
    rows = X.reshape(len(X), -1)
    held = torch.from_numpy(rows) if as_tensors else rows
    dataset = Items([(row, NAMES[label]) for row, label in zip(held, y, strict=True)])
    some = np.arange(40)
    if view == "subset":
        some = np.r_[5:30, 7]
        dataset = Subset(dataset, some)
    plain = ImageClassifier(**SMALL).fit(rows[some], NAMES[y[some]])
    if view == "slices":
        net = ImageClassifier(**SMALL)
        net.fit(SliceDataset(dataset), SliceDataset(dataset, idx=1))
        dataset = SliceDataset(dataset)
    else:
        net = ImageClassifier(**SMALL).fit(dataset)
        assert net.score(dataset) == plain.score(rows[some], NAMES[y[some]])
        assert net.get_dataset(dataset) is dataset
    assert_same_weights(weights(net), weights(plain))
    assert_array_equal(net.predict(dataset), plain.predict(rows[some]))
    with pytest.raises(ValueError, match=r"Item 1 .*\(63,\).*\(64,\)"):
        net.predict(Items([(held[0], 0), (held[1][1:], 0)]))
    with pytest.raises(ValueError, match="63"):
        net.predict(Items([(held[0][1:], 0)]))


class Several(nn.Module):
    """Gives outputs, what is no row for each image, and a sum over all."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, X):
        outputs = self.linear(X)
        return outputs, outputs[::2], (outputs**2).sum()


def test_outputs_without_a_row_for_each_image(data):
    X, y = data
    rows = X.reshape(len(X), -1)[:37]
    net = ImageClassifier(Several, max_epochs=1, dtype="float64", random_state=0)
    net.fit(rows, y[:37])
    ((outputs, half, total),) = net.forward_iter(rows)
    assert outputs.shape == (37, 3)
    assert_allclose(half, outputs[::2])
    assert_allclose(total, (outputs**2).sum())
