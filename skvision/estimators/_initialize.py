"""Build network, loss, optimizer and callbacks as the parameters say."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sklearn.metrics import check_scoring
from skorch.callbacks import EarlyStopping, EpochScoring
from skorch.history import History
from torch import nn

from skvision._random import draw_seed, isolated_random_state, next_seed
from skvision._warnings import warn
from skvision.estimators._builder import (
    build_network,
    copied,
    is_convolutional,
    network_shape,
    probe_network,
    resolve_device,
)
from skvision.estimators._callbacks import CallbackCopies
from skvision.estimators._parameters import check_names, nearest
from skvision.estimators._turns import changing
from skvision.networks import EncoderClassifier
from skvision.networks._transfer import (
    encoder_names,
    load_pretrained,
    split_groups,
)
from skvision.preprocessing._scaling import PixelScaler
from skvision.training._losses import (
    CRITERIA,
    FUSED,
    OPTIMIZERS,
    check_no_layer,
    resolve,
)
from skvision.training._optimizers import group_setting, set_groups

__all__ = ["InitializeMixin", "check_scorers", "named_scorers"]


class InitializeMixin:
    """skorch's ``initialize`` and the steps that it calls."""

    device: Any
    #: Builds the network of a file that is being loaded.
    _stored: Callable[[Any], nn.Module] | None = None

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
        seed = next_seed(self._generator)
        with isolated_random_state(self.device_, seed), self._plain_device():
            super().initialize()
        self._note_parameters()
        return self

    @contextlib.contextmanager
    def _plain_device(self) -> Iterator[None]:
        """Let skorch, which reads the parameter, see a device that torch knows."""
        device, self.device = self.device, str(self.device_)
        try:
            yield
        finally:
            self.device = device

    def initialize_history(self):
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
            names = [name for name, *_ in self._uniquely_named_callbacks()]
            for key in self.get_params_for("callbacks"):
                if (name := key.split("__")[0]) not in names:
                    raise ValueError(
                        f"There is no callback {name!r}, which callbacks__{key} is for"
                        f"{nearest(name, names)}. There are: {', '.join(names)}."
                    )
            return super().initialize_callbacks()
        finally:
            self.callbacks, self._prefixed = given

    def get_default_callbacks(self):
        callbacks = dict(super().get_default_callbacks())
        for name, scoring in named_scorers(self.epoch_scoring):
            for part in ("train", "valid"):
                scorer = EpochScoring(
                    scoring,
                    name=f"{part}_{name}",
                    lower_is_better=False,
                    on_train=part == "train",
                )
                callbacks[f"{part}_{name}"] = scorer
        if self.early_stopping:
            stopper = EarlyStopping(
                patience=self.n_iter_no_change, threshold=0, load_best=True
            )
            callbacks["early_stopping"] = stopper
        return list(callbacks.items())

    def initialize_module(self):
        network = self._build_network()
        self._freeze(network)
        self.module_ = network
        spec = getattr(network, "input_spec", None)
        scaling = self._known_scaling(spec)
        self._scaling_known = scaling is not None
        self.scaler_ = PixelScaler(
            *(scaling or (None, None)), flat=self._flat, dtype=self._dtype, spec=spec
        )
        return self

    def _build_network(self):
        """Return a network that is tried, with the weights that it begins with."""
        if self._stored is not None:
            return self._stored(self)
        module = self._auto_module() if self.module == "auto" else self.module
        kwargs = self.get_params_for("module")
        network = build_network(module, self._facts(), kwargs).to(self._dtype)
        spec = getattr(network, "input_spec", None)
        shape = self._facts().get("image_shape")
        if shape is not None:
            self.network_shape_ = network_shape(shape, spec)
            n_features = math.prod(shape)
            self._try(network, (n_features,) if self._flat else self.network_shape_)
        # A network that says what its images should be has been trained on such.
        self._pretrained_names = encoder_names(network) if spec is not None else set()
        if self.pretrained is not None:
            self._pretrained_names = load_pretrained(
                network, self.pretrained, self.pretrained_mix
            )
        return network

    def _auto_module(self):
        if hasattr(self.pretrained, "encoder_"):
            # The weights are put back later, in the proportion of pretrained_mix.
            encoder = copy.deepcopy(self.pretrained.encoder_)
            for layer in encoder.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
            return partial(EncoderClassifier, encoder=encoder)
        return "mlp" if self._flat else "convnet"

    def _try(self, network, shape):
        """Try the network before training, and choose how its images lie in memory."""
        self._channels_last = self.memory_format == "channels_last"
        if self.memory_format == "auto" and is_convolutional(network):
            # On a GPU, only half precision gains by it for sure.
            self._channels_last = self.device_.type == "cpu" or self.amp
        try:
            self._probe(network, shape)
        except ValueError:
            if self.memory_format != "auto" or not self._channels_last:
                raise
            # Such as of view() after a convolution.
            self._channels_last = False
            self._probe(network, shape)

    def _probe(self, network, shape):
        n_outputs = self._facts().get("n_outputs")
        self._output_kind, self._n_values = probe_network(
            network, shape, n_outputs, channels_last=self._channels_last
        )

    def _facts(self):
        """Return what is known of image shape and outputs."""
        facts = {}
        if self.image_shape is not None:
            facts["image_shape"] = tuple(self.image_shape)
        for name in ("image_shape", "n_outputs"):
            if hasattr(self, name + "_"):
                facts[name] = getattr(self, name + "_")
        return facts

    def torch_compile(self, module, name):
        if self.compile and name == "module":
            module.compile(**self.get_params_for("compile"))
        return module

    def initialize_criterion(self):
        criterion = resolve(self.criterion, CRITERIA)
        kwargs = self.get_params_for("criterion")
        if isinstance(criterion, nn.Module):
            criterion = type(criterion) if kwargs else copied(criterion)
        else:
            check_names("criterion", criterion, kwargs)
        built = self.initialized_instance(criterion, kwargs)
        check_no_layer(built)
        if isinstance(self.criterion, nn.Module) and kwargs:
            _warn_of_lost(self.criterion, built, kwargs)
        self.criterion_ = (
            built.to(self._dtype) if isinstance(built, nn.Module) else built
        )
        return self

    def initialize_optimizer(self, triggered_directly=None):
        optimizer = resolve(self.optimizer, OPTIMIZERS)
        args, kwargs = self.get_params_for_optimizer(
            "optimizer", self.get_all_learnable_params()
        )
        of_groups = {k: kwargs.pop(k) for k in [*kwargs] if "param_groups__" in k}
        check_names("optimizer", optimizer, kwargs)
        if (
            self.device_.type in ("cpu", "cuda")
            and any(optimizer is kind for kind in FUSED)
            and not {"foreach", "differentiable"} & kwargs.keys()
        ):
            kwargs.setdefault("fused", True)
        if self._pretrained_names and self.pretrained_lr_mult != 1:
            named = self.module_.named_parameters()
            slower = [p for name, p in named if name in self._pretrained_names]
            args = (split_groups(*args, slower, kwargs["lr"], self.pretrained_lr_mult),)
        try:
            self.optimizer_ = optimizer(*args, **kwargs)
        except TypeError as error:
            shown = ", ".join(f"optimizer__{k}={v!r}" for k, v in kwargs.items())
            raise TypeError(
                f"The optimizer {getattr(optimizer, '__name__', optimizer)} cannot be "
                f"made with {shown}: {error}."
            ) from error
        for name, value in of_groups.items():
            place = group_setting(f"optimizer__{name}")
            if place is None or not set_groups(self.optimizer_, *place, value):
                n_groups = len(self.optimizer_.param_groups)
                raise ValueError(
                    f"optimizer__{name}={value!r}: the optimizer has {n_groups} "
                    f"group(s) of parameters, numbered from 0, and no such setting "
                    "of one of them."
                )
        return self


