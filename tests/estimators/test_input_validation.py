"""Numbers that are not finite, and images of another shape."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from skvision_tests import weights
from torch.utils.data import Dataset

from skvision import ImageClassifier
from skvision.datasets import as_Xy

SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


class Images(Dataset):
    """A data set that only hands out single items."""

    def __init__(self, X, y):
        self.X = torch.as_tensor(X)
        self.y = y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i][None], self.y[i]


# ----------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize(
    ("form", "value", "dtype"),
    [
        ("images", np.nan, np.float64),
        ("tensor", np.inf, np.float32),
        ("flat", -np.inf, np.float16),
        ("list", np.nan, np.float32),
    ],
)
@pytest.mark.parametrize("normalize", ["channel", None, (0.5, 0.5)])
def test_numbers_that_are_not_finite(data, form, value, dtype, normalize):
    X, y = data
    good = X.astype(dtype)
    bad = good.copy()
    bad[-1, 3, 3] = value
    convert = {
        "images": lambda X: X,
        "tensor": torch.from_numpy,
        "flat": lambda X: X.reshape(len(X), -1),
        "list": list,
    }[form]
    estimator = ImageClassifier(**SMALL, normalize=normalize)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.fit(convert(bad), y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(convert(good), y)
    for method in (estimator.predict, estimator.predict_proba):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(convert(bad))
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.score(convert(bad), y)


@pytest.mark.parametrize("normalize", ["channel", None, (0.5, 0.5)])
@pytest.mark.parametrize("form", ["tensors", "items", "as_Xy"])
def test_data_sets_with_numbers_that_are_not_finite(data, normalize, form):
    X, y = data
    X = X.astype(np.float32)
    estimator = ImageClassifier(**SMALL, normalize=normalize)
    fitted = ImageClassifier(**SMALL, normalize=normalize).fit(X, y)
    X[-1, 3, 3] = np.nan
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    arguments = {
        "tensors": lambda: [torch.utils.data.TensorDataset(X[:, None], y)],
        "items": lambda: [Images(X, y)],
        "as_Xy": lambda: as_Xy(Images(X, y)),
    }[form]()
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.fit(*arguments)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        fitted.predict(arguments[0])


def test_numbers_that_are_not_finite_among_validation_rows(data):
    X, y = data
    X = X.astype(np.float32)
    X[::4, 3, 3] = np.nan
    estimator = ImageClassifier(
        **SMALL, early_stopping=True, validation_fraction=0.5, random_state=0
    )
    X, y = as_Xy(Images(X, y))
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.fit(X, y)


# ------------------------------------------------------------- images that do not fit


def test_flat_rows_and_images(data):
    X, y = data
    flat = X.reshape(len(X), -1)
    estimator = ImageClassifier(**SMALL).fit(flat, y)
    with pytest.raises(ValueError, match="63 features.*expecting 64"):
        estimator.predict(flat[:, :-1])
    with pytest.raises(ValueError, match=r"\(1, 8, 8\).*\(1, 1, 64\)"):
        estimator.predict(X)
    estimator = ImageClassifier(**SMALL).fit(X, y)
    assert_array_equal(estimator.predict(flat), estimator.predict(X))
    with pytest.raises(ValueError, match="63"):
        estimator.predict(flat[:, :-1])


def test_image_shape_parameter_folds_flat_rows(data, assert_same_weights):
    X, y = data
    flat = X.reshape(len(X), -1)
    options = {"module": "convnet", "max_epochs": 1, "random_state": 0}
    folded = ImageClassifier(image_shape=(1, 8, 8), **options).fit(flat, y)
    images = ImageClassifier(**options).fit(X, y)
    assert_same_weights(weights(folded), weights(images))
    assert folded.image_shape == (1, 8, 8)
    assert folded.image_shape_ == (1, 8, 8)
    assert folded.n_features_in_ == 64
    with pytest.raises(ValueError, match=r"\(1, 8, 9\).*72 values.*64 features"):
        ImageClassifier(image_shape=(1, 8, 9)).fit(flat, y)
