"""Processes that are killed while they save and while they train.

    python -m benchmarks.kills [--n-saves 60] [--n-fits 30]

A process that saves two estimators in turn under one name is killed by SIGKILL at a
random moment, again and again: each time the file must be one of the two. A process
that trains with a checkpoint is killed at a random moment and started again: its
weights must be those of a fit that nobody disturbed, to the last bit. Processes are
forked from this one, which has the libraries loaded, so that it needs a system that
can fork.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import LRScheduler

import skvision
from benchmarks._report import write
from skvision import ImageClassifier
from skvision.datasets import load_digits_images
from skvision.preprocessing import RandomShift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--n-saves", type=int, default=60, help="that are killed")
    parser.add_argument("--n-fits", type=int, default=30, help="that are killed")
    args = parser.parse_args()
    # Threads of a process do not live on in those that are forked from it.
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    rows = [kill_saves(args.n_saves, rng)]
    for name, build in FITS.items():
        rows.append(kill_fits(name, build, -(-args.n_fits // len(FITS)), rng))
    write(
        "kills",
        "Processes that were killed by SIGKILL at a random moment",
        "python -m benchmarks.kills",
        rows,
        notes=[
            "Good: the file is whole, or the weights are those of a fit that nobody "
            "disturbed. Of fits, on average, the part of their time that had passed.",
        ],
        met=all(row["good"] == row["killed"] for row in rows),
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits_images(return_X_y=True)
    return X[:400], y[:400]


def kill_saves(n_kills: int, rng: np.random.Generator) -> dict[str, Any]:
    """Kill a process that saves, and look at what it leaves behind."""
    X, y = digits()
    nets = [
        ImageClassifier("mlp", module__hidden=(width,), max_epochs=1, random_state=0)
        for width in (300, 301)
    ]
    widths = Counter[int]()
    n_good = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.skv")
        for net in nets:
            net.fit(X, y).save(path)
        expected = {name_of(net): net for net in nets}

        def save_for_ever() -> None:
            while True:
                for net in nets:
                    net.save(path)

        for _ in range(n_kills):
            process = fork(save_for_ever)
            time.sleep(rng.uniform(0, 0.05))
            end(process)
            found = expected.get(name_of(skvision.load(path)))
            n_good += found is not None
            if found is not None:
                widths[found.module__hidden[0]] += 1
        left = [p.name for p in Path(folder).iterdir() if p != path]
    assert all(name.startswith(".net.skv.") for name in left), left
    return {
        "what": "save",
        "killed": n_kills,
        "good": n_good,
        "how": f"{widths[300]} of one file, {widths[301]} of the other",
    }


def small_mlp(**params: Any) -> ImageClassifier:
    return ImageClassifier(
        "mlp",
        module__hidden=(64,),
        module__dropout=0.2,
        optimizer="adamw",
        lr=0.01,
        batch_size=32,
        max_epochs=20,
        augment=[RandomShift(1)],
        early_stopping=True,
        n_iter_no_change=20,
        epoch_scoring="accuracy",
        callbacks=[LRScheduler(policy="StepLR", step_size=5)],
        random_state=0,
        **params,
    )


def small_convnet(**params: Any) -> ImageClassifier:
    return ImageClassifier(
        "convnet",
        module__channels=(8,),
        optimizer="sgd",
        optimizer__momentum=0.9,
        lr=0.01,
        batch_size=32,
        max_epochs=8,
        random_state=0,
        **params,
    )


FITS = {"fit of an MLP": small_mlp, "fit of a ConvNet": small_convnet}


def kill_fits(
    name: str, build: Callable[..., Any], n_kills: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Kill fits, start them again, and compare their weights."""
    X, y = digits()
    expected = name_of(build().fit(X, y))
    n_good, parts = 0, []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build(checkpoint=f"{folder}/whole", checkpoint_steps=5).fit(X, y)
        seconds = time.perf_counter() - start
        for i in range(n_kills):
            net = build(checkpoint=f"{folder}/{i}", checkpoint_steps=5)
            passed = rng.uniform(0, 0.9)
            process = fork(partial(net.fit, X, y))
            time.sleep(passed * seconds)
            end(process)
            parts.append(passed)
            n_good += name_of(net.fit(X, y)) == expected
    return {
        "what": name,
        "killed": n_kills,
        "good": n_good,
        "how": f"after {np.mean(parts):.0%} of their time",
    }


def name_of(net: Any) -> str:
    """Return what only fits with equal weights, optimizer and losses share."""
    state = net.module_.state_dict() | net.optimizer_.state_dict()["state"][0]
    found = hashlib.sha256(np.array(net.history[:, "train_loss"]).tobytes())
    for name, value in sorted(state.items()):
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


def fork(function: Callable[[], object]) -> int:
    process = os.fork()
    if process == 0:
        try:
            function()
        finally:
            os._exit(0)
    return process


def end(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


if __name__ == "__main__":
    main()
