"""Names of objects, made of all that they hold."""

from __future__ import annotations

import copyreg
import enum
import functools
import hashlib
import itertools
import pickle
import random
import re
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from skvision._compat import COMMON_GENERATORS
from skvision._identity import _code
from skvision._identity._libraries import library_version, module_name
from skvision._identity._values import (
    ATOMS,
    Unidentified,
    array_values,
    is_plain,
    joined,
    tensor_values,
)

# Of objects that hold others; more are a sign of something that is no parameter.
_MOST_OBJECTS = 1_000_000


def fingerprint(*parts: Any) -> str:
    """Return a name for objects that are equal in all that they hold, in any process.

    Types count (1, 1.0 and True are three), and so does whether an object is there
    twice, or a copy of it. The order of sets and dictionaries does not, nor how values
    lie in memory.

    Parameters
    ----------
    *parts : object
        Parameters, arrays, tensors, networks, functions, instances of any class. Those
        whose class has a method ``__skvision_identity__`` are what it returns.

    Returns
    -------
    name : str of 32 hexadecimal digits

    Raises
    ------
    Unidentified
        If an object's state cannot be told; the message says which and where.

    Examples
    --------
    >>> from functools import partial
    >>> from skvision._identity import fingerprint
    >>> fingerprint(partial(max, 1)) == fingerprint(partial(max, 1))
    True
    >>> fingerprint(partial(max, 1)) == fingerprint(partial(max, 1.0))
    False
    """
    return examine(*parts).name


class Examined(NamedTuple):
    """What is in objects, and in all that they hold.

    Attributes
    ----------
    name : str
        What `fingerprint` returns.
    words : set of str
        Names and texts in code of the user's.
    generators : list
        Generators of random numbers.
    """

    name: str
    words: set[str]
    generators: list[Any]


def examine(*parts: Any, told: Mapping[type, Callable[[Any], Any]] = {}) -> Examined:
    """Return the name of objects, and what was met on the way to it.

    Parameters
    ----------
    *parts : object
        As in `fingerprint`.
    told : dict
        Functions by types: instances of these are what the function returns.

    Raises
    ------
    Unidentified
        As `fingerprint` does.
    """
    walk = _Walk(told)
    try:
        name = hashlib.sha256(walk.of(parts)).hexdigest()[:32]
    except RecursionError:
        raise Unidentified("nested too deeply") from None
    except Unidentified as error:
        if len(parts) == 1:
            # Parameters by their names.
            error.path = re.sub(r"^\['(\w+)'\]", r"\1", error.path[len("[0]") :])
        raise
    return Examined(name, walk.words, walk.generators)


