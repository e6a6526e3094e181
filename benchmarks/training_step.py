"""One epoch of training, beside a loop by hand and the usual alternatives.

    python -m benchmarks.training_step [--data-home DIR] [--rounds 7]

Trains a multi-layer perceptron (784-256-512-10, batches of 64) and a small
convolutional network (32 features, batches of 32) by SGD for an epoch on 20,000 images
of Fashion-MNIST. The loop by hand indexes a uint8 tensor, converts the batch to float
and makes the step. Keras (on torch), Lightning and fastai take part where they are
installed. All sides run in turn, in one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader, Subset

from benchmarks._peers import Task, installed, peers
from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist, get_data_home
from skvision.networks import MLP, ConvNet

Rows: TypeAlias = "Subset[tuple[torch.Tensor, int]]"
LR = 0.01
SMALL = {
    "channels": ((4, 8, 16), (32,)),
    "stride": ((1, 2, 2), 1),
    "padding": 0,
    "batch_norm": False,
    "activation": ("relu", "identity"),
    "pool": ("max", None),
    "pool_size": 3,
    "pool_stride": 1,
    "hidden": 64,
    "dropout": 0.0,
}
NETWORKS: dict[str, tuple[type[nn.Module], dict[str, object], int]] = {
    "MLP": (MLP, {"hidden": (256, 512)}, 64),
    "small ConvNet": (ConvNet, SMALL, 32),
}
BASELINE = "loop by hand"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--n-train", type=int, default=20_000)
    args = parser.parse_args()
    data = load(args.data_home, args.n_train)
    rows = []
    for network in NETWORKS:
        sides = make_sides(network, data)
        found = ratios(take_turns(sides, args.rounds), BASELINE)
        for side, figures in found.items():
            rows.append({"network": network, "side": side, **figures})
            print(rows[-1], flush=True)
    write(
        "training_step",
        f"An epoch of {args.n_train:,} images, and its ratio to a loop by hand",
        "python -m benchmarks.training_step",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds; lowest and highest of a round.",
            ", ".join(f"{name} {number}" for name, number in installed().items())
            or "Keras, Lightning and fastai were not installed.",
        ],
        peers=installed(),
    )


class Data(NamedTuple):
    """The same images in the forms that the sides take."""

    images: np.ndarray
    floats: np.ndarray
    y: np.ndarray
    tensors: Rows
    normalized: Rows


def load(data_home: str | None, n: int) -> Data:
    from torchvision import transforms
    from torchvision.datasets import FashionMNIST

    def rows(*steps: Callable) -> Rows:
        transform = transforms.Compose(steps)
        return Subset(
            FashionMNIST(get_data_home(data_home), transform=transform), range(n)
        )

    images, y = fetch_fashion_mnist(data_home=data_home, return_X_y=True)
    images, y = images[:n], y[:n]
    to_tensor = transforms.ToTensor()
    return Data(
        images,
        (images[:, None] / 255).astype(np.float32),
        y,
        rows(to_tensor),
        rows(to_tensor, transforms.Normalize((0.2860,), (0.3530,))),
    )


def make_sides(network: str, data: Data) -> dict[str, Callable]:
    """Return what is to be compared; each call trains a fresh network."""
    images, floats, y, tensors, normalized = data
    sides: dict[str, Callable] = {
        BASELINE: lambda: train_by_hand(network, images, y),
        "skvision, uint8 arrays": lambda: ours(network).fit(images, y),
        "skvision, data set": lambda: ours(network).fit(tensors),
        "skvision, normalized data set": lambda: (
            ours(network).set_params(normalize=None).fit(normalized)
        ),
        "skorch, float arrays": lambda: skorchs(network).fit(floats, y),
        "skorch, data set": lambda: skorchs(network).fit(tensors, y),
        "DataLoader": lambda: train_by_loader(network, tensors),
    }
    if network == "MLP":
        flat = floats.reshape(len(floats), -1)
        sides["scikit-learn"] = lambda: scikit_learns().fit(flat, y)
    batch_size = NETWORKS[network][2]
    return sides | peers(Task(partial(build, network), floats, y, batch_size, LR))


def build(network: str) -> nn.Module:
    module, options, _ = NETWORKS[network]
    return module((1, 28, 28), 10, **options)


def train_by_hand(network: str, images: np.ndarray, y: np.ndarray) -> None:
    X, targets = torch.from_numpy(images[:, None]), torch.from_numpy(y)
    net = build(network)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    for rows in torch.randperm(len(X)).split(NETWORKS[network][2]):
        optimizer.zero_grad()
        outputs = net(X[rows].float().div_(255))
        nn.functional.cross_entropy(outputs, targets[rows]).backward()
        optimizer.step()


def train_by_loader(network: str, data: Rows) -> None:
    net = build(network)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    for X, targets in DataLoader(data, NETWORKS[network][2], shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), targets).backward()
        optimizer.step()


def ours(network: str) -> ImageClassifier:
    module, options, batch_size = NETWORKS[network]
    return ImageClassifier(
        module,
        **{f"module__{name}": value for name, value in options.items()},
        optimizer="sgd",
        lr=LR,
        max_epochs=1,
        batch_size=batch_size,
        device="cpu",
    )


def skorchs(network: str) -> NeuralNetClassifier:
    return NeuralNetClassifier(
        build,
        module__network=network,
        criterion=nn.CrossEntropyLoss,
        lr=LR,
        max_epochs=1,
        batch_size=NETWORKS[network][2],
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )


def scikit_learns() -> MLPClassifier:
    _, options, batch_size = NETWORKS["MLP"]
    return MLPClassifier(
        options["hidden"],
        solver="sgd",
        learning_rate_init=LR,
        momentum=0,
        batch_size=batch_size,
        max_iter=1,
    )


if __name__ == "__main__":
    main()
