"""What makes fits faster leaves their results as they are."""

import pickle
import shutil
import signal

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn

from skvision import ImageClassifier
from skvision.estimators import _run
from skvision.exceptions import DivergedError
from skvision.networks import ConvNet

CPU = torch.device("cpu")
CUDA = torch.device("cuda")

OPTIONS = {
    "amp": {"amp": True},
    "channels_last": {"memory_format": "channels_last"},
    "contiguous": {"memory_format": "contiguous"},
    "all": {
        "amp": True,
        "memory_format": "channels_last",
        # Traced as for any backend, but without a compiler's time.
        "compile": True,
        "compile__backend": "eager",
    },
}

by_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))


def build(module, **params):
    defaults = {
        "batch_size": 32,
        "max_epochs": 3,
        "lr": 0.01,
        "device": "cpu",
        "random_state": 0,
    }
    return ImageClassifier(module, **defaults | params)


def convnet(**params):
    layers = {"channels": (4, 8), "hidden": (16,), "dropout": 0.0}
    layers = {f"module__{name}": value for name, value in layers.items()}
    return build("convnet", **layers | params)


def weights(net):
    """Return all weights and statistics of a network in one array."""
    values = net.module_.state_dict().values()
    return torch.cat([value.double().flatten() for value in values]).numpy()


class Spy(nn.Module):
    """Tells of each batch whether it is of training, and what it is like."""

    seen: list

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.convolution = nn.Conv2d(image_shape[0], 4, 3)
        self.head = nn.LazyLinear(n_outputs)

    def forward(self, images):
        values = self.convolution(images)
        order = torch.channels_last
        type(self).seen.append(
            {
                "training": self.training,
                "stride": images.stride(),
                "in order": [
                    part.is_contiguous(memory_format=order) for part in (images, values)
                ],
                "dtype": values.dtype,
            }
        )
        return self.head(values.flatten(1))


