"""Stacked searches, and scorers."""

import numpy as np
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
WRONG = {
    ValueError: {
        "a number as estimator": (
            {"estimator": 5},
            "'estimator' parameter of {} ... implementing 'fit' ... Got 5",
        ),
        "one fold": (
            {"cv": 1},
            r"'cv' parameter of {} ... an int in the range \[2, inf\) ... Got 1",
        ),
        "a name as cv": (
            {"cv": "five"},
            r"'cv' parameter of {} ... an int in the range \[2, inf\) ... Got 'five'",
        ),
        "more folds than images of a class": (
            {"cv": 11},
            "n_splits=11 ... number of members in each class",
        ),
        "a scorer that does not exist": (
            {"scoring": "accuracyy"},
            "'scoring' parameter ... accuracyy ... a str among",
        ),
        "n_jobs of zero": ({"n_jobs": 0}, "n_jobs ?== ?0 ... no meaning"),
        "error_score that does not exist": (
            {"error_score": "ignore"},
            "'error_score' parameter ... 'raise' ... Got 'ignore'",
        ),
        "max_stack of zero": (
            {"max_stack": 0},
            r"'max_stack' parameter ... \[1, inf\) ... Got 0",
        ),
        "max_stack that is no number": (
            {"max_stack": "all"},
            "'max_stack' parameter ... an int ... Got 'all'",
        ),
        "a misspelt parameter in the grid": (
            {"space": {"lrr": [1, 2]}},
            "ImageClassifier has no parameter 'lrr' ... did you mean 'lr'",
        ),
        "values that no fit takes": (
            {"space": {"lr": [-1.0, -2.0]}, "error_score": "raise"},
            r"'lr' parameter of ImageClassifier ... \[0.0, inf\) ... Got -1.0",
        ),
        "fits that all fail": (
            {"space": {"batch_size": [0]}},
            "fits failed ... 'batch_size' parameter ... Got 0",
        ),
        "a label too few": (
            {"y": ["cat"] * 19},
            r"inconsistent numbers of samples ... \[20, 19\]",
        ),
        "NaN in an image": (
            {"X": np.full((20, 8, 8), np.nan), "error_score": "raise"},
            "Input X contains NaN",
        ),
        "one class": (
            {"y": ["cat"] * 20, "error_score": "raise"},
            r"needs at least 2 classes ... \['cat'\]",
        ),
    },
    (TypeError, ValueError): {
        "n_jobs that is no number": (
            {"n_jobs": "all"},
            "n_jobs ... all ... int|number",
        ),
    },
}


COMMON = [
    {
        error: {
            f"{kind}: {what}": (
                lambda b, k=kind, o=options: search(k, b, **o),
                *(pattern.replace("{}", kind) for pattern in patterns),
            )
            for what, (options, *patterns) in table.items()
        }
    }
    for kind in SEARCHES
    for error, table in WRONG.items()
]
OWN = {
    ValueError: {
        "StackedGridSearchCV: parameter without values": (
            lambda b: search("StackedGridSearchCV", b, {"lr": []}),
            r"'lr' ... non-empty sequence ... got: \[\]",
        ),
        "StackedGridSearchCV: calibrate='yes'": (
            lambda b: search("StackedGridSearchCV", b, calibrate="yes"),
            "'calibrate' parameter of StackedGridSearchCV ... bool ... Got 'yes'",
        ),
        "StackedGridSearchCV.predict: images of another shape": (
            lambda b: search("StackedGridSearchCV", b).predict(b.X[:, :7]),
            r"= \(1, 7, 8\) ... fitted on \(1, 8, 8\)",
        ),
        "StackedRandomizedSearchCV: no candidate": (
            lambda b: search("StackedRandomizedSearchCV", b, n_iter=0),
            r"'n_iter' parameter of StackedRandomizedSearchCV ... \[1, inf\) ... Got 0",
        ),
        "StackedRandomizedSearchCV: random_state='seed'": (
            lambda b: StackedRandomizedSearchCV(net(), GRID, random_state="seed").fit(
                *data(b)
            ),
            "random_state|seed a numpy.random.RandomState ... '?seed'?",
        ),
        "StackedHalvingGridSearchCV: factor=0": (
            lambda b: search("StackedHalvingGridSearchCV", b, factor=0),
            "'factor' parameter of StackedHalvingGridSearchCV ... float ... Got 0",
        ),
        "StackedHalvingGridSearchCV: resource that is no parameter": (
            lambda b: StackedHalvingGridSearchCV(
                net(), GRID, resource="epochs", max_resources=4
            ).fit(*data(b)),
            "resource=epochs ... not supported by estimator ImageClassifier",
        ),
        "StackedHalvingGridSearchCV: more resources to begin with than there are": (
            lambda b: search("StackedHalvingGridSearchCV", b, min_resources=10),
            "min_resources_=10 is greater than max_resources_=1",
        ),
    },
    TypeError: {
        "StackedGridSearchCV: value in the place of a list": (
            lambda b: search("StackedGridSearchCV", b, {"lr": 0.1}),
            "'lr' ... needs to be a list or a numpy array ... got 0.1",
        ),
        "StackedGridSearchCV: misspelt keyword": (
            lambda b: StackedGridSearchCV(net(), GRID, max_stacks=3),
            "unexpected keyword argument 'max_stacks'",
        ),
        "StackedRandomizedSearchCV: neither list nor distribution": (
            lambda b: search("StackedRandomizedSearchCV", b, {"lr": 5}),
            "lr ... not a distribution|is not iterable|iterable or distribution ... 5",
        ),
    },
    (TypeError, ValueError): {
        "StackedGridSearchCV: number as grid": (
            lambda b: search("StackedGridSearchCV", b, 5),
            "Parameter grid|'param_grid' parameter ... dict|list ... 5",
        ),
    },
    NotFittedError: {
        "StackedGridSearchCV.predict: not fitted": (
            lambda b: StackedGridSearchCV(net(), GRID).predict(b.X),
            "StackedGridSearchCV instance is not fitted yet ... fit",
        ),
    },
}


