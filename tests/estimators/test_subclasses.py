"""Estimators that a user extends in the way of skorch's documentation."""

import copy
import inspect
import pickle

import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skvision_tests import SMALL, make_images

import skvision
from skvision import ImageClassifier, ImageRegressor

# Short trainings, which are compared with each other, need not succeed.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Extended(ImageClassifier):
    def __init__(self, *args, extra=2, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = extra


class Deeper(Extended):
    def __init__(self, *args, more="a", lr=0.5, **kwargs):
        self.more = more
        super().__init__(*args, lr=lr, **kwargs)


class Plain(Deeper):
    pass


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
    (Plain, {"extra": 3, "more": "b"}, ImageClassifier),
    (Mixed, {"mixed": "c"}, ImageRegressor),
    (Named, {"extra": 3}, ImageClassifier),
]


@pytest.fixture(scope="module")
def data():
    return make_images()


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
