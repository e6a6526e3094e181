import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skvision_tests import thorough
from torch import nn

from skvision.inspection import count_parameters
from skvision.networks import ConvNet, LeNet

FOUR_STRIDED = {
    "channels": ((4, 8, 16), (32,)),
    "stride": ((1, 2, 2), 1),
    "padding": 0,
    "batch_norm": False,
    "activation": ("relu", "identity"),
    "pool": ("max", None),
    "pool_size": 3,
    "pool_stride": 1,
    "hidden": 64,
    "dropout": 0.0,
}
SIX_IN_THREE_BLOCKS = {
    "channels": ((32, 64), (128, 128), (256, 256)),
    "batch_norm": "first",
    "conv_dropout": (0.0, 0.05, 0.0),
    "hidden": (1024, 512),
    "dropout": (0.1, 0.0, 0.1),
}
FOUR_LEAKY = {
    "channels": ((32, 32), (64, 64)),
    "activation": "leaky_relu",
    "hidden": (1000, 512),
    "hidden_activation": "relu",
    "dropout": (0.1, 0.0, 0.1),
}
FOUR_WIDE_FILTERS = {
    "channels": ((10, 20, 40, 64),),
    "kernel_size": 5,
    "padding": 1,
    "batch_norm": False,
    "hidden": 256,
    "dropout": 0.0,
    "weight_init": "kaiming",
}


def four_strided():
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, 2), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, 2), nn.ReLU()),
        nn.MaxPool2d(3, 1),
        *(nn.Conv2d(16, 32, 3), nn.Flatten()),
        *(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 47)),
    )


def six_in_three_blocks():
    layers = []
    for n_in, n_middle, n_out in [(3, 32, 64), (64, 128, 128), (128, 256, 256)]:
        layers += [nn.Conv2d(n_in, n_middle, 3, padding=1), nn.BatchNorm2d(n_middle)]
        layers += [nn.ReLU(), nn.Conv2d(n_middle, n_out, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2), *([nn.Dropout2d(0.05)] if n_in == 64 else [])]
    return nn.Sequential(
        *layers,
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(4096, 1024), nn.ReLU()),
        *(nn.Linear(1024, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10)),
    )


def four_leaky():
    layers = []
    for n_in, n_out, pool in [(3, 32, 0), (32, 32, 1), (32, 64, 0), (64, 64, 1)]:
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out)]
        layers += [nn.LeakyReLU(), *[nn.MaxPool2d(2)] * pool]
    return nn.Sequential(
        *layers,
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(4096, 1000), nn.ReLU()),
        *(nn.Linear(1000, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 10)),
    )


