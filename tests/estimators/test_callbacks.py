"""Scores of each epoch, and skorch's callbacks."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
)
from skorch.dataset import ValidSplit
from skvision_tests import DOUBLE, NAMES, SMALL, weights

from skvision import ImageClassifier


class Record(Callback):
    """Keep the data sets of each epoch."""

    def initialize(self):
        self.datasets = []
        return self

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.datasets.append((dataset_train, dataset_valid))


def recorded(estimator):
    return dict(estimator.callbacks_)["Record"]


# ------------------------------------------------------------------ skorch's callbacks


@pytest.mark.parametrize("use_caching", [True, False])
def test_epoch_scoring_callback(data, use_caching):
    X, y = data
    callbacks = [
        EpochScoring("accuracy", lower_is_better=False, use_caching=use_caching),
        (
            "train",
            EpochScoring(
                "accuracy", name="seen", on_train=True, use_caching=use_caching
            ),
        ),
        Record,
    ]
    estimator = ImageClassifier(
        **SMALL | {"lr": 0.0}, callbacks=callbacks, train_split=ValidSplit(4)
    ).fit(X, NAMES[y])
    train, valid = recorded(estimator).datasets[0]
    for name, part in (("accuracy", valid), ("seen", train)):
        score = accuracy_score(part.y, estimator.predict(part.X))
        assert estimator.history[:, name] == pytest.approx([score, score])
    assert estimator.history[0, "accuracy_best"]


def test_learning_rate_scheduler(data):
    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 3, "lr": 0.4},
        callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5)],
    ).fit(*data)
    assert estimator.history[:, "event_lr"] == [0.4, 0.2, 0.1]
    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 1, "lr": 0.4},
        callbacks=[
            LRScheduler(
                torch.optim.lr_scheduler.ExponentialLR, gamma=0.5, step_every="batch"
            )
        ],
    ).fit(*data)
    assert_allclose(estimator.optimizer_.param_groups[0]["lr"], 0.4 / 2**5)


def test_checkpoint_callback(data, tmp_path):
    X, y = data
    checkpoint = Checkpoint(dirname=tmp_path, monitor="train_loss_best")
    estimator = ImageClassifier(**SMALL, callbacks=[("saved", checkpoint)]).fit(X, y)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"params.pt", "optimizer.pt", "criterion.pt", "history.json"}
    fresh = clone(estimator).set_params(
        callbacks=None, max_epochs=1, random_state=9, batch_size=4
    )
    fresh.fit(X, y)
    assert not np.array_equal(fresh.predict_proba(X), estimator.predict_proba(X))
    fresh.load_params(checkpoint=dict(estimator.callbacks_)["saved"])
    assert_array_equal(fresh.predict_proba(X), estimator.predict_proba(X))
    assert fresh.history[:, "train_loss"] == estimator.history[:, "train_loss"]


def test_progress_bar(data, capsys):
    estimator = ImageClassifier(**SMALL, callbacks=[ProgressBar(detect_notebook=False)])
    estimator.fit(*data)
    shown = capsys.readouterr()
    assert "/5 [" in shown.err  # Five batches.


def test_verbose_prints_epochs(data, capsys):
    ImageClassifier(**SMALL).fit(*data)
    assert capsys.readouterr().out == ""
    ImageClassifier(**SMALL, verbose=1, epoch_scoring="accuracy").fit(*data)
    out = capsys.readouterr().out
    assert "train_loss" in out
    assert "train_accuracy" in out
    assert len(out.strip().splitlines()) == 4
    ImageClassifier(**SMALL, verbose=1, callbacks__print_log=None).fit(*data)
    assert "train_loss" not in capsys.readouterr().out


def test_gradient_clipping(data):
    def path(callbacks):
        estimator = ImageClassifier(
            **DOUBLE | {"optimizer": "sgd", "lr": 1.0, "max_epochs": 1},
            callbacks=[*callbacks, Record, Begin],
        ).fit(*data)
        begin = dict(estimator.callbacks_)["Begin"].state
        end = weights(estimator)
        return np.sqrt(sum(((end[name] - begin[name]) ** 2).sum() for name in end))

    class Begin(Callback):
        def on_train_begin(self, net, **kwargs):
            self.state = weights(net)

    assert path([]) > 0.1
    # Five batches, each with a step of at most this length.
    assert path([GradientNormClipping(1e-3)]) < 5.001e-3


def test_callbacks_see_images_and_labels(data):
    class Look(Callback):
        def initialize(self):
            self.seen = []
            return self

        def on_batch_end(self, net, batch=None, training=False, **kwargs):
            X, y = batch
            self.seen += list(y)
            assert X.shape[1:] == (1, 8, 8)
            assert kwargs["y_pred"].shape == (len(X), 3)
            assert not kwargs["y_pred"].requires_grad
            assert np.isfinite(float(kwargs["loss"]))

    X, y = data
    y = NAMES[y]
    for weight in (None, np.linspace(1, 2, 40)):
        estimator = ImageClassifier(**SMALL | {"max_epochs": 1}, callbacks=[Look])
        estimator.fit(X, y, sample_weight=weight)
        assert sorted(dict(estimator.callbacks_)["Look"].seen) == sorted(y)


def test_all_notifications_reach_callbacks(data):
    names = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed"]
    names += ["on_batch_end", "on_epoch_end", "on_train_end", "on_own"]
    estimator = ImageClassifier(**SMALL).fit(*data)
    listener = Callback()
    estimator.callbacks_ = [("listener", listener)]
    estimator.on_own = lambda net, **kwargs: None
    heard = []
    for name in names:
        # Neither methods of a class of its own, nor known to skorch's base class.
        setattr(listener, name, lambda net, name=name, **kwargs: heard.append(name))
    estimator.partial_fit(*data)
    estimator.notify("on_own")
    assert set(heard) == set(names)
