"""KeyboardInterrupt from outside, and from callbacks that end a training."""

import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from skorch.callbacks import Callback
from torch import nn

from skvision import ImageClassifier

SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}
LONG = SMALL | {"max_epochs": 10, "random_state": 0}


class Network(nn.Module):
    def __init__(self, n_outputs, image_shape):
        super().__init__()
        self.linear = nn.Linear(int(np.prod(image_shape)), n_outputs)

    def forward(self, X):
        return self.linear(X.flatten(1))


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let Ctrl-C raise KeyboardInterrupt, also where the shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


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
        print("interrupted", len(net.history) > 1, net.predict(X).shape, flush=True)
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