def four_wide_filters():
    return nn.Sequential(
        *(nn.Conv2d(1, 10, 5, padding=1), nn.ReLU()),
        *(nn.Conv2d(10, 20, 5, padding=1), nn.ReLU()),
        *(nn.Conv2d(20, 40, 5, padding=1), nn.ReLU()),
        *(nn.Conv2d(40, 64, 5, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(6400, 256), nn.ReLU(), nn.Linear(256, 5)),
    )


@pytest.mark.parametrize(
    "image_shape, n_outputs, options, by_hand, n_features, n_parameters",
    [
        ((1, 28, 28), 47, FOUR_STRIDED, four_strided, 32, 11_311),
        ((3, 32, 32), 10, SIX_IN_THREE_BLOCKS, six_in_three_blocks, 4096, 5_852_170),
        ((3, 32, 32), 10, FOUR_LEAKY, four_leaky, 4096, 4_680_594),
        ((1, 28, 28), 5, FOUR_WIDE_FILTERS, four_wide_filters, 6400, 1_729_325),
    ],
)
def test_a_configuration_is_the_network_written_by_hand(
    image_shape, n_outputs, options, by_hand, n_features, n_parameters
):
    network, other = ConvNet(image_shape, n_outputs, **options), by_hand()
    assert list(map(str, [*network.encoder, *network.head])) == list(map(str, other))
    assert network.n_features == n_features
    assert count_parameters(network) == count_parameters(other) == n_parameters

    states = zip(network.state_dict(), other.state_dict().values(), strict=True)
    network.load_state_dict(dict(states))
    images = torch.rand(3, *image_shape)
    torch.testing.assert_close(network.eval()(images), other.eval()(images))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channels": 8},
        {"channels": (8, 16)},
        {"channels": [(4, 8), 16]},
        {"channels": (4, 8), "kernel_size": (5, 4), "stride": (2, 1)},
        {"channels": ((4, 8), (6,)), "kernel_size": ((2, 3), 1), "padding": (0, 3)},
        {"channels": ((4, 8), (6,)), "batch_norm": "first"},
        {"batch_norm": False, "weight_init": "xavier"},
        {"pool": "avg", "pool_size": 3, "pool_stride": 2},
        {"pool": ("avg", None), "channels": (4, 4)},
        {"pool": None, "conv_dropout": 0.2},
        {"activation": ("elu", "gelu"), "channels": (4, 8)},
        {"hidden": ()},
        {"hidden": (16, 8), "hidden_activation": "silu", "dropout": 0.5},
    ],
)
def test_every_configuration_trains(options):
    network = ConvNet((3, 16, 16), 4, **options)
    outputs = network(torch.rand(6, 3, 16, 16))
    assert outputs.shape == (6, 4)
    assert network.encoder(torch.rand(6, 3, 16, 16)).shape == (6, network.n_features)
    nn.functional.cross_entropy(outputs, torch.arange(6) % 4).backward()
    assert all(p.grad is not None for p in network.parameters())

    network.eval()
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(network(images), network(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    "image_shape, n_maps, n_features",
    [
        ((1, 2, 2), [32], 32),
        ((1, 4, 4), [32, 64], 64),
        ((1, 8, 8), [32, 64], 64 * 2 * 2),
        ((1, 28, 28), [32, 64], 64 * 7 * 7),
        ((3, 32, 32), [32, 64], 64 * 8 * 8),
        ((3, 224, 224), [32, 64, 128, 256, 256], 256 * 7 * 7),
        ((1, 16, 300), [32, 64, 128, 256], 256 * 18),
    ],
)
def test_default_depth_follows_the_image_size(image_shape, n_maps, n_features):
    network = ConvNet(image_shape, 10)
    widths = [m.out_channels for m in network.encoder if isinstance(m, nn.Conv2d)]
    assert widths == n_maps
    assert network.n_features == n_features
    assert network(torch.rand(2, *image_shape)).shape == (2, 10)


def test_one_dropout_stands_before_every_layer_of_the_head():
    head = ConvNet((1, 8, 8), 3, hidden=(8, 6), dropout=0.3).head
    kinds = [type(layer) for layer in head]
    hidden = [nn.Dropout, nn.Linear, nn.ReLU]
    assert kinds == [*hidden, *hidden, nn.Dropout, nn.Linear]


def test_hidden_activation_follows_the_convolutions():
    network = ConvNet((1, 8, 8), 3, activation=("elu", "identity"))
    assert isinstance(network.head[2], nn.ELU)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_divides_the_size_by_the_stride(kernel_size, stride):
    network = ConvNet(
        *((1, 7, 10), 2), channels=4, kernel_size=kernel_size, stride=stride, pool=None
    )
    assert network.n_features == 4 * -(-7 // stride) * -(-10 // stride)
    assert network(torch.rand(2, 1, 7, 10)).shape == (2, 2)


@pytest.mark.parametrize("weight_init", [None, "kaiming", "xavier"])
def test_the_seed_before_construction_gives_the_weights(weight_init):
    def weights(seed):
        torch.manual_seed(seed)
        network = ConvNet((1, 8, 8), 3, weight_init=weight_init)
        return nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_initial_weights_have_the_variance_of_the_papers():
    he = ConvNet((1, 28, 28), 10, channels=(32, 64), weight_init="kaiming")
    convolution, linear = he.encoder[4], he.head[1]
    assert convolution.weight.std().item() == pytest.approx((2 / 288) ** 0.5, rel=0.05)
    assert linear.weight.std().item() == pytest.approx((2 / 3136) ** 0.5, rel=0.05)
    assert not convolution.bias.any() and not linear.bias.any()

    linear = ConvNet((1, 28, 28), 10, channels=(32, 64), weight_init="xavier").head[1]
    bound = (6 / (3136 + 128)) ** 0.5
    assert linear.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert not linear.bias.any()


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"image_shape": (1, 1, 64)},
            r"\(1, 1, 64\) are too small: pool_size=2 .*1x64",
        ),
        ({"kernel_size": 9, "padding": 0}, "too small: kernel_size=9 .* 8x8"),
        ({"channels": (4, -1)}, "channels must be an int of at least 1; got -1"),
        ({"kernel_size": (3, (3, 3))}, "hold 1, one per convolution of a block"),
        ({"pool_stride": 0}, "pool_stride must be an int of at least 1; got 0"),
        ({"hidden": (0,)}, "hidden must be an int of at least 1; got 0"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ConvNet(**{"image_shape": (1, 8, 8), "n_outputs": 3} | options)


widths = st.integers(1, 5)


@settings(max_examples=thorough(100), deadline=None)
@given(
    image_shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    n_outputs=st.integers(1, 5),
    channels=st.none()
    | st.lists(
        widths | st.lists(widths, min_size=1, max_size=3), min_size=1, max_size=3
    ),
    kernel_size=st.integers(1, 6),
    stride=st.integers(1, 3),
    padding=st.just("same") | st.integers(0, 3),
    pool=st.sampled_from(["max", "avg", None]),
    pool_size=st.integers(1, 4),
    pool_stride=st.none() | st.integers(1, 3),
)
def test_images_give_outputs_or_are_too_small(image_shape, n_outputs, **options):
    try:
        network = ConvNet(image_shape, n_outputs, **options)
    except ValueError as error:
        assert f"image_shape={image_shape} are too small" in str(error)
    else:
        assert network(torch.rand(2, *image_shape)).shape == (2, n_outputs)


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
