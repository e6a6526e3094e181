"""Estimators and images made of a configuration, and the networks that take part."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.base import clone
from skorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    TrainEndCheckpoint,
)
from skorch.helper import SliceDataset, predefined_split
from skorch.utils import noop
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.training import GradientRecorder

ESTIMATORS: dict[str, Any] = {
    "classifier": ImageClassifier,
    "regressor": ImageRegressor,
    "autoencoder": ImageAutoencoder,
}
LABELS: dict[str, list[Any]] = {
    "codes": [0, 1, 2, 3],
    "numbers": [3, 7, 20, 21],
    "negative": [-5, 0, 9, 300],
    "strings": ["cat", "dog", "emu", "ox"],
    "floats": [0.0, 1.0, 2.0, 5.0],
    "booleans": [False, True],
}
#: Of folders with one sub-folder for each class.
N_FOLDERS = 3


class Data(NamedTuple):
    """What is given to ``fit``."""

    layout: str
    shape: tuple[int, int, int]
    n: int
    dtype: str
    #: A key of LABELS and a number of classes, or a shape and a dtype.
    target: tuple[Any, Any]
    container: str = "array"
    weights: str | None = None
    transform: str = "plain"


class Configuration(NamedTuple):
    """An estimator's parameters, and those that need data or a folder to be made."""

    kind: str
    params: dict[str, Any]
    later: dict[str, Any]
    data: Data
    goes_on: bool = False


class Case(NamedTuple):
    """An estimator that is not fitted yet, and what to fit it with."""

    net: Any
    X: Any
    y: Any
    sample_weight: np.ndarray | None


def build(configuration: Configuration, folder: Path) -> Case:
    """Return the estimator of a configuration, and its data.

    Parameters
    ----------
    configuration : Configuration
    folder : Path
        An empty one, for image files, weights and checkpoints.
    """
    kind, given, later, data, _ = configuration
    rng = np.random.RandomState(data.n)
    pixels, labels = _pixels(data, data.n, rng), _labels(data, kind, data.n, rng)
    X, y = _images(data, pixels, labels, folder)
    params = {**given}
    if later.get("class_weight"):
        params["class_weight"] = dict.fromkeys(np.unique(labels).tolist(), 1.5)
    if later.get("module"):
        n_outputs = len(np.unique(labels)) if kind == "classifier" else labels[0].size
        params["module"] = sequential(data.shape, n_outputs)
    if later.get("predefined"):
        targets = _labels(data, kind, 8, rng)
        items = list(zip(_pixels(data, 8, rng), targets, strict=True))
        params["train_split"] = predefined_split(Items(items))
    if later.get("checkpoint"):
        params["checkpoint"] = folder / "checkpoints"
    if later.get("callbacks"):
        params["callbacks"] = [CALLBACKS[name](folder) for name in later["callbacks"]]
    weight = None
    if data.weights is not None:
        weight = rng.uniform(0.5, 2, size=data.n)
        weight[: 3 * (data.weights == "some zeros")] = 0
    net = ESTIMATORS[kind](**params)
    if later.get("pretrained"):
        fitted = _pretrained(later["pretrained"], net, X, y, folder)
        net.set_params(pretrained=fitted)
    return Case(net, X, y, weight)


# --------------------------------------------------------------------------- networks


class Small(nn.Module):
    """One hidden layer, for images and rows."""

    def __init__(
        self, image_shape: tuple[int, ...], n_outputs: int, width: int = 4
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(prod(image_shape), width)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, images: torch.Tensor) -> Any:
        return self.head(self.hidden(images.flatten(1)).relu())


class Lazy(nn.Module):
    """Layers that learn their width from the first batch."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.hidden = nn.LazyLinear(5)
        self.head = nn.LazyLinear(n_outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(images.flatten(1)).tanh())


class WithFeatures(Small):
    """A network with a second output."""

    def forward(self, images: torch.Tensor) -> Any:
        features = self.hidden(images.flatten(1)).relu()
        return self.head(features), features


class LogProbabilities(Small):
    """A network for `torch.nn.NLLLoss`."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).log_softmax(1)


class SmallAutoencoder(nn.Module):
    """A code of a few numbers, for images and rows."""

    def __init__(self, image_shape: tuple[int, ...], width: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(prod(image_shape), width))
        self.decoder = nn.Sequential(
            nn.Linear(width, prod(image_shape)), nn.Unflatten(1, image_shape)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(images)).reshape(images.shape)


