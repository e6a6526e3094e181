"""Saved estimators come back as they were."""

import copy
import functools
import inspect
import math
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader, default_collate

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.estimators._parameters import PREFIXES
from skvision.exceptions import FormatError
from skvision.metrics import cross_entropy_scorer, top_k_scorer
from skvision.networks import MLP
from skvision.persistence._parameters import (
    ACCEPTED,
    ACCEPTED_PREFIXES,
    RUN_TIME_PREFIXES,
)
from skvision.persistence._parameters import RUN_TIME as RUN_TIME_NAMES
from skvision.preprocessing import InputSpec, RandomHorizontalFlip, RandomShift

NAMES = np.array(list("abcdefghij"))


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:120], digits.target[:120]


@pytest.fixture(scope="module")
def fitted(data):
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1, random_state=0)
    return net.fit(*data)


def flat(X):
    return X.reshape(len(X), -1)


def large(X):
    return np.pad(X, ((0, 0), (12, 12), (12, 12)))


class Own(nn.Module):
    def __init__(self, image_shape, n_outputs, width=5):
        super().__init__()
        self.input_spec = InputSpec(mean=(0.2,), std=(0.3,))
        self.first = nn.LazyLinear(width)
        self.last = nn.Linear(width, n_outputs)

    def forward(self, images):
        return self.last(torch.relu(self.first(images.flatten(1))))


class Subclass(ImageClassifier):
    pass


#: What is saved, and what is done to X and y before.
CASES = {
    "convnet": (lambda: ImageClassifier(epoch_scoring="accuracy"), None, None),
    "labels": (lambda: ImageClassifier("mlp"), None, lambda y: NAMES[y]),
    "label objects": (
        lambda: ImageClassifier("mlp"),
        None,
        lambda y: NAMES[y].astype(object),
    ),
    "flat rows": (
        lambda: ImageClassifier(module__dropout=0.5, optimizer="sgd", lr=0.1),
        flat,
        None,
    ),
    "floats": (lambda: ImageClassifier("mlp", dtype="float64"), lambda X: X / 7, None),
    "everything": (
        lambda: ImageClassifier(
            MLP,
            module__hidden=(16, 8),
            criterion=nn.CrossEntropyLoss,
            criterion__label_smoothing=0.1,
            criterion__weight=torch.arange(1.0, 11.0),
            optimizer=torch.optim.RMSprop,
            optimizer__momentum=0.5,
            augment=[RandomShift((1, 2)), None, [RandomHorizontalFlip()]][:2],
            class_weight={i: 1 + i for i in range(10)},
            epoch_scoring={"top": top_k_scorer(3), "entropy": cross_entropy_scorer()},
            early_stopping=True,
            random_state=np.random.RandomState(3),
        ),
        None,
        None,
    ),
    "frozen": (lambda: ImageClassifier("mlp", freeze="layers.0.*"), None, None),
    "resnet": (
        lambda: ImageClassifier("resnet18", optimizer="sgd", module__norm_layer=None),
        lambda X: large(X)[:10],
        lambda y: y[:10],
    ),
    "regressor": (lambda: ImageRegressor(), None, lambda y: y / 9),
    "targets": (lambda: ImageRegressor("mlp"), None, lambda y: np.c_[y, -y, y]),
    "autoencoder": (lambda: ImageAutoencoder(noise=RandomShift(1)), None, None),
    "flat autoencoder": (lambda: ImageAutoencoder(), flat, None),
}


def outputs(net, X):
    if hasattr(net, "reconstruct"):
        return np.concatenate([net.transform(X), flat(net.reconstruct(X))], axis=1)
    return net.predict_proba(X) if hasattr(net, "predict_proba") else net.predict(X)


def without_times(history):
    return [
        {key: value for key, value in row.items() if key not in ("dur", "batches")}
        for row in history
    ]


def assert_same(one, other, X):
    np.testing.assert_array_equal(outputs(one, X), outputs(other, X))
    if hasattr(one, "classes_"):
        assert one.classes_.dtype == other.classes_.dtype
        np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert without_times(one.history) == without_times(other.history)
    for name, value in one.module_.state_dict().items():
        assert torch.equal(value, other.module_.state_dict()[name])


