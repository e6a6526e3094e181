"""Weights in files, and what goes with them."""

import copy
import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch as save_module
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file, save_file
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Checkpoint, LoadInitState, TrainEndCheckpoint
from skorch.dataset import ValidSplit
from skvision_tests import NAMES, SMALL, make_images, weights

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor, load
from skvision.exceptions import FormatError
from skvision.networks import MLP

KNOWN = {"image_shape": (1, 8, 8), "module__n_outputs": 3}


@pytest.fixture(scope="module")
def data():
    X, y = make_images()
    return (X * 127).astype(np.uint8), y


def fresh(kind=ImageClassifier, **params):
    """Return an estimator that knows its shapes and has seen no data."""
    return kind(**SMALL | {"random_state": 5} | params)


@pytest.mark.parametrize("use_safetensors", [False, True])
@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("labels", [np.arange(3), NAMES, np.array([7, 5, 9])], ids=str)
def test_a_new_estimator_predicts_the_same(
    data, labels, in_memory, use_safetensors, tmp_path
):
    X, y = data
    net = ImageClassifier(**SMALL).fit(X, labels[y])
    file = io.BytesIO() if in_memory else tmp_path / "weights"
    net.save_params(f_params=file, use_safetensors=use_safetensors)
    if in_memory:
        file.seek(0)
    other = fresh(**KNOWN)
    with pytest.raises(NotFittedError, match="initialize"):
        other.load_params(f_params=file, use_safetensors=use_safetensors)
    other.initialize().load_params(f_params=file, use_safetensors=use_safetensors)
    assert_array_equal(other.classes_, net.classes_)
    assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    assert_array_equal(other.predict(X), net.predict(X))
    # More training has the normalisation and the classes that the weights have.
    few = np.flatnonzero(y < 2)[:4]
    other.partial_fit(X[few] // 2, labels[y[few]])
    assert_array_equal(other.classes_, net.classes_)
    assert torch.equal(other.scaler_.mean, net.scaler_.mean)
    if not in_memory:
        state = load_file(file) if use_safetensors else torch.load(file)
        assert all(isinstance(value, torch.Tensor) for value in state.values())
        plain = MLP((1, 8, 8), 3, hidden=(16,))
        assert str(plain.load_state_dict(state)) == "<All keys matched successfully>"
        assert_array_equal(plain.state_dict()["head.bias"], weights(net)["head.bias"])


@pytest.mark.parametrize(
    ("kind", "method", "known"),
    [
        (ImageRegressor, "predict", {"module__n_outputs": 1}),
        (ImageAutoencoder, "reconstruct", {}),
        (ImageAutoencoder, "transform", {}),
    ],
)
def test_other_estimators(kind, method, known, data, tmp_path):
    X, y = data
    net = kind(max_epochs=1, random_state=0).fit(X, 100.0 * y)
    net.save_params(f_params=tmp_path / "weights")
    other = kind(image_shape=(1, 8, 8), **known).initialize()
    other.load_params(f_params=tmp_path / "weights")
    found, expected = getattr(other, method)(X), getattr(net, method)(X)
    assert found.dtype == expected.dtype
    assert_array_equal(found, expected)


def test_flat_rows(data, tmp_path):
    X, y = data
    rows = X.reshape(len(X), -1)
    net = ImageClassifier(**SMALL).fit(rows, y)
    net.save_params(f_params=tmp_path / "weights")
    other = fresh(module__image_shape=(1, 1, 64), module__n_outputs=3).initialize()
    other.load_params(f_params=tmp_path / "weights")
    assert_array_equal(other.predict_proba(rows), net.predict_proba(rows))


def test_fitted_estimators_take_the_normalisation_too(data, tmp_path):
    X, y = data
    net = ImageClassifier(**SMALL).fit(X, NAMES[y])
    net.save_params(f_params=tmp_path / "weights")
    other = fresh().fit(X // 3, NAMES[y])
    other.load_params(f_params=tmp_path / "weights")
    assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    third = fresh().fit(X, y)
    before = weights(third)
    with pytest.raises(ValueError, match=r"\['amber', 'green', 'red'\].*\[0, 1, 2\]"):
        third.load_params(f_params=tmp_path / "weights")
    assert_array_equal(weights(third)["head.bias"], before["head.bias"])
    wrong = fresh(**KNOWN | {"image_shape": (1, 4, 16)}).initialize()
    with pytest.raises(ValueError, match=r"\(1, 8, 8\).*image_shape=\(1, 4, 16\)"):
        wrong.load_params(f_params=tmp_path / "weights")


@pytest.mark.parametrize("use_safetensors", [False, True])
@pytest.mark.parametrize("kind", [Checkpoint, TrainEndCheckpoint])
def test_callbacks_of_skorch_keep_it(kind, use_safetensors, data, tmp_path):
    X, y = data
    options = {"dirname": str(tmp_path), "use_safetensors": use_safetensors}
    if kind is Checkpoint:
        options["monitor"] = "train_loss_best"
    if use_safetensors:
        options["f_optimizer"] = None
    checkpoint = kind(**options)
    net = ImageClassifier(**SMALL, callbacks=[checkpoint]).fit(X, NAMES[y])
    other = fresh(**KNOWN)
    stored = dict(net.callbacks_)[kind.__name__]
    stored = getattr(stored, "checkpoint_", stored)
    other.load_params(checkpoint=stored)
    assert len(other.history) == len(net.history)
    assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    begin = LoadInitState(stored, use_safetensors=use_safetensors)
    # Weights go on with the pixels that they were trained on.
    later = fresh(lr=1e-4, callbacks=[begin]).fit(X // 3, NAMES[y])
    assert torch.equal(later.scaler_.mean, net.scaler_.mean)
    assert len(later.history) == 4


def test_nothing_but_the_note_is_damaged(data, tmp_path):
    net = ImageClassifier(**SMALL).fit(*data)
    net.save_params(f_params=tmp_path / "weights")
    state = torch.load(tmp_path / "weights")
    for note in ("", "{}", "[1]", state._skvision.replace("64", "-64"), 3):
        state._skvision = note
        torch.save(state, tmp_path / "damaged")
        with pytest.raises(FormatError, match="beside the weights"):
            fresh(**KNOWN).initialize().load_params(f_params=tmp_path / "damaged")


def test_no_best_epoch_of_weights_from_elsewhere(data, tmp_path):
    X, y = data
    net = ImageClassifier(**SMALL, early_stopping=True).fit(X, y)
    assert net.best_epoch_
    net.save_params(f_params=tmp_path / "weights")
    net.load_params(f_params=tmp_path / "weights")
    assert not hasattr(net, "best_epoch_")


def test_a_checkpoint_that_loads_the_best_epoch(data, tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path), load_best=True)
    net = ImageClassifier(
        **SMALL | {"max_epochs": 5, "lr": 0.1},
        early_stopping=True,
        callbacks=[checkpoint],
    ).fit(*data)
    assert net.best_epoch_ == net.history[-1, "epoch"]


# -------------------------------------------------------------------- no epoch at all


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor, ImageAutoencoder])
@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True}, {"train_split": ValidSplit(4)}], ids=list
)
def test_no_epoch_builds_the_network(kind, params, data):
    X, y = data
    net = kind(max_epochs=0, random_state=0, **params).fit(X, y)
    assert len(net.history) == 0
    before = weights(net)
    method = "transform" if kind is ImageAutoencoder else "predict"
    predicted = getattr(net, method)(X)
    assert len(predicted) == len(X)
    assert net.partial_fit(X, y) is net
    assert_array_equal(getattr(net, method)(X), predicted)
    net.set_params(max_epochs=1).partial_fit(X, y)
    assert len(net.history) == 1
    assert any(not np.array_equal(v, before[k]) for k, v in weights(net).items())


