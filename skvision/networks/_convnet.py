"""Convolutional network in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn

from skvision.networks._layers import (
    ACTIVATIONS,
    activation_layers,
    check_choice,
    check_image_shape,
    check_int,
    check_widths,
    dense_layers,
    dropout_layers,
    first_of,
    initialize_weights,
    spread,
)

_POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class ConvNet(nn.Module):
    """Convolutional network: blocks of convolutions, then fully connected layers.

    Each block holds convolutions, each with optional batch normalisation and an
    activation, and ends with a pooling and optional dropout of whole feature maps.
    The default has one convolution per block and doubles its width from block to
    block, in the manner of [1]_.

    Where an argument is *per convolution*, it is one value for all convolutions, a
    tuple with one value for each block, or a tuple of tuples like `channels` with
    one value for each convolution. Where it is *per block*, it is one value or a
    tuple with one for each block.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width).
    n_outputs : int
        Width of the last layer.
    channels : int, tuple of int or tuple of tuple of int, default=None
        Widths of the convolutions: ``((32, 64), (128,))`` is a block of two
        convolutions and a block of one, ``(32, 64)`` two blocks of one. None means
        blocks of one, 32, 64, 128, 256, 256, ..., as many as it takes for
        poolings of size 2 to leave at most 8x8 values, but at least two:
        ``(32, 64)`` for images of 28x28 or 32x32, five blocks for 224x224.
    kernel_size : int or tuple, default=3
        Height and width of the filters, per convolution.
    stride : int or tuple, default=1
        Step of the filters, per convolution.
    padding : int, "same" or tuple, default="same"
        Rows and columns of zeros on each side, per convolution; "same" pads so that
        a convolution with stride 1 keeps the size.
    batch_norm : bool or "first", default=True
        Whether batch normalisation [2]_ stands between convolutions and
        activations; "first" means only that of each block's first convolution.
    activation : str or tuple, default="relu"
        Activation after the convolutions, per convolution: "relu", "leaky_relu",
        "elu", "selu", "gelu", "silu", "tanh", "sigmoid", "softplus" or "identity",
        which is none.
    pool : {"max", "avg"} or tuple, default="max"
        Pooling at the end of a block, per block; None is no pooling.
    pool_size : int or tuple, default=2
        Height and width of the windows that are pooled, per block.
    pool_stride : int or tuple, default=None
        Step of these windows, per block; None means `pool_size`.
    conv_dropout : float or tuple, default=0.0
        Probability of dropping a feature map at the end of a block, per block.
    hidden : int or tuple of int, default=(128,)
        Widths of the fully connected layers before the last one, which is added;
        ``()`` leaves only the last one.
    hidden_activation : str, default=None
        Activation after these layers; None means that of the first convolution.
    dropout : float or tuple of float, default=0.25
        Probability of dropping an input of a fully connected layer: one for all, or
        one for each, the last one included, so ``len(hidden) + 1``.
    weight_init : {"kaiming", "xavier"}, default=None
        Initial weights: He's normal distribution [3]_, Glorot's uniform
        distribution [4]_, both with biases of 0, or None for torch's default.

    Attributes
    ----------
    encoder : torch.nn.Sequential
        From images to features, of shape (batch, n_features).
    head : torch.nn.Sequential
        From features to outputs.
    n_features : int
        Number of features that the encoder gives.

    Raises
    ------
    ValueError
        If an argument is out of its range, or if the images are too small for the
        convolutions and poolings.

    See Also
    --------
    LeNet : Two convolutions, as in LeNet-5.
    MLP : Fully connected layers only.

    Notes
    -----
    The input has shape (batch, channels, height, width), the output
    (batch, n_outputs). The output is not passed through a softmax, which the
    cross-entropy loss applies itself.

    References
    ----------
    .. [1] K. Simonyan, A. Zisserman, "Very deep convolutional networks for
       large-scale image recognition", ICLR 2015.
    .. [2] S. Ioffe, C. Szegedy, "Batch normalization: Accelerating deep network
       training by reducing internal covariate shift", ICML 2015.
    .. [3] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers:
       Surpassing human-level performance on ImageNet classification", ICCV 2015.
    .. [4] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep
       feedforward neural networks", AISTATS 2010.

    Examples
    --------
    >>> import torch
    >>> from skvision.networks import ConvNet
    >>> network = ConvNet((3, 32, 32), 10, channels=((32, 32), (64, 64)), dropout=0.1)
    >>> network(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 10])
    >>> network.n_features
    4096
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_outputs: int,
        *,
        channels: int | tuple | None = None,
        kernel_size: int | tuple = 3,
        stride: int | tuple = 1,
        padding: int | str | tuple = "same",
        batch_norm: bool | str = True,
        activation: str | tuple = "relu",
        pool: str | tuple | None = "max",
        pool_size: int | tuple = 2,
        pool_stride: int | tuple | None = None,
        conv_dropout: float | tuple = 0.0,
        hidden: int | tuple[int, ...] = (128,),
        hidden_activation: str | None = None,
        dropout: float | tuple[float, ...] = 0.25,
        weight_init: str | None = None,
    ) -> None:
        super().__init__()
        layers = _EncoderLayers(check_image_shape(image_shape))
        blocks = _blocks(channels, layers.shape)
        check_choice(batch_norm, "batch_norm", [True, False, "first"])
        of_blocks = spread(
            len(blocks),
            "block",
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            activation=activation,
            pool=pool,
            pool_size=pool_size,
            pool_stride=pool_stride,
            conv_dropout=conv_dropout,
        )
        for widths, options in zip(blocks, of_blocks, strict=True):
            layers.add_block(widths, batch_norm, **options)
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.n_features = prod(layers.shape)

        check_choice(hidden_activation, "hidden_activation", [*ACTIVATIONS, None])
        hidden_activation = hidden_activation or first_of(activation)
        self.head = dense_layers(
            self.n_features, n_outputs, hidden, hidden_activation, dropout
        )
        initialize_weights(self, weight_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs of a batch.

        Parameters
        ----------
        images : torch.Tensor of shape (batch, C, H, W)
            Pixels.

        Returns
        -------
        outputs : torch.Tensor of shape (batch, n_outputs)
            Logits, or values of a regression.
        """
        return self.head(self.encoder(images))


class _EncoderLayers(list):
    """Layers, and the shape (channels, height, width) of what they give."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = self.shape = image_shape

    def add_block(
        self,
        widths: Sequence[int],
        batch_norm: Any,
        pool: Any,
        pool_size: Any,
        pool_stride: Any,
        conv_dropout: Any,
        **of_convolutions: Any,
    ) -> None:
        rows = spread(len(widths), "convolution of a block", **of_convolutions)
        for i, (n_maps, options) in enumerate(zip(widths, rows, strict=True)):
            activation = options.pop("activation")
            self._convolve(n_maps, **options)
            if batch_norm and (i == 0 or batch_norm != "first"):
                self.append(nn.BatchNorm2d(n_maps))
            self.extend(activation_layers(activation))
        check_choice(pool, "pool", [*_POOLINGS, None])
        size = stride = check_int(pool_size, "pool_size")
        if pool_stride is not None:
            stride = check_int(pool_stride, "pool_stride")
        if pool is not None:
            self._resize(self.shape[0], "pool_size", size, stride)
            self.append(_POOLINGS[pool](size, stride))
        self.extend(dropout_layers(conv_dropout, "conv_dropout", nn.Dropout2d))

    def _convolve(
        self, n_maps: int, kernel_size: Any, stride: Any, padding: Any
    ) -> None:
        """Add a convolution, with a layer before it where it cannot pad by itself."""
        kernel_size = check_int(kernel_size, "kernel_size")
        stride = check_int(stride, "stride")
        if padding == "same":
            before, after = (kernel_size - 1) // 2, kernel_size // 2
        else:
            before = after = check_int(padding, "padding, if not 'same',", minimum=0)
        n_before = self.shape[0]
        self._resize(n_maps, "kernel_size", kernel_size, stride, before + after)
        if before != after:
            # A convolution itself pads both sides alike, and torch's "same" takes no
            # stride.
            self.append(nn.ZeroPad2d((before, after, before, after)))
            before = 0
        # The bias stays in front of batch normalisation, which makes it redundant, so
        # that a layer's number of parameters does not depend on what follows.
        self.append(nn.Conv2d(n_before, n_maps, kernel_size, stride, before))

    def _resize(
        self, n_maps: int, argument: str, kernel: int, stride: int, padding: int = 0
    ) -> None:
        """Note the size that a layer's outputs have, which must not be empty."""
        height, width = (size + padding for size in self.shape[1:])
        if min(height, width) < kernel:
            raise ValueError(
                f"Images of image_shape={self.image_shape} are too small: "
                f"{argument}={kernel} does not fit into the {height}x{width} values, "
                "padding included, that are left for it. Use fewer blocks of channels "
                "or smaller sizes and strides."
            )
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.shape = n_maps, height, width


def _blocks(channels: Any, image_shape: tuple[int, int, int]) -> list[tuple[int, ...]]:
    """Return the widths of each block's convolutions."""
    if channels is None:
        return default_blocks(*image_shape[1:], n_maps=32, at_most=8)
    if not isinstance(channels, (tuple, list)):
        channels = (channels,)
    blocks = [check_widths(widths, "channels") for widths in channels]
    if not blocks or not all(blocks):
        raise ValueError(
            f"channels must hold a block and no empty one; got {channels!r}."
        )
    return blocks


def default_blocks(
    height: int, width: int, *, n_maps: int, at_most: int
) -> list[tuple[int, ...]]:
    """Return blocks of one convolution, as many as suit the size of the images.

    The first has `n_maps` maps, and the last leaves `at_most` values on a side.
    """
    # With a fixed depth, the head would grow with the images: 200,704 features after
    # two blocks of 32 and 64 on 224x224. To average them down would bound the head,
    # but leave it features that have seen patches of 10x10 pixels only. On
    # Fashion-MNIST, half the width and a third block were faster, but a point less
    # accurate, and without dropout the accuracy went up and down between epochs.
    n_blocks = 1
    while min(height, width) >> n_blocks >= 2 and (
        n_blocks < 2 or max(height, width) >> n_blocks > at_most
    ):
        n_blocks += 1
    return [(min(n_maps << i, 256),) for i in range(n_blocks)]
