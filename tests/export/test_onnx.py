"""ONNX files, run by onnxruntime beside the estimators that they come from."""

import copy
import json
import logging
import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skvision_tests import Flattening
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.export import export_onnx
from skvision.networks import ConvAutoencoder
from skvision.preprocessing import InputSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Numbers of rows that go into one session, one after the other.
BATCHES = (1, 3, 17)
TOLERANCE = 1e-5


# ---------------------------------------------------------------------- networks


class Own(nn.Module):
    """Of the user's, with a residual sum, attention to places, and two outputs."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.first = nn.Conv2d(image_shape[0], 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, n_outputs)

    def forward(self, images):
        features = self.first(images)
        features = features + nn.functional.gelu(self.second(features))
        places = features.flatten(2)
        attention = places.mean(1, keepdim=True).softmax(-1)
        pooled = (places * attention).sum(-1)
        return self.head(nn.functional.dropout(pooled, 0.5, self.training)), pooled


class LogSoftmax(Flattening):
    def forward(self, images):
        return super().forward(images).log_softmax(1)


class Softmax(Flattening):
    def forward(self, images):
        return super().forward(images).softmax(1)


def resnet18(image_shape, n_outputs, size, resize, interpolation="bilinear"):
    """Build a network that asks for images of its own size, as pretrained ones do."""
    from torchvision.models import get_model

    network = get_model("resnet18", num_classes=n_outputs)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    network.input_spec = InputSpec(mean, std, size, resize, interpolation)
    return network


def sized(image_shape, n_outputs, size, resize=None, interpolation="bilinear"):
    network = Flattening((image_shape[0], *size), n_outputs)
    network.input_spec = InputSpec((0.5,), (0.25,), size, resize, interpolation)
    return network


class Resized(ConvAutoencoder):
    def __init__(self, image_shape):
        super().__init__((image_shape[0], 8, 8), channels=(4,))
        self.input_spec = InputSpec(size=(8, 8))


def encoder_classifier(data, fitted):
    autoencoder = fitted(ImageAutoencoder, data, max_epochs=1)
    return fitted(ImageClassifier, data, pretrained=autoencoder)


# ----------------------------------------------------------------------- helpers


def some_slow(names, slow):
    """Return parameters, some of them marked."""
    assert slow < set(names)
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in slow else name
        for name in names
    ]


# ------------------------------------------------------------------- classifiers

GREY, FLAT = {}, {"layout": "flat", "dtype": "float64"}
RGB, FIRST = {"n_channels": 3, "layout": "last"}, {"n_channels": 3, "layout": "first"}
NLL = {"criterion": nn.NLLLoss}
CLASSIFIERS = {
    "flat": (FLAT, {"module": "mlp"}),
    "flat, float64": (FLAT, {"dtype": "float64"}),
    "flat to images": (FLAT, {"module": "convnet", "image_shape": (1, 12, 14)}),
    "mlp": (GREY, {"module": "mlp", "module__dropout": 0.3}),
    "int64": ({"dtype": "int64"}, {"module": "mlp"}),
    "convnet, float16": ({"dtype": "float16"}, {}),
    "lenet": (RGB | {"size": 28}, {"module": "lenet", "normalize": None}),
    "rgb last, float64": (RGB | {"dtype": "float64"}, {"dtype": "float64"}),
    "rgb first": (FIRST, {"memory_format": "contiguous"}),
    "rgb first, float32": (FIRST | {"dtype": "float32"}, {}),
    "five channels": (
        RGB | {"n_channels": 5},
        {"channels": "last", "memory_format": "channels_last"},
    ),
    "own": (RGB, {"module": Own}),
    "compiled": (GREY, {"compile": True, "compile__backend": "eager"}),
    "log softmax": (GREY, {"module": LogSoftmax} | NLL),
    "softmax": (GREY, {"module": Softmax} | NLL),
    "nonlinearity": (
        GREY,
        {"module": "mlp", "predict_nonlinearity": lambda y: (y / 2).softmax(1)},
    ),
    "resnet18": (
        RGB | {"n": 20},
        {
            "module": resnet18,
            "module__size": (24, 24),
            "module__resize": 28,
            "lr": 1e-3,
        },
    ),
}
SLOW_CLASSIFIERS = {"flat, float64", "int64", "rgb first, float32", "softmax"}
SLOW_CLASSIFIERS |= {"convnet, float16", "five channels", "resnet18", "lenet"}
# Others of the tests below export these kinds.
SLOW_CLASSIFIERS |= {"flat", "mlp", "compiled"}


@pytest.mark.parametrize("name", some_slow(CLASSIFIERS, SLOW_CLASSIFIERS))
def test_classifiers(name, path, make_data, fitted, exported, assert_probabilities):
    images, params = CLASSIFIERS[name]
    X, y = make_data(**images)
    net = fitted(ImageClassifier, (X, y), **params)
    assert_probabilities(exported(net, path, X), net, X)


def test_encoder_classifier(path, make_data, fitted, exported, assert_probabilities):
    data = make_data()
    net = encoder_classifier(data, fitted)
    assert type(net.module_).__name__ == "EncoderClassifier"
    assert_probabilities(exported(net, path, data[0]), net, data[0])


def test_amp_is_exported_in_float32(
    path, make_data, fitted, exported, assert_probabilities
):
    X, y = make_data()
    net = fitted(ImageClassifier, (X, y), amp=True)
    rounded = net.predict_proba(X)
    plain = copy.deepcopy(net)
    plain.amp = False
    expected = plain.predict_proba(X)
    assert np.abs(expected - rounded).max() > 10 * TOLERANCE
    assert_probabilities(exported(net, path, X), net, X, expected)


@pytest.mark.parametrize(
    ("size", "resize", "interpolation", "dtype"),
    [
        pytest.param((20, 20), 26, "bilinear", "float32", marks=pytest.mark.slow),
        ((20, 24), 26, "bicubic", "float32"),
        ((6, 5), None, "bilinear", "float64"),
        pytest.param((7, 9), 8, "bicubic", "float32", marks=pytest.mark.slow),
        pytest.param((24, 8), 8, "bilinear", "float32", marks=pytest.mark.slow),
        pytest.param((12, 14), 99, "bilinear", "float32", marks=pytest.mark.slow),
    ],
)
def test_sizes_of_pretrained_networks(
    path,
    size,
    resize,
    interpolation,
    dtype,
    make_data,
    fitted,
    exported,
    assert_probabilities,
):
    X, y = make_data(3, "last", size=12)
    spec = {"size": size, "resize": resize, "interpolation": interpolation}
    spec = {f"module__{name}": value for name, value in spec.items()}
    net = fitted(ImageClassifier, (X, y), module=sized, dtype=dtype, **spec)
    assert_probabilities(exported(net, path, X), net, X)


# ------------------------------------------------------- regressors, autoencoders


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        pytest.param((), "float32", marks=pytest.mark.slow),
        pytest.param((1,), "float64", marks=pytest.mark.slow),
        ((2,), "float32"),
    ],
)
def test_regressors(path, columns, dtype, make_data, fitted, outputs_of, exported):
    X, y = make_data()
    y = np.broadcast_to(y.reshape(-1, *[1] * len(columns)), (len(y), *columns)) * 1.5
    net = fitted(ImageRegressor, (X, y), module="mlp", dtype=dtype)
    session = exported(net, path, X)
    assert "classes" not in session.get_modelmeta().custom_metadata_map
    for n in BATCHES:
        outputs = outputs_of(session, X[:n])
        assert list(outputs) == ["predictions"]
        expected = net.predict(X[:n])
        assert outputs["predictions"].shape == expected.shape == (n, *columns)
        np.testing.assert_allclose(
            outputs["predictions"], expected, rtol=TOLERANCE, atol=TOLERANCE
        )


AUTOENCODERS = {
    "conv": (GREY, {}),
    "conv, rgb last": (RGB | {"dtype": "float32"}, {}),
    "conv, rgb first": (
        {"n_channels": 3, "layout": "first", "dtype": "float64"},
        {"module__n_code": 5},
    ),
    "dense": (GREY, {"module": "dense_autoencoder", "module__hidden": (20, 4)}),
    "dense, flat": ({"layout": "flat", "dtype": "float32"}, {"module__hidden": 6}),
    "normalised": (
        RGB,
        {"normalize": "channel", "module__output_activation": None},
    ),
    "double": (RGB, {"dtype": "float64", "normalize": (0.1, 0.9)}),
    "flat to images": (
        {"layout": "flat"},
        {"module": "conv_autoencoder", "image_shape": (1, 12, 14)},
    ),
    "resized": (GREY, {"module": Resized}),
}
SLOW_AUTOENCODERS = {"conv, rgb last", "dense, flat", "normalised", "flat to images"}
SLOW_AUTOENCODERS |= {"conv"}


@pytest.mark.parametrize("name", some_slow(AUTOENCODERS, SLOW_AUTOENCODERS))
def test_autoencoders(name, path, make_data, fitted, outputs_of, exported):
    images, params = AUTOENCODERS[name]
    X, y = make_data(**images)
    net = fitted(ImageAutoencoder, (X, y), **params)
    session = exported(net, path, X)
    # What leads to the codes is there once, though both outputs need it.
    found = [node.op_type for node in onnx.load(path).graph.node]
    layers = [type(layer) for layer in net.module_.modules()]
    assert found.count("Conv") == layers.count(nn.Conv2d)
    assert found.count("Gemm") == layers.count(nn.Linear)
    for n in BATCHES:
        outputs = outputs_of(session, np.ascontiguousarray(X[:n]))
        assert list(outputs) == ["codes", "images"]
        expected = net.transform(X[:n])
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(
            outputs["codes"], expected, rtol=0, atol=TOLERANCE * scale
        )
        again, expected = outputs["images"], net.reconstruct(X[:n])
        assert again.shape == expected.shape
        if X.dtype == np.uint8:
            assert again.dtype == np.uint8
            # What lies between two whole numbers may be rounded to either.
            different = np.abs(again.astype(int) - expected)
            assert different.max() <= 1 and different.mean() < 0.001
        else:
            assert again.dtype == np.float32
            np.testing.assert_allclose(again, expected, rtol=0, atol=TOLERANCE)


# --------------------------------------------------------------- what is taken


def test_examples(trained, path, make_data, session_of, assert_probabilities):
    X, _ = make_data(dtype="float64")
    export_onnx(trained, path, example=list(X[:2].astype(">f8")))
    assert_probabilities(session_of(path), trained, X)


@pytest.mark.parametrize(("layout", "dtype"), [("first", "float32"), ("grey", "bool")])
def test_layout_and_type_are_those_of_the_example(
    layout, dtype, trained, path, make_data, session_of, outputs_of
):
    X, _ = make_data(layout=layout, dtype=dtype)
    export_onnx(trained, path, example=X[:1])
    session = session_of(path)
    (taken,) = session.get_inputs()
    assert (taken.name, taken.shape) == ("X", ["n", *X.shape[1:]])
    probabilities = outputs_of(session, X[:5])["probabilities"]
    np.testing.assert_allclose(
        probabilities, trained.predict_proba(X[:5]), rtol=0, atol=TOLERANCE
    )
    with pytest.raises(Exception, match="(?i)unexpected input data type"):
        outputs_of(session, X.astype("int16"))


def test_data_sets_stand_for_arrays_with_channels_first(
    trained, path, make_data, session_of, assert_probabilities
):
    X, y = make_data(dtype="float32")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    export_onnx(trained, path, example=as_Xy(data)[0])
    assert_probabilities(session_of(path), trained, X[:, None])


def test_without_example_the_images_of_fit_are_meant(
    path, make_data, fitted, session_of
):
    X, y = make_data(**RGB)
    net = fitted(ImageClassifier, (X, y), max_epochs=1)
    export_onnx(net, path)
    (taken,) = session_of(path).get_inputs()
    assert (taken.type, taken.shape) == ("tensor(uint8)", ["n", 12, 14, 3])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_pixels(any_session, data, outputs_of):
    net, session = any_session
    n = data.draw(st.integers(1, 20))
    seed = data.draw(st.integers(0, 2**31))
    low, high = sorted(data.draw(st.tuples(*[st.integers(0, 255)] * 2)))
    X = np.random.RandomState(seed).randint(low, high + 1, (n, 12, 14)).astype("uint8")
    probabilities = outputs_of(session, X)["probabilities"]
    np.testing.assert_allclose(
        probabilities, net.predict_proba(X), rtol=0, atol=TOLERANCE
    )


@pytest.fixture(scope="module")
def any_session(tmp_path_factory, make_data, fitted, exported):
    X, y = make_data()
    net = fitted(ImageClassifier, (X, y))
    return net, exported(net, tmp_path_factory.mktemp("onnx") / "model.onnx", X)


# -------------------------------------------------------------------- metadata


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.array([3, 7, 1000]), marks=pytest.mark.slow),
        np.array(["cat", "dog", "été"], dtype=object),
        pytest.param(np.array([False, True, True]), marks=pytest.mark.slow),
    ],
    ids=lambda labels: labels.dtype.str,
)
def test_classes_are_in_the_metadata(
    labels, path, make_data, fitted, outputs_of, exported
):
    X, y = make_data()
    net = fitted(ImageClassifier, (X, labels[y]), module="mlp", max_epochs=1)
    session = exported(net, path, X)
    found = session.get_modelmeta().custom_metadata_map
    assert found.keys() == {"classes", "estimator", "image_shape"}
    classes = json.loads(found["classes"])
    index = outputs_of(session, X)["class_index"]
    assert [classes[i] for i in index] == net.predict(X).tolist()
    assert json.loads(found["image_shape"]) == [1, 12, 14]
    assert json.loads(found["estimator"]) == "ImageClassifier"


def test_the_file_depends_on_the_estimator_alone(trained, path, make_data):
    X, _ = make_data()
    export_onnx(trained, path, example=X)
    content = path.read_bytes()
    export_onnx(copy.deepcopy(trained), path, example=X[5:7])
    assert path.read_bytes() == content
    # Such as the paths of source files, which exporters like to note.
    for trace in (b".py", sys.prefix.encode(), os.path.expanduser("~").encode()):
        assert trace not in content


@pytest.mark.parametrize("version", [pytest.param(18, marks=pytest.mark.slow), 21])
def test_opset_version(
    version, trained, path, make_data, exported, assert_probabilities
):
    X, _ = make_data()
    session = exported(trained, path, X, opset_version=version)
    assert_probabilities(session, trained, X)
    assert [entry.version for entry in onnx.load(path).opset_import] == [version]


# ------------------------------------------------------------ what is left alone


def random_states():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    )


def test_the_estimator_is_left_as_it_is(path, make_data, fitted):
    X, y = make_data()
    compiled = {"compile": True, "compile__backend": "eager"}
    net = fitted(ImageClassifier, (X, y), freeze="encoder", **compiled)
    net.module_.train()
    attributes = dict(vars(net))
    modes = [layer.training for layer in net.module_.modules()]
    needed = [p.requires_grad for p in net.module_.parameters()]
    weights = copy.deepcopy(net.module_.state_dict())
    drawn, levels = random_states(), logging.getLogger("torch.onnx").level
    filters = list(warnings.filters)
    export_onnx(net, path, example=X)
    assert random_states() == drawn
    assert warnings.filters == filters
    assert logging.getLogger("torch.onnx").level == levels
    assert vars(net).keys() == attributes.keys()
    assert all(vars(net)[name] is value for name, value in attributes.items())
    assert [layer.training for layer in net.module_.modules()] == modes
    assert [p.requires_grad for p in net.module_.parameters()] == needed
    for name, value in net.module_.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert net.module_._compiled_call_impl is not None
    net.partial_fit(X, y)
