"""Which objects can stand in a file, and how they are made of it again."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import re
import sys
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from skvision import networks, preprocessing
from skvision.exceptions import FormatError
from skvision.persistence._tree import Made, Name, encode, shown
from skvision.preprocessing._base import BatchTransform

#: The name of NumPy's generators.
GENERATOR = "numpy.random.RandomState"

#: What makes objects of plain values, by name; `register` adds to it.
_MAKERS: dict[str, Callable[..., Any]] = {}


def register(name: str, maker: Callable[..., Any]) -> None:
    """Let files hold objects whose attribute ``made_by`` is (name, parameters).

    Parameters
    ----------
    name : str
    maker : callable
        Gets the parameters by name and returns the object. It checks them.
    """
    _MAKERS[public_name(name)] = maker


def describe(value: Any, what: str) -> Any:
    """Return a parameter as plain data, `Name` and `Made`.

    Parameters
    ----------
    value : object
        Classes and functions that can be imported, transforms of
        `skvision.preprocessing`, NumPy generators, plain data and containers of them.
    what : str
        The name of the parameter, for errors.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if isinstance(value, (type, types.FunctionType)):
        return Name(_name(value, what))
    if (made := _parts(value)) is not None:
        name, params = made
        described = {k: describe(v, f"{what}.{k}") for k, v in params.items()}
        return Made(name, described)
    if isinstance(value, enum.Enum) and hasattr(value, "get_state_dict"):
        return value.name  # Of torchvision's weights, which go by their names, too.
    if isinstance(value, Mapping):
        return {key: describe(item, f"{what}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = (describe(item, f"{what}[{i}]") for i, item in enumerate(value))
        return type(value)(items) if type(value) in (list, tuple) else tuple(items)
    if isinstance(value, torch.Tensor) and type(value) is not nn.Parameter:
        return value
    try:
        encode(value, {})
    except TypeError:
        raise _not_data(value, what) from None
    return value


def restore(value: Any, trusted: Collection[str]) -> Any:
    """Return what `describe` was given.

    Parameters
    ----------
    value : object
        As it was in a file.
    trusted : collection of str
        Names that may be imported, besides those that do no harm.

    Raises
    ------
    FormatError
        If there is a name that may not be imported, or what it is made with is wrong.
    """
    if isinstance(value, Name):
        return resolve_name(value.name, trusted)
    if isinstance(value, Made):
        params = {key: restore(item, trusted) for key, item in value.params.items()}
        name = public_name(value.name)
        is_transform = is_harmless(name, BatchTransform)
        if not is_transform and name not in _MAKERS:
            raise FormatError(f"The file has an object of the class {value.name!r}.")
        try:
            if not is_transform:
                return _MAKERS[name](**params)
            transform: Any = _harmless()[name](**params)
            transform.check_params()
            return transform
        except (TypeError, ValueError) as error:
            raise FormatError(f"its {value.name} is damaged: {error}") from error
    if isinstance(value, dict):
        return {key: restore(item, trusted) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(restore(item, trusted) for item in value)
    return value


def is_harmless(name: str, base: type = object) -> bool:
    """Whether a class may be made by a file: what it does then is known.

    Parameters
    ----------
    name : str
    base : type, default=object
        Which it has to be derived from.
    """
    kind = _harmless().get(public_name(name))
    return kind is not None and issubclass(kind, base)


def check_name(name: str, trusted: Collection[str]) -> None:
    """Check that a file may name a class or a function.

    Raises
    ------
    FormatError
        If it would have to be imported, and is not trusted.
    """
    if not is_harmless(name) and name not in trusted:
        raise FormatError(
            f"The file names {name!r}, which would have to be imported. If it is your "
            f"own network, load with module=...; if you trust it, with "
            f"trusted=[{name!r}]."
        )


def resolve_name(name: str, trusted: Collection[str]) -> Any:
    """Return the class or function of a name in a file.

    Raises
    ------
    FormatError
        If it would have to be imported, and is not trusted.
    ImportError
        If it is trusted, but not to be found.
    """
    check_name(name, trusted)
    if is_harmless(name):
        return _harmless()[public_name(name)]
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        with contextlib.suppress(AttributeError, ModuleNotFoundError, ValueError):
            module = importlib.import_module(".".join(parts[:end]))
            return functools.reduce(getattr, parts[end:], module)
    raise ImportError(f"{name!r}, which the file names, cannot be imported.")


def _not_data(value: Any, what: str) -> TypeError:
    parameter = re.split(r"[.[]", what)[0]
    return TypeError(
        f"The parameter {what} is {shown(value)}, which is no data: a file holds "
        "numbers, strings, arrays, containers of them, and classes or functions that "
        f"can be imported by name. Replace it by set_params({parameter}=...) before "
        "saving; a pickle holds more, for yourself to load."
    )


def _parts(value: Any) -> tuple[str, dict[str, Any]] | None:
    """Return what an object is made with, and the name of what makes it."""
    if isinstance(value, BatchTransform) and is_harmless(_qualified(type(value))):
        return _qualified(type(value)), value.get_params(deep=False)
    if isinstance(value, np.random.RandomState):
        kind, keys, *rest = value.get_state(legacy=True)
        return GENERATOR, {"state": (str(kind), np.asarray(keys), *rest)}
    if not isinstance(value, type) and hasattr(value, "made_by"):
        return value.made_by
    return None


def public_name(name: str) -> str:
    """Return a name in a file without modules that may have been moved since.

    Classes of skvision's are known by their packages, whichever module they were in
    when the file was written.
    """
    parts = name.split(".")
    if parts[0] != "skvision":
        return name
    return ".".join(part for part in parts if not part.startswith("_"))


def _qualified(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _name(value: Any, what: str) -> str:
    """Return the name by which a class or a function can be imported."""
    module = sys.modules.get(value.__module__)
    try:
        found = functools.reduce(getattr, value.__qualname__.split("."), module)
    except AttributeError:
        found = None
    if found is not value:
        raise _not_data(value, what)
    return _qualified(value)


@functools.cache
def _harmless() -> dict[str, type]:
    """Return the classes that a file may name without being trusted."""
    kinds = [
        *_subclasses(nn, nn.Module),
        *_subclasses(torch.optim, torch.optim.Optimizer),
        *_subclasses(networks, nn.Module),
        *_subclasses(preprocessing, BatchTransform),
    ]
    # It would spread its work over all GPUs.
    kinds.remove(nn.DataParallel)
    return {public_name(_qualified(kind)): kind for kind in kinds}


def _subclasses(package: Any, base: type) -> list[type]:
    values = vars(package).values()
    return [v for v in values if isinstance(v, type) and issubclass(v, base)]


def check_numpy_state(state: Any) -> Any:
    """Return the state of a NumPy generator if it is one.

    NumPy takes any place within its numbers, and reads there, whatever memory it is.

    Raises
    ------
    FormatError
        If it is none.
    """
    kind, keys, place, *_ = state
    if (
        kind != "MT19937"
        or getattr(keys, "shape", None) != (624,)
        or type(place) is not int
        or not 0 <= place <= 624
    ):
        raise FormatError("the state of NumPy's generator is damaged")
    return state


def _generator(state: Any = None) -> np.random.RandomState:
    generator = np.random.RandomState()
    generator.set_state(check_numpy_state(state))
    return generator


register(GENERATOR, _generator)
