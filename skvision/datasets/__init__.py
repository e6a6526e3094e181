"""Data sets as scikit-learn wants them."""

from skvision.datasets._adapters import as_Xy
from skvision.datasets._digits import load_digits_images
from skvision.datasets._emnist import fetch_emnist
from skvision.datasets._fetchers import (
    fetch_cifar10,
    fetch_fashion_mnist,
    fetch_mnist,
)
from skvision.datasets._folder import load_image_folder
from skvision.datasets._sequence import ImageSequence
from skvision.datasets._torchvision import get_data_home

__all__ = [
    "ImageSequence",
    "as_Xy",
    "fetch_cifar10",
    "fetch_emnist",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "get_data_home",
    "load_digits_images",
    "load_image_folder",
]
