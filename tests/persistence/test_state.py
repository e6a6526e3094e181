"""The list of what a fitted estimator is: nothing that a fit sets is missing there."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import LRScheduler
from torch import nn

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.persistence._state import (
    ENTRIES,
    FACTS,
    OF_A_RUN,
    PARTS,
    REMADE,
    facts_of,
    kind_of,
    missing_facts,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # There is little to learn from.
)

SMALL = {"max_epochs": 1, "random_state": 0}
#: Estimators, and what they are fitted to beside images: all ways to set attributes.
FITS = {
    "classifier": lambda X, y, tmp: ImageClassifier("mlp", **SMALL).fit(X, y),
    "convolutions": lambda X, y, tmp: ImageClassifier(**SMALL).fit(X, y),
    "several labels": lambda X, y, tmp: ImageClassifier("mlp", **SMALL).fit(
        X, np.c_[y % 2, y > 4]
    ),
    "regressor": lambda X, y, tmp: ImageRegressor("mlp", **SMALL).fit(X, np.c_[y, y]),
    "autoencoder": lambda X, y, tmp: ImageAutoencoder(**SMALL).fit(X),
    "frame": lambda X, y, tmp: ImageClassifier(**SMALL).fit(
        pd.DataFrame(X.reshape(len(X), -1)).rename(columns=str), y
    ),
    "schedule": lambda X, y, tmp: ImageClassifier(
        "mlp", callbacks=[LRScheduler("StepLR", step_size=1)], **SMALL
    ).fit(X, y),
    "early stopping": lambda X, y, tmp: ImageClassifier(
        "mlp", early_stopping=True, epoch_scoring="accuracy", **SMALL
    ).fit(X, y),
    "checkpoint": lambda X, y, tmp: ImageRegressor(
        "mlp", checkpoint=tmp, checkpoint_steps=1, **SMALL
    ).fit(X, y),
    "frozen": lambda X, y, tmp: ImageClassifier(
        "mlp", freeze="layers.0.*", **SMALL
    ).fit(X, y),
    "partial": lambda X, y, tmp: ImageClassifier("mlp", **SMALL).partial_fit(
        X, y, classes=range(10)
    ),
    "warm": lambda X, y, tmp: (
        ImageClassifier("mlp", warm_start=True, **SMALL).fit(X, y).fit(X, y)
    ),
    "function as loss": lambda X, y, tmp: ImageRegressor(
        "mlp", criterion=lambda: nn.functional.mse_loss, **SMALL
    ).fit(X, y),
}
DECLARED = {
    "facts": [fact.name for fact in FACTS],
    "entries": sorted({entry.attribute for entry in ENTRIES}),
    "made again": sorted(REMADE),
    "of a run": sorted(OF_A_RUN),
}


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:60], digits.target[:60]


@pytest.fixture(params=FITS)
def fitted(request, data, tmp_path):
    return FITS[request.param](*data, str(tmp_path / "checkpoints"))


def set_by_fits(net):
    return vars(net).keys() - net.get_params(deep=False).keys()


def test_each_attribute_of_a_fitted_estimator_is_listed(fitted):
    """One that is not would be lost by save: enter it in `persistence/_state.py`."""
    listed = {name for names in DECLARED.values() for name in names}
    assert set_by_fits(fitted) - listed == set()
    assert missing_facts(kind_of(fitted), vars(fitted)) == []
    held = {
        name
        for name, value in vars(fitted).items()
        if isinstance(value, (nn.Module, torch.optim.Optimizer))
    }
    assert held - fitted.get_params(deep=False).keys() <= {*PARTS}


def test_an_attribute_is_listed_once():
    names = [name for names in DECLARED.values() for name in names]
    assert len(names) == len(set(names))
    keys = [entry.key for entry in ENTRIES]
    assert len(keys) == len(set(keys))


def test_files_and_pickles_have_what_is_listed(fitted, tmp_path):
    if not callable(fitted.criterion):  # A lambda is no data.
        fitted.set_params(callbacks=None, checkpoint=None).save(tmp_path / "net")
        loaded = skvision.load(tmp_path / "net")
        assert repr(facts_of(vars(loaded))) == repr(facts_of(vars(fitted)))
        assert set_by_fits(fitted) - set_by_fits(loaded) <= OF_A_RUN
    state = fitted.__getstate__()
    assert set(vars(fitted)) - state.keys() == OF_A_RUN & vars(fitted).keys()


@pytest.mark.parametrize("name", ["running_var", "offset"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_numbers_that_load_would_refuse_are_not_saved(name, value, data, tmp_path):
    X, y = data
    if name == "running_var":
        net = ImageClassifier("convnet", **SMALL).fit(X, y)
    else:
        net = ImageClassifier(Masked, **SMALL).fit(X, y)
        net.save(tmp_path / "masked")
        assert skvision.load(tmp_path / "masked", module=Masked).score(X, y) >= 0
    buffers = dict(net.module_.named_buffers())
    name = next(key for key in buffers if key.endswith(name))
    buffers[name][0] = value
    with pytest.raises(ValueError, match=f"cannot be saved.*{name!r}"):
        net.save(tmp_path / "net")
    assert not (tmp_path / "net").exists()


class Masked(nn.Module):
    """Has a mask that is infinite from the beginning."""

    def __init__(self, n_outputs):
        super().__init__()
        self.layer = nn.Linear(64, n_outputs)
        self.register_buffer("offset", torch.zeros(3))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def forward(self, images):
        return self.layer(images.flatten(1))


def test_states_of_optimizers_that_load_would_refuse_are_not_saved(data, tmp_path):
    net = ImageClassifier("mlp", **SMALL).fit(*data)
    state = next(iter(net.optimizer_.state.values()))
    state["exp_avg"][0] = np.nan
    with pytest.raises(ValueError, match="cannot be saved.*exp_avg"):
        net.save(tmp_path / "net")


def test_labels_that_are_no_data(data, tmp_path):
    X, y = data
    dates = np.datetime64("2020-01-01") + y
    net = ImageClassifier("mlp", **SMALL).fit(X, dates)
    with pytest.raises(TypeError, match="classes_=.*datetime64.*astype"):
        net.save(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []
    other = copy.deepcopy(net).fit(X, dates.astype(str))
    other.save(tmp_path / "net")
    assert (skvision.load(tmp_path / "net").classes_ == other.classes_).all()
