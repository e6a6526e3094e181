"""Images that are decoded once and kept in a file."""

import copy
import errno
import gc
import multiprocessing
import os
import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image
from skvision_tests import thorough
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets
from torchvision import transforms as v1

from skvision.datasets import ImageSequence, _cache, as_Xy
from skvision.images._cache import PixelCache
from skvision.images._layout import Form
from skvision.images._readers import DatasetReader, PathReader
from skvision.training import BatchLoader, ImageDataset

ONCE = v1.Compose([v1.Resize((9, 9)), v1.ToTensor(), v1.Normalize([0.5], [0.25])])
EACH_TIME = v1.Compose([v1.RandomCrop(9), v1.ToTensor()])

needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="Open files are listed on Linux alone."
)
not_on_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="Workers have files of their own."
)


class Items(Dataset):
    """A data set that notes what is read, in all processes."""

    def __init__(self, items, file=None):
        self.items = items
        self.file = file

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(f"{row}\n")
        return self.items[row], row % 2


@pytest.fixture
def reads(tmp_path):
    """Return the rows that were read since the last call."""
    file = tmp_path / "reads"
    file.touch()

    def rows():
        text = file.read_text()
        file.write_text("")
        return sorted(map(int, text.split()))

    rows.file = file
    return rows


@pytest.fixture
def sequence(reads, rng):
    """Forty images of a class that is not known, and what they hold."""

    def build(cache=True, dtype=np.float32):
        images = (rng.random((40, 2, 4, 3)) * 255).astype(dtype)
        X, _ = as_Xy(
            Items(torch.from_numpy(images), reads.file), channels="first", cache=cache
        )
        reads()
        return X, images

    return build


@pytest.fixture
def folder(tmp_path, rng, reads, monkeypatch):
    """An ImageFolder that notes which files are decoded."""
    for row in range(12):
        path = tmp_path / "images" / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)

    def loader(path):
        with reads.file.open("a") as file:
            file.write(f"{Path(path).stem}\n")
        return pil_loader(path)

    pil_loader = datasets.folder.pil_loader
    loader.__module__ = pil_loader.__module__  # Taken as torchvision's own.
    return lambda transform: datasets.ImageFolder(
        tmp_path / "images", transform, loader=loader
    )


def open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------------- values


@given(
    shape=st.tuples(st.integers(1, 30), *[st.integers(1, 5)] * 3),
    dtype=st.sampled_from(["uint8", "float32", "float64"]),
    data=st.data(),
)
@settings(max_examples=thorough(100), deadline=None)
def test_rows_in_any_order(shape, dtype, data):
    rng = np.random.default_rng(0)
    images = (rng.random(shape) * 255).astype(dtype)
    reader = DatasetReader(
        Items(torch.from_numpy(images)), cache=True, form=Form("first")
    )
    X = ImageSequence(reader)
    row = st.integers(-len(images), len(images) - 1)
    for _ in range(data.draw(st.integers(1, 5))):
        key = data.draw(
            st.slices(len(images)) | st.lists(row, max_size=50).map(np.array)
        )
        if not isinstance(key, slice):
            key = key.astype(int)
        batch = X.read(key)
        assert_array_equal(batch.numpy(), images[key])
        assert batch.numpy().dtype == images.dtype
        batch.fill_(3)  # What is kept is not given away.
        view = X[key]
        assert view.reader is reader
        assert_array_equal(np.asarray(view), images[key])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16])
def test_each_image_is_read_once(sequence, reads, dtype):
    X, images = sequence(dtype=dtype)
    assert X.reading == "once"
    assert_array_equal(X.read(np.array([5, 3, 5, 39])).numpy(), images[[5, 3, 5, 39]])
    assert reads() == [3, 5, 39]
    assert_array_equal(np.asarray(X[2:7]), images[2:7])
    assert reads() == [2, 4, 6]
    for _ in range(3):
        assert_array_equal(np.asarray(X), images)
        assert_array_equal(X[5], images[5])
        assert_array_equal(np.asarray(X[::-2][1:]), images[::-2][1:])
    assert reads() == sorted({*range(40)} - {2, 3, 4, 5, 6, 39})


def test_nothing_is_kept(sequence, reads):
    for cache in ("auto", False):
        X, images = sequence(cache)
        assert X.reading == "each_time"
        for _ in range(2):
            assert_array_equal(np.asarray(X[3:5]), images[3:5])
            assert reads() == [3, 4]


def test_looking_at_images_makes_no_file(sequence):
    X, images = sequence()
    assert_array_equal(X[3], images[3])
    assert X.reader._cache._kept is None
    # Batches of one row are worth it after a while.
    for row in range(40):
        assert_array_equal(X.read(np.array([row])).numpy(), images[[row]])
    assert X.reader._cache._kept is not None


