"""Wrong columns of labels, and settings that do not go with them."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from torch import nn

from skvision import ImageClassifier
from skvision.metrics import cross_entropy_scorer, top_k_scorer


def columns(b):
    return np.column_stack([b.y % 2 == 0, b.y > 4, b.y > 6]).astype(int)


def frame(b):
    return pd.DataFrame(columns(b), columns=["a", "b", "c"])


def fit(b, y=None, **params):
    net = ImageClassifier("mlp", module__hidden=(8,), max_epochs=1, **params)
    return net.fit(b.X, columns(b) if y is None else y)


def with_value(b, value, dtype=float):
    y = columns(b).astype(dtype)
    y[3, 1] = value
    return y


class Own(nn.Module):
    def forward(self, outputs, y):
        return nn.functional.binary_cross_entropy_with_logits(outputs, y)


SETS = ["cat", "dog"], ["cat"]
BINARIZER = r"sets of labels, such as ... MultiLabelBinarizer\(\).fit_transform\(y\)"
TARGETS = {
    "lists of names": (lambda b: [*SETS] * 30, rf"\['cat', 'dog'\] ... {BINARIZER}"),
    "sets of names": (lambda b: [{"cat"}, {"dog"}] * 30, BINARIZER),
    "a column of lists": (lambda b: pd.Series([*SETS] * 30), BINARIZER),
    "names in columns": (
        lambda b: [["cat", "dog"]] * 60,
        r"y of shape \(60, 2\) has dtype <U3 ... 'cat' ... MultiLabelBinarizer",
    ),
    "numbers as objects": (
        lambda b: columns(b).astype(object),
        r"dtype object ... give y.astype\(int\)",
    ),
    "types of pandas' own": (
        lambda b: frame(b).convert_dtypes(),
        r"dtype object, and values such as 1 ... give y.astype\(int\)",
    ),
    "a 2": (
        lambda b: with_value(b, 2, int),
        r"y has shape \(60, 3\) ... 1 value\(s\) are others, such as 2 ... argmax",
    ),
    "a probability": (lambda b: with_value(b, 0.5), "such as 0.5 ... ImageRegressor"),
    "NaN": (lambda b: with_value(b, np.nan), "Input y contains NaN"),
    "three axes": (
        lambda b: columns(b)[:, :, None],
        "Found array with dim 3, while dim <= 2",
    ),
    "a row too few": (lambda b: columns(b)[1:], "inconsistent numbers of samples"),
}
SETTINGS = {
    "criterion of single labels": (
        {"criterion": nn.CrossEntropyLoss},
        "criterion CrossEntropyLoss is for single labels ... criterion='cross_entropy'",
    ),
    "criterion of signs": (
        {"criterion": nn.SoftMarginLoss},
        "SoftMarginLoss is for signs, -1 or 1 ... criterion='cross_entropy'",
    ),
    "criterion of one's own": (
        {"criterion": Own},
        "criterion Own ... Set predict_nonlinearity to 'sigmoid'",
    ),
    "criterion of other targets": (
        {"criterion": nn.MultiLabelMarginLoss, "predict_nonlinearity": "sigmoid"},
        r"MultiLabelMarginLoss\(\) cannot take ... Choose another criterion",
    ),
    "label_smoothing": (
        {"criterion__label_smoothing": 0.1},
        "criterion__label_smoothing ... BCEWithLogitsLoss",
    ),
    "probabilities of classes": (
        {"predict_nonlinearity": "softmax"},
        "predict_nonlinearity='softmax' ... 'sigmoid'",
    ),
    "a dict of weights": (
        {"class_weight": {1: 5}},
        r"class_weight=\{1: 5\}, but y has 3 columns ... list of dicts",
    ),
    "too few weights": ({"class_weight": [{1: 5}]}, "3 columns ... list of dicts"),
    "weights of other labels": (
        {"class_weight": [{2: 5}, {}, {}]},
        r"class_weight names the label\(s\) \[2\] ... classes \[0, 1\]",
    ),
    "weights of a loss that has none of labels": (
        {"criterion": nn.MultiLabelSoftMarginLoss, "class_weight": "balanced"},
        "1 value ... for the 3 labels ... criterion='cross_entropy'",
    ),
    "too few thresholds": (
        {"threshold": [0.5, 0.5]},
        r"threshold=\[0.5, 0.5\] ... for each of the 3 labels; or 'tuned'",
    ),
    "a threshold of 1": ({"threshold": [0.5, 0.5, 1]}, "a number between 0 and 1"),
    "no rows to tune by": (
        {"threshold": "tuned"},
        "threshold='tuned' ... there are none. Set early_stopping=True",
    ),
}
CASES = [
    {
        ValueError: {
            f"ImageClassifier.fit: {what} as columns": (
                lambda b, make=make: fit(b, make(b)),
                pattern,
            )
            for what, (make, pattern) in TARGETS.items()
        }
    },
    {
        ValueError: {
            f"ImageClassifier.fit: {what}": (lambda b, p=params: fit(b, **p), pattern)
            for what, (params, pattern) in SETTINGS.items()
        }
    },
    {
        ValueError: {
            "ImageClassifier.fit: threshold for one label per image": (
                lambda b: b.refit("classifier", threshold=0.3),
                "threshold=0.3 ... one label per image ... FixedThresholdClassifier",
            ),
            "ImageClassifier.fit: sigmoid for one label per image": (
                lambda b: b.refit("classifier", predict_nonlinearity="sigmoid"),
                "predict_nonlinearity='sigmoid' ... Set 'auto' or 'softmax'",
            ),
            "ImageClassifier.fit: a list of weights for one label per image": (
                lambda b: b.refit("classifier", class_weight=[{0: 1}]),
                r"class_weight=\[\{0: 1\}\] ... 'balanced' or a dict",
            ),
            "ImageClassifier.partial_fit: columns after one label per image": (
                lambda b: b.classifier.partial_fit(b.X, columns(b)),
                r"y has shape \(60, 3\) ... one label per image, of the classes \[0",
            ),
            "ImageClassifier.partial_fit: one label per image after columns": (
                lambda b: fit(b).partial_fit(b.X, b.y),
                r"y has shape \(60,\) ... a column for each of 3 labels",
            ),
            "ImageClassifier.partial_fit: fewer columns": (
                lambda b: fit(b).partial_fit(b.X, columns(b)[:, :2]),
                r"y has shape \(60, 2\) ... each of 3 labels",
            ),
            "ImageClassifier.partial_fit: columns in another order": (
                lambda b: fit(b, frame(b)).partial_fit(b.X, frame(b)[["a", "c", "b"]]),
                r"columns \['a', 'c', 'b'\] ... first fit were \['a', 'b', 'c'\]",
            ),
            "ImageClassifier.partial_fit: classes of columns": (
                lambda b: ImageClassifier("mlp").partial_fit(
                    b.X, columns(b), classes=["a", "b", "c"]
                ),
                r"classes=\['a' ... \[0, 1, 2\]. Leave classes out",
            ),
            "ImageClassifier.load_params: weights of columns": (
                lambda b: load_others(b),
                "weights are for several labels ... for one label per image",
            ),
            "top_k_scorer: columns": (
                lambda b: top_k_scorer(2)(fit(b), b.X, columns(b)),
                r"top_k_scorer\(2\) is for one label per image ... average_precision",
            ),
            "cross_entropy_scorer: one label per image": (
                lambda b: cross_entropy_scorer()(fit(b), b.X, b.y),
                r"y has shape \(60,\) ... probabilities of shape \(60, 3\)",
            ),
            "cross_entropy_scorer: columns": (
                lambda b: cross_entropy_scorer()(b.classifier, b.X, columns(b)),
                r"y has shape \(60, 3\) ... of shape \(60, 10\)",
            ),
        },
        TypeError: {
            "ImageClassifier.fit: sparse columns": (
                lambda b: fit(b, csr_array(columns(b))),
                "Sparse data was passed for y ... toarray",
            ),
        },
    },
]


def load_others(b):
    fit(b).save_params(f_params=b.path / "weights.pt")
    net = ImageClassifier("mlp", module__hidden=(8,), max_epochs=1)
    net.fit(b.X, b.y % 3).load_params(f_params=b.path / "weights.pt")


def test_bad_input(case, refuse):
    refuse(case)
