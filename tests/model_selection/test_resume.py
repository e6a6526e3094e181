"""Stacked searches that were interrupted go on from what they had."""

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch

from skvision import ImageClassifier
from skvision.model_selection import StackedGridSearchCV, stacked_cross_validate
from skvision.model_selection._stack import Stack

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # There is little to learn from.
)

CODE = """
import warnings
import numpy as np
from skvision import ImageClassifier
from skvision.model_selection import StackedGridSearchCV

warnings.simplefilter("ignore")
X = np.random.RandomState(0).randint(0, 255, (300, 8, 8)).astype(np.uint8)
y = np.arange(300) % 3
net = ImageClassifier(
    "mlp", module__hidden=(8,), max_epochs=8, random_state=0, checkpoint=folder,
)
grid = {"lr": [1e-3, 1e-2], "batch_size": [30, 60]}
search = StackedGridSearchCV(net, grid, cv=2, refit=False, calibrate=False).fit(X, y)
scores = search.cv_results_["mean_test_score"].tolist()
"""


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:200], digits.target[:200]


def build(**params):
    return ImageClassifier(
        "mlp", module__hidden=(8,), max_epochs=3, random_state=0, **params
    )


GRID = {"lr": [1e-3, 1e-2]}


def never(self, *args, **kwargs):
    raise AssertionError("Something is trained again.")


def test_finished_fits_are_not_trained_again(data, tmp_path, monkeypatch):
    net = build(checkpoint=tmp_path)
    first = StackedGridSearchCV(net, GRID, cv=2, calibrate=False).fit(*data)
    # Of each fit, and of the best one on all rows.
    assert len(list(tmp_path.iterdir())) == 5
    monkeypatch.setattr(Stack, "train_epoch", never)
    again = StackedGridSearchCV(net, GRID, cv=2, calibrate=False).fit(*data)
    for key in ("mean_test_score", "std_test_score"):
        np.testing.assert_array_equal(first.cv_results_[key], again.cv_results_[key])
    assert first.best_params_ == again.best_params_


def test_only_what_is_new_is_trained(data, tmp_path, monkeypatch):
    sizes = []
    original = Stack.train_epoch

    def train_epoch(self):
        sizes.append(len(self.members))
        return original(self)

    monkeypatch.setattr(Stack, "train_epoch", train_epoch)
    net = build(checkpoint=tmp_path)
    stacked_cross_validate(net, *data, cv=2, calibrate=False)
    assert sizes == [2] * 3
    sizes.clear()
    more = {"lr": [1e-3, 3e-3]}
    StackedGridSearchCV(net, more, cv=2, refit=False, calibrate=False).fit(*data)
    assert sizes == [2] * 3


def test_ordinary_fits_and_stacks_go_on_from_each_other(data, tmp_path, monkeypatch):
    X, y = data
    net = build(checkpoint=tmp_path)
    first = stacked_cross_validate(net, X, y, cv=2, calibrate=False)
    monkeypatch.setattr(torch.autograd, "backward", never)
    from sklearn.model_selection import cross_validate

    again = cross_validate(net, X, y, cv=2, error_score="raise")
    np.testing.assert_array_equal(first["test_score"], again["test_score"])


def search(folder):
    namespace = {"folder": folder}
    with warnings.catch_warnings():
        exec(CODE, namespace)
    return namespace["scores"]


def test_killed_search(tmp_path):
    expected = search(tmp_path / "whole")
    folder = tmp_path / "killed"
    code = f"import sys\nfolder = sys.argv[1]\n{CODE}"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    # The second of two stacks has begun.
    while len(list(folder.glob("*.checkpoint"))) <= 4:
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert 4 < len(list(folder.glob("*.checkpoint"))) <= 8
    assert search(folder) == expected
