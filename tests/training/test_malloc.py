"""Freed memory is kept where that is asked for."""

import os
import subprocess
import sys

import pytest

from skvision.training import keep_freed_memory

CODE = """
import resource, sys
import numpy as np
from skvision.training import keep_freed_memory

kept = "keep" in sys.argv and keep_freed_memory()

def take_and_free():
    # 150 MB: more than glibc keeps by itself, in blocks that it does not map alone.
    return len([np.ones(3_000_000) for _ in range(6)])

for _ in range(3):
    take_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take_and_free()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not os.path.exists("/proc/self/maps"),
    reason="needs Linux",
)


def run(*arguments, **environment):
    result = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    kept, faults = map(int, result.stdout.split())
    return bool(kept), faults


def test_pages_are_not_asked_for_again():
    kept, faults = run("keep")
    if not kept:
        pytest.skip("another C library")
    _, many = run()
    # Pages may be large ones; where none is given back, none is asked for again.
    assert faults < many / 2


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_settings_of_the_users_are_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "1000000")
    assert not keep_freed_memory()
