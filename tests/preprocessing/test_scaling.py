"""From stored pixels to what a network is trained on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from skvision_tests import as_images
from torch import nn
from torch.utils.data import Dataset

from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import ImageSequence
from skvision.images._readers import ArrayReader, DatasetReader
from skvision.preprocessing._pixel_range import Divisors
from skvision.preprocessing._scaling import PixelScaler, channel_statistics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def mean_and_std(*args, **kwargs):
    statistics = channel_statistics(*args, **kwargs)
    return statistics.mean, statistics.std


def assert_statistics(images, values, **kwargs):
    """Compare with numpy's, over axes 0, 2 and 3 of (n, C, H, W) values."""
    mean, std = mean_and_std(images, **kwargs)
    assert mean.dtype == std.dtype == np.float64
    assert mean.shape == std.shape == (values.shape[1],)
    # Networks see float32, so the values may have been rounded to that.
    assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-7)
    assert_allclose(std, values.std((0, 2, 3)), rtol=1e-6)


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize("n", [1, 7, 1024, 1025, 2500])
def test_statistics_of_uint8(rng, n):
    pixels = rng.integers(0, 256, (n, 6, 5, 3), dtype=np.uint8)
    pixels[..., 1] //= 10
    assert_statistics(as_images(pixels), np.moveaxis(pixels, 3, 1) / 255.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "uint16"])
def test_statistics_of_other_types(rng, dtype):
    values = (rng.normal(50, 9, (200, 2, 6, 5)) * [[[[1]], [[3]]]]).clip(0, 255)
    values = values.astype(dtype)
    images = as_images(values, channels="first")
    divisor = 255 if values.dtype.kind in "iu" else 1
    assert_statistics(images, values.astype(np.float64) / divisor)


def test_statistics_far_from_zero(rng):
    # float32 holds these values exactly; sums in float32 would not.
    values = (10_000 + rng.integers(-8, 9, (400, 1, 20, 20)) / 8).astype(np.float32)
    assert_statistics(as_images(values), values.astype(np.float64))


@given(
    values=hnp.arrays(
        np.float32, (6, 3, 4, 4), elements=st.floats(-1000, 1000, width=32)
    )
)
@settings(max_examples=50, deadline=None)
def test_statistics_of_any_values(values):
    mean, std = mean_and_std(as_images(values, channels="first"))
    wide = values.astype(np.float64)
    assert_allclose(mean, wide.mean((0, 2, 3)), rtol=1e-9, atol=1e-10)
    expected = wide.std((0, 2, 3))
    clear = expected > 1e-4 * np.abs(mean) + 1e-9
    assert_allclose(std[clear], expected[clear], rtol=1e-6)
    assert (std > 0).all()


def test_rows(rng):
    values = rng.random((50, 3, 4, 5))
    rows = np.array([4, 49, 4, 0])
    images = as_images(values)
    assert_statistics(images[rows], values[rows])


@pytest.mark.parametrize("kind", ["uint8", "float32", "flat"])
def test_weights_are_repeated_rows(rng, kind):
    values = rng.integers(0, 256, (40, 2, 6, 5)).astype(
        "uint8" if kind == "uint8" else "float32"
    )
    weight = rng.integers(0, 4, 40)
    if kind == "flat":
        reader = ArrayReader(values.reshape(40, 60), "flat")
    else:
        reader = ArrayReader(values, "first")
    images = ImageSequence(reader)
    expected = mean_and_std(images[np.repeat(np.arange(40), weight)])
    for scale in (1, 0.125):
        weighted = mean_and_std(images, sample_weight=weight * scale)
        assert_allclose(weighted, expected, rtol=1e-10)
    rows = np.array([3, 8, 30, 31])
    weighted = mean_and_std(images[rows], weight[rows])
    repeated = mean_and_std(images[np.repeat(rows, weight[rows])])
    assert_allclose(weighted, repeated, rtol=1e-10)


