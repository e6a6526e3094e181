"""What cannot be written as an ONNX file, and how users are told."""

import logging
import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from skvision_tests import Flattening

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.export import export_onnx

for name in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(name)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class NoOperation(Flattening):
    def forward(self, images):
        return super().forward(torch.special.bessel_j0(images))


class DataDependent(Flattening):
    def forward(self, images):
        outputs = super().forward(images)
        return outputs if outputs.sum() > 0 else -outputs


class RowByRow(Flattening):
    def forward(self, images):
        return torch.stack([super(RowByRow, self).forward(i[None])[0] for i in images])


class Uncopyable(Flattening):
    def __deepcopy__(self, memo):
        raise RuntimeError("there is only one of me.")


@pytest.fixture
def prints_nothing(capfd, caplog, recwarn):
    with caplog.at_level(logging.INFO):
        yield
    assert capfd.readouterr() == ("", "")
    assert {warning.category for warning in recwarn} <= {ConvergenceWarning}  # Of fit.
    assert [record.message for record in caplog.records] == []


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (NoOperation, "bessel_j0"),
        (DataDependent, "data"),
        (RowByRow, "a static shape of 2 for dimension"),
        (Uncopyable, "only one of me"),
    ],
)
def test_networks_that_onnx_cannot_express(
    module, reason, path, make_data, fitted, prints_nothing
):
    X, y = make_data()
    net = fitted(ImageClassifier, (X, y), module=module, max_epochs=1)
    path.write_bytes(b"old")
    with pytest.raises(
        ValueError, match=f"The network {module.__name__} .*{reason}"
    ) as (error):
        export_onnx(net, path, example=X)
    assert error.value.__cause__ is not None
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"
    net.predict(X)


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor, ImageAutoencoder])
def test_not_fitted(kind, path):
    with pytest.raises(NotFittedError, match=kind.__name__):
        export_onnx(kind(), path)
    net = kind("lenet" if kind is not ImageAutoencoder else "auto")
    net.set_params(image_shape=(1, 28, 28))
    if kind is not ImageAutoencoder:
        net.set_params(module__n_outputs=3)
    net.initialize()
    with pytest.raises(NotFittedError, match="call fit before export_onnx"):
        export_onnx(net, path, example=np.zeros((1, 28, 28), np.uint8))
    assert list(path.parent.iterdir()) == []


def test_a_search_is_asked_for_its_best(path, make_data):
    search = GridSearchCV(ImageClassifier("mlp", max_epochs=1), {"lr": [0.01]}, cv=2)
    search.fit(*make_data(n=24))
    with pytest.raises(TypeError, match="got GridSearchCV. Give its best_estimator_"):
        export_onnx(search, path)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_missing_extra(missing, trained, path, monkeypatch, make_data):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'skvision\[onnx\]'"):
        export_onnx(trained, path, example=make_data()[0])


def test_wrong_arguments(trained, path, make_data):
    for kwargs, message in [
        ({"example": np.zeros((0, 12, 14), np.uint8)}, "0 sample"),
        ({"opset_version": 99}, "opset_version=99: .*opset_version="),
    ]:
        with pytest.raises(ValueError, match=message):
            export_onnx(trained, path, **{"example": make_data()[0]} | kwargs)
    assert list(path.parent.iterdir()) == []


def test_paths(trained, tmp_path, make_data):
    X, _ = make_data()
    with pytest.raises(FileNotFoundError):
        export_onnx(trained, tmp_path / "no such folder" / "model.onnx", example=X)
    assert list(tmp_path.iterdir()) == []
    export_onnx(trained, str(tmp_path / "été.onnx"), example=X)
    assert [file.name for file in tmp_path.iterdir()] == ["été.onnx"]


def test_networks_that_are_too_large_for_a_file(trained, path, monkeypatch, make_data):
    monkeypatch.setattr("skvision.export._onnx._MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="The network MLP .* less than 2 GB"):
        export_onnx(trained, path, example=make_data()[0])


def test_nothing_is_printed(trained, path, make_data, prints_nothing):
    export_onnx(trained, path, example=make_data()[0], opset_version=17)
