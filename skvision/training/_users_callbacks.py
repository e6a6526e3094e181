"""Callbacks of the user's: what counts as one, and the copies of them that run."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from types import MethodType
from typing import Any

from sklearn.metrics import check_scoring
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

#: What skorch's loop calls.
_CALLED = ("initialize", "set_params", *(n for n in vars(Callback) if n[:3] == "on_"))
# What the loop records beside losses, and the packages whose callbacks are known.
_OF_LOOP = ("epoch", "dur", "train_batch_count", "valid_batch_count")
_OWN = ("skorch", "skvision")


def is_callback(value: Any) -> bool:
    """Whether an object or a class has all that skorch calls of a callback."""
    if isinstance(value, NeuralNet):
        return False  # It hears the same, but of its own training.
    return all(callable(getattr(value, name, None)) for name in _CALLED)


def check_monitors(net: Any, *, holds_out: bool) -> None:
    """Check that callbacks watch what is going to be recorded.

    Raises
    ------
    ValueError
        If one watches a score of validation rows, and there are none, or a score that
        nothing records.
    """
    recorded = _recorded(net)
    of_validation = recorded[False] - recorded[True]
    known = recorded[True] | (recorded[False] if holds_out else set())
    for name, callback in net.callbacks_:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str):
            continue
        policy = getattr(callback, "policy", ReduceLROnPlateau)
        if policy not in (ReduceLROnPlateau, ReduceLROnPlateau.__name__):
            continue  # Other schedules do not look at it.
        watched = monitor.removesuffix("_best")
        watches = f"The callback {name} ({type(callback).__name__}) watches {monitor!r}"
        if watched in of_validation and not holds_out:
            raise ValueError(
                f"{watches}, but no rows are held out that it could be measured on. "
                "Set early_stopping=True, which holds rows out and stops by itself; or "
                "set train_split; or let it watch the training rows, as by "
                "monitor='train_loss'."
            )
        if watched not in known and not _may_record_more(net):
            near = get_close_matches(watched, sorted(known | of_validation), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{watches}, which nothing records.{hint} Recorded are "
                f"{sorted(known)}, and what epoch_scoring names."
            )


def _recorded(net: Any) -> dict[bool, set[str]]:
    """Return what is known to be in the history, by whether it is of training rows."""
    recorded = {True: {"train_loss", *_OF_LOOP}, False: {"valid_loss"}}
    for name, callback in net.callbacks_:
        if isinstance(on_train := getattr(callback, "on_train", None), bool):
            own = getattr(callback, "name_", getattr(callback, "name", None))
            recorded[on_train].add(own or name)
        if isinstance(event := getattr(callback, "event_name", None), str):
            recorded[True].add(event)
    return recorded


def _may_record_more(net: Any) -> bool:
    """Whether code of the user's runs in training, which may record anything."""
    kinds = [type(net), *(type(callback) for _, callback in net.callbacks_)]
    return any(kind.__module__.split(".")[0] not in _OWN for kind in kinds)


