import pytest
import torch
from torch import nn

from skvision.inspection import count_parameters
from skvision.networks import ConvNet, LeNet


@pytest.mark.parametrize(
    "image_shape, n_features, n_parameters",
    [
        ((1, 32, 32), 400, 61_706),
        ((3, 32, 32), 400, 62_006),
        ((1, 28, 28), 256, 44_426),
    ],
)
def test_sizes_are_those_of_lenet(image_shape, n_features, n_parameters):
    network = LeNet(image_shape, 10)
    assert isinstance(network, ConvNet)
    assert network.n_features == n_features
    assert count_parameters(network) == n_parameters
    assert network(torch.rand(3, *image_shape)).shape == (3, 10)


def test_smaller_filters_with_batch_norm_and_leaky_relu():
    network = LeNet(
        *((3, 32, 32), 10), kernel_size=4, batch_norm=True, activation="leaky_relu"
    )
    block = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, nn.MaxPool2d]
    assert [type(layer) for layer in network.encoder] == [*block, *block, nn.Flatten]
    assert network.encoder[0].kernel_size == (4, 4)
    assert [type(layer) for layer in network.head[:2]] == [nn.Linear, nn.LeakyReLU]
    assert network.n_features == 16 * 5 * 5


def test_too_small_images():
    assert LeNet((1, 16, 16), 10).n_features == 16
    with pytest.raises(ValueError, match=r"\(1, 8, 8\) are too small: kernel_size=5"):
        LeNet((1, 8, 8), 10)