class _Walk:
    """One way through objects and all that they hold."""

    def __init__(self, told: Mapping[type, Callable[[Any], Any]]) -> None:
        self.told = told
        self.words: set[str] = set()
        self.generators: list[Any] = []
        #: Objects that may change, or hold themselves, in the order of discovery.
        self.numbers: dict[int, int] = {}
        #: Digests of what is the same wherever it stands.
        self.known: dict[int, bytes] = {}
        # Their ids are theirs as long as they are kept.
        self.kept: list[Any] = []
        self.n_objects = 0
        self.in_network = False

    def fork(self) -> _Walk:
        """Return a walk of its own that knows what this one has met."""
        other = _Walk(self.told)
        other.words, other.generators = self.words, self.generators
        other.numbers, other.known = dict(self.numbers), dict(self.known)
        other.kept, other.n_objects = list(self.kept), self.n_objects
        return other

    def of(self, value: Any) -> bytes:
        """Return what stands for a value: itself, a digest, or its number if met."""
        kind = type(value)
        if (atom := ATOMS.get(kind)) is not None:
            return atom(value)
        if (found := self.known.get(id(value))) is not None:
            return found
        self.n_objects += 1
        if self.n_objects > _MOST_OBJECTS:
            raise Unidentified("made of too many objects")
        method, mode = _way(kind)  # type: ignore[arg-type]
        if mode is _Mode.EACH_TIME:
            return method(self, value)
        if (number := self.numbers.get(id(value))) is not None:
            return b"again %d" % number
        self.numbers[id(value)] = len(self.numbers)
        self.kept.append(value)
        for base, tell in self.told.items():
            if isinstance(value, base):
                return self.what_is_told(value, tell)
        found = method(self, value)
        if mode is _Mode.ONCE:
            self.known[id(value)] = found
        return found

    def join(self, tag: str, *parts: Any) -> bytes:
        """Return a digest of a few values."""
        return joined(tag, map(self.of, parts))

    def at(self, place: str, value: Any) -> bytes:
        """Return what stands for a value in a place that errors name."""
        try:
            return self.of(value)
        except Unidentified as error:
            error.path = place + error.path
            raise
        except RecursionError:
            raise
        except Exception as error:
            # Objects of the user's may raise anything when they are looked at.
            other = Unidentified(f"what cannot be looked at: {error!r}")
            other.path = place
            raise other from error

    # ------------------------------------------------------------- containers

    def items(self, values: Iterable[Any]) -> bytes:
        kind = type(values).__name__
        parts = (self.at(f"[{i}]", value) for i, value in enumerate(values))
        return joined(kind, parts)

    def unordered(self, values: Iterable[Any]) -> bytes:
        return joined(type(values).__name__, sorted(map(self.alone, values)))

    def alone(self, value: Any) -> bytes:
        """Return what stands for a value whose place among others is not known yet."""
        return self.of(value) if is_plain(value) else self.fork().of(value)

    def mapping(self, value: Any, place: str = "[{!r}]") -> bytes:
        pairs = [(self.alone(key), key) for key in value]
        if type(value) is not OrderedDict:
            pairs.sort(key=lambda pair: pair[0])
        parts = ((found, self.at(place.format(k), value[k])) for found, k in pairs)
        return joined(type(value).__name__, itertools.chain.from_iterable(parts))

    def attributes(self, state: Any) -> bytes:
        return self.mapping(state, ".{}") if type(state) is dict else self.of(state)

    # ------------------------------------------------------------- what has data

    def buffer(self, value: Any) -> bytes:
        return joined(type(value).__name__, [bytes(value)])

    def array(self, value: np.ndarray) -> bytes:
        if isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value)
            return self.join("masked", value.data, mask, value.fill_value)
        kind = None if type(value) in (np.ndarray, np.memmap) else type(value)
        digest = hashlib.sha256(self.join("array", kind, value.dtype, value.shape))
        for part in array_values(value):
            is_buffer = isinstance(part, memoryview)
            digest.update(part if is_buffer else joined("item", [self.of(part)]))
        return b"#" + digest.digest()

    def scalar(self, value: np.generic) -> bytes:
        return self.join("scalar", np.asarray(value))

    def dtype(self, value: np.dtype) -> bytes:
        return self.join("dtype", repr(value))

    def tensor(self, value: torch.Tensor) -> bytes:
        kind = None if type(value) is torch.Tensor else type(value)
        more = [getattr(value, "__dict__", {})]
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            if hooks := getattr(value, name, None):
                more += [name, list(hooks.values())]
        try:
            head, parts = tensor_values(value)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            raise Unidentified(f"a tensor that cannot be read: {error}") from error
        head_found = self.join("tensor", kind, more, head)
        return joined("values", [head_found, *(part.numpy().data for part in parts)])

    def generator(self, value: Any) -> bytes:
        """Return what stands for a generator of random numbers."""
        if any(value is one for one in COMMON_GENERATORS):
            return b"common generator"  # It has another state in each fit anyway.
        self.generators.append(value)
        if isinstance(value, random.Random):
            return self.join("random", type(value), value.getstate())
        if isinstance(value, torch.Generator):
            return self.join("torch", value.get_state(), value.device)
        if isinstance(value, np.random.RandomState):
            return self.join("RandomState", value.get_state(legacy=False))
        bits = value.bit_generator if hasattr(value, "bit_generator") else value
        seed = getattr(getattr(bits, "seed_seq", None), "state", None)
        return self.join("Generator", type(value), bits.state, seed)

    def network(self, value: nn.Module) -> bytes:
        outermost, self.in_network = not self.in_network, True
        try:
            state = self.attributes(_network_state(value))
        finally:
            self.in_network = not outermost
        shared = _shared_tensors(value) if outermost else None
        return self.join("network", type(value), state, shared)

    def handle(self, value: RemovableHandle) -> bytes:
        """Return what stands for the handle of a hook, which torch numbers."""
        hooks = value.hooks_dict_ref()
        others = [] if hooks is None else list(hooks)
        return self.join("handle", [others.index(i) for i in others if i == value.id])

    def member(self, value: enum.Enum) -> bytes:
        return self.join("enum", type(value), value.name, value.value)

    def reference(self, value: weakref.ref) -> bytes:
        return self.join("weak reference", value())

    def identity(self, value: Any) -> bytes:
        """Return what stands for an object that says itself what it is."""
        return self.what_is_told(value, type(value).__skvision_identity__)

    def what_is_told(self, value: Any, tell: Callable[[Any], Any]) -> bytes:
        # It is the last word on what is in there.
        told, self.told = self.told, {}
        try:
            return self.join("told", type(value), tell(value))
        finally:
            self.told = told

    def pandas(self, value: Any) -> bytes:
        if hasattr(value, "columns"):
            parts = [value.iloc[:, i] for i in range(value.shape[1])]
            return self.join("frame", type(value), value.columns, value.index, *parts)
        numeric = isinstance(value.dtype, np.dtype)
        values = value.to_numpy() if numeric else value.to_numpy(dtype=object)
        names = list(getattr(value, "names", [value.name]))
        index = getattr(value, "index", None)
        return self.join("column", type(value), str(value.dtype), names, values, index)

    def arrow(self, value: Any) -> bytes:
        """Return what stands for a table or column of pyarrow or polars."""
        kind = str(getattr(value, "schema", None) or getattr(value, "dtype", None))
        kind = kind if hasattr(value, "name") else str(getattr(value, "type", kind))
        lists = next(getattr(value, n) for n in _TO_LISTS if hasattr(value, n))()
        name = getattr(value, "name", None)
        if isinstance(lists, dict):
            lists = [(key, list(items)) for key, items in lists.items()]
        return self.join("arrow", type(value), kind, name, lists)

    def instance(self, value: Any) -> bytes:
        """Return what stands for an object of any other class."""
        try:
            known = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(4) if known is None else known(value)
        except Exception as error:
            # What has no state that could be kept says so in many ways.
            raise Unidentified(
                f"an object of the class {type(value).__name__}, whose state cannot "
                f"be told ({error})"
            ) from error
        if isinstance(reduced, str):
            # The first module that has it depends on which were imported.
            module = pickle.whichmodule(value, reduced)  # type: ignore[attr-defined]
            if not _code.is_found_by_name(value, reduced, module):
                raise Unidentified(f"{reduced}, which no module has")
            package = module.partition(".")[0]
            version = library_version(package)
            return self.join("by name", type(value), package, reduced, version)
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        parts = [self.join("class", type(value), make, arguments)]
        # What has slots may have attributes besides.
        two = isinstance(state, tuple) and len(state) == 2
        parts += map(self.attributes, state if two else (state,))
        parts.append(self.items(list(items or ())))
        parts.append(self.mapping(dict(pairs or ())))
        return joined("instance", parts)


