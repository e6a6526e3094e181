"""What an import of the package brings along."""

import subprocess
import sys

# scikit-learn itself imports pandas where it is installed.
CODE = """
import sys, skorch, torch
before = set(sys.modules)
import skvision
print(*(set(sys.modules) - before))
"""


def test_import_leaves_slow_packages_alone():
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    imported = set(run.stdout.split())
    assert "skvision.estimators" in imported
    assert imported.isdisjoint({"matplotlib", "pandas", "torchvision"})
