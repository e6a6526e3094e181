"""Hold-outs that keep the rows of a group together."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, GroupKFold
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from skvision_tests import SMALL, make_images

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = {
    "classifier": ImageClassifier(**SMALL),
    "regressor": ImageRegressor(**SMALL),
    "autoencoder": ImageAutoencoder(
        **SMALL | {"module": "dense_autoencoder", "module__hidden": (8, 3)}
    ),
}


class Parts(Callback):
    """Keep the images of both sides, which tell their rows."""

    seen: list = []

    def on_train_begin(self, net, X=None, **kwargs):
        self.seen.clear()

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        parts = [getattr(part, "X", part) for part in (dataset_train, dataset_valid)]
        self.seen[:] = [np.asarray(part)[:, 0, 0, 0] for part in parts]


def rows_of(X):
    """Return the rows of X that were trained on, and those that were held out."""
    return [np.flatnonzero(np.isin(X[:, 0, 0], part)) for part in Parts.seen]


@pytest.mark.parametrize("names", [np.array, lambda g: [f"patient {n}" for n in g]])
@pytest.mark.parametrize("kind", KINDS)
def test_no_group_is_on_both_sides(kind, names):
    X, y = make_images(100)
    groups = np.random.default_rng(0).integers(0, 20, 100)
    net = KINDS[kind].__sklearn_clone__().set_params(callbacks=[Parts()])
    net.set_params(early_stopping=True, validation_fraction=0.2)
    net.fit(X, None if kind == "autoencoder" else y, groups=names(groups))
    train, valid = rows_of(X)
    assert not {*groups[train]} & {*groups[valid]}
    assert len({*groups[valid]}) == 4
    assert_array_equal(np.sort([*train, *valid]), range(100))
    assert 17 <= len(valid) <= 23  # Of the hold-outs, one of about that many rows.
    if kind == "classifier":
        parts = np.bincount(y[valid]) / np.bincount(y)
        assert_array_equal(abs(parts - 0.2) < 0.1, True)


def test_each_class_keeps_rows_to_train_on():
    X, y = make_images(60)
    groups = np.where(y == 2, 9, np.arange(60) % 5)  # One group has all of a class.
    weight = np.where(groups == 1, 0, 1)
    net = ImageClassifier(**SMALL, early_stopping=True, callbacks=[Parts()])
    for seed in range(3):
        net.set_params(random_state=seed).fit(X, y, weight, groups=groups)
        train, valid = rows_of(X)
        assert {*y[train]} == {0, 1, 2}
        assert {*y[valid]} <= {0, 1}
        assert len({*groups[valid]}) == 1
        assert 1 not in {*groups[train], *groups[valid]}  # Of weight 0.


def test_a_train_split_gets_them():
    X, y = make_images(60)
    groups = np.arange(60) % 6
    net = ImageClassifier(**SMALL, callbacks=[Parts()])
    net.set_params(train_split=ValidSplit(GroupKFold(3))).fit(X, y, groups=groups)
    train, valid = rows_of(X)
    assert_array_equal(np.unique(groups[valid]), np.setdiff1d(range(6), groups[train]))
    assert len(valid) == 20


def test_checkpoints_know_them(tmp_path):
    X, y = make_images(40)
    net = ImageClassifier(**SMALL, early_stopping=True, checkpoint=tmp_path)
    for groups in (np.arange(40) % 8, np.arange(40) % 8, np.arange(40) // 5, None):
        net.fit(X, y, groups=groups)
    assert len([*tmp_path.iterdir()]) == 3


def test_searches_hand_them_to_fits_that_request_them():
    X, y = make_images(60)
    groups = np.arange(60) % 6
    net = ImageClassifier(**SMALL, early_stopping=True, callbacks=[Parts()])
    search = GridSearchCV(net, {"lr": [0.01]}, cv=GroupKFold(2))

    def held_out(fitted, **given):
        fitted.fit(X, y, **given)
        return rows_of(X)[1]

    plain, whole = held_out(net), held_out(net, groups=groups)
    assert_array_equal(held_out(search, groups=groups), plain)
    with config_context(enable_metadata_routing=True):
        # The splitter alone asks for them of itself.
        assert_array_equal(held_out(search, groups=groups), plain)
        net.set_fit_request(groups=True)
        assert_array_equal(held_out(search, groups=groups), whole)
    assert len(whole) == 10
