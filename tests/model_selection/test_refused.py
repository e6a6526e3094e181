"""Networks that do more than compute are trained one by one, and why is said."""

import random
import warnings

import numpy as np
import pytest
import torch
from skvision_tests import Calling
from torch import nn
from torch.nn import functional as F

from skvision import ImageClassifier
from skvision.estimators._run import TrainingRun
from skvision.model_selection._engines import Grouped, Vmapped
from skvision.model_selection._proof import NotStackable, find_engine


def engine_for(build, small_digits, n=2, **params):
    X, y = small_digits
    options = {"random_state": 0, "dtype": "float64"} | params
    nets = [ImageClassifier(lambda image_shape, n_outputs: build(), **options)] * n
    return find_engine([TrainingRun.of(net.__sklearn_clone__(), X, y) for net in nets])


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.out = nn.Linear(144, 10)
        self.prepare()

    def prepare(self):
        pass

    def features(self, x):
        return torch.relu(self.conv(x))

    def forward(self, x):
        return self.out(self.features(x).flatten(1))


# ----------------------------------------------------- state, weights, random numbers


class Counter(Small):
    def prepare(self):
        self.n_steps = 0

    def features(self, x):
        self.n_steps += self.training
        return super().features(x) * (1 + 0.1 * self.n_steps)


class CountsPredictions(Small):
    def prepare(self):
        self.n_predicted = 0

    def features(self, x):
        self.n_predicted += not self.training
        return super().features(x)


class Lists(Small):
    def prepare(self):
        self.seen = [[]]

    def features(self, x):
        self.seen[0].append(len(x))
        return super().features(x)


class RunningMean(Small):
    def prepare(self):
        self.mean = torch.zeros(())

    def features(self, x):
        x = super().features(x)
        self.mean = 0.9 * self.mean + 0.1 * x.mean().detach()
        return x - self.mean


class ReplacedBuffer(Small):
    def prepare(self):
        self.register_buffer("mean", torch.zeros(()))

    def features(self, x):
        x = super().features(x)
        self.mean = 0.9 * self.mean + 0.1 * x.mean().detach()
        return x - self.mean


class LateBuffer(Small):
    def features(self, x):
        if self.training and not hasattr(self, "late"):
            self.register_buffer("late", torch.zeros(()))
        return super().features(x)


class OwnGenerator(Small):
    def prepare(self):
        self.rng = np.random.default_rng(0)

    def features(self, x):
        return super().features(x) * self.rng.random()


class OwnTorchGenerator(Small):
    def prepare(self):
        self.rng = torch.Generator().manual_seed(0)

    def features(self, x):
        return super().features(x) * torch.rand((), generator=self.rng).to(x)


class OpenFile(Small):
    def prepare(self):
        self.file = Unpicklable()


class Unpicklable:
    def __reduce_ex__(self, protocol):
        raise TypeError("it is open")

    def __deepcopy__(self, memo):
        return self


class OfTheClass(Small):
    n_steps = 0

    def features(self, x):
        type(self).n_steps += 1
        return super().features(x) * (1 + 0.1 * self.n_steps)


STEPS = {"n": 0}


def counted():
    STEPS["n"] += 1
    return 1 + (STEPS["n"] % 100 == 0)


class GlobalVariable(Small):
    """Which makes a difference each hundredth time."""

    def features(self, x):
        return super().features(x) * counted()


def around():
    steps = []

    class OfTheFunctionAround(Small):
        def features(self, x):
            steps.append(len(x))
            return super().features(x)

    return OfTheFunctionAround()


class Clamped(Small):
    def features(self, x):
        with torch.no_grad():
            self.conv.weight.clamp_(-0.1, 0.1)
        return super().features(x)


class ClampedByData(Small):
    def features(self, x):
        self.conv.weight.data.clamp_(-0.1, 0.1)
        return super().features(x)


class OtherWeight(Small):
    def features(self, x):
        self.conv.weight = nn.Parameter(self.conv.weight.detach() * 0.9)
        return super().features(x)


