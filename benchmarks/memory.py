"""Memory that a fit needs beside its images: arrays, memory maps and image files.

    python -m benchmarks.memory [--image-folder DIR] [--cases NAME ...]

Trains LeNet for two epochs on small and large numbers of colour images of 32x32, each
in a process of its own, and samples its anonymous memory (RssAnon in
/proc/self/status, so on Linux alone). Pages of a map belong to files: the system can
take them back, and they do not count. What is there before the fit is subtracted: the
interpreter with its libraries and, unless they lie in files, the images. It is read
before and after a fit of a few images, which loads libraries and makes buffers.

Arrays and image files are made for the purpose, of random pixels; --image-folder takes
the files of a folder that has a sub-folder for each class instead. Where image files
are kept, their pixels go into a temporary file when they are first read; "each_time"
is what becomes of folders that are too large for that.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from benchmarks._report import write
from skvision import ImageClassifier
from skvision.datasets import as_Xy

STATUS = Path("/proc/self/status")
SHAPE = (32, 32, 3)
N_CLASSES = 10
N_TINY = 256
INTERVAL = 0.002
ARRAY = "array in memory"
MAP = "memory map"
KEPT = "image files, kept"
EACH_TIME = "image files, read each time"
CASES = {"array": ARRAY, "map": MAP, "kept": KEPT, "each-time": EACH_TIME}
LIMIT_MB = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--image-folder", type=Path)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--n-images", type=int, nargs=2, default=[20_000, 100_000])
    parser.add_argument("--n-files", type=int, nargs=2, default=[1000, 10_000])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not STATUS.exists():
        parser.exit(2, f"There is no {STATUS}, from which memory is read.\n")
    if args.case is not None:
        print(json.dumps(measure(**json.loads(args.case))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.cases:
            rows += compare(CASES[name], args, Path(folder))
    write(
        "memory",
        "Anonymous memory in MB of a fit on images of 32x32, at two numbers of them",
        "python -m benchmarks.memory",
        rows,
        notes=[
            f"Highest of the samples taken every {1000 * INTERVAL:g} ms, over what the "
            "process had with the libraries loaded, and over what it had after a fit "
            f"of {N_TINY} images. Labels, the order of the images and the history's "
            "lines of batches are some bytes an image.",
            f"LeNet on the CPU, batches of 128; epochs: {args.epochs}.",
        ],
        limit_mb=LIMIT_MB,
        met=max(row["over libraries"] for row in rows) <= LIMIT_MB,
        image_files="made" if args.image_folder is None else "of a folder",
    )


def compare(case: str, args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the table for one case, each measured by a new process."""
    rows: list[dict[str, Any]] = []
    from_arrays = case in (ARRAY, MAP)
    for n in args.n_images if from_arrays else args.n_files:
        source = make_array(folder, n) if from_arrays else args.image_folder
        source = source or make_files(folder / "files", n)
        options = {"case": case, "source": str(source), "n": n, "epochs": args.epochs}
        found = run(options)
        size = round(n * math.prod(SHAPE) / 1e6, 1)
        rows.append({"images": case, "n": n, "size": size, **found})
        if from_arrays:
            source.unlink()
    small, large = (row["over libraries"] for row in rows)
    for row, growth in zip(rows, [None, round(large - small, 1)], strict=True):
        row["growth"] = growth
        print(row, flush=True)
    return rows


def run(options: dict[str, Any]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--case", json.dumps(options)]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[1]
    )
    return json.loads(result.stdout.splitlines()[-1])


def make_array(folder: Path, n: int) -> Path:
    path = folder / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, *SHAPE))
    rng = np.random.default_rng(0)
    for start in range(0, n, 1000):
        part = images[start : start + 1000]
        part[:] = rng.integers(0, 256, size=part.shape, dtype=np.uint8)
    images.flush()
    return path


def make_files(folder: Path, n: int) -> Path:
    """Make the files that are missing among n in a folder with one for each class."""
    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / f"class {i % N_CLASSES}" / f"{i:06}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, size=SHAPE, dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    return folder


# What follows happens in the process that is measured.


def measure(case: str, source: str, n: int, epochs: int) -> dict[str, float]:
    """Return how far anonymous memory rises in a fit, in MB."""
    X, y = load(case, source, n)
    gc.collect()
    with_libraries = anonymous_mb()
    rng = np.random.default_rng(0)
    tiny = rng.integers(0, 256, size=(N_TINY, *SHAPE), dtype=np.uint8)
    fit(tiny, np.arange(N_TINY) % N_CLASSES, 1)
    gc.collect()
    after_tiny = anonymous_mb()
    peak = peak_during(lambda: fit(X, y, epochs))
    return {
        "libraries": round(with_libraries, 1),
        "peak": round(peak, 1),
        "over libraries": round(peak - with_libraries, 1),
        "over a tiny fit": round(peak - after_tiny, 1),
    }


def load(case: str, source: str, n: int) -> tuple[Any, np.ndarray]:
    if case in (ARRAY, MAP):
        X = np.load(source, mmap_mode="r" if case == MAP else None)
        return X, np.arange(n) % N_CLASSES
    files = ImageFolder(source, transform=ToTensor())
    if len(files) < n:
        raise ValueError(f"{source} holds {len(files)} images, fewer than {n}.")
    # Evenly, so that there are some of all classes.
    rows = np.linspace(0, len(files) - 1, n).astype(int)
    if case == KEPT:
        # As paths, the form that load_image_folder names for large folders.
        paths, labels = zip(*(files.samples[row] for row in rows), strict=True)
        return list(paths), np.array(labels)
    return as_Xy(Subset(files, rows.tolist()), cache=False)


def fit(X: Any, y: np.ndarray, epochs: int) -> None:
    net = ImageClassifier("lenet", max_epochs=epochs, device="cpu", random_state=0)
    with warnings.catch_warnings():
        # Nothing can be learnt from random images.
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(X, y)


def anonymous_mb() -> float:
    for line in STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"{STATUS} says nothing of anonymous memory.")


def peak_during(function: Callable[[], object]) -> float:
    """Return the most anonymous memory that was seen while a function ran."""
    samples = [anonymous_mb()]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(INTERVAL):
            samples.append(anonymous_mb())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        function()
        samples.append(anonymous_mb())
    finally:
        ended.set()
        thread.join()
    return max(samples)


if __name__ == "__main__":
    main()
