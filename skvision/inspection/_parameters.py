"""Numbers of parameters."""

from __future__ import annotations

from typing import Any

from torch.nn.parameter import is_lazy

from skvision.inspection._source import network_of


def count_parameters(estimator_or_module: Any, trainable_only: bool = True) -> int:
    """Count the parameters of a network.

    Parameters
    ----------
    estimator_or_module : torch.nn.Module or estimator
        A network, or a fitted estimator whose ``module_`` is one, or a fitted
        pipeline that ends with such an estimator, or a fitted search over either.
    trainable_only : bool, default=True
        Whether frozen parameters are left out.

    Returns
    -------
    n_parameters : int
        Parameters that several layers share are counted once.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If there is no network in `estimator_or_module`.
    ValueError
        If the network has lazy parameters, whose number is not known yet.

    Notes
    -----
    A linear layer has ``(n_inputs + 1) * n_outputs`` parameters, a convolution
    ``(n_maps_in * kernel_height * kernel_width + 1) * n_maps_out``.

    Examples
    --------
    >>> from torch import nn
    >>> from skvision.inspection import count_parameters
    >>> count_parameters(nn.Linear(784, 256))
    200960
    """
    parameters = list(network_of(estimator_or_module).parameters())
    if any(is_lazy(parameter) for parameter in parameters):
        raise ValueError(
            "The network has lazy parameters, whose number is known only after a "
            "batch has passed through it."
        )
    return sum(
        parameter.numel()
        for parameter in parameters
        if parameter.requires_grad or not trainable_only
    )
