import inspect
import pickle

import pytest
import torch
from torch import nn

from skvision.networks import MLP, ConvNet, LeNet, get_network, list_networks


@pytest.mark.parametrize(
    "name, network", [("mlp", MLP), ("convnet", ConvNet), ("lenet", LeNet)]
)
def test_own_networks(name, network):
    assert get_network(name) is network
    parameters = inspect.signature(get_network(name)).parameters
    assert list(parameters)[:2] == ["image_shape", "n_outputs"]
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


@pytest.mark.parametrize(
    "name, nearest",
    [("conv_net", "convnet"), ("MLP", "mlp"), ("resnet_18", "resnet18"), (3, "")],
)
def test_unknown_names(name, nearest):
    with pytest.raises(ValueError, match=f"Unknown network {name!r}.*'{nearest}"):
        get_network(name)
