"""Random valid configurations of the estimators, drawn by hypothesis.

A configuration holds plain values, so that its repr tells what was drawn;
`benchmarks._cases.build` makes an estimator and its data of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from benchmarks._cases import (
    CALLBACKS,
    ESTIMATORS,
    LABELS,
    PLAIN,
    Configuration,
    Data,
    Lazy,
    LogProbabilities,
    Small,
    SmallAutoencoder,
    WithFeatures,
    first_loss,
    mean_code,
    negative,
    sequential,
)
from skvision.metrics import cross_entropy_scorer, top_k_scorer
from skvision.preprocessing import (
    ColorJitter,
    GaussianNoise,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
    UniformNoise,
)


def part(name: str, value: Any, **options: list[Any]) -> st.SearchStrategy:
    """Return a strategy of a parameter with some of its options."""
    optional = {
        f"{name}__{option}": st.sampled_from(values)
        for option, values in options.items()
    }
    return st.fixed_dictionaries({name: st.just(value)}, optional=optional)


def some(**choices: list[Any]) -> st.SearchStrategy:
    """Return a strategy of some of the parameters, each with one of its values."""
    optional = {name: st.sampled_from(values) for name, values in choices.items()}
    return st.fixed_dictionaries({}, optional=optional)


# --------------------------------------------------------------------------- networks

ACTIVATIONS = ["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh"]
ACTIVATIONS += ["sigmoid", "softplus", "identity"]
DROPOUT = [0.0, 0.3]
INITS = [None, "kaiming", "xavier"]
CONVOLUTIONS: dict[str, list[Any]] = {
    "channels": [None, 3, (2,), (2, 3), ((2, 3),), [[2], [3]]],
    "kernel_size": [1, 2, 3],
    "padding": ["same", 1],
    "batch_norm": [False, True, "first"],
    "activation": ACTIVATIONS,
    "pool": ["max", "avg", None],
    "conv_dropout": DROPOUT,
    "weight_init": INITS,
}
AUTO = st.just({"module": "auto"})
MLPS = part(
    "module",
    "mlp",
    hidden=[(), 5, (8, 4)],
    activation=ACTIVATIONS,
    dropout=DROPOUT,
    batch_norm=[False, True],
    weight_init=INITS,
)
CONVNETS = part(
    "module",
    "convnet",
    **CONVOLUTIONS,
    hidden=[(), 5, (6, 4)],
    hidden_activation=[None, "tanh"],
    dropout=DROPOUT,
)
STRIDED: st.SearchStrategy = st.builds(
    dict,
    part("module", "convnet", stride=[2], pool_stride=[1, 2]),
    module__channels=st.just((3,)),
)
LENETS = part(
    "module",
    "lenet",
    kernel_size=[3, 5],
    batch_norm=[False, True],
    activation=ACTIVATIONS,
    pool=["max", "avg"],
    hidden=[(), (9, 8)],
    dropout=DROPOUT,
)
TORCHVISION = st.one_of(
    part("module", "resnet18"),
    part("module", "shufflenet_v2_x0_5"),
    part("module", "mobilenet_v3_small", dropout=DROPOUT),
)
OWN = st.one_of(
    part("module", Small, width=[2, 3]),
    part("module", sequential, width=[2, 3]),
    part("module", Lazy),
    part("module", WithFeatures),
)
DENSE = st.one_of(
    AUTO,
    part(
        "module",
        "dense_autoencoder",
        hidden=[3, (6, 2)],
        activation=ACTIVATIONS,
        output_activation=[None, "sigmoid"],
        weight_init=INITS,
    ),
    part("module", SmallAutoencoder, width=[2]),
)
CONVOLUTIONAL = part(
    "module",
    "conv_autoencoder",
    **CONVOLUTIONS,
    n_code=[None, 3],
    decoder_activation=[None, "elu"],
    output_activation=["sigmoid", None],
)


def networks(kind: str, family: str, flat: bool) -> st.SearchStrategy:
    """Return a strategy of networks and their options."""
    if kind == "autoencoder":
        return DENSE if flat else st.one_of(DENSE, CONVOLUTIONAL, CONVOLUTIONAL)
    if family == "any":
        return st.one_of(AUTO, MLPS, OWN, *(() if flat else (CONVNETS, STRIDED)))
    return LENETS if family == "lenet" else TORCHVISION


# --------------------------------------------------------------------------- training

OPTIMIZERS = st.one_of(
    part("optimizer", "sgd", momentum=[0.9], weight_decay=[1e-3], fused=[False]),
    part("optimizer", "adam", betas=[(0.8, 0.9)], amsgrad=[True], foreach=[True]),
    part("optimizer", "adamw", weight_decay=[0.1], fused=[False, True]),
    part("optimizer", "rmsprop", alpha=[0.9], momentum=[0.5], centered=[True]),
    part("optimizer", torch.optim.SGD, momentum=[0.9], lr=[1e-4]),
    part("optimizer", torch.optim.NAdam, weight_decay=[1e-3]),
    part("optimizer", torch.optim.Adagrad),
    # Of its defaults, each step would take seconds.
    st.builds(
        dict,
        part("optimizer", torch.optim.LBFGS, tolerance_grad=[1e-5]),
        optimizer__max_iter=st.just(2),
        optimizer__history_size=st.just(2),
    ),
)
CRITERIA = {
    "classifier": st.one_of(
        part("criterion", "cross_entropy", label_smoothing=[0.1], reduction=["sum"]),
        part("criterion", nn.CrossEntropyLoss, label_smoothing=[0.1]),
        st.builds(dict, criterion=st.builds(nn.CrossEntropyLoss)),
        part("criterion", nn.MultiMarginLoss, margin=[0.5]),
    ),
    "regressor": st.one_of(
        part("criterion", "mse", reduction=["sum"]),
        part("criterion", "l1"),
        part("criterion", "smooth_l1", beta=[0.5]),
        part("criterion", nn.HuberLoss, delta=[0.5]),
    ),
    "autoencoder": st.one_of(
        *(part("criterion", name) for name in ("mse", "l1", "smooth_l1"))
    ),
}
#: Of classifiers whose outputs are probabilities.
ENTROPY = {"epoch_scoring": cross_entropy_scorer()}
SCORING: dict[str, list[Any]] = {
    "classifier": [
        "accuracy",
        ["f1_macro", "balanced_accuracy"],
        {"top": top_k_scorer(1), "own": None},
    ],
    "regressor": [
        "r2",
        ["neg_mean_absolute_error", "neg_root_mean_squared_error"],
        {"own": None},
    ],
    "autoencoder": [mean_code, {"own": None, "first loss": first_loss}],
}
COMMON = some(
    lr=[1e-4, 1e-3],
    batch_size=[2, 5, 16, 128, -1],
    normalize=["channel", None, (0.5, 0.25), ([0.5], [0.2])],
    # Not "auto": a GPU would not give the same to the last bit.
    device=[None, torch.device("cpu")],
    memory_format=["auto", "channels_last", "contiguous"],
    verbose=[1],
    warm_start=[True],
)
COMPILED = {"compile": True, "compile__backend": "eager"}
PRECISION = st.sampled_from([{}, {}, {"dtype": "float64"}, {"amp": True}])
ITERATORS = st.sampled_from(
    [
        *[{}] * 5,
        {"iterator_valid__batch_size": 7},
        {"iterator_train__drop_last": True, "iterator_train__batch_size": 8},
        {"iterator_train__num_workers": 1},
        {
            "iterator_train": DataLoader,
            "iterator_train__shuffle": True,
            # Normalisation cannot be trained on the last row alone.
            "iterator_train__drop_last": True,
            "iterator_train__batch_size": 8,
        },
    ]
)
RANDOM_STATES = st.one_of(
    st.integers(0, 99), st.none(), st.builds(np.random.RandomState, st.integers(0, 9))
)
AUGMENT = st.lists(
    st.one_of(
        st.builds(RandomHorizontalFlip),
        st.builds(RandomShift, st.integers(0, 2), st.sampled_from([0.0, "reflect"])),
        st.builds(RandomRotation, st.just(15)),
        st.builds(RandomResizedCrop, scale=st.just((0.5, 1.0))),
        st.builds(GaussianNoise),
        st.builds(UniformNoise),
        st.builds(RandomErasing, value=st.sampled_from([0.0, "random"])),
        st.builds(v2.RandomVerticalFlip),
        st.just(negative),
        st.none(),
    ),
    max_size=3,
)
SPLITS = ["none", "none", "early stopping", "folds", "stratified", "predefined"]
SOURCES = ["estimator", "module", "state_dict", "pt", "safetensors", "autoencoder"]

# ------------------------------------------------------------------------------- data

ROWS = ("flat", "frame")
#: Of PIL's images, which have one channel or three.
COLOURS = ("PIL", "files", "folder", "folder as_Xy")
DATA_SETS = ("data set", "as_Xy", "slices", "pairs")
LAYOUTS = [*PLAIN, "map", "files", "folder", "folder as_Xy", *DATA_SETS]
NATIVE = ["uint8", "float32", "float64"]
OF_NUMPY = ("grey", "first", "last", "fortran", "reversed", "list", "flat", "folded")


def images(draw: Any, kind: str, family: str) -> Data:
    """Draw what is given to ``fit``."""
    of_size = {"any": st.integers(8, 12), "lenet": st.just(16)}
    sides = of_size.get(family, st.just(32))
    layouts = [name for name in LAYOUTS if family == "any" or name not in ROWS]
    layout = draw(st.sampled_from(layouts))
    n_channels = draw(st.sampled_from([1, 3] if layout in COLOURS else [1, 3, 2]))
    shape = (1 if layout == "grey" else n_channels, draw(sides), draw(sides))
    dtypes = ["uint8"] if layout in COLOURS else NATIVE
    if layout in OF_NUMPY:
        dtypes = [*NATIVE, "float16", "int16", "bool", ">f4"]
    if kind == "classifier":
        name = draw(st.sampled_from([*LABELS]))
        if layout == "data set" and name == "strings":
            name = "codes"
        target = (name, draw(st.integers(2, len(LABELS[name]))))
        containers = ["array", "list", "series", "column"]
        containers += ["objects"] if name == "strings" else []
    else:
        sizes, numbers = [(), (1,), (3,)], ["float64", "float32", "int64"]
        target = draw(st.sampled_from(sizes)), draw(st.sampled_from(numbers))
        containers = ["array", "list"]
    return Data(
        layout,
        shape,
        draw(st.integers(24, 50)),
        draw(st.sampled_from(dtypes)),
        target,
        draw(st.sampled_from(containers)),
        draw(st.sampled_from([None, None, "random", "some zeros"])),
        draw(st.sampled_from(["plain", "resized", "random"])),
    )


@st.composite
def configurations(draw: Any, *, large: bool = True) -> Configuration:
    """Draw a valid configuration of any estimator.

    Parameters
    ----------
    large : bool, default=True
        Whether networks of torchvision's and compiled ones are among them, which take
        seconds.
    """
    kind = draw(st.sampled_from(["classifier", *ESTIMATORS]))
    families = ["any"] * 8 + ["lenet"] + ["torchvision"] * large
    family = "any" if kind == "autoencoder" else draw(st.sampled_from(families))
    data = images(draw, kind, family)
    params = {**draw(networks(kind, family, data.layout in ROWS))}
    for strategy in (COMMON, PRECISION, OPTIMIZERS, CRITERIA[kind], ITERATORS):
        params |= draw(strategy)
    params["max_epochs"] = draw(st.integers(1, 2))
    params["random_state"] = draw(RANDOM_STATES)
    params |= _of_kind(draw, kind, params)
    params |= _of_images(draw, kind, data)
    later: dict[str, Any] = {}
    _held_out(draw, kind, data, params, later)
    _callbacks(draw, params, later)
    _transfer(draw, kind, params, later)
    if draw(st.integers(0, 3)) == 0:
        later["checkpoint"] = True
        params |= draw(some(checkpoint_steps=[1, 2]))
    if large and draw(st.integers(0, 19)) == 0:
        params |= COMPILED
    if "sum" in (params.get("criterion__reduction"), params.get("reduction")):
        params["lr"] = 1e-5  # It is multiplied by the number of rows or pixels.
    return Configuration(kind, params, later, data, draw(st.booleans()))


def _of_kind(draw: Any, kind: str, so_far: dict) -> dict[str, Any]:
    """Draw parameters that depend on the kind of estimator."""
    params = draw(some(epoch_scoring=SCORING[kind]))
    if kind == "autoencoder":
        params |= draw(some(reduction=["mean", "sum"]))
        in_range = so_far["module"] == "conv_autoencoder"
        in_range &= so_far.get("module__output_activation", "sigmoid") == "sigmoid"
        in_range &= so_far.get("normalize") is None
        if in_range and draw(st.booleans()):
            params["criterion"] = nn.BCELoss
        return params
    params |= draw(some(predict_nonlinearity=[None, torch.sigmoid]))
    if kind == "classifier":
        gives_margins = so_far["criterion"] is nn.MultiMarginLoss
        gives_margins |= "predict_nonlinearity" in params
        if not gives_margins and draw(st.booleans()):
            params |= ENTROPY
        params |= draw(some(class_weight=["balanced"]))
        if so_far["module"] is Small and draw(st.booleans()):
            for name in [name for name in so_far if name.startswith("criterion")]:
                del so_far[name]
            params |= {"module": LogProbabilities, "criterion": nn.NLLLoss}
    return params


def _of_images(draw: Any, kind: str, data: Data) -> dict[str, Any]:
    """Draw parameters that depend on what X is."""
    params: dict[str, Any] = {}
    if data.layout not in ROWS:
        params = draw(st.fixed_dictionaries({}, optional={"augment": AUGMENT}))
        if data.shape[0] != 2 and draw(st.integers(0, 4)) == 0:
            params["augment"] = ColorJitter(0.2, (0.5, 1.0), 0.1)
        if kind == "autoencoder":
            params |= draw(some(noise=[GaussianNoise(0.2), [UniformNoise(), None]]))
        if data.layout == "folded" or draw(st.integers(0, 4)) == 0:
            params["image_shape"] = data.shape
        # What cannot be told by the number of channels has to be said.
        if data.shape[0] == 2 or draw(st.booleans()):
            last = data.layout in ("last", "list")
            params["channels"] = "last" if last else "first"
    return params


def _held_out(draw: Any, kind: str, data: Data, params: dict, later: dict) -> None:
    """Draw which rows are not trained on, into `params` and `later`."""
    split = draw(st.sampled_from(SPLITS))
    if split == "early stopping":
        params["early_stopping"] = True
        params |= draw(some(validation_fraction=[0.1, 0.4], n_iter_no_change=[1, 3]))
    elif split == "folds":
        params["train_split"] = ValidSplit(3)
    elif split == "stratified" and kind == "classifier":
        params["train_split"] = ValidSplit(0.3, stratified=True, random_state=0)
    elif split == "predefined" and data.layout not in ROWS and data.dtype != ">f4":
        later["predefined"] = True


def _callbacks(draw: Any, params: dict, later: dict) -> None:
    if draw(st.integers(0, 9)) == 0 and not params.get("early_stopping"):
        params["callbacks"] = "disable"
    elif draw(st.booleans()):
        names = st.lists(st.sampled_from([*CALLBACKS]), max_size=3, unique=True)
        later["callbacks"] = draw(names)


def _transfer(draw: Any, kind: str, params: dict, later: dict) -> None:
    """Draw weights to begin with, and what is not trained."""
    module = params["module"]
    if kind == "classifier":
        later |= draw(some(class_weight=[True])) if draw(st.booleans()) else {}
    if module is sequential and kind != "autoencoder" and draw(st.booleans()):
        params.pop("module__width", None)
        later["module"] = "instance"
    if draw(st.booleans()):
        return
    sources = SOURCES if kind != "autoencoder" and module == "auto" else SOURCES[:-1]
    later["pretrained"] = draw(st.sampled_from(sources))
    params |= draw(some(pretrained_mix=[0.5, 0.0]))
    if params["optimizer"] is not torch.optim.LBFGS:  # It takes no groups.
        params |= draw(some(pretrained_lr_mult=[0.1]))
    if module == "mlp" and params.get("module__hidden") == ():
        params |= draw(some(freeze=["*bias"]))  # There is a head alone.
    else:
        params |= draw(some(freeze=["encoder", "backbone", ["*bias", "*bias"]]))
    if "freeze" in params:
        params |= draw(some(unfreeze_at=[2, {2: "*bias"}]))
