"""Wrong names and values of parameters are found, and said, before training."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skvision_tests import Scaled
from torch.utils.data import DataLoader

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


def own_names(estimator):
    return list(inspect.signature(estimator).parameters)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_epoch", "max_epochs"),
        ("learning_rate_", None),
        ("batchsize", "batch_size"),
        ("optimiser", "optimizer"),
        ("modul__hidden", "module__hidden"),
        ("module_hidden", "module__hidden"),
        ("optimiser__weight_decay", "optimizer__weight_decay"),
        ("criterium__label_smoothing", "criterion__label_smoothing"),
        ("iterator_trian__shuffle", "iterator_train__shuffle"),
        ("iteratorvalid__num_workers", "iterator_valid__num_workers"),
        ("callback__print_log", "callbacks__print_log"),
        ("module__", "module"),
        ("xyz", None),
    ],
)
def test_unknown_names(estimator, wrong, right):
    hint = "" if right is None else f".*did you mean '{right}'"
    expected = f"{estimator.__name__} has no parameter '{wrong}'{hint}"
    with pytest.raises(TypeError, match=expected):
        estimator(**{wrong: 1})
    with pytest.raises(ValueError, match=expected):
        estimator().set_params(**{wrong: 1})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_letter_missing_twice_or_exchanged_is_found(draw):
    names = [name for name in own_names(ImageClassifier) if len(name) > 4]
    name = draw.draw(st.sampled_from(names))
    i = draw.draw(st.integers(0, len(name) - 2))
    change = draw.draw(st.sampled_from(["missing", "twice", "exchanged"]))
    wrong = {
        "missing": name[:i] + name[i + 1 :],
        "twice": name[: i + 1] + name[i:],
        "exchanged": name[:i] + name[i + 1] + name[i] + name[i + 2 :],
    }[change]
    if wrong == name or "__" in wrong:
        return
    with pytest.raises(TypeError, match=f"did you mean '{name}'"):
        ImageClassifier(**{wrong: 1})
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        ImageClassifier().set_params(**{wrong: 1})


def test_parameters_of_one_kind_of_estimator():
    with pytest.raises(TypeError, match="ImageRegressor has no parameter"):
        ImageRegressor(class_weight="balanced")
    with pytest.raises(TypeError, match="ImageClassifier has no parameter"):
        ImageClassifier(normalize_target=True)
    common = [n for n in own_names(ImageRegressor) if n != "normalize_target"]
    of_labels = ("class_weight", "threshold")
    assert common == [n for n in own_names(ImageClassifier) if n not in of_labels]


def test_parameters_but_module_are_keyword_only():
    for estimator in ESTIMATORS:
        module, *others = inspect.signature(estimator).parameters.values()
        assert module.name == "module"
        assert {p.kind for p in others} == {inspect.Parameter.KEYWORD_ONLY}


def test_misspelt_argument_of_a_users_module_and_loader(data):
    estimator = ImageClassifier(Scaled, module__n_colums=3, max_epochs=1)
    with pytest.raises(ValueError, match="Scaled takes no .*'module__n_columns'"):
        estimator.fit(*data)
    estimator = ImageClassifier(
        **SMALL, iterator_train=DataLoader, iterator_train__shufle=True
    )
    with pytest.raises(ValueError, match="'iterator_train__shuffle'"):
        estimator.fit(*data)


def test_no_callbacks_at_all(data):
    assert ImageClassifier(**SMALL, callbacks="disable").fit(*data).callbacks_ == []


@pytest.mark.parametrize(
    ("params", "attribute", "kind"),
    [
        ({"optimizer": "Adam"}, "optimizer_", torch.optim.Adam),
        ({"optimizer": "AdamW"}, "optimizer_", torch.optim.AdamW),
        ({"optimizer": "SGD"}, "optimizer_", torch.optim.SGD),
        ({"optimizer": "RMSprop"}, "optimizer_", torch.optim.RMSprop),
        ({"criterion": "Cross_Entropy"}, "criterion_", torch.nn.CrossEntropyLoss),
    ],
)
def test_names_in_any_capitals(params, attribute, kind):
    X, y = np.random.default_rng(0).random((20, 4, 4)), np.arange(20) % 2
    net = ImageClassifier("mlp", max_epochs=1, **params).fit(X, y)
    assert type(getattr(net, attribute)) is kind
