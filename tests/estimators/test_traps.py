"""What goes wrong in training, and is said instead of passed over."""

import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn
from torch.utils.data import DataLoader, Dataset

from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.exceptions import DivergedError

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}

ignore_convergence = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


class Images(Dataset):
    """A data set that only hands out single items."""

    def __init__(self, X, y):
        self.X = torch.as_tensor(X)
        self.y = y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i][None], self.y[i]


class BatchTimer(Callback):
    """Looks at each batch."""

    def on_batch_end(self, net, **kwargs):
        self.ended_ = time.perf_counter()


def make_images(n=40, n_classes=3, shape=(8, 8)):
    """Return images whose brightest row tells their class."""
    y = np.arange(n) % n_classes
    X = np.random.default_rng(0).random((n, *shape))
    X[np.arange(n), ..., y, :] += 1
    return X, y


@pytest.fixture(scope="module")
def data():
    return make_images()


# -------------------------------------------------------------- softmax at the end


class Network(nn.Module):
    def __init__(self, n_outputs, image_shape):
        super().__init__()
        self.linear = nn.Linear(int(np.prod(image_shape)), n_outputs)

    def forward(self, X):
        return self.linear(X.flatten(1))


class SoftmaxLayer(Network):
    def __init__(self, n_outputs, image_shape):
        super().__init__(n_outputs, image_shape)
        self.last = nn.Softmax(dim=1)

    def forward(self, X):
        return self.last(super().forward(X))


class SoftmaxFunction(Network):
    def forward(self, X):
        return torch.softmax(super().forward(X), 1)


class LogSoftmaxLayer(Network):
    def __init__(self, n_outputs, image_shape):
        super().__init__(n_outputs, image_shape)
        self.last = nn.LogSoftmax(dim=-1)

    def forward(self, X):
        return self.last(super().forward(X))


class LogSoftmaxFunction(Network):
    def forward(self, X):
        return F.log_softmax(super().forward(X), dim=1)


SOFTMAX = [SoftmaxLayer, SoftmaxFunction]
LOG_SOFTMAX = [LogSoftmaxLayer, LogSoftmaxFunction]


