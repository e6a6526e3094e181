"""Networks that do not fit, and weights from elsewhere."""

import numpy as np
import torch
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.exceptions import DivergedError, FormatError


class NoParameters(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :10]


class Pixels(nn.Module):
    """What is given, of another shape or kind."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        return self.change(self.layer(images.flatten(1)))


class NeedsWidth(nn.Module):
    def __init__(self, width):
        super().__init__()


class Autoencoder(nn.Module):
    def __init__(self, n_outputs=64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
        self.decoder = nn.Linear(2, n_outputs)

    def forward(self, images):
        return self.decoder(self.encoder(images))


def linear(n_inputs, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(n_inputs, n_outputs))


def own(change):
    return nn.Sequential(Pixels(change))


def damaged_checkpoint(b):
    b.refit("classifier", checkpoint=b.path)
    (file,) = b.path.iterdir()
    file.write_bytes(file.read_bytes()[:500])
    b.classifier.fit(b.X, b.y)


def weights_file(b, name, content):
    (b.path / name).write_bytes(content)
    return str(b.path / name)


MODULES = {
    ValueError: {
        "ImageClassifier.fit: name of no network": (
            lambda b: b.refit("classifier", module="convnett"),
            "Unknown network 'convnett' ... Did you mean 'convnet'",
        ),
        "ImageClassifier.fit: network without parameters": (
            lambda b: ImageClassifier(NoParameters()).fit(b.X, b.y),
            "network NoParameters ... no parameters to train",
        ),
        "ImageClassifier.fit: network with an output too few": (
            lambda b: ImageClassifier(linear(64, 9)).fit(b.X, b.y),
            r"outputs of shape \(2, 9\) ... expected \(2, 10\) ... names n_outputs",
        ),
        "ImageRegressor.fit: network with two outputs for one target": (
            lambda b: ImageRegressor(linear(64, 2)).fit(b.X, b.t),
            r"outputs of shape \(2, 2\) ... expected \(2, 1\)",
        ),
        "ImageClassifier.fit: network with outputs of three axes": (
            lambda b: ImageClassifier(own(lambda z: z[..., None])).fit(b.X, b.y),
            r"outputs of shape \(2, 10, 1\) ... expected \(2, 10\)",
        ),
        "ImageClassifier.fit: network of other images": (
            lambda b: ImageClassifier(linear(100, 10)).fit(b.X, b.y),
            r"network Sequential ... cannot take images of shape \(1, 8, 8\)",
        ),
        "ImageClassifier.fit: network for larger images": (
            lambda b: ImageClassifier("lenet").fit(b.X, b.y),
            r"image_shape=\(1, 8, 8\) are too small ... kernel_size=5",
            "smaller sizes",
        ),
        "ImageAutoencoder.fit: network without a decoder": (
            lambda b: ImageAutoencoder(linear(64, 64)).fit(b.X),
            "network Sequential has no encoder ... submodules encoder and decoder",
        ),
        "ImageAutoencoder.fit: reconstructions of another shape": (
            lambda b: ImageAutoencoder(Autoencoder(60)).fit(b.X),
            r"returned images of shape \(60,\) ... images of shape \(1, 8, 8\)",
        ),
        "ImageClassifier.fit: autoencoder as network": (
            lambda b: ImageClassifier("conv_autoencoder").fit(b.X, b.y),
            r"network ConvAutoencoder ... outputs of shape ... expected \(2, 10\)",
        ),
    },
    TypeError: {
        "ImageClassifier.fit: network that returns a list": (
            lambda b: ImageClassifier(own(torch.Tensor.tolist)).fit(b.X, b.y),
            "returned list ... expected a tensor",
        ),
        "ImageClassifier.fit: function that returns no network": (
            lambda b: b.refit("classifier", module=lambda hidden: hidden),
            "module=<lambda> returned tuple ... expected a torch.nn.Module",
        ),
        "ImageRegressor.fit: network whose arguments are not given": (
            lambda b: ImageRegressor(NeedsWidth).fit(b.X, b.t),
            "NeedsWidth needs the argument ... set module__width",
        ),
    },
    DivergedError: {
        "ImageClassifier.fit: network that gives NaN": (
            lambda b: ImageClassifier(own(lambda z: z * np.nan)).fit(b.X, b.y),
            "loss became nan ... lr=0.001 ... smaller learning rate",
        ),
        "ImageClassifier.fit: learning rate far too high": (
            lambda b: ImageClassifier("mlp", optimizer="sgd", lr=1e9).fit(b.X, b.y),
            "diverged in epoch ... lr=1000000000.0 ... smaller learning rate",
        ),
    },
}

PRETRAINED = {
    TypeError: {
        "ImageClassifier.fit: pretrained number": (
            lambda b: b.refit("classifier", pretrained=5),
            "pretrained expects a fitted estimator ... got int",
        ),
        "ImageClassifier.fit: pretrained estimator that is not fitted": (
            lambda b: b.refit("classifier", pretrained=ImageClassifier()),
            "pretrained expects a fitted estimator ... got ImageClassifier",
        ),
    },
    FileNotFoundError: {
        "ImageClassifier.fit: pretrained file that is not there": (
            lambda b: b.refit("classifier", pretrained=b.path / "gewichte ß.pt"),
            "pretrained='.*gewichte ß.pt' ... no such file",
        ),
    },
    FormatError: {
        "ImageRegressor.fit: pretrained text": (
            lambda b: b.refit("regressor", pretrained=weights_file(b, "a.pt", b"text")),
            "pretrained='.*a.pt' is not a file of weights ... expected what torch.save",
        ),
        "ImageClassifier.fit: pretrained folder": (
            lambda b: b.refit("classifier", pretrained=b.path),
            "pretrained='.*' is not a file",
        ),
        "ImageClassifier.fit: pretrained safetensors file that is damaged": (
            lambda b: b.refit(
                "classifier", pretrained=weights_file(b, "a.safetensors", b"\x08" * 20)
            ),
            "pretrained='.*a.safetensors'",
        ),
        "ImageClassifier.fit: damaged checkpoint": (
            damaged_checkpoint,
            "checkpoint' is cut off ... Remove it to train from the beginning",
        ),
    },
    ValueError: {
        "ImageClassifier.fit: pretrained weights of another network": (
            lambda b: b.refit("classifier", pretrained=linear(64, 3)),
            "pretrained weights do not fit ... is not in the network|is missing",
        ),
    },
    (TypeError, ValueError): {
        "ImageClassifier.fit: pretrained dict without tensors": (
            lambda b: b.refit("classifier", pretrained={"head.weight": 5}),
            "pretrained ... head.weight",
        ),
    },
}

CASES = [MODULES, PRETRAINED]


def test_bad_input(case, refuse):
    refuse(case)
