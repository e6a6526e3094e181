"""Images that are none, or not those that an estimator can take."""

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, TensorDataset

from skvision import ImageAutoencoder, ImageClassifier, ImageEmbedder, ImageRegressor
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
ANY = {
    ValueError: {
        "None": (lambda b: None, "Expected 2D array ... nan|None"),
        "a number": (lambda b: 5, "Expected 2D array ... scalar array"),
        "one axis": (
            lambda b: np.arange(60.0),
            "Expected 2D array, got 1D array ... Reshape your data",
        ),
        "five axes": (
            lambda b: np.zeros((60, 1, 1, 8, 8)),
            r"Expected X of shape \(n, height, width\)",
            r"got shape \(60, 1, 1, 8, 8\)",
        ),
        "no images": (
            lambda b: b.X[:0],
            r"0 sample\(s\) ... \(0, 8, 8\) ... minimum of 1",
        ),
        "an empty list": (lambda b: [], r"0 sample\(s\) ... Give at least"),
        "images without pixels": (
            lambda b: b.X[:, :0],
            r"X has images without pixels ... \(60, 0, 8\)",
        ),
        "rows without features": (
            lambda b: b.rows[:, :0],
            r"0 feature\(s\) ... \(60, 0\) ... minimum of 1",
        ),
        "NaN": (lambda b: with_value(b, np.nan), "Input X contains NaN"),
        "infinity": (
            lambda b: with_value(b, -np.inf, np.float32),
            "Input X contains infinity",
        ),
        "NaN in a tensor": (
            lambda b: torch.from_numpy(with_value(b, np.nan)),
            "Input X contains NaN",
        ),
        "values too large for float32": (
            lambda b: with_value(b, 1e300),
            "X contains a value too large for float32 ... 1e.300 ... dtype='float64'",
        ),
        "complex numbers": (lambda b: b.X * 1j, "Complex data not supported"),
        "strings": (
            lambda b: b.X.astype(str),
            "bytes/strings ... Convert your data to numeric values",
        ),
        "objects that are no numbers": (
            lambda b: np.full((60, 64), "a", dtype=object),
            "could not convert string to float ... 'a'",
        ),
        "an array of arrays": (objects, "X ... object ... stack|one shape"),
        "rows of several lengths": (
            lambda b: [[1.0, 2.0], [3.0]] * 30,
            "X ... length|shape",
        ),
        "images of several sizes": (
            lambda b: [*b.X[:58], np.zeros((8, 9)), np.zeros((7, 8))],
            r"differ in shape: image 0 has \(8, 8\) ... image 58 has \(8, 9\)",
            "image_size",
        ),
        "an empty data set": (
            lambda b: TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0)),
            r"0 sample\(s\) ... TensorDataset data set is empty",
        ),
        "a sequence without images": (
            lambda b: as_Xy(TensorDataset(torch.zeros(9, 1, 8, 8), torch.zeros(9)))[0][
                []
            ],
            r"0 sample\(s\) ... minimum of 1",
        ),
        "a file of 16 bits": (
            lambda b: paths(
                b, b.save("tief.png", np.full((8, 8), 999, dtype=np.uint16))
            ),
            "tief.png has more than 8 bits ... Convert it to 8 bits",
        ),
        "a file of another size": (
            lambda b: paths(b, b.save("lang.png", np.zeros((8, 9), dtype=np.uint8))),
            r"lang.png' has shape \(1, 8, 9\) ... \(1, 8, 8\) ... image_size",
        ),
    },
    (TypeError, ValueError): {
        "a path alone": (lambda b: "a.png", "X ... a.png ... list"),
        "a dict": (lambda b: {"images": b.X}, "X ... dict ... data set"),
        "a generator": (lambda b: iter(b.X), "X ... iterator ... data set"),
        "a data loader": (
            lambda b: DataLoader(TensorDataset(torch.from_numpy(b.X))),
            "X ... DataLoader ... data set",
        ),
    },
    TypeError: {
        "complex numbers in a tensor": (
            lambda b: torch.from_numpy(b.X * 1j),
            "complex ... tensor in X",
        ),
        "dates": (
            lambda b: b.X.astype("datetime64[s]"),
            "Expected numbers ... datetime64",
        ),
        "a sparse matrix": (
            lambda b: csr_array(b.rows),
            "Sparse data was passed for X ... dense data is required ... toarray",
        ),
        "a sparse tensor": (
            lambda b: torch.from_numpy(b.X).to_sparse(),
            "sparse ... to_dense",
        ),
        "a matrix": (
            lambda b: np.asmatrix(b.rows),
            "np.matrix is not supported ... numpy array",
        ),
        "None among images": (
            lambda b: [*map(Image.fromarray, b.X[:59]), None],
            "Expected an image ... got NoneType",
        ),
        "a number among paths": (lambda b: paths(b, 5), "path ... 5|int"),
    },
    OSError: {
        "a file that is not there": (
            lambda b: paths(b, str(b.path / "fort ß.png")),
            "fort ß.png cannot be read as an image ... No such file",
        ),
        "a truncated JPEG file": (
            lambda b: [b.truncated_jpeg()] * 60,
            "schöne Katze.jpg cannot be read ... truncated ... Delete or replace",
        ),
        "an empty file": (
            lambda b: paths(b, b.save("leer.png", content=b"")),
            "leer.png cannot be read as an image ... Delete or replace",
        ),
        "a text file": (
            lambda b: paths(b, b.save("文字.png", content=b"text")),
            "文字.png cannot be read as an image ... Delete or replace",
        ),
        "a folder": (
            lambda b: paths(b, b.path),
            "cannot be read as an image ... directory",
        ),
        "a link to itself": (
            lambda b: paths(b, locked(b)),
            "verschlossen.png cannot be read as an image ... symbolic links",
        ),
    },
}
#: Those of another shape than the images in fit.
OTHERS = {
    ValueError: {
        "a coloured file among grey ones": (
            lambda b: paths(b, b.save("rot.png", np.zeros((8, 8, 3), dtype=np.uint8))),
            "rot.png has colours ... are grey ... color_mode='grey'",
        ),
        "smaller images": (
            lambda b: b.X[:, :7],
            r"\(channels, height, width\) = \(1, 7, 8\) ... fitted on \(1, 8, 8\)",
        ),
        "coloured images": (
            lambda b: np.zeros((60, 8, 8, 3), dtype=np.uint8),
            r"= \(3, 8, 8\) ... fitted on \(1, 8, 8\)",
        ),
        "flat rows": (lambda b: b.rows[:, :60], "60 features ... 64"),
        "a single image": (
            lambda b: b.X[0],
            r"X has 8 features ... expecting 64 features ... X\[None\]",
        ),
        "five channels": (
            lambda b: np.zeros((60, 5, 8, 8)),
            r"Cannot tell the channels of X with shape \(60, 5, 8, 8\)",
            "Set channels=",
        ),
    },
}

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
    return {
        error: {
            f"{name}: {what}": (given(call, make), *patterns)
            for name, call in methods.items()
            for what, (make, *patterns) in table.items()
        }
        for error, table in images.items()
    }


