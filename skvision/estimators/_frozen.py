"""The part of a network that is not trained, run once for each image.

It makes the same of an image in every epoch, so that the rest of the network, the head,
is trained on what it made. Fits whose part and images are the same share that.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.callbacks import (
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
)
from torch import nn

from skvision._compat import (
    forget_forward_hooks,
    forward_hooks,
    forward_pre_hooks,
    n_changes,
    norms,
)
from skvision._identity import Unidentified, fingerprint
from skvision._random import isolated_random_state
from skvision._warnings import warn
from skvision.estimators._own_steps import BATCH_HOOKS, overrides, own_step
from skvision.images._identity import row_names
from skvision.images._readers import ArrayReader, PathReader
from skvision.images._sequence import ImageSequence
from skvision.networks._division import Divided, divided, with_same_weights
from skvision.networks._transfer import released_names, train_unfrozen
from skvision.persistence._feature_store import FeatureStore
from skvision.training._batches import BatchLoader, ImageDataset
from skvision.training._memory import free_memory
from skvision.training._targets import NoTarget

# What a subclass of the user's, or a callback, would be told other images by.
_STEPS = ("run_single_epoch", "_prepared", "train_step", "validation_step")
_PREDICTING = ("forward_iter", "evaluation_step")
# Callbacks that hear of batches, and do not look at their images.
_LOOK_AT_NO_IMAGES = (EpochScoring, GradientNormClipping, LRScheduler, ProgressBar)
# Images with which it is tried where a network can be divided.
_N_TRIED = 2
# Of the memory that is free, what features may take before they lie in a file.
_OF_MEMORY = 4
# Values of an image, times this, beyond which to read features from a file takes as
# long as to make them.
_OF_IMAGE = 4
# Attributes that all layers have.
_OF_ALL = vars(nn.Module()).keys()
#: By networks that have been divided, as long as there are these.
_known: weakref.WeakKeyDictionary[nn.Module, FrozenPart] = weakref.WeakKeyDictionary()


class Features:
    """A batch of what the frozen part of a network made of images.

    Parameters
    ----------
    values : torch.Tensor of shape (b, n_features)
    part : FrozenPart
    """

    def __init__(self, values: torch.Tensor, part: FrozenPart) -> None:
        self.values, self.part = values, part

    def __len__(self) -> int:
        return len(self.values)


class Views:
    """Batches of rows, each of which has the features of a version of its image.

    Parameters
    ----------
    net : ImageClassifier or ImageRegressor
    data : ImageDataset of length n
    features : ImageSequence of length n * n_views
        Of all rows for the first version, then of all for the next.
    """

    def __init__(self, net: Any, data: ImageDataset, features: ImageSequence) -> None:
        self.net, self.data, self.features = net, data, features

    def rows(self, version: np.ndarray) -> ImageDataset:
        """Return the rows with their images' features in these versions."""
        n, data = len(self.data), self.data
        images = self.features[version * n + np.arange(n)]
        return ImageDataset(images, data.y, data.sample_weight)

    def __iter__(self) -> Iterator[Any]:
        n, net = len(self.data), self.net
        drawn = torch.randint(net.n_views, (n,), generator=net._generator)
        yield from net.get_iterator(self.rows(drawn.numpy()), training=True)


