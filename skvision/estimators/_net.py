"""What image estimators share: skorch's hooks under scikit-learn's contract."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping, EpochScoring
from skorch.history import History
from skorch.utils import to_tensor
from torch import nn

from skvision._random import draw_seed, isolated_random_state, next_seed
from skvision.estimators._builder import (
    Beginning,
    ChangesMixin,
    build_criterion,
    build_network,
    build_optimizer,
    copied,
    encoder_and_head,
    is_convolutional,
    network_shape,
    probe_network,
    resolve_device,
    sets_parameters,
    try_loss,
    twin_of,
    warn_about_softmax,
    warn_of_freezing,
    with_channels_first,
    with_channels_last,
)
from skvision.estimators._data import DataMixin, Given, knows_scaling, read_files
from skvision.estimators._files import FilesMixin
from skvision.estimators._frozen import Features
from skvision.estimators._parameters import (
    ParametersMixin,
    check_names,
    check_settings,
    nearest,
)
from skvision.estimators._run import StopTraining, TrainingRun
from skvision.images._open import labels_by_name
from skvision.networks import get_network
from skvision.networks._transfer import (
    FeatureReader,
    encoder_names,
    load_pretrained,
    train_unfrozen,
)
from skvision.persistence._checkpoints import Checkpoint
from skvision.persistence._fit_names import IRRELEVANT
from skvision.preprocessing._augment import (
    apply_transforms,
    check_transforms,
    copy_transforms,
    warn_of_transforms,
)
from skvision.preprocessing._scaling import PixelScaler
from skvision.training._batches import (
    BatchLoader,
    DeviceLoader,
    ImageDataset,
    ShownDataset,
)
from skvision.training._losses import (
    CRITERIA,
    NONLINEARITIES,
    constant_loss,
    identity,
    reduce_loss,
)
from skvision.training._optimizers import separate_first_steps
from skvision.training._turns import changing, looking
from skvision.training._users_callbacks import (
    CallbackCopies,
    check_monitors,
    check_scorers,
    ends_training,
    named_scorers,
    noting_ctrl_c,
)

#: Asked by ``fit`` in this thread for an estimator that has been fitted so already, as
#: a search has them that trains many at once; its arguments are the one to fit, X, y.
made_already: ContextVar[Callable[[Any, Any, Any], Any] | None] = ContextVar(
    "made_already", default=None
)

# Rows in a batch of evaluation: on a CPU, no more than keep the largest output of a
# layer near the caches. On one thread, 1024 images of 28x28 take the default ConvNet
# three times as long as sixteen times 64, and an MLP nine tenths of the time.
_FEWEST_ROWS, _MOST_ROWS = 64, 1024
_BYTES_ON_CPU = 4 * 2**20
# Images by which it is seen what transforms do.
_N_TRIED = 4
# Matrix products of other numbers of rows end in other rounding errors, so that a
# prediction would depend, in its last bits, on the rows beside it. Flat rows are
# filled up to a multiple; for images that would cost more than it is worth.
_ROWS_AT_ONCE = 16


class ImageNet(ParametersMixin, ChangesMixin, DataMixin, FilesMixin):
    """Checks images, builds networks for them, and trains with skorch's loop.

    Stands left of a skorch net among an estimator's bases. Subclasses say what
    encodes targets (`_codec`).
    """

    # skorch keeps its state in attributes that its __init__ sets. scikit-learn
    # allows parameters only, so what skorch expects begins as class attributes.
    history_ = None
    initialized_ = False
    virtual_params_: dict[str, Any] = {}
    prefixes_ = ["module", "scaler", "criterion", "optimizer", "iterator_train"]
    prefixes_ += ["iterator_valid", "callbacks", "compile", "pretrained"]
    cuda_dependent_attributes_: list[str] = []
    _modules = ["module", "scaler"]
    _criteria = ["criterion"]
    _optimizers = ["optimizer"]
    use_caching: Any = "auto"
    torch_load_kwargs = None

    #: Builds the network of a file that is being loaded.
    _stored: Callable[[Any, nn.Module | None], nn.Module] | None = None
    #: While callbacks are told that training begins.
    _beginning: Beginning | None = None
    # Of an estimator that has been initialized, but never saw data.
    _flat = False
    #: How `image_size` brought the images of fit to their size; None if it did not.
    _resize = None
    #: Of arrays of fit, where `color_mode` gave their images another number of them.
    _n_channels = None
    _scaling_known = False
    _output_kind: str | None = None
    #: What names of criteria stand for.
    _named_criteria: Mapping[str, Any] = CRITERIA
    #: Whether an image may have several labels.
    _is_multilabel = False
    _channels_last = False
    _n_values = 0
    #: The layer from which on it was trained on stored features; None if on images.
    feature_layer_: str | None = None
    #: The training that is going on.
    _run: TrainingRun | None = None
    #: Of schedules that ran before this estimator came out of a file.
    _schedule_steps: dict[str, tuple[str, int]] = {}

    __repr__ = BaseEstimator.__repr__

    def __sklearn_clone__(self):
        # A fitted estimator would come without its weights, and scikit-learn takes
        # transforms of torchvision's for estimators.
        own = {"pretrained": self.pretrained}
        for name in ("augment", "noise"):
            if hasattr(self, name):
                own[name] = copy_transforms(getattr(self, name))
        for name in ("module", "criterion"):
            if isinstance(getattr(self, name), nn.Module):
                own[name] = copied(getattr(self, name))
        plain = twin_of(self, **dict.fromkeys(own))
        clone = super(ImageNet, plain).__sklearn_clone__()
        for name, value in own.items():
            setattr(clone, name, value)
        return clone

    def __skvision_identity__(self):
        params = self.get_params(deep=False)
        params = {key: value for key, value in params.items() if key not in IRRELEVANT}
        # Of a fitted one, all that predictions are made of.
        parts = [getattr(self, name, None) for name in ("module_", "scaler_")]
        return params, parts, self._facts(), getattr(self, "classes_", None)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ---------------------------------------------------------------- fitting

    @changing
    def _fit(self, X, y, sample_weight, *, partial, **given):
        """Check everything, then train; errors before leave a fitted net as it was."""
        find = made_already.get()
        if not partial and find and (made := find(self, X, y)) is not None:
            vars(self).update(vars(made))
            return self
        run = self._begin_fit(X, y, sample_weight, partial=partial, **given)
        run.train()
        self._after_training(run.split)
        if not partial:
            run.warn_if_constant()
        return self

    def _begin_fit(self, X, y, sample_weight, *, partial=False, **given):
        """Return a training that has begun: rows are checked, the network is ready."""
        with self._unchanged_on_error():
            check_settings(self)
            goes_on = self.initialized_ and (partial or self.warm_start)
            changed = self._checked_changes() if goes_on else None
            if not goes_on:
                self.device_ = resolve_device(self.device)
            if not goes_on or "random_state" in changed:
                self._start_randomness(draw_seed(self.random_state))
            # Transforms of a data set may draw random numbers already here.
            with isolated_random_state(self.device_, next_seed(self._generator)):
                run = self._prepare(X, y, sample_weight, Given(**given), changed)
            if not run.has_begun and (self.max_epochs or not self.history):
                with run.turn():
                    run.tell_of_beginning()  # Callbacks may set what is wrong.
            return run

    def _prepare(self, X, y, sample_weight, given, changed):
        """Return the training of a network that is ready on rows that are checked.

        It is built unless there is one, whose parameters were `changed` since.
        """
        goes_on = changed is not None
        if not goes_on:
            vars(self).pop("scaler_", None)  # Of a network that is given up.
        for name in ("skipped_", "skipped_reasons_"):
            vars(self).pop(name, None)  # They are those of the last call.
        reset = not goes_on or not self._has_facts()
        if goes_on and given.classes is None:
            # They may have come with weights, before any data.
            given = given._replace(classes=vars(self).get("classes_inferred_"))
        data = self._check_training_data(
            *(X, y, sample_weight),
            reset=reset,
            classes=given.classes,
            groups=given.groups,
        )
        held_out = self._check_held_out(given)
        if self._flat and check_transforms(self.augment):
            raise ValueError(
                f"augment={self.augment!r} transforms images, but X has flat rows. Set "
                "image_shape=(channels, height, width)."
            )
        checkpoint = None
        if not goes_on and self.checkpoint is not None:
            # Classes that are announced beforehand are not all in y.
            facts = self._facts(), getattr(self, "classes_", None)
            checkpoint = Checkpoint.of(self, data, held_out, facts)
        if checkpoint is not None and checkpoint.found:
            # With random_state=None, the rows held out have to be the same again.
            self._start_randomness(checkpoint.found["seed"])
            next_seed(self._generator)  # As has been drawn before the data were read.
        split = self._split(data, held_out, weighted=sample_weight is not None)
        loader = self.get_iterator(split.train, training=True)
        if hasattr(loader.loader, "__len__") and len(loader) == 0:
            raise ValueError(
                f"There is no batch: batch_size={self.batch_size} is more than the "
                "rows of X, and iterator_train__drop_last=True leaves out what is "
                "less. Choose a smaller batch_size, or iterator_train__drop_last=False."
            )
        if self.iterator_valid is not BatchLoader or self.get_params_for(
            "iterator_valid"
        ):
            self.get_iterator(split.train)  # Else nothing can be wrong with it.
        self._run = TrainingRun(self, split, checkpoint, goes_on=goes_on)
        if goes_on:
            self._renew_parts(changed)
            self._check_parts(split, anew=reset and self.scaler_.divisors is None)
            self._settle_changes(changed)
        else:
            self._initialize_for(split)
        return self._run

    def _after_training(self, split):
        """Learn what is learnt of a trained network and the rows held out."""

    def _check_parts(self, split, *, new=False, anew=True):
        """Check that parts, of which some may be new, can be trained on these rows.

        What the scaler has to learn of them it does here, if it is to learn anew.
        """
        if new:
            warn_about_softmax(self._output_kind, self.module_, self.criterion_)
            warn_of_freezing(self)
        check_scorers(self)
        check_monitors(self, holds_out=split.valid is not None)
        # Nothing is lost where nothing is trained, nor learnt of pixels.
        files = split if self.max_epochs or not self._scaling_known else ()
        # By threads, before scales are learnt of images one after the other.
        read_files(*files, kept=True)
        all_read = self._fit_scaling(*split, anew=anew)
        checkpoint = self._run.checkpoint
        if new and checkpoint is not None:
            checkpoint.check(self)  # The scaling is compared with that of these rows.
        # A damaged file is to show before anything is trained, or lost.
        read_files(*files[1:] if all_read else files, kept=False)
        try_loss(self, split.train)
        if self.augment is not None:
            warn_of_transforms(
                self._to_transform(split.train.images.read(slice(0, _N_TRIED))),
                self.augment,
            )

    def _start_randomness(self, seed):
        self._seed = seed
        self._generator = torch.Generator().manual_seed(seed)

    def _has_facts(self):
        return hasattr(self, "n_features_in_")

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Leave the estimator as it was if an error is raised inside."""
        before = dict(vars(self))
        drawn = self._generator.get_state() if "_generator" in before else None
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            if drawn is not None:
                self._generator.set_state(drawn)
            raise

    # --------------------------------------------------- skorch's hooks that build

    @changing
    def initialize(self):
        """Build network, criterion, optimizer and callbacks afresh.

        ``fit`` calls it. Before ``load_params`` on a new estimator it needs the
        parameter ``image_shape`` and, unless the network knows it by itself,
        ``module__n_outputs``.

        Returns
        -------
        self : object
        """
        self.check_training_readiness()
        if not hasattr(self, "_generator"):
            self.device_ = resolve_device(self.device)
            self._start_randomness(draw_seed(self.random_state))
        self.initialized_ = False  # Else skorch prints what it initializes again.
        with self._building():
            super().initialize()
        return self

    @contextlib.contextmanager
    def _building(self) -> Iterator[None]:
        """Let parts be made by random numbers of the estimator's own."""
        seed = next_seed(self._generator)
        with isolated_random_state(self.device_, seed), self._plain_device():
            yield
        self._made_with = self._tracked()

    @contextlib.contextmanager
    def _plain_device(self: Any) -> Iterator[None]:
        """Let skorch, which reads the parameter, see a device that torch knows."""
        device, self.device = self.device, str(self.device_)
        try:
            yield
        finally:
            self.device = device

    def initialize_history(self) -> Self:
        self.history_ = History()  # Clearing the old one would change copies of it.
        return self

    def initialize_callbacks(self):
        # The user's instances stay as they are; callbacks_ holds those that ran.
        given = self.callbacks, self._prefixed
        copies = CallbackCopies()
        self.callbacks = copies.of(list(self.callbacks or []))
        self._prefixed = {
            key: copies.of(value) if key.startswith("callbacks__") else value
            for key, value in self._prefixed.items()
        }
        try:
            for key in self.get_params_for("callbacks"):
                names = [name for name, *_ in self._uniquely_named_callbacks()]
                if (name := key.split("__")[0]) not in names:
                    raise ValueError(
                        f"There is no callback {name!r}, which callbacks__{key} is for"
                        f"{nearest(name, names) or '.'} There are: {', '.join(names)}."
                    )
            return super().initialize_callbacks()
        finally:
            self.callbacks, self._prefixed = given

    def get_default_callbacks(self):
        callbacks = dict(super().get_default_callbacks())
        for name, scoring in named_scorers(self.epoch_scoring):
            for part in ("train", "valid"):
                title, on_train = f"{part}_{name}", part == "train"
                callbacks[title] = EpochScoring(
                    scoring, lower_is_better=False, on_train=on_train, name=title
                )
        if self.early_stopping:
            callbacks["early_stopping"] = EarlyStopping(
                patience=self.n_iter_no_change, threshold=0, load_best=True
            )
        return list(callbacks.items())

    def _initialize_module(self, reason=None):
        """Make the network, take it over, and bring it to its device."""
        if not hasattr(self, "device_"):  # skorch's tests call this alone.
            self.device_ = resolve_device(self.device)
        with self._current_init_context("module"):
            own = type(self).initialize_module is not ImageNet.initialize_module
            if self._stored is None or own:
                self.initialize_module()
            self._take_over(own=own)
            for name in self._modules:
                part = getattr(self, name + "_").to(self.device_)
                setattr(self, name + "_", self.torch_compile(part, name=name))
        return self

    def initialize_module(self) -> Self:
        """Set ``module_`` to a new network; subclasses may do so in their own way.

        What every network needs is done afterwards: weights of `pretrained` are put
        into it, others are frozen, and it is tried on images before it is trained.

        Returns
        -------
        self : object
        """
        module = self._auto_module() if self.module == "auto" else self.module
        kwargs = self.get_params_for("module")
        given = isinstance(self.pretrained, (str, os.PathLike, dict))
        if given and isinstance(module, str) and kwargs.get("weights"):
            # It holds them; the network is the one that they are for.
            get_network(module)
            kwargs = {**kwargs, "load_weights": False}
        self.module_ = build_network(module, self._facts(), kwargs)
        return self

    def _take_over(self, *, own=False):
        """Make a new network one that is ready to be trained, and its scaler.

        It may be of the subclass's `own` making. That of a file comes from there.
        """
        if self._stored is not None:
            self.module_ = self._stored(self, self.module_ if own else None)
        network = self.module_
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"initialize_module set module_ to an object of type "
                f"{type(network).__name__}; expected a torch.nn.Module."
            )
        if network is self.module:
            network = copied(network)  # The user's own is not to be trained.
        spec = self._network_spec(network)
        if self._stored is None:
            network = network.to(self._dtype)
            if (shape := self._facts().get("image_shape")) is not None:
                self.network_shape_ = network_shape(shape, spec)
                flat = (math.prod(shape),)
                self._try(network, flat if self._flat else self.network_shape_)
            if self.pretrained is not None:
                trained = load_pretrained(network, self.pretrained, self.pretrained_mix)
            else:
                # What says how its images should be has been trained on such.
                trained = set() if spec is None else encoder_names(network)
            self._pretrained_names = trained
        self._freeze(network)
        self.module_ = network
        scaling = self._known_scaling(spec)
        self._scaling_known = scaling is not None
        self.scaler_ = PixelScaler(
            *(scaling or (None, None)), flat=self._flat, dtype=self._dtype, spec=spec
        )

    def _network_spec(self, network=None):
        """Return what the network wants of batches: no size, if readers bring one."""
        spec = getattr(network or self.module_, "input_spec", None)
        bring = self._resize if self._has_facts() else self.image_size
        if spec is None or bring is None:
            return spec
        return dataclasses.replace(spec, size=None)

    def _auto_module(self):
        if hasattr(self.pretrained, "encoder_"):
            return encoder_and_head(self.pretrained)
        return "mlp" if self._flat else "convnet"

    def _try(self, network, shape):
        """Try a network on images, also how these lie in memory; note what is seen."""
        is_free = self.memory_format == "auto"
        last = self.memory_format == "channels_last"
        if is_free and is_convolutional(network):
            # On a GPU, only half precision gains by it for sure.
            last = self.device_.type == "cpu" or self.amp
        n_outputs = self._facts().get("n_outputs")
        try:
            seen = probe_network(network, shape, n_outputs, channels_last=last)
        except ValueError:
            if not is_free or not last:
                raise
            last = False  # Such as of view() after a convolution.
            seen = probe_network(network, shape, n_outputs)
        vars(self).update(_output_kind=seen[0], _n_values=seen[1], _channels_last=last)

    def _initialize_for(self, split):
        """Build all parts, of settings of callbacks too, and check that they fit."""
        before = dict(vars(self))
        try:
            self.initialize()
        except (TypeError, ValueError) as error:
            made = [name for name, v in vars(self).items() if before.get(name) is not v]
            # Callbacks come before the network, and its scaler is its last part.
            of_network = "callbacks_" in made and "scaler_" not in made
            if not of_network or not sets_parameters(self):
                raise
            for name in ("module_", "scaler_", "criterion_", "optimizer_"):
                vars(self).pop(name, None)
            self.initialize_history()
            self._run.tell_of_beginning(unbuilt=error)
        else:
            self._check_parts(split, new=True)

    def _build_anew(self, split):
        """Build network, criterion and optimizer again, after callbacks set others."""
        with self._building():
            self._initialize_module()
            self._initialize_criterion()
            self._initialize_optimizer()
        self.initialized_ = True
        self._check_parts(split, new=True)

    def _facts(self):
        """Return what is known of image shape and outputs."""
        shape = getattr(self, "image_shape_", self.image_shape)
        facts = {"image_shape": None if shape is None else tuple(shape)}
        facts["n_outputs"] = getattr(self, "n_outputs_", None)
        return {name: fact for name, fact in facts.items() if fact is not None}

    def torch_compile(self, module: nn.Module, name: str) -> nn.Module:
        if self.compile and name == "module":
            module.compile(**self.get_params_for("compile"))
        return module

    def initialize_criterion(self) -> Self:
        self.criterion_ = build_criterion(self)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Self:
        self.optimizer_ = build_optimizer(self)
        return self

    # --------------------------------------------------------- skorch's hooks

    @property
    def _dtype(self):
        return getattr(torch, self.dtype)

    def check_data(self, X, y=None):
        pass  # All checks are made before skorch's loop begins.

    def get_split_datasets(self, X, y=None, **fit_params):
        return X

    def notify(self, method_name, **cb_kwargs):
        run = self._run
        if method_name == "on_epoch_begin" and run is not None and run.within:
            return  # It has begun already.
        if method_name == "on_train_end" and not self.history:
            return  # Callbacks look at the last epoch.
        if not method_name.startswith(("on_batch", "on_grad")):
            cb_kwargs = self._in_users_terms(cb_kwargs)
        getattr(self, method_name)(self, **cb_kwargs)
        stopped = False
        unheard = getattr(Callback, method_name, None)
        for _, callback in self.callbacks_:
            method = getattr(callback, method_name)
            if getattr(method, "__func__", method) is not unheard:
                # Most of them do nothing at a batch, hundreds of times.
                stopped |= ends_training(method, self, **cb_kwargs)
        if run is not None and run.checkpoint is not None:
            run.heard(method_name, stopped=stopped)
        if stopped:
            raise StopTraining

    def on_epoch_begin(self, net, *args, **kwargs):
        super().on_epoch_begin(net, *args, **kwargs)
        if self.unfreeze_at is not None:
            self._unfreeze([len(self.history)])

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        run = self._run or TrainingRun(self, None)
        batches = run.begin_pass(iterator, training=training, prefix=prefix)
        with noting_ctrl_c():
            while (batch := batches.next_batch()) is not None:
                batches.after_step(**step_fn(run.for_step(batch), **fit_params))
        batches.end()

    def _step_optimizer(self, step_fn):
        separate_first_steps(self.optimizer_)
        super()._step_optimizer(step_fn)

    def _prepared(self, batch, training):
        """Return (images, targets[, weights]) as the steps of the loop get them.

        A step of the user's, as skorch's documentation has them, needs do no more than
        compare the outputs for the images with the targets.
        """
        X, y, *weight = batch
        images, target = self._drawn(X, y, training)
        return images, self._target(target), *weight

    def _in_users_terms(self, kwargs):
        """Return what callbacks are told, with data sets as skorch has them."""
        kwargs = dict(kwargs)
        for name, value in kwargs.items():
            if isinstance(value, ImageDataset):
                shown = self._shown_dataset(value)
                # Scorers that get no targets are for images.
                kwargs[name] = shown.X if shown.y is None else shown
        if isinstance(data := kwargs.get("X"), ShownDataset):
            kwargs |= {"X": data.X, "y": data.y}
        return kwargs

    def _shown_dataset(self, data):
        """Return rows as the user has them."""
        y = None if data.y is None else np.asarray(self._targets.shown(data.y))
        return ShownDataset(data.images, y, source=data)

    def _constant_loss(self, data):
        """Return the least loss of a constant prediction, None if it is not known."""
        y = self._compared(data.y)
        return constant_loss(self.criterion_, y, data.sample_weight)

    def get_iterator(self, dataset: Any, training: bool = False) -> DeviceLoader:
        """Return batches of images and targets as the network and its loss get them.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            From `get_dataset`, or any other that may be X in ``fit``.
        training : bool, default=False
            Whether to take `iterator_train`, which shuffles, or `iterator_valid`.

        Returns
        -------
        batches : iterable of (images, targets)
        """
        name = "iterator_train" if training else "iterator_valid"
        loader, kwargs = getattr(self, name), self.get_params_for(name)
        check_names(name, loader, kwargs)
        for setting in () if training else ("shuffle", "drop_last"):
            if kwargs.get(setting):
                raise ValueError(
                    f"iterator_valid__{setting}={kwargs[setting]!r}: predictions must "
                    "come for each row of X and in the order of X. Set "
                    f"iterator_valid__{setting}=False; iterator_train__{setting} is "
                    "for training."
                )
        dataset = self._encoded(dataset)
        batch_size = self.batch_size if training else self._evaluation_batch_size()
        kwargs.setdefault("batch_size", batch_size)
        if kwargs["batch_size"] == -1:
            kwargs["batch_size"] = len(dataset)
        steps, source = dataset.images.steps, dataset
        on_gpu = self.device_.type == "cuda"
        if isinstance(loader, type) and issubclass(loader, BatchLoader):
            if training:
                kwargs = {"shuffle": True, "generator": self._generator} | kwargs
                if on_gpu and not kwargs.get("num_workers"):
                    source = dataset.on_gpu(self.device_)
            if on_gpu and source is dataset:
                kwargs.setdefault("pin_memory", True)
        return DeviceLoader(loader(source, **kwargs), self.device_, steps)

    def _evaluation_batch_size(self):
        """Return how many rows go through the network at once without gradients."""
        if self.device_.type == "cpu":
            n_rows = _BYTES_ON_CPU // max(1, self._n_values * self._dtype.itemsize)
            return min(max(n_rows, _FEWEST_ROWS), _MOST_ROWS)
        if self.batch_size == -1:
            return _MOST_ROWS
        # A GPU takes more, but memory may be what the user chose batch_size for.
        return max(self.batch_size, min(4 * self.batch_size, _MOST_ROWS))

    def _set_training(self, training=True):
        # skorch asks before each batch, and to tell all layers takes a while.
        if self.module_.training != training:
            self._enter_mode(training)

    def _enter_mode(self, training):
        super()._set_training(training)
        if training and self.freeze is not None:
            train_unfrozen(self.module_)

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        y_pred, loss = self._outputs_and_loss(batch, training=True)
        loss.backward()
        # Callbacks collect outputs; without the graph they cost little memory.
        return {"loss": loss.detach(), "y_pred": _detached(y_pred)}

    def validation_step(self, batch, **fit_params):
        self._set_training(False)
        with torch.no_grad():
            y_pred, loss = self._outputs_and_loss(batch, training=False)
        return {"loss": loss, "y_pred": y_pred}

    def _outputs_and_loss(self, batch, *, training):
        X, y, *weight = batch
        y_pred = self.infer(X)
        return y_pred, self._loss(y_pred, y, X, weight, training)

    def _to_transform(self, X):
        """Return a batch as transforms get it, on the network's device."""
        images = self.scaler_.to_unit(to_tensor(X, device=self.device_))
        # Transforms are for values in [0, 1].
        return self.scaler_.normalised(images) if self.normalize == "range" else images

    def _augmented(self, X):
        """Return a training batch, transformed on the network's device."""
        if self.augment is None or not (transforms := check_transforms(self.augment)):
            return X
        images = apply_transforms(self._to_transform(X), transforms)
        if images.shape[1:] not in (X.shape[1:], self.network_shape_):
            raise ValueError(
                f"augment={self.augment!r} makes images of shape "
                f"{tuple(images.shape[1:])} of those of shape {self.image_shape_}; the "
                "network needs images of one shape."
            )
        return images

    def _drawn(self, X, y, training):
        """Return images and what is to be learnt of them, random changes made."""
        return self._augmented(X) if training else X, y

    def _target(self, target):
        """Return what outputs are compared with."""
        return target

    def _compared(self, y):
        """Return targets as the criterion compares them with outputs."""
        return y

    def _loss(self, y_pred, y, X, weight, training):
        if not weight:
            return self.get_loss(y_pred, y, X=X, training=training)
        losses = self._unreduced_loss(y_pred, y, X, training)
        return reduce_loss(losses, weight[0], self.criterion_.reduction)

    def _unreduced_loss(self, y_pred, y, X=None, training=True):
        """Return the criterion's values, one or more for each row."""
        losses = torch.empty(())
        if getattr(self.criterion_, "reduction", None) is not None:
            # Others may use the criterion meanwhile.
            criterion = twin_of(self.criterion_)
            criterion.reduction = "none"
            twin = twin_of(self, criterion_=criterion)
            losses = twin.get_loss(y_pred, y, X=X, training=training)
            _take_over(twin, self, but="criterion_")
            _take_over(criterion, self.criterion_, but="reduction")
        if losses.ndim == 0 or len(losses) != len(y):
            raise ValueError(
                "rows have weights (sample_weight or class_weight), so that the loss "
                "of each is needed. Give the criterion an attribute `reduction`, and "
                "let it return one value per row where that is 'none'; or leave the "
                "weights out."
            )
        return losses

    def _to_input(self, x):
        """Return what the network gets of a batch of images."""
        x = self.scaler_(to_tensor(x, device=self.device_))
        # Images may lie in memory as the user's array does, in either order.
        arrange = with_channels_last if self._channels_last else with_channels_first
        return arrange(x)

    def infer(self, x, **fit_params):
        network, x = self._network_and_input(x)
        if not self.amp:
            return self._finished(network(x, **fit_params))
        with torch.autocast(self.device_.type, dtype=torch.bfloat16):
            outputs = network(x, **fit_params)
        if isinstance(outputs, tuple):
            return self._finished(tuple(out.to(self._dtype) for out in outputs))
        return self._finished(outputs.to(self._dtype))

    def _network_and_input(self, x):
        """Return the network and its input, or its head where the rest has run."""
        if isinstance(x, Features):
            values = to_tensor(x.values, device=self.device_)
            return x.part.head, x.part.to_input(values)
        return self.module_, self._to_input(x)

    def _finished(self, outputs):
        """Return what a network gave as losses, callbacks and users get it."""
        return outputs

    # --------------------------------------------------------------- prediction

    @looking
    def evaluation_step(self, batch, training=False):
        X, n_rows = batch[0], len(batch[0])
        missing = -n_rows % _ROWS_AT_ONCE
        is_whole = not self._flat or isinstance(X, Features)
        if training or is_whole or not missing:
            return super().evaluation_step(batch, training=training)
        padded = nn.functional.pad(to_tensor(X, device="cpu"), (0, 0, 0, missing))
        outputs = super().evaluation_step((padded, None))
        if _has_rows(outputs, len(padded)):
            return outputs[:n_rows]
        # What is filled up would count in what has not a row for each image.
        plain = super().evaluation_step(batch)
        if not isinstance(outputs, tuple):
            return plain
        return tuple(
            part[:n_rows] if _has_rows(part, len(padded)) else other
            for part, other in zip(outputs, plain, strict=True)
        )

    def _get_predict_nonlinearity(self):
        chosen = self.predict_nonlinearity
        if not isinstance(chosen, str):
            return super()._get_predict_nonlinearity()
        self.check_is_fitted()
        if chosen == "auto":
            return self._response() or identity
        return NONLINEARITIES[chosen]

    def _check_scales(self):
        """Check that the estimator is fitted, and knows how to scale pixels."""
        self.check_is_fitted()
        if not knows_scaling(self):
            raise NotFittedError(
                f"This {type(self).__name__} has never seen the images from which "
                f"normalize={self.normalize!r} learns. Call fit, or set normalize to "
                "None or a pair (mean, std) before initialize."
            )

    def _raw_predict(self, X, nonlinearity=None):
        """Return the network's outputs for X, made predictions of: (n, n_outputs)."""
        self._check_scales()
        nonlinearity = nonlinearity or self._get_predict_nonlinearity()
        self._enter_mode(training=False)
        outputs, n_done = torch.empty(0), 0
        with isolated_random_state(self.device_):
            data = self._to_predict(X)
            for out in self.forward_iter(data, training=False, device="cpu"):
                part = nonlinearity(out[0] if isinstance(out, tuple) else out)
                part = torch.as_tensor(part)  # It may be an array as well.
                if not n_done:
                    # Small blocks, one kept of each batch, would lie between large
                    # ones, so that memory that is freed could not be taken again.
                    outputs = part.new_empty((len(data), *part.shape[1:]))
                outputs[n_done : n_done + len(part)] = part
                n_done += len(part)
            return self._finite(outputs[:n_done], data.images).numpy()

    def _batches(self, X, function):
        """Apply a function to batches of X and join what it returns."""
        self.check_is_fitted()
        self._enter_mode(training=False)
        with torch.no_grad(), isolated_random_state(self.device_):
            X = self._to_predict(X)
            parts = [function(batch[0]).cpu() for batch in self._in_order(X)]
        return self._finite(torch.cat(parts), X.images)

    @looking
    def score(self, X, y=None, sample_weight=None):
        """Return accuracy of a classifier, R² of a regressor.

        Where images may have several labels, accuracy is the part of those whose labels
        are all right.

        Parameters
        ----------
        X : images
            As in ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            True targets; None takes them from X where X carries them.
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        score : float
        """
        with isolated_random_state(getattr(self, "device_", torch.device("cpu"))):
            X, y = labels_by_name(self, X, y)
            return super().score(X, self._required(y), sample_weight)

    @property
    def best_epoch_(self) -> int:
        """Epoch, counted from 1, whose weights early stopping has put back."""
        best = [getattr(stopper, "best_epoch_", 0) for stopper in self._stoppers()]
        best = [int(epoch) for epoch in best if epoch]
        if not best:
            raise AttributeError(
                f"This {type(self).__name__} has no best_epoch_, since the weights of "
                "no epoch were put back: set early_stopping=True. The losses of all "
                "epochs are in history."
            )
        # Each puts back its own, unless that is the last epoch's.
        others = [n for n in best if n != self.history[-1, "epoch"]]
        return (others or best)[-1]

    def _stoppers(self):
        """Return the callbacks that put back the weights of their best epoch."""
        callbacks = [callback for _, callback in getattr(self, "callbacks_", ())]
        return [c for c in callbacks if isinstance(c, EarlyStopping) and c.load_best]

    def _forget_best_epoch(self, but=None):
        """Note that the weights are those of no epoch, or at best of this one."""
        for callback in self._stoppers():
            if getattr(callback, "best_epoch_", 0) != but:
                callback.best_epoch_ = 0


