"""Networks trained side by side end as those that are trained alone."""

import random

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import load_digits_images
from skvision.exceptions import DivergedError
from skvision.model_selection._engines import Grouped, Vmapped
from skvision.model_selection._member import Member
from skvision.model_selection._stack import NotStackable, Stack, find_engine
from skvision.preprocessing import RandomShift, UniformNoise

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COMMON = {"dtype": "float64", "batch_size": 32, "max_epochs": 2, "random_state": 0}
SMALL = {"module__channels": (4, 8), "module__hidden": 16}
N = 200


class LeNetLike(nn.Module):
    """A small LeNet with dropout, whose forward has code of its own."""

    def __init__(self, image_shape, n_outputs, dropout=0.5):
        super().__init__()
        self.conv1 = nn.Conv2d(image_shape[0], 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.drop = nn.Dropout(dropout)
        self.linear = nn.LazyLinear(n_outputs)

    def forward(self, x):
        x = torch.tanh(nn.functional.avg_pool2d(self.conv1(x), 2))
        x = self.drop(torch.relu(self.conv2(x)))
        return self.linear(self.drop(torch.flatten(x, 1)))


class Normalised(nn.Module):
    """Has a layer and a parameter that only vmap takes."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        n_features = int(np.prod(image_shape))
        self.scale = nn.Parameter(torch.ones(n_features))
        self.norm = nn.LayerNorm(n_features)
        self.drop = nn.Dropout(0.2)
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.linear(self.drop(self.norm(x.flatten(1) * self.scale)))


class Confused(nn.Module):
    """Mixes channels where a network side by side with others must not."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(image_shape[0], 4, 3)
        self.linear = nn.Linear(4 * 36, n_outputs)

    def forward(self, x):
        return self.linear(torch.softmax(self.conv(x), dim=1).flatten(1))


class Noisy(nn.Module):
    """Draws random numbers that nobody knows of."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.linear = nn.Linear(int(np.prod(image_shape)), n_outputs)

    def forward(self, x):
        return self.linear(x.flatten(1) + torch.rand(len(x), 1, dtype=x.dtype))


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_images(return_X_y=True)
    return X[: N + 20], y[: N + 20]


def folds(n):
    """Return rows of two folds, whose last batches are of different sizes."""
    order = np.random.RandomState(0).permutation(n)
    return [np.sort(order[:N]), np.sort(order[: N - 13])]


def train(nets, X, y, weight=None):
    """Return estimators trained as one network, and what engine did it."""
    members = [
        Member(net, X[rows], y[rows], None if weight is None else weight[rows])
        for net, rows in nets
    ]
    engine = find_engine(members)
    left = members
    while left:
        stack = Stack(left, engine)
        assert stack.train_epoch() == {}
        left = [member for member in left if member.n_left > 0]
    return [member.finish() for member in members], engine


def weights(net):
    """Return weights; a bias that a normalisation takes away counts for nothing."""
    found, means, last = dict(net.module_.state_dict()), {}, None
    for name, layer in net.module_.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and last:
            found.pop(f"{last}.bias", None)
            mean = found.pop(f"{name}.running_mean")  # Of which the bias is a part.
            means[name] = mean
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            last = name
    return found, means


def check_equal(net, expected):
    for one, other, atol in zip(
        weights(net), weights(expected), (1e-9, 1e-6), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)
    assert len(net.history) == len(expected.history)
    for epoch, other in zip(net.history, expected.history, strict=True):
        assert epoch.keys() == other.keys()
        for key in epoch.keys() - {"dur", "batches"}:
            assert epoch[key] == pytest.approx(other[key], abs=1e-8), key
        losses, others = (
            [row["train_loss"] for row in one["batches"] if "train_loss" in row]
            for one in (epoch, other)
        )
        assert losses == pytest.approx(others, abs=1e-8)


def check(make, grid, X, y, weight=None, engine=Grouped):
    nets = [(clone(make).set_params(**p), rows) for p in grid for rows in folds(len(X))]
    expected = []
    for net, rows in nets:
        options = {} if weight is None else {"sample_weight": weight[rows]}
        expected.append(clone(net).fit(X[rows], y[rows], **options))
    found, used = train(nets, X, y, weight)
    assert type(used) is engine
    for net, other in zip(found, expected, strict=True):
        check_equal(net, other)
    return found, expected, [rows for _, rows in nets]


OPTIMIZERS = [
    {"optimizer": "sgd", "lr": 0.1},
    {"optimizer": "sgd", "optimizer__momentum": 0.9, "optimizer__nesterov": True},
    {"optimizer": "adam", "optimizer__betas": (0.8, 0.99), "lr": 0.01},
    {"optimizer": "adamw", "optimizer__weight_decay": 0.1},
    {"optimizer": "rmsprop", "random_state": 1},
]
ESTIMATORS = {
    "MLP": ImageClassifier("mlp", module__hidden=(16, 8), module__dropout=0.1),
    "ConvNet with batch normalisation": ImageClassifier("convnet", **SMALL),
    "LeNet with dropout": ImageClassifier(LeNetLike),
    "autoencoder": ImageAutoencoder(noise=[UniformNoise(0.1)]),
    "regressor": ImageRegressor("convnet", **SMALL),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_optimizers_in_one_stack(name, digits):
    X, y = digits
    make = clone(ESTIMATORS[name]).set_params(**COMMON)
    y = y.astype(float) if name == "regressor" else y
    found, expected, rows = check(make, OPTIMIZERS, X, y)
    if name == "autoencoder":
        return
    # The state of the optimizers goes on, too.
    for net, other, part in zip(found, expected, rows, strict=True):
        check_equal(
            net.partial_fit(X[part], y[part]), other.partial_fit(X[part], y[part])
        )


def test_what_else_differs_in_a_stack(digits):
    grid = [
        {"module__dropout": 0.3, "criterion__label_smoothing": 0.1},
        {"augment": [RandomShift(1), UniformNoise(0.1)]},
        {"class_weight": {label: 1 + label for label in range(10)}, "max_epochs": 1},
        {"epoch_scoring": ["accuracy"], "max_epochs": 3},
    ]
    weight = np.linspace(0.5, 1.5, len(digits[0]))
    check(ImageClassifier("convnet", **SMALL, **COMMON), grid, *digits, weight)


def test_early_stopping(digits):
    make = ImageClassifier(
        "convnet", **SMALL, **{**COMMON, "max_epochs": 8}, early_stopping=True
    )
    grid = [{"lr": 0.1}, {"lr": 1e-3}, {"lr": 0.05, "n_iter_no_change": 2}]
    make.set_params(n_iter_no_change=1, validation_fraction=0.2)
    found, _, _ = check(make, grid, *digits)
    assert len({len(net.history) for net in found}) > 1
    assert all(net.best_epoch_ <= len(net.history) for net in found)


def test_frozen_parts(digits):
    X, y = digits
    first = ImageClassifier("convnet", **SMALL, **COMMON).fit(X, y)
    make = clone(first).set_params(pretrained=first, freeze="encoder")
    found, _, _ = check(make, [{"lr": 0.1}, {"lr": 0.01}], X, y)
    for name, value in found[0].module_.encoder.state_dict().items():
        assert torch.equal(value, first.module_.encoder.state_dict()[name])


@pytest.mark.parametrize("module", [Normalised, Confused])
def test_networks_that_need_an_axis_of_their_own(module, digits):
    make = ImageClassifier(module, **COMMON)
    check(make, [{"lr": 0.1}, {"optimizer": "sgd"}], *digits, engine=Vmapped)


def test_networks_with_unknown_random_numbers(digits):
    members = [Member(ImageClassifier(Noisy, **COMMON), *digits) for _ in range(2)]
    with pytest.raises(NotStackable, match="Grouped: .*; Vmapped: "):
        find_engine(members)


def test_single_precision(digits):
    X, y = digits
    make = ImageClassifier("convnet", **SMALL, **{**COMMON, "dtype": "float32"})
    make.set_params(optimizer="sgd", lr=1.0, max_epochs=1, batch_size=-1)
    nets = [clone(make).set_params(random_state=i) for i in range(4)]
    before = [clone(net).set_params(lr=0.0).fit(X, y) for net in nets]
    expected = [clone(net).fit(X, y) for net in nets]
    found, _ = train([(net, np.arange(len(X))) for net in nets], X, y)
    for net, other, start in zip(found, expected, before, strict=True):
        for name, parameter in net.module_.named_parameters():
            initial = dict(start.module_.named_parameters())[name]
            gradient = initial - dict(other.module_.named_parameters())[name]
            torch.testing.assert_close(initial - parameter, gradient, rtol=0, atol=1e-5)


def test_diverged_members_leave_the_others_alone(digits):
    X, y = digits
    make = ImageClassifier("mlp", module__hidden=(8,), **COMMON)
    members = [
        Member(clone(make).set_params(optimizer="sgd", lr=lr), X, y)
        for lr in (0.1, 1e200, 0.01)
    ]
    stack = Stack(members, find_engine(members))
    diverged = stack.train_epoch()
    assert list(diverged) == [members[1]]
    assert isinstance(diverged[members[1]], DivergedError)
    assert "1e+200" in str(diverged[members[1]])
    left = [members[0], members[2]]
    Stack(left, stack.engine).train_epoch()
    for member, lr in zip(left, (0.1, 0.01), strict=True):
        alone = clone(make).set_params(optimizer="sgd", lr=lr).fit(X, y)
        check_equal(member.finish(), alone)


def test_global_generators_are_left_as_found(digits):
    def states():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state(),
        )

    before = states()
    make = ImageClassifier(LeNetLike, **COMMON, augment=[RandomShift(1)])
    train([(clone(make), np.arange(64)), (clone(make), np.arange(64))], *digits)
    after = states()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_a_checkpoint_of_a_stack_is_one_of_fit(digits, tmp_path):
    X, y = digits
    make = ImageClassifier("mlp", module__hidden=(8,), checkpoint=tmp_path, **COMMON)
    nets = [(clone(make).set_params(lr=lr), np.arange(len(X))) for lr in (0.1, 0.01)]
    found, _ = train(nets, X, y)
    assert len([*tmp_path.iterdir()]) == 2
    for net in found:
        again = clone(net).fit(X, y)  # Nothing is left to be trained.
        check_equal(again, net)
        assert again.history[-1]["dur"] == net.history[-1]["dur"]
