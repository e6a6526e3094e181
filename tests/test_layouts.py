"""However an array lies in memory, its values alone decide what comes of it."""

import functools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from skvision_tests import thorough
from torchvision.tv_tensors import Image

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor

N = 24
FITTING = {"max_epochs": 1, "batch_size": 8, "random_state": 0}
NETWORKS = {
    "flat": {"module": "mlp", "module__hidden": (4,)},
    "images": {
        "module": "convnet",
        "module__channels": (3,),
        "module__hidden": (),
        "module__dropout": 0.0,
    },
}
SHAPES = {
    "grey": (N, 6, 5),
    "first": (N, 3, 6, 5),
    "last": (N, 6, 5, 3),
    "first of one": (N, 1, 6, 5),
    "last of one": (N, 6, 5, 1),
    "flat": (N, 30),
}
#: All that values from 0 to 16 fit into, but for two of them in bool.
DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
    *("uint64", "float16", "float32", "float64", "longdouble"),
    *(">i2", ">u4", ">i8", ">f2", ">f4", ">f8"),
]
y = np.arange(N) % 3
t = np.linspace(-1, 1, N)


# ------------------------------------------------------ values, and where they lie


@functools.cache
def values(layout, dtype):
    """Return an array in C order of values that are exact in any type."""
    whole = np.random.default_rng(0).integers(0, 17, SHAPES[layout])
    return whole.astype(dtype) if dtype != "bool" else whole > 8


def negative(array, axis):
    """Let an axis run backwards through memory."""
    return np.flip(np.flip(array, axis).copy(), axis)


def stepped(array, axis):
    """Leave gaps along an axis."""
    return np.take(np.repeat(array, 3, axis), range(array.shape[axis] * 3), axis)[
        (slice(None),) * axis + (slice(None, None, 3),)
    ]


def transposed(array, axis):
    """Let an axis be the one that changes slowest in memory."""
    return np.moveaxis(np.moveaxis(array, axis, 0).copy(), 0, axis)


def inner(array, axis):
    """Cut the array out of a larger one."""
    width = [(1, 2)] * array.ndim
    larger = np.pad(array, width)
    return larger[tuple(slice(1, 1 + n) for n in array.shape)]


def broadcast(array, axis):
    """Let all places along an axis be the first one."""
    first = array[(slice(None),) * axis + (slice(0, 1),)]
    return np.broadcast_to(first, array.shape)


