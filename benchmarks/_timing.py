"""Times of several ways to do the same, taken in turn in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

from skvision.training import keep_freed_memory


def take_turns(
    sides: Mapping[str, Callable[[], object]], n_rounds: int
) -> dict[str, list[float]]:
    """Run all sides once unmeasured, then in turn.

    Parameters
    ----------
    sides : dict of {str: callable}
        What to run.
    n_rounds : int
        How often each is measured.

    Returns
    -------
    seconds : dict of {str: list of float}
        One time of each round.
    """
    keep_freed_memory()  # For all sides alike.
    for run in sides.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(n_rounds):
        for name, run in sides.items():
            gc.collect()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(
    seconds: Mapping[str, list[float]], baseline: str
) -> dict[str, dict[str, float]]:
    """Return medians, and their ratios to the baseline's with the spread of rounds.

    The lowest and the highest ratio are those of a round, whose sides ran one after
    the other and share what else the machine was doing.
    """
    base = seconds[baseline]
    found = {}
    for name, values in seconds.items():
        rounds = [value / other for value, other in zip(values, base, strict=True)]
        found[name] = {
            "seconds": round(statistics.median(values), 3),
            "ratio": round(statistics.median(values) / statistics.median(base), 3),
            "lowest": round(min(rounds), 3),
            "highest": round(max(rounds), 3),
        }
    return found
