"""Parameters of the estimators that are wrong, one by one."""

import math
import re

import numpy as np
import pytest

ESTIMATORS = {
    "ImageClassifier": "classifier",
    "ImageRegressor": "regressor",
    "ImageAutoencoder": "autoencoder",
}

#: Parameters of all estimators, a value, and what is expected instead.
COMMON = [
    ("module", 5, "a callable or an instance of 'torch.nn"),
    ("module", None, "an instance of 'str'"),
    ("criterion", "crossentropy", "a str among .*'cross_entropy'"),
    ("criterion", 5, "a callable"),
    ("optimizer", "adamm", "a str among .*'adamw'"),
    ("optimizer", 1e-3, "a callable"),
    ("lr", -1, r"a float in the range \[0.0, inf\)"),
    ("lr", math.nan, r"\[0.0, inf\)"),
    ("lr", math.inf, r"\[0.0, inf\)"),
    ("lr", "fast", r"\[0.0, inf\)"),
    ("max_epochs", -1, r"an int in the range \[0, inf\)"),
    ("max_epochs", 1.5, r"an int"),
    ("max_epochs", "3", r"an int"),
    ("batch_size", 0, r"\[1, inf\) or an? int among {-1}"),
    ("batch_size", -2, r"\[1, inf\) or an? int among {-1}"),
    ("batch_size", 0.5, r"\[1, inf\) or an? int among {-1}"),
    ("normalize", "pixel", "a str among {.*'channel'"),
    ("normalize", 0.5, "an instance of 'tuple'"),
    ("image_size", 0, r"an int in the range \[1, inf\)"),
    ("image_size", "64", "an instance of 'tuple'"),
    ("resize", "stretch", "a str among .*'squash'"),
    ("color_mode", "gray", "a str among .*'grey'"),
    ("on_error", "ignore", "a str among .*'skip'"),
    ("channels", "middle", "'auto'"),
    ("channels", 3, "a str among"),
    ("image_shape", 64, "an instance of 'tuple'"),
    ("image_shape", "1x8x8", "an instance of 'tuple'"),
    ("augment", 5, "a callable, an instance of 'list'"),
    ("early_stopping", "yes", "an instance of 'bool'"),
    ("validation_fraction", 0, r"a float in the range \(0.0, 1.0\)"),
    ("validation_fraction", 1, r"\(0.0, 1.0\)"),
    ("validation_fraction", -0.1, r"\(0.0, 1.0\)"),
    ("n_iter_no_change", 0, r"an int in the range \[1, inf\)"),
    ("epoch_scoring", 5, "an array-like, an instance of 'str'"),
    ("pretrained_mix", 1.5, r"a float in the range \[0.0, 1.0\]"),
    ("pretrained_mix", math.nan, r"\[0.0, 1.0\]"),
    ("pretrained_lr_mult", -1, r"a float in the range \[0.0, inf\)"),
    ("pretrained_lr_mult", "0.1", r"a float in the range .* an instance of 'dict'"),
    ("unfreeze_at", 1, r"an int in the range \[2, inf\), an instance of 'dict'"),
    ("unfreeze_at", "2", r"an int in the range \[2, inf\), an instance of 'dict'"),
    ("freeze", 5, "an instance of 'str', an instance of 'list'"),
    ("feature_cache", True, "an instance of 'str', an instance of 'os.PathLike'"),
    ("feature_cache", 5, "an instance of 'os.PathLike', a bool among {False}"),
    ("n_views", 0, r"an int in the range \[1, inf\)"),
    ("checkpoint", 5, "an instance of 'str', an instance of 'os.PathLike'"),
    ("image_cache", 5, "an instance of 'str', an instance of 'os.PathLike'"),
    ("checkpoint_steps", 0, r"an int in the range \[1, inf\)"),
    ("dtype", "float16", "a str among .*'float64'"),
    ("dtype", np.float64, "a str among .*'float64'"),
    ("device", 0, "an instance of 'str', an instance of 'torch.device'"),
    ("amp", "yes", "an instance of 'bool'"),
    ("compile", 1, "an instance of 'bool'"),
    ("memory_format", "nchw", "a str among .*'channels_last'"),
    ("random_state", "seed", "an int in the range"),
    ("random_state", -1, "an int in the range"),
    ("warm_start", "no", "an instance of 'bool'"),
    ("verbose", -1, "an int in the range"),
    ("callbacks", 5, "an instance of 'list'"),
    ("callbacks", "off", "a str among {'disable'}"),
    ("train_split", 5, "callable"),
    ("iterator_train", 5, "a callable"),
    ("iterator_valid", "loader", "a callable"),
]
#: Those of one estimator.
OWN = [
    ("ImageClassifier", "class_weight", "equal", "a str among {'balanced'}"),
    ("ImageClassifier", "class_weight", 5, "an instance of 'dict'"),
    ("ImageClassifier", "threshold", 1.5, r"a float in the range \(0.0, 1.0\)"),
    ("ImageClassifier", "threshold", "best", "a str among {'tuned'}"),
    ("ImageClassifier", "predict_nonlinearity", "tanh", "a str among .*'softmax'"),
    ("ImageRegressor", "predict_nonlinearity", 5, "a callable"),
    ("ImageRegressor", "normalize_target", "yes", "a str among {'auto'}"),
    ("ImageAutoencoder", "noise", 0.1, "a callable, an instance of 'list'"),
    ("ImageAutoencoder", "reduction", "max", "a str among .*'sum'"),
]

CASES = [
    {
        ValueError: {
            f"{estimator}: {name}={value!r}": (
                lambda b, e=estimator, n=name, v=value: b.refit(
                    ESTIMATORS[e], **{n: v}
                ),
                f"'{name}' parameter of {estimator}",
                f"Got {re.escape(repr(value))} instead",
                expected,
            )
            for estimator, name, value, expected in [
                *(
                    (estimator, *common)
                    for common in COMMON
                    for estimator in ESTIMATORS
                ),
                *OWN,
            ]
        },
    }
]


def test_bad_input(case, refuse):
    refuse(case)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_parameter_is_forgotten(estimator, fitted):
    net = fitted[1][ESTIMATORS[estimator]]
    tried = {
        name
        for where, name, *_ in [*((estimator, *common) for common in COMMON), *OWN]
        if where == estimator
    }
    rest = {"predict_nonlinearity", "pretrained"}
    assert set(type(net)._parameter_constraints) - tried <= rest
    assert tried <= set(net._own_names())
