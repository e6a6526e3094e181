"""Networks of timm (PyTorch Image Models), for any images and number of outputs."""

from __future__ import annotations

import functools
import math
from typing import Any

from torch import nn

from skvision.networks._layers import (
    check_choice,
    check_image_shape,
    check_int,
    run_on_one_image,
    statistics_for,
    unknown_network,
)
from skvision.preprocessing._scaling import InputSpec

#: What names of timm's networks begin with.
PREFIX = "timm/"
# Arguments by which timm reads files or downloads, beside what is asked for here.
_REFUSED = ("cache_dir", "checkpoint_path", "pretrained_strict")


@functools.cache
def _timm() -> Any:
    """Return timm, or say how to install it."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            "Networks whose names begin with 'timm/' require timm. Install it by "
            "pip install 'skvision[timm]'."
        ) from error
    return timm


def check_timm_name(name: str) -> str:
    """Return a name of timm's without its prefix, if timm has such a network."""
    plain = name.removeprefix(PREFIX)
    architecture, _, tag = plain.partition(".")
    timm = _timm()
    if not timm.is_model(architecture):
        names = timm.list_models()
        raise unknown_network(name, [PREFIX + known for known in names])
    if tag:
        check_choice(tag, f"The weights of {name}", _tags(architecture))
    return plain


def timm_model(
    name: str,
    image_shape: tuple[int, int, int],
    n_outputs: int,
    *,
    weights: Any = None,
    resize: bool = True,
    load_weights: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """Build a network of timm for the images at hand.

    Its first convolution is made for the number of channels, by timm, and its head for
    the number of outputs. Needs the extra ``timm``.

    Parameters
    ----------
    name : str
        Name under which timm lists it, such as "tf_efficientnet_lite0", with or without
        the tag of a weight set, as in "resnet18.a1_in1k"; "timm/" may stand before it.
    image_shape : tuple of int
        (channels, height, width).
    n_outputs : int
        Width of the last layer.
    weights : bool or str, default=None
        Pretrained weights: True takes those that the name has a tag of, else timm's
        first choice; a string is a tag. timm downloads them unless it has them. None
        and False mean random weights.
    resize : bool, default=True
        Whether images are brought to the size that the weights were trained on. Only
        with `weights`.
    load_weights : bool, default=True
        Whether `weights` are put in. Otherwise the network is made as they need it, for
        others to fill, and nothing is downloaded.
    **kwargs : dict
        Further arguments of ``timm.create_model``, such as ``drop_rate``.

    Returns
    -------
    network : torch.nn.Module
        Takes images of shape (batch, channels, height, width) and returns outputs of
        shape (batch, n_outputs), to which no softmax is applied. With `weights`, its
        attribute ``input_spec`` has the size, the normalisation and the interpolation
        of timm's own configuration; the estimators see to them.

    Raises
    ------
    ImportError
        If timm is not installed.
    OSError
        If the weights are not on disk and cannot be downloaded.
    TypeError
        If an argument is none of the network's, or asks for files.
    ValueError
        If the name or the weights are unknown, or if the network cannot take images
        of this shape.

    See Also
    --------
    get_network : Any network by its name.
    torchvision_model : The same for torchvision's.

    References
    ----------
    .. [1] R. Wightman, "PyTorch Image Models", https://doi.org/10.5281/zenodo.4414861

    Examples
    --------
    >>> import torch
    >>> from skvision.networks import timm_model
    >>> network = timm_model("test_resnet", (1, 32, 32), 10)
    >>> network(torch.zeros(5, 1, 32, 32)).shape
    torch.Size([5, 10])
    """
    plain = check_timm_name(name)
    image_shape = check_image_shape(image_shape)
    check_int(n_outputs, "n_outputs")
    for key in kwargs:
        if key in _REFUSED or "pretrained" in key:
            raise TypeError(
                f"{name} takes no argument {key!r}; pretrained weights are chosen by "
                "weights, such as weights=True, or given as a file by the estimator's "
                "pretrained."
            )
    asked = weights is not None and weights is not False
    spec = timm_spec(name, weights, image_shape[0], resize=resize) or InputSpec()
    if asked:
        plain = _with_tag(plain, weights)
    config = _config(plain)
    if not spec.size and config.fixed_input_size and "img_size" not in kwargs:
        kwargs = {**kwargs, "img_size": image_shape[1:]}
    try:
        network: Any = _timm().create_model(
            plain,
            pretrained=asked and load_weights,
            num_classes=n_outputs,
            in_chans=image_shape[0],
            **kwargs,
        )
        if asked:
            network.input_spec = spec
        run_on_one_image(network, (image_shape[0], *(spec.size or image_shape[1:])))
    except OSError as error:
        raise OSError(
            f"The weights of {name} could not be downloaded: {error} Fetch the file "
            f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors "
            "and give its path to the estimator by pretrained=, beside "
            "module__weights, or to an ImageEmbedder by weights=."
        ) from error
    except (AssertionError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"{name} cannot take images of image_shape={image_shape}: {error}"
        ) from error
    return network


def timm_spec(
    name: str, weights: Any, channels: int = 3, *, resize: bool = True
) -> InputSpec | None:
    """Return what weights want of images, by timm's configuration of them."""
    if weights is None or weights is False:
        return None
    config = _config(_with_tag(check_timm_name(name), weights))
    mean, std = statistics_for(channels, config)
    if not resize:
        return InputSpec(mean, std)
    _, height, width = config.input_size
    way: str | int = "squash"
    if config.crop_mode != "squash":
        way = math.floor(min(height, width) / config.crop_pct)
    bicubic = config.interpolation == "bicubic"
    interpolation = "bicubic" if bicubic else "bilinear"
    return InputSpec(mean, std, (height, width), way, interpolation)


def _tags(architecture: str) -> list[str]:
    found = _timm().list_pretrained(f"{architecture}.*")
    return [name.partition(".")[2] for name in found]


def _with_tag(plain: str, weights: Any) -> str:
    """Return the name of a network with the weights that are asked for."""
    if weights is True:
        return plain
    architecture = plain.partition(".")[0]
    check_choice(weights, "weights", _tags(architecture))
    return f"{architecture}.{weights}"


def _config(plain: str) -> Any:
    return _timm().get_pretrained_cfg(plain)
