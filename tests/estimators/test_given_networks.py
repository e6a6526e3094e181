"""Networks that callbacks or methods of the user's make, as skorch's users do."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, InputShapeSetter, LRScheduler
from skvision_tests import NAMES, make_images, make_targets
from torch import nn

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.networks import MLP, ConvAutoencoder

QUICK = {"max_epochs": 2, "batch_size": 16, "random_state": 0}


class Required(nn.Module):
    """Cannot be built without its number of inputs."""

    def __init__(self, num_units, n_outputs=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(num_units, n_outputs))

    def forward(self, X):
        return self.layers(X)


class Defaulted(Required):
    """Can be built, but takes no images."""

    def __init__(self, num_units=1, n_outputs=3):
        super().__init__(num_units, n_outputs)


class Widening(nn.Sequential):
    """Takes images of any size, whatever its setting."""

    def __init__(self, image_shape, n_outputs, width=2):
        n_pixels = int(np.prod(image_shape))
        super().__init__(
            nn.Flatten(), nn.Linear(n_pixels, width), nn.Linear(width, n_outputs)
        )


class Setter(Callback):
    """Sets one parameter, by default the number of features."""

    def __init__(self, name="module__num_units", value=None):
        self.name, self.value = name, value

    def on_train_begin(self, net, X, y):
        value = X.shape[1] if self.value is None else self.value
        net.set_params(**{self.name: value})


class Looking(Callback):
    """Keeps what it finds when it is told that training begins."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.found_ = net.module_, net.optimizer_


@pytest.fixture(scope="module")
def data():
    X, y = make_images()
    return X.reshape(len(X), -1).astype(np.float32), y


KINDS = {
    "classifier": (ImageClassifier, lambda X, y: NAMES[y]),
    "regressor": (ImageRegressor, lambda X, y: make_targets(X.reshape(-1, 8, 8), 3)),
}


@pytest.mark.parametrize(
    ("module", "callback", "kind"),
    [
        (Required, Setter(), "classifier"),
        (Required, InputShapeSetter("num_units"), "regressor"),
        (Defaulted, InputShapeSetter("num_units"), "classifier"),
        (Defaulted, Setter, "regressor"),
    ],
    ids=["own", "skorch's", "skorch's, anew", "class"],
)
def test_the_number_of_features_is_set_when_training_begins(
    data, module, callback, kind, tmp_path
):
    X, y = data
    estimator, targets = KINDS[kind]
    y = targets(X, y)
    net = estimator(module, callbacks=[callback, Looking()], **QUICK)
    looking = dict(net.fit(X, y).callbacks_)["Looking"]
    assert looking.found_ == (net.module_, net.optimizer_)
    assert net.module_.layers[1].in_features == 64
    assert len(net.history) == 2
    assert net.history[-1, "train_loss"] != net.history[0, "train_loss"]
    assert net.predict(X).shape == y.shape
    assert net.partial_fit(X, y).history[-1, "epoch"] == 4
    # Others are built anew at each fit.
    again = clone(net).fit(X[:, :10], y)
    assert again.module_.layers[1].in_features == 10
    assert_array_equal(pickle.loads(pickle.dumps(net)).predict(X), net.predict(X))
    again.set_params(callbacks=None).save(tmp_path / "net")
    name = f"{module.__module__}.{module.__qualname__}"
    loaded = skvision.load(tmp_path / "net", trusted=[name])
    assert_array_equal(loaded.predict(X[:, :10]), again.predict(X[:, :10]))