class FrozenPart:
    """The part of an estimator's network that is not trained.

    Parameters
    ----------
    network : torch.nn.Module
        All of it.
    found : Divided
        What was found of it, or of one that it is a copy of.
    channels_last : bool
        How images lie in memory.

    Attributes
    ----------
    head : torch.nn.Module
        The rest of the network, which gets the features.
    layer : str
        Its first layer.
    """

    def __init__(
        self, network: nn.Module, found: Divided, *, channels_last: bool
    ) -> None:
        self.found, self.layer = found, found.division.layer
        self.head = found.division.head(network)
        self.shape, self.dtype = found.features.shape[1:], found.features.dtype
        self.channels_last = channels_last
        self._seen = [(tensor, n_changes(tensor)) for tensor in self._tensors(network)]
        self._state = self._state_of(network)
        #: The same without hooks of the user's, where these change nothing.
        self._told = found.trunk
        self._name: str | None = None

    @classmethod
    def of(cls, net: Any, images: ImageSequence) -> FrozenPart | None:
        """Return the frozen part of an estimator's network, if it can be divided."""
        network = net.module_
        known = _known.get(network)
        if known is not None and known.is_of(network, thorough=True):
            return known
        if all(weight.requires_grad for weight in network.parameters()):
            return None
        if len(images) < _N_TRIED:
            return None
        with isolated_random_state(net.device_):
            batch = net._to_input(images.read(slice(0, _N_TRIED)))
            found = divided(network, batch, partial(_to_training, net))
            if found is None:
                return None
            part = cls(network, found, channels_last=net._channels_last)
            part._look_at_hooks(batch)
        _known[network] = part
        return part

    def _look_at_hooks(self, images: torch.Tensor) -> None:
        """Leave hooks out of what tells the part from others, if they only look on.

        What they hold, such as a count, may be another one in each fit.
        """
        trunk = self.found.trunk
        if not _hooks_of(trunk):
            return
        bare = with_same_weights(trunk)
        for layer in bare.modules():
            forget_forward_hooks(layer)
        with torch.no_grad():
            if torch.equal(bare(images), trunk(images)):
                self._told = bare

    def of_copy(self, network: nn.Module) -> FrozenPart:
        """Return the part of a copy of the network."""
        return type(self)(network, self.found, channels_last=self.channels_last)

    def is_of(self, network: nn.Module, *, thorough: bool) -> bool:
        """Whether this is the part of a network still, and has not been changed.

        Code of the user's may change weights without a trace, and attributes of layers.
        """
        now = [*self._tensors(network)]
        same = len(now) == len(self._seen) and all(
            tensor is seen and n_changes(tensor) == n and not tensor.requires_grad
            for tensor, (seen, n) in zip(now, self._seen, strict=True)
        )
        return same and (not thorough or self._state == self._state_of(network))

    def _state_of(self, network: nn.Module) -> tuple[Any, ...]:
        """Return what weights and layers are like, as it can be told quickly."""
        tensors = [t for t in self._tensors(network) if t.is_floating_point()]
        sizes = [float(norm) for norm in norms(tensors)] if tensors else []
        sizes += [float(tensor.detach().sum()) for tensor in tensors]
        try:
            name: Any = fingerprint(_layers_of(network))
        except Unidentified:
            name = object()  # Equal to no other one.
        return sizes, name, _hooks_of(network)

    def _tensors(self, network: nn.Module) -> Iterator[torch.Tensor]:
        """Yield weights and buffers that are not the head's."""
        own = {id(tensor) for tensor in (*self.head.parameters(), *self.head.buffers())}
        for tensor in (*network.parameters(), *network.buffers()):
            if id(tensor) not in own:
                yield tensor

    def to_input(self, values: torch.Tensor) -> torch.Tensor:
        """Return what the head gets of stored features, (..., n_features)."""
        return values.to(self.dtype).unflatten(-1, self.shape)

    # ------------------------------------------------------------------------- features

    def made_of(self, net: Any, data: ImageDataset | None) -> ImageDataset | None:
        """Return the rows of a data set with features in the place of their images."""
        if data is None:
            return None
        folder = net.feature_cache
        shape = len(data), math.prod(self.shape)
        values = _allocated(shape, net._dtype)
        name = None if folder is None else self._named(net)
        if name is None:
            self._make(net, data.images, values)
        else:
            store = FeatureStore(folder, name)
            self._take(net, data.images, values, store)
        images = ImageSequence(ArrayReader(values, "flat"))
        return ImageDataset(images, data.y, data.sample_weight)

    def views_of(self, net: Any, data: ImageDataset) -> Views:
        """Return the rows of several versions of images, each changed at random."""
        n = len(data)
        values = _allocated((net.n_views * n, math.prod(self.shape)), net._dtype)
        for i in range(net.n_views):
            out = values[i * n : (i + 1) * n]
            self._make(net, data.images, out, seed=net._seed + i)
        return Views(net, data, ImageSequence(ArrayReader(values, "flat")))

    def _make(
        self,
        net: Any,
        images: ImageSequence,
        out: np.ndarray,
        seed: int | None = None,
    ) -> None:
        """Run the part on images, and put what it makes of them into an array.

        With a seed, they are changed at random as in training.
        """
        n_done, kind = 0, net.device_.type
        with torch.no_grad(), isolated_random_state(net.device_, seed):
            for batch in net._in_order(ImageDataset(images)):
                changed = batch[0] if seed is None else net._augmented(batch[0])
                x = net._to_input(changed)
                amp = torch.autocast(kind, dtype=torch.bfloat16, enabled=bool(net.amp))
                with amp:
                    made = self.found.trunk(x).flatten(1)
                out[n_done : n_done + len(made)] = made.to("cpu", net._dtype).numpy()
                n_done += len(made)

    def _take(
        self, net: Any, images: ImageSequence, out: np.ndarray, store: FeatureStore
    ) -> None:
        """Take what others have made of images, and make the rest for them, too."""
        names = row_names(images)
        missing = store.take(names, out)
        if not len(missing):
            return
        # Some images may be there more than once.
        first: dict[bytes, int] = {}
        for row in missing:
            first.setdefault(names[row], int(row))
        rows = np.array(list(first.values()))
        made = _allocated((len(rows), out.shape[1]), net._dtype)
        self._make(net, images[rows], made)
        places = {name: place for place, name in enumerate(first)}
        out[missing] = made[[places[names[row]] for row in missing]]
        try:
            store.put(list(first), made)
        except OSError as error:
            warn(
                f"feature_cache={str(store.folder.parent)!r}: features could not be "
                f"kept there: {error}. They are made again by the next fit."
            )

    def _named(self, net: Any) -> str | None:
        """Return a name for the part with all that happens to images before it."""
        scaler = net.scaler_
        try:
            if self._name is None:
                self._name = fingerprint(
                    _layers_of(self._told),
                    _tensors_of(self._told),
                    _hooks_of(self._told),
                )
            pixels = scaler.mean, scaler.std, scaler.divisors, scaler.spec
            rest = self._name, pixels, self.shape, net.dtype, bool(net.amp)
            return fingerprint(*rest, net._channels_last, net.device_.type)
        except Unidentified as error:
            warn(
                "Features are not shared with other fits, since it cannot be told "
                f"which networks are the same: {error}."
            )
            return None