class RenormedEmbedding(Small):
    def prepare(self):
        self.table = nn.Embedding(3, 4, max_norm=1.0)

    def features(self, x):
        row = self.table(torch.zeros(len(x), dtype=torch.long))
        return super().features(x) + row[:, :, None, None]


class RareDropout(Small):
    def features(self, x):
        x = super().features(x)
        return x * 0.5 if self.training and torch.rand(()) < 0.25 else x


class NumpyNoise(Small):
    def features(self, x):
        return super().features(x) * np.random.uniform(0.9, 1.1)


class PythonNoise(Small):
    def features(self, x):
        return super().features(x) * random.uniform(0.9, 1.1)


class StochasticDepth(Small):
    def features(self, x):
        from torchvision.ops import stochastic_depth

        return stochastic_depth(super().features(x), 0.5, "row", self.training)


class OwnDropout(nn.Dropout):
    """As a subclass of torch's it may go by the numbers that it gets."""

    def forward(self, x):
        return F.dropout(x, 0.5 if x.mean() > 100 else self.p, self.training)


class DropoutByNumbers(Small):
    def prepare(self):
        self.drop = OwnDropout(0.1)

    def features(self, x):
        return self.drop(super().features(x))


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient / gradient.norm()


class OwnBackward(Small):
    def features(self, x):
        return Halved.apply(super().features(x))


class HookInForward(Small):
    def features(self, x):
        x = super().features(x)
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient / gradient.norm())
        return x


class PenaltyInForward(Small):
    def features(self, x):
        x = super().features(x)
        if x.requires_grad:
            x = x + torch.autograd.grad(x.sum(), self.conv.weight)[0].mean()
        return x


IMPURE = {
    Counter: "attribute n_steps of Counter changes",
    CountsPredictions: "attribute n_predicted of CountsPredictions changes",
    Lists: "attribute seen of Lists changes",
    RunningMean: "attribute mean of RunningMean changes",
    ReplacedBuffer: "in the place of the buffer mean",
    LateBuffer: "other buffers",
    OwnGenerator: "attribute rng of OwnGenerator changes",
    OwnTorchGenerator: "attribute rng of OwnTorchGenerator changes",
    OpenFile: "attribute file of OpenFile may change unseen",
    OfTheClass: "class OfTheClass or its code refers to",
    GlobalVariable: "class GlobalVariable or its code refers to",
    around: "class OfTheFunctionAround or its code refers to",
    Clamped: "changes the weight conv.weight",
    ClampedByData: "changes the weight conv.weight|data",
    OtherWeight: "changes the weight conv.weight",
    RenormedEmbedding: "changes the weight table.weight",
    RareDropout: "random numbers of torch",
    NumpyNoise: "random numbers of numpy.random",
    PythonNoise: "random numbers of Python's random",
    StochasticDepth: "random numbers of torch",
    DropoutByNumbers: "random numbers of torch",
    OwnBackward: "autograd function",
    HookInForward: "register_hook",
    PenaltyInForward: "grad is called",
}


@pytest.mark.parametrize("build", IMPURE, ids=lambda build: build.__name__)
def test_what_else_a_network_does(build, small_digits):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with pytest.raises(NotStackable, match=IMPURE[build]):
        engine_for(build, small_digits)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


# ----------------------------------------------------------- decisions by numbers


class ByTheMean(Small):
    def features(self, x):
        x = super().features(x)
        return 2 * x if x.mean() > 0.35 else x


class ByTheLargest(Small):
    def features(self, x):
        x = super().features(x)
        return x / x.max().item()


class ByWeights(Small):
    def features(self, x):
        x = super().features(x)
        return 2 * x if self.conv.weight.detach().norm() > 1 else x


class ByArray(Small):
    def features(self, x):
        x = super().features(x)
        return x * float(x.detach().numpy().mean())


class ByWhatIsFound(Small):
    def features(self, x):
        x = super().features(x)
        return x + x[x > 0].mean()


@pytest.mark.parametrize(
    "build", [ByTheMean, ByTheLargest, ByWeights, ByArray, ByWhatIsFound]
)
def test_decisions_by_numbers(build, small_digits):
    with pytest.raises(NotStackable, match="Grouped: .+; Vmapped: .+"):
        engine_for(build, small_digits)


