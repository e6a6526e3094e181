"""Where the time of an epoch goes: data, network, optimizer, and all the rest.

    python -m benchmarks.profile_epoch [--data-home DIR] [--rounds 5]

Trains the two networks of benchmarks.training_step, the default classifier, and the
latter with random flips and shifts, on 20,000 images of Fashion-MNIST. A clock is read
where one part of a step ends and the next begins. Epochs without these readings, in
turn with the others, show what the readings cost. On the CPU alone, since a GPU works
on while the clock is read.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from benchmarks._report import write
from benchmarks.training_step import NETWORKS, ours
from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist
from skvision.preprocessing import RandomHorizontalFlip, RandomShift

BOOKKEEPING = "bookkeeping: history, callbacks, loop"
GATHER = "data: gather"
OPTIMIZER = "optimizer"
PARTS = {
    GATHER: (),
    "data: augment": ("_augmented",),
    "data: convert, normalise": ("_to_input",),
    "forward": ("infer",),
    "loss": ("get_loss",),
    "backward": (),
    OPTIMIZER: ("_zero_grad_optimizer",),
    BOOKKEEPING: (),
}
DEFAULT = "default ConvNet"
AUGMENTED = "default ConvNet, flips and shifts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n-train", type=int, default=20_000)
    args = parser.parse_args()
    X, y = fetch_fashion_mnist(data_home=args.data_home, return_X_y=True)
    X, y = X[: args.n_train], y[: args.n_train]
    rows = []
    for network in [*NETWORKS, DEFAULT, AUGMENTED]:
        found = profile(network, X, y, args.rounds)
        for row in found:
            rows.append({"network": network, **row})
            print(rows[-1], flush=True)
    write(
        "profile_epoch",
        f"Where the time of an epoch of {len(X):,} images goes",
        "python -m benchmarks.profile_epoch",
        rows,
        notes=[
            f"Medians of {args.rounds} epochs; lowest and highest of an epoch.",
            "Shares are of the whole epoch, clock read.",
            "What augments images converts them, too.",
        ],
    )


def build(network: str) -> ImageClassifier:
    net = ours(network) if network in NETWORKS else ImageClassifier(max_epochs=1)
    if network == AUGMENTED:
        net.set_params(augment=[RandomHorizontalFlip(), RandomShift(2)])
    return net.set_params(device="cpu", random_state=0)


def profile(
    network: str, X: np.ndarray, y: np.ndarray, n_rounds: int
) -> list[dict[str, Any]]:
    """Return the time of each part, of all and of an epoch without measurement."""
    train(network, X, y)
    measured: list[dict[str, float]] = []
    plain: list[float] = []
    for _ in range(n_rounds):
        gc.collect()
        plain.append(train(network, X, y)[0])
        gc.collect()
        clock = Clock()
        seconds, n_batches = train(network, X, y, clock)
        measured.append({**clock.seconds, "whole epoch, clock read": seconds})
    times = {
        part: [epoch.get(part, 0.0) for epoch in measured]
        for part in [*PARTS, "whole epoch, clock read"]
    }
    times["whole epoch, clock not read"] = plain
    if network != AUGMENTED:
        del times["data: augment"]
    whole = statistics.median(times["whole epoch, clock read"])
    return [
        {
            "part": part,
            "ms per batch": round(1000 * statistics.median(values) / n_batches, 4),
            "lowest": round(1000 * min(values) / n_batches, 4),
            "highest": round(1000 * max(values) / n_batches, 4),
            "share in %": round(100 * statistics.median(values) / whole, 1),
        }
        for part, values in times.items()
    ]


def train(
    network: str, X: np.ndarray, y: np.ndarray, clock: Clock | None = None
) -> tuple[float, int]:
    """Return seconds and batches of an epoch; what comes before it doesn't count."""
    net = build(network)
    loop, backward = net.fit_loop, torch.Tensor.backward
    if clock is not None:
        clock.watch(net)
        loop = clock.timed(BOOKKEEPING, loop)
        backward = clock.timed("backward", backward)
    seconds = 0.0

    def timed_loop(*args: Any, **kwargs: Any) -> None:
        nonlocal seconds
        if clock is not None:
            clock.seconds.clear()
        start = time.perf_counter()
        loop(*args, **kwargs)
        seconds = time.perf_counter() - start

    replace(net, "fit_loop", timed_loop)
    with patch.object(torch.Tensor, "backward", backward), warnings.catch_warnings():
        # An epoch may be too short to learn anything.
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(X, y)
    return seconds, len(net.history[-1, "batches"])


def replace(net: ImageClassifier, method: str, function: Callable) -> None:
    setattr(net, method, function)


class Clock:
    """Adds up the time in each part, without that of the parts within it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.within: list[str] = []
        self.since = 0.0

    def _turn(self) -> None:
        now = time.perf_counter()
        if self.within:
            self.seconds[self.within[-1]] += now - self.since
        self.since = now

    def timed(self, part: str, function: Callable) -> Callable:
        """Return the function so that its time counts for a part."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._turn()
            self.within.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._turn()
                self.within.pop()

        return run

    def watch(self, net: ImageClassifier) -> None:
        """Time the methods of an estimator that make up a step."""
        for part, methods in PARTS.items():
            for method in methods:
                replace(net, method, self.timed(part, getattr(net, method)))
        get_iterator, step = net.get_iterator, net._step_optimizer
        replace(
            net,
            "get_iterator",
            lambda *args, **kwargs: TimedLoader(get_iterator(*args, **kwargs), self),
        )
        # The optimizer calls the whole step, of which only its own part is meant.
        step = self.timed(OPTIMIZER, step)
        replace(
            net,
            "_step_optimizer",
            lambda closure: step(self.timed(BOOKKEEPING, closure)),
        )


class TimedLoader:
    """The batches of a loader, with the time that each takes to come."""

    def __init__(self, loader: Any, clock: Clock) -> None:
        self.loader = loader
        self.clock = clock

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        advance = self.clock.timed(GATHER, lambda: next(batches, None))
        while (batch := advance()) is not None:
            yield batch


if __name__ == "__main__":
    main()
