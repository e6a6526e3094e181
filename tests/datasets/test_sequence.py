"""Images indexed like an array."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from sklearn.utils import _safe_indexing
from skvision_tests import thorough

from skvision.datasets import ImageSequence
from skvision.images._readers import ArrayReader
from skvision.images._steps import PixelSteps

LAYOUTS = {"grey": (6, 5), "last": (6, 5, 3), "first": (3, 6, 5), "flat": (30,)}

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
    *(">u2", ">i2", ">i4", ">i8", ">f2", ">f4", ">f8"),
]


@pytest.fixture
def numbered():
    """Twenty images in which every value tells where it belongs."""
    return np.arange(20 * 3 * 4 * 5, dtype=np.float32).reshape(20, 3, 4, 5)


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
@settings(max_examples=thorough(100), deadline=None)
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


def test_is_a_sequence(numbered):
    X = ImageSequence(ArrayReader(numbered, "first"))
    assert (len(X), X.ndim, X.shape) == (20, 4, (20, 3, 4, 5))
    assert X.image_shape == (3, 4, 5)
    assert not X.flat
    assert repr(X) == (
        "ImageSequence(shape=(20, 3, 4, 5), dtype=float32, reading='memory')"
    )
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
def test_values_of_any_dtype(dtype):
    kind = np.dtype(dtype).kind
    info = np.finfo(dtype) if kind == "f" else np.iinfo(dtype if kind != "b" else "u1")
    # Those that float64 holds exactly.
    ends = [max(float(info.min), -(2.0**53)), min(float(info.max), 2.0**53)]
    array = np.array([*ends, 1, 0, 1, 0]).astype(dtype).reshape(3, 2, 1)
    X = ImageSequence(ArrayReader(array, "grey"))
    assert np.asarray(X).dtype == np.asarray(X[[0]]).dtype == X[0].dtype == X.dtype
    for batch in (X.read(slice(None)), X[::-1].read([2, 1, 0])):
        assert batch.dtype.is_floating_point == (kind in "bf")
        assert (batch.dtype == torch.uint8) == (dtype == "uint8")
        values = batch.numpy().astype(np.float64)
        assert_array_equal(values, array[:, None].astype(np.float64))


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
    assert X.shape == (7, 30)
    assert X[2:].read(np.array([0, 3])).shape == (2, 30)
    folded = ImageSequence(ArrayReader(rows, "flat", image_shape=(1, 5, 6)))
    assert not folded.flat
    assert folded.shape == (7, 1, 5, 6)
    assert_array_equal(np.asarray(folded), rows.reshape(7, 1, 5, 6))
    assert_array_equal(folded.read(slice(1, 3)).numpy(), rows[1:3].reshape(2, 1, 5, 6))


def test_unit_and_normalised(rng):
    array = rng.integers(0, 256, (5, 6, 5, 3), dtype=np.uint8)
    unit = ImageSequence(ArrayReader(array, "last", steps=PixelSteps("div")))
    assert unit.dtype == np.float32
    assert unit.read(slice(None)).dtype == torch.uint8
    scaled = np.moveaxis(array, 3, 1).astype(np.float32) / np.float32(255)
    assert_array_equal(np.asarray(unit), scaled)
    assert_array_equal(unit[4], scaled[4])
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    X = ImageSequence(ArrayReader(array, "last", steps=PixelSteps("div", mean, std)))
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
