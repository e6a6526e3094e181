"""From what the user gives to checked training and validation rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    validate_data,
)
from torch.utils.data import Dataset, Subset

from skvision._random import next_seed
from skvision.datasets._readers import ArrayReader, PathReader
from skvision.datasets._sequence import ImageSequence
from skvision.preprocessing._inputs import (
    _to_numpy,
    appearance,
    as_images,
    is_flat,
    labels_in,
    without_labels,
    wrong_shape,
)
from skvision.preprocessing._scaling import channel_statistics
from skvision.training._batches import ImageDataset

__all__ = ["DataMixin", "Split", "check_normalize_pair", "read_files"]

_FILES_AT_ONCE = 64


class Split(NamedTuple):
    """Training and validation rows on their way through skorch's fit_loop."""

    train: ImageDataset
    valid: ImageDataset | None


class DataMixin:
    """Checks X, y and weights, learns their shapes, and holds rows out."""

    def _check_images(self, X, *, reset):
        """Return X as an ImageSequence; learn or compare its shape."""
        fold = None if self.image_shape is None else tuple(self.image_shape)
        given = X
        X = without_labels(X)
        if is_flat(X):
            X = _to_numpy(X) if isinstance(X, torch.Tensor) else X
            X = validate_data(self, X, reset=reset, dtype="numeric")
            images = self._fold(ArrayReader(X, "flat"), fold)
        else:
            expected = None if reset else self.image_shape_
            images = as_images(X, channels=self.channels, expected=expected)
            if reset:
                vars(self).pop("feature_names_in_", None)
            if images.flat:
                images = self._fold(images.reader, fold, images.rows)
        if fold is not None and images.image_shape != fold:
            raise ValueError(
                f"image_shape={fold}, but X has images of shape {images.image_shape}."
            )
        if self.dtype == "float32":
            _check_range(images)
        if reset:
            self.image_shape_ = images.image_shape
            self._flat = images.flat
            self.n_features_in_ = math.prod(images.image_shape)
            self._layout, self._pixel_dtype = appearance(given, images)
        elif images.image_shape != self.image_shape_ or images.flat != self._flat:
            raise wrong_shape(
                images.image_shape, self.image_shape_, type(self).__name__
            )
        return images

    def _fold(self, reader, image_shape, rows=None):
        if image_shape is not None:
            n_features = reader.image_shape[2]
            if math.prod(image_shape) != n_features:
                raise ValueError(
                    f"image_shape={image_shape} has {math.prod(image_shape)} values, "
                    f"but the rows of X have {n_features} features."
                )
            reader = ArrayReader(reader.array, "flat", image_shape=image_shape)
        return ImageSequence(reader, rows)

    def _check_training_data(self, X, y, sample_weight, *, reset, classes=None):
        y = self._check_target(X, y)
        images = self._check_images(X, reset=reset)
        check_consistent_length(images, y)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, images, dtype=np.float64, ensure_non_negative=True
            )
            if not weight.any():
                raise ValueError("sample_weight is zero for every row of X.")
            if not weight.all():
                # A weight of zero is to be as good as the row's absence, also for
                # batch statistics, so these rows take no part at all.
                kept = np.flatnonzero(weight)
                images, weight = images[kept], weight[kept]
                y = None if y is None else y[kept]
        y, weight = self._encode_target(y, weight, reset=reset, classes=classes)
        return ImageDataset(images, y, _unit_mean(weight, self._dtype))

    def _given_or_carried(self, X, y):
        """Return y, or the labels that X carries."""
        if y is None and (y := labels_in(X)) is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None, and X carries no labels."
            )
        return y

    def _split(self, data):
        """Return training and validation rows."""
        if self.early_stopping:
            train, valid = self._hold_out(data)
        elif self.train_split:
            targets = () if data.y is None else (data.y.numpy(),)
            parts = self.train_split(data, *targets)
            pair = () if isinstance(parts, Dataset) else tuple(parts)
            if len(pair) != 2:
                raise TypeError(
                    "train_split should return two data sets, for training and for "
                    f"validation; got {type(parts).__name__}."
                )
            train, valid = pair
        else:
            return Split(data, None)
        return Split(self._own_dataset(train), self._own_dataset(valid))

    def _hold_out(self, data):
        n = len(data)
        n_valid = math.ceil(self.validation_fraction * n)
        strata = self._strata(data.y)
        if strata is not None:
            counts = np.unique(strata, return_counts=True)[1]
            if counts.min() < 2 or n < 2 * len(counts):
                strata = None  # Some class has too few rows to be on both sides.
            else:
                n_valid = min(max(n_valid, len(counts)), n - len(counts))
        if n_valid == n:
            raise ValueError(
                f"early_stopping=True cannot hold out {n_valid} row(s) of X with "
                f"n_samples={n}."
            )
        rows = train_test_split(
            np.arange(n),
            test_size=n_valid,
            stratify=strata,
            random_state=next_seed(self._generator),
        )
        return (data.subset(np.sort(part)) for part in rows)

    def _own_dataset(self, data):
        """Return rows that a train_split chose or brought as an ImageDataset."""
        if data is None:
            return None
        if isinstance(data, Subset) and isinstance(data.dataset, ImageDataset):
            data = data.dataset.subset(np.asarray(data.indices))
        if isinstance(data, ImageDataset):
            weight = data.sample_weight
            return ImageDataset(data.images, data.y, _unit_mean(weight, self._dtype))
        return self._check_training_data(data, None, None, reset=False)

    def _known_scaling(self, spec):
        """Return mean and deviation that need no training rows, or None."""
        if self.normalize is None:
            return None, None
        pair = self.normalize
        if isinstance(pair, str):
            trained = getattr(self.pretrained, "scaler_", None)
            if trained is not None:
                # Pretrained weights go with the pixels that they were trained on.
                if trained.mean is None:
                    return None, None
                pair = [v.flatten().tolist() for v in (trained.mean, trained.std)]
            elif spec is not None and spec.mean is not None:
                pair = spec.mean, spec.std
            else:
                return None
        return check_normalize_pair(pair, self._facts().get("image_shape"), self._flat)

    def _fit_scaling(self, data):
        """Learn the normalisation if it is not known; return whether that was so."""
        if self._scaling_known:
            return False
        weight = data.sample_weight
        pair = channel_statistics(
            data.images,
            sample_weight=None if weight is None else weight.numpy(),
            dtype=self._dtype,
        )
        self.scaler_.set_statistics(*pair, device=self.device_)
        self._scaling_known = True
        return True