SHAPES = {
    ValueError: {
        f"{estimator.__name__}.fit: {what}": (
            lambda b, e=estimator, k=kind, m=make: e().fit(m(b), b.targets(k)),
            *parts,
        )
        for estimator, kind in [
            (ImageClassifier, "classifier"),
            (ImageRegressor, "regressor"),
            (ImageAutoencoder, "autoencoder"),
        ]
        for what, make, *parts in [
            (
                "channels that cannot be told",
                lambda b: np.zeros((60, 5, 8, 8)),
                "Cannot tell the channels ... neither axis 1 nor axis 3",
                "Set channels=",
            ),
            (
                "an axis too long for channels",
                lambda b: np.zeros((60, 8, 8, 7)),
                r"X with shape \(60, 8, 8, 7\) ... length 1, 3 or 4",
            ),
        ]
    },
}
OPENED = {
    (TypeError, ValueError): {
        "open_images: a path alone": (
            lambda b: open_images("a.png"),
            "X ... a.png ... list",
        ),
    },
    ValueError: {
        "ImageEmbedder: misspelt network": (
            lambda b: ImageEmbedder("resnet19", weights=False).fit(b.X),
            "'resnet19' ... 'resnet1",
        ),
        "ImageEmbedder: a pooling that is none": (
            lambda b: ImageEmbedder(pooling="sum", weights=False).fit(b.X),
            "'pooling' ... 'max' ... 'sum'",
        ),
        "ImageSchema: no axis of channels": (
            lambda b: ImageSchema((8, 8), "grey", np.dtype(np.uint8)),
            r"shape=\(8, 8\) ... three positive ints",
        ),
        "ImageSchema: an order that is none": (
            lambda b: ImageSchema((3, 8, 8), "middle", np.dtype(np.uint8)),
            "layout='middle' ... first",
        ),
    },
}
CASES = [cross(METHODS, ANY), cross(SHAPE_BOUND, OTHERS), SHAPES, OPENED]


def test_bad_input(case, refuse):
    refuse(case)
