"""Fetchers: real files where they are present, tiny ones of the same formats."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.utils import Bunch
from torchvision import datasets

from skvision.datasets import (
    fetch_cifar10,
    fetch_emnist,
    fetch_fashion_mnist,
    fetch_mnist,
    get_data_home,
)
from skvision.datasets._base import choose

# Nothing leaves this machine.
pytestmark = pytest.mark.usefixtures("requests")

FETCHERS = {
    "MNIST": fetch_mnist,
    "FashionMNIST": fetch_fashion_mnist,
    "EMNIST": fetch_emnist,
    "CIFAR10": fetch_cifar10,
}


def real_data(name):
    """Return the folder SKVISION_DATA, or skip if a data set is not in it."""
    file = {
        "FashionMNIST": "FashionMNIST/raw/train-images-idx3-ubyte",
        "EMNIST": "EMNIST/raw/emnist-balanced-train-images-idx3-ubyte",
    }[name]
    home = os.environ.get("SKVISION_DATA")
    if home is None or not Path(home, file).is_file():
        pytest.skip(f"needs {file} in a folder named by SKVISION_DATA")
    return home


# Real data.


def test_fashion_mnist_equals_the_file():
    home = real_data("FashionMNIST")
    bunch = fetch_fashion_mnist(data_home=home, subset="test")
    raw = Path(home, "FashionMNIST", "raw")
    pixels = np.fromfile(raw / "t10k-images-idx3-ubyte", dtype=np.uint8, offset=16)
    labels = np.fromfile(raw / "t10k-labels-idx1-ubyte", dtype=np.uint8, offset=8)
    assert bunch.data.dtype == np.uint8
    assert bunch.target.dtype == np.int64
    assert_array_equal(bunch.data, pixels.reshape(10000, 28, 28))
    assert_array_equal(bunch.target, labels)
    assert bunch.target_names.tolist() == datasets.FashionMNIST.classes
    assert "Fashion-MNIST" in bunch.DESCR


def test_fashion_mnist_classes_and_stratified_subset():
    home = real_data("FashionMNIST")
    shoes = fetch_fashion_mnist(
        data_home=home,
        classes=["Sandal", "Sneaker", "Ankle boot"],
        n_samples=600,
        random_state=0,
    )
    labels, counts = np.unique(shoes.target, return_counts=True)
    assert labels.tolist() == [0, 1, 2]
    assert counts.tolist() == [200, 200, 200]
    assert shoes.target_names.tolist() == ["Sandal", "Sneaker", "Ankle boot"]
    assert shoes.data.shape == (600, 28, 28)


def test_emnist_is_torchvision_transposed():
    home = real_data("EMNIST")
    raw = datasets.EMNIST(home, split="balanced", train=False)
    X, y = fetch_emnist(data_home=home, subset="test", return_X_y=True)
    assert_array_equal(X, raw.data.numpy().transpose(0, 2, 1))
    assert_array_equal(y, raw.targets.numpy())
    assert X.flags.c_contiguous


def test_emnist_is_upright():
    # An upright "1" or "I" is higher than wide, an upright "T" has its bar on top.
    home = real_data("EMNIST")
    ones = fetch_emnist(data_home=home, classes=["1"]).data > 127
    height = ones.any(axis=2).sum(axis=1)
    width = ones.any(axis=1).sum(axis=1)
    assert np.mean(height > width) > 0.9
    tees = fetch_emnist(data_home=home, classes=["T"]).data.mean(axis=0)
    assert tees[:14].max(axis=0)[6] > 2 * tees[14:].max(axis=0)[6]


def test_emnist_names_are_the_balanced_ones():
    home = real_data("EMNIST")
    bunch = fetch_emnist(data_home=home, n_samples=47 * 3, random_state=0)
    assert "".join(bunch.target_names) == (
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    )
    assert np.bincount(bunch.target).tolist() == [3] * 47


# Content and choice.


@pytest.mark.parametrize("subset", ["train", "test", "all"])
@pytest.mark.parametrize("name", FETCHERS)
def test_subsets(home, name, subset, requests, images_of, cifar_images):
    parts = ["train", "test"] if subset == "all" else [subset]
    pairs = [(cifar_images if name == "CIFAR10" else images_of)(p) for p in parts]
    data = np.concatenate([images for images, _ in pairs])
    if name == "EMNIST":
        data = data.transpose(0, 2, 1)
    bunch = FETCHERS[name](data_home=home, subset=subset)
    assert isinstance(bunch, Bunch)
    assert set(bunch) == {"data", "target", "target_names", "DESCR"}
    assert_array_equal(bunch.data, data)
    assert_array_equal(bunch.target, np.concatenate([labels for _, labels in pairs]))
    assert bunch.data.dtype == np.uint8
    assert bunch.target.dtype == np.int64
    assert bunch.data.flags.c_contiguous
    assert not requests


@pytest.mark.parametrize("fetch", FETCHERS.values())
def test_return_X_y(home, fetch):
    X, y = fetch(data_home=str(home), return_X_y=True)
    bunch = fetch(data_home=home)
    assert_array_equal(X, bunch.data)
    assert_array_equal(y, bunch.target)


@pytest.mark.parametrize("split", ["byclass", "bymerge", "digits", "mnist"])
def test_emnist_splits(tmp_path, split, emnist_files, write):
    write(tmp_path / "EMNIST" / "raw", emnist_files(split))
    bunch = fetch_emnist(split=split, data_home=tmp_path)
    assert bunch.data.shape == (40, 3, 5)
    assert bunch.target_names.tolist() == datasets.EMNIST.classes_split_dict[split]


def test_emnist_letters_have_names_by_their_targets(tmp_path, images_of, to_idx, write):
    images, labels = images_of("train")
    prefix = "emnist-letters-train"
    files = {
        f"{prefix}-images-idx3-ubyte": to_idx(images),
        f"{prefix}-labels-idx1-ubyte": to_idx(labels + 1),
    }
    write(tmp_path / "EMNIST" / "raw", files)
    fetch = partial(fetch_emnist, split="letters", data_home=tmp_path)
    bunch = fetch()
    # In the files, labels start at 1.
    assert_array_equal(bunch.target, labels)
    assert "".join(bunch.target_names) == "abcdefghijklmnopqrstuvwxyz"
    for classes in (["c", "b"], [3, 2]):
        bunch = fetch(classes=classes)
        chosen = images[np.isin(labels, [1, 2])]
        assert_array_equal(bunch.data, chosen.swapaxes(1, 2))
        assert set(bunch.target) == {0, 1}
        assert bunch.target_names.tolist() == ["b", "c"]
    with pytest.raises(ValueError, match=r"contains 0, .* Available are 1 \(a\), 2"):
        fetch(classes=[0])


@pytest.mark.parametrize(
    "classes",
    [[9, 1, 3], ["truck", "automobile", "cat"], ["cat", 9, np.int64(1), 1], {1, 3, 9}],
)
def test_chosen_classes_are_named_by_their_targets(home, classes):
    every = fetch_cifar10(data_home=home)
    bunch = fetch_cifar10(data_home=home, classes=classes)
    kept = np.isin(every.target, [1, 3, 9])
    assert_array_equal(bunch.data, every.data[kept])
    assert set(bunch.target) == {0, 1, 2}
    assert bunch.target_names.tolist() == ["automobile", "cat", "truck"]
    names = every.target_names[every.target]
    assert_array_equal(bunch.target_names[bunch.target], names[kept])


@pytest.mark.parametrize("unknown", [10, -1, "tiger", 1.0, True, [1], None])
def test_unknown_class(home, unknown):
    with pytest.raises(ValueError, match=r"classes=\[3, .* Available are 0 \(airplane"):
        fetch_cifar10(data_home=home, classes=[3, unknown])


def test_n_samples_keeps_pairs_and_order(home):
    every = fetch_mnist(data_home=home, subset="all")
    bunch = fetch_mnist(data_home=home, subset="all", n_samples=30, random_state=1)
    # Images are random, hence distinct, so that each has one place in the whole.
    rows = [
        int(np.flatnonzero((every.data == image).all(axis=(1, 2)))[0])
        for image in bunch.data
    ]
    assert rows == sorted(set(rows))
    assert_array_equal(bunch.target, every.target[rows])
    assert np.bincount(bunch.target).tolist() == [3] * 10


def test_random_state(home):
    def fetch(seed):
        return fetch_mnist(data_home=home, n_samples=10, random_state=seed).data

    assert_array_equal(fetch(0), fetch(0))
    assert_array_equal(fetch(0), fetch(np.random.RandomState(0)))
    assert not np.array_equal(fetch(0), fetch(1))


@pytest.mark.parametrize("n_samples, n", [(1, 1), (40, 40), (0.5, 20), (0.001, 1)])
def test_sizes_of_n_samples(home, n_samples, n):
    assert len(fetch_mnist(data_home=home, n_samples=n_samples).data) == n


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_choose_keeps_proportions(counts, fraction, seed):
    target = np.repeat(np.arange(len(counts)), counts)
    names = {label: f"class {label}" for label in range(len(counts))}
    n_samples = max(1, int(fraction * len(target)))
    rows, codes, _ = choose(target, names, None, n_samples, seed)
    np.testing.assert_array_equal(codes, target[rows])
    assert len(set(rows)) == len(rows) == n_samples
    got = np.bincount(target[rows], minlength=len(counts))
    assert np.all(np.abs(got - n_samples * np.array(counts) / len(target)) < 1)


# Where the files are looked for.


def test_data_home_from_environment(home, monkeypatch):
    monkeypatch.setenv("SKVISION_DATA", str(home))
    assert get_data_home() == home
    assert len(fetch_mnist(download_if_missing=False).data) == 40


def test_data_home_by_default(home, monkeypatch, tmp_path):
    monkeypatch.delenv("SKVISION_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "scikit"))
    (tmp_path / "scikit").mkdir()
    (home / "MNIST").rename(tmp_path / "MNIST-moved")
    (tmp_path / "scikit" / "skvision").mkdir()
    (tmp_path / "MNIST-moved").rename(tmp_path / "scikit" / "skvision" / "MNIST")
    assert get_data_home() == tmp_path / "scikit" / "skvision"
    assert len(fetch_mnist(download_if_missing=False).data) == 40


def test_data_home_expands_the_user(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setenv("USERPROFILE", str(home.parent))
    assert len(fetch_mnist(data_home=f"~/{home.name}").data) == 40
