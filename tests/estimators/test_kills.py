"""Processes that are killed leave whole files, and fits go on from them."""

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

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


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


@pytest.mark.parametrize("n", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_saves(n):
    row = kill(n, "save")
    assert row["good"] == row["killed"] == n


@pytest.mark.parametrize("name", ["fit of an MLP", "fit of a ConvNet"])
@pytest.mark.parametrize("n", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_fits(n, name):
    row = kill(n, name)
    assert row["good"] == row["killed"] == n
