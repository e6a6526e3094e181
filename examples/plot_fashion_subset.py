"""
===================================================================
Fashion-MNIST in part: a convolutional network, an autoencoder's code
===================================================================

Five of Fashion-MNIST's ten classes, those with the labels 1, 3, 5, 7 and 9, are told
apart by a convolutional network, and by a few layers on the encoder of an autoencoder,
which has learnt to remove noise. The training images are flipped and made noisy, which
gives four times as many. The results stand beside those that a study reported, whose
networks had ten outputs for the five classes.

Fashion-MNIST is downloaded unless ``--data-home`` has it. ``--full`` takes all images
and the study's 15 epochs; ``--epochs`` takes fewer of the convolutional network, whose
epochs last minutes on a CPU.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt

parser = argparse.ArgumentParser(description="CNN against autoencoder, five classes.")
parser.add_argument("--full", action="store_true", help="all images, all epochs")
parser.add_argument("--epochs", type=int, help="epochs of the convolutional network")
parser.add_argument("--data-home", help="folder with the files of Fashion-MNIST")
parser.add_argument("--output", type=Path, default=Path("results"), help="for results")
options = parser.parse_args()

n_train, n_test, epochs = (None, None, 15) if options.full else (1000, 1000, 3)

# %%
# Images
# ------
# The targets keep their labels: 1, 3, 5, 7 and 9.
from skvision.datasets import fetch_fashion_mnist

source = {
    "data_home": options.data_home,
    "classes": [1, 3, 5, 7, 9],
    "random_state": 0,
}
try:
    train = fetch_fashion_mnist(n_samples=n_train, **source)
    test = fetch_fashion_mnist(subset="test", n_samples=n_test, **source)
except OSError as error:
    sys.exit(
        f"{error}\nGo online for the download, or name by --data-home a folder that "
        "has FashionMNIST/raw."
    )
X, X_test, y_test = train.data, test.data, test.target
part = "All" if options.full else "A stratified part of the data (--full takes all):"
print(f"{part} {len(X):,} images for training, {len(X_test):,} for testing")
print(
    f"{options.epochs or epochs} epochs for the convolutional network, 15 for the "
    f"autoencoder, {epochs} for the classifier on its encoder"
)

# %%
# Four kinds of training images
# -----------------------------
# ``expand`` returns the images as they are, then a block for each entry of the list.
import numpy as np

from skvision.inspection import ReconstructionDisplay, Table
from skvision.preprocessing import RandomHorizontalFlip, UniformNoise, expand

flip, noise = RandomHorizontalFlip(p=1.0), UniformNoise(-0.3, 0.3)
X_train, y_train = expand(X, train.target, [flip, noise, [flip, noise]], random_state=0)

names = ["original", "flipped", "noisy", "flipped and noisy"]
blocks = np.split(X_train, 4)
rows = []
for name, block in zip(names, blocks, strict=True):
    clean = X[:, :, ::-1] if "flipped" in name else X
    difference = np.abs(block - clean.astype(np.int16))
    what = "flipped" if "flipped" in name else "original"
    rows.append([name, len(block), what, int(difference.max()), difference.mean()])
columns = ["kind", "images", "compared with", "largest difference", "mean difference"]
title = f"{len(X_train):,} training images, pixels from 0 to 255"
print(f"\n{Table(columns, rows, title=title)}\n")

options.output.mkdir(parents=True, exist_ok=True)
shown = {name: block[:10] for name, block in zip(names, blocks, strict=True)}
figure = ReconstructionDisplay(shown).plot().figure_
figure.savefig(options.output / "fashion-subset-kinds.png")

# %%
# The convolutional network
# -------------------------
# Four convolutions and one pooling, He's initial weights. As in the study, the test
# images are watched during training; nothing is chosen by them. The learning rate
# rises and falls once, which reaches more in few epochs than a constant one.
from skorch.callbacks import LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch.optim.lr_scheduler import OneCycleLR

from skvision import ImageClassifier
from skvision.inspection import parameter_table

BATCH_SIZE, MAX_LR = 100, 2e-3
training = {
    "batch_size": BATCH_SIZE,
    "epoch_scoring": "accuracy",
    "train_split": predefined_split(Dataset(X_test, y_test)),
    "module__weight_init": "kaiming",
    "random_state": 0,
    "verbose": 1,
}


def one_cycle(n_epochs):
    """Return the number of epochs and their learning rates, as parameters."""
    n_steps = n_epochs * -(-len(X_train) // BATCH_SIZE)
    schedule = LRScheduler(
        OneCycleLR, max_lr=MAX_LR, total_steps=n_steps, step_every="batch"
    )
    return {"max_epochs": n_epochs, "callbacks": [schedule]}


convolutional = ImageClassifier(
    "convnet",
    module__channels=((10, 20, 40, 64),),
    module__kernel_size=5,
    module__padding=1,
    module__batch_norm=False,
    module__hidden=256,
    module__dropout=0.0,
    **one_cycle(options.epochs or epochs),
    **training,
)
print("S1 convolutional network")
convolutional.fit(X_train, y_train)

# %%
# Five labels, five outputs
# -------------------------
# The estimator encodes the labels, and ``predict`` returns them as they were.
print(f"\n{parameter_table(convolutional)}\n")
print(f"classes_: {convolutional.classes_}, outputs: {convolutional.n_outputs_}")
print(f"Last layer: {convolutional.module_.head[-1]}")
print(f"Predicted labels: {convolutional.predict(X_test[:10])}")

# %%
# An autoencoder that removes noise
# ---------------------------------
# Of the training images, those without noise: the autoencoder adds its own, anew in
# each epoch, and compares what comes out with the images before.
from skvision import ImageAutoencoder

print("\nS2 dense autoencoder")
autoencoder = ImageAutoencoder(
    "dense_autoencoder",
    module__hidden=(392, 196, 98, 32),
    module__weight_init="kaiming",
    noise=noise,
    lr=1e-3,
    batch_size=BATCH_SIZE,
    max_epochs=15,
    random_state=0,
    verbose=1,
)
autoencoder.fit(np.concatenate(blocks[:2]))

noisy = expand(X_test, None, noise, random_state=1)[0][len(X_test) :]
before, after = (
    float(np.mean((found / 255 - X_test / 255) ** 2))
    for found in (noisy, autoencoder.reconstruct(noisy))
)
print(f"Squared error of noisy test images: {before:.4f}, denoised: {after:.4f}")

figure, axes = plt.subplots(
    2, 1, figsize=(9, 5), height_ratios=[2, 3], layout="constrained"
)
ReconstructionDisplay.from_estimator(autoencoder, X_test, random_state=0, ax=axes[0])
ReconstructionDisplay.from_estimator(
    autoencoder, X_test, noise=noise, random_state=0, ax=axes[1]
)
figure.savefig(options.output / "fashion-subset-reconstructions.png")

# %%
# A classifier on the autoencoder's encoder
# -----------------------------------------
# The encoder of the autoencoder, then two new layers, all of it trained. The pixels
# are those that the autoencoder knows: in [0, 1], and not normalised further.
print("\nS3 classifier on the encoder")
on_encoder = ImageClassifier(
    pretrained=autoencoder, module__hidden=256, **one_cycle(epochs), **training
)
on_encoder.fit(X_train, y_train)

# %%
# Both classifiers
# ----------------
from skvision.inspection import AccuracyDisplay, HistoryDisplay, class_table

classifiers = {"convolutional": convolutional, "on the encoder": on_encoder}
figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
for ax, what in zip(axes[:2], ["loss", "accuracy"], strict=True):
    HistoryDisplay.from_estimators(
        classifiers, [f"train_{what}", f"valid_{what}"], mark_best=False, ax=ax
    )
    ax.set(title=f"{what.capitalize()}, training and test images", ylabel=what)
AccuracyDisplay.from_estimators(classifiers, X_test, y_test, ax=axes[2])
axes[2].set_title("Accuracy, test images")
figure.savefig(options.output / "fashion-subset-classifiers.png")

for name, classifier in classifiers.items():
    found = class_table(classifier, X_test, y_test, target_names=test.target_names)
    print(f"\n{name}\n{found}")

# %%
# Reported and ours
# -----------------
# The loss of the study's autoencoder is of pixels on another scale, and does not
# compare.
rows = []
for part, classifier, reported in [
    ("S1", convolutional, [0.354, 0.033, 98.85, 97.91]),
    ("S3", on_encoder, [None, None, 98.56, 97.12]),
]:
    history = classifier.history
    ours = [
        history[0, "train_loss"],
        history[-1, "train_loss"],
        100 * history[-1, "train_accuracy"],
        100 * history[-1, "valid_accuracy"],
    ]
    what = ["loss, first epoch", "loss, last epoch", "accuracy in %", "accuracy in %"]
    for kind, name, theirs, found in zip(
        ["train", "train", "train", "test"], what, reported, ours, strict=True
    ):
        setting = f"Adam, one cycle up to {MAX_LR:g}, {len(history)} epochs"
        rows.append(
            [f"{part} {kind}: {name}", theirs, "Adam 1e-3, 15 epochs", found, setting]
        )
    rows.append(
        [f"{part}: outputs", 10, "labels as they are", classifier.n_outputs_, "encoded"]
    )
losses = autoencoder.history[:, "train_loss"]
for name, theirs, found in [
    ("first epoch", 0.544, losses[0]),
    ("last epoch", 0.516, losses[-1]),
    ("noisy test images", None, before),
    ("noisy test images, denoised", None, after),
]:
    rows.append(
        [
            f"S2 squared error: {name}",
            theirs,
            "Adam 1e-3, 15 epochs, scale of pixels not stated" if theirs else None,
            found,
            f"Adam 1e-3, {len(losses)} epochs, pixels in [0, 1]",
        ]
    )
table = Table(
    ["what", "reported", "reported with", "ours", "ours with"],
    sorted(rows, key=lambda row: row[0][:2]),
    title="Fashion-MNIST in part: reported and ours",
    notes=[
        f"Ours: {len(X_train):,} training images in four kinds, of 120,000, and "
        f"{len(X_test):,} test images of 5,000.",
        f"Batches of {BATCH_SIZE}, He's initial weights, in both.",
    ],
)
print(f"\n{table}\n")
for suffix in ("md", "json"):
    table.save(options.output / f"fashion-subset.{suffix}")
print(f"Pictures and this table are in {options.output}")
