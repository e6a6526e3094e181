"""An epoch on JPEG files of photographs, beside a tuned DataLoader loop.

    python -m benchmarks.photographs [--n-images 2000] [--rounds 5] [--folder DIR]

Draws JPEG files of 500 pixels, and trains ResNet-18 (random weights, batches of 32
images of 224 pixels, SGD) for an epoch: its last layer alone ("frozen"), or all of it.
The loop reads files as skvision does (Pillow, which decodes large files at a part of
their size, and torch's antialiased resize), has as many workers as are best in a trial,
uint8 images on their way to the network, and channels last. Both make the same pixels,
which is checked. All sides run in turn, in one process; the time of the processor is
that of the process and of its workers.

Decoders are measured as well: Pillow, and TorchCodec where it is installed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, Dataset, Subset

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from skvision import ImageClassifier
from skvision.images import open_images
from skvision.images._layout import Form
from skvision.networks import torchvision_model
from skvision.preprocessing import InputSpec

SIZE, SIDE = 224, 500
N_CLASSES, BATCH_SIZE, LR = 10, 32, 0.01
# Images of the trial by which the number of workers is chosen.
N_TRIED = 4 * BATCH_SIZE
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BASELINE = "tuned DataLoader loop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--n-images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="for the files, which are removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        files = Files(draw_photographs(Path(folder), args.n_images))
        check_pixels(files)
        n_workers = best_number_of_workers(files)
        rows = []
        for network in ("frozen", "whole"):
            rows += compare(network, files, n_workers, args.rounds)
        decoders = time_decoders(files.paths[:500], Path(folder))
    write(
        "photographs",
        f"An epoch of ResNet-18 on {args.n_images:,} JPEG files of {SIDE} pixels",
        "python -m benchmarks.photographs",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds; lowest and highest of a round. The loop "
            f"has num_workers={n_workers}.",
            "Milliseconds of the processor to decode a file for 224 pixels: "
            + "; ".join(f"{name} {value}" for name, value in decoders.items()),
        ],
        decoders=decoders,
        num_workers=n_workers,
    )


class Files(Dataset):
    """Image files with labels, as a loop by hand reads them."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.y = np.arange(len(paths)) % N_CLASSES

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        pixels = torch.from_numpy(decoded(self.paths[row]).copy()).permute(2, 0, 1)
        image = interpolate(
            pixels[None], size=(SIZE, SIZE), mode="bilinear", antialias=True
        )
        return image[0], int(self.y[row])


def draw_photographs(folder: Path, n: int) -> list[str]:
    """Return the paths of new JPEG files, with about as many details as photographs."""
    rng = np.random.default_rng(0)
    paths = []
    for row in range(n):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth) + rng.normal(0, 12, (SIDE, SIDE, 1))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        paths.append(str(folder / f"{row}.jpg"))
        image.save(paths[-1], quality=85)
    return paths


def decoded(path: str) -> np.ndarray:
    """Return the pixels of a file, at least twice as high and wide as is needed."""
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIZE, 2 * SIZE))
        return np.asarray(image)


def check_pixels(files: Files) -> None:
    """Check that all sides train on the same."""
    form = Form(spec=InputSpec(size=(SIZE, SIZE)))
    ours = open_images(files.paths[:4], form=form).images.read(slice(None))
    assert torch.equal(ours, torch.stack([files[row][0] for row in range(len(ours))]))


def compare(
    network: str, files: Files, n_workers: int, n_rounds: int
) -> list[dict[str, Any]]:
    """Return rows of the table, of both clocks and sides, for one network."""
    spent: dict[str, list[float]] = {}

    def noting(name: str, train: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            start = processor_seconds()
            train()
            spent.setdefault(name, []).append(processor_seconds() - start)

        return run

    sides = {
        BASELINE: lambda: train_by_hand(network, files, n_workers),
        "skvision": lambda: ours(network).fit(files.paths, files.y),
    }
    noted = {name: noting(name, train) for name, train in sides.items()}
    passed = take_turns(noted, n_rounds)
    last = {name: values[-n_rounds:] for name, values in spent.items()}
    return [
        {"network": network, "clock": clock, "side": side, **figures}
        for clock, seconds in [("processor", last), ("wall", passed)]
        for side, figures in ratios(seconds, BASELINE).items()
    ]


def processor_seconds() -> float:
    """Return the time of the processor that this process and its workers have had."""
    return sum(os.times()[:4])


def ours(network: str) -> ImageClassifier:
    return ImageClassifier(
        "resnet18",
        image_size=SIZE,
        normalize=(MEAN, STD),
        freeze="backbone" if network == "frozen" else None,
        optimizer="sgd",
        lr=LR,
        batch_size=BATCH_SIZE,
        max_epochs=1,
        random_state=0,
    )


def train_by_hand(network: str, files: Dataset, n_workers: int) -> nn.Module:
    """Return a network that has been trained for an epoch."""
    torch.manual_seed(0)
    model = torchvision_model("resnet18", n_outputs=N_CLASSES, image_shape=(3, 1, 1))
    model = model.to(memory_format=torch.channels_last).train()
    head = model.get_submodule("fc")
    if network == "frozen":
        model.requires_grad_(False).eval()
        head.requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=LR)
    mean, std = (255 * torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    loader = DataLoader(files, BATCH_SIZE, shuffle=True, num_workers=n_workers)
    for images, y in loader:
        x = images.contiguous(memory_format=torch.channels_last)
        x = x.float().sub_(mean).div_(std)
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def best_number_of_workers(files: Files) -> int:
    """Return the number of workers with which the loop is the fastest."""
    few = Subset(files, range(min(N_TRIED, len(files))))
    seconds = {}
    for n_workers in sorted({0, 1, max(1, (os.cpu_count() or 1) - 1)}):
        start = time.perf_counter()
        train_by_hand("frozen", few, n_workers)
        seconds[n_workers] = time.perf_counter() - start
    return min(seconds, key=lambda n: seconds[n])


def time_decoders(paths: list[str], folder: Path) -> dict[str, float]:
    """Return milliseconds of the processor per file, by decoder and size of files."""
    large = str(folder / "large.jpg")
    with Image.open(paths[0]) as image:
        image.resize((3000, 2000)).save(large, quality=85)
    sides: dict[str, Callable[[str], object]] = {f"Pillow {version('pillow')}": decoded}
    if find_spec("torchcodec") is not None:
        from torchcodec.decoders import decode_jpeg

        sides[f"TorchCodec {version('torchcodec')}"] = decode_jpeg
    found = {}
    for size, some in [(f"{SIDE}x{SIDE}", paths), ("3000x2000", [large] * 4)]:
        for name, decode in sides.items():
            best = float("inf")
            for _ in range(3):
                start = time.process_time()
                for path in some:
                    decode(path)
                best = min(best, time.process_time() - start)
            found[f"{name}, {size}"] = round(1000 * best / len(some), 2)
    return found


if __name__ == "__main__":
    # So few steps teach a network nothing.
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
