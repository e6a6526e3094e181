"""Features by networks that are not trained, for estimators of any kind."""

import os
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_param_validation,
    check_parameters_default_constructible,
    check_set_params,
)
from torch import nn
from torchvision.models import ResNet18_Weights

from skvision import ImageEmbedder

RANDOM = {"weights": False, "random_state": 0}
random_weights = pytest.mark.filterwarnings("ignore:weights=False")


@pytest.fixture(scope="module")
def images():
    """Twelve colour images, of which those of the second class are darker."""
    X = np.random.default_rng(0).integers(0, 256, (12, 40, 32, 3), dtype=np.uint8)
    y = np.arange(12) % 2
    X[y == 1] //= 4
    return X, y


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A network whose weights are where torch looks for them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = ResNet18_Weights.IMAGENET1K_V1.url
    path = tmp_path / "hub" / "checkpoints" / os.path.basename(url)
    path.parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18()
    torch.save(network.state_dict(), path)
    network.fc = nn.Identity()
    return network.eval()


@pytest.fixture
def table(images, tmp_path):
    """A frame of paths of images of other sizes, and of numbers."""
    paths = []
    for i, image in enumerate(images[0]):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image[: 40 - i]).save(paths[-1])
    return pd.DataFrame({"photo": paths, "weight": np.arange(12.0)})


def test_features_are_those_of_torchvision(theirs, images):
    X = images[0][:4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder = ImageEmbedder().fit(X)
    transforms = ResNet18_Weights.IMAGENET1K_V1.transforms()
    batch = torch.stack([transforms(Image.fromarray(image)) for image in X])
    with torch.no_grad():
        expected = theirs(batch).numpy()
    features = embedder.transform(X)
    assert features.dtype == np.float32
    # torchvision rounds uint8 images once more, after it has resized them.
    assert_allclose(features, expected, atol=0.02 * expected.max())
    assert_array_equal(pickle.loads(pickle.dumps(embedder)).transform(X), features)
    named = ImageEmbedder(weights="IMAGENET1K_V1", batch_size=3).fit(X)
    assert_allclose(named.transform(X), features, rtol=1e-4, atol=1e-5)
    assert_array_equal(embedder.transform(X[2:3]).shape, (1, 512))


@random_weights
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (12, 512)),
        ({"layer": "layer3"}, (12, 256)),
        ({"layer": "layer3", "pooling": None}, (12, 256 * 3 * 2)),
        ({"module": "squeezenet1_1", "image_size": 48}, (12, 512)),
        ({"module": "squeezenet1_1", "image_size": 48, "pooling": None}, (12, 2048)),
        ({"dtype": "float64", "image_size": (20, 30), "color_mode": "grey"}, (12, 512)),
    ],
)
def test_shapes(images, options, shape):
    X, y = images
    embedder = ImageEmbedder(**{**RANDOM, **options}).fit(X, y)
    features = embedder.transform(X)
    assert features.shape == shape
    assert features.dtype == embedder.dtype
    names = embedder.get_feature_names_out()
    assert (names[0], len(names)) == ("imageembedder0", shape[1])
    # Nothing is learnt of these images but their shape.
    assert_array_equal(clone(embedder).fit(X[:5]).transform(X), features)


@random_weights
def test_pooling(images):
    X = images[0]
    maps = ImageEmbedder(layer="layer3", pooling=None, **RANDOM).fit_transform(X)
    maps = maps.reshape(12, 256, 6)
    for pooling, expected in [("mean", maps.mean(2)), ("max", maps.max(2))]:
        embedder = ImageEmbedder(layer="layer3", pooling=pooling, **RANDOM)
        assert_allclose(embedder.fit_transform(X), expected, rtol=1e-4, atol=1e-6)


@random_weights
def test_beside_columns_of_numbers(images, table):
    embedder = ImageEmbedder(image_size=32, **RANDOM)
    for column in ("photo", ["photo"]):
        parts = [("photo", embedder, column), ("rest", StandardScaler(), ["weight"])]
        columns = ColumnTransformer(parts).fit(table)
        features = columns.transform(table)
        assert features.shape == (12, 513)
        alone = embedder.fit_transform(table["photo"].tolist())
        assert_array_equal(features[:, :512], alone)
        columns.set_output(transform="pandas")
        assert "photo__imageembedder511" in columns.transform(table)
    model = make_pipeline(columns, LogisticRegression(max_iter=1000))
    assert model.fit(table, images[1]).score(table, images[1]) == 1


@random_weights
def test_a_search_with_a_memory(images, tmp_path):
    X, y = images
    embedder = ImageEmbedder(image_size=24, **RANDOM)
    model = make_pipeline(embedder, LogisticRegression(), memory=str(tmp_path))
    search = GridSearchCV(model, {"logisticregression__C": [0.1, 1, 10]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.8
    layers = {"imageembedder__layer": ["layer1", None]}
    best = GridSearchCV(model, layers, cv=2).fit(X, y).best_estimator_
    assert best[0].transform(X).shape[1] in (64, 512)


def test_random_weights_are_told_of(images):
    with pytest.warns(UserWarning, match=r"random weights.*Set weights=True"):
        ImageEmbedder(**RANDOM).fit(images[0])


@pytest.mark.parametrize(
    ("options", "convert", "error", "words"),
    [
        ({"module": "resnet19"}, None, ValueError, "mean 'resnet18'"),
        ({"module": nn.Flatten()}, None, ValueError, "'module' parameter"),
        ({"weights": None}, None, ValueError, "'weights' parameter"),
        ({"weights": "IMAGENET"}, None, ValueError, "weights must be one of"),
        (
            {"weights": "none.pth"},
            None,
            FileNotFoundError,
            "^weights='none.pth': there is no",
        ),
        ({"layer": "layer5"}, None, ValueError, "did you mean 'layer4'"),
        (
            {"module": "swin_t", "layer": "features.7"},
            None,
            ValueError,
            "channels last. Set pooling=None",
        ),
        ({"pooling": "sum"}, None, ValueError, "'pooling' parameter"),
        ({"image_size": (8, 0)}, None, ValueError, "image_size="),
        ({}, lambda X: X[:0], ValueError, "."),
        ({}, lambda X: None, ValueError, "2D array"),
        ({}, lambda X: 3, ValueError, "2D array"),
        ({}, lambda X: "cat.jpg", TypeError, "list that holds it"),
    ],
)
def test_wrong_input(images, options, convert, error, words):
    X = convert(images[0]) if convert else images[0]
    with pytest.raises(error, match=words):
        ImageEmbedder(**{**RANDOM, **options}).fit(X)


def test_weights_that_are_missing(images, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(OSError, match=r"resnet18.*Put the file https://"):
        ImageEmbedder().fit(images[0])
    with pytest.raises(NotFittedError):
        ImageEmbedder().transform(images[0])


@pytest.mark.parametrize(
    "check",
    [
        check_get_params_invariance,
        check_no_attributes_set_in_init,
        check_param_validation,
        check_parameters_default_constructible,
        check_set_params,
    ],
)
def test_parameters(check):
    check("ImageEmbedder", ImageEmbedder())
