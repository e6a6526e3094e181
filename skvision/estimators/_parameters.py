"""Constructor parameters: skorch's double-underscore ones, scikit-learn's rules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from sklearn.base import BaseEstimator
from skorch.utils import params_for

from skvision._compat import validate_parameter_constraints
from skvision.estimators._turns import looking
from skvision.training._optimizers import group_setting, set_groups

__all__ = ["ParametersMixin", "RoutingMixin", "check_names", "nearest"]

#: What may stand before a double underscore.
PREFIXES = (
    "module",
    "criterion",
    "optimizer",
    "iterator_train",
    "iterator_valid",
    "callbacks",
    "compile",
)

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ParametersMixin:
    """get_params, set_params and validation that follow scikit-learn's contract.

    skorch derives parameter names from ``__dict__`` and acts on fitted parts in
    ``set_params``. Here names come from the constructor's signature, and where it
    hands ``**kwargs`` on from those of the classes after it, with any
    ``prefix__name`` beside them; ``set_params`` changes nothing that is fitted,
    except that a new learning rate reaches the optimizer that ``partial_fit``
    goes on with.
    """

    _parameter_constraints: dict[str, Any]

    __signature__: inspect.Signature
    optimizer_: Any
    _made_with: dict[str, Any]
    _beginning: Any

    # Parameters prefix__name; they are no names of the constructor's signature, and
    # scikit-learn allows no other attributes in a new estimator.
    _prefixed: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        # Called only for what is no ordinary attribute.
        if name in self._prefixed:
            return self._prefixed[name]
        # Raises, and of a property that raised gives the message of its own.
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if _is_prefixed(name):
            # A new dictionary, since copies of the estimator share the old one.
            name, value = "_prefixed", self._prefixed | {name: value}
        if name.endswith("_"):
            super().__setattr__(name, value)
        else:
            # skorch would take a parameter's module for one that it has to train.
            object.__setattr__(self, name, value)

    def _get_params_for(self, prefix: str) -> dict[str, Any]:
        return params_for(prefix, self._prefixed)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        whole = _whole_signature(cls)
        if whole != inspect.signature(cls.__init__):
            # Tools, the representation among them, look at the constructor.
            init = _announcing(cls.__init__, whole)
            cls.__init__ = init  # type: ignore[method-assign]
        # Tools read the parameters from the class's signature; its **kwargs takes
        # prefix__name alone and is no parameter called "kwargs".
        _, *own = whole.parameters.values()
        cls.__signature__ = whole.replace(
            parameters=[p for p in own if p.kind not in _VARIABLE]
        )

    def _store_params(self, values: dict[str, Any]) -> None:
        """Set the attributes of a constructor's parameters from its ``locals()``."""
        self._check_new_names(values["kwargs"], TypeError)
        for name, value in {**values, **values["kwargs"]}.items():
            if name not in ("self", "kwargs"):
                setattr(self, name, value)

    def _check_new_names(self, names: Iterable[str], error: type[Exception]) -> None:
        for name in names:
            if _is_prefixed(name):
                continue
            hint = nearest(name, _candidates(name, self._own_names()))
            raise error(
                f"{type(self).__name__} has no parameter {name!r}{hint}. Valid "
                f"parameters: {', '.join(self._own_names())}, and names that begin "
                f"with {', '.join(p + '__' for p in PREFIXES)}."
            )

    @classmethod
    def _own_names(cls) -> list[str]:
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        return sorted(p.name for p in parameters if p.kind not in _VARIABLE)

    def _get_param_names(self) -> list[str]:
        return sorted({*self._own_names(), *self._prefixed})

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get parameters, double-underscore ones that were set among them.

        Parameters
        ----------
        deep : bool, default=True
            If True, also the parameters of contained estimators.

        Returns
        -------
        params : dict
        """
        # skorch's own adds the parameters of its default callbacks, which belong
        # to no parameter of the estimator.
        params = BaseEstimator.get_params(self, deep=False)
        # Other things may have a get_params, too, as torchvision's transforms do.
        parts = [pair for pair in params.items() if isinstance(pair[1], BaseEstimator)]
        for name, part in parts if deep else ():
            params |= {f"{name}__{k}": v for k, v in part.get_params().items()}
        return params

    @looking
    def set_params(self, **params: Any) -> Any:
        """Set parameters; they take effect at the next ``fit`` or ``partial_fit``.

        A training that goes on, by ``partial_fit`` or ``warm_start``, takes over what
        was set meanwhile, with a new optimizer or criterion where it is another one.
        What would be another network, ``module__*`` or ``dtype`` for instance, is an
        error then. ``lr`` and ``optimizer__*`` reach the optimizer of a fitted
        estimator at once, also from a callback during the training.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a name is unknown; the message suggests the nearest.
        """
        own = set(self._own_names())
        plain = {
            name: value
            for name, value in params.items()
            if name in own or name.split("__")[0] in PREFIXES
        }
        self._check_new_names(plain.keys() - own, ValueError)
        rest = params.keys() - plain.keys()
        self._check_new_names(
            (name for name in rest if name.split("__")[0] not in own), ValueError
        )
        for name, value in plain.items():
            setattr(self, name, value)
        if rest:
            BaseEstimator.set_params(self, **{name: params[name] for name in rest})
        if "optimizer" not in params and getattr(self, "optimizer_", None) is not None:
            self._set_groups(plain)
        if self._beginning is not None:
            self._beginning.note(plain)
        return self

    def _set_groups(self, params: dict[str, Any]) -> None:
        """Give the optimizer settings that its groups have already."""
        places = {name: group_setting(name) for name in params}
        # What is said of all groups comes before what is said of one.
        for name in sorted(params, key=lambda name: "param_groups__" in name):
            value, place = params[name], places[name]
            # What no optimizer takes is told of by the next fit.
            if (
                value is not None
                and place
                and set_groups(self.optimizer_, *place, value)
            ):
                self._made_with = self._made_with | {name: value}

    def _validate_params(self) -> None:
        validate_parameter_constraints(
            self._parameter_constraints,
            {name: getattr(self, name) for name in self._own_names()},
            caller_name=type(self).__name__,
        )


class RoutingMixin:
    """Lets scikit-learn route metadata to subclasses of skorch's nets.

    Stands right of a skorch net among an estimator's bases.
    """

    # skorch's nets take `classes` back from what partial_fit requests, which is an
    # error where its signature never had it.
    __metadata_request__partial_fit = {"classes": None}


def _constructors(cls: type) -> Iterator[Callable[..., None]]:
    """Yield the constructors that keyword arguments reach, one after the other."""
    for base in cls.__mro__:
        init = vars(base).get("__init__")
        if init is None:
            continue
        yield init
        kinds = {p.kind for p in inspect.signature(init).parameters.values()}
        code = getattr(inspect.unwrap(init), "__code__", None)
        if inspect.Parameter.VAR_KEYWORD not in kinds or (
            code is not None and "_store_params" in code.co_names
        ):
            return


def _whole_signature(cls: type) -> inspect.Signature:
    """Return the signature of a constructor with what it hands on to others."""
    named: dict[str, inspect.Parameter] = {}
    variable: dict[str, inspect.Parameter] = {}
    passes_on = True
    has_default = False
    for init in _constructors(cls):
        own, *parameters = inspect.signature(init).parameters.values()
        if not named:
            named[own.name] = own
        for p in parameters:
            if p.kind in _VARIABLE:
                variable.setdefault(p.kind.name, p)
            elif p.name not in named:
                if p.kind is not p.KEYWORD_ONLY:
                    has_default |= p.default is not p.empty
                    if not passes_on or (has_default and p.default is p.empty):
                        p = p.replace(kind=p.KEYWORD_ONLY)
                named[p.name] = p
        passes_on &= any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return inspect.Signature(
        sorted((*named.values(), *variable.values()), key=lambda p: p.kind)
    )


def _announcing(init: Callable[..., None], whole: inspect.Signature) -> Any:
    """Return a constructor that does the same and tells of its whole signature."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)

    __init__.__signature__ = whole  # type: ignore[attr-defined]
    return __init__


