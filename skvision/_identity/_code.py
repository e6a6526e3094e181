"""What code is made of, what it looks up by its names, and whose it is."""

from __future__ import annotations

import contextlib
import dis
import enum
import functools
import sys
import types
from typing import Any, NamedTuple

from skvision._identity._libraries import (
    imported,
    known_name,
    library_version,
    module_name,
)
from skvision._identity._values import Unidentified, joined

#: Functions and attributes by which any name of a module may be used.
_LOOKING_UP = frozenset({"getattr", "vars", "__dict__", "attrgetter", "methodcaller"})
#: What Python and its libraries put into classes by themselves: names, texts, caches
#: and numbers that count classes.
_NO_CODE = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
    *("__firstlineno__", "__static_attributes__", "__slotnames__", "__parameters__"),
    *("__orig_bases__", "__abstractmethods__", "_abc_impl", "_is_protocol"),
    *("_backward_cls", "_autograd_function_id"),
}


def function(walk: Any, value: types.FunctionType) -> bytes:
    version, name = library_version(module_name(value)), known_name(value)
    if version is not None and is_found_by_name(value):
        return walk.join("function by name", name, version)
    code = value.__code__
    cells = dict(zip(code.co_freevars, value.__closure__ or (), strict=True))
    rest = value.__defaults__, value.__kwdefaults__, vars(value)
    outside = version if version is not None else looked_up(walk, value)
    closure = walk.attributes(cells)
    return walk.join("function", name, code, closure, *rest, outside)


def looked_up(walk: Any, function: types.FunctionType) -> bytes:
    """Return what stands for the global names and modules that a function uses."""
    used, known = _used_by(function.__code__), function.__globals__
    found = [
        (name, f", whose global {name}", known[name])
        for name in used.loaded
        if name in known
    ]
    for name, module in imported(used.imports, known.get("__package__") or ""):
        found.append((name, f", which imports {name}", module))
    parts = []
    for name, place, value in found:
        try:
            parts += [name.encode(), of_global(walk, value, used.names)]
        except Unidentified as error:
            error.path = place + error.path
            raise
    return joined("globals", parts)


def of_global(walk: Any, value: Any, names: frozenset[str]) -> bytes:
    """Return what stands for a global; of a module, some names are used."""
    if type(value) is not types.ModuleType:
        return walk.of(value)
    if library_version(value.__name__) is not None or id(value) in walk.numbers:
        return module(walk, value)
    # What other code uses of it may be other names.
    walk.numbers[id(value)] = len(walk.numbers)
    used = sorted(names & vars(value).keys())
    parts = [of_global(walk, vars(value)[name], names) for name in used]
    if names & _LOOKING_UP:
        parts += of_all(walk, value)
    del walk.numbers[id(value)]
    return walk.join("used of a module", value.__name__, used, *parts)


def of_all(walk: Any, module: types.ModuleType) -> list[bytes]:
    """Return what stands for a module of which code may use any name."""
    parts = []
    for name, value in sorted(vars(module).items()):
        if not name.startswith("__"):
            # What has no name is hardly what is looked for.
            with contextlib.suppress(Unidentified):
                parts += [name.encode(), walk.fork().of(value)]
    return parts


def module(walk: Any, value: types.ModuleType) -> bytes:
    return walk.join("module", value.__name__, library_version(value.__name__))


def code(walk: Any, value: types.CodeType) -> bytes:
    walk.words.update(value.co_names, _texts_of(value))
    return joined("code", map(walk.of, _code_parts(value)))


def class_(walk: Any, value: type) -> bytes:
    version, name = library_version(module_name(value)), known_name(value)
    if version is not None and is_found_by_name(value):
        return walk.join("class by name", name, version, _put_in(value))
    attributes = walk.attributes(_class_attributes(value))
    return walk.join("class", name, type(value), value.__bases__, attributes)


def builtin(walk: Any, value: Any) -> bytes:
    owner = getattr(value, "__self__", None)
    if isinstance(owner, types.ModuleType):
        owner = owner.__name__
    module = module_name(value) or None
    version = library_version(module or "builtins")
    return walk.join("builtin", owner, value.__name__, module, version)


def slot(walk: Any, value: Any) -> bytes:
    return walk.join("slot", value.__objclass__.__qualname__, value.__name__)


def method(walk: Any, value: types.MethodType) -> bytes:
    return walk.join("method", value.__self__, value.__func__)


def with_arguments(walk: Any, value: functools.partial) -> bytes:
    parts = value.func, value.args, value.keywords, vars(value)
    return walk.join("partial", type(value), *parts)


def descriptor(walk: Any, value: Any) -> bytes:
    """Return what stands for what a decorator made of functions."""
    names = "fget", "fset", "fdel", "__func__", "__wrapped__", "func"
    functions = [getattr(value, name, None) for name in names]
    return walk.join("descriptor", type(value), *functions)


def cell(walk: Any, value: types.CellType) -> bytes:
    try:
        return walk.join("cell", value.cell_contents)
    except ValueError:
        return b"empty cell"


def is_found_by_name(value: Any, name: str = "", module: str | None = None) -> bool:
    """Whether a module, else that which made an object, has it under its name."""
    module = module or module_name(value) or "builtins"
    found: Any = sys.modules.get(module)
    for part in (name or value.__qualname__).split("."):
        found = getattr(found, part, None)
    return found is value


def _code_parts(code: types.CodeType) -> list[Any]:
    """Return what a code object does, without the places that it was written at."""
    return [
        code.co_qualname,
        code.co_code,
        code.co_exceptiontable,
        code.co_consts,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
    ]


def _put_in(kind: type) -> dict[str, Any]:
    """Return methods that code of the user's has put into a class of a library."""
    found = {}
    for base in kind.__mro__:
        for name, value in vars(base).items():
            if type(value) is types.FunctionType:
                module = module_name(value)
                if module in sys.modules and library_version(module) is None:
                    found[f"{base.__name__}.{name}"] = value
    return found


def _class_attributes(kind: type) -> dict[str, Any]:
    """Return what the body of a class has defined."""
    attributes = {k: v for k, v in vars(kind).items() if k not in _NO_CODE}
    if issubclass(kind, enum.Enum):
        members = {name: member.value for name, member in kind.__members__.items()}
        functions = (types.FunctionType, property, classmethod, staticmethod)
        attributes = {k: v for k, v in attributes.items() if isinstance(v, functions)}
        attributes |= {"__members__": members}
    return attributes


class _Used(NamedTuple):
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
def _used_by(code: types.CodeType) -> _Used:
    """Return the names that code uses."""
    loaded: set[str] = set()
    imports: set[tuple[str, int, tuple[str, ...]]] = set()
    names = {*code.co_names, *_texts_of(code)}
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
            inner = _used_by(constant)
            loaded.update(inner.loaded)
            names.update(inner.names)
            imports.update(inner.imports)
    return _Used(sorted(loaded), frozenset(names), sorted(imports))


def _texts_of(code: types.CodeType) -> list[str]:
    """Return the texts among the constants of code."""
    return [value for value in code.co_consts if isinstance(value, str)]
