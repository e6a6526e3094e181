"""Images, networks and comparisons that several test files share."""

import random
import threading

import numpy as np
import torch
from hypothesis import settings
from torch import nn
from torch.utils.data import Dataset

from skvision import ImageClassifier
from skvision.images import open_images
from skvision.images._layout import Form

SMALL = {
    "module": "mlp",
    "module__hidden": (16,),
    "max_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
}
DOUBLE = SMALL | {"dtype": "float64"}
NAMES = np.array(["red", "amber", "green"])


def make_images(n=40, n_classes=3, seed=0):
    """Return images whose brightest row tells their class."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.random((n, 8, 8))
    X[np.arange(n), y] += 1
    return X, y


def make_ordered_images(n=40, n_classes=3, shape=(8, 8)):
    """Return images whose brightest row tells their class."""
    y = np.arange(n) % n_classes
    X = np.random.default_rng(0).random((n, *shape))
    X[np.arange(n), ..., y, :] += 1
    return X, y


def make_targets(X, k=2):
    """Return targets that are sums over parts of the images."""
    targets = np.stack([X[:, i].sum(1) for i in range(k)], axis=1)
    return (targets - targets.mean(0)) / targets.std(0)


def thorough(n):
    """Return n, the number of cases that hypothesis tries, or a part without --slow."""
    return max(5, n // 4) if settings.default.derandomize else n


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(*shape, dtype=torch.float32):
    """Images whose pixels all differ, without 0 and 1."""
    images = torch.rand(shape, generator=generator(99), dtype=dtype)
    return images * 0.8 + 0.1


def as_images(X, channels="auto", form=None, **options):
    """Return images of any kind as estimators get them."""
    form = form or Form(channels)
    return open_images(X, labelled=False, form=form, **options).images


class Items(Dataset):
    """A data set of the items of a list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


def small(cls=ImageClassifier, **params):
    defaults = {
        "module": "mlp",
        "module__hidden": (8,),
        "lr": 0.03,
        "max_epochs": 2,
        "batch_size": 16,
        "random_state": 0,
        "dtype": "float64",
    }
    return cls(**defaults | params)


def run_threads(*functions, **named):
    """Call functions in threads, some of which have names."""
    threads = [threading.Thread(target=function) for function in functions]
    threads += [threading.Thread(target=f, name=name) for name, f in named.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Steps:
    """Events by which two threads take turns, without waiting for ever."""

    def __init__(self):
        self.events = {}

    def reach(self, name):
        self.events.setdefault(name, threading.Event()).set()

    def wait_for(self, name, timeout=1.0):
        return self.events.setdefault(name, threading.Event()).wait(timeout)


class Scaled(nn.Module):
    """A linear network with weights that are easy to recognise."""

    def __init__(self, n_inputs=64, n_columns=3):
        super().__init__()
        self.linear = nn.Linear(n_inputs, n_columns)

    def forward(self, X):
        return self.linear(X.flatten(1))


class Flattening(nn.Module):
    """Linear on all pixels."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        n_values = int(np.prod(image_shape))
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_values, n_outputs))

    def forward(self, images):
        return self.layers(images)


class Softmax(Flattening):
    def forward(self, images):
        return super().forward(images).softmax(1)


class LogSoftmax(Flattening):
    def forward(self, images):
        return super().forward(images).log_softmax(1)


class Spy(Flattening):
    """Keeps what it gets, and whether that is in training."""

    seen: list = []

    def forward(self, images):
        self.seen.append((self.training, images.detach().clone()))
        return super().forward(images)


class Calling(nn.Module):
    """Layers, and a forward of one's own."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def weights(estimator):
    state = estimator.module_.state_dict()
    return {name: value.numpy().copy() for name, value in state.items()}


def same(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def losses(estimator):
    return [
        [batch["train_loss"] for batch in epoch["batches"] if "train_loss" in batch]
        for epoch in estimator.history
    ]


def disturb(seed):
    """Do what others may do with the global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.rand(seed % 5)
