"""Data and small estimators of what scikit-learn's tools are tested with."""

import os

import numpy as np
import pytest
from sklearn.utils import Bunch, shuffle
from torchvision import datasets

from skvision import ImageClassifier

N = 400


@pytest.fixture(scope="session")
def small():
    """Function that returns a classifier that learns something in a tenth of a second.

    By chance it would score 0.1; with other seeds than this one it reaches 0.5 to 0.7.
    """

    def build(**params):
        defaults = {
            "module": "mlp",
            "module__hidden": (16,),
            "lr": 0.01,
            "max_epochs": 3,
            "batch_size": 32,
            "random_state": 0,
        }
        return ImageClassifier(**defaults | params)

    return build


@pytest.fixture(scope="session")
def small_convnet(small):
    """Function that returns the same with convolutions."""

    def build(**params):
        return small(
            **{
                "module": "convnet",
                "module__channels": (8, 8),
                "module__hidden": (),
                "max_epochs": 3,
            }
            | params
        )

    return build


@pytest.fixture(scope="module")
def images(request):
    """Clothes where the files are at hand, digits elsewhere; shuffled."""
    name = "fashion_mnist" if os.environ.get("SKVISION_DATA") else "digits"
    bunch = request.getfixturevalue(name)
    X, y = shuffle(bunch.data, bunch.target, random_state=0)
    names = np.array([f"class {name}" for name in bunch.target_names])
    return Bunch(
        X=X[:N],
        y=y[:N],
        X_test=X[N : 2 * N],
        y_test=y[N : 2 * N],
        names=names,
        image_shape=(1, *X.shape[1:]),
    )


@pytest.fixture(scope="module")
def rows(images):
    """The same as flat rows between 0 and 1."""
    flat = {
        name: images[name].reshape(N, -1).astype(np.float32) / np.float32(255)
        for name in ("X", "X_test")
    }
    return Bunch(**{**images, **flat})


@pytest.fixture
def fashion(data_home):
    """torchvision's FashionMNIST, in full."""

    def build(transform=None):
        return datasets.FashionMNIST(data_home, train=False, transform=transform)

    return build
