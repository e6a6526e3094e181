"""What a checkpoint of unknown origin may set, and what it may not."""

from collections import Counter

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, EpochScoring, LRScheduler

from skvision import ImageClassifier
from skvision.exceptions import FormatError
from skvision.persistence._format import read_file, write_file


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:120], digits.target[:120]


class Phase(Callback):
    """Has a state of any kind."""

    def __init__(self, path="here"):
        self.path = path

    def initialize(self):
        self.path_, self.n_, self.log_, self.best_ = "begin", 0, [], None
        return self

    def on_epoch_end(self, net, **kwargs):
        self.n_ += 1
        self.log_.append(self.n_)


def build(folder, **params):
    callbacks = [
        LRScheduler("MultiStepLR", milestones=[2, 3]),
        ("acc", EpochScoring("accuracy", name="acc", lower_is_better=False)),
        ("phase", Phase()),
        ("saving", Checkpoint(dirname=folder.parent / "kept", monitor="acc_best")),
    ]
    return ImageClassifier(
        "mlp",
        module__hidden=(8,),
        max_epochs=4,
        random_state=0,
        early_stopping=True,
        checkpoint=folder,
        **{"callbacks": callbacks} | params,
    )


@pytest.fixture(scope="module")
def written(data, tmp_path_factory):
    """A fit, and its checkpoint."""
    folder = tmp_path_factory.mktemp("fit") / "checkpoints"
    net = build(folder).fit(*data)
    (path,) = folder.iterdir()
    return net, path


@pytest.fixture
def changed(written):
    """Write the checkpoint with changes, and put it back afterwards."""
    _, path = written
    original = path.read_bytes()

    def write(change):
        state = read_file(path, "checkpoint")
        change(state)
        write_file(path, "checkpoint", state)

    yield write
    path.write_bytes(original)


def again(written):
    path = written[1]
    return build(path.parent), path


def states(net):
    return {
        name: {k: v for k, v in vars(callback).items() if k.endswith("_")}
        for name, callback in net.callbacks_
        if name in ("phase", "early_stopping")
    }


def test_whole_checkpoints_give_all_back(written, data):
    net, _ = again(written)
    net.fit(*data)
    expected = written[0]
    assert net.history == expected.history
    assert states(net)["phase"] == states(expected)["phase"]
    for a, b in zip(
        net.module_.parameters(), expected.module_.parameters(), strict=True
    ):
        assert torch.equal(a, b)


def without(key):
    return lambda state: state.pop(key)


def with_weights(value):
    def change(state):
        for tensor in state["module"].values():
            tensor.fill_(value)

    return change


def with_one_weight(value):
    return lambda state: state["module"].popitem()[1].flatten()[:1].fill_(value)


def with_value(*keys):
    *path, last, value = keys

    def change(state):
        for key in path:
            state = state[key]
        state[last] = value

    return change


def with_stopped(weights):
    def change(state):
        state["stopped"] = True
        weights(state)

    return change


def with_other_shape(state):
    name = next(iter(state["module"]))
    state["module"][name] = torch.zeros(3, 5)


