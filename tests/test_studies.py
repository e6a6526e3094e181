"""What the studies of the examples rest on, at their own size."""

import numpy as np
import pytest
import torch

from skvision import ImageClassifier
from skvision.datasets import fetch_fashion_mnist
from skvision.networks import ConvNet
from skvision.preprocessing import RandomHorizontalFlip, UniformNoise, expand


def test_four_kinds_of_training_images(data_home):
    source = {"data_home": data_home, "download_if_missing": False}
    try:
        X, y = fetch_fashion_mnist(classes=[1, 3, 5, 7, 9], return_X_y=True, **source)
    except OSError as error:
        pytest.skip(str(error))
    flip, noise = RandomHorizontalFlip(p=1.0), UniformNoise(-0.2, 0.2)
    images, labels = expand(X, y, [flip, noise, [flip, noise]], random_state=0)
    assert images.shape == (120_000, 28, 28)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.tile(y, 4))
    original, flipped, noisy, both = np.split(images, 4)
    np.testing.assert_array_equal(original, X)
    np.testing.assert_array_equal(flipped, X[:, :, ::-1])
    for block, clean in [(noisy, X), (both, X[:, :, ::-1])]:
        difference = block.astype(np.int16) - clean
        assert np.abs(difference).max() == 51  # A fifth of 255.
        # Half of all pixels are black, and cannot get darker.
        assert 10 < np.abs(difference).mean() < 25.5
    assert not np.array_equal(noisy, both[:, :, ::-1])


def test_weights_go_by_torch_from_network_to_network(digits, tmp_path):
    options = {
        "channels": ((8, 8), (16, 16)),
        "activation": "leaky_relu",
        "hidden": (32, 16),
        "hidden_activation": "relu",
        "dropout": (0.1, 0.0, 0.1),
    }
    net = ImageClassifier(
        ConvNet,
        **{f"module__{name}": value for name, value in options.items()},
        normalize=(0.5, 0.5),
        max_epochs=2,
        random_state=0,
    )
    net.fit(digits.data, digits.target)
    torch.save(net.module_.state_dict(), tmp_path / "weights.pt")

    network = ConvNet(net.image_shape_, net.n_outputs_, **options).eval()
    network.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    pixels = torch.as_tensor(digits.data[:, None] / 255.0, dtype=torch.float32)
    with torch.no_grad():
        probabilities = network((pixels - 0.5) / 0.5).softmax(dim=1)
    np.testing.assert_allclose(
        probabilities, net.predict_proba(digits.data), rtol=1e-4, atol=1e-6
    )
