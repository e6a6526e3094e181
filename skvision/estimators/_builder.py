"""Build and check a network before any training."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from skvision._compat import gradient_hooks
from skvision._warnings import warn
from skvision.estimators._parameters import check_names
from skvision.networks import get_network
from skvision.training._losses import output_kind

__all__ = [
    "build_network",
    "copied",
    "is_convolutional",
    "network_shape",
    "noting_outputs",
    "probe_network",
    "resolve_device",
    "with_channels_first",
    "with_channels_last",
]

#: Facts that are inferred at fit and given to networks that name them.
FACTS = ("image_shape", "n_outputs")


def resolve_device(device: Any) -> torch.device:
    """Return the device that a `device` parameter means.

    Raises
    ------
    ValueError
        If it is a CUDA device that torch does not find.
    """
    if device is None:
        device = "cpu"
    elif isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is no torch device: {error}") from error
    if device.type == "meta":
        raise ValueError(
            "device='meta' holds no values. Use device='auto' or device='cpu'."
        )
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= found:
            raise ValueError(
                f"device={str(device)!r}, but torch finds {found} CUDA device(s) on "
                "this machine. Use device='auto' or device='cpu'."
            )
    return device


def copied(module: nn.Module) -> nn.Module:
    """Return a deep copy of a network, with the hooks that its weights have.

    torch leaves out what was to happen to their gradients.
    """
    other = copy.deepcopy(module)
    for old, new in zip(module.parameters(), other.parameters(), strict=True):
        hooks, later = gradient_hooks(old)
        if hooks or later:
            trained = new.requires_grad
            new.requires_grad_(True)  # Others take no hooks.
            for hook in hooks:
                new.register_hook(hook)
            for hook in later:
                new.register_post_accumulate_grad_hook(hook)
            new.requires_grad_(trained)
    return other


def build_network(
    module: Any, facts: dict[str, Any], kwargs: dict[str, Any]
) -> nn.Module:
    """Return a fresh network.

    Parameters
    ----------
    module : str, class, callable or torch.nn.Module
        A name, something that returns a network, or a network to copy.
    facts : dict
        ``image_shape`` and ``n_outputs`` as inferred; what the signature does not
        name is left out.
    kwargs : dict
        The ``module__*`` parameters; they win over `facts`.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    TypeError
        If `module` does not give a network, or lacks arguments.
    ValueError
        If it does not take one of `kwargs`.
    """
    if isinstance(module, nn.Module):
        if not kwargs:
            # The instance keeps its weights for the next fit or clone.
            return copied(module)
        warn(
            f"module is an instance of {type(module).__name__}, and "
            f"{', '.join(f'module__{name}' for name in kwargs)} make(s) another one of "
            "its class, without its weights and settings. Give the class and all that "
            "it is to be made with, or set this in the instance."
        )
        module = type(module)
    if isinstance(module, str):
        module = get_network(module)
    check_names("module", module, kwargs)
    parameters = inspect.signature(module).parameters
    known = {
        name: facts[name] for name in FACTS if name in parameters and name in facts
    }
    arguments = known | kwargs
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in arguments
    ]
    if missing:
        raise TypeError(
            f"{_title(module)} needs the argument(s) {', '.join(missing)}: set "
            f"{', '.join('module__' + name for name in missing)}."
        )
    network = module(**arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(
            f"module={_title(module)} returned {type(network).__name__}; expected a "
            "torch.nn.Module."
        )
    return network


def network_shape(image_shape: tuple[int, ...], spec: Any) -> tuple[int, ...]:
    """Return the shape of what a network gets of images, by its `input_spec`."""
    if spec is None or spec.size is None:
        return image_shape
    return (image_shape[0], *spec.size)


def is_convolutional(network: nn.Module) -> bool:
    """Whether a network has layers that are faster with channels last."""
    kinds = nn.Conv2d, nn.ConvTranspose2d
    return any(isinstance(layer, kinds) for layer in network.modules())


def with_channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return images, (b, C, H, W), whose values lie pixel by pixel in memory.

    Convolutions hand on what they get, so that all layers work in this order. Rows of
    features stay as they are.
    """
    if images.ndim != 4:
        return images
    b, n_channels, height, width = images.shape
    if n_channels == 1:
        # Both orders are the same; only strides tell which one is meant.
        rows = images.reshape(b, height, width, 1).contiguous()
        return rows.permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


