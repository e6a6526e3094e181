import numpy as np
import pytest
import skorch
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier
from skvision.inspection import ParameterTable, count_parameters, parameter_table
from skvision.networks import MLP, ConvAutoencoder, LeNet, torchvision_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def column(table, name):
    """Return a column without the total."""
    i = table.columns.index(name)
    return [row[i] for row in table.rows[:-1]]


def with_parameters(table):
    return [n for n in column(table, "parameters") if n]


@pytest.mark.parametrize(
    ("hidden", "layers", "total"),
    [
        ((256, 512), [200_960, 131_584, 5_130], 337_674),
        (
            (256, 512, 1024, 2048),
            [200_960, 131_584, 525_312, 2_099_200, 20_490],
            2_977_546,
        ),
        ((1024, 2048), [803_840, 2_099_200, 20_490], 2_923_530),
    ],
)
def test_perceptrons(hidden, layers, total):
    table = parameter_table(MLP((1, 28, 28), 10, hidden), image_shape=(1, 28, 28))
    assert isinstance(table, ParameterTable)
    assert with_parameters(table) == layers
    assert table.n_parameters == table.n_trainable == total
    assert table.size_mb == pytest.approx(total * 4 / 2**20)
    assert table.rows[-1] == ["total", None, None, total, total, table.size_mb]


def test_the_size_of_the_base_perceptron():
    table = parameter_table(MLP((1, 28, 28), 10), (1, 28, 28))
    assert round(table.size_mb, 2) == 1.29
    assert f"{337_674:,}" in str(table) and "1.288" in table._repr_html_()


def test_lenet():
    table = parameter_table(LeNet((1, 28, 28), 10), [1, 28, 28])
    convolutions = [row for row in table.rows if row[1] == "Conv2d"]
    assert [row[2] for row in convolutions] == [(6, 24, 24), (16, 8, 8)]
    assert [row[3] for row in convolutions] == [6 * 26, 16 * (6 * 25 + 1)]
    assert table.n_parameters == 44_426
    assert column(table, "output shape")[-1] == (10,)


def test_resnet18():
    network = torchvision_model("resnet18", (3, 64, 64), 10)
    table = parameter_table(network, (3, 64, 64))
    assert table.n_parameters == count_parameters(network)
    assert table.rows[0][:4] == ["conv1", "Conv2d", (64, 32, 32), 9408]
    assert table.rows[-2][:4] == ["fc", "Linear", (10,), 5130]
    # Each block runs one ReLU twice.
    layers = column(table, "layer")
    assert len(layers) == len(set(layers))
    assert layers.count("layer1.0.relu") == 1


def test_frozen_layers():
    network = MLP((1, 28, 28), 10)
    network.layers.requires_grad_(False)
    network.head.bias.requires_grad_(False)
    table = parameter_table(network, (1, 28, 28))
    assert column(table, "trainable") == [0, 0, 0, 0, 5120]
    assert (table.n_parameters, table.n_trainable) == (337_674, 5120)
    assert table.n_trainable == count_parameters(network)


def test_shared_layers_and_weights_count_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    network = nn.Sequential(first, second, first)
    table = parameter_table(network, (3,))
    assert column(table, "layer") == ["0", "1"]
    assert column(table, "parameters") == [12, 3]
    assert table.n_parameters == count_parameters(network) == 15


