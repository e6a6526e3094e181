"""Test accuracy of the default classifier on Fashion-MNIST, epoch by epoch.

    python -m benchmarks.default_classifier [--data-home DIR] [--seeds 0 1 2]

Trains ``ImageClassifier(max_epochs=1, random_state=seed)`` on all 60,000 training
images, with ``partial_fit`` for the further epochs, and scores it on the 10,000 test
images after each.
"""

from __future__ import annotations

import argparse
import time

from benchmarks._report import write
from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist
from skvision.inspection import count_parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()

    home = args.data_home
    X, y = fetch_fashion_mnist(data_home=home, return_X_y=True)
    test = fetch_fashion_mnist(data_home=home, subset="test", return_X_y=True)
    rows: list[dict[str, object]] = []
    for seed in args.seeds:
        net = ImageClassifier(max_epochs=1, random_state=seed)
        for epoch in range(1, args.epochs + 1):
            start = time.perf_counter()
            net.partial_fit(X, y)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "seed": seed,
                    "epoch": epoch,
                    "train loss": round(float(net.history[-1, "train_loss"]), 4),
                    "test accuracy": round(float(net.score(*test)), 4),
                    "seconds": round(seconds, 1),
                    "parameters": count_parameters(net),
                }
            )
            print(rows[-1], flush=True)
    write(
        "default_classifier",
        "Default ImageClassifier on Fashion-MNIST (60,000 training images)",
        "python -m benchmarks.default_classifier",
        rows,
    )


if __name__ == "__main__":
    main()
