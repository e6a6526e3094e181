"""What code looks up by its names: globals, modules and attributes of these."""

from __future__ import annotations

import dis
import functools
import types
from typing import Any, NamedTuple

#: Functions and attributes by which any name of a module may be used.
LOOKING_UP = frozenset({"getattr", "vars", "__dict__", "attrgetter", "methodcaller"})


class Used(NamedTuple):
    """Names in code, and in functions that are defined in it.

    Attributes
    ----------
    loaded : list of str
        What is looked up among the globals.
    names : frozenset of str
        All names, and texts that may be names.
    imports : list of (str, int, tuple of str)
        Names of modules, how many dots stand before them, and what is taken of them.
    """

    loaded: list[str]
    names: frozenset[str]
    imports: list[tuple[str, int, tuple[str, ...]]]


@functools.lru_cache(maxsize=1024)
def used_by(code: types.CodeType) -> Used:
    """Return the names that code uses."""
    loaded: set[str] = set()
    imports: set[tuple[str, int, tuple[str, ...]]] = set()
    names = {*code.co_names, *texts_of(code)}
    given: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loaded.add(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level, taken = given[-2:]
            imports.add((instruction.argval, level, taken or ()))
        given.append(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = used_by(constant)
            loaded.update(inner.loaded)
            names.update(inner.names)
            imports.update(inner.imports)
    return Used(sorted(loaded), frozenset(names), sorted(imports))


def texts_of(code: types.CodeType) -> list[str]:
    """Return the texts among the constants of code."""
    return [value for value in code.co_consts if isinstance(value, str)]
