import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import TensorDataset

from skvision import ImageClassifier
from skvision.inspection import Table, class_table


class Echo(ClassifierMixin, BaseEstimator):
    """Predict what the images say."""

    def __init__(self, classes=None):
        self.classes = classes
        self.fitted_ = True
        if classes is not None:
            self.classes_ = np.array(classes)

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0]


Y_TRUE = np.array([1, 1, 1, 1, 3, 3, 5])
Y_PRED = np.array([[1], [3], [5], [5], [3], [1], [5]])
ROWS = [
    ["1", 4, 0.25, "5"],
    ["3", 2, 0.5, "1"],
    ["5", 1, 1.0, None],
    ["all", 7, 3 / 7, None],
]


def test_rows():
    table = class_table(Echo(), Y_PRED, Y_TRUE)
    assert isinstance(table, Table)
    assert table.columns == ["label", "images", "accuracy", "most often mistaken for"]
    assert table.rows == ROWS


def test_the_first_of_several():
    assert class_table(Echo(), [[3], [5]], [1, 1]).rows[0] == ["1", 2, 0.0, "3"]


def test_labels_that_do_not_occur():
    table = class_table(Echo([0, 1, 3, 5]), Y_PRED, Y_TRUE)
    assert table.rows == [["0", 0, None, None], *ROWS]
    table = class_table(Echo(), [[7], [7]], [1, 7])
    assert table.rows == [
        ["1", 1, 0.0, "7"],
        ["7", 1, 1.0, None],
        ["all", 2, 0.5, None],
    ]


def test_target_names():
    names = ["trouser", "dress", "sandal"]
    rows = class_table(Echo([1, 3, 5]), Y_PRED, Y_TRUE, target_names=names).rows
    assert [row[0] for row in rows] == [*names, "all"]
    assert [row[3] for row in rows] == ["sandal", "trouser", None, None]
    with pytest.raises(ValueError, match="target_names has 2 names.* 3 classes"):
        class_table(Echo([1, 3, 5]), Y_PRED, Y_TRUE, target_names=names[:2])


def test_an_image_classifier_and_the_labels_of_a_data_set(digits):
    X, y = digits.data[:300], np.array(list("abcdefghij"))[digits.target[:300]]
    net = ImageClassifier("mlp", module__hidden=32, max_epochs=3, random_state=0)
    y_pred = net.fit(X, y).predict(X)
    rows = class_table(net, X, y).rows
    assert [row[0] for row in rows] == [*"abcdefghij", "all"]
    recalls = recall_score(y, y_pred, average=None)
    assert [row[2] for row in rows[:-1]] == pytest.approx(recalls)
    assert rows[-1][1:3] == [300, accuracy_score(y, y_pred)]
    assert [row[1] for row in rows[:-1]] == np.unique_counts(y).counts.tolist()

    images = torch.from_numpy(X)[:, None].float() / 16
    data = TensorDataset(images, torch.from_numpy(digits.target[:300]))
    net.fit(data)
    expected = class_table(net, images, digits.target[:300])
    assert class_table(net, data).rows == expected.rows
    pairs = [data[i] for i in range(300)]
    assert class_table(net, pairs).rows == expected.rows


def test_pipelines(digits):
    X, y = digits.data[:100].reshape(100, -1), digits.target[:100]
    pipeline = make_pipeline(StandardScaler(), DummyClassifier(strategy="constant"))
    pipeline.set_params(dummyclassifier__constant=3).fit(X, y)
    rows = class_table(pipeline, X, y).rows
    assert rows[3] == ["3", int((y == 3).sum()), 1.0, None]
    assert {row[3] for row in rows if row[0] not in ("3", "all")} == {"3"}
