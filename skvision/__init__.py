"""Train image networks the scikit-learn way."""

from skvision import datasets, exceptions, inspection, metrics, networks, preprocessing
from skvision.estimators import ImageAutoencoder, ImageClassifier, ImageRegressor, load
from skvision.export import export_onnx

__all__ = [
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageRegressor",
    "__version__",
    "datasets",
    "exceptions",
    "export_onnx",
    "inspection",
    "load",
    "metrics",
    "networks",
    "preprocessing",
]

__version__ = "0.1.0"
