"""From what the user gives to checked rows, whose pixels are on the fit's scale."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length
from skorch.utils import to_device
from torch.utils.data import Dataset

from skvision._compat import check_sample_weight, safe_indexing
from skvision._random import next_seed
from skvision._warnings import warn
from skvision.estimators._frozen import Features, part_for_prediction
from skvision.estimators._parameters import wrong_order
from skvision.images._arrays import as_numpy
from skvision.images._files import is_missing, name_of, unreadable
from skvision.images._layout import Form
from skvision.images._names import renamed
from skvision.images._open import OpenedImages, labels_by_name, open_images
from skvision.images._readers import PathReader, unreadable_files
from skvision.images._resize import size_of
from skvision.images._schema import ImageSchema
from skvision.images._sequence import ImageSequence
from skvision.images._sources import Paths, source_of
from skvision.images._unwrap import unwrap
from skvision.networks._registry import weights_spec
from skvision.preprocessing._pixel_range import (
    divisors_for,
    is_outside,
    pixel_range,
    warn_of_scale,
)
from skvision.preprocessing._scaling import InputSpec, channel_statistics
from skvision.training._batches import ImageDataset, RowsReader, ShownDataset
from skvision.training._groups import check_groups, rows_of_groups
from skvision.training._targets import NoTarget

_FILES_AT_ONCE = 64
# Images that are read one by one, of which floats are looked at to know their range.
_N_LOOKED_AT = 64
# Standard deviations that no pixel is from the mean of all.
_FAR = 100


class Split(NamedTuple):
    """Training and validation rows on their way through skorch's fit_loop."""

    train: ImageDataset
    valid: ImageDataset | None


class Given(NamedTuple):
    """What a user may give to a fit beside X, y and weights.

    Attributes
    ----------
    classes : array-like or None
        All labels that may come.
    groups : array-like or None
        What each row belongs to.
    X_val, y_val, sample_weight_val : object
        Rows to validate on, as X, y and `sample_weight` are those to train on.
    """

    classes: Any = None
    groups: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None


