"""Plain torch networks: images in, logits out, or images again from autoencoders.

Every network is built as ``Network(image_shape, n_outputs, **options)``, an
autoencoder as ``Network(image_shape, **options)``. There, `image_shape` is
(channels, height, width) and all options are plain values, so that a search can
choose each of them; only `EncoderClassifier` takes a network, too.
"""

from skvision.networks._autoencoder import ConvAutoencoder, DenseAutoencoder
from skvision.networks._convnet import ConvNet
from skvision.networks._encoder_classifier import EncoderClassifier
from skvision.networks._lenet import LeNet
from skvision.networks._mlp import MLP
from skvision.networks._registry import get_network, list_networks
from skvision.networks._timm import timm_model
from skvision.networks._torchvision import torchvision_model

__all__ = [
    "MLP",
    "ConvAutoencoder",
    "ConvNet",
    "DenseAutoencoder",
    "EncoderClassifier",
    "LeNet",
    "get_network",
    "list_networks",
    "timm_model",
    "torchvision_model",
]
