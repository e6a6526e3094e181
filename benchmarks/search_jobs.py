"""A grid search of six settings with one and with two jobs.

    python -m benchmarks.search_jobs [--data-home DIR] [--rounds 3] [--n-samples 15000]

Selects width, optimizer and learning rate of a small convolutional network on letters
of EMNIST, 80 % of the images for training, as examples/plot_emnist_letters.py does. In
one process, torch takes as many threads as there are cores; joblib gives each of two
workers its part of them. It keeps workers for the next search: one search starts them
anew, which takes seconds and counts, and another finds them there. Searches run in
turn. With equal numbers of threads, all that ``cv_results_`` says but times must be
equal to the last bit; with others, sums of floats differ in the last bit, and what
comes of it is said.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit

from benchmarks._report import write
from benchmarks._timing import ratios, take_turns
from benchmarks.training_step import SMALL
from skvision import ImageClassifier
from skvision.datasets import fetch_emnist
from skvision.metrics import cross_entropy_scorer

GRID = [
    {"optimizer": ["adam"], "lr": [1e-3], "module__hidden": [32, 64]},
    {"optimizer": ["sgd"], "lr": [0.1, 0.01], "module__hidden": [32, 64]},
]
ONE_JOB = "n_jobs=1"
ONE_THREAD = "n_jobs=1, one thread"
TWO_JOBS = "n_jobs=2, workers started"
TWO_JOBS_AGAIN = "n_jobs=2, workers there"
TARGET = 0.65


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n-samples", type=int, default=15_000)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    X, y = fetch_emnist(
        data_home=args.data_home,
        n_samples=args.n_samples,
        random_state=0,
        return_X_y=True,
    )
    threads, in_worker = torch.get_num_threads(), threads_in_worker()
    found: dict[str, GridSearchCV] = {}

    def search(side: str, n_jobs: int, n_threads: int) -> None:
        if side == TWO_JOBS:
            end_workers()
        torch.set_num_threads(n_threads)
        try:
            found[side] = select(X, y, args.epochs, n_jobs)
        finally:
            torch.set_num_threads(threads)

    sides = {
        ONE_JOB: partial(search, ONE_JOB, 1, threads),
        ONE_THREAD: partial(search, ONE_THREAD, 1, in_worker),
        TWO_JOBS: partial(search, TWO_JOBS, 2, threads),
        TWO_JOBS_AGAIN: partial(search, TWO_JOBS_AGAIN, 2, threads),
    }
    if threads == in_worker:
        del sides[ONE_THREAD]
    seconds = take_turns(sides, args.rounds)
    equal = ONE_JOB if threads == in_worker else ONE_THREAD
    end_workers()
    for side in (TWO_JOBS, TWO_JOBS_AGAIN):
        check_equal(found[equal].cv_results_, found[side].cv_results_)
    report(ratios(seconds, ONE_JOB), found, args, (threads, in_worker))


def select(X: np.ndarray, y: np.ndarray, epochs: int, n_jobs: int) -> GridSearchCV:
    net = ImageClassifier(
        "convnet",
        **{f"module__{name}": value for name, value in SMALL.items()},
        batch_size=32,
        normalize=None,
        max_epochs=epochs,
        early_stopping=True,
        n_iter_no_change=epochs,
        device="cpu",
        random_state=0,
    )
    search = GridSearchCV(
        net,
        GRID,
        scoring=cross_entropy_scorer(),
        cv=StratifiedShuffleSplit(1, test_size=0.2, random_state=0),
        refit=False,
        n_jobs=n_jobs,
        error_score="raise",
    )
    with warnings.catch_warnings():
        # SGD at a low rate leads nowhere in a few epochs.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return search.fit(X, y)


def threads_in_worker() -> int:
    """Return how many threads torch takes in one of two workers."""
    threads = Parallel(n_jobs=2)(delayed(torch.get_num_threads)() for _ in range(2))
    return max(threads)


def end_workers() -> None:
    get_reusable_executor().shutdown(wait=True)


def check_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Raise AssertionError unless two searches found the same, times left out."""
    assert one.keys() == two.keys()
    for key, values in one.items():
        if key == "params":
            assert values == two[key], key
        elif not key.endswith("_time"):
            np.testing.assert_array_equal(values, two[key], err_msg=key)


def report(
    figures: dict[str, dict[str, float]],
    found: dict[str, GridSearchCV],
    args: argparse.Namespace,
    threads: tuple[int, int],
) -> None:
    scores = {
        side: search.cv_results_["mean_test_score"] for side, search in found.items()
    }
    in_process, in_worker = threads
    difference = float(np.abs(scores[ONE_JOB] - scores[TWO_JOBS]).max())
    rows = [
        {
            "search": side,
            "threads": in_process if side == ONE_JOB else in_worker,
            **values,
            "chosen": int(found[side].best_index_),
        }
        for side, values in figures.items()
    ]
    write(
        "search_jobs",
        f"Six settings on {args.n_samples:,} letters, {args.epochs} epochs each: "
        "seconds, and the ratio to one job",
        "python -m benchmarks.search_jobs",
        rows,
        notes=[
            f"Medians of {args.rounds} rounds; lowest and highest of a round.",
            "Threads: torch's, in each process. Chosen: the position of the setting.",
            f"Two jobs gave the same as one of {in_worker} thread(s), to the last bit; "
            f"the losses of one of {in_process} differ by up to {difference:.2g}.",
        ],
        target=TARGET,
        met={
            side: figures[side]["ratio"] <= TARGET
            for side in (TWO_JOBS, TWO_JOBS_AGAIN)
        },
        losses={side: [-float(s) for s in values] for side, values in scores.items()},
    )


if __name__ == "__main__":
    main()
