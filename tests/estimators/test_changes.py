"""Parameters that change between a fit and a training that goes on from it."""

import copy
import inspect
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Freezer, LRScheduler
from skorch.dataset import ValidSplit
from skvision_tests import make_images, weights
from torch import nn
from torch.utils.data import DataLoader

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.preprocessing import RandomShift
from skvision.training import GradientRecorder

SMALL = {"max_epochs": 1, "batch_size": 16, "random_state": 0}
CONVNET = SMALL | {
    "module": "convnet",
    "module__channels": (4,),
    "module__hidden": (8,),
}


@pytest.fixture(scope="module")
def fitted(data):
    return ImageClassifier(**CONVNET, freeze="encoder").fit(*data)


@pytest.fixture(params=["partial_fit", "warm_start"])
def go_on(request):
    """Function that goes on with a training."""

    def train(net, X, y):
        if request.param == "partial_fit":
            return net.partial_fit(X, y)
        return net.set_params(warm_start=True).fit(X, y)

    return train


# ------------------------------------------------------------------- fine-tuning


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor, ImageAutoencoder])
def test_unfreezing(kind, data, go_on):
    X, y = data
    net = kind(max_epochs=1, batch_size=16, random_state=0, freeze="encoder").fit(X, y)
    before = weights(net)
    fixed = {name for name, p in net.module_.named_parameters() if not p.requires_grad}
    go_on(net, X, y)
    assert all(np.array_equal(weights(net)[name], before[name]) for name in fixed)
    go_on(net.set_params(freeze=None, lr=1e-2), X, y)
    assert fixed
    for name, value in weights(net).items():
        assert not np.array_equal(value, before[name]), name
    # And back again; its statistics stay with the weights of batch normalisation.
    before = weights(net)
    go_on(net.set_params(freeze=["encoder"]), X, y)
    for name, value in weights(net).items():
        assert np.array_equal(value, before[name]) == name.startswith("encoder."), name


def test_slower_weights_after_the_head(fitted, data):
    head_first = ImageClassifier(**CONVNET, pretrained=fitted, freeze="encoder")
    head_first.fit(*data)
    state = dict(head_first.optimizer_.state)
    head_first.set_params(freeze=None, lr=1e-2, pretrained_lr_mult=0.125)
    head_first.partial_fit(*data)
    rates = [group["lr"] for group in head_first.optimizer_.param_groups]
    # The whole network came from elsewhere.
    assert rates == [0.00125]
    assert all(head_first.optimizer_.state[p] is old for p, old in state.items())
    head_first.set_params(optimizer__param_groups=[("head*", {"lr": 0.25})])
    head_first.set_params(pretrained_lr_mult=0.5).partial_fit(*data)
    rates = [group["lr"] for group in head_first.optimizer_.param_groups]
    assert rates == [0.125, 0.005]