class CallbackCopies:
    """Shallow copies of callbacks, one of each.

    A list, an open writer or a study that a callback holds is shared with its owner. A
    callback that another one holds is the copy that runs.
    """

    def __init__(self) -> None:
        # With the originals, whose numbers would else be given away again.
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, given: Any) -> Any:
        """Return a callback's copy, what it is in a pair, and anything else as it is.

        Parameters
        ----------
        given : object
            A callback, a pair (name, callback), a class of callbacks, or a list of
            these.
        """
        if type(given) is list:
            return [self.of(item) for item in given]
        if isinstance(given, (tuple, list)):
            return type(given)(self.of(item) for item in given)
        if isinstance(given, type) or not is_callback(given):
            return given
        return self._copy(given)

    def _copy(self, callback: Any) -> Any:
        if id(callback) not in self._made:
            other = _shallow(callback)
            self._made[id(callback)] = callback, other
            held = vars(other)
            for name, value in held.items():
                held[name] = self._within(value)
        return self._made[id(callback)][1]

    def _within(self, value: Any, *, nested: bool = False) -> Any:
        """Return what a callback holds, with copies in the place of callbacks."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        # By the class, since to ask an object for a name may do anything.
        if is_callback(type(value)) and not isinstance(value, (type, NeuralNet)):
            return self._copy(value)
        if isinstance(value, MethodType):
            owner = self._within(value.__self__, nested=True)
            return (
                value if owner is value.__self__ else MethodType(value.__func__, owner)
            )
        if nested or type(value) not in (list, tuple, dict, partial):
            return value
        return self._renewed(value)

    def _renewed(self, value: Any) -> Any:
        """Return a container, another one only if there are callbacks in it."""
        if isinstance(value, partial):
            old = [value.func, *value.args, *value.keywords.values()]
        else:
            old = list(value.values() if isinstance(value, dict) else value)
        new = [self._within(item, nested=True) for item in old]
        if all(a is b for a, b in zip(old, new, strict=True)):
            return value
        if isinstance(value, dict):
            return dict(zip(value, new, strict=True))
        if isinstance(value, partial):
            n = 1 + len(value.args)
            names = dict(zip(value.keywords, new[n:], strict=True))
            return partial(new[0], *new[1:n], **names)
        return type(value)(new)


def _shallow(callback: Any) -> Any:
    kind = type(callback)
    if "__copy__" in dir(kind) or any(
        "__slots__" in vars(k) for k in kind.__mro__[:-1]
    ):
        return copy.copy(callback)
    # What a callback leaves out of its pickles, as an open file, it needs here.
    other = object.__new__(kind)
    vars(other).update(vars(callback))
    return other


def ends_training(method: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Call a method of a callback; return whether it ends the training.

    It does so by raising KeyboardInterrupt, as skorch's do. The same error gets through
    where Ctrl-C is pressed while the callback runs.
    """
    if not _ctrl_c.is_noted:
        with noting_ctrl_c():
            return ends_training(method, *args, **kwargs)
    n_before = _ctrl_c.n_pressed
    try:
        method(*args, **kwargs)
    except KeyboardInterrupt:
        if _ctrl_c.n_pressed > n_before:
            raise
        return True
    return False


class _CtrlC(threading.local):
    """How often Ctrl-C was pressed, as far as this thread has noted it."""

    is_noted, n_pressed = False, 0


_ctrl_c = _CtrlC()


@contextmanager
def noting_ctrl_c() -> Iterator[None]:
    """Note whether Ctrl-C is pressed; what happens then is what would happen anyway."""
    if _ctrl_c.is_noted:
        yield
        return
    # Python runs the handlers of signals in the main thread alone.
    is_main = threading.current_thread() is threading.main_thread()
    before: Any = signal.getsignal(signal.SIGINT) if is_main else None

    def note(number: int, frame: Any) -> Any:
        _ctrl_c.n_pressed += 1
        return before(number, frame)

    if callable(before):
        signal.signal(signal.SIGINT, note)
    _ctrl_c.is_noted = True
    try:
        yield
    finally:
        _ctrl_c.is_noted = False
        # A callback may have set a handler of its own.
        if callable(before) and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, before)


def check_scorers(estimator):
    """Check before any training that an estimator has what its scorers call."""
    for name, scoring in named_scorers(estimator.epoch_scoring):
        try:
            scorer = check_scoring(estimator, scoring)
        except ValueError as error:
            raise ValueError(f"epoch_scoring has {scoring!r}: {error}") from error
        methods = getattr(scorer, "_response_method", ())
        methods = [methods] if isinstance(methods, str) else methods
        if methods and not any(hasattr(estimator, method) for method in methods):
            reason = ""
            try:
                getattr(estimator, methods[0])
            except AttributeError as error:
                reason = f": {error.__cause__}" if error.__cause__ else "."
            raise ValueError(
                f"The scorer {name!r} of epoch_scoring needs {' or '.join(methods)}, "
                f"which {type(estimator).__name__} does not have{reason}"
            )


def named_scorers(epoch_scoring):
    """Return (name, scorer) pairs of an `epoch_scoring` parameter."""
    if isinstance(epoch_scoring, dict):
        pairs = list(epoch_scoring.items())
    else:
        if isinstance(epoch_scoring, str) or callable(epoch_scoring):
            epoch_scoring = [epoch_scoring]
        pairs = [(_scorer_name(scoring), scoring) for scoring in epoch_scoring]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"epoch_scoring has {names.count(name)} scorers called {name!r}. Give "
                "a dict of names and scorers."
            )
        if name == "loss":
            raise ValueError(
                "epoch_scoring has a scorer called 'loss', as the loss that is "
                "recorded anyway. Give a dict with another name for it."
            )
    return pairs


def _scorer_name(scorer):
    if scorer is None:
        return "score"  # Of the estimator's own method.
    if isinstance(scorer, str):
        return scorer
    function = getattr(scorer, "_score_func", scorer)
    while isinstance(function, partial) and not hasattr(function, "__name__"):
        function = function.func
    return getattr(function, "__name__", type(scorer).__name__)
