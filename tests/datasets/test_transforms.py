"""Transforms split into work on one image and on the pixels of a batch."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torch.utils.data import Subset
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.models import ResNet18_Weights
from torchvision.transforms import v2

from skvision.datasets import as_Xy
from skvision.images._readers import to_chw
from skvision.images._transforms import split_transform

FLOAT = {"dtype": torch.float32, "scale": True}
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)

#: Deterministic work on single images, followed by steps on pixels.
ONCE = {
    "v1": v1.Compose([v1.Resize((14, 20)), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "v1, unit only": v1.Compose([v1.CenterCrop(20), v1.Pad(3), v1.ToTensor()]),
    "v1, to uint8": v1.Compose([v1.Resize((9, 9)), v1.PILToTensor()]),
    "v1, tensors": v1.Compose(
        [
            v1.PILToTensor(),
            v1.Resize((14, 20), antialias=True),
            v1.ConvertImageDtype(torch.float32),
            v1.Normalize(MEAN, STD, inplace=True),
        ]
    ),
    "v1, grey": v1.Compose(
        [v1.Grayscale(), v1.Resize((9, 9)), v1.ToTensor(), v1.Normalize(0.5, 0.25)]
    ),
    "v1, nested": v1.Compose(
        [v1.Compose([v1.Resize(14)]), v1.Compose([v1.CenterCrop(12), v1.ToTensor()])]
    ),
    "v2": v2.Compose(
        [
            v2.Resize((14, 20)),
            v2.ToImage(),
            v2.ToDtype(**FLOAT),
            v2.Normalize(MEAN, STD),
        ]
    ),
    "v2, unit only": v2.Compose([v2.Resize(14), v2.ToImage(), v2.ToDtype(**FLOAT)]),
    "v2, tensors": v2.Compose(
        [v2.ToImage(), v2.Resize((9, 9)), v2.ToDtype(**FLOAT), v2.Normalize(MEAN, STD)]
    ),
    "v2, pure": v2.Compose(
        [v2.ToImage(), v2.CenterCrop(9), v2.ToDtype(**FLOAT), v2.ToPureTensor()]
    ),
    "v2 in v1": v1.Compose([v2.RGB(), v2.Resize((9, 9)), v1.ToTensor()]),
    "of weights": ResNet18_Weights.DEFAULT.transforms(crop_size=20, resize_size=24),
}

#: The same, but no steps can be split off.
WHOLE = {
    "no conversion": v1.Resize((14, 20)),
    "no scaling": v2.Compose([v2.Resize(9), v2.ToImage(), v2.ToDtype(torch.float32)]),
    "work on floats": v1.Compose([v1.ToTensor(), v1.Grayscale(3)]),
}

#: Drawn at every reading, with the number of bytes of a stored value.
RANDOM = {
    "crop": (v1.Compose([v1.RandomCrop(20), v1.ToTensor()]), 1),
    "v1": (
        v1.Compose(
            [v1.RandomResizedCrop(16), v1.ToTensor(), v1.Normalize(MEAN, STD)],
        ),
        1,
    ),
    "v2": (
        v2.Compose(
            [
                v2.ToImage(),
                v2.RandomAffine(20),
                v2.ToDtype(**FLOAT),
                v2.Normalize(MEAN, STD),
            ]
        ),
        1,
    ),
    "floats": (
        v1.Compose([v1.ToTensor(), v1.RandomErasing(1), v1.Normalize(MEAN, STD)]),
        4,
    ),
    "no steps": (v1.RandomCrop(20), 1),
}


@pytest.fixture
def folder(tmp_path, rng):
    """An ImageFolder of twelve images in two classes."""

    def build(transform=None, **kwargs):
        for row in range(12):
            path = tmp_path / "ab"[row % 2] / f"{row}.png"
            path.parent.mkdir(exist_ok=True)
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return datasets.ImageFolder(tmp_path, transform, **kwargs)

    return build


@pytest.fixture
def arrays(rng):
    """torchvision's CIFAR10 with images of our own."""

    def build(transform=None, kind=datasets.CIFAR10):
        dataset = kind.__new__(kind)
        dataset.data = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        dataset.targets = [0, 1] * 6
        dataset.transform, dataset.target_transform = transform, None
        return dataset

    return build