def test_no_more_epochs_change_nothing(data):
    net = ImageClassifier(**SMALL, early_stopping=True).fit(*data)
    before, best = weights(net), net.best_epoch_
    net.set_params(max_epochs=0).partial_fit(*data)
    assert net.best_epoch_ == best
    assert all(np.array_equal(v, before[k]) for k, v in weights(net).items())


@pytest.mark.parametrize(
    ("odd", "use_safetensors"),
    [(torch.nan, False), (torch.nan, True), (torch.inf, True), (1e300, True), (1j, 0)],
)
def test_weights_that_are_no_numbers(odd, use_safetensors, data, tmp_path):
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1, random_state=0)
    net.fit(*data)
    state = {name: value.double() for name, value in net.module_.state_dict().items()}
    state["layers.0.weight"] = state["layers.0.weight"] * odd
    if use_safetensors:
        save_file(state, tmp_path / "weights")
    else:
        torch.save(state, tmp_path / "weights")
    before = net.predict_proba(data[0])
    with pytest.raises(FormatError, match=r"weights.*'layers\.0\.weight'"):
        net.load_params(tmp_path / "weights", use_safetensors=bool(use_safetensors))
    assert_array_equal(net.predict_proba(data[0]), before)


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"foobar": "a.pt"}, TypeError, "foobar"),
        ({"f_unknown": "a.pt"}, AttributeError, "unknown_"),
        ({"f_max_epochs": "a.pt"}, AttributeError, "max_epochs_"),
        ({"f_params": "a.pt", "f_module": "b.pt"}, TypeError, "f_module"),
    ],
)
def test_names_of_no_part_are_told_before_files_are_read(files, error, words):
    with pytest.raises(error, match=words):
        fresh(**KNOWN).initialize().load_params(**files)


