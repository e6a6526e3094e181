"""Scales of targets, and outputs that are no probabilities, in ONNX files."""

import numpy as np
import pytest
import torch
from torch import nn

from skvision import ImageClassifier, ImageRegressor

pytest.importorskip("onnxruntime")


class Own(nn.Module):
    def forward(self, outputs, y):
        return nn.functional.cross_entropy(outputs, y)


@pytest.mark.parametrize(
    ("scale", "shift", "params"),
    [
        pytest.param(1e-6, 0, {}, marks=pytest.mark.slow),
        (1e6, 3e6, {"dtype": "float64"}),
        pytest.param(1, 100, {"module__hidden": (4,)}, marks=pytest.mark.slow),
        pytest.param(1, 0, {"normalize_target": False}, marks=pytest.mark.slow),
        (1, 0, {"criterion": nn.PoissonNLLLoss}),
        (1, 0, {"criterion": nn.SmoothL1Loss, "predict_nonlinearity": torch.relu}),
    ],
)
def test_regressors(
    path, scale, shift, params, make_data, fitted, outputs_of, exported
):
    X, y = make_data()
    y = y.astype(float) * scale + shift
    net = fitted(ImageRegressor, (X, y), module="mlp", **params)
    found = outputs_of(exported(net, path, X), X)["predictions"]
    expected = net.predict(X)
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * size)
    assert found.dtype == np.float32
    assert np.ptp(expected) > 0


def test_several_labels(path, make_data, fitted, outputs_of, exported):
    X, y = make_data()
    labels = np.column_stack([y == 0, y > 0, y < 2]).astype(int)
    params = {"module": "mlp", "threshold": [0.3, 0.6, 0.5]}
    net = fitted(ImageClassifier, (X, labels), **params)
    session = exported(net, path, X)
    outputs = outputs_of(session, X)
    assert list(outputs) == ["probabilities", "labels"]
    proba = net.predict_proba(X)
    np.testing.assert_allclose(outputs["probabilities"], proba, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(outputs["labels"], net.predict(X))
    assert outputs["labels"].dtype == np.int64
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["classes"] == "[0, 1, 2]"
    assert metadata["thresholds"] == "[0.3, 0.6, 0.5]"


@pytest.mark.parametrize("n_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_outputs_that_are_no_probabilities(
    path, n_classes, make_data, fitted, outputs_of, exported, assert_probabilities
):
    X, y = make_data()
    labels = np.unique(y)[np.arange(len(y)) % n_classes]
    net = fitted(ImageClassifier, (X, labels), module="mlp", criterion=Own)
    outputs = outputs_of(exported(net, path, X), X)
    assert list(outputs) == ["scores", "class_index"]
    scores, decisions = outputs["scores"], net.decision_function(X)
    if n_classes == 2:
        scores = scores[:, 1] - scores[:, 0]
    np.testing.assert_allclose(scores, decisions, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net.classes_[outputs["class_index"]], net.predict(X))
    net.set_params(predict_nonlinearity="softmax")
    assert_probabilities(exported(net, path, X), net, X)


def test_margins_are_made_probabilities(
    path, make_data, fitted, exported, assert_probabilities
):
    data = make_data()
    net = fitted(ImageClassifier, data, module="mlp", criterion=nn.MultiMarginLoss)
    assert_probabilities(exported(net, path, data[0]), net, data[0])
