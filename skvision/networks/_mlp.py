"""Multi-layer perceptron."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from skvision.networks._layers import (
    check_choice,
    check_image_shape,
    check_int,
    check_widths,
    hidden_layers,
    initialize_weights,
    spread,
)


class MLP(nn.Module):
    """Multi-layer perceptron: fully connected layers over the pixels of an image.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width); (1, 1, n_features) for flat rows.
    n_outputs : int
        Width of the last layer.
    hidden : int or tuple of int, default=(256, 512)
        Widths of the hidden layers. ``()`` gives a linear model.
    activation : str, default="relu"
        Activation after each hidden layer: "relu", "leaky_relu", "elu", "selu",
        "gelu", "silu", "tanh", "sigmoid", "softplus" or "identity".
    dropout : float or tuple of float, default=0.0
        Probability of dropping an output of a hidden layer: one for all hidden
        layers or one for each.
    batch_norm : bool, default=False
        Whether batch normalisation stands between hidden layers and activations.
    weight_init : {"kaiming", "xavier"}, default=None
        Initial weights: He's normal distribution [1]_, Glorot's uniform
        distribution [2]_, both with biases of 0, or None for torch's default.

    Attributes
    ----------
    layers : torch.nn.Sequential
        The hidden layers.
    head : torch.nn.Linear
        The last layer.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    See Also
    --------
    ConvNet : Convolutional network.

    Notes
    -----
    The input has shape (batch, channels, height, width) or (batch, n_features), the
    output (batch, n_outputs). The output is not passed through a softmax, which
    the cross-entropy loss applies itself.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers:
       Surpassing human-level performance on ImageNet classification", ICCV 2015.
    .. [2] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep
       feedforward neural networks", AISTATS 2010.

    Examples
    --------
    >>> import torch
    >>> from skvision.inspection import count_parameters
    >>> from skvision.networks import MLP
    >>> network = MLP((1, 28, 28), 10, hidden=(256, 512))
    >>> network(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    >>> count_parameters(network)
    337674
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_outputs: int,
        hidden: int | tuple[int, ...] = (256, 512),
        *,
        activation: str = "relu",
        dropout: float | tuple[float, ...] = 0.0,
        batch_norm: bool = False,
        weight_init: str | None = None,
    ) -> None:
        super().__init__()
        n_features = prod(check_image_shape(image_shape))
        widths = check_widths(hidden, "hidden")
        rows = spread(len(widths), "hidden layer", dropout=dropout)
        dropouts = [row["dropout"] for row in rows]
        check_choice(batch_norm, "batch_norm", [False, True])
        layers = hidden_layers(n_features, widths, activation, dropouts, batch_norm)
        self.layers = nn.Sequential(*layers)
        n_outputs = check_int(n_outputs, "n_outputs")
        self.head = nn.Linear([n_features, *widths][-1], n_outputs)
        initialize_weights(self, weight_init)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs of a batch.

        Parameters
        ----------
        images : torch.Tensor of shape (batch, C, H, W) or (batch, n_features)
            Pixels, flattened if they are not.

        Returns
        -------
        outputs : torch.Tensor of shape (batch, n_outputs)
            Logits, or values of a regression.
        """
        return self.head(self.layers(images.flatten(1)))
