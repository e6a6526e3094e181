"""
======================
Find images that differ
======================

An autoencoder learns to draw images of one kind again. What it draws badly is of
another kind: ``score_samples`` gives minus the error of each image, and a threshold on
it that few images of the known kind fall below tells the others apart.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description="Find images that differ.")
parser.add_argument("--known", type=int, default=0, help="the digit that is known")
parser.add_argument("--output", type=Path, default=Path("results"), help="for pictures")
options = parser.parse_args()

# %%
# Images of one kind
# ------------------
# Of scikit-learn's digits, the autoencoder sees zeros alone. Half of them are kept to
# choose the threshold and to test it, together with all other digits.
import numpy as np
from sklearn.model_selection import train_test_split

from skvision.datasets import load_digits_images

X, y = load_digits_images(return_X_y=True)
known, others = X[y == options.known], X[y != options.known]
X_train, rest = train_test_split(known, test_size=0.5, random_state=0)
X_chosen, X_known = train_test_split(rest, test_size=0.5, random_state=0)

# %%
# An autoencoder with few values in the middle
# --------------------------------------------
# It cannot copy: eight values have to tell how a zero looks.
from skvision import ImageAutoencoder

autoencoder = ImageAutoencoder(
    "dense_autoencoder",
    module__hidden=(32, 8),
    max_epochs=200,
    batch_size=16,
    random_state=0,
).fit(X_train)

# %%
# A threshold, and what it finds
# ------------------------------
# One zero in twenty of those that chose the threshold lies below it.
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from skvision.inspection import Table

threshold = np.quantile(autoencoder.score_samples(X_chosen), 0.05)
X_test = np.concatenate([X_known, others])
is_odd = np.arange(len(X_test)) >= len(X_known)
scores = autoencoder.score_samples(X_test)
found = scores < threshold
print(
    Table(
        ["figure", "value"],
        [
            ["area under the ROC curve", f"{roc_auc_score(is_odd, -scores):.3f}"],
            ["other digits that are found", f"{recall_score(is_odd, found):.1%}"],
            ["of what is found, other digits", f"{precision_score(is_odd, found):.1%}"],
            ["zeros taken for others", f"{found[~is_odd].mean():.1%}"],
        ],
    )
)

# %%
# Pictures
# --------
# How scores lie, and the images that differ most, each above what was drawn of it.
import matplotlib.pyplot as plt

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
bins = np.histogram_bin_edges(scores, 40)
left.hist(scores[is_odd], bins, alpha=0.7, label="other digits")
left.hist(scores[~is_odd], bins, alpha=0.7, label=f"digit {options.known}")
left.axvline(threshold, color="black", linestyle="--", label="threshold")
left.set(xlabel="score (minus mean squared error)", ylabel="images")
left.legend()
worst = X_test[np.argsort(scores)[:8]]
strip = np.stack([worst, autoencoder.reconstruct(worst)])
right.imshow(strip.transpose(0, 2, 1, 3).reshape(16, -1), cmap="gray", vmin=0, vmax=255)
right.set(xticks=[], yticks=[4, 12], yticklabels=["image", "drawn"])
right.set_title("Lowest scores")

options.output.mkdir(parents=True, exist_ok=True)
path = options.output / "anomalies.png"
figure.savefig(path)
print(f"Pictures are in {path}")
