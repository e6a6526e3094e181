"""Memory maps go to other processes by the names of their files."""

import pickle

import numpy as np
import pytest
from joblib import Parallel, delayed

from skvision.datasets import as_Xy
from skvision.images._maps import reference_to

ARRAY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "images.npy", ARRAY)
    return tmp_path / "images.npy"


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("rows", [slice(None), slice(1, 3)])
def test_by_reference(path, mode, rows):
    array = np.load(path, mmap_mode=mode)[rows]
    X, _ = as_Xy(array, np.zeros(len(array)))
    text = pickle.dumps(X)
    assert str(path).encode() in text
    again = pickle.loads(text)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(X))
    assert isinstance(again.reader.array, np.memmap)
    np.testing.assert_array_equal(np.asarray(again[[1, 0]]), np.asarray(X[[1, 0]]))


def test_raw_file(tmp_path):
    ARRAY.tofile(tmp_path / "raw")
    array = np.memmap(tmp_path / "raw", np.uint8, "r", offset=30, shape=(3, 5, 6))
    reference = reference_to(array)
    np.testing.assert_array_equal(reference.open(), ARRAY[1:])


def test_by_value(path):
    for array in [
        ARRAY,
        np.load(path, mmap_mode="c"),
        np.load(path, mmap_mode="r")[:, ::2],
        np.load(path, mmap_mode="r").copy(),
    ]:
        assert reference_to(array) is None
        X, _ = as_Xy(array, np.zeros(len(array)))
        again = pickle.loads(pickle.dumps(X))
        np.testing.assert_array_equal(np.asarray(again), np.asarray(X))


def test_changes_are_seen(path):
    array = np.load(path, mmap_mode="r+")
    X, _ = as_Xy(array, np.zeros(4))
    array[0] = 7
    assert (np.asarray(pickle.loads(pickle.dumps(X))[0]) == np.asarray(X[0])).all()


def test_missing_and_other_files(path):
    text = pickle.dumps(as_Xy(np.load(path, mmap_mode="r"), np.zeros(4))[0])
    np.save(path, ARRAY[:3])
    with pytest.raises(OSError, match=r"images\.npy.* bytes, but had"):
        pickle.loads(text)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"images\.npy"):
        pickle.loads(text)


def test_workers_open_the_file(path):
    X, _ = as_Xy(np.load(path, mmap_mode="r"), np.zeros(4))
    (found,) = Parallel(n_jobs=2)(delayed(kind_and_sum)(x) for x in [X])
    assert found == ("memmap", int(ARRAY.sum()))


def kind_and_sum(X):
    return type(X.reader.array).__name__, int(np.asarray(X.reader.array).sum())
