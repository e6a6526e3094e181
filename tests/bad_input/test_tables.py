"""The tables of bad input leave nothing out."""

import importlib
import inspect
import pkgutil
import runpy
from pathlib import Path

import pytest

import skvision

METHODS = {
    "ImageClassifier": "fit partial_fit predict predict_proba score set_params",
    "ImageRegressor": "fit partial_fit predict score set_params",
    "ImageAutoencoder": "fit partial_fit transform inverse_transform reconstruct score "
    "set_params",
}


@pytest.fixture(scope="module")
def tables(rows_of):
    paths = sorted(Path(__file__).parent.glob("test_*.py"))
    return [
        row
        for path in paths
        for row in rows_of(runpy.run_path(str(path)).get("CASES", []))
    ]


def public():
    """Return all that public modules offer to be called, by name."""
    found = {}
    for info in pkgutil.walk_packages(skvision.__path__, "skvision."):
        if "._" not in info.name:
            module = importlib.import_module(info.name)
            found |= {name: getattr(module, name) for name in module.__all__}
    found |= {name: getattr(skvision, name) for name in skvision.__all__}
    return {name: value for name, value in found.items() if callable(value)}


def test_there_are_enough_cases(tables):
    names = [name for name, *_ in tables]
    assert len(names) >= 150
    twice = {name for name in names if names.count(name) > 1}
    assert twice == set()


def test_everything_public_is_tried(tables):
    tried = {name.partition(":")[0] for name, *_ in tables}
    tried |= {name.partition(".")[0] for name in tried}
    raised = {error for _, _, error, _ in tables}
    missing = []
    for name, value in public().items():
        if isinstance(value, type) and issubclass(value, Exception):
            missing += [] if value in raised else [name]
            continue
        methods = METHODS.get(name, "").split()
        if isinstance(value, type) and name.endswith("Display"):
            methods = [method for method in vars(value) if method.startswith("from_")]
        if inspect.isfunction(value) and not inspect.signature(value).parameters:
            continue
        wanted = [name, *(f"{name}.{method}" for method in methods)]
        missing += [name for name in wanted if name not in tried]
    assert missing == []
