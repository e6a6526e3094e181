"""From data to the network: batches on their device, and of their size."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from skvision_tests import Spy, as_images
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

from skvision import ImageClassifier
from skvision.datasets import ImageSequence, as_Xy
from skvision.images._readers import ArrayReader
from skvision.training import BatchLoader, ImageDataset, _batches
from skvision.training._batches import DeviceLoader, ResidentDataset

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def build(module, **params):
    defaults = {"batch_size": 32, "max_epochs": 3, "device": "cpu", "random_state": 0}
    return ImageClassifier(module, **defaults | params)


# --------------------------------------------------------------------- data on a device


def data_of(n, kind):
    rng = np.random.default_rng(0)
    if kind == "flat":
        reader = ArrayReader(rng.uniform(size=(n, 12)), "flat")
    else:
        pixels = rng.integers(0, 256, size=(n, 3, 4, 3), dtype=np.uint8)
        reader = ArrayReader(pixels, "last")
    images = ImageSequence(reader, rng.permutation(n) if kind == "view" else None)
    y = None if kind == "no targets" else torch.arange(n)
    weight = torch.rand(n) if kind == "weights" else None
    return ImageDataset(images, y, weight)


def assert_equal_batches(actual, expected):
    for batch, other in zip(actual, expected, strict=True):
        assert len(batch) == len(other)
        for part, other_part in zip(batch, other, strict=True):
            assert part.dtype == other_part.dtype
            assert torch.equal(part, other_part)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", ["plain", "view", "flat", "weights", "no targets"])
@pytest.mark.parametrize("rows_to_copy", [7, 4096])
def test_resident_data(monkeypatch, kind, shuffle, rows_to_copy):
    def epochs(dataset):
        generator = torch.Generator().manual_seed(0)
        loader = BatchLoader(dataset, 8, shuffle=shuffle, generator=generator)
        return [batch for _ in range(2) for batch in loader]

    monkeypatch.setattr(_batches, "_ROWS_TO_COPY", rows_to_copy)
    data = data_of(22, kind)
    resident = ResidentDataset(data, CPU)
    assert len(resident) == 22
    assert_equal_batches(epochs(resident), epochs(data))


def test_resident_data_stays_as_it_is():
    data = data_of(10, "plain")
    resident = ResidentDataset(data, CPU)
    for rows in (slice(0, 5), np.arange(5)):
        for part in resident[rows]:
            part.zero_()  # Networks may work in place.
    assert_equal_batches([resident[slice(None)]], [data[slice(None)]])


def test_what_goes_to_the_gpu(monkeypatch, tmp_path):
    def copy(data, device):
        copied.append(device)
        return ResidentDataset(data, CPU)

    copied: list[torch.device] = []
    free = 4 * 22 * 36
    monkeypatch.setattr(_batches, "ResidentDataset", copy)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, free))
    data = data_of(22, "plain")
    assert data.on_gpu(CPU) is data
    resident = data.on_gpu(CUDA)
    assert_equal_batches([resident[slice(3, 9)]], [data[slice(3, 9)]])
    assert data.on_gpu(CUDA) is resident
    assert copied == [CUDA]
    # A quarter of what is free must be enough.
    too_large = data_of(23, "plain")
    assert too_large.on_gpu(CUDA) is too_large
    few_rows = data_of(23, "plain").subset(np.arange(22))
    assert len(few_rows.on_gpu(CUDA)) == 22
    v2.functional.to_pil_image(torch.zeros(3, 4, 3)).save(tmp_path / "0.png")
    images = as_images([str(tmp_path / "0.png")])
    assert ImageDataset(images).on_gpu(CUDA).images is images
    assert len(copied) == 2


def pictures(transform):
    """Return torchvision's CIFAR10 with images of our own."""
    data = datasets.CIFAR10.__new__(datasets.CIFAR10)
    rng = np.random.default_rng(0)
    data.data = rng.integers(0, 256, size=(70, 8, 8, 3), dtype=np.uint8)
    data.targets = list(range(5)) * 14
    data.transform, data.target_transform = transform, None
    return data


