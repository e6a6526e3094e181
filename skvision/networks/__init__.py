"""Plain torch networks: images in, logits out.

Every network is built as ``Network(image_shape, n_outputs, **options)``, where
`image_shape` is (channels, height, width) and all options are plain values, so that
a search can choose each of them.
"""

from skvision.networks._convnet import ConvNet
from skvision.networks._lenet import LeNet
from skvision.networks._mlp import MLP
from skvision.networks._registry import get_network, list_networks
from skvision.networks._torchvision import torchvision_model

__all__ = [
    "MLP",
    "ConvNet",
    "LeNet",
    "get_network",
    "list_networks",
    "torchvision_model",
]