@pytest.fixture(params=["folder", "arrays"])
def build(request):
    return request.getfixturevalue(request.param)


def items_of(dataset, rows=range(12)):
    return np.stack([to_chw(dataset[row][0]).numpy() for row in rows])


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def assert_like_items(dataset, X):
    expected = items_of(dataset)
    assert (X.shape, X.dtype) == (expected.shape, expected.dtype)
    for _ in range(2):
        assert_same_bits(np.asarray(X), expected)
        assert_same_bits(X[5], expected[5])
        assert_same_bits(np.asarray(X[[7, 7, 0]]), expected[[7, 7, 0]])
    return X


# ----------------------------------------------------------------- same values


@pytest.mark.parametrize("name", [*ONCE, *WHOLE])
def test_deterministic_transforms(build, name):
    dataset = build({**ONCE, **WHOLE}[name])
    X = assert_like_items(dataset, as_Xy(dataset)[0])
    assert X.reading == "once"
    assert "reading='once'" in repr(X)
    stored = X.read_stored(slice(None))
    if name in ONCE:
        assert stored.dtype == torch.uint8
        assert (X.dtype == np.uint8) == (name == "v1, to uint8")
    values = stored if X.steps is None else X.steps(stored)
    assert torch.equal(values, X.read(slice(None)))
    assert_like_items(dataset, as_Xy(dataset, cache=False)[0])
    assert as_Xy(dataset, cache=False)[0].reading == "each_time"


@pytest.mark.parametrize("transform", [None, v1.ToTensor(), ONCE["v1"]])
def test_subsets(build, transform):
    dataset = build(transform)
    subset = Subset(dataset, [-2, 7, 3, 7])
    X, y = as_Xy(subset)
    expected = items_of(dataset, [10, 7, 3, 7])
    assert_same_bits(np.asarray(X), expected)
    assert_same_bits(np.asarray(X[[3, 0]]), expected[[3, 0]])
    assert y.tolist() == [subset[row][1] for row in range(4)]
    if X.reading == "once":
        assert len(X.reader) == 3


@pytest.mark.parametrize("transform", [None, v1.ToTensor(), v2.ToImage()])
def test_no_work_but_decoding(build, transform):
    dataset = build(transform)
    X = assert_like_items(dataset, as_Xy(dataset)[0])
    is_folder = isinstance(dataset, datasets.ImageFolder)
    assert X.reading == ("once" if is_folder else "memory")
    assert X.read_stored(slice(2)).dtype == torch.uint8


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms(build, name):
    transform, itemsize = RANDOM[name]
    dataset = build(transform)
    X, _ = as_Xy(dataset)
    assert X.reading == "each_time"
    rows = [3, 11, 3, 0]
    torch.manual_seed(0)
    expected = items_of(dataset, rows)
    torch.manual_seed(0)
    assert_same_bits(np.asarray(X[rows]), expected)
    assert (np.asarray(X[rows]) != expected).any()
    stored = X.read_stored(slice(None))
    assert stored.element_size() == itemsize


def test_every_pixel_value(arrays):
    dataset = arrays(ONCE["v2, tensors"])
    dataset.data = np.arange(12 * 32, dtype=np.uint8).repeat(96)
    dataset.data = dataset.data.reshape(12, 32, 32, 3)
    for transform in ("v1", "v1, tensors", "v2", "v2, tensors", "of weights"):
        dataset.transform = ONCE[transform]
        assert_like_items(dataset, as_Xy(dataset)[0])


@pytest.mark.parametrize(
    "loader",
    [
        lambda path: Image.open(path).convert("1"),
        lambda path: Image.open(path).convert("L"),
        lambda path: Image.open(path).convert("RGBA"),
        lambda path: Image.open(path).convert("P"),
        lambda path: Image.open(path).convert("I"),
        lambda path: np.array(Image.open(path)),
        lambda path: np.array(Image.open(path).convert("L")),
        lambda path: np.array(Image.open(path)) / 255,
    ],
    ids=["1", "L", "RGBA", "P", "I", "array", "grey array", "float array"],
)
@pytest.mark.parametrize(
    "transform", [v1.ToTensor(), v2.Compose([v2.ToImage(), v2.ToDtype(**FLOAT)])]
)
def test_images_of_all_kinds(folder, transform, loader):
    dataset = folder(transform, loader=loader)
    X = assert_like_items(dataset, as_Xy(dataset)[0])
    assert X.reading == "each_time"
    X = assert_like_items(dataset, as_Xy(dataset, cache=True)[0])
    assert X.reading == "once"