NORMALIZE = v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
TO_UNIT = v2.ToDtype(torch.float32, scale=True)
STEPS = {
    "div": v1.Compose([v1.ToTensor(), NORMALIZE]),
    "mul": v2.Compose([v2.ToImage(), TO_UNIT, NORMALIZE]),
    "unit": v2.Compose([v2.ToImage(), TO_UNIT]),
    "none": v2.ToImage(),
}

by_steps = pytest.mark.parametrize("transform", STEPS.values(), ids=list(STEPS))


@by_steps
@pytest.mark.parametrize("resident", [False, True])
def test_pixel_steps_on_the_device(transform, resident):
    dataset = pictures(transform)
    X, y = as_Xy(dataset)
    assert X.reading == "memory"
    weight = torch.rand(70)
    data = ImageDataset(X, torch.from_numpy(y), weight)
    source = ResidentDataset(data, CPU) if resident else data
    loader = DeviceLoader(BatchLoader(source, 16), CPU, X.steps)
    assert len(loader) == 5
    batches = [torch.cat(parts) for parts in zip(*loader, strict=True)]
    assert torch.equal(batches[0], X.read(slice(None)))
    expected = np.stack([np.asarray(image) for image, _ in dataset])
    if X.steps is not None:  # Else estimators divide by 255.
        assert_array_equal(batches[0], expected)
    assert_array_equal(batches[1], y)
    assert torch.equal(batches[2], weight)
    # What is stored is as it was.
    assert_array_equal(np.asarray(X), expected)


@by_steps
@pytest.mark.parametrize("loader", [BatchLoader, DataLoader])
def test_fit_of_what_items_hold(transform, loader):
    dataset = pictures(transform)
    X = np.stack([np.asarray(image) for image, _ in dataset])
    y = np.array(dataset.targets)
    # Means would be summed in another order.
    params = {"normalize": ([0.5], [0.3]), "iterator_valid": loader}
    params |= {"iterator_train": loader, "iterator_train__shuffle": False}
    expected = build("convnet", **params, channels="first").fit(X, y)
    net = build("convnet", **params).fit(dataset, y)
    for ours, other in zip(
        net.module_.parameters(), expected.module_.parameters(), strict=True
    ):
        assert torch.equal(ours, other)
    assert_array_equal(net.predict_proba(dataset), expected.predict_proba(X))


# ------------------------------------------------------------------ image by image


@pytest.mark.parametrize(
    ("flip", "reading"),
    [(v2.Identity(), "once"), (v2.RandomHorizontalFlip(), "each_time")],
)
def test_transforms_in_each_epoch(tmp_path, seen, flip, reading, monkeypatch):
    def open_image(file, *args):
        opened.append(file.name)
        return own(file, *args)

    own = Image.open
    monkeypatch.setattr(Image, "open", open_image)
    opened: list[str] = []
    rng = np.random.default_rng(0)
    for i, image in enumerate(rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)):
        path = tmp_path / str(i % 2) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    transform = v2.Compose([v2.Resize(10), flip, *STEPS["mul"].transforms])
    X, y = as_Xy(datasets.ImageFolder(tmp_path, transform))
    assert X.reading == reading
    opened.clear()
    net = build(Spy, normalize=None, iterator_train__shuffle=False)
    net.fit(X, y)
    epochs = [images for training, images in seen if training]
    epochs = [torch.cat(epochs[i : i + 2]) for i in (0, 2, 4)]
    if reading == "once":
        assert len(opened) == len(set(opened)) == 40
        assert torch.equal(epochs[0], epochs[1])
    else:
        assert len(opened) == 3 + 3 * 40  # Some are read to try the loss.
        drawn = [(a != b).flatten(1).any(1).float().mean() for a, b in pairs(epochs)]
        assert min(drawn) > 0.2
        assert max(drawn) < 0.8


