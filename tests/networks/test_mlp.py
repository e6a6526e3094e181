import pytest
import torch
from torch import nn

from skvision.inspection import count_parameters
from skvision.networks import MLP


@pytest.mark.parametrize(
    "hidden, n_parameters",
    [
        ((256, 512), 337_674),
        ((256, 512, 1024, 2048), 2_977_546),
        ((1024, 2048), 2_923_530),
        (32, 784 * 32 + 32 + 330),
        ((), 7850),
    ],
)
def test_parameters_are_those_of_the_formula(hidden, n_parameters):
    assert count_parameters(MLP((1, 28, 28), 10, hidden=hidden)) == n_parameters


def test_layers_follow_the_arguments():
    network = MLP(
        (1, 4, 4), 3, (8, 6), activation="tanh", dropout=(0.5, 0.0), batch_norm=True
    )
    kinds = [type(layer) for layer in network.layers]
    assert kinds == [
        *(nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout),
        *(nn.Linear, nn.BatchNorm1d, nn.Tanh),
    ]
    assert network.head.in_features == 6


def test_an_int_is_one_hidden_layer():
    torch.manual_seed(0)
    one = MLP((1, 4, 4), 3, 8)
    torch.manual_seed(0)
    same = MLP((1, 4, 4), 3, (8,))
    assert str(one) == str(same)
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))


def test_images_and_flat_rows_give_the_same():
    network = MLP((3, 4, 5), 7, (8,))
    images = torch.rand(6, 3, 4, 5)
    assert network(images).shape == (6, 7)
    torch.testing.assert_close(network(images), network(images.flatten(1)))
    assert MLP((1, 1, 60), 7)(images.flatten(1)).shape == (6, 7)


def test_no_hidden_layer_is_a_linear_model():
    network = MLP((1, 2, 2), 3, hidden=())
    images = torch.rand(5, 1, 2, 2)
    torch.testing.assert_close(network(images), network.head(images.flatten(1)))
