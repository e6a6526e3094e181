"""Objects that differ in anything have other names, equal ones the same."""

import importlib
import json
import os
import pickle
import random
import subprocess
import sys
import threading
import types
from copy import deepcopy
from pathlib import Path
from unittest.mock import patch

import different_things
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from different_things import (
    DIFFERENT,
    NO_COPIES,
    Plain,
    Scale,
    frame,
    hooked,
    in_closure,
    inner,
    names,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn

from skvision._identity import Unidentified, fingerprint
from skvision._identity._libraries import library_version


@pytest.fixture(scope="module")
def found():
    return names()


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_has_other_names(kind, found):
    own = [name for key, name in found.items() if key.startswith(f"{kind} ")]
    twice = [i for i, name in enumerate(own) if own.count(name) > 1]
    assert twice == []


def test_names_are_the_same_again(found):
    assert names() == found


@pytest.mark.parametrize("kind", sorted(DIFFERENT.keys() - NO_COPIES))
def test_copies_have_the_same_names(kind):
    for i, make in enumerate(DIFFERENT[kind]):
        value = make()
        assert fingerprint(deepcopy(value)) == fingerprint(value), i


def test_names_are_those_of_another_process(found):
    code = "import json, different_things as d; print(json.dumps(d.names()))"
    output = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(different_things.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(output) == found


EQUAL = {
    "sets": (lambda: {"a", "b", "c"}, lambda: {"c", "b", "a"}),
    "sets of more": (lambda: {(1, 2), (3, 4)}, lambda: {(3, 4), (1, 2)}),
    "dictionaries": (lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
    "attributes": (lambda: Plain(a=1, b=2), lambda: Plain(b=2, a=1)),
    "NaN": (lambda: float("nan"), lambda: -float("nan")),
    "arrays": (
        lambda: np.arange(12).reshape(3, 4),
        lambda: np.asfortranarray(np.arange(12).reshape(3, 4)),
    ),
    "steps": (lambda: np.arange(0, 12, 2), lambda: np.arange(12)[::2]),
    "views": (lambda: np.array([2, 1, 0]), lambda: np.arange(3)[::-1]),
    "tensors": (
        lambda: torch.arange(12).reshape(3, 4).T,
        lambda: torch.arange(12).reshape(3, 4).T.contiguous(),
    ),
    "functions": (lambda: lambda x: x + 1, lambda: lambda x: x + 1),
    "sparse": (
        lambda: torch.tensor([1.0, 0, 2]).to_sparse(),
        lambda: torch.tensor([1.0, 0, 2]).to_sparse() * 1,
    ),
    "frames": (
        lambda: frame(c=[1, 2]),
        lambda: pd.concat([frame(), pd.DataFrame({"c": [1, 2]})], axis=1),
    ),
    "hooks": (lambda: hooked(inner), lambda: hooked(inner)),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_what_is_equal_has_the_same_name(kind):
    one, other = (make() for make in EQUAL[kind])
    assert fingerprint(one) == fingerprint(other)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | arrays(st.sampled_from([np.uint8, np.float32]), array_shapes(max_side=2)),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.tuples(parts, parts)
        | st.dictionaries(st.text(max_size=2) | st.integers(), parts, max_size=3)
    ),
    max_leaves=6,
)


def exact(value):
    """Return a text that tells values apart."""
    if isinstance(value, dict):
        return sorted((exact(k), exact(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(exact, value)]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), value.tobytes().hex()]
    return [type(value).__name__, repr(value)]


@given(values, values)
def test_names_are_equal_where_values_are(one, other):
    same = json.dumps(exact(one)) == json.dumps(exact(other))
    assert (fingerprint(one) == fingerprint(other)) == same
    assert fingerprint(pickle.loads(pickle.dumps(one))) == fingerprint(one)


@given(arrays(np.int16, array_shapes(min_dims=2, max_dims=4, max_side=4)), st.randoms())
def test_memory_order_makes_no_difference(array, rng):
    axes = rng.sample(range(array.ndim), array.ndim)
    moved = np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    assert fingerprint(moved) == fingerprint(array)
    assert fingerprint(torch.from_numpy(moved)) == fingerprint(torch.from_numpy(array))


def generator():
    yield 1


class Unreadable:
    def __skvision_identity__(self):
        raise KeyError("nothing")


class Refusing(nn.Module):
    def named_parameters(self, *args, **kwargs):
        raise ZeroDivisionError


UNIDENTIFIED = {
    "raises": Unreadable,
    "raises of its own": Refusing,
    "lock": threading.Lock,
    "generator": generator,
    "file": Path(__file__).open,
    "iterator of one's own": lambda: in_closure(generator()),
    "in a network": lambda: Scale(factor=threading.Lock()),
    "global": lambda: uses_lock,
    "frompyfunc": lambda: np.frompyfunc(inner, 1, 1),
}
LOCK = threading.Lock()


def uses_lock():
    return LOCK


@pytest.mark.parametrize("kind", UNIDENTIFIED)
def test_what_has_no_name_is_told(kind):
    value = UNIDENTIFIED[kind]()
    with pytest.raises(Unidentified, match=r"loss\[1\]"):
        fingerprint({"loss": [0, value]})
    if hasattr(value, "close"):
        value.close()


def test_attributes_and_globals_that_have_no_name_are_named():
    with pytest.raises(Unidentified, match=r"factor\.log"):
        fingerprint(Scale(factor=Plain(log=LOCK)))
    with pytest.raises(Unidentified, match="LOCK"):
        fingerprint(uses_lock)


def test_too_deep():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Unidentified, match="deep"):
        fingerprint(value)
    while value:
        value = value.pop()


def test_objects_that_share_much_take_no_longer():
    value = Plain()
    for _ in range(40):
        value = Plain(one=value, two=value, three=[value, value])
    assert fingerprint(value) == fingerprint(deepcopy(value))


def test_own_identity():
    class Own:
        def __init__(self, value):
            self.value, self.lock = value, threading.Lock()

        def __skvision_identity__(self):
            return self.value

    assert fingerprint(Own([1])) == fingerprint(Own([1])) != fingerprint(Own([2]))


def test_what_is_looked_up_in_functions(tmp_path, monkeypatch):
    """Modules that are imported where they are used count as others do."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "own_package").mkdir()
    sources = {
        "own_first": "def size():\n    return 1\n",
        "own_second": "from own_first import size\n",
        "own_third": "def size():\n    from own_first import size as own\n"
        "    return own()\n",
        "own_package/__init__": "",
        "own_package/inner": "from own_first import *\n",
    }
    bodies = [
        "import own_first; return own_first.size()",
        "import own_first as f; return getattr(f, NAME)()",
        "from own_first import size; return size()",
        "from own_second import size; return size()",
        "import own_third; return own_third.size()",
        "import own_package.inner; return own_package.inner.size()",
        "from own_package import inner; return inner.size()",
        "from own_package.inner import size; return size()",
    ]

    def found(body, size):
        for name, source in sources.items():
            source = source.replace("return 1", f"return {size}")
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name.removesuffix("/__init__").replace("/", "."), None)
        importlib.invalidate_caches()
        scope = {"NAME": "size", "__name__": "own_code"}
        exec(f"class Own:\n  def f(self):\n    def g(): {body}\n    return g", scope)
        before = fingerprint(scope["Own"])
        assert scope["Own"]().f()() == size
        assert fingerprint(scope["Own"]) == before
        return before

    for body in bodies:
        assert found(body, 1) == found(body, 1) != found(body, 2), body


def test_methods_that_were_put_into_classes_of_libraries(monkeypatch):
    before = fingerprint(nn.Linear), fingerprint(nn.ReLU())
    monkeypatch.setattr(nn.Module, "extra_repr", lambda self: "")
    assert fingerprint(nn.Linear) != before[0]
    assert fingerprint(nn.ReLU()) != before[1]


def test_functions_that_draw_from_common_generators():
    before = fingerprint(np.random.random), fingerprint(random.random)
    np.random.random(), random.random()
    assert (fingerprint(np.random.random), fingerprint(random.random)) == before


SOURCE = """
import math
import own_helpers

FACTOR = 2

def scaled(x):
    return x * FACTOR

class Base:
    def offset(self):
        return 0

class Network(Base):
    width = 3
    names = ["a"]

    def __init__(self):
        self.depth = 1

    def run(self, x):
        '''Say something.'''
        return own_helpers.first(scaled(x)) + self.offset()

    @property
    def size(self):
        return self.width

    @classmethod
    def made(cls):
        return cls()
"""
HELPERS = "def first(x):\n    return x + 1\n\ndef unused(x):\n    return x\n"


def written(source=SOURCE, helpers=HELPERS):
    """Return a class of the user's, as if its files had these contents."""
    own = types.ModuleType("own_helpers")
    exec(helpers, vars(own))
    module = types.ModuleType("own_module")
    with patch.dict(sys.modules, own_helpers=own):
        exec(source, vars(module))
    return module.Network


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * FACTOR", "FACTOR + x"),
        ("FACTOR = 2", "FACTOR = 3"),
        ("return 0", "return 1"),
        ("width = 3", "width = 4"),
        ('["a"]', '["b"]'),
        ("depth = 1", "depth = 2"),
        ("scaled(x)", "abs(x)"),
        ("return self.width", "return -self.width"),
        ("return cls()", "return None"),
        ("Network(Base)", "Network"),
        ("@classmethod", "@staticmethod"),
        ("x + 1", "x + 2"),
    ],
)
def test_edited_classes_have_other_names(old, new):
    assert old in SOURCE + HELPERS
    edited = written(SOURCE.replace(old, new), HELPERS.replace(old, new))
    assert fingerprint(edited) != fingerprint(written())
    assert fingerprint(edited()) != fingerprint(written()())


@pytest.mark.parametrize("new", ["# Comment\n", "\n\n", "UNUSED = 1\n"])
def test_what_has_no_part_in_a_class_does_not_count(new):
    assert fingerprint(written(new + SOURCE)) == fingerprint(written())
    helpers = HELPERS.replace("return x\n", "return -x\n")
    assert fingerprint(written(helpers=helpers)) == fingerprint(written())


def test_code_that_has_run_often_is_the_same():
    own = written()
    before = fingerprint(own)
    for _ in range(2000):
        own().run(1)
    assert fingerprint(own) == before


def test_scripts_may_be_named_like_modules_of_python():
    module = types.ModuleType("token")
    module.__file__ = str(Path.cwd() / "token.py")
    with patch.dict(sys.modules, token=module):
        library_version.cache_clear()
        assert library_version("token") is None
    library_version.cache_clear()
    assert library_version("token") is not None
    assert library_version("sklearn.base") == sklearn.__version__
    assert library_version(__name__) is None
