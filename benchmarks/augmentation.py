"""Flipped and shifted training images: whole batches beside transforms per image.

    python -m benchmarks.augmentation [--image-folder DIR] [--rounds 5]

Takes 10,000 colour images of 32x32 with random flips and shifts by up to 4 pixels, in
batches of 128: once through an epoch of LeNet and SGD, once as batches alone, without
a network. Images are random, unless --image-folder names a folder like CIFAR-10's with
a sub-folder for each class (or one `train` with these). torchvision's transforms are
measured on PIL images, which its own data sets give, and on tensors, which are faster.
Ratios are to the fastest DataLoader without workers. All sides run in turn, in one
process.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from skvision import ImageClassifier
from skvision.datasets import load_image_folder
from skvision.images import open_images
from skvision.networks import LeNet
from skvision.preprocessing import RandomHorizontalFlip, RandomShift, apply_transforms
from skvision.training import BatchLoader, ImageDataset

BATCH_SIZE = 128
LR = 0.01
SHIFT = 4
N_CLASSES = 10
N_WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--image-folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n-train", type=int, default=10_000)
    args = parser.parse_args()
    X, y = load(args.image_folder, args.n_train)
    datasets = make_datasets(X, y)
    measures = {
        "epoch of LeNet": epochs(X, y, datasets),
        "batches alone": batches(X, y, datasets),
    }
    rows = []
    for measure, sides in measures.items():
        seconds = take_turns(sides, args.rounds)
        fastest = min(
            (loader_name(kind, 0) for kind in datasets),
            key=lambda side: statistics.median(seconds[side]),
        )
        for side, figures in ratios(seconds, fastest).items():
            times = round(1 / max(figures["ratio"], 0.001), 2)
            rows.append(
                {"measure": measure, "side": side, **figures, "times faster": times}
            )
            print(rows[-1], flush=True)
    write(
        "augmentation",
        f"{len(X):,} images flipped and shifted, and the ratio to a DataLoader",
        "python -m benchmarks.augmentation",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds; lowest and highest of a round.",
            "All networks but skorch's get their images with the channels last.",
            "Workers are started anew for each epoch, as a DataLoader does by default.",
        ],
        images="random" if args.image_folder is None else "of a folder",
    )


def load(folder: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    if folder is None:
        rng = np.random.default_rng(0)
        X = rng.integers(0, 256, size=(n, 32, 32, 3), dtype=np.uint8)
        return X, rng.permutation(np.arange(n) % N_CLASSES)
    if (folder / "train").is_dir():
        folder = folder / "train"
    X, y = load_image_folder(folder, n_samples=n, random_state=0, return_X_y=True)
    return X, y


class TransformedImages(Dataset):
    """Images in memory, each transformed when it is asked for."""

    def __init__(self, images: Any, y: np.ndarray, transform: Callable) -> None:
        self.images = images
        self.y = y
        self.transform = transform

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[i]), int(self.y[i])


def make_datasets(X: np.ndarray, y: np.ndarray) -> dict[str, TransformedImages]:
    """Return data sets that take torchvision's transforms in the usual ways."""
    from torchvision import transforms as v1
    from torchvision.transforms import v2

    # Together as tensors, they are copied and converted only once.
    tensors = torch.from_numpy(X).permute(0, 3, 1, 2).contiguous()
    steps = [v1.RandomCrop(32, padding=SHIFT), v1.RandomHorizontalFlip()]
    pil = v1.Compose([v1.ToPILImage(), *steps, v1.ToTensor()])
    old = v1.Compose([*steps, v1.ConvertImageDtype(torch.float32)])
    new = v2.Compose(
        [
            v2.RandomCrop(32, padding=SHIFT),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return {
        "v1 of PIL images": TransformedImages(X, y, pil),
        "v1 of tensors": TransformedImages(tensors, y, old),
        "v2 of tensors": TransformedImages(tensors, y, new),
    }


def loader_name(kind: str, n_workers: int) -> str:
    return f"DataLoader, {kind}, {n_workers} workers"


def loaders(datasets: dict[str, TransformedImages]) -> dict[str, DataLoader]:
    return {
        loader_name(kind, n): DataLoader(data, BATCH_SIZE, shuffle=True, num_workers=n)
        for kind, data in datasets.items()
        for n in (0, N_WORKERS)
    }


def epochs(
    X: np.ndarray, y: np.ndarray, datasets: dict[str, TransformedImages]
) -> dict[str, Callable[[], object]]:
    """Return what trains for an epoch; each call does it with a fresh network."""
    sides: dict[str, Callable[[], object]] = {
        "skvision": lambda: fit_ours(X, y),
        "loop by hand, whole batches": lambda: train(batches_by_hand(X, y)),
    }
    for name, loader in loaders(datasets).items():
        sides[name] = partial(train, loader)
    for kind, data in datasets.items():
        sides[f"skorch, {kind}"] = partial(fit_skorch, data, y)
    return sides


def batches(
    X: np.ndarray, y: np.ndarray, datasets: dict[str, TransformedImages]
) -> dict[str, Callable[[], object]]:
    """Return what only makes the batches of an epoch."""
    sides: dict[str, Callable[[], object]] = {
        "skvision": lambda: consume(our_batches(X, y)),
        "loop by hand, whole batches": lambda: consume(batches_by_hand(X, y)),
    }
    for name, loader in loaders(datasets).items():
        sides[name] = partial(consume, loader)
    return sides


def consume(source: Iterable) -> None:
    for _ in source:
        pass


def fit_ours(X: np.ndarray, y: np.ndarray) -> None:
    net = ImageClassifier(
        LeNet,
        optimizer="sgd",
        lr=LR,
        max_epochs=1,
        batch_size=BATCH_SIZE,
        augment=[RandomHorizontalFlip(), RandomShift(SHIFT)],
        device="cpu",
    )
    with warnings.catch_warnings():
        # Nothing can be learnt from random images.
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(X, y)


def our_batches(X: np.ndarray, y: np.ndarray) -> Iterator[torch.Tensor]:
    data = ImageDataset(open_images(X).images, torch.from_numpy(y))
    transforms = [RandomHorizontalFlip(), RandomShift(SHIFT)]
    for images, _ in BatchLoader(data, BATCH_SIZE, shuffle=True):
        yield apply_transforms(images.float().div_(255), transforms)


def batches_by_hand(
    X: np.ndarray, y: np.ndarray
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cut whole batches out of images that are padded once."""
    targets = torch.from_numpy(y)
    sides = (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)
    padded = torch.from_numpy(np.pad(X, sides))
    places = torch.arange(32)
    for rows in torch.randperm(len(X)).split(BATCH_SIZE):
        top, left = torch.randint(0, 2 * SHIFT + 1, (2, len(rows), 1))
        lines, columns = top + places, left + places
        flipped = torch.rand(len(rows), 1) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
        batch = padded[rows[:, None, None], lines[:, :, None], columns[:, None]]
        yield batch.permute(0, 3, 1, 2).float().div_(255), targets[rows]


def train(source: Iterable) -> None:
    # The faster layout of memory, and the one that the estimator takes.
    layout = torch.channels_last
    net = LeNet((3, 32, 32), N_CLASSES).to(memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    for images, targets in source:
        optimizer.zero_grad()
        outputs = net(images.to(memory_format=layout))
        nn.functional.cross_entropy(outputs, targets).backward()
        optimizer.step()


def fit_skorch(data: Dataset, y: np.ndarray) -> None:
    NeuralNetClassifier(
        LeNet,
        module__image_shape=(3, 32, 32),
        module__n_outputs=N_CLASSES,
        criterion=nn.CrossEntropyLoss,
        lr=LR,
        max_epochs=1,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        classes=np.unique(y),
        verbose=0,
    ).fit(data, y=None)


if __name__ == "__main__":
    main()