WRONG = {
    **{
        f"without {key}": without(key)
        for key in (
            *("seed", "stopped", "n_steps", "history", "untrained_loss", "random"),
            *("callbacks", "module", "optimizer", "epoch_began"),
        )
    },
    "NaN": with_stopped(with_weights(float("nan"))),
    "infinite": with_weights(float("inf")),
    "zero": with_stopped(with_weights(0.0)),
    "fewer weights": with_one_weight(0.0),
    "shape": with_other_shape,
    "long history": lambda state: state["history"].append(state["history"][-1]),
    "no history": with_value("history", []),
    "history of numbers": with_value("history", [1, 2]),
    "history": with_value("history", "abc"),
    "steps": with_value("n_steps", -1),
    "many steps": with_value("n_steps", 3),
    "seed": with_value("seed", "0"),
    "loss": with_value("untrained_loss", float("nan")),
    "generator": with_value("random", [torch.zeros(3, dtype=torch.uint8), {}]),
    "callbacks": with_value("callbacks", [1]),
    "optimizer": with_value("optimizer", {}),
    "rate": lambda state: state["optimizer"]["param_groups"][0].update(lr="1"),
    "groups": lambda state: state["optimizer"]["param_groups"][0].update(evil=1),
    "moments": lambda state: state["optimizer"]["state"][0]["exp_avg"].fill_(np.inf),
    # A fused step would read and write beyond it.
    "short moments": lambda state: state["optimizer"]["state"][0].update(
        exp_avg=torch.zeros(1)
    ),
    "no moments": lambda state: state["optimizer"]["state"][0].pop("exp_avg"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_checkpoint_is_an_error(kind, written, changed, data):
    changed(WRONG[kind])
    net, path = again(written)
    with pytest.raises(FormatError, match=path.name):
        net.fit(*data)
    assert not net.initialized_


def test_stopped_where_nothing_stops(data, tmp_path):
    net = ImageClassifier(
        "mlp", module__hidden=(8,), max_epochs=2, random_state=0, checkpoint=tmp_path
    )
    net.fit(*data)
    (path,) = tmp_path.iterdir()
    state = read_file(path, "checkpoint")
    state["stopped"] = True
    write_file(path, "checkpoint", state)
    with pytest.raises(FormatError, match="ended"):
        net.fit(*data)


def of_callback(name, key, value):
    return lambda state: state["callbacks"].setdefault(name, {}).update({key: value})


HARMFUL = {
    "folder": of_callback("saving", "dirname", "elsewhere"),
    "file name": of_callback("saving", "f_params", "../../elsewhere"),
    "monitor": of_callback("early_stopping", "monitor", "train_loss"),
    "function": of_callback("phase", "on_epoch_end", None),
    "dunder": of_callback("phase", "__class__", None),
    "path": of_callback("phase", "path", "elsewhere"),
    "path with _": of_callback("phase", "path_", "elsewhere"),
    "path for None": of_callback("phase", "best_", "elsewhere"),
    "path in a list": of_callback("phase", "log_", ["elsewhere"]),
    "text for a number": of_callback("phase", "n_", "elsewhere"),
    "unknown": of_callback("phase", "unknown_", 1),
    "stranger": of_callback("stranger", "n_", 1),
    "missing": lambda state: state["callbacks"]["phase"].pop("n_"),
    "misses": of_callback("early_stopping", "misses_", [1]),
    "schedule": of_callback("LRScheduler", "lr_scheduler_", {"optimizer": None}),
    "name": of_callback("acc", "name_", "elsewhere"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_callbacks_keep_what_is_theirs(kind, written, changed, data, tmp_path):
    changed(HARMFUL[kind])
    net, path = again(written)
    with pytest.warns(UserWarning, match=f"{path.name}.*begins anew"):
        net.fit(*data)
    expected = written[0]
    for a, b in zip(
        net.module_.parameters(), expected.module_.parameters(), strict=True
    ):
        assert torch.equal(a, b)
    saving = dict(net.callbacks_)["saving"]
    assert saving.dirname == path.parent.parent / "kept"
    assert states(net)["phase"] == states(expected)["phase"]
    assert not list(tmp_path.iterdir())


def test_kinds_of_state_come_back(written, changed, data):
    net, _ = again(written)
    assert states(net.fit(*data))["phase"]["log_"] == [1, 2, 3, 4]
    schedule = dict(net.callbacks_)["LRScheduler"].lr_scheduler_
    assert schedule.milestones == Counter([2, 3])
    assert type(schedule.milestones) is Counter


class Late(Callback):
    """Has a state only from the first epoch on."""

    def on_epoch_end(self, net, **kwargs):
        self.n_ = getattr(self, "n_", 0) + 1


def test_state_that_a_training_does_not_begin_with(data, tmp_path):
    net = build(tmp_path / "checkpoints", callbacks=[Late()])
    net.fit(*data)
    with pytest.warns(UserWarning, match=r"Late.*n_.*initialize"):
        again = net.fit(*data)
    assert dict(again.callbacks_)["Late"].n_ == 4


def test_checkpoints_under_older_names_are_left_alone(written, data, tmp_path):
    _, path = written
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    old = folder / f"{'0' * 32}.checkpoint"
    old.write_bytes(path.read_bytes())
    build(folder).fit(*data)
    assert len(list(folder.iterdir())) == 2
