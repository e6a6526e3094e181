"""Batches that are gathered at once, against torch's DataLoader."""

import random
import threading
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skvision_tests import thorough
from torch.utils.data import DataLoader

from skvision import ImageClassifier
from skvision.datasets import ImageSequence, as_Xy
from skvision.images._readers import ArrayReader, PathReader
from skvision.training import BatchLoader, ImageDataset


def numbered(n, weights=False):
    """Return a data set whose every part tells its row."""
    rows = np.arange(n, dtype=np.float32)
    images = np.broadcast_to(rows[:, None, None, None], (n, 1, 2, 2)).copy()
    y = torch.arange(n)
    weight = torch.arange(n) / 10 if weights else None
    return ImageDataset(ImageSequence(ArrayReader(images, "first")), y, weight)


def rows_of(loader):
    """Return the rows of each batch, as lists."""
    return [y.tolist() for _, y in loader]


def assert_equal_batches(actual, expected):
    actual, expected = list(actual), list(expected)
    assert len(actual) == len(expected)
    for batch, other in zip(actual, expected, strict=True):
        assert isinstance(batch, tuple)
        assert len(batch) == len(other)
        for part, other_part in zip(batch, other, strict=True):
            assert part.dtype == other_part.dtype
            assert torch.equal(part, other_part)


# ---------------------------------------------------------------------- order


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70))
@settings(max_examples=thorough(150), deadline=None)
def test_in_order_as_torch_does(n, batch_size):
    expected = rows_of(DataLoader(numbered(n), batch_size=batch_size))
    if len(expected) > 1 and len(expected[-1]) == 1 and batch_size > 1:
        last = expected.pop()
        expected[-1] += last
    loader = BatchLoader(numbered(n), batch_size=batch_size)
    assert rows_of(loader) == expected
    assert len(loader) == len(expected)
    assert rows_of(loader) == expected


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), seed=st.integers(0, 9))
@settings(max_examples=thorough(100), deadline=None)
def test_each_row_once_per_epoch(n, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    loader = BatchLoader(
        numbered(n), batch_size=batch_size, shuffle=True, generator=generator
    )
    sizes = [len(batch) for batch in rows_of(BatchLoader(numbered(n), batch_size))]
    for _ in range(3):
        batches = rows_of(loader)
        assert [len(batch) for batch in batches] == sizes
        assert sorted(chain.from_iterable(batches)) == list(range(n))


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70))
@settings(max_examples=thorough(100), deadline=None)
def test_drop_last(n, batch_size):
    batches = rows_of(BatchLoader(numbered(n), batch_size, drop_last=True))
    assert len(batches) == n // batch_size
    # A single row that is left over joins no batch, either.
    assert all(len(batch) == batch_size for batch in batches)


@pytest.mark.parametrize(
    "n, batch_size, sizes",
    [
        (9, 4, [4, 5]),
        (5, 4, [5]),
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (3, 2, [3]),
        (3, 1, [1, 1, 1]),
        (1, 4, [1]),
        (1, 1, [1]),
        (4, 4, [4]),
        (3, 100, [3]),
        (0, 4, []),
    ],
)
def test_sizes(n, batch_size, sizes):
    for shuffle in (False, True):
        loader = BatchLoader(numbered(n), batch_size=batch_size, shuffle=shuffle)
        assert [len(images) for images, _ in loader] == sizes
        assert len(loader) == len(sizes)


