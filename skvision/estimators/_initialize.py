"""Build network, loss, optimizer and callbacks as the parameters say."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from sklearn.metrics import check_scoring
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, InputShapeSetter
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
from skvision.estimators._schedules import begun_schedules
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

__all__ = ["Beginning", "InitializeMixin", "check_scorers", "named_scorers"]

#: What another network, loss or optimizer is built of.
_BUILT_ANEW = ("module", "criterion", "optimizer")


class Beginning:
    """Lets callbacks set, in ``on_train_begin``, what the network is built of.

    That is how skorch's `InputShapeSetter` works. What they set by `set_params` is
    built at once, so that callbacks after them find it; what cannot be built yet is
    tried again when all have been told.

    Parameters
    ----------
    net : estimator
    split : Split
        The rows that it is going to be trained on.
    goes_on : bool
        Whether the network was trained before, so that it must stay as it is.
    unbuilt : Exception, default=None
        Why there is no network yet.
    """

    def __init__(
        self, net: Any, split: Any, *, goes_on: bool, unbuilt: Exception | None = None
    ) -> None:
        self.net, self.split, self.goes_on = net, split, goes_on
        self.unbuilt = unbuilt

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Let callbacks be told, and have what they set built when it ends.

        Raises
        ------
        TypeError, ValueError
            If there is no network then, or one that cannot be trained.
        """
        net = self.net
        net._beginning = self
        try:
            yield
        except AttributeError as error:
            if self.unbuilt is None:
                raise
            self.unbuilt.add_note(
                "A callback's on_train_begin might have set what is missing, but one "
                f"before it needed the network: {error}. Let callbacks that set "
                "parameters come first."
            )
            raise self.unbuilt from error
        finally:
            del net._beginning
        if self.unbuilt is not None:
            self._build()
        self._renew_schedules()

    def note(self, names: Iterable[str]) -> None:
        """Build anew what callbacks have set, if it can be built already."""
        changed = {} if self.unbuilt else self.net._changed()
        if self.goes_on:
            self.net._check_changed(changed)
            return
        kinds = {name.partition("__")[0] for name in changed or names}
        if not kinds & {*_BUILT_ANEW}:
            return
        try:
            self._build()
        except (TypeError, ValueError) as error:
            self.unbuilt = error

    def _build(self) -> None:
        with self.net._unchanged_on_error():
            self.net._build_anew(self.split)
        self.unbuilt = None

    def _renew_schedules(self) -> None:
        """Begin schedules again whose optimizer has been replaced since."""
        begun = begun_schedules(self.net)
        for name, callback in self.net.callbacks_:
            if name in begun and begun[name].optimizer is not self.net.optimizer_:
                callback.on_train_begin(self.net)


def _sets_parameters(net: Any) -> bool:
    """Whether a callback of the user's, or the estimator's own, may set parameters."""
    own = getattr(type(net), "on_train_begin", None)
    if own is not NeuralNet.on_train_begin:
        return True
    return any(
        getattr(type(callback), "on_train_begin", None) is not Callback.on_train_begin
        and (
            type(callback).__module__.partition(".")[0] not in ("skorch", "skvision")
            or isinstance(callback, InputShapeSetter)
        )
        for _, callback in net.callbacks_
    )


class InitializeMixin:
    """skorch's ``initialize`` and the steps that it calls."""

    device: Any
    _generator: Any
    _note_parameters: Callable[[], None]
    #: Builds the network of a file that is being loaded.
    _stored: Callable[[Any, nn.Module | None], nn.Module] | None = None
    #: While callbacks are told that training begins.
    _beginning: Beginning | None = None

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
        self._note_parameters()

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

    def _initialize_module(self, reason=None):
        """Make the network, take it over, and bring it to its device."""
        with self._current_init_context("module"):
            own = type(self).initialize_module is not InitializeMixin.initialize_module
            if self._stored is None or own:
                self.initialize_module()
            self._take_over(own=own)
            for name in self._modules:
                part = getattr(self, name + "_").to(self.device_)
                setattr(self, name + "_", self.torch_compile(part, name=name))
        return self

    def initialize_module(self):
        """Set ``module_`` to a new network; subclasses may do so in their own way.

        What every network needs is done afterwards: weights of `pretrained` are put
        into it, others are frozen, and it is tried on images before it is trained.

        Returns
        -------
        self : object
        """
        module = self._auto_module() if self.module == "auto" else self.module
        kwargs = self.get_params_for("module")
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
        if self._stored is None:
            network = self._prepare_network(network.to(self._dtype))
        self._freeze(network)
        self.module_ = network
        spec = getattr(network, "input_spec", None)
        scaling = self._known_scaling(spec)
        self._scaling_known = scaling is not None
        self.scaler_ = PixelScaler(
            *(scaling or (None, None)), flat=self._flat, dtype=self._dtype, spec=spec
        )

    def _prepare_network(self, network):
        """Return a network that was tried, with the weights that it begins with."""
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

    def _initialize_for(self, split):
        """Build all parts, of settings of callbacks too, and check that they fit."""
        before = dict(vars(self))
        try:
            self.initialize()
        except (TypeError, ValueError) as error:
            made = [name for name, v in vars(self).items() if before.get(name) is not v]
            # Callbacks come before the network, and its scaler is its last part.
            of_network = "callbacks_" in made and "scaler_" not in made
            if not of_network or not _sets_parameters(self):
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
