"""How bad input is tried: each case of a table is data, and this does the rest.

A test file has a list ``CASES`` of dicts ``{error: {name: (call, *patterns)}}``. The
name begins with the public name that is called; ``call`` gets a `Bundle`. The message
must contain each pattern, and each part of one with " ... " in it: the argument, what
came, and what was expected or what to do.
"""

import copy
import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor

KINDS = {"classifier", "regressor", "autoencoder"}
SMALL = {"max_epochs": 1, "batch_size": 32, "random_state": 0}


def rows(cases):
    """Return what is in the tables as a list of (name, call, error, patterns)."""
    return [
        (name, call, error, [p for text in texts for p in text.split(" ... ")])
        for table in cases
        for error, named in table.items()
        for name, (call, *texts) in named.items()
    ]


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        cases = rows(metafunc.module.CASES)
        metafunc.parametrize("case", cases, ids=[name for name, *_ in cases])


@pytest.fixture(scope="session")
def rows_of():
    return rows


class Bundle:
    """Tiny data and estimators that have been fitted to them.

    Attributes
    ----------
    X, y, t : ndarray
        Images of digits, their labels, and a number for each.
    rows : ndarray of shape (n, 64)
        The images as rows of floats.
    classifier, regressor, autoencoder : object
        Fitted.
    path : pathlib.Path
        An empty folder.
    """

    def __init__(self, data, estimators, path):
        self.X, self.y, self.t = (part.copy() for part in data)
        self.rows = self.X.reshape(len(self.X), -1) / 255
        self.estimators = estimators
        self.path = path

    def __getattr__(self, name):
        """Return an estimator, which is copied when it is used first."""
        if name not in KINDS:
            raise AttributeError(name)
        net = copy.deepcopy(self.estimators[name])
        setattr(self, name, net)
        return net

    def targets(self, kind):
        return {"classifier": self.y, "regressor": self.t, "autoencoder": None}[kind]

    def refit(self, kind, *, X=None, **params):
        """Fit an estimator that is fitted once more, with other parameters."""
        net = getattr(self, kind).set_params(**params)
        return net.fit(self.X if X is None else X, self.targets(kind))

    def save(self, name, pixels=None, content=None, folder="."):
        """Make an image file, with the content of another file if that is given."""
        path = self.path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = self.X[0] if pixels is None else pixels
        Image.fromarray(pixels).save(path)
        if content is not None:
            path.write_bytes(content)
        return str(path)

    def truncated_jpeg(self, folder="."):
        """Make a JPEG file of which the second half is missing."""
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        path = self.save("schöne Katze.jpg", pixels, folder=folder)
        with open(path, "rb+") as file:
            file.truncate(600)
        return path


def outputs(kind, net, X):
    """Return what an estimator makes of some images."""
    methods = {"classifier": "predict_proba", "autoencoder": "transform"}
    return getattr(net, methods.get(kind, "predict"))(X[:8])


@pytest.fixture(scope="module")
def fitted(digits):
    """Data, estimators and what they predict, which no case may change."""
    rows = np.arange(60)
    X, y = digits.data[rows], digits.target[rows]
    t = X.mean(axis=(1, 2)) / 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimators = {
            "classifier": ImageClassifier("mlp", module__hidden=(8,), **SMALL),
            "regressor": ImageRegressor("mlp", module__hidden=(8,), **SMALL),
            "autoencoder": ImageAutoencoder(
                "dense_autoencoder", module__hidden=(8, 4), **SMALL
            ),
        }
        for kind, net in estimators.items():
            net.fit(X, {"classifier": y, "regressor": t}.get(kind))
    expected = {kind: outputs(kind, net, X) for kind, net in estimators.items()}
    yield (X, y, t), estimators, expected
    for kind, net in estimators.items():
        assert_array_equal(outputs(kind, net, X), expected[kind])


@pytest.fixture
def refuse(fitted, tmp_path):
    """Return what tries a case with copies of the fitted estimators."""
    data, estimators, expected = fitted
    bundle = Bundle(data, estimators, tmp_path)

    def refuse(case):
        _, call, error, parts = case
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(error) as caught:
                call(bundle)
        message = str(caught.value)
        missing = [part for part in parts if not re.search(part, message)]
        assert not missing, f"{missing} not in {type(caught.value).__name__}: {message}"
        for kind in KINDS & vars(bundle).keys():
            net = getattr(bundle, kind)
            net.set_params(**estimators[kind].get_params(deep=False))
            assert_array_equal(outputs(kind, net, data[0]), expected[kind])

    return refuse
