"""LeNet-5."""

from __future__ import annotations

from skvision.networks._convnet import ConvNet


class LeNet(ConvNet):
    """LeNet-5: two convolutions of 6 and 16 feature maps, each pooled.

    A `ConvNet` without padding that has the layer widths of [1]_. By default it has
    the rectifiers and maximum poolings that became usual later;
    ``activation="tanh", pool="avg"`` comes closer to the original.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width), at least 16x16 for filters of 5x5.
    n_outputs : int
        Width of the last layer.
    kernel_size : int, default=5
        Height and width of the filters.
    batch_norm : bool, default=False
        Whether batch normalisation stands between convolutions and activations.
    activation : str, default="relu"
        Activation after all layers but the last, as in `ConvNet`.
    pool : {"max", "avg"}, default="max"
        Pooling after each convolution.
    hidden : int or tuple of int, default=(120, 84)
        Widths of the fully connected layers before the last one.
    dropout : float or tuple of float, default=0.0
        Probability of dropping an input of a fully connected layer: one for all, or
        one for each, the last one included.
    weight_init : {"kaiming", "xavier"}, default=None
        Initial weights, as in `ConvNet`.

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
        If an argument is out of its range, or if the images are too small.

    See Also
    --------
    ConvNet : Convolutional network of any depth.

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning
       applied to document recognition", Proceedings of the IEEE 86(11), 1998.

    Examples
    --------
    >>> import torch
    >>> from skvision.inspection import count_parameters
    >>> from skvision.networks import LeNet
    >>> network = LeNet((1, 32, 32), 10)
    >>> network(torch.zeros(5, 1, 32, 32)).shape
    torch.Size([5, 10])
    >>> count_parameters(network)
    61706
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_outputs: int,
        *,
        kernel_size: int = 5,
        batch_norm: bool = False,
        activation: str = "relu",
        pool: str | None = "max",
        hidden: int | tuple[int, ...] = (120, 84),
        dropout: float | tuple[float, ...] = 0.0,
        weight_init: str | None = None,
    ) -> None:
        super().__init__(
            image_shape,
            n_outputs,
            channels=(6, 16),
            kernel_size=kernel_size,
            padding=0,
            batch_norm=batch_norm,
            activation=activation,
            pool=pool,
            hidden=hidden,
            dropout=dropout,
            weight_init=weight_init,
        )
