"""Tensors, data sets and arrays of users as X and y."""

import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from skvision_tests import Items
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from skvision.datasets import as_Xy
from skvision.images._labels import labels_of

# -------------------------------------------------------------------- tensors


@pytest.mark.parametrize(
    "dtype", ["uint8", "float32", "float64", "float16", "bfloat16", "int64", "bool"]
)
@pytest.mark.parametrize("shape", [(9, 2, 6, 5), (9, 6, 5), (9, 7)], ids=str)
def test_tensors(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(shape, generator=generator) * 3).to(getattr(torch, dtype))
    X, y = as_Xy(TensorDataset(images, torch.arange(9) % 3))
    n_rows, *image_shape = shape
    if len(image_shape) == 2:
        image_shape = [1, *image_shape]
    assert X.shape == (n_rows, *image_shape)
    assert X.flat == (len(shape) == 2)
    values = images.double().reshape(n_rows, *image_shape).numpy()
    assert_array_equal(np.asarray(X).astype(np.float64), values)
    assert_array_equal(X[[4, 2]][0].astype(np.float64), values[4])
    assert_array_equal(y, np.arange(9) % 3)


def test_tensors_share_memory():
    images = torch.rand(9, 1, 6, 5)
    X, _ = as_Xy(Subset(TensorDataset(images, torch.arange(9)), range(4)))
    assert np.shares_memory(X.reader.array, images.numpy())
    images.requires_grad_()
    assert_array_equal(as_Xy(TensorDataset(images, torch.arange(9)))[0][:4], X)


def test_targets_of_tensors():
    images = torch.rand(9, 1, 6, 5)
    for y in (torch.rand(9), torch.rand(9, 2), torch.arange(9).to(torch.uint8)):
        _, targets = as_Xy(TensorDataset(images, y))
        assert_array_equal(targets, y)
        assert targets.dtype == y.numpy().dtype
    _, targets = as_Xy(TensorDataset(images, torch.arange(9), torch.rand(9)))
    assert_array_equal(targets, np.arange(9))


def test_subclass_of_tensors(assert_like_items):
    class Doubled(TensorDataset):
        def __getitem__(self, row):
            image, label = super().__getitem__(row)
            return image * 2, 10 - label

    assert_like_items(Doubled(torch.rand(9, 1, 6, 5), torch.arange(9)))


# --------------------------------------------------------------- data of users


@pytest.mark.parametrize(
    "convert",
    [
        Image.fromarray,
        lambda pixels: Image.fromarray(pixels).convert("L"),
        lambda pixels: Image.fromarray(pixels).convert("P"),
        np.copy,
        lambda pixels: pixels[..., 0],
        lambda pixels: torch.from_numpy(np.moveaxis(pixels, 2, 0).copy()),
        lambda pixels: np.moveaxis(pixels, 2, 0) / 255,
    ],
    ids=["RGB", "L", "P", "array", "grey array", "tensor", "channels first"],
)
@pytest.mark.parametrize(
    "label",
    [int, np.int64, torch.tensor, float, "class {}".format, lambda row: [row, -row]],
    ids=["int", "int64", "tensor", "float", "str", "list"],
)
def test_own_data_set(rng, convert, label, assert_like_items):
    pixels = rng.integers(0, 256, (7, 10, 8, 3), dtype=np.uint8)
    items = [(convert(image), label(row % 3)) for row, image in enumerate(pixels)]
    assert_like_items(Items(items))


def test_own_data_set_with_targets(rng):
    class WithTargets(Items):
        reads = 0

        def __getitem__(self, row):
            self.reads += 1
            return super().__getitem__(row)

        @property
        def targets(self):
            return [label for _, label in self.items]

    dataset = WithTargets([(image, 5) for image in rng.random((500, 10, 8))])
    assert_array_equal(labels_of(dataset), [5] * 500)
    assert dataset.reads < 50


def test_targets_that_some_items_do_not_have(rng):
    dataset = Items(
        [(image, row % 2) for row, image in enumerate(rng.random((50, 4, 4)))]
    )
    # As where some labels have been made wrong, to see what becomes of it.
    dataset.targets = [0, 1] * 15 + [1, 0] * 5 + [0, 1] * 5
    assert_array_equal(as_Xy(dataset)[1], [0, 1] * 25)


@pytest.mark.parametrize("name", ["targets", "labels", "y"])
@pytest.mark.parametrize("value", [None, "abc", 3, [1, 2], np.zeros(()), {"a": 1}])
def test_attributes_that_are_no_labels(rng, name, value):
    dataset = Items([(image, row) for row, image in enumerate(rng.random((5, 10, 8)))])
    setattr(dataset, name, value)
    assert_array_equal(as_Xy(dataset)[1], np.arange(5))


