"""Names that other packages do not promise to keep, all in one place.

They are as scikit-learn 1.9, torch 2.9 to 2.14 and joblib 1.4 to 1.6 have them.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import _fit_context as fit_context
from sklearn.metrics._scorer import _BaseScorer as BaseScorer
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._metadata_requests import _routing_enabled as routing_enabled
from sklearn.utils._param_validation import (
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    make_constraint,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.validation import _check_method_params as check_method_params
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import _num_samples as num_samples
from skorch.callbacks import ParamMapper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: What all classes of batch normalisation descend from.
BatchNorm = nn.modules.batchnorm._BatchNorm
#: One of torch's operators in a traced graph, for arguments of certain types.
Operator = torch._ops.OpOverload
#: The generators from which functions of modules draw.
COMMON_GENERATORS = np.random.mtrand._rand, random._inst, torch.default_generator


def validated(**constraints: list[Any] | str) -> Any:
    """Return a decorator that checks parameters, but none of what is called within."""
    return validate_params(constraints, prefer_skip_nested_validation=True)


def has_global_hooks() -> bool:
    """Whether hooks are registered for all modules of the process."""
    return nn.modules.module._has_any_global_hook()


def forward_hooks(layer: nn.Module) -> list[Any]:
    """Return the hooks that are called after a layer."""
    return [*layer._forward_hooks.values()]


def forward_pre_hooks(layer: nn.Module) -> list[Any]:
    """Return the hooks that are called before a layer."""
    return [*layer._forward_pre_hooks.values()]


def forget_forward_hooks(layer: nn.Module) -> None:
    """Let nothing of the user's be called before or after a layer."""
    layer._forward_hooks.clear()
    layer._forward_pre_hooks.clear()


def layer_gradient_hooks(layer: nn.Module) -> list[Any]:
    """Return the hooks that may change the gradients that go through a layer."""
    return [*layer._backward_pre_hooks.values(), *layer._backward_hooks.values()]


def gradient_hooks(parameter: torch.Tensor) -> tuple[list[Any], list[Any]]:
    """Return the hooks on a parameter's gradient, and those after it is summed up."""
    later = getattr(parameter, "_post_accumulate_grad_hooks", None) or {}
    return [*(parameter._backward_hooks or {}).values()], [*later.values()]


def layers_by_place(module: nn.Module) -> list[tuple[str, nn.Module | None]]:
    """Return the layers of a module, also those that it has in several places."""
    return [*module._modules.items()]


def forget_compiled(module: nn.Module) -> None:
    """Let a module that was compiled in place be so no more."""
    module._compiled_call_impl = None


def n_changes(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place."""
    return tensor._version


def memory_key(storage: torch.UntypedStorage) -> int:
    """Return what tells a storage from others, even one without memory."""
    return storage._cdata


def with_versions(state: OrderedDict, versions: dict[str, Any]) -> OrderedDict:
    """Note in a state_dict the versions of the layers that it is of."""
    state._metadata = versions  # type: ignore[attr-defined]
    return state


def versions_in(state: Any) -> Any:
    """Return the versions of layers that a state_dict notes, None if it does not."""
    return getattr(state, "_metadata", None)


def operator_name(operator: Any) -> str:
    """Return an operator's name without its types, empty for what is none."""
    return getattr(getattr(operator, "_overloadpacket", None), "__name__", "")


def with_types_of(name: str, operator: Operator) -> Operator:
    """Return the operator of another name for the types of this one."""
    return getattr(getattr(torch.ops.aten, name), operator._overloadname)


def operator_arguments(operator: Operator) -> list[Any]:
    """Return an operator's arguments, each with `name` and `default_value`."""
    return [*operator._schema.arguments]


def maps_at_once(mapper: ParamMapper) -> bool:
    """Whether a callback of skorch's maps parameters by its own schedule."""
    return mapper.schedule == mapper._default_schedule


def norms(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the norms of tensors, all at once where the device can."""
    return list(torch._foreach_norm(tensors))


def note_step(optimizer: torch.optim.Optimizer) -> None:
    """Let torch's schedules know of a step that an optimizer has not made by itself."""
    optimizer._opt_called = True  # type: ignore[attr-defined]


@contextmanager
def without_vmap_warnings() -> Iterator[None]:
    """Keep torch from warning of operations that vmap does one network at a time.

    A filter of warnings would change what other threads show, and show again what has
    been shown.
    """
    switch = getattr(torch._C._functorch, "_set_vmap_fallback_warning_enabled", None)
    if switch is None:
        yield
        return
    switch(False)
    try:
        yield
    finally:
        switch(True)


def dask_backend() -> Any:
    """Return joblib's class for clusters of Dask."""
    from joblib._dask import DaskDistributedBackend

    return DaskDistributedBackend
