"""Files that are downloaded, missing or damaged."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torchvision import datasets

from skvision.datasets import (
    fetch_cifar10,
    fetch_emnist,
    fetch_fashion_mnist,
    fetch_mnist,
)

# Nothing leaves this machine.
pytestmark = pytest.mark.usefixtures("requests")

FETCHERS = {
    "MNIST": fetch_mnist,
    "FashionMNIST": fetch_fashion_mnist,
    "EMNIST": fetch_emnist,
    "CIFAR10": fetch_cifar10,
}
IDX_FETCHERS = [fetch_mnist, fetch_fashion_mnist, fetch_emnist]
SIZES = {"train": 40, "test": 20}


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
def test_download_of_idx_files(
    tmp_path, monkeypatch, serve, name, images_of, idx_files, md5
):
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


def test_damaged_download(tmp_path, monkeypatch, serve, idx_files):
    archives = {
        f"{file}.gz": gzip.compress(content)
        for file, content in idx_files("train", "t10k").items()
    }
    # The checksums remain those of the real archives.
    monkeypatch.setattr(datasets.MNIST, "mirrors", [serve(archives)])
    with pytest.raises(OSError, match="MNIST could not be downloaded") as error:
        fetch_mnist(data_home=tmp_path / "new")
    assert "corrupted" in str(error.value.__cause__)


def test_download_of_emnist(tmp_path, monkeypatch, serve, images_of, emnist_files, md5):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, content in emnist_files().items():
            archive.writestr(f"gzip/{file}.gz", gzip.compress(content))
    url = serve({"gzip.zip": buffer.getvalue()}) + "gzip.zip"
    monkeypatch.setattr(datasets.EMNIST, "url", url)
    monkeypatch.setattr(datasets.EMNIST, "md5", md5(buffer.getvalue()))
    X = fetch_emnist(data_home=tmp_path / "new").data
    assert_array_equal(X, images_of("train")[0].transpose(0, 2, 1))


@pytest.fixture
def cifar_archive(cifar_files):
    """The bytes of the archive that is downloaded."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, content in cifar_files().items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_download_of_cifar10(
    tmp_path, monkeypatch, serve, tiny_md5, cifar_archive, cifar_images, md5
):
    url = serve({"cifar.tar.gz": cifar_archive}) + "cifar.tar.gz"
    monkeypatch.setattr(datasets.CIFAR10, "url", url)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(cifar_archive))
    X = fetch_cifar10(data_home=tmp_path / "new").data
    assert_array_equal(X, cifar_images("train")[0])


def test_archive_in_place_needs_no_download(
    tmp_path, monkeypatch, tiny_md5, requests, cifar_archive, md5, write
):
    write(tmp_path, {datasets.CIFAR10.filename: cifar_archive})
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(cifar_archive))
    assert len(fetch_cifar10(data_home=tmp_path).data) == 40
    assert not requests


# Truncated and corrupt files.
DAMAGES = {
    "empty": lambda content, header: b"",
    "cut in the header": lambda content, header: content[:6],
    "header alone": lambda content, header: content[:header],
    "cut": lambda content, header: content[:-1],
    "longer": lambda content, header: content + b"0",
    "magic": lambda content, header: b"\0\0\x0d" + content[3:],
    "web page": lambda content, header: b"<!doctype html>" + content[15:],
    "axis too few": lambda content, header: (
        content[:4] + b"\0\0\0\1" * (header // 4 - 2) + b"0"
    ),
    "no images": lambda content, header: content[:4] + b"\0" * 12,
}


def damage(path, how):
    header = 16 if "idx3" in path.name else 8
    path.write_bytes(DAMAGES[how](path.read_bytes(), header))


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


def test_images_and_labels_that_do_not_match(home, images_of, to_idx):
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
