"""Searches over networks whose backbone is frozen, which runs once for each image.

    python -m benchmarks.frozen_features [--data-home DIR] [--n-images 240] [--rounds 3]

Twelve fits of five epochs (four rates, three folds) of a frozen ResNet-18 with random
weights, on Fashion-MNIST images of 32 pixels in RGB: GridSearchCV with the whole
network in each epoch, with its frozen part once in each fit, and once for all fits by
`feature_cache`; and StackedGridSearchCV. A pass is the network's frozen part applied to
all images. A hook counts the images that go through; a few go through each network
before it is trained, to see that all fits together. A single fit has ten epochs. All
sides run in turn, in one process; times are those of the processor.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from torch import nn

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist
from skvision.model_selection import StackedGridSearchCV
from skvision.networks import torchvision_model

RATES = [1e-4, 1e-3, 1e-2, 1e-1]
WHOLE = "GridSearchCV, whole network in each epoch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--n-images", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = fetch_fashion_mnist(data_home=args.data_home)
    X, y = data.data[: args.n_images], data.target[: args.n_images]
    network = Counted()
    X, y = X[: args.n_images], y[: args.n_images]
    passed: dict[str, list[float]] = {}
    sides = sides_of(network, X, y)
    noted = {name: noting(name, run, network, passed) for name, run in sides.items()}
    take_turns(noted, args.rounds)
    last = {name: values[-args.rounds :] for name, values in passed.items()}
    fits = {k: v for k, v in last.items() if k.startswith("a fit")}
    searches = {k: v for k, v in last.items() if k not in (*fits, "a pass")}
    one_pass = float(np.median(last["a pass"]))
    rows = [
        {
            "what": name,
            "passes' time": round(float(np.median(last[name])) / one_pass, 1),
            "passes through": round(network.counted[name] / len(X), 2),
            **figures,
        }
        for part, baseline in [(searches, WHOLE), (fits, "a fit, whole network")]
        for name, figures in ratios(part, baseline).items()
    ]
    write(
        "frozen_features",
        f"Twelve fits of a frozen ResNet-18 on {len(X):,} images of 32 pixels",
        "python -m benchmarks.frozen_features",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds. A pass takes {one_pass:.2f} s, and "
            'goes as often as "passes\' time" says into the seconds; "passes through" '
            "are the images that the frozen part got, of all. Ratios are to the "
            "whole network in each epoch, of searches and of fits."
        ],
    )


class Counted:
    """A network, and how many images have gone through its frozen part."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = torchvision_model("resnet18", n_outputs=10, image_shape=(3, 1, 1))
        self.n = 0
        self.counted: dict[str, int] = {}

        def note(layer: nn.Module, args: Any, output: torch.Tensor) -> None:
            self.n += len(output)

        self.module.get_submodule("layer4").register_forward_hook(note)


def sides_of(
    network: Counted, X: np.ndarray, y: np.ndarray
) -> dict[str, Callable[[], object]]:
    """Return what is measured, by names."""

    def net(n_epochs: int = 5, **options: Any) -> ImageClassifier:
        return ImageClassifier(
            network.module,
            image_size=32,
            color_mode="rgb",
            freeze="backbone",
            normalize=(0.5, 0.25),
            max_epochs=n_epochs,
            random_state=0,
            **options,
        )

    def search(kind: Any, **options: Any) -> None:
        kind(net(**options), {"lr": RATES}, cv=3, refit=False).fit(X, y)

    def cached() -> None:
        with tempfile.TemporaryDirectory() as folder:
            search(GridSearchCV, feature_cache=folder)

    def one_pass() -> None:
        fitted.transform(X)

    fitted = net(n_epochs=0).fit(X, y)
    return {
        "a pass": one_pass,
        WHOLE: lambda: search(GridSearchCV, feature_cache=False),
        "GridSearchCV, frozen part once in each fit": lambda: search(GridSearchCV),
        "GridSearchCV, feature_cache": cached,
        "StackedGridSearchCV": lambda: search(StackedGridSearchCV),
        "a fit, whole network": lambda: net(10, feature_cache=False).fit(X, y),
        "a fit, frozen part once": lambda: net(10).fit(X, y),
    }


def noting(
    name: str,
    run: Callable[[], object],
    network: Counted,
    passed: dict[str, list[float]],
) -> Callable[[], None]:
    """Return what runs a side, and notes its seconds and its images."""

    def noted() -> None:
        network.n = 0
        start = time.process_time()
        run()
        passed.setdefault(name, []).append(time.process_time() - start)
        network.counted[name] = network.n

    return noted


if __name__ == "__main__":
    main()
