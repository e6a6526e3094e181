from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skvision_tests import thorough
from torch import nn

from skvision.inspection import count_parameters
from skvision.networks import (
    ConvAutoencoder,
    ConvNet,
    DenseAutoencoder,
)

FOUR_STRIDED = {
    "channels": ((4, 8, 16), (32,)),
    "stride": ((1, 2, 2), 1),
    "padding": 0,
    "batch_norm": False,
    "activation": ("relu", "identity"),
    "pool": ("max", None),
    "pool_size": 3,
    "pool_stride": 1,
}
FIVE_TRANSPOSED = {
    "decoder_channels": (16, 8, 8, 4),
    "decoder_kernel_size": (3, 3, 3, 3, 4),
    "decoder_stride": (1, 1, 2, 1, 2),
    "decoder_activation": ("identity", "relu", "relu", "relu"),
}


def layers(network):
    return [str(layer) for layer in network]


def sizes(decoder, codes):
    """Return the height behind each transposed convolution."""
    heights = []
    for layer in decoder:
        codes = layer(codes)
        if isinstance(layer, nn.ConvTranspose2d):
            heights.append(codes.shape[2])
    return heights


def is_mirrored(network):
    """Tell whether a decoder's convolutions have the encoder's widths, reversed."""
    down = [m.in_channels for m in network.encoder if isinstance(m, nn.Conv2d)]
    up = [m.out_channels for m in network.decoder if isinstance(m, nn.ConvTranspose2d)]
    return up == down[::-1]


def test_dense_layers():
    network = DenseAutoencoder((1, 28, 28))
    down = (784, 392, 196, 98, 32)
    for half, widths in [(network.encoder, down), (network.decoder, down[::-1])]:
        linear = [layer for layer in half if isinstance(layer, nn.Linear)]
        assert [layer.in_features for layer in linear] == list(widths[:-1])
        assert [layer.out_features for layer in linear] == list(widths[1:])
    assert [type(layer) for layer in network.encoder] == [
        *(nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU),
        *(nn.Linear, nn.ReLU, nn.Linear),
    ]
    assert [type(layer) for layer in network.decoder] == [
        *(nn.Linear, nn.ReLU, nn.Linear, nn.ReLU),
        *(nn.Linear, nn.ReLU, nn.Linear, nn.Unflatten),
    ]
    assert network.n_features == 32
    assert count_parameters(network.encoder) == 407_222
    assert count_parameters(network.decoder) == 407_974


def test_dense_activations():
    network = DenseAutoencoder(
        (1, 2, 2), (3, 2), activation="tanh", output_activation="sigmoid"
    )
    assert layers(network.decoder)[1:] == [
        "Tanh()",
        "Linear(in_features=3, out_features=4, bias=True)",
        "Sigmoid()",
        "Unflatten(dim=1, unflattened_size=(1, 2, 2))",
    ]


def test_an_int_is_the_code_alone():
    network = DenseAutoencoder((3, 4, 5), 7)
    assert count_parameters(network) == 60 * 7 + 7 + 7 * 60 + 60
    assert network.encoder(torch.rand(2, 3, 4, 5)).shape == (2, 7)


def test_images_and_flat_rows_give_the_same():
    network = DenseAutoencoder((3, 4, 5), (8, 2))
    images = torch.rand(6, 3, 4, 5)
    assert network(images).shape == images.shape
    assert network.decoder(torch.rand(6, 2)).shape == images.shape
    torch.testing.assert_close(network(images).flatten(1), network(images.flatten(1)))
    assert DenseAutoencoder((1, 1, 60))(images.flatten(1)).shape == (6, 60)


def test_a_strided_encoder_with_a_decoder_layer_by_layer():
    network = ConvAutoencoder((1, 28, 28), **FOUR_STRIDED, **FIVE_TRANSPOSED)
    by_hand = nn.Sequential(
        nn.Unflatten(1, (32, 1, 1)),
        *(nn.ConvTranspose2d(32, 16, 3), nn.ConvTranspose2d(16, 8, 3), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 8, 3, 2), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 4, 3), nn.ReLU()),
        *(nn.ConvTranspose2d(4, 1, 4, 2), nn.Sigmoid()),
    )
    assert layers(network.decoder) == layers(by_hand)
    classifier = ConvNet((1, 28, 28), 47, hidden=64, **FOUR_STRIDED)
    assert layers(network.encoder) == layers(classifier.encoder)
    assert network.n_features == 32
    assert sizes(network.decoder, torch.rand(2, 32)) == [3, 5, 11, 13, 28]
    assert count_parameters(network.encoder) == 40 + 296 + 1168 + 4640
    assert count_parameters(network.decoder) == 4624 + 1160 + 584 + 292 + 65
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    "image_shape, n_maps, decoder_sizes, n_features, n_parameters",
    [
        ((1, 8, 8), (16, 32), [4, 8], 128, 192 + 4704 + (8208 + 32) + 257),
        ((1, 28, 28), (16, 32, 64), [7, 14, 28], 576, 23_520 + 32_864 + 8240 + 257),
        ((3, 32, 32), (16, 32, 64), [8, 16, 32], 1024, 23_808 + 32_864 + 8240 + 771),
    ],
)
def test_conv_default(image_shape, n_maps, decoder_sizes, n_features, n_parameters):
    network = ConvAutoencoder(image_shape)
    convnet = ConvNet(image_shape, 10, channels=n_maps)
    assert layers(network.encoder) == layers(convnet.encoder)
    assert sizes(network.decoder, torch.rand(2, n_features)) == decoder_sizes
    assert is_mirrored(network)
    assert network.n_features == n_features
    assert count_parameters(network) == n_parameters


