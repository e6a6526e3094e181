"""Callbacks that watch what is recorded, and what is not."""

import numpy as np
import pytest
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
)
from skorch.dataset import ValidSplit
from skvision_tests import SMALL
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor


class Own(Callback):
    """Not skorch's, but works alike."""

    def __init__(self, monitor="valid_loss"):
        self.monitor = monitor

    def on_epoch_end(self, net, **kwargs):
        net.history[-1, self.monitor]


def on_valid():
    return EpochScoring("accuracy", name="mine", lower_is_better=False)


WATCHES_NOTHING = [
    [EarlyStopping()],
    [EarlyStopping],
    [("stop", EarlyStopping(monitor="valid_acc", lower_is_better=False))],
    [Own()],
    [Checkpoint(f_params=None, f_optimizer=None, f_history=None, f_criterion=None)],
    [Checkpoint(monitor="valid_acc_best", dirname="nowhere")],
    [LRScheduler("ReduceLROnPlateau", monitor="valid_loss")],
    [LRScheduler(ReduceLROnPlateau, monitor="valid_loss")],
    [on_valid(), EarlyStopping(monitor="mine", lower_is_better=False)],
    [EarlyStopping(monitor="valid_f1_macro", lower_is_better=False)],
]


@pytest.mark.parametrize("callbacks", WATCHES_NOTHING)
def test_scores_of_rows_that_are_not_held_out(data, callbacks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = data
    net = ImageClassifier(epoch_scoring="f1_macro", **SMALL).fit(X, y)
    before = net.predict_proba(X)
    with pytest.raises(ValueError, match="watches.*early_stopping=True.*train_loss"):
        net.set_params(callbacks=callbacks).fit(X, y)
    with pytest.raises(ValueError, match="watches"):
        net.partial_fit(X, y)
    assert np.array_equal(net.predict_proba(X), before)
    assert len(net.history) == 2
    # Of rows that are held out, there is something to watch.
    net.set_params(train_split=ValidSplit(4)).fit(X, y)
    assert len(net.history) == 2


@pytest.mark.parametrize(
    "callbacks",
    [
        [EarlyStopping(monitor="train_loss")],
        [LRScheduler("ReduceLROnPlateau")],
        [LRScheduler("StepLR", step_size=1, monitor="valid_loss")],
        [
            EpochScoring("accuracy", name="mine", on_train=True, lower_is_better=False),
            EarlyStopping(monitor="mine", lower_is_better=False),
        ],
        [EarlyStopping(monitor="train_f1_macro", lower_is_better=False)],
    ],
)
def test_scores_of_training_rows(data, callbacks):
    X, y = data
    net = ImageClassifier(epoch_scoring="f1_macro", callbacks=callbacks, **SMALL)
    assert len(net.fit(X, y).history) == 2


@pytest.mark.parametrize("estimator", [ImageRegressor, ImageAutoencoder])
def test_other_estimators(data, estimator):
    X, y = data
    options = {"max_epochs": 1, "callbacks": [EarlyStopping()]}
    with pytest.raises(ValueError, match="watches 'valid_loss'.*early_stopping=True"):
        estimator(**options).fit(X, y)
    assert len(estimator(**options, early_stopping=True).fit(X, y).history) == 1


@pytest.mark.parametrize(
    ("watched", "near"),
    [
        ("val_loss", "valid_loss"),
        ("train_los", "train_loss"),
        ("train_f1", "train_f1_macro"),
        ("valid_f1", "valid_f1_macro"),
    ],
)
@pytest.mark.parametrize("kind", [EarlyStopping, Checkpoint, LRScheduler])
def test_names_of_nothing_that_is_recorded(data, kind, watched, near):
    X, y = data
    policy = {"policy": "ReduceLROnPlateau"} if kind is LRScheduler else {}
    callback = kind(monitor=watched, **policy)
    options = {"epoch_scoring": "f1_macro", "early_stopping": True, **SMALL}
    net = ImageClassifier(callbacks=[callback], **options)
    with pytest.raises(ValueError, match=f"watches '{watched}'.*'{near}'"):
        net.fit(X, y)
    assert not hasattr(net, "module_")


def test_callbacks_of_the_users_own_may_record_anything(data):
    class Records(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.history.record("val_loss", 1.0)

    callbacks = [Records(), EarlyStopping(monitor="val_loss", sink=str)]
    net = ImageClassifier(callbacks=callbacks, **SMALL).fit(*data)
    assert len(net.history) == 2
