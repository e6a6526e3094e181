"""Estimators that a user extends in the way of skorch's documentation."""

import copy
import inspect
import pickle
import types

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.dataset import ValidSplit, unpack_data
from skorch.scoring import loss_scoring
from skvision_tests import DOUBLE, NAMES, SMALL, losses, make_images, weights

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.preprocessing import UniformNoise


class Extended(ImageClassifier):
    def __init__(self, *args, extra=2, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = extra


class Deeper(Extended):
    def __init__(self, *args, more="a", lr=0.5, **kwargs):
        self.more = more
        super().__init__(*args, lr=lr, **kwargs)


class Mixin:
    def __init__(self, *args, mixed=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.mixed = mixed


class Mixed(Mixin, ImageRegressor):
    pass


class Named(ImageClassifier):
    """Names what it takes before ``**kwargs``."""

    def __init__(self, module="mlp", *, extra=2, **kwargs):
        super().__init__(module, **kwargs)
        self.extra = extra


class Few(ImageClassifier):
    """Has what it names, and nothing else."""

    def __init__(self, lr=0.1, extra=2):
        super().__init__("mlp", lr=lr, max_epochs=1)
        self.extra = extra


SUBCLASSES = [
    (Extended, {"extra": 3}, ImageClassifier),
    (Deeper, {"extra": 3, "more": "b"}, ImageClassifier),
    (Mixed, {"mixed": "c"}, ImageRegressor),
    (Named, {"extra": 3}, ImageClassifier),
]


@pytest.mark.parametrize(("kind", "own", "base"), SUBCLASSES)
def test_parameters(data, kind, own, base):
    given = SMALL | own | {"max_epochs": 1, "callbacks__print_log": None}
    net = kind(**given)
    params = net.get_params()
    assert params.keys() == base(**SMALL).get_params().keys() | given.keys()
    assert given.items() <= params.items()
    copied = clone(net)
    assert type(copied) is kind
    assert copied.get_params() == params
    for name in own:
        assert copied.set_params(**{name: 9}).get_params()[name] == 9
        assert getattr(copied, name) == 9
    copied.set_params(lr=0.25, module__hidden=(4,))
    assert copied.lr == 0.25
    fitted = net.fit(*data)
    assert fitted.get_params() == params
    for other in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert other.get_params() == params
        assert_array_equal(other.predict(data[0]), fitted.predict(data[0]))


@pytest.mark.parametrize(("kind", "own", "base"), SUBCLASSES)
def test_signature_and_representation(kind, own, base):
    parameters = inspect.signature(kind).parameters
    assert parameters.keys() == inspect.signature(base).parameters.keys() | own.keys()
    assert next(iter(parameters)) == "module"
    assert not {p.kind for p in parameters.values()} & {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }
    shown = ", ".join(f"{name}={value!r}" for name, value in sorted(own.items()))
    assert repr(kind(**own)) == f"{kind.__name__}({shown})"
    if kind is not Named:
        assert kind("convnet").module == "convnet"


@pytest.mark.parametrize(("kind", "own", "base"), SUBCLASSES)
def test_misspelt_names(kind, own, base):
    name = next(iter(own))
    for wrong, right in [(name + "s", name), ("max_epoch", "max_epochs")]:
        with pytest.raises(TypeError, match=f"{kind.__name__}.*did you mean '{right}'"):
            kind(**{wrong: 1})
        with pytest.raises(ValueError, match=f"did you mean '{right}'"):
            kind().set_params(**{wrong: 1})
    with pytest.raises(ValueError, match="'lr' parameter"):
        kind(lr=-1.0).fit(*make_images())


def test_a_constructor_without_kwargs_names_all_parameters(data):
    net = clone(Few(lr=0.2))
    assert net.get_params() == {"lr": 0.2, "extra": 2}
    with pytest.raises(TypeError):
        Few(max_epochs=3)
    assert len(net.fit(*data).history) == 1
    search = GridSearchCV(net, {"extra": [1, 2]}, cv=2).fit(*data)
    assert search.best_params_["extra"] in (1, 2)


def test_other_classes_keep_their_constructors():
    class Beside(Mixin, ImageClassifier):
        pass

    before = inspect.signature(Mixin.__init__)
    assert "mixed" in inspect.signature(Beside).parameters
    assert inspect.signature(Mixin.__init__) == before
    assert "lr" not in before.parameters
    assert "extra" not in inspect.signature(ImageClassifier.__init__).parameters


def test_searches_and_files(data, tmp_path):
    X, y = data
    net = Extended(**SMALL, extra=3)
    search = GridSearchCV(net, {"extra": [4], "lr": [1e-3, 1e-2]}, cv=2).fit(X, y)
    best = search.best_estimator_
    assert best.extra == 4
    best.save(tmp_path / "net.skv")
    name = f"{Extended.__module__}.Extended"
    loaded = skvision.load(tmp_path / "net.skv", trusted=[name])
    assert type(loaded) is Extended
    assert loaded.get_params() == best.get_params()
    assert_array_equal(loaded.predict_proba(X), best.predict_proba(X))


# --------------------------------------------------- methods as skorch has them


class OwnStep(ImageClassifier):
    """Trains as skorch's documentation has it."""

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        Xi, yi = unpack_data(batch)
        y_pred = self.infer(Xi, **fit_params)
        loss = self.get_loss(y_pred, yi, X=Xi, training=True)
        loss.backward()
        return {"loss": loss, "y_pred": y_pred}

    def validation_step(self, batch, **fit_params):
        self._set_training(False)
        Xi, yi = unpack_data(batch)
        with torch.no_grad():
            y_pred = self.infer(Xi, **fit_params)
            return {"loss": self.get_loss(y_pred, yi, X=Xi), "y_pred": y_pred}


class OwnAutoencoderStep(ImageAutoencoder):
    train_step_single = OwnStep.train_step_single
    validation_step = OwnStep.validation_step


@pytest.mark.parametrize("augment", [None, [UniformNoise(-0.5, 0.5)]])
def test_a_step_of_ones_own(data, augment, assert_same_weights):
    X, y = data
    params = DOUBLE | {"augment": augment, "train_split": ValidSplit(4)}
    plain = ImageClassifier(**params).fit(X, NAMES[y])
    own = OwnStep(**params).fit(X, NAMES[y])
    assert_same_weights(weights(own), weights(plain))
    assert own.history[:, "valid_loss"] == plain.history[:, "valid_loss"]


@pytest.mark.parametrize("noise", [None, UniformNoise(0, 0.5)])
def test_a_step_of_ones_own_for_images(data, noise, assert_same_weights):
    X, _ = data
    params = {"max_epochs": 1, "random_state": 0, "dtype": "float64", "noise": noise}
    params["early_stopping"] = True
    plain = ImageAutoencoder(**params).fit(X)
    own = OwnAutoencoderStep(**params).fit(X)
    assert_same_weights(weights(own), weights(plain))
    assert own.history[:, "valid_loss"] == plain.history[:, "valid_loss"]
    with pytest.raises(ValueError, match="images with images"):
        loss_scoring(own, X[:8])


class Recording(ImageClassifier):
    """Records a part of its loss, and counts its calls."""

    n_calls = 0

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        self.n_calls = self.n_calls + 1
        self.history.record_batch("own_loss", loss.item() / len(self.history))
        assert X.shape[1:] == (1, 8, 8)
        return loss


def test_a_loss_that_records(data):
    X, y = data
    net = Recording(**SMALL).fit(X, y)
    expected = [[v / (i + 1) for v in row] for i, row in enumerate(losses(net))]
    assert_allclose(net.history[:, "batches", :, "own_loss"], expected)
    assert net.n_calls == 2 * 5
    batches = len(net.history[-1]["batches"])
    net.partial_fit(X, y)
    assert net.n_calls == 4 * 5
    assert len(net.history[1]["batches"]) == batches


@pytest.mark.parametrize("base", [ImageClassifier, ImageRegressor, ImageAutoencoder])
def test_accelerated(data, base):
    accelerate = pytest.importorskip("accelerate")
    hf = pytest.importorskip("skorch.hf")

    class Accelerated(hf.AccelerateMixin, base):
        """The mixin stands left of the estimator."""

    X, y = data
    params = {"max_epochs": 3, "random_state": 0, "verbose": 0}
    if base is not ImageAutoencoder:
        params |= {"module": "mlp", "module__hidden": (8,)}
    accelerator = accelerate.Accelerator(cpu=True)
    net = Accelerated(accelerator=accelerator, **params)
    assert net.get_params()["accelerator"] is accelerator
    assert clone(net).get_params().keys() == net.get_params().keys()
    with pytest.raises(TypeError, match="did you mean 'max_epochs'"):
        Accelerated(accelerator=accelerator, max_epoch=3)
    train = net.fit(X, y).history[:, "train_loss"]
    assert train[-1] < train[0]
    again = Accelerated(accelerator=accelerator, **params).fit(X, y)
    assert again.history[:, "train_loss"] == train
    plain = base(**params).fit(X, y).history[:, "train_loss"]
    # Weights begin elsewhere, since the accelerator draws numbers, too.
    assert_allclose(train, plain, rtol=0.5)


class Fewer(ImageClassifier):
    def __init__(self, module="mlp", lr=0.01, max_epochs=1):
        super().__init__(module, lr=lr, max_epochs=max_epochs)


def test_files_of_subclasses_with_fewer_parameters(data, tmp_path):
    X, y = data
    net = Fewer().fit(X, y)
    net.save(tmp_path / "net")
    loaded = skvision.load(tmp_path / "net", trusted=[f"{__name__}.Fewer"])
    assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    found = [n.partial_fit(X, y).history[:, "train_loss"] for n in (loaded, net)]
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor, ImageAutoencoder])
def test_constructors_name_their_parameters_and_defaults(kind):
    """Tools look at the function, and some copy it with other defaults."""
    init = kind.__init__
    params = kind().get_params()
    module, *others = inspect.signature(kind).parameters
    assert {module, *others} == params.keys()
    assert list(init.__kwdefaults__) == others
    copied = types.FunctionType(init.__code__, init.__globals__)
    copied.__defaults__ = init.__defaults__
    copied.__kwdefaults__ = {**init.__kwdefaults__, "lr": 0.25}
    other = type(kind)("Other", (kind,), {"__init__": copied})
    assert other().get_params() == {**params, "lr": 0.25}
    assert other(lr=0.5, module="mlp").lr == 0.5
