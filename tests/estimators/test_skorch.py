"""skorch's files of parameters, and users' iterators."""

import io
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.dataset import ValidSplit
from skvision_tests import DOUBLE, SMALL, weights
from torch.utils.data import DataLoader

from skvision import ImageClassifier, ImageRegressor

# ------------------------------------------------------------------ saved parameters


def test_files_of_weights_alone(data, tmp_path):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    torch.save(estimator.module_.state_dict(), tmp_path / "weights")
    estimator.save_params(f_scaler=tmp_path / "scaler")
    fresh = clone(estimator).set_params(image_shape=(1, 8, 8), module__n_outputs=3)
    fresh.initialize().load_params(f_params=tmp_path / "weights")
    assert fresh.classes_.tolist() == [0, 1, 2]
    with pytest.raises(NotFittedError, match="normalize='channel'"):
        fresh.predict_proba(X)
    fresh.load_params(f_scaler=tmp_path / "scaler")
    assert_array_equal(fresh.predict_proba(X), estimator.predict_proba(X))
    fresh.partial_fit(X[:4] + 100, y[:4])
    assert torch.equal(fresh.scaler_.mean, estimator.scaler_.mean)
    assert fresh.classes_.tolist() == [0, 1, 2]


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


@pytest.mark.parametrize(
    ("estimator", "weighted"), [(ImageClassifier, True), (ImageRegressor, False)]
)
def test_data_loader_as_iterator(data, estimator, weighted, assert_same_weights):
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
