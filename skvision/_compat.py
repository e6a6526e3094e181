"""Names that other packages do not promise to keep, all in one place.

They are as scikit-learn 1.9, torch 2.9 to 2.14 and joblib 1.4 to 1.6 have them.
"""

from __future__ import annotations

import random
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
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "COMMON_GENERATORS",
    "BaseScorer",
    "BatchNorm",
    "Interval",
    "Operator",
    "Options",
    "RealNotInt",
    "StrOptions",
    "TorchDispatchMode",
    "check_method_params",
    "check_sample_weight",
    "dask_backend",
    "fit_context",
    "has_global_hooks",
    "make_constraint",
    "norms",
    "num_samples",
    "routing_enabled",
    "safe_indexing",
    "tree_leaves",
    "validate_parameter_constraints",
    "validate_params",
    "without_vmap_warnings",
]

#: What all classes of batch normalisation descend from.
BatchNorm = nn.modules.batchnorm._BatchNorm
#: One of torch's operators in a traced graph, for arguments of certain types.
Operator = torch._ops.OpOverload
#: The generators from which functions of modules draw.
COMMON_GENERATORS = np.random.mtrand._rand, random._inst, torch.default_generator


def has_global_hooks() -> bool:
    """Whether hooks are registered for all modules of the process."""
    return nn.modules.module._has_any_global_hook()


def norms(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the norms of tensors, all at once where the device can."""
    return list(torch._foreach_norm(tensors))


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
