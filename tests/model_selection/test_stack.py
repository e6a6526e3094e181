"""A fit in a stack is the fit alone, whatever is asked of it."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.estimators._run import TrainingRun
from skvision.exceptions import DivergedError
from skvision.model_selection._proof import find_engine
from skvision.model_selection._stack import Stack
from skvision.preprocessing import RandomShift, UniformNoise

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COMMON = {
    "dtype": "float64",
    "lr": 0.01,
    "max_epochs": 2,
    "batch_size": 16,
    "random_state": 0,
}
#: Rows of folds of different sizes: batches of 16, 16, 16 and 17 or 9 rows.
FOLDS = [np.arange(65), np.arange(10, 67)]


def mlp(cls=ImageClassifier, **params):
    return cls("mlp", **{"module__hidden": (8,)} | COMMON | params)


def convnet(cls=ImageClassifier, **params):
    small = {"module__channels": (3, 4), "module__hidden": (6,)}
    return cls("convnet", **small | COMMON | params)


def lenet(**params):
    small = {"module__hidden": (9,), "module__dropout": 0.3}
    return ImageClassifier("lenet", **small | COMMON | params)


def autoencoder(**params):
    small = {"module__hidden": (8, 3), "noise": [UniformNoise(-0.1, 0.1)]}
    return ImageAutoencoder("dense_autoencoder", **small | COMMON | params)


@pytest.fixture
def check(small_digits, train_together, assert_same_fit):
    """Function that trains candidates on folds together and alone.

    Candidates are dicts of parameters; weights, other images and other targets of all
    rows may be given.
    """

    def run(net, candidates, weight=None, X=None, y=None, folds=FOLDS, atol=1e-9):
        digits, labels = small_digits
        X, y = digits if X is None else X, labels if y is None else y
        rest = () if weight is None else (weight,)
        jobs = [(candidate, rows) for candidate in candidates for rows in folds]
        nets = [clone(net).set_params(**candidate) for candidate, _ in jobs]
        data = [tuple(take(part, rows) for part in (X, y, *rest)) for _, rows in jobs]
        found = train_together([clone(one) for one in nets], data)
        expected = []
        for one, (X_one, y_one, *rest) in zip(nets, data, strict=True):
            given = {"sample_weight": rest[0]} if rest else {}
            expected.append(one.fit(X_one, y_one, **given))
        for one, other in zip(found, expected, strict=True):
            assert_same_fit(one, other, atol)
        return found, expected, data

    return run


def take(part, rows):
    return part.iloc[rows] if hasattr(part, "iloc") else part[rows]


OPTIMIZERS = [
    {"optimizer": "sgd", "lr": 0.1},
    {"optimizer": "sgd", "optimizer__momentum": 0.9, "optimizer__nesterov": True},
    {"optimizer": "sgd", "optimizer__momentum": 0.5, "optimizer__dampening": 0.1},
    {"optimizer": "adam", "optimizer__betas": (0.8, 0.99)},
    {"optimizer": "adamw", "optimizer__weight_decay": 0.1, "max_epochs": 1},
    {"optimizer": "rmsprop", "lr": 1e-3, "random_state": 1},
]


@pytest.mark.parametrize("make", [mlp, convnet, autoencoder])
def test_optimizers(make, check):
    if make is mlp:
        folds = [*FOLDS, np.arange(20, 84)]
        found, expected, data = check(make(), OPTIMIZERS, folds=folds)
    else:
        found, expected, data = check(make(), OPTIMIZERS[1:4], folds=FOLDS[:1])
    # What optimizers remember is theirs again.
    for one, other, (X, y) in zip(found, expected, data, strict=True):
        one.partial_fit(X, y), other.partial_fit(X, y)
        assert one.score(X, y) == pytest.approx(other.score(X, y), abs=1e-6)
        losses, others = (net.history[:, "train_loss"] for net in (one, other))
        assert losses == pytest.approx(others, abs=1e-8)


def test_other_elementwise_optimizers(check):
    kinds = ["NAdam", "RAdam", "Adagrad", "Adadelta", "Adamax"]
    candidates = [
        {"optimizer": getattr(torch.optim, kind), "max_epochs": n}
        for kind, n in zip(kinds, [1, 2, 3, 2, 1], strict=True)
    ]
    check(mlp(), candidates)


def test_groups_of_parameters(check):
    groups = [("layers*", {"lr": 0.1, "weight_decay": 0.01})]
    candidates = [{"optimizer__param_groups": groups}, {"lr": 0.001}, {}]
    check(mlp(optimizer="adamw"), candidates)


def test_lenet_with_dropout_on_large_images(check, small_digits):
    X = np.kron(small_digits[0], np.ones((1, 4, 4), dtype=np.uint8))
    candidates = [
        {"optimizer": "sgd", "lr": 0.1},
        {"module__dropout": 0.7},
        {"random_state": 5},
    ]
    folds = [np.arange(40), np.arange(30, 65)]
    check(lenet(), candidates, X=X, folds=folds)


def test_regressor(check, small_digits):
    y = np.stack([small_digits[1], small_digits[1] ** 2], 1) / 10
    candidates = [{}, {"lr": 0.1}, {"criterion__reduction": "sum", "lr": 1e-3}]
    check(convnet(ImageRegressor), candidates, y=y)
    for criterion in ["l1", nn.HuberLoss]:
        net = mlp(ImageRegressor, criterion=criterion)
        check(net, [{}, {"lr": 0.1}], y=y[:, 0], folds=FOLDS[:1])


@pytest.mark.parametrize(
    "params",
    [
        {"criterion__ignore_index": 3},
        {"criterion": nn.CrossEntropyLoss(weight=torch.arange(1.0, 11))},
        {"criterion__reduction": "sum", "lr": 1e-3},
        {"criterion__label_smoothing": 0.3, "class_weight": "balanced"},
        {"criterion": nn.MultiMarginLoss},
    ],
    ids=["ignore", "weight", "sum", "smooth and balanced", "other"],
)
def test_criteria(params, check):
    check(mlp(**params), [{}, {"lr": 0.1}])


def test_label_smoothing_in_one_stack(check):
    smoothing = [{"criterion__label_smoothing": value} for value in (0.0, 0.1, 0.5)]
    check(mlp(), smoothing)


def test_weights_of_rows_and_classes(check):
    weight = np.random.RandomState(0).rand(120)
    weight[::7] = 0  # These rows take no part.
    candidates = [
        {"class_weight": "balanced"},
        {"class_weight": {label: 1 + label for label in range(10)}},
        {},
    ]
    check(convnet(), candidates, weight)
    check(mlp(), candidates[:2])


def test_augmentation(check):
    candidates = [
        {"augment": None},
        {"augment": [RandomShift(1)]},
        {"augment": [RandomShift(2), UniformNoise(0, 0.2)]},
        {"augment": shuffled_rows},
    ]
    check(convnet(), candidates)
    noises = [{"noise": None}, {"noise": [UniformNoise(-0.5, 0.5)]}]
    check(autoencoder(reduction="sum", lr=1e-4), noises)


def test_what_else_differs_in_one_stack(check):
    weight = np.linspace(0.5, 1.5, 120)
    candidates = [
        {"module__dropout": 0.3, "criterion__label_smoothing": 0.1},
        {"augment": [RandomShift(1), UniformNoise(0, 0.1)]},
        {"class_weight": {label: 1 + label for label in range(10)}, "max_epochs": 1},
        {"epoch_scoring": ["accuracy"], "max_epochs": 3},
        {"optimizer": "rmsprop", "random_state": 1},
    ]
    check(convnet(), candidates, weight)


def shuffled_rows(images):
    """Draw from generators that a stack knows nothing of."""
    shift = random.randrange(3) + np.random.randint(3)
    return images.roll(shift, 2)


def test_early_stopping(check):
    net = convnet(early_stopping=True, n_iter_no_change=1, validation_fraction=0.3)
    net.set_params(max_epochs=6, epoch_scoring="accuracy")
    candidates = [{"lr": 0.2}, {"lr": 0.1}, {"n_iter_no_change": 3}, {"max_epochs": 2}]
    found, expected, _ = check(net, candidates)
    assert len({len(one.history) for one in found}) > 2
    assert [one.best_epoch_ for one in found] == [one.best_epoch_ for one in expected]


def test_callbacks_that_leave_the_network_alone(check):
    stopper = EarlyStopping(monitor="train_loss", patience=1, threshold=1.0)
    net = mlp(callbacks=[("stop", stopper)], train_split=ValidSplit(3), max_epochs=9)
    found, _, _ = check(net, [{}, {"lr": 0.3}])
    assert all(len(one.history) < 9 for one in found)
    assert stopper.patience == 1


def test_scores_of_each_epoch(check, small_digits):
    names = np.array([f"digit {label}" for label in small_digits[1]])
    net = convnet(train_split=ValidSplit(4), epoch_scoring=["accuracy", "f1_macro"])
    found, _, _ = check(net, [{}, {"lr": 0.1}], y=names)
    assert {"train_accuracy", "valid_f1_macro"} <= found[0].history[0].keys()


def test_frozen_and_pretrained_parts(check, small_digits):
    first = convnet(module__conv_dropout=0.4).fit(*small_digits)
    net = clone(first).set_params(pretrained=first)
    check(net, [{"lr": 0.1}, {"random_state": 1}], folds=FOLDS[:1])
    # Dropout in the part that does not train draws nothing.
    net.set_params(freeze="encoder")
    found, _, _ = check(net, [{"lr": 0.1}, {}])
    for name, value in found[0].module_.encoder.state_dict().items():
        assert torch.equal(value, first.module_.encoder.state_dict()[name])
    net.set_params(freeze=None, pretrained_mix=0.5)
    check(net, [{}, {"lr": 0.1}], folds=FOLDS[:1])


@pytest.mark.parametrize(
    ("make", "params"),
    [
        (mlp, {"batch_size": -1}),
        (mlp, {"batch_size": 100}),
        (mlp, {"iterator_train__drop_last": True}),
        (mlp, {"iterator_train__shuffle": False}),
        (mlp, {"iterator_train": DataLoader, "iterator_train__shuffle": True}),
        (mlp, {"normalize": None, "warm_start": True}),
        (convnet, {"normalize": ([0.3], [0.5])}),
        (convnet, {"memory_format": "contiguous", "module__conv_dropout": 0.3}),
        (convnet, {"module__batch_norm": "first", "module__pool": "avg"}),
    ],
)
def test_batches_and_images(make, params, check):
    check(make(**params), [{}, {"lr": 0.1}])


class Cumulative(nn.Module):
    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=None)
        self.conv = nn.Conv2d(1, 3, 3)
        self.linear = nn.Linear(108, n_outputs)

    def forward(self, x):
        return self.linear(self.conv(self.norm(x)).tanh().flatten(1))


class Unknown(nn.Module):
    """Has weights of its own, and returns more than outputs."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64))
        self.drop = nn.Dropout(0.3)
        self.linear = nn.Linear(64, n_outputs)

    def forward(self, x):
        x = self.drop(x.flatten(1) * self.scale)
        return self.linear(x), x


