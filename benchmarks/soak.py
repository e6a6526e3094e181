"""Many fits in one process: random configurations, and resources that must not grow.

    python -m benchmarks.soak [--examples 200] [--fits 50] [--variants NAME ...]

Draws valid configurations of all estimators by hypothesis, which has to be installed:
networks, optimizers, losses, augmentation, labels, layouts of images and more. Each is
fitted on tens of tiny images, predicts, is pickled and cloned, and has to give the same
predictions again. Then the same fit is made many times over, each variant of it in a
process of its own.

After each ten, memory, open files, threads and child processes are counted, so on Linux
alone. Memory is the anonymous one (RssAnon in /proc/self/status), after what Python and
the C library have set free went back to the system.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from PIL import Image
from sklearn.base import clone
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

import skvision
from benchmarks._cases import Case, Configuration, build
from benchmarks._configurations import configurations
from benchmarks._report import write
from skvision import ImageClassifier
from skvision.datasets import as_Xy
from skvision.model_selection import StackedGridSearchCV

PROCESS = Path("/proc/self")
MEASURES = ("memory", "files", "threads", "processes")
#: Of the arrays and of the image files that are fitted again and again.
N_IMAGES, N_FILES = 2000, 100
SHAPE = (8, 8)
#: Half of what would be left behind if each fit kept one copy of its images.
LIMIT_MB_PER_FIT = N_IMAGES * SHAPE[0] * SHAPE[1] / 1e6 / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--fits", type=int, default=50)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--variants", nargs="*", choices=VARIANTS, default=available_variants()
    )
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not PROCESS.exists():
        parser.exit(2, f"There is no {PROCESS}, where resources are counted.\n")
    if args.fits < 3 * args.every:
        parser.error("--fits must be at least 3 times --every: the second count counts")
    if args.measure:
        print(json.dumps(measure(args.measure, args.fits, args.every)))
        return
    readings, failures = soak(args.examples, args.every, args.seed)
    rows = [{"what": "random configurations", **reading} for reading in readings]
    rises = {}
    for name in args.variants:
        found = run([name], args.fits, args.every)[name]
        rises[name] = rise(found)
        rows += [{"what": name, **reading, "failures": 0} for reading in found]
    write(
        "soak",
        "Resources of a process after so many fits; memory in MB",
        "python -m benchmarks.soak",
        rows,
        notes=[
            f"Random configurations: {args.examples}, of which {len(failures)} failed.",
            "Of the other fits, memory may rise by "
            f"{1000 * LIMIT_MB_PER_FIT:.0f} kB each between the second line and the "
            "last, half of what its images take; nothing else may rise.",
        ],
        configurations=args.examples,
        # Which are drawn depends on it.
        hypothesis=version("hypothesis"),
        failures=failures,
        rises=rises,
        limit_mb_per_fit=LIMIT_MB_PER_FIT,
        met=not failures and not any(exceeded(rise) for rise in rises.values()),
    )


# ------------------------------------------------------------------------- resources


def resources() -> dict[str, float]:
    """Count what this process has, after a collection of garbage."""
    gc.collect()
    _give_back()
    children = (PROCESS / "task").glob("*/children")
    return {
        "memory": round(anonymous_mb(), 2),
        # One of them is that of the list itself.
        "files": len(os.listdir(PROCESS / "fd")) - 1,
        "threads": len(os.listdir(PROCESS / "task")),
        "processes": sum(len(path.read_text().split()) for path in children),
    }


def anonymous_mb() -> float:
    text = (PROCESS / "status").read_text().partition("RssAnon:")[2]
    return int(text.split()[0]) * 1024 / 1e6


def _give_back() -> None:
    """Let the C library return the memory that it keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def repeat(step: Callable[[int], object], n: int, every: int) -> list[dict[str, float]]:
    """Make n steps, and count resources after each so many of them."""
    readings = []
    for i in range(1, n + 1):
        step(i)
        if i % every == 0:
            readings.append({"fits": i, **resources()})
    return readings


