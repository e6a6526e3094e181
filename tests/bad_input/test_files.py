"""Files of estimators, and what is handed to other programs and machines."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from torch import nn

import skvision
from skvision import ImageClassifier
from skvision.exceptions import FormatError
from skvision.export import export_onnx
from skvision.model_selection import on_dask


def saved(b, change=lambda content: content):
    """Write a file of an estimator and change its content."""
    path = b.path / "Zähler ß.skv"
    b.classifier.save(path)
    path.write_bytes(change(path.read_bytes()))
    return path


def saved_instance(b):
    """Write a file of an estimator whose network was given as an object."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    path = b.path / "own.skv"
    ImageClassifier(layers, max_epochs=1).fit(b.X, b.y).save(path)
    return path


def export(net, b, **options):
    pytest.importorskip("onnxscript")
    export_onnx(net, b.path / "a.onnx", **options)


def cluster(client):
    def enter(b):
        pytest.importorskip("distributed")
        with on_dask(client):
            pass

    return enter


LOADED = {
    FileNotFoundError: {
        "load: file that is not there": (
            lambda b: skvision.load(b.path / "fort ß.skv"),
            "fort ß.skv ... No such file",
        ),
    },
    FormatError: {
        "load: folder": (
            lambda b: skvision.load(b.path),
            "is not a file ... test_bad_input",
        ),
        "load: empty file": (
            lambda b: skvision.load(saved(b, lambda content: b"")),
            "Zähler ß.skv' is cut off, or was not written by skvision",
        ),
        "load: text": (
            lambda b: skvision.load(saved(b, lambda content: b"Guten Tag. " * 9)),
            "Zähler ß.skv' ... was not written by skvision",
        ),
        "load: truncated file": (
            lambda b: skvision.load(saved(b, lambda content: content[:-100])),
            "Zähler ß.skv' ... damaged|cut off|changed",
        ),
        "load: a bit that is another one": (
            lambda b: skvision.load(
                saved(b, lambda content: content[:-9] + b"!" + content[-8:])
            ),
            "Zähler ß.skv' ... damaged|changed",
        ),
        "load: network that a file cannot hold": (
            lambda b: skvision.load(saved_instance(b)),
            "own.skv' cannot be loaded ... class 'Sequential' ... load with module=",
        ),
        "load: another network": (
            lambda b: skvision.load(saved(b), module=nn.Linear(64, 10)),
            "Zähler ß.skv' cannot be loaded ... Linear",
        ),
    },
    (TypeError, ValueError): {
        "load: number as path": (lambda b: skvision.load(5), "path ... 5|int"),
        "load: number as network": (
            lambda b: skvision.load(saved(b), module=5),
            "module ... 5",
        ),
        "ImageAutoencoder.save: number as path": (
            lambda b: b.autoencoder.save(5),
            "path ... 5|int",
        ),
    },
    TypeError: {
        "load: name in the place of a list of names": (
            lambda b: skvision.load(saved(b), trusted="torch.nn.Linear"),
            "trusted='torch.nn.Linear' ... should be a list of names",
        ),
        "ImageClassifier.save: parameter that is code": (
            lambda b: b.classifier.set_params(predict_nonlinearity=lambda z: z).save(
                b.path / "a.skv"
            ),
            "predict_nonlinearity ... lambda|function",
        ),
    },
    NotFittedError: {
        "ImageClassifier.save: not fitted": (
            lambda b: ImageClassifier().save(b.path / "a.skv"),
            "ImageClassifier instance is not ... fit|initialize",
        ),
    },
    OSError: {
        "ImageRegressor.save: folder that is not there": (
            lambda b: b.regressor.save(b.path / "fort" / "a.skv"),
            "No such file ... fort",
        ),
        "ImageAutoencoder.save: folder as file": (
            lambda b: b.autoencoder.save(b.path),
            "is a folder ... test_bad_input",
        ),
    },
}
EXPORTED = {
    TypeError: {
        "export_onnx: number": (
            lambda b: export_onnx(5, b.path / "a.onnx"),
            "export_onnx expects an ImageClassifier ... got int",
        ),
        "export_onnx: pipeline": (
            lambda b: export_onnx(make_pipeline(b.classifier), b.path / "a.onnx"),
            "got Pipeline ... Give its last step",
        ),
    },
    NotFittedError: {
        "export_onnx: not fitted": (
            lambda b: export_onnx(ImageClassifier(), b.path / "a.onnx"),
            "ImageClassifier instance is not ... fit|initialize",
        ),
    },
    ValueError: {
        "export_onnx: number as path": (
            lambda b: export_onnx(b.classifier, 5),
            "'path' parameter of export_onnx ... os.PathLike ... Got 5",
        ),
        "export_onnx: opset_version=0": (
            lambda b: export_onnx(b.classifier, b.path / "a.onnx", opset_version=0),
            r"'opset_version' parameter of export_onnx ... \[1, inf\) ... Got 0",
        ),
        "export_onnx: image of another shape": (
            lambda b: export(b.classifier, b, example=b.X[:1, :7]),
            r"= \(1, 7, 8\) ... fitted on \(1, 8, 8\)",
        ),
        "export_onnx: NaN in the image": (
            lambda b: export(b.regressor, b, example=np.full((1, 8, 8), np.nan)),
            "Input X contains NaN",
        ),
    },
}
CLUSTERS = {
    TypeError: {
        "on_dask: number as client": (cluster(5), "on_dask expects a dask ... got 5"),
        "on_dask: address": (cluster("tcp://a"), "on_dask expects ... 'tcp://a'"),
    },
    ValueError: {
        "on_dask: no cluster": (cluster(None), "[Cc]lient ... No global client found"),
    },
}
CASES = [LOADED, EXPORTED, CLUSTERS]


def test_bad_input(case, refuse):
    refuse(case)