def with_channels_first(images: torch.Tensor) -> torch.Tensor:
    """Return images, (b, C, H, W), whose values lie channel by channel in memory."""
    if images.ndim == 4 and images.shape[1] == 1:
        return images.flatten(1).view(images.shape)  # See above.
    return images.contiguous()


@contextlib.contextmanager
def noting_outputs(network: nn.Module) -> Iterator[list[int]]:
    """Collect the sizes of the layers' outputs for one image of two."""
    sizes = [0]

    def note(layer: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() // 2)

    handles = [layer.register_forward_hook(note) for layer in network.modules()]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()


def probe_network(
    network: nn.Module,
    input_shape: tuple[int, ...],
    n_outputs: int | None,
    *,
    channels_last: bool = False,
) -> tuple[str, int]:
    """Run a network once, so that what does not fit is known before training.

    This also gives lazily shaped layers their parameters.

    Parameters
    ----------
    network : torch.nn.Module
        On the CPU; its training mode is left as found.
    input_shape : tuple of int
        Of one image, or (n_features,).
    n_outputs : int or None
        Expected width of the output; None means any.
    channels_last : bool, default=False
        How the images lie in memory.

    Returns
    -------
    kind : {"logits", "Softmax", "LogSoftmax"}
    n_values : int
        In the largest output of a layer, for one image.

    Raises
    ------
    ValueError
        If the network cannot take such images, returns another number of outputs,
        or has nothing to train.
    """
    title = type(network).__name__
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    size = int(torch.Size((2, *input_shape)).numel())
    images = torch.linspace(-1, 1, size, dtype=dtype).reshape(2, *input_shape)
    if channels_last:
        images = with_channels_last(images)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad(), noting_outputs(network) as sizes:
            output = network(images)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        what = "rows" if len(input_shape) == 1 else "images"
        raise ValueError(
            f"The network {title} cannot take {what} of shape {tuple(input_shape)}: "
            f"{error}"
        ) from error
    finally:
        network.train(was_training)
    output = output[0] if isinstance(output, tuple) else output
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"The network {title} returned {type(output).__name__}; expected a tensor "
            "of shape (batch, n_outputs)."
        )
    width = output.shape[1] if output.ndim == 2 else 1 if output.ndim == 1 else None
    if n_outputs is not None and width != n_outputs:
        raise ValueError(
            f"The network {title} returned outputs of shape {tuple(output.shape)} for "
            f"2 images; expected (2, {n_outputs}). A network whose signature names "
            "n_outputs is told the number it needs."
        )
    if not any(p.requires_grad for p in network.parameters()):
        raise ValueError(f"The network {title} has no parameters to train.")
    return output_kind(output), max(sizes)


def warn_about_softmax(kind: str, network: nn.Module, criterion: nn.Module) -> None:
    """Warn of a softmax that the criterion applies a second time."""
    if kind == "logits" or not isinstance(criterion, nn.CrossEntropyLoss):
        return
    consequence = (
        "twice applied, it flattens the gradients and training may stall"
        if kind == "Softmax"
        else "once is enough"
    )
    warn(
        f"The network {type(network).__name__} ends in {kind}, and the criterion "
        f"{type(criterion).__name__} applies a softmax itself: {consequence}. Let the "
        "network return logits.",
    )


def _title(module: Callable) -> str:
    return getattr(module, "__name__", None) or repr(module)
