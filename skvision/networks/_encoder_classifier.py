"""Classifier on top of an encoder."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from skvision.networks._layers import (
    check_image_shape,
    dense_layers,
    initialize_weights,
    run_on_one_image,
)


class EncoderClassifier(nn.Module):
    """Fully connected layers behind an encoder that is there already.

    An encoder that has learnt from images without labels, such as that of an
    autoencoder, is a start for a classifier [1]_. It is copied, so that training
    leaves the original as it is. What is frozen in it stays frozen.

    Parameters
    ----------
    image_shape : tuple of int
        (channels, height, width).
    n_outputs : int
        Width of the last layer.
    encoder : torch.nn.Module or fitted estimator
        What gives features of shape (batch, n_features) for images. If it, or the
        network of the estimator, has a submodule `encoder`, this is taken. For what
        clones its estimators, such as a search, give a module: a fitted estimator
        among the parameters would be cloned unfitted.
    hidden : int or tuple of int, default=(256,)
        Widths of the fully connected layers before the last one, which is added;
        ``()`` leaves only the last one.
    activation : str, default="relu"
        Activation after these layers: "relu", "leaky_relu", "elu", "selu", "gelu",
        "silu", "tanh", "sigmoid", "softplus" or "identity".
    dropout : float or tuple of float, default=0.0
        Probability of dropping an input of a fully connected layer: one for all, or
        one for each, the last one included, so ``len(hidden) + 1``.
    weight_init : {"kaiming", "xavier"}, default=None
        Initial weights of these layers, as in `ConvNet`. The encoder keeps its own.

    Attributes
    ----------
    encoder : torch.nn.Module
        From images to features, of shape (batch, n_features).
    head : torch.nn.Sequential
        From features to outputs.
    n_features : int
        Number of features that the encoder gives.
    n_outputs : int
        Width of the last layer.

    Raises
    ------
    TypeError
        If `encoder` is neither a module nor a fitted estimator that has one.
    ValueError
        If the encoder cannot take such images or does not give one row of features
        for each, or if another argument is out of its range.

    See Also
    --------
    ConvAutoencoder : Autoencoder of convolutions.
    DenseAutoencoder : Autoencoder of fully connected layers.

    Notes
    -----
    The input has the shape that the encoder takes, the output (batch, n_outputs). The
    output is not passed through a softmax, which the cross-entropy loss applies
    itself.

    References
    ----------
    .. [1] G. E. Hinton, R. R. Salakhutdinov, "Reducing the dimensionality of data
       with neural networks", Science 313(5786), 2006.

    Examples
    --------
    >>> import torch
    >>> from skvision.networks import DenseAutoencoder, EncoderClassifier
    >>> autoencoder = DenseAutoencoder((1, 28, 28))
    >>> network = EncoderClassifier((1, 28, 28), 5, autoencoder)
    >>> network(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3, 5])
    >>> network.head
    Sequential(
      (0): Linear(in_features=32, out_features=256, bias=True)
      (1): ReLU()
      (2): Linear(in_features=256, out_features=5, bias=True)
    )
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        n_outputs: int,
        encoder: Any,
        *,
        hidden: int | tuple[int, ...] = (256,),
        activation: str = "relu",
        dropout: float | tuple[float, ...] = 0.0,
        weight_init: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = _copy_encoder(encoder)
        self.n_features = _count_features(self.encoder, check_image_shape(image_shape))
        self.n_outputs = n_outputs
        self.head = dense_layers(
            self.n_features, n_outputs, hidden, activation, dropout
        )
        initialize_weights(self.head, weight_init)

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


def _copy_encoder(source: Any) -> nn.Module:
    """Return a copy of the encoder that a source is or has, where networks are made."""
    network = getattr(source, "module_", source)
    encoder = getattr(network, "encoder", network)
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            "encoder must be a torch.nn.Module or a fitted estimator that has one; "
            f"got {source!r}."
        )
    return copy.deepcopy(encoder).to(torch.get_default_device())


def _count_features(encoder: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Return the width of an encoder's output, found by a run on one image."""
    try:
        features = run_on_one_image(encoder, image_shape)
    except (AssertionError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"The encoder cannot take images of image_shape={image_shape}: {error}"
        ) from error
    is_tensor = isinstance(features, torch.Tensor)
    if not is_tensor or features.shape[:-1] != (1,):
        got = tuple(features.shape) if is_tensor else type(features).__name__
        raise ValueError(
            "The encoder must give features of shape (batch, n_features); got "
            f"{got} for one image."
        )
    return features.shape[1]
