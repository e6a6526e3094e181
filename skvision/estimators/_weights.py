"""Weights in files, and beside them what predictions need."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from skorch.history import History
from torch import nn

from skvision.estimators._builder import network_shape
from skvision.estimators._resume import set_optimizer_state
from skvision.estimators._saving import facts_of, scalings_of
from skvision.estimators._turns import changing, looking
from skvision.exceptions import FormatError
from skvision.networks._weights import (
    check_file,
    check_weights,
    read_safetensors,
    read_torch,
    state_of,
)
from skvision.persistence._atomic import write_atomically
from skvision.persistence._state import (
    check_divisors,
    check_facts,
    check_history,
    check_optimizer,
    check_scaler,
    check_target_scaler,
)
from skvision.persistence._tree import decode, encode
from skvision.preprocessing._scaling import PixelScaler

__all__ = ["WeightsMixin"]

# Where the note is: an attribute of the state_dict, which torch writes and does not
# look at, or an entry of the header of safetensors. The weights alone are tensors.
_ATTRIBUTE, _ENTRY = "_skvision", "skvision"
# What belongs to a training.
_DTYPES = {"torch.float32": torch.float32, "torch.float64": torch.float64}
_NOT_NOTED = ("_seed", "_untrained_loss")


class WeightsMixin:
    """``save_params`` and ``load_params``."""

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
            Where weights, states and the history are written; None leaves them out.
        use_safetensors : bool, default=False
            Whether the files are written by safetensors, which takes tensors alone.
        **kwargs : dict
            ``f_name`` for other parts of the estimator, of the attribute ``name_``.

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
        target, rest = _taken_out(files)
        if target is not None and self.initialized_:
            _write(target, self.module_.state_dict(), self._note(), use_safetensors)
            files = rest
        if files or target is None:
            super().save_params(**files, use_safetensors=use_safetensors)

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
        epoch = None
        if checkpoint is not None:
            if f_history is None and checkpoint.f_history is not None:
                self.history = History.from_file(checkpoint.f_history_)
            given = {name: file for name, file in files.items() if file}
            files = checkpoint.get_formatted_files(self) | given
            use_safetensors |= getattr(checkpoint, "use_safetensors", False)
            epoch = _epoch_of(checkpoint, self.history)
        source, rest = _taken_out(files)
        if source is not None:
            self._load_weights(source, use_safetensors, epoch)
        for name, file in [*rest.items()]:
            part = getattr(self, name[2:] + "_", None)
            if name[2:] in self._optimizers:
                self._load_optimizer(name, rest.pop(name), use_safetensors)
            elif isinstance(part, nn.Module) and self.torch_load_kwargs is None:
                del rest[name]
                found, _ = _read(name, file, use_safetensors, self.device_)
                part.load_state_dict(state_of(found, f"{name}={file!r}"))
        if (history := rest.pop("f_history", None)) is not None:
            with _damaged("f_history", history):
                check_file(history, "it")
                self.history = History(check_history(History.from_file(history)))
        if rest or not any(files.values()):
            for name, file in rest.items():
                check_file(file, f"{name}={file!r}")
            with self._plain_device():
                super().load_params(**rest, use_safetensors=use_safetensors)
        self._scaling_known |= self.scaler_.mean is not None

    def _load_optimizer(self, name, source, use_safetensors):
        optimizer = getattr(self, name[2:] + "_")
        with _damaged(name, source):
            state, _ = _read(name, source, use_safetensors, self.device_)
            # Other releases of torch have other settings.
            known = optimizer.state_dict()["param_groups"]
            groups = zip(known, state["param_groups"], strict=True)
            state = {**state, "param_groups": [{**own, **new} for own, new in groups]}
            check_optimizer(optimizer, state)
            set_optimizer_state(optimizer, state)

    def _load_weights(self, source, use_safetensors, epoch):
        state, text = _read("f_params", source, use_safetensors, self.device_)
        state = state_of(state, f"f_params={source!r}")
        note = None if text is None else self._checked_note(text)
        own = self.module_.state_dict()
        # What does not fit is told of by torch.
        fitting = {
            name: value
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
            and name in own
            and value.shape == own[name].shape
        }
        check_weights(fitting, own, f"f_params={source!r}")
        self.module_.load_state_dict(state)
        self._forget_best_epoch(epoch)
        if note is not None:
            facts, scaler, divisors, target = note
            if not self._has_facts() and facts is not None:
                self._take_facts(facts)
            if scaler is not None:
                self.scaler_.set_statistics(*scaler, device=self.device_)
                self.scaler_.divisors = divisors
                self._scaling_known = True
            if target is not None:
                self.scaler_.target.set_statistics(*target, device=self.device_)
        if "n_outputs_" not in vars(self) and (n_outputs := self._count_outputs()):
            self._assume_targets(n_outputs)

    def _note(self):
        """Return what goes with the weights, as a line of text."""
        tensors = {}
        note = {"kind": _kind(self), "facts": facts_of(self), **scalings_of(self)}
        if not self._has_facts():
            note["facts"] = None
        if not self._scaling_known:
            note["scaler"] = None
        text = json.dumps(encode(note, tensors))
        numbers = {k: [str(v.dtype), v.tolist()] for k, v in tensors.items()}
        return json.dumps([text, numbers])

    def _checked_note(self, text):
        """Return facts and scalings of a note, None for what cannot be taken over."""
        try:
            text, numbers = json.loads(text)
            tensors = {
                k: torch.tensor(v, dtype=_DTYPES[d]) for k, (d, v) in numbers.items()
            }
            note = decode(json.loads(text), tensors)
            facts = note["facts"]
            if note["kind"] != _kind(self):
                facts = None
            if facts is not None:
                facts = check_facts(self, facts)
            scaler, target = note["scaler"], note.get("target_scaler")
            divisors = check_divisors(note["divisors"])
            if scaler is not None:
                scaler = check_scaler(self._described_by(facts, scaler[0]), scaler)
            if facts is None or target is None or target[0] is None:
                target = None
            else:
                target = check_target_scaler(SimpleNamespace(**facts), target)
        except Exception as error:
            raise FormatError(
                f"What stands beside the weights is damaged: {error!r}. Read the file "
                "by torch.load, and give its weights to module_.load_state_dict."
            ) from error
        self._compare_facts(facts or {})
        return facts, scaler, divisors, target

    def _described_by(self, facts, mean):
        """Return what says which images a scaling in a note is for."""
        if facts is not None:
            return SimpleNamespace(**facts)
        if self._has_facts():
            return self
        n_channels = 0 if mean is None else mean.numel()
        return SimpleNamespace(_flat=False, image_shape_=(n_channels, 1, 1))

    def _compare_facts(self, facts):
        """Refuse weights that are for something else."""
        classes, own = (
            facts.get("classes_inferred_"),
            vars(self).get("classes_inferred_"),
        )
        if classes is not None and own is not None and not np.array_equal(classes, own):
            raise ValueError(
                f"The weights are those of the classes {classes.tolist()}, and this "
                f"{type(self).__name__} has {own.tolist()}. Load them into a new "
                "estimator, or give them by pretrained= to train on."
            )
        shape = facts.get("image_shape_", self.image_shape)
        if self.image_shape is not None and tuple(self.image_shape) != tuple(shape):
            raise ValueError(
                f"The weights were trained on images of shape {shape}, and this "
                f"{type(self).__name__} has image_shape={self.image_shape!r}."
            )

    def _take_facts(self, facts):
        """Become what has seen the data that the weights were trained on."""
        classes = facts.get("classes_inferred_")
        left = {"classes_inferred_", *_NOT_NOTED}
        vars(self).update({k: v for k, v in facts.items() if k not in left})
        self.n_features_in_ = math.prod(self.image_shape_)
        spec = getattr(self.module_, "input_spec", None)
        self.network_shape_ = network_shape(self.image_shape_, spec)
        scaler = PixelScaler(flat=self._flat, dtype=self._dtype, spec=spec)
        self.scaler_.shape = scaler.shape
        if classes is not None:
            self._set_classes(classes)

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


def _taken_out(files):
    """Return the file of the network's weights, and the others."""
    files = {name: file for name, file in files.items() if file is not None}
    if {"f_params", "f_module"} <= files.keys():
        return None, files  # skorch says that these are the same.
    names = [name for name in ("f_params", "f_module") if name in files]
    return (files.pop(names[0]) if names else None), files


