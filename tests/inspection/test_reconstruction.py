import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn
from torch.utils.data import TensorDataset

from skvision import ImageAutoencoder
from skvision.inspection import ReconstructionDisplay
from skvision.preprocessing import UniformNoise

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Scaling(nn.Module):
    """Multiplies images by a factor."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.encoder = nn.Identity()
        self.decoder = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.decoder.weight, factor)

    def forward(self, X):
        return self.decoder(self.encoder(X)[..., None])[..., 0]


def autoencoder(factor=1.0, **params):
    return ImageAutoencoder(
        Scaling, module__factor=factor, max_epochs=1, lr=0.0, **params
    )


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (12, 4, 6), dtype=np.uint8)


@pytest.fixture
def colour():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


def drawn(display):
    """Return the images drawn, row by row."""
    return [
        np.stack([ax.images[0].get_array() for ax in axes]) for axes in display.axes_
    ]


def names(display):
    return [axes[0].get_ylabel() for axes in display.axes_]


def test_one_autoencoder(grey):
    net = autoencoder(0.5).fit(grey)
    display = ReconstructionDisplay.from_estimator(net, grey)
    assert display.axes_.shape == (2, 10)
    assert names(display) == ["original", "reconstructed"]
    original, reconstructed = drawn(display)
    assert_allclose(original, grey[:10] / 255, rtol=1e-6)
    assert_allclose(reconstructed, grey[:10] / 255 / 2, rtol=1e-6)
    assert list(display.rows) == ["original", "reconstructed"]
    assert_array_equal(display.rows["original"], original)


def test_what_is_drawn_is_what_the_autoencoder_makes(digits):
    X = digits.data[:60]
    net = ImageAutoencoder("dense_autoencoder", max_epochs=2, random_state=0).fit(X)
    display = ReconstructionDisplay.from_estimator(net, X, n_images=3)
    # For uint8, reconstruct rounds and clips.
    expected = net.reconstruct(X[:3]) / 255
    assert_allclose(np.clip(drawn(display)[1], 0, 1), expected, atol=0.501 / 255)


def test_rows_compare(grey):
    net = autoencoder(0.5).fit(grey)
    display = ReconstructionDisplay.from_estimator(net, grey[:3])
    limits = {ax.images[0].get_clim() for ax in display.axes_.flat}
    (limit,) = limits
    assert_allclose(limit, (grey[:3].min() / 255, grey[:3].max() / 255), rtol=1e-6)
    assert {ax.images[0].get_cmap().name for ax in display.axes_.flat} == {"gray"}


def test_several_autoencoders(grey):
    half, same = autoencoder(0.5).fit(grey), autoencoder().fit(grey)
    display = ReconstructionDisplay.from_estimators(
        {"half": half, "same": same}, grey, n_images=4
    )
    assert names(display) == ["original", "half", "same"]
    original, first, second = drawn(display)
    assert_allclose(first, original / 2)
    assert_allclose(second, original)


def test_noise(grey):
    half, same = autoencoder(0.5).fit(grey), autoencoder().fit(grey)
    noise = UniformNoise(0.1, 0.2, clip=False)
    display = ReconstructionDisplay.from_estimators(
        {"half": half, "same": same}, grey, noise=noise, n_images=3
    )
    assert names(display) == ["original", "noisy", "half", "same"]
    original, noisy, first, second = drawn(display)
    assert ((noisy - original > 0.0999) & (noisy - original < 0.2001)).all()
    # All get the same noisy images, of which they reconstruct.
    assert_allclose(first, noisy / 2, rtol=1e-6)
    assert_allclose(second, noisy, rtol=1e-6)


def test_noise_is_that_of_the_random_state(grey):
    net = autoencoder().fit(grey)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()

    def noisy(random_state, noise):
        display = ReconstructionDisplay.from_estimator(
            net, grey[:5], noise=noise, random_state=random_state
        )
        return display.rows["noisy"]

    noise = UniformNoise()
    assert_array_equal(noisy(0, noise), noisy(0, [None, noise]))
    assert not np.array_equal(noisy(0, noise), noisy(1, noise))
    assert not np.array_equal(noisy(None, noise), noisy(None, noise))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert_array_equal(np.random.get_state()[1], state[1])


def test_random_images(grey):
    net = autoencoder().fit(grey)
    display = ReconstructionDisplay.from_estimator(
        net, grey, n_images=5, random_state=0
    )
    found = [
        int(np.flatnonzero(np.isclose(grey / 255, image).all((1, 2)))[0])
        for image in drawn(display)[0]
    ]
    assert found == sorted(set(found)) != [0, 1, 2, 3, 4]


def test_colours(colour):
    net = autoencoder(2.0).fit(colour)
    (original, reconstructed) = drawn(ReconstructionDisplay.from_estimator(net, colour))
    assert_allclose(original, colour / 255, rtol=1e-6)
    assert_allclose(reconstructed, np.minimum(colour / 255 * 2, 1), rtol=1e-6)


@pytest.mark.parametrize("channels", ["auto", "first", "last"])
def test_layouts_of_the_autoencoder(colour, channels):
    given = np.moveaxis(colour, 3, 1) if channels == "first" else colour
    net = autoencoder(channels=channels).fit(given)
    display = ReconstructionDisplay.from_estimator(
        net, given, noise=UniformNoise(0, 0), n_images=2
    )
    for row in drawn(display):
        assert_allclose(row, colour[:2] / 255, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:X holds uint8 values")
@pytest.mark.parametrize(
    ("fitted", "given"),
    [
        (lambda X: X.astype("float32"), lambda X: X),
        (lambda X: X, lambda X: X / 255),
        (lambda X: X / 127.5 - 1, lambda X: X / 127.5 - 1),
        (lambda X: X, lambda X: X.reshape(len(X), -1)),
        (
            lambda X: TensorDataset(torch.from_numpy(X[..., :3, :])),
            lambda X: TensorDataset(torch.from_numpy(X[..., :3, :])),
        ),
    ],
    ids=["float to uint8", "uint8 to float", "signed", "rows", "narrow data set"],
)
def test_pixels_as_the_fit_takes_them(colour, fitted, given):
    net = autoencoder(channels="last", normalize=None).fit(fitted(colour))
    display = ReconstructionDisplay.from_estimator(net, given(colour))
    original, result = drawn(display)
    assert_allclose(original, colour[..., : original.shape[2], :] / 255, atol=1e-6)
    assert_allclose(result, original, atol=1e-6)


def test_pixels_on_another_scale(grey):
    net = autoencoder().fit(grey / 127.5 - 1)
    with pytest.warns(UserWarning, match="uint8 values from 0 to 255"):
        ReconstructionDisplay.from_estimator(net, grey)
    net = autoencoder(noise=UniformNoise(-1, 1), normalize="range").fit(grey * 1.0)
    display = ReconstructionDisplay.from_estimator(net, grey, noise=UniformNoise(-1, 1))
    assert drawn(display)[1].max() > 200


def test_data_sets(grey):
    net = autoencoder().fit(grey)
    data = TensorDataset(torch.from_numpy(grey)[:, None])
    display = ReconstructionDisplay.from_estimator(net, data, n_images=2)
    assert_allclose(drawn(display)[1], grey[:2] / 255, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("noise", [None, UniformNoise(0, 0)])
@pytest.mark.parametrize("as_frame", [False, True])
def test_flat_rows(grey, noise, as_frame):
    rows = grey.reshape(12, -1) / 255
    rows = pd.DataFrame(rows).add_prefix("pixel") if as_frame else rows
    options = {"n_images": 3, "noise": noise}
    folds = autoencoder(0.5, image_shape=(1, 4, 6)).fit(rows)
    display = ReconstructionDisplay.from_estimator(folds, rows, **options)
    assert_allclose(drawn(display)[-1], grey[:3] / 255 / 2, rtol=1e-6)
    flat = autoencoder(0.5).fit(rows)
    display = ReconstructionDisplay.from_estimator(
        flat, rows, image_shape=(1, 4, 6), **options
    )
    assert_allclose(drawn(display)[-1], grey[:3] / 255 / 2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"24 features.*Set image_shape=\(channels"):
        ReconstructionDisplay.from_estimator(flat, rows)


def test_pipelines_and_searches(grey):
    rows = grey.reshape(12, -1)
    scaler = MinMaxScaler((0, 0.5))
    pipeline = make_pipeline(scaler, autoencoder(image_shape=(1, 4, 6)))
    search = GridSearchCV(pipeline, {"imageautoencoder__batch_size": [4]}, cv=2)
    expected = scaler.fit_transform(rows).reshape(12, 4, 6)
    for fitted in (pipeline.fit(rows), search.fit(rows)):
        display = ReconstructionDisplay.from_estimator(fitted, rows, n_images=4)
        for row in drawn(display):
            assert_allclose(row, expected[:4], atol=1e-6)


def test_place_of_axes(grey):
    _, (left, right) = plt.subplots(1, 2)
    display = ReconstructionDisplay({"a": grey[:3], "b": grey[3:6]}).plot(ax=left)
    assert display.ax_ is left
    assert display.axes_.shape == (2, 3)
    end = right.get_position().x0
    assert all(ax.get_position().x1 < end for ax in display.axes_.flat)


def test_names_are_in_the_figure(grey):
    long = "a convolutional autoencoder with 32 codes"
    display = ReconstructionDisplay({"original": grey[:2], long: grey[:2]}).plot()
    display.figure_.canvas.draw()
    box = display.axes_[1, 0].yaxis.label.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= display.axes_[1, 0].get_window_extent().x0