class OtherLayersInSmallBatches(nn.Module):
    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.some, self.most = nn.Dropout(0.1), nn.Dropout(0.8)
        self.linear = nn.Linear(108, n_outputs)

    def forward(self, x):
        drop = self.some if len(x) == 16 else self.most
        x = drop(self.conv(x))
        return self.linear((self.some(x) if len(x) == 1 else x).flatten(1))


@pytest.mark.parametrize("module", [Cumulative, Unknown, OtherLayersInSmallBatches])
def test_other_networks(module, check):
    # The folds have 4 batches in an epoch; those of the last one are other ones.
    folds = [*FOLDS, np.arange(100)]
    check(ImageClassifier(module, **COMMON), [{}, {"max_epochs": 3}], folds=folds)


def test_flat_rows(check, small_digits):
    rows = small_digits[0].reshape(120, 64).astype(np.float32)
    frame = pd.DataFrame(rows, columns=[f"pixel {i}" for i in range(64)])
    found, _, _ = check(mlp(), [{}, {"lr": 0.1}], X=frame)
    assert list(found[0].feature_names_in_) == list(frame.columns)
    net = convnet(image_shape=(1, 8, 8))
    check(net, [{}, {"lr": 0.1}], X=rows, folds=FOLDS[:1])


def test_checkpoints(small_digits, tmp_path, train_together, assert_same_fit):
    X, y = small_digits
    net = mlp(checkpoint=tmp_path, module__dropout=0.2)
    nets = [clone(net), clone(net).set_params(lr=0.1)]
    found = train_together(nets, [(X, y)] * 2)
    assert len([*tmp_path.iterdir()]) == 2
    for one in found:
        assert_same_fit(one, clone(one).set_params(checkpoint=None).fit(X, y))
        again = clone(one).fit(X, y)  # Finds the file, and has nothing left to do.
        assert again.history[:, "dur"] == one.history[:, "dur"]


