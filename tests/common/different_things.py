"""Objects of any kind, each of which differs from the others in something."""

import collections
import dataclasses
import datetime
import enum
import functools
import math
import random
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import polars as pl
import torch
from skorch.callbacks import EarlyStopping, EpochScoring, LRScheduler
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torchvision.transforms import InterpolationMode, v2

from skvision._identity import fingerprint
from skvision.preprocessing import RandomShift

WIDTH = 3


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("one", "two")

    def __init__(self, one, two=None):
        self.one = one
        if two is not None:
            self.two = two


@dataclasses.dataclass
class Point:
    x: float
    y: list = dataclasses.field(default_factory=list)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


Pair = collections.namedtuple("Pair", "a b")


class Scale(nn.Module):
    def __init__(self, factor=1.0, hidden=0):
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("hidden", torch.tensor(float(hidden)), persistent=False)

    def forward(self, x):
        return x * self.weight * self.factor


class Loss:
    def __init__(self, delta):
        self.delta = delta

    def measure(self, a, b):
        return (a - b) * self.delta

    def other(self, a, b):
        return (a - b) * self.delta


def in_closure(value):
    return lambda x: x * value


def with_default(value):
    def function(x, factor=value):
        return x * factor

    return function


def with_keyword(value):
    def function(x, *, factor=value):
        return x * factor

    return function


def with_attribute(value):
    function = in_closure(1)
    function.factor = value
    return function


def inner(x):
    return x + 1


def uses_inner(x):
    return inner(x)


def uses_width(x):
    return x * WIDTH


@functools.lru_cache
def remembered(x):
    return x + 1


def tied(same):
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    for layer in (one, two):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    if same:
        two.weight = one.weight
    return nn.Sequential(one, two)


def filled(network, value=1.0):
    for tensor in network.state_dict().values():
        tensor.fill_(value)
    return network


def hooked(hook):
    network = filled(nn.Linear(2, 2))
    # torch numbers hooks of all networks in a row.
    nn.ReLU().register_forward_hook(print)
    network.register_forward_hook(hook)
    return network


def with_gradients(factor, how="register_hook"):
    network = filled(nn.Linear(2, 2))
    getattr(network.weight, how)(in_closure(factor))
    return network


def with_method(value):
    network = filled(nn.Linear(2, 2))
    network.forward = in_closure(value)
    return network


def frozen(network, value):
    network.requires_grad_(value)
    return network


def trained(network, value):
    return network.train(value)


def in_cycle(value):
    one = [value]
    one.append({"me": one})
    return one


def parent(value):
    whole = Plain(value=value)
    whole.parts = [Plain(parent=whole), Plain(parent=whole)]
    return whole


def shared(twice):
    part = [1]
    return [part, part if twice else [1]]


def drawn(generator):
    generator.random(3) if hasattr(generator, "random") else generator.uniform()
    return generator


def torch_generator(seed, n=0):
    generator = torch.Generator().manual_seed(seed)
    torch.rand(n, generator=generator)
    return generator


def frame(**columns):
    return pd.DataFrame({"a": [1, 2], "b": ["x", "y"]} | columns)


