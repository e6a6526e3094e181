"""Train image networks the scikit-learn way."""

import importlib
from typing import Any

from skvision import datasets, exceptions, inspection, metrics, networks, preprocessing
from skvision.estimators import (
    ImageAutoencoder,
    ImageClassifier,
    ImageEmbedder,
    ImageRegressor,
    load,
)
from skvision.export import export_onnx

__all__ = [
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageEmbedder",
    "ImageRegressor",
    "__version__",
    "datasets",
    "exceptions",
    "export_onnx",
    "inspection",
    "load",
    "metrics",
    "model_selection",
    "networks",
    "preprocessing",
    "training",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Subpackages that are imported when they are first asked for.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