def test_the_mirror_undoes_a_convolution_together_with_its_pooling():
    network = ConvAutoencoder((1, 28, 28), **FOUR_STRIDED, output_activation=None)
    assert layers(network.decoder) == layers(
        [
            nn.Unflatten(1, (32, 1, 1)),
            *(nn.ConvTranspose2d(32, 16, 3), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 8, 7, 2, output_padding=(1, 1)), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 4, 3, 2, output_padding=(1, 1)), nn.ReLU()),
            nn.ConvTranspose2d(4, 1, 3),
        ]
    )
    assert sizes(network.decoder, torch.rand(2, 32)) == [3, 12, 26, 28]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 5, "stride": 2},
        {"padding": 0, "pool_size": 3, "pool_stride": 2},
        {"padding": 3, "stride": 3},
        {"kernel_size": 4, "padding": 1},
    ],
)
def test_the_mirror_puts_a_value_where_it_came_from(options):
    options = {"channels": 1, "batch_norm": False, "pool": "avg"} | options
    network = ConvAutoencoder(
        (1, 17, 20), **options, output_activation=None, weight_init="kaiming"
    )
    nn.init.ones_(network.encoder[0].weight)
    nn.init.ones_(network.decoder[1].weight)
    for code in torch.eye(network.n_features):
        images = torch.rand(1, 1, 17, 20, requires_grad=True)
        (network.encoder(images) * code).sum().backward()
        assert torch.equal(images.grad != 0, network.decoder(code[None]) != 0)


def test_even_filters_come_back_one_larger():
    network = ConvAutoencoder((1, 7, 9), channels=4, kernel_size=2, pool=None)
    assert layers(network.decoder)[1] == str(nn.ConvTranspose2d(4, 1, 3, 1, 1))
    assert network(torch.rand(2, 1, 7, 9)).shape == (2, 1, 7, 9)


def test_a_code_of_any_width():
    network = ConvAutoencoder(
        (1, 8, 8),
        channels=(4, 6),
        batch_norm="first",
        activation=("elu", "relu"),
        n_code=5,
        decoder_activation=("tanh", "selu"),
    )
    assert str(network.encoder[-1]) == str(nn.Linear(24, 5))
    assert layers(network.decoder) == layers(
        [
            *(nn.Linear(5, 24), nn.Tanh(), nn.Unflatten(1, (6, 2, 2))),
            *(nn.ConvTranspose2d(6, 4, 4, 2, 1, (0, 0)), nn.BatchNorm2d(4), nn.SELU()),
            *(nn.ConvTranspose2d(4, 1, 4, 2, 1, (0, 0)), nn.Sigmoid()),
        ]
    )
    assert network.n_features == 5
    images = torch.rand(3, 1, 8, 8)
    assert network.encoder(images).shape == (3, 5)
    assert network(images).shape == images.shape


def test_decoder_activation_follows_the_first_convolution():
    network = ConvAutoencoder((1, 8, 8), activation=("elu", ("identity",)))
    assert layers(network.decoder)[3] == "ELU(alpha=1.0)"


def test_encoders_are_exchanged_with_a_classifier():
    options = {"channels": ((4, 6), (8,)), "kernel_size": (3, 4)}
    network = ConvAutoencoder((3, 12, 10), **options)
    classifier = ConvNet((3, 12, 10), 7, **options)
    images = torch.rand(2, 3, 12, 10)
    for source, target in [(classifier, network), (network, classifier)]:
        source.train()(images.square())  # Moves the running statistics.
        state = {k: v for k, v in source.state_dict().items() if "encoder." in k}
        missing, unexpected = target.load_state_dict(state, strict=False)
        assert not unexpected
        assert not any("encoder." in name for name in missing)
        codes, same = (both.eval().encoder(images) for both in (source, target))
        assert torch.equal(codes, same)


def test_the_code_layer_is_all_that_a_classifier_lacks():
    network = ConvAutoencoder((1, 8, 8), channels=(8, 16), n_code=4)
    classifier = ConvNet((1, 8, 8), 3, channels=(8, 16))
    missing, unexpected = network.encoder.load_state_dict(
        classifier.encoder.state_dict(), strict=False
    )
    assert not unexpected
    assert missing == ["9.weight", "9.bias"]


