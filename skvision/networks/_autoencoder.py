"""Autoencoders: images in, codes in the middle, images out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import torch
from torch import nn

from skvision.networks._convnet import ConvNet, default_blocks
from skvision.networks._layers import (
    activation_layers,
    check_image_shape,
    check_int,
    check_widths,
    dense_layers,
    first_of,
    initialize_weights,
    spread,
)


class DenseAutoencoder(nn.Module):
    """Autoencoder of fully connected layers.

    The encoder's layers narrow down to the code, the decoder's are their mirror
    image [1]_. The activation stands behind all layers but two: the code is linear,
    as in [1]_, so that none of its values is cut off, and so is the output, unless
    `output_activation` is given.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width); (1, 1, n_features) for flat rows.
    hidden : int or tuple of int, default=(392, 196, 98, 32)
        Widths of the encoder's layers, the last of which is the code.
    activation : str, default="relu"
        Activation after the layers: "relu", "leaky_relu", "elu", "selu", "gelu",
        "silu", "tanh", "sigmoid", "softplus" or "identity".
    output_activation : str, default=None
        Activation after the last layer, one of the above; None is none.
    weight_init : {"kaiming", "xavier"}, default=None
        Initial weights: He's normal distribution [2]_, Glorot's uniform
        distribution [3]_, both with biases of 0, or None for torch's default.

    Attributes
    ----------
    encoder : torch.nn.Sequential
        From images to codes, of shape (batch, n_features).
    decoder : torch.nn.Sequential
        From codes to images.
    n_features : int
        Width of the code.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    See Also
    --------
    ConvAutoencoder : Autoencoder of convolutions.
    EncoderClassifier : Classifier on top of an encoder.

    Notes
    -----
    The input has shape (batch, channels, height, width) or (batch, n_features), and
    so has the output.

    References
    ----------
    .. [1] G. E. Hinton, R. R. Salakhutdinov, "Reducing the dimensionality of data
       with neural networks", Science 313(5786), 2006.
    .. [2] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers:
       Surpassing human-level performance on ImageNet classification", ICCV 2015.
    .. [3] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep
       feedforward neural networks", AISTATS 2010.

    Examples
    --------
    >>> import torch
    >>> from skvision.networks import DenseAutoencoder
    >>> network = DenseAutoencoder((1, 28, 28))
    >>> images = torch.zeros(5, 1, 28, 28)
    >>> network(images).shape
    torch.Size([5, 1, 28, 28])
    >>> network.encoder(images).shape
    torch.Size([5, 32])
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        hidden: int | tuple[int, ...] = (392, 196, 98, 32),
        *,
        activation: str = "relu",
        output_activation: str | None = None,
        weight_init: str | None = None,
    ) -> None:
        super().__init__()
        image_shape = check_image_shape(image_shape)
        widths = [prod(image_shape), *check_widths(hidden, "hidden")]
        if len(widths) == 1:
            raise ValueError(f"hidden must hold the width of the code; got {hidden!r}.")
        n_in, *between, n_code = widths
        encoder = dense_layers(n_in, n_code, between, activation, 0.0)
        self.encoder = nn.Sequential(nn.Flatten(), *encoder)
        self.decoder = nn.Sequential(
            *dense_layers(n_code, n_in, between[::-1], activation, 0.0),
            *activation_layers(output_activation, "output_activation", [None]),
            nn.Unflatten(1, image_shape),
        )
        self.n_features = n_code
        initialize_weights(self, weight_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the reconstructions of a batch.

        Parameters
        ----------
        images : torch.Tensor of shape (batch, C, H, W)
            Pixels.

        Returns
        -------
        reconstructions : torch.Tensor of shape (batch, C, H, W)
            In the shape of the images.
        """
        return self.decoder(self.encoder(images)).reshape(images.shape)


class ConvAutoencoder(nn.Module):
    """Autoencoder of convolutions and transposed convolutions [1]_.

    The encoder is that of a `ConvNet` with the same arguments, its weights have the
    same names, and either network takes those of the other. By default the code is
    what the encoder of a `ConvNet` gives, and the decoder mirrors the encoder: a
    transposed convolution undoes each convolution together with its pooling, with the
    stride of both and filters as large as the patch that both see. So filters of 3x3
    pooled by 2x2 are undone by filters of 4x4 with stride 2, a stride that divides
    their size, which keeps the checkerboards of [2]_ out of the images. If
    `decoder_channels` is given, the ``decoder_*`` arguments say what the decoder is.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width).
    channels : int, tuple of int or tuple of tuple of int, default=None
        Widths of the encoder's convolutions, as in `ConvNet`. None means blocks of
        one, 16, 32, 64, ..., that leave at most 4x4 values: fewer than those of a
        `ConvNet`, since a code is to be short.
    kernel_size : int or tuple, default=3
        Height and width of the encoder's filters, as in `ConvNet`.
    stride : int or tuple, default=1
        Step of the encoder's filters, as in `ConvNet`.
    padding : int, "same" or tuple, default="same"
        Rows and columns of zeros on each side, as in `ConvNet`.
    batch_norm : bool or "first", default=True
        Batch normalisation in the encoder, as in `ConvNet`. Unless this is False, the
        decoder has it, too, after all transposed convolutions but the last.
    activation : str or tuple, default="relu"
        Activation after the encoder's convolutions, as in `ConvNet`.
    pool : {"max", "avg"} or tuple, default="max"
        Pooling at the end of a block, as in `ConvNet`; None is no pooling.
    pool_size : int or tuple, default=2
        Height and width of the windows that are pooled, as in `ConvNet`.
    pool_stride : int or tuple, default=None
        Step of these windows, as in `ConvNet`; None means `pool_size`.
    conv_dropout : float or tuple, default=0.0
        Probability of dropping a feature map of the encoder, as in `ConvNet`.
    n_code : int, default=None
        Width of the code, to and from which fully connected layers lead. None means
        no such layers: the code is what the convolutions give, which may be more
        values than the image has.
    decoder_channels : int or tuple of int, default=None
        Widths of the transposed convolutions before the last one, which is added and
        gives the channels of the images. None derives the decoder from the encoder.
    decoder_kernel_size : int or tuple of int, default=3
        Height and width of the filters: one for all transposed convolutions, or one
        for each, the last one included, so ``len(decoder_channels) + 1``. Like
        `decoder_stride` and `decoder_padding`, it is used only with
        `decoder_channels`.
    decoder_stride : int or tuple of int, default=1
        Step of the filters, likewise.
    decoder_padding : int or tuple of int, default=0
        Rows and columns taken away on each side, likewise.
    decoder_activation : str or tuple of str, default=None
        Activation after the decoder's layers but the last: one for all, or one for
        each, first that of the layer that comes with `n_code`. None means that of
        the first convolution.
    output_activation : str, default="sigmoid"
        Activation after the last layer: "sigmoid" suits pixels in [0, 1], None, which
        is none, pixels in any range.
    weight_init : {"kaiming", "xavier"}, default=None
        Initial weights, as in `ConvNet`.

    Attributes
    ----------
    encoder : torch.nn.Sequential
        From images to codes, of shape (batch, n_features).
    decoder : torch.nn.Sequential
        From codes to images.
    n_features : int
        Width of the code.

    Raises
    ------
    ValueError
        If an argument is out of its range, if the images are too small for the
        encoder, or if a given decoder leads to images of another size.

    See Also
    --------
    ConvNet : Classifier with the same encoder.
    DenseAutoencoder : Autoencoder of fully connected layers.
    EncoderClassifier : Classifier on top of an encoder.

    Notes
    -----
    Input and output have shape (batch, channels, height, width).

    References
    ----------
    .. [1] J. Masci, U. Meier, D. Cireşan, J. Schmidhuber, "Stacked convolutional
       auto-encoders for hierarchical feature extraction", ICANN 2011.
    .. [2] A. Odena, V. Dumoulin, C. Olah, "Deconvolution and checkerboard
       artifacts", Distill, 2016.

    Examples
    --------
    >>> import torch
    >>> from skvision.networks import ConvAutoencoder, ConvNet
    >>> network = ConvAutoencoder((3, 32, 32), channels=(8, 16), n_code=64)
    >>> images = torch.zeros(5, 3, 32, 32)
    >>> network(images).shape
    torch.Size([5, 3, 32, 32])
    >>> network.encoder(images).shape
    torch.Size([5, 64])

    The encoder of a classifier, and a decoder layer by layer:

    >>> network = ConvAutoencoder(
    ...     (1, 28, 28),
    ...     decoder_channels=(32, 16),
    ...     decoder_kernel_size=(3, 4, 4),
    ...     decoder_stride=(2, 2, 2),
    ...     decoder_padding=(0, 1, 1),
    ... )
    >>> classifier = ConvNet((1, 28, 28), 10, channels=(16, 32, 64))
    >>> network.encoder.load_state_dict(classifier.encoder.state_dict())
    <All keys matched successfully>
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
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
        n_code: int | None = None,
        decoder_channels: int | tuple[int, ...] | None = None,
        decoder_kernel_size: int | tuple[int, ...] = 3,
        decoder_stride: int | tuple[int, ...] = 1,
        decoder_padding: int | tuple[int, ...] = 0,
        decoder_activation: str | tuple[str, ...] | None = None,
        output_activation: str | None = "sigmoid",
        weight_init: str | None = None,
    ) -> None:
        super().__init__()
        image_shape = check_image_shape(image_shape)
        if channels is None:
            channels = tuple(default_blocks(*image_shape[1:], n_maps=16, at_most=4))
        convnet = ConvNet(
            image_shape,
            1,
            channels=channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            batch_norm=batch_norm,
            activation=activation,
            pool=pool,
            pool_size=pool_size,
            pool_stride=pool_stride,
            conv_dropout=conv_dropout,
            hidden=(),
        )
        self.encoder, self.n_features = convnet.encoder, convnet.n_features
        windows = _windows(self.encoder, image_shape)
        if n_code is not None:
            self.n_features = check_int(n_code, "n_code")
            self.encoder.append(nn.Linear(convnet.n_features, n_code))
        filters = (decoder_kernel_size, decoder_stride, decoder_padding)
        convolutions = _transposed_convolutions(windows, decoder_channels, *filters)
        self.decoder = _conv_decoder(
            n_code,
            windows[-1].output_shape,
            convolutions,
            bool(batch_norm),
            decoder_activation or first_of(activation),
            output_activation,
        )
        initialize_weights(self, weight_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the reconstructions of a batch.

        Parameters
        ----------
        images : torch.Tensor of shape (batch, C, H, W)
            Pixels.

        Returns
        -------
        reconstructions : torch.Tensor of shape (batch, C, H, W)
            In the shape of the images.
        """
        return self.decoder(self.encoder(images))


@dataclass
class _Window:
    """What one value behind a convolution and its pooling is computed from."""

    input_shape: tuple[int, ...]
    n_maps: int
    size: int
    stride: int
    padding: int  # Of both ends together.

    @property
    def output_shape(self) -> tuple[int, ...]:
        _, *lengths = self.input_shape
        room = self.padding - self.size
        return self.n_maps, *((n + room) // self.stride + 1 for n in lengths)

    def pool(self, size: Any, stride: Any) -> None:
        self.size += (size - 1) * self.stride
        self.stride *= stride

    def undo(self) -> nn.ConvTranspose2d:
        n_maps, *lengths = self.input_shape
        # A transposed convolution cuts both ends alike. Where there is one more zero
        # behind than in front, it cuts one more in front, of a filter one larger.
        odd = self.padding % 2
        height, width = (
            (length + self.padding - self.size) % self.stride for length in lengths
        )
        return nn.ConvTranspose2d(
            self.n_maps,
            n_maps,
            self.size + odd,
            self.stride,
            (self.padding + odd) // 2,
            output_padding=(height, width),  # What the strides left over.
        )


def _windows(encoder: nn.Sequential, image_shape: tuple[int, ...]) -> list[_Window]:
    """Return a window for each convolution of a `ConvNet`."""
    windows: list[_Window] = []
    padding = 0
    for layer in encoder:
        if isinstance(layer, nn.ZeroPad2d):
            padding = layer.padding[0] + layer.padding[1]
        elif isinstance(layer, nn.Conv2d):
            input_shape = windows[-1].output_shape if windows else image_shape
            on_each_side: Any = layer.padding
            padding += 2 * on_each_side[0]
            size, stride = layer.kernel_size[0], layer.stride[0]
            windows.append(
                _Window(input_shape, layer.out_channels, size, stride, padding)
            )
            padding = 0
        elif isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
            windows[-1].pool(layer.kernel_size, layer.stride)
    return windows


def _transposed_convolutions(
    windows: list[_Window], channels: Any, kernel_size: Any, stride: Any, padding: Any
) -> list[nn.ConvTranspose2d]:
    """Return a decoder's convolutions, as given or to undo those of the encoder."""
    if channels is None:
        return [window.undo() for window in reversed(windows)]
    image_shape = windows[0].input_shape
    n_maps, *size = windows[-1].output_shape
    widths = [*check_widths(channels, "decoder_channels"), image_shape[0]]
    rows = spread(
        len(widths),
        "transposed convolution",
        decoder_kernel_size=kernel_size,
        decoder_stride=stride,
        decoder_padding=padding,
    )
    sizes = [size]
    convolutions = []
    for n_out, row in zip(widths, rows, strict=True):
        for name, value in row.items():
            check_int(value, name, minimum=0 if name == "decoder_padding" else 1)
        kernel, step, cut = row.values()
        convolutions.append(nn.ConvTranspose2d(n_maps, n_out, kernel, step, cut))
        n_maps = n_out
        size = [(length - 1) * step + kernel - 2 * cut for length in size]
        sizes.append(size)
        if min(size) < 1:
            break
    if tuple(size) != image_shape[1:]:
        *passed, reached = (f"{height}x{width}" for height, width in sizes)
        raise ValueError(
            f"The decoder reaches {reached} pixels, by way of {', '.join(passed)}; "
            f"image_shape={image_shape} needs {image_shape[1]}x{image_shape[2]}. "
            "Change decoder_kernel_size, decoder_stride or decoder_padding."
        )
    return convolutions


def _conv_decoder(
    n_code: int | None,
    map_shape: tuple[int, ...],
    convolutions: list[nn.ConvTranspose2d],
    batch_norm: bool,
    activation: str | tuple[str, ...],
    output_activation: str | None,
) -> nn.Sequential:
    """Join a decoder's layers."""
    groups: list[list[nn.Module]] = [[layer] for layer in convolutions]
    if batch_norm:
        for group, layer in zip(groups[:-1], convolutions, strict=False):
            group.append(nn.BatchNorm2d(layer.out_channels))
    groups[0].insert(0, nn.Unflatten(1, map_shape))
    if n_code is not None:
        groups.insert(0, [nn.Linear(n_code, prod(map_shape))])
    place = "layer of the decoder but the last"
    rows = spread(len(groups) - 1, place, decoder_activation=activation)
    for group, row in zip(groups, rows, strict=False):
        group += activation_layers(row["decoder_activation"], "decoder_activation")
    groups[-1] += activation_layers(output_activation, "output_activation", [None])
    return nn.Sequential(*chain.from_iterable(groups))
