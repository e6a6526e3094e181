"""What is given in the place of several images, and what errors say of it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from skvision import ImageClassifier
from skvision.datasets import as_Xy
from skvision.preprocessing._inputs import is_flat


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "X, remedy",
    [
        ("a.png", r"\[x\]"),
        (Image.new("L", (8, 8)), r"\[x\]"),
        (iter([]), r"list\(X\)"),
        (DataLoader([0]), r"X\.dataset"),
    ],
    ids=lambda X: type(X).__name__,
)
def test_what_to_give_in_its_place(X, remedy):
    net = ImageClassifier()
    for call in (is_flat, lambda X: as_Xy(X, [0]), lambda X: net.fit(X, [0])):
        with pytest.raises(TypeError, match=remedy):
            call(X)


def test_empty_lists():
    for X in ([], ()):
        with pytest.raises(
            ValueError, match=r"0 sample\(s\).*empty list.*at least one"
        ):
            ImageClassifier().fit(X, [])


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