class DataMixin:
    """Checks X, y and weights, learns their shapes and scales, and holds rows out."""

    #: What encodes targets.
    _codec: type[NoTarget] = NoTarget

    def get_dataset(self, X, y=None):
        """Return images and targets as skorch's data sets hold them.

        Parameters
        ----------
        X : images
            As in ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            Targets; None takes those that X carries.

        Returns
        -------
        dataset : skorch.dataset.Dataset
            Its ``X`` and ``y`` are as the user has them, but that labels whose names
            the estimator numbers otherwise are its own; `get_iterator` encodes them. X
            itself, where it is a data set and y is None.
        """
        if y is None and isinstance(X, Dataset):
            return X
        self.check_is_fitted()
        X, y = self._by_name(X, y)
        return ShownDataset(self._opened(X).images, y)

    def _encoded(self, data):
        """Return any data set as the loss gets it, without weights unless it has."""
        if isinstance(data, ImageDataset):
            return data
        if isinstance(data, ShownDataset) and data.source is not None:
            return ImageDataset(data.source.images, data.source.y)
        X, y = self._by_name(source_of(data), None)
        images = self._checked_scale(self._opened(X))
        if y is not None:
            y, _ = self._encode_target(self._codec.check(y), None, reset=False)
        return ImageDataset(images, y)

    def _to_predict(self, X):
        """Return images with the numbers of their rows in the place of targets."""
        if isinstance(X, ShownDataset) and X.source is not None:
            images = X.source.images
        elif isinstance(X, ImageDataset):
            images = X.images
        else:
            self.check_is_fitted()
            opened = X if isinstance(X, OpenedImages) else self._opened(X)
            images = self._checked_scale(opened)
        return ImageDataset(images, torch.arange(len(images)))

    def forward_iter(self, X, training=False, device="cpu"):
        """Yield the network's outputs for batches of X, in the order of its rows.

        Parameters
        ----------
        X : images
            As in ``fit``.
        training : bool, default=False
            Whether the network is in training mode, as for dropout while predicting.
        device : str or torch.device, default="cpu"
            Where the outputs are brought to.

        Yields
        ------
        outputs : torch.Tensor or tuple of them
        """
        data = self._to_predict(X)
        part = None if training else part_for_prediction(self, data)
        if part is not None:
            data = part.made_of(self, data)
        for images, *rest in self._in_order(data):
            batch = (images if part is None else Features(images, part), *rest)
            yield to_device(self.evaluation_step(batch, training), device=device)

    def _in_order(self, X):
        """Yield batches of X to predict, each of whose rows stands in its place."""
        data, n_done = self._to_predict(X), 0
        for batch in self.get_iterator(data):
            expected = torch.arange(n_done, n_done + len(batch[0]))
            if not torch.equal(batch[1].cpu(), expected):
                raise wrong_order(self.iterator_valid)
            n_done += len(expected)
            yield batch
        if n_done < len(data):
            raise wrong_order(self.iterator_valid)

    def _opened(self, X, *, reset=None):
        """Return images, without labels; learn or compare what is known of them."""
        reset = not self._has_facts() if reset is None else reset
        if reset:
            for name in ("feature_names_in_", "_resize", "_n_channels"):
                vars(self).pop(name, None)
        opened = open_images(
            X,
            labelled=False,
            form=self._form(reset=reset),
            image_shape=self.image_shape,
            fitted=None if reset else self.__skvision_schema__,
            estimator=self,
        )
        array = getattr(opened.images.reader, "array", None)
        if self.dtype == "float32" and getattr(array, "dtype", None) == np.float64:
            largest = max(array.max(), -array.min())
            if largest > np.finfo(np.float32).max:
                raise ValueError(
                    f"Input X contains a value too large for float32, {largest:.4g}. "
                    "Scale X, or set dtype='float64'."
                )
        if reset:
            schema = opened.schema
            vars(self).update(
                image_shape_=schema.shape,
                n_features_in_=math.prod(self.image_shape or schema.shape),
                _flat=schema.flat,
                _layout=schema.layout,
                _pixel_dtype=schema.dtype,
            )
            if self.image_size is not None:
                self._resize = self.resize
            if schema.n_channels is not None:
                self._n_channels = schema.n_channels
        return opened

    @property
    def __skvision_schema__(self):
        """What is known of the images of fit."""
        dtype = np.dtype(self._pixel_dtype)
        return ImageSchema(
            self.image_shape_,
            self._layout,
            dtype,
            self._flat,
            n_channels=self._n_channels,
        )

    @property
    def __skvision_form__(self):
        """How images are taken."""
        return self._form(reset=not self._has_facts())

    def _form(self, *, reset):
        """Return how images are taken, as in a first fit or as the last one did."""
        shape, brings = None if reset else self.image_shape_, False
        if not reset:
            # Rows of a train_split's are read before a network is built.
            scaler, brings = vars(self).get("scaler_"), self._resize is not None
            spec = self._named_spec() if scaler is None else scaler.spec
            if brings:
                spec = InputSpec(size=shape[1:], resize=self._resize)
        elif self.image_size is not None:
            spec = InputSpec(size=size_of(self.image_size), resize=self.resize)
            brings = True
        else:
            spec = self._named_spec()
        folder = self.image_cache
        return Form(self.channels, shape, spec, self.color_mode, brings, folder)

    def _named_spec(self):
        """Return what weights want of images that parameters name, or None."""
        return weights_spec(self.module, **self.get_params_for("module"))

    def _check_training_data(
        self, X, y, sample_weight, *, reset, classes=None, groups=None, title="X"
    ):
        """Return checked images, encoded targets and weights; learn or compare them."""
        source, given = source_of(X), y is not None
        y = self._labels_of(source, y)
        names = source.names_for(y, given=given) if is_classifier(self) else None
        if self.on_error == "skip" and isinstance(source, Paths):
            rows = (source.X, y, sample_weight, groups)
            paths, y, sample_weight, groups = self._readable(rows, reset, title)
            source = Paths(paths)
        y = self._codec.check(y if reset else renamed(y, names, self))
        images = self._opened(source, reset=reset).images
        if groups is not None:
            groups = check_groups(groups)
        check_consistent_length(images, y, groups)
        weight = None
        if sample_weight is not None:
            weight = as_numpy(sample_weight, "sample_weight")
            weight = check_sample_weight(
                weight, images, dtype=np.float64, ensure_non_negative=True
            )
        rows = _without_zeros((images, y, groups), weight, "sample_weight")
        images, y, groups, weight = rows
        y, weight = self._encode_target(
            y, weight, reset=reset, classes=classes, names=names
        )
        # Classes may have a weight of zero as well.
        rows = _without_zeros((images, y, groups), weight, "class_weight")
        images, y, groups, weight = rows
        return ImageDataset(images, y, _unit_mean(weight, self._dtype), groups)

    def _readable(self, rows, reset, title):
        """Return paths, and what goes with them, without files that cannot be read."""
        paths, *_ = rows
        check_consistent_length(*rows)
        reasons = unreadable_files(paths, self._form(reset=reset), title)
        names = ["None" if is_missing(path) else name_of(path) for path in paths]
        skipped = {
            "skipped_": [names[row] for row in reasons],
            "skipped_reasons_": [*reasons.values()],
        }
        for name, values in skipped.items():
            # Those of X come before those of X_val.
            values = [*vars(self).get(name, ()), *values]
            setattr(self, name, np.array(values, dtype=str))
        if not reasons:
            return rows
        if len(reasons) == len(paths):
            raise OSError(
                f"on_error='skip' leaves nothing: none of the {len(paths)} images of "
                f"{title} can be read. The first error: {reasons[0]}"
            )
        warn(unreadable(names, reasons, title))
        kept = np.delete(np.arange(len(paths)), [*reasons])
        return [None if part is None else safe_indexing(part, kept) for part in rows]

    def _check_held_out(self, given):
        """Return checked rows that the user gave to validate on, None without any."""
        names = ("X_val", "y_val", "sample_weight_val")
        names = [name for name in names if getattr(given, name) is not None]
        if not names:
            return None
        if given.X_val is None:
            raise ValueError(
                f"{names[0]} is given, but X_val is not. Give the images that it "
                f"belongs to as X_val, or leave {names[0]} out."
            )
        if self.train_split:
            raise ValueError(
                f"X_val and train_split={self.train_split!r} both say which rows to "
                "validate on. Leave X_val out, or set train_split=None."
            )
        rows = given.X_val, given.y_val, given.sample_weight_val
        try:
            return self._check_training_data(*rows, reset=False, title="X_val")
        except (TypeError, ValueError) as error:
            title = ", ".join(names)
            if given.y_val is None and self._codec is not NoTarget:
                title += " without y_val"
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{title}: {error}") from error

    @property
    def _targets(self):
        """What was learnt of targets, None before there were any."""
        return self._codec.of(vars(self))

    def _encode_target(self, y, weight, *, reset, classes=None, names=None):
        """Return checked targets as the loss gets them, and weights of the rows."""
        targets = None if reset else self._targets
        if targets is None:
            targets = self._codec.learnt(y, classes, names, type(self).__name__)
            for name in ("class_names_", "thresholds_"):
                vars(self).pop(name, None)
        else:
            targets.check_same(y, classes)
        vars(self).update(targets.facts())
        return targets.encode(y), weight

    def _labels_of(self, source, y):
        """Return y, or the labels that X carries."""
        return self._required(source.labels() if y is None else y)

    def _required(self, y):
        """Return targets that must be there as an array."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None, and X carries no labels: its items are no (image, label) "
                "pairs."
            )
        return as_numpy(y, "y")

    def _by_name(self, X, y):
        """Return X, and y or the labels that X carries, as they are encoded."""
        if is_classifier(self):
            return labels_by_name(self, X, y)
        return X, source_of(X).labels() if y is None else y

    def _split(self, data, held_out=None, *, weighted=False):
        """Return training and validation rows.

        Parameters
        ----------
        data : ImageDataset
        held_out : ImageDataset, default=None
            Rows to validate on, if the user gave such.
        weighted : bool, default=False
            Whether the user gave weights, which training rows must not lose.
        """
        if held_out is not None:
            return Split(data, held_out)
        if self.early_stopping:
            return Split(*map(self._balanced, self._hold_out(data)))
        if self.train_split:
            shown = self._shown_dataset(data)
            shown.X = ImageSequence(RowsReader(data))
            targets = () if shown.y is None else (shown.y,)
            parts = self.train_split(shown, *targets, **self._groups_for_split(data))
            pair = () if isinstance(parts, Dataset) else tuple(parts)
            if len(pair) != 2:
                raise TypeError(
                    "train_split should return two data sets, for training and for "
                    f"validation; got {type(parts).__name__}."
                )
            if weighted and _rows_in(pair[0], data) is None:
                raise ValueError(
                    "train_split returned training rows that are none of X, so that "
                    "they have no sample_weight. Return rows of the data set that it "
                    "gets: Subset(dataset, rows), or type(dataset)(dataset.X[rows], "
                    "dataset.y[rows])."
                )
            train, valid = (self._chosen(part, data) for part in pair)
            return Split(train, valid)
        return Split(data, None)

    def _groups_for_split(self, data):
        """Return the keywords by which a train_split gets the groups of rows."""
        if data.groups is None:
            return {}
        parameters = inspect.signature(self.train_split).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if "groups" not in parameters and not takes_any:
            raise ValueError(
                f"train_split={self.train_split!r} takes no argument groups, so that "
                "rows of one group might be on both sides. Let it take groups, as "
                "skorch's ValidSplit(GroupKFold()) does, or leave groups out."
            )
        return {"groups": data.groups}

    def _hold_out(self, data):
        """Return the rows to train on and those to validate on, by early stopping."""
        if data.groups is not None:
            strata = self._targets.strata(data.y)
            seed = next_seed(self._generator)
            rows = rows_of_groups(data.groups, strata, self.validation_fraction, seed)
            return (data.subset(part) for part in rows)
        n = len(data)
        n_valid = math.ceil(self.validation_fraction * n)
        strata = self._targets.strata(data.y)
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

    def _chosen(self, part, data):
        """Return rows that a train_split chose of `data`, or brought."""
        if part is None:
            return None
        if isinstance(part, ImageDataset):
            return self._balanced(part)
        rows = _rows_in(part, data)
        if rows is None:
            return self._check_training_data(part, None, None, reset=False)
        kept = data.subset(rows)
        if data.y is not None and getattr(unwrap(part)[0], "source", None) is not data:
            # Images go with other targets than they had.
            y = self._codec.check(self._labels_of(source_of(part), None))
            kept.y, _ = self._encode_target(y, None, reset=False)
        return self._balanced(kept)

    def _balanced(self, data):
        """Return rows whose weights have a mean of 1 among themselves."""
        weight = _unit_mean(data.sample_weight, self._dtype)
        return ImageDataset(data.images, data.y, weight)

    # ------------------------------------------------------------- scales of pixels

    @property
    def pixel_divisor_(self):
        """What integers wider than uint8 are divided by: 255, 65535, or 1."""
        divisors = self.scaler_.divisors
        if divisors is None:
            raise AttributeError(
                f"This {type(self).__name__} has no pixel_divisor_ before fit."
            )
        return divisors.wider

    def _known_scaling(self, spec):
        """Return mean and deviation that need no training rows, or None."""
        if self.normalize is None:
            return None, None
        pair = self.normalize
        if pair == "range" and getattr(self.pretrained, "normalize", None) != "range":
            return None
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

    def _fit_scaling(self, train, valid, *, anew):
        """Learn how pixels are scaled; return whether all training rows were read.

        Who goes on does it as it was learnt, and so do validation rows.
        """
        anew = anew or not self._scaling_known
        all_read = anew and self._learn_scaling(train)
        for part in (None if anew else train, valid):
            if part is not None:
                self._check_scale(part.images)
        for part in (train, valid):
            if part is not None:
                part.images = self._scaled_in_full(part.images)
        return all_read

    def _learn_scaling(self, data):
        """Learn the scaling of these rows; return whether all images have been read."""
        images, scaler, stored = data.images, self.scaler_, data.images.dtype
        by_range = self.normalize == "range" and not self._scaling_known
        if by_range or self._scaling_known:
            all_read = by_range or stored.kind in "iu"
            limits = pixel_range(images, None if all_read else _N_LOOKED_AT)
            all_read = all_read and images.reader.stored != np.uint8
        else:
            weight = data.sample_weight
            if weight is not None:
                # Those of the labels of a row count together.
                weight = weight.numpy().reshape(len(weight), -1).mean(axis=1)
            statistics = channel_statistics(
                images,
                sample_weight=weight,
                dtype=self._dtype,
            )
            all_read, limits = True, (statistics.low, statistics.high)
            scaler.set_statistics(*statistics[:2], device=self.device_)
        trained = getattr(self.pretrained, "scaler_", None)
        if trained is None:
            scaler.divisors = divisors_for(stored, *limits)
        else:
            # Pretrained weights go with the pixels that they were trained on.
            scaler.divisors = trained.divisors or divisors_for(stored, *limits)
            self.pretrained._check_scale(images)
        divisor = scaler.divisors.of_stored(stored)
        low, high = (limit / divisor for limit in limits)
        if by_range and is_outside(low, high):
            scaler.set_statistics([low], [high - low or 1.0], device=self.device_)
        self._warn_of_range(low, high)
        self._check_size(low, high)
        vars(self).update(pixel_range_=tuple(map(float, limits)), _scaling_known=True)
        return all_read

    def _warn_of_range(self, low, high):
        """Warn if the network's weights, or the user's pair, are for other pixels."""
        spec = self.scaler_.spec
        if spec is not None and spec.mean is not None and is_outside(low, high):
            warn(
                f"X has values from {low:.6g} to {high:.6g}, but the weights of "
                f"{type(self.module_).__name__} were trained on pixels in [0, 1]. Give "
                "integers, which are scaled, or floats in [0, 1]."
            )
        if self.normalize is None or isinstance(self.normalize, str):
            return
        mean, std = self.scaler_.mean.abs(), self.scaler_.std
        # Of values in [0, 1], no mean is greater than 1, and no deviation than 0.5.
        of_unit = float(mean.max()) <= 1 and float(std.max()) <= 2
        if is_outside(low, high):
            far = max(-low, high) > _FAR * float(std.min())
            if of_unit and far and not self._flat:
                warn(
                    f"normalize={self.normalize!r} is for pixels in [0, 1], but X has "
                    f"values from {low:.6g} to {high:.6g}, which are taken as they "
                    "are. Scale X to [0, 1], give integers, which are divided by 255 "
                    "or 65535, or set normalize='channel'."
                )
        elif not of_unit:
            warn(
                f"normalize={self.normalize!r} is for pixels beyond [0, 1], but the "
                f"network gets values from {low:.6g} to {high:.6g}: integers are "
                "divided by 255 or 65535 first. Divide the pair likewise, or set "
                "normalize='channel'."
            )

    def _check_size(self, low, high):
        """Refuse training values with which a network cannot compute."""
        limits = torch.tensor([low, high], dtype=torch.float64)
        mean, std = self.scaler_.mean, self.scaler_.std
        if mean is not None and std is not None:
            limits = (limits[:, None] - mean.flatten().cpu()) / std.flatten().cpu()
        # Networks and losses square values.
        if float(limits.abs().max()) > math.sqrt(torch.finfo(self._dtype).max) / 10:
            raise ValueError(
                f"Input X contains values from {low:.4g} to {high:.4g}, which are too "
                f"large to compute with in {self.dtype}. Scale X."
            )

    def _finite(self, outputs, images):
        """Return outputs if they are numbers, or say what they come from."""
        bad = outputs.isnan() if is_classifier(self) else ~outputs.isfinite()
        if not bad.any():
            return outputs
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(1).numpy())
        low, high = pixel_range(images[rows[:_N_LOOKED_AT]])
        weights = [p.detach().abs().max() for p in self.module_.parameters()]
        largest = max(map(float, weights), default=0.0)
        raise ValueError(
            f"The network gives NaN or infinity for {len(rows)} of {len(outputs)} "
            f"images, the first of which is image {rows[0]} of X. Values of X there go "
            f"from {low:.4g} to {high:.4g}, and the greatest weight of the network is "
            f"{largest:.4g}. Numbers that large overflow in {self.dtype}: scale X as "
            "in fit, or fit the network again."
        )

    def _check_scale(self, images):
        """Warn if images are on another scale than those of the fit."""
        # Estimators of files from before do not know it.
        if hasattr(self, "pixel_range_"):
            warn_of_scale(
                images,
                np.dtype(self._pixel_dtype),
                self.pixel_range_,
                self.scaler_.divisors,
                type(self).__name__,
            )

    def _checked_scale(self, opened):
        """Return images that the estimator is applied to, as its scaler gets them."""
        self._check_scale(opened.images)
        return self._scaled_in_full(opened.images)

    def _scaled_in_full(self, images):
        """Return images that leave nothing to a scaler that takes uint8 as it is."""
        divisors = self.scaler_.divisors
        return images.in_full() if divisors and divisors.uint8 == 1 else images


def schema_of(net, example=None):
    """Return what is known of images like those of fit.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
        A fitted one.
    example : images as in ``fit``, default=None
        None stands for those of fit.
    """
    if example is None:
        return net.__skvision_schema__
    opened = net._opened(example)
    net._check_scale(opened.images)
    return opened.schema


def answers_of(net):
    """Return the function from outputs to predictions, and the shape of each of them.

    Parameters
    ----------
    net : ImageClassifier, ImageRegressor or ImageAutoencoder
        A fitted one.
    """
    return net._get_predict_nonlinearity(), vars(net).get("_target_shape", ())


def knows_scaling(net):
    """Whether an estimator can scale pixels, by what it has learnt or was given."""
    return net._scaling_known or net.scaler_.mean is not None


def _rows_in(part, data):
    """Return which rows of `data` a data set from train_split has, None for others."""
    whole, rows = unwrap(part)
    if getattr(whole, "source", None) is data:
        return np.arange(len(data)) if rows is None else rows
    images = source_of(part).X
    reader = getattr(images, "reader", None)
    if isinstance(reader, RowsReader) and reader.data is data:
        return np.arange(len(data)) if images.rows is None else images.rows
    return None


def read_files(*parts, kept):
    """Read images of data sets, where they are files of the user's.

    Either those whose pixels are kept for the next time, or those that are not.
    """
    for part in parts:
        if part is None or (part.images.reading == "once") != kept:
            continue
        if isinstance(part.images.reader, PathReader):
            for start in range(0, len(part), _FILES_AT_ONCE):
                part.images.read_stored(slice(start, start + _FILES_AT_ONCE))


def _without_zeros(parts, weight, name):
    """Return what belongs to rows, and their weights, without rows of weight zero.

    That is to be as good as the row's absence, also for batch statistics, so that these
    rows take no part at all.
    """
    if weight is None or weight.all():
        return *parts, weight
    # It may be one for each label of a row.
    kept = np.flatnonzero(weight.reshape(len(weight), -1).any(axis=1))
    if not len(kept):
        raise ValueError(f"{name} is zero for every row of X.")
    return *(None if part is None else part[kept] for part in parts), weight[kept]


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
