"""Freed memory is kept where that is asked for."""

import os
import subprocess
import sys

import pytest

from skvision.training import keep_freed_memory

CODE = """
import resource, sys, warnings
import numpy as np
from skvision import ImageClassifier
from skvision.training import keep_freed_memory

warnings.simplefilter("ignore")
kept = "keep" in sys.argv and keep_freed_memory()
X = np.random.RandomState(0).randint(0, 255, (600, 28, 28)).astype(np.uint8)
net = ImageClassifier(max_epochs=1, random_state=0)
net.fit(X, np.arange(600) % 3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
net.fit(X, np.arange(600) % 3)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(int(kept), faults)
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
    # The second fit frees and takes as much as the first.
    assert 2 * faults < many


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_settings_of_the_users_are_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "1000000")
    assert not keep_freed_memory()
