"""Stacked searches, and scorers."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skvision import ImageClassifier, ImageRegressor, model_selection
from skvision.metrics import cross_entropy_scorer, per_class_accuracy, top_k_scorer
from skvision.model_selection import (
    StackedGridSearchCV,
    StackedHalvingGridSearchCV,
    StackedRandomizedSearchCV,
    stacked_cross_validate,
)

SMALL = {"module__hidden": (4,), "max_epochs": 1, "batch_size": 32, "random_state": 0}
GRID = {"lr": [0.01, 0.001]}


def net(**params):
    return ImageClassifier("mlp", **SMALL | params)


def data(b):
    """Return images of two classes, ten of each."""
    return np.tile(b.X[:2], (10, 1, 1)), np.tile(["cat", "dog"], 10)


def search(kind, b, space=GRID, *, estimator=None, X=None, y=None, **options):
    """Fit a search of an unfitted estimator, or of none, in two folds."""
    own_X, own_y = data(b)
    estimator = net() if estimator is None else estimator
    options = {"cv": 2, "calibrate": False} | options
    if "Halving" in kind:
        options.pop("calibrate")
    found = getattr(model_selection, kind)(estimator, space, **options)
    return found.fit(own_X if X is None else X, own_y if y is None else y)


def folds(b, estimator, *, rows=None, **options):
    """Cross-validate an estimator in two folds."""
    options = {"cv": 2, "calibrate": False} | options
    return stacked_cross_validate(estimator, *(rows or data(b)), **options)


SEARCHES = (
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
    "StackedHalvingGridSearchCV",
)
#: What is wrong, keywords of `search`, the error, and what it says.
WRONG = [
    (
        "a number as estimator",
        {"estimator": 5},
        ValueError,
        ("'estimator' parameter of {}", "implementing 'fit'", "Got 5"),
    ),
    (
        "one fold",
        {"cv": 1},
        ValueError,
        ("'cv' parameter of {}", r"an int in the range \[2, inf\)", "Got 1"),
    ),
    (
        "a name as cv",
        {"cv": "five"},
        ValueError,
        ("'cv' parameter of {}", r"an int in the range \[2, inf\)", "Got 'five'"),
    ),
    (
        "more folds than images of a class",
        {"cv": 11},
        ValueError,
        ("n_splits=11", "number of members in each class"),
    ),
    (
        "a scorer that does not exist",
        {"scoring": "accuracyy"},
        ValueError,
        ("'scoring' parameter", "accuracyy", "a str among"),
    ),
    (
        "n_jobs of zero",
        {"n_jobs": 0},
        ValueError,
        ("n_jobs ?== ?0", "no meaning"),
    ),
    (
        "n_jobs that is no number",
        {"n_jobs": "all"},
        (TypeError, ValueError),
        ("n_jobs", "all", "int|number"),
    ),
    (
        "error_score that does not exist",
        {"error_score": "ignore"},
        ValueError,
        ("'error_score' parameter", "'raise'", "Got 'ignore'"),
    ),
    (
        "max_stack of zero",
        {"max_stack": 0},
        ValueError,
        ("'max_stack' parameter", r"\[1, inf\)", "Got 0"),
    ),
    (
        "max_stack that is no number",
        {"max_stack": "all"},
        ValueError,
        ("'max_stack' parameter", "an int", "Got 'all'"),
    ),
    (
        "a misspelt parameter in the grid",
        {"space": {"lrr": [1, 2]}},
        ValueError,
        ("ImageClassifier has no parameter 'lrr'", "did you mean 'lr'"),
    ),
    (
        "values that no fit takes",
        {"space": {"lr": [-1.0, -2.0]}, "error_score": "raise"},
        ValueError,
        ("'lr' parameter of ImageClassifier", r"\[0.0, inf\)", "Got -1.0"),
    ),
    (
        "fits that all fail",
        {"space": {"batch_size": [0]}},
        ValueError,
        ("fits failed", "'batch_size' parameter", "Got 0"),
    ),
    (
        "a label too few",
        {"y": ["cat"] * 19},
        ValueError,
        ("inconsistent numbers of samples", r"\[20, 19\]"),
    ),
    (
        "NaN in an image",
        {"X": np.full((20, 8, 8), np.nan), "error_score": "raise"},
        ValueError,
        ("Input X contains NaN",),
    ),
    (
        "one class",
        {"y": ["cat"] * 20, "error_score": "raise"},
        ValueError,
        ("needs at least 2 classes", r"\['cat'\]"),
    ),
]


def of_kind(kind, row):
    """Return the case of one kind of search."""
    what, options, error, parts = getattr(row, "values", row)
    parts = tuple(part.replace("{}", kind) for part in parts)
    return pytest.param(
        f"{kind}: {what}",
        lambda b: search(kind, b, **options),
        error,
        parts,
        marks=getattr(row, "marks", ()),
    )


COMMON = [of_kind(kind, row) for kind in SEARCHES for row in WRONG]
OWN = [
    (
        "StackedGridSearchCV: parameter without values",
        lambda b: search("StackedGridSearchCV", b, {"lr": []}),
        ValueError,
        ("'lr'", "non-empty sequence", r"got: \[\]"),
    ),
    (
        "StackedGridSearchCV: value in the place of a list",
        lambda b: search("StackedGridSearchCV", b, {"lr": 0.1}),
        TypeError,
        ("'lr'", "needs to be a list or a numpy array", "got 0.1"),
    ),
    (
        "StackedGridSearchCV: number as grid",
        lambda b: search("StackedGridSearchCV", b, 5),
        (TypeError, ValueError),
        ("Parameter grid|'param_grid' parameter", "dict|list", "5"),
    ),
    (
        "StackedGridSearchCV: misspelt keyword",
        lambda b: StackedGridSearchCV(net(), GRID, max_stacks=3),
        TypeError,
        ("unexpected keyword argument 'max_stacks'",),
    ),
    (
        "StackedGridSearchCV: calibrate='yes'",
        lambda b: search("StackedGridSearchCV", b, calibrate="yes"),
        ValueError,
        ("'calibrate' parameter of StackedGridSearchCV", "bool", "Got 'yes'"),
    ),
    (
        "StackedGridSearchCV.predict: not fitted",
        lambda b: StackedGridSearchCV(net(), GRID).predict(b.X),
        NotFittedError,
        ("StackedGridSearchCV instance is not fitted yet", "fit"),
    ),
    (
        "StackedGridSearchCV.predict: images of another shape",
        lambda b: search("StackedGridSearchCV", b).predict(b.X[:, :7]),
        ValueError,
        (r"= \(1, 7, 8\)", r"fitted on \(1, 8, 8\)"),
    ),
    (
        "StackedRandomizedSearchCV: no candidate",
        lambda b: search("StackedRandomizedSearchCV", b, n_iter=0),
        ValueError,
        ("'n_iter' parameter of StackedRandomizedSearchCV", r"\[1, inf\)", "Got 0"),
    ),
    (
        "StackedRandomizedSearchCV: neither list nor distribution",
        lambda b: search("StackedRandomizedSearchCV", b, {"lr": 5}),
        TypeError,
        ("lr", "not a distribution|is not iterable|iterable or distribution", "5"),
    ),
    (
        "StackedRandomizedSearchCV: random_state='seed'",
        lambda b: StackedRandomizedSearchCV(net(), GRID, random_state="seed").fit(
            *data(b)
        ),
        ValueError,
        ("random_state|seed a numpy.random.RandomState", "'?seed'?"),
    ),
    (
        "StackedHalvingGridSearchCV: factor=0",
        lambda b: search("StackedHalvingGridSearchCV", b, factor=0),
        ValueError,
        ("'factor' parameter of StackedHalvingGridSearchCV", "float", "Got 0"),
    ),
    (
        "StackedHalvingGridSearchCV: resource that is no parameter",
        lambda b: StackedHalvingGridSearchCV(
            net(), GRID, resource="epochs", max_resources=4
        ).fit(*data(b)),
        ValueError,
        ("resource=epochs", "not supported by estimator ImageClassifier"),
    ),
    (
        "StackedHalvingGridSearchCV: more resources to begin with than there are",
        lambda b: search("StackedHalvingGridSearchCV", b, min_resources=10),
        ValueError,
        ("min_resources_=10 is greater than max_resources_=1",),
    ),
]


def of_folds(row):
    """Return the case of a cross-validation."""
    what, estimator, options, error, parts = getattr(row, "values", row)
    return pytest.param(
        f"stacked_cross_validate: {what}",
        lambda b: folds(b, estimator, **options),
        error,
        parts,
        marks=getattr(row, "marks", ()),
    )


FOLDS = [
    of_folds(row)
    for row in [
        (
            "a number as estimator",
            5,
            {},
            ValueError,
            (
                "'estimator' parameter of stacked_cross_validate",
                "implementing 'fit'",
                "Got 5",
            ),
        ),
        ("one fold", net(), {"cv": 1}, ValueError, ("n_splits=1", "at least one")),
        (
            "a scorer that does not exist",
            net(),
            {"scoring": "accuracyy"},
            ValueError,
            ("'scoring' parameter", "accuracyy"),
        ),
        (
            "weights of other rows",
            net(),
            {"params": {"sample_weight": np.ones(3)}, "error_score": "raise"},
            ValueError,
            ("sample_weight.shape", r"\(3,\)", r"expected \(10,\)"),
        ),
        (
            "a parameter out of range",
            net(lr=-1),
            {"error_score": "raise"},
            ValueError,
            ("'lr' parameter of", r"\[0.0, inf\)", "Got -1"),
        ),
        (
            "max_stack=-1",
            net(),
            {"max_stack": -1},
            ValueError,
            ("'max_stack' parameter", r"\[1, inf\)", "Got -1"),
        ),
        (
            "no labels",
            net(),
            {"rows": (np.zeros((20, 8, 8)), None), "error_score": "raise"},
            ValueError,
            ("requires y to be passed", "X carries no labels"),
        ),
    ]
]
METRICS = [
    *(
        (
            f"top_k_scorer: k={k!r}",
            lambda b, k=k: top_k_scorer(k),
            ValueError,
            ("'k' parameter of top_k_scorer", r"an int in the range \[1, inf\)"),
        )
        for k in [0, -1, 1.5, "3", None]
    ),
    (
        "top_k_scorer: as many as there are classes",
        lambda b: top_k_scorer(10)(b.classifier, b.X, b.y),
        ValueError,
        ("k=10", "less than the number of classes, 10"),
    ),
    *(
        (
            f"{name}: {what}",
            lambda b, make=make, call=call: call(make(), b),
            error,
            parts,
        )
        for name, make in [
            ("top_k_scorer", lambda: top_k_scorer(3)),
            ("cross_entropy_scorer", cross_entropy_scorer),
        ]
        for what, call, error, parts in [
            (
                "regressor",
                lambda scorer, b: scorer(b.regressor, b.X, b.y),
                TypeError,
                ("needs a classifier with classes_", "got ImageRegressor"),
            ),
            (
                "not fitted",
                lambda scorer, b: scorer(net(), b.X, b.y),
                NotFittedError,
                ("ImageClassifier instance is not", "fit"),
            ),
            (
                "no labels",
                lambda scorer, b: scorer(b.classifier, b.X),
                ValueError,
                ("needs y", "X carries no labels"),
            ),
            (
                "a label too few",
                lambda scorer, b: scorer(b.classifier, b.X, b.y[1:]),
                ValueError,
                ("inconsistent numbers of samples", r"\[59, 60\]"),
            ),
            (
                "labels of another kind",
                lambda scorer, b: scorer(b.classifier, b.X, b.y.astype(str)),
                ValueError,
                ("label", "string", "number"),
            ),
            (
                "weights of other rows",
                lambda scorer, b: scorer(
                    b.classifier, b.X, b.y, sample_weight=np.ones(3)
                ),
                ValueError,
                (r"sample_weight.shape == \(3,\)", r"expected \(60,\)"),
            ),
        ]
    ),
    (
        "cross_entropy_scorer: label that has not been trained on",
        lambda b: cross_entropy_scorer()(b.classifier, b.X, b.y + 1),
        ValueError,
        (r"label\(s\) \[10\]", r"not among the classes \[0, 1"),
    ),
    (
        "cross_entropy_scorer: an argument",
        lambda b: cross_entropy_scorer(3),
        TypeError,
        ("takes 0 positional arguments", "1 was given"),
    ),
    (
        "per_class_accuracy: a label too few",
        lambda b: per_class_accuracy(b.y, b.y[1:]),
        ValueError,
        ("inconsistent numbers of samples", r"\[60, 59\]"),
    ),
    (
        "per_class_accuracy: numbers that are no labels",
        lambda b: per_class_accuracy(b.y, b.t),
        ValueError,
        ("multiclass and continuous", "can't handle"),
    ),
    (
        "per_class_accuracy: None",
        lambda b: per_class_accuracy(None, b.y),
        ValueError,
        ("'y_true' parameter", "array-like", "Got None"),
    ),
    (
        "per_class_accuracy: strings beside numbers",
        lambda b: per_class_accuracy(b.y.astype(str), b.y),
        ValueError,
        (r"Mix of label input types \(string and number\)", r"Got \['0' '1'"),
    ),
]
TARGETS = [
    (
        "StackedGridSearchCV: no targets for a regressor",
        lambda b: StackedGridSearchCV(
            ImageRegressor("mlp", **SMALL), GRID, cv=2, error_score="raise"
        ).fit(b.X),
        ValueError,
        ("ImageRegressor requires y to be passed", "X carries no labels"),
    ),
]
CASES = [*COMMON, *OWN, *FOLDS, *METRICS, *TARGETS]


def test_bad_input(case, refuse):
    refuse(case)