def test_a_missing_file(tmp_path):
    net = ImageClassifier("mlp", image_shape=(1, 8, 8), module__n_outputs=10)
    net.initialize()
    for use_safetensors in (False, True):
        with pytest.raises(FileNotFoundError, match="no-such-file"):
            net.load_params(tmp_path / "no-such-file", use_safetensors=use_safetensors)
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        skvision.load(tmp_path / "no-such-file")


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_weights_of_others_are_for_targets_of_any_kind(n_outputs, data, tmp_path):
    X, _ = data
    torch.save(MLP((1, 8, 8), n_outputs).state_dict(), tmp_path / "plain")
    known = {"image_shape": (1, 8, 8), "module__n_outputs": n_outputs}
    net = ImageRegressor("mlp", normalize=None, **known).initialize()
    shape = (len(X),) if n_outputs == 1 else (len(X), n_outputs)
    for _ in range(2):
        found = net.predict(X)
        assert (found.shape, found.dtype) == (shape, np.float64)
        net.load_params(f_params=tmp_path / "plain")
    found = net.predict(X)
    net.save(tmp_path / "file.skv")
    assert_array_equal(load(tmp_path / "file.skv").predict(X), found)
    net.partial_fit(X, np.zeros(shape))
    assert net.n_outputs_ == n_outputs


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor])
def test_what_never_saw_data_is_not_saved(kind, data, tmp_path):
    net = kind("mlp", image_shape=(1, 8, 8), module__n_outputs=3, normalize=None)
    net.initialize().forward(data[0])
    with pytest.raises(NotFittedError, match="call fit before save"):
        net.save(tmp_path / "file.skv")
    assert not any(tmp_path.iterdir())


