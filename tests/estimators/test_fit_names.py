"""Checkpoints are found by the same parameters and data, and by no others."""

import os
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, Checkpoint, LoadInitState, LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import Dataset

from skvision import ImageClassifier
from skvision.datasets import as_Xy
from skvision.images._identity import file_digest
from skvision.model_selection import StackedGridSearchCV, StackedHalvingGridSearchCV


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:120], digits.target[:120]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pt"

    def write(value):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        for parameter in network.parameters():
            nn.init.constant_(parameter, value)
        torch.save(network.state_dict(), path)
        return path

    return write


def build(folder, **params):
    defaults = {"module": "mlp", "max_epochs": 1, "random_state": 0}
    if "module" not in params:
        defaults["module__hidden"] = (8,)
    return ImageClassifier(checkpoint=folder, **defaults | params)


def n_files(folder):
    return len(list(folder.iterdir()))


LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def smoothed(amount):
    loss = nn.CrossEntropyLoss()
    loss.register_forward_hook(lambda layer, args, output: output * amount)
    return loss


class Scaled(nn.CrossEntropyLoss):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, y_pred, y):
        return super().forward(y_pred, y) * self.factor


def network_of(width):
    def network(image_shape, n_outputs):
        layers = nn.Linear(64, width), nn.ReLU(), nn.Linear(width, n_outputs)
        return nn.Sequential(nn.Flatten(), *layers)

    return network


def slower(factor):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    network[1].weight.register_hook(lambda gradient: gradient * factor)
    return network


PAIRS = {
    "label_smoothing": [
        {"criterion": nn.CrossEntropyLoss(label_smoothing=value)} for value in (0, 0.6)
    ],
    "attribute": [{"criterion": Scaled(factor)} for factor in (1, 2)],
    "hook": [{"criterion": smoothed(amount)} for amount in (1.0, 3.0)],
    "closure": [{"module": network_of(width)} for width in (4, 5)],
    "gradients": [{"module": slower(factor)} for factor in (1, 0)],
    "lambda": [
        {"epoch_scoring": [lambda net, X, y: 1]},
        {"epoch_scoring": [lambda net, X, y: 2]},
    ],
}


@pytest.mark.parametrize("kind", PAIRS)
def test_configurations_are_told_apart(kind, data, tmp_path):
    for n, params in enumerate(PAIRS[kind], start=1):
        net = ImageClassifier(optimizer="sgd", max_epochs=1, random_state=0)
        expected = net.set_params(**params).fit(*data)
        for _ in range(2):
            found = net.set_params(checkpoint=tmp_path).fit(*data)
            assert n_files(tmp_path) == n
        assert_same_weights(found, expected)
        assert found.history[-1, "train_loss"] == expected.history[-1, "train_loss"]


def test_halving_tells_candidates_apart(data):
    losses = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.6)]
    net = build(None, max_epochs=2)
    search = StackedHalvingGridSearchCV(
        net, {"criterion": losses}, factor=2, cv=2, scoring="neg_log_loss"
    )
    first, second = search.fit(*data).cv_results_["mean_test_score"][:2]
    assert first != second


@pytest.mark.parametrize("whole_class", [False, True])
def test_methods_that_are_replaced(whole_class, data, tmp_path, monkeypatch):
    own = ImageClassifier.get_loss
    for n, factor in ((1, 1), (1, 1), (2, 3), (2, 3)):

        def get_loss(*args, factor=factor, **kwargs):
            return own(*args, **kwargs) * factor

        net = build(tmp_path, optimizer="sgd")
        if whole_class:
            monkeypatch.setattr(ImageClassifier, "get_loss", get_loss)
        else:
            net.get_loss = partial(get_loss, net)
        found = net.fit(*data)
        expected = net.set_params(checkpoint=None).fit(*data)
        assert n_files(tmp_path) == n
        assert_same_weights(found, expected)