def softmax_warnings(estimator, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(*arguments)
    return [str(w.message) for w in caught if "softmax" in str(w.message).lower()]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("network", SOFTMAX + LOG_SOFTMAX)
def test_softmax_under_cross_entropy(network, n_classes):
    X, y = make_images(n_classes=n_classes)
    estimator = ImageClassifier(network, max_epochs=3, early_stopping=True)
    for _ in range(2):  # Each fit says it, and says it once.
        (message,) = softmax_warnings(estimator, X, y)
        assert network.__name__ in message
        assert "CrossEntropyLoss" in message
        assert ("LogSoftmax" in message) == (network in LOG_SOFTMAX)


def test_softmax_warning_points_at_the_users_line(data):
    with pytest.warns(UserWarning, match="SoftmaxLayer") as caught:
        ImageClassifier(SoftmaxLayer, max_epochs=5, lr=0.1).fit(*data)
    assert [w.filename for w in caught if "Softmax" in str(w.message)] == [__file__]


def test_softmax_under_a_subclass_or_an_instance_of_the_criterion(data):
    class Mine(nn.CrossEntropyLoss):
        pass

    for criterion in (Mine, Mine(), nn.CrossEntropyLoss()):
        estimator = ImageClassifier(SoftmaxLayer, criterion=criterion, max_epochs=1)
        assert len(softmax_warnings(estimator, *data)) == 1


@pytest.mark.parametrize(
    ("network", "criterion"),
    [
        (Network, "cross_entropy"),
        (Network, nn.CrossEntropyLoss),
        *[(network, nn.NLLLoss) for network in SOFTMAX + LOG_SOFTMAX],
    ],
)
def test_no_softmax_warning_where_there_is_no_second_softmax(data, network, criterion):
    estimator = ImageClassifier(network, criterion=criterion, max_epochs=1)
    assert softmax_warnings(estimator, *data) == []


def test_no_softmax_warning_for_regressors(data):
    X, y = data
    estimator = ImageRegressor(SoftmaxFunction, max_epochs=1)
    assert softmax_warnings(estimator, X, np.eye(3)[y]) == []


@pytest.mark.parametrize("network", SOFTMAX + LOG_SOFTMAX)
def test_nll_loss_with_either_pairing(data, network):
    X, y = data
    options = {"max_epochs": 5, "lr": 0.05, "random_state": 0, "dtype": "float64"}
    expected = ImageClassifier(Network, **options).fit(X, y)
    estimator = ImageClassifier(network, criterion=nn.NLLLoss, **options).fit(X, y)
    proba = estimator.predict_proba(X)
    assert_allclose(proba.sum(1), 1)
    # Cross-entropy is the same loss, computed in one step.
    assert_allclose(proba, expected.predict_proba(X), rtol=1e-6)
    assert_allclose(
        estimator.history[:, "train_loss"], expected.history[:, "train_loss"], rtol=1e-6
    )
    assert_array_equal(estimator.predict(X), expected.predict(X))
    assert estimator.score(X, y) > 0.9


def test_weighted_nll_loss(data):
    X, y = data
    weight = np.linspace(0.5, 2, len(y))
    options = {"max_epochs": 2, "lr": 0.05, "random_state": 0, "dtype": "float64"}
    probas = [
        ImageClassifier(network, criterion=criterion, **options)
        .fit(X, y, sample_weight=weight)
        .predict_proba(X)
        for network, criterion in [
            (Network, "cross_entropy"),
            (LogSoftmaxLayer, nn.NLLLoss),
            (SoftmaxLayer, nn.NLLLoss),
        ]
    ]
    assert_allclose(probas[1], probas[0], rtol=1e-6)
    assert_allclose(probas[2], probas[0], rtol=1e-6)


# ----------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("normalize", ["channel", None, (0.5, 0.5)])
@pytest.mark.parametrize("form", ["images", "tensor", "flat", "list"])
def test_numbers_that_are_not_finite(data, value, dtype, normalize, form):
    X, y = data
    good = X.astype(dtype)
    bad = good.copy()
    bad[-1, 3, 3] = value
    convert = {
        "images": lambda X: X,
        "tensor": torch.from_numpy,
        "flat": lambda X: X.reshape(len(X), -1),
        "list": list,
    }[form]
    estimator = ImageClassifier(**SMALL, normalize=normalize)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.fit(convert(bad), y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(convert(good), y)
    for method in (estimator.predict, estimator.predict_proba):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(convert(bad))
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.score(convert(bad), y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("normalize", ["channel", None, (0.5, 0.5)])
@pytest.mark.parametrize("form", ["tensors", "items", "as_Xy"])
def test_data_sets_with_numbers_that_are_not_finite(data, value, normalize, form):
    X, y = data
    X = X.astype(np.float32)
    X[-1, 3, 3] = value
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    if form == "tensors":
        arguments = [torch.utils.data.TensorDataset(X[:, None], y)]
    elif form == "items":
        arguments = [Images(X, y)]
    else:
        arguments = as_Xy(Images(X, y))
    estimator = ImageClassifier(**SMALL, normalize=normalize)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.fit(*arguments)


@ignore_convergence
@pytest.mark.parametrize("form", ["tensors", "items", "as_Xy"])
def test_data_sets_that_are_not_finite_in_prediction(data, form):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X.astype(np.float32), y)
    X = torch.tensor(X, dtype=torch.float32)
    X[-1, 3, 3] = torch.nan
    y = torch.from_numpy(y)
    dataset = Images(X, y)
    if form == "tensors":
        dataset = torch.utils.data.TensorDataset(X[:, None], y)
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.predict(as_Xy(dataset)[0] if form == "as_Xy" else dataset)


@pytest.mark.parametrize("seed", range(3))
def test_numbers_that_are_not_finite_among_validation_rows(data, seed):
    X, y = data
    X = X.astype(np.float32)
    X[::4, 3, 3] = np.nan
    estimator = ImageClassifier(
        **SMALL, early_stopping=True, validation_fraction=0.5, random_state=seed
    )
    X, y = as_Xy(Images(X, y))
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        estimator.fit(X, y)


def test_values_beyond_float32():
    X, y = make_images()
    X[0, 0, 0] = 1e300
    with pytest.raises(ValueError, match=r"infinity|too large"):
        ImageClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"infinity|too large"):
        ImageClassifier(**SMALL, normalize=None).fit(X, y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_targets_that_are_not_finite(data, value):
    X, y = data
    y = y.astype(float)
    y[3] = value
    for estimator in ESTIMATORS:
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            estimator(**SMALL).fit(X, y)
    weight = np.ones(len(y))
    weight[3] = value
    for estimator in ESTIMATORS:
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            estimator(**SMALL).fit(X, np.arange(len(y)) % 2, sample_weight=weight)


# ----------------------------------------------------------------------- divergence


@pytest.fixture(scope="module")
def colour_images():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 5
    X = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    return X, y


def test_lenet_with_adam_at_rate_1(colour_images):
    estimator = ImageClassifier(
        "lenet", lr=1.0, batch_size=10, max_epochs=20, random_state=0
    )
    with pytest.raises(DivergedError) as caught:
        estimator.fit(*colour_images)
    message = str(caught.value)
    # At once, not after epochs at ln(5).
    assert len(estimator.history) == 1
    assert "epoch 1" in message
    assert "lr=1.0" in message
    losses = estimator.history[0, "batches", :, "train_loss"]
    assert np.mean(losses) > 100 * losses[0]
    assert f"{losses[0]:.4g}" in message
    assert f"{np.mean(losses):.4g}" in message
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("lr", [1e10, 1e30])
def test_gradient_descent_at_a_huge_rate(data, estimator, lr):
    diverging = estimator(
        **SMALL | {"max_epochs": 10}, optimizer="sgd", lr=lr, random_state=0
    )
    with pytest.raises(DivergedError) as caught:
        diverging.fit(*data)
    assert f"lr={lr}" in str(caught.value)
    assert f"epoch {len(diverging.history)}" in str(caught.value)
    first = diverging.history[0, "batches", 0, "train_loss"]
    assert f"{first:.4g}" in str(caught.value)


def test_divergence_in_a_later_epoch_names_it(data):
    class Raise(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                net.optimizer_.param_groups[0]["lr"] = 1e20

    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 6}, optimizer="sgd", lr=0.01, callbacks=[Raise]
    )
    with pytest.raises(DivergedError, match=r"epoch 3.*lr=1e\+20"):
        estimator.fit(*data)
    assert len(estimator.history) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_divergence_in_the_last_step(data, value):
    class Last(Network):
        """Has gradients that are not finite, though its loss is."""

        def forward(self, X):
            outputs = super().forward(X)
            if outputs.requires_grad:
                outputs.register_hook(lambda gradient: gradient * value)
            return outputs

    for estimator in ESTIMATORS:
        diverging = estimator(Last, max_epochs=1, batch_size=-1, optimizer="sgd")
        with pytest.raises(DivergedError, match="epoch 1.*weights") as caught:
            diverging.fit(*data)
        first = diverging.history[0, "batches", 0, "train_loss"]
        assert np.isfinite(first)
        assert f"{first:.4g}" in str(caught.value)


def test_divergence_in_partial_fit(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = ImageClassifier(**SMALL, optimizer="sgd", lr=0.01).fit(*data)
    estimator.set_params(lr=1e20)
    with pytest.raises(DivergedError, match="epoch 2"):
        estimator.partial_fit(*data)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_divergence_in_a_search(data):
    search = GridSearchCV(
        ImageClassifier(**SMALL | {"max_epochs": 15}, optimizer="sgd", random_state=0),
        {"lr": [0.1, 1e30]},
        cv=2,
        error_score=np.nan,
    )
    with pytest.warns(FitFailedWarning, match="DivergedError"):
        search.fit(*data)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] > 0.9
    assert np.isnan(scores[1])
    assert search.best_params_ == {"lr": 0.1}
    with pytest.raises(DivergedError):
        search.set_params(error_score="raise").fit(*data)


def test_no_divergence_is_seen_in_a_hard_start(data):
    # A loss that is tiny at the start may grow a hundredfold without harm.
    X, y = data
    perfect = ImageClassifier(Network, lr=0.05, max_epochs=60, random_state=0)
    perfect.fit(X, y)
    assert perfect.score(X, y) == 1
    regressor = ImageRegressor(**SMALL, optimizer="sgd", lr=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regressor.fit(X, 1e4 * y)
    assert np.isfinite(regressor.predict(X)).all()


# --------------------------------------------------------------- one row left over


@ignore_convergence
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("n_batches", [1, 3])
def test_one_row_left_over_under_batch_normalisation(estimator, n_batches):
    X, y = make_images(8 * n_batches + 1)
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


@ignore_convergence
def test_one_row_left_over_after_the_hold_out():
    X, y = make_images(20, n_classes=2)
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


# ------------------------------------------------------------- images that do not fit


@ignore_convergence
@pytest.mark.parametrize("module", ["auto", "mlp"])
@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((4, 8, 9), (1, 8, 9)),
        ((4, 9, 8), (1, 9, 8)),
        ((4, 3, 8, 8), (3, 8, 8)),
        ((4, 8, 8, 3), (3, 8, 8)),
        ((4, 1, 4, 4), (1, 4, 4)),
    ],
)
def test_images_of_another_shape(data, module, shape, told):
    X, y = data
    estimator = ImageClassifier(module, max_epochs=1).fit(X, y)
    for method in (estimator.predict, estimator.predict_proba):
        with pytest.raises(ValueError) as caught:
            method(np.zeros(shape))
        assert str(told) in str(caught.value)
        assert "(1, 8, 8)" in str(caught.value)
    for dataset in (Images(np.zeros((4, *told[1:])), np.zeros(4)),):
        if told[0] == 1:
            with pytest.raises(ValueError, match=r"\(1, 8, 8\)"):
                estimator.predict(dataset)


