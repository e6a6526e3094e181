"""What the tests of load share: the benchmarks' modules, and processes of their own."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent


@pytest.fixture
def module(monkeypatch):
    """Import one of the benchmarks' modules, which are not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="session")
def images(digits):
    return digits.data[:800], digits.target[:800]


@pytest.fixture
def start():
    """Start a script of this folder; what is left of it at the end is killed."""
    processes = []

    def start(script, *arguments):
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", FOLDER / script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        # Not read to their ends: children of its own may hold them open.
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def run(start):
    """Run a script of this folder; return what it printed last, read as JSON."""

    def run(script, *arguments, timeout=300):
        process = start(script, *arguments)
        output, errors = process.communicate(timeout=timeout)
        assert process.returncode == 0, errors
        return json.loads(output.splitlines()[-1])

    return run


@pytest.fixture
def wait_until():
    """Wait for a condition; return the seconds that it took."""

    def wait_until(condition, timeout):
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < timeout, "in vain"
            time.sleep(0.02)
        return time.monotonic() - start

    return wait_until
