"""Processes that are killed leave whole files, and fits go on from them.

Fewer of them are killed by the test of the benchmark of this name.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys, warnings
import numpy as np, torch
torch.set_num_threads(1)
warnings.simplefilter("ignore")
from benchmarks import kills
rng, n, name = np.random.default_rng(0), int(sys.argv[1]), sys.argv[2]
if name == "save":
    row = kills.kill_saves(n, rng)
else:
    row = kills.kill_fits(name, kills.FITS[name], n, rng)
print(json.dumps(row))
"""

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.slow,
]


def kill(n, name):
    # In a process of its own: one that has had threads cannot be forked.
    result = subprocess.run(
        [sys.executable, "-c", CODE, str(n), name],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=ROOT,
    )
    return json.loads(result.stdout.splitlines()[-1])


def test_saves():
    row = kill(60, "save")
    assert row["good"] == row["killed"] == 60


@pytest.mark.parametrize("name", ["fit of an MLP", "fit of a ConvNet"])
def test_fits(name):
    row = kill(20, name)
    assert row["good"] == row["killed"] == 20