def test_modes_that_differ(folder):
    # ToTensor divides none of the values of the second.
    modes = {"8.png": "I"}  # The last one of the first class.
    dataset = folder(
        v1.ToTensor(),
        loader=lambda path: Image.open(path).convert(
            modes.get(os.path.basename(path), "L")
        ),
    )
    X, _ = as_Xy(dataset)
    assert_same_bits(np.asarray(X[:5]), items_of(dataset, range(5)))
    with pytest.raises(ValueError, match=r"Item 5 .* holds .* values, the first one"):
        np.asarray(X)


# ------------------------------------------------------------------ decisions


def squared(image):
    return image * image


class Squared(v1.Resize):
    def forward(self, image):
        return squared(super().forward(image))


@pytest.mark.parametrize(
    "transform",
    [
        v1.Lambda(squared),
        squared,
        Squared(9),
        v1.RandomApply([v1.CenterCrop(32)], p=1),
        v1.RandomHorizontalFlip(p=1),
        v2.RandomInvert(p=1),
        v1.ColorJitter(),
        v1.GaussianBlur(3, (0.5, 0.5)),
        v2.RandomChoice([v2.Resize((9, 9))]),
        torch.nn.Sequential(v1.Resize(9)),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_what_may_be_random(arrays, transform):
    transform = v1.Compose([v1.ToTensor(), transform])
    assert not split_transform(transform).is_deterministic
    dataset = arrays(transform)
    X, _ = as_Xy(dataset)
    assert X.reading == "each_time"
    assert_like_items(dataset, X)
    X, _ = as_Xy(dataset, cache=True)
    assert X.reading == "once"
    assert_like_items(dataset, X)


@pytest.mark.parametrize("step", [v1.Normalize(MEAN, STD), v2.Normalize(MEAN, STD)])
def test_work_of_the_users_before_steps(arrays, step):
    dataset = arrays(v1.Compose([v1.Lambda(lambda x: x), v1.ToTensor(), step]))
    X = assert_like_items(dataset, as_Xy(dataset)[0])
    assert X.reading == "each_time"
    assert X.steps.mean.tolist() == list(MEAN)
    assert X.read_stored(slice(2)).dtype == torch.uint8


def test_floats_are_not_scaled_twice():
    for second in (v1.ConvertImageDtype(torch.float32), v2.ToDtype(**FLOAT)):
        steps = split_transform(v1.Compose([v1.ToTensor(), second])).steps
        assert steps.unit == "div"
    split = split_transform(v1.Compose([v1.Normalize(MEAN, STD), second]))
    assert split.steps.unit is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_normalisation_that_is_not_finite(folder, value):
    dataset = folder(v1.Compose([v1.ToTensor(), v1.Normalize([value] * 3, STD)]))
    X, _ = as_Xy(dataset)
    with pytest.raises(ValueError, match="NaN or infinity, in item 0 of"):
        np.asarray(X)


def test_own_generator(folder):
    # What its draws give cannot be repeated, so that nothing is proved.
    rng = np.random.default_rng(0)
    noisy = v1.Lambda(lambda image: np.array(image) // rng.integers(1, 9))
    X, _ = as_Xy(folder(v1.Compose([noisy, v1.ToTensor()])))
    assert X.reading == "each_time"
    assert X.steps is None
    assert X.shape == (12, 3, 32, 32)


def test_loaders(folder):
    dataset = folder(ONCE["v1"], loader=datasets.folder.pil_loader)
    assert as_Xy(dataset)[0].reading == "once"
    dataset.loader = lambda path: datasets.folder.pil_loader(path).rotate(90)
    X = assert_like_items(dataset, as_Xy(dataset)[0])
    assert X.reading == "each_time"


class Named(datasets.CIFAR10):
    def extra_repr(self):
        return "named"


class Renewed(datasets.CIFAR10):
    @property
    def data(self):
        return np.random.default_rng().permutation(self._data)

    @data.setter
    def data(self, value):
        self._data = value


class Own(datasets.CIFAR10):
    def __getitem__(self, row):
        return super().__getitem__(row)


@pytest.mark.parametrize(
    "kind, reading", [(Named, "once"), (Renewed, "each_time"), (Own, "each_time")]
)
def test_subclasses(arrays, kind, reading):
    assert as_Xy(arrays(ONCE["v1"], kind))[0].reading == reading


class Joint(datasets.VisionDataset):
    """As the data sets are whose transforms see the label, too."""

    def __init__(self, images, **kwargs):
        super().__init__(None, **kwargs)
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        image, target = self.images[row], row % 2
        if self.transforms is not None:
            image, target = self.transforms(image, target)
        return image, target


@pytest.fixture
def joint(rng, monkeypatch):
    monkeypatch.setattr(Joint, "__module__", "torchvision.datasets.joint")
    monkeypatch.setattr(Joint.__getitem__, "__module__", "torchvision.datasets.joint")
    pixels = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    images = [Image.fromarray(image) for image in pixels]
    return lambda **kwargs: Joint(images, **kwargs)


def test_transforms_of_image_and_label(joint):
    dataset = joint(transform=ONCE["v1"], target_transform=lambda label: 1 - label)
    X, y = as_Xy(dataset)
    assert_like_items(dataset, X)
    assert (X.reading, X.steps is None) == ("once", False)
    assert y.tolist() == [1, 0] * 6
    assert dataset.transforms.transform is ONCE["v1"]
    # Such a data set does not look at this attribute again.
    dataset.transform = None
    assert_like_items(dataset, as_Xy(dataset)[0])
    assert as_Xy(joint())[0].reading == "once"
    dataset = joint(transforms=lambda image, label: (v1.ToTensor()(image), label))
    X = assert_like_items(dataset, as_Xy(dataset)[0])
    assert X.reading == "each_time"


@pytest.mark.parametrize("transform", [ONCE["v1"], v1.Resize((9, 9)), None])
def test_transform_set_later(folder, transform):
    dataset = folder(v1.RandomCrop(9))
    dataset.transform = transform
    X, _ = as_Xy(dataset)
    assert X.reading == "once"
    expected = items_of(dataset)
    assert_same_bits(np.asarray(X[:6]), expected[:6])
    dataset.transform = v1.ToTensor()
    assert_same_bits(np.asarray(X), expected)


def test_the_data_set_stays_as_it_is(build):
    dataset = build(ONCE["v1"])
    before = dict(vars(dataset))
    np.asarray(as_Xy(dataset)[0])
    assert vars(dataset) == before


# --------------------------------------------------------------------- errors


def test_images_that_differ_in_size(folder, tmp_path):
    dataset = folder(ONCE["v1"])
    Image.new("RGB", (40, 20)).save(tmp_path / "b" / "11.png")
    assert_like_items(dataset, as_Xy(dataset)[0])
    for transform in (None, v1.ToTensor(), v1.Compose([v1.Resize(9), v1.ToTensor()])):
        dataset.transform = transform
        X, _ = as_Xy(dataset)
        row = [path for path, _ in dataset.samples].index(str(tmp_path / "b/11.png"))
        assert np.asarray(X[:row]).shape[0] == row
        with pytest.raises(
            ValueError, match=rf"Item {row} of the ImageFolder data .*Re"
        ):
            np.asarray(X)


def test_broken_files(folder, tmp_path):
    dataset = folder(ONCE["v1"])
    path = Path(dataset.samples[6][0])  # One of those which are compared.
    content = path.read_bytes()
    path.write_bytes(content[:40])
    X, _ = as_Xy(dataset)
    assert X.reading == "once"
    with pytest.raises(OSError):
        np.asarray(X)
    # What could not be read is not taken as read.
    path.write_bytes(content)
    assert_like_items(dataset, X)


# --------------------------------------------------------------- random state


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("own_class", [False, True])
def test_random_state_is_left_alone(arrays, name, own_class):
    class Drawing(datasets.CIFAR10):
        def __getitem__(self, row):
            random.random(), np.random.rand()
            return super().__getitem__(row)

    dataset = arrays(RANDOM[name][0], Drawing if own_class else datasets.CIFAR10)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    as_Xy(dataset)
    assert random.getstate() == before[0]
    assert_array_equal(np.random.get_state()[1], before[1][1])
    assert np.random.get_state()[2] == before[1][2]
    assert torch.equal(torch.get_rng_state(), before[2])
