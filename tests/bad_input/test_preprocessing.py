"""Transforms of images, and what enlarges data by them."""

import math
import re

import numpy as np
import torch

from skvision import preprocessing
from skvision.preprocessing import (
    ColorJitter,
    GaussianNoise,
    InputSpec,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomShift,
    UniformNoise,
    apply_transforms,
    expand,
)


def batch(b):
    return torch.from_numpy(b.X[:4, None] / 255).float()


PARAMETERS = [
    ("RandomHorizontalFlip", "p", 2, r"\[0.0, 1.0\]"),
    ("RandomHorizontalFlip", "p", math.nan, r"\[0.0, 1.0\]"),
    ("RandomHorizontalFlip", "p", "often", r"\[0.0, 1.0\]"),
    ("RandomShift", "max_shift", -1, r"\[0, inf\)"),
    ("RandomShift", "max_shift", 1.5, r"\[0.0, 1.0\)"),
    ("RandomShift", "max_shift", (1, 2, 3), "a pair"),
    ("RandomShift", "max_shift", None, "a pair"),
    ("RandomShift", "fill", "zero", "a str among {'reflect'}"),
    ("RandomShift", "fill", math.inf, r"\(-inf, inf\)"),
    ("RandomRotation", "degrees", -5, r"\[0.0, inf\)"),
    ("RandomRotation", "degrees", (10, -10), "an increasing pair"),
    ("RandomRotation", "degrees", math.nan, r"\[0.0, inf\)"),
    ("RandomRotation", "fill", None, r"\(-inf, inf\)"),
    ("RandomResizedCrop", "size", 0, r"\[1, inf\)"),
    ("RandomResizedCrop", "size", (8, -8), "a pair"),
    ("RandomResizedCrop", "size", 8.0, "an int"),
    ("RandomResizedCrop", "scale", (0, 1), r"\(0.0, 1.0\]"),
    ("RandomResizedCrop", "scale", 0.5, "an increasing pair"),
    ("RandomResizedCrop", "ratio", (2, 1), "an increasing pair"),
    ("ColorJitter", "brightness", -1, r"\[0.0, inf\)"),
    ("ColorJitter", "contrast", (2, 1), "an increasing pair"),
    ("ColorJitter", "saturation", "strong", r"\[0.0, inf\)"),
    ("RandomErasing", "p", -0.1, r"\[0.0, 1.0\]"),
    ("RandomErasing", "scale", (0.5, 2), r"\(0.0, 1.0\]"),
    ("RandomErasing", "ratio", (0, 1), r"\(0.0, inf\)"),
    ("RandomErasing", "value", "mean", "a str among {'random'}"),
    ("GaussianNoise", "std", -1, r"\[0.0, inf\)"),
    ("GaussianNoise", "std", math.inf, r"\[0.0, inf\)"),
    ("GaussianNoise", "clip", "yes", "bool"),
    ("UniformNoise", "low", -math.inf, r"\(-inf, inf\)"),
    ("UniformNoise", "high", "0.1", r"\(-inf, inf\)"),
    ("UniformNoise", "low", 0.5, "at most 'high'"),
]
#: What transforms may be called with, and what they say.
BATCHES = {
    "an array": (lambda b: b.X[:, None] / 255, "tensor|Tensor ... ndarray"),
    "None": (lambda b: None, "tensor|Tensor ... NoneType|None"),
    "uint8 images": (
        lambda b: torch.from_numpy(b.X[:, None]),
        "expects float images ... torch.uint8",
    ),
    "three axes": (
        lambda b: batch(b)[:, 0],
        r"shape \(b, C, H, W\) ... of shape \(4, 8, 8\)",
    ),
}
TRANSFORMS = {
    ValueError: {
        **{
            f"{name}: {parameter}={value!r}": (
                lambda b, n=name, p=parameter, v=value: getattr(preprocessing, n)(
                    **{p: v}
                )(batch(b)),
                f"'{parameter}' parameter of {name} must be",
                expected,
                "[Gg]ot",
            )
            for name, parameter, value, expected in PARAMETERS
        },
        "ColorJitter: images with two channels": (
            lambda b: ColorJitter(saturation=0.5)(batch(b).repeat(1, 2, 1, 1)),
            "ColorJitter expects images with 1 or 3 channels ... got 2",
        ),
        "RandomShift: mirror smaller than the shift": (
            lambda b: RandomShift(max_shift=8, fill="reflect")(batch(b)),
            "fill='reflect' ... max_shift must be less than ... 8 and 8; got 8",
        ),
        "RandomRotation: set_params with a misspelt name": (
            lambda b: RandomRotation().set_params(degree=5),
            r"Invalid parameter 'degree' ... Valid parameters are: \['degrees'",
        ),
    },
    (TypeError, ValueError): {
        f"{transform.__name__}: called with {what}": (
            lambda b, t=transform, m=make: t()(m(b)),
            transform.__name__,
            *parts,
        )
        for transform in [
            *(ColorJitter, GaussianNoise, RandomErasing, RandomHorizontalFlip),
            *(RandomResizedCrop, RandomRotation, RandomShift, UniformNoise),
        ]
        for what, (make, *parts) in BATCHES.items()
    },
    TypeError: {
        "RandomErasing: misspelt parameter": (
            lambda b: RandomErasing(scales=(0.1, 0.2)),
            "unexpected keyword argument 'scales'",
        ),
    },
}
SPECS = {
    (TypeError, ValueError): {
        f"InputSpec: {what}": (
            lambda b, o=options: InputSpec(**o).fit_size(batch(b)),
            name,
            value,
        )
        for what, options, name, value in [
            ("size=5", {"size": 5}, "size", "5"),
            ("negative size", {"size": (-4, 4)}, "size", "-4"),
            ("resize=-1", {"size": (4, 4), "resize": -1}, "resize", "-1"),
            (
                "misspelt interpolation",
                {"size": (4, 4), "interpolation": "cubic"},
                "interpolation",
                "cubic",
            ),
            ("mean without std", {"mean": (0.5,)}, "std", "mean"),
        ]
    },
}
APPLIED = {
    TypeError: {
        "apply_transforms: a number as transform": (
            lambda b: apply_transforms(batch(b), 5),
            "transforms expects transforms ... 5 of type int ... callable",
        ),
        "apply_transforms: class of a transform": (
            lambda b: apply_transforms(batch(b), [UniformNoise]),
            "transforms expects transforms ... class UniformNoise",
            r"UniformNoise\(\)",
        ),
        "apply_transforms: function that returns a number": (
            lambda b: apply_transforms(batch(b), lambda image: 0.5),
            "transform <function ... must return a float tensor ... got float",
        ),
        "apply_transforms: function that returns uint8": (
            lambda b: apply_transforms(batch(b), [lambda image: (image * 255).byte()]),
            "must return a float tensor ... got torch.uint8",
        ),
    },
    ValueError: {
        "apply_transforms: function that drops an axis": (
            lambda b: apply_transforms(batch(b), [lambda image: image[0]]),
            r"images of one shape \(C, H, W\) ... got \(8, 8\)",
        ),
    },
    (TypeError, ValueError): {
        "apply_transforms: images in an array": (
            lambda b: apply_transforms(b.X[:, None] / 255, [RandomHorizontalFlip()]),
            "tensor|Tensor ... ndarray",
        ),
        "apply_transforms: images in an array, for a function": (
            lambda b: apply_transforms(b.X[:, None] / 255, [lambda image: image]),
            "tensor|Tensor ... ndarray",
        ),
    },
}
FLIP = RandomHorizontalFlip()
EXPANDED = {
    ValueError: {
        **{
            f"expand: {what}": (
                lambda b, make=make: expand(make(b), b.y, [FLIP]),
                *parts,
            )
            for what, make, parts in [
                (
                    "flat rows",
                    lambda b: b.rows,
                    ("X has rows of features", "Reshape it"),
                ),
                ("None", lambda b: None, ("expand needs images", "X|None")),
                (
                    "no image",
                    lambda b: b.X[:0],
                    (r"0 sample\(s\)", r"\(0, 8, 8\)"),
                ),
                (
                    "five axes",
                    lambda b: np.zeros((60, 1, 1, 8, 8)),
                    ("Expected X of shape", r"got shape \(60, 1, 1, 8, 8\)"),
                ),
                (
                    "whole numbers",
                    lambda b: b.X.astype(int),
                    ("uint8 values or", "int64"),
                ),
                (
                    "values up to 255",
                    lambda b: b.X / 1.0,
                    ("from 0 to 255", "Scale them"),
                ),
                ("NaN", lambda b: b.X * np.nan, ("Input X contains NaN",)),
                (
                    "complex numbers",
                    lambda b: b.X * 1j,
                    ("Complex data not supported",),
                ),
                (
                    "strings",
                    lambda b: b.X.astype(str),
                    ("bytes/strings", "Convert your"),
                ),
                (
                    "channels that cannot be told",
                    lambda b: np.zeros((60, 5, 8, 8)),
                    ("Cannot tell the channels", "Set channels="),
                ),
            ]
        },
        "expand: a label too few": (
            lambda b: expand(b.X, b.y[1:], FLIP),
            r"inconsistent numbers of samples ... \[60, 59\]",
        ),
        "expand: transform to another size": (
            lambda b: expand(b.X, b.y, RandomResizedCrop(size=4)),
            r"keep their shape \(1, 8, 8\) ... RandomResizedCrop ... gave \(1, 4, 4\)",
        ),
        "expand: channels='middle'": (
            lambda b: expand(b.X, b.y, FLIP, channels="middle"),
            "'channels' parameter of expand ... a str among ... Got 'middle'",
        ),
        "expand: random_state='seed'": (
            lambda b: expand(b.X, b.y, FLIP, random_state="seed"),
            "'random_state' parameter of expand ... Got 'seed'",
        ),
        "expand: transform with a parameter out of range": (
            lambda b: expand(b.X, b.y, [GaussianNoise(std=-1)]),
            "'std' parameter of GaussianNoise",
            re.escape("[0.0, inf)"),
            "Got -1",
        ),
    },
    TypeError: {
        "expand: a number as transform": (
            lambda b: expand(b.X, b.y, [FLIP, 5]),
            "transforms expects transforms ... 5 of type int",
        ),
    },
}
CASES = [TRANSFORMS, SPECS, APPLIED, EXPANDED]


def test_bad_input(case, refuse):
    refuse(case)