def test_in_pipelines_and_searches(data):
    X, y = data
    net = ImageClassifier(Required, callbacks=[Setter()], **QUICK)
    pipeline = make_pipeline(SelectKBest(k=5), net)
    search = GridSearchCV(pipeline, {"selectkbest__k": [5, 12]}, cv=2).fit(X, y)
    fitted = search.best_estimator_[-1].module_
    assert fitted.layers[1].in_features == search.best_params_["selectkbest__k"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_images_have_their_channels_second(data):
    X = np.stack([data[0].reshape(-1, 8, 8)] * 3, axis=-1)
    net = ImageClassifier(
        lambda num_units: nn.Sequential(nn.Conv2d(num_units, 3, 8), nn.Flatten()),
        callbacks=[Setter()],
        **QUICK,
    )
    assert net.fit(X, data[1]).module_[0].in_channels == 3


def test_what_could_be_built_is_built_anew(data):
    """A callback's setting takes effect at once, and so does one after another."""
    callbacks = [
        LRScheduler("StepLR", step_size=1, gamma=0.1),
        Setter("module__width", 3),
        Setter("criterion__label_smoothing", 0.1),
        Setter("freeze", "1.*"),
        Looking(),
    ]
    names = ["schedule", "width", "smoothing", "freezing", "looking"]
    net = ImageClassifier(Widening, callbacks=list(zip(names, callbacks, strict=True)))
    net.set_params(**QUICK).fit(*data)
    assert net.module_[1].out_features == 3
    assert net.criterion_.label_smoothing == 0.1
    assert dict(net.callbacks_)["looking"].found_ == (net.module_, net.optimizer_)
    # The schedule came before there was this optimizer.
    assert dict(net.callbacks_)["schedule"].lr_scheduler_.optimizer is net.optimizer_
    assert_allclose(net.optimizer_.param_groups[0]["lr"], net.lr * 0.01)
    assert net.partial_fit(*data).module_[1].out_features == 3


@pytest.mark.parametrize(
    ("callbacks", "error", "match"),
    [
        ([Setter(value=7)], ValueError, "cannot take rows of shape"),
        ([Setter("lr", 0.1)], TypeError, "needs the argument.*module__num_units"),
        ([Setter("module__num_unit", 64)], ValueError, "did you mean 'module__num_u"),
        ([LRScheduler()], TypeError, "needs the argument"),
        ([Looking(), Setter()], TypeError, "needs the argument"),
        ([], TypeError, "needs the argument"),
    ],
)
def test_wrong_settings_are_errors_before_the_first_epoch(
    data, callbacks, error, match
):
    X, y = data
    net = ImageClassifier("mlp", **QUICK).fit(X, y)
    before, network = net.predict_proba(X), net.module_
    net.set_params(module=Required, callbacks=callbacks)
    with pytest.raises(error, match=match) as caught:
        net.fit(X, y)
    notes = "".join(getattr(caught.value, "__notes__", ()))
    assert ("come first" in notes) == any(isinstance(c, Looking) for c in callbacks)
    assert net.module_ is network
    assert_array_equal(net.predict_proba(X), before)


def test_a_training_that_goes_on_keeps_its_network(data):
    X, y = data
    net = ImageClassifier(Widening, module__width=2, **QUICK).fit(X, y)
    net.set_params(callbacks=[Setter("module__width", 5)])
    with pytest.raises(ValueError, match="module__width=5 was set after"):
        net.partial_fit(X, y)
    assert net.module_[1].out_features == 2
    net.set_params(module__width=2, callbacks=[Setter("module__width", 2)])
    assert net.partial_fit(X, y).history[-1, "epoch"] == 4


def test_checkpoints(data, tmp_path):
    X, y = data
    params = QUICK | {"checkpoint": tmp_path, "callbacks": [Setter()]}
    plain = ImageClassifier(Required, callbacks=[Setter()], **QUICK).fit(X, y)
    ImageClassifier(Required, **params | {"max_epochs": 1}).fit(X, y)
    resumed = ImageClassifier(Required, **params).fit(X, y)
    assert resumed.history[:, "train_loss"] == plain.history[:, "train_loss"]
    assert resumed.history[0, "dur"] != plain.history[0, "dur"]


# --------------------------------------------------------- initialize_module


class Own(ImageClassifier):
    """Makes its network without its base class, as skorch's documentation has it."""

    def initialize_module(self, *args, **kwargs):
        kwargs = self.get_params_for("module")
        self.module_ = self.initialized_instance(self.module, kwargs)
        return self


class OwnRegressor(ImageRegressor):
    initialize_module = Own.initialize_module


class OwnAutoencoder(ImageAutoencoder):
    def initialize_module(self):
        self.module_ = ConvAutoencoder((1, 8, 8), channels=(2,))
        return self


class Ready(ImageClassifier):
    def initialize_module(self):
        super().initialize_module()
        self.module_.extra = nn.Identity()
        return self


class Returning(ImageClassifier):
    def initialize_module(self):
        self.module_ = lambda X: X
        return self


@pytest.fixture(scope="module")
def images():
    X, y = make_images()
    return (X * 100).astype(np.uint8), y


def mlp(n_outputs=3):
    return MLP((1, 8, 8), n_outputs, hidden=(8,))


@pytest.mark.parametrize("kind", [Own, OwnRegressor, OwnAutoencoder])
def test_own_networks_get_what_any_network_gets(images, kind, tmp_path):
    X, y = images
    if kind is OwnRegressor:
        y = make_targets(X / 100, 3)
    params = QUICK | {"module": mlp, "dtype": "float64"}
    if kind is OwnAutoencoder:
        params.pop("module")
    net = kind(**params).fit(X, y)
    assert net.network_shape_ == net.image_shape_ == (1, 8, 8)
    assert next(net.module_.parameters()).dtype == torch.float64
    assert net.pixel_divisor_ == 255
    scored = net.score(X, y)
    assert np.isfinite(scored)
    net.save(tmp_path / "net")
    loaded = skvision.load(
        tmp_path / "net", trusted=[f"{__name__}.{kind.__name__}", f"{__name__}.mlp"]
    )
    assert loaded.score(X, y) == scored
    going_on = [n.partial_fit(X, y) for n in (pickle.loads(pickle.dumps(net)), net)]
    first, second = (n.history[:, "train_loss"] for n in going_on)
    assert first == second


def test_own_networks_equal_others(images):
    X, y = images
    plain = ImageClassifier(mlp, **QUICK).fit(X, y)
    own = Own(mlp, **QUICK).fit(X, y)
    assert_array_equal(own.predict_proba(X), plain.predict_proba(X))


def test_own_networks_are_frozen_and_pretrained(images):
    X, y = images
    trained = Own(mlp, **QUICK).fit(X, y)
    start = trained.module_.state_dict()
    net = Own(mlp, pretrained=trained, freeze="encoder", **QUICK).fit(X, y)
    changed = {k for k, v in net.module_.state_dict().items() if not v.equal(start[k])}
    head = list(start)[-2:]
    assert changed == set(head)


def test_an_own_network_that_is_an_object_stays_as_it_is(images):
    X, y = images
    network = mlp()
    before = [p.clone() for p in network.parameters()]
    net = Own(network, **QUICK).fit(X, y)
    assert net.module_ is not network
    for old, new in zip(before, network.parameters(), strict=True):
        assert torch.equal(old, new)


def test_own_networks_are_checked(images):
    X, y = images
    with pytest.raises(ValueError, match=r"returned outputs of shape \(2, 4\)"):
        Own(lambda: mlp(4), **QUICK).fit(X, y)
    with pytest.raises(TypeError, match="initialize_module set module_ to.*function"):
        Returning("mlp", **QUICK).fit(X, y)
    net = Ready("mlp", **QUICK).fit(X, y)
    assert isinstance(net.module_.extra, nn.Identity)
    with pytest.warns(UserWarning, match="ends in Softmax"):
        Own(
            lambda: nn.Sequential(mlp(), nn.Softmax(1)), **QUICK | {"max_epochs": 0}
        ).fit(X, y)
