"""Images indexed like an array, read from arrays, data sets and files."""

import os
import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.utils import _safe_indexing
from torch.utils.data import Dataset

from skvision.datasets import ImageSequence
from skvision.datasets._sequence import (
    ArrayReader,
    DatasetReader,
    PathReader,
    to_chw,
)

LAYOUTS = {"grey": (6, 5), "last": (6, 5, 3), "first": (3, 6, 5), "flat": (30,)}

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
    *(">u2", ">i2", ">i4", ">i8", ">f2", ">f4", ">f8"),
]


class Items(Dataset):
    """A data set of the items of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


def as_nchw(array, layout):
    """Return an array of one of the layouts as (n, C, H, W)."""
    if layout == "grey":
        return array[:, None]
    if layout == "last":
        return np.moveaxis(array, 3, 1)
    if layout == "flat":
        return array[:, None, None]
    return array


def save(path, pixels, mode=None, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **kwargs)
    return path


@pytest.fixture
def numbered():
    """Twenty images in which every value tells where it belongs."""
    return np.arange(20 * 3 * 4 * 5, dtype=np.float32).reshape(20, 3, 4, 5)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def colours(rng):
    return rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def greys(rng):
    return rng.integers(0, 256, (6, 8), dtype=np.uint8)


# ------------------------------------------------------------------- indexing

KEYS = {
    "int": 3,
    "negative int": -2,
    "numpy int": np.int32(4),
    "0-d array": np.array(5),
    "0-d tensor": torch.tensor(5),
    "slice": slice(2, 9),
    "negative step": slice(None, None, -3),
    "slice beyond the end": slice(8, 99),
    "empty slice": slice(4, 4),
    "everything": slice(None),
    "list": [1, 1, 7],
    "negative list": [-1, 0, -3],
    "empty list": [],
    "int array": np.array([4, 2, 2, 9]),
    "unsigned array": np.array([4, 2], dtype=np.uint8),
    "range": range(1, 8, 2),
    "mask": np.arange(10) % 3 == 0,
    "mask of none": np.zeros(10, dtype=bool),
    "list mask": [True, False] * 5,
    "tensor": torch.tensor([5, 0, 5]),
    "mask tensor": torch.arange(10) > 6,
}


@pytest.mark.parametrize("in_tuple", [False, True], ids=["X[key]", "X[key, ...]"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("view", [False, True], ids=["all rows", "view"])
def test_indexing_as_numpy_does(numbered, view, key, in_tuple):
    X = ImageSequence(ArrayReader(numbered[:10], "first"))
    expected = numbered[:10]
    if view:
        rows = np.array([12, 3, 3, 19, 0, 7, 8, 1, 2, 15])
        X = ImageSequence(ArrayReader(numbered, "first"), rows)
        expected = numbered[rows]
    part = X[key, ...] if in_tuple else X[key]
    expected = expected[np.asarray(key) if isinstance(key, torch.Tensor) else key]
    assert part.shape == expected.shape
    assert_array_equal(np.asarray(part), expected)
    assert isinstance(part, np.ndarray if expected.ndim == 3 else ImageSequence)
    assert part.dtype == np.float32


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_views_of_views(data):
    array = np.arange(15.0).reshape(15, 1, 1, 1)
    X, expected = ImageSequence(ArrayReader(array, "first")), array
    for _ in range(data.draw(st.integers(1, 4))):
        n = len(expected)
        rows = st.lists(st.integers(-n, n - 1), max_size=8) if n else st.just([])
        as_array = rows.map(lambda rows: np.array(rows, dtype=int))
        key = data.draw(st.slices(n) | hnp.arrays(bool, n) | rows | as_array)
        X, expected = X[key], expected[key]
        assert X.shape == expected.shape
        assert len(X) == len(expected)
    assert_array_equal(np.asarray(X), expected)
    assert_array_equal([image.item() for image in X], expected.ravel())


@pytest.mark.parametrize(
    "key",
    [
        3,
        slice(2, 6),
        [0, 4, 4],
        (5, 1),
        np.array([6, 1]),
        np.arange(20) < 5,
        (np.arange(20) < 5).tolist(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_scikit_learn_indexing(numbered, key):
    X = ImageSequence(ArrayReader(numbered, "first"))
    part = _safe_indexing(X, key)
    assert_array_equal(np.asarray(part), _safe_indexing(numbered, key))


@pytest.mark.parametrize(
    "key",
    [
        np.zeros((2, 2), dtype=int),
        np.zeros((20, 3), dtype=bool),
        [[0, 1], [2, 3]],
        torch.zeros((2, 1), dtype=torch.int64),
        None,
        20,
        -21,
        [0, 20],
        np.ones(19, dtype=bool),
        1.0,
        "1",
        (slice(None), 0),
        (0, 0),
        (0, ..., 0),
        (...,),
        (),
    ],
)
def test_impossible_indices(numbered, key):
    X = ImageSequence(ArrayReader(numbered, "first"))
    with pytest.raises(IndexError):
        X[key]


def test_message_for_columns(numbered):
    X = ImageSequence(ArrayReader(numbered, "first"))
    with pytest.raises(IndexError, match=r"Only rows .*np\.asarray\(X\)"):
        X[:, 0]
    with pytest.raises(IndexError, match="one axis of rows; got .* 2 dimensions"):
        X[np.zeros((2, 2), dtype=int)]


def test_is_a_sequence(numbered):
    X = ImageSequence(ArrayReader(numbered, "first"))
    assert (len(X), X.ndim, X.shape) == (20, 4, (20, 3, 4, 5))
    assert X.image_shape == (3, 4, 5)
    assert not X.flat
    assert repr(X) == "ImageSequence(shape=(20, 3, 4, 5), dtype=float32)"
    assert_array_equal(list(X), numbered)
    assert_array_equal(list(reversed(X)), numbered[::-1])


def test_views_share_memory(numbered):
    X = ImageSequence(ArrayReader(numbered, "first"))
    view = X[5:15][[1, 3]]
    assert np.shares_memory(view.reader.array, numbered)
    numbered[8] = -1
    assert_array_equal(np.asarray(view[1]), numbered[8])
    assert (view[1] == -1).all()


# --------------------------------------------------------------------- arrays


@pytest.mark.parametrize("layout", LAYOUTS)
def test_changing_a_copy_leaves_the_images_alone(rng, layout):
    array = rng.random((4, *LAYOUTS[layout]), dtype=np.float32)
    before = array.copy()
    X = ImageSequence(ArrayReader(array, layout))
    for copied in (np.array(X), np.array(X[1:3]), np.asarray(X, copy=True), X[1]):
        assert not np.shares_memory(copied, array)
        copied[...] = -1
    assert_array_equal(array, before)


def test_array_protocol(numbered):
    X = ImageSequence(ArrayReader(numbered, "first"))
    assert np.asarray(X, dtype=np.float64).dtype == np.float64
    assert_array_equal(np.asarray(X, dtype=np.int32), numbered.astype(np.int32))
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(X, copy=False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_that_of_the_values(dtype):
    X = ImageSequence(ArrayReader(np.ones((3, 6, 5), dtype=dtype), "grey"))
    assert np.asarray(X).dtype == X.dtype
    assert np.asarray(X[[0]]).dtype == X.dtype
    assert X[0].dtype == X.dtype


def in_memory_map(values):
    # The map stays valid when the file's name is gone.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        values.tofile(path)
        return np.memmap(path, dtype=values.dtype, mode="r", shape=values.shape)


def in_wider(values):
    wider = np.zeros([2 * length for length in values.shape], dtype=values.dtype)
    part = wider[tuple(slice(None, None, 2) for _ in values.shape)]
    part[...] = values
    return part


def in_field(values):
    fields = [("label", "u1"), ("image", values.dtype, values.shape[1:])]
    records = np.zeros(len(values), dtype=fields)
    records["image"] = values
    return records["image"]


def unaligned(values):
    return np.frombuffer(
        b"\0" + values.tobytes(), dtype=values.dtype, offset=1
    ).reshape(values.shape)


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def reversed_axes(*axes):
    return lambda values: np.flip(np.flip(values, axes).copy(), axes)


STORED = {
    "plain": np.copy,
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "read-only Fortran": lambda values: read_only(values.T).T,
    "memory map": in_memory_map,
    "rows in reverse": reversed_axes(0),
    "columns in reverse": reversed_axes(-1),
    "all in reverse": lambda values: np.flip(np.flip(values).copy()),
    "every other": in_wider,
    "transposed": lambda values: np.moveaxis(np.moveaxis(values, 0, -1).copy(), -1, 0),
    "field of records": in_field,
    "unaligned": unaligned,
}


def values_of(dtype):
    """Values that float64 holds exactly, and none that is not finite."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    if dtype.kind == "b":
        return st.booleans()
    info = np.iinfo(dtype)
    return st.integers(max(info.min, -(2**53)), min(info.max, 2**53))


