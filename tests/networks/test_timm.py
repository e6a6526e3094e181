"""timm's networks, with files of weights on disk."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone

from skvision import ImageClassifier, ImageEmbedder, load
from skvision.networks import get_network, timm_model

timm = pytest.importorskip("timm")

#: The smallest of timm's, for tests.
NET = "timm/test_resnet"
OPTIONS = {"module": NET, "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    sizes = rng.integers(170, 260, (6, 2))
    small = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return [
        np.asarray(Image.fromarray(pixels).resize((int(w), int(h))))
        for pixels, (h, w) in zip(small, sizes, strict=True)
    ]


@pytest.fixture(scope="module")
def theirs():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("test_resnet").eval()


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "test_resnet.pth"
    torch.save(theirs.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("n_channels", [1, 3, 5])
def test_any_images_and_outputs(n_channels):
    network = timm_model("test_resnet", (n_channels, 40, 32), 7, drop_rate=0.1)
    assert network(torch.zeros(2, n_channels, 40, 32)).shape == (2, 7)
    assert not hasattr(network, "input_spec")
    assert get_network(NET)((n_channels, 40, 32), 7).training
    # Those of one size are made for that of the images.
    network = timm_model("vit_tiny_patch16_224", (n_channels, 32, 48), 2, depth=1)
    assert network(torch.zeros(2, n_channels, 32, 48)).shape == (2, 2)


def test_weights_of_a_file_bring_their_size_and_normalisation(photos, theirs, file):
    net = ImageClassifier(
        **OPTIONS, module__weights=True, pretrained=file, freeze="backbone"
    ).fit(photos, [0, 1] * 3)
    config = timm.get_pretrained_cfg("test_resnet")
    assert net.network_shape_ == config.input_size
    state = net.module_.state_dict()
    for name, value in theirs.state_dict().items():
        assert name.startswith("fc.") or torch.equal(state[name], value), name
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict())
    )
    X = torch.stack([transform(Image.fromarray(image)) for image in photos])
    with torch.no_grad():
        features = theirs.forward_head(theirs.forward_features(X), pre_logits=True)
        expected = net.module_.fc(features).softmax(1).numpy()
    # Pillow's filter rounds between its two directions.
    assert_allclose(net.predict_proba(photos), expected, atol=0.01)


def test_features_of_a_file_of_weights(photos, theirs, file, monkeypatch, tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path, image in zip(paths, photos, strict=True):
        Image.fromarray(image).save(path)
    opened, read = [], Image.open
    monkeypatch.setattr(Image, "open", lambda f: opened.append(f.name) or read(f))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder = ImageEmbedder(NET, weights=file).fit(paths)
    # Nothing is learnt of the others.
    assert {*opened} <= {*paths[:3]}
    found = embedder.transform(paths)
    config = timm.get_pretrained_cfg("test_resnet").to_dict()
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, pretrained_cfg=config)
    )
    X = torch.stack([transform(Image.fromarray(image)) for image in photos])
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(X), pre_logits=True)
    # Pillow's filter rounds between its two directions.
    assert_allclose(found, expected, atol=0.01 * expected.max())
    assert_array_equal(clone(embedder).fit(photos[:2]).transform(photos), found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module": "timm/test_resent"}, "Did you mean 'timm/test_resnet'"),
        ({"weights": "r160"}, "weights must be .* 'r160_in1k'"),
        (
            {"module": "timm/test_resnet", "weights": False, "layer": "blocks.9"},
            "layer='blocks.9' is no layer",
        ),
        (
            {"module": "timm/mambaout_femto", "weights": False, "layer": "stages.0"},
            "channels last",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:weights=False")
def test_errors_of_embedders(photos, options, message):
    options = {"module": NET, "image_size": 64, **options}
    with pytest.raises(ValueError, match=message):
        ImageEmbedder(**options).fit(photos)


def test_weights_of_a_dict(photos, theirs):
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = ImageClassifier(**OPTIONS | {"max_epochs": 0}, module__weights=True)
        net.set_params(pretrained=state).fit(photos, [0, 1] * 3)
    assert net.network_shape_ == timm.get_pretrained_cfg("test_resnet").input_size
    found = net.module_.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_copies_and_files(photos, file, tmp_path):
    net = ImageClassifier(**OPTIONS, module__weights=True, pretrained=file)
    net = clone(net).fit(photos, [0, 1] * 3)
    expected = net.predict_proba(photos)
    assert_array_equal(pickle.loads(pickle.dumps(net)).predict_proba(photos), expected)
    net.set_params(pretrained=None).save(tmp_path / "net")
    loaded = load(tmp_path / "net")
    assert loaded.get_params()["module"] == NET
    assert_array_equal(loaded.predict_proba(photos), expected)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"module": "timm/test_resent"}, ValueError, "Did you mean 'timm/test_resnet'"),
        ({"module": f"{NET}.none"}, ValueError, r"test_resnet.none .* 'r160_in1k'"),
        ({"module__weights": "none"}, ValueError, "weights must be .* 'r160_in1k'"),
        (
            {"module__checkpoint_path": "x"},
            TypeError,
            "'checkpoint_path'.*=True",
        ),
        ({"module__pretrained": True}, TypeError, "'pretrained'.*weights=True"),
        ({"module__pretrained_cfg": {}}, TypeError, "'pretrained_cfg'.*weights=True"),
        ({"module__widht": 3}, TypeError, "widht"),
    ],
)
def test_errors(photos, params, error, message):
    with pytest.raises(error, match=message):
        ImageClassifier(**{**OPTIONS, **params}, image_size=32).fit(photos, [0, 1] * 3)


def test_without_a_connection(photos, monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("no connection.")

    monkeypatch.setattr(timm, "create_model", offline)
    remedy = r"https://huggingface.co/timm/test_resnet.r160_in1k/.*pretrained="
    with pytest.raises(OSError, match=remedy):
        ImageClassifier(**OPTIONS, module__weights=True).fit(photos, [0, 1] * 3)