_TO_LISTS = "to_pydict", "to_pylist", "to_dict", "to_list"


def _network_state(network: nn.Module) -> dict[str, Any]:
    """Return the attributes of a network, without numbers that torch counts up."""
    state = dict(vars(network))
    hooks = {k: v for k, v in state.items() if "_hooks" in k and isinstance(v, dict)}
    numbers = sorted({key for value in hooks.values() for key in value})
    ranks = {number: rank for rank, number in enumerate(numbers)}
    for name, value in hooks.items():
        state[name] = [(ranks[key], hook) for key, hook in value.items()]
    for name in ("_modules", "_parameters", "_buffers"):
        # Layers are called in this order.
        state[name] = OrderedDict(state[name])
    # Compiled or not, it computes the same.
    state.pop("_compiled_call_impl", None)
    return state


def _shared_tensors(network: nn.Module) -> list[tuple[Any, ...]]:
    """Return which tensors of a network are the same, or lie in the same memory."""
    places: dict[Any, int] = {}
    shared: list[tuple[Any, ...]] = []
    parameters = network.named_parameters(remove_duplicate=False)
    buffers = network.named_buffers(remove_duplicate=False)
    for name, tensor in itertools.chain(parameters, buffers):
        try:
            address = tensor.untyped_storage().data_ptr() or -id(tensor)
        except (NotImplementedError, RuntimeError, ValueError):
            address = -id(tensor)
        keys = ("tensor", id(tensor)), ("memory", address)
        shared.append((name, *(places.setdefault(key, len(places)) for key in keys)))
    return shared