# ------------------------------------------------------------------------- hooks


def hooked(register):
    def build():
        network = Small()
        register(network)
        return network

    return build


@pytest.mark.parametrize(
    "register",
    [
        lambda net: net.out.weight.register_hook(lambda grad: grad / 2),
        lambda net: net.out.weight.register_post_accumulate_grad_hook(
            lambda p: p.grad.mul_(2)
        ),
        lambda net: net.conv.register_full_backward_hook(lambda *args: None),
        lambda net: net.conv.register_full_backward_pre_hook(lambda *args: None),
        lambda net: net.conv.register_forward_hook(lambda m, args, out: out * 2),
        lambda net: net.conv.register_forward_pre_hook(lambda m, args: None),
    ],
)
def test_hooks(register, small_digits):
    with pytest.raises(NotStackable, match="hook"):
        engine_for(hooked(register), small_digits)


def test_hooks_for_all_modules(small_digits):
    handle = nn.modules.module.register_module_forward_hook(lambda m, args, out: None)
    try:
        with pytest.raises(NotStackable, match="hooks are registered for all"):
            engine_for(Small, small_digits)
    finally:
        handle.remove()


# ------------------------------------------------------------------- what is stacked


class ZeroNorm(Small):
    """A branch that is hidden as long as a normalisation's weights are zero."""

    def prepare(self):
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), self.norm())
        nn.init.zeros_(self.branch[1].weight)

    def norm(self):
        return nn.BatchNorm2d(4)

    def features(self, x):
        x = super().features(x)
        return x + self.branch(10 * F.normalize(x, dim=1))


class ZeroGroupNorm(ZeroNorm):
    def norm(self):
        return nn.GroupNorm(2, 4)


class ShapeOfChannels(Small):
    """Decides by how many channels there are, of all networks or of one."""

    def features(self, x):
        x = super().features(x)
        return 2 * x / x.shape[1] if x.shape[1] > 4 else x


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyConv2d(3, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)
        )

    def forward(self, x):
        return self.layers(x)


class InPlace(Small):
    def features(self, x):
        x = self.conv(x).add_(1).relu_()
        y = x.mul(2).clamp_(0.1, 3)
        y += x
        return y


class ViewsInPlace(Small):
    def features(self, x):
        x = self.conv(x) * 1
        x.view(len(x), -1).clamp_(0, 1)
        return x


def calling(forward, **layers):
    return lambda: Calling(
        forward, conv=nn.Conv2d(1, 4, 3), out=nn.Linear(144, 10), **layers
    )


def normed(m, x):
    return m.out(m.norm(torch.relu(m.conv(x))).flatten(1))


def parametrized(kind):
    return lambda: nn.Sequential(
        kind(nn.Conv2d(1, 4, 3)), nn.ReLU(), nn.Flatten(), kind(nn.Linear(144, 10))
    )


weight_norm = nn.utils.parametrizations.weight_norm
STACKED = {
    "zero norm": (ZeroNorm, Vmapped),
    "zero group norm": (ZeroGroupNorm, Vmapped),
    "numbers of channels": (ShapeOfChannels, Grouped),
    "LocalResponseNorm": (calling(normed, norm=nn.LocalResponseNorm(3)), Grouped),
    "lazy": (Lazy, Grouped),
    "in place": (InPlace, Grouped),
    "views in place": (ViewsInPlace, Vmapped),
    "weight norm": (parametrized(weight_norm), Vmapped),
    "cumulative norm": (
        calling(normed, norm=nn.BatchNorm2d(4, momentum=None)),
        Grouped,
    ),
    "plain norm": (calling(normed, norm=nn.BatchNorm2d(4)), Grouped),
    "instance norm": (calling(normed, norm=nn.InstanceNorm2d(4, affine=True)), Grouped),
}


@pytest.mark.parametrize("name", STACKED)
def test_unusual_networks_that_are_stacked(name, small_digits):
    build, kind = STACKED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of lazy layers.
        assert type(engine_for(build, small_digits, 3)) is kind