def test_training_goes_on_from_checkpoints(tmp_path, small_digits, train_together):
    X, y = small_digits
    net = mlp(checkpoint=tmp_path, module__dropout=0.2, max_epochs=3)
    whole = clone(net).set_params(checkpoint=None).fit(X, y)

    def stop(one, X, y):
        if len(one.history) == 2 and not resumed:
            raise InterruptedError
        return 0.0

    resumed = False
    net.set_params(epoch_scoring={"none": stop})
    with pytest.raises(InterruptedError):
        clone(net).fit(X, y)
    resumed = True
    found = train_together([clone(net), clone(net)], [(X, y), (X[:90], y[:90])])
    assert [len(one.history) for one in found] == [3, 3]
    for name, value in found[0].module_.state_dict().items():
        wanted = whole.module_.state_dict()[name]
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-9)


# --------------------------------------------------------------- single precision


@pytest.mark.parametrize("make", [mlp, convnet, autoencoder])
def test_gradients_in_single_precision(make, small_digits, train_together):
    X, y = small_digits
    step = {"optimizer": "sgd", "lr": 1.0, "max_epochs": 1, "batch_size": -1}
    nets = [make(dtype="float32", **step).set_params(random_state=i) for i in range(3)]
    start = [clone(net).set_params(lr=0.0).fit(X, y) for net in nets]
    alone = [clone(net).fit(X, y) for net in nets]
    found = train_together(nets, [(X, y)] * 3)
    for one, other, first in zip(found, alone, start, strict=True):
        before = dict(first.module_.named_parameters())
        wanted = dict(other.module_.named_parameters())
        for name, value in one.module_.named_parameters():
            gradient, expected = before[name] - value, before[name] - wanted[name]
            torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5)
        assert any((before[name] - p).abs().max() > 1e-3 for name, p in wanted.items())


