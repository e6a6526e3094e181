"""What code is made of, and whose it is."""

from __future__ import annotations

import contextlib
import dis
import enum
import functools
import hashlib
import importlib.metadata
import platform
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skvision._identity._atoms import Unidentified, joined

__all__ = ["CodeMixin", "is_found_by_name", "library_version"]

#: Folders that installed packages lie in.
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = Path(sysconfig.get_path("stdlib"))
#: Distributions of another name than their package; to search for it takes a while.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python"}
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

    def function(self, value: types.FunctionType) -> bytes:
        version = library_version(value.__module__)
        name = f"{value.__module__}.{value.__qualname__}"
        if version is not None and is_found_by_name(value):
            return self.join("function by name", name, version)
        code = value.__code__
        cells = dict(zip(code.co_freevars, value.__closure__ or (), strict=True))
        rest = value.__defaults__, value.__kwdefaults__, vars(value)
        outside = version if version is not None else self.used_by(value)
        closure = self.attributes(cells)
        return self.join("function", name, code, closure, *rest, outside)

    def used_by(self, function: types.FunctionType) -> bytes:
        """Return what stands for the global names that a function uses."""
        loaded, names = _global_names(function.__code__)
        parts = []
        for name in loaded:
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            try:
                parts += [name.encode(), self.of_global(value, names)]
            except Unidentified as error:
                error.path = f", whose global {name}{error.path}"
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
        del self.numbers[id(value)]
        return self.join("used of a module", value.__name__, used, *parts)

    def module(self, value: types.ModuleType) -> bytes:
        return self.join("module", value.__name__, library_version(value.__name__))

    def code(self, value: types.CodeType) -> bytes:
        self.words.update(value.co_names)
        self.words.update(c for c in value.co_consts if isinstance(c, str))
        return joined("code", map(self.of, _code_parts(value)))

    def class_(self, value: type) -> bytes:
        version = library_version(value.__module__)
        name = f"{value.__module__}.{value.__qualname__}"
        if version is not None and is_found_by_name(value):
            return self.join("class by name", name, version)
        attributes = self.attributes(_class_attributes(value))
        return self.join("class", name, type(value), value.__bases__, attributes)

    def builtin(self, value: Any) -> bytes:
        owner = getattr(value, "__self__", None)
        if isinstance(owner, types.ModuleType):
            owner = owner.__name__
        module = getattr(value, "__module__", None)
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


@functools.cache
def library_version(module: str | None) -> str | None:
    """Return the version of the library that has a module, None for the user's own.

    Names and a version tell all of what is in a library.
    """
    package = (module or "").partition(".")[0]
    if package == "skvision":
        return str(sys.modules["skvision"].__version__)
    found = sys.modules.get(package)
    if found is None:
        return None
    folders = getattr(found, "__path__", ())
    place = getattr(found, "__file__", None) or next(iter(folders), None)
    if package in sys.stdlib_module_names:
        # A script of the user's may have such a name, too.
        is_own = place is not None and not Path(place).is_relative_to(_STANDARD)
        return None if is_own else platform.python_version()
    if place is None or not _INSTALLED & set(Path(place).parts):
        return None
    return _installed_version(package)


def _installed_version(package: str) -> str | None:
    names = [_DISTRIBUTIONS.get(package, package)]
    for is_last in (False, True):
        for name in names:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return _version(importlib.metadata.distribution(name))
        if not is_last:
            names = list(importlib.metadata.packages_distributions().get(package, ()))
    return None


def _version(distribution: importlib.metadata.Distribution) -> str:
    if distribution.read_text("direct_url.json") is None:
        return distribution.version
    # It came from no index, such as from a folder, where the same version may have had
    # other files.
    record = (distribution.read_text("RECORD") or "").encode()
    return f"{distribution.version} {hashlib.sha256(record).hexdigest()}"


def is_found_by_name(value: Any, name: str = "", module: str | None = None) -> bool:
    """Whether a module, else that which made an object, has it under its name."""
    module = module or getattr(value, "__module__", None) or "builtins"
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


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[list[str], frozenset[str]]:
    """Return the global names that code looks up, and all names in it."""
    loaded, names = set(), set(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loaded.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner, more = _global_names(constant)
            loaded.update(inner)
            names.update(more)
    return sorted(loaded), frozenset(names)


def _class_attributes(kind: type) -> dict[str, Any]:
    """Return what the body of a class has defined."""
    attributes = {k: v for k, v in vars(kind).items() if k not in _NO_CODE}
    if issubclass(kind, enum.Enum):
        members = {name: member.value for name, member in kind.__members__.items()}
        functions = (types.FunctionType, property, classmethod, staticmethod)
        attributes = {k: v for k, v in attributes.items() if isinstance(v, functions)}
        attributes |= {"__members__": members}
    return attributes
