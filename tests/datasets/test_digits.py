"""scikit-learn's digits as images."""

import numpy as np
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from skvision.datasets import load_digits_images


def test_content():
    digits = load_digits()
    bunch = load_digits_images()
    assert isinstance(bunch, Bunch)
    assert bunch.data.shape == (1797, 8, 8)
    assert bunch.data.dtype == np.uint8
    assert bunch.target.dtype == np.int64
    assert_array_equal(bunch.target, digits.target)
    assert bunch.target_names.tolist() == list("0123456789")
    assert "8 x 8" in bunch.DESCR


def test_grey_values_are_spread_over_the_bytes():
    original = load_digits().images
    data = load_digits_images().data
    assert data.min() == 0
    assert data.max() == 255
    np.testing.assert_allclose(data / 255, original / 16, atol=0.5 / 255)
    # None of the 17 grey values is lost.
    assert_array_equal(np.round(data * (16 / 255)), original)


def test_classes():
    every = load_digits_images()
    bunch = load_digits_images(classes=["7", 1, 3, 5, 9])
    kept = every.target % 2 == 1
    assert_array_equal(bunch.data, every.data[kept])
    assert_array_equal(bunch.target, every.target[kept] // 2)
    assert bunch.target_names.tolist() == list("13579")


def test_stratified_subset():
    X, y = load_digits_images(n_samples=0.1, random_state=0, return_X_y=True)
    assert X.shape == (180, 8, 8)
    expected = np.bincount(load_digits().target) / 1797 * 180
    assert np.all(np.abs(np.bincount(y) - expected) < 1)
