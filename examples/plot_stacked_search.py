"""
======================================
A search that trains its fits together
======================================

``StackedGridSearchCV`` stands for ``GridSearchCV``: another name, the same choice. It
trains all candidates and folds of one structure as a single network, which pays for
small convolutional networks.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description="A search that trains its fits together.")
parser.add_argument("--n-jobs", type=int, default=None, help="processes")
parser.add_argument("--output", type=Path, default=Path("results"), help="for pictures")
options = parser.parse_args()

# %%
# One search, two ways
# --------------------
# Five learning rates, two optimizers, three folds: thirty networks for digits.
import time

from sklearn.model_selection import GridSearchCV

from skvision import ImageClassifier
from skvision.datasets import load_digits_images
from skvision.model_selection import StackedGridSearchCV

X, y = load_digits_images(return_X_y=True)
net = ImageClassifier(
    "convnet",
    module__channels=(8, 16),
    module__hidden=32,
    batch_size=32,
    max_epochs=3,
    random_state=0,
)
grid = {"optimizer": ["adam", "sgd"], "lr": [1e-1, 3e-2, 1e-2, 3e-3, 1e-3]}

searches, seconds = {}, {}
for kind in (GridSearchCV, StackedGridSearchCV):
    search = kind(net, grid, cv=3, n_jobs=options.n_jobs)
    start = time.perf_counter()
    search.fit(X, y)
    name = kind.__name__
    searches[name], seconds[name] = search, time.perf_counter() - start
    print(f"{name}: {search.best_params_} in {seconds[name]:.1f} s")

# %%
# What came of it
# ---------------
# In float32, the last bits of sums grow into small differences of scores; with
# ``dtype="float64"`` there are none.
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for name, marker in zip(searches, "ox", strict=True):
    results = searches[name].cv_results_
    for optimizer, colour in (("adam", "C0"), ("sgd", "C1")):
        chosen = [p["optimizer"] == optimizer for p in results["params"]]
        left.errorbar(
            results["param_lr"][chosen].astype(float),
            results["mean_test_score"][chosen],
            results["std_test_score"][chosen],
            fmt=f"{marker}-",
            color=colour,
            alpha=0.7,
            label=f"{optimizer}, {name}",
        )
left.set(xscale="log", xlabel="learning rate", ylabel="accuracy", title="Three folds")
left.legend(loc="center left", fontsize="small")
right.bar(list(seconds), list(seconds.values()), color=["C7", "C2"])
right.set(ylabel="seconds", title="Time of the search")

options.output.mkdir(parents=True, exist_ok=True)
path = options.output / "stacked-search.png"
figure.savefig(path)
print(f"Pictures are in {path}")