@pytest.mark.parametrize("stored", STORED)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_storage_makes_no_difference(stored, layout, dtype, data):
    values = data.draw(
        hnp.arrays(dtype, (5, *LAYOUTS[layout]), elements=values_of(dtype))
    )
    array = STORED[stored](values)
    assert_array_equal(array, values)
    X = ImageSequence(ArrayReader(array, layout))
    expected = as_nchw(values, layout)
    assert X.shape == expected.shape
    rows = data.draw(st.lists(st.integers(-5, 4), min_size=1).map(np.array))
    for key in (slice(None), slice(1, 4), slice(None, None, 2), rows):
        batch = X.read(key)
        assert batch.dtype in (torch.uint8, torch.float32, torch.float64)
        assert (batch.dtype == torch.uint8) == (dtype == "uint8")
        part = expected[key] if layout != "flat" else values[key]
        assert_array_equal(batch.numpy().astype(np.float64), part.astype(np.float64))
        assert_array_equal(X[key].read(slice(None)).numpy(), batch.numpy())
    assert_array_equal(np.asarray(X).astype(np.float64), expected.astype(np.float64))
    assert_array_equal(X[3].astype(np.float64), expected[3].astype(np.float64))
    assert_array_equal(array, values)


def test_broadcast_array():
    array = np.broadcast_to(np.arange(30.0).reshape(6, 5), (4, 6, 5))
    X = ImageSequence(ArrayReader(array, "grey"))
    assert_array_equal(np.asarray(X), array[:, None])
    assert_array_equal(X.read(slice(1, 3)).numpy(), array[1:3, None])


