"""Which engine computes what networks do, and whether there is one."""

import pytest
import torch
from skvision_tests import Calling
from torch import nn
from torch.nn import functional as F

from skvision import ImageClassifier
from skvision.estimators._run import TrainingRun
from skvision.model_selection._engines import Grouped, Vmapped
from skvision.model_selection._proof import NotStackable, find_engine


def members(build, small_digits, n=2, **params):
    X, y = small_digits

    def module(image_shape, n_outputs):
        return build()

    options = {"random_state": 0, "dtype": "float64", "memory_format": "contiguous"}
    nets = [ImageClassifier(module, **options | params) for _ in range(n)]
    return [TrainingRun.of(net, X, y) for net in nets]


def on_images(forward, **layers):
    return lambda: Calling(
        forward, conv=nn.Conv2d(1, 4, 3), linear=nn.Linear(144, 10), **layers
    )


def plain(m, x):
    return m.linear(m.conv(x).relu().flatten(1))


def mixed(m, x):
    return m.linear(m.conv(x).softmax(1).flatten(1))


def fixed_view(m, x):
    return m.linear(m.conv(x).relu().view(-1, 144))


def scaled(m, x):
    return m.linear(m.norm(m.conv(x).flatten(1)))


def permuted(m, x):
    # Dropout where the channels are no longer on the second axis.
    x = m.drop(m.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return m.linear(x.flatten(1))


def only_in_training(m, x):
    x = m.conv(x).flatten(1)
    return m.linear(m.drop(x) if m.training else x)


@pytest.mark.parametrize(
    ("build", "engine"),
    [
        (on_images(plain), Grouped),
        (on_images(mixed), Vmapped),
        (on_images(fixed_view), Grouped),
        (on_images(scaled, norm=nn.LayerNorm(144)), Vmapped),
        (on_images(permuted, drop=nn.Dropout(0.3)), Vmapped),
        (on_images(only_in_training, drop=nn.Dropout(0.3)), Grouped),
    ],
)
def test_engine_that_is_found(build, engine, small_digits):
    assert type(find_engine(members(build, small_digits))) is engine


RANDOM = {
    "functional dropout": on_images(
        lambda m, x: m.linear(F.dropout(m.conv(x), 0.5, m.training).flatten(1))
    ),
    "noise": on_images(
        lambda m, x: m.linear(m.conv(x + torch.rand_like(x)).flatten(1))
    ),
    "RReLU": on_images(
        lambda m, x: m.linear(m.act(m.conv(x)).flatten(1)), act=nn.RReLU()
    ),
    "AlphaDropout": on_images(
        lambda m, x: m.linear(m.drop(m.conv(x)).flatten(1)), drop=nn.AlphaDropout(0.3)
    ),
}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_of_unknown_origin(name, n, small_digits):
    before = torch.get_rng_state()
    with pytest.raises(NotStackable, match="random numbers of torch"):
        find_engine(members(RANDOM[name], small_digits, n))
    assert torch.equal(torch.get_rng_state(), before)


def tied_by_memory():
    network = on_images(plain, other=nn.Conv2d(1, 4, 3))()
    network.other.weight = nn.Parameter(network.conv.weight.data[2:])
    return network


def test_weights_in_the_same_memory(small_digits):
    found = members(tied_by_memory, small_digits, dtype="float32")
    with pytest.raises(NotStackable, match="conv.weight and other.weight lie in"):
        find_engine(found)


class LearnedScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs, target):
        return F.cross_entropy(outputs * self.scale, target)


def test_criterion_that_is_trained(small_digits):
    found = members(on_images(plain), small_digits, criterion=LearnedScale)
    with pytest.raises(NotStackable, match="criterion has weights"):
        find_engine(found)
