"""An interrupted fit goes on where it ended."""

import os
import random
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Freezer, LRScheduler, Unfreezer
from skvision_tests import make_ordered_images
from torch import nn

from skvision import ImageClassifier, load
from skvision.preprocessing import RandomShift


class Interrupt(RuntimeError):
    pass


class InterruptAt(Callback):
    """Raise in an epoch that is told from outside of parameters and code."""

    def on_epoch_begin(self, net, **kwargs):
        if os.environ.get("INTERRUPT_AT") == str(len(net.history)):
            raise Interrupt


def interrupt_at(epoch):
    """Let trainings that come to this epoch fail; None lets them end."""
    os.environ["INTERRUPT_AT"] = str(epoch)


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:300], digits.target[:300]


@pytest.fixture(autouse=True)
def no_interrupt(monkeypatch):
    monkeypatch.setenv("INTERRUPT_AT", "None")


def build(**params):
    """Everything that has a state: dropout, augmentation, a schedule, a hold-out."""
    callbacks = [LRScheduler(policy="StepLR", step_size=2), InterruptAt()]
    defaults = {"optimizer": "adamw", "max_epochs": 6, "callbacks": callbacks}
    return ImageClassifier(
        "mlp",
        module__hidden=(32,),
        module__dropout=0.2,
        lr=0.01,
        augment=[RandomShift(1)],
        early_stopping=True,
        n_iter_no_change=3,
        **defaults | {"random_state": 0} | params,
    )


def state(net):
    return {**net.module_.state_dict(), **net.optimizer_.state_dict()["state"][0]}


def assert_same(one, other):
    for name, value in state(one).items():
        assert torch.equal(value, state(other)[name]), name
    for key in {"train_loss", "valid_loss", "event_lr"} & one.history[-1].keys():
        assert one.history[:, key] == other.history[:, key]
    assert one.best_epoch_ == other.best_epoch_


@pytest.mark.parametrize("epoch", [1, 4, 6])
def test_goes_on_to_the_same_weights(epoch, data, tmp_path):
    undisturbed = build().fit(*data)
    interrupt_at(epoch)
    with pytest.raises(Interrupt):
        build(checkpoint=tmp_path).fit(*data)
    interrupt_at(None)
    torch.manual_seed(epoch)  # What ran in between has no influence.
    assert_same(build(checkpoint=tmp_path).fit(*data), undisturbed)


@pytest.mark.parametrize("optimizer", [torch.optim.NAdam, torch.optim.ASGD])
def test_factors_of_single_precision_in_double_precision(optimizer, data, tmp_path):
    params = {"optimizer": optimizer, "dtype": "float64"}
    undisturbed = build(**params).fit(*data)
    interrupt_at(2)
    with pytest.raises(Interrupt):
        build(checkpoint=tmp_path / "folder", **params).fit(*data)
    interrupt_at(None)
    resumed = build(checkpoint=tmp_path / "folder", **params).fit(*data)
    assert_same(undisturbed, resumed)
    once_more = build(callbacks=None, max_epochs=2, **params).fit(*data)
    once_more.save(path := tmp_path / "file")
    assert_same(once_more.partial_fit(*data), load(path).partial_fit(*data))


@pytest.mark.parametrize("random_state", [0, None])
def test_a_finished_fit_is_not_trained_again(random_state, data, tmp_path):
    first = build(checkpoint=tmp_path, random_state=random_state).fit(*data)
    interrupt_at(1)  # Not one epoch is begun.
    again = build(checkpoint=tmp_path, random_state=random_state).fit(*data)
    assert_same(again, first)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_parameters_or_data_have_another_file(data, tmp_path):
    X, y = data
    small = {"checkpoint": tmp_path, "max_epochs": 1, "random_state": 0}
    nets = [
        ImageClassifier("mlp", **small),
        ImageClassifier("mlp", **small, lr=0.01),
        ImageClassifier("convnet", **small),
    ]
    for count, net in enumerate(nets, start=1):
        net.fit(X, y)
        assert len(list(tmp_path.iterdir())) == count
    nets[0].fit(X[::-1], y[::-1])
    assert len(list(tmp_path.iterdir())) == 4
    nets[0].fit(X.copy(), y.tolist())
    assert len(list(tmp_path.iterdir())) == 4


def test_searches_go_on(data, tmp_path):
    net = build(checkpoint=tmp_path)
    grid = {"module__hidden": [(16,), (32,)]}
    first = GridSearchCV(net, grid, cv=2).fit(*data)
    assert len(list(tmp_path.iterdir())) == 5
    interrupt_at(1)
    again = GridSearchCV(net, grid, cv=2).fit(*data)
    for key in ("mean_test_score", "std_test_score"):
        assert first.cv_results_[key].tolist() == again.cv_results_[key].tolist()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX resource limits")