def sequential(
    image_shape: tuple[int, ...], n_outputs: int, width: int = 4
) -> nn.Sequential:
    """Return a network; functions are taken as well as classes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(image_shape), width),
        nn.BatchNorm1d(width),
        nn.Linear(width, n_outputs),
    )


# ----------------------------------------------------------- what users write as well


def negative(image: torch.Tensor) -> torch.Tensor:
    """Return the negative of an image."""
    return 1 - image


def mean_code(net: Any, X: Any, y: Any = None) -> float:
    """Score an autoencoder."""
    return float(net.transform(X).mean())


def first_loss(net: Any, X: Any, y: Any = None) -> float:
    """Score an estimator in training."""
    return net.history[-1, "batches", 0, "train_loss"]


class Items(Dataset):
    """A data set of (image, target) pairs."""

    def __init__(self, items: list[tuple[np.ndarray, Any]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, Any]:
        image, target = self.items[row]
        return torch.from_numpy(image), target


#: Functions of a folder.
CALLBACKS: dict[str, Callable[[Path], Any]] = {
    "schedule": lambda folder: LRScheduler("StepLR", step_size=1),
    "cosine": lambda folder: LRScheduler(
        "CosineAnnealingLR", T_max=3, step_every="batch"
    ),
    "plateau": lambda folder: LRScheduler("ReduceLROnPlateau", monitor="train_loss"),
    "clipping": lambda folder: GradientNormClipping(1.0),
    "gradients": lambda folder: GradientRecorder(n_steps=3),
    "stopping": lambda folder: EarlyStopping("train_loss", patience=1, sink=noop),
    "named": lambda folder: ("mine", EpochScoring(first_loss, name="mine")),
    "class": lambda folder: GradientNormClipping,
    "files": lambda folder: Checkpoint(monitor=None, dirname=str(folder / "epochs")),
    "last": lambda folder: TrainEndCheckpoint(dirname=str(folder / "last"), sink=noop),
}


def _pretrained(source: str, net: Any, X: Any, y: Any, folder: Path) -> Any:
    """Return weights as `pretrained` takes them, of a fit of the same network."""
    if source == "autoencoder":
        shape, channels = net.image_shape, net.channels
        whole = ImageAutoencoder(image_shape=shape, channels=channels, max_epochs=1)
        return whole.fit(X)
    fitted = clone(net).set_params(checkpoint=None, callbacks=None)
    fitted.set_params(freeze=None, unfreeze_at=None).fit(X, y)
    if source == "estimator":
        return fitted
    if source == "module":
        return fitted.module_
    state = fitted.module_.state_dict()
    if source == "state_dict":
        return state
    path = folder / f"weights.{source}"
    if source == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)
    return path


# ------------------------------------------------------------------- images and labels


def _pixels(data: Data, n: int, rng: np.random.RandomState) -> np.ndarray:
    """Return random images, of shape (n, C, H, W)."""
    shape = (n, *data.shape)
    if data.dtype == "uint8":
        return rng.randint(0, 256, size=shape).astype(np.uint8)
    if data.dtype in ("bool", "int16"):
        return rng.randint(0, 2, size=shape).astype(data.dtype)
    return rng.uniform(size=shape).astype(data.dtype)


def _labels(data: Data, kind: str, n: int, rng: np.random.RandomState) -> np.ndarray:
    if data.layout.startswith("folder"):
        return np.arange(n) % N_FOLDERS
    if kind == "classifier":
        name, n_classes = data.target
        return np.array(LABELS[name])[rng.permutation(np.arange(n) % n_classes)]
    shape, dtype = data.target
    return rng.normal(size=(n, *shape)).astype(dtype)


def _contained(labels: np.ndarray, container: str) -> Any:
    """Return labels as users may have them."""
    if container == "list":
        return labels.tolist()
    if container == "objects":
        return labels.astype(object)
    if container == "series":
        return pd.Series(labels)
    return labels.reshape(-1, 1) if container == "column" else labels


def _last(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(pixels, 1, -1))


def _rows(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)


def _read_only(pixels: np.ndarray) -> np.ndarray:
    pixels.flags.writeable = False
    return pixels


def _frame(pixels: np.ndarray) -> pd.DataFrame:
    rows = _rows(pixels)
    return pd.DataFrame(rows, columns=[f"pixel {i}" for i in range(rows.shape[1])])


def _pil(pixels: np.ndarray) -> list[Image.Image]:
    images = _last(pixels)
    return [Image.fromarray(i[..., 0] if i.shape[2] == 1 else i) for i in images]


#: X that needs neither labels nor files.
PLAIN: dict[str, Callable[[np.ndarray], Any]] = {
    "grey": lambda pixels: pixels[:, 0],
    "first": lambda pixels: pixels,
    "last": _last,
    "fortran": np.asfortranarray,
    "reversed": lambda pixels: pixels[:, :, ::-1, ::-1],
    "read-only": _read_only,
    "tensor": torch.from_numpy,
    "list": lambda pixels: [*_last(pixels)],
    "flat": _rows,
    "folded": _rows,
    "frame": _frame,
    "PIL": _pil,
}


def _images(
    data: Data, pixels: np.ndarray, labels: np.ndarray, folder: Path
) -> tuple[Any, Any]:
    """Return X and y, None where X carries the labels."""
    y = _contained(labels, data.container)
    if data.layout in PLAIN:
        return PLAIN[data.layout](pixels), y
    if data.layout == "map":
        np.save(folder / "images.npy", pixels)
        return np.load(folder / "images.npy", mmap_mode="r"), y
    if data.layout == "pairs":
        return [*zip(map(torch.from_numpy, pixels), labels, strict=True)], None
    if data.layout == "files":
        return _write(pixels, folder / "images", 1), y
    if data.layout.startswith("folder"):
        _write(pixels, folder / "images", N_FOLDERS)
        files = ImageFolder(folder / "images", _transform(data))
        return as_Xy(files) if data.layout == "folder as_Xy" else (files, None)
    codes = np.unique(labels, return_inverse=True)[1]
    targets = codes if labels.dtype.kind == "U" else labels
    tensors = TensorDataset(torch.from_numpy(pixels), torch.from_numpy(targets))
    if data.layout == "data set":
        return tensors, None
    return SliceDataset(tensors) if data.layout == "slices" else as_Xy(tensors)[0], y


def _write(pixels: np.ndarray, folder: Path, n_folders: int) -> list[str]:
    paths = []
    for i, image in enumerate(_pil(pixels)):
        path = folder / str(i % n_folders) / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        paths.append(str(path))
    return paths


def _transform(data: Data) -> Any:
    """Return a transform of image files: pixels alone, or more, or a random one."""
    n_channels, *size = data.shape
    steps: list[Any] = [v2.Grayscale()] if n_channels == 1 else []
    if data.transform == "resized":
        steps += [v2.Resize((size[0] + 2, size[1] + 1)), v2.CenterCrop(size)]
    if data.transform == "random":
        steps.append(v2.RandomHorizontalFlip())
    return v2.Compose([*steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