def test_long_double_and_other_types():
    X = ImageSequence(ArrayReader(np.ones((2, 6, 5), dtype=np.longdouble), "grey"))
    assert X.read(slice(None)).dtype == torch.float64
    for dtype in (complex, "U1", "M8[s]"):
        with pytest.raises(TypeError, match="Expected numbers; got an array of dtype"):
            ArrayReader(np.zeros((2, 6, 5), dtype=dtype), "grey").read(slice(None))


def test_flat_rows(rng):
    rows = rng.random((7, 30))
    X = ImageSequence(ArrayReader(rows, "flat"))
    assert X.flat
    assert X.shape == (7, 1, 1, 30)
    assert X[2:].read(np.array([0, 3])).shape == (2, 30)
    folded = ImageSequence(ArrayReader(rows, "flat", image_shape=(1, 5, 6)))
    assert not folded.flat
    assert folded.shape == (7, 1, 5, 6)
    assert_array_equal(np.asarray(folded), rows.reshape(7, 1, 5, 6))
    assert_array_equal(folded.read(slice(1, 3)).numpy(), rows[1:3].reshape(2, 1, 5, 6))


def test_unit_and_normalised(rng):
    array = rng.integers(0, 256, (5, 6, 5, 3), dtype=np.uint8)
    unit = ImageSequence(ArrayReader(array, "last", unit="div"))
    assert unit.dtype == np.float32
    assert unit.read(slice(None)).dtype == torch.uint8
    scaled = np.moveaxis(array, 3, 1).astype(np.float32) / np.float32(255)
    assert_array_equal(np.asarray(unit), scaled)
    assert_array_equal(unit[4], scaled[4])
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    X = ImageSequence(ArrayReader(array, "last", unit="div", mean=mean, std=std))
    expected = (scaled - np.float32(mean).reshape(3, 1, 1)) / np.float32(std).reshape(
        3, 1, 1
    )
    assert_array_equal(np.asarray(X), expected)
    assert X.read(slice(None)).dtype == torch.float32