class FeatureNames(ClassNamePrefixFeaturesOutMixin):
    """Names columns after the estimator, also where it got a column of paths."""

    _flat: bool

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the columns that ``transform`` makes.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only compared with what was fitted: a name for each feature, or that of the
            column in which images came. A ColumnTransformer gives them.

        Returns
        -------
        names : ndarray of str
            The estimator's name in lower case, followed by a number.
        """
        if not self._flat and np.shape(input_features) == (1,):
            input_features = None
        return super().get_feature_names_out(input_features)


class _NamedFeatures(FeatureNames, TransformerMixin):
    """What a layer makes of images, in the container that was asked for."""

    #: The layer; None stands for the head's input.
    _layer: str | None = None
    #: What is taken of each map.
    _pooling: str | None = None

    def transform(self: Any, X: Any) -> Any:
        return self._features(X)

    def _features(self: Any, X: Any) -> np.ndarray:
        """Return what the layer makes of images as an array."""
        self._check_scales()
        read = FeatureReader(self.module_, self._layer, self._pooling)

        def features(batch):
            batch, n_rows = to_tensor(batch, device=self.device_), len(batch)
            if self._flat:
                missing = -n_rows % _ROWS_AT_ONCE
                batch = nn.functional.pad(batch, (0, 0, 0, missing))
            kind = self.device_.type
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=bool(self.amp)):
                return read(self._to_input(batch))[:n_rows].to(self._dtype)

        return self._batches(X, features).numpy()

    @property
    def _n_features_out(self: Any) -> int:
        self.check_is_fitted()
        shape = (self.n_features_in_,) if self._flat else self.network_shape_
        image = torch.zeros((1, *shape), dtype=self._dtype, device=self.device_)
        read = FeatureReader(self.module_, self._layer, self._pooling)
        return read(image).shape[1]

    def __sklearn_tags__(self: Any) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = [self.dtype]
        return tags


class FeaturesMixin(_NamedFeatures, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Gives what networks learn of images to other estimators.

    Stands left of `ImageNet` among an estimator's bases. Its ``transform`` is not
    wrapped by scikit-learn, which would name the columns of any layer as the head's.
    """

    @looking
    def transform(self: Any, X: Any, layer: str | None = None) -> np.ndarray:
        """Return what the network's head gets of each image.

        These are the features that the network has learnt, of which its head, the last
        part, makes outputs. They are taken in evaluation mode: nothing is dropped or
        augmented.

        Parameters
        ----------
        X : images
            As in ``fit``.
        layer : str, default=None
            Name of another layer, as ``module_.named_modules()`` has it, whose output
            is taken. None takes what the head gets: the output of the network's
            submodule ``encoder`` or, where there is none, the input of the last layer
            that has parameters. All before it is what ``freeze="backbone"`` means.

        Returns
        -------
        features : ndarray of shape (n, n_features)
            One row for each image, whatever the shape the layer has, float32 or as
            `dtype` says; a frame after ``set_output``.

        Raises
        ------
        ValueError
            If there is no such layer, or if it cannot be told what the head is.

        Examples
        --------
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.pipeline import make_pipeline
        >>> from skvision import ImageClassifier
        >>> from skvision.datasets import load_digits_images
        >>> X, y = load_digits_images(return_X_y=True)
        >>> net = ImageClassifier("mlp", module__hidden=(64, 32), random_state=0)
        >>> net.fit(X, y).transform(X).shape
        (1797, 32)
        >>> net.transform(X, layer="layers.0").shape
        (1797, 64)
        >>> model = make_pipeline(net, LogisticRegression(max_iter=1000)).fit(X, y)
        >>> bool(model.score(X, y) > 0.9)
        True
        """
        if layer is not None and not isinstance(layer, str):
            raise TypeError(
                f"layer={layer!r} should be the name of a layer, as "
                "module_.named_modules() has it, or None."
            )
        self.check_is_fitted()
        # Names of columns are asked for afterwards, and other threads may ask, too.
        net = self if layer is None else twin_of(self, _layer=layer)
        return super(FeaturesMixin, net).transform(X)


def _take_over(twin, value, *, but):
    """Set the attributes that a twin has been given since, such as numbers of calls."""
    own = vars(value)
    changed = {k: v for k, v in vars(twin).items() if own.get(k) is not v}
    own.update({k: v for k, v in changed.items() if k != but})


def _detached(y_pred):
    if isinstance(y_pred, tuple):
        return tuple(_detached(part) for part in y_pred)
    return y_pred.detach() if isinstance(y_pred, torch.Tensor) else y_pred


def _has_rows(output, n_rows):
    """Whether what a network gave has a row for each of its images."""
    has_rows = isinstance(output, torch.Tensor) and output.ndim > 0
    return has_rows and len(output) == n_rows