@pytest.mark.parametrize("weight_init", [None, "kaiming", "xavier"])
@pytest.mark.parametrize("network", [ConvAutoencoder, DenseAutoencoder])
def test_the_seed_before_construction_gives_the_weights(network, weight_init):
    def weights(seed):
        torch.manual_seed(seed)
        parameters = network((1, 8, 8), weight_init=weight_init).parameters()
        return nn.utils.parameters_to_vector(parameters)

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_weight_init_reaches_both_halves():
    for network in [
        DenseAutoencoder((1, 8, 8), weight_init="kaiming"),
        ConvAutoencoder((1, 8, 8), n_code=4, weight_init="kaiming"),
    ]:
        kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
        initialized = [m for m in network.modules() if isinstance(m, kinds)]
        assert not any(layer.bias.any() for layer in initialized)


@pytest.mark.parametrize(
    "build",
    [
        ConvAutoencoder,
        partial(ConvAutoencoder, n_code=16, output_activation=None),
        partial(DenseAutoencoder, hidden=(48, 16)),
    ],
)
def test_reconstructions_beat_the_mean_image(digits, build):
    images = torch.tensor(digits.data, dtype=torch.float32).reshape(-1, 1, 8, 8)
    images /= images.max()
    train, test = images[:1400], images[1400:]
    torch.manual_seed(0)
    network = build((1, 8, 8))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(3):
        for batch in train[torch.randperm(len(train))].split(32):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(batch), batch).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        error = nn.functional.mse_loss(network(test), test)
    assert error < 0.7 * (train.mean(0) - test).square().mean()


@pytest.mark.parametrize(
    "options, message",
    [
        (
            FOUR_STRIDED | FIVE_TRANSPOSED | {"decoder_kernel_size": 3},
            r"reaches 27x27 pixels, by way of 1x1, 3x3, 5x5, 11x11, 13x13; "
            r"image_shape=\(1, 28, 28\) needs 28x28",
        ),
        (
            {"decoder_channels": (4, 2), "decoder_padding": (0, 2, 0)},
            "reaches 5x5 pixels, by way of 3x3, 5x5, 3x3; .* needs 28x28",
        ),
        (
            {"decoder_channels": (4, 2), "decoder_padding": (0, 4, 0)},
            "reaches -1x-1 pixels, by way of 3x3, 5x5; .* needs 28x28",
        ),
        (
            {"decoder_channels": 4, "decoder_kernel_size": (3,)},
            "decoder_kernel_size must be a single value or hold 2, one per transposed",
        ),
        (
            {"decoder_channels": 4, "decoder_stride": 0.5},
            "decoder_stride must be an int of at least 1; got 0.5",
        ),
        (
            {"decoder_channels": 4, "decoder_padding": -1},
            "decoder_padding must be an int of at least 0; got -1",
        ),
        (
            {"decoder_activation": ("relu",)},
            "decoder_activation must be .* hold 2, one per layer of the decoder but",
        ),
        ({"weight_init": "he"}, "weight_init must be one of .*None; got 'he'"),
        ({"image_shape": (1, 1, 28)}, "too small: pool_size=2"),
    ],
)
def test_arguments_of_the_convolutional_one_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ConvAutoencoder(**{"image_shape": (1, 28, 28)} | options)


image_shapes = st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20))
widths = st.integers(1, 5)


@settings(max_examples=thorough(100), deadline=None)
@given(
    image_shape=image_shapes,
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
    n_code=st.none() | st.integers(1, 4),
)
def test_images_come_back_in_their_shape_or_are_too_small(image_shape, **options):
    try:
        network = ConvAutoencoder(image_shape, **options)
    except ValueError as error:
        assert f"image_shape={image_shape} are too small" in str(error)
    else:
        images = torch.rand(2, *image_shape)
        assert network.encoder(images).shape == (2, network.n_features)
        assert network.eval()(images).shape == images.shape
        assert is_mirrored(network)


@settings(max_examples=thorough(100), deadline=None)
@given(
    image_shape=image_shapes,
    stride=st.integers(1, 3),
    decoder_channels=st.lists(widths, max_size=2),
    decoder_padding=st.integers(0, 2),
)
def test_a_given_decoder_reaches_the_image_or_says_what_it_reaches(
    image_shape, stride, decoder_channels, decoder_padding
):
    n_before = len(decoder_channels)
    try:
        network = ConvAutoencoder(
            image_shape,
            channels=2,
            stride=stride,
            pool=None,
            decoder_channels=decoder_channels,
            decoder_kernel_size=(*(1,) * n_before, stride + 2 * decoder_padding),
            decoder_stride=(*(1,) * n_before, stride),
            decoder_padding=(*(0,) * n_before, decoder_padding),
        )
    except ValueError as error:
        assert any(size % stride for size in image_shape[1:])
        assert f"needs {image_shape[1]}x{image_shape[2]}" in str(error)
    else:
        assert not any(size % stride for size in image_shape[1:])
        assert network.eval()(torch.rand(2, *image_shape)).shape[1:] == image_shape


@settings(max_examples=25, deadline=None)
@given(image_shape=image_shapes, hidden=st.lists(widths, min_size=1, max_size=3))
def test_dense_reconstructions_have_the_shape_of_the_images(image_shape, hidden):
    network = DenseAutoencoder(image_shape, hidden)
    images = torch.rand(2, *image_shape)
    assert network(images).shape == images.shape
    assert network.encoder(images).shape == (2, hidden[-1]) == (2, network.n_features)
