"""Image networks as scikit-learn estimators."""

from skvision.estimators._autoencoder import ImageAutoencoder
from skvision.estimators._classifier import ImageClassifier
from skvision.estimators._embedder import ImageEmbedder
from skvision.estimators._files import load
from skvision.estimators._regressor import ImageRegressor

__all__ = [
    "ImageAutoencoder",
    "ImageClassifier",
    "ImageEmbedder",
    "ImageRegressor",
    "load",
]