def case(name, data):
    build, change_X, change_y = CASES[name]
    X, y = data
    X = X if change_X is None else change_X(X)
    y = y if change_y is None else change_y(y)
    net = build().set_params(max_epochs=2)
    if net.random_state is None:
        net.set_params(random_state=0)
    return net, X, y


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name, data, tmp_path):
    net, X, y = case(name, data)
    net.fit(X, y).save(tmp_path / "net.skv")
    loaded = skvision.load(tmp_path / "net.skv")
    assert type(loaded) is type(net)
    assert_same(net, loaded, X)
    public = ("image_shape_", "network_shape_", "n_features_in_", "n_outputs_")
    for attribute in public:
        assert getattr(net, attribute, None) == getattr(loaded, attribute, None)
    mine, theirs = (n.get_params(deep=False) for n in (net, loaded))
    assert mine.keys() == theirs.keys()
    comparable = (str, int, float, tuple, dict, type, type(None))
    for key, value in mine.items():
        if isinstance(value, comparable):
            assert theirs[key] == value, key
    # Training goes on as if nothing had happened in between.
    assert_same(net.partial_fit(X, y), loaded.partial_fit(X, y), X)
    # And begins again so, too.
    if isinstance(net.random_state, int):
        assert_same(clone(net).fit(X, y), clone(loaded).fit(X, y), X)


def test_a_second_save_gives_the_same_file(data, tmp_path):
    ImageClassifier(max_epochs=1, random_state=0).fit(*data).save(tmp_path / "one")
    skvision.load(tmp_path / "one").save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_random_state_is_left_alone(data, tmp_path):
    ImageClassifier(max_epochs=1).fit(*data).save(tmp_path / "net")
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    skvision.load(tmp_path / "net")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_names_of_features(data, tmp_path):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(flat(data[0]), columns=[f"pixel {i}" for i in range(64)])
    net = ImageClassifier(max_epochs=1, random_state=0).fit(X, data[1])
    net.save(tmp_path / "net")
    loaded = skvision.load(tmp_path / "net")
    assert loaded.feature_names_in_.tolist() == X.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(X.rename(columns={"pixel 0": "other"}))


def test_pretrained_estimator(data, tmp_path):
    X, y = data
    teacher = ImageAutoencoder(max_epochs=1, random_state=0).fit(X)
    params = {"freeze": "encoder", "pretrained_lr_mult": 0.5, "random_state": 0}
    net = ImageClassifier(pretrained=teacher, max_epochs=1, **params).fit(X, y)
    net.save(tmp_path / "net")
    loaded = skvision.load(tmp_path / "net")
    assert_same(net, loaded, X)
    assert_same(teacher, loaded.pretrained, X)
    assert_same(clone(net).fit(X, y), clone(loaded).fit(X, y), X)
    frozen = [p.requires_grad for p in net.module_.parameters()]
    assert [p.requires_grad for p in loaded.module_.parameters()] == frozen


def test_pretrained_weights(data, tmp_path):
    X, y = data
    teacher = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(X, y)
    for source in (teacher.module_, teacher.module_.state_dict()):
        net = ImageClassifier("mlp", pretrained=source, max_epochs=1, random_state=0)
        net.fit(X, y).save(tmp_path / "net")
        loaded = skvision.load(tmp_path / "net")
        assert_same(clone(net).fit(X, y), clone(loaded).fit(X, y), X)


