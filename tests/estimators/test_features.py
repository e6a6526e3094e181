"""What transform gives of classifiers and regressors: the features of images."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from skvision_tests import make_images, make_targets
from torch import nn

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.networks._transfer import encoder_names

X, y = make_images(60)
MLP = {"module": "mlp", "module__hidden": (16, 8), "max_epochs": 1, "random_state": 0}
RESNET = {"module": "resnet18", "max_epochs": 0, "random_state": 0, "normalize": None}


def fitted(**params):
    return ImageClassifier(**MLP | params).fit(X, y)


class Network(nn.Module):
    """A convolution, and what the subclasses make of its outputs."""

    def __init__(self, n_outputs=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 8)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, n_outputs)

    def features(self, images):
        return self.drop(self.relu(self.norm(self.conv(images)))).flatten(1)

    def forward(self, images):
        return self.head(self.features(images))


class Softmax(Network):
    def forward(self, images):
        return self.head(input=self.features(images)).softmax(1)


class Shared(Network):
    def __init__(self, n_outputs=3):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, images):
        return self.head(self.head(self.features(images)))[:, :3]


class Otherwise(Network):
    def __init__(self, n_outputs=3):
        super().__init__()
        self.bias = nn.Linear(4, 4)

    def forward(self, images):
        features = self.features(images)
        return self.head(self.bias(features) + features)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat = nn.Flatten()
        self.weight = nn.Parameter(torch.ones(64, 3))

    def forward(self, images):
        return self.flat(images) @ self.weight


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.LSTM(8, 5, batch_first=True)
        self.whole = nn.Flatten(0)
        self.head = nn.Linear(5, 3)

    def forward(self, images):
        self.whole(images)
        return self.head(self.rows(images[:, 0])[0][:, -1])


@pytest.mark.parametrize(
    ("options", "head"),
    [
        (MLP, "head"),
        ({**MLP, "dtype": "float64", "module__dropout": 0.5}, "head"),
        ({**MLP, "compile": True, "compile__backend": "eager"}, "head"),
        ({"module": "convnet", "max_epochs": 1}, "head"),
        ({"module": "lenet", "max_epochs": 1}, "head"),
        ({"module": Network, "max_epochs": 1}, "head"),
        (
            {"module": Network, "max_epochs": 1, "memory_format": "channels_last"},
            "head",
        ),
        ({"module": Softmax, "max_epochs": 1, "criterion": nn.NLLLoss}, "head"),
        (RESNET, "fc"),
        ({**RESNET, "module": "mobilenet_v3_small"}, "classifier.3"),
    ],
)
def test_the_head_makes_the_outputs_of_the_features(options, head):
    images = np.kron(X, np.ones((1, 4, 4)))
    if options["module"] in (Network, Softmax, "mlp"):
        images = X
    net = ImageClassifier(**{"random_state": 0, **options}).fit(images, y)
    net.module_.train()
    features = net.transform(images)
    assert features.dtype == net.dtype
    assert features.shape == (60, len(net.get_feature_names_out()))
    module = net.module_.get_submodule(head)
    with torch.no_grad():
        outputs = module(torch.from_numpy(features)).softmax(1).numpy()
    assert_allclose(outputs, net.predict_proba(images), rtol=1e-4, atol=1e-6)
    # Of the layers before it are the weights that freeze="backbone" keeps.
    weights = net.module_.state_dict().keys() - encoder_names(net.module_)
    assert {name[: len(head) + 1] for name in weights} == {f"{head}."}


def test_a_regressor_and_flat_rows():
    targets = make_targets(X)
    net = ImageRegressor(**MLP).fit(X.reshape(60, -1), targets)
    features = net.transform(X.reshape(60, -1))
    assert features.shape == (60, 8)
    hidden = net.transform(X.reshape(60, -1), layer="layers")
    assert_array_equal(features, hidden)
    # A row has the features that it has beside others.
    assert_array_equal(net.transform(X[:3].reshape(3, -1)), features[:3])
    assert net.transform(X.reshape(60, -1), layer="head").shape == (60, 2)


def test_other_layers():
    net = ImageClassifier(Network, max_epochs=1, random_state=0).fit(X, y)
    maps = net.transform(X, layer="conv")
    assert maps.shape == (60, 4)
    norm = net.module_.norm.eval()
    with torch.no_grad():
        expected = norm(torch.from_numpy(maps)[..., None, None]).flatten(1).numpy()
    # Though the next layer works in place.
    assert (expected < 0).any()
    assert_allclose(net.transform(X, layer="norm"), expected, rtol=1e-5, atol=1e-6)
    assert_allclose(net.transform(X), expected.clip(0), rtol=1e-5, atol=1e-6)
    scores = net.transform(X, layer="head")
    assert_array_equal(scores.argmax(1), net.predict(X))


def test_the_network_stays_as_it_was():
    net = fitted()
    before = {name: id(value) for name, value in net.module_.state_dict().items()}
    proba = net.predict_proba(X)
    first = net.transform(X)
    assert_array_equal(net.transform(X), first)
    assert not any(layer._forward_hooks for layer in net.module_.modules())
    assert not any(layer._forward_pre_hooks for layer in net.module_.modules())
    assert net.module_.state_dict().keys() == before.keys()
    assert_array_equal(net.predict_proba(X), proba)
    # The copy that looks has the same weights, also when these have changed.
    with torch.no_grad():
        net.module_.layers[0].weight.zero_()
        net.module_.layers[0].bias.zero_()
    assert len(np.unique(net.transform(X), axis=0)) == 1


@pytest.mark.parametrize(
    ("module", "layer", "words"),
    [
        (Shared, None, ["last layer with parameters", "2 times", "layer='...'"]),
        (Otherwise, None, ["last layer with parameters", "not the last", "conv, norm"]),
        (Bare, None, ["none of its layers", "layer='...'", "flat"]),
        (Network, "relu6", ["layer='relu6'", "did you mean 'relu'", "conv, norm"]),
        (Network, "", ["layer=''", "conv, norm"]),
        (Shared, "head", ["layer='head'", "2 times"]),
        (Recurrent, "rows", ["layer='rows'", "tuple instead of a tensor"]),
        (Recurrent, "whole", ["layer='whole'", "(3840,)", "60 images"]),
    ],
)
def test_wrong_layers(module, layer, words):
    net = ImageClassifier(module, max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=module.__name__) as caught:
        net.transform(X, layer=layer)
    assert [word for word in words if word not in str(caught.value)] == []
    if layer is None:
        with pytest.raises(ValueError, match="Give the name of a layer"):
            net.get_feature_names_out()
        name = next(name for name, _ in net.module_.named_children())
        assert len(net.transform(X, layer=name)) == 60


@pytest.mark.parametrize("layer", [3, ["head"], nn.ReLU()])
def test_a_layer_that_is_no_name(layer):
    with pytest.raises(TypeError, match="name of a layer"):
        fitted().transform(X, layer=layer)


def test_frames():
    net = fitted().set_output(transform="pandas")
    for layer, n in [(None, 8), ("layers.0", 16), ("head", 3)]:
        frame = net.transform(X, layer=layer)
        assert isinstance(frame, pd.DataFrame)
        assert list(frame) == [f"imageclassifier{i}" for i in range(n)]
    assert net.fit_transform(X, y).shape == (60, 8)
    with config_context(transform_output="pandas"):
        assert fitted().transform(X, layer="layers.0").shape == (60, 16)


def test_in_pipelines_and_searches():
    model = make_pipeline(ImageClassifier(**MLP, lr=0.01), LogisticRegression())
    model.set_params(imageclassifier__max_epochs=10)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.8
    grid = {"imageclassifier__module__hidden": [(2,), (16,)]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert search.best_estimator_[0].transform(X).shape[1] in (2, 16)
    targets = X[:, 0].sum(1)
    ridge = make_pipeline(ImageRegressor(**MLP | {"max_epochs": 5}), Ridge())
    assert ridge.fit(X, targets).score(X, targets) > 0.3


def test_after_loading(tmp_path):
    net = fitted()
    net.save(tmp_path / "net.skv")
    loaded = skvision.load(tmp_path / "net.skv")
    assert_array_equal(loaded.transform(X), net.transform(X))
    assert list(loaded.get_feature_names_out()) == list(net.get_feature_names_out())


def test_an_encoder_gives_the_codes_that_it_gave():
    autoencoder = ImageAutoencoder("dense_autoencoder", max_epochs=1).fit(X)
    net = ImageClassifier(pretrained=autoencoder, freeze="encoder", max_epochs=1)
    assert_allclose(net.fit(X, y).transform(X), autoencoder.transform(X), rtol=1e-5)
