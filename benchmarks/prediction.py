"""Probabilities of 60,000 images, beside loops by hand over the same network.

    python -m benchmarks.prediction [--data-home DIR] [--rounds 7]

Fits the two networks of benchmarks.training_step and the default classifier on a few
images of Fashion-MNIST, then measures ``predict_proba`` on its training images. The
loops by hand run the fitted network in inference mode: they slice a uint8 tensor,
convert and normalise the batch and apply the softmax, with several batch sizes and,
for convolutions, both layouts of memory. Ratios are to the fastest of them. All sides
run in turn, in one process, and must agree.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from benchmarks.training_step import NETWORKS, ours
from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist
from skvision.estimators._builder import is_convolutional

OURS = "skvision"
DEFAULT = "default ConvNet"
LAYOUTS = {
    "channels first": torch.contiguous_format,
    "channels last": torch.channels_last,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--n-predict", type=int, default=60_000)
    parser.add_argument("--n-fit", type=int, default=2000)
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[128, 256, 512, 1024]
    )
    args = parser.parse_args()
    X, y = fetch_fashion_mnist(data_home=args.data_home, return_X_y=True)
    images = X[: args.n_predict]
    rows = []
    for network in [*NETWORKS, DEFAULT]:
        net = fitted(network, X[: args.n_fit], y[: args.n_fit])
        seconds = measure(net, images, args.batch_sizes, args.rounds)
        by_hand = [side for side in seconds if side != OURS]
        fastest = min(by_hand, key=lambda side: statistics.median(seconds[side]))
        for side, figures in ratios(seconds, fastest).items():
            rows.append({"network": network, "side": side, **figures})
            print(rows[-1], flush=True)
    write(
        "prediction",
        f"Probabilities of {len(images):,} images, and the ratio to the fastest loop "
        "by hand",
        "python -m benchmarks.prediction",
        rows,
        notes=[f"Medians of {args.rounds} rounds; lowest and highest of a round."],
    )


def fitted(network: str, X: np.ndarray, y: np.ndarray) -> ImageClassifier:
    net = ImageClassifier(max_epochs=1) if network == DEFAULT else ours(network)
    # The loops by hand stay on the CPU.
    net.set_params(device="cpu", random_state=0)
    with warnings.catch_warnings():
        # What the network has learnt does not matter here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(X, y)


def measure(
    net: ImageClassifier, images: np.ndarray, batch_sizes: list[int], n_rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each side, having compared the probabilities."""
    sides: dict[str, Callable[[], np.ndarray]] = {
        OURS: partial(net.predict_proba, images)
    }
    for layout in layouts(net.module_):
        module = copy.deepcopy(net.module_).to(memory_format=LAYOUTS[layout]).eval()
        for size in batch_sizes:
            sides[f"by hand, {layout}, batches of {size}"] = partial(
                predict_by_hand, net, module, LAYOUTS[layout], images, size
            )
    found: dict[str, np.ndarray] = {}

    def run(side: str) -> None:
        found[side] = sides[side]()

    seconds = take_turns({side: partial(run, side) for side in sides}, n_rounds)
    for side, probabilities in found.items():
        np.testing.assert_allclose(
            probabilities, found[OURS], rtol=1e-3, atol=1e-5, err_msg=side
        )
    return seconds


def layouts(module: nn.Module) -> list[str]:
    """Return the layouts of memory that make a difference to a network."""
    return [*LAYOUTS] if is_convolutional(module) else ["channels first"]


def predict_by_hand(
    net: ImageClassifier,
    module: nn.Module,
    layout: torch.memory_format,
    images: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    mean, std = net.scaler_.mean, net.scaler_.std
    outputs = []
    with torch.inference_mode():
        for part in torch.from_numpy(images[:, None]).split(batch_size):
            batch = part.float().div_(255).sub_(mean).div_(std)
            outputs.append(module(batch.to(memory_format=layout)).softmax(dim=1))
    return torch.cat(outputs).numpy()


if __name__ == "__main__":
    main()
