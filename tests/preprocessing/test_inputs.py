"""All that may be given as X."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from skorch.helper import SliceDataset
from skvision_tests import Items, as_images
from torch.utils.data import Subset, TensorDataset

from skvision import ImageClassifier
from skvision.datasets import ImageSequence, as_Xy
from skvision.images import ImageSchema, open_images
from skvision.images._layout import Form


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def greys(digits):
    return digits.data[:80]


@pytest.fixture
def colours(rng):
    return rng.integers(0, 256, (6, 8, 7, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    def save_all(images, convert=str):
        paths = []
        for i, image in enumerate(images):
            path = tmp_path / f"Bild {i} ✓.png"
            Image.fromarray(image).save(path)
            paths.append(convert(path))
        return paths

    return save_all


def objects(items):
    X = np.empty(len(items), dtype=object)
    X[:] = list(items)
    return X


# --------------------------------------------------------- kinds of one value

#: All that holds the same grey images, from an array of shape (n, H, W).
GREY = {
    "array": np.copy,
    "channels first": lambda X: X[:, None],
    "channels last": lambda X: X[..., None],
    "tensor": torch.tensor,
    "tensor with channels": lambda X: torch.tensor(X)[:, None],
    "Fortran": np.asfortranarray,
    "list of arrays": list,
    "list with channels": lambda X: list(X[..., None]),
    "tuple of arrays": tuple,
    "list of tensors": lambda X: [torch.tensor(image) for image in X],
    "list of tensors with channels": lambda X: [torch.tensor(im)[None] for im in X],
    "list of PIL images": lambda X: [Image.fromarray(image) for image in X],
    "pairs of PIL images": lambda X: [(Image.fromarray(image), 0) for image in X],
    "pairs of arrays": lambda X: [(image, "a") for image in X],
    "pairs of tensors": lambda X: [(torch.tensor(im)[None], 1) for im in X],
    "list pairs": lambda X: [[image, torch.tensor(1)] for image in X],
    "data set": lambda X: Items([(image, 0) for image in X]),
    "data set of images": lambda X: Items(list(X)),
    "data set of PIL images": lambda X: Items([(Image.fromarray(im), 0) for im in X]),
    "tensor data set": lambda X: TensorDataset(torch.tensor(X), torch.zeros(len(X))),
    "Subset": lambda X: Subset(Items(list(X[::-1])), range(len(X))[::-1]),
    "SliceDataset": lambda X: SliceDataset(Items([(image, 0) for image in X])),
    "ImageSequence": lambda X: as_Xy(Items([(image, 0) for image in X]))[0],
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_images(greys, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = as_images(GREY[kind](greys))
    assert isinstance(images, ImageSequence)
    assert images.shape == (80, 1, 8, 8)
    assert not images.flat
    batch = images.read(slice(None))
    assert batch.dtype == torch.uint8
    assert_array_equal(batch.numpy(), greys[:, None])


@pytest.mark.parametrize("scale", [255, 1], ids=["to 1", "to 255"])
@pytest.mark.parametrize("kind", [kind for kind in GREY if "PIL" not in kind])
def test_floats_stay_as_they_are(greys, kind, scale):
    values = greys.astype(np.float32) / scale
    assert_array_equal(as_images(GREY[kind](values)).read(slice(None)), values[:, None])


COLOUR = {
    "channels last": np.copy,
    "channels first": lambda X: np.moveaxis(X, 3, 1),
    "tensor": lambda X: torch.tensor(X),
    "tensor, channels first": lambda X: torch.tensor(X).permute(0, 3, 1, 2),
    "list of arrays": list,
    "list of tensors": lambda X: list(torch.tensor(X).permute(0, 3, 1, 2)),
    "list of PIL images": lambda X: [Image.fromarray(image) for image in X],
    "pairs of PIL images": lambda X: [(Image.fromarray(image), 0) for image in X],
    "data set of PIL images": lambda X: Items([(Image.fromarray(im), 0) for im in X]),
    "SliceDataset": lambda X: SliceDataset(Items([(image, 0) for image in X])),
}


@pytest.mark.parametrize("kind", COLOUR)
def test_coloured_images(colours, kind):
    images = as_images(COLOUR[kind](colours))
    assert images.shape == (6, 3, 8, 7)
    assert_array_equal(images, np.moveaxis(colours, 3, 1))


def test_files(greys, colours, save):
    for convert in (str, Path):
        paths = save(greys, convert)
        for X in (paths, tuple(paths), np.array(paths), np.array(paths, dtype=object)):
            images = as_images(X)
            assert images.shape == (80, 1, 8, 8)
            assert_array_equal(images, greys[:, None])
    assert_array_equal(as_images(save(colours)), np.moveaxis(colours, 3, 1))


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "int16", "int32", "int64", "float16", "float32", "float64"],
)
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_dtypes(rng, make, dtype):
    values = rng.integers(0, 100, (5, 6, 7)).astype(dtype)
    batch = as_images(make(values)).read(slice(None))
    # By which it is known whether they are to be scaled.
    assert batch.is_floating_point() is (values.dtype.kind in "bf")
    assert_array_equal(batch.numpy(), values[:, None])


def test_other_tensors(rng):
    values = torch.from_numpy(rng.random((5, 6, 7), dtype=np.float32))
    for tensor in (
        values.bfloat16(),
        values.clone().requires_grad_(),
        values.permute(0, 2, 1).contiguous().permute(0, 2, 1),
        values[:, :, ::2].expand(5, 6, 4),
    ):
        batch = as_images(tensor).read(slice(None))
        assert_array_equal(batch.numpy()[:, 0], tensor.detach().float().numpy())
    images = [values[i].clone().requires_grad_() for i in range(5)]
    assert_array_equal(as_images(images).read(slice(None))[:, 0], values)
    images = [image.bfloat16() for image in values]
    expected = values.bfloat16().float()
    assert_array_equal(as_images(images).read(slice(None))[:, 0], expected)


def test_arrays_are_not_copied(rng, tmp_path):
    array = rng.random((5, 6, 7))
    assert np.shares_memory(as_images(array).reader.array, array)
    pixels = rng.integers(0, 256, (5, 6, 7), dtype=np.uint8)
    pixels.tofile(tmp_path / "images")
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", shape=(5, 6, 7))
    assert np.shares_memory(as_images(mapped).reader.array, mapped)
    assert_array_equal(as_images(mapped), pixels[:, None])
    tensor = torch.from_numpy(pixels)
    assert np.shares_memory(as_images(tensor).reader.array, pixels)
    sequence = as_images(array)
    assert as_images(sequence) is sequence


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("kind", ["list", "pairs"])
def test_modes_of_pil_images(colours, mode, kind):
    # The same as one gets from a data set of these images.
    images = [Image.fromarray(image).convert(mode) for image in colours]
    expected = np.asarray(as_images(Items([(image, 0) for image in images])))
    X = images if kind == "list" else [(image, 0) for image in images]
    assert_array_equal(as_images(X), expected)


@pytest.mark.parametrize("channels", ["auto", "first", "last"])
@pytest.mark.parametrize("size", [(8, 7), (8, 4), (3, 3), (1, 8)], ids=str)
def test_pil_images_have_their_channels_last(rng, size, channels):
    pixels = rng.integers(0, 256, (6, *size, 3), dtype=np.uint8)
    X = [Image.fromarray(image) for image in pixels]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = as_images(X, channels=channels)
    assert_array_equal(images, np.moveaxis(pixels, 3, 1))


@pytest.mark.parametrize("channels", ["auto", "first", "last"])
@pytest.mark.parametrize("shape", [(1, 8, 7), (3, 8, 7), (5, 8, 7), (2, 8, 3)], ids=str)
def test_pairs_are_read_as_the_data_set_is(rng, shape, channels):
    # Cross-validation makes pairs of a data set.
    pairs = [(torch.from_numpy(rng.random(shape)), 0) for _ in range(4)]
    expected = as_images(Items(pairs), channels=channels)
    last = channels == "last" or (channels == "auto" and shape == (2, 8, 3))
    assert expected.image_shape == ((shape[2], *shape[:2]) if last else shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = as_images(pairs, channels=channels)
    assert_array_equal(images, expected)


# ------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    "shape, channels, expected",
    [
        ((5, 8, 7), "auto", (1, 8, 7)),
        ((5, 8, 7), "first", (1, 8, 7)),
        ((5, 8, 7), "last", (1, 8, 7)),
        ((5, 1, 7), "auto", (1, 1, 7)),
        ((5, 3, 8, 7), "auto", (3, 8, 7)),
        ((5, 1, 8, 7), "auto", (1, 8, 7)),
        ((5, 4, 8, 7), "auto", (4, 8, 7)),
        ((5, 8, 7, 3), "auto", (3, 8, 7)),
        ((5, 8, 7, 1), "auto", (1, 8, 7)),
        ((5, 8, 7, 4), "auto", (4, 8, 7)),
        ((5, 8, 3, 7), "first", (8, 3, 7)),
        ((5, 8, 3, 7), "last", (7, 8, 3)),
        ((5, 2, 8, 7), "first", (2, 8, 7)),
        ((5, 8, 7, 2), "last", (2, 8, 7)),
        ((5, 3, 8, 3), "first", (3, 8, 3)),
        ((5, 3, 8, 3), "last", (3, 3, 8)),
    ],
    ids=str,
)
def test_channels(rng, shape, channels, expected):
    array = rng.random(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = as_images(array, channels=channels)
    assert images.image_shape == expected
    if len(shape) == 3:
        array = array[:, None]
    elif shape[1:] != expected or channels == "last":
        array = np.moveaxis(array, 3, 1)
    assert_array_equal(images, array)


@pytest.mark.parametrize("shape", [(5, 3, 8, 3), (5, 1, 4, 4), (5, 4, 8, 1)], ids=str)
def test_ties_take_the_first_and_warn(rng, shape):
    array = rng.random(shape)
    with pytest.warns(
        UserWarning, match=r"axis 1 or 3; axis 1 .*channels='last'"
    ) as log:
        images = as_images(array)
    assert len(log) == 1
    assert str(shape) in str(log[0].message)
    assert_array_equal(images, array)


@pytest.mark.parametrize("given", ["items", "pairs"])
def test_ties_of_single_images_warn_once(rng, given):
    pairs = [(image, 0) for image in rng.random((5, 4, 5, 3))]
    X = pairs if given == "pairs" else Items(pairs)
    with pytest.warns(UserWarning, match="the first is taken") as found:
        images = as_images(X)
        images.read(slice(None))
    assert (images.image_shape, len(found)) == ((4, 5, 3), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_images(X, channels="last").image_shape == (3, 4, 5)
        fitted = ImageSchema((3, 4, 5), "last", np.dtype(float))
        assert as_images(X, fitted=fitted).image_shape == (3, 4, 5)


def test_ties_after_fit(rng):
    X = rng.random((30, 3, 8, 3))
    y = np.arange(30) % 2
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1, channels="last")
    net.fit(X, y)
    assert net.image_shape_ == (3, 3, 8)
    net.set_params(channels="auto")
    with warnings.catch_warnings():
        # What fit saw settles it.
        warnings.simplefilter("error")
        last = net.predict_proba(X)
    assert_array_equal(last, net.set_params(channels="last").predict_proba(X))


def test_layouts_may_change_after_fit(rng):
    X = rng.random((30, 8, 7, 3), dtype=np.float32)
    y = np.arange(30) % 2
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1).fit(X, y)
    expected = net.predict_proba(X)
    assert_array_equal(net.predict_proba(np.moveaxis(X, 3, 1)), expected)
    with pytest.raises(ValueError, match=r"\(3, 7, 8\).*was fitted on \(3, 8, 7\)"):
        net.predict(X.swapaxes(1, 2))


# -------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "X, message",
    [
        (
            [[1.0, 2.0], [3.0]],
            r"rows of X .* row 0 has \(2,\), row 1 has \(1,\)",
        ),
        ([[1.0, 2.0], 3.0], r"row 1 has \(\)"),
        ([np.zeros(2), torch.zeros(3)], r"row 1 has .*3"),
        ([(np.zeros((8, 8)), 0), (np.zeros((8, 8)),)], "pairs, but item 1 is none"),
        ([(np.zeros((8, 8)), 0), np.zeros((8, 8))], "pairs, but item 1 is none"),
        (objects(np.zeros((2, 8))), "dtype object .* np.stack"),
        (objects([Image.new("L", (8, 8))]), r"dtype object .* list\(X\)"),
    ],
)
def test_items_of_several_kinds(X, message):
    with pytest.raises(ValueError, match=message):
        as_images(X)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [kind for kind in GREY if "PIL" not in kind])
def test_values_that_are_not_finite(greys, kind, value):
    values = greys.astype(np.float32)
    values[70, 3, 2] = value
    with pytest.raises(ValueError, match="NaN|infinity"):
        as_images(GREY[kind](values)).read(slice(None))


@pytest.mark.parametrize("rows", [[], np.array([], dtype=int), range(0)], ids=str)
def test_no_images(greys, rows):
    data = TensorDataset(torch.tensor(greys), torch.zeros(80))
    for X in (Subset(data, rows), SliceDataset(data)[np.array(rows, dtype=int)]):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            as_images(X)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        as_images(as_Xy(data)[0][:0])


# -------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((3, 8, 8)),
        list(np.zeros((3, 8, 8))),
        [(np.zeros((8, 8)), np.zeros((8, 8)))] * 3,
        [(Image.new("L", (8, 8)), Image.new("L", (8, 8)))],
        np.zeros((3, 2)),
        [(1.0, 2), (3.0, 4)],
        TensorDataset(torch.zeros(3, 1, 8, 8)),
        Items([np.zeros((8, 8))]),
        SliceDataset(TensorDataset(torch.zeros(3, 1, 8, 8), torch.zeros(3))),
    ],
    ids=lambda X: type(X).__name__,
)
def test_no_labels(X):
    assert open_images(X, form=Form("first")).labels is None


@pytest.mark.parametrize(
    "labels", [[2, 0, 1], ["b", "ä", "c"], [0.5, 1.5, 2.5], [[1, 2], [3, 4], [5, 6]]]
)
def test_labels(labels):
    images = np.zeros((3, 8, 8), dtype=np.uint8)
    for convert in (np.copy, Image.fromarray, lambda im: torch.tensor(im)[None]):
        pairs = [(convert(im), la) for im, la in zip(images, labels, strict=True)]
        for X in (pairs, tuple(pairs), [list(pair) for pair in pairs], Items(pairs)):
            assert open_images(X).labels.tolist() == labels
    pairs = [(image, torch.tensor(i)) for i, image in enumerate(images)]
    assert open_images(pairs).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", GREY)
def test_estimators_with_images(greys, digits, kind):
    y = digits.target[:80]
    net = ImageClassifier(
        "mlp", module__hidden=(8,), max_epochs=1, batch_size=20, random_state=0
    )
    expected = net.fit(greys, y).predict_proba(greys)
    assert_array_equal(net.predict_proba(GREY[kind](greys)), expected)
    net.fit(GREY[kind](greys), y)
    assert net.image_shape_ == (1, 8, 8)
    assert_array_equal(net.predict_proba(greys), expected)
