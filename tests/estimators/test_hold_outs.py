"""Early stopping, other hold-outs, and data sets with their targets."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.metrics import log_loss
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from skvision_tests import DOUBLE, NAMES, SMALL, make_images, make_targets, weights
from torch.utils.data import Dataset
from torchvision.transforms import Compose, Normalize, PILToTensor, ToTensor

import skvision
from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy

ESTIMATORS = [ImageClassifier, ImageRegressor]


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


def test_early_stopping_restores_the_best_weights(assert_same_weights):
    X, y = noisy_images()
    names = NAMES[y]
    estimator = ImageClassifier(
        **DOUBLE | {"max_epochs": 60, "lr": 0.02},
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
    # In units of the variance of the training targets.
    scale = estimator.scaler_.target.std.item()
    assert_allclose(loss / scale**2, min(losses), rtol=1e-9)


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
def test_predefined_split_is_encoded_and_normalised_alike(
    normalize, assert_same_weights
):
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
        # The weights are the last epoch's, whichever was the best.
        assert not hasattr(estimator, "best_epoch_")
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
    difference = (estimator.predict(X[30:]) - y[30:]) / y[:30].std(0)
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


# ------------------------------------------------------------------------ data sets


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_data_sets_carry_their_targets(estimator, assert_same_weights):
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


QUICK = {"max_epochs": 1, "batch_size": 16, "random_state": 0}


class Weights(Callback):
    def initialize(self):
        self.states_ = {}
        return self

    def on_epoch_end(self, net, **kwargs):
        self.states_[net.history[-1, "epoch"]] = weights(net)


def assert_best(net):
    """Check that the network has the weights of the epoch that is called the best."""
    states = dict(net.callbacks_)["Weights"].states_
    for name, value in states[net.best_epoch_].items():
        np.testing.assert_array_equal(weights(net)[name], value)


@pytest.mark.parametrize("go_on", ["partial_fit", "warm_start"])
def test_best_epoch_of_a_training_that_goes_on(data, go_on):
    def train(net, X, y):
        if go_on == "partial_fit":
            return net.partial_fit(X, y)
        return net.set_params(warm_start=True).fit(X, y)

    X, y = make_images(60)
    net = ImageClassifier(
        "mlp", **QUICK | {"max_epochs": 6}, early_stopping=True, callbacks=[Weights]
    ).fit(X, y)
    assert_best(net)
    # It gets worse, and its losses are those of other rows than in the first call.
    train(net.set_params(lr=0.05, max_epochs=2), X, np.roll(y, 1))
    losses = net.history[:, "valid_loss"]
    assert min(losses[6:]) > min(losses[:6])
    assert net.best_epoch_ > 6
    assert_best(net)
    assert_best(pickle.loads(pickle.dumps(net)))
    train(net.set_params(early_stopping=False), X, y)
    assert not hasattr(net, "best_epoch_")


def test_best_epoch_by_another_score(data):
    stopper = EarlyStopping(monitor="valid_acc", lower_is_better=False, load_best=True)
    net = ImageClassifier(
        "mlp",
        **QUICK | {"max_epochs": 4, "lr": 0.01},
        train_split=ValidSplit(4),
        callbacks=[stopper, Weights],
    ).fit(*data)
    assert net.best_epoch_ == np.argmax(net.history[:, "valid_acc"]) + 1
    assert_best(net)


def test_no_best_epoch_after_an_error_in_training(data):
    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise OSError("disk full")

    net = ImageClassifier(
        "mlp", **QUICK | {"max_epochs": 5}, early_stopping=True, callbacks=[Fails]
    )
    with pytest.raises(OSError, match="disk full"):
        net.fit(*data)
    assert not hasattr(net, "best_epoch_")


def test_early_stopping_that_is_turned_on_stops(data):
    net = ImageClassifier("mlp", **QUICK).fit(*data)
    net.set_params(early_stopping=True, n_iter_no_change=2, max_epochs=40, lr=0.1)
    net.set_params(callbacks=[Weights]).partial_fit(*data)
    assert len(net.history) < 41
    assert len(net.history) == net.best_epoch_ + 2
    assert_best(net)


def test_best_epochs_in_files(data, tmp_path):
    net = ImageClassifier("mlp", **QUICK, early_stopping=True).fit(*data)
    best = net.best_epoch_
    net.set_params(early_stopping=False).save(tmp_path / "net")
    assert skvision.load(tmp_path / "net").best_epoch_ == net.best_epoch_ == best
