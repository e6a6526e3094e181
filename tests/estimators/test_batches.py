"""Batches: no row is left over, none is held out unasked, and their device."""

import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch.callbacks import Callback, LRScheduler
from skvision_tests import make_ordered_images
from torch.utils.data import DataLoader

from skvision import ImageClassifier, ImageRegressor
from skvision.estimators._run import fetches_losses

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


class BatchTimer(Callback):
    """Looks at each batch."""

    def on_batch_end(self, net, **kwargs):
        self.ended_ = time.perf_counter()


# --------------------------------------------------------------- one row left over


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("n_batches", [1, 3])
def test_one_row_left_over_under_batch_normalisation(estimator, n_batches):
    X, y = make_ordered_images(8 * n_batches + 1)
    options = {"module__batch_norm": True, "batch_size": 8, "random_state": 0}
    fitted = estimator(**SMALL | options).fit(X, y)
    sizes = fitted.history[0, "batches", :, "train_batch_size"]
    assert sizes == [8] * (n_batches - 1) + [9]
    assert len(fitted.predict(X)) == len(X)
    # Each row takes part in prediction whatever the batches.
    assert_allclose(
        fitted.predict(X),
        np.concatenate([fitted.predict(row[None]) for row in X]),
        rtol=1e-5,
        atol=1e-6,
    )


def test_one_row_left_over_after_the_hold_out():
    X, y = make_ordered_images(20, n_classes=2)
    fitted = ImageClassifier(
        **SMALL | {"module__batch_norm": True, "batch_size": 8},
        early_stopping=True,
        validation_fraction=0.15,
    ).fit(X, y)
    assert fitted.history[0, "batches", :, "train_batch_size"] == [8, 9]


def test_one_row_in_all_under_batch_normalisation(data):
    X, y = data
    fitted = ImageRegressor(**SMALL, module__batch_norm=True)
    with pytest.raises(ValueError, match="1"):
        fitted.fit(X[:1], y[:1])


# ----------------------------------------------------------------------- no hold-out


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("loader", [None, DataLoader])
def test_no_rows_are_held_out_unasked(data, estimator, loader):
    X, y = data
    fitted = estimator(**SMALL)
    if loader is not None:
        fitted.set_params(iterator_train=loader)
    fitted.fit(X, y)
    assert "valid_loss" not in fitted.history[0]
    sizes = fitted.history[0, "batches", :, "train_batch_size"]
    assert sum(sizes) == len(X)
    assert not hasattr(fitted, "best_epoch_")


# --------------------------------------------------------------------------- devices


def test_devices(data):
    for device in ("cpu", torch.device("cpu"), None):
        estimator = ImageClassifier(**SMALL, device=device).fit(*data)
        assert estimator.device_ == torch.device("cpu")
        assert estimator.device is device


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, False),
        (LRScheduler("StepLR", step_size=9, step_every="batch"), False),
        (LRScheduler("ReduceLROnPlateau", step_every="batch"), True),
        (Callback(), False),
        (BatchTimer(), True),
    ],
)
def test_what_makes_a_gpu_wait_for_each_batch(data, schedule, expected):
    callbacks = [] if schedule is None else [schedule]
    estimator = ImageClassifier(**SMALL, callbacks=callbacks).fit(*data)
    assert fetches_losses(estimator)
    estimator.device_ = torch.device("cuda")
    assert fetches_losses(estimator) is expected
