from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skvision.inspection import count_parameters
from skvision.networks import (
    ConvAutoencoder,
    ConvNet,
    DenseAutoencoder,
    EncoderClassifier,
)


def test_a_head_on_a_dense_encoder():
    autoencoder = DenseAutoencoder((1, 28, 28))
    network = EncoderClassifier((1, 28, 28), 5, autoencoder)
    by_hand = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 5))
    assert str(network.encoder) == str(autoencoder.encoder)
    assert str(network.head) == str(by_hand)
    assert (network.n_features, network.n_outputs) == (32, 5)
    assert count_parameters(network) == 407_222 + 8448 + 1285
    images = torch.rand(3, 1, 28, 28)
    assert network(images).shape == (3, 5)
    features = autoencoder.encoder(images)
    torch.testing.assert_close(network(images), network.head(features))
    torch.testing.assert_close(network(images.flatten(1)), network(images))


@pytest.mark.parametrize(
    "options, n_features",
    [({}, 128), ({"n_code": 7}, 7), ({"channels": 3, "pool": None}, 192)],
)
def test_a_convolutional_encoder(options, n_features):
    autoencoder = ConvAutoencoder((1, 8, 8), **options)
    network = EncoderClassifier((1, 8, 8), 3, autoencoder, hidden=())
    assert network.n_features == n_features
    assert str(network.head) == str(nn.Sequential(nn.Linear(n_features, 3)))
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_whatever_has_an_encoder_is_one():
    network = ConvNet((1, 8, 8), 10)
    estimator = SimpleNamespace(module_=network, encoder="a parameter")
    sources = [network, network.encoder, estimator]
    for source in [*sources, SimpleNamespace(module_=network.encoder)]:
        classifier = EncoderClassifier((1, 8, 8), 3, source)
        assert str(classifier.encoder) == str(network.encoder)
        states = zip(
            classifier.encoder.state_dict().values(),
            network.encoder.state_dict().values(),
            strict=True,
        )
        assert all(torch.equal(ours, theirs) for ours, theirs in states)


def test_training_leaves_the_source_alone():
    source = ConvNet((1, 8, 8), 10).eval()
    source.encoder[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    network = EncoderClassifier((1, 8, 8), 3, source)
    assert all(module.training for module in network.modules())
    assert not any(module.training for module in source.modules())
    # The run that finds the width has left no trace, either.
    for name, value in network.encoder.state_dict().items():
        assert torch.equal(value, before[f"encoder.{name}"])

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    nn.functional.cross_entropy(
        network(torch.rand(6, 1, 8, 8)), torch.arange(6) % 3
    ).backward()
    optimizer.step()
    after = network.encoder.state_dict()
    assert torch.equal(after["0.weight"], before["encoder.0.weight"])
    assert not torch.equal(after["0.bias"], before["encoder.0.bias"])
    for name, value in source.state_dict().items():
        assert torch.equal(value, before[name])


def test_arguments_make_the_head():
    source = nn.Flatten()
    network = EncoderClassifier(
        (1, 2, 2), 3, source, hidden=(8, 6), activation="tanh", dropout=(0.1, 0, 0.2)
    )
    by_hand = nn.Sequential(
        *(nn.Dropout(0.1), nn.Linear(4, 8), nn.Tanh()),
        *(nn.Linear(8, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 3)),
    )
    assert str(network.head) == str(by_hand)


def test_weight_init_leaves_the_encoder_alone():
    source = DenseAutoencoder((1, 8, 8), (16, 4))
    network = EncoderClassifier((1, 8, 8), 3, source, weight_init="kaiming")
    assert torch.equal(network.encoder[1].weight, source.encoder[1].weight)
    assert not network.head[0].bias.any()


def test_the_seed_before_construction_gives_the_weights():
    source = DenseAutoencoder((1, 8, 8), (16, 4))

    def weights(seed):
        torch.manual_seed(seed)
        network = EncoderClassifier((1, 8, 8), 3, source)
        return nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    "encoder, message",
    [
        (nn.Identity(), r"of shape \(batch, n_features\); got \(1, 1, 8, 8\) for one"),
        (nn.Flatten(0), r"of shape \(batch, n_features\); got \(64,\) for one image"),
        (DenseAutoencoder((1, 9, 9)), r"cannot take images of image_shape=\(1, 8, 8\)"),
        (ConvAutoencoder((3, 8, 8)), r"cannot take images of image_shape=\(1, 8, 8\)"),
    ],
)
def test_encoders_that_do_not_fit(encoder, message):
    with pytest.raises(ValueError, match=message):
        EncoderClassifier((1, 8, 8), 3, encoder)


@settings(max_examples=25, deadline=None)
@given(
    image_shape=st.tuples(st.integers(1, 4), st.integers(4, 16), st.integers(4, 16)),
    n_outputs=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 5), max_size=2),
    n_code=st.none() | st.integers(1, 4),
)
def test_images_give_outputs(image_shape, n_outputs, hidden, n_code):
    autoencoder = ConvAutoencoder(image_shape, n_code=n_code)
    network = EncoderClassifier(image_shape, n_outputs, autoencoder, hidden=hidden)
    assert network.n_features == autoencoder.n_features
    assert network(torch.rand(2, *image_shape)).shape == (2, n_outputs)
