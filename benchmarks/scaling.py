"""Time of an epoch against the number of images, of rows in a batch, and of classes.

    python -m benchmarks.scaling [--data-home DIR] [--rounds 3]

Trains the multi-layer perceptron of benchmarks.training_step on images of
Fashion-MNIST. Times are those of single epochs, from the history of a fit of several;
the first epoch of a fit, and what comes before it, does not count. For the classes,
labels are drawn at random. A straight line through the times for several numbers of
images has the part of an epoch that does not depend on them.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from benchmarks._report import write
from benchmarks.training_step import ours
from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist

Fit: TypeAlias = Callable[[], ImageClassifier]
NETWORK = "MLP"
IMAGES, ROWS, CLASSES = "images", "rows in a batch", "classes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help="of each fit, at least 2")
    parser.add_argument("--n-train", type=int, default=10_000, help="where it is fixed")
    for option, default in [
        ("--images", [2500, 5000, 10_000, 20_000, 40_000]),
        ("--batch-sizes", [16, 32, 64, 128, 256, 512, 1024]),
        ("--classes", [2, 10, 100, 1000]),
    ]:
        parser.add_argument(option, type=int, nargs="+", default=default)
    args = parser.parse_args()
    X, y = fetch_fashion_mnist(data_home=args.data_home, return_X_y=True)
    n = args.n_train
    images, targets = X[:n], y[:n]
    axes: dict[str, dict[int, Fit]] = {
        IMAGES: {m: partial(fit, X[:m], y[:m], args.epochs) for m in args.images},
        ROWS: {
            b: partial(fit, images, targets, args.epochs, batch_size=b)
            for b in args.batch_sizes
        },
        CLASSES: {
            k: partial(fit, images, labels(len(images), k), args.epochs)
            for k in args.classes
        },
    }
    seconds = {axis: measure(fits, args.rounds) for axis, fits in axes.items()}
    rows = []
    for axis, by_value in seconds.items():
        for value, rounds in by_value.items():
            size = value if axis == IMAGES else len(images)
            rows.append({"axis": axis, "value": value, **figures(rounds, size)})
    report(rows, straight_line(seconds[IMAGES]), args)


def report(
    rows: list[dict[str, Any]], line: dict[str, float], args: argparse.Namespace
) -> None:
    batch_size = ours(NETWORK).get_params()["batch_size"]
    write(
        "scaling",
        "Time of an epoch of a multi-layer perceptron",
        "python -m benchmarks.scaling",
        rows,
        notes=[
            f"Medians of {args.rounds * (args.epochs - 1)} epochs; lowest and highest "
            "of one.",
            f"Where they do not vary: {args.n_train:,} images, batches of {batch_size} "
            "and 10 classes.",
            f"Straight line: {line['ms']} ms + {line['µs per image']} µs for each "
            f"image (of single rounds: {line['lowest ms']} to {line['highest ms']} "
            "ms), with the least squares of relative differences.",
        ],
        line=line,
    )


def fit(X: np.ndarray, y: np.ndarray, n_epochs: int, **params: Any) -> ImageClassifier:
    net = ours(NETWORK).set_params(max_epochs=n_epochs, random_state=0, **params)
    with warnings.catch_warnings():
        # Nothing can be learnt from random labels.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(X, y)


def labels(n: int, n_classes: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(n) % n_classes)


def measure(fits: dict[int, Fit], n_rounds: int) -> dict[int, list[list[float]]]:
    """Return the seconds of the epochs of each round, whose fits are made in turn."""
    seconds: dict[int, list[list[float]]] = {value: [] for value in fits}
    for _ in range(n_rounds):
        for value, run in fits.items():
            gc.collect()
            seconds[value].append(run().history[1:, "dur"])
            print(value, [round(s, 3) for s in seconds[value][-1]], flush=True)
    return seconds


def figures(rounds: list[list[float]], n_images: int) -> dict[str, float]:
    epochs = [seconds for epochs in rounds for seconds in epochs]
    middle = statistics.median(epochs)
    return {
        "seconds": round(middle, 4),
        "lowest": round(min(epochs), 4),
        "highest": round(max(epochs), 4),
        "µs per image": round(1e6 * middle / n_images, 2),
    }


def straight_line(seconds: dict[int, list[list[float]]]) -> dict[str, float]:
    """Return what an epoch takes without images, and each image more."""

    def line(times: list[float]) -> tuple[float, float]:
        # Relative differences: else the longest epochs' scatter decides all.
        slope, start = np.polyfit([*seconds], times, 1, w=1 / np.array(times))
        return 1000 * start, 1e6 * slope

    start, slope = line(
        [statistics.median(chain.from_iterable(turns)) for turns in seconds.values()]
    )
    starts = [
        line([statistics.median(epochs) for epochs in turn])[0]
        for turn in zip(*seconds.values(), strict=True)
    ]
    return {
        "ms": round(start, 1),
        "µs per image": round(slope, 2),
        "lowest ms": round(min(starts), 1),
        "highest ms": round(max(starts), 1),
    }


if __name__ == "__main__":
    main()
