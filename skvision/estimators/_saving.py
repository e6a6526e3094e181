"""Fitted estimators in files that hold data alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import sklearn
import skorch
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from skvision._warnings import warn
from skvision.estimators._changes import UNSET
from skvision.estimators._resume import callback_states
from skvision.estimators._schedules import steps_of_schedules
from skvision.estimators._turns import looking
from skvision.exceptions import FormatError
from skvision.networks._transfer import trained_names
from skvision.persistence._format import write_file
from skvision.persistence._objects import describe
from skvision.persistence._parameters import (
    ESTIMATOR,
    INSTANCE,
    accepted_parameters,
    is_own_module,
    is_run_time,
    missed,
    most_parts,
)
from skvision.persistence._state import REMEMBERED, check_facts
from skvision.persistence._tree import Made, decode, encode

__all__ = ["PARTS", "SavingMixin", "facts_of", "scalings_of"]

#: Attributes of fitted estimators that are plain values.
FACTS = (
    "image_shape_",
    "feature_names_in_",
    "classes_inferred_",
    "class_names_",
    "n_outputs_",
    "_flat",
    "_scaling_known",
    "_output_kind",
    "_channels_last",
    "_n_values",
    "_seed",
    "_untrained_loss",
    "_target_shape",
    "_target_dtype",
    "_layout",
    "_pixel_dtype",
    "pixel_range_",
    "_n_features_out",
)
#: What has a state of its own.
PARTS = ("module_", "criterion_", "optimizer_")


class SavingMixin:
    """``save``."""

    @looking
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator into a file, for `skvision.load`.

        The file holds parameters, weights, the state of the optimizer, classes, shapes,
        history and versions, as data: nothing in it is code, and nothing is run when it
        is loaded. After that, ``partial_fit`` goes on as it would have done here.

        What belongs to a machine or a session is not kept, and has its default after
        `skvision.load`, which may be given it: ``device``, ``compile``, ``checkpoint``,
        ``checkpoint_steps``, ``verbose``, ``callbacks``, ``iterator_train`` and
        ``iterator_valid``, all names that begin with these, and a path as
        ``pretrained``. There is a warning where a later fit would depend on it.

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
            If a parameter is no data, such as a callback or a lambda; the message names
            it.
        ValueError
            If a parameter is wrong, or larger than files may have it, or a network of
            skvision's has far more layers than weights.
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
        write_file(path, "estimator", _describe(self))


def _describe(estimator: Any, what: str = "") -> dict[str, Any]:
    """Return a fitted estimator as plain data, `Name` and `Made`."""
    estimator.check_is_fitted()
    estimator._validate_params()  # Nobody could load it otherwise.
    params, later = _described_parameters(estimator, what)
    try:
        check_facts(estimator, facts := facts_of(estimator))
    except FormatError as error:
        raise NotFittedError(
            f"This {type(estimator).__name__} has a network, but has never seen all "
            "that a file is to tell of images and targets: call fit before save."
        ) from error
    parts = {
        name: part.state_dict()
        for name in PARTS
        if hasattr(part := getattr(estimator, name), "state_dict")
    }
    return {
        "class": describe(type(estimator), "class"),
        "versions": {
            package.__name__: str(package.__version__)
            for package in (torch, skorch, sklearn, np)
        },
        "params": params,
        "later": later,
        "facts": facts,
        **scalings_of(estimator),
        "pretrained_names": sorted(estimator._pretrained_names),
        "schedules": steps_of_schedules(estimator),
        "trained": trained_names(estimator.module_),
        "generator": estimator._generator.get_state(),
        "history": estimator.history.to_list(),
        "callbacks": {
            name: {k: state[k] for k in REMEMBERED if state.get(k) is not None}
            for name, state in callback_states(estimator.callbacks_).items()
        },
        **parts,
    }


def facts_of(estimator: Any) -> dict[str, Any]:
    """Return those attributes that are plain values."""
    facts = {k: vars(estimator)[k] for k in FACTS if k in vars(estimator)}
    return {k: str(v) if isinstance(v, np.dtype) else v for k, v in facts.items()}


def scalings_of(estimator: Any) -> dict[str, tuple[Any, Any] | None]:
    """Return what is known of pixels and, by a regressor, of targets."""
    scaler = estimator.scaler_
    scalings: dict[str, Any] = {"scaler": (scaler.mean, scaler.std)}
    scalings["divisors"] = scaler.divisors and tuple(scaler.divisors)
    if (target := getattr(scaler, "target", None)) is not None:
        scalings["target_scaler"] = target.mean, target.std
    return scalings


def _described_parameters(
    estimator: Any, what: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters that the parts were made with, and those set later."""
    params = estimator.get_params(deep=False)
    # Without them, training that goes on would be another one.
    describe(params.get("callbacks"), f"{what}callbacks")
    if names := missed(params):
        warn(
            f"The file will not keep {', '.join(what + name for name in names)}, which "
            "a later fit depends on. Give it to skvision.load, or to set_params after "
            "that.",
        )
    changed = estimator._changed()
    later = {name: params.pop(name) for name in changed if name in params}
    params |= {k: before for k, (before, _) in changed.items() if before is not UNSET}
    if own := is_own_module(_described(params, what)["module"]):
        _check_parts(estimator.module_)
    found = []
    for part in (params, later):
        described = _described(part, what)
        tensors: dict[str, torch.Tensor] = {}
        seen = decode(encode(described, tensors), tensors)
        try:
            accepted_parameters(type(estimator), seen, _Everything(), own_module=own)
        except FormatError as error:
            raise ValueError(
                f"{type(estimator).__name__} cannot be saved, since {error}: that is "
                "more than a file may set."
            ) from error
        found.append(described)
    return found[0], found[1]


def _check_parts(network: nn.Module) -> None:
    """Refuse a network that `skvision.load` would not build for a file of its size."""
    n_parts = sum(1 for part in (*network.modules(), *network.parameters()))
    n_bytes = sum(v.numel() * v.itemsize for v in network.state_dict().values())
    if n_parts > most_parts(n_bytes):
        raise ValueError(
            f"The network has {n_parts} layers and weights of {n_bytes:,} bytes, and "
            f"files of that size may have {most_parts(n_bytes)} of them. Keep the "
            "weights alone, by save_params."
        )


def _described(params: dict[str, Any], what: str) -> dict[str, Any]:
    return {
        name: _describe_parameter(name, value, what)
        for name, value in params.items()
        if not is_run_time(name, value)
    }


class _Everything(Collection[str]):
    """All names, whom the owner of an estimator trusts."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _describe_parameter(name: str, value: Any, what: str) -> Any:
    title = f"{what}{name}"
    if name == "module" and isinstance(value, nn.Module):
        return Made(INSTANCE, {"class": type(value).__qualname__})
    if name == "pretrained":
        if hasattr(value, "module_"):
            return Made(ESTIMATOR, _describe(value, f"{title}."))
        if isinstance(value, nn.Module):
            return dict(value.state_dict())
    return describe(value, title)
