"""
=====================================
Choose and train a network for images
=====================================

A grid search over the learning rate, the optimizer and the width of a network, a
test on images that the search has not seen, and the pictures to go with them.

Without options, the images are scikit-learn's digits, and nothing is downloaded.
``--data fashion-mnist`` does the same with Fashion-MNIST, which is downloaded unless
``--data-home`` has it.
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

parser = argparse.ArgumentParser(description="Choose and train a network for images.")
parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
parser.add_argument("--data-home", help="folder with the files of Fashion-MNIST")
parser.add_argument("--full", action="store_true", help="search on all training images")
parser.add_argument("--n-jobs", type=int, default=1, help="processes of the search")
parser.add_argument("--output", type=Path, default=Path("results"), help="for pictures")
options = parser.parse_args()

# %%
# Images
# ------
# A quarter of the digits is kept for the test; Fashion-MNIST brings its own test
# images. Pixels are uint8, and the estimator scales them.
from sklearn.model_selection import train_test_split

from skvision.datasets import fetch_fashion_mnist, load_digits_images

if options.data == "digits":
    images = load_digits_images()
    X_train, X_test, y_train, y_test = train_test_split(
        images.data, images.target, stratify=images.target, random_state=0
    )
else:
    try:
        images = fetch_fashion_mnist(data_home=options.data_home)
        X_test, y_test = fetch_fashion_mnist(
            data_home=options.data_home, subset="test", return_X_y=True
        )
    except OSError as error:
        sys.exit(f"{error}\nOr run without --data for the digits, which need no files.")
    X_train, y_train = images.data, images.target

n_classes = len(images.target_names)
height, width = X_train.shape[1:]
print(f"{options.data}: {height}x{width} pixels, {n_classes} classes")
print(f"{len(X_train)} images for training, {len(X_test)} for testing")

# %%
# Search
# ------
# Any parameter of the estimator can be searched, those of the network by the prefix
# ``module__``. The search of a large data set makes do with a part of it.
from sklearn.model_selection import GridSearchCV

from skvision import ImageClassifier

X, y = X_train, y_train
if len(X) > 6000 and not options.full:
    X, _, y, _ = train_test_split(X, y, train_size=6000, stratify=y, random_state=0)
    print(f"The search uses {len(X)} of the training images; --full takes them all.")

hidden = [(32,), (256, 512)]
grid = [
    {"optimizer": ["adam"], "lr": [1e-3, 1e-2], "module__hidden": hidden},
    {
        "optimizer": ["sgd"],
        "optimizer__momentum": [0.9],
        "lr": [1e-2, 1e-1],
        "module__hidden": hidden,
    },
]
search = GridSearchCV(
    ImageClassifier("mlp", random_state=0),
    grid,
    cv=3,
    refit=False,
    n_jobs=options.n_jobs,
    verbose=3,
)
search.fit(X, y)
print(f"\nChosen: {search.best_params_}")

# %%
# What the candidates cost
# ------------------------
from skvision.inspection import Table, count_parameters
from skvision.networks import MLP

candidates = []
scores = search.cv_results_["mean_test_score"]
for setting, score in zip(search.cv_results_["params"], scores, strict=True):
    widths = setting["module__hidden"]
    network = MLP((1, height, width), n_classes, hidden=widths)
    candidates.append(
        [widths, setting["optimizer"], setting["lr"], count_parameters(network), score]
    )
columns = ["hidden", "optimizer", "lr", "parameters", "accuracy"]
print(f"\n{Table(columns, candidates)}")

# %%
# Final training
# --------------
# With the chosen setting, on all training images but the tenth on which early
# stopping watches the loss. The best weights are restored.
print(f"\nTraining on {len(X_train)} images, of which a tenth is for early stopping")
classifier = ImageClassifier(
    "mlp", max_epochs=30, early_stopping=True, random_state=0, verbose=1
)
classifier.set_params(**search.best_params_).fit(X_train, y_train)

# %%
# Test
# ----
from sklearn.metrics import accuracy_score, classification_report

y_pred = classifier.predict(X_test)
print(f"\nTest accuracy: {accuracy_score(y_test, y_pred):.4f}")
print(classification_report(y_test, y_pred, target_names=images.target_names, digits=4))

# %%
# Pictures
# --------
from sklearn.metrics import ConfusionMatrixDisplay

from skvision.inspection import HistoryDisplay

figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
ConfusionMatrixDisplay.from_estimator(
    classifier,
    X_test,
    y_test,
    display_labels=images.target_names,
    xticks_rotation=45 if options.data == "fashion-mnist" else 0,
    cmap="Blues",
    colorbar=False,
    ax=left,
)
left.set_title(f"Test images of {options.data}")

HistoryDisplay.from_estimator(classifier, ax=right)
right.set(title="Learning curves", ylabel="cross-entropy")

options.output.mkdir(parents=True, exist_ok=True)
path = options.output / f"quickstart-{options.data}.png"
figure.savefig(path)
print(f"Pictures are in {path}")
