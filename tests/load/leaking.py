"""Fits that each leave something behind, measured as the benchmark measures.

A script of its own; test_leaks.py runs it.
"""

import json
import tempfile
import threading
import warnings
from functools import partial
from pathlib import Path


def keep_data(soak, kept):
    """Keep one small data set."""
    # Of zeros, nothing would be in memory.
    kept.append(b"x" * (soak.N_IMAGES * soak.SHAPE[0] * soak.SHAPE[1]))


def keep_file(soak, kept):
    kept.append(tempfile.TemporaryFile())  # noqa: SIM115


def keep_thread(soak, kept):
    kept.append(threading.Event())
    threading.Thread(target=kept[-1].wait, daemon=True).start()


def fit_and_leak(soak, kept, folder, i):
    soak.fit_arrays(i, folder=folder)
    for leak in (keep_data, keep_file, keep_thread):
        leak(soak, kept)


def main():
    from benchmarks import soak

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        step = partial(fit_and_leak, soak, [], Path(folder))
        print(json.dumps(soak.repeat(step, 25, 5)))


if __name__ == "__main__":
    main()