@pytest.mark.parametrize("value", [0, 1, 0.1, 1 / 3, 255, -7.3, 1e-20, 1e20])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_channel(rng, value, dtype):
    values = rng.random((300, 2, 7, 9)).astype(dtype)
    values[:, 1] = value
    mean, std = mean_and_std(as_images(values, channels="first"))
    assert std[1] == 1
    assert_allclose(mean[1], values[0, 1, 0, 0], rtol=1e-7)
    assert_allclose(std[0], values[:, 0].std(dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("value", range(0, 256, 15))
def test_constant_channel_of_uint8(rng, value):
    pixels = rng.integers(0, 256, (300, 2, 7, 9), dtype=np.uint8)
    pixels[:, 0] = value
    mean, std = mean_and_std(as_images(pixels, channels="first"))
    assert std[0] == 1
    assert_allclose(mean[0], value / 255, rtol=1e-7)


def test_one_pixel_that_differs():
    # Not constant, however rare the other value.
    pixels = np.zeros((2000, 10, 10), dtype=np.uint8)
    pixels[1234, 5, 5] = 1
    mean, std = mean_and_std(as_images(pixels))
    assert_allclose(mean, pixels.mean() / 255)
    assert_allclose(std, pixels.std() / 255)


def test_flat_rows_are_one_channel(rng):
    rows = rng.random((60, 11))
    mean, std = mean_and_std(ImageSequence(ArrayReader(rows, "flat")))
    assert_allclose((mean, std), ([rows.mean()], [rows.std()]), rtol=1e-6)
    folded = ArrayReader(rows[:, :10], "flat", image_shape=(2, 1, 5))
    values = rows[:, :10].reshape(60, 2, 1, 5)
    assert_statistics(ImageSequence(folded), values)


def test_statistics_of_a_memory_map(rng, tmp_path):
    pixels = rng.integers(0, 256, (3000, 8, 8), dtype=np.uint8)
    pixels.tofile(tmp_path / "images")
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", shape=pixels.shape)
    expected = mean_and_std(as_images(pixels))
    assert_array_equal(mean_and_std(as_images(mapped)), expected)


def test_statistics_read_each_item_once(rng):
    class Counted(Dataset):
        reads = 0

        def __len__(self):
            return 30

        def __getitem__(self, row):
            self.reads += 1
            return torch.full((1, 3, 3), row / 30)

    data = Counted()
    images = ImageSequence(DatasetReader(data))
    data.reads = 0
    mean, _ = mean_and_std(images)
    assert_allclose(mean, np.arange(30).mean() / 30, rtol=1e-6)
    assert data.reads == 30


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value):
    values = np.ones((5, 1, 3, 3))
    values[3, 0, 2, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        mean_and_std(ImageSequence(ArrayReader(values, "first")))


def test_statistics_do_not_depend_on_storage():
    # As float32, which networks get; the mean of random pixels may lie anywhere.
    for seed in range(100):
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (40, 5, 5, 3), dtype=np.uint8)
        values = pixels.astype(np.float32) / np.float32(255)
        stored = mean_and_std(as_images(pixels))
        scaled = mean_and_std(as_images(values))
        assert_array_equal(np.float32(stored), np.float32(scaled))


@pytest.mark.parametrize(("module", "seed"), [("mlp", 0), ("convnet", 1)])
@pytest.mark.parametrize("normalize", ["channel", None, (0.3, 0.5)])
def test_uint8_and_float_give_the_same_network(digits, module, normalize, seed):
    X, y = digits.data[: 300 + seed], digits.target[: 300 + seed]
    params = {
        "mlp": {"module__hidden": (16,)},
        "convnet": {"module__channels": (4,), "module__hidden": ()},
    }[module]
    net = ImageClassifier(
        module, normalize=normalize, max_epochs=2, random_state=seed, **params
    )
    stored = net.fit(X, y).module_.state_dict()
    proba = net.predict_proba(X)
    for values in (X.astype(np.float32) / np.float32(255), X / 255):
        scaled = net.fit(values, y).module_.state_dict()
        for name, weight in stored.items():
            assert torch.equal(weight, scaled[name])
        assert_array_equal(net.predict_proba(values), proba)
        assert_array_equal(net.predict_proba(X), proba)


def test_network_sees_standardised_images(digits):
    seen = []

    class Spy(nn.Linear):
        def forward(self, images):
            seen.append(images.detach().clone())
            return super().forward(images.flatten(1))

    X, y = digits.data[:200], digits.target[:200]
    net = ImageClassifier(
        Spy, module__in_features=64, module__out_features=10, max_epochs=1
    ).fit(X, y)
    seen.clear()
    net.predict(X)
    images = torch.cat(seen)
    assert images.shape == (200, 1, 8, 8)
    assert images.dtype == torch.float32
    assert abs(images.mean()) < 1e-5
    assert abs(images.std(correction=0) - 1) < 1e-5


def test_statistics_of_training_rows_alone(digits):
    # Held-out rows and those without weight must not reach the network.
    X, y = digits.data[:300].astype(np.float32), digits.target[:300]
    weight = np.ones(300)
    weight[:100] = 0
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1, random_state=0)
    net.fit(X, y, sample_weight=weight)
    expected = PixelScaler(X[100:].mean(), X[100:].std())
    assert_allclose(net.scaler_.mean.ravel(), expected.mean.ravel(), rtol=1e-5)
    assert_allclose(net.scaler_.std.ravel(), expected.std.ravel(), rtol=1e-5)
    X[y == 3] *= 100
    held_out = y == 3

    def split(dataset, y=None, **kwargs):
        valid = np.flatnonzero(held_out)
        train = np.flatnonzero(~held_out)
        return (torch.utils.data.Subset(dataset, rows) for rows in (train, valid))

    net.set_params(train_split=split).fit(X, y)
    assert_allclose(net.scaler_.mean.item(), X[~held_out].mean(), rtol=1e-5)