@ignore_convergence
def test_other_numbers_of_channels(colour_images):
    X, y = colour_images
    estimator = ImageClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"\(1, 16, 16\).*\(3, 16, 16\)"):
        estimator.predict(X[..., 0])
    # Channels come first or last, as long as the shape is that of fit.
    assert_array_equal(
        estimator.predict(np.ascontiguousarray(X.transpose(0, 3, 1, 2))),
        estimator.predict(X),
    )


@ignore_convergence
def test_flat_rows_and_images(data):
    X, y = data
    flat = X.reshape(len(X), -1)
    estimator = ImageClassifier(**SMALL).fit(flat, y)
    with pytest.raises(ValueError, match="63 features.*expecting 64"):
        estimator.predict(flat[:, :-1])
    with pytest.raises(ValueError, match=r"\(1, 8, 8\).*\(1, 1, 64\)"):
        estimator.predict(X)
    estimator = ImageClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="64"):
        estimator.predict(flat)


# --------------------------------------------------------------------------- devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_missing_gpu(data, device):
    with pytest.raises(ValueError, match=r"cuda.*finds 0 CUDA device"):
        ImageClassifier(**SMALL, device=device).fit(*data)


@ignore_convergence
def test_devices(data):
    with pytest.raises(ValueError, match="'gpu' is no torch device"):
        ImageClassifier(**SMALL, device="gpu").fit(*data)
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
@ignore_convergence
def test_what_makes_a_gpu_wait_for_each_batch(data, schedule, expected):
    callbacks = [] if schedule is None else [schedule]
    estimator = ImageClassifier(**SMALL, callbacks=callbacks).fit(*data)
    assert estimator._losses_at_once()
    estimator.device_ = torch.device("cuda")
    assert estimator._losses_at_once() is expected