def unaligned(array, axis):
    """Let the values begin at an odd address."""
    raw = np.empty(array.nbytes + 1, dtype=np.uint8)
    moved = raw[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def field(array, axis):
    """Let strides be no multiples of the size of an item."""
    record = np.zeros(array.shape, dtype=[("a", "u1"), ("x", array.dtype)])
    record["x"] = array
    return record["x"]


def plain(array, axis):
    return array


VIEWS = [
    *(plain, negative, stepped, transposed, inner, broadcast, unaligned, field),
]


# -------------------------------------------------------------- what arrays are


class Subclass(np.ndarray):
    """As those of other packages, with something of their own."""

    def __array_finalize__(self, obj):
        self.unit = getattr(obj, "unit", "lux")


def read_only(array, folder):
    array = array[...]
    array.flags.writeable = False
    return array


def fortran(array, folder):
    return np.asfortranarray(array)


def memmap(array, folder):
    """Write a file; a map of it is of the order of the array."""
    path = folder / "images"
    order = "F" if array.flags.f_contiguous else "C"
    array.ravel(order).tofile(path)
    return np.memmap(path, array.dtype, "r", shape=array.shape, order=order)


def tensor(array, folder):
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()
    array = array if array.dtype != np.longdouble else array.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some cannot be written to.
        return torch.from_numpy(array)


def with_gradient(array, folder):
    made = tensor(array, folder)
    return made.requires_grad_() if made.is_floating_point() else made


def tv_tensor(array, folder):
    made = tensor(array, folder)
    return Image(made) if made.ndim > 2 else made


KINDS = {
    "array": lambda array, folder: array,
    "read-only": read_only,
    "fortran": fortran,
    "memmap": memmap,
    "subclass": lambda array, folder: array.view(Subclass),
    "masked": lambda array, folder: np.ma.array(array, copy=False),
    "tensor": tensor,
    "gradient": with_gradient,
    "tv_tensor": tv_tensor,
}
layouts = st.sampled_from(list(SHAPES))
dtypes = st.sampled_from(DTYPES)
views = st.lists(
    st.tuples(st.sampled_from(VIEWS), st.integers(0, 3)), min_size=0, max_size=2
)
kinds = st.sampled_from(list(KINDS))


@st.composite
def inputs(draw, kinds=kinds):
    """Draw how an array comes about: what is made of a plain one."""
    layout, dtype = draw(layouts), draw(dtypes)
    chain = [(view, axis % len(SHAPES[layout])) for view, axis in draw(views)]
    return layout, dtype, chain, draw(kinds)


def meant_by(dtype):
    """Return the widest type that means the same: integers are divided by 255."""
    return np.dtype(np.int64 if dtype.kind in "iu" else np.float64)


def make(layout, dtype, chain, kind, folder):
    """Return what a user might give, and its values in a plain array."""
    array = values(layout, dtype)
    for view, axis in chain:
        array = view(array, axis)
    plain = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    return KINDS[kind](array, folder), plain.astype(meant_by(plain.dtype))


def content(X):
    """Return all that training might change."""
    if isinstance(X, torch.Tensor):
        copied = X.detach().clone().as_subclass(torch.Tensor).numpy()
        return copied, X.stride(), X.requires_grad, X.grad
    return np.array(X), X.strides, X.flags.writeable, X.dtype


def assert_unchanged(before, X):
    after = content(X)
    assert_array_equal(before[0], after[0])
    assert before[1:] == after[1:]


def options(layout):
    return NETWORKS["flat" if layout == "flat" else "images"] | FITTING


@functools.cache
def fitted(layout, dtype):
    """Return a classifier that has been fitted to plain values."""
    X = values(layout, dtype)
    return ImageClassifier(**options(layout)).fit(X, y)


def weights(net):
    """Return all numbers that a fit ends with."""
    state = {**net.module_.state_dict(), "mean": net.scaler_.mean}
    return {name: value for name, value in state.items() if value is not None}


def assert_same_weights(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# Short trainings teach little; all other warnings are errors.
quiet = pytest.mark.filterwarnings(
    "error", "ignore::sklearn.exceptions.ConvergenceWarning"
)
fixtures = [HealthCheck.function_scoped_fixture]


@quiet
@settings(max_examples=thorough(400), deadline=None, suppress_health_check=fixtures)
@given(drawn=inputs())
@example(drawn=("last", "uint8", [(negative, 3)], "array"))
@example(drawn=("first", "float32", [(broadcast, 1)], "read-only"))
@example(drawn=("grey", "longdouble", [(field, 0)], "array"))
@example(drawn=("flat", ">f4", [(stepped, 1), (negative, 0)], "memmap"))
@example(drawn=("flat", "float32", [], "gradient"))
def test_predictions(drawn, tmp_path):
    X, plain = make(*drawn, tmp_path)
    before = content(X)
    net = fitted(drawn[0], plain.dtype)
    assert_array_equal(net.predict_proba(X), net.predict_proba(plain))
    assert_unchanged(before, X)


@quiet
@pytest.mark.parametrize(
    "estimator", [ImageClassifier, ImageRegressor, ImageAutoencoder]
)
@settings(max_examples=thorough(120), deadline=None, suppress_health_check=fixtures)
@given(drawn=inputs())
@example(drawn=("grey", "float32", [], "fortran"))
@example(drawn=("flat", "float32", [], "gradient"))
def test_weights_of_a_fit(drawn, estimator, tmp_path):
    X, plain = make(*drawn, tmp_path)
    before = content(X)
    params = dict(FITTING)
    if estimator is ImageAutoencoder:
        flat = drawn[0] == "flat"
        params |= {"module__hidden": (4,)} if flat else {"module__channels": (3,)}
        params["normalize"] = "channel"
    else:
        params = options(drawn[0])
    target = {ImageClassifier: y, ImageRegressor: t}.get(estimator)
    first = estimator(**params).fit(X, target)
    assert_unchanged(before, X)
    assert_same_weights(first, estimator(**params).fit(plain, target))


@quiet
@settings(max_examples=thorough(80), deadline=None, suppress_health_check=fixtures)
@given(
    views=views,
    dtype=st.sampled_from(["int8", "uint16", "int64", "float32", ">i4", ">f8"]),
    kind=st.sampled_from(["array", "read-only", "memmap", "subclass", "tensor"]),
    weighted=st.booleans(),
)
def test_targets_and_weights(views, dtype, kind, weighted, tmp_path):
    X = values("flat", "float64")
    # Classes are those that a broadcast leaves.
    chain = [(view, 0) for view, _ in views if view is not broadcast]
    array = y.astype(dtype) + 1
    for view, axis in chain:
        array = view(array.astype(dtype), axis)
    given = KINDS[kind](array, tmp_path)
    before = content(given)
    if weighted:
        nets = [
            ImageRegressor(**options("flat")).fit(X, t, sample_weight=weight)
            for weight in (given, array.astype(np.float64))
        ]
    else:
        nets = [
            ImageClassifier(**options("flat")).fit(X, labels)
            for labels in (given, array.astype(np.int64))
        ]
    assert_unchanged(before, given)
    assert_same_weights(*nets)


@quiet
@pytest.mark.parametrize("layout", ["first", "last"])
def test_orders_of_channels_mean_the_same(layout):
    first = values("first", "uint8")
    X = first if layout == "first" else np.moveaxis(first, 1, 3)
    net = ImageClassifier(**options(layout)).fit(first, y)
    other = ImageClassifier(**options(layout)).fit(X.copy(), y)
    assert_same_weights(net, other)
    assert_array_equal(net.predict_proba(X), other.predict_proba(first))