class _Mode(enum.Enum):
    """When objects of a type are looked at."""

    #: Whenever they are met, as it makes no difference which one it is.
    EACH_TIME = 1
    #: Once, being the same wherever they stand.
    ONCE = 2
    #: Once; that it is the same object again is all that is said of it then.
    NUMBERED = 3


def _ways(*rows: tuple[Any, ...]) -> dict[type, tuple[Any, _Mode]]:
    return {kind: (method, mode) for method, mode, *kinds in rows for kind in kinds}


#: What is done with objects of exactly these types.
_EXACT = _ways(
    (_Walk.items, _Mode.EACH_TIME, tuple, torch.Size),
    (_Walk.items, _Mode.NUMBERED, list),
    (_Walk.mapping, _Mode.NUMBERED, dict, OrderedDict, types.MappingProxyType),
    (_Walk.unordered, _Mode.EACH_TIME, frozenset),
    (_Walk.unordered, _Mode.NUMBERED, set),
    (_Walk.buffer, _Mode.EACH_TIME, bytearray, memoryview),
    (_code.code, _Mode.EACH_TIME, types.CodeType),
    (_code.cell, _Mode.EACH_TIME, types.CellType),
    (_code.function, _Mode.ONCE, types.FunctionType),
    (_code.method, _Mode.EACH_TIME, types.MethodType),
    (_code.module, _Mode.EACH_TIME, types.ModuleType),
    (_code.builtin, _Mode.EACH_TIME, types.BuiltinMethodType, types.MethodWrapperType),
    (_code.slot, _Mode.EACH_TIME, types.MemberDescriptorType),
    (_code.slot, _Mode.EACH_TIME, types.GetSetDescriptorType),
    (_code.slot, _Mode.EACH_TIME, types.MethodDescriptorType),
    (_code.slot, _Mode.EACH_TIME, types.WrapperDescriptorType),
    (_code.slot, _Mode.EACH_TIME, types.ClassMethodDescriptorType),
    (_code.descriptor, _Mode.EACH_TIME, functools._lru_cache_wrapper),
)
#: What is done with objects of these types and of those derived from them.
_DERIVED = _ways(
    (_code.class_, _Mode.ONCE, type),
    (_Walk.array, _Mode.ONCE, np.ndarray),
    (_Walk.tensor, _Mode.ONCE, torch.Tensor),
    (_Walk.member, _Mode.EACH_TIME, enum.Enum),
    (_Walk.handle, _Mode.EACH_TIME, RemovableHandle),
    (_Walk.scalar, _Mode.EACH_TIME, np.generic),
    (_Walk.dtype, _Mode.EACH_TIME, np.dtype),
    (_code.with_arguments, _Mode.EACH_TIME, functools.partial),
    (_code.descriptor, _Mode.EACH_TIME, functools.cached_property, property),
    (_code.descriptor, _Mode.EACH_TIME, classmethod, staticmethod),
    (_Walk.reference, _Mode.EACH_TIME, weakref.ref),
    (_Walk.network, _Mode.NUMBERED, nn.Module),
    (_Walk.generator, _Mode.NUMBERED, torch.Generator, random.Random),
    (_Walk.generator, _Mode.NUMBERED, np.random.RandomState, np.random.Generator),
    (_Walk.generator, _Mode.NUMBERED, np.random.BitGenerator),
)


@functools.lru_cache(maxsize=1024)
def _way(kind: type) -> tuple[Callable[[_Walk, Any], bytes], _Mode]:
    """Return what is done with objects of a type, and when."""
    if kind in _EXACT:
        return _EXACT[kind]
    if hasattr(kind, "__skvision_identity__") and not issubclass(kind, type):
        return _Walk.identity, _Mode.NUMBERED
    for base, way in _DERIVED.items():
        if issubclass(kind, base):
            return way
    package = module_name(kind).partition(".")[0]
    if package == "pandas" and hasattr(kind, "to_numpy") and hasattr(kind, "copy"):
        return _Walk.pandas, _Mode.NUMBERED
    if package in ("polars", "pyarrow") and any(hasattr(kind, n) for n in _TO_LISTS):
        return _Walk.arrow, _Mode.NUMBERED
    return _Walk.instance, _Mode.NUMBERED