#: Functions without arguments; all that they return differ in something.
DIFFERENT = {
    "numbers": [lambda x=x: x for x in (1, 1.0, True, 1 + 0j, "1", b"1", None, 2, -1)],
    "NumPy": [
        lambda k=k: k(1) for k in (np.int64, np.int32, np.float32, np.float64, np.bool_)
    ],
    "zeros": [lambda: 0.0, lambda: -0.0, lambda: math.nan, lambda: math.inf],
    "texts": [lambda: "a", lambda: "a ", lambda: "\ud800", lambda: b"a", lambda: ["a"]],
    "containers": [
        *(lambda k=k: k([1, 2]) for k in (list, tuple, set, frozenset)),
        lambda: {1: 2},
        lambda: {1, 2, 3},
        lambda: [2, 1],
        lambda: [[1], 2],
        lambda: [1, [2]],
        lambda: {"1": 2},
        lambda: {1: 2.0},
        lambda: collections.deque([1, 2]),
        lambda: collections.deque([1, 2], maxlen=2),
        lambda: collections.Counter([1, 2]),
        lambda: collections.defaultdict(int, {1: 2}),
        lambda: collections.defaultdict(list, {1: 2}),
        lambda: Pair(1, 2),
        lambda: torch.Size([1, 2]),
        lambda: range(1, 3),
        lambda: slice(1, 2),
        lambda: bytearray([1, 2]),
    ],
    "order": [
        lambda: collections.OrderedDict(a=1, b=2),
        lambda: collections.OrderedDict(b=2, a=1),
        lambda: {"a": 1, "b": 2},
    ],
    "references": [lambda: shared(True), lambda: shared(False)],
    "cycles": [
        *(lambda v=v: in_cycle(v) for v in (1, 2)),
        *(lambda v=v: parent(v) for v in (1, 2)),
    ],
    "instances": [
        lambda: Plain(),
        lambda: Plain(a=1),
        lambda: Plain(a=1, b=None),
        lambda: Plain(a=Plain(a=1)),
        lambda: Slotted(1),
        lambda: Slotted(1, 2),
        lambda: Slotted(2),
        lambda: Point(1),
        lambda: Point(1, [0]),
        lambda: Loss(1),
        lambda: datetime.date(2020, 1, 1),
        lambda: datetime.timedelta(1),
        lambda: Path("a"),
        lambda: PurePosixPath("a"),
        lambda: Path("b"),
    ],
    "enumerations": [
        lambda: Colour.RED,
        lambda: Colour.GREEN,
        lambda: Colour,
        lambda: InterpolationMode.BILINEAR,
        lambda: InterpolationMode.NEAREST,
    ],
    "classes": [lambda k=k: k for k in (Plain, Slotted, Scale, nn.Linear, nn.Conv2d)],
    "functions": [
        *(lambda v=v: in_closure(v) for v in (1, 2, 1.0)),
        *(lambda v=v: with_default(v) for v in (1, 2)),
        *(lambda v=v: with_keyword(v) for v in (1, 2)),
        *(lambda v=v: with_attribute(v) for v in (1, 2)),
        lambda: lambda x: np.sin(x),
        lambda: lambda x: np.cos(x),
        lambda: lambda x: x in (1, 2),
        lambda: lambda x: x in (1, 2.0),
        lambda: lambda x: [i for i in x if i > 1],
        lambda: lambda x: [i for i in x if i > 2],
        lambda: inner,
        lambda: uses_inner,
        lambda: uses_width,
        lambda: remembered,
        lambda: functools.partial(inner, 1),
        lambda: functools.partial(inner, 2),
        lambda: functools.partial(inner, x=1),
        lambda: Loss(1).measure,
        lambda: Loss(2).measure,
        lambda: Loss(1).other,
        lambda: Loss.measure,
        lambda: [1].append,
        lambda: [2].append,
        lambda: [1].pop,
        lambda: len,
        lambda: np.random.normal,
        lambda: np.random.random,
        lambda: random.random,
        lambda: np.add,
        lambda: np.subtract,
        lambda: torch.relu,
        lambda: nn.functional.relu,
        lambda: str.upper,
        lambda: str.lower,
    ],
    "losses": [
        lambda: nn.CrossEntropyLoss(),
        lambda: nn.CrossEntropyLoss(label_smoothing=0.6),
        lambda: nn.CrossEntropyLoss(weight=torch.ones(3)),
        lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1, 2])),
        lambda: nn.CrossEntropyLoss(reduction="sum"),
        lambda: nn.CrossEntropyLoss(ignore_index=0),
        lambda: nn.HuberLoss(),
        lambda: nn.HuberLoss(delta=2),
        lambda: nn.SmoothL1Loss(),
        lambda: nn.SmoothL1Loss(beta=2),
        lambda: nn.MSELoss(),
    ],
    "networks": [
        lambda: Scale(),
        lambda: Scale(2.0),
        lambda: Scale(hidden=1),
        lambda: Scale().double(),
        lambda: filled(Scale(), 2),
        lambda: frozen(Scale(), False),
        lambda: trained(Scale(), False),
        lambda: tied(True),
        lambda: tied(False),
        lambda: hooked(inner),
        lambda: hooked(uses_inner),
        lambda: filled(nn.Linear(2, 2)),
        *(lambda v=v: with_method(v) for v in (1, 2)),
        lambda: nn.Sequential(nn.ReLU(), nn.Flatten()),
        lambda: nn.Sequential(nn.Flatten(), nn.ReLU()),
        lambda: nn.Sequential(*[nn.ReLU()] * 2),
        lambda: nn.Sequential(nn.ReLU(), nn.ReLU()),
        lambda: nn.LazyLinear(3),
        lambda: nn.LazyLinear(4),
    ],
    # torch's copies come without.
    "gradients": [
        lambda: filled(nn.Linear(2, 2)),
        *(lambda v=v: with_gradients(v) for v in (1, 2)),
        lambda: with_gradients(1, "register_post_accumulate_grad_hook"),
    ],
    # The classes of their copies know the network that was copied.
    "parametrized": [
        *(lambda v=v: filled(weight_norm(nn.Linear(2, 2)), v) for v in (1, 2)),
        lambda: filled(spectral_norm(nn.Linear(2, 2))),
    ],
    "callbacks": [
        lambda: EarlyStopping(patience=1),
        lambda: EarlyStopping(patience=2),
        lambda: EpochScoring(in_closure(1)),
        lambda: EpochScoring(in_closure(2)),
        lambda: LRScheduler("StepLR", step_size=1),
        lambda: LRScheduler("StepLR", step_size=2),
        lambda: RandomShift(1),
        lambda: RandomShift(2),
        lambda: v2.RandomErasing(0.1),
        lambda: v2.RandomErasing(0.2),
        lambda: v2.Lambda(in_closure(1)),
        lambda: v2.Lambda(in_closure(2)),
    ],
    "arrays": [
        lambda: np.arange(6),
        lambda: np.arange(6).reshape(2, 3),
        lambda: np.arange(6.0),
        lambda: np.arange(6, dtype=np.int32),
        lambda: np.arange(1, 7),
        lambda: np.ma.masked_equal(np.arange(6), 2),
        lambda: np.array(["a", "b"]),
        lambda: np.array(["a", "b"], dtype=object),
        lambda: np.array(["a", 1], dtype=object),
        lambda: np.array([], dtype=np.int64),
        lambda: np.zeros((0, 3), dtype=np.int64),
        lambda: np.array(1),
        lambda: np.int64(1),
        lambda: np.array([(1, 2.0)], dtype="i4,f8"),
        lambda: np.array([(1, 3.0)], dtype="i4,f8"),
        lambda: np.array(["2020-01-01"], dtype="datetime64[D]"),
        lambda: np.arange(3).astype(np.longdouble),
        lambda: np.dtype("f4"),
        lambda: np.dtype("f8"),
    ],
    "tensors": [
        lambda: torch.arange(6),
        lambda: torch.arange(6).reshape(2, 3),
        lambda: torch.arange(6).float(),
        lambda: torch.arange(6).to(torch.bfloat16),
        lambda: torch.arange(6).half(),
        lambda: torch.arange(6).float().requires_grad_(),
        lambda: nn.Parameter(torch.arange(6).float()),
        lambda: torch.arange(6).float().to_sparse(),
        lambda: torch.arange(6).float().to("meta"),
        lambda: torch.arange(6).to(torch.complex64),
        lambda: torch.arange(6).to(torch.complex64).mul_(1j).conj(),
        lambda: torch.tensor(True),
        lambda: torch.tensor(1),
        lambda: torch.empty(0),
        lambda: np.arange(6),
        lambda: torch.float32,
        lambda: torch.device("cpu"),
        lambda: torch.device("cuda"),
    ],
    "generators": [
        *(lambda s=s: np.random.RandomState(s) for s in (0, 1)),
        lambda: drawn(np.random.RandomState(0)),
        *(lambda s=s: np.random.default_rng(s) for s in (0, 1)),
        lambda: drawn(np.random.default_rng(0)),
        *(lambda s=s: torch_generator(s) for s in (0, 1)),
        lambda: torch_generator(0, 1),
        *(lambda s=s: random.Random(s) for s in (0, 1)),
        *(lambda s=s: random.Random(s).random for s in (0, 1)),
        *(lambda s=s: np.random.RandomState(s).normal for s in (0, 1)),
        *(lambda s=s: np.random.default_rng(s).normal for s in (0, 1)),
    ],
    "tables": [
        lambda: frame(),
        lambda: frame(a=[1, 3]),
        lambda: frame(a=[1.0, 2.0]),
        lambda: frame(b=pd.Categorical(["x", "y"])),
        lambda: frame(b=["x", None]),
        lambda: frame()[["b", "a"]],
        lambda: frame().set_index("b"),
        lambda: frame()["a"],
        lambda: frame()["b"],
        lambda: frame().columns,
        lambda: pl.DataFrame({"a": [1, 2]}),
        lambda: pl.DataFrame({"a": [1, 3]}),
        lambda: pl.DataFrame({"b": [1, 2]}),
        lambda: pl.Series("a", [1, 2]),
        lambda: pl.Series("a", [1, 2], dtype=pl.Int8),
    ],
}


NO_COPIES = {"functions", "classes", "parametrized", "gradients"}


def names():
    """Return the name of each."""
    return {
        f"{kind} {i}": fingerprint(make())
        for kind, makers in DIFFERENT.items()
        for i, make in enumerate(makers)
    }
