"""torchvision's pretrained networks, with a file of weights in torch's cache."""

import os
import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights

from skvision import ImageClassifier
from skvision.exceptions import FormatError
from skvision.networks import torchvision_model
from skvision.preprocessing import RandomResizedCrop

WEIGHTS = ResNet18_Weights.IMAGENET1K_V1
RESNET = {"module": "resnet18", "module__weights": "IMAGENET1K_V1", "max_epochs": 1}


@pytest.fixture
def weights_file(tmp_path, monkeypatch):
    """The place where torch looks for the weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / os.path.basename(WEIGHTS.url)
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def theirs(weights_file):
    """The network whose weights are in the file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18()
    torch.save(network.state_dict(), weights_file)
    return network


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (4, 40, 32, 3), dtype=np.uint8)
    return X, np.array(["cat", "dog"] * 2)


def test_weights_bring_their_size_and_normalization(theirs, data):
    X, y = data
    net = ImageClassifier(**RESNET, freeze="backbone", lr=0.1, random_state=0)
    net.fit(X, y)
    assert net.image_shape_ == (3, 40, 32)
    assert net.network_shape_ == (3, 224, 224)
    assert net.scaler_.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert net.scaler_.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])

    state = net.module_.state_dict()
    for name, value in theirs.state_dict().items():
        assert name.startswith("fc.") or torch.equal(state[name], value), name
    trained = [n for n, p in net.module_.named_parameters() if p.requires_grad]
    assert trained == ["fc.weight", "fc.bias"]

    # The frozen features are those of torchvision's own network and transforms.
    theirs.fc = nn.Identity()
    images = torch.from_numpy(X).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = theirs.eval()(torch.stack([WEIGHTS.transforms()(x) for x in images]))
        expected = net.module_.fc(features).softmax(1).numpy()
    # torchvision rounds uint8 images once more, after it has resized them.
    proba = net.predict_proba(X)
    np.testing.assert_allclose(proba, expected, atol=0.01)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(X), proba)


def test_images_of_the_right_size_are_left_alone(theirs, data):
    X, y = data[0][:2], data[1][:2]
    shapes = []

    class Spy(nn.Module):
        def __init__(self, image_shape, n_outputs):
            super().__init__()
            self.network = torchvision_model(
                "resnet18", image_shape, n_outputs, weights="DEFAULT"
            )
            self.input_spec = self.network.input_spec

        def forward(self, images):
            shapes.append(tuple(images.shape[1:]))
            return self.network(images)

    crop = RandomResizedCrop((224, 224))
    ImageClassifier(Spy, max_epochs=1, augment=crop, lr=0).fit(X, y).predict(X)
    assert set(shapes) == {(3, 224, 224)}
    with pytest.raises(ValueError, match=r"images of shape \(3, 100, 100\)"):
        ImageClassifier(Spy, augment=RandomResizedCrop((100, 100))).fit(X, y)


def test_own_choices_win(theirs, data):
    params = {"module__resize": False, "max_epochs": 0}
    net = ImageClassifier(**RESNET | params, normalize=(0.5, 0.25)).fit(*data)
    assert net.network_shape_ == net.image_shape_
    assert net.scaler_.mean.flatten().tolist() == [0.5]
    assert net.scaler_.std.flatten().tolist() == [0.25]


def test_grey_images_get_the_mean_of_the_normalization(theirs, data):
    X, y = data
    params = {"module__resize": False, "max_epochs": 0}
    net = ImageClassifier(**RESNET | params).fit(X[..., 0], y)
    assert net.scaler_.mean.flatten().tolist() == pytest.approx([0.449])


def rates(net):
    return {
        group["lr"]: sum(p.numel() for p in group["params"])
        for group in net.optimizer_.param_groups
    }