class TestOwnNetworks:
    @pytest.mark.parametrize("given", [Own, functools.partial(Own)])
    def test_class(self, data, tmp_path, given):
        net = ImageClassifier(Own, module__width=7, max_epochs=2, random_state=0)
        net.fit(*data).save(tmp_path / "net")
        loaded = skvision.load(tmp_path / "net", module=given)
        assert loaded.module is given
        assert_same(net, loaded, data[0])
        assert_same(net.partial_fit(*data), loaded.partial_fit(*data), data[0])

    def test_class_that_is_trusted(self, data, tmp_path, monkeypatch):
        (tmp_path / "layers_of_mine.py").write_text(
            "from torch import nn\n"
            "class Outer:\n"
            "    class Net(nn.Sequential):\n"
            "        def __init__(self, n_outputs):\n"
            "            super().__init__(nn.Flatten(), nn.Linear(64, n_outputs))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import layers_of_mine

        net = ImageClassifier(layers_of_mine.Outer.Net, max_epochs=1, random_state=0)
        net.fit(*data).save(tmp_path / "net")
        name = "layers_of_mine.Outer.Net"
        with pytest.raises(FormatError, match=name):
            skvision.load(tmp_path / "net")
        with pytest.raises(FormatError, match=name):
            skvision.load(tmp_path / "net", trusted=["layers_of_mine"])
        assert_same(net, skvision.load(tmp_path / "net", trusted=[name]), data[0])
        monkeypatch.delitem(sys.modules, "layers_of_mine")
        (tmp_path / "layers_of_mine.py").write_text("")
        with pytest.raises(ImportError, match=name):
            skvision.load(tmp_path / "net", trusted=[name])

    def test_object(self, data, tmp_path):
        layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        net = ImageClassifier(layers, max_epochs=1, random_state=0).fit(*data)
        net.save(tmp_path / "net")
        with pytest.raises(FormatError, match="'Sequential'.*module="):
            skvision.load(tmp_path / "net")
        assert_same(net, skvision.load(tmp_path / "net", module=layers), data[0])
        other = nn.Sequential(nn.Flatten(), nn.Linear(64, 11))
        with pytest.raises(FormatError, match=r"1\.weight"):
            skvision.load(tmp_path / "net", module=other)

    def test_estimator(self, data, tmp_path):
        net = Subclass("mlp", max_epochs=1, random_state=0).fit(*data)
        if Subclass.__module__ not in sys.modules:
            pytest.skip("the module of this test cannot be imported by its name")
        net.save(tmp_path / "net")
        name = f"{Subclass.__module__}.Subclass"
        with pytest.raises(FormatError, match="Subclass"):
            skvision.load(tmp_path / "net")
        loaded = skvision.load(tmp_path / "net", trusted=[name])
        assert type(loaded) is Subclass
        assert_same(net, loaded, data[0])


#: Settings of a machine or a session, and whether a fit depends on them.
RUN_TIME = [
    ({"compile": True, "compile__options": {"max_autotune": False}}, False),
    ({"device": "cpu", "verbose": 1, "checkpoint_steps": 7}, False),
    ({"checkpoint": "elsewhere"}, False),
    ({"iterator_valid__num_workers": 40, "iterator_train__pin_memory": True}, False),
    ({"callbacks__print_log": None}, False),
    ({"callbacks__train_loss__name": "x"}, True),
    ({"callbacks": "disable"}, True),
    ({"iterator_train": DataLoader, "iterator_train__shuffle": True}, True),
    ({"iterator_train__collate_fn": default_collate}, True),
    ({"pretrained": "weights.pt"}, True),
]


@pytest.mark.parametrize(
    ("params", "warns"),
    RUN_TIME,
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_settings_of_a_session_are_not_kept(fitted, params, warns, tmp_path):
    net = copy.deepcopy(fitted).set_params(**params)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        net.save(tmp_path / "net")
    messages = [str(warning.message) for warning in found]
    assert len(messages) == warns
    assert all(name in message for message in messages for name in params)
    assert skvision.load(tmp_path / "net").get_params() == fitted.get_params()
    # Whoever loads the file may set them.
    mine = skvision.load(tmp_path / "net", **params).get_params()
    assert {name: mine[name] for name in params} == params


def test_what_a_file_sets_is_not_given_to_load(fitted, tmp_path):
    fitted.save(tmp_path / "net")
    with pytest.raises(TypeError, match="max_epochs=3.*device.*iterator_valid__"):
        skvision.load(tmp_path / "net", max_epochs=3)
    with pytest.raises(ValueError, match="cuda:7"):
        skvision.load(tmp_path / "net", device="cuda:7")


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor, ImageAutoencoder])
def test_every_parameter_is_kept_or_not(kind):
    """A new parameter needs a line there: what a file may set it to, if anything."""
    names = set(inspect.signature(kind).parameters)
    assert names <= {*ACCEPTED, *RUN_TIME_NAMES}
    assert set(PREFIXES) == {*ACCEPTED_PREFIXES, *RUN_TIME_PREFIXES}


