"""What is given to a fit stays as it is: parameters, instances and arrays."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from skvision_tests import Scaled, make_ordered_images, weights
from torch import nn

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


class Snapshots(Callback):
    """Keep the weights with which a training begins and each epoch begins."""

    def initialize(self):
        self.states = []
        return self

    def on_train_begin(self, net, **kwargs):
        self.states.append(weights(net))

    def on_epoch_begin(self, net, **kwargs):
        self.states.append(weights(net))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fit_leaves_parameters_alone(data, estimator, early_stopping):
    fitted = estimator(
        **SMALL,
        early_stopping=early_stopping,
        epoch_scoring=["r2"],
        callbacks=[("rate", LRScheduler("StepLR", step_size=1)), Snapshots],
        normalize=[0.5, 0.5],
        random_state=0,
    )
    before = fitted.get_params(deep=False)
    kept = copy.deepcopy(before)
    X, y = data
    fitted.fit(X, y).partial_fit(X, y)
    fitted.predict(X)
    fitted.score(X, y)
    after = fitted.get_params(deep=False)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert value is before[name], name
        if name not in ("callbacks",):
            assert value == kept[name], name
    assert fitted.image_shape is None
    assert "module__n_outputs" not in after
    assert "module__image_shape" not in after


def test_a_module_instance_gives_the_initial_weights_of_each_fit(
    data, assert_same_weights
):
    X, y = data
    instance = Scaled()
    initial = {k: v.numpy().copy() for k, v in instance.state_dict().items()}
    estimator = ImageClassifier(
        instance, callbacks=[Snapshots()], max_epochs=1, lr=0.1, random_state=0
    )
    for _ in range(2):
        estimator.fit(X, y)
        states = dict(estimator.callbacks_)["Snapshots"].states
        assert_same_weights(states[0], initial)
        assert not np.array_equal(
            weights(estimator)["linear.bias"], initial["linear.bias"]
        )
        assert estimator.module_ is not instance
        assert estimator.module is instance
        assert_same_weights(
            {k: v.numpy() for k, v in instance.state_dict().items()}, initial
        )
        assert all(p.grad is None for p in instance.parameters())
    # So it is with clones, though scikit-learn copies the instance as well.
    copied = clone(estimator).fit(X, y)
    assert_same_weights(weights(copied), weights(estimator))


def test_a_module_instance_keeps_dtype_and_mode(data):
    instance = Scaled().eval()
    ImageClassifier(instance, max_epochs=1, dtype="float64").fit(*data)
    assert instance.linear.weight.dtype == torch.float32
    assert not instance.training


def test_callback_instances_stay_as_they_are(data):
    callbacks = [
        EpochScoring("accuracy", on_train=True, lower_is_better=False),
        ("stop", EarlyStopping(monitor="train_loss", patience=2)),
        LRScheduler("StepLR", step_size=1),
        Snapshots(),
    ]
    instances = [c[1] if isinstance(c, tuple) else c for c in callbacks]
    before = [copy.deepcopy(vars(callback)) for callback in instances]
    estimator = ImageClassifier(**SMALL, callbacks=callbacks).fit(*data)
    assert [vars(callback) for callback in instances] == before
    assert callbacks == [instances[0], ("stop", instances[1]), *instances[2:]]
    ran = dict(estimator.callbacks_)
    assert ran["stop"].dynamic_threshold_ < np.inf
    assert len(ran["Snapshots"].states) == 2
    # Setting a parameter of a callback does not reach the user's instance either.
    estimator.set_params(callbacks__stop__patience=5).fit(*data)
    assert dict(estimator.callbacks_)["stop"].patience == 5
    assert instances[1].patience == 2


def test_criterion_instance_is_copied(data):
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    estimator = ImageClassifier(**SMALL, criterion=criterion, dtype="float64")
    estimator.fit(*data)
    assert estimator.criterion_ is not criterion
    assert criterion.weight.dtype == torch.float32
    assert_array_equal(estimator.criterion_.weight, [1, 2, 3])


@pytest.fixture
def torch_warns_always():
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_arrays_of_the_user_are_not_changed(torch_warns_always, estimator, dtype):
    X, y = make_ordered_images()
    X = (100 * X).astype(dtype)
    if estimator is ImageRegressor:
        y = y.astype(np.float32)
    arrays = [X, y, np.linspace(0, 1, len(y))]
    before = [array.copy() for array in arrays]
    for writeable in (True, False):
        for array in arrays:
            array.flags.writeable = writeable
        fitted = estimator(**SMALL).fit(*arrays)
        fitted.partial_fit(X, y)
        fitted.predict(X)
        fitted.score(X, y)
        for array, old in zip(arrays, before, strict=True):
            assert_array_equal(array, old)
