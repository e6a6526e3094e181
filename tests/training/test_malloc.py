"""Freed memory is kept where that is asked for."""

import os
import subprocess
import sys

import pytest

from skvision.training import keep_freed_memory

CODE = """
import resource
import numpy as np
from skvision.training import keep_freed_memory

def take_and_free():
    # 150 MB: more than glibc keeps by itself, in blocks that it does not map alone.
    return len([np.ones(3_000_000) for _ in range(6)])

def faults():
    for _ in range(3):
        take_and_free()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        take_and_free()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), int(keep_freed_memory()), faults())
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not os.path.exists("/proc/self/maps"),
    reason="needs Linux",
)


def test_pages_are_not_asked_for_again():
    result = subprocess.run(
        [sys.executable, "-c", CODE],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    many, kept, faults = map(int, result.stdout.split())
    if not kept:
        pytest.skip("another C library")
    # Pages may be large ones; where none is given back, none is asked for again.
    assert faults < many / 2


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_settings_of_the_users_are_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "1000000")
    assert not keep_freed_memory()
