"""Images that are none, or not those that an estimator can take."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, TensorDataset

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.images import ImageSchema, open_images


def with_value(b, value, dtype=np.float64):
    X = b.X.astype(dtype)
    X[7, 3, 4] = value
    return X


def paths(b, *others):
    """Return as many paths as there are images, the last ones being others."""
    good = [b.save(f"{i}.png", image) for i, image in enumerate(b.X)]
    return good[: len(good) - len(others)] + list(others)


def locked(b):
    """Make a file that cannot be read, also by those who may read all."""
    path = b.save("verschlossen.png")
    (b.path / "verschlossen.png").unlink()
    (b.path / "verschlossen.png").symlink_to(path)
    return path


def objects(b):
    """Return an array of arrays."""
    X = np.empty(len(b.X), dtype=object)
    X[:] = list(b.X)
    return X


#: What may be given as images, the error, and what it says.
ANY = [
    ("None", lambda b: None, ValueError, ("Expected 2D array", "nan|None")),
    ("a number", lambda b: 5, ValueError, ("Expected 2D array", "scalar array")),
    (
        "a path alone",
        lambda b: "a.png",
        (TypeError, ValueError),
        ("X", "a.png", "list"),
    ),
    (
        "a dict",
        lambda b: {"images": b.X},
        (TypeError, ValueError),
        ("X", "dict", "data set"),
    ),
    (
        "a generator",
        lambda b: iter(b.X),
        (TypeError, ValueError),
        ("X", "iterator", "data set"),
    ),
    (
        "a data loader",
        lambda b: DataLoader(TensorDataset(torch.from_numpy(b.X))),
        (TypeError, ValueError),
        ("X", "DataLoader", "data set"),
    ),
    (
        "one axis",
        lambda b: np.arange(60.0),
        ValueError,
        ("Expected 2D array, got 1D array", "Reshape your data"),
    ),
    (
        "five axes",
        lambda b: np.zeros((60, 1, 1, 8, 8)),
        ValueError,
        (r"Expected X of shape \(n, height, width\)", r"got shape \(60, 1, 1, 8, 8\)"),
    ),
    (
        "no images",
        lambda b: b.X[:0],
        ValueError,
        (r"0 sample\(s\)", r"\(0, 8, 8\)", "minimum of 1"),
    ),
    ("an empty list", lambda b: [], ValueError, (r"0 sample\(s\)", "Give at least")),
    (
        "images without pixels",
        lambda b: b.X[:, :0],
        ValueError,
        ("X has images without pixels", r"\(60, 0, 8\)"),
    ),
    (
        "rows without features",
        lambda b: b.rows[:, :0],
        ValueError,
        (r"0 feature\(s\)", r"\(60, 0\)", "minimum of 1"),
    ),
    ("NaN", lambda b: with_value(b, np.nan), ValueError, ("Input X contains NaN",)),
    (
        "infinity",
        lambda b: with_value(b, -np.inf, np.float32),
        ValueError,
        ("Input X contains infinity",),
    ),
    (
        "NaN in a tensor",
        lambda b: torch.from_numpy(with_value(b, np.nan)),
        ValueError,
        ("Input X contains NaN",),
    ),
    (
        "values too large for float32",
        lambda b: with_value(b, 1e300),
        ValueError,
        ("X contains a value too large for float32", "1e.300", "dtype='float64'"),
    ),
    (
        "complex numbers",
        lambda b: b.X * 1j,
        ValueError,
        ("Complex data not supported",),
    ),
    (
        "complex numbers in a tensor",
        lambda b: torch.from_numpy(b.X * 1j),
        TypeError,
        ("complex", "tensor in X"),
    ),
    (
        "strings",
        lambda b: b.X.astype(str),
        ValueError,
        ("bytes/strings", "Convert your data to numeric values"),
    ),
    (
        "objects that are no numbers",
        lambda b: np.full((60, 64), "a", dtype=object),
        ValueError,
        ("could not convert string to float", "'a'"),
    ),
    (
        "dates",
        lambda b: b.X.astype("datetime64[s]"),
        TypeError,
        ("Expected numbers", "datetime64"),
    ),
    (
        "a sparse matrix",
        lambda b: csr_array(b.rows),
        TypeError,
        ("Sparse data was passed for X", "dense data is required", "toarray"),
    ),
    (
        "a sparse tensor",
        lambda b: torch.from_numpy(b.X).to_sparse(),
        TypeError,
        ("sparse", "to_dense"),
    ),
    (
        "a matrix",
        lambda b: np.asmatrix(b.rows),
        TypeError,
        ("np.matrix is not supported", "numpy array"),
    ),
    (
        "an array of arrays",
        objects,
        ValueError,
        ("X", "object", "stack|one shape"),
    ),
    (
        "rows of several lengths",
        lambda b: [[1.0, 2.0], [3.0]] * 30,
        ValueError,
        ("X", "length|shape"),
    ),
    (
        "images of several sizes",
        lambda b: [*b.X[:58], np.zeros((8, 9)), np.zeros((7, 8))],
        ValueError,
        (r"differ in shape: image 0 has \(8, 8\)", r"image 58 has \(8, 9\)", "Resize"),
    ),
    (
        "None among images",
        lambda b: [*map(Image.fromarray, b.X[:59]), None],
        TypeError,
        ("Expected an image", "got NoneType"),
    ),
    (
        "an empty data set",
        lambda b: TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0)),
        ValueError,
        (r"0 sample\(s\)", "TensorDataset data set is empty"),
    ),
    (
        "a sequence without images",
        lambda b: as_Xy(TensorDataset(torch.zeros(9, 1, 8, 8), torch.zeros(9)))[0][[]],
        ValueError,
        (r"0 sample\(s\)", "minimum of 1"),
    ),
    (
        "a file that is not there",
        lambda b: paths(b, str(b.path / "fort ß.png")),
        OSError,
        ("fort ß.png cannot be read as an image", "No such file"),
    ),
    (
        "a truncated JPEG file",
        lambda b: [b.truncated_jpeg()] * 60,
        OSError,
        ("schöne Katze.jpg cannot be read", "truncated", "Delete or replace"),
    ),
    (
        "an empty file",
        lambda b: paths(b, b.save("leer.png", content=b"")),
        OSError,
        ("leer.png cannot be read as an image", "Delete or replace"),
    ),
    (
        "a text file",
        lambda b: paths(b, b.save("文字.png", content=b"text")),
        OSError,
        ("文字.png cannot be read as an image", "Delete or replace"),
    ),
    (
        "a folder",
        lambda b: paths(b, b.path),
        OSError,
        ("cannot be read as an image", "directory"),
    ),
    (
        "a link to itself",
        lambda b: paths(b, locked(b)),
        OSError,
        ("verschlossen.png cannot be read as an image", "symbolic links"),
    ),
    (
        "a file of 16 bits",
        lambda b: paths(b, b.save("tief.png", np.full((8, 8), 999, dtype=np.uint16))),
        ValueError,
        ("tief.png has more than 8 bits", "Convert it to 8 bits"),
    ),
    (
        "a file of another size",
        lambda b: paths(b, b.save("lang.png", np.zeros((8, 9), dtype=np.uint8))),
        ValueError,
        (r"lang.png' has shape \(1, 8, 9\)", r"\(1, 8, 8\)", "Resize the files"),
    ),
    (
        "a coloured file among grey ones",
        lambda b: paths(b, b.save("rot.png", np.zeros((8, 8, 3), dtype=np.uint8))),
        ValueError,
        ("rot.png' has colours", "is grey", "Convert the files"),
    ),
    (
        "a number among paths",
        lambda b: paths(b, 5),
        TypeError,
        ("path", "5|int"),
    ),
]
#: Those of another shape than the images in fit.
OTHERS = [
    (
        "smaller images",
        lambda b: b.X[:, :7],
        ValueError,
        (r"\(channels, height, width\) = \(1, 7, 8\)", r"fitted on \(1, 8, 8\)"),
    ),
    (
        "coloured images",
        lambda b: np.zeros((60, 8, 8, 3), dtype=np.uint8),
        ValueError,
        (r"= \(3, 8, 8\)", r"fitted on \(1, 8, 8\)"),
    ),
    (
        "flat rows",
        lambda b: b.rows[:, :60],
        ValueError,
        ("60 features", "64"),
    ),
    (
        "a single image",
        lambda b: b.X[0],
        ValueError,
        ("X has 8 features", "expecting 64 features", r"X\[None\]"),
    ),
    (
        "five channels",
        lambda b: np.zeros((60, 5, 8, 8)),
        ValueError,
        (r"Cannot tell the channels of X with shape \(60, 5, 8, 8\)", "Set channels="),
    ),
]

METHODS = {
    "ImageClassifier.fit": lambda b, X: b.classifier.fit(X, b.y),
    "ImageClassifier.partial_fit": lambda b, X: b.classifier.partial_fit(X, b.y),
    "ImageRegressor.fit": lambda b, X: b.regressor.fit(X, b.t),
    "ImageAutoencoder.fit": lambda b, X: b.autoencoder.fit(X),
    "ImageClassifier.predict": lambda b, X: b.classifier.predict(X),
    "ImageClassifier.predict_proba": lambda b, X: b.classifier.predict_proba(X),
    "ImageClassifier.score": lambda b, X: b.classifier.score(X, b.y),
    "ImageRegressor.predict": lambda b, X: b.regressor.predict(X),
    "ImageAutoencoder.transform": lambda b, X: b.autoencoder.transform(X),
    "ImageAutoencoder.reconstruct": lambda b, X: b.autoencoder.reconstruct(X),
    "ImageAutoencoder.score": lambda b, X: b.autoencoder.score(X),
}
SHAPE_BOUND = {
    name: call for name, call in METHODS.items() if not name.endswith(".fit")
}
SHAPE_BOUND |= {
    "ImageRegressor.partial_fit": lambda b, X: b.regressor.partial_fit(X, b.t),
    "ImageRegressor.score": lambda b, X: b.regressor.score(X, b.t),
    "ImageAutoencoder.partial_fit": lambda b, X: b.autoencoder.partial_fit(X),
}


def given(call, make):
    return lambda b: call(b, make(b))


def cross(methods, images):
    """Return a case for each method and each thing that is given to it."""
    cases = []
    for name, call in methods.items():
        for row in images:
            what, make, error, parts = getattr(row, "values", row)
            case = (f"{name}: {what}", given(call, make), error, parts)
            cases.append(pytest.param(*case, marks=getattr(row, "marks", ())))
    return cases


SHAPES = [
    (
        f"{estimator.__name__}.fit: {what}",
        lambda b, e=estimator, k=kind, m=make: e().fit(m(b), b.targets(k)),
        ValueError,
        parts,
    )
    for estimator, kind in [
        (ImageClassifier, "classifier"),
        (ImageRegressor, "regressor"),
        (ImageAutoencoder, "autoencoder"),
    ]
    for what, make, parts in [
        (
            "channels that cannot be told",
            lambda b: np.zeros((60, 5, 8, 8)),
            ("Cannot tell the channels", "neither axis 1 nor axis 3", "Set channels="),
        ),
        (
            "an axis too long for channels",
            lambda b: np.zeros((60, 8, 8, 7)),
            (r"X with shape \(60, 8, 8, 7\)", "length 1, 3 or 4"),
        ),
    ]
]
OPENED = [
    (
        "open_images: a path alone",
        lambda b: open_images("a.png"),
        (TypeError, ValueError),
        ("X", "a.png", "list"),
    ),
    (
        "ImageSchema: no axis of channels",
        lambda b: ImageSchema((8, 8), "grey", np.dtype(np.uint8)),
        ValueError,
        (r"shape=\(8, 8\)", "three positive ints"),
    ),
    (
        "ImageSchema: an order that is none",
        lambda b: ImageSchema((3, 8, 8), "middle", np.dtype(np.uint8)),
        ValueError,
        ("layout='middle'", "first"),
    ),
]
CASES = [*cross(METHODS, ANY), *cross(SHAPE_BOUND, OTHERS), *SHAPES, *OPENED]


def test_bad_input(case, refuse):
    refuse(case)
