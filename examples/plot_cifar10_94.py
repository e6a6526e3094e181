"""
================
CIFAR-10 to 94 %
================

The means by which networks learn CIFAR-10 in seconds, on ``ImageClassifier``: a
one-cycle schedule, Nesterov momentum, label smoothing, flips and shifts, bfloat16,
channels last, a first layer that whitens, and predictions from mirrored images, too.
The result stands beside airbench94 by Keller Jordan, whose network and settings these
are for the most part.

Without options, the network sees a small part of the images for a few epochs. On a GPU,
``--full --device cuda`` takes all images for 15 epochs; ``--runs 10`` gives the mean of
as many trainings. On a CPU, ``--amp`` is for those that multiply bfloat16 by
themselves: one thread then needs about half an hour for ``--full``. On others, bfloat16
is many times slower than float32.
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
import torch

gpu_or_cpu = "cuda" if torch.cuda.is_available() else "cpu"
parser = argparse.ArgumentParser(description="CIFAR-10 to 94 %%.")
parser.add_argument("--full", action="store_true", help="all images and epochs")
parser.add_argument("--epochs", type=int, help="instead of 15, or 3 without --full")
parser.add_argument("--runs", type=int, default=1, help="trainings to average")
parser.add_argument("--device", default=gpu_or_cpu, help="cuda or cpu")
parser.add_argument(
    "--amp",
    action=argparse.BooleanOptionalAction,
    help="whether to use bfloat16, which is the default on a GPU",
)
parser.add_argument("--data-home", help="folder with the files of CIFAR-10")
parser.add_argument(
    "--image-folder", type=Path, help="folder with train and test, a folder per class"
)
parser.add_argument("--output", type=Path, default=Path("results"))
options = parser.parse_args()
on_gpu = options.device.startswith("cuda")
amp = on_gpu if options.amp is None else options.amp
options.output.mkdir(parents=True, exist_ok=True)

# %%
# Images
# ------
# From the official files, or from any folder that has one folder for each class.
from skvision.datasets import fetch_cifar10, load_image_folder


def load(subset, n_samples):
    """Load all images of a subset, or a part of them."""
    choice = {"n_samples": None if options.full else n_samples, "random_state": 0}
    if options.image_folder:
        return load_image_folder(options.image_folder / subset, **choice)
    return fetch_cifar10(data_home=options.data_home, subset=subset, **choice)


try:
    train, test = load("train", 2000), load("test", 1000)
except OSError as error:
    sys.exit(
        f"{error}\nRun it once with access to the network, or name the folder of the "
        "official files by --data-home, or one with train/CLASS/*.jpg and "
        "test/CLASS/*.jpg by --image-folder."
    )

epochs = options.epochs or (15 if options.full else 3)
batch_size = 1024 if options.full else 128
size = f"{len(train.data):,} training and {len(test.data):,} test images"
print("All of the data:" if options.full else "A part of the data:", size)
if not options.full:
    print("--full takes all images and 15 epochs")

# %%
# A network that learns fast
# --------------------------
# The first convolution is not learnt: its filters turn patches of 2x2 pixels into
# values that are hardly correlated, once with either sign. All others begin as the
# identity, as far as they have as many inputs as outputs. Pooling comes before batch
# normalisation, which then has a quarter of the values to treat.
from torch import nn
from torch.nn import functional as F


def whitening_filters(images, epsilon=5e-4):
    """Return the filters of the first layer for images of shape (n, H, W, 3)."""
    pixels = torch.tensor(images, device=options.device).permute(0, 3, 1, 2) / 255
    std, mean = torch.std_mean(pixels, (0, 2, 3), keepdim=True)
    patches = F.unfold((pixels - mean) / std, 2).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / (variances + epsilon).sqrt()).T.reshape(-1, 3, 2, 2)
    return torch.cat([filters, -filters]).cpu()


class Block(nn.Module):
    """Two convolutions, the first followed by pooling."""

    def __init__(self, n_inputs, n_maps):
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_maps, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_maps)
        self.conv2 = nn.Conv2d(n_maps, n_maps, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_maps)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight.data[: conv.in_channels])

    def forward(self, x):
        """Return the feature maps of a batch."""
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class FastNet(nn.Module):
    """Whitening, three blocks, and a last layer."""

    def __init__(self, n_outputs, filters, widths=(64, 256, 256)):
        super().__init__()
        self.whiten = nn.Conv2d(3, len(filters), 2)
        self.whiten.weight.data = filters.clone()
        nn.init.zeros_(self.whiten.bias)
        n_inputs = [len(filters), *widths]
        self.blocks = nn.Sequential(*map(Block, n_inputs, widths))
        self.last = nn.Linear(widths[-1], n_outputs, bias=False)

    def forward(self, images):
        """Return the outputs of a batch, of shape (batch, n_outputs)."""
        maps = self.blocks(F.gelu(self.whiten(images)))
        # Small outputs at first, or the last layer would learn faster than the others.
        return self.last(maps.amax((2, 3))) / 9


# %%
# The recipe
# ----------
# The rate rises for a quarter of the steps and falls for the others. Shifts of batch
# normalisation learn 64 times as fast, and its scales do not learn. The rate goes with
# the batch size: few images need small batches to have enough steps.
from skorch.callbacks import LRScheduler
from torch.optim.lr_scheduler import OneCycleLR

from skvision import ImageClassifier
from skvision.preprocessing import RandomHorizontalFlip, RandomShift


def make(random_state):
    """Return the classifier of a run."""
    lr, decay = 1.5 * batch_size / 1024, 1.3e-3
    shifts = {"lr": 64 * lr, "weight_decay": decay / 64}
    one_cycle = LRScheduler(
        OneCycleLR,
        step_every="batch",
        event_name="lr",
        max_lr=[64 * lr, lr],
        total_steps=epochs * -(-len(train.data) // batch_size),
        pct_start=0.23,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=5,
        final_div_factor=3,
    )
    return ImageClassifier(
        FastNet,
        module__filters=whitening_filters(train.data[:1000]),
        freeze=["whiten.weight", "*.norm?.weight"],
        criterion__label_smoothing=0.2,
        optimizer="sgd",
        optimizer__momentum=0.85,
        optimizer__nesterov=True,
        optimizer__weight_decay=decay,
        optimizer__param_groups=[("*.norm?.bias", shifts)],
        callbacks=[one_cycle],
        max_epochs=epochs,
        batch_size=batch_size,
        augment=[RandomHorizontalFlip(), RandomShift(max_shift=2, fill="reflect")],
        amp=amp,
        memory_format="channels_last",
        device=options.device,
        random_state=random_state,
        verbose=1,
    )


def predict_proba(classifier, images):
    """Return the mean of the probabilities for images and their mirror images."""
    views = (images, images[:, :, ::-1])
    return sum(classifier.predict_proba(view) for view in views) / len(views)


# %%
# Training
# --------
# The time is that of ``whitening_filters``, ``fit`` and ``predict_proba``. On a GPU, an
# epoch that does not count comes first: it starts CUDA, which chooses its algorithms.
from time import perf_counter

import numpy as np
from sklearn.metrics import accuracy_score

if on_gpu:
    torch.backends.cudnn.benchmark = True
    short = make(0).set_params(max_epochs=1)
    predict_proba(short.fit(train.data, train.target), test.data)

accuracies, plain, times = [], [], []
for run in range(options.runs):
    start = perf_counter()
    classifier = make(run).fit(train.data, train.target)
    proba = predict_proba(classifier, test.data)
    times.append(perf_counter() - start)
    y_pred = classifier.classes_[proba.argmax(axis=1)]
    accuracies.append(100 * accuracy_score(test.target, y_pred))
    plain.append(100 * classifier.score(test.data, test.target))
    print(f"Run {run + 1}: {accuracies[-1]:.2f} % in {times[-1]:.2f} s")

# %%
# Loss and rate
# -------------
from skvision.inspection import HistoryDisplay, Table

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
HistoryDisplay.from_estimator(classifier, ax=left)
left.set(title="Training", ylabel="cross-entropy, labels smoothed by 0.2")
rates = np.concatenate(classifier.history[:, "batches", :, "lr"])
right.plot(np.linspace(0, epochs, len(rates)), rates / rates.max())
right.set(title="Schedule", xlabel="epoch", ylabel="learning rate / its maximum")
figure.savefig(options.output / "cifar10-94-training.png")

# %%
# Published and ours
# ------------------
if on_gpu:
    device = torch.cuda.get_device_name(options.device)
else:
    device = f"CPU, threads: {torch.get_num_threads()}"
dtype = "bfloat16" if amp else "float32"
rows = [
    ["airbench94, compiled", 94.01, 9.9, 3.29, "NVIDIA A100", 50_000],
    ["airbench94", 94.01, 9.9, 3.83, "NVIDIA A100", 50_000],
    ["ours", np.mean(accuracies), epochs, np.mean(times), device, len(train.data)],
    ["ours without mirror images", np.mean(plain), *[None] * 4],
]
spread = f", standard deviation {np.std(accuracies):.2f}" if options.runs > 1 else ""
table = Table(
    ["what", "accuracy in %", "epochs", "time in s", "device", "training images"],
    rows,
    title="CIFAR-10 to 94 %: published and ours",
    notes=[
        "airbench94: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, "
        "https://arxiv.org/abs/2404.00498; means of many runs.",
        f"Ours: mean of {options.runs} run(s){spread}, {len(test.data):,} test images, "
        f"in {dtype}.",
        "Time is that of training and prediction, without loading, on a GPU after a "
        "warm-up.",
        "Ours lacks airbench94's lookahead, its flips in turn, its shifted test images "
        "and its early end of learning in the first layer.",
    ],
)
table.save(options.output / "cifar10-94.md")
table.save(options.output / "cifar10-94.json")
print(f"\n{table}\n\nPictures and tables are in {options.output}")