class Viewing(nn.Module):
    """Takes for granted that values lie channel by channel."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.convolution = nn.Conv2d(image_shape[0], 4, 3)
        self.head = nn.LazyLinear(n_outputs)

    def forward(self, images):
        values = self.convolution(images)
        return self.head(values.view(len(values), -1))


@pytest.fixture
def seen():
    Spy.seen = []
    return Spy.seen


@pytest.fixture(scope="module")
def greys(digits):
    return digits.data[:200], digits.target[:200]


@pytest.fixture(scope="module")
def colours(digits):
    """Digits in a colour each, (n, H, W, 3)."""
    rng = np.random.default_rng(0)
    colour = rng.uniform(0.3, 1, size=(200, 1, 1, 3))
    X = (digits.data[:200, :, :, None] * colour).astype(np.uint8)
    return X, digits.target[:200]


# -------------------------------------------------------- each option in all respects


@by_option
def test_fit_pickle_and_clone(colours, options):
    X, y = colours
    net = convnet(**options, max_epochs=8).fit(X, y)
    assert net.score(X, y) > 0.9
    expected = net.predict_proba(X)
    assert expected.dtype == np.float32
    loaded = pickle.loads(pickle.dumps(net))
    assert_array_equal(loaded.predict_proba(X), expected)
    assert loaded.get_params().keys() == net.get_params().keys()
    assert_array_equal(clone(net).fit(X, y).predict_proba(X), expected)
    # Training goes on alike.
    for other in (net, loaded):
        other.partial_fit(X, y)
    assert_array_equal(weights(loaded), weights(net))
    assert len(loaded.history) == 16


def test_search(colours):
    grid = [{"amp": [True]}, {"memory_format": ["channels_last", "contiguous"]}]
    search = GridSearchCV(convnet(max_epochs=6), grid, cv=2, error_score="raise")
    scores = search.fit(*colours).cv_results_["mean_test_score"]
    assert (scores > 0.5).all()
    # Formats of memory alone change nothing but the rounding.
    assert scores[1] == pytest.approx(scores[2], abs=0.02)


@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")),
    reason="torch.compile needs a C++ compiler",
)
def test_compiled_for_this_machine(greys, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)
    # Whole batches, as each other size is compiled anew.
    X, y = greys[0][:160], greys[1][:160]
    params = {"module__hidden": (8,), "iterator_valid__batch_size": 32, "max_epochs": 1}
    net = build("mlp", **params, compile=True).fit(X, y)
    assert list(tmp_path.rglob("*.so"))
    plain = build("mlp", **params).fit(X, y)
    assert_allclose(net.predict_proba(X), plain.predict_proba(X), atol=1e-5)


def test_what_is_compiled(greys):
    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph.forward

    compiled: list[int] = []
    net = convnet(max_epochs=1, compile=True, compile__backend=backend)
    net.fit(*greys)
    assert compiled
    compiled.clear()
    assert_array_equal(net.predict(greys[0]), net.predict(greys[0]))
    assert compiled  # In evaluation the network is another one.
    compiled.clear()
    convnet(max_epochs=1).fit(*greys)
    assert not compiled


# --------------------------------------------------------------------- half precision


def test_amp_computes_in_bfloat16(colours, seen):
    X, y = colours
    dtype = "float32"
    found = []
    for amp in (False, True):
        seen.clear()
        found.append(build(Spy, dtype=dtype, amp=amp).fit(X, y).predict_proba(X))
        expected = torch.bfloat16 if amp else getattr(torch, dtype)
        # The first batch is that which tries the network.
        assert {batch["dtype"] for batch in seen[1:]} == {expected}
    assert found[0].dtype == found[1].dtype == dtype
    assert_allclose(found[1], found[0], atol=0.1)
    assert (found[1] != found[0]).any()


# ------------------------------------------------------------------- order in memory


@pytest.mark.parametrize("n_channels", [1, 3])
@pytest.mark.parametrize("memory_format", ["auto", "channels_last", "contiguous"])
def test_order_in_memory(colours, seen, memory_format, n_channels):
    X, y = colours
    net = build(Spy, memory_format=memory_format).fit(X[..., :n_channels], y)
    net.predict(X[..., :n_channels])
    assert {batch["training"] for batch in seen} == {True, False}
    for batch in seen:
        if memory_format == "contiguous":
            # What counts is how convolutions are done, not how images are stored.
            assert batch["stride"] == (64 * n_channels, 64, 8, 1)
            assert not batch["in order"][1]
        else:
            assert batch["stride"][1:] == (1, 8 * n_channels, n_channels)
            assert batch["in order"] == [True, True]


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_automatic_order(device, amp):
    net = ImageClassifier(amp=amp)
    net.device_ = device
    net._try(ConvNet((3, 8, 8), 5), (3, 8, 8))
    assert net._channels_last is (device is CPU or amp)
    net._try(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), (3, 8, 8))
    assert net._channels_last is False


def test_network_that_needs_the_other_order(colours):
    X, y = colours
    automatic = build(Viewing).fit(X, y)
    assert_array_equal(
        weights(automatic),
        weights(build(Viewing, memory_format="contiguous").fit(X, y)),
    )
    assert automatic.score(X, y) > 0.5
    with pytest.raises(ValueError, match="Viewing cannot take images.*view"):
        build(Viewing, memory_format="channels_last").fit(X, y)


# --------------------------------------------------------------- equal in float64


@pytest.mark.parametrize(
    "optimizer",
    [
        {
            "optimizer": "sgd",
            "optimizer__momentum": 0.9,
            "optimizer__weight_decay": 0.01,
        },
        {"optimizer": "adam"},
        {"optimizer": "adamw", "optimizer__weight_decay": 0.1},
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_steps_and_orders_agree(colours, optimizer):
    found = {}
    for fused in ({}, {"optimizer__fused": False}):
        for memory_format in ("channels_last", "contiguous"):
            params = {"memory_format": memory_format, "lr": 0.003, **optimizer, **fused}
            net = convnet(dtype="float64", **params).fit(*colours)
            assert bool(net.optimizer_.defaults["fused"]) is not bool(fused)
            found[bool(fused), memory_format] = weights(net)
    expected = found.pop((True, "contiguous"))
    start = weights(convnet(dtype="float64", lr=0.0).fit(*colours))
    assert np.abs(expected - start).max() > 0.01
    for other in found.values():
        assert_allclose(other, expected, rtol=0, atol=1e-9)


class OwnAdam(torch.optim.Adam):
    """Might do more in a step."""


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": OwnAdam},
        {"optimizer": "rmsprop"},
        {"optimizer__foreach": True},
        {"optimizer__differentiable": False},
    ],
)
def test_steps_that_are_not_fused(greys, params):
    net = convnet(max_epochs=1, **params).fit(*greys)
    assert not net.optimizer_.defaults.get("fused")


# ------------------------------------------------------- losses at the end of an epoch


@pytest.fixture
def late(monkeypatch):
    """Let losses be fetched as on a GPU."""

    def switch():
        monkeypatch.setattr(_run, "fetches_losses", lambda net: False)

    return switch


def without_durations(history):
    return [
        {name: value for name, value in epoch.items() if name != "dur"}
        for epoch in history
    ]


def test_losses_fetched_later(greys, late):
    def fit():
        net = convnet(early_stopping=True, epoch_scoring=["accuracy"], max_epochs=4)
        return net.fit(X, y, sample_weight=np.linspace(0.5, 2, len(y)))

    X, y = greys
    expected = fit()
    late()
    net = fit()
    assert_array_equal(weights(net), weights(expected))
    history = without_durations(net.history)
    assert history == without_durations(expected.history)
    # Six batches of training and one of validation.
    losses = [
        value
        for batch in history[0]["batches"]
        for name, value in batch.items()
        if name.endswith("_loss")
    ]
    assert len(losses) == 7
    assert all(type(loss) is float for loss in losses)


def test_divergence_seen_later(greys, late):
    def message():
        net = convnet(optimizer="sgd", lr=1e10, module__batch_norm=False)
        with pytest.raises(DivergedError) as caught:
            net.fit(*greys)
        assert len(net.history) == 1
        assert net.history[0, "batches", 0, "train_loss"] < 10
        return str(caught.value)

    at_once = message()
    late()
    assert message() == at_once
    assert "in epoch 1: the training loss became" in at_once


class Interrupt(Callback):
    """Presses Ctrl-C in the second batch."""

    def __init__(self):
        self.armed = True

    def on_batch_begin(self, net, **kwargs):
        if self.armed and len(net.history[-1]["batches"]) == 2:
            self.armed = False
            signal.raise_signal(signal.SIGINT)


def test_divergence_after_an_interruption(greys, late, ctrl_c):
    late()
    net = convnet(callbacks=[Interrupt()], optimizer="sgd")
    with pytest.raises(KeyboardInterrupt):
        net.fit(*greys)
    before = weights(net)
    net.partial_fit(*greys)
    assert (weights(net) != before).any()
    net.set_params(lr=1e30)
    with pytest.raises(DivergedError, match="epoch 4.*, with lr=1e\\+30"):
        net.partial_fit(*greys)