def test_half_precision(small_digits, train_together):
    X, y = small_digits
    net = convnet(dtype="float32", amp=True, max_epochs=4, module__conv_dropout=0.2)
    nets = [clone(net).set_params(random_state=i) for i in range(3)]
    alone = [clone(net).fit(X, y) for net in nets]
    found = train_together(nets, [(X, y)] * 3)
    for one, other in zip(found, alone, strict=True):
        first, wanted = (net.history[0, "train_loss"] for net in (one, other))
        assert first == pytest.approx(wanted, rel=0.02)


# --------------------------------------------------------------------- divergence


@pytest.mark.parametrize("scoring", [(), "accuracy"])
def test_diverged_fits_leave_the_others_alone(scoring, small_digits, assert_same_fit):
    X, y = small_digits
    net = convnet(optimizer="sgd", epoch_scoring=scoring)
    rates = [0.1, 1e300, 0.01]
    members = [TrainingRun.of(clone(net).set_params(lr=lr), X, y) for lr in rates]
    engine = find_engine(members)
    diverged = Stack(members, engine).train_epoch()
    assert [*diverged] == [members[1]]
    with pytest.raises(DivergedError) as alone:
        clone(net).set_params(lr=1e300).fit(X, y)
    assert isinstance(diverged[members[1]], DivergedError)
    assert str(diverged[members[1]]) == str(alone.value)
    del members[1]
    assert Stack(members, engine).train_epoch() == {}
    for member, lr in zip(members, [0.1, 0.01], strict=True):
        assert_same_fit(member.finish(), clone(net).set_params(lr=lr).fit(X, y))


@pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        *[(mlp, "sgd"), (convnet, "sgd"), (autoencoder, "adam")],
        pytest.param(mlp, "adam", marks=pytest.mark.slow),
        pytest.param(convnet, "adam", marks=pytest.mark.slow),
        pytest.param(lenet, "sgd", marks=pytest.mark.slow),
        pytest.param(lenet, "adam", marks=pytest.mark.slow),
        pytest.param(autoencoder, "sgd", marks=pytest.mark.slow),
    ],
)
def test_a_rate_far_too_high_moves_no_neighbour(make, optimizer, small_digits):
    # In single precision, in which images of several networks share a convolution.
    X, y = (part[:40] for part in small_digits)
    if make is lenet:
        X = np.kron(X, np.ones((1, 4, 4), dtype=np.uint8))
    net = make(dtype="float32", optimizer=optimizer)
    rates = [0.01, 1e30, 0.003, 0.001]

    def scores(middle):
        members = [
            TrainingRun.of(clone(net).set_params(lr=lr), X, y)
            for lr in (rates[0], middle, *rates[2:])
        ]
        engine, left = find_engine(members), list(members)
        for _ in range(2):
            diverged = Stack(left, engine).train_epoch()
            left = [member for member in left if member not in diverged]
        healthy = [members[0], *members[2:]]
        assert not {*healthy} - {*left}
        return [member.finish().history[:, "train_loss"] for member in healthy]

    # What is divided among fewer networks later is rounded in another way.
    np.testing.assert_allclose(scores(1e30), scores(0.002), rtol=1e-5)


# -------------------------------------------------------- what must not be touched


def global_states():
    numbers = np.random.get_state()
    return random.getstate(), numbers[1].tolist(), numbers[2], torch.get_rng_state()


@pytest.mark.parametrize(
    "params",
    [
        {"module__conv_dropout": 0.3},
        {"augment": [RandomShift(1)]},
        {"augment": shuffled_rows},
        {"iterator_train": DataLoader, "iterator_train__shuffle": True},
    ],
    ids=["dropout", "shift", "function", "DataLoader"],
)
def test_global_generators(params, small_digits, train_together):
    before = global_states()
    nets = [convnet(**params), convnet(**params, epoch_scoring="accuracy")]
    train_together(nets, [small_digits] * 2)
    *after, state = global_states()
    assert after == [*before[:-1]]
    assert torch.equal(state, before[-1])


def test_images_and_targets(small_digits, train_together):
    X, y = (part.copy() for part in small_digits)
    images = X.astype(np.float64)
    kept = images.copy()
    train_together([convnet(), convnet(lr=0.1)], [(images, y)] * 2)
    assert np.array_equal(images, kept)
    assert np.array_equal(y, small_digits[1])