# ----------------------------------------------------------------------- interruption


def stop():
    raise KeyboardInterrupt


class Interruption(Callback):
    """Call something at the end of the second batch of the second epoch."""

    def __init__(self, action, when="on_batch_end"):
        self.action = action
        self.when = when

    def initialize(self):
        self.ended = 0
        return self

    def _act(self, net):
        self.action()

    def on_epoch_end(self, net, **kwargs):
        if self.when == "on_epoch_end" and len(net.history) == 2:
            self._act(net)

    def on_batch_end(self, net, **kwargs):
        batches = net.history[-1]["batches"]
        if self.when == "on_batch_end" and (len(net.history), len(batches)) == (2, 2):
            self._act(net)

    def on_train_end(self, net, **kwargs):
        self.ended += 1


class Interrupted(Network):
    """Is interrupted in its ninth training batch, the third of the third epoch."""

    def __init__(self, n_outputs, image_shape):
        super().__init__(n_outputs, image_shape)
        self.count = 0

    def forward(self, X):
        self.count += self.training
        if self.count == 9:
            self.count += 1
            stop()
        return super().forward(X)


LONG = SMALL | {"max_epochs": 10, "random_state": 0}


@ignore_convergence
@pytest.mark.parametrize("when", ["on_batch_end", "on_epoch_end"])
def test_an_interrupt_from_outside_gets_through(data, when):
    X, y = data
    estimator = ImageClassifier(**LONG, callbacks=[Interruption(stop, when)])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert len(estimator.history) == 2
    assert estimator.history[0, "train_loss"] > 0
    assert len(estimator.history[-1]["batches"]) == (2 if "batch" in when else 3)
    assert dict(estimator.callbacks_)["Interruption"].ended == 1
    # The network has what it has learnt, and training can go on.
    assert estimator.predict(X).shape == y.shape
    estimator.set_params(callbacks=None, max_epochs=1)
    estimator.callbacks_ = estimator.callbacks_[:-1]
    estimator.partial_fit(X, y)
    assert len(estimator.history) == 3


