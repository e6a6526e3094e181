"""Classification networks of torchvision, for any images and number of outputs."""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from torch import nn

from skvision.exceptions import FormatError
from skvision.networks._layers import (
    check_choice,
    check_image_shape,
    check_int,
    run_on_one_image,
    statistics_for,
    unknown_network,
)
from skvision.networks._weights import check_weights
from skvision.preprocessing._scaling import InputSpec

# torchvision's files of DenseNet's weights have names of layers with one more dot.
_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification networks."""
    # Importing torchvision takes a second, which networks of our own do not need.
    import torchvision

    return torchvision.models.list_models(torchvision.models)


def torchvision_model(
    name: str,
    image_shape: tuple[int, int, int],
    n_outputs: int,
    *,
    weights: Any = None,
    resize: bool = True,
    load_weights: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """Build a classification network of torchvision for the images at hand.

    The first convolution is adapted to the number of channels and the last layer to
    the number of outputs.

    Parameters
    ----------
    name : str
        Name under which torchvision lists it, such as "resnet18".
    image_shape : tuple of int
        (channels, height, width).
    n_outputs : int
        Width of the last layer.
    weights : str, bool or torchvision.models.WeightsEnum, default=None
        Pretrained weights, such as "DEFAULT", for which True stands as well, or
        "IMAGENET1K_V1"; torchvision downloads them unless it has them. All layers but
        the last keep them. For images that do not have 3 channels, the filters of the
        first convolution are summed over the channels and spread evenly: a grey image
        gives what the same image repeated in three channels would give. None means
        random weights.
    resize : bool, default=True
        Whether images are brought to the size that the weights were trained on, as
        the transforms that torchvision gives with them do. Only with `weights`.
    load_weights : bool, default=True
        Whether `weights` are put in. Otherwise the network is made as they need it, for
        others to fill, and nothing is downloaded.
    **kwargs : dict
        Further arguments of torchvision's builder, such as ``dropout``.

    Returns
    -------
    network : torch.nn.Module
        Takes images of shape (batch, channels, height, width) and returns outputs of
        shape (batch, n_outputs), to which no softmax is applied. With `weights`, its
        attribute ``input_spec`` says which size and normalisation they want; the
        estimators see to both.

    Raises
    ------
    TypeError
        If the weights are those of another network, or none, or if the builder does
        not take an argument. Weights are asked for by `weights` alone.
    FormatError
        If the file of weights is damaged. No code in it is run.
    OSError
        If the weights are not on disk and cannot be downloaded.
    ValueError
        If the name or the weights are unknown, or if the network cannot take images
        of this shape.

    See Also
    --------
    get_network : Any network by its name.

    Examples
    --------
    >>> import torch
    >>> from skvision.networks import torchvision_model
    >>> network = torchvision_model("resnet18", (1, 32, 32), 10)
    >>> network(torch.zeros(5, 1, 32, 32)).shape
    torch.Size([5, 10])
    """
    import torchvision

    if name not in (names := torchvision_names()):
        raise unknown_network(name, names)
    image_shape = check_image_shape(image_shape)
    check_int(n_outputs, "n_outputs")
    _check_arguments(name, kwargs)
    network: Any = None
    spec = InputSpec()
    if weights is False:
        weights = None
    if weights is not None:
        weights = _known_weights(name, weights)
        spec = torchvision_spec(name, weights, image_shape[0], resize=resize)
        network = (_pretrained if load_weights else _unfilled)(name, weights, kwargs)
    try:
        if weights is None:
            options = _builder_options(name, image_shape) | kwargs
            network = torchvision.models.get_model(
                name, weights=None, num_classes=n_outputs, **options
            )
        else:
            _replace_outputs(network, n_outputs)
            network.input_spec = spec
        if image_shape[0] != 3:
            _adapt_first_convolution(network, image_shape[0], weights is not None)
        run_on_one_image(network, (image_shape[0], *(spec.size or image_shape[1:])))
    except (AssertionError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"{name} cannot take images of image_shape={image_shape}: {error}"
        ) from error
    return network


def _known_weights(name: str, weights: Any) -> Any:
    """Return weights of a network, which may be given by their name."""
    from torchvision.models import get_model_weights

    known = get_model_weights(name)
    if weights is True:
        weights = "DEFAULT"
    if isinstance(weights, str):
        member = weights.rpartition(".")[2]
        check_choice(member, "weights", known.__members__)
        return known[member]
    if not isinstance(weights, known):
        raise TypeError(
            f"weights must be the name of one of {known.__name__}, one of these, or "
            f"None; got {weights!r}."
        )
    return weights


def _pretrained(name: str, weights: Any, kwargs: dict[str, Any]) -> Any:
    """Build a network with weights, from torch's cache or by a download."""
    network = _unfilled(name, weights, kwargs)
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    file = os.path.join(folder, os.path.basename(weights.url))
    options = {"progress": kwargs.get("progress", True), "check_hash": True}
    try:
        # Not by the builder, which unpickles whatever is in the file.
        state = weights.get_state_dict(**options, weights_only=True)
        # Names of DenseNet's layers, and outputs that only training has.
        state = {
            _DENSE_LAYER.sub(r"\1\2", key): value
            for key, value in state.items()
            if not (name == "googlenet" and key.startswith("aux"))
        }
        network.load_state_dict(state)
        check_weights(state, network.state_dict(), "It")
    except OSError as error:
        raise OSError(
            f"The weights {weights.name} of {name} could not be downloaded: {error}. "
            f"Put the file {weights.url} into {folder}."
        ) from error
    except Exception as error:
        raise FormatError(
            f"The file {file!r} does not hold the weights {weights.name} of {name}: "
            f"{error}. Remove it, and it is downloaded again."
        ) from error
    return network


