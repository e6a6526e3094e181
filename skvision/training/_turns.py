"""One thread at a time changes an estimator, and none looks at it meanwhile.

To predict turns dropout off, and a fit goes on from what it finds: two threads on one
estimator would change each other's results without a word. Threads that only look, such
as by predicting, do so together, and a fit waits for them. Who comes while a fit is
going on gets an error: to wait could be for hours, or for ever if the fit itself, by a
callback, waits for that thread.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Use:
    """The threads that are at an estimator, by their numbers."""

    changing: int | None = None
    depth: int = 0
    looking: Counter[int] = field(default_factory=Counter)


class _Uses:
    """All estimators of a process that threads are at."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        #: By the ids of estimators, while there are any.
        self.found: dict[int, _Use] = {}

    def free(self, net: Any, name: str, me: int) -> _Use:
        """Return who is at an estimator, unless another thread changes it."""
        use = self.found.setdefault(id(net), _Use())
        # Who looks already may end that, else a fit would wait for ever.
        if use.changing in (None, me) or me in use.looking:
            return use
        raise RuntimeError(
            f"This {type(net).__name__} is being fitted in another thread, so that "
            f"{name.strip('_')} cannot be called: it would change that fit, or see a "
            "network that is half trained. Wait until the fit has ended, or use a copy "
            "that was made before, by copy.deepcopy(estimator)."
        )

    def tidy(self, net: Any, use: _Use) -> None:
        """Forget an estimator that nobody is at, and wake those who wait."""
        if not use.depth and not use.looking:
            self.found.pop(id(net), None)
        self.condition.notify_all()


#: By process: a forked one has none of the threads of the other, nor what they hold.
_by_process: dict[int, _Uses] = {}


def _uses() -> _Uses:
    me = os.getpid()
    if me not in _by_process:
        # Of several threads that find none, one's stays.
        _by_process.setdefault(me, _Uses())
    return _by_process[me]


def changing(method: Callable) -> Callable:
    """Let a method be called by one thread alone, when no other looks any more."""
    return _decorated(method, _change)


def looking(method: Callable) -> Callable:
    """Let a method be called by any threads but while another one changes things."""
    return _decorated(method, look)


def _decorated(method: Callable, turn: Callable) -> Callable:
    @functools.wraps(method)
    def in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
        with turn(self, method.__name__):
            return method(self, *args, **kwargs)

    return in_turn


@contextmanager
def _change(net: Any, name: str) -> Iterator[None]:
    """Let this thread alone be at an estimator, until the end."""
    me, uses = threading.get_ident(), _uses()
    with uses.condition:
        use = uses.free(net, name, me)
        use.changing = me
        use.depth += 1
    try:
        with uses.condition:
            uses.condition.wait_for(lambda: not use.looking.keys() - {me})
        yield
    finally:
        with uses.condition:
            use.depth -= 1
            if not use.depth:
                use.changing = None
            uses.tidy(net, use)


@contextmanager
def look(net: Any, name: str) -> Iterator[None]:
    """Let a function look at an estimator, as `looking` lets its methods.

    Parameters
    ----------
    net : estimator
    name : str
        What the error calls the function.

    Raises
    ------
    RuntimeError
        If another thread fits the estimator.
    """
    me, uses = threading.get_ident(), _uses()
    with uses.condition:
        use = uses.free(net, name, me)
        use.looking[me] += 1
    try:
        yield
    finally:
        with uses.condition:
            use.looking[me] -= 1
            use.looking += Counter()  # Without those that have gone.
            uses.tidy(net, use)
