"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from skvision.networks._autoencoder import ConvAutoencoder, DenseAutoencoder
from skvision.networks._convnet import ConvNet
from skvision.networks._layers import unknown_network
from skvision.networks._lenet import LeNet
from skvision.networks._mlp import MLP
from skvision.networks._timm import PREFIX, check_timm_name, timm_model, timm_spec
from skvision.networks._torchvision import (
    torchvision_model,
    torchvision_names,
    torchvision_spec,
)
from skvision.preprocessing._scaling import InputSpec

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "conv_autoencoder": ConvAutoencoder,
    "convnet": ConvNet,
    "dense_autoencoder": DenseAutoencoder,
    "lenet": LeNet,
    "mlp": MLP,
}


def list_networks() -> list[str]:
    """Return the names that `get_network` knows.

    Returns
    -------
    names : list of str
        Those of this package, then torchvision's classification networks. timm's, of
        which ``timm.list_models()`` gives the names, are not among them.

    See Also
    --------
    get_network : The network of a name.

    Examples
    --------
    >>> from skvision.networks import list_networks
    >>> list_networks()[:6]
    ['conv_autoencoder', 'convnet', 'dense_autoencoder', 'lenet', 'mlp', 'alexnet']
    """
    return [*_NETWORKS, *torchvision_names()]


def get_network(name: str) -> Callable[..., nn.Module]:
    """Return what builds the network of a name.

    Parameters
    ----------
    name : str
        "convnet", "lenet", "mlp", "conv_autoencoder", "dense_autoencoder", the name of
        a torchvision classification network, or "timm/" and a name of timm's.

    Returns
    -------
    network : callable
        To be called as ``network(image_shape, n_outputs, **options)``, an
        autoencoder as ``network(image_shape, **options)``.

    Raises
    ------
    ValueError
        If the name is unknown.

    See Also
    --------
    list_networks : The names.
    torchvision_model : What builds torchvision's networks.
    timm_model : What builds timm's.

    Examples
    --------
    >>> from skvision.networks import get_network
    >>> get_network("mlp")((1, 8, 8), 10, hidden=16)
    MLP(
      (layers): Sequential(
        (0): Linear(in_features=64, out_features=16, bias=True)
        (1): ReLU()
      )
      (head): Linear(in_features=16, out_features=10, bias=True)
    )
    """
    if isinstance(name, str) and name in _NETWORKS:
        return _NETWORKS[name]
    if isinstance(name, str) and name.startswith(PREFIX):
        check_timm_name(name)
        return partial(timm_model, name)
    if name in torchvision_names():
        return partial(torchvision_model, name)
    raise unknown_network(name, list_networks())


def weights_spec(
    module: Any, *, weights: Any = None, resize: bool = True, **kwargs: Any
) -> InputSpec | None:
    """Return what a named network's weights want of images, before it is built.

    None stands for networks without weights, and for those whose weights are not known
    by their names.
    """
    named = isinstance(module, str) and module not in _NETWORKS
    if weights is None or weights is False or not named:
        return None
    if module.startswith(PREFIX):
        return timm_spec(module, weights, resize=resize)
    if module not in torchvision_names():
        return None
    return torchvision_spec(module, weights, resize=resize)
