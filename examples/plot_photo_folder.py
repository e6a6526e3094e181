"""
=========================================
Features of a folder of images, and a map
=========================================

What a network makes of an image before its head serves other estimators: here,
k-nearest neighbours and logistic regression learn from such features of image files in
folders, and t-SNE draws a map of the images.

``--folder`` takes a folder of your own, with a folder of images for each class, and
``--weights`` the features of a pretrained ResNet-18, whose weights are downloaded
unless they are there; without it, a small network is trained first.
"""

# Authors: The skvision developers
# SPDX-License-Identifier: BSD-3-Clause

# %%
# Options
# -------
import argparse
import tempfile
from pathlib import Path

parser = argparse.ArgumentParser(description="Features of a folder of images.")
parser.add_argument("--folder", type=Path, help="a folder of images for each class")
parser.add_argument("--weights", action="store_true", help="of a pretrained ResNet-18")
parser.add_argument("--output", type=Path, default=Path("results"), help="for pictures")
options = parser.parse_args()

# %%
# A folder of images
# ------------------
# Without ``--folder``, scikit-learn's digits are written into one.
from PIL import Image
from sklearn.model_selection import train_test_split

from skvision.datasets import load_digits_images, load_image_folder

folder = options.folder
if folder is None:
    temporary = tempfile.TemporaryDirectory()
    folder = Path(temporary.name)
    X, y = load_digits_images(return_X_y=True)
    for i, (image, digit) in enumerate(zip(X, y, strict=True)):
        (folder / str(digit)).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / str(digit) / f"{i}.png")

size = 224 if options.weights else 32
photos = load_image_folder(folder, image_size=size, on_error="skip")
images, kinds = photos.data, photos.target_names[photos.target]
train, test, kinds_train, kinds_test = train_test_split(
    images, kinds, stratify=kinds, random_state=0
)

# %%
# What makes the features
# -----------------------
# A pretrained network, which needs no training, or one that learns the classes first.
from skvision import ImageClassifier, ImageEmbedder

if options.weights:
    embedder = ImageEmbedder("resnet18").fit(train)
else:
    embedder = ImageClassifier("convnet", max_epochs=5, random_state=0)
    embedder.fit(train, kinds_train)
features, features_test = embedder.transform(train), embedder.transform(test)

# %%
# Two estimators of scikit-learn's
# --------------------------------
# The search draws how much the weights of the regression are held back.
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvision.inspection import Table

neighbours = KNeighborsClassifier(5).fit(features, kinds_train)
pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
search = RandomizedSearchCV(
    pipeline, {"logisticregression__C": loguniform(1e-3, 1e1)}, n_iter=8, random_state=0
).fit(features, kinds_train)
fitted = {"5 nearest neighbours": neighbours, "logistic regression": search}
rows = [
    [name, f"{one.score(features_test, kinds_test):.1%}"]
    for name, one in fitted.items()
]
print(Table(["estimator", "accuracy on test images"], rows))

# %%
# Which are confused, and a map
# -----------------------------
# Images that the network takes for alike lie side by side.
import matplotlib.pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.manifold import TSNE
from sklearn.metrics import ConfusionMatrixDisplay

figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
ConfusionMatrixDisplay.from_estimator(
    search, features_test, kinds_test, ax=left, colorbar=False
)
left.set_title("Logistic regression")
places = TSNE(random_state=0, perplexity=min(30, len(test) // 4)).fit_transform(
    features_test
)
right.scatter(*places.T, s=0)
for place, image in list(zip(places, test, strict=True))[:250]:
    thumbnail = OffsetImage(image, zoom=16 / image.shape[0], cmap="gray")
    right.add_artist(AnnotationBbox(thumbnail, place, frameon=False))
right.set(title="t-SNE of the features of test images", xticks=[], yticks=[])

options.output.mkdir(parents=True, exist_ok=True)
path = options.output / "photo-folder.png"
figure.savefig(path)
print(f"Pictures are in {path}")