@pytest.mark.skipif(sys.platform != "linux", reason="Files with holes take space.")
def test_memory_map_is_read_by_rows(tmp_path):
    # Far larger than memory: only what is asked for can have been read.
    path = tmp_path / "images"
    shape = (2**21, 256, 256)
    with path.open("wb") as file:
        try:
            file.truncate(2**37)
        except OSError as error:
            pytest.skip(f"The file system takes no file of this size: {error}")
    array = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    X = ImageSequence(ArrayReader(array, "grey"))
    assert X.shape == (2**21, 1, 256, 256)
    assert X[::1000][[7, -1]].read(slice(None)).shape == (2, 1, 256, 256)
    assert X[-1].sum() == 0


# ------------------------------------------------------------------ data sets


def test_items_are_read_once_and_in_order(rng):
    read = []

    class Spied(Items):
        def __getitem__(self, row):
            read.append(row)
            return super().__getitem__(row)

    images = rng.random((8, 1, 6, 5), dtype=np.float32)
    X = ImageSequence(DatasetReader(Spied(list(images))))
    read.clear()
    part = X[[5, 1]][::-1]
    assert read == []
    assert_array_equal(np.asarray(part), images[[1, 5]])
    assert read == [1, 5]
    assert_array_equal(X.read(slice(1, 6, 2)).numpy(), images[1:6:2])
    assert read[2:] == [1, 3, 5]


def test_items_without_labels(rng):
    images = rng.random((4, 1, 6, 5), dtype=np.float32)
    for items in (
        list(images),
        [torch.from_numpy(image) for image in images],
        [(image, 0) for image in images],
        [[image, 0, "more"] for image in images],
        [(image,) for image in images],
    ):
        assert_array_equal(ImageSequence(DatasetReader(Items(items))), images)


def test_no_rows_of_a_data_set(rng):
    X = ImageSequence(DatasetReader(Items(list(rng.random((4, 1, 6, 5))))))
    assert np.asarray(X[[]]).shape == (0, 1, 6, 5)
    assert X[2:2].read(slice(None)).shape == (0, 1, 6, 5)


def test_items_that_differ_in_size():
    items = [np.zeros((6, 5)), np.zeros((6, 5)), np.zeros((5, 6))]
    X = ImageSequence(DatasetReader(Items(items)))
    assert X[:2].read(slice(None)).shape == (2, 1, 6, 5)
    with pytest.raises(
        ValueError, match=r"Item 2 .*\(1, 5, 6\).*\(1, 6, 5\).*Resize\(\(height, width"
    ):
        np.asarray(X)


def test_items_that_are_no_images():
    for item in ({"image": np.zeros((6, 5))}, ("name", 0), None):
        with pytest.raises(
            TypeError, match="Expected an image .* in item 0 of the Items"
        ):
            DatasetReader(Items([item]))
    with pytest.raises(ValueError, match=r"2 or 3 axes in item 0 of .*\(1, 3, 6, 5\)"):
        DatasetReader(Items([torch.zeros(1, 3, 6, 5)]))
    with pytest.raises(ValueError, match="no image in the data set"):
        DatasetReader(Items([]))