def test_names_of_classes_are_no_labels(rng):
    # As many classes as images: what the items hold decides.
    dataset = Items(
        [(image, 4 - row) for row, image in enumerate(rng.random((5, 8, 8)))]
    )
    dataset.labels = ["a", "b", "c", "d", "e"]
    assert_array_equal(as_Xy(dataset)[1], [4, 3, 2, 1, 0])


def test_items_without_labels(rng):
    for items in (
        list(rng.random((5, 8, 8))),
        [(image,) for image in rng.random((5, 8, 8))],
    ):
        assert labels_of(Items(items)) is None
        with pytest.raises(ValueError, match="Items data set carry no labels"):
            as_Xy(Items(items))
    with pytest.raises(ValueError, match="carry no labels"):
        as_Xy(TensorDataset(torch.rand(5, 1, 8, 8)))


def test_what_is_no_data_set():
    for X in ("path", None, {"a": 1}, iter([1]), DataLoader([1])):
        with pytest.raises(TypeError, match="X must be an array, a data set, .* got"):
            as_Xy(X)

    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(1, 8, 8), 0

    class Counted(Stream):
        def __len__(self):
            return 1

    for stream in (Stream(), Counted()):
        with pytest.raises(TypeError, match=f"map-style .* {type(stream).__name__}"):
            as_Xy(stream)


class TestArraysAndPaths:
    @pytest.mark.parametrize(
        ("shape", "options", "expected"),
        [
            ((6, 5, 4), {}, (6, 1, 5, 4)),
            ((6, 5, 4, 3), {}, (6, 3, 5, 4)),
            ((6, 3, 5, 5), {}, (6, 3, 5, 5)),
            ((6, 3, 5, 3), {"channels": "last"}, (6, 3, 3, 5)),
            ((6, 7), {}, (6, 7)),
        ],
    )
    def test_layouts(self, shape, options, expected):
        array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        X, y = as_Xy(array, list("abcdef"), **options)
        assert X.shape == expected
        assert y.tolist() == list("abcdef")
        assert X.reader.array is array
        assert X[[1, 2]].reader.array is array  # Folds share it.

    def test_paths(self, tmp_path):
        paths = []
        for i in range(3):
            paths.append(tmp_path / f"{i}.png")
            Image.fromarray(np.full((4, 5), i, dtype=np.uint8)).save(paths[-1])
        X, _ = as_Xy(paths, [0, 1, 0])
        assert X.shape == (3, 1, 4, 5)
        assert as_Xy(paths, [0, 1, 0], cache=False)[0].reading == "each_time"

    def test_labels_of_ones_own(self):
        data = TensorDataset(torch.rand(4, 1, 3, 3), torch.arange(4))
        assert as_Xy(data, [3, 2, 1, 0])[1].tolist() == [3, 2, 1, 0]

    @pytest.mark.parametrize("channels", ["auto", "first", "last"])
    @pytest.mark.parametrize(
        "convert",
        [
            torch.from_numpy,
            lambda X: [Image.fromarray(image) for image in X],
            list,
            tuple,
            lambda X: [torch.from_numpy(image) for image in X],
            lambda X: [(image, 5) for image in X],
            lambda X: [(Image.fromarray(image), 5) for image in X],
            lambda X: X.tolist(),
            lambda X: X.astype(object),
            lambda X: pd.DataFrame(X.reshape(len(X), -1)),
            lambda X: pd.DataFrame(X.reshape(len(X), -1)).astype("Int64"),
        ],
        ids=[
            *("tensor", "PIL", "list", "tuple", "tensors", "pairs", "PIL pairs"),
            *("numbers", "objects", "frame", "nullable"),
        ],
    )
    def test_what_fit_takes(self, convert, channels):
        array = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
        given = convert(array)
        X, y = as_Xy(given, list("ababab"), channels=channels)
        assert y.tolist() == list("ababab")
        flat = isinstance(given, pd.DataFrame)
        expected = array.reshape(6, 20) if flat else array[:, None]
        assert_array_equal(X, expected)
        assert_array_equal(X[[4, 2]], expected[[4, 2]])
        if isinstance(given, list) and isinstance(given[0], tuple):
            assert as_Xy(given)[1].tolist() == [5] * 6
        else:
            with pytest.raises(ValueError, match="carry no labels: give them as y"):
                as_Xy(given)


def test_labels_are_read_without_keeping_images():
    class Counted(Items):
        alive = most = 0

        def __getitem__(self, row):
            image = np.zeros((8, 8, 3), np.uint8)
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)
            weakref.finalize(image, self.gone)
            return image, row % 3

        @staticmethod
        def gone():
            Counted.alive -= 1

    _, y = as_Xy(Counted(range(50)))
    assert_array_equal(y, np.arange(50) % 3)
    assert Counted.most < 6
