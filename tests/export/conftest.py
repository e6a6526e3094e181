"""Images, estimators and sessions of the tests of ONNX files."""

import os

import numpy as np
import pytest

from skvision import ImageClassifier
from skvision.export import export_onnx

LAYOUTS = {
    "grey": lambda images: images[:, 0],
    "first": lambda images: images,
    "last": lambda images: images.transpose(0, 2, 3, 1),
    "flat": lambda images: images.reshape(len(images), -1),
}
#: Numbers of rows that go into one session, one after the other.
BATCHES = (1, 3, 17)
TOLERANCE = 1e-5


@pytest.fixture(scope="session")
def make_data():
    """Function that returns images of a layout and type, and labels."""

    def function(n_channels=1, layout="grey", dtype="uint8", size=12, n=48):
        rng = np.random.RandomState(0)
        y = np.arange(n) % 3
        images = rng.randint(0, 160, (n, n_channels, size, size + 2)) + 40 * y.reshape(
            -1, 1, 1, 1
        )
        images = LAYOUTS[layout](images.astype(np.uint8))
        whole = np.dtype(dtype).kind in "ui"
        return (images if whole else images / 255).astype(dtype), y

    return function


@pytest.fixture(scope="session")
def fitted():
    """Function that returns a fitted estimator."""

    def function(kind, data, **params):
        params = {
            "max_epochs": 2,
            "batch_size": 16,
            "lr": 1e-2,
            "random_state": 0,
        } | params
        X, y = data
        return kind(**params).fit(X, y)

    return function


@pytest.fixture(scope="session")
def session_of():
    """Function that returns a session of onnxruntime."""

    onnxruntime = pytest.importorskip("onnxruntime")

    def function(path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    return function


@pytest.fixture(scope="session")
def outputs_of():
    """Function that returns the outputs of a session by name."""

    def function(session, X):
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, {"X": X}), strict=True))

    return function


@pytest.fixture(scope="session")
def exported(session_of):
    """Function that returns a session of a file that onnx finds nothing wrong with."""
    onnx = pytest.importorskip("onnx")

    def function(net, path, X, **kwargs):
        export_onnx(net, path, example=X[:1], **kwargs)
        onnx.checker.check_model(os.fspath(path), full_check=True)
        return session_of(path)

    return function


@pytest.fixture(scope="session")
def assert_probabilities(outputs_of):
    """Function that compares a session with an estimator."""

    def function(session, net, X, expected=None):
        expected = net.predict_proba(X) if expected is None else expected
        assert np.ptp(expected, axis=0).max() > 100 * TOLERANCE, "all look the same"
        for n in BATCHES:
            outputs = outputs_of(session, np.ascontiguousarray(X[:n]))
            assert list(outputs) == ["probabilities", "class_index"]
            probabilities, index = outputs.values()
            assert probabilities.dtype == np.float32
            np.testing.assert_allclose(
                probabilities, expected[:n], rtol=0, atol=TOLERANCE
            )
            assert index.dtype == np.int64
            labels = net.classes_[expected[:n].argmax(1)]
            np.testing.assert_array_equal(net.classes_[index], labels)

    return function


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


@pytest.fixture(scope="module")
def trained(make_data, fitted):
    return fitted(ImageClassifier, make_data(dtype="float64"), module="mlp")
