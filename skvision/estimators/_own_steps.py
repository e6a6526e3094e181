"""What of a training a user's class, or a callback, does in its own way."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from skorch.callbacks import Callback

#: What is heard within an epoch.
BATCH_HOOKS = tuple(n for n in vars(Callback) if "batch" in n or "grad" in n)
_LIBRARIES = ("skvision", "skorch", "sklearn", "torch")


def overrides(callback: Any, hook: str) -> bool:
    """Return whether a callback does something when it is told of an event."""
    return getattr(type(callback), hook, None) is not getattr(Callback, hook)


def own_step(
    kind: type, steps: tuple[str, ...], drivers: tuple[str, ...] = ()
) -> str | None:
    """Return a method of a user's class that stands in the place of a library's.

    Parameters
    ----------
    kind : type
        Class of an estimator.
    steps : tuple of str
        Methods that count, with all that they call, and with what hears of batches.
    drivers : tuple of str, default=()
        Methods that count, whatever they call.
    """
    library = next(k for k in kind.__mro__ if k.__module__.startswith("skvision."))
    names = sorted({*BATCH_HOOKS, *_called_from(library, steps)})
    for name in (*drivers, *names):
        method = getattr(kind, name)
        if method is not getattr(library, name):
            return name
        # One may also have been put in the place of a library's.
        if name in names and method.__module__.split(".")[0] not in _LIBRARIES:
            return name
    return None


@functools.cache
def _called_from(kind: type, names: tuple[str, ...]) -> frozenset[str]:
    """Return methods of a class, and all of its methods that their code names."""
    found: set[str] = set()
    left = [*names]
    while left:
        name = left.pop()
        own = [vars(cls).get(name) for cls in kind.__mro__]
        functions = [method for method in own if isinstance(method, FunctionType)]
        if name not in found and functions:
            found.add(name)
            left += [used for f in functions for used in _names_in(f.__code__)]
    return frozenset(found)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