def rise(readings: list[dict[str, float]]) -> dict[str, float]:
    """Return how far resources rose from the second reading to the last.

    The first fits load libraries and make buffers that stay.
    """
    second, last = readings[1], readings[-1]
    return {name: round(last[name] - second[name], 3) for name in ("fits", *MEASURES)}


def exceeded(rise: dict[str, float]) -> list[str]:
    """Return the names of resources that rose by more than they may."""
    limits = dict.fromkeys(MEASURES, 0.0)
    limits["memory"] = LIMIT_MB_PER_FIT * rise["fits"]
    return [name for name, limit in limits.items() if rise[name] > limit]


# ------------------------------------------------------------- the same fit many times


def classifier(**params: Any) -> ImageClassifier:
    defaults = {"module__hidden": (4,), "batch_size": 500, "max_epochs": 1}
    return ImageClassifier("mlp", device="cpu", **defaults | params)


def fit_arrays(i: int, *, folder: Path, **params: Any) -> None:
    """Fit and predict; each time other images, which nobody keeps."""
    X = np.random.RandomState(i).randint(0, 256, (N_IMAGES, *SHAPE)).astype(np.uint8)
    net = classifier(random_state=i, **params).fit(X, np.arange(N_IMAGES) % 2)
    assert len(net.predict(X)) == N_IMAGES


def fit_files(i: int, *, folder: Path, **params: Any) -> None:
    paths, y = image_files(folder)
    net = classifier(random_state=i, **params).fit(paths, y)
    assert len(net.predict(paths)) == N_FILES


def fit_data_set(i: int, *, folder: Path) -> None:
    image_files(folder)
    X, y = as_Xy(ImageFolder(folder / "images", ToTensor()))
    assert X.reading == "once"
    assert len(classifier(random_state=i).fit(X, y).predict(X)) == N_FILES


def search(i: int, *, folder: Path) -> None:
    X = np.random.RandomState(i).randint(0, 256, (N_IMAGES, *SHAPE)).astype(np.uint8)
    grid = {"lr": [1e-3, 1e-2]}
    net = classifier(random_state=i)
    search = StackedGridSearchCV(net, grid, cv=2, calibrate=False)
    assert len(search.fit(X, np.arange(N_IMAGES) % 2).predict(X)) == N_IMAGES


def save_and_load(i: int, *, folder: Path) -> None:
    X = np.random.RandomState(i).randint(0, 256, (N_IMAGES, *SHAPE)).astype(np.uint8)
    net = classifier(random_state=i).fit(X, np.arange(N_IMAGES) % 2)
    net.save(folder / "estimator")
    loaded = skvision.load(folder / "estimator")
    assert np.array_equal(loaded.predict(X), net.predict(X))


def with_checkpoint(i: int, *, folder: Path) -> None:
    fit_arrays(i, folder=folder, checkpoint=folder / "checkpoints")
    assert len(list((folder / "checkpoints").iterdir())) == i


#: Functions of a number and a folder.
VARIANTS: dict[str, Callable[..., None]] = {
    "arrays": fit_arrays,
    "files": fit_files,
    "data-set": fit_data_set,
    "workers": partial(
        fit_files, iterator_train__num_workers=1, iterator_valid__num_workers=1
    ),
    "early-stopping": partial(fit_arrays, early_stopping=True),
    "checkpoint": with_checkpoint,
    "stacked-search": search,
    "save-and-load": save_and_load,
}


def available_variants() -> list[str]:
    names = [*VARIANTS]
    if not hasattr(skvision, "load"):
        names.remove("save-and-load")
    return names


def image_files(folder: Path) -> tuple[list[str], np.ndarray]:
    """Return image files and their labels; they are made if there are none."""
    y = np.arange(N_FILES) % 2
    paths = [folder / "images" / str(y[i]) / f"{i:03}.png" for i in range(N_FILES)]
    rng = np.random.RandomState(0)
    for path in paths:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.randint(0, 256, SHAPE).astype(np.uint8)
            Image.fromarray(pixels).save(path)
    return [str(path) for path in paths], y


