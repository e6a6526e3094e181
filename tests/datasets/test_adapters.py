"""From torchvision's and other data sets to X and y."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from skorch.helper import SliceDataset
from skvision_tests import Items, thorough
from torch.utils.data import ConcatDataset, Subset, random_split
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

from skvision.datasets import as_Xy
from skvision.images._adapters import images_of

FLOAT = {"dtype": torch.float32, "scale": True}

#: Transforms for which no image need be read by itself.
DIRECT = {
    "None": None,
    "ToTensor": v1.ToTensor(),
    "PILToTensor": v1.PILToTensor(),
    "Compose(PILToTensor)": v1.Compose([v1.PILToTensor()]),
    "ToTensor, Normalize": v1.Compose(
        [v1.ToTensor(), v1.Normalize((0.2860,), (0.3530,))]
    ),
    "PILToTensor, ConvertImageDtype, Normalize": v1.Compose(
        [
            v1.PILToTensor(),
            v1.ConvertImageDtype(torch.float32),
            v1.Normalize([0.5], [0.5], inplace=True),
        ]
    ),
    "nested Compose": v1.Compose(
        [v1.Compose([v1.PILToTensor()]), v1.ConvertImageDtype(torch.float32)]
    ),
    "v2 ToImage": v2.ToImage(),
    "v2 PILToTensor": v2.PILToTensor(),
    "v2 ToImage, ToDtype": v2.Compose([v2.ToImage(), v2.ToDtype(**FLOAT)]),
    "v2 ToImage, ToDtype, Normalize": v2.Compose(
        [v2.ToImage(), v2.ToDtype(**FLOAT), v2.Normalize([0.286], [0.353])]
    ),
}

#: Others, each with a fixed result.
ITEMWISE = {
    "Resize": v1.Compose([v1.Resize((14, 20)), v1.ToTensor()]),
    "CenterCrop": v1.CenterCrop(20),
    "lambda": lambda image: torch.from_numpy(255 - np.array(image)),
    "to arrays": np.array,
    "Normalize twice": v1.Compose(
        [v1.ToTensor(), v1.Normalize((0.3,), (0.4,)), v1.Normalize((0.1,), (2.0,))]
    ),
    "ToTensor, Grayscale(3)": v1.Compose([v1.ToTensor(), v1.Grayscale(3)]),
    "to float64": v1.Compose([v1.PILToTensor(), v1.ConvertImageDtype(torch.float64)]),
    "to float, not scaled": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)]),
    "invert": v2.Compose([v2.ToImage(), v2.RandomInvert(p=1)]),
    "Sequential": torch.nn.Sequential(
        v2.PILToTensor(), v1.ConvertImageDtype(torch.float32)
    ),
    "Lambda in Compose": v1.Compose([v1.ToTensor(), v1.Lambda(lambda x: x * x)]),
}


def labels_by_item(dataset):
    return [dataset[row][1] for row in range(len(dataset))]


# -------------------------------------------------------- torchvision: images


@pytest.mark.parametrize("name", [*DIRECT, *ITEMWISE])
def test_grey_images_like_items(fashion, rng, name, assert_like_items):
    fashion.transform = {**DIRECT, **ITEMWISE}[name]
    assert_like_items(fashion, rng.choice(10_000, 60, replace=False))


@pytest.mark.parametrize("name", [*DIRECT, *ITEMWISE])
def test_coloured_images_like_items(cifar_arrays, name, assert_like_items):
    assert_like_items(cifar_arrays({**DIRECT, **ITEMWISE}[name]))


@pytest.mark.parametrize("split", ["balanced"])
@pytest.mark.parametrize("name", DIRECT)
def test_emnist(data_home, rng, split, name, assert_like_items):
    emnist = datasets.EMNIST(data_home, split, train=False, transform=DIRECT[name])
    X, y = assert_like_items(emnist, rng.choice(len(emnist), 60, replace=False))
    assert X.image_shape == (1, 28, 28)
    assert set(np.unique(y)) == set(range(47))


@pytest.mark.parametrize("name", ["None", "ToTensor", "v2 ToImage, ToDtype, Normalize"])
def test_image_folder(cifar, rng, name, assert_like_items):
    cifar.transform = DIRECT[name]
    X, y = assert_like_items(cifar, rng.choice(len(cifar), 40, replace=False))
    assert X.image_shape == (3, 32, 32)
    assert_array_equal(y, cifar.targets)


def test_normalisation_by_channel(cifar_arrays, assert_like_items):
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    assert_like_items(
        cifar_arrays(v1.Compose([v1.ToTensor(), v1.Normalize(mean, std)]))
    )


@given(
    mean=st.floats(-2, 2),
    std=st.floats(1e-3, 4),
    kind=st.sampled_from(["list", "tuple", "float64 array", "float64 tensor"]),
)
@settings(max_examples=thorough(60), deadline=None)
def test_any_normalisation_to_the_last_bit(mean, std, kind, items_of, assert_same_bits):
    dataset = datasets.CIFAR10.__new__(datasets.CIFAR10)
    # All values that a pixel may have, one to an image.
    dataset.data = np.arange(256, dtype=np.uint8).repeat(12).reshape(256, 2, 2, 3)
    dataset.targets = [0, 1] * 128
    convert = {
        "list": list,
        "tuple": tuple,
        "float64 array": np.array,
        "float64 tensor": lambda values: torch.tensor(values, dtype=torch.float64),
    }[kind]
    normalize = v1.Normalize(convert([mean] * 3), convert([std] * 3))
    dataset.transform = v1.Compose([v1.ToTensor(), normalize])
    dataset.target_transform = None
    assert_same_bits(np.asarray(as_Xy(dataset)[0]), items_of(dataset))


@pytest.mark.parametrize("name", DIRECT)
def test_every_value_of_a_pixel(cifar_arrays, name, assert_like_items):
    # Most images are black: what a few of them tell may not hold for the others.
    dataset = cifar_arrays(DIRECT[name], n=400)
    dataset.data[:] = 0
    dataset.data[20:148] = np.arange(128, dtype=np.uint8)[:, None, None, None]
    dataset.data[220:348] = np.arange(128, 256, dtype=np.uint8)[:, None, None, None]
    dataset.data = dataset.data[:, :2, :2]
    assert_like_items(dataset)


def test_normalisation_by_one_number(cifar_arrays, assert_like_items):
    # (0.5) is a number, not a tuple; torchvision takes both.
    dataset = cifar_arrays(v1.Compose([v1.ToTensor(), v1.Normalize((0.5), (0.5))]))
    assert_like_items(dataset)


def test_impossible_transforms_fail_as_in_torchvision(cifar_arrays):
    # Of one channel for three, and of two for three.
    as_Xy(cifar_arrays(v1.Compose([v1.ToTensor(), v1.Normalize((0.5,), (0.5,))])))
    for transform in (
        v1.Compose([v1.ToTensor(), v1.Normalize((0.5, 0.5), (0.5, 0.5))]),
        v1.Normalize((0.5,), (0.5,)),
        v1.Compose([v1.Normalize((0.5,), (0.5,)), v1.ToTensor()]),
    ):
        dataset = cifar_arrays(transform)
        with pytest.raises(Exception) as by_item:
            dataset[0]
        with pytest.raises(by_item.type):
            as_Xy(dataset)


@pytest.mark.parametrize("kind", ["crop", "compose", "v2"])
def test_random_transforms_draw_item_by_item(fashion, kind, items_of, assert_same_bits):
    fashion.transform = {
        "crop": v1.RandomCrop(20),
        "compose": v1.Compose(
            [v1.ToTensor(), v1.RandomHorizontalFlip(), v1.RandomErasing()]
        ),
        "v2": v2.Compose([v2.ToImage(), v2.RandomAffine(20), v2.ToDtype(**FLOAT)]),
    }[kind]
    rows = np.array([5, 9_999, 17, 5])
    X, _ = as_Xy(fashion)
    part = X[rows]
    torch.manual_seed(0)
    expected = items_of(fashion, rows)
    torch.manual_seed(0)
    assert_same_bits(np.asarray(part), expected)
    assert (np.asarray(part) != expected).any()


@pytest.mark.parametrize("name", DIRECT)
def test_ten_thousand_images_at_once(fashion, rng, count, name):
    fashion.transform = DIRECT[name]
    calls = count(datasets.FashionMNIST)
    X, _ = as_Xy(fashion)
    assert len(calls) < 10
    calls.clear()
    order = rng.permutation(10_000)
    assert X[order].read(slice(None)).shape == (10_000, 1, 28, 28)
    assert len(X.read(order)) == 10_000
    assert np.asarray(X).shape == (10_000, 1, 28, 28)
    assert calls == []


def test_other_transforms_read_each_image_once(fashion, count):
    fashion.transform = v1.RandomCrop(20)
    calls = count(datasets.FashionMNIST)
    X, _ = as_Xy(fashion)
    assert len(calls) < 10
    calls.clear()
    X[[3, 1, 4]].read(slice(None))
    assert calls == [(3,), (1,), (4,)]


def test_images_are_not_copied(fashion):
    X, _ = as_Xy(fashion)
    assert np.shares_memory(X[::2].reader.array, fashion.data.numpy())
    fashion.data[7] = 200
    assert (X[7] == 200).all()


@pytest.mark.parametrize("name", ["None", "ToTensor, Normalize", "lambda"])
def test_changed_images(fashion, name, assert_like_items):
    fashion.transform = {**DIRECT, **ITEMWISE}[name]
    fashion.data = (255 - fashion.data)[2::40]
    fashion.targets = fashion.targets[2::40]
    X, _ = assert_like_items(fashion)
    assert len(X) == 250


@pytest.mark.parametrize("name", ["None", "ToTensor", "ToTensor, Normalize"])
def test_changed_coloured_images(cifar_arrays, name, assert_like_items):
    dataset = cifar_arrays(DIRECT[name])
    dataset.data = dataset.data[::-1, :, 4:24]
    assert_like_items(dataset)
    dataset.data = np.asfortranarray(dataset.data)
    assert_like_items(dataset)
    dataset.data.flags.writeable = False
    assert_like_items(dataset)


def test_channels_first_images(rng, assert_like_items):
    svhn = datasets.SVHN.__new__(datasets.SVHN)
    svhn.data = rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    svhn.labels = rng.integers(0, 10, 20)
    svhn.transform, svhn.target_transform = v1.ToTensor(), None
    assert_like_items(svhn)


def test_labels_of_several_columns(rng):
    # QMNIST stores eight numbers for each image and gives the first as its label.
    qmnist = datasets.QMNIST.__new__(datasets.QMNIST)
    qmnist.data = torch.from_numpy(rng.integers(0, 256, (20, 28, 28), dtype=np.uint8))
    qmnist.targets = torch.from_numpy(rng.integers(0, 10, (20, 8)))
    qmnist.transform = qmnist.target_transform = None
    qmnist.compat = True
    _, y = as_Xy(qmnist)
    assert_array_equal(y, labels_by_item(qmnist))
    qmnist.target_transform = lambda label: -label
    _, y = as_Xy(qmnist)
    assert_array_equal(y, labels_by_item(qmnist))
    qmnist.compat, qmnist.target_transform = False, None
    _, y = as_Xy(qmnist)
    assert_array_equal(y, np.stack(labels_by_item(qmnist)))


def test_fake_data(assert_like_items):
    fake = datasets.FakeData(12, (3, 10, 8), 4, transform=v1.ToTensor())
    assert_like_items(fake)


# ------------------------------------------------ torchvision: the user's own


class Inverted(datasets.FashionMNIST):
    def __getitem__(self, row):
        image, label = super().__getitem__(row)
        return 1 - image, label


class Threes(datasets.FashionMNIST):
    def __getitem__(self, row):
        image, label = super().__getitem__(row)
        return image, int(label == 3)


class FirstHundred(datasets.FashionMNIST):
    def __len__(self):
        return 100


class Renamed(datasets.FashionMNIST):
    """Nothing but another name."""


@pytest.mark.parametrize("kind", [Inverted, Threes, FirstHundred, Renamed])
def test_subclasses_decide(data_home, rng, kind, monkeypatch, assert_like_items):
    # torchvision derives the folder from the name of the class.
    folder = str(data_home / "FashionMNIST" / "raw")
    monkeypatch.setattr(kind, "raw_folder", property(lambda self: folder))
    dataset = kind(data_home, train=False, transform=v1.ToTensor())
    rows = rng.choice(len(dataset), 50, replace=False)
    _, y = assert_like_items(dataset, rows)
    if kind is Threes:
        assert_array_equal(np.unique(y), [0, 1])


def test_wrapped_for_v2(fashion, items_of, assert_same_bits):
    fashion.transform = v2.Compose([v2.ToImage(), v2.ToDtype(**FLOAT)])
    wrapped = datasets.wrap_dataset_for_transforms_v2(fashion)
    X, y = as_Xy(Subset(wrapped, range(0, 10_000, 500)))
    assert_same_bits(np.asarray(X), items_of(fashion, range(0, 10_000, 500)))
    assert_array_equal(y, fashion.targets[::500])


# ------------------------------------------------------------------- wrappers


def wrappers(dataset):
    rows = [9, 2, 2, 30, 17]
    return {
        "Subset": Subset(dataset, rows),
        "Subset of a range": Subset(dataset, range(3, 30, 7)),
        "Subset of an array": Subset(dataset, np.array(rows)),
        "Subset of a tensor": Subset(dataset, torch.tensor(rows)),
        "Subset of negative rows": Subset(dataset, [-1, -30, 0]),
        "nested Subset": Subset(Subset(Subset(dataset, range(2, 32)), rows), [4, 0]),
        "random_split": random_split(
            dataset, [0.3, 0.7], torch.Generator().manual_seed(0)
        )[0],
        "Subset of ConcatDataset": Subset(ConcatDataset([dataset] * 2), [3, 35, 63]),
    }


@pytest.mark.parametrize("transform", ["None", "ToTensor, Normalize", "lambda"])
@pytest.mark.parametrize("wrapper", wrappers(Items(range(32))))
def test_subsets(cifar_arrays, wrapper, transform, assert_like_items):
    dataset = cifar_arrays({**DIRECT, **ITEMWISE}[transform], n=32)
    assert_like_items(wrappers(dataset)[wrapper])


@pytest.mark.parametrize("transform", ["None", "ToTensor"])
@pytest.mark.parametrize("wrapper", ["Subset", "nested Subset"])
def test_subsets_of_files(cifar, wrapper, transform, assert_like_items):
    cifar.transform = DIRECT[transform]
    assert_like_items(wrappers(cifar)[wrapper])


def test_subset_of_memory_reads_memory(fashion, count):
    calls = count(datasets.FashionMNIST)
    X, _ = as_Xy(Subset(Subset(fashion, range(5_000)), range(100, 4_000)))
    assert X.shape == (3_900, 1, 28, 28)
    assert len(calls) < 10
    calls.clear()
    assert_array_equal(np.asarray(X[::13])[:, 0], fashion.data[100:4_000:13])
    assert calls == []


def test_subset_of_the_users_own(cifar_arrays, assert_like_items):
    class Brighter(Subset):
        def __getitem__(self, row):
            image, label = super().__getitem__(row)
            return image * 2, -label

        def __getitems__(self, rows):
            return [self[row] for row in rows]

    dataset = Brighter(cifar_arrays(v1.ToTensor()), [5, 1, 8])
    _, y = assert_like_items(dataset)
    assert (y <= 0).all()
    assert_like_items(Subset(dataset, [2, 0]))


def test_concatenated(cifar_arrays, assert_like_items):
    first, second = cifar_arrays(v1.ToTensor(), n=5), cifar_arrays(v1.ToTensor(), n=9)
    _, y = assert_like_items(ConcatDataset([first, Subset(second, [8, 0])]))
    assert y.tolist() == [*first.targets, second.targets[8], second.targets[0]]


@pytest.mark.parametrize("indices", [None, np.array([3, 1, 4])], ids=str)
@pytest.mark.parametrize("transform", ["None", "ToTensor, Normalize", "lambda"])
def test_slice_dataset(cifar_arrays, transform, indices, items_of, assert_same_bits):
    dataset = cifar_arrays({**DIRECT, **ITEMWISE}[transform])
    wrapped = SliceDataset(dataset, indices=indices)
    X, y = as_Xy(wrapped)
    rows = np.arange(30) if indices is None else indices
    assert_same_bits(np.asarray(X), items_of(dataset, rows))
    assert_array_equal(y, np.asarray(dataset.targets)[rows])
    X, y = as_Xy(wrapped[np.array([2, 0])])
    assert_same_bits(np.asarray(X), items_of(dataset, np.asarray(rows)[[2, 0]]))
    X, y = as_Xy(SliceDataset(Subset(dataset, [9, 8, 7]), indices=[1, 2]))
    assert_same_bits(np.asarray(X), items_of(dataset, [8, 7]))
    assert_array_equal(y, np.asarray(dataset.targets)[[8, 7]])


def test_slice_dataset_that_transforms(cifar_arrays):
    class Brighter(SliceDataset):
        def transform(self, data):
            return data * 2

    wrapped = Brighter(cifar_arrays(v1.ToTensor()))
    assert_array_equal(images_of(wrapped)[3], wrapped[3].numpy())


# --------------------------------------------------------------- data of users


@pytest.mark.parametrize("transform", ["None", "ToTensor, Normalize", "Resize"])
def test_pickle(cifar_arrays, transform, assert_same_bits):
    X, _ = as_Xy(cifar_arrays({**DIRECT, **ITEMWISE}[transform]))
    for sequence in (X, X[[4, 2]]):
        loaded = pickle.loads(pickle.dumps(sequence))
        assert loaded.shape == sequence.shape
        assert_same_bits(np.asarray(loaded), np.asarray(sequence))
