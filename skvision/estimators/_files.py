"""Estimators in files and pickles: what each method writes, and how it is read."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import sklearn
import skorch
import torch
from sklearn.exceptions import NotFittedError
from skorch.history import History
from torch import nn

from skvision._random import isolated_random_state
from skvision._warnings import warn
from skvision.estimators._builder import (
    UNSET,
    build_network,
    check_autoencoder,
    network_shape,
    resolve_device,
)
from skvision.estimators._parameters import check_settings
from skvision.exceptions import FormatError
from skvision.networks import get_network
from skvision.networks._layers import noting_outputs
from skvision.networks._weights import check_file, check_weights, state_of
from skvision.persistence._format import read_sized, write_file
from skvision.persistence._limits import (
    Allowance,
    build_within,
    check_parts,
    outputs_within,
)
from skvision.persistence._objects import (
    describe,
    public_name,
    resolve_name,
    restore,
)
from skvision.persistence._parameters import (
    ESTIMATOR,
    EVERYTHING,
    INSTANCE,
    RUN_TIME,
    RUN_TIME_PREFIXES,
    accepted_parameters,
    described_parameters,
    is_own_module,
    is_run_time,
    missed,
)
from skvision.persistence._pickles import from_pickle, move_parts, to_pickle
from skvision.persistence._state import (
    ENTRIES,
    FACTS,
    PARTS,
    check_facts,
    check_finite,
    check_history,
    check_optimizer,
    facts_of,
    kind_of,
    missing_facts,
    read_entries,
    set_optimizer_state,
    written_entries,
)
from skvision.persistence._tree import Made, decode, encode
from skvision.persistence._weight_files import (
    checked_note,
    read_state,
    write_history,
    write_state,
    written_note,
)
from skvision.preprocessing._scaling import PixelScaler
from skvision.training._schedules import steps_of_schedules
from skvision.training._turns import changing, looking

_NOTHING: Mapping[str, Any] = MappingProxyType({})

#: The classes that a file may name without being trusted. They enter themselves below,
#: so that this module, of which they are made, need not import them.
_NAMES = ("ImageAutoencoder", "ImageClassifier", "ImageRegressor")
_own_classes: dict[str, Any] = {}


class FilesMixin:
    """Save, pickle, and load weights."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__name__ in _NAMES and cls.__module__.startswith("skvision.estimators."):
            _own_classes[cls.__name__] = cls

    # ------------------------------------------------------------- the whole of it

    @looking
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator into a file, for `skvision.load`.

        The file holds parameters, weights, the state of the optimizer, classes, shapes,
        history and versions, as data: nothing in it is code, and nothing is run when it
        is loaded. After that, ``partial_fit`` goes on as it would have done here.

        What belongs to a machine or a session is not kept, and has its default after
        `skvision.load`, which may be given it: ``device``, ``compile``, ``checkpoint``,
        ``checkpoint_steps``, ``image_cache``, ``feature_cache``,
        ``verbose``, ``callbacks``,
        ``iterator_train`` and ``iterator_valid``, all names that begin with these, and
        a path as ``pretrained``. There is a warning where a later fit would depend on
        it.

        Parameters
        ----------
        path : str or path-like
            An older file is replaced in one step: at every moment there is the old one
            or the new one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter is no data, such as a callback or a lambda, or if labels are
            neither numbers nor strings; the message names it.
        ValueError
            If `skvision.load` would refuse the file: if a parameter is wrong, or larger
            than files may have it, if weights or what the optimizer knows of them are
            no finite numbers, or if a network of skvision's has far more layers than
            weights.
        OSError
            If the file cannot be written.

        See Also
        --------
        skvision.load : Reads the file.

        Examples
        --------
        >>> import tempfile
        >>> import skvision
        >>> from skvision.datasets import load_digits_images
        >>> X, y = load_digits_images(return_X_y=True)
        >>> net = skvision.ImageClassifier(max_epochs=1, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(f"{folder}/digits.skv")
        ...     loaded = skvision.load(f"{folder}/digits.skv")
        >>> bool((loaded.predict(X) == net.predict(X)).all())
        True
        """
        write_file(path, "estimator", _described(self))

    # --------------------------------------------------------------------- pickles

    @looking
    def __getstate__(self):
        return to_pickle(vars(self))

    def __setstate__(self, state):
        state = from_pickle(state, type(self).__name__)
        parameters = inspect.signature(type(self).__init__).parameters.values()
        # An older release did not have all of them.
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        vars(self).update({**defaults, **state})
        if self.initialized_ and "_made_with" not in state:
            # Written by an older release.
            self._made_with = self._tracked()
            if self.freeze is not None:
                named = self.module_.named_parameters()
                self._frozen = frozenset(k for k, p in named if not p.requires_grad)
        wanted = state.get("device_", torch.device("cpu"))
        if wanted.type != "cpu":
            try:
                self.device_ = resolve_device(wanted)
            except ValueError:
                self.device_ = torch.device("cpu")
            move_parts([state[k] for k in PARTS if k in state], self.device_)

    # --------------------------------------------------------------- weights alone

    @looking
    def save_params(
        self,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        use_safetensors=False,
        **kwargs,
    ):
        """Save weights, and other parts on their own, as skorch does.

        The file of the weights is a ``state_dict``, which the network's own
        ``load_state_dict`` takes. It also has, where only `load_params` looks, the
        normalisation of pixels, the classes and whatever else a prediction needs.

        Parameters
        ----------
        f_params, f_optimizer, f_criterion, f_history : path or file, default=None
            Where weights, states and the history are written; None leaves them out. An
            older file is replaced in one step.
        use_safetensors : bool, default=False
            Whether the files are written by safetensors, which takes tensors alone.
        **kwargs : dict
            ``f_name`` for other parts of the estimator, of the attribute ``name_``.

        Raises
        ------
        ValueError
            If safetensors is to write the state of an optimizer.
        OSError
            If a file cannot be written.

        See Also
        --------
        save : Keeps all of a fitted estimator in one file.

        Examples
        --------
        >>> import tempfile
        >>> import torch
        >>> from skvision import ImageClassifier
        >>> from skvision.datasets import load_digits_images
        >>> X, y = load_digits_images(return_X_y=True)
        >>> net = ImageClassifier("mlp", max_epochs=1).fit(X, y)
        >>> fresh = ImageClassifier(
        ...     "mlp", image_shape=(1, 8, 8), module__n_outputs=10
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save_params(f_params=f"{folder}/weights.pt")
        ...     fresh.initialize().load_params(f_params=f"{folder}/weights.pt")
        ...     weights = torch.load(f"{folder}/weights.pt")
        >>> bool((fresh.predict(X) == net.predict(X)).all())
        True
        >>> net.module_.load_state_dict(weights)
        <All keys matched successfully>
        """
        files = {"f_params": f_params, "f_optimizer": f_optimizer}
        files |= {"f_criterion": f_criterion, "f_history": f_history} | kwargs
        files = _given(files)
        if use_safetensors and "f_optimizer" in files:
            raise ValueError(
                f"f_optimizer={files['f_optimizer']!r}: safetensors takes tensors "
                "alone, and the state of an optimizer has more. Set "
                "use_safetensors=False."
            )
        left = dict(files)
        for name in files:
            part = self._part_of_file(name, files)
            if part is not None:
                note = None
                if part is self.module_:
                    note = written_note(kind_of(self), vars(self))
                write_state(left.pop(name), part.state_dict(), note, use_safetensors)
            elif name == "f_history" and self.initialized_:
                write_history(left.pop(name), self.history)
        if left or not files:
            super().save_params(**left, use_safetensors=use_safetensors)

    @changing
    def load_params(
        self,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        checkpoint=None,
        use_safetensors=False,
        **kwargs,
    ):
        """Load weights, and other parts on their own, as skorch does.

        With the weights come the normalisation of pixels that they were trained with
        and, into an estimator that has seen no data, the classes and the shape of
        images, if `save_params` or a callback of skorch's that calls it wrote the file.
        Of other files, the classes of a classifier are 0, 1, 2 and so on.

        Parameters
        ----------
        f_params, f_optimizer, f_criterion, f_history : path or file, default=None
            What is to be loaded, as `save_params` has written it.
        checkpoint : skorch.callbacks.Checkpoint, default=None
            Has the names of files, and initializes an estimator that is not.
        use_safetensors : bool, default=False
            Whether the files were written by safetensors; a `checkpoint` knows that.
        **kwargs : dict
            ``f_name`` for other parts of the estimator, of the attribute ``name_``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no network yet, and no `checkpoint` is given.
        ValueError
            If the weights are those of other classes than the estimator's.
        FormatError
            If what stands beside the weights is damaged, or if weights are no finite
            numbers; what was there before is kept.
        """
        if not self.initialized_ and checkpoint is not None:
            self.initialize()
        if not self.initialized_:
            raise NotFittedError(
                f"This {type(self).__name__} has no network to load weights into: call "
                "fit or initialize first."
            )
        files = {"f_params": f_params, "f_optimizer": f_optimizer}
        files |= {"f_criterion": f_criterion, "f_history": f_history} | kwargs
        files, epoch = _given(files), None
        if checkpoint is not None:
            if f_history is None and checkpoint.f_history is not None:
                self.history = History.from_file(checkpoint.f_history_)
            files = _given(checkpoint.get_formatted_files(self) | files)
            use_safetensors |= getattr(checkpoint, "use_safetensors", False)
            epoch = _epoch_of(checkpoint, self.history)
        left = dict(files)
        for name, file in files.items():
            part = self._part_of_file(name, files)
            if name == "f_history":
                with _damaged(f"{name}={left.pop(name)!r}"):
                    check_file(file, "it")
                    self.history = History(check_history(History.from_file(file)))
            elif part is not None and part is self.module_:
                self._load_weights(left.pop(name), use_safetensors, epoch)
            elif isinstance(part, torch.optim.Optimizer):
                self._load_optimizer(name, left.pop(name), use_safetensors)
            elif part is not None and self.torch_load_kwargs is None:
                title = f"{name}={left.pop(name)!r}"
                state, _ = read_state(file, title, use_safetensors, self.device_)
                part.load_state_dict(state_of(state, title))
            elif part is not None:
                check_file(file, f"{name}={file!r}")
        if left or not files:
            with self._plain_device():
                super().load_params(**left, use_safetensors=use_safetensors)
        self._scaling_known |= self.scaler_.mean is not None

    def _part_of_file(self, name, files):
        """Return the part that a file is for, None for what skorch tells of."""
        if {"f_params", "f_module"} <= files.keys() or not self.initialized_:
            return None  # skorch says that these are the same.
        name = "module" if name == "f_params" else name.removeprefix("f_")
        part = getattr(self, name + "_", None)
        return part if isinstance(part, (nn.Module, torch.optim.Optimizer)) else None

    def _load_optimizer(self, name, source, use_safetensors):
        """Load an optimizer's state, once it has been checked against its weights."""
        optimizer, title = getattr(self, name[2:] + "_"), f"{name}={source!r}"
        with _damaged(title):
            state, _ = read_state(source, title, use_safetensors, self.device_)
            # Other releases of torch have other settings.
            known = optimizer.state_dict()["param_groups"]
            groups = zip(known, state["param_groups"], strict=True)
            state = {**state, "param_groups": [{**own, **new} for own, new in groups]}
            check_optimizer(optimizer, state)
            set_optimizer_state(optimizer, state)

    def _load_weights(self, source, use_safetensors, epoch):
        """Load a network's weights, and take over what the file notes beside them."""
        title = f"f_params={source!r}"
        state, text = read_state(source, title, use_safetensors, self.device_)
        state = state_of(state, title)
        note = None
        if text is not None:
            attributes = vars(self) if self._has_facts() else None
            note = checked_note(text, kind_of(self), attributes)
            self._compare_facts(note.facts or {})
        own = self.module_.state_dict()
        # What does not fit is told of by torch.
        fitting = {
            name: value
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
            and name in own
            and value.shape == own[name].shape
        }
        check_weights(fitting, own, title)
        self.module_.load_state_dict(state)
        self._forget_best_epoch(epoch)
        if note is not None:
            if not self._has_facts() and note.facts is not None:
                self._take_facts(note.facts)
            self._scaling_known |= "scaler" in note.entries
            for entry in ENTRIES:
                if entry.key in note.entries:
                    entry.put(self, note.entries[entry.key])
        if "n_outputs_" not in vars(self) and (n_outputs := self._count_outputs()):
            assumed = self._codec.assumed(n_outputs)
            vars(self).update(assumed.facts() if assumed else {})

    def _compare_facts(self, facts):
        """Refuse weights that are for something else."""
        classes = facts.get("classes_inferred_")
        own = vars(self).get("classes_inferred_")
        if classes is not None and own is not None and not np.array_equal(classes, own):
            raise ValueError(
                f"The weights are those of the classes {classes.tolist()}, and this "
                f"{type(self).__name__} has {own.tolist()}. Load them into a new "
                "estimator, or give them by pretrained= to train on."
            )
        if own is not None and (self._is_multilabel != ("thresholds_" in facts)):
            kinds = "one label per image", "several labels per image"
            raise ValueError(
                f"The weights are for {kinds['thresholds_' in facts]}, and this "
                f"{type(self).__name__} for {kinds[self._is_multilabel]}. Load them "
                "into a new estimator, or give them by pretrained= to train on."
            )
        resize = facts.get("_resize")
        own_resize = self._resize if self._has_facts() else None
        if None not in (resize, own_resize) and resize != own_resize:
            raise ValueError(
                f"The weights were trained with resize={resize!r}, and this "
                f"{type(self).__name__} with resize={own_resize!r}. Load them into a "
                "new estimator, or give them by pretrained= to train on."
            )
        shape = facts.get("image_shape_", self.image_shape)
        if self.image_shape is not None and tuple(self.image_shape) != tuple(shape):
            raise ValueError(
                f"The weights were trained on images of shape {shape}, and this "
                f"{type(self).__name__} has image_shape={self.image_shape!r}."
            )

    def _take_facts(self, facts):
        """Become what has seen the data that the weights were trained on."""
        of_weights = {fact.name for fact in FACTS if fact.with_weights}
        self._set_facts({k: v for k, v in facts.items() if k in of_weights})
        spec = self._network_spec()
        self.network_shape_ = network_shape(self.image_shape_, spec)
        self.scaler_.shape = PixelScaler(flat=self._flat).shape

    def _set_facts(self, facts):
        """Take over the plain attributes of a fitted estimator."""
        vars(self).update(facts)
        self.n_features_in_ = math.prod(self.image_shape or self.image_shape_)
        if (targets := self._targets) is not None:
            vars(self).update(targets.facts())

    def _count_outputs(self):
        """Return the number of the network's outputs, None if it is not known."""
        n_outputs = self.get_params_for("module").get("n_outputs")
        if n_outputs is not None or "image_shape" not in self._facts():
            return n_outputs
        self._enter_mode(training=False)
        images = torch.zeros((1, *self.network_shape_), dtype=self._dtype)
        with torch.no_grad():
            output = self.module_(images.to(self.device_))
        output = output[0] if isinstance(output, tuple) else output
        return output.shape[1] if output.ndim == 2 else None


def _given(files):
    return {name: file for name, file in files.items() if file is not None}


@contextlib.contextmanager
def _damaged(title: str, but: tuple[Any, ...] = (OSError,)) -> Iterator[None]:
    """Name the file in errors about what is in it."""
    try:
        yield
    except (MemoryError, *but):
        raise
    except Exception as error:
        # What is wrong may show anywhere; nobody is to catch all of torch's errors.
        reason = str(error) if isinstance(error, FormatError) else repr(error)
        raise FormatError(f"{title} cannot be loaded: {reason}") from error


def _epoch_of(checkpoint, history):
    """Return the epoch whose weights a callback wrote last, None if it is not known."""
    name = getattr(checkpoint, "event_name", None)
    epochs = [row["epoch"] for row in history if row.get(name)]
    return epochs[-1] if epochs else None


# ----------------------------------------------------------------------- saving


def _described(net: Any, title: str = "") -> dict[str, Any]:
    """Return a fitted estimator as plain data, `Name` and `Made`.

    `title` is what errors say before the names of its parameters.
    """
    net.check_is_fitted()
    net._validate_params()  # Nobody could load it otherwise.
    params, later = _described_parameters(net, title)
    facts = facts_of(vars(net))
    if missing_facts(kind_of(net), facts):
        raise NotFittedError(
            f"This {type(net).__name__} has a network, but has never seen all that a "
            "file is to tell of images and targets: call fit before save."
        )
    steps = net._schedule_steps | steps_of_schedules(net)
    attributes = {**vars(net), "_schedule_steps": steps}
    tree = {
        "class": describe(type(net), "class"),
        "versions": {
            package.__name__: str(package.__version__)
            for package in (torch, skorch, sklearn, np)
        },
        "params": params,
        "later": later,
        "facts": facts,
        **written_entries(attributes),
    }
    try:
        check_facts(kind_of(net), facts)
        # To try out an optimizer may draw random numbers.
        with isolated_random_state(net.device_):
            read_entries(tree, attributes)
            _check_weights(net, tree["module_"], params["module"])
    except FormatError as error:
        raise ValueError(
            f"This {type(net).__name__} cannot be saved, since {error}: skvision.load "
            "would refuse the file. A pickle holds it, for yourself to load."
        ) from error
    return tree


def _check_weights(net: Any, state: Mapping[str, Any], module: Any) -> None:
    """Refuse weights that `load` would refuse, since they are not finite."""
    try:
        check_finite(state)
    except FormatError:
        own_class = type(net) in _own_classes.values()
        if own_class and is_own_module(module):
            raise
        # The user's own network may have masks, which are infinite from the beginning.
        fresh = net.module_  # A method of the user's may build it; that is not known.
        if own_class:
            fresh = build_network(
                net.module, net._facts(), net.get_params_for("module")
            )
        check_weights(state, fresh.to(net._dtype).state_dict(), "its network")


def _described_parameters(
    net: Any, title: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters that the parts were made with, and those set later."""
    params = net.get_params(deep=False)
    # Without them, training that goes on would be another one.
    describe(params.get("callbacks"), f"{title}callbacks")
    if names := missed(params):
        warn(
            f"The file will not keep {', '.join(title + name for name in names)}, "
            "which a later fit depends on. Give it to skvision.load, or to set_params "
            "after that.",
        )
    changed = net._changed()
    later = {name: params.pop(name) for name in changed if name in params}
    params |= {k: before for k, (before, _) in changed.items() if before is not UNSET}
    described = [
        described_parameters(part, title, _described) for part in (params, later)
    ]
    if own := is_own_module(described[0]["module"]):
        check_parts(net.module_)
    for part in described:
        tensors: dict[str, torch.Tensor] = {}
        seen = decode(encode(part, tensors), tensors)
        try:
            accepted_parameters(type(net), seen, EVERYTHING, own)
        except FormatError as error:
            raise ValueError(
                f"{type(net).__name__} cannot be saved, since {error}: that is more "
                "than a file may set."
            ) from error
    return described[0], described[1]


# ---------------------------------------------------------------------- loading


def load(
    path: str | os.PathLike[str],
    *,
    module: Any = None,
    trusted: Collection[str] = (),
    **settings: Any,
) -> Any:
    """Return the fitted estimator in a file that ``save`` has written.

    Nothing in the file is run. It may come from anybody, unless `trusted` names what
    is not to be trusted.

    Parameters
    ----------
    path : str or path-like
        Of the file that `save` has written.
    module : class, callable, torch.nn.Module or str, default=None
        Builds the network where it is none of skvision's or torchvision's; it becomes
        the estimator's parameter ``module``.
    trusted : collection of str, default=()
        Names ("package.module.Class") that may be imported where the file has them:
        a network's class, a criterion, a function. To import is to run code.
    **settings : dict
        Parameters that no file may set, since they belong to a machine or a session:
        ``device``, ``compile``, ``checkpoint``, ``checkpoint_steps``, ``image_cache``,
        ``feature_cache``, ``verbose``, ``callbacks``, ``iterator_train`` and
        ``iterator_valid``, all names that begin with these, and ``pretrained``. They
        have their defaults otherwise.

    Returns
    -------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        As it was saved.

    Raises
    ------
    FormatError
        If the file is damaged, was not written by ``save``, contradicts itself, or
        names what is not trusted.
    TypeError
        If `settings` has a parameter that the file sets.
    ValueError
        If the device does not exist.
    OSError
        If there is no such file, or it cannot be read.

    See Also
    --------
    ImageClassifier.save : Writes the file.

    Examples
    --------
    >>> import tempfile
    >>> from torch import nn
    >>> import skvision
    >>> from skvision.datasets import load_digits_images
    >>> X, y = load_digits_images(return_X_y=True)
    >>> layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> net = skvision.ImageClassifier(layers, max_epochs=1).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(f"{folder}/digits.skv")
    ...     loaded = skvision.load(f"{folder}/digits.skv", module=layers)
    >>> bool((loaded.predict(X) == net.predict(X)).all())
    True
    """
    if isinstance(trusted, (str, bytes)) or not isinstance(trusted, Iterable):
        raise TypeError(
            f"trusted={trusted!r} should be a list of names, as ['package.Class']."
        )
    trusted = frozenset(trusted)
    device = _check_settings(
        settings if module is None else {**settings, "module": module}
    )
    tree, n_bytes = read_sized(path, "estimator")
    with _damaged(f"{os.fspath(path)!r}", but=(ImportError,) if trusted else ()):
        estimator = _Reader(trusted, device, n_bytes).estimator(tree, module, settings)
    return estimator


def _check_settings(settings: Mapping[str, Any]) -> torch.device:
    """Check what the caller sets, and return the device."""
    for name in settings:
        if name not in ("module", "pretrained") and not is_run_time(name):
            raise TypeError(
                f"load got {name}={settings[name]!r}, which the file sets. It takes "
                f"{', '.join(sorted({*RUN_TIME, 'pretrained'}))} and names that begin "
                f"with {', '.join(sorted(p + '__' for p in RUN_TIME_PREFIXES))}; "
                "change others by set_params afterwards."
            )
    # What the caller gives is none of the file's faults; any estimator tells.
    net = _own_classes["ImageClassifier"](**settings)
    net._validate_params()
    check_settings(net)
    return resolve_device(net.device)


class _Reader:
    """Makes estimators of what one file says, and keeps to what it may ask for.

    Parameters
    ----------
    trusted : collection of str
        Names that may be imported.
    device : torch.device
    n_bytes : int
        The size of the file.
    """

    def __init__(
        self, trusted: Collection[str], device: torch.device, n_bytes: int
    ) -> None:
        self.trusted = trusted
        self.device = device
        self.allowance = Allowance(n_bytes)

    def estimator(
        self, tree: Any, module: Any = None, settings: Mapping[str, Any] = _NOTHING
    ) -> Any:
        """Return a fitted estimator, with the caller's network and settings."""
        kind = self.kind(tree["class"].name)
        # What is not skvision's own may run any code, so that it need not be watched.
        own = module is None and is_own_module(tree["params"]["module"])
        params = self.parameters(kind, tree["params"], module, own)
        # Those that were set after the parts had been made; older files have none.
        later = self.parameters(kind, tree.get("later", {}), module, own)
        if names := sorted(set(missed(tree["params"])) - settings.keys()):
            warn(
                f"The file's {', '.join(names)} is not taken, though a later fit "
                "depends on it: give it to skvision.load, or to set_params.",
            )
        net: Any = kind(**{**params, **settings})
        net._validate_params()
        check_settings(net)
        facts = check_facts(kind_of(net), tree["facts"])
        net._set_facts(facts)
        net.device_ = self.device
        net._start_randomness(facts["_seed"])
        net._pretrained_names = {str(name) for name in tree["pretrained_names"]}
        measured: dict[str, Any] = {}
        net._stored = partial(self.network, tree["module_"], own, measured)
        try:
            net.initialize()
        finally:
            del net._stored
        with isolated_random_state(self.device):
            values = read_entries(tree, vars(net))
        for entry in ENTRIES:
            entry.put(net, values[entry.key])
        # To initialize it has measured some of them anew.
        vars(net).update({**facts, **measured})
        net._enter_mode(training=False)
        for name, value in later.items():
            setattr(net, name, value)
        net._validate_params()
        check_settings(net)
        return net

    def kind(self, name: str) -> Any:
        """Return the class of an estimator by its name."""
        package, _, last = public_name(name).rpartition(".")
        if package == "skvision.estimators" and last in _own_classes:
            return _own_classes[last]
        kind = resolve_name(name, self.trusted)
        if not (isinstance(kind, type) and issubclass(kind, FilesMixin)):
            raise FormatError(f"the class {name!r} is no estimator")
        return kind

    def parameters(
        self, kind: Any, params: Mapping[str, Any], module: Any, own: bool
    ) -> dict[str, Any]:
        """Return parameters as the estimator's class takes them."""
        # A network that the caller gives is put in its place below.
        stays = module is None and "module" in params
        given = params if stays else {**params, "module": "auto"}
        described = accepted_parameters(kind, given, self.trusted, own)
        network: Any = described["module"]
        pretrained: Any = described.get("pretrained")
        if isinstance(network, Made) and network.name == INSTANCE:
            raise FormatError(
                f"the network was given as an object of the class "
                f"{network.params.get('class')!r}, which a file cannot hold; load with "
                "module=..., the class or such an object"
            )
        teacher = isinstance(pretrained, Made) and pretrained.name == ESTIMATOR
        if teacher:
            described["pretrained"] = None
        found = {name: restore(v, self.trusted) for name, v in described.items()}
        if module is not None:
            found["module"] = module
        if teacher:
            self.allowance.take_generation()
            found["pretrained"] = self.estimator(pretrained.params)
        return {name: value for name, value in found.items() if name in params}

    def network(
        self,
        state: Mapping[str, torch.Tensor],
        own: bool,
        measured: dict[str, Any],
        net: Any,
        made: nn.Module | None,
    ) -> nn.Module:
        """Return the network that an estimator's parameters describe, with its weights.

        It may be `made` already, by a method of a class that is trusted. Of skvision's
        own, `measured` gets "_n_values": it says how many images go
        through the network at once.
        """
        module = net._auto_module() if net.module == "auto" else net.module
        kwargs = net.get_params_for("module")
        if isinstance(module, str) and kwargs.get("weights") is not None:
            # They come from the file instead.
            get_network(module)
            kwargs = kwargs | {"load_weights": False}

        def build() -> nn.Module:
            return build_network(module, net._facts(), kwargs).to(net._dtype)

        def try_out(network: nn.Module) -> None:
            measured["_n_values"] = _check_output(net, network)

        if own and made is None:
            network = build_within(self.allowance, build, try_out, state)
        else:
            network = build() if made is None else made.to(net._dtype)
            check_weights(state, network.state_dict(), "its network")
            network.load_state_dict(state)
        spec = getattr(network, "input_spec", None)
        net.network_shape_ = network_shape(net.image_shape_, spec)
        return network


def _check_output(net: Any, network: nn.Module) -> int:
    """Check what comes out of a network on the meta device for the file's shapes.

    Returns
    -------
    n_values : int
        In the largest output of a layer, for one image.
    """
    shape = network_shape(net.image_shape_, getattr(network, "input_spec", None))
    images = torch.empty((2, math.prod(shape)) if net._flat else (2, *shape))
    images = images.to(net._dtype)
    if kind_of(net) == "autoencoder":
        check_autoencoder(network)
    output, n_values = noting_outputs(
        network, lambda: outputs_within(network, images, math.prod(shape[1:]))
    )
    n_outputs = getattr(net, "n_outputs_", None)
    first = output[0] if isinstance(output, tuple) else output
    expected = images.shape if n_outputs is None else (2, n_outputs)
    if tuple(first.shape) != tuple(expected):
        raise FormatError(
            f"its network returns {tuple(first.shape)} in the place of "
            f"{tuple(expected)}"
        )
    return n_values
