"""Epochs on a GPU, beside loops by hand over images that lie there, and their memory.

    python -m benchmarks.cuda [--networks NAME ...] [--rounds 3] [--n-images N]

Trains the networks of examples/plot_emnist_letters.py (E1) and
examples/plot_cifar10_ablation.py (C2), and a resnet18 on images of 224x224, on random
uint8 images by Adam. The loop by hand has them on the device: it indexes a batch,
converts and normalises it and makes a fused step, fetches the losses when the epoch
ends, and takes bfloat16 where the estimator has ``amp=True``. It is measured with both
layouts of memory; ratios are to the faster one. All sides run in turn, in one process.

Seconds are those of single epochs, the first of a fit left out, with the device waited
for. The whole fit begins with the images in the computer's memory. Peaks are what
torch had allocated on the GPU. With --device cpu it runs anywhere, to be tested.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from benchmarks.training_step import SMALL
from skvision import ImageClassifier
from skvision.networks import ConvNet, torchvision_model

LR = 1e-3
MEAN = STD = 0.5
C2 = {
    "channels": ((32, 64), (128, 128), (256, 256)),
    "batch_norm": "first",
    "conv_dropout": (0.0, 0.05, 0.0),
    "hidden": (1024, 512),
    "dropout": (0.1, 0.0, 0.1),
}
RESNET = {"name": "resnet18"}
OURS = "skvision"
LAYOUTS = {
    "channels last": torch.channels_last,
    "channels first": torch.contiguous_format,
}


class Case(NamedTuple):
    """A network and how it is trained."""

    network: Callable[..., nn.Module]
    options: dict[str, Any]
    image_shape: tuple[int, ...]
    n_classes: int
    n_images: int
    batch_size: int
    precisions: tuple[str, ...]


class Task(NamedTuple):
    """What each side is to do."""

    case: Case
    X: np.ndarray
    y: np.ndarray
    epochs: int
    amp: bool
    device: torch.device


class Run(NamedTuple):
    """What a training took: seconds of its epochs and in all, MB on the GPU."""

    epochs: list[float]
    whole: float
    peak: float | None


Side: TypeAlias = Callable[[], list[float]]
Runs: TypeAlias = dict[str, list[Run]]
FLOAT, BFLOAT = "float32", "bfloat16"
CASES = {
    "E1": Case(ConvNet, SMALL, (28, 28), 47, 112_800, 32, (FLOAT,)),
    "C2": Case(ConvNet, C2, (32, 32, 3), 10, 50_000, 64, (FLOAT, BFLOAT)),
    "resnet18": Case(
        torchvision_model, RESNET, (224, 224, 3), 10, 10_000, 128, (FLOAT, BFLOAT)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--networks", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="of a fit, at least 2")
    parser.add_argument("--n-images", type=int, help="instead of the data sets' own")
    parser.add_argument("--size", type=int, default=224, help="of resnet18's images")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "There is no GPU here; --device cpu tests the script.\n")
    if args.epochs < 2:
        parser.error("--epochs must be at least 2: the first one does not count")
    rows, sizes = [], []
    for name in args.networks:
        case = CASES[name]
        if name == "resnet18":
            case = case._replace(image_shape=(args.size, args.size, 3))
        case = case._replace(n_images=args.n_images or case.n_images)
        rows += compare(name, case, args, device)
        sizes.append(f"{name} {case.n_images:,} in batches of {case.batch_size}")
    write(
        "cuda",
        f"Epochs on the {device.type} device, and the ratio to a loop by hand",
        "python -m benchmarks.cuda",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds of {args.epochs - 1} epochs; lowest and "
            "highest ratio of a round. Whole: a fit of "
            f"{args.epochs} epochs. Peak: MB allocated on the GPU in it.",
            f"Random uint8 images: {', '.join(sizes)}.",
            f"cuDNN {torch.backends.cudnn.version()}, CUDA {torch.version.cuda}; "
            "cudnn.benchmark and TF32 as torch has them by default.",
        ],
        device=device.type,
    )


def compare(
    name: str, case: Case, args: argparse.Namespace, device: torch.device
) -> list[dict[str, Any]]:
    """Return the rows of the table for one network."""
    rng = np.random.default_rng(0)
    shape = (case.n_images, *case.image_shape)
    X = rng.integers(0, 256, size=shape, dtype=np.uint8)
    y = rng.permutation(np.arange(case.n_images) % case.n_classes)
    rows = []
    for precision in case.precisions:
        task = Task(case, X, y, args.epochs, precision == BFLOAT, device)
        sides: dict[str, Side] = {OURS: partial(fit, task)}
        for layout in LAYOUTS:
            side = f"loop by hand, {layout}"
            sides[side] = partial(train_by_hand, task, LAYOUTS[layout])
        found = measure(sides, args.rounds, device)
        for row in figures(found):
            rows.append({"network": name, "precision": precision, **row})
            print(rows[-1], flush=True)
    return rows


def measure(sides: dict[str, Side], n_rounds: int, device: torch.device) -> Runs:
    """Run all sides once unmeasured, then in turn."""
    found: Runs = {name: [] for name in sides}

    def run(name: str) -> None:
        found[name].append(measured(sides[name], device))

    take_turns({name: partial(run, name) for name in sides}, n_rounds)
    return {name: runs[1:] for name, runs in found.items()}


def measured(side: Side, device: torch.device) -> Run:
    on_gpu = device.type == "cuda"
    gc.collect()
    allocated = 0
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
    synchronize(device)
    start = time.perf_counter()
    epochs = side()
    synchronize(device)
    whole = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) - allocated if on_gpu else None
    return Run(epochs[1:], whole, None if peak is None else round(peak / 1e6, 1))


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def figures(found: Runs) -> list[dict[str, Any]]:
    """Return what is said of each side; the faster loop by hand is the measure."""
    epochs = {
        side: [statistics.median(run.epochs) for run in runs]
        for side, runs in found.items()
    }
    wholes = {
        side: statistics.median(run.whole for run in runs)
        for side, runs in found.items()
    }
    by_hand = [side for side in found if side != OURS]
    base = min(by_hand, key=lambda side: statistics.median(epochs[side]))
    rows, compared = [], ratios(epochs, base)
    for side, runs in found.items():
        peaks = [run.peak for run in runs if run.peak is not None]
        rows.append(
            {
                "side": side,
                **compared[side],
                "seconds": round(statistics.median(epochs[side]), 4),
                "whole": round(wholes[side], 3),
                "ratio of wholes": round(wholes[side] / wholes[base], 3),
                "peak": max(peaks, default=None),
            }
        )
    return rows


def fit(task: Task) -> list[float]:
    """Return the seconds of each epoch; it ends with the losses on the CPU."""
    case, X, y, epochs, amp, device = task
    net = ImageClassifier(
        case.network,
        **{f"module__{name}": value for name, value in case.options.items()},
        lr=LR,
        max_epochs=epochs,
        batch_size=case.batch_size,
        normalize=(MEAN, STD),
        amp=amp,
        device=device,
    )
    with warnings.catch_warnings():
        # Nothing can be learnt from random images.
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(X, y)
    return net.history[:, "dur"]


def train_by_hand(task: Task, layout: torch.memory_format) -> list[float]:
    """Return the seconds of each epoch."""
    case, X, y, epochs, amp, device = task
    images = torch.from_numpy(X).to(device)
    targets = torch.from_numpy(y).to(device)
    # A view in which the channels come second. Indexing keeps the layout of memory.
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    images = images.contiguous(memory_format=layout)
    net = case.network(
        image_shape=tuple(images.shape[1:]), n_outputs=case.n_classes, **case.options
    )
    net = net.to(device).to(memory_format=layout).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=True)
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        losses = []
        order = torch.randperm(len(images), device=device)
        for rows in order.split(case.batch_size):
            batch = images[rows].float().sub_(255 * MEAN).div_(255 * STD)
            batch = batch.contiguous(memory_format=layout)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16) if amp else nullcontext():
                outputs = net(batch)
            loss = cross_entropy(outputs.float(), targets[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).tolist()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