FOLDS = {
    ValueError: {
        f"stacked_cross_validate: {what}": (
            lambda b, n=estimator, o=options: folds(b, n, **o),
            *patterns,
        )
        for what, (estimator, options, *patterns) in {
            "a number as estimator": (
                5,
                {},
                "'estimator' parameter of stacked_cross_validate",
                "implementing 'fit' ... Got 5",
            ),
            "one fold": (net(), {"cv": 1}, "n_splits=1 ... at least one"),
            "a scorer that does not exist": (
                net(),
                {"scoring": "accuracyy"},
                "'scoring' parameter ... accuracyy",
            ),
            "weights of other rows": (
                net(),
                {"params": {"sample_weight": np.ones(3)}, "error_score": "raise"},
                r"sample_weight.shape ... \(3,\) ... expected \(10,\)",
            ),
            "a parameter out of range": (
                net(lr=-1),
                {"error_score": "raise"},
                r"'lr' parameter of ... \[0.0, inf\) ... Got -1",
            ),
            "max_stack=-1": (
                net(),
                {"max_stack": -1},
                r"'max_stack' parameter ... \[1, inf\) ... Got -1",
            ),
            "no labels": (
                net(),
                {"rows": (np.zeros((20, 8, 8)), None), "error_score": "raise"},
                "requires y to be passed ... X carries no labels",
            ),
        }.items()
    }
}
SCORERS = {
    "top_k_scorer": lambda: top_k_scorer(3),
    "cross_entropy_scorer": cross_entropy_scorer,
}
SCORED = {
    TypeError: {
        "regressor": (
            lambda scorer, b: scorer(b.regressor, b.X, b.y),
            "needs a classifier with classes_ ... got ImageRegressor",
        ),
    },
    NotFittedError: {
        "not fitted": (
            lambda scorer, b: scorer(net(), b.X, b.y),
            "ImageClassifier instance is not ... fit",
        ),
    },
    ValueError: {
        "no labels": (
            lambda scorer, b: scorer(b.classifier, b.X),
            "needs y ... X carries no labels",
        ),
        "a label too few": (
            lambda scorer, b: scorer(b.classifier, b.X, b.y[1:]),
            r"inconsistent numbers of samples ... \[59, 60\]",
        ),
        "labels of another kind": (
            lambda scorer, b: scorer(b.classifier, b.X, b.y.astype(str)),
            "label ... string ... number",
        ),
        "weights of other rows": (
            lambda scorer, b: scorer(b.classifier, b.X, b.y, sample_weight=np.ones(3)),
            r"sample_weight.shape == \(3,\) ... expected \(60,\)",
        ),
    },
}
METRICS = [
    *(
        {
            error: {
                f"{name}: {what}": (lambda b, m=make, c=call: c(m(), b), *patterns)
                for name, make in SCORERS.items()
                for what, (call, *patterns) in table.items()
            }
        }
        for error, table in SCORED.items()
    ),
    {
        ValueError: {
            **{
                f"top_k_scorer: k={k!r}": (
                    lambda b, k=k: top_k_scorer(k),
                    r"'k' parameter of top_k_scorer ... an int in the range \[1, inf\)",
                )
                for k in [0, -1, 1.5, "3", None]
            },
            "top_k_scorer: as many as there are classes": (
                lambda b: top_k_scorer(10)(b.classifier, b.X, b.y),
                "k=10 ... less than the number of classes, 10",
            ),
            "cross_entropy_scorer: label that has not been trained on": (
                lambda b: cross_entropy_scorer()(b.classifier, b.X, b.y + 1),
                r"label\(s\) \[10\] ... not among the classes \[0, 1",
            ),
            "per_class_accuracy: a label too few": (
                lambda b: per_class_accuracy(b.y, b.y[1:]),
                r"inconsistent numbers of samples ... \[60, 59\]",
            ),
            "per_class_accuracy: numbers that are no labels": (
                lambda b: per_class_accuracy(b.y, b.t),
                "multiclass and continuous ... can't handle",
            ),
            "per_class_accuracy: None": (
                lambda b: per_class_accuracy(None, b.y),
                "'y_true' parameter ... array-like ... Got None",
            ),
            "per_class_accuracy: strings beside numbers": (
                lambda b: per_class_accuracy(b.y.astype(str), b.y),
                r"Mix of label input types \(string and number\) ... Got \['0' '1'",
            ),
        },
        TypeError: {
            "cross_entropy_scorer: an argument": (
                lambda b: cross_entropy_scorer(3),
                "takes 0 positional arguments ... 1 was given",
            ),
        },
    },
]
TARGETS = {
    ValueError: {
        "StackedGridSearchCV: no targets for a regressor": (
            lambda b: StackedGridSearchCV(
                ImageRegressor("mlp", **SMALL), GRID, cv=2, error_score="raise"
            ).fit(b.X),
            "ImageRegressor requires y to be passed ... X carries no labels",
        ),
    },
}
CASES = [*COMMON, OWN, FOLDS, *METRICS, TARGETS]


def test_bad_input(case, refuse):
    refuse(case)