def test_a_lower_rate_for_pretrained_weights(theirs, data):
    net = ImageClassifier(
        **RESNET,
        module__resize=False,
        pretrained_lr_mult=0.125,
        lr=0.5,
        optimizer="sgd",
    )
    assert rates(net.fit(*data)) == {0.5: 512 * 2 + 2, 0.0625: 11_176_512}
    assert rates(net.set_params(lr=0.25)) == {0.25: 512 * 2 + 2, 0.03125: 11_176_512}
    net.set_params(pretrained_lr_mult=0).fit(*data)
    state = net.module_.state_dict()
    assert torch.equal(state["layer1.0.conv1.weight"], theirs.layer1[0].conv1.weight)


def test_a_lower_rate_beside_groups_of_the_users(digits):
    X, y = digits.data[:100], digits.target[:100]
    small = {"module": "convnet", "module__channels": (4, 8), "max_epochs": 1}
    first = ImageClassifier(**small).fit(X, y)
    net = ImageClassifier(
        **small,
        pretrained=first.module_.encoder,
        pretrained_lr_mult=0.5,
        lr=0.25,
        optimizer__param_groups=[("*.bias", {"lr": 0.125})],
    ).fit(X, y)
    named = dict(net.module_.named_parameters())
    groups = net.optimizer_.param_groups
    got = {
        name: group["lr"]
        for name, p in named.items()
        for group in groups
        if any(p is q for q in group["params"])
    }
    assert got.keys() == named.keys()
    for name, lr in got.items():
        expected = 0.125 if name.endswith("bias") else 0.25
        assert lr == expected * (0.5 if name.startswith("encoder.") else 1), name
    assert sum(len(group["params"]) for group in groups) == len(named)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_the_file_is_run(weights_file, data, tmp_path):
    torch.save({"fc.weight": Trap(tmp_path / "sprung")}, weights_file)
    with pytest.raises(FormatError, match=r"resnet18-\w+\.pth' does not hold the weig"):
        ImageClassifier(**RESNET).fit(*data)
    # Nor by the keyword of older releases of torchvision.
    params = {"module": "resnet18", "module__pretrained": True, "max_epochs": 1}
    with pytest.raises(TypeError, match="'pretrained'"):
        ImageClassifier(**params).fit(*data)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\x03\x04" + bytes(100)])
def test_damaged_files(weights_file, data, content):
    weights_file.write_bytes(content)
    with pytest.raises(FormatError, match="Remove it, and it is downloaded again"):
        ImageClassifier(**RESNET).fit(*data)


def test_weights_of_another_network(weights_file, data):
    torch.save(torchvision.models.squeezenet1_1().state_dict(), weights_file)
    with pytest.raises(FormatError, match="Missing key"):
        ImageClassifier(**RESNET).fit(*data)


def test_weights_that_cannot_be_downloaded(weights_file, data, monkeypatch):
    # Proxies that refuse keep torch from downloading.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(OSError, match=f"Put the file {WEIGHTS.url} into .*checkpoints"):
        ImageClassifier(**RESNET).fit(*data)


def test_weights_take_photos_of_all_sizes(theirs, data, tmp_path):
    X, y = data
    photos = [X[0], X[1, :20], X[2, :, :25], X[3]]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, photo in zip(paths, photos, strict=True):
        Image.fromarray(photo).save(path)
    options = {**RESNET, "freeze": "backbone", "max_epochs": 0, "random_state": 0}
    net = ImageClassifier(**options).fit(paths, y)
    assert net.image_shape_ == net.network_shape_ == (3, 224, 224)
    for i, photo in enumerate(photos):
        found = net.predict_proba(photo[None])
        np.testing.assert_allclose(
            found, net.predict_proba(paths[i : i + 1]), atol=1e-3
        )
    # A size of one's own stands in for that of the weights.
    small = ImageClassifier(**options, image_size=64).fit(paths, y)
    assert small.network_shape_ == (3, 64, 64)
    of_arrays = ImageClassifier(**options).fit(X, y)
    assert of_arrays.predict(paths).shape == (4,)
    assert of_arrays.predict(photos[1][None]).shape == (1,)
