"""Fetchers: real files where they are present, tiny ones of the same formats."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

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

FETCHERS = {
    "MNIST": fetch_mnist,
    "FashionMNIST": fetch_fashion_mnist,
    "EMNIST": fetch_emnist,
    "CIFAR10": fetch_cifar10,
}
IDX_FETCHERS = [fetch_mnist, fetch_fashion_mnist, fetch_emnist]
SIZES = {"train": 40, "test": 20}
N_CLASSES = 10


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


# Tiny files in the formats of the real ones.


def images_of(subset):
    """Random images, which are not square, and balanced labels."""
    n = SIZES[subset]
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, 5, 3), dtype=np.uint8)
    return images, np.arange(n, dtype=np.uint8) % N_CLASSES


def to_idx(array):
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return header + array.tobytes()


def idx_files(train_prefix, test_prefix):
    files = {}
    for subset, prefix in (("train", train_prefix), ("test", test_prefix)):
        images, labels = images_of(subset)
        files[f"{prefix}-images-idx3-ubyte"] = to_idx(images)
        files[f"{prefix}-labels-idx1-ubyte"] = to_idx(labels)
    return files


def emnist_files(split="balanced"):
    return idx_files(f"emnist-{split}-train", f"emnist-{split}-test")


def cifar_images(subset):
    n = SIZES[subset]
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return images, np.arange(n) % N_CLASSES


# fmt: off
CIFAR_NAMES = [
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
]
# fmt: on


def cifar_files():
    files = {}
    for subset, names in (
        ("train", [f"data_batch_{i}" for i in range(1, 6)]),
        ("test", ["test_batch"]),
    ):
        images, labels = cifar_images(subset)
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        for name, part, y in zip(
            names,
            np.array_split(rows, len(names)),
            np.array_split(labels, len(names)),
            strict=True,
        ):
            files[name] = pickle.dumps({"data": part, "labels": y.tolist()})
    files["batches.meta"] = pickle.dumps({"label_names": CIFAR_NAMES})
    return files


def md5(content):
    return hashlib.md5(content).hexdigest()


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def tiny_md5(monkeypatch):
    """Let torchvision expect the checksums of the tiny CIFAR files."""
    sums = {name: md5(content) for name, content in cifar_files().items()}
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(datasets.CIFAR10, attribute)]
        monkeypatch.setattr(
            datasets.CIFAR10, attribute, [[name, sums[name]] for name in names]
        )
    meta = datasets.CIFAR10.meta | {"md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)


@pytest.fixture
def home(tmp_path, tiny_md5):
    """Return a data_home with tiny files of all data sets."""
    for name in ("MNIST", "FashionMNIST"):
        write(tmp_path / name / "raw", idx_files("train", "t10k"))
    write(tmp_path / "EMNIST" / "raw", emnist_files())
    write(tmp_path / "cifar-10-batches-py", cifar_files())
    return tmp_path


@pytest.fixture(autouse=True)
def requests(monkeypatch):
    """Let nothing leave this machine; list the addresses that were asked for."""
    urls = []
    urlopen = urllib.request.urlopen

    def local_only(request, *args, **kwargs):
        urls.append(request.full_url)
        if "//127.0.0.1:" not in request.full_url:
            raise URLError("no network")
        return urlopen(request, *args, **kwargs)

    monkeypatch.setattr("urllib.request.urlopen", local_only)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return urls


@pytest.fixture
def serve(tmp_path):
    """Serve files, given as a dict of contents, and return the address."""
    folder = tmp_path / "served"

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def start(files):
        write(folder, files)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    server.shutdown()
    server.server_close()


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
    assert labels.tolist() == [5, 7, 9]
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
def test_subsets(home, name, subset, requests):
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
def test_emnist_splits(tmp_path, split):
    write(tmp_path / "EMNIST" / "raw", emnist_files(split))
    bunch = fetch_emnist(split=split, data_home=tmp_path)
    assert bunch.data.shape == (40, 3, 5)
    assert bunch.target_names.tolist() == datasets.EMNIST.classes_split_dict[split]


def test_emnist_letters_start_at_one(tmp_path):
    images, labels = images_of("train")
    prefix = "emnist-letters-train"
    files = {
        f"{prefix}-images-idx3-ubyte": to_idx(images),
        f"{prefix}-labels-idx1-ubyte": to_idx(labels + 1),
    }
    write(tmp_path / "EMNIST" / "raw", files)
    fetch = partial(fetch_emnist, split="letters", data_home=tmp_path)
    bunch = fetch()
    assert bunch.target.min() == 1
    assert "".join(bunch.target_names) == "abcdefghijklmnopqrstuvwxyz"
    bunch = fetch(classes=["b", "a"])
    assert set(bunch.target) == {1, 2}
    assert bunch.target_names.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"contains 0, .* Available are 1 \(a\), 2"):
        fetch(classes=[0])


@pytest.mark.parametrize(
    "classes",
    [[9, 1, 3], ["truck", "automobile", "cat"], ["cat", 9, np.int64(1), 1], {1, 3, 9}],
)
def test_classes_keep_labels_and_order(home, classes):
    every = fetch_cifar10(data_home=home)
    bunch = fetch_cifar10(data_home=home, classes=classes)
    kept = np.isin(every.target, [1, 3, 9])
    assert_array_equal(bunch.data, every.data[kept])
    assert_array_equal(bunch.target, every.target[kept])
    assert bunch.target_names.tolist() == ["automobile", "cat", "truck"]


@pytest.mark.parametrize("unknown", [10, -1, "tiger", 1.0, True, [1], None])
def test_unknown_class(home, unknown):
    with pytest.raises(ValueError, match=r"classes=\[3, .* Available are 0 \(airplane"):
        fetch_cifar10(data_home=home, classes=[3, unknown])


def test_no_class(home):
    with pytest.raises(ValueError, match="classes is empty"):
        fetch_mnist(data_home=home, classes=[])


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


def test_n_samples_too_large(home):
    with pytest.raises(ValueError, match="n_samples=9 was asked for, but only 8 "):
        fetch_mnist(data_home=home, classes=[2, 5], n_samples=9)


@pytest.mark.parametrize(
    "parameter, value",
    [
        ("n_samples", 0),
        ("n_samples", 1.0),
        ("n_samples", "10"),
        ("subset", "valid"),
        ("classes", "cat"),
        ("classes", 3),
        ("data_home", 1),
        ("download_if_missing", "no"),
        ("return_X_y", "yes"),
        ("random_state", "a"),
    ],
)
@pytest.mark.parametrize("fetch", FETCHERS.values())
def test_invalid_parameters(home, fetch, parameter, value):
    arguments = {"data_home": home, parameter: value}
    with pytest.raises(
        ValueError, match=f"'{parameter}' parameter of {fetch.__name__}"
    ):
        fetch(**arguments)


def test_invalid_emnist_split(home):
    with pytest.raises(ValueError, match="'split' parameter of fetch_emnist"):
        fetch_emnist(data_home=home, split="uppercase")


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 100),
)
def test_choose_keeps_proportions(counts, fraction, seed):
    target = np.repeat(np.arange(len(counts)), counts)
    names = {label: f"class {label}" for label in range(len(counts))}
    n_samples = max(1, int(fraction * len(target)))
    rows, _ = choose(target, names, None, n_samples, seed)
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


def test_import_is_lazy():
    code = (
        "import sys, skvision.datasets._fetchers, skvision.datasets._folder;"
        "sys.exit('torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Missing files and downloads.


@pytest.mark.parametrize(
    "name, folder, file",
    [
        ("MNIST", "MNIST/raw", "t10k-labels-idx1-ubyte"),
        ("FashionMNIST", "FashionMNIST/raw", "train-images-idx3-ubyte"),
        ("EMNIST", "EMNIST/raw", "emnist-balanced-train-labels-idx1-ubyte"),
        ("CIFAR10", "cifar-10-batches-py", "data_batch_3"),
    ],
)
class TestMissing:
    def test_not_to_be_downloaded(self, home, name, folder, file, requests):
        (home / folder / file).unlink()
        with pytest.raises(OSError, match="`download_if_missing` is False") as error:
            FETCHERS[name](data_home=home, download_if_missing=False)
        assert str(error.value).endswith(f"{home / folder} lacks {file}.")
        assert not requests

    def test_download_fails(self, home, name, folder, file, requests):
        (home / folder / file).unlink()
        with pytest.raises(OSError, match=f"{name} could not be downloaded") as error:
            FETCHERS[name](data_home=home)
        message = str(error.value)
        assert f"Place the official files {file} in {home / folder}," in message
        assert "pass a data_home" in message
        assert requests
        assert "no network" in str(error.value.__cause__)

    def test_empty_data_home(self, tmp_path, name, folder, file, requests):
        with pytest.raises(OSError, match="Data not found") as error:
            FETCHERS[name](data_home=tmp_path / "none", download_if_missing=False)
        assert file in str(error.value)
        assert not (tmp_path / "none").exists()


def test_missing_cifar10_meta(home):
    (home / "cifar-10-batches-py" / "batches.meta").unlink()
    with pytest.raises(OSError, match=r"lacks batches\.meta"):
        fetch_cifar10(data_home=home, download_if_missing=False)


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_download_of_idx_files(tmp_path, monkeypatch, serve, name):
    archives = {
        f"{file}.gz": gzip.compress(content)
        for file, content in idx_files("train", "t10k").items()
    }
    dataset = getattr(datasets, name)
    monkeypatch.setattr(dataset, "mirrors", [serve(archives)])
    resources = [(file, md5(archives[file])) for file, _ in dataset.resources]
    monkeypatch.setattr(dataset, "resources", resources)
    X, y = FETCHERS[name](data_home=tmp_path / "new", subset="all", return_X_y=True)
    assert_array_equal(X, np.concatenate([images_of(s)[0] for s in SIZES]))
    assert_array_equal(y, np.concatenate([images_of(s)[1] for s in SIZES]))
    assert (tmp_path / "new" / name / "raw" / "t10k-images-idx3-ubyte").is_file()


def test_damaged_download(tmp_path, monkeypatch, serve):
    archives = {
        f"{file}.gz": gzip.compress(content)
        for file, content in idx_files("train", "t10k").items()
    }
    # The checksums remain those of the real archives.
    monkeypatch.setattr(datasets.MNIST, "mirrors", [serve(archives)])
    with pytest.raises(OSError, match="MNIST could not be downloaded") as error:
        fetch_mnist(data_home=tmp_path / "new")
    assert "corrupted" in str(error.value.__cause__)


def test_download_of_emnist(tmp_path, monkeypatch, serve):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, content in emnist_files().items():
            archive.writestr(f"gzip/{file}.gz", gzip.compress(content))
    url = serve({"gzip.zip": buffer.getvalue()}) + "gzip.zip"
    monkeypatch.setattr(datasets.EMNIST, "url", url)
    monkeypatch.setattr(datasets.EMNIST, "md5", md5(buffer.getvalue()))
    X = fetch_emnist(data_home=tmp_path / "new").data
    assert_array_equal(X, images_of("train")[0].transpose(0, 2, 1))


def cifar_archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, content in cifar_files().items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_download_of_cifar10(tmp_path, monkeypatch, serve, tiny_md5):
    content = cifar_archive()
    url = serve({"cifar.tar.gz": content}) + "cifar.tar.gz"
    monkeypatch.setattr(datasets.CIFAR10, "url", url)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(content))
    X = fetch_cifar10(data_home=tmp_path / "new").data
    assert_array_equal(X, cifar_images("train")[0])


def test_archive_in_place_needs_no_download(tmp_path, monkeypatch, tiny_md5, requests):
    content = cifar_archive()
    write(tmp_path, {datasets.CIFAR10.filename: content})
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(content))
    assert len(fetch_cifar10(data_home=tmp_path).data) == 40
    assert not requests


# Truncated and corrupt files.


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        content = b""
    elif how == "cut in the header":
        content = content[:6]
    elif how == "header alone":
        content = content[: 16 if "idx3" in path.name else 8]
    elif how == "cut":
        content = content[:-1]
    elif how == "longer":
        content += b"0"
    elif how == "magic":
        content = b"\0\0\x0d" + content[3:]
    elif how == "web page":
        content = b"<!doctype html>" + content[15:]
    elif how == "axis too few":
        axes = b"\0\0\0\1" * 2 if "idx3" in path.name else b""
        content = content[:4] + axes + b"0"
    elif how == "no images":
        content = content[:4] + b"\0" * 12
    path.write_bytes(content)


DAMAGES = [
    "empty",
    "cut in the header",
    "header alone",
    "cut",
    "longer",
    "magic",
    "web page",
    "axis too few",
    "no images",
]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("fetch", IDX_FETCHERS)
def test_damaged_idx_file(home, fetch, kind, how, requests):
    name = {f: n for n, f in FETCHERS.items()}[fetch]
    prefix = "emnist-balanced-train" if name == "EMNIST" else "train"
    path = home / name / "raw" / f"{prefix}-{kind}-ubyte"
    damage(path, how)
    with pytest.raises(OSError, match="truncated or corrupt") as error:
        fetch(data_home=home)
    assert str(error.value).startswith(str(path))
    assert "Delete it and fetch it again" in str(error.value)
    assert not requests


def test_images_and_labels_that_do_not_match(home):
    raw = home / "MNIST" / "raw"
    (raw / "train-labels-idx1-ubyte").write_bytes(to_idx(images_of("test")[1]))
    with pytest.raises(OSError, match=r"holds 40 images, but 20 labels .*Delete"):
        fetch_mnist(data_home=home)


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.parametrize("how", ["empty", "cut", "longer"])
def test_damaged_cifar_batch(home, file, how, requests):
    path = home / "cifar-10-batches-py" / file
    damage(path, how)
    with pytest.raises(OSError, match="truncated or corrupt: its MD5") as error:
        fetch_cifar10(data_home=home)
    assert str(error.value).startswith(str(path))
    assert "Delete it and fetch it again" in str(error.value)
    assert not requests


class Intruder:
    def __reduce__(self):
        return (os.mkdir, (os.environ["INTRUDER"],))


@pytest.mark.parametrize("file", ["data_batch_1", "test_batch", "batches.meta"])
def test_unverified_pickle_is_never_opened(home, file, monkeypatch):
    trace = home / "trace"
    monkeypatch.setenv("INTRUDER", str(trace))
    (home / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(OSError, match="MD5"):
        fetch_cifar10(data_home=home, subset="all")
    assert not trace.exists()