# -------------------------------------------------------------------- scaler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_between_0_and_1(dtype):
    pixels = torch.arange(256, dtype=torch.uint8).reshape(64, 1, 2, 2)
    scaled = PixelScaler(dtype=dtype)(pixels)
    assert scaled.dtype == dtype
    assert torch.equal(scaled, pixels.to(dtype) / 255)
    values = torch.linspace(-3, 300, 64, dtype=torch.float64).reshape(16, 1, 2, 2)
    assert torch.equal(PixelScaler(dtype=dtype)(values), values.to(dtype))


def test_scaler_by_channel():
    images = torch.rand(5, 3, 4, 4)
    mean, std = [0.1, 0.2, 0.3], [1.0, 2.0, 4.0]
    scaled = PixelScaler(mean, std)(images)
    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / std[channel]
        assert torch.equal(scaled[:, channel], expected)
    assert torch.equal(PixelScaler(0.1, 2.0)(images), (images - 0.1) / 2)
    rows = torch.rand(5, 12)
    assert torch.equal(PixelScaler([0.1], [2.0], flat=True)(rows), (rows - 0.1) / 2)
    mean = torch.rand(12)
    by_feature = PixelScaler(mean, torch.ones(12), flat=True)(rows)
    assert torch.equal(by_feature, rows - mean)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("to", [torch.float32, torch.float64])
@pytest.mark.parametrize("pair", [(None, None), (0.5, 0.25)], ids=str)
@pytest.mark.parametrize("flat", [False, True])
def test_scaler_leaves_its_input_alone(dtype, to, pair, flat):
    shape = (6, 12) if flat else (6, 1, 3, 4)
    images = (torch.rand(shape) * 200).to(dtype)
    before = images.clone()
    PixelScaler(*pair, flat=flat, dtype=to)(images)
    assert torch.equal(images, before)


def test_scaler_moves_and_is_saved():
    scaler = PixelScaler([0.1, 0.2], [0.5, 0.6])
    scaler.divisors = Divisors(255, 65535)
    assert list(scaler.parameters()) == []
    other = PixelScaler([0.0, 0.0], [1.0, 1.0])
    other.load_state_dict(scaler.state_dict())
    for images in (torch.rand(3, 2, 4, 4), torch.randint(0, 65536, (3, 2, 4, 4))):
        assert torch.equal(other(images), scaler(images))
    # As it was when there was no more to be saved.
    mean_and_std = {name: scaler.state_dict()[name] for name in ("mean", "std")}
    other.load_state_dict(mean_and_std)
    assert other.divisors == Divisors(255, 65535)


class InPlace(nn.Module):
    """A network that changes its input, as some do."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.head = nn.Linear(int(np.prod(image_shape)), n_outputs)

    def forward(self, images):
        return self.head(images.sub_(0.5).mul_(2).flatten(1))


@pytest.mark.parametrize(("normalize", "shuffle"), [(None, False), ("channel", True)])
@pytest.mark.parametrize("kind", ["images", "rows", "tensor", "data set"])
def test_networks_that_work_in_place(digits, normalize, shuffle, kind):
    X = digits.data[:100].astype(np.float32) / np.float32(255)
    X = X.reshape(100, 64) if kind == "rows" else X
    before, y = X.copy(), X.reshape(100, -1).mean(1)
    given = torch.from_numpy(X) if kind in ("tensor", "data set") else X
    if kind == "data set":
        given = torch.utils.data.TensorDataset(given, torch.from_numpy(y))
    net = ImageRegressor(
        InPlace, normalize=normalize, max_epochs=2, iterator_train__shuffle=shuffle
    )
    net.fit(given, y)
    assert_array_equal(X, before)
    first = net.predict(given)
    assert_array_equal(X, before)
    assert_array_equal(net.predict(given), first)
