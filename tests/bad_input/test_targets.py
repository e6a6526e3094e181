"""Targets and weights that do not go with the images, and what is asked too early."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from torch.utils.data import TensorDataset

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor


def with_value(y, value):
    y = np.array(y, dtype=np.float64)
    y[3] = value
    return y


def row_and_marks(row):
    return getattr(row, "values", row), getattr(row, "marks", ())


def without_label(b):
    """Return a data set of images alone."""
    return TensorDataset(torch.from_numpy(b.X[:, None]))


#: What is wrong with labels, the labels, the error, and what it says.
LABELS = [
    (
        "no labels",
        lambda b: None,
        ValueError,
        ("requires y to be passed", "y is None", "X carries no labels"),
    ),
    ("a number", lambda b: 5, ValueError, ("y should be a 1d array", r"shape \(\)")),
    (
        "one-hot labels",
        lambda b: np.eye(10)[b.y],
        ValueError,
        ("y should be a 1d array", r"shape \(60, 10\)"),
    ),
    ("no label", lambda b: b.y[:0], ValueError, ("inconsistent", r"\[60, 0\]|0")),
    (
        "a label too few",
        lambda b: b.y[:-1],
        ValueError,
        ("inconsistent numbers of samples", "60, 59|59, 60"),
    ),
    (
        "sparse labels",
        lambda b: csr_array(b.y[:, None]),
        TypeError,
        ("Sparse data was passed for y", "toarray"),
    ),
]
CLASSIFIER_LABELS = [
    *LABELS,
    (
        "numbers that are no labels",
        lambda b: b.t,
        ValueError,
        ("Unknown label type: continuous", "classifier", "discrete classes"),
    ),
    (
        "NaN",
        lambda b: with_value(b.y, np.nan),
        ValueError,
        ("Input y contains NaN",),
    ),
    (
        "infinity",
        lambda b: with_value(b.y, np.inf),
        ValueError,
        ("Input y contains infinity",),
    ),
    (
        "None among labels",
        lambda b: np.array([None, *b.y[1:]], dtype=object),
        ValueError,
        (r"y has no label at 1 place\(s\), such as \[0\]", "None or NaN"),
    ),
    (
        "NaN among strings",
        lambda b: ["a", float("nan"), *b.y[2:].astype(str).tolist()],
        ValueError,
        (r"y has no label at 1 place\(s\), such as \[1\]", "None or NaN"),
    ),
    (
        "a number among strings",
        lambda b: ["a", 1, *b.y[2:].astype(str).tolist()],
        ValueError,
        (r"several types, \['int', 'str'\]",),
    ),
    pytest.param(
        "strings beside numbers",
        lambda b: np.array(["zero", *b.y[1:]], dtype=object),
        (TypeError, ValueError),
        ("y", "label", "str"),
    ),
    (
        "complex numbers",
        lambda b: b.y * 1j,
        ValueError,
        ("Complex data not supported|Unknown label type",),
    ),
    (
        "one class",
        lambda b: np.full(60, "cat"),
        ValueError,
        ("needs at least 2 classes", r"y has 1 class, \['cat'\]"),
    ),
]
REGRESSOR_TARGETS = [
    LABELS[0],
    (
        "strings",
        lambda b: np.full(60, "a"),
        ValueError,
        ("could not convert string to float", "'a'"),
    ),
    ("NaN", lambda b: with_value(b.t, np.nan), ValueError, ("Input y contains NaN",)),
    (
        "infinity",
        lambda b: with_value(b.t, np.inf),
        ValueError,
        ("Input y contains infinity",),
    ),
    (
        "three axes",
        lambda b: np.zeros((60, 2, 2)),
        ValueError,
        ("dim 3", "dim <= 2"),
    ),
    (
        "a target too few",
        lambda b: b.t[1:],
        ValueError,
        ("inconsistent numbers of samples", "60, 59|59, 60"),
    ),
    ("a number", lambda b: 5.0, (TypeError, ValueError), ("scalar", r"5\.", "dimen")),
    (
        "complex numbers",
        lambda b: b.t * 1j,
        ValueError,
        ("Complex data not supported",),
    ),
    (
        "a sparse matrix",
        lambda b: csr_array(b.t[:, None]),
        TypeError,
        ("Sparse data was passed for y", "toarray"),
    ),
]
WEIGHTS = [
    (
        "negative",
        lambda b: np.linspace(-1, 1, 60),
        ("Negative values", "sample_weight"),
    ),
    ("zero", lambda b: np.zeros(60), ("Sample weights", "one non-zero number")),
    (
        "too many",
        lambda b: np.ones(61),
        (r"sample_weight.shape == \(61,\)", r"expected \(60,\)"),
    ),
    ("NaN", lambda b: np.full(60, np.nan), ("sample_weight contains NaN",)),
    ("infinite", lambda b: with_value(b.t, np.inf), ("sample_weight contains inf",)),
    (
        "two axes",
        lambda b: np.ones((60, 2)),
        ("Sample weights must be 1D array or scalar", "got 2D array"),
    ),
    ("strings", lambda b: ["much"] * 60, ("could not convert string", "'much'")),
    ("complex numbers", lambda b: np.ones(60) * 1j, ("Complex data not supported",)),
]

FITS = [
    pytest.param(
        f"{name}: {row[0]} as y",
        lambda b, call=call, make=row[1]: call(b, make(b)),
        *row[2:],
        marks=marks,
    )
    for name, call, targets in [
        (
            "ImageClassifier.fit",
            lambda b, y: b.classifier.fit(b.X, y),
            CLASSIFIER_LABELS,
        ),
        (
            "ImageClassifier.partial_fit",
            lambda b, y: b.classifier.partial_fit(b.X, y),
            LABELS,
        ),
        (
            "ImageRegressor.fit",
            lambda b, y: b.regressor.fit(b.X, y),
            REGRESSOR_TARGETS,
        ),
        (
            "ImageRegressor.partial_fit",
            lambda b, y: b.regressor.partial_fit(b.X, y),
            REGRESSOR_TARGETS,
        ),
    ]
    for row, marks in map(row_and_marks, targets)
]
WEIGHTED = [
    (
        f"{name}: weights are {what}",
        lambda b, call=call, make=make: call(b, sample_weight=make(b)),
        ValueError,
        parts,
    )
    for name, call in [
        ("ImageClassifier.fit", lambda b, **w: b.classifier.fit(b.X, b.y, **w)),
        (
            "ImageClassifier.partial_fit",
            lambda b, **w: b.classifier.partial_fit(b.X, b.y, **w),
        ),
        ("ImageRegressor.fit", lambda b, **w: b.regressor.fit(b.X, b.t, **w)),
        (
            "ImageRegressor.partial_fit",
            lambda b, **w: b.regressor.partial_fit(b.X, b.t, **w),
        ),
        ("ImageAutoencoder.fit", lambda b, **w: b.autoencoder.fit(b.X, **w)),
        (
            "ImageAutoencoder.partial_fit",
            lambda b, **w: b.autoencoder.partial_fit(b.X, **w),
        ),
    ]
    for what, make, parts in WEIGHTS
]
LATER = [
    (
        "ImageClassifier.fit: data set without labels",
        lambda b: b.classifier.fit(without_label(b)),
        ValueError,
        ("requires y to be passed", "X carries no labels"),
    ),
    pytest.param(
        "ImageClassifier.fit: a pair without a label",
        lambda b: b.classifier.fit(
            [*zip(map(Image.fromarray, b.X), b.y, strict=True), (b.X[0],)]
        ),
        ValueError,
        ("X", r"pair|\(image, label\)"),
    ),
    (
        "ImageClassifier.fit: truth values as objects",
        lambda b: b.classifier.fit(b.X, (b.y == 3).astype(object)),
        ValueError,
        ("y has dtype object", r"y\.astype\('bool'\)"),
    ),
    (
        "ImageClassifier.fit: labels of a type that is not known",
        lambda b: b.classifier.fit(b.X, [Fraction(int(label), 3) for label in b.y]),
        ValueError,
        ("y has labels of type Fraction", "Give strings"),
    ),
    (
        "ImageClassifier.fit: one image",
        lambda b: b.classifier.fit(b.X[:1], b.y[:1]),
        ValueError,
        ("needs at least 2 classes", r"y has 1 class, \[0\]"),
    ),
    (
        "ImageClassifier.fit: weights that leave one class",
        lambda b: b.classifier.fit(b.X, b.y, sample_weight=(b.y == 3) * 1.0),
        ValueError,
        ("needs at least 2 classes", r"1 class, \[3\]"),
    ),
    (
        "ImageClassifier.partial_fit: label that has not been seen",
        lambda b: b.classifier.partial_fit(b.X, b.y + 90),
        ValueError,
        (r"y contains the label\(s\) \[90", "not among the classes", "by classes="),
    ),
    (
        "ImageClassifier.partial_fit: labels of another kind",
        lambda b: b.classifier.partial_fit(b.X, b.y.astype(str)),
        ValueError,
        (r"y contains the label\(s\) \['0'", r"not among the classes \[0"),
    ),
    (
        "ImageClassifier.partial_fit: other classes",
        lambda b: b.classifier.partial_fit(b.X, b.y, classes=range(11)),
        ValueError,
        (r"classes=range\(0, 11\) differs", r"first call, \[0, 1"),
    ),
    (
        "ImageClassifier.partial_fit: label that is not among classes",
        lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=[0, 1, 2]),
        ValueError,
        (r"y contains the label\(s\) \[3", r"not among the classes \[0, 1, 2\]"),
    ),
    (
        "ImageClassifier.partial_fit: None among classes",
        lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=["a", None]),
        ValueError,
        (r"classes has no label at 1 place\(s\), such as \[1\]",),
    ),
    pytest.param(
        "ImageClassifier.partial_fit: no classes",
        lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=[]),
        ValueError,
        (r"classes=\[\]", "at least 2"),
    ),
    pytest.param(
        "ImageClassifier.partial_fit: number of classes",
        lambda b: ImageClassifier().partial_fit(b.X, b.y, classes=10),
        ValueError,
        ("classes=10", "at least 2|array|list"),
    ),
    (
        # fit learns to scale any, unless told not to.
        "ImageRegressor.fit: targets too large for float32",
        lambda b: b.regressor.set_params(normalize_target=False).fit(
            b.X, with_value(b.t, 1e300)
        ),
        ValueError,
        ("y", "too large for float32", r"1e\+300"),
    ),
    (
        "ImageRegressor.partial_fit: values too large for float32",
        lambda b: b.regressor.partial_fit(b.X, with_value(b.t, 1e300)),
        ValueError,
        ("y", "too large for float32", r"1e\+300"),
    ),
    (
        "ImageRegressor.partial_fit: more targets than before",
        lambda b: b.regressor.partial_fit(b.X, np.stack([b.t, b.t], axis=1)),
        ValueError,
        (r"y has shape \(60, 2\)", r"the first fit had 1 column"),
    ),
    (
        "ImageClassifier.score: no labels",
        lambda b: b.classifier.score(b.X),
        ValueError,
        ("requires y to be passed", "X carries no labels"),
    ),
    (
        "ImageClassifier.score: a label too few",
        lambda b: b.classifier.score(b.X, b.y[1:]),
        ValueError,
        ("inconsistent numbers of samples", r"\[59, 60\]"),
    ),
    (
        "ImageClassifier.score: labels of another kind",
        lambda b: b.classifier.score(b.X, b.y.astype(str)),
        ValueError,
        (r"Mix of label input types \(string and number\)", r"Got \['0' '1'"),
    ),
    (
        "ImageClassifier.score: weights of other rows",
        lambda b: b.classifier.score(b.X, b.y, sample_weight=np.ones(3)),
        ValueError,
        ("inconsistent numbers of samples|sample_weight.shape", "3"),
    ),
    (
        "ImageRegressor.score: NaN among targets",
        lambda b: b.regressor.score(b.X, with_value(b.t, np.nan)),
        ValueError,
        ("contains NaN",),
    ),
    (
        "ImageRegressor.score: no targets",
        lambda b: b.regressor.score(b.X),
        ValueError,
        ("ImageRegressor requires y", "X carries no labels"),
    ),
    (
        "ImageAutoencoder.inverse_transform: a column too few",
        lambda b: b.autoencoder.inverse_transform(np.zeros((2, 3))),
        ValueError,
        ("codes have 3 columns", "expected 4"),
    ),
    (
        "ImageAutoencoder.inverse_transform: NaN",
        lambda b: b.autoencoder.inverse_transform(np.full((2, 4), np.nan)),
        ValueError,
        ("codes contains NaN",),
    ),
    (
        "ImageAutoencoder.inverse_transform: one code",
        lambda b: b.autoencoder.inverse_transform(np.zeros(4)),
        ValueError,
        ("Expected 2D array, got 1D array", "Reshape your data"),
    ),
    (
        "ImageAutoencoder.inverse_transform: strings",
        lambda b: b.autoencoder.inverse_transform([["a"] * 4]),
        ValueError,
        ("could not convert string to float", "'a'"),
    ),
]
ABSENT = [
    (
        "ImageRegressor.predict_proba: a regressor has none",
        lambda b: b.regressor.predict_proba(b.X),
        AttributeError,
        ("ImageRegressor has no predict_proba",),
    ),
    (
        "ImageAutoencoder.predict: an autoencoder has none",
        lambda b: b.autoencoder.predict(b.X),
        AttributeError,
        ("ImageAutoencoder has no predict", "see reconstruct"),
    ),
    (
        "ImageAutoencoder.predict_proba: an autoencoder has none",
        lambda b: b.autoencoder.predict_proba(b.X),
        AttributeError,
        ("ImageAutoencoder has no predict_proba",),
    ),
    (
        "ImageClassifier.classes_: before fit",
        lambda b: ImageClassifier().classes_,
        AttributeError,
        ("ImageClassifier has no classes_ before fit",),
    ),
    (
        "ImageClassifier.best_epoch_: no weights put back",
        lambda b: b.classifier.best_epoch_,
        AttributeError,
        ("no best_epoch_", "set early_stopping=True"),
    ),
    (
        "ImageClassifier.initialize: nothing known of the images",
        lambda b: ImageClassifier().initialize(),
        TypeError,
        ("ConvNet needs the argument", "set module__image_shape"),
    ),
    (
        "ImageClassifier.load_params: no network yet",
        lambda b: ImageClassifier().load_params(f_params=b.path / "a.pt"),
        NotFittedError,
        ("no network to load weights into", "call fit or initialize first"),
    ),
    (
        "ImageClassifier.predict: never seen an image",
        lambda b: (
            ImageClassifier(image_shape=(1, 8, 8), module__n_outputs=3)
            .initialize()
            .predict(b.X)
        ),
        NotFittedError,
        ("has never seen the images", "normalize='channel'", "Call fit, or set"),
    ),
]
UNFITTED = [
    (
        f"{estimator.__name__}.{method}: not fitted",
        lambda b, e=estimator, m=method: getattr(e(), m)(b.X),
        NotFittedError,
        (f"{estimator.__name__} instance is not .*[fi]", "fit|initialize"),
    )
    for estimator, methods in [
        (ImageClassifier, ["predict", "predict_proba"]),
        (ImageRegressor, ["predict"]),
        (ImageAutoencoder, ["transform", "reconstruct", "inverse_transform", "score"]),
    ]
    for method in methods
]
CASES = [*FITS, *WEIGHTED, *LATER, *ABSENT, *UNFITTED]


def test_bad_input(case, refuse):
    refuse(case)
