"""Pretrained weights and frozen parameters."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback, Freezer, Unfreezer
from torch import nn

from skvision import ImageClassifier, load
from skvision.networks import ConvNet

SMALL = {"module__channels": (4, 8), "module__hidden": (16,)}


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:200], digits.target[:200]


@pytest.fixture(scope="module")
def trained(data):
    net = ImageClassifier("convnet", max_epochs=1, random_state=0, **SMALL)
    return net.fit(*data)


def untouched(**params):
    """Return an estimator whose training changes no weight."""
    return ImageClassifier(
        "convnet", max_epochs=1, lr=0, optimizer="sgd", **SMALL, **params
    )


def weights(net, prefix=""):
    state = net.module_.state_dict()
    return {
        name: value
        for name, value in state.items()
        if name.startswith(prefix) and "running" not in name and "num_b" not in name
    }


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def as_file(net, path):
    torch.save(net.module_.state_dict(), path / "weights.pt")
    return str(path / "weights.pt")


def as_safetensors(net, path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(net.module_.state_dict(), path / "weights.safetensors")
    return path / "weights.safetensors"


@pytest.mark.parametrize(
    "source",
    [
        lambda net, path: net,
        lambda net, path: net.module_,
        lambda net, path: net.module_.state_dict(),
        as_file,
        as_safetensors,
    ],
    ids=["estimator", "module", "state", "file", "safetensors"],
)
def test_the_whole_network(source, trained, data, tmp_path):
    net = untouched(pretrained=source(trained, tmp_path)).fit(*data)
    assert_equal(weights(net), weights(trained))


def test_the_encoder_where_the_heads_differ(trained, data):
    X, y = data
    net = untouched(pretrained=trained, random_state=1).fit(X[y < 4], y[y < 4])
    assert_equal(weights(net, "encoder."), weights(trained, "encoder."))
    assert weights(net)["head.1.weight"].shape == (16, trained.module_.n_features)


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


OWN_HEAD = r"head.4.weight \(10, 16\), .*; the network has new ones .* \(4, 16\)"


@pytest.mark.parametrize(
    ("change", "n_classes", "said"),
    [
        (lambda state: state, 10, None),
        (lambda state: state, 4, f"not taken: head.1.weight .*, {OWN_HEAD}"),
        (lambda state: {"epoch": 3, "state_dict": state, "optimizer": {}}, 10, None),
        (lambda state: {"model": {"state_dict": state}}, 10, None),
        (
            lambda state: {"ema": prefixed("x.", state), "model": state},
            10,
            "its entry 'model' was taken, not 'ema'",
        ),
        (lambda state: prefixed("module.", state), 10, "prefix 'module.' of its names"),
        (
            lambda state: (
                prefixed("model._orig_mod.", state) | {"loss.weight": torch.ones(4)}
            ),
            10,
            r"prefix 'model._orig_mod.' .*; .* not taken: loss.weight \(4,\)\.",
        ),
        (
            lambda state: {"state_dict": prefixed("model.", state)},
            4,
            f"'model.'.*{OWN_HEAD}",
        ),
        (
            lambda state: prefixed("backbone.", only("encoder.", state)),
            10,
            "prefix 'backbone.' .*; the network has new ones in its head: head",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["file", "dict"])
def test_what_is_left_out_of_a_file(
    change, n_classes, said, kind, trained, data, tmp_path, recwarn
):
    X, y = data
    source = change(trained.module_.state_dict())
    if kind == "file":
        torch.save(source, tmp_path / "weights.pt")
        source = tmp_path / "weights.pt"
    net = untouched(pretrained=source, random_state=1).fit(X, y % n_classes)
    is_whole = n_classes == 10 and "head" not in (said or "")
    part = "" if is_whole else "encoder."
    assert_equal(weights(net, part), weights(trained, part))
    told = [str(w.message) for w in recwarn if "pretrained" in str(w.message)]
    assert len(told) == (said is not None)
    assert all(re.search(f"^pretrained.*: .*{said}", message) for message in told)


def only(prefix, state):
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def test_an_encoder_by_itself(trained, data):
    net = untouched(pretrained=trained.module_.encoder).fit(*data)
    assert_equal(weights(net, "encoder."), weights(trained, "encoder."))


def test_mix(trained, data):
    own = weights(untouched(random_state=3).fit(*data))
    mixed = untouched(random_state=3, pretrained=trained, pretrained_mix=0.25)
    for name, value in weights(mixed.fit(*data)).items():
        expected = 0.25 * weights(trained)[name] + 0.75 * own[name]
        torch.testing.assert_close(value, expected)


def test_pretrained_estimators_bring_their_normalization(trained, data):
    X, y = data
    net = untouched(pretrained=trained).fit(X[:50], y[:50] % 10)
    assert torch.equal(net.scaler_.mean, trained.scaler_.mean)
    assert torch.equal(net.scaler_.std, trained.scaler_.std)
    fresh = untouched().fit(X[:50], y[:50])
    assert not torch.equal(fresh.scaler_.mean, trained.scaler_.mean)


def test_clones_keep_the_weights(trained, data):
    net = ImageClassifier("convnet", pretrained=trained, max_epochs=1, **SMALL)
    assert clone(net).pretrained is trained
    before = pickle.dumps(trained.module_.state_dict())
    scores = cross_val_score(net, *data, cv=2, error_score="raise")
    assert np.isfinite(scores).all()
    assert pickle.dumps(trained.module_.state_dict()) == before


def test_weights_that_do_not_fit_are_listed(trained, data):
    with pytest.raises(ValueError, match=r"MLP: layers\.0\.weight is missing"):
        ImageClassifier("mlp", pretrained=trained).fit(*data)
    other = ConvNet((1, 8, 8), 10, channels=(4, 6), hidden=(16,))
    with pytest.raises(ValueError, match=r"encoder\.\S+ has shape \(6, 4, 3, 3\)"):
        ImageClassifier("convnet", pretrained=other, **SMALL).fit(*data)


def with_one(value):
    def change(tensor):
        tensor = tensor.double()
        tensor[0, 0, 1, 1] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_one(math.nan), "1 of 36 values that are NaN or infinite"),
        (with_one(-math.inf), "1 of 36 values that are NaN or infinite"),
        (with_one(1e300), "infinite as torch.float32"),
        (lambda tensor: tensor + 1j, "complex"),
        (lambda tensor: tensor.to_sparse(), "torch.sparse_coo"),
        (lambda tensor: tensor.to("meta"), "meta device"),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "quan"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning", "ignore:.*Typed")
def test_what_are_no_weights(change, message, trained, data, tmp_path):
    name = "encoder.0.weight"
    state = trained.module_.state_dict()
    assert state[name].shape == (4, 1, 3, 3)
    state[name] = change(state[name])
    torch.save(state, tmp_path / "weights.pt")
    for source in (state, tmp_path / "weights.pt"):
        net = untouched(pretrained=source)
        with pytest.raises(ValueError, match=rf"pretrained.*'{name}'.*{message}"):
            net.fit(*data)


def test_masks_may_be_infinite(data):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)
            self.register_buffer("mask", torch.tensor([0.0, -math.inf]))

        def forward(self, images):
            return self.layer(images.flatten(1)) + self.mask[0]

    net = ImageClassifier(Masked, pretrained=Masked(), max_epochs=1).fit(*data)
    assert net.module_.mask.tolist() == [0.0, -math.inf]


def test_frozen_encoder(data):
    net = ImageClassifier("convnet", freeze="encoder", random_state=0, **SMALL)
    initial = untouched(random_state=0)
    initial.fit(*data)
    net.set_params(max_epochs=2).fit(*data)
    # Batch normalisation stays in evaluation mode, so its statistics stay as well.
    for name, value in net.module_.encoder.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, initial.module_.encoder.state_dict()[name])
        elif "running_mean" in name:
            assert not value.any()
    heads = [net.module_.head.state_dict(), initial.module_.head.state_dict()]
    assert not torch.equal(heads[0]["1.weight"], heads[1]["1.weight"])


class Dropping(nn.Module):
    """Drops all features in training mode, before its head, too, if `again`."""

    def __init__(self, image_shape, n_outputs, again=False):
        super().__init__()
        drop = nn.Dropout(1.0)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), drop)
        layers = [drop, nn.Linear(8, n_outputs)]
        self.head = nn.Sequential(*layers[0 if again else 1 :])

    def forward(self, images):
        return self.head(self.encoder(images))


@pytest.mark.parametrize(
    ("freeze", "again", "is_trained"),
    [
        ("encoder", False, True),
        (["encoder.1.*"], False, True),
        (["encoder.1.bias"], False, False),
        (None, False, False),
        # What is used outside of the frozen part is in training mode.
        ("encoder", True, False),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_frozen_parts_drop_nothing(freeze, again, is_trained, data):
    params = {"freeze": freeze, "module__again": again, "random_state": 0}
    net = ImageClassifier(Dropping, **params, max_epochs=0).fit(*data)
    (before,) = (v.clone() for k, v in weights(net, "head").items() if "weight" in k)
    net.set_params(max_epochs=1).partial_fit(*data)
    (after,) = (v for k, v in weights(net, "head").items() if "weight" in k)
    assert torch.equal(before, after) is not is_trained


RANDOM = "random weights .* {} and {} others. Give .* pretrained=.* freeze=None"


@pytest.mark.parametrize(
    ("module", "params", "message"),
    [
        ("convnet", {"freeze": "encoder"}, RANDOM.format("encoder.0.weight", 7)),
        (
            "convnet",
            {"freeze": "head.*", "pretrained": "encoder"},
            RANDOM.format("head.1.weight", 3),
        ),
        ("convnet", {"freeze": "encoder", "pretrained": "encoder"}, None),
        # It may bring weights of its own.
        (ConvNet, {"freeze": "encoder"}, None),
    ],
)
def test_frozen_random_weights(module, params, message, trained, data, recwarn):
    if "pretrained" in params:
        params = params | {"pretrained": trained.module_.encoder}
    net = ImageClassifier(module, max_epochs=1, **SMALL, **params).fit(*data)
    pickle.loads(pickle.dumps(net)).partial_fit(*data)
    told = [str(w.message) for w in recwarn if "random" in str(w.message)]
    assert len(told) == (message is not None)
    assert all(re.search(message, one) for one in told)


def test_freeze_by_pattern(data):
    net = ImageClassifier("convnet", freeze=["head.*", "*bias"], max_epochs=1, **SMALL)
    net.fit(*data)
    for name, parameter in net.module_.named_parameters():
        frozen = name.startswith("head.") or name.endswith("bias")
        assert parameter.requires_grad is not frozen


def test_encoder_of_a_network_without_one(data):
    class Plain(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)
            )

    net = ImageClassifier(Plain, freeze="backbone", max_epochs=1).fit(*data)
    requires = {n: p.requires_grad for n, p in net.module_.named_parameters()}
    assert requires == {
        "1.weight": False,
        "1.bias": False,
        "3.weight": True,
        "3.bias": True,
    }


class Changes(Callback):
    """Notes which weights each epoch has changed."""

    def on_train_begin(self, net, **kwargs):
        self.changed_, self.before = [], copy.deepcopy(weights(net))

    def on_epoch_end(self, net, **kwargs):
        now = copy.deepcopy(weights(net))
        changed = {k for k, v in now.items() if not torch.equal(v, self.before[k])}
        self.changed_.append({name.rpartition(".")[0] for name in changed})
        self.before = now


HEAD, ALL = {"head"}, {"layers.0", "layers.2", "head"}


@pytest.mark.parametrize(
    ("unfreeze_at", "changed"),
    [
        (None, [HEAD, HEAD, HEAD]),
        (2, [HEAD, ALL, ALL]),
        ({2: ["layers.2*"]}, [HEAD, HEAD | {"layers.2"}, HEAD | {"layers.2"}]),
        ({3: "backbone", 2: "layers.2*"}, [HEAD, HEAD | {"layers.2"}, ALL]),
    ],
)
@pytest.mark.parametrize("way", ["fit", "partial_fit", "warm_start", "saved"])
@pytest.mark.filterwarnings("ignore:freeze=", "ignore:unfreeze_at=")
def test_unfreezing_in_the_course_of_a_training(
    unfreeze_at, changed, way, data, tmp_path
):
    params = {"freeze": "backbone", "unfreeze_at": unfreeze_at, "random_state": 0}
    changes = Changes()
    net = ImageClassifier("mlp", module__hidden=(8, 8), **params, callbacks=[changes])
    if way == "fit":
        net.set_params(max_epochs=3).fit(*data)
        assert dict(net.callbacks_)["Changes"].changed_ == changed
        return
    net.set_params(max_epochs=1, warm_start=way == "warm_start").fit(*data)
    found = [*dict(net.callbacks_)["Changes"].changed_]
    for _ in range(2):
        if way == "saved":
            net.set_params(callbacks=None).save(tmp_path / "net")
            net = load(tmp_path / "net").set_params(callbacks=[changes])
        go_on = net.fit if way == "warm_start" else net.partial_fit
        found += dict(go_on(*data).callbacks_)["Changes"].changed_
    assert found == changed


@pytest.mark.filterwarnings("ignore:freeze=")
def test_unfreezing_is_what_skorchs_callbacks_and_set_params_do(data):
    # With a fixed order of rows, trainings that follow each other are one.
    params = {"batch_size": 50, "iterator_train__shuffle": False, "random_state": 0}
    params |= {"optimizer": "sgd", "optimizer__momentum": 0.5}
    net = ImageClassifier("mlp", **params, max_epochs=3)
    one = clone(net).set_params(freeze="encoder", unfreeze_at=3).fit(*data)
    callbacks = [Freezer("layers.[02]*"), Unfreezer("layers.[02]*", at=3)]
    by_callbacks = clone(net).set_params(callbacks=callbacks).fit(*data)
    by_hand = clone(net).set_params(freeze="encoder", max_epochs=2).fit(*data)
    by_hand.set_params(freeze=None, max_epochs=1).partial_fit(*data)
    assert all(p.requires_grad for p in one.module_.parameters())
    assert_equal(weights(one), weights(by_callbacks))
    assert_equal(weights(one), weights(by_hand))


@pytest.mark.filterwarnings("ignore:freeze=")
def test_batch_normalisation_and_dropout_after_unfreezing(data):
    class Modes(Callback):
        def on_batch_begin(self, net, training, **kwargs):
            if training:
                net.history.record("training", net.module_.encoder.training)

    net = ImageClassifier(
        "convnet", freeze="encoder", unfreeze_at=2, callbacks=[Modes()], max_epochs=2
    )
    net.set_params(**SMALL, module__conv_dropout=0.5).fit(*data)
    assert net.history[:, "training"] == [False, True]
    state = net.module_.state_dict()
    counts = [value.item() for name, value in state.items() if "num_batches" in name]
    assert counts == [2, 2]  # Those of the second epoch.


@pytest.mark.parametrize(
    ("given", "max_epochs", "warm_start", "n"),
    [
        *[(3, 2, False, 1), (3, 3, False, 0), (3, 2, True, 0), (3, 0, False, 0)],
        ({2: "layers.0*", 5: "layers.2*"}, 4, False, 1),
    ],
)
def test_unfreezing_that_does_not_come(given, max_epochs, warm_start, n, data, recwarn):
    net = ImageClassifier("mlp", freeze="encoder", max_epochs=max_epochs)
    net.set_params(unfreeze_at=given, warm_start=warm_start).fit(*data)
    told = [str(w.message) for w in recwarn if "unfreeze_at" in str(w.message)]
    assert len(told) == n
    assert all(re.search("epoch [35], but max_epochs=[24]: .* Set", t) for t in told)


def test_rates_of_layers(trained, data):
    mult = {"encoder.0.*": 0.25, "encoder.*": 0.5}
    net = untouched(pretrained=trained, pretrained_lr_mult=mult).fit(*data)
    net.set_params(lr=0.5)
    names = {p: name for name, p in net.module_.named_parameters()}
    found = {
        names[p]: g["lr"] for g in net.optimizer_.param_groups for p in g["params"]
    }
    assert found == {
        name: 0.125 if name.startswith("encoder.0.") else 0.25 if "enc" in name else 0.5
        for name in names.values()
    }
    # The whole network has one rate less than the others.
    one = untouched(pretrained=trained, pretrained_lr_mult={"*": 0.5}).fit(*data)
    other = untouched(pretrained=trained, pretrained_lr_mult=0.5).fit(*data)
    groups = [net.optimizer_.state_dict()["param_groups"] for net in (one, other)]
    assert groups[0] == groups[1]


@pytest.mark.parametrize("by", ["set_params", "callbacks"])
def test_unfrozen_weights_take_their_first_step(by, data):
    """With momentum, SGD's is another one than the steps of weights trained before."""
    X, y = data
    params = {"optimizer": "sgd", "optimizer__momentum": 0.5, "max_epochs": 1}
    nets = []
    for fused in (True, None):
        net = ImageClassifier("mlp", **params, random_state=0, optimizer__fused=fused)
        if by == "callbacks":
            callbacks = [Freezer("layers*"), Unfreezer("layers*", at=2)]
            net.set_params(callbacks=callbacks, max_epochs=3).fit(X, y)
        else:
            net.set_params(freeze="encoder").fit(X, y)
            net.set_params(freeze=None, max_epochs=2).partial_fit(X, y)
        assert all("momentum_buffer" in s for s in net.optimizer_.state.values())
        nets.append(net)
    torch.testing.assert_close(*(dict(n.module_.named_parameters()) for n in nets))