@pytest.mark.parametrize(
    "image, shape",
    [
        (torch.zeros(6, 5), (1, 6, 5)),
        (torch.zeros(3, 6, 5), (3, 6, 5)),
        (torch.zeros(2, 6, 3), (2, 6, 3)),
        (torch.zeros(6, 5, 3), (6, 5, 3)),
        (np.zeros((6, 5)), (1, 6, 5)),
        (np.zeros((6, 5, 3)), (3, 6, 5)),
        (np.zeros((6, 5, 4)), (4, 6, 5)),
        (np.zeros((6, 5, 1)), (1, 6, 5)),
        (np.zeros((3, 6, 5)), (3, 6, 5)),
        (np.zeros((2, 6, 5)), (2, 6, 5)),
        ([[0.0] * 5] * 6, (1, 6, 5)),
        (Image.new("L", (5, 6)), (1, 6, 5)),
        (Image.new("RGB", (5, 6)), (3, 6, 5)),
        (Image.new("RGBA", (5, 6)), (4, 6, 5)),
        (Image.new("RGB", (3, 3)), (3, 3, 3)),
        (Image.new("RGB", (5, 4)), (3, 4, 5)),
        (Image.new("RGB", (1, 3)), (3, 3, 1)),
        (Image.new("P", (5, 6)), (3, 6, 5)),
        (Image.new("1", (5, 6)), (1, 6, 5)),
        (Image.new("LA", (5, 6)), (1, 6, 5)),
        (Image.new("CMYK", (5, 6)), (3, 6, 5)),
        (Image.new("I;16", (5, 6)), (1, 6, 5)),
        (Image.new("F", (5, 6)), (1, 6, 5)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_layout_of_one_image(image, shape):
    assert tuple(to_chw(image).shape) == shape


def test_pixels_of_one_image(colours, greys):
    assert_array_equal(to_chw(Image.fromarray(colours)), np.moveaxis(colours, 2, 0))
    assert_array_equal(to_chw(Image.fromarray(greys)), greys[None])
    palette = Image.fromarray(colours).convert("P")
    expected = np.moveaxis(np.asarray(palette.convert("RGB")), 2, 0)
    assert_array_equal(to_chw(palette), expected)
    black_and_white = Image.fromarray(greys > 128)
    assert_array_equal(to_chw(black_and_white), (greys > 128)[None] * np.uint8(255))
    assert to_chw(black_and_white).dtype == torch.uint8
    wide = np.array([[0, 65535], [256, 1]], dtype=np.uint16)
    assert_array_equal(to_chw(Image.fromarray(wide)), wide[None])


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("convert", [str, Path], ids=["str", "Path"])
def test_files(tmp_path, rng, convert):
    pixels = rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    names = ["plain.png", "Äpfel 🍎/ß.bmp", "日本/1.png", "with space/'quote'.tif"]
    paths = [
        convert(save(tmp_path / name, image))
        for name, image in zip(names, pixels, strict=True)
    ]
    X = ImageSequence(PathReader(np.array(paths, dtype=object)))
    assert X.shape == (4, 3, 6, 8)
    assert X.dtype == np.uint8
    assert_array_equal(X, np.moveaxis(pixels, 3, 1))
    assert_array_equal(X[2], np.moveaxis(pixels[2], 2, 0))
    assert_array_equal(X[[3, 1]], np.moveaxis(pixels[[3, 1]], 3, 1))
    assert X.read(slice(0, 0)).shape == (0, 3, 6, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_files(tmp_path, greys, mode):
    image = Image.fromarray(greys).convert(mode)
    path = save(tmp_path / "x.png", image)
    X = ImageSequence(PathReader([path, save(tmp_path / "y.png", greys)]))
    assert X.shape == (2, 1, 6, 8)
    assert_array_equal(X[0, ...][0], np.asarray(image.convert("L")))
    assert_array_equal(X[1][0], greys)


@pytest.mark.parametrize(
    "mode, suffix", [("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif")]
)
def test_colour_files(tmp_path, colours, mode, suffix):
    image = Image.fromarray(colours).convert(mode)
    path = save(tmp_path / f"x.{suffix}", image)
    X = ImageSequence(PathReader([path]))
    with Image.open(path) as image:
        assert image.mode == mode
        expected = np.asarray(image.convert("RGB"))
    assert_array_equal(X[0], np.moveaxis(expected, 2, 0))
    assert_array_equal(X.read(slice(None)).numpy()[0], np.moveaxis(expected, 2, 0))


def test_colours_after_grey(tmp_path, greys, colours):
    paths = [save(tmp_path / "grey.png", greys), save(tmp_path / "rgb.png", colours)]
    X = ImageSequence(PathReader(paths))
    assert_array_equal(X[0], greys[None])
    with pytest.raises(
        ValueError, match=r"rgb\.png' has colours .*grey\.png', is grey"
    ):
        X.read(slice(None))


def test_grey_after_colours(tmp_path, greys, colours):
    paths = [save(tmp_path / "rgb.png", colours), save(tmp_path / "grey.png", greys)]
    X = ImageSequence(PathReader(paths))
    assert_array_equal(X[1], np.stack([greys] * 3))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
@pytest.mark.parametrize("first", ["L", "RGB", None])
def test_more_than_8_bits(tmp_path, greys, first, mode):
    # Pillow clips such pixels at 255 when it converts them.
    wide = Image.fromarray(greys.astype(np.uint16) * 257)
    if mode != "I;16":
        wide = Image.fromarray(
            greys.astype({"I": np.int32, "F": np.float32}[mode]) * 257
        )
    paths = [save(tmp_path / "wide.tif", wide)]
    if first:
        paths.insert(0, save(tmp_path / "first.png", Image.fromarray(greys), first))
    with Image.open(paths[-1]) as image:
        assert image.mode == mode
    with pytest.raises(ValueError, match=r"wide\.tif"):
        ImageSequence(PathReader(paths)).read(slice(None))


def test_files_that_differ_in_size(tmp_path, colours):
    paths = [
        save(tmp_path / "a.png", colours),
        save(tmp_path / "b.png", colours),
        save(tmp_path / "c.png", colours.swapaxes(0, 1).copy()),
    ]
    X = ImageSequence(PathReader(paths))
    assert X[:2].read(slice(None)).shape == (2, 3, 6, 8)
    with pytest.raises(
        ValueError,
        match=r"c\.png' has shape \(3, 8, 6\), the first one \(3, 6, 8\).*Resize",
    ):
        X[1:].read(slice(None))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_truncated_files(tmp_path, rng, suffix):
    pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole.{suffix}", pixels)
    content = whole.read_bytes()
    broken = tmp_path / f"brøken.{suffix}"
    expected = ImageSequence(PathReader([whole]))[0]
    raised = 0
    for end in np.linspace(0, len(content) - 1, 60).astype(int):
        broken.write_bytes(content[:end])
        X = ImageSequence(PathReader([whole, broken]))
        try:
            image = X[1]
        except OSError as error:
            assert str(broken) in str(error)
            raised += 1
        else:
            # The last bytes of some formats say nothing about pixels.
            assert_array_equal(image, expected)
    assert raised > 50


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "webp", "bmp", "ppm"])
def test_corrupt_files(tmp_path, rng, suffix, monkeypatch):
    # A size that comes out huge is to be refused, not to take the memory.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole.{suffix}", pixels)
    content = whole.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    for _ in range(150):
        changed = bytearray(content)
        start = rng.integers(0, min(len(content), 200))
        changed[start : start + 4] = rng.bytes(4)
        broken.write_bytes(changed)
        # What cannot be read is an OSError, what has another size a ValueError.
        try:
            ImageSequence(PathReader([whole, broken])).read(slice(None))
        except (OSError, ValueError) as error:
            assert str(broken) in str(error)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["missing", "text", "empty", "folder"])
def test_files_that_are_no_images(tmp_path, colours, kind, first):
    path = tmp_path / "Bild ✓.png"
    if kind == "text":
        path.write_text("no image")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    paths = [path] if first else [save(tmp_path / "good.png", colours), path]
    with pytest.raises(OSError, match=r"Bild ✓\.png cannot be read as an image"):
        ImageSequence(PathReader(paths)).read(slice(None))


def test_no_file_stays_open(tmp_path, colours):
    paths = [save(tmp_path / f"{i}.png", colours) for i in range(20)]
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("Open files are listed on Linux alone.")
    before = len(os.listdir("/proc/self/fd"))
    X = ImageSequence(PathReader(paths))
    X.read(slice(None))
    assert len(os.listdir("/proc/self/fd")) == before


# --------------------------------------------------------------------- pickle


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("kind", ["array", "data set", "files"])
def test_pickle(tmp_path, rng, kind, view):
    pixels = rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    if kind == "array":
        reader = ArrayReader(
            pixels, "last", unit="div", mean=(0.5,) * 3, std=(2.0,) * 3
        )
    elif kind == "data set":
        reader = DatasetReader(Items(list(pixels)))
    else:
        paths = [save(tmp_path / f"{i}.png", image) for i, image in enumerate(pixels)]
        reader = PathReader(paths)
    X = ImageSequence(reader)
    X = X[[3, 0]] if view else X
    loaded = pickle.loads(pickle.dumps(X))
    assert isinstance(loaded, ImageSequence)
    assert (loaded.shape, loaded.dtype) == (X.shape, X.dtype)
    assert_array_equal(loaded, X)
