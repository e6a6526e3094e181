"""What an import of the package brings along."""

import subprocess
import sys

import pytest

SLOW = ["matplotlib", "pandas", "torchvision"]


@pytest.mark.parametrize("name", SLOW)
def test_import_leaves_alone(name):
    code = f"import sys, skvision; print({name!r} in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"
