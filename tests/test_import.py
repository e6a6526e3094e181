"""What an import of the package brings along, and when."""

import json
import subprocess
import sys

# scikit-learn itself imports pandas where it is installed.
CODE = """
import json, sys, skorch, torch
before = set(sys.modules)
import skvision
after = set(sys.modules)
assert "model_selection" in dir(skvision)
skvision.model_selection.StackedGridSearchCV, skvision.training.BatchLoader
skvision.datasets.fetch_cifar10, skvision.datasets.load_image_folder
assert skvision.model_selection is sys.modules["skvision.model_selection"]
from skvision import *
model_selection.on_dask
assert not hasattr(skvision, "model_selectoin")
print(json.dumps([[*names] for names in (after - before, set(sys.modules) - before)]))
"""


def test_import_leaves_slow_packages_and_subpackages_alone():
    run = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    at_once, later = map(set, json.loads(run.stdout))
    assert "skvision.estimators" in at_once
    assert "skvision.model_selection" not in at_once
    assert at_once.isdisjoint({"matplotlib", "pandas", "torchvision"})
    assert later.isdisjoint({"matplotlib", "pandas", "torchvision"})
