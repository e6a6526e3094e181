"""KeyboardInterrupt from outside, and from callbacks that end a training."""

import signal

import pytest
from skorch.callbacks import Callback
from skvision_tests import Flattening

from skvision import ImageClassifier

SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}
LONG = SMALL | {"max_epochs": 10, "random_state": 0}


pytestmark = pytest.mark.usefixtures("ctrl_c")


def stop():
    signal.raise_signal(signal.SIGINT)


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


class Interrupted(Flattening):
    """Is interrupted in its ninth training batch, the third of the third epoch."""

    count = 0

    def forward(self, X):
        self.count += self.training
        if self.count == 9:
            self.count += 1
            stop()
        return super().forward(X)


@pytest.mark.parametrize("when", ["on_batch_end", "on_epoch_end"])
def test_an_interrupt_from_outside_gets_through(data, when):
    X, y = data
    estimator = ImageClassifier(**LONG, callbacks=[Interruption(stop, when)])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    # Epochs that had not ended are none.
    n_ended = 1 if "batch" in when else 2
    assert len(estimator.history) == n_ended
    assert estimator.history[0, "train_loss"] > 0
    assert len(estimator.history[-1]["batches"]) == 3
    assert dict(estimator.callbacks_)["Interruption"].ended == 1
    # The network has what it has learnt, and training can go on.
    assert estimator.predict(X).shape == y.shape
    estimator.set_params(callbacks=None, max_epochs=1)
    estimator.partial_fit(X, y)
    assert estimator.history[:, "epoch"] == list(range(1, n_ended + 2))


def test_an_interrupt_in_the_network_gets_through(data):
    X, y = data
    estimator = ImageClassifier(Interrupted, max_epochs=10, batch_size=16)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert len(estimator.history) == 2
    assert all("train_loss" in batch for batch in estimator.history[-1]["batches"])
    estimator.set_params(max_epochs=1).partial_fit(X, y)
    assert estimator.predict(X).shape == y.shape


def test_a_signal_that_arrives_in_a_callback_gets_through(data):
    class Signalled(Callback):
        def on_epoch_end(self, net, **kwargs):
            # Handled here, in the callback's own frame.
            stop()

    with pytest.raises(KeyboardInterrupt):
        ImageClassifier(**LONG, callbacks=[Signalled]).fit(*data)


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


def test_the_best_epoch_is_among_the_complete_ones(data):
    X, y = data
    estimator = ImageClassifier(
        **LONG, early_stopping=True, callbacks=[Interruption(stop)]
    )
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert len(estimator.history) == 1
    assert estimator.best_epoch_ == 1