def test_shuffling_is_repeatable():
    def epochs(seed, n_epochs=3):
        generator = torch.Generator().manual_seed(seed)
        loader = BatchLoader(numbered(50), 8, shuffle=True, generator=generator)
        return [rows_of(loader) for _ in range(n_epochs)]

    first = epochs(0)
    assert first == epochs(0)
    assert first[0] != first[1]
    assert first != epochs(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    epochs(0)
    assert torch.equal(torch.rand(3), expected)


def test_order_is_as_good_as_torchs():
    # Every row comes at every place about equally often.
    generator = torch.Generator().manual_seed(0)
    loader = BatchLoader(numbered(6), 6, shuffle=True, generator=generator)
    counts = np.zeros((6, 6))
    for _ in range(1200):
        (batch,) = rows_of(loader)
        counts[np.arange(6), batch] += 1
    assert np.abs(counts / 1200 - 1 / 6).max() < 0.05


# -------------------------------------------------------------------- content


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("batch_size", [4, 6, 100])
def test_content_as_torch_collates_it(weights, batch_size):
    data = numbered(22, weights)
    expected = [tuple(batch) for batch in DataLoader(data, batch_size=batch_size)]
    assert_equal_batches(BatchLoader(data, batch_size=batch_size), expected)
    assert len(expected[0]) == 2 + weights


def test_parts_stay_together():
    data = numbered(50, weights=True)
    for images, y, weight in BatchLoader(data, 8, shuffle=True):
        assert torch.equal(images[:, 0, 0, 0], y.float())
        assert torch.equal(weight, y / 10)


@pytest.mark.parametrize(("shuffle", "persistent"), [(False, True), (True, False)])
def test_workers_give_equal_batches(shuffle, persistent):
    def epochs(**kwargs):
        generator = torch.Generator().manual_seed(0)
        loader = BatchLoader(
            numbered(33, weights=True), 8, shuffle, generator=generator, **kwargs
        )
        return [batch for _ in range(3) for batch in loader]

    assert_equal_batches(
        epochs(num_workers=2, persistent_workers=persistent, prefetch_factor=1),
        epochs(),
    )


def test_workers_decode_files(tmp_path):
    paths = []
    for i in range(10):
        paths.append(tmp_path / f"{i}.png")
        Image.new("L", (4, 3), i).save(paths[-1])
    images = ImageSequence(PathReader(paths, cache=False))
    data = ImageDataset(images, torch.arange(10))
    loader = BatchLoader(data, 4, num_workers=2)
    assert [images[:, 0, 0, 0].tolist() for images, _ in loader] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    paths[5].write_text("broken")
    with pytest.raises(OSError, match=r"5\.png"):
        list(loader)


@pytest.fixture
def files(tmp_path):
    """Data of forty image files, whose pixels are their numbers; reading is counted."""
    paths = []
    for i in range(40):
        paths.append(tmp_path / f"{i}.png")
        Image.new("L", (4, 3), i).save(paths[-1])
    return ImageDataset(ImageSequence(PathReader(paths, cache=False)), torch.arange(40))


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def reading_threads():
    return [t for t in threading.enumerate() if t.name.startswith("skvision")]


@pytest.mark.usefixtures("three_threads")
def test_files_are_decoded_ahead(files, monkeypatch):
    read = []

    def noting(self, rows):
        read.append((threading.current_thread().name, len(rows)))
        return plain(self, rows)

    plain = PathReader.read
    monkeypatch.setattr(PathReader, "read", noting)
    generator = torch.Generator().manual_seed(0)
    loader = BatchLoader(files, 5, shuffle=True, generator=generator)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    batches = iter(loader)
    seen = [next(batches)]
    # Others are on their way, but no more than two.
    seen += [next(batches)]
    assert len(reading_threads()) == 1
    assert len(read) <= 4
    seen += [*batches]
    assert reading_threads() == []
    assert {name.split("_")[0] for name, _ in read} == {"skvision-read"}
    assert torch.equal(torch.cat([y for _, y in seen]), order)
    for images, y in seen:
        assert torch.equal(images[:, 0, 0, 0], y.to(torch.uint8))


@pytest.mark.usefixtures("three_threads")
def test_no_thread_is_left(files):
    batches = iter(BatchLoader(files, 5))
    next(batches)
    batches.close()  # As where a fit fails, or is interrupted.
    assert reading_threads() == []
    files.images.reader.paths[13].write_text("broken")
    batches, done = iter(BatchLoader(files, 5)), []
    with pytest.raises(OSError, match=r"13\.png cannot be read as an image"):
        done.extend(batches)
    assert [y.tolist() for _, y in done] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert reading_threads() == []


class Jittered(torch.utils.data.Dataset):
    """Images that are drawn from all three generators whenever they are read."""

    def __len__(self):
        return 24

    def __getitem__(self, row):
        noise = torch.rand(1, 2, 2, dtype=torch.float64)
        noise += random.random() + np.random.rand()
        return noise, row % 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_random_data_sets_with_workers(shuffle):
    X, _ = as_Xy(Jittered())

    def epochs(**kwargs):
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        data = ImageDataset(X, torch.arange(24))
        loader = BatchLoader(data, 8, shuffle, generator=generator, **kwargs)
        return [batch for _ in range(2) for batch in loader], torch.rand(1)

    (alone, after), (shared, after_shared) = epochs(), epochs(num_workers=2)
    assert_equal_batches(shared, alone)
    assert after == after_shared
    values = torch.cat([images.flatten() for images, _ in alone])
    assert len(values.unique()) == len(values) == 2 * 24 * 4


# ------------------------------------------------------------------- data set


@pytest.mark.parametrize("row", [0, 3, -1, np.int64(2), torch.tensor(1)])
def test_single_items(row):
    data = numbered(5, weights=True)
    image, y, weight = data[row]
    assert image.shape == (1, 2, 2)
    assert y.shape == weight.shape == ()
    assert y == range(5)[row]
    assert (image == y).all()
    assert weight == y / 10


@pytest.mark.parametrize(
    "rows", [slice(1, 4), slice(None, None, 2), np.array([3, 0, 3]), np.array([], int)]
)
def test_many_items(rows):
    data = numbered(5, weights=True)
    images, y, weight = data[rows]
    assert y.tolist() == np.arange(5)[rows].tolist()
    assert images[:, 0, 0, 0].tolist() == y.tolist()
    assert torch.equal(weight, y / 10)


def test_without_targets():
    data = ImageDataset(numbered(5).images)
    images, y = data[np.array([4, 2])]
    assert images[:, 0, 0, 0].tolist() == [4, 2]
    assert y.tolist() == [0, 0]
    assert len(data) == 5


def test_subset():
    data = numbered(20, weights=True)
    part = data.subset(np.arange(3, 20, 2)).subset(np.array([4, 0]))
    images, y, weight = part[slice(None)]
    assert images[:, 0, 0, 0].tolist() == y.tolist() == [11, 3]
    assert torch.equal(weight, y / 10)
    assert part.images.reader is data.images.reader
    assert data.subset(np.arange(2))[0][1] == 0
    assert ImageDataset(data.images).subset(np.arange(2)).y is None


# ----------------------------------------------------------- within estimators


def test_estimators_with_workers(digits):
    X, y = digits.data[:200], digits.target[:200]
    net = ImageClassifier(
        "mlp", module__hidden=(16,), max_epochs=2, batch_size=64, random_state=0
    )
    expected = net.fit(X, y).predict_proba(X)
    net.set_params(iterator_train__num_workers=2)
    np.testing.assert_array_equal(net.fit(X, y).predict_proba(X), expected)


@pytest.mark.parametrize("loader", [BatchLoader, DataLoader])
def test_no_batch_at_all(loader):
    net = ImageClassifier("mlp", iterator_train=loader, iterator_train__drop_last=True)
    with pytest.raises(ValueError, match=r"no batch.*batch_size=128.*drop_last"):
        net.fit(np.zeros((40, 8, 8)), np.arange(40) % 2)
    assert not hasattr(net, "module_")
