"""Time of a training step against the number of networks in a stack.

    python -m benchmarks.stack_sizes [--device cuda] [--rounds 5] [--largest 512]

Steps of the small convolutional network of benchmarks.training_step on random images,
in batches of 32, with as many optimizers as a fifth of the networks: candidates with
five folds each. Sizes double until the largest, or until memory ends.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from benchmarks.training_step import ours
from skvision.estimators._run import TrainingRun
from skvision.model_selection._plan import _ordinary_step, _stacked_step
from skvision.model_selection._proof import find_engine

N_STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest", type=int, default=64)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(64, 28, 28), dtype=np.uint8)
    y = np.arange(64) % 10
    rows = []
    size = 1
    while size <= args.largest:
        members = [
            TrainingRun.of(
                ours("small ConvNet").set_params(
                    device=args.device, lr=0.01 / (1 + i // 5), random_state=i
                ),
                X,
                y,
            )
            for i in range(size)
        ]
        alone = _ordinary_step(members[0])
        try:
            together = _stacked_step(members, find_engine(members[:1]))
            sides = {
                "alone": partial(repeat, alone),
                "stack": partial(repeat, together),
            }
            seconds = take_turns(sides, args.rounds)
        except torch.OutOfMemoryError:
            print(f"Memory ends at {size} networks.")
            break
        rows.append(row(size, seconds))
        print(rows[-1], flush=True)
        size *= 2
    write(
        "stack_sizes" if args.device == "cpu" else "stack_sizes_gpu",
        "A training step of a stack, and its ratio to steps one after the other",
        "python -m benchmarks.stack_sizes",
        rows,
        notes=[f"Medians of {args.rounds} rounds; lowest and highest of a round."],
    )


def repeat(step: Callable[[], None]) -> None:
    for _ in range(N_STEPS):
        step()


def row(size: int, seconds: dict[str, list[float]]) -> dict[str, float]:
    alone, stack = (statistics.median(times) for times in seconds.values())
    one_by_one = [size * time for time in seconds["alone"]]
    compared = ratios({"alone": one_by_one, "stack": seconds["stack"]}, "alone")
    del compared["stack"]["seconds"]
    return {
        "networks": size,
        "ms of a step": round(1000 * stack / N_STEPS, 3),
        "ms of one alone": round(1000 * alone / N_STEPS, 3),
        **compared["stack"],
    }


if __name__ == "__main__":
    main()
