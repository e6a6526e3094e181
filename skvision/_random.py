"""Random numbers from one seed, without touching anybody else's."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

#: Classes of generators that may be anybody's own.
GENERATORS = (
    torch.Generator,
    random.Random,
    np.random.RandomState,
    np.random.Generator,
    np.random.BitGenerator,
)

# What the global generators are called in messages.
_GENERATORS = {
    "python": "Python's random",
    "numpy": "numpy.random",
    "torch": "torch",
    "cuda": "torch on a GPU",
}

# The global generators belong to all threads of a process, so that of those that draw
# from them only one does at a time.
_one_at_a_time = threading.RLock()


class _Here(threading.local):
    """Sections that this thread is in."""

    n_sections = n_alone = 0


class _Overlap:
    """Sections of any thread, and how they found the generators, all of them together.

    Those that overlap in time may not put back what they found: it was another one's.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_sections = 0
        self.found: dict[torch.device, dict[str, Any]] = {}


_here, _overlap = _Here(), _Overlap()


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return the seed of one fit.

    None gives a fresh one: scikit-learn would draw it from NumPy's global
    generator, which is to be left as it is.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def next_seed(generator: torch.Generator) -> int:
    """Draw a seed from a generator."""
    return int(torch.randint(2**31 - 1, (), generator=generator))


@contextmanager
def isolated_random_state(
    device: torch.device, seed: int | None = None, *, alone: bool = False
) -> Iterator[None]:
    """Give Python, NumPy and torch a random state for a while.

    Parameters
    ----------
    device : torch.device
        Whose generator is meant beside that of the CPU.
    seed : int, default=None
        Where the generators begin; None leaves them where they are. Either way
        they are back at their former state afterwards.
    alone : bool, default=False
        Whether other threads that want to be alone wait until this one has ended. With
        a seed they always do.
    """
    alone = alone or seed is not None
    with _one_at_a_time if alone else contextlib.nullcontext():
        before = _enter(device, alone)
        try:
            if seed is not None:
                _seed(device, seed)
            yield
        finally:
            _leave(before, device, alone)


def _enter(device: torch.device, alone: bool) -> dict[str, Any]:
    with _overlap.lock:
        before = global_states(device)
        if _here.n_sections == 0:
            _overlap.n_sections += 1
            _overlap.found.setdefault(device, before)
    _here.n_sections += 1
    _here.n_alone += alone
    return before


def _leave(before: dict[str, Any], device: torch.device, alone: bool) -> None:
    """Put the global generators back, unless other sections still need them."""
    with _overlap.lock:
        if _here.n_alone:
            set_global_states(before, device)
        _here.n_sections -= 1
        _here.n_alone -= alone
        if _here.n_sections == 0:
            _overlap.n_sections -= 1
            if _overlap.n_sections == 0:
                # What the first section found comes last.
                for place, states in reversed(_overlap.found.items()):
                    set_global_states(states, place)
                _overlap.found = {}


def global_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators that belong to all, as plain data.

    Parameters
    ----------
    device : torch.device
        Whose generator is meant beside that of the CPU.
    """
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def generator_states() -> dict[str, Any]:
    """Return the states of the global generators, for comparison, by their names."""
    on_gpu = torch.cuda.is_initialized()
    found = global_states(torch.device("cuda" if on_gpu else "cpu"))
    return {_GENERATORS[name]: _comparable(state) for name, state in found.items()}


def _comparable(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(map(_comparable, state))
    is_array = isinstance(state, (torch.Tensor, np.ndarray))
    return np.asarray(state).tobytes() if is_array else state


def drawn_since(states: dict[str, Any]) -> str | None:
    """Return which of the generators has moved on from its state, if any."""
    now = generator_states()
    return next((key for key in states if now[key] != states[key]), None)


def set_global_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put the generators that belong to all into states of `global_states`.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        If they are none.
    """
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    if isinstance(states["numpy"], tuple):
        _kind, _keys, place, *_ = states["numpy"]
        _check_place(place)
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _check_place(place: Any) -> None:
    """Check a place within the numbers of a generator of NumPy's.

    It would read there, whatever memory it is.
    """
    if type(place) is not int or not 0 <= place <= 624:
        raise ValueError(f"there is no place {place} in a generator's numbers")


def _seed(device: torch.device, seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed would seed every GPU, also those not restored.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def generator_state(generator: Any) -> Any:
    """Return the state of a generator of random numbers, as plain data."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return getattr(generator, "bit_generator", generator).state


def set_generator_state(generator: Any, state: Any) -> None:
    """Put a generator into a state that `generator_state` returned.

    Raises
    ------
    KeyError, RuntimeError, TypeError, ValueError
        If it is none.
    """
    if isinstance(generator, random.Random):
        version, numbers, gauss = state
        generator.setstate((version, tuple(numbers), gauss))
        return
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
        return
    _check_place(state["state"].get("pos", 0))
    if isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        getattr(generator, "bit_generator", generator).state = state
