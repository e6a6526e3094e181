"""Files of all releases can be loaded: tests/data/make.py has written them."""

import json
from pathlib import Path

import numpy as np
import pytest

import skvision

FILES = sorted((Path(__file__).parents[1] / "data").glob("*/*.skv"))


def outputs(net, X):
    if hasattr(net, "reconstruct"):
        return net.transform(X)
    return net.predict_proba(X) if hasattr(net, "predict_proba") else net.predict(X)


def test_there_are_files_of_this_release():
    assert {path.parent.name for path in FILES} >= {skvision.__version__}


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_loaded(path, digits):
    expected = json.loads((path.parent / "expected.json").read_text())[path.stem]
    net = skvision.load(path)
    np.testing.assert_allclose(outputs(net, digits.data[:5]), expected, atol=1e-5)
    if path.stem == "classifier":
        assert net.classes_[3] == "digit 3"
        assert "valid_top_3_accuracy" in net.history[-1]
    assert len(net.history) == 2
    before = net.history[-1, "train_loss"]
    assert net.partial_fit(digits.data[:200], targets(path, digits)) is net
    assert len(net.history) > 2
    assert net.history[2, "train_loss"] < 1.5 * before


def targets(path, digits):
    y = digits.target[:200]
    return y / 9 if path.stem == "regressor" else [f"digit {label}" for label in y]
