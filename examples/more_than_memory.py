"""
========================
More images than memory
========================

A memory map is trained on batch by batch: its pages are read when they are needed, and
belong to the system, which takes them back. The script makes a file of random images,
5 GB by default, trains on it, and prints how much memory of its own it took.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
import tempfile
from pathlib import Path

parser = argparse.ArgumentParser(description="More images than memory.")
parser.add_argument("--n-images", type=int, default=1_630_000, help="of 32x32x3 pixels")
parser.add_argument("--folder", default=None, help="for the file, which is removed")
options = parser.parse_args()

# %%
# A large file
# ------------
# Of random pixels, whose brightness tells the class.
import numpy as np

folder = tempfile.TemporaryDirectory(dir=options.folder)
path = Path(folder.name, "images.npy")
n, shape = options.n_images, (32, 32, 3)
images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, *shape))
rng = np.random.default_rng(0)
y = rng.integers(0, 10, size=n)
for start in range(0, n, 10_000):
    labels = y[start : start + 10_000, None, None, None]
    noise = rng.integers(0, 56, size=(len(labels), *shape), dtype=np.uint8)
    images[start : start + 10_000] = noise + (20 * labels).astype(np.uint8)
images.flush()
del images, noise

# %%
# Memory of a process's own
# -------------------------
# Pages of a file do not count, since the system takes them back when it needs them.
import threading


def anonymous_mb():
    """Return RssAnon of this process in MB, by Linux's /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


peak = 0.0
ended = threading.Event()


def watch():
    """Keep the highest value."""
    global peak
    while not ended.wait(0.01):
        peak = max(peak, anonymous_mb())


# %%
# Training
# --------
# ``as_Xy`` makes an X of the map that scikit-learn's tools share instead of copying.
import time

from skvision import ImageClassifier
from skvision.datasets import as_Xy

X, y = as_Xy(np.load(path, mmap_mode="r"), y)
before = anonymous_mb()
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
net = ImageClassifier("lenet", max_epochs=1, random_state=0)
net.fit(X, y)
seconds = time.perf_counter() - start
ended.set()
watcher.join()

print(f"GB of images: {path.stat().st_size / 1e9:.2f}")
print(f"Epoch in s: {seconds:.1f}")
print(f"MB of memory before: {before:.0f}")
print(f"MB of memory at most: {peak:.0f}")
print(f"Accuracy: {net.score(X[:10_000], y[:10_000]):.3f}")
folder.cleanup()