def test_an_interrupt_in_the_network_gets_through(data):
    X, y = data
    estimator = ImageClassifier(Interrupted, max_epochs=10, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert len(estimator.history) == 3
    assert len(estimator.history[-1]["batches"]) == 2 or (
        "train_loss" not in estimator.history[-1]["batches"][-1]
    )
    estimator.set_params(max_epochs=1).partial_fit(X, y)
    assert estimator.predict(X).shape == y.shape


def test_a_signal_that_arrives_in_a_callback_gets_through(data):
    class Signalled(Callback):
        def on_epoch_end(self, net, **kwargs):
            # Handled here, in the callback's own frame.
            signal.raise_signal(signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ImageClassifier(**LONG, callbacks=[Signalled]).fit(*data)
    finally:
        signal.signal(signal.SIGINT, handler)


@ignore_convergence
def test_a_callback_ends_the_training_by_the_same_error(data):
    class Enough(Callback):
        def __init__(self, where):
            self.where = where

        def _stop(self, name, net):
            if name == self.where and len(net.history) == 2:
                raise KeyboardInterrupt

        def on_epoch_begin(self, net, **kwargs):
            self._stop("on_epoch_begin", net)

        def on_batch_begin(self, net, **kwargs):
            self._stop("on_batch_begin", net)

        def on_batch_end(self, net, **kwargs):
            self._stop("on_batch_end", net)

        def on_epoch_end(self, net, **kwargs):
            self._stop("on_epoch_end", net)

    X, y = data
    for where in ("on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end"):
        estimator = ImageClassifier(**LONG, callbacks=[Enough(where)])
        assert estimator.fit(X, y) is estimator, where
        assert len(estimator.history) == 2
        assert estimator.predict(X).shape == y.shape


@ignore_convergence
@pytest.mark.parametrize(
    "where", ["on_train_begin", "on_epoch_begin", "on_batch_begin"]
)
def test_a_callback_may_end_the_training_before_its_first_batch(data, where):
    def immediately(self, net, **kwargs):
        raise KeyboardInterrupt

    callback = type("Never", (Callback,), {where: immediately})
    X, y = data
    estimator = ImageClassifier(**SMALL, callbacks=[callback]).fit(X, y)
    assert estimator.predict(X).shape == y.shape


@ignore_convergence
def test_the_best_epoch_is_among_the_complete_ones(data):
    X, y = data
    estimator = ImageClassifier(
        **LONG, early_stopping=True, callbacks=[Interruption(stop)]
    )
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert len(estimator.history) == 2
    assert estimator.best_epoch_ == 1


@ignore_convergence
def test_early_stopping_of_skorch(data):
    stopper = EarlyStopping(monitor="train_loss", patience=2, threshold=10)
    others = Interruption(lambda: None)
    estimator = ImageClassifier(**LONG, callbacks=[stopper, others]).fit(*data)
    # The first epoch is an improvement on nothing, the next two are none.
    assert len(estimator.history) == 3
    assert dict(estimator.callbacks_)["Interruption"].ended == 1


PROGRAM = """
    import time
    import numpy as np
    from skorch.callbacks import Callback
    from skvision import ImageClassifier

    class Tell(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                print("ready", flush=True)

        def on_batch_end(self, net, **kwargs):
            if len(net.history) > 2:
                time.sleep(0.01)

    X, y = np.random.default_rng(0).random((40, 8, 8)), np.arange(40) % 2
    net = ImageClassifier("mlp", max_epochs=100_000, batch_size=2, callbacks=[Tell])
    try:
        net.fit(X, y)
    except KeyboardInterrupt:
        print("interrupted", len(net.history) > 2, net.predict(X).shape, flush=True)
        raise
    print("ended", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_in_another_process():
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out == "interrupted True (40,)\n", err
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err


# ------------------------------------------------------------- training without effect


class Zero(Network):
    """Begins with the best constant prediction for equally frequent classes."""

    def __init__(self, n_outputs, image_shape):
        super().__init__(n_outputs, image_shape)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_training_that_ends_no_better_than_a_constant(data, estimator, weighted):
    X, y = data
    weight = np.linspace(1, 2, len(y)) if weighted else None
    idle = estimator(Zero, max_epochs=1, lr=0.0)
    with pytest.warns(ConvergenceWarning, match=r"max_epochs=1.*lr=0\.0") as caught:
        idle.fit(X, y, sample_weight=weight)
    assert len([w for w in caught if w.category is ConvergenceWarning]) == 1
    assert {w.filename for w in caught if w.category is ConvergenceWarning} == {
        __file__
    }
    able = estimator(
        **SMALL | {"max_epochs": 40, "batch_size": 8}, lr=0.02, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        able.fit(X, y, sample_weight=weight)
    assert able.score(X, y) > 0.9


def test_noise_gives_a_convergence_warning_and_its_loss():
    rng = np.random.default_rng(0)
    X, y = rng.random((400, 6, 6)), rng.integers(0, 4, 400)
    estimator = ImageClassifier(Zero, optimizer="sgd", lr=1e-6, max_epochs=2)
    entropy = -sum(p * np.log(p) for p in np.bincount(y) / 400)
    with pytest.warns(ConvergenceWarning, match=f"{entropy:.4g} of a constant"):
        estimator.fit(X, y)


def test_no_convergence_warning_from_single_steps(data):
    estimator = ImageClassifier(**SMALL, lr=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator.partial_fit(*data).partial_fit(*data)


@pytest.mark.parametrize("criterion", ["l1", "smooth_l1", nn.HuberLoss])
def test_criteria_without_a_known_constant_do_not_warn(data, criterion):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        ImageRegressor(**SMALL, lr=0.0, criterion=criterion).fit(*data)


# ---------------------------------------------------------------------------- labels


LEARNER = {
    "module": "mlp",
    "module__hidden": (16,),
    "max_epochs": 25,
    "batch_size": 8,
    "lr": 0.02,
    "random_state": 0,
}


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, 3, 5, 7, 9]),
        np.array([9, 3, 7, 1, 5]),
        np.array(["cat", "dog", "a bird", "Ähre", "🍎"]),
        np.array(["cat", "dog", "a bird", "Ähre", "🍎"], dtype=object),
        np.array([-2, 0, 10**12, 5, 3]),
        np.array([0.0, 1.0, 2.0, 3.0, 40.0]),
        np.array([1, 3, 5, 7, 9], dtype=np.uint8),
        np.array([1, 3, 5, 7, 9], dtype=np.int32),
    ],
)
def test_labels_of_any_kind(labels):
    X, index = make_images(40, n_classes=5)
    y = labels[index]
    estimator = ImageClassifier(**LEARNER).fit(X, y)
    assert_array_equal(estimator.classes_, np.unique(labels))
    assert estimator.n_outputs_ == 5
    assert estimator.predict_proba(X).shape == (40, 5)
    predictions = estimator.predict(X)
    assert predictions.dtype == y.dtype
    assert_array_equal(predictions, y)
    assert estimator.score(X, y) == 1
    columns = np.searchsorted(estimator.classes_, y)
    assert_array_equal(estimator.predict_proba(X).argmax(1), columns)


@pytest.mark.parametrize("form", [list, torch.tensor, np.asarray])
def test_booleans(form):
    X, index = make_images(40, n_classes=2)
    y = [bool(i) for i in index]
    estimator = ImageClassifier(**LEARNER).fit(X, form(y))
    assert estimator.classes_.tolist() == [False, True]
    assert estimator.classes_.dtype == bool
    assert estimator.n_outputs_ == 2
    assert estimator.predict(X).tolist() == y


def test_other_forms_of_labels():
    import pandas as pd

    X, index = make_images(40, n_classes=3)
    names = np.array(["a", "b", "c"])[index]
    for y in (
        names.tolist(),
        pd.Series(names),
        pd.Series(names, dtype="category"),
        pd.Series(names, index=np.arange(40)[::-1]),
    ):
        estimator = ImageClassifier(**LEARNER).fit(X, y)
        assert_array_equal(estimator.predict(X), names)
        assert estimator.score(X, y) == 1


@ignore_convergence
@settings(max_examples=15, deadline=None)
@given(
    labels=st.one_of(
        st.sets(st.integers(-(2**40), 2**40), min_size=2, max_size=6),
        st.sets(st.text(max_size=4), min_size=2, max_size=6),
        st.sets(st.floats(-100, 100).map(round).map(float), min_size=2, max_size=6),
    )
)
def test_any_set_of_labels(labels):
    labels = list(labels)
    X, index = make_images(4 * len(labels), n_classes=len(labels))
    y = np.array(labels)[index]
    estimator = ImageClassifier(**LEARNER | {"max_epochs": 1}).fit(X, y)
    assert_array_equal(estimator.classes_, np.unique(labels))
    assert estimator.n_outputs_ == len(labels)
    # The same as with class numbers in the order of the labels.
    numbers = np.searchsorted(estimator.classes_, y)
    by_number = ImageClassifier(**LEARNER | {"max_epochs": 1}).fit(X, numbers)
    assert_array_equal(estimator.predict_proba(X), by_number.predict_proba(X))
    assert_array_equal(estimator.predict(X), estimator.classes_[by_number.predict(X)])
    assert set(estimator.predict(X)) <= set(y)


def test_one_class_alone(data):
    X, y = data
    with pytest.raises(ValueError, match="at least 2 classes; y has 1 class"):
        ImageClassifier(**SMALL).fit(X, np.full(len(y), "a"))


# ----------------------------------------------------------------------- no hold-out


@ignore_convergence
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
    with pytest.raises(AttributeError, match="early_stopping=True or train_split"):
        _ = fitted.best_epoch_
