"""Data sets as scikit-learn wants them."""

import importlib
import sys

from skvision.datasets._adapters import as_Xy
from skvision.datasets._digits import load_digits_images
from skvision.datasets._fetchers import (
    fetch_cifar10,
    fetch_emnist,
    fetch_fashion_mnist,
    fetch_mnist,
)
from skvision.datasets._folder import load_image_folder
from skvision.datasets._image_files import load_images
from skvision.datasets._torchvision import get_data_home
from skvision.images._sequence import ImageSequence

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
    "load_images",
]

# Pickles of before know what lies in `images` by now as modules of this package.
for _name in (
    *("cache", "layout", "maps", "names", "readers", "sequence", "steps"),
    *("transforms", "vision"),
):
    _module = importlib.import_module(f"skvision.images._{_name}")
    sys.modules[f"{__name__}._{_name}"] = _module