def check_scorers(estimator):
    """Check before any training that an estimator has what its scorers call."""
    for name, scoring in named_scorers(estimator.epoch_scoring):
        try:
            scorer = check_scoring(estimator, scoring)
        except ValueError as error:
            raise ValueError(f"epoch_scoring has {scoring!r}: {error}") from error
        methods = getattr(scorer, "_response_method", ())
        methods = [methods] if isinstance(methods, str) else methods
        if methods and not any(hasattr(estimator, method) for method in methods):
            reason = ""
            try:
                getattr(estimator, methods[0])
            except AttributeError as error:
                reason = f": {error.__cause__}" if error.__cause__ else "."
            raise ValueError(
                f"The scorer {name!r} of epoch_scoring needs {' or '.join(methods)}, "
                f"which {type(estimator).__name__} does not have{reason}"
            )


def named_scorers(epoch_scoring):
    """Return (name, scorer) pairs of an `epoch_scoring` parameter."""
    if isinstance(epoch_scoring, dict):
        pairs = list(epoch_scoring.items())
    else:
        if isinstance(epoch_scoring, str) or callable(epoch_scoring):
            epoch_scoring = [epoch_scoring]
        pairs = [(_scorer_name(scoring), scoring) for scoring in epoch_scoring]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"epoch_scoring has {names.count(name)} scorers called {name!r}. Give "
                "a dict of names and scorers."
            )
        if name == "loss":
            raise ValueError(
                "epoch_scoring has a scorer called 'loss', as the loss that is "
                "recorded anyway. Give a dict with another name for it."
            )
    return pairs


def _scorer_name(scorer):
    if scorer is None:
        return "score"  # Of the estimator's own method.
    if isinstance(scorer, str):
        return scorer
    function = getattr(scorer, "_score_func", scorer)
    while isinstance(function, partial) and not hasattr(function, "__name__"):
        function = function.func
    return getattr(function, "__name__", type(scorer).__name__)


def _warn_of_lost(given, built, kwargs):
    """Warn of settings of a criterion that another one of its class does not have."""
    lost = {
        name: value
        for name, value in vars(given).items()
        if isinstance(value, (bool, int, float, str))
        and name not in {*kwargs, "training"}
        and vars(built).get(name) != value
    }
    if lost:
        warn(
            f"criterion is an instance of {type(given).__name__} with "
            f"{', '.join(f'{k}={v!r}' for k, v in lost.items())}, which is lost, as "
            f"{', '.join(f'criterion__{name}' for name in kwargs)} make(s) another "
            "one. Give the class, and all settings by criterion__*."
        )
