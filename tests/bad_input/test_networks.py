"""Arguments of networks."""

import re

from torch import nn
from torchvision.models import ResNet50_Weights

from skvision import ImageClassifier, networks
from skvision.networks import (
    DenseAutoencoder,
    get_network,
    list_networks,
    timm_model,
    torchvision_model,
)

GREY = (1, 8, 8)
#: What the network is called with beside image_shape and n_outputs.
WITH_OUTPUTS = ("MLP", "LeNet", "ConvNet", "EncoderClassifier")
ENCODERS = {"EncoderClassifier": {"encoder": nn.Flatten()}}
SHAPES = [
    ((1, 8), r"image_shape must be \(channels, height, width\)"),
    (8, r"image_shape must be \(channels, height, width\)"),
    (None, r"image_shape must be \(channels, height, width\)"),
    ((1, 0, 8), "image_shape must be an int of at least 1; got 0"),
    ((1, -8, 8), "image_shape must be an int of at least 1; got -8"),
    ((1, 8.0, 8), "image_shape must be an int of at least 1; got 8.0"),
    ((True, 8, 8), "image_shape must be an int of at least 1; got True"),
]
N_OUTPUTS = [0, -1, 2.0, "10", None, True]
INT = "must be an int of at least 1"
OPTIONS = [
    ("MLP", "hidden", -1, INT),
    ("MLP", "hidden", (8, 0), INT),
    ("MLP", "hidden", "wide", INT),
    ("MLP", "activation", "reluu", "must be one of 'relu'"),
    ("MLP", "activation", None, "must be one of 'relu'"),
    ("MLP", "dropout", 1, r"must be a number in \[0, 1\)"),
    ("MLP", "dropout", -0.1, r"must be a number in \[0, 1\)"),
    ("MLP", "dropout", float("nan"), r"must be a number in \[0, 1\)"),
    ("MLP", "dropout", (0.1,), "hold 2, one per hidden layer"),
    ("MLP", "batch_norm", "yes", "must be one of False, True"),
    ("MLP", "weight_init", "he", "must be one of 'kaiming'"),
    ("LeNet", "kernel_size", 0, INT),
    ("LeNet", "pool", "mean", "must be one of 'max', 'avg', None"),
    ("LeNet", "hidden", -3, INT),
    ("ConvNet", "channels", (), "must hold a block and no empty one"),
    ("ConvNet", "channels", ((4,), ()), "must hold a block and no empty one"),
    ("ConvNet", "channels", (0,), INT),
    ("ConvNet", "channels", "many", INT),
    ("ConvNet", "kernel_size", 0, INT),
    ("ConvNet", "kernel_size", (3, 3, 3), "hold 2, one per block"),
    ("ConvNet", "stride", 0, INT),
    ("ConvNet", "padding", -1, "must be an int of at least 0"),
    ("ConvNet", "padding", "valid", "must be an int of at least 0"),
    ("ConvNet", "batch_norm", "second", "must be one of True, False, 'first'"),
    ("ConvNet", "activation", "swish", "must be one of 'relu'"),
    ("ConvNet", "pool", "min", "must be one of 'max', 'avg', None"),
    ("ConvNet", "pool_size", 0, INT),
    ("ConvNet", "pool_stride", -1, INT),
    ("ConvNet", "conv_dropout", 1.5, r"must be a number in \[0, 1\)"),
    ("ConvNet", "hidden_activation", "swish", "must be one of 'relu'"),
    ("ConvNet", "dropout", (0.1, 0.2, 0.3), "hold 2, one per layer of the head"),
    ("ConvNet", "weight_init", "zeros", "must be one of 'kaiming'"),
    ("ConvAutoencoder", "channels", (-4,), INT),
    ("ConvAutoencoder", "n_code", 0, INT),
    ("ConvAutoencoder", "decoder_channels", (0,), INT),
    ("ConvAutoencoder", "decoder_activation", "swish", "must be one of 'relu'"),
    ("ConvAutoencoder", "output_activation", "soft", "must be one of 'relu'"),
    ("DenseAutoencoder", "hidden", (), "must hold the width of the code"),
    ("DenseAutoencoder", "hidden", 0, INT),
    ("DenseAutoencoder", "activation", "swish", "must be one of 'relu'"),
    ("DenseAutoencoder", "output_activation", "soft", "must be one of 'relu'"),
    ("EncoderClassifier", "hidden", -1, INT),
    ("EncoderClassifier", "activation", "swish", "must be one of 'relu'"),
    ("EncoderClassifier", "dropout", 2, r"must be a number in \[0, 1\)"),
    ("EncoderClassifier", "weight_init", "he", "must be one of 'kaiming'"),
]


def build(name, image_shape=GREY, n_outputs=10, **options):
    """Build a network of the package; an image of LeNet is larger."""
    if name == "LeNet" and image_shape is GREY:
        image_shape = (1, 16, 16)
    arguments = {"image_shape": image_shape, **ENCODERS.get(name, {}), **options}
    if name in WITH_OUTPUTS:
        arguments["n_outputs"] = n_outputs
    return getattr(networks, name)(**arguments)