def _write(target, state, note, use_safetensors):
    if isinstance(target, (str, os.PathLike)):
        # An older file is kept if anything goes wrong.
        write_atomically(
            target, lambda file: _write(file, state, note, use_safetensors)
        )
    elif use_safetensors:
        metadata = {"format": "pt", _ENTRY: note}
        target.write(safetensors.torch.save(state, metadata))
    else:
        state = OrderedDict(state)
        setattr(state, _ATTRIBUTE, note)
        torch.save(state, target)


def _read(name, source, use_safetensors, device):
    """Return what is in a file, and the note beside it or None."""
    title = f"{name}={source!r}"
    if use_safetensors:
        state, metadata = read_safetensors(source, title)
        return state, metadata.get(_ENTRY)
    state = read_torch(source, title, device)
    return state, getattr(state, _ATTRIBUTE, None)


@contextlib.contextmanager
def _damaged(name, source):
    """Name the file in errors about what is in it."""
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, FormatError) else repr(error)
        raise FormatError(f"{name}={source!r} cannot be loaded: {reason}") from error


def _epoch_of(checkpoint, history):
    """Return the epoch whose weights a callback wrote last, None if it is not known."""
    name = getattr(checkpoint, "event_name", None)
    epochs = [row["epoch"] for row in history if row.get(name)]
    return epochs[-1] if epochs else None


def _kind(estimator: Any) -> str:
    if is_classifier(estimator):
        return "classifier"
    return "regressor" if is_regressor(estimator) else "autoencoder"
