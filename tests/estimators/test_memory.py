"""Memory that fits need beside their images: none that grows with their number."""

import gc
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from PIL import Image
from sklearn.model_selection import cross_validate
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from skvision import ImageClassifier
from skvision.datasets import ImageSequence, as_Xy
from skvision.images._readers import ArrayReader

STATUS = Path("/proc/self/status")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not STATUS.exists(),
    reason="Anonymous memory is read from Linux's /proc.",
)

# Of images with 64x64 pixels in three colours: 10 and 40 MB, and 20 MB for workers.
SHAPE = (64, 64, 3)
N_SMALL, N_LARGE, N_OF_WORKERS = 814, 3256, 1628
# Of image files with 256x256 pixels: 10 and 40 MB, when they are decoded.
SIDE = 256
N_FEW, N_MANY = 51, 204
# Of either kind, to load libraries and to have the buffers that stay.
N_TINY, N_TINY_FILES = 512, 64


# What follows happens in a process of its own, whose memory is not that of other tests.


class Network(nn.Module):
    """A convolution that leaves few values."""

    def __init__(self, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.AdaptiveMaxPool2d(2)
        )
        self.head = nn.Linear(16, n_outputs)

    def forward(self, images):
        return self.head(self.layers(images).flatten(1))


def classifier(**params):
    defaults = {"max_epochs": 1, "batch_size": 64, "device": "cpu", "random_state": 0}
    # Larger batches would hide what is measured.
    defaults["iterator_valid__batch_size"] = 64
    return ImageClassifier(Network, **defaults | params)


def labels(n):
    return np.arange(n) % 2


def anonymous():
    """Return the anonymous memory of this process in MB; pages of files are none."""
    text = STATUS.read_text().partition("RssAnon:")[2]
    return int(text.split()[0]) * 1024 / 1e6


def fit_and_predict(X, y, **params):
    assert len(classifier(**params).fit(X, y).predict(X)) == len(y)


def growth(X, y, **params):
    """Return how far anonymous memory rises in a fit and a prediction."""
    gc.collect()
    before = anonymous()
    seen = [before]
    ended = threading.Event()

    def look():
        while not ended.wait(0.004):
            seen.append(anonymous())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        fit_and_predict(X, y, **params)
        seen.append(anonymous())
    finally:
        ended.set()
        thread.join()
    return max(seen) - before


def make_map(folder, n):
    path = folder / f"{n}.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, *SHAPE))
    images[:] = np.arange(SHAPE[1], dtype=np.uint8)[:, None]
    images.flush()
    return np.load(path, mmap_mode="r")


def make_files(folder, n):
    """Make a folder of two classes, whose files share what they hold."""
    first = folder / "image.bmp"
    Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB").save(first)
    for i in range(n):
        path = folder / str(n) / str(i % 2) / f"{i}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(first, path)
    return folder / str(n)


def measure_fits(folder):
    """Return the growths of fits by what X is, the smaller one first."""
    fit_and_predict(np.zeros((N_TINY, *SHAPE), np.uint8), labels(N_TINY))
    maps = [make_map(folder, n) for n in (N_SMALL, N_LARGE)]
    found = {
        # What is held out are rows of the same map.
        "map": [growth(X, labels(len(X)), early_stopping=True) for X in maps],
        "array": [growth(np.array(X), labels(len(X))) for X in maps],
    }
    folders = [make_files(folder, n) for n in (N_TINY_FILES, N_FEW, N_MANY)]
    params = {"batch_size": 8, "iterator_valid__batch_size": 8}
    for name, cache in {"files, kept": True, "files, each time": False}.items():
        data = [as_Xy(ImageFolder(path, ToTensor()), cache=cache) for path in folders]
        fit_and_predict(*data[0], **params)
        found[name] = [growth(X, y, **params) for X, y in data[1:]]
    return found


def fit_in_worker(X, y):
    start = anonymous()
    return in_worker(None, X, y) | {"anonymous": start + growth(X, y)}


def in_worker(estimator, X, y):
    """Return memory, and size of the images, where an estimator is scored."""
    array = X.reader.array if isinstance(X, ImageSequence) else X
    is_map = isinstance(array, np.memmap)
    return {"anonymous": anonymous(), "mapped": is_map * array.nbytes / 1e6}


def splits_in_workers(X, y):
    scores = cross_validate(classifier(), X, y, cv=2, n_jobs=2, scoring=in_worker)
    pairs = zip(scores["test_anonymous"], scores["test_mapped"], strict=True)
    return [{"anonymous": float(a), "mapped": float(m)} for a, m in pairs]


def fits_in_workers(X, y):
    return Parallel(2)(delayed(fit_in_worker)(X, y) for _ in range(2))


def measure_workers(folder):
    """Return what two workers see, by what X is and what they do."""
    X, y = make_map(folder, N_OF_WORKERS), labels(N_OF_WORKERS)
    tensors = torch.from_numpy(np.array(X)).permute(0, 3, 1, 2)
    data_set = as_Xy(TensorDataset(tensors, torch.from_numpy(y)))
    tiny = np.array(X[:N_TINY]), y[:N_TINY]
    # scikit-learn takes copies of an array's rows, but not of a sequence's.
    return {
        "tiny": fits_in_workers(*tiny) + splits_in_workers(*tiny),
        "map, fits": fits_in_workers(X, y),
        "array, fits": fits_in_workers(np.array(X), y),
        "map, splits": splits_in_workers(ImageSequence(ArrayReader(X, "last")), y),
        "data set, splits": splits_in_workers(*data_set),
    }


def main(folder):
    warnings.simplefilter("ignore")  # There is nothing to be learnt.
    found = measure_workers(Path(folder)), measure_fits(Path(folder))
    print(json.dumps(found))


# ------------------------------------------------------------------------ in the tests


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    result = subprocess.run(
        [sys.executable, __file__, str(tmp_path_factory.mktemp("memory"))],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_memory_does_not_grow_with_n(measured):
    _, found = measured
    assert list(found) == ["map", "array", "files, kept", "files, each time"]
    # The larger number of images takes 40 MB or more, and 30 MB or more than the other.
    for kind, (small, large) in found.items():
        assert large < 20, kind
        assert large - small < 15, kind


def test_workers_share_one_map(measured):
    found, _ = measured
    with_libraries = max(worker["anonymous"] for worker in found.pop("tiny"))
    assert len(found) == 4
    for kind, workers in found.items():
        assert len(workers) == 2
        for worker in workers:
            assert worker["mapped"] == pytest.approx(20, rel=0.01), kind
            assert worker["anonymous"] - with_libraries < 10, kind


if __name__ == "__main__":
    main(sys.argv[1])
