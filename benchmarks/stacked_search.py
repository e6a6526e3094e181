"""Searches that train their candidates as one network, beside ordinary ones.

    python -m benchmarks.stacked_search [--data-home DIR] [--rounds 3] [--device cpu]

Letters: a selection of optimizer, learning rate and width of a small convolutional
network on letters of EMNIST, in five folds. Letters, one width: more learning rates of
a single width, so that all fits have one structure. Clothes: the same for a
multi-layer perceptron on Fashion-MNIST, where a stack would only move more memory. All
searches of a case run in turn, in one process and its workers. Ratios are to
GridSearchCV with the same number of jobs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch import NeuralNetClassifier
from torch import nn

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from benchmarks.training_step import SMALL
from skvision import ImageClassifier
from skvision.datasets import fetch_emnist, fetch_fashion_mnist
from skvision.model_selection import StackedGridSearchCV
from skvision.networks import ConvNet

WIDTHS: list[dict[str, list[Any]]] = [
    {"optimizer": ["adam"], "lr": [1e-3], "module__hidden": [32, 64]},
    {"optimizer": ["sgd"], "lr": [0.1, 0.01], "module__hidden": [32, 64]},
]
ONE_WIDTH = {"optimizer": ["adam", "sgd"], "lr": [0.3, 0.1, 0.03, 0.01, 0.003, 0.001]}
LETTERS = {
    "module": "convnet",
    **{f"module__{name}": value for name, value in SMALL.items()},
    "normalize": None,
    "batch_size": 32,
}
CLOTHES = {"module": "mlp", "module__hidden": (256, 512), "batch_size": 64}
STACKED, GRID = "StackedGridSearchCV", "GridSearchCV"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n-samples", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    options = {"data_home": args.data_home, "n_samples": args.n_samples}
    letters = fetch_emnist(**options, random_state=0, return_X_y=True)
    X, y = fetch_fashion_mnist(data_home=args.data_home, return_X_y=True)
    clothes = X[: args.n_samples], y[: args.n_samples]
    common = {"max_epochs": args.epochs, "device": args.device, "random_state": 0}
    rows = []
    for case, data, params, grid in [
        ("letters", letters, LETTERS, WIDTHS),
        ("letters, one width", letters, LETTERS, ONE_WIDTH),
        ("clothes", clothes, CLOTHES, ONE_WIDTH),
    ]:
        sides: dict[str, Callable] = {}
        for n_jobs in (2, 1):
            for kind in (GRID, STACKED):
                search = partial(make, kind, {**params, **common}, grid, n_jobs)
                sides[f"{kind}, n_jobs={n_jobs}"] = partial(run, search, *data)
        if case == "letters":
            for n_jobs in (2, 1):
                search = partial(make_skorch, args.epochs, args.device, n_jobs)
                sides[f"skorch, n_jobs={n_jobs}"] = partial(
                    run, search, (data[0][:, None] / 255).astype(np.float32), data[1]
                )
        rows += measure(case, sides, args.rounds)
    write(
        "stacked_search",
        f"Searches on {args.n_samples:,} images, {args.epochs} epochs, five folds: "
        "seconds, and the ratio to GridSearchCV with as many jobs",
        "python -m benchmarks.stacked_search",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds; lowest and highest of a round.",
            "Fits: 30 for letters, else 60.",
        ],
    )


def measure(
    case: str, sides: dict[str, Callable], n_rounds: int
) -> list[dict[str, Any]]:
    seconds = take_turns(sides, n_rounds)
    rows = []
    for n_jobs in (2, 1):
        jobs = f"n_jobs={n_jobs}"
        some = {side: times for side, times in seconds.items() if jobs in side}
        for side, figures in ratios(some, f"{GRID}, {jobs}").items():
            rows.append({"case": case, "search": side, **figures})
            print(rows[-1], flush=True)
    return rows


def make(kind: str, params: dict, grid: Any, n_jobs: int) -> GridSearchCV:
    search = StackedGridSearchCV if kind == STACKED else GridSearchCV
    folds = StratifiedKFold(5)
    return search(ImageClassifier(**params), grid, cv=folds, n_jobs=n_jobs, refit=False)


def make_skorch(n_epochs: int, device: str, n_jobs: int) -> GridSearchCV:
    net = NeuralNetClassifier(
        build,
        criterion=nn.CrossEntropyLoss,
        max_epochs=n_epochs,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=device,
    )
    classes = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    grid = [
        {**part, "optimizer": [classes[name] for name in part["optimizer"]]}
        for part in WIDTHS
    ]
    return GridSearchCV(net, grid, cv=StratifiedKFold(5), n_jobs=n_jobs, refit=False)


def build(hidden: int = 64) -> ConvNet:
    options: dict[str, Any] = {**SMALL, "hidden": hidden}
    return ConvNet((1, 28, 28), 47, **options)


def run(search: Callable[[], GridSearchCV], X: np.ndarray, y: np.ndarray) -> None:
    with warnings.catch_warnings():
        # Some settings lead nowhere in a few epochs.
        warnings.simplefilter("ignore")
        search().fit(X, y)


if __name__ == "__main__":
    main()
