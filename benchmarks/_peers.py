"""Other libraries that train on torch, each where it is installed.

    pip install keras lightning fastai

All take the same networks, the same float arrays, SGD and shuffled batches. What they
print, write and save by themselves is turned off where they have a switch for it.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Task(NamedTuple):
    """A network, and what it is to be trained on for an epoch."""

    build: Callable[[], nn.Module]
    X: np.ndarray
    y: np.ndarray
    batch_size: int
    lr: float


def installed() -> dict[str, str]:
    """Return the versions of those libraries that are installed."""
    return {name: version(name) for name in SIDES if find_spec(name) is not None}


def peers(task: Task) -> dict[str, Callable[[], object]]:
    """Return what trains for an epoch; each call does it with a fresh network."""
    return {f"{name}, float arrays": partial(SIDES[name], task) for name in installed()}


def fit_keras(task: Task) -> None:
    # Read when Keras is imported for the first time.
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.backend.backend() != "torch":
        raise RuntimeError(
            f"Keras was imported with {keras.backend.backend()}, not torch."
        )
    # torch's own layout, without which Keras permutes every batch.
    keras.config.set_image_data_format("channels_first")
    with keras.device("cpu"):
        model = to_keras(task.build(), task.X.shape[1:])
        model.compile(
            optimizer=keras.optimizers.SGD(task.lr),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(task.X, task.y, batch_size=task.batch_size, epochs=1, verbose=0)


def to_keras(network: nn.Module, image_shape: tuple[int, ...]) -> Any:
    """Return a network's convolutions, poolings and linear layers as Keras's."""
    from keras import Input, Sequential, layers

    parts = [m for m in network.modules() if not list(m.children())]
    found: list[Any] = [Input(image_shape)]
    for part, follower in zip(parts, [*parts[1:], None], strict=True):
        activation = "relu" if isinstance(follower, nn.ReLU) else None
        if isinstance(part, nn.Conv2d):
            found.append(
                layers.Conv2D(
                    part.out_channels,
                    part.kernel_size,
                    part.stride,
                    activation=activation,
                )
            )
        elif isinstance(part, nn.MaxPool2d):
            found.append(layers.MaxPooling2D(part.kernel_size, part.stride))
        elif isinstance(part, nn.Linear):
            if not any(
                isinstance(layer, (layers.Flatten, layers.Dense)) for layer in found
            ):
                found.append(layers.Flatten())
            found.append(layers.Dense(part.out_features, activation=activation))
    model = Sequential(found)
    if model.count_params() != sum(p.numel() for p in network.parameters()):
        raise ValueError("Keras's network has other parameters than torch's.")
    return model


def loader(task: Task) -> DataLoader:
    data = TensorDataset(torch.from_numpy(task.X), torch.from_numpy(task.y))
    return DataLoader(data, task.batch_size, shuffle=True)


def fit_lightning(task: Task) -> None:
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = task.build()

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            X, y = batch
            loss = nn.functional.cross_entropy(self.network(X), y)
            self.log("train_loss", loss, on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=task.lr)

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # That there are no workers is meant.
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(), loader(task))


def fit_fastai(task: Task) -> None:
    with warnings.catch_warnings():
        # It still uses torch.jit.
        warnings.simplefilter("ignore", FutureWarning)
        from fastai.callback import progress  # noqa: F401
        from fastai.data.core import DataLoaders
        from fastai.learner import Learner
        from fastai.optimizer import SGD

    # It wants validation rows. A single one is next to nothing.
    single = task._replace(X=task.X[:1], y=task.y[:1], batch_size=1)
    learner = Learner(
        DataLoaders(loader(task), loader(single), device="cpu"),
        task.build(),
        loss_func=nn.functional.cross_entropy,
        opt_func=SGD,
        lr=task.lr,
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(1)


SIDES: dict[str, Callable[[Task], None]] = {
    "keras": fit_keras,
    "lightning": fit_lightning,
    "fastai": fit_fastai,
}