def measure(names: list[str], n: int, every: int) -> dict[str, list[dict[str, float]]]:
    """Return the readings of some variants, one after the other in this process."""
    warnings.simplefilter("ignore")  # There is nothing to be learnt.
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            step = partial(VARIANTS[name], folder=Path(folder))
            found[name] = repeat(step, n, every)
    return found


def run(names: list[str], n: int, every: int) -> dict[str, list[dict[str, float]]]:
    """Return the readings of some variants in a fresh process."""
    options = ["--measure", *names, "--fits", str(n), "--every", str(every)]
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return json.loads(result.stdout.splitlines()[-1])


# --------------------------------------------------------------- random configurations


def soak(
    n: int, every: int, random_state: int
) -> tuple[list[dict[str, float]], list[dict[str, str]]]:
    """Try n random configurations; return resources and failures."""
    readings: list[dict[str, float]] = []
    failures: list[dict[str, str]] = []
    done = 0

    @seed(random_state)
    @settings(
        max_examples=n,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(configurations())
    def one(configuration: Configuration) -> None:
        nonlocal done
        try:
            with tempfile.TemporaryDirectory() as folder:
                try_out(configuration, Path(folder))
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__)[-2:])
            what = f"{type(error).__name__}: {error}"
            failures.append(
                {"configuration": repr(configuration), "error": what, "where": where}
            )
            print(configuration, where, what, sep="\n", flush=True)
        done += 1
        if done % every == 0:
            readings.append({"fits": done, **resources(), "failures": len(failures)})
            print(readings[-1], flush=True)

    one()
    return readings, failures


def try_out(configuration: Configuration, folder: Path) -> None:
    """Fit, predict, pickle and clone; raise AssertionError where results differ."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # Such fits converge nowhere, and some configurations are unwise.
        warnings.simplefilter("ignore")
        case = build(configuration, folder)
        net, twin = case.net, clone(case.net)
        fit(net, case, configuration)
        check_history(net, configuration)
        outputs = predictions(net, case.X)
        for name, values in outputs.items():
            assert len(values) == configuration.data.n, name
            assert values.dtype.kind != "f" or np.isfinite(values).all(), name
        assert np.isfinite(net.score(case.X, case.y))
        check_same(predictions(net, case.X), outputs, "a second time")
        check_same(
            predictions(pickle.loads(pickle.dumps(net)), case.X), outputs, "unpickled"
        )
        check_clone(clone(net), net)
        if net.random_state is not None or net.checkpoint is not None:
            fit(twin, case, configuration)
            check_same(predictions(twin, case.X), outputs, "fitted again")


def fit(net: Any, case: Case, configuration: Configuration) -> None:
    net.fit(case.X, case.y, sample_weight=case.sample_weight)
    if configuration.goes_on:
        net.partial_fit(case.X, case.y, sample_weight=case.sample_weight)


def predictions(net: Any, X: Any) -> dict[str, np.ndarray]:
    """Return all that an estimator predicts."""
    methods = ("predict", "predict_proba", "transform", "reconstruct")
    found = {name: getattr(net, name)(X) for name in methods if hasattr(net, name)}
    if "reconstruct" in found:
        found["inverse_transform"] = net.inverse_transform(found["transform"])
    return found


def check_history(net: Any, configuration: Configuration) -> None:
    epochs = configuration.params["max_epochs"] * (1 + configuration.goes_on)
    assert 1 <= len(net.history) <= epochs
    batches = [batch for epoch in net.history for batch in epoch["batches"]]
    losses = [batch["train_loss"] for batch in batches if "train_loss" in batch]
    assert losses and np.isfinite(losses).all()
    held_out = net.early_stopping or net.train_split is not None
    has_valid = any("valid_loss" in b for b in net.history[-1]["batches"])
    assert has_valid == held_out


def check_same(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], when: str
) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, (name, when)
        assert np.array_equal(found[name], values), (name, when)


def check_clone(cloned: Any, net: Any) -> None:
    assert not cloned.initialized_
    params, expected = cloned.get_params(deep=False), net.get_params(deep=False)
    assert params.keys() == expected.keys()
    for name, value in expected.items():
        assert type(params[name]) is type(value), name


if __name__ == "__main__":
    main()