def _unfilled(name: str, weights: Any, kwargs: dict[str, Any]) -> Any:
    """Build the network that weights are made for, without them."""
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if weights.meta["categories"] is not None:
        options["num_classes"] = len(weights.meta["categories"])
    if name in ("googlenet", "inception_v3"):
        aux = name == "inception_v3"
        options |= {"transform_input": True, "aux_logits": aux, "init_weights": False}
    if name.startswith("vgg"):
        options["init_weights"] = False
    if name.startswith("vit_"):
        options["image_size"] = weights.meta["min_size"][0]
    return get_model(name, weights=None, **options | kwargs)


def _check_arguments(name: str, kwargs: dict[str, Any]) -> None:
    """Check that nothing but `weights` asks for weights."""
    for key in kwargs:
        # The keywords of older releases go past what is checked here.
        if "pretrained" in key or (key != "init_weights" and "weights" in key):
            raise TypeError(
                f"{name} takes no argument {key!r}; pretrained weights are chosen by "
                "weights, such as weights='DEFAULT'."
            )


def torchvision_spec(
    name: str, weights: Any, channels: int = 3, *, resize: bool = True
) -> InputSpec:
    """Return what the transforms that come with weights do to an image."""
    transforms = _known_weights(name, weights).transforms()
    (crop,) = transforms.crop_size
    (shorter,) = transforms.resize_size
    mean, std = statistics_for(channels, transforms)
    if not resize:
        return InputSpec(mean, std)
    interpolation = transforms.interpolation.value
    return InputSpec(mean, std, (crop, crop), shorter, interpolation)


def _builder_options(name: str, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return what a builder needs for these images and a single output tensor."""
    _, height, width = image_shape
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": height}
    return {"input_size": (height, width)} if name.startswith("maxvit_") else {}


def _adapt_first_convolution(
    network: nn.Module, channels: int, pretrained: bool
) -> None:
    layer = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    filters = layer.weight.detach().sum(1, keepdim=True) / channels
    layer.in_channels = channels
    layer.weight = nn.Parameter(filters.repeat(1, channels, 1, 1))
    if not pretrained:
        layer.reset_parameters()


def _replace_outputs(network: Any, n_outputs: int) -> None:
    """Give a network a last layer of so many outputs."""
    if getattr(network, "AuxLogits", None) is not None:
        # The pretrained inception_v3 insists on a second output while it is trained.
        network.aux_logits, network.AuxLogits = False, None
    layers = [*network.named_modules()]
    name, last = [at for at in layers if isinstance(at[1], (nn.Linear, nn.Conv2d))][-1]
    bias = last.bias is not None
    new: nn.Module
    if isinstance(last, nn.Linear):
        new = nn.Linear(last.in_features, n_outputs, bias=bias)
    else:
        new = nn.Conv2d(last.in_channels, n_outputs, kernel_size=1, bias=bias)
    network.set_submodule(name, new)