def pairs(epochs):
    return [(epochs[0], epochs[1]), (epochs[1], epochs[2]), (epochs[0], epochs[2])]


# ---------------------------------------------------------------- batches of evaluation


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [300]),
        ({"batch_size": 200}, [300]),
        ({"iterator_valid__batch_size": 100}, [100, 100, 100]),
        ({"iterator_valid__batch_size": 299}, [300]),
        ({"iterator_valid__batch_size": -1}, [300]),
        ({"iterator_valid__batch_size": 200, "iterator_valid": DataLoader}, [200, 100]),
    ],
)
def test_sizes(digits, seen, params, expected):
    X, y = digits.data[:600], digits.target[:600]
    net = build(Spy, early_stopping=True, validation_fraction=0.5, max_epochs=1)
    net.set_params(**params).fit(X, y)
    # The first batches are those that try the network and the loss.
    assert [len(images) for training, images in seen[2:] if not training] == expected
    assert [row["valid_batch_size"] for row in rows_of(net, "valid")] == expected
    sizes = [row["train_batch_size"] for row in rows_of(net, "train")]
    assert sizes[0] == params.get("batch_size", 32)
    seen.clear()
    net.predict(X[:300])
    assert [len(images) for _, images in seen] == expected
    assert not any(training for training, _ in seen)


def rows_of(net, part):
    return [row for row in net.history[0]["batches"] if f"{part}_batch_size" in row]


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((1, 8, 8), "float32", 512),
        ((3, 32, 32), "float32", 64),
        ((1, 14, 14), "float32", 167),
        ((1, 14, 14), "float64", 83),
    ],
)
def test_sizes_on_a_cpu(shape, dtype, expected):
    net = ImageClassifier("convnet", dtype=dtype, image_shape=shape, device="cpu")
    net.set_params(module__n_outputs=3).initialize()
    assert net._evaluation_batch_size() == expected


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [(1, 4), (32, 128), (256, 1024), (512, 1024), (-1, 1024), (3000, 3000)],
)
def test_sizes_on_a_gpu(batch_size, expected):
    net = ImageClassifier(batch_size=batch_size)
    net.device_ = CUDA
    assert net._evaluation_batch_size() == expected


@pytest.mark.parametrize("flat", [False, True])
def test_predictions_do_not_depend_on_the_batch(digits, flat):
    X, y = digits.data[:300], digits.target[:300]
    X = X.reshape(300, -1) if flat else X
    net = build("auto").fit(X, y)
    expected = net.predict_proba(X)
    net.set_params(batch_size=7)
    assert_array_equal(net.predict_proba(X), expected)
    for size in (1, 7, 64, 150, -1):
        net.set_params(iterator_valid__batch_size=size)
        found = net.predict_proba(X)
        if flat:
            assert_array_equal(found, expected)
        else:
            assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    net.set_params(iterator_valid__batch_size=128)
    for rows in ([3], [299, 0, 17], range(100, 250)):
        found = net.predict_proba(X[list(rows)])
        assert_allclose(found, expected[list(rows)], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "params", [{}, {"normalize": None}, {"normalize": None, "early_stopping": True}]
)
def test_damaged_files_show_before_training(tmp_path, params):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for path in paths:
        pixels = rng.integers(0, 256, size=(12, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    y = np.arange(40) % 2
    net = ImageClassifier("mlp", max_epochs=1, random_state=0, **params).fit(paths, y)
    before, n_epochs = net.predict_proba(paths), len(net.history)
    for path in paths[::13]:
        good = path.read_bytes()
        path.write_bytes(good[:60])
        for method in (net.fit, net.partial_fit):
            with pytest.raises(OSError, match=path.name):
                method(list(paths), y)
        path.write_bytes(good)
        assert len(net.history) == n_epochs
        np.testing.assert_array_equal(net.predict_proba(paths), before)
