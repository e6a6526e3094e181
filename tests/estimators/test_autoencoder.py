"""Codes, reconstructions, and what is made of an autoencoder's encoder."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier
from skvision.datasets import as_Xy
from skvision.preprocessing import GaussianNoise

DENSE = {"module": "dense_autoencoder", "module__hidden": (32, 8)}


@pytest.fixture(scope="module")
def X(digits):
    return digits.data[:600]


@pytest.fixture(scope="module")
def fitted(X):
    net = ImageAutoencoder(**DENSE, max_epochs=40, lr=0.003, random_state=0)
    return net.fit(X)


def test_learns(fitted, X):
    constant = -np.mean((X / 255 - (X / 255).mean(axis=0)) ** 2)
    assert fitted.score(X) > 0.5 * constant
    flat = X.reshape(len(X), -1) / 255
    pca = PCA(2).fit(flat)
    best_of_two = -np.mean((flat - pca.inverse_transform(pca.transform(flat))) ** 2)
    assert fitted.score(X) > best_of_two


def test_score_is_minus_the_mean_squared_error(fitted, X):
    values = X.astype(np.float32) / 255
    error = np.mean((fitted.reconstruct(values) - values) ** 2)
    assert fitted.score(values) == pytest.approx(-error, rel=1e-5)
    assert fitted.score(X) == fitted.score(values)


@pytest.mark.parametrize(
    ("options", "convert", "largest"),
    [
        (DENSE, lambda X: X, 255),
        (DENSE, lambda X: X.astype(np.uint16) * 257, 65535),
        (DENSE | {"dtype": "float64"}, lambda X: X / 255, 1),
        (DENSE, lambda X: X.astype(np.float32), 1),
        (DENSE | {"normalize": "channel"}, lambda X: X[..., None], 255),
        (DENSE | {"normalize": None}, lambda X: X.reshape(len(X), -1) / 255, 1),
        ({"module": "conv_autoencoder"}, lambda X: np.stack([X] * 3, -1), 255),
    ],
)
def test_score_of_each_image(X, options, convert, largest):
    given = convert(X[:150])
    net = ImageAutoencoder(**options, max_epochs=1, random_state=0).fit(given)
    scores = net.score_samples(given)
    assert scores.shape == (150,)
    assert scores.dtype == net.dtype
    units = (given / largest).astype(np.float32 if largest > 1 else given.dtype)
    # Of floats on that scale the reconstructions are not rounded.
    errors = (net.reconstruct(units).astype(float) - units) ** 2
    assert_allclose(scores, -errors.reshape(150, -1).mean(1), rtol=1e-4)
    assert net.score(given) == scores.astype(float).mean()
    assert_allclose(net.score_samples(given[3:5]), scores[3:5], rtol=1e-5)


def test_anomalies_lie_below_a_threshold(fitted, X):
    threshold = np.quantile(fitted.score_samples(X), 0.01)
    striped = X[:50].copy()
    striped[:, ::2] = 255
    assert (fitted.score_samples(striped) < threshold).all()
    assert 0 < (fitted.score_samples(X) < threshold).sum() <= len(X) / 100


def test_codes_and_images(fitted, X):
    codes = fitted.transform(X)
    assert codes.shape == (600, 8)
    assert codes.dtype == np.float32
    assert_array_equal(fitted.inverse_transform(codes), fitted.reconstruct(X))
    with torch.no_grad():
        by_hand = fitted.encoder_(fitted.scaler_(torch.from_numpy(X[:, None])))
    assert_allclose(codes, by_hand, rtol=1e-5, atol=1e-5)
    assert list(fitted.get_feature_names_out()[:2]) == [
        "imageautoencoder0",
        "imageautoencoder1",
    ]
    assert fitted.set_output(transform="pandas").transform(X[:3]).shape == (3, 8)
    fitted.set_output(transform="default")


@pytest.mark.parametrize("layout", ["grey", "first", "last", "flat", "colour"])
@pytest.mark.parametrize(
    ("dtype", "module"),
    [(np.uint8, "conv_autoencoder"), (np.float32, "dense_autoencoder")],
)
def test_layout_and_range_of_the_input(X, layout, dtype, module):
    X = X[:40]
    images = {
        "grey": X,
        "first": X[:, None],
        "last": X[..., None],
        "flat": X.reshape(40, -1),
        "colour": np.stack([X, X, X], axis=-1),
    }[layout]
    images = images if dtype == np.uint8 else images.astype(dtype) / 255
    shape = (1, 8, 8) if layout == "flat" else None
    net = ImageAutoencoder(module, max_epochs=1, image_shape=shape, random_state=0)
    net.fit(images)
    for back in (net.reconstruct(images), net.inverse_transform(net.transform(images))):
        assert back.shape == images.shape
        assert back.dtype == dtype
    assert_array_equal(back, net.reconstruct(images))


def test_data_set(X):
    data = torch.utils.data.TensorDataset(torch.rand(20, 1, 8, 8), torch.arange(20))
    net = ImageAutoencoder(**DENSE, max_epochs=1, random_state=0).fit(data)
    assert net.reconstruct(data).shape == (20, 1, 8, 8)
    sequence, _ = as_Xy(data)
    assert_array_equal(net.transform(sequence), net.transform(data))


def test_normalised_images_come_back_in_their_range(X):
    net = ImageAutoencoder(
        **DENSE, normalize="channel", max_epochs=40, lr=0.003, random_state=0
    ).fit(X)
    constant = -np.mean((X / 255 - (X / 255).mean(axis=0)) ** 2)
    assert net.score(X) > 0.5 * constant


def test_sum_over_pixels(X):
    params = {**DENSE, "max_epochs": 1, "lr": 0, "optimizer": "sgd", "random_state": 0}
    mean = ImageAutoencoder(**params).fit(X)
    total = ImageAutoencoder(**params, reduction="sum").fit(X)
    assert_allclose(
        total.history[0, "train_loss"], 64 * mean.history[0, "train_loss"], rtol=1e-5
    )


def test_weights_of_zero_are_rows_absent(X):
    weight = np.ones(len(X))
    weight[::3] = 0
    params = {**DENSE, "max_epochs": 2, "random_state": 0, "dtype": "float64"}
    weighted = ImageAutoencoder(**params).fit(X, sample_weight=weight)
    absent = ImageAutoencoder(**params).fit(X[weight > 0])
    assert_allclose(weighted.transform(X), absent.transform(X), atol=1e-10)


def test_noise_is_removed(X):
    noisy = GaussianNoise(0.3)
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
            self.decoder = nn.Sequential(nn.Linear(16, 64), nn.Unflatten(1, (1, 8, 8)))

        def forward(self, images):
            seen.append((self.training, float(images.min()), images.std().item()))
            return self.decoder(self.encoder(images))

    net = ImageAutoencoder(Spy, noise=noisy, max_epochs=1, random_state=0).fit(X)
    clean = (X / 255).std()
    in_training = [std for training, _, std in seen if training]
    assert min(in_training) > 0
    count = len(seen)
    net.reconstruct(X)
    assert np.mean([std for _, _, std in seen[count:]]) == pytest.approx(clean, rel=0.1)

    denoiser = ImageAutoencoder(
        **DENSE, noise=noisy, max_epochs=20, lr=0.01, batch_size=32, random_state=0
    ).fit(X)
    generator = torch.Generator().manual_seed(0)
    spoilt = noisy(torch.from_numpy(X[:, None] / np.float32(255)), generator).numpy()
    error = np.mean((denoiser.reconstruct(spoilt)[:, 0] - X / 255) ** 2)
    assert error < 0.7 * np.mean((spoilt[:, 0] - X / 255) ** 2)


def test_in_a_pipeline_and_a_search(digits):
    X, y = digits.data[:400], digits.target[:400]
    net = ImageAutoencoder(
        **DENSE, lr=0.01, max_epochs=10, batch_size=32, random_state=0
    )
    model = make_pipeline(net, LogisticRegression(max_iter=1000)).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.6
    search = GridSearchCV(net, {"module__hidden": [(32, 2), (32, 16)]}, cv=2)
    search.fit(X[:200])
    assert search.best_params_ == {"module__hidden": (32, 16)}


@pytest.mark.parametrize("mix", [1.0, 0.5])
def test_classifier_on_the_encoder(fitted, digits, mix):
    X, y = digits.data[:600], digits.target[:600]
    net = ImageClassifier(
        pretrained=fitted, pretrained_mix=mix, lr=0, optimizer="sgd", max_epochs=1
    )
    net.set_params(random_state=0).fit(X, y)
    same = all(
        torch.equal(one, other)
        for one, other in zip(
            net.module_.encoder.parameters(), fitted.encoder_.parameters(), strict=True
        )
    )
    assert same == (mix == 1)
    assert net.scaler_.mean is None  # As the encoder was trained.
    assert_array_equal(clone(net).fit(X, y).predict(X), net.predict(X))
    trained = ImageClassifier(
        pretrained=fitted, freeze="encoder", lr=0.01, random_state=0
    ).fit(X, y)
    assert trained.score(X, y) > 0.8
    assert not any(p.requires_grad for p in trained.module_.encoder.parameters())