def test_what_a_file_may_not_set_is_not_saved(fitted, tmp_path):
    net = copy.deepcopy(fitted).set_params(max_epochs=10**12)
    with pytest.raises(ValueError, match="max_epochs=1000000000000"):
        net.save(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callbacks", [LRScheduler()]),
        ("train_split", predefined_split(None)),
        ("epoch_scoring", {"mine": lambda net, X, y: 0.0}),
        ("augment", [RandomShift(1), lambda image: image]),
        ("criterion", nn.CrossEntropyLoss()),
        ("module__activation", nn.ReLU()),
        ("optimizer__betas", np.array([object()])),
    ],
)
def test_what_is_no_data(data, tmp_path, name, value):
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(*data)
    net.save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()
    net.set_params(**{name: value}) if "__" not in name else setattr(net, name, value)
    with pytest.raises(TypeError, match=rf"parameter {name}.*set_params\({name}="):
        net.save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == before


def test_parameters_of_a_pretrained_estimator_are_named(data, tmp_path):
    teacher = ImageAutoencoder(max_epochs=1, random_state=0).fit(data[0])
    net = ImageClassifier(pretrained=teacher, max_epochs=1).fit(*data)
    teacher.set_params(callbacks=[LRScheduler()])
    with pytest.raises(TypeError, match="pretrained.callbacks"):
        net.save(tmp_path / "net")


def test_no_gpu(data, tmp_path):
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(*data)
    expected = net.predict_proba(data[0])
    net.set_params(device="cuda:7").save(tmp_path / "net")
    loaded = skvision.load(tmp_path / "net")
    assert str(loaded.device_) == "cpu"
    np.testing.assert_array_equal(loaded.predict_proba(data[0]), expected)


def test_history_with_nan(data, tmp_path):
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(*data)
    net.history.record("mine", math.nan)
    net.save(tmp_path / "net")
    assert math.isnan(skvision.load(tmp_path / "net").history[-1, "mine"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("optimizer", "adagrad"), ("criterion", "huber"), ("batch_size", 0)],
)
def test_wrong_parameters_are_neither_saved_nor_loaded(
    fitted, tmp_path, monkeypatch, name, value
):
    net = copy.deepcopy(fitted).set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        net.save(tmp_path / "net")
    monkeypatch.setattr(ImageClassifier, "_validate_params", lambda self: None)
    net = copy.deepcopy(fitted).set_params(batch_size=0)
    net.save(tmp_path / "net")
    monkeypatch.undo()
    with pytest.raises(FormatError, match="batch_size"):
        skvision.load(tmp_path / "net")


@pytest.mark.parametrize(
    "given",
    [
        {"callbacks": 3},
        {"callbacks": [3]},
        {"callbacks": [LRScheduler("OneCycleLR")]},
        {"verbose": "much"},
        {"checkpoint_steps": 0},
        {"module": 3},
    ],
    ids=["number", "numbers", "schedule", "verbose", "steps", "module"],
)
def test_wrong_settings_are_no_fault_of_the_file(fitted, tmp_path, given):
    fitted.save(tmp_path / "net")
    with pytest.raises((TypeError, ValueError), match=next(iter(given))) as caught:
        skvision.load(tmp_path / "net", **given)
    assert not isinstance(caught.value, FormatError)


def test_no_split_as_skorch_says_it(fitted, data, tmp_path):
    net = clone(fitted).set_params(train_split=False).fit(*data)
    net.save(tmp_path / "net")
    assert skvision.load(tmp_path / "net").train_split is False


def test_what_load_would_not_build_is_not_saved(data, tmp_path):
    X, y = data
    net = ImageClassifier("mlp", module__hidden=(2,) * 500, max_epochs=0).fit(X, y)
    with pytest.raises(ValueError, match="2005 layers and weights.*save_params"):
        net.save(tmp_path / "file.skv")
