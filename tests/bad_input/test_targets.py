"""Targets and weights that do not go with the images, and what is asked too early."""

from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from skorch.dataset import ValidSplit
from torch.utils.data import TensorDataset

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor


def with_value(y, value):
    y = np.array(y, dtype=np.float64)
    y[3] = value
    return y


KINDS = {
    "ImageClassifier": "classifier",
    "ImageRegressor": "regressor",
    "ImageAutoencoder": "autoencoder",
}


def without_label(b):
    """Return a data set of images alone."""
    return TensorDataset(torch.from_numpy(b.X[:, None]))


#: What is wrong with labels, the labels, the error, and what it says.
LABELS = {
    ValueError: {
        "no labels": (
            lambda b: None,
            "requires y to be passed ... y is None ... X carries no labels",
        ),
        "a number": (lambda b: 5, r"y should be a 1d array ... shape \(\)"),
        "no label": (lambda b: b.y[:0], r"inconsistent ... \[60, 0\]|0"),
        "a label too few": (
            lambda b: b.y[:-1],
            "inconsistent numbers of samples ... 60, 59|59, 60",
        ),
    },
    TypeError: {
        "sparse labels": (
            lambda b: csr_array(b.y[:, None]),
            "Sparse data was passed for y ... toarray",
        ),
    },
}
#: What is wrong with rows to validate on, and what the error says.
VALIDATION = {
    "images to validate on without labels": (
        lambda b: {"X_val": b.X},
        "X_val without y_val: ImageClassifier requires y ... X carries no labels",
    ),
    "labels to validate on without images": (
        lambda b: {"y_val": b.y},
        "y_val is given, but X_val is not ... Give the images",
    ),
    "weights to validate with, without images": (
        lambda b: {"sample_weight_val": b.y},
        "sample_weight_val is given, but X_val is not",
    ),
    "unknown label to validate on": (
        lambda b: {"X_val": b.X, "y_val": b.y + 5},
        r"X_val, y_val: y contains the label\(s\) \[10 ... not among the classes",
        "Leave these rows out",
    ),
    "a label to validate on too few": (
        lambda b: {"X_val": b.X, "y_val": b.y[1:]},
        r"X_val, y_val: ... inconsistent ... \[60, 59\]",
    ),
    "images of another size to validate on": (
        lambda b: {"X_val": b.X[:, :5], "y_val": b.y},
        r"X_val, y_val: ... \(1, 5, 8\) ... \(1, 8, 8\)",
    ),
    "negative weight to validate with": (
        lambda b: {"X_val": b.X, "y_val": b.y, "sample_weight_val": b.y - 1.0},
        "X_val, y_val, sample_weight_val: Negative values",
    ),
}
#: What is wrong with groups, and what the error says.
GROUPS = {
    "one group": (
        lambda b: np.ones(60),
        "cannot hold out whole groups ... all rows belong to 1.0 ... X_val and y_val",
    ),
    "classes as groups": (
        lambda b: b.y,
        "each of the 10 groups is the only one of some class ... leave groups out",
    ),
    "a group too few": (lambda b: np.arange(59), r"inconsistent ... \[60, 60, 59\]"),
    "a row without group": (
        lambda b: with_value(b.y, np.nan),
        r"groups contains NaN, at 1 place\(s\) ... Give each row its group",
    ),
    "no group for some": (
        lambda b: ["a", None] * 30,
        r"groups has no label at 30 place\(s\)",
    ),
    "groups of two columns": (
        lambda b: np.zeros((60, 2)),
        r"groups has shape \(60, 2\) ... one for each row",
    ),
}
CLASSIFIER_LABELS = {
    ValueError: {
        "numbers that are no labels": (
            lambda b: b.t,
            "Unknown label type: continuous ... classifier ... discrete classes",
        ),
        "NaN": (lambda b: with_value(b.y, np.nan), "Input y contains NaN"),
        "infinity": (lambda b: with_value(b.y, np.inf), "Input y contains infinity"),
        "None among labels": (
            lambda b: np.array([None, *b.y[1:]], dtype=object),
            r"y has no label at 1 place\(s\), such as \[0\] ... None or NaN",
        ),
        "NaN among strings": (
            lambda b: ["a", float("nan"), *b.y[2:].astype(str).tolist()],
            r"y has no label at 1 place\(s\), such as \[1\] ... None or NaN",
        ),
        "a number among strings": (
            lambda b: ["a", 1, *b.y[2:].astype(str).tolist()],
            r"several types, \['int', 'str'\]",
        ),
        "complex numbers": (
            lambda b: b.y * 1j,
            "Complex data not supported|Unknown label type",
        ),
        "one class": (
            lambda b: np.full(60, "cat"),
            r"needs at least 2 classes ... y has 1 class, \['cat'\]",
        ),
    },
    (TypeError, ValueError): {
        "strings beside numbers": (
            lambda b: np.array(["zero", *b.y[1:]], dtype=object),
            "y ... label ... str",
        ),
    },
}
REGRESSOR_TARGETS = {
    ValueError: {
        "no labels": LABELS[ValueError]["no labels"],
        "strings": (
            lambda b: np.full(60, "a"),
            "could not convert string to float ... 'a'",
        ),
        "NaN": (lambda b: with_value(b.t, np.nan), "Input y contains NaN"),
        "infinity": (lambda b: with_value(b.t, np.inf), "Input y contains infinity"),
        "three axes": (lambda b: np.zeros((60, 2, 2)), "dim 3 ... dim <= 2"),
        "a target too few": (
            lambda b: b.t[1:],
            "inconsistent numbers of samples ... 60, 59|59, 60",
        ),
        "complex numbers": (lambda b: b.t * 1j, "Complex data not supported"),
    },
    (TypeError, ValueError): {
        "a number": (lambda b: 5.0, r"scalar ... 5\. ... dimen"),
    },
    TypeError: {
        "a sparse matrix": (
            lambda b: csr_array(b.t[:, None]),
            "Sparse data was passed for y ... toarray",
        ),
    },
}
WEIGHTS = {
    "negative": (lambda b: np.linspace(-1, 1, 60), "Negative values ... sample_weight"),
    "zero": (lambda b: np.zeros(60), "Sample weights ... one non-zero number"),
    "too many": (
        lambda b: np.ones(61),
        r"sample_weight.shape == \(61,\) ... expected \(60,\)",
    ),
    "NaN": (lambda b: np.full(60, np.nan), "sample_weight contains NaN"),
    "infinite": (lambda b: with_value(b.t, np.inf), "sample_weight contains inf"),
    "two axes": (
        lambda b: np.ones((60, 2)),
        "Sample weights must be 1D array or scalar ... got 2D array",
    ),
    "strings": (lambda b: ["much"] * 60, "could not convert string ... 'much'"),
    "complex numbers": (lambda b: np.ones(60) * 1j, "Complex data not supported"),
}
METHODS = {
    "ImageClassifier.fit": (
        lambda b, y, **w: b.classifier.fit(b.X, y, **w),
        [LABELS, CLASSIFIER_LABELS],
    ),
    "ImageClassifier.partial_fit": (
        lambda b, y, **w: b.classifier.partial_fit(b.X, y, **w),
        [LABELS],
    ),
    "ImageRegressor.fit": (
        lambda b, y, **w: b.regressor.fit(b.X, y, **w),
        [REGRESSOR_TARGETS],
    ),
    "ImageRegressor.partial_fit": (
        lambda b, y, **w: b.regressor.partial_fit(b.X, y, **w),
        [REGRESSOR_TARGETS],
    ),
    "ImageAutoencoder.fit": (lambda b, y, **w: b.autoencoder.fit(b.X, **w), []),
    "ImageAutoencoder.partial_fit": (
        lambda b, y, **w: b.autoencoder.partial_fit(b.X, **w),
        [],
    ),
}
FITS = [
    {
        error: {
            f"{name}: {what} as y": (lambda b, f=fit, m=make: f(b, m(b)), *patterns)
            for what, (make, *patterns) in table.items()
        }
    }
    for name, (fit, tables) in METHODS.items()
    for targets in tables
    for error, table in targets.items()
]
WEIGHTED = {
    ValueError: {
        f"{name}: weights are {what}": (
            lambda b, n=name, f=fit, m=make: f(
                b, b.targets(KINDS[n.split(".")[0]]), sample_weight=m(b)
            ),
            *patterns,
        )
        for name, (fit, _) in METHODS.items()
        for what, (make, *patterns) in WEIGHTS.items()
    }
}
LATER = {
    ValueError: {
        "ImageClassifier.fit: data set without labels": (
            lambda b: b.classifier.fit(without_label(b)),
            "requires y to be passed ... X carries no labels",
        ),
        "ImageClassifier.fit: a pair without a label": (
            lambda b: b.classifier.fit(
                [*zip(map(Image.fromarray, b.X), b.y, strict=True), (b.X[0],)]
            ),
            r"X ... pair|\(image, label\)",
        ),
        "ImageClassifier.fit: truth values as objects": (
            lambda b: b.classifier.fit(b.X, (b.y == 3).astype(object)),
            r"y has dtype object ... y\.astype\('bool'\)",
        ),
        "ImageClassifier.fit: labels of a type that is not known": (
            lambda b: b.classifier.fit(b.X, [Fraction(int(label), 3) for label in b.y]),
            "y has labels of type Fraction ... Give strings",
        ),
        "ImageClassifier.fit: one image": (
            lambda b: b.classifier.fit(b.X[:1], b.y[:1]),
            r"needs at least 2 classes ... y has 1 class, \[0\]",
        ),
        "ImageClassifier.fit: weights that leave one class": (
            lambda b: b.classifier.fit(b.X, b.y, sample_weight=(b.y == 3) * 1.0),
            r"needs at least 2 classes ... 1 class, \[3\]",
        ),
        **{
            f"ImageClassifier.fit: {name}": (
                lambda b, v=valid: b.classifier.fit(b.X, b.y, **v(b)),
                *parts,
            )
            for name, (valid, *parts) in VALIDATION.items()
        },
        **{
            f"ImageClassifier.fit: {name}": (
                lambda b, g=groups: b.classifier.set_params(early_stopping=True).fit(
                    b.X, b.y, groups=g(b)
                ),
                *parts,
            )
            for name, (groups, *parts) in GROUPS.items()
        },
        "ImageRegressor.fit: groups for a split that takes none": (
            lambda b: b.regressor.set_params(train_split=lambda data, y: None).fit(
                b.X, b.t, groups=b.y
            ),
            "train_split=.*lambda ... takes no argument groups ... leave groups out",
        ),
        "ImageRegressor.fit: two columns to validate on": (
            lambda b: b.regressor.fit(
                b.X, b.t, X_val=b.X, y_val=np.stack([b.t] * 2, 1)
            ),
            r"X_val, y_val: y has shape \(60, 2\) ... 1 column",
        ),
        "ImageAutoencoder.fit: other images to validate on": (
            lambda b: b.autoencoder.fit(b.X, X_val=b.X[:, :5]),
            r"X_val: ... \(1, 5, 8\) ... \(1, 8, 8\)",
        ),
        "ImageClassifier.fit: rows to validate on, twice": (
            lambda b: b.classifier.set_params(train_split=ValidSplit(3)).fit(
                b.X, b.y, X_val=b.X, y_val=b.y
            ),
            "X_val and train_split=.*ValidSplit ... Leave X_val out, or set train_spl",
        ),
        "ImageClassifier.partial_fit: label that has not been seen": (
            lambda b: b.classifier.partial_fit(b.X, b.y + 90),
            r"y contains the label\(s\) \[90 ... not among the classes ... by classes=",
        ),
        "ImageClassifier.partial_fit: labels of another kind": (
            lambda b: b.classifier.partial_fit(b.X, b.y.astype(str)),
            r"y contains the label\(s\) \['0' ... not among the classes \[0",
        ),
        "ImageClassifier.partial_fit: other classes": (
            lambda b: b.classifier.partial_fit(b.X, b.y, classes=range(11)),
            r"classes=range\(0, 11\) differs ... first call, \[0, 1",
        ),
        "ImageClassifier.partial_fit: label that is not among classes": (
            lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=[0, 1, 2]),
            r"y contains the label\(s\) \[3 ... not among the classes \[0, 1, 2\]",
        ),
        "ImageClassifier.partial_fit: None among classes": (
            lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=["a", None]),
            r"classes has no label at 1 place\(s\), such as \[1\]",
        ),
        "ImageClassifier.partial_fit: no classes": (
            lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=[]),
            r"classes=\[\] ... at least 2",
        ),
        "ImageClassifier.partial_fit: number of classes": (
            lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=10),
            "classes=10 ... at least 2|array|list",
        ),
        "ImageRegressor.fit: targets too large for float32": (
            lambda b: b.regressor.set_params(normalize_target=False).fit(
                b.X, with_value(b.t, 1e300)
            ),
            r"y ... too large for float32 ... 1e\+300",
        ),
        "ImageRegressor.partial_fit: values too large for float32": (
            lambda b: b.regressor.partial_fit(b.X, with_value(b.t, 1e300)),
            r"y ... too large for float32 ... 1e\+300",
        ),
        "ImageRegressor.partial_fit: more targets than before": (
            lambda b: b.regressor.partial_fit(b.X, np.stack([b.t, b.t], axis=1)),
            r"y has shape \(60, 2\) ... the first fit had 1 column",
        ),
        "ImageClassifier.score: no labels": (
            lambda b: b.classifier.score(b.X),
            "requires y to be passed ... X carries no labels",
        ),
        "ImageClassifier.score: a label too few": (
            lambda b: b.classifier.score(b.X, b.y[1:]),
            r"inconsistent numbers of samples ... \[59, 60\]",
        ),
        "ImageClassifier.score: labels of another kind": (
            lambda b: b.classifier.score(b.X, b.y.astype(str)),
            r"Mix of label input types \(string and number\) ... Got \['0' '1'",
        ),
        "ImageClassifier.score: weights of other rows": (
            lambda b: b.classifier.score(b.X, b.y, sample_weight=np.ones(3)),
            "inconsistent numbers of samples|sample_weight.shape ... 3",
        ),
        "ImageRegressor.score: NaN among targets": (
            lambda b: b.regressor.score(b.X, with_value(b.t, np.nan)),
            "contains NaN",
        ),
        "ImageRegressor.score: no targets": (
            lambda b: b.regressor.score(b.X),
            "ImageRegressor requires y ... X carries no labels",
        ),
        "ImageAutoencoder.inverse_transform: a column too few": (
            lambda b: b.autoencoder.inverse_transform(np.zeros((2, 3))),
            "codes have 3 columns ... expected 4",
        ),
        "ImageAutoencoder.inverse_transform: NaN": (
            lambda b: b.autoencoder.inverse_transform(np.full((2, 4), np.nan)),
            "codes contains NaN",
        ),
        "ImageAutoencoder.inverse_transform: one code": (
            lambda b: b.autoencoder.inverse_transform(np.zeros(4)),
            "Expected 2D array, got 1D array ... Reshape your data",
        ),
        "ImageAutoencoder.inverse_transform: strings": (
            lambda b: b.autoencoder.inverse_transform([["a"] * 4]),
            "could not convert string to float ... 'a'",
        ),
    },
}
ABSENT = {
    AttributeError: {
        "ImageRegressor.predict_proba: a regressor has none": (
            lambda b: b.regressor.predict_proba(b.X),
            "ImageRegressor has no predict_proba",
        ),
        "ImageAutoencoder.predict: an autoencoder has none": (
            lambda b: b.autoencoder.predict(b.X),
            "ImageAutoencoder has no predict ... see reconstruct",
        ),
        "ImageAutoencoder.predict_proba: an autoencoder has none": (
            lambda b: b.autoencoder.predict_proba(b.X),
            "ImageAutoencoder has no predict_proba",
        ),
        "ImageClassifier.classes_: before fit": (
            lambda b: ImageClassifier().classes_,
            "ImageClassifier has no classes_ before fit",
        ),
        "ImageClassifier.best_epoch_: no weights put back": (
            lambda b: b.classifier.best_epoch_,
            "no best_epoch_ ... set early_stopping=True",
        ),
    },
    TypeError: {
        "ImageClassifier.initialize: nothing known of the images": (
            lambda b: ImageClassifier().initialize(),
            "ConvNet needs the argument ... set module__image_shape",
        ),
    },
    NotFittedError: {
        "ImageClassifier.load_params: no network yet": (
            lambda b: ImageClassifier().load_params(f_params=b.path / "a.pt"),
            "no network to load weights into ... call fit or initialize first",
        ),
        "ImageClassifier.predict: never seen an image": (
            lambda b: (
                ImageClassifier(image_shape=(1, 8, 8), module__n_outputs=3)
                .initialize()
                .predict(b.X)
            ),
            "has never seen the images ... normalize='channel' ... Call fit, or set",
        ),
    },
}
UNFITTED = {
    NotFittedError: {
        f"{estimator.__name__}.{method}: not fitted": (
            lambda b, e=estimator, m=method: getattr(e(), m)(b.X),
            f"{estimator.__name__} instance is not .*[fi]",
            "fit|initialize",
        )
        for estimator, methods in [
            (ImageClassifier, ["predict", "predict_proba", "transform"]),
            (ImageRegressor, ["predict", "transform"]),
            (
                ImageAutoencoder,
                [
                    *("transform", "reconstruct", "inverse_transform"),
                    *("score", "score_samples"),
                ],
            ),
        ]
        for method in methods
    },
}
CASES = [*FITS, WEIGHTED, LATER, ABSENT, UNFITTED]


def test_bad_input(case, refuse):
    refuse(case)