class FromOutside(nn.Module):
    """Is built with what files or the environment say."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.layer = nn.Linear(64, n_outputs)
        outside = dict(item.split("=") for item in os.environ["SETTINGS"].split())
        if "file" in outside:
            self.layer.load_state_dict(torch.load(outside["file"]))
        if "width" in outside:
            self.layer = nn.Sequential(nn.Linear(64, int(outside["width"])), nn.ReLU())
            self.layer.append(nn.LazyLinear(n_outputs))
        self.factor = float(outside.get("factor", 1))

    def forward(self, X):
        return self.layer(X.flatten(1)) * self.factor


@pytest.mark.parametrize("setting", ["width=4 width=5", "factor=1 factor=2", "file"])
def test_networks_that_are_built_in_another_way(setting, data, tmp_path, monkeypatch):
    settings = setting.split()
    if setting == "file":
        settings = [f"file={tmp_path / name}" for name in ("one", "two")]
        for value, item in enumerate(settings):
            state = {"weight": torch.full((10, 64), 0.1 * value)}
            torch.save(state | {"bias": torch.zeros(10)}, item.split("=")[1])
    folder = tmp_path / "checkpoints"
    net = ImageClassifier(FromOutside, max_epochs=1, random_state=0, checkpoint=folder)
    monkeypatch.setenv("SETTINGS", settings[0])
    first = weights_of(net.fit(*data))
    assert_same_values(weights_of(net.fit(*data)), first)
    monkeypatch.setenv("SETTINGS", settings[1])
    with pytest.warns(UserWarning, match="begins anew.*built in another way"):
        found = weights_of(net.fit(*data))
    assert_same_values(weights_of(net.fit(*data)), found)
    assert_same_values(weights_of(net.set_params(checkpoint=None).fit(*data)), found)


def test_weights_of_files_that_a_callback_begins_with(data, tmp_path):
    files = Checkpoint(dirname=tmp_path, monitor=None)
    build(None, callbacks=[files]).fit(*data)
    folder = tmp_path / "checkpoints"
    with pytest.warns(UserWarning, match="not checkpointed.*LoadInitState"):
        net = build(folder, callbacks=[LoadInitState(files)]).fit(*data)
    assert not folder.exists()
    assert len(net.history) == 2


class Drawing(nn.CrossEntropyLoss):
    draw = staticmethod(np.random.random)


class Unreadable(nn.CrossEntropyLoss):
    def __reduce_ex__(self, protocol):
        raise ValueError("no")

    def __skvision_identity__(self):
        raise KeyError("neither")

    def __deepcopy__(self, memo):
        return self


class Locked(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return type(self)()


@pytest.mark.parametrize("other", [Locked, Unreadable])
def test_searches_of_what_cannot_be_told_apart(other, data):
    losses = [nn.CrossEntropyLoss(label_smoothing=0.6), other(), Drawing]
    net = build(None)
    kwargs = {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    expected = GridSearchCV(net, {"criterion": losses}, **kwargs).fit(*data)
    search = StackedGridSearchCV(net, {"criterion": losses}, calibrate=False, **kwargs)
    with pytest.warns(UserWarning, match="criterion"):
        search.fit(*data)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"],
        expected.cv_results_["mean_test_score"],
        rtol=1e-5,
    )


def test_what_cannot_be_told_apart_is_not_checkpointed(data, tmp_path):
    with pytest.warns(UserWarning, match="not checkpointed.*criterion"):
        net = build(tmp_path, criterion=Locked()).fit(*data)
    assert n_files(tmp_path) == 0
    plain = build(None).fit(*data)
    assert np.array_equal(net.predict_proba(data[0]), plain.predict_proba(data[0]))


@pytest.fixture
def paths(data, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(data[0][:40]):
        Image.fromarray(image * 15).save(folder / f"{i:02}.png")
    return sorted(map(str, folder.iterdir()))


def change(path):
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


@pytest.mark.parametrize("cache", ["auto", False])
def test_changed_files_are_other_images(cache, data, paths, tmp_path):
    y, folder = data[1][:40], tmp_path / "checkpoints"
    for _ in range(2):  # Read before, or not.
        X, _ = as_Xy(paths, y, cache=cache)
        build(folder).fit(X, y)
        build(folder).fit(X, y)
        assert n_files(folder) == 1
    change(paths[7])
    X, _ = as_Xy(paths, y, cache=cache)
    build(folder).fit(X, y)
    assert n_files(folder) == 2


def test_moved_files_are_the_same_images(data, paths, tmp_path):
    y, folder = data[1][:40], tmp_path / "checkpoints"
    build(folder).fit(paths, y)
    moved = (tmp_path / "images").rename(tmp_path / "moved")
    build(folder).fit(sorted(map(str, moved.iterdir())), y)
    assert n_files(folder) == 1


def test_digests_of_files_follow_their_contents(tmp_path):
    path = tmp_path / "file"
    found = set()
    for i in range(20):
        path.write_bytes(bytes([i]))
        assert file_digest(path) == file_digest(path)
        found.add(file_digest(path))
    assert len(found) == 20


class Stored(Dataset):
    """Reads from a file, and draws from generators of its own and of all."""

    def __init__(self, path, noise=0.0):
        self.path, self.noise = path, noise
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return len(np.load(self.path)["y"])

    def __getitem__(self, i):
        with np.load(self.path) as file:
            image, label = file["X"][i], int(file["y"][i])
        own = self.noise * self.rng.random(image.shape)
        return torch.from_numpy(
            image + own + torch.rand(()).item() / 1e3
        ).float(), label


@pytest.fixture
def stored(data, tmp_path):
    path = tmp_path / "images.npz"

    def write(factor=1):
        np.savez(path, X=data[0][:30] / 16 * factor, y=data[1][:30])
        return path

    return write


def test_contents_of_data_sets(stored, tmp_path):
    folder = tmp_path / "checkpoints"
    for n, factor in ((1, 1), (1, 1), (2, 0.5)):
        build(folder).fit(Stored(stored(factor)))
        assert n_files(folder) == n
    build(folder).fit(Stored(stored(0.5), noise=0.1))
    assert n_files(folder) == 3


OTHERWISE = {
    "validation data": lambda folder, data, write, i: build(
        folder, train_split=predefined_split(Stored(write["images"](i)))
    ).fit(*data),
    "weights": lambda folder, data, write, i: build(
        folder, module=LINEAR, pretrained=write["weights"](i)
    ).fit(*data),
    "pretrained estimator": lambda folder, data, write, i: build(
        folder, pretrained=build(None, lr=0.01 * i).fit(*data)
    ).fit(*data),
    "announced classes": lambda folder, data, write, i: build(folder).partial_fit(
        *data, classes=range(10 + i)
    ),
    "kind of numbers": lambda folder, data, write, i: build(folder).fit(
        data[0].astype(["int64", "float64"][i - 1]), data[1]
    ),
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_contents_of_what_is_beside_the_images(kind, stored, weights, data, tmp_path):
    folder = tmp_path / "checkpoints"
    for n, i in ((1, 1), (1, 1), (2, 2)):
        OTHERWISE[kind](folder, data, {"images": stored, "weights": weights}, i)
        assert n_files(folder) == n


def test_to_be_told_apart_draws_no_random_numbers(stored, tmp_path):
    nets = [
        build(folder).fit(Stored(stored(), noise=0.1)) for folder in (None, tmp_path)
    ]
    one, other = (net.predict_proba(np.zeros((1, 8, 8))) for net in nets)
    assert np.array_equal(one, other)


# ------------------------------------------------------------- more epochs


class Epochs(Callback):
    """Count the epochs that are trained, without being a part of what is asked for."""

    seen = []

    def __skvision_identity__(self):
        return None

    def on_epoch_begin(self, net, **kwargs):
        self.seen.append(len(net.history) - 1)


@pytest.fixture(autouse=True)
def trained():
    Epochs.seen.clear()
    return Epochs.seen


def weights_of(net):
    return net.module_.state_dict().values()


def assert_same_weights(one, other):
    assert_same_values(weights_of(one), weights_of(other))


def assert_same_values(one, other):
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "callbacks", [[], [LRScheduler("StepLR", step_size=2)]], ids=["none", "steps"]
)
def test_more_epochs_go_on(callbacks, data, tmp_path, trained):
    callbacks = [*callbacks, Epochs()]
    build(tmp_path, callbacks=callbacks, max_epochs=2).fit(*data)
    trained.clear()
    more = build(tmp_path, callbacks=callbacks, max_epochs=5).fit(*data)
    assert trained == [2, 3, 4]
    assert_same_weights(more, build(None, callbacks=callbacks, max_epochs=5).fit(*data))
    trained.clear()
    build(tmp_path, callbacks=callbacks, max_epochs=5).fit(*data)
    build(tmp_path, callbacks=callbacks, max_epochs=2).fit(*data)
    assert trained == []
    fewer = build(tmp_path, callbacks=callbacks, max_epochs=3).fit(*data)
    assert trained == [2]
    assert_same_weights(
        fewer, build(None, callbacks=callbacks, max_epochs=3).fit(*data)
    )


def of_length(policy, n):
    length = {"CosineAnnealingLR": {"T_max": n}, "PolynomialLR": {"total_iters": n}}
    length["OneCycleLR"] = {"max_lr": 0.01, "total_steps": n}
    return LRScheduler(getattr(torch.optim.lr_scheduler, policy), **length[policy])


class Falling(Callback):
    def on_epoch_begin(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] = 0.01 * (1 - len(net.history) / net.max_epochs)


@pytest.mark.parametrize(
    "schedule",
    [
        *(
            lambda n, p=p: of_length(p, n)
            for p in ("CosineAnnealingLR", "OneCycleLR", "PolynomialLR")
        ),
        lambda n: of_length("CosineAnnealingLR", 7),
        lambda n: Falling(),
    ],
    ids=["cosine", "one cycle", "polynomial", "cosine of one length", "own"],
)
def test_schedules_for_a_number_of_epochs_begin_anew(schedule, data, tmp_path, trained):
    def fit(folder, n):
        callbacks = [schedule(n), Epochs()]
        return build(folder, callbacks=callbacks, max_epochs=n).fit(*data)

    fit(tmp_path, 2)
    trained.clear()
    with pytest.warns(UserWarning, match="max_epochs=4.*begins anew"):
        more = fit(tmp_path, 4)
    assert trained == [0, 1, 2, 3]
    assert_same_weights(more, fit(None, 4))
    trained.clear()
    fit(tmp_path, 4)
    assert trained == []


def test_a_training_that_was_stopped_stays_so(data, tmp_path, trained):
    params = {"early_stopping": True, "n_iter_no_change": 1, "lr": 0.0}
    params["callbacks"] = [Epochs()]
    first = build(tmp_path, max_epochs=4, **params).fit(*data)
    n_epochs = len(first.history)
    assert n_epochs < 4
    trained.clear()
    again = build(tmp_path, max_epochs=8, **params).fit(*data)
    assert trained == []
    assert len(again.history) == n_epochs
