"""What is given in the place of several images, and what errors say of it."""

import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skvision_tests import Items
from torch.utils.data import DataLoader

from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.images import open_images


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "X, remedy",
    [
        ("a.png", r"\[x\]"),
        (Path("a.png"), r"\[x\]"),
        ({1, 2}, "set"),
        (Image.new("L", (8, 8)), r"\[x\]"),
        (iter([]), r"list\(X\)"),
        (DataLoader([0]), r"X\.dataset"),
    ],
    ids=lambda X: type(X).__name__,
)
def test_what_to_give_in_its_place(X, remedy):
    net = ImageClassifier()
    for call in (open_images, lambda X: as_Xy(X, [0]), lambda X: net.fit(X, [0])):
        with pytest.raises(TypeError, match=remedy):
            call(X)


PIXELS = np.random.default_rng(0).integers(0, 99, (4, 3, 3), dtype=np.uint8)
MASKED = np.ma.masked_array(PIXELS, mask=PIXELS > 50)


@pytest.mark.parametrize(
    ("X", "y", "error", "remedy"),
    [
        ([b"a.png"] * 4, [0, 1] * 2, OSError, "bytes that begin with.*be read"),
        (pd.Series([b"a"] * 4), [0, 1] * 2, OSError, "bytes that begin with.*be read"),
        ([io.BytesIO()] * 4, [0, 1] * 2, TypeError, "BytesIO.*PIL.Image.open"),
        ([{"image": PIXELS[0]}] * 4, [0, 1] * 2, TypeError, "dict.*list of images"),
        (Items([{"x": 1}] * 4), [0, 1] * 2, TypeError, r"keys \['x'\].*pairs"),
        (pd.Series([*PIXELS]), [0, 1] * 2, ValueError, r"ndarray.*list\(X\)"),
        (MASKED, [0, 1] * 2, TypeError, r"masked.*X\.filled"),
        (PIXELS, np.ma.masked_array([0, 1] * 2, [1, 0, 0, 0]), ValueError, "masked"),
        (torch.zeros(4, 3, 3).to(torch.float8_e5m2), [0, 1] * 2, TypeError, "float8"),
    ],
)
def test_items_and_values_that_are_none(X, y, error, remedy):
    for kind in (ImageClassifier, ImageRegressor):
        with pytest.raises(error, match=remedy):
            kind(max_epochs=1).fit(X, y)


class Held:
    """What NumPy can read, but no array."""

    def __init__(self, array, protocol):
        self.array = array
        if protocol == "__array_interface__":
            self.__array_interface__ = array.__array_interface__

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        return self.array[rows]


class Asking(Held):
    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize(
    "given",
    [
        lambda X: Held(X, "__array_interface__"),
        lambda X: Asking(X, None),
        lambda X: X.astype(object),
        lambda X: pd.DataFrame(X.reshape(len(X), -1)).astype("Int64"),
        lambda X: pd.DataFrame(X.reshape(len(X), -1)).astype("Int64").astype({0: int}),
    ],
    ids=["interface", "array", "objects", "nullable", "partly nullable"],
)
def test_arrays_by_other_names(given):
    X, y = np.tile(PIXELS, (8, 1, 1)), np.arange(32) % 2
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1, random_state=0)
    if isinstance(given(X), pd.DataFrame):
        expected = net.fit(X.reshape(32, -1), y).predict_proba(X.reshape(32, -1))
    else:
        expected = net.fit(X, y).predict_proba(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "X holds")
        found = net.predict_proba(given(X))
        net.fit(given(X), y)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(net.predict_proba(given(X)), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 6), (8, 6, 3), (8, 6, 1)], ids=str)
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_a_single_image(rng, shape, make):
    X = make(rng.random((20, *shape), dtype=np.float32))
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1)
    net.fit(X, np.arange(20) % 2)
    for call in (net.predict, net.predict_proba, net.score):
        with pytest.raises(ValueError, match=r"a single image.*X\[None\]"):
            call(X[0], *([[0]] if call == net.score else []))
    assert net.predict(X[0][None]).shape == (1,)
