"""Train image networks the scikit-learn way."""

from skvision import datasets, exceptions, inspection, metrics, networks, preprocessing
from skvision.estimators import ImageAutoencoder, ImageClassifier, ImageRegressor

__all__ = [
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageRegressor",
    "__version__",
    "datasets",
    "exceptions",
    "inspection",
    "metrics",
    "networks",
    "preprocessing",
]

__version__ = "0.1.0"
