"""Data sets, their files, and that what is made of them equals their items."""

import functools
import hashlib
import pickle
import struct
import threading
import urllib.request
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from torchvision import datasets

from skvision.datasets import ImageSequence, as_Xy
from skvision.images._readers import to_chw

#: Images of the tiny files in the formats of the real ones.
SIZES = {"train": 40, "test": 20}
N_CLASSES = 10
# fmt: off
CIFAR_NAMES = [
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
]
# fmt: on


@pytest.fixture(scope="session")
def items_of():
    """Function that returns the images of some items, as (n, C, H, W) arrays."""

    def read(dataset, rows=None):
        rows = range(len(dataset)) if rows is None else rows
        return np.stack([to_chw(dataset[int(row)][0]).numpy() for row in rows])

    return read


@pytest.fixture(scope="session")
def assert_same_bits():
    """Function that compares arrays to the last bit."""

    def check(actual, expected):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        assert actual.tobytes() == expected.tobytes()

    return check


@pytest.fixture(scope="session")
def assert_like_items(items_of, assert_same_bits):
    """Function that checks all that as_Xy returns against the items of a data set."""

    def check(dataset, rows=None):
        X, y = as_Xy(dataset)
        assert isinstance(X, ImageSequence)
        assert len(X) == len(y) == len(dataset)
        rows = np.arange(len(dataset)) if rows is None else np.asarray(rows)
        expected = items_of(dataset, rows)
        assert X.shape == (len(dataset), *expected.shape[1:])
        assert X.dtype == expected.dtype
        assert_same_bits(np.asarray(X[rows]), expected)
        assert_same_bits(X[int(rows[-1])], expected[-1])
        assert_array_equal(y[rows], [np.asarray(dataset[int(row)][1]) for row in rows])
        return X, y

    return check


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def fashion(data_home):
    """Ten thousand images, in memory."""
    return datasets.FashionMNIST(data_home, train=False)


@pytest.fixture(scope="module")
def cifar_folder(request):
    """Ten thousand files; to be copied before it is changed."""
    folders = {}

    def open_folder(data_home, **kwargs):
        if not folders:
            folders["test"] = datasets.ImageFolder(data_home / "cifar10" / "test")
        folder = pickle.loads(pickle.dumps(folders["test"]))
        vars(folder).update(kwargs)
        return folder

    return open_folder


@pytest.fixture
def cifar(data_home, cifar_folder):
    return cifar_folder(data_home)


@pytest.fixture
def cifar_arrays(rng):
    """torchvision's CIFAR10 with images of our own, which needs no files."""

    def build(transform=None, n=30):
        dataset = datasets.CIFAR10.__new__(datasets.CIFAR10)
        dataset.data = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        dataset.targets = rng.integers(0, 10, n).tolist()
        dataset.transform, dataset.target_transform = transform, None
        return dataset

    return build


@pytest.fixture
def count(monkeypatch):
    """Count how often a class's method is called, changing nothing else."""

    def spy_on(owner, name="__getitem__"):
        method = getattr(owner, name)
        calls = []

        @functools.wraps(method)
        def spy(self, *args, **kwargs):
            calls.append(args)
            return method(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, spy)
        return calls

    return spy_on


@pytest.fixture(scope="session")
def images_of():
    """Function that returns random images, not square, and balanced labels."""

    def function(subset):
        n = SIZES[subset]
        rng = np.random.default_rng(n)
        images = rng.integers(0, 256, (n, 5, 3), dtype=np.uint8)
        return images, np.arange(n, dtype=np.uint8) % N_CLASSES

    return function


@pytest.fixture(scope="session")
def to_idx():
    """Function that returns the bytes of an array as MNIST has them."""

    def function(array):
        header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
        return header + array.tobytes()

    return function


@pytest.fixture(scope="session")
def idx_files(images_of, to_idx):
    """Function that returns the contents of MNIST-like files by name."""

    def function(train_prefix, test_prefix):
        files = {}
        for subset, prefix in (("train", train_prefix), ("test", test_prefix)):
            images, labels = images_of(subset)
            files[f"{prefix}-images-idx3-ubyte"] = to_idx(images)
            files[f"{prefix}-labels-idx1-ubyte"] = to_idx(labels)
        return files

    return function


@pytest.fixture(scope="session")
def emnist_files(idx_files):
    """The same with the names of EMNIST."""

    def function(split="balanced"):
        return idx_files(f"emnist-{split}-train", f"emnist-{split}-test")

    return function


@pytest.fixture(scope="session")
def cifar_images():
    """Function that returns random images in colour, and balanced labels."""

    def function(subset):
        n = SIZES[subset]
        rng = np.random.default_rng(n)
        images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        return images, np.arange(n) % N_CLASSES

    return function


@pytest.fixture(scope="session")
def cifar_files(cifar_images):
    """Function that returns the contents of files of CIFAR-10 by name."""

    def function():
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

    return function


@pytest.fixture(scope="session")
def md5():
    """Function that returns a checksum."""

    def function(content):
        return hashlib.md5(content).hexdigest()

    return function


@pytest.fixture(scope="session")
def write():
    """Function that writes files into a folder."""

    def function(folder, files):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return function


@pytest.fixture
def tiny_md5(monkeypatch, cifar_files, md5):
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
def home(tmp_path, tiny_md5, idx_files, emnist_files, cifar_files, write):
    """Return a data_home with tiny files of all data sets."""
    for name in ("MNIST", "FashionMNIST"):
        write(tmp_path / name / "raw", idx_files("train", "t10k"))
    write(tmp_path / "EMNIST" / "raw", emnist_files())
    write(tmp_path / "cifar-10-batches-py", cifar_files())
    return tmp_path


@pytest.fixture
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


@pytest.fixture(scope="session")
def save_png():
    """Function that writes PNG files of any depth and number of channels."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    def save(path, pixels, exif=b""):
        height, width, n_channels = pixels.shape
        depth, colour = 8 * pixels.dtype.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[n_channels]
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
        content = rows.view(np.uint8).copy()
        # Half of the rows as differences from the pixel before.
        n_bytes = pixels.itemsize * n_channels
        content[1::2, n_bytes:] -= rows.view(np.uint8)[1::2, :-n_bytes]
        filters = np.arange(height, dtype=np.uint8)[:, None] % 2
        content = zlib.compress(np.hstack([filters, content]).tobytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + (chunk(b"eXIf", exif) if exif else b"")
            + chunk(b"IDAT", content)
            + chunk(b"IEND", b"")
        )
        return path

    return save


@pytest.fixture(scope="session")
def save_turned():
    """Function that saves a photo as cameras do, and returns how it is to be seen."""
    stored_from = {
        1: lambda image: image,
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        4: lambda image: image[::-1],
        5: lambda image: image.swapaxes(0, 1),
        6: lambda image: np.rot90(image, 1),
        7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
        8: lambda image: np.rot90(image, -1),
    }

    def save(path, orientation, shape=(24, 40, 3)):
        # Smooth, so that lossy formats change it little.
        height, width = shape[:2]
        seen = np.zeros(shape, dtype=np.uint8)
        seen[..., 0] = np.linspace(0, 250, height)[:, None]
        seen[..., 1] = np.linspace(0, 250, width)
        exif = Image.Exif()
        exif[0x0112] = orientation
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.ascontiguousarray(stored_from[orientation](seen))
        Image.fromarray(stored).save(path, exif=exif)
        return seen

    return save


@pytest.fixture
def serve(tmp_path, write):
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
