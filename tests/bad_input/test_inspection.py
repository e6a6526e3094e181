"""Tables, displays and numbers of what has been fitted."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor, inspection
from skvision.datasets import as_Xy
from skvision.inspection import (
    AccuracyDisplay,
    GradientDisplay,
    HistoryDisplay,
    ParameterTable,
    PredictionDisplay,
    ReconstructionDisplay,
    Table,
    class_table,
    convergence_epoch,
    count_parameters,
    parameter_table,
)

plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("Agg")

NAMES = [f"digit {i}" for i in range(9)]


@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close("all")


#: What takes an estimator, images and labels, and the kinds of estimator it takes.
OF_LABELS = {
    "class_table": class_table,
    "AccuracyDisplay.from_estimator": AccuracyDisplay.from_estimator,
    "PredictionDisplay.from_estimator": PredictionDisplay.from_estimator,
}
LABELS = {
    TypeError: {
        "a number as estimator": (
            lambda f, b: f(5, b.X, b.y),
            "Expected a fitted classifier ... got int",
        ),
        "class of an estimator": (
            lambda f, b: f(ImageClassifier, b.X, b.y),
            "Expected a fitted classifier|instance ... ImageClassifier|type",
        ),
        "regressor": (
            lambda f, b: f(b.regressor, b.X, b.t),
            "Expected a fitted classifier ... got ImageRegressor",
        ),
    },
    NotFittedError: {
        "not fitted": (
            lambda f, b: f(ImageClassifier(), b.X, b.y),
            "ImageClassifier instance is not ... fit",
        ),
    },
    ValueError: {
        "no labels": (
            lambda f, b: f(b.classifier, b.X),
            "y is None ... X carries no labels ... Give the true labels",
        ),
        "a label too few": (
            lambda f, b: f(b.classifier, b.X, b.y[1:]),
            r"inconsistent numbers of samples ... \[60, 59\]",
        ),
        "a name too few": (
            lambda f, b: f(b.classifier, b.X, b.y, target_names=NAMES),
            "target_names has 9 names ... expected one for each of the 10 classes",
        ),
        "the same name twice": (
            lambda f, b: f(b.classifier, b.X, b.y, target_names=[*NAMES, "digit 3"]),
            "target_names ... same name twice",
        ),
        "images of another shape": (
            lambda f, b: f(b.classifier, b.X[:, :7], b.y),
            r"= \(1, 7, 8\) ... fitted on \(1, 8, 8\)",
        ),
    },
    (TypeError, ValueError): {
        "labels of another kind": (
            lambda f, b: f(b.classifier, b.X, b.y.astype(str)),
            "[Ll]abel ... string|str|same type",
        ),
    },
}
#: What draws something of a fitted estimator, for the argument `ax` and such.
DRAWN = {
    "AccuracyDisplay.from_estimator": lambda b, **kw: AccuracyDisplay.from_estimator(
        b.classifier, b.X, b.y, **kw
    ),
    "AccuracyDisplay.from_scores": lambda b, **kw: AccuracyDisplay.from_scores(
        {"a": 0.5}, **kw
    ),
    "HistoryDisplay.from_estimator": lambda b, **kw: HistoryDisplay.from_estimator(
        b.classifier, **kw
    ),
    "PredictionDisplay.from_estimator": (
        lambda b, **kw: PredictionDisplay.from_estimator(b.classifier, b.X, b.y, **kw)
    ),
    "PredictionDisplay.from_predictions": (
        lambda b, **kw: PredictionDisplay.from_predictions(b.X, b.y, b.y, **kw)
    ),
    "ReconstructionDisplay.from_estimator": (
        lambda b, **kw: ReconstructionDisplay.from_estimator(b.autoencoder, b.X, **kw)
    ),
    "GradientDisplay.plot": lambda b, **kw: GradientDisplay({"a": [1]}).plot(**kw),
}
OF_SEVERAL = [
    ("AccuracyDisplay.from_estimators", lambda b, e: (e, b.X, b.y)),
    ("HistoryDisplay.from_estimators", lambda b, e: (e,)),
    ("GradientDisplay.from_estimators", lambda b, e: (e,)),
    ("ReconstructionDisplay.from_estimators", lambda b, e: (e, b.X)),
    ("AccuracyDisplay.from_scores", lambda b, e: (e,)),
]


def call(name, *args):
    display, method = name.split(".")
    return getattr(getattr(inspection, display), method)(*args)


TABLES = [
    {
        error: {
            f"{name}: {what}": (lambda b, c=c, f=function: c(f, b), *patterns)
            for name, function in OF_LABELS.items()
            for what, (c, *patterns) in table.items()
        }
        for error, table in LABELS.items()
    },
    {
        TypeError: {
            f"{name}: a number as axes": (
                lambda b, draw=draw: draw(b, ax=5),
                "ax must be a matplotlib Axes ... got int",
            )
            for name, draw in DRAWN.items()
        },
        ValueError: {
            f"{name}: {parameter}={value!r}": (
                lambda b, n=name, p=parameter, v=value: DRAWN[n](b, **{p: v}),
                f"'{parameter}' parameter of {name.split('.')[0]}",
                f"Got {value!r}",
            )
            for name, parameter, value in [
                ("PredictionDisplay.from_estimator", "n_images", 0),
                ("PredictionDisplay.from_estimator", "errors_only", "yes"),
                ("PredictionDisplay.from_estimator", "random_state", "seed"),
                ("PredictionDisplay.from_estimator", "image_shape", 64),
                ("PredictionDisplay.from_predictions", "n_images", 1.5),
                ("ReconstructionDisplay.from_estimator", "n_images", 0),
                ("ReconstructionDisplay.from_estimator", "noise", 0.1),
                ("ReconstructionDisplay.from_estimator", "random_state", "seed"),
                ("HistoryDisplay.from_estimator", "smoothing", 1),
                ("HistoryDisplay.from_estimator", "smoothing", -0.5),
                ("HistoryDisplay.from_estimator", "mark_best", "yes"),
            ]
        },
    },
    {
        error: {
            f"{name}: {what}": (
                lambda b, n=name, a=arguments, v=value: call(n, *a(b, v)),
                r"Expected a dict \{name: ",
                got,
            )
            for name, arguments in OF_SEVERAL
        }
        for what, value, error, got in [
            ("a list", [1], TypeError, "got list"),
            ("an empty dict", {}, ValueError, "got an empty one"),
        ]
    },
]
DISPLAYS = {
    ValueError: {
        "AccuracyDisplay.from_scores: more than 1": (
            lambda b: AccuracyDisplay.from_scores({"deep": 83.0}),
            r"Accuracies lie in \[0, 1\] ... 83.0 for 'deep'",
        ),
        "AccuracyDisplay.from_scores: NaN": (
            lambda b: AccuracyDisplay.from_scores({"deep": [0.5, np.nan]}),
            r"Accuracies lie in \[0, 1\] ... nan ... 'deep'",
        ),
        "AccuracyDisplay.from_scores: no repeat": (
            lambda b: AccuracyDisplay.from_scores({"deep": []}),
            r"Expected a number or a list of numbers for 'deep' ... shape \(0,\)",
        ),
        "HistoryDisplay.from_estimator: misspelt column": (
            lambda b: HistoryDisplay.from_estimator(b.classifier, "train_los"),
            "no column 'train_los' ... it has .*train_loss",
        ),
        "HistoryDisplay.from_estimator: no column": (
            lambda b: HistoryDisplay.from_estimator(b.classifier, []),
            "keys is empty ... expected names of columns",
        ),
        "HistoryDisplay.from_estimator: column that is not there by default": (
            lambda b: HistoryDisplay.from_estimators(
                {"a": b.classifier, "b": b.regressor}, ["train_loss", "valid_loss"]
            ),
            "history of 'a' has no column 'valid_loss' ... it has .*train_loss",
        ),
        "GradientDisplay.from_estimator: nothing recorded": (
            lambda b: GradientDisplay.from_estimator(b.classifier),
            r"No gradients ... callbacks=\[GradientRecorder\(\)\]",
        ),
        "PredictionDisplay.from_predictions: a prediction too few": (
            lambda b: PredictionDisplay.from_predictions(b.X, b.y, b.y[1:]),
            "inconsistent numbers of samples ... 59",
        ),
        "PredictionDisplay.from_predictions: labels of another kind": (
            lambda b: PredictionDisplay.from_predictions(b.X, b.y.astype(str), b.y),
            "[Mm]ix of",
        ),
        "PredictionDisplay.from_predictions: nothing is wrong": (
            lambda b: PredictionDisplay.from_predictions(
                b.X, b.y, b.y, errors_only=True
            ),
            "errors_only=True leaves no image ... all 60 predictions are right",
        ),
        "PredictionDisplay.from_predictions: rows of unknown shape": (
            lambda b: PredictionDisplay.from_predictions(b.rows, b.y, b.y),
            "flat rows of 64 features ... Set image_shape=",
        ),
        "PredictionDisplay.from_predictions: shape of other rows": (
            lambda b: PredictionDisplay.from_predictions(
                b.rows, b.y, b.y, image_shape=(1, 8, 9)
            ),
            r"image_shape=\(1, 8, 9\) ... rows with 64 features",
        ),
        "PredictionDisplay.from_predictions: negative shape of rows": (
            lambda b: PredictionDisplay.from_predictions(
                b.rows, b.y, b.y, image_shape=(1, -8, -8)
            ),
            r"image_shape=\(1, -8, -8\)",
        ),
        "PredictionDisplay.from_predictions: images with two channels": (
            lambda b: PredictionDisplay.from_predictions(
                as_Xy(np.zeros((60, 2, 8, 8)), b.y, channels="first")[0], b.y, b.y
            ),
            r"1 \(grey\), 3 \(RGB\) or 4 \(RGBA\) channels ... X has 2",
        ),
        "ReconstructionDisplay.from_estimator: images of another shape": (
            lambda b: ReconstructionDisplay.from_estimator(b.autoencoder, b.X[:, :7]),
            r"\(1, 7, 8\) ... fitted on \(1, 8, 8\)",
        ),
        "ReconstructionDisplay.from_estimators: name of another row": (
            lambda b: ReconstructionDisplay.from_estimators(
                {"original": b.autoencoder}, b.X
            ),
            "name 'original' is that of another row",
        ),
        "ReconstructionDisplay.plot: rows of two lengths": (
            lambda b: ReconstructionDisplay({"a": b.X[:2], "b": b.X[:3]}).plot(),
            "rows differ in their numbers of images ... 'a': 2, 'b': 3",
        ),
    },
    (TypeError, ValueError): {
        "AccuracyDisplay.from_scores: a word": (
            lambda b: AccuracyDisplay.from_scores({"deep": "good"}),
            "'deep' ... good",
        ),
    },
    TypeError: {
        "AccuracyDisplay.plot: a list of scores": (
            lambda b: AccuracyDisplay([0.5]).plot(),
            "Expected a dict {name: accuracy} ... got list",
        ),
        "HistoryDisplay.from_estimator: a number": (
            lambda b: HistoryDisplay.from_estimator(5),
            "Expected a skorch history or an estimator ... got int",
        ),
        "ReconstructionDisplay.from_estimator: classifier": (
            lambda b: ReconstructionDisplay.from_estimator(b.classifier, b.X),
            "Expected a fitted autoencoder ... reconstruct ... got ImageClassifier",
        ),
        "ReconstructionDisplay.from_estimator: noise that is none": (
            lambda b: ReconstructionDisplay.from_estimator(
                b.autoencoder, b.X, noise=[5]
            ),
            "noise expects transforms ... 5 of type int",
        ),
    },
    NotFittedError: {
        "HistoryDisplay.from_estimator: not fitted": (
            lambda b: HistoryDisplay.from_estimator(ImageClassifier()),
            "ImageClassifier instance is not ... fit",
        ),
        "GradientDisplay.from_estimator: not fitted": (
            lambda b: GradientDisplay.from_estimator(ImageClassifier()),
            "ImageClassifier instance is not ... fit",
        ),
        "ReconstructionDisplay.from_estimator: not fitted": (
            lambda b: ReconstructionDisplay.from_estimator(ImageAutoencoder(), b.X),
            "ImageAutoencoder instance is not ... fit",
        ),
    },
}
NUMBERS = {
    TypeError: {
        "convergence_epoch: None": (
            lambda b: convergence_epoch(None),
            "Expected a skorch history or an estimator ... got NoneType",
        ),
        "convergence_epoch: words": (
            lambda b: convergence_epoch(["a", "b"]),
            r"Expected a sequence of numbers ... got \['a', 'b'\]",
        ),
        "count_parameters: a number": (
            lambda b: count_parameters(5),
            "Expected a torch module or an estimator ... got int",
        ),
        "parameter_table: class of a network": (
            lambda b: parameter_table(nn.Linear),
            "Expected a torch module or an estimator ... got type",
        ),
    },
    NotFittedError: {
        "convergence_epoch: not fitted": (
            lambda b: convergence_epoch(ImageRegressor()),
            "ImageRegressor instance is not ... fit",
        ),
        "count_parameters: not fitted": (
            lambda b: count_parameters(ImageClassifier()),
            "ImageClassifier instance is not ... fit",
        ),
    },
    ValueError: {
        "convergence_epoch: misspelt column": (
            lambda b: convergence_epoch(b.classifier, "valid_ac"),
            "no column 'valid_ac' ... It has: .*train_loss",
        ),
        "convergence_epoch: two axes": (
            lambda b: convergence_epoch(np.zeros((3, 2))),
            r"one per epoch ... shape \(3, 2\)",
        ),
        **{
            f"convergence_epoch: {name}={value!r}": (
                lambda b, n=name, v=value: convergence_epoch([0.1, 0.1], **{n: v}),
                f"'{name}' parameter of convergence_epoch",
                f"Got {value!r}",
            )
            for name, value in [("tol", 0), ("tol", "1%"), ("n_epochs", 0), ("key", 5)]
        },
        "count_parameters: lazy layers": (
            lambda b: count_parameters(nn.LazyLinear(3)),
            "lazy parameters ... only after a batch has passed",
        ),
        "parameter_table: network without image_shape": (
            lambda b: parameter_table(nn.Linear(64, 3)),
            "does not know the shape of its images ... give image_shape=",
        ),
        **{
            f"parameter_table: image_shape={shape!r}": (
                lambda b, s=shape: parameter_table(b.classifier, s),
                "image_shape must be ... positive ints ... got",
            )
            for shape in [8, "1x8x8", (), (1, 0, 8), (1, -8, -8), (1, 8.0, 8)]
        },
        "parameter_table: images of another shape": (
            lambda b: parameter_table(b.classifier, (1, 9, 9)),
            r"network MLP cannot take images ... of shape \(1, 9, 9\)",
        ),
        "ParameterTable: a cell alone": (
            lambda b: ParameterTable([["head"]]),
            r"Row 0 has 1 cell\(s\) ... expected 6 ... 'layer'",
        ),
    },
    (TypeError, ValueError): {
        "ParameterTable: a word as number of parameters": (
            lambda b: ParameterTable([["head", "Linear", (10,), "many", 110, 1.0]]),
            "parameters|row 0|Row 0 ... many",
        ),
    },
}
TEXTS = {
    TypeError: {
        "Table: a word as columns": (
            lambda b: Table("ab", []),
            "must ... 'ab'",
        ),
        "Table: a number as columns": (lambda b: Table(5, []), "columns must ... 5"),
        "Table: numbers as columns": (
            lambda b: Table([1], []),
            r"must ... \[1",
        ),
        "Table: a number as row": (lambda b: Table(["a"], [5]), "rows must ... 0 is 5"),
        "Table: a word as row": (lambda b: Table(["a"], ["x"]), "rows must ... is 'x'"),
        "Table: a number as rows": (lambda b: Table(["a"], 5), "rows must ... 5"),
        "Table: a word as notes": (
            lambda b: Table(["a"], [], notes="note"),
            "notes must be a list of str ... got 'note'",
        ),
    },
    ValueError: {
        "Table: no column": (lambda b: Table([], []), "columns is empty ... expected"),
        "Table: a name twice": (
            lambda b: Table(["a", "a"], []),
            "'a' twice",
        ),
        "Table: a cell too many": (
            lambda b: Table(["a"], [[1], [1, 2]]),
            r"Row 1 has 2 cell\(s\) ... expected 1",
        ),
        "Table.save: unknown suffix": (
            lambda b: Table(["a"], []).save(b.path / "a.pdf"),
            "a.pdf' has the suffix '.pdf' ... expected one of .md",
        ),
        "Table.save: no suffix": (
            lambda b: Table(["a"], []).save(str(b.path / "a")),
            "has the suffix '' ... expected one of .md",
        ),
    },
}
CASES = [*TABLES, DISPLAYS, NUMBERS, TEXTS]


def test_bad_input(case, refuse):
    refuse(case)