def read_files(*parts):
    """Read the images of data sets once, where they are files of the user's."""
    for part in parts:
        if part is not None and isinstance(part.images.reader, PathReader):
            for start in range(0, len(part), _FILES_AT_ONCE):
                part.images.read_stored(slice(start, start + _FILES_AT_ONCE))


def _check_range(images):
    """Check that float64 values stay finite as float32."""
    array = getattr(images.reader, "array", None)
    if array is not None and array.dtype == np.float64:
        largest = max(array.max(), -array.min())
        if largest > np.finfo(np.float32).max:
            raise ValueError(
                f"Input X contains a value too large for float32, {largest:.4g}. Scale "
                "X, or set dtype='float64'."
            )


def _unit_mean(weight, dtype):
    """Scale weights to a mean of 1."""
    if weight is None:
        return None
    weight = np.asarray(weight, dtype=np.float64)
    return torch.from_numpy(weight / weight.mean()).to(dtype)


def check_normalize_pair(normalize, image_shape, flat):
    """Return mean and standard deviation given by the user as arrays."""
    try:
        mean, std = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in normalize)
    except (TypeError, ValueError):
        mean = std = None
    if image_shape is None:
        width = 1 if mean is None else mean.size
    else:
        width = image_shape[2] if flat else image_shape[0]
    if (
        mean is None
        or mean.shape not in [(1,), (width,)]
        or std.shape not in [(1,), (width,)]
        or not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all())
    ):
        raise ValueError(
            f"normalize={normalize!r} is not a pair (mean, std) of finite numbers, std "
            f"positive, one for each of the {width} channels or one for all."
        )
    return mean, std