def test_epochs(folder, reads):
    X, _ = as_Xy(folder(ONCE))
    expected = np.asarray(as_Xy(folder(ONCE), cache=False)[0])
    reads()
    data = ImageDataset(X, torch.from_numpy(np.arange(12)))
    for _ in range(3):
        for images, rows in BatchLoader(data, 5, shuffle=True):
            assert_array_equal(X.read_stored(rows.numpy()), images)
            assert_array_equal(X.read(rows.numpy()).numpy(), expected[rows])
    assert reads() == [*range(12)]


def test_random_transforms_are_drawn_in_each_epoch(folder, reads):
    X, _ = as_Xy(folder(EACH_TIME))
    assert X.reading == "each_time"
    reads()
    epochs = [np.asarray(X) for _ in range(3)]
    assert reads() == sorted([*range(12)] * 3)
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[1] != epochs[2]).any()
    # The user knows better.
    X, _ = as_Xy(folder(EACH_TIME), cache=True)
    assert X.reading == "once"
    assert_array_equal(X, X)


def test_files(tmp_path, rng):
    pixels = rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    paths = [str(tmp_path / f"{row}.png") for row in range(4)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    X = ImageSequence(PathReader(paths))
    assert X.reading == "once"
    assert_array_equal(X, np.moveaxis(pixels, 3, 1))
    for path in paths:
        os.remove(path)
    assert_array_equal(X, np.moveaxis(pixels, 3, 1))
    with pytest.raises(OSError):
        np.asarray(copy.deepcopy(X))


def test_images_that_differ(rng):
    for odd, match in [
        (rng.random((4, 5), dtype=np.float32), r"Item 3 .* has shape \(1, 4, 5\)"),
        (rng.random((5, 4)), "Item 3 .* holds float64 values, the first one float32"),
        (np.full((5, 4), np.nan, dtype=np.float32), "NaN or infinity, in item 3 of"),
    ]:
        images = [*rng.random((3, 5, 4), dtype=np.float32), odd]
        X, _ = as_Xy(Items(images), cache=True)
        for _ in range(2):
            with pytest.raises(ValueError, match=match):
                X.read(slice(None))
        assert_array_equal(np.asarray(X[:3])[:, 0], images[:3])


# ----------------------------------------------------------------------- space


def test_size_that_is_kept(folder, monkeypatch):
    nbytes = 12 * 3 * 9 * 9
    dataset = folder(ONCE)
    for limit, free, reading in [
        (nbytes, 2 * nbytes, "once"),
        (nbytes - 1, 2 * nbytes, "each_time"),
        (nbytes, 2 * nbytes - 1, "each_time"),
    ]:
        usage = type("", (), {"free": free})
        monkeypatch.setattr(_cache, "MAX_BYTES", limit)
        monkeypatch.setattr(_cache.shutil, "disk_usage", lambda path, u=usage: u)
        assert as_Xy(dataset)[0].reading == reading
        assert as_Xy(dataset, cache=True)[0].reading == "once"


def no_space(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(sys.platform != "linux", reason="Space is reserved otherwise.")
def test_full_disk(folder, reads, monkeypatch):
    expected = np.asarray(as_Xy(folder(ONCE))[0])
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    X, _ = as_Xy(folder(ONCE))
    assert_array_equal(X, expected)
    assert X.reading == "each_time"
    reads()
    assert_array_equal(X, expected)
    assert reads() == [*range(12)]
    X, _ = as_Xy(folder(ONCE), cache=True)
    for _ in range(2):
        with pytest.raises(OSError, match="cache=True needs .* GB .*No space left"):
            X.read(slice(None))


@pytest.mark.skipif(sys.platform != "linux", reason="Space is reserved otherwise.")
@pytest.mark.parametrize("kind", ["not there", "not possible"])
def test_space_is_taken_by_zeros(sequence, monkeypatch, kind):
    if kind == "not there":
        monkeypatch.delattr(os, "posix_fallocate")
    else:

        def fallocate(*args):
            raise OSError(errno.EOPNOTSUPP, "Not supported")

        monkeypatch.setattr(os, "posix_fallocate", fallocate)
    X, images = sequence()
    for _ in range(2):
        assert_array_equal(X, images)
    size = (2 << 20) + 5
    with tempfile.TemporaryFile() as file:
        _cache._reserve(file, size)
        assert os.fstat(file.fileno()).st_size == size
        assert os.fstat(file.fileno()).st_blocks * 512 >= size


def test_no_folder_for_temporary_files(folder, monkeypatch):
    X, _ = as_Xy(folder(ONCE))

    def none():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert X.shape == np.asarray(X).shape
    assert X.reading == "each_time"
    assert as_Xy(folder(ONCE))[0].reading == "each_time"


# ------------------------------------------------------------------- resources


@needs_proc
def test_no_file_is_left(sequence, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, files = open_files(), sorted(os.listdir(tmp_path))
    X, images = sequence()
    view = X[3:9]
    for _ in range(3):
        np.asarray(X), np.asarray(view)
    assert sorted(os.listdir(tmp_path)) == files
    assert before < open_files() <= before + 2
    del X
    assert_array_equal(view, images[3:9])
    del view
    assert open_files() == before


@needs_proc
def test_no_file_is_left_by_errors(folder, monkeypatch):
    before = open_files()
    monkeypatch.setattr(_cache.mmap, "mmap", no_space)
    X, _ = as_Xy(folder(ONCE))
    X.read(slice(None))
    assert X.reading == "each_time"
    del X
    assert open_files() == before


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="Linux alone.")
def test_memory_is_not_anonymous(tmp_path):
    Image.new("RGB", (256, 256), (1, 2, 3)).save(tmp_path / "image.bmp")
    X = ImageSequence(PathReader([str(tmp_path / "image.bmp")] * 500))

    def anonymous():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    X.read(slice(0, 25))
    before = anonymous()
    for start in range(0, 500, 25):
        assert X.read(slice(start, start + 25)).shape == (25, 3, 256, 256)
    # The pixels of all images take 94 MB.
    assert anonymous() - before < 30


# ---------------------------------------------------------- copies, processes


@pytest.mark.parametrize(
    "duplicate", [lambda X: pickle.loads(pickle.dumps(X)), copy.deepcopy, copy.copy]
)
def test_copies_begin_anew(sequence, reads, duplicate):
    X, images = sequence()
    assert_array_equal(X, images)
    reads()
    reader = duplicate(X.reader)
    copied = ImageSequence(reader)
    assert copied.reading == "once"
    assert_array_equal(copied[:4], images[:4])
    assert reads() == [0, 1, 2, 3]
    assert_array_equal(copied[:5], images[:5])
    assert reads() == [4]
    # The original has its own, which shares nothing with that of the copy.
    reader._cache._kept[0][:] = 0
    assert_array_equal(X, images)
    assert reads() == []
    assert len(pickle.dumps(X.reader)) < len(pickle.dumps(images)) * 2


@not_on_windows
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_share_the_file(folder, reads, persistent):
    X, _ = as_Xy(folder(ONCE))
    expected = np.asarray(as_Xy(folder(ONCE), cache=False)[0])
    reads()
    loader = BatchLoader(
        ImageDataset(X, torch.arange(12)),
        3,
        shuffle=True,
        num_workers=2,
        persistent_workers=persistent,
        multiprocessing_context="fork",
    )
    for _ in range(3):
        for images, rows in loader:
            values = X.steps(images) if images.dtype == torch.uint8 else images
            assert_array_equal(values.numpy(), expected[rows])
    assert_array_equal(X, expected)
    assert reads() == [*range(12)]


@not_on_windows
@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_workers_of_any_kind(sequence, reads, start):
    X, images = sequence()
    data = ImageDataset(X, torch.arange(40))
    loader = DataLoader(data, 8, num_workers=2, multiprocessing_context=start)
    for batch, rows in loader:
        assert_array_equal(batch.numpy(), images[rows])
    assert_array_equal(X, images)
    assert reads() == [*range(40)]


def read_rows(X, rows):
    return X.read(rows).sum().item()


@not_on_windows
def test_forked_process(sequence, reads):
    X, images = sequence()
    # Filled by the child, read by the parent.
    process = multiprocessing.get_context("fork").Process(
        target=read_rows, args=(X, np.arange(0, 40, 2))
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    assert reads() == [*range(0, 40, 2)]
    assert_array_equal(X, images)
    assert reads() == [*range(1, 40, 2)]


@not_on_windows
@pytest.mark.skipif(sys.platform != "linux", reason="Space is reserved otherwise.")
def test_full_disk_at_a_fork(sequence, monkeypatch, capfd):
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    X, _ = sequence()
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    assert capfd.readouterr().err == ""
    with pytest.raises(OSError, match="cache=True needs"):
        X.read(slice(None))


def test_nothing_waits_for_forks_when_it_is_gone(sequence):
    n_before = len(_cache._unopened)
    X, _ = sequence()
    assert len(_cache._unopened) == n_before + 1
    del X
    gc.collect()
    assert len(_cache._unopened) == n_before


def test_images_without_pixels():
    cache = PixelCache((3, 1, 0, 5), np.dtype(np.uint8), True)
    assert not cache.enabled
    assert cache.take(np.arange(3), None) is None
