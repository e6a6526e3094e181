"""The constructor's parameters, once for all estimators, by scikit-learn's rules."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import LRScheduler
from skorch.callbacks import lr_scheduler as skorchs
from skorch.utils import params_for
from torch import nn
from torch.optim import lr_scheduler

from skvision._compat import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from skvision.images._resize import size_of, warn_if_unused
from skvision.preprocessing._augment import check_transforms
from skvision.training._batches import BatchLoader
from skvision.training._losses import CRITERIA, OPTIMIZERS, NameOptions
from skvision.training._optimizers import group_setting, set_groups
from skvision.training._turns import looking
from skvision.training._users_callbacks import is_callback

#: Parameters in the order in which people need them, by what they are about.
GROUPS = {
    "Network": ("module", "criterion", "reduction", "predict_nonlinearity"),
    "Training": (
        *("optimizer", "lr", "max_epochs", "batch_size"),
        *("class_weight", "threshold"),
    ),
    "Images and targets": (
        *("image_size", "resize", "color_mode", "normalize", "normalize_target"),
        *("channels", "image_shape", "on_error", "augment", "noise"),
    ),
    "Validation": (
        *("early_stopping", "validation_fraction", "n_iter_no_change"),
        *("train_split", "epoch_scoring"),
    ),
    "Transfer": (
        *("pretrained", "pretrained_mix", "pretrained_lr_mult"),
        *("freeze", "unfreeze_at", "feature_cache", "n_views"),
    ),
    "Running": (
        *("random_state", "warm_start", "verbose", "callbacks"),
        *("checkpoint", "checkpoint_steps", "image_cache"),
        *("dtype", "device", "amp", "compile", "memory_format"),
        *("iterator_train", "iterator_valid"),
    ),
}
_PLACES = {name: i for i, name in enumerate(itertools.chain(*GROUPS.values()))}

#: What may stand before a double underscore.
PREFIXES = (
    "module",
    "criterion",
    "optimizer",
    "iterator_train",
    "iterator_valid",
    "callbacks",
    "compile",
)

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ParametersMixin:
    """Parameters of image estimators, and scikit-learn's rules for them.

    Parameters stand in groups, those first that most people set. Beside them,
    ``prefix__name`` sets an argument of what the prefix names, for instance
    ``module__hidden=(64,)``. Prefixes are module, criterion, optimizer, callbacks,
    iterator_train, iterator_valid and compile.

    Parameters
    ----------
    module : str, class, callable or torch.nn.Module, default="auto"
        The network: a subclass of `torch.nn.Module` or a function that returns one, a
        name ("mlp", "convnet", "lenet", a torchvision model such as "resnet18", or one
        of timm's such as "timm/tf_efficientnet_lite0"), or an instance, which is
        copied at each fit, its weights being the initial ones. With
        ``module__weights=True``, or a name, those of torchvision and timm begin with
        pretrained weights, which bring size and normalisation. "auto" takes
        `~skvision.networks.ConvNet` for images and `~skvision.networks.MLP` for flat
        rows. If the signature names
        ``image_shape`` (channels, height, width) or ``n_outputs``, they are given as
        inferred from the data; flat rows count as images of shape (1, 1, n_features).
        Further arguments are set by ``module__name``.
    optimizer : str or class, default="adam"
        "sgd", "adam", "adamw", "rmsprop", in any capitals, or a torch class; its
        arguments are set by ``optimizer__name``. The first three make their steps in
        one operation, unless ``optimizer__fused=False``.
    lr : float, default=1e-3
        Learning rate.
    max_epochs : int, default=10
        Number of passes over the training rows at each call of ``fit`` and
        ``partial_fit``; with 0, ``fit`` builds the network and trains nothing.
    batch_size : int, default=128
        Rows in a training batch; -1 takes all. A single row left over for the last
        batch joins the batch before it. Evaluation takes 64 to 1024 rows at once, by
        the size of the network's layers, unless ``iterator_valid__batch_size`` is set.
    image_size : int or tuple of int (height, width), default=None
        Size that images of any size are brought to, in ``fit`` and in ``predict``; an
        int is both. Large JPEG files are then decoded at a part of their size. None
        takes images as they are, all of one size; with torchvision's
        ``module__weights``, it takes images of any size, to that of the weights.
    resize : {"squash", "crop", "pad"}, default="squash"
        What `image_size` does about other proportions: "squash" changes them, "crop"
        cuts out the largest part in the middle that has the right ones, and "pad" adds
        black bars.
    color_mode : {"auto", "grey", "rgb"}, default="auto"
        Colours of the images that the network gets. "auto" leaves arrays as they are;
        of files and PIL images it makes RGB, unless all are grey. What is transparent
        lies on white.
    normalize : "channel", None or (mean, std), default="channel"
        "channel" subtracts the mean and divides by the standard deviation of each
        channel, learnt from the training rows alone; flat rows that are no images
        have one pair for all values. A pretrained estimator and torchvision's
        ``module__weights`` bring their own. A pair gives the two, as a number or as
        one number per channel. None leaves values as they are.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of four axes have their channels. "auto" takes the axis of length
        1, 3 or 4, and on a tie the first, with a warning.
    image_shape : tuple of int, default=None
        (channels, height, width) of flat rows that are images, so that a scaler of a
        pipeline can stand before a convolutional network. None infers it. `image_size`
        and `color_mode` come after it.
    on_error : {"raise", "skip"}, default="raise"
        What ``fit`` does where X or `X_val` are paths of images and one cannot be read:
        its file is missing or damaged, or its row has no path. "raise" ends with an
        error that names the file. "skip" leaves the row out, with its target, weight
        and group, and a warning says how many there were; each file is decoded once
        more for it. ``predict``, ``score`` and the like owe a result for each image and
        always raise, so that in cross-validation scores of folds that have such a row
        are missing: leave `skipped_` out of X before.
    augment : transform or list of transforms, default=None
        Applied to training batches only, see `skvision.preprocessing`. What is not one
        of those is called image by image. As a value of scikit-learn's searches, one
        of torchvision's stands in a ``v2.Compose([...])``, or it cannot be cloned.
    early_stopping : bool, default=False
        Whether to hold out rows, to stop when their loss has not improved for
        `n_iter_no_change` epochs, and to go back to the best weights. No rows are held
        out otherwise, nor where ``fit`` gets `X_val`, which takes their place.
    validation_fraction : float, default=0.1
        Part of the rows that `early_stopping` holds out; of a classifier, the same part
        of each class, unless images may have several labels.
    n_iter_no_change : int, default=5
        Epochs without improvement before `early_stopping` ends the training.
    train_split : callable or False, default=None
        As in skorch, for example ``predefined_split(dataset)``, ``ValidSplit(5)`` or a
        function that makes two data sets of one and y; what it holds out is encoded
        and normalised like the training rows. None and False hold out nothing.
    epoch_scoring : str, callable, list or dict of them, default=()
        Scorers of scikit-learn whose values are recorded in `history` after each
        epoch, as ``train_name`` and, where there are validation rows, ``valid_name``.
        Those of the training rows are made from the outputs of the epoch's own batches.
    pretrained : estimator, module, dict, str or os.PathLike, default=None
        Initial weights: of a fitted estimator, a network, a ``state_dict``, or a file
        of one (as `torch.save` writes it, or safetensors). They fit the whole network
        or its encoder; else an error lists the names that do not. Prefixes such as
        ``module.`` and ``model.`` of a file's names are left out, and so is a head for
        another number of outputs: a warning says so. Beside
        ``module__weights``, it holds those weights and nothing is downloaded. With
        ``module="auto"``, a fitted `ImageAutoencoder` gives its encoder, followed by a
        new head. Clones share it.
    pretrained_mix : float, default=1.0
        Weights begin as ``mix * pretrained + (1 - mix) * initial``.
    pretrained_lr_mult : float or dict, default=1.0
        What the learning rate is multiplied by for weights that came from `pretrained`
        or from ``module__weights``. A dict has patterns of their names, as `freeze`
        does, and a factor for each, such as ``{"layer4.*": 0.5, "*": 0.1}``; the first
        that matches counts, and 1 where none does.
    freeze : str or list of str, default=None
        What is not trained: "encoder" or "backbone" (all before the head), or patterns
        of parameter names such as ``"layer1.*"``. A part of the network of whose
        parameters none is trained stays in evaluation mode as a whole: running
        statistics of its batch normalisation do not change, and its dropout leaves out
        nothing. To train the head first and then all, set `unfreeze_at`, or call
        ``fit``, ``set_params(freeze=None, lr=...)`` and ``partial_fit``.
    unfreeze_at : int or dict, default=None
        The epoch from which on all that `freeze` names is trained. A dict has epochs
        and, for each, patterns of what is trained from then on, such as
        ``{3: "layer4.*", 5: ["layer3.*", "layer2.*"]}``; the rest stays frozen. Epochs
        count from 1, and on through ``partial_fit``.
    feature_cache : str, os.PathLike or False, default=None
        Where a part of the network that `freeze` names stands before all that is
        trained, it runs once for each image instead of once in each epoch, and the
        rest, its head, is trained on what it made: the result is the same, see
        `feature_layer_`. It does so unless the images change (`augment`, or a data set
        that is random), a callback or a method of yours looks at the images of
        batches, or the network cannot be divided. A directory keeps what the part
        made, for all fits and predictions whose part, pixels and scaling are the same,
        of other processes too: those of a search or of a cross-validation. Stacked
        searches do so by themselves. False lets the whole network run each time.
    n_views : int, default=None
        With `augment`, the frozen part may run on this many versions of each training
        image, drawn once; in each epoch one of them is chosen at random. That is an
        approximation of new versions in each epoch, which None makes, and takes as many
        passes over the images. Versions are not shared with other fits.
    random_state : int, RandomState instance or None, default=None
        Determines initial weights, order of rows, dropout, augmentation and hold-out.
        An int makes ``fit`` reproducible to the last bit on the CPU, at an equal number
        of threads. The global generators are left as they are found, so that fits in
        several threads of one process wait for each other.
    warm_start : bool, default=False
        Whether ``fit`` goes on from where the last one ended.
    verbose : int, default=0
        Whether to print a line per epoch.
    callbacks : list of skorch callbacks or "disable", default=None
        In addition to the default ones. Shallow copies of them run, see `callbacks_`;
        a list, a file or a study that a callback holds is shared with them.
    checkpoint : str or os.PathLike, default=None
        A directory. ``fit`` writes its state there at the end of each epoch, into a
        file of its own for these parameters and data, and goes on from that file where
        it is there already: an interrupted fit ends with the same weights as an
        undisturbed one, and a finished one is not trained again, with
        ``random_state=None`` neither. A larger `max_epochs` goes on, unless a schedule
        is made for a number of epochs. Data are told apart by all their values, code by
        all that it uses, and what it reads from files by the network it builds of it.
    checkpoint_steps : int, default=None
        Steps of training after which a checkpoint is written within an epoch, too.
    image_cache : str or os.PathLike, default=None
        A directory. Images of files that are given by their paths, or by their bytes,
        are kept there, decoded and in their size, each in a file of its own, so that
        later epochs, folds, fits and processes decode none of them again. They are told
        apart by path, size and time of the last change, and by all that decides about
        pixels. An image of 224 pixels takes 150 kB; nothing is removed. None keeps up
        to 2 GB of them, for the sequence that they were read for.
    dtype : {"float32", "float64"}, default="float32"
        Of network, data and loss.
    device : str or torch.device, default="auto"
        "auto" takes the GPU if torch finds one, else the CPU.
    amp : bool, default=False
        Whether to run the network in bfloat16 where that is safe (autocast).
    compile : bool, default=False
        Whether to compile the network with `torch.compile`; arguments are set by
        ``compile__name``.
    memory_format : {"auto", "channels_last", "contiguous"}, default="auto"
        How the values of images lie in memory. Convolutions are faster with all
        channels of a pixel side by side, and hand it on. "auto" does so on the CPU, and
        on a GPU with `amp`, if the network has convolutions and can take it.
    iterator_train, iterator_valid : class, default=BatchLoader
        Make the batches. A `torch.utils.data.DataLoader` works as well, with its own
        defaults.

    Attributes
    ----------
    n_features_in_ : int
        Number of values in an image or row.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X is a frame.
    image_shape_ : tuple of int
        (channels, height, width) of the images, in the size that they are brought to.
    module_ : torch.nn.Module
        The trained network.
    network_shape_ : tuple of int
        (channels, height, width) of what `module_` gets: `image_shape_`, unless
        pretrained weights bring a size of their own.
    scaler_ : torch.nn.Module
        Brings pixels into the range and size that `module_` was trained on.
    pixel_divisor_ : int
        What integers wider than uint8 are divided by: 255, 65535, or 1. It goes by the
        first training rows. uint8 is divided by 255, or by 1 where the others are.
    pixel_range_ : tuple of float
        The least and the greatest value of those rows, before any scaling.
    skipped_, skipped_reasons_ : ndarray of str, shape (n_skipped,)
        Paths that ``on_error="skip"`` left out in the last call of ``fit``, those of X
        before those of `X_val`, and why; only where these are paths.
    criterion_, optimizer_ : object
        The loss and the optimizer in their last state.
    callbacks_ : list of (str, callback)
        The callbacks that ran.
    history : skorch.history.History
        Losses, scores and durations of each epoch and batch.
    feature_layer_ : str or None
        The first layer of the head, if that was trained on what the part before it,
        which is frozen, made of each image once; None if the whole network ran in each
        epoch.
    best_epoch_ : int
        The epoch, counted from 1, whose weights the network has: the one with the
        least validation loss in the last call of ``fit`` or ``partial_fit``. Only where
        early stopping has put them back.
    device_ : torch.device
        Where the network is.
    """

    # skorch derives names from ``__dict__`` and acts on fitted parts in set_params.
    # Here they come from the constructor's signature, and where it hands ``**kwargs``
    # on, from those of the classes after it. What is set changes nothing that is
    # fitted, except that new rates reach the optimizer that partial_fit goes on with.

    _parameter_constraints: dict[str, Any] = {
        "module": [str, callable, nn.Module],
        "criterion": [NameOptions(set(CRITERIA)), callable, nn.Module],
        "optimizer": [NameOptions(set(OPTIMIZERS)), callable],
        "lr": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            Options(Integral, {-1}),
        ],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "resize": [StrOptions({"squash", "crop", "pad"})],
        "color_mode": [StrOptions({"auto", "grey", "rgb"})],
        "on_error": [StrOptions({"raise", "skip"})],
        "normalize": [StrOptions({"channel"}), tuple, list, None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "image_shape": [tuple, list, None],
        "augment": [callable, list, tuple, None],
        "early_stopping": ["boolean"],
        "epoch_scoring": ["array-like", str, callable, dict],
        "pretrained": "no_validation",
        "pretrained_mix": [Interval(Real, 0, 1, closed="both")],
        "pretrained_lr_mult": [Interval(Real, 0, None, closed="left"), dict],
        "freeze": [str, list, tuple, None],
        "unfreeze_at": [Interval(Integral, 2, None, closed="left"), dict, None],
        "n_views": [Interval(Integral, 1, None, closed="left"), None],
        "feature_cache": [str, os.PathLike, Options(bool, {False}), None],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_steps": [Interval(Integral, 1, None, closed="left"), None],
        "image_cache": [str, os.PathLike, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"})],
        "device": [str, torch.device, None],
        "amp": ["boolean"],
        "compile": ["boolean"],
        "memory_format": [StrOptions({"auto", "channels_last", "contiguous"})],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "callbacks": [list, tuple, StrOptions({"disable"}), None],
        "train_split": [callable, Options(bool, {False}), None],
        "iterator_train": [callable],
        "iterator_valid": [callable],
    }

    # Parameters prefix__name; they are no names of the constructor's signature, and
    # scikit-learn allows no other attributes in a new estimator.
    _prefixed: dict[str, Any] = {}

    __signature__: inspect.Signature
    optimizer_: Any
    _made_with: dict[str, Any]
    _beginning: Any

    def __init__(
        self,
        module: Any = "auto",
        *,
        criterion: Any = "mse",
        optimizer: Any = "adam",
        lr: float = 1e-3,
        max_epochs: int = 10,
        batch_size: int = 128,
        image_size: int | tuple[int, int] | None = None,
        resize: str = "squash",
        color_mode: str = "auto",
        normalize: Any = "channel",
        channels: str = "auto",
        image_shape: tuple[int, int, int] | None = None,
        on_error: str = "raise",
        augment: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        train_split: Any = None,
        epoch_scoring: Any = (),
        pretrained: Any = None,
        pretrained_mix: float = 1.0,
        pretrained_lr_mult: float | dict[str, float] = 1.0,
        freeze: str | Sequence[str] | None = None,
        unfreeze_at: int | dict[int, str | Sequence[str]] | None = None,
        feature_cache: str | os.PathLike[str] | bool | None = None,
        n_views: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: Any = 0,
        callbacks: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_steps: int | None = None,
        image_cache: str | os.PathLike[str] | None = None,
        dtype: str = "float32",
        device: str | torch.device | None = "auto",
        amp: bool = False,
        compile: bool = False,
        memory_format: str = "auto",
        iterator_train: Any = BatchLoader,
        iterator_valid: Any = BatchLoader,
        **kwargs: Any,
    ) -> None:
        self._store_params(locals())

    def __getattr__(self, name: str) -> Any:
        # Called only for what is no ordinary attribute.
        if name in self._prefixed:
            return self._prefixed[name]
        # Raises, and of a property that raised gives the message of its own.
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if "__" in name and _is_prefixed(name):
            # A new dictionary, since copies of the estimator share the old one.
            name, value = "_prefixed", self._prefixed | {name: value}
        if name.endswith("_"):
            super().__setattr__(name, value)
        else:
            # skorch would take a parameter's module for one that it has to train.
            object.__setattr__(self, name, value)

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        return params_for(prefix, self._prefixed)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        whole = _whole_signature(cls)
        if whole != inspect.signature(cls.__init__):
            # Tools, the representation among them, look at the constructor.
            init = _announcing(cls.__init__, whole)
            cls.__init__ = init  # type: ignore[method-assign]
        # Tools read the parameters from the class's signature; its **kwargs takes
        # prefix__name alone and is no parameter called "kwargs".
        _, *own = whole.parameters.values()
        cls.__signature__ = whole.replace(
            parameters=[p for p in own if p.kind not in _VARIABLE]
        )

    def _store_params(self, values: dict[str, Any]) -> None:
        """Set the attributes of a constructor's parameters from its ``locals()``."""
        self._check_new_names(values["kwargs"], TypeError)
        for name, value in {**values, **values["kwargs"]}.items():
            if name not in ("self", "kwargs"):
                setattr(self, name, value)

    def _check_new_names(self, names: Iterable[str], error: type[Exception]) -> None:
        for name in names:
            if _is_prefixed(name):
                continue
            hint = nearest(name, _candidates(name, self._own_names())) or "."
            raise error(
                f"{type(self).__name__} has no parameter {name!r}{hint} Valid "
                f"parameters: {', '.join(self._own_names())}, and names that begin "
                f"with {', '.join(p + '__' for p in PREFIXES)}."
            )

    @classmethod
    def _own_names(cls) -> list[str]:
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        return sorted(p.name for p in parameters if p.kind not in _VARIABLE)

    def _get_param_names(self) -> list[str]:
        return sorted({*self._own_names(), *self._prefixed})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters, double-underscore ones that were set among them.

        Parameters
        ----------
        deep : bool, default=True
            If True, also the parameters of contained estimators.

        Returns
        -------
        params : dict
        """
        # skorch's own adds the parameters of its default callbacks, which belong
        # to no parameter of the estimator.
        params = BaseEstimator.get_params(self, deep=False)
        # Other things may have a get_params, too, as torchvision's transforms do.
        parts = [pair for pair in params.items() if isinstance(pair[1], BaseEstimator)]
        for name, part in parts if deep else ():
            params |= {f"{name}__{k}": v for k, v in part.get_params().items()}
        return params

    @looking
    def set_params(self, **params: Any) -> Any:
        """Set parameters; they take effect at the next ``fit`` or ``partial_fit``.

        A training that goes on, by ``partial_fit`` or ``warm_start``, takes over what
        was set meanwhile, with a new optimizer or criterion where it is another one.
        What would be another network, ``module__*`` or ``dtype`` for instance, is an
        error then. ``lr`` and ``optimizer__*`` reach the optimizer of a fitted
        estimator at once, also from a callback during the training.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a name is unknown; the message suggests the nearest.
        """
        own = set(self._own_names())
        # Of what is not skorch's, such as the parameters of an estimator.
        nested = {
            name: value
            for name, value in params.items()
            if name not in own and name.split("__")[0] in own.difference(PREFIXES)
        }
        plain = {name: params[name] for name in params if name not in nested}
        self._check_new_names(plain.keys() - own, ValueError)
        for name, value in plain.items():
            setattr(self, name, value)
        if nested:
            BaseEstimator.set_params(self, **nested)
        if "optimizer" not in params and getattr(self, "optimizer_", None) is not None:
            self._set_groups(plain)
        if self._beginning is not None:
            self._beginning.note(plain)
        return self

    def _set_groups(self, params: dict[str, Any]) -> None:
        """Give the optimizer settings that its groups have already."""
        places = {name: group_setting(name) for name in params}
        # What is said of all groups comes before what is said of one.
        for name in sorted(params, key=lambda name: "param_groups__" in name):
            value, place = params[name], places[name]
            # What no optimizer takes is told of by the next fit.
            if value is None or place is None:
                continue
            if set_groups(self.optimizer_, *place, value):
                self._made_with = self._made_with | {name: value}

    def _validate_params(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints,
            {name: getattr(self, name) for name in self._own_names()},
            caller_name=type(self).__name__,
        )


class RoutingMixin:
    """Lets scikit-learn route metadata to subclasses of skorch's nets.

    Stands right of a skorch net among an estimator's bases.
    """

    # Searches hand groups to their splitter alone, unless fits request them, too.
    __metadata_request__fit = {"groups": False}
    # skorch's nets take `classes` back from what partial_fit requests, which is an
    # error where its signature never had it.
    __metadata_request__partial_fit = {"classes": None, "groups": False}


def _constructors(cls: type) -> Iterator[Callable[..., None]]:
    """Yield the constructors that keyword arguments reach, one after the other."""
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is None:
            continue
        yield init
        kinds = {p.kind for p in inspect.signature(init).parameters.values()}
        code = getattr(inspect.unwrap(init), "__code__", None)
        if inspect.Parameter.VAR_KEYWORD not in kinds or (
            code is not None and "_store_params" in code.co_names
        ):
            return


def _whole_signature(cls: type) -> inspect.Signature:
    """Return the signature of a constructor with what it hands on to others."""
    named: dict[str, inspect.Parameter] = {}
    variable: dict[str, inspect.Parameter] = {}
    passes_on = True
    has_default = False
    for init in _constructors(cls):
        own, *parameters = inspect.signature(init).parameters.values()
        if not named:
            named[own.name] = own
        for p in parameters:
            if p.kind in _VARIABLE:
                variable.setdefault(p.kind.name, p)
            elif p.name not in named:
                if p.annotation in ("Any", Any):
                    p = p.replace(annotation=p.empty)  # It tells nothing.
                if p.kind is not p.KEYWORD_ONLY:
                    has_default |= p.default is not p.empty
                    if not passes_on or (has_default and p.default is p.empty):
                        p = p.replace(kind=p.KEYWORD_ONLY)
                named[p.name] = p
        passes_on &= any(p.kind is p.VAR_POSITIONAL for p in parameters)

    def place(p: inspect.Parameter) -> tuple[int, int]:
        keyword = p.kind is p.KEYWORD_ONLY
        return p.kind, _PLACES.get(p.name, -1) if keyword else 0

    return inspect.Signature(sorted((*named.values(), *variable.values()), key=place))


def _announcing(init: Callable[..., None], whole: inspect.Signature) -> Any:
    """Return a constructor that does the same and tells of its whole signature."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)

    __init__.__signature__ = whole  # type: ignore[attr-defined]
    return __init__


def _written_out(init: Callable[..., None], whole: inspect.Signature) -> Any:
    """Return a constructor that names each parameter of a signature, with its default.

    Tools look at the defaults of the function itself, or copy it with others.
    """
    _, *parameters = whole.parameters.values()
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    names = [p.name for p in keywords]
    given = ", ".join(f"{name}={name}" for name in names)
    made: dict[str, Any] = {"init": init}
    exec(
        f"def __init__(self, module, *, {', '.join(names)}, **kwargs):\n"
        f"    init(self, module, {given}, **kwargs)",
        made,
    )
    written = made["__init__"]
    for name in ("__module__", "__qualname__", "__doc__"):
        setattr(written, name, getattr(init, name))
    written.__defaults__ = (whole.parameters["module"].default,)
    written.__kwdefaults__ = {p.name: p.default for p in keywords}
    written.__annotations__ = {
        p.name: p.annotation for p in parameters if p.annotation is not p.empty
    }
    return written


def completed(cls: type) -> type:
    """Complete an estimator's constructor and docstring by what all estimators have.

    Its sections Parameters and Attributes list what is its own, or another thing for
    it than for others. All parameters then stand in the order of `GROUPS`, the first of
    each group below the group's name.
    """
    init = vars(cls)["__init__"]
    made = _written_out(inspect.unwrap(init), inspect.signature(init))
    cls.__init__ = made  # type: ignore[misc]
    if cls.__doc__ is None:
        return cls  # Python leaves docstrings out under -OO.
    own, shared = _sections(cls.__doc__), _sections(ParametersMixin.__doc__ or "")
    entries = _entries(shared["Parameters"]) | _entries(own["Parameters"])
    lines = []
    for title, names in GROUPS.items():
        heading = [f"    **{title}.**"]
        for name in names:
            if name in entries:
                header, *text = entries[name]
                lines += [header, *heading, *text]
                heading = []
    attributes = _entries(own["Attributes"])
    attributes |= _entries(shared["Attributes"]) | attributes
    own["Parameters"] = [*lines, ""]
    own["Attributes"] = [*itertools.chain(*attributes.values()), ""]
    own[""] += shared[""][2:]  # After the line that says what it is.
    text = own.pop("")
    for title, section in own.items():
        text += [title, "-" * len(title), *section]
    cls.__doc__ = textwrap.indent("\n".join(text), "    ").lstrip() + "\n    "
    return cls


def _sections(docstring: str) -> dict[str, list[str]]:
    """Return the lines of a docstring's sections by their titles, the first by ""."""
    lines = inspect.cleandoc(docstring).splitlines()
    sections: dict[str, list[str]] = {"": []}
    title = ""
    for line, below in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        if re.fullmatch("-{3,}", below):
            sections[title := line] = []
        elif not re.fullmatch("-{3,}", line):
            sections[title].append(line)
    return sections


def _entries(section: list[str]) -> dict[str, list[str]]:
    """Return the lines of each entry in a section by the first name that it is of."""
    entries: dict[str, list[str]] = {}
    name = ""
    for line in section:
        if line and not line.startswith(" "):
            name = re.split(r"\W", line)[0]
            entries[name] = []
        if line:
            entries[name].append(line)
    return entries


def check_names(
    prefix: str, target: Callable, names: Iterable[str], extra: Iterable[str] = ()
) -> None:
    """Check ``prefix__name`` parameters against the signature they are meant for.

    Parameters
    ----------
    prefix : str
    target : callable
        Class or function that will be called.
    names : iterable of str
        Without the prefix.
    extra : iterable of str, default=()
        Names that are valid beside those of the signature.

    Raises
    ------
    ValueError
        If `target` takes no such name; the message suggests the nearest.
    """
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    valid = sorted({*parameters, *extra} - {"self"})
    for name in names:
        if name not in valid:
            title = getattr(target, "__name__", repr(target))
            hint = nearest(name, valid, prefix + "__") or "."
            raise ValueError(
                f"{title} takes no argument {name!r}, given as "
                f"{prefix}__{name}{hint} It takes: "
                f"{', '.join(valid)}."
            )


def _is_prefixed(name: str) -> bool:
    prefix, _, rest = name.partition("__")
    return prefix in PREFIXES and rest != ""


def check_settings(net: Any) -> None:
    """Check parameters that more than their types decide about.

    Raises
    ------
    TypeError, ValueError
        If one is wrong, or contradicts another one.
    """
    if net.amp and net.dtype == "float64":
        raise ValueError(
            "amp=True computes in bfloat16, dtype='float64' in float64; set one of "
            "them."
        )
    if net.early_stopping and net.train_split:
        raise ValueError(
            "early_stopping=True holds out validation_fraction of the rows by "
            "itself; set either early_stopping or train_split, not both."
        )
    if net.early_stopping and net.callbacks == "disable":
        raise ValueError(
            "early_stopping=True works by a callback; callbacks='disable' "
            "contradicts it."
        )
    shape = net.image_shape
    if shape is not None and not (
        len(shape) == 3 and all(isinstance(n, Integral) and int(n) > 0 for n in shape)
    ):
        raise ValueError(
            f"image_shape={shape!r} should be three positive ints, (channels, height, "
            "width)."
        )
    if isinstance(net.image_size, (tuple, list)):
        size_of(net.image_size)  # Raises where it is none.
    warn_if_unused(net.resize, net.image_size)
    _check_transfer(net)
    for name in ("augment", "noise"):
        if (transforms := getattr(net, name, None)) is not None:
            check_transforms(transforms, name)
    for callback in () if net.callbacks in (None, "disable") else net.callbacks:
        one = callback[1] if isinstance(callback, tuple) else callback
        if not is_callback(one):
            raise TypeError(
                f"callbacks should hold skorch's callbacks, or pairs of a name and a "
                f"callback; got {callback!r}. What is to be one of them needs the "
                "methods of skorch.callbacks.Callback."
            )
        _check_policy(one)


def _check_transfer(net: Any) -> None:
    """Check what is frozen, until when, and the rates of pretrained weights."""
    for pattern in () if net.freeze is None else np.atleast_1d(net.freeze).tolist():
        if not isinstance(pattern, str):
            raise TypeError(
                f"freeze={net.freeze!r} should be 'encoder', 'backbone' or patterns of "
                "parameter names."
            )
    at, mult = net.unfreeze_at, net.pretrained_lr_mult
    if at is not None and net.freeze is None:
        raise ValueError(
            f"unfreeze_at={at!r} tells from when on what freeze names is trained, but "
            "freeze=None. Set freeze, such as freeze='backbone', or unfreeze_at=None."
        )
    for epoch, patterns in at.items() if isinstance(at, dict) else ():
        texts = [patterns] if isinstance(patterns, str) else patterns
        if (
            not isinstance(epoch, Integral)
            or epoch < 2
            or not isinstance(texts, (list, tuple))
            or not all(isinstance(text, str) for text in texts)
        ):
            raise ValueError(
                f"unfreeze_at={at!r} should have epochs, from 2 on, and a pattern of "
                "parameter names or a list of them for each; got "
                f"{epoch!r}: {patterns!r}."
            )
    for pattern, factor in mult.items() if isinstance(mult, dict) else ():
        is_number = isinstance(factor, Real) and 0 <= float(factor) < math.inf
        if not isinstance(pattern, str) or not is_number:
            raise ValueError(
                f"pretrained_lr_mult={mult!r} should have patterns of parameter names "
                f"and a number >= 0 for each; got {pattern!r}: {factor!r}."
            )


def _check_policy(callback: Any) -> None:
    """Check that a schedule's kind is known, if it is given by name.

    Raises
    ------
    ValueError
        If skorch knows none of that name.
    """
    policy = getattr(callback, "policy", None)
    known = {k for k, v in vars(skorchs).items() if isinstance(v, type)}
    known &= lr_scheduler.__dict__.keys() | {"WarmRestartLR"}
    if not isinstance(callback, LRScheduler) or not isinstance(policy, str):
        return
    if policy not in known:
        there = f"torch.optim.lr_scheduler.{policy}"
        remedy = (
            f"Give the class {there}"
            if hasattr(lr_scheduler, policy)
            else "Give a class of torch.optim.lr_scheduler"
        )
        raise ValueError(
            f"callbacks: LRScheduler(policy={policy!r}): skorch knows no schedule of "
            f"that name{nearest(policy, known) or '.'} {remedy}."
        )


def nearest(name: str, valid: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean 'x'?", or nothing where no name is near."""
    lower = {candidate.lower(): candidate for candidate in valid}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {prefix + lower[close[0]]!r}?" if close else ""


def _candidates(name: str, own: list[str]) -> list[str]:
    """Own names, and `name` with each prefix mended."""
    mended = []
    for prefix in PREFIXES:
        _, _, rest = name.partition("__")
        if rest:
            mended.append(f"{prefix}__{rest}")
        elif name.startswith(prefix) and name.strip("_") != prefix:
            mended.append(f"{prefix}__{name[len(prefix) :].lstrip('_')}")
    return own + mended


def wrong_order(iterator: Any) -> ValueError:
    """Return the error for an iterator that does not keep to the rows."""
    return ValueError(
        f"iterator_valid={getattr(iterator, '__name__', iterator)} does not give each "
        "row of X once and in the order of X, so that predictions would belong to "
        "other images. Set its iterator_valid__* parameters so that it does neither "
        "shuffle, sample nor leave out rows."
    )
