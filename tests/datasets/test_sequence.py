"""Images indexed like an array."""

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
from sklearn.utils import _safe_indexing

from skvision.datasets import ImageSequence
from skvision.images._readers import ArrayReader
from skvision.images._steps import PixelSteps

LAYOUTS = {"grey": (6, 5), "last": (6, 5, 3), "first": (3, 6, 5), "flat": (30,)}

DTYPES = [
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64"),
    *(">u2", ">i2", ">i4", ">i8", ">f2", ">f4", ">f8"),
]


def as_nchw(array, layout):
    """Return an array of one of the layouts as (n, C, H, W), or flat rows as such."""
    if layout == "grey":
        return array[:, None]
    if layout == "last":
        return np.moveaxis(array, 3, 1)
    return array


@pytest.fixture
def numbered():
    """Twenty images in which every value tells where it belongs."""
    return np.arange(20 * 3 * 4 * 5, dtype=np.float32).reshape(20, 3, 4, 5)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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
        assert batch.dtype.is_floating_point == (np.dtype(dtype).kind in "bf")
        assert (batch.dtype == torch.uint8) == (dtype == "uint8")
        part = expected[key].astype(np.float64)
        assert_array_equal(batch.numpy().astype(np.float64), part)
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
