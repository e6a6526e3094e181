"""What several files share: when weights are the same, and data and parameters."""

import signal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skorch.dataset import ValidSplit
from skvision_tests import Spy, make_images
from torch import nn
from torch.utils.data import DataLoader


@pytest.fixture(scope="session")
def assert_same_weights():
    """Function that compares dicts of weights, exactly if no tolerance is given."""

    def check(first, second, **tolerance):
        assert first.keys() == second.keys()
        for name, value in first.items():
            if tolerance:
                assert_allclose(value, second[name], err_msg=name, **tolerance)
            else:
                assert_array_equal(value, second[name], err_msg=name)

    return check


@pytest.fixture(scope="module")
def data():
    return make_images()


@pytest.fixture(scope="module")
def colour_images():
    """60 images of noise in three colours, 12 of each class."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 5
    X = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    return X, y


@pytest.fixture
def seen():
    """What the spy has seen."""
    Spy.seen.clear()
    return Spy.seen


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C raise KeyboardInterrupt, also where the shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


class LinearNetwork(nn.Module):
    """A network that can be pickled, since it is found by its name."""

    def __init__(self, n_columns=3):
        super().__init__()
        self.linear = nn.Linear(64, n_columns)

    def forward(self, X):
        return self.linear(X.flatten(1))


@pytest.fixture(scope="session", name="Linear")
def linear():
    return LinearNetwork


MLP = {
    "module": "mlp",
    "module__hidden": (16,),
    "max_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
}
CONFIGURATIONS = {
    "mlp": MLP,
    "dropout": MLP | {"module__dropout": 0.5},
    "convnet": MLP | {"module": "convnet", "module__hidden": (8,)},
    "early stopping": MLP | {"early_stopping": True},
    "split": MLP | {"train_split": ValidSplit(4)},
    "loader": MLP | {"iterator_train": DataLoader, "iterator_train__shuffle": True},
    "instance": MLP | {"module": LinearNetwork()},
    "scoring": MLP | {"module__dropout": 0.5, "epoch_scoring": "neg_log_loss"},
}
del CONFIGURATIONS["instance"]["module__hidden"]


@pytest.fixture(params=CONFIGURATIONS)
def options(request):
    """Parameters of classifiers that differ in what draws random numbers."""
    return CONFIGURATIONS[request.param]