def check_names(
    prefix: str, target: Callable, names: Iterable[str], extra: Iterable[str] = ()
) -> None:
    """Check ``prefix__name`` parameters against the signature they are meant for.

    Parameters
    ----------
    prefix : str
    target : callable
        Class or function that will be called.
    names : iterable of str
        Without the prefix.
    extra : iterable of str, default=()
        Names that are valid beside those of the signature.

    Raises
    ------
    ValueError
        If `target` takes no such name; the message suggests the nearest.
    """
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    valid = sorted({*parameters, *extra} - {"self"})
    for name in names:
        if name not in valid:
            title = getattr(target, "__name__", repr(target))
            raise ValueError(
                f"{title} takes no argument {name!r}, given as "
                f"{prefix}__{name}{nearest(name, valid, prefix + '__')}. It takes: "
                f"{', '.join(valid)}."
            )


def _is_prefixed(name: str) -> bool:
    prefix, _, rest = name.partition("__")
    return prefix in PREFIXES and rest != ""


def nearest(name: str, valid: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean 'x'?", or nothing where no name is near."""
    lower = {candidate.lower(): candidate for candidate in valid}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f"; did you mean {prefix + lower[close[0]]!r}?" if close else ""


def _candidates(name: str, own: list[str]) -> list[str]:
    """Own names, and `name` with each prefix mended."""
    mended = []
    for prefix in PREFIXES:
        _, _, rest = name.partition("__")
        if rest:
            mended.append(f"{prefix}__{rest}")
        elif name.startswith(prefix) and name.strip("_") != prefix:
            mended.append(f"{prefix}__{name[len(prefix) :].lstrip('_')}")
    return own + mended
