"""Labels of torchvision's data sets, changed or not."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.utils.data import Subset
from torchvision import datasets

from skvision.datasets import as_Xy
from skvision.images._labels import labels_of


def labels_by_item(dataset):
    return [dataset[row][1] for row in range(len(dataset))]


def test_labels_without_decoding(fashion, count):
    calls = count(datasets.FashionMNIST)
    y = labels_of(fashion)
    assert_array_equal(y, fashion.targets)
    assert isinstance(y, np.ndarray)
    assert_array_equal(labels_of(Subset(fashion, [5, 0])), fashion.targets[[5, 0]])
    assert calls == []


def test_labels_without_opening_files(cifar):
    opened = []

    def loader(path):
        opened.append(path)
        return datasets.folder.default_loader(path)

    cifar.loader = loader
    assert_array_equal(labels_of(cifar), cifar.targets)
    assert_array_equal(labels_of(Subset(cifar, [9_000, 3])), [9, 0])
    assert opened == []
    as_Xy(cifar)
    assert len(opened) < 10


def test_target_transform(fashion, count):
    seen = []

    def target_transform(label):
        seen.append(type(label))
        return label % 3

    fashion.target_transform = target_transform
    calls = count(datasets.FashionMNIST)
    assert_array_equal(labels_of(fashion), fashion.targets % 3)
    assert calls == []
    assert set(seen) == {int}
    assert_array_equal(labels_of(Subset(fashion, [3, 1])), fashion.targets[[3, 1]] % 3)


@pytest.mark.parametrize(
    "transform",
    [
        lambda label: f"class {label}",
        torch.tensor,
        lambda label: torch.eye(10)[label],
        lambda label: [label, -label],
        np.float32,
    ],
    ids=["str", "tensor", "one-hot", "list", "float"],
)
def test_target_transforms_of_other_types(cifar_arrays, transform):
    dataset = cifar_arrays()
    dataset.target_transform = transform
    y = labels_of(dataset)
    expected = [np.asarray(label) for label in labels_by_item(dataset)]
    assert_array_equal(y, np.stack(expected))


def test_target_transform_of_a_folder(cifar):
    cifar.target_transform = lambda label: cifar.classes[label]
    y = labels_of(Subset(cifar, [0, 9_999]))
    assert y.tolist() == ["airplane", "truck"]


def test_relabelled_data_sets(fashion):
    fashion.targets = (fashion.targets == 3).long()
    assert_array_equal(labels_of(fashion), fashion.targets)
    assert labels_of(fashion).sum() == 1000
    fashion.targets = fashion.targets.tolist()
    assert labels_of(fashion).sum() == 1000


def test_shortened_folder(cifar, assert_like_items):
    # targets still has all labels, but the data set no longer has all images.
    cifar.samples = cifar.samples[5::1000]
    _, y = assert_like_items(cifar)
    assert_array_equal(y, np.arange(10))


def test_relabelled_folder(cifar):
    # ImageFolder takes the labels of its items from samples.
    cifar.samples = [(path, label % 2) for path, label in cifar.samples]
    _, y = as_Xy(cifar)
    rows = range(0, 10_000, 500)
    assert_array_equal(y[::500], [cifar.samples[row][1] for row in rows])