def _layers_of(network: nn.Module) -> list[tuple[Any, ...]]:
    """Return what there is to know of layers beside their weights."""
    return [
        (
            name,
            type(layer),
            {k: v for k, v in vars(layer).items() if k not in _OF_ALL},
        )
        for name, layer in network.named_modules(remove_duplicate=False)
    ]


def _hooks_of(network: nn.Module) -> list[Any]:
    """Return what is called before and after layers."""
    found: list[Any] = []
    for layer in network.modules():
        found += [*forward_hooks(layer), *forward_pre_hooks(layer)]
    return found


def _tensors_of(network: nn.Module) -> list[tuple[str, torch.Tensor]]:
    weights = network.named_parameters(remove_duplicate=False)
    return [*weights, *network.named_buffers(remove_duplicate=False)]


def _to_training(net: Any, network: nn.Module) -> None:
    """Put a copy of an estimator's network into the mode in which it is trained."""
    network.train()
    if net.freeze is not None:
        train_unfrozen(network)


def part_for_training(net: Any, split: Sequence[Any], n_epochs: int) -> Any:
    """Return the part of a network that need not run in each epoch, None if it must."""
    if net.unfreeze_at is not None:
        released = released_names(net.module_, net._frozen, net.unfreeze_at)
        n_epochs = min(n_epochs, min(released) - 1 - len(net.history))
    rows = [part for part in split if part is not None]
    if (
        n_epochs < (1 if net.feature_cache else 2)
        or (net.augment is not None and net.n_views is None)
        or not _may_share(net, _STEPS)
        or any(_looks_at_images(callback) for _, callback in net.callbacks_)
        or not all(map(_is_read_alike, rows))
    ):
        return None
    part = FrozenPart.of(net, split[0].images)
    copies = [*rows, *[split[0]] * ((net.n_views or 1) - 1)]
    return part if part is not None and _has_room(part, copies) else None


def part_for_prediction(net: Any, data: ImageDataset) -> FrozenPart | None:
    """Return the part whose features predictions share with others, if any."""
    if net.feature_cache and _may_share(net, _PREDICTING) and _is_read_alike(data):
        return FrozenPart.of(net, data.images)
    return None


def has_own_callbacks(net: Any) -> bool:
    """Whether a callback of the user's might change what is frozen."""
    kinds = (type(callback).__module__ for _, callback in net.callbacks_)
    return any(kind.split(".")[0] not in ("skorch", "skvision") for kind in kinds)


def _looks_at_images(callback: Any) -> bool:
    """Whether a callback is told of batches, and may look at their images."""
    if type(callback) in _LOOK_AT_NO_IMAGES:
        return False
    return any(overrides(callback, hook) for hook in BATCH_HOOKS)


def _may_share(net: Any, steps: tuple[str, ...]) -> bool:
    """Whether all is done to images in the way that is known."""
    iterators = net.iterator_train, net.iterator_valid
    return (
        net.feature_cache is not False
        and net._codec is not NoTarget
        and all(iterator is BatchLoader for iterator in iterators)
        and own_step(type(net), steps) is None
    )


def _is_read_alike(data: ImageDataset) -> bool:
    """Whether images are the same whenever they are read."""
    images = data.images
    return images.reading != "each_time" or isinstance(images.reader, PathReader)


def _has_room(part: FrozenPart, rows: Sequence[ImageDataset]) -> bool:
    """Whether features fit into memory, or are worth a file."""
    n_values = math.prod(part.shape)
    needed = 8 * n_values * sum(map(len, rows))
    if needed < _memory():
        return True
    small = n_values <= _OF_IMAGE * math.prod(rows[0].images.image_shape)
    return small and needed < shutil.disk_usage(tempfile.gettempdir()).free // 2


def _memory() -> int:
    return free_memory(torch.device("cpu")) // _OF_MEMORY


def _allocated(shape: tuple[int, int], dtype: torch.dtype) -> np.ndarray:
    """Return an array, in a file that nobody sees where it is too large for memory."""
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    if math.prod(shape) * kind.itemsize < _memory():
        return np.empty(shape, kind)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, kind, mode="w+", shape=shape)
