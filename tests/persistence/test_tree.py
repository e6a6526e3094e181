"""Nested data comes back as it was, and nothing else comes through."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skvision.exceptions import FormatError
from skvision.persistence._tree import Made, Name, decode, encode

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.builds(Name, st.text())
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.just("$"), inner)
        | st.dictionaries(st.integers(), inner)
        | st.builds(Made, st.text(), st.dictionaries(st.text(), inner))
    ),
    max_leaves=20,
)


def through(value):
    tensors = {}
    text = json.dumps(encode(value, tensors), allow_nan=False)
    return decode(json.loads(text), tensors)


@given(trees)
def test_round_trip(tree):
    # By its repr, since NaN is not equal to itself.
    assert repr(through(tree)) == repr(tree)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3),
        np.array([[True, False]]),
        np.array([0.1, math.nan, math.inf, -math.inf]),
        np.array([0.1], dtype=np.float32),
        np.array(["a", "bcd", ""]),
        np.array(["a", "bcd"], dtype=object),
        np.array([], dtype=np.uint8),
        np.array([2**63], dtype=np.uint64),
        np.arange(6, dtype=">i4").reshape(2, 3),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays(array):
    found = through({"x": array})["x"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_numpy_scalars_sets_devices_and_tensors():
    tensor = torch.arange(6.0).reshape(2, 3).t()
    tree = [np.float32(0.5), np.int64(3), {1, 2}, frozenset("a"), torch.device("cpu")]
    found = through([*tree, tensor])
    assert found[:-1] == tree
    assert type(found[0]) is float
    assert torch.equal(found[-1], tensor)


@pytest.mark.parametrize("value", [object(), lambda: 0, np.array([object()]), b"", 1j])
def test_what_is_no_data(value):
    with pytest.raises(TypeError, match="no plain data"):
        encode({"x": [value]}, {})


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "value",
    [
        {"$": "pickle", "value": "x"},
        {"$": "tensor", "value": "tensor 7"},
        {"$": "tensor", "value": ["x"]},
        {"$": "tensor"},
        {"$": ["x"], "value": 1},
        {"$": "float", "value": "1e3"},
        {"$": "array", "value": ["O", [1], [1]]},
        {"$": "array", "value": ["<U1000000000", [1], ["a"]]},
        {"$": "array", "value": ["V8", [1], [1]]},
        {"$": "array", "value": ["float64", [10**12], [1.0]]},
        {"$": "array", "value": ["int8", [1], [1000]]},
        {"$": "array", "value": ["no dtype", [1], [1]]},
        {"$": "array", "value": ["(2,)f8,", [1], [1]]},
        {"$": "array", "value": ["f8, f8", [1], [1]]},
        {"$": "array", "value": ["a" * 10_000 + "(", [1], [1]]},
        {"$": "array", "value": ["(1000000000,)f8", [1], [1]]},
        {"$": "array", "value": ["M8[ns]", [1], [1]]},
        {"$": "array", "value": ["float77", [1], [1]]},
        {"$": "array", "value": [["f8"], [1], [1]]},
        {"$": "device", "value": ["cpu"]},
        {"$": "array", "value": "x"},
        {"$": "dict", "value": [[["unhashable"], 1]]},
        {"$": "dict", "value": [1]},
        {"$": "set", "value": "ab"},
        {"$": "device", "value": "toaster"},
        {"$": "made", "value": ["x"]},
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_encode_never_writes(value):
    with pytest.raises(FormatError):
        decode([value], {})


def test_too_deep():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(FormatError):
        decode(value, {})