class Odd(nn.Module):
    """Layers in another order, one of them unused, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.unused = nn.Linear(2, 2)
        self.idle = nn.ReLU()
        self.last = nn.Conv2d(4, 2, 3)
        self.first = nn.Conv2d(1, 4, 3)

    def forward(self, images):
        return self.last(self.first(images)).mean((2, 3)) * self.scale


def test_order_of_running():
    network = Odd()
    table = parameter_table(network, (1, 8, 8))
    assert [row[:4] for row in table.rows[:-1]] == [
        ["first", "Conv2d", (4, 6, 6), 40],
        ["last", "Conv2d", (2, 4, 4), 74],
        ["Odd", "Odd", (2,), 2],
        ["unused", "Linear", None, 6],
    ]
    assert table.n_parameters == count_parameters(network) == 122


def test_a_single_layer():
    assert parameter_table(nn.Linear(4, 3), (4,)).rows[0][:4] == [
        "Linear",
        "Linear",
        (3,),
        15,
    ]


def test_layers_that_return_several_tensors():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(8, 5, batch_first=True)
            self.attention = nn.MultiheadAttention(5, 1, batch_first=True)

        def forward(self, images):
            rows = self.lstm(images[:, 0])[0]
            return {"output": self.attention(rows, rows, rows)[0]}

    network = Recurrent()
    table = parameter_table(network, (1, 6, 8))
    assert column(table, "output shape") == [(6, 5), (6, 5), None]
    assert column(table, "layer") == ["lstm", "attention", "attention.out_proj"]
    assert table.n_parameters == count_parameters(network)


def test_dtypes_in_one_network():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2).double())
    table = parameter_table(network, (1, 2, 2))
    assert table.size_mb == 10 * 8 / 2**20
    half = nn.Linear(4, 2).bfloat16()
    assert parameter_table(half, (4,)).size_mb == 10 * 2 / 2**20


def test_networks_on_other_devices():
    with torch.device("meta"):
        network = LeNet((3, 32, 32), 10)
    assert parameter_table(network, (3, 32, 32)).n_parameters == 62_006


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout()
        self.modes = []

    def forward(self, images):
        self.modes.append((self.training, torch.is_grad_enabled()))
        images = self.norm(images) + torch.rand(()) + np.random.rand()
        return self.dropout(images)


def test_all_is_left_as_found():
    network = Noisy()
    network.dropout.eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    parameter_table(network, (1, 4, 4))
    assert network.modes == [(False, False)]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert [m.training for m in network.modules()] == [True, True, False]
    assert not any(m._forward_hooks for m in network.modules())
    after = network.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert all(p.grad is None for p in network.parameters())


def test_all_is_left_as_found_after_an_error():
    network = LeNet((1, 28, 28), 10)
    with pytest.raises(ValueError, match=r"LeNet cannot take images of .*\(3, 28, 28"):
        parameter_table(network, (3, 28, 28))
    assert all(m.training and not m._forward_hooks for m in network.modules())
    with pytest.raises(ValueError, match=r"Linear cannot take rows of shape \(5,\)"):
        parameter_table(nn.Linear(4, 3), (5,))


def test_compiled_networks():
    network = LeNet((1, 28, 28), 10)
    expected = parameter_table(network, (1, 28, 28)).rows
    assert parameter_table(torch.compile(network), (1, 28, 28)).rows == expected


def test_classifiers_of_images(digits):
    X, y = digits.data[:100], digits.target[:100]
    net = ImageClassifier("convnet", module__channels=(4, 8), max_epochs=1).fit(X, y)
    table = parameter_table(net)
    assert table.rows[0][1:4] == ["Conv2d", (4, 8, 8), 40]
    assert table.n_parameters == count_parameters(net)
    # Another size than that of fit, as long as the network can take it.
    assert parameter_table(net, (1, 9, 9)).rows[0][2] == (4, 9, 9)


def test_frozen_parts_of_a_classifier(digits):
    X, y = digits.data[:100], digits.target[:100]
    net = ImageClassifier("convnet", freeze="encoder", max_epochs=1).fit(X, y)
    table = parameter_table(net)
    trainable = dict(
        zip(column(table, "layer"), column(table, "trainable"), strict=True)
    )
    assert trainable["encoder.0"] == 0
    assert table.n_trainable == count_parameters(net) < table.n_parameters


def test_classifiers_of_flat_rows(digits):
    X, y = digits.data[:100].reshape(100, -1).astype("float64"), digits.target[:100]
    net = ImageClassifier(
        nn.Sequential(nn.Linear(64, 10)), max_epochs=1, dtype="float64"
    )
    table = parameter_table(net.fit(X, y))
    assert table.rows[0][1:4] == ["Linear", (10,), 650]
    assert table.size_mb == 650 * 8 / 2**20

    pipeline = make_pipeline(MinMaxScaler(), ImageClassifier("mlp", max_epochs=1))
    assert with_parameters(parameter_table(pipeline.fit(X, y)))[0] == 65 * 256

    net = ImageClassifier("convnet", image_shape=(1, 8, 8), max_epochs=1)
    net.set_params(module__channels=(4, 8))
    pipeline = make_pipeline(MinMaxScaler(), net).fit(X, y)
    assert parameter_table(pipeline).rows[0][1:3] == ["Conv2d", (4, 8, 8)]


def test_autoencoders(digits):
    X = digits.data[:100]
    net = ImageAutoencoder("conv_autoencoder", max_epochs=1).fit(X)
    table = parameter_table(net)
    assert table.n_parameters == count_parameters(net.module_)
    assert column(table, "output shape")[-1] == (1, 8, 8)
    assert table.rows == parameter_table(net.module_, (1, 8, 8)).rows
    assert isinstance(net.module_, ConvAutoencoder)


def test_searches(digits):
    X, y = digits.data[:100], digits.target[:100]
    net = ImageClassifier("mlp", max_epochs=1)
    search = GridSearchCV(net, {"module__hidden": [(7,)]}, cv=2).fit(X, y)
    assert with_parameters(parameter_table(search)) == [65 * 7, 80]


def test_images_that_are_resized_for_the_network():
    net = skorch.NeuralNet(nn.Conv2d, nn.MSELoss, module__in_channels=1)
    net.set_params(module__out_channels=2, module__kernel_size=3).initialize()
    net.image_shape_, net.network_shape_ = (1, 8, 8), (1, 12, 12)
    assert parameter_table(net).rows[0][2] == (2, 10, 10)


def test_other_nets_of_skorch():
    net = skorch.NeuralNetClassifier(nn.Linear(4, 3), criterion=nn.CrossEntropyLoss)
    net.initialize()
    assert parameter_table(net, (4,)).n_parameters == 15
    with pytest.raises(ValueError, match="NeuralNetClassifier does not know.*image_sh"):
        parameter_table(net)


def test_errors():
    with pytest.raises(ValueError, match="lazy parameters"):
        parameter_table(nn.LazyLinear(3), (4,))
    with pytest.raises(NotFittedError):
        parameter_table(ImageClassifier())
