"""
===================
Convolution by hand
===================

A filter of 2x2 weights moves over an image of 4x3 pixels, once without and once with
padding. What it gives passes through a ReLU and is pooled. The numbers are small
enough to follow with a pencil, and torch comes to the same.

Nothing is downloaded.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description="Convolve and pool a tiny image.")
parser.add_argument("--output", type=Path, default=Path("results"), help="for pictures")
options = parser.parse_args()

# %%
# Image and filter
# ----------------
import torch

image = torch.tensor([[-1.0, 0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10]])
weights = torch.tensor([[2.0, 1], [0, -1]])
n_rows, n_columns = image.shape

# %%
# Window by window
# ----------------
# The filter fits into the image at 3x2 places. At each of them, pixels are multiplied
# by the weights that lie on them, and the products are added up.
print("Without padding:")
by_hand = torch.zeros(n_rows - 1, n_columns - 1)
for row in range(n_rows - 1):
    for column in range(n_columns - 1):
        window = image[row : row + 2, column : column + 2]
        by_hand[row, column] = (window * weights).sum()
        terms = zip(window.flatten(), weights.flatten(), strict=True)
        products = " + ".join(f"({pixel:g})({weight:g})" for pixel, weight in terms)
        total = f"{by_hand[row, column]:g}"
        print(f"  row {row + 1}, column {column + 1}: {products} = {total}")

# %%
# Without padding, and the largest of each window
# -----------------------------------------------
# ``conv2d`` wants an axis of channels before those of the image, and two before those
# of the filter. The ReLU replaces what is negative by 0.
from torch.nn import functional as F

sums = F.conv2d(image[None], weights[None, None])
assert torch.equal(sums[0], by_hand)
feature_map = F.relu(sums)
max_pooled = F.max_pool2d(feature_map, kernel_size=2, stride=1)
print(
    f"After the ReLU: {feature_map[0].int().tolist()}, as reported [[0,0],[1,3],[7,9]]"
)
print(f"Largest of 2x2, stride 1: {max_pooled[0].int().tolist()}, as reported 3 and 9")

# %%
# With padding, and the mean of each window
# -----------------------------------------
# With a border of zeros there are 5x4 places. Windows of 2x2 that do not overlap leave
# the fifth row over, and it is dropped.
padded_map = F.relu(F.conv2d(image[None], weights[None, None], padding=1))
mean_pooled = F.avg_pool2d(padded_map, kernel_size=2)
print(f"\nWith padding 1, after the ReLU: {padded_map[0].int().tolist()}")
print("    as reported [[1,0,0,0],[0,0,0,2],[0,1,3,8],[0,7,9,14],[8,25,28,20]]")
print(f"Mean of 2x2: {mean_pooled[0].tolist()}, as reported [[0.25,0.5],[2,8.5]]")

# %%
# Picture
# -------
import matplotlib.pyplot as plt

panels = {
    "Image": image,
    "Filter": weights,
    "Convolved, ReLU": feature_map[0],
    "Largest of 2x2, stride 1": max_pooled[0],
    "Image with a border of zeros": F.pad(image, (1, 1, 1, 1)),
    "Filter ": weights,
    "Convolved, ReLU ": padded_map[0],
    "Mean of 2x2, stride 2": mean_pooled[0],
}
figure, axes = plt.subplots(2, 4, figsize=(12, 7), layout="constrained")
for ax, (title, values) in zip(axes.flat, panels.items(), strict=True):
    ax.imshow(values, cmap="Blues", vmin=-1, vmax=50)
    for (row, column), value in zip(
        torch.cartesian_prod(*map(torch.arange, values.shape)).tolist(),
        values.flatten().tolist(),
        strict=True,
    ):
        ax.text(column, row, f"{value:g}", ha="center", va="center", fontsize=13)
    ax.set_title(title, loc="left")
    ax.set(xticks=[], yticks=[], xlim=(-0.5, 4.5), ylim=(5.5, -0.5))
    ax.spines[:].set_visible(False)

options.output.mkdir(parents=True, exist_ok=True)
path = options.output / "cifar10-tools-convolution.png"
figure.savefig(path)
print(f"\nThe picture is in {path}")
