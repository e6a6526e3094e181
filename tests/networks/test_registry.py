import inspect
import pickle

import pytest
import torch
from torch import nn

from skvision.networks import (
    MLP,
    ConvAutoencoder,
    ConvNet,
    DenseAutoencoder,
    LeNet,
    get_network,
    list_networks,
)


@pytest.mark.parametrize(
    "name, network, first",
    [
        ("mlp", MLP, ["image_shape", "n_outputs"]),
        ("convnet", ConvNet, ["image_shape", "n_outputs"]),
        ("lenet", LeNet, ["image_shape", "n_outputs"]),
        ("conv_autoencoder", ConvAutoencoder, ["image_shape"]),
        ("dense_autoencoder", DenseAutoencoder, ["image_shape"]),
    ],
)
def test_own_networks(name, network, first):
    assert name in list_networks()
    assert get_network(name) is network
    parameters = inspect.signature(network).parameters
    assert list(parameters)[: len(first)] == first
    kinds = {parameter.kind for parameter in parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_torchvision_networks():
    build = pickle.loads(pickle.dumps(get_network("resnet18")))
    parameters = inspect.signature(build).parameters
    assert list(parameters)[:2] == ["image_shape", "n_outputs"]
    network = build((1, 16, 16), 3)
    assert isinstance(network, nn.Module)
    assert network(torch.rand(2, 1, 16, 16)).shape == (2, 3)


def test_all_names_are_known():
    assert len(list_networks()) == len(set(list_networks())) > 50
    for name in list_networks():
        assert callable(get_network(name))
