"""Training sets that are enlarged once."""

import random

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skvision_tests import some_images
from torchvision.transforms import v2

from skvision.datasets import as_Xy
from skvision.preprocessing import (
    GaussianNoise,
    RandomHorizontalFlip,
    RandomShift,
    UniformNoise,
    expand,
)


def as_given(images, layout, dtype):
    """Return (n, 1 or 3, H, W) images as an array of a layout and a dtype."""
    array = images.numpy()
    array = {
        "grey": lambda: array[:, 0],
        "last": lambda: np.moveaxis(array, 1, 3),
        "first": lambda: array,
    }[layout]()
    return (
        np.round(array * 255).astype(dtype) if dtype == "uint8" else array.astype(dtype)
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("layout", ["grey", "last", "first"])
def test_expand_blocks(layout, dtype):
    X = as_given(some_images(6, 3, 8, 10), layout, dtype)
    before = X.copy()
    flip, dim = RandomHorizontalFlip(p=1.0), UniformNoise(low=-0.3, high=-0.3)
    X_more, y_more = expand(X, np.arange(6), [flip, dim, None, [flip, None, dim]])
    assert X_more.shape == (24, *X.shape[1:])
    assert X_more.dtype == X.dtype.newbyteorder("=")
    assert_array_equal(X, before)
    assert_array_equal(y_more, np.tile(np.arange(6), 4))
    flipped = np.flip(X, 2 if layout != "first" else 3)
    assert_array_equal(X_more[:6], X)
    assert_array_equal(X_more[6:12], flipped)
    # -0.3 * 255 = -76.5, rounded to even: what matters is that nothing wraps round.
    tolerance = 0.6 if dtype == "uint8" else 1e-3
    unit = 255 if dtype == "uint8" else 1
    for given_, got in ((X, X_more[12:18]), (flipped, X_more[18:])):
        expected = np.clip(given_.astype(float) - 0.3 * unit, 0, None)
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_expand_rounds_to_the_nearest():
    X = np.array([[[0, 100, 200, 255]]], dtype=np.uint8)
    for amount, expected in [(0.6, [1, 101, 201, 255]), (-0.4, [0, 100, 200, 255])]:
        shift = UniformNoise(amount / 255, amount / 255, clip=False)
        assert expand(X, None, [shift])[0][1, 0].tolist() == expected


@pytest.mark.parametrize("make", [torch.from_numpy, list], ids=["tensor", "list"])
def test_expand_other_containers(make):
    X = as_given(some_images(4, 3, 8, 8), "last", "uint8")
    flip = RandomHorizontalFlip(p=1.0)
    expected, _ = expand(X, None, flip)
    got, _ = expand(make(X), None, flip)
    assert isinstance(got, np.ndarray)
    assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_expand_image_sequence(dtype):
    images = some_images(5, 3, 6, 6)
    if dtype == torch.uint8:
        images = (images * 255).to(torch.uint8)
    labels = torch.tensor([3, 1, 4, 1, 5])
    X, y = as_Xy(torch.utils.data.TensorDataset(images, labels))
    X_more, y_more = expand(X[::2], y[::2], RandomHorizontalFlip(p=1.0))
    assert_array_equal(X_more, torch.cat([images[::2], images[::2].flip(3)]))
    assert_array_equal(y_more, [3, 4, 5, 3, 4, 5])
    assert X_more.dtype == X.dtype


def test_expand_reads_random_images_once():
    data = [(some_images(1, 4, 4), label) for label in range(5)]

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, row):
            image, label = data[row]
            return (image + 0.1 * torch.rand(1)).clamp(0, 1), label

    X, y = as_Xy(Noisy())
    before = torch.get_rng_state()
    first, again = (
        expand(X, y, RandomHorizontalFlip(p=1.0), random_state=0)[0] for _ in range(2)
    )
    assert_array_equal(torch.get_rng_state(), before)
    assert_array_equal(first, again)
    assert_array_equal(first[5:], first[:5, ..., ::-1])


def test_expand_targets():
    X = np.zeros((2, 4, 4), dtype=np.uint8)
    noise = GaussianNoise()
    assert expand(X, None, noise)[1] is None
    assert expand(X, ["a", "b"], noise)[1].tolist() == ["a", "b", "a", "b"]
    assert expand(X, [[1, 2], [3, 4]], [noise, noise])[1].shape == (6, 2)
    y = expand(X, torch.tensor([1, 2]), noise)[1]
    assert isinstance(y, np.ndarray)
    assert y.dtype == np.int64
    assert expand(X, [1, 2], [])[0].shape == (2, 4, 4)


def test_expand_in_chunks(monkeypatch):
    X = as_given(some_images(7, 1, 4, 4), "grey", "uint8")
    transforms = [RandomHorizontalFlip(p=1.0), lambda image: 1 - image]
    whole, _ = expand(X, None, transforms)
    monkeypatch.setattr("skvision.preprocessing._augment._CHUNK", 3 * 16)
    assert_array_equal(expand(X, None, transforms)[0], whole)


def test_expand_random_state():
    X = as_given(some_images(6, 3, 8, 8), "last", "uint8")
    transforms = [GaussianNoise(), [RandomShift(2), v2.RandomVerticalFlip()]]

    def global_states():
        numpy_state = np.random.get_state()[1]
        return str(
            (random.getstate(), numpy_state.tolist(), torch.get_rng_state().tolist())
        )

    before = global_states()
    first, again, other, fresh = (
        expand(X, None, transforms, random_state=seed)[0]
        for seed in (0, np.random.RandomState(0), 1, None)
    )
    assert global_states() == before
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, fresh)


def test_expand_asks_where_the_channels_are():
    X = np.zeros((2, 3, 8, 3), dtype=np.uint8)
    X[:, 0] = 9
    flip = RandomHorizontalFlip(p=1.0)
    with pytest.warns(UserWarning, match="axis 1 or 3"):
        expand(X, None, flip)
    X[:, 1, 0] = 5
    last, _ = expand(X, None, flip, channels="last")
    assert_array_equal(last[2:], X[:, :, ::-1])


def test_expand_flat_sequence():
    data = torch.utils.data.TensorDataset(torch.rand(4, 9), torch.arange(4))
    with pytest.raises(ValueError, match="rows of features"):
        expand(*as_Xy(data), [])