class Fixed(nn.Module):
    """Has a weight that nobody should train."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        self.encoder.position = nn.Parameter(torch.zeros(8), requires_grad=False)
        self.head = nn.Linear(8, n_outputs)

    def forward(self, X):
        return self.head(self.encoder(X) + self.encoder.position)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_what_the_network_froze_itself_stays_frozen(data, copied):
    net = copied(ImageClassifier(Fixed, **SMALL, freeze="encoder").fit(*data))
    net.set_params(freeze=None).partial_fit(*data)
    trained = {name for name, p in net.module_.named_parameters() if p.requires_grad}
    assert trained == {n for n in weights(net) if n != "encoder.position"}


# ------------------------------------------------------- each constructor parameter


def has_optimizer(kind):
    return lambda net, old: (
        type(net.optimizer_) is kind
        and not (old.optimizer_.state.keys() & net.optimizer_.state.keys())
    )


def rate(net):
    return net.optimizer_.param_groups[0]["lr"]


ERROR = "cannot take effect on a training that goes on"
#: A new value of each parameter, and what shows that it has taken effect, or the error.
CHANGES = {
    "module": ("mlp", ERROR),
    "module__hidden": ((4,), ERROR),
    "module__dropout": (0.5, ERROR),
    "criterion": (
        nn.MultiMarginLoss,
        lambda net, old: type(net.criterion_) is nn.MultiMarginLoss,
    ),
    "criterion__label_smoothing": (
        0.25,
        lambda net, old: net.criterion_.label_smoothing == 0.25,
    ),
    "criterion__label_smothing": (0.25, "label_smoothing"),
    "optimizer": ("sgd", has_optimizer(torch.optim.SGD)),
    "optimizer__weight_decay": (
        0.25,
        lambda net, old: net.optimizer_.param_groups[0]["weight_decay"] == 0.25,
    ),
    "optimizer__amsgrad": (
        True,
        lambda net, old: all(
            "max_exp_avg_sq" in s for s in net.optimizer_.state.values()
        ),
    ),
    "optimizer__param_groups": (
        [("head*", {"lr": 0.25})],
        lambda net, old: len(net.optimizer_.param_groups) == 2 and rate(net) == 0.25,
    ),
    "optimizer__param_groups__0__lr": (0.25, lambda net, old: rate(net) == 0.25),
    "optimizer__param_groups__3__lr": (0.25, "1 group"),
    "optimizer__param_groups__x__lr": (0.25, "numbered from 0"),
    "optimizer__weight_decy": (0.25, "optimizer__weight_decay"),
    "lr": (0.25, lambda net, old: rate(net) == 0.25),
    "max_epochs": (2, lambda net, old: len(net.history) == 3),
    "batch_size": (
        8,
        lambda net, old: net.history[-1, "batches", 0, "train_batch_size"] == 8,
    ),
    "normalize": (None, ERROR),
    "image_size": (8, ERROR),
    "resize": ("pad", ERROR),
    "color_mode": ("rgb", r"fitted on \(1, "),
    "channels": ("middle", "'channels'"),
    "image_shape": ((1, 4, 16), r"image_shape=\(1, 4, 16\)"),
    "augment": ([RandomShift(2)], lambda net, old: differs(net, old)),
    "class_weight": ({0: 5.0}, lambda net, old: differs(net, old)),
    "threshold": (0.3, "FixedThresholdClassifier"),
    "early_stopping": (True, lambda net, old: "valid_loss" in net.history[-1]),
    "validation_fraction": (
        0.5,
        lambda net, old: (
            stopped(net).history[-1, "batches", 2, "valid_batch_size"] == 20
        ),
    ),
    "n_iter_no_change": (
        2,
        lambda net, old: (
            net.set_params(early_stopping=True)
            and dict(net.partial_fit(*make_images()).callbacks_)[
                "early_stopping"
            ].patience
            == 2
        ),
    ),
    "epoch_scoring": ("accuracy", lambda net, old: "train_accuracy" in net.history[-1]),
    "pretrained": (nn.Linear(2, 2), ERROR),
    "pretrained_mix": (0.5, lambda net, old: not differs(net, old)),
    "pretrained_lr_mult": (0.5, lambda net, old: not differs(net, old)),
    "freeze": (None, lambda net, old: differs(net, old, "encoder.0.weight")),
    "feature_cache": (False, lambda net, old: not differs(net, old)),
    # Nothing is drawn here.
    "n_views": (2, lambda net, old: not differs(net, old)),
    "unfreeze_at": (2, lambda net, old: differs(net, old, "encoder.0.weight")),
    "dtype": ("float64", ERROR),
    "device": ("cuda:99", "CUDA"),
    "amp": (True, lambda net, old: differs(net, old)),
    "compile": (True, lambda net, old: net.module_._compiled_call_impl is not None),
    "memory_format": ("contiguous", lambda net, old: not net._channels_last),
    "random_state": (1, lambda net, old: differs(net, old)),
    "warm_start": (True, lambda net, old: not differs(net, old)),
    "verbose": (1, lambda net, old: not differs(net, old)),
    "on_error": ("skip", lambda net, old: not differs(net, old)),
    "image_cache": ("not/made/for/arrays", lambda net, old: not differs(net, old)),
    "callbacks": (
        [GradientRecorder],
        lambda net, old: dict(net.callbacks_)["GradientRecorder"].means_,
    ),
    "callbacks__train_loss__name": (
        "other",
        lambda net, old: dict(net.callbacks_)["train_loss"].name == "other",
    ),
    "callbacks__trian_loss": (None, "train_loss"),
    "train_split": (ValidSplit(4), lambda net, old: "valid_loss" in net.history[-1]),
    "iterator_train": (DataLoader, lambda net, old: differs(net, old)),
    "iterator_train__shuffle": (False, lambda net, old: differs(net, old)),
    "iterator_valid": (DataLoader, lambda net, old: not differs(net, old)),
    "predict_nonlinearity": (
        lambda x: x + 7,
        lambda net, old: net.predict_proba(make_images()[0]).min() > 0,
    ),
}


def stopped(net):
    return net.set_params(early_stopping=True).partial_fit(*make_images())


def differs(net, old, name="head.1.weight"):
    """Whether a network is another one than without the change."""
    other = copy.deepcopy(old).partial_fit(*make_images())
    return not np.array_equal(weights(net)[name], weights(other)[name])


@pytest.mark.parametrize("name", CHANGES)
def test_each_parameter_takes_effect_or_is_an_error(name, fitted, data, monkeypatch):
    # The first call of a network would compile it.
    monkeypatch.setattr(
        nn.Module, "compile", lambda m: setattr(m, "_compiled_call_impl", m._call_impl)
    )
    value, expected = CHANGES[name]
    net = copy.deepcopy(fitted).set_params(**{name: value})
    if isinstance(expected, str):
        before = weights(net)
        with pytest.raises(ValueError, match=expected):
            net.partial_fit(*data)
        assert all(np.array_equal(v, before[k]) for k, v in weights(net).items())
        assert len(net.history) == 1
    else:
        net.partial_fit(*data)
        assert expected(net, fitted)


def test_parts_go_to_another_device(fitted, data):
    expected = copy.deepcopy(fitted).partial_fit(*data)
    net = copy.deepcopy(fitted)
    network = net.module_
    net.set_params(device="cpu").partial_fit(*data)
    assert net.module_ is network
    # To torch it is another one.
    net = copy.deepcopy(fitted).set_params(device="cpu:0").partial_fit(*data)
    assert net.device_ == torch.device("cpu", 0)
    held = [p for group in net.optimizer_.param_groups for p in group["params"]]
    assert [id(p) for p in held] == [id(p) for p in net.module_.parameters()]
    for name, value in weights(expected).items():
        np.testing.assert_array_equal(weights(net)[name], value)


def test_no_parameter_is_left_out():
    own = set(inspect.signature(ImageClassifier).parameters)
    # A first fit writes them; of others, it is said that they do not.
    assert own - CHANGES.keys() == {"checkpoint", "checkpoint_steps"}


def test_checkpoints_are_of_fits_from_the_beginning(fitted, data, tmp_path):
    net = copy.deepcopy(fitted).set_params(checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="checkpoint=.*no effect"):
        net.partial_fit(*data)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------- what is kept


class Shared(Callback):
    """Counts how often it is begun and how many epochs it sees."""

    def initialize(self):
        self.epochs_ = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs_ += 1


@pytest.mark.parametrize(
    "again",
    [
        {},
        {"optimizer": torch.optim.Adam, "criterion": "Cross_Entropy"},
        {"optimizer": "ADAM", "module__hidden": [8], "freeze": "encoder"},
        {"callbacks": [], "lr": 1e-3, "module__channels": [4]},
    ],
    ids=str,
)
def test_equal_values_change_nothing(again, fitted, data):
    expected = copy.deepcopy(fitted).partial_fit(*data)
    net = copy.deepcopy(fitted)
    optimizer, criterion = net.optimizer_, net.criterion_
    net.set_params(**again).partial_fit(*data)
    assert net.optimizer_ is optimizer
    assert net.criterion_ is criterion
    assert not any(
        map(np.any, [weights(net)[k] != v for k, v in weights(expected).items()])
    )


def test_equal_objects_change_nothing(data):
    params = {
        "optimizer": partial(torch.optim.SGD, momentum=0.5),
        "criterion": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])),
        "module": nn.Sequential(nn.Flatten(), nn.Linear(64, 3)),
    }
    net = ImageClassifier(**SMALL, **params).fit(*data)
    optimizer, criterion = net.optimizer_, net.criterion_
    net.set_params(
        optimizer=partial(torch.optim.SGD, momentum=0.5),
        criterion=copy.deepcopy(params["criterion"]),
        module=copy.deepcopy(params["module"]),
    ).partial_fit(*data)
    assert net.optimizer_ is optimizer
    assert net.criterion_ is criterion
    net.set_params(optimizer=partial(torch.optim.SGD, momentum=0.25))
    net.set_params(criterion=nn.CrossEntropyLoss()).partial_fit(*data)
    assert net.optimizer_.param_groups[0]["momentum"] == 0.25
    assert net.criterion_.weight is None
    with pytest.raises(ValueError, match=ERROR):
        net.set_params(module=nn.Sequential(nn.Flatten())).partial_fit(*data)


def test_callbacks_that_stay_go_on(data):
    first, second = Shared(), Shared()
    net = ImageClassifier(**CONVNET, callbacks=[("first", first)]).fit(*data)
    net.callbacks.append(("second", second))
    net.set_params(epoch_scoring="accuracy").partial_fit(*data)
    assert [dict(net.callbacks_)[k].epochs_ for k in ("first", "second")] == [2, 1]
    assert "train_accuracy" not in net.history[0]
    assert "train_accuracy" in net.history[1]
    net.set_params(callbacks="disable").partial_fit(*data)
    assert net.callbacks_ == []


def test_what_would_have_acted_in_an_earlier_epoch_is_told(fitted, data):
    for at in (1, 2):
        net = copy.deepcopy(fitted).set_params(freeze=None)
        net.set_params(callbacks=[Freezer("head*", at=at)])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net.partial_fit(*data)
        told = [str(w.message) for w in caught if "acts at" in str(w.message)]
        frozen = not any(p.requires_grad for p in net.module_.head.parameters())
        assert (len(told), frozen) == ((1, False) if at == 1 else (0, True))
        assert all("Freezer" in message and "at=2" in message for message in told)


def test_schedules_begin_at_the_rate_that_is_set(data):
    schedule = LRScheduler("LambdaLR", lr_lambda=lambda n: 0.5)
    net = ImageClassifier("mlp", **SMALL, lr=0.01).fit(*data)
    net.set_params(callbacks=[schedule]).partial_fit(*data)
    assert net.history[-1, "event_lr"] == 0.005
    net.set_params(lr=0.02).partial_fit(*data)
    assert net.history[-1, "event_lr"] == 0.01
    # Without the schedule, the rate is that of the parameter.
    net.set_params(callbacks=None).partial_fit(*data)
    assert rate(net) == 0.02


def test_rates_leave_what_an_optimizer_knows(data):
    # Adafactor has other things to remember of matrices than of vectors.
    params = SMALL | {"optimizer": torch.optim.Adafactor, "lr": 0.01}
    net = ImageClassifier("mlp", **params).fit(*data)
    known = len(net.optimizer_.state)
    assert len(net.set_params(lr=0.02).optimizer_.state) == known > 0


def test_errors_leave_everything_as_it_was(fitted, data):
    net = copy.deepcopy(fitted)
    before = dict(vars(net))
    net.set_params(
        freeze=None,
        optimizer="sgd",
        callbacks=[GradientRecorder],
        criterion=nn.CrossEntropyLoss(torch.ones(7)),
    )
    with pytest.raises(ValueError, match="criterion"):
        net.partial_fit(*data)
    for name in ("optimizer_", "criterion_", "callbacks_", "module_", "_made_with"):
        assert vars(net)[name] is before[name]
    assert not net.module_.encoder[0].weight.requires_grad
    # What is wrong no more takes effect afterwards.
    net.set_params(criterion="cross_entropy").partial_fit(*data)
    assert isinstance(net.optimizer_, torch.optim.SGD)
    assert net.module_.encoder[0].weight.requires_grad


def test_learnable_criteria_bring_their_weights(data):
    class Scaled(nn.CrossEntropyLoss):
        def __init__(self, start=1.0):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(start))

        def forward(self, output, target):
            return super().forward(output * self.scale, target)

    net = ImageClassifier("mlp", **SMALL).fit(*data)
    state = dict(net.optimizer_.state)
    net.set_params(criterion=Scaled, lr=0.01).partial_fit(*data)
    assert net.criterion_.scale != 1
    assert all(net.optimizer_.state[p] is old for p, old in state.items())


def test_criteria_that_want_targets_as_they_are(data):
    X, y = data
    net = ImageRegressor("mlp", **SMALL).fit(X, 100.0 * y)
    net.set_params(criterion="l1").partial_fit(X, 100.0 * y)
    assert isinstance(net.criterion_, nn.L1Loss)
    with pytest.raises(ValueError, match="own scale, and cannot take effect"):
        net.set_params(criterion=nn.PoissonNLLLoss).partial_fit(X, 100.0 * y)


# -------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"freeze": None},
        {"optimizer": "SGD", "optimizer__momentum": 0.5},
        {"optimizer__amsgrad": True},
        {"optimizer__param_groups": [("head*", {"lr": 0.25})]},
        {"criterion__label_smoothing": 0.25},
        {"early_stopping": True, "epoch_scoring": "accuracy"},
        {"random_state": 3, "max_epochs": 0},
        {"module__hidden": (4,)},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_saved_estimators_know_what_they_were_made_with(params, fitted, data, tmp_path):
    net = copy.deepcopy(fitted).set_params(**params)
    net.save(tmp_path / "net")
    loaded = skvision.load(tmp_path / "net")
    assert loaded.get_params() == net.get_params()
    assert np.array_equal(loaded.predict_proba(data[0]), net.predict_proba(data[0]))
    if params.keys() & {"module__hidden", "dtype"}:
        with pytest.raises(ValueError, match=ERROR):
            loaded.partial_fit(*data)
        loaded, net = loaded.fit(*data), net.fit(*data)
    else:
        loaded, net = loaded.partial_fit(*data), net.partial_fit(*data)
    assert np.array_equal(loaded.predict_proba(data[0]), net.predict_proba(data[0]))
