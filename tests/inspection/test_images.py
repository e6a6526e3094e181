import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from skorch.helper import SliceDataset
from torch.utils.data import TensorDataset

from skvision import ImageAutoencoder
from skvision.datasets import as_Xy
from skvision.inspection._images import (
    choose_rows,
    draw,
    drawn,
    limits_of,
    take_rows,
    unit_images,
)

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 6, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


def data_set(images):
    return TensorDataset(torch.from_numpy(images), torch.arange(len(images)))


def first(colour):
    return np.ascontiguousarray(np.moveaxis(colour, 3, 1))


@pytest.mark.parametrize(
    "images",
    [
        GREY,
        GREY[..., None],
        GREY[:, None],
        GREY / 255,
        torch.from_numpy(GREY),
        data_set(GREY),
        SliceDataset(data_set(GREY)),
        as_Xy(data_set(GREY))[0],
        list(GREY),
        [Image.fromarray(image) for image in GREY],
        [(image, 0) for image in GREY],
    ],
    ids=[
        "uint8",
        "last",
        "first",
        "float",
        "tensor",
        "data set",
        "slice",
        "sequence",
        "list",
        "pil",
        "pairs",
    ],
)
def test_grey_images_of_all_kinds(images):
    found = drawn(images)
    assert found.shape == (5, 6, 7)
    assert_allclose(found, GREY / 255, rtol=1e-6)
    assert_array_equal(drawn(take_rows(images, np.array([3, 1]))), found[[3, 1]])


@pytest.mark.parametrize(
    "images",
    [
        COLOUR,
        first(COLOUR),
        torch.from_numpy(first(COLOUR)).div(255),
        data_set(first(COLOUR)),
        [Image.fromarray(image) for image in COLOUR],
    ],
    ids=["last", "first", "tensor", "data set", "pil"],
)
def test_colour_images_of_all_kinds(images):
    found = drawn(images)
    assert_allclose(found, COLOUR / 255, rtol=1e-6)
    assert_array_equal(drawn(take_rows(images, np.array([4, 0]))), found[[4, 0]])


@given(
    arrays(np.float64, (2, 4, 3, 3), elements=st.floats(-2, 3)),
    st.sampled_from([(2, 4, 3, 3), (2, 4, 3, 3, 1), (2, 3, 3, 4), (6, 4, 3)]),
)
def test_what_is_drawn_is_drawn_again_as_it_is(images, shape):
    images = images.reshape(shape[:4]) if len(shape) < 5 else images[..., 0]
    once = drawn(images)
    assert_array_equal(drawn(once), once)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        (COLOUR, COLOUR / 255),
        (COLOUR / 255 * 1.2 - 0.1, np.clip(COLOUR / 255 * 1.2 - 0.1, 0, 1)),
        (COLOUR.astype("float32"), COLOUR / 255),
        (COLOUR // 2.0, COLOUR // 2 / 255),
        (COLOUR.astype("uint16") * 257, COLOUR / 255),
        (COLOUR / 127.5 - 1, COLOUR / 255),
        (torch.from_numpy(COLOUR).half() / 16, COLOUR / 255),
        (COLOUR > 99, COLOUR > 99),
    ],
)
def test_colours_of_any_range(colour, expected):
    figure_ax = plt.subplots()[1]
    images = drawn(colour)
    shown = draw(figure_ax, images[0], limits_of(images)).get_array()
    assert_allclose(shown, expected[0], atol=0.005)


def test_range_of_grey_images():
    grey = np.array([[[-0.5, 0.25, 1.5]]])
    assert drawn(grey).tolist() == grey.tolist()
    assert limits_of(drawn(grey)) == {"vmin": -0.5, "vmax": 1.5}


def test_flat_rows():
    rows = GREY.reshape(5, -1)
    for X in (rows, torch.from_numpy(rows), pd.DataFrame(rows), data_set(rows)):
        found = unit_images(X, image_shape=(1, 6, 7))
        assert_allclose(found[:, 0], GREY / 255, rtol=1e-6)

    class Net:
        image_shape_ = (1, 6, 7)

    assert_array_equal(unit_images(rows, Net()), found)


@pytest.mark.parametrize(
    "images", [GREY, GREY.astype("int64"), GREY.astype("uint16") * 257]
)
def test_integers_of_any_width(images):
    net = ImageAutoencoder("dense_autoencoder", max_epochs=1).fit(images)
    for X in (images, images.reshape(5, -1), as_Xy(images, np.zeros(5))[0]):
        for known in (None, net):
            shape = None if known else (1, 6, 7)
            found = unit_images(X, known, shape)
            assert_allclose(found[:, 0], GREY / 255, rtol=1e-6)
    # Dark images are not made brighter by a net that knows.
    dark = images[:1] // 64
    expected = net.scaler_.to_unit(torch.from_numpy(dark))
    assert_allclose(unit_images(dark, net)[:, 0], expected)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
def test_choose_rows(n, n_images, seed):
    assert choose_rows(n, n_images, None).tolist() == list(range(min(n, n_images)))
    chosen = choose_rows(n, n_images, seed)
    assert len(chosen) == min(n, n_images)
    assert (np.diff(chosen) > 0).all() and chosen[0] >= 0 and chosen[-1] < n
    assert_array_equal(chosen, choose_rows(n, n_images, seed))
    # Also among some rows only.
    assert_array_equal(choose_rows(np.arange(n) * 2, n_images, seed), chosen * 2)
