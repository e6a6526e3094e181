"""Files of estimators, and what is handed to other programs and machines."""

import importlib.util

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

NO_DASK = importlib.util.find_spec("distributed") is None
NO_ONNX = importlib.util.find_spec("onnxscript") is None


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


def enter(manager):
    with manager:
        pass


LOADED = [
    (
        "load: file that is not there",
        lambda b: skvision.load(b.path / "fort ß.skv"),
        FileNotFoundError,
        ("fort ß.skv", "No such file"),
    ),
    (
        "load: folder",
        lambda b: skvision.load(b.path),
        FormatError,
        ("is not a file", "test_bad_input"),
    ),
    pytest.param(
        "load: number as path",
        lambda b: skvision.load(5),
        (TypeError, ValueError),
        ("path", "5|int"),
    ),
    (
        "load: empty file",
        lambda b: skvision.load(saved(b, lambda content: b"")),
        FormatError,
        ("Zähler ß.skv' is cut off, or was not written by skvision",),
    ),
    (
        "load: text",
        lambda b: skvision.load(saved(b, lambda content: b"Guten Tag. " * 9)),
        FormatError,
        ("Zähler ß.skv'", "was not written by skvision"),
    ),
    (
        "load: truncated file",
        lambda b: skvision.load(saved(b, lambda content: content[:-100])),
        FormatError,
        ("Zähler ß.skv'", "damaged|cut off|changed"),
    ),
    (
        "load: a bit that is another one",
        lambda b: skvision.load(
            saved(b, lambda content: content[:-9] + b"!" + content[-8:])
        ),
        FormatError,
        ("Zähler ß.skv'", "damaged|changed"),
    ),
    (
        "load: name in the place of a list of names",
        lambda b: skvision.load(saved(b), trusted="torch.nn.Linear"),
        TypeError,
        ("trusted='torch.nn.Linear'", "should be a list of names"),
    ),
    (
        "load: network that a file cannot hold",
        lambda b: skvision.load(saved_instance(b)),
        FormatError,
        ("own.skv' cannot be loaded", "class 'Sequential'", "load with module="),
    ),
    (
        "load: another network",
        lambda b: skvision.load(saved(b), module=nn.Linear(64, 10)),
        FormatError,
        ("Zähler ß.skv' cannot be loaded", "Linear"),
    ),
    (
        "load: number as network",
        lambda b: skvision.load(saved(b), module=5),
        (TypeError, ValueError),
        ("module", "5"),
    ),
    (
        "ImageClassifier.save: not fitted",
        lambda b: ImageClassifier().save(b.path / "a.skv"),
        NotFittedError,
        ("ImageClassifier instance is not", "fit|initialize"),
    ),
    (
        "ImageClassifier.save: parameter that is code",
        lambda b: b.classifier.set_params(predict_nonlinearity=lambda z: z).save(
            b.path / "a.skv"
        ),
        TypeError,
        ("predict_nonlinearity", "lambda|function"),
    ),
    (
        "ImageRegressor.save: folder that is not there",
        lambda b: b.regressor.save(b.path / "fort" / "a.skv"),
        OSError,
        ("No such file", "fort"),
    ),
    pytest.param(
        "ImageAutoencoder.save: number as path",
        lambda b: b.autoencoder.save(5),
        (TypeError, ValueError),
        ("path", "5|int"),
    ),
    (
        "ImageAutoencoder.save: folder as file",
        lambda b: b.autoencoder.save(b.path),
        OSError,
        ("is a folder", "test_bad_input"),
    ),
]
EXPORTED = [
    (
        "export_onnx: number",
        lambda b: export_onnx(5, b.path / "a.onnx"),
        TypeError,
        ("export_onnx expects an ImageClassifier", "got int"),
    ),
    (
        "export_onnx: pipeline",
        lambda b: export_onnx(make_pipeline(b.classifier), b.path / "a.onnx"),
        TypeError,
        ("got Pipeline", "Give its last step"),
    ),
    (
        "export_onnx: not fitted",
        lambda b: export_onnx(ImageClassifier(), b.path / "a.onnx"),
        NotFittedError,
        ("ImageClassifier instance is not", "fit|initialize"),
    ),
    (
        "export_onnx: number as path",
        lambda b: export_onnx(b.classifier, 5),
        ValueError,
        ("'path' parameter of export_onnx", "os.PathLike", "Got 5"),
    ),
    (
        "export_onnx: opset_version=0",
        lambda b: export_onnx(b.classifier, b.path / "a.onnx", opset_version=0),
        ValueError,
        ("'opset_version' parameter of export_onnx", r"\[1, inf\)", "Got 0"),
    ),
    pytest.param(
        "export_onnx: image of another shape",
        lambda b: export_onnx(b.classifier, b.path / "a.onnx", example=b.X[:1, :7]),
        ValueError,
        (r"= \(1, 7, 8\)", r"fitted on \(1, 8, 8\)"),
        marks=pytest.mark.skipif(NO_ONNX, reason="needs onnxscript"),
    ),
    pytest.param(
        "export_onnx: NaN in the image",
        lambda b: export_onnx(
            b.regressor, b.path / "a.onnx", example=np.full((1, 8, 8), np.nan)
        ),
        ValueError,
        ("Input X contains NaN",),
        marks=pytest.mark.skipif(NO_ONNX, reason="needs onnxscript"),
    ),
]
CLUSTERS = [
    pytest.param(
        f"on_dask: {what}",
        lambda b, c=client: enter(on_dask(c)),
        error,
        parts,
        marks=pytest.mark.skipif(NO_DASK, reason="needs distributed"),
    )
    for what, client, error, parts in [
        ("number as client", 5, TypeError, ("on_dask expects a dask", "got 5")),
        ("address as client", "tcp://a", TypeError, ("on_dask expects", "'tcp://a'")),
        ("no cluster", None, ValueError, ("[Cc]lient", "No global client found")),
    ]
]
CASES = [*LOADED, *EXPORTED, *CLUSTERS]


def test_bad_input(case, refuse):
    refuse(case)
