"""What an import of the package brings along."""

import subprocess
import sys
import textwrap

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


def test_subpackages_are_attributes():
    code = """
        import sys, skvision
        assert "skvision.model_selection" not in sys.modules
        assert "model_selection" in dir(skvision)
        skvision.model_selection.StackedGridSearchCV, skvision.training.BatchLoader
        assert skvision.model_selection is sys.modules["skvision.model_selection"]
        from skvision import *
        model_selection.on_dask
        assert not hasattr(skvision, "model_selectoin")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