def test_full_disk_does_not_end_the_training(data, tmp_path):
    import resource

    net = build(checkpoint=tmp_path)
    net.set_params(early_stopping=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.warns(UserWarning, match="could not be written"):
            net.fit(*data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(net.history) == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "params",
    [
        {"callbacks": [Freezer("layers*"), Unfreezer("layers*", at=4)]},
        {"freeze": "layers*", "unfreeze_at": 4},
        {"freeze": "layers*", "unfreeze_at": {2: "layers.0*", 4: "layers.2*"}},
    ],
    ids=["callbacks", "int", "dict"],
)
@pytest.mark.filterwarnings("ignore:freeze=")
def test_goes_on_with_what_was_frozen(params, data, tmp_path):
    class Killed(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if net.killed and len(net.history) == 3:
                raise RuntimeError("killed")

    def build(folder, *, killed):
        callbacks = [*params.get("callbacks", []), Killed()]
        net = ImageClassifier("mlp", max_epochs=4, random_state=0)
        net.set_params(**params | {"callbacks": callbacks})
        net.set_params(checkpoint=tmp_path / folder)
        net.killed = killed
        return net

    whole = build("whole", killed=False).fit(*data)
    with pytest.raises(RuntimeError, match="killed"):
        build("halves", killed=True).fit(*data)
    again = build("halves", killed=False).fit(*data)
    assert again.history[:, "train_loss"] == whole.history[:, "train_loss"]


class Counting(Callback):
    """Counts epochs in an attribute like any other, and slows the training down."""

    def __init__(self, count=0):
        self.count, self.seen, self.net = count, [], None

    def on_epoch_end(self, net, **kwargs):
        self.net = net
        self.seen.append(net.history[-1, "epoch"])
        self.count += 1
        if self.count == 3:
            net.set_params(lr=net.lr / 10)


class Drawing:
    """A transform that draws from a generator of its own."""

    def __init__(self, generator):
        self.generator = generator

    def __call__(self, X):
        if isinstance(self.generator, torch.Generator):
            return X * torch.rand((), generator=self.generator)
        return X * self.generator.uniform(0, 1)


REMEMBERING = {
    "callback": lambda: {"callbacks": [Counting()]},
    "random": lambda: {"augment": [Drawing(random.Random(0))]},
    "numpy": lambda: {"augment": [Drawing(np.random.default_rng(0))]},
    "RandomState": lambda: {"augment": [Drawing(np.random.RandomState(0))]},
    "torch": lambda: {"augment": [Drawing(torch.Generator().manual_seed(0))]},
}


@pytest.mark.parametrize(
    ("kind", "steps"), [*((kind, None) for kind in REMEMBERING), ("callback", 1)]
)
def test_what_is_remembered_in_a_training(kind, steps, data, tmp_path):
    X, y = data[0][:90], data[1][:90]

    def build(folder):
        params = REMEMBERING[kind]()
        callbacks = [*params.pop("callbacks", ()), InterruptAt()]
        net = ImageClassifier("mlp", max_epochs=5, batch_size=30, random_state=0)
        net.set_params(callbacks=callbacks, checkpoint=folder, **params)
        return net.set_params(checkpoint_steps=folder and steps)

    whole = build(None).fit(X, y)
    interrupt_at(4)
    with pytest.raises(Interrupt):
        build(tmp_path).fit(X, y)
    interrupt_at(None)
    net = build(tmp_path)
    given = net.callbacks[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="A checkpoint")
        net.fit(X, y)
    assert len(list(tmp_path.iterdir())) == 1
    for one, other in zip(
        net.module_.parameters(), whole.module_.parameters(), strict=True
    ):
        assert torch.equal(one, other)
    if kind == "callback":
        assert given.seen == [1, 2, 3, 4, 5]


class CountingLoss(nn.CrossEntropyLoss):
    n_calls = 0

    def forward(self, y_pred, y):
        self.n_calls += 1
        return super().forward(y_pred, y)


class Speaking(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.word = f"epoch {len(net.history)}"


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"criterion": CountingLoss}, "n_calls of the criterion"),
        ({"callbacks": [Speaking()]}, "word of the callback Speaking"),
    ],
    ids=["criterion", "text"],
)
def test_what_a_checkpoint_cannot_hold_is_told(params, name, data, tmp_path):
    net = ImageClassifier("mlp", max_epochs=2, checkpoint=tmp_path, **params)
    with pytest.warns(UserWarning, match=f"cannot hold {name}"):
        net.fit(*data)


@pytest.mark.filterwarnings("error:Training does not go on")
@pytest.mark.parametrize("where", ["epochs", "within"])
def test_goes_on_from_a_file_of_an_older_release(where, tmp_path):
    """It was written after two epochs, or within the third one."""

    def build(**params):
        return ImageClassifier(
            "mlp",
            image_shape=(1, 8, 8),
            module__hidden=(4,),
            module__dropout=0.2,
            lr=0.01,
            batch_size=8,
            augment=[RandomShift(1)],
            early_stopping=True,
            callbacks=[LRScheduler(policy="StepLR", step_size=2)],
            random_state=0,
            max_epochs=4,
            **params,
        )

    X, y = make_ordered_images()
    old = Path(__file__).parents[1] / "data" / "checkpoints" / where
    resumed = [
        build(checkpoint=shutil.copytree(old, tmp_path / str(i))).fit(X, y)
        for i in range(2)
    ]
    assert resumed[0].history[:2, "dur"] == resumed[1].history[:2, "dur"]
    assert_same(resumed[0], build().fit(X, y))