TABLES = {
    ValueError: {
        **{
            f"{name}: image_shape={shape!r}": (
                lambda b, n=name, s=shape: build(n, s),
                expected,
                "got",
            )
            for name in (*WITH_OUTPUTS, "ConvAutoencoder", "DenseAutoencoder")
            for shape, expected in SHAPES
        },
        **{
            f"{name}: n_outputs={n!r}": (
                lambda b, name=name, n=n: build(name, n_outputs=n),
                "n_outputs must be an int of at least 1",
                re.escape(f"got {n!r}"),
            )
            for name in WITH_OUTPUTS
            for n in N_OUTPUTS
        },
        **{
            f"{name}: {option}={value!r}": (
                lambda b, n=name, o=option, v=value: build(n, **{o: v}),
                option,
                expected,
                "got",
            )
            for name, option, value, expected in OPTIONS
        },
    },
}
OTHERS = {
    ValueError: {
        "LeNet: images too small": (
            lambda b: build("LeNet", (1, 12, 12)),
            r"image_shape=\(1, 12, 12\) are too small ... kernel_size=5",
            "smaller sizes",
        ),
        "ConvNet: images too small": (
            lambda b: build("ConvNet", channels=(4,) * 5),
            r"image_shape=\(1, 8, 8\) are too small ... pool_size=2 ... fewer blocks",
        ),
        "ConvAutoencoder: decoder to another size": (
            lambda b: build("ConvAutoencoder", decoder_channels=(4,)),
            "decoder reaches ... needs 8x8 ... Change decoder_kernel_size",
        ),
        "EncoderClassifier: encoder of other images": (
            lambda b: build("EncoderClassifier", encoder=DenseAutoencoder((1, 9, 9))),
            r"encoder cannot take images ... image_shape=\(1, 8, 8\)",
        ),
        "EncoderClassifier: encoder that gives images": (
            lambda b: build("EncoderClassifier", encoder=nn.Conv2d(1, 2, 3)),
            r"features of shape \(batch, n_features\) ... got \(1, 2, 6, 6\)",
        ),
        "get_network: misspelt name": (
            lambda b: get_network("mlpp"),
            "Unknown network 'mlpp' ... Did you mean 'mlp'",
        ),
        "timm_model: no outputs": (
            lambda b: timm_model("test_resnet", GREY, 0),
            "n_outputs ... 0",
        ),
        "timm_model: misspelt name": (
            lambda b: timm_model("test_resent", GREY, 10),
            "'test_resent' ... 'timm/test_resnet'",
        ),
        "timm_model: misspelt weights": (
            lambda b: timm_model("test_resnet", GREY, 10, weights="r16_in1k"),
            "weights ... 'r160_in1k' ... 'r16_in1k'",
        ),
        "torchvision_model: misspelt name": (
            lambda b: torchvision_model("resnet19", GREY, 10),
            "Unknown network 'resnet19' ... Did you mean 'resnet1",
        ),
        "torchvision_model: image_shape of two numbers": (
            lambda b: torchvision_model("resnet18", (8, 8), 10),
            r"image_shape must be \(channels, height, width\) ... got \(8, 8\)",
        ),
        "torchvision_model: no outputs": (
            lambda b: torchvision_model("resnet18", GREY, 0),
            "n_outputs must be an int of at least 1 ... got 0",
        ),
        "torchvision_model: images too small": (
            lambda b: torchvision_model("squeezenet1_1", (3, 2, 2), 10),
            r"squeezenet1_1 cannot take images ... image_shape=\(3, 2, 2\)",
        ),
        "torchvision_model: misspelt weights": (
            lambda b: torchvision_model("resnet18", GREY, 10, weights="IMAGENET"),
            "weights must be one of 'IMAGENET1K_V1' ... got 'IMAGENET'",
        ),
    },
    TypeError: {
        "EncoderClassifier: a number as encoder": (
            lambda b: build("EncoderClassifier", encoder=5),
            "encoder must be a torch.nn.Module or a fitted ... got 5",
        ),
        "EncoderClassifier: estimator that is not fitted": (
            lambda b: build("EncoderClassifier", encoder=ImageClassifier()),
            "encoder must be a torch.nn.Module or a fitted",
            r"got ImageClassifier\(\)",
        ),
        "get_network: arguments that the network does not have": (
            lambda b: get_network("mlp")(GREY, 10, hiden=(8,)),
            "unexpected keyword argument 'hiden'",
        ),
        "list_networks: an argument": (
            lambda b: list_networks("torchvision"),
            "list_networks ... takes 0 positional arguments ... 1 was given",
        ),
    },
    (TypeError, ValueError): {
        "EncoderClassifier: encoder that gives a tuple": (
            lambda b: build(
                "EncoderClassifier", encoder=nn.Sequential(nn.Flatten(), nn.LSTM(64, 3))
            ),
            "encoder must give features of shape ... tuple",
        ),
        "get_network: a number": (
            lambda b: get_network(5),
            "Unknown network 5 ... Did you mean",
        ),
        "get_network: a list": (
            lambda b: get_network(["mlp"]),
            r"network|name ... \['mlp'\]",
        ),
        "torchvision_model: a number as weights": (
            lambda b: torchvision_model("resnet18", GREY, 10, weights=1),
            "weights ... 1|int",
        ),
        "torchvision_model: weights of another network": (
            lambda b: torchvision_model(
                "resnet18", GREY, 10, weights=ResNet50_Weights.DEFAULT
            ),
            "[Ww]eight ... ResNet18 ... ResNet50",
        ),
        "torchvision_model: argument that the network does not have": (
            lambda b: torchvision_model("squeezenet1_1", (3, 32, 32), 10, drop=0.1),
            "unexpected keyword argument 'drop'",
        ),
    },
}
CASES = [TABLES, OTHERS]


def test_bad_input(case, refuse):
    refuse(case)
