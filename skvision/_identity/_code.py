"""What code is made of, and whose it is."""

from __future__ import annotations

import contextlib
import enum
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

from skvision._identity._atoms import Unidentified, joined
from skvision._identity._bytecode import LOOKING_UP, texts_of, used_by
from skvision._identity._libraries import (
    imported,
    known_name,
    library_version,
    module_name,
)

#: What Python and its libraries put into classes by themselves: names, texts, caches
#: and numbers that count classes.
_NO_CODE = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
    *("__firstlineno__", "__static_attributes__", "__slotnames__", "__parameters__"),
    *("__orig_bases__", "__abstractmethods__", "_abc_impl", "_is_protocol"),
    *("_backward_cls", "_autograd_function_id"),
}


class CodeMixin:
    """What stands for functions, classes and modules."""

    #: Methods of the walk that this is part of.
    numbers: dict[int, int]
    words: set[str]
    of: Callable[[Any], bytes]
    join: Callable[..., bytes]
    attributes: Callable[[Any], bytes]
    fork: Callable[[], Any]

    def function(self, value: types.FunctionType) -> bytes:
        module = module_name(value)
        version = library_version(module)
        name = known_name(value)
        if version is not None and is_found_by_name(value):
            return self.join("function by name", name, version)
        code = value.__code__
        cells = dict(zip(code.co_freevars, value.__closure__ or (), strict=True))
        rest = value.__defaults__, value.__kwdefaults__, vars(value)
        outside = version if version is not None else self.used_by(value)
        closure = self.attributes(cells)
        return self.join("function", name, code, closure, *rest, outside)

    def used_by(self, function: types.FunctionType) -> bytes:
        """Return what stands for the global names and modules that a function uses."""
        used, known = used_by(function.__code__), function.__globals__
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
                parts += [name.encode(), self.of_global(value, used.names)]
            except Unidentified as error:
                error.path = place + error.path
                raise
        return joined("globals", parts)

    def of_global(self, value: Any, names: frozenset[str]) -> bytes:
        """Return what stands for a global; of a module, some names are used."""
        if type(value) is not types.ModuleType:
            return self.of(value)
        if library_version(value.__name__) is not None or id(value) in self.numbers:
            return self.module(value)
        # What other code uses of it may be other names.
        self.numbers[id(value)] = len(self.numbers)
        used = sorted(names & vars(value).keys())
        parts = [self.of_global(vars(value)[name], names) for name in used]
        if names & LOOKING_UP:
            parts += self.of_all(value)
        del self.numbers[id(value)]
        return self.join("used of a module", value.__name__, used, *parts)

    def of_all(self, module: types.ModuleType) -> list[bytes]:
        """Return what stands for a module of which code may use any name."""
        parts = []
        for name, value in sorted(vars(module).items()):
            if not name.startswith("__"):
                # What has no name is hardly what is looked for.
                with contextlib.suppress(Unidentified):
                    parts += [name.encode(), self.fork().of(value)]
        return parts

    def module(self, value: types.ModuleType) -> bytes:
        return self.join("module", value.__name__, library_version(value.__name__))

    def code(self, value: types.CodeType) -> bytes:
        self.words.update(value.co_names, texts_of(value))
        return joined("code", map(self.of, _code_parts(value)))

    def class_(self, value: type) -> bytes:
        module = module_name(value)
        version = library_version(module)
        name = known_name(value)
        if version is not None and is_found_by_name(value):
            return self.join("class by name", name, version, _put_in(value))
        attributes = self.attributes(_class_attributes(value))
        return self.join("class", name, type(value), value.__bases__, attributes)

    def builtin(self, value: Any) -> bytes:
        owner = getattr(value, "__self__", None)
        if isinstance(owner, types.ModuleType):
            owner = owner.__name__
        module = module_name(value) or None
        version = library_version(module or "builtins")
        return self.join("builtin", owner, value.__name__, module, version)

    def slot(self, value: Any) -> bytes:
        return self.join("slot", value.__objclass__.__qualname__, value.__name__)

    def method(self, value: types.MethodType) -> bytes:
        return self.join("method", value.__self__, value.__func__)

    def with_arguments(self, value: functools.partial) -> bytes:
        parts = value.func, value.args, value.keywords, vars(value)
        return self.join("partial", type(value), *parts)

    def descriptor(self, value: Any) -> bytes:
        """Return what stands for what a decorator made of functions."""
        names = "fget", "fset", "fdel", "__func__", "__wrapped__", "func"
        functions = [getattr(value, name, None) for name in names]
        return self.join("descriptor", type(value), *functions)

    def cell(self, value: types.CellType) -> bytes:
        try:
            return self.join("cell", value.cell_contents)
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
