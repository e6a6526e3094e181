"""What networks share: checks, layers by name, initial weights, sizes of outputs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module] | None] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "identity": None,
}

_WEIGHT_INITS: dict[str, Callable[..., Any]] = {
    "kaiming": nn.init.kaiming_normal_,
    "xavier": nn.init.xavier_uniform_,
}


def check_int(value: Any, name: str, minimum: int = 1) -> int:
    """Return an integer of at least `minimum`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be an int of at least {minimum}; got {value!r}.")
    return int(value)


def check_choice(value: Any, name: str, choices: Iterable[Any]) -> Any:
    """Return a value that is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        valid = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {valid}; got {value!r}.")
    return value


def check_image_shape(image_shape: Any) -> tuple[int, int, int]:
    """Return (channels, height, width) as ints."""
    if not isinstance(image_shape, (tuple, list)) or len(image_shape) != 3:
        raise ValueError(
            f"image_shape must be (channels, height, width); got {image_shape!r}."
        )
    channels, height, width = (check_int(size, "image_shape") for size in image_shape)
    return channels, height, width


def check_widths(widths: Any, name: str) -> tuple[int, ...]:
    """Return the widths of successive layers; an int is one layer."""
    if not isinstance(widths, (tuple, list)):
        widths = (widths,)
    return tuple(check_int(width, name) for width in widths)


def spread(n: int, place: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return n rows of arguments: of a tuple one value each, any other every time."""
    columns = {}
    for name, value in arguments.items():
        columns[name] = value if isinstance(value, (tuple, list)) else (value,) * n
        if len(columns[name]) != n:
            raise ValueError(
                f"{name} must be a single value or hold {n}, one per {place}; "
                f"got {value!r}."
            )
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def first_of(value: Any) -> Any:
    """Return what an argument per convolution is for the first one."""
    while isinstance(value, (tuple, list)):
        value = value[0]
    return value


def run_on_one_image(network: nn.Module, image_shape: Sequence[int]) -> Any:
    """Return what a network gives, so that a wrong size shows before training."""
    network.eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, *image_shape))
    network.train()
    return outputs


def statistics_for(channels: int, colours: Any) -> list[tuple[float, ...]]:
    """Return `mean` and `std` of three colours for images of so many channels."""
    both = tuple(colours.mean), tuple(colours.std)
    # Like the filters of the first layer, they are spread over other channels.
    return [values if channels == 3 else (sum(values) / 3,) for values in both]


def unknown_network(name: Any, known: Sequence[str]) -> ValueError:
    """Return the error for a name that is not known, with the nearest that is."""
    nearest = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0)[0]
    return ValueError(f"Unknown network {name!r}. Did you mean {nearest!r}?")


def activation_layers(
    name: str | None, argument: str = "activation", default: Sequence[None] = ()
) -> list[nn.Module]:
    """Return an activation layer in a list, which is empty for "identity".

    `default` is what `argument` may be besides a name, ``[None]`` for no layer.
    """
    check_choice(name, argument, [*ACTIVATIONS, *default])
    layer = ACTIVATIONS[name or "identity"]
    return [] if layer is None else [layer()]


def dropout_layers(
    p: Any, name: str = "dropout", layer: Callable[[float], nn.Module] = nn.Dropout
) -> list[nn.Module]:
    """Return a dropout layer in a list, which is empty where nothing is dropped."""
    if not isinstance(p, Real) or not 0 <= float(p) < 1:
        raise ValueError(f"{name} must be a number in [0, 1); got {p!r}.")
    return [layer(float(p))] if p else []


def hidden_layers(
    n_in: int,
    widths: Sequence[int],
    activation: str,
    dropout: Sequence[float],
    batch_norm: bool = False,
) -> list[nn.Module]:
    """Return fully connected layers, each with what follows it.

    Batch normalisation stands before the activation, dropout behind it; `dropout`
    holds one probability per width.
    """
    check_choice(activation, "activation", ACTIVATIONS)
    layers: list[nn.Module] = []
    for width, p in zip(widths, dropout, strict=True):
        layers.append(nn.Linear(n_in, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers += activation_layers(activation)
        layers += dropout_layers(p)
        n_in = width
    return layers


def dense_layers(
    n_features: int, n_outputs: int, hidden: Any, activation: Any, dropout: Any
) -> nn.Sequential:
    """Return fully connected layers from features to outputs, dropout before each."""
    widths = check_widths(hidden, "hidden")
    rows = spread(len(widths) + 1, "layer of the head", dropout=dropout)
    first, *others = (row["dropout"] for row in rows)
    return nn.Sequential(
        *dropout_layers(first),
        *hidden_layers(n_features, widths, activation, others),
        nn.Linear([n_features, *widths][-1], check_int(n_outputs, "n_outputs")),
    )


def initialize_weights(network: nn.Module, weight_init: str | None) -> None:
    """Draw the weights of all linear layers and convolutions anew.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    weight_init : {"kaiming", "xavier"} or None
        He's normal or Glorot's uniform distribution, biases being 0. None leaves
        torch's defaults as they are.
    """
    check_choice(weight_init, "weight_init", [*_WEIGHT_INITS, None])
    if weight_init is None:
        return
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            _WEIGHT_INITS[weight_init](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def noting_outputs(network: nn.Module, run: Callable[[], Any]) -> tuple[Any, int]:
    """Run a network on two images.

    Parameters
    ----------
    network : torch.nn.Module
    run : callable
        Calls the network.

    Returns
    -------
    output : object
        Of `run`.
    n_values : int
        In the largest output of a layer, for one image.
    """
    sizes = [0]

    def note(layer: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            sizes.append(output.numel() // 2)

    handles = [layer.register_forward_hook(note) for layer in network.modules()]
    try:
        return run(), max(sizes)
    finally:
        for handle in handles:
            handle.remove()