def overlapping(path, n=100):
    """Write an archive of many tensors that are one and the same bytes."""
    torch.save({f"x{i}": torch.zeros(2**16) for i in range(n)}, path)
    with zipfile.ZipFile(path) as archive:
        first = next(e for e in archive.infolist() if e.filename.endswith("data/0"))
        content = {entry: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in content.items():
            if "/data/" not in entry.filename or entry is first:
                archive.writestr(entry.filename, data)
        for entry in content:
            if "/data/" in entry.filename and entry is not first:
                other = copy.copy(archive.getinfo(first.filename))
                other.filename = entry.filename
                archive.filelist.append(other)


def compressed(path):
    torch.save({"x": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def with_attributes(path):
    state = OrderedDict(x=torch.zeros(1))
    state.__dict__["keys"] = 3
    torch.save(state, path)


def with_short_moments(path):
    net = ImageClassifier(**SMALL | KNOWN).initialize()
    state = net.optimizer_.state_dict()
    moments = {"exp_avg": torch.zeros(1), "exp_avg_sq": torch.zeros(1)}
    torch.save({**state, "state": {0: {"step": torch.ones(()), **moments}}}, path)


class Attack:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


HOSTILE = {
    "pipe": os.mkfifo,
    "overlapping": overlapping,
    "compressed": compressed,
    "attributes": with_attributes,
    "short moments": with_short_moments,
    "numbers": lambda path: torch.save({1: 2, "layers.0.weight": 3}, path),
    "list": lambda path: torch.save([1], path),
    "many": lambda path: torch.save(
        {f"x{i}": torch.zeros(0) for i in range(13_000)}, path
    ),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Attack())),
    "code": lambda path: torch.save({"layers.0.weight": Attack()}, path),
    "text": lambda path: path.write_bytes(b"not weights"),
    "empty": lambda path: path.touch(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_that_do_harm_are_refused(kind, tmp_path, data):
    """And nothing tells how to run what is in them."""
    path = tmp_path / "file"
    HOSTILE[kind](path)
    net = fresh(**KNOWN).initialize()
    before = weights(net)
    readable = kind in ("attributes", "short moments", "numbers", "list")
    for name in ("f_params", "f_optimizer", "f_criterion", "f_history"):
        for use_safetensors in (False, True):
            modules = name in ("f_params", "f_criterion") and not use_safetensors
            # It has other names than the module, says torch.
            error = RuntimeError if modules and readable else FormatError
            with pytest.raises((FormatError, error)) as raised:
                net.load_params(**{name: path}, use_safetensors=use_safetensors)
            assert "weights_only" not in str(raised.value)
    if kind not in ("numbers", "list"):
        with pytest.raises(ValueError, match="pretrained"):
            fresh(pretrained=path).fit(*data)
    for a, b in zip(weights(net), before, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["f_optimizer", "f_criterion", "f_history"])
def test_an_older_file_of_another_part_is_kept(name, tmp_path, monkeypatch):
    net = fresh(**KNOWN).initialize()
    path = tmp_path / "file"
    path.write_text("older")

    def fail(handle):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="space"):
            net.save_params(**{name: path})
    assert path.read_text() == "older"
    net.save_params(**{name: path})
    net.load_params(**{name: path})
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_safetensors_takes_no_optimizers(tmp_path):
    net = fresh(**KNOWN).initialize()
    with pytest.raises(ValueError, match="f_optimizer=.*use_safetensors=False"):
        net.save_params(
            f_params=tmp_path / "weights",
            f_optimizer=tmp_path / "optimizer",
            use_safetensors=True,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use_safetensors", [False, True])
def test_an_older_file_is_kept(use_safetensors, tmp_path, monkeypatch):
    net = fresh(**KNOWN).initialize()
    path = tmp_path / "file"
    path.write_text("older")
    writer, name = (save_module, "save") if use_safetensors else (torch, "save")

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, name, fail)
        with pytest.raises(OSError, match="space"):
            net.save_params(f_params=path, use_safetensors=use_safetensors)
    assert path.read_text() == "older"
    # torch would write up to the zero.
    with pytest.raises(ValueError, match="null"):
        net.save_params(f_params=f"{path}\0x", use_safetensors=use_safetensors)
    assert path.read_text() == "older"
    with pytest.raises(TypeError, match="f_params=3"):
        net.load_params(f_params=3, use_safetensors=use_safetensors)
