import re

import pytest
import torch
import torchvision
from torchvision.models import WeightsEnum

from skvision.exceptions import FormatError
from skvision.networks import torchvision_model


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Give a network's random weights out for the pretrained ones."""

    def store(name, **kwargs):
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, **kwargs)
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        monkeypatch.setattr(
            *(WeightsEnum, "get_state_dict"),
            lambda self, *args, **kwargs: torch.load(tmp_path / "weights.pt"),
        )
        return network

    return store


@pytest.mark.parametrize(
    "name, channels, size",
    [
        ("resnet18", 1, 16),
        ("resnet18", 3, 16),
        ("resnet18", 4, 16),
        ("mobilenet_v3_small", 1, 32),
        ("squeezenet1_1", 1, 32),
        ("densenet121", 1, 32),
        ("vit_b_32", 1, 32),
    ],
)
def test_any_channels_and_outputs(name, channels, size):
    network = torchvision_model(name, (channels, size, size), 7)
    assert network.training
    outputs = network.eval()(torch.rand(2, channels, size, size))
    assert outputs.shape == (2, 7)
    outputs.sum().backward()


@pytest.mark.parametrize("name, size", [("googlenet", 32), ("inception_v3", 75)])
@pytest.mark.filterwarnings("error")
def test_outputs_in_training_are_one_tensor(name, size):
    network = torchvision_model(name, (1, size, size), 3)
    assert network(torch.rand(2, 1, size, size)).shape == (2, 3)


def test_further_arguments_reach_the_builder():
    network = torchvision_model("alexnet", (3, 64, 64), 3, dropout=0.25)
    assert network.classifier[0].p == 0.25
    with pytest.raises(TypeError, match="dropuot"):
        torchvision_model("alexnet", (3, 64, 64), 3, dropuot=0.25)


def test_the_seed_before_construction_gives_the_weights():
    def weights():
        torch.manual_seed(0)
        network = torchvision_model("resnet18", (1, 16, 16), 3)
        return torch.nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(weights(), weights())


def test_the_trial_leaves_no_trace_in_batch_norm():
    network = torchvision_model("resnet18", (3, 16, 16), 3)
    assert not network.bn1.running_mean.any()
    assert network.bn1.num_batches_tracked == 0


@pytest.mark.parametrize(
    "name, last", [("resnet18", "fc"), ("squeezenet1_1", "classifier.1")]
)
def test_pretrained_weights_stay_in_all_layers_but_the_last(stored, name, last):
    theirs = stored(name).state_dict()
    network = torchvision_model(name, (3, 32, 32), 5, weights="DEFAULT")
    for key, value in network.state_dict().items():
        if key.startswith(last):
            assert len(value) == 5
        else:
            assert torch.equal(value, theirs[key])


@pytest.mark.parametrize("channels", [1, 4])
def test_pretrained_filters_see_a_grey_image_as_in_three_channels(stored, channels):
    theirs = stored("resnet18")
    network = torchvision_model(
        "resnet18", (channels, 32, 32), 5, weights="IMAGENET1K_V1"
    )
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        network.conv1(grey.expand(-1, channels, -1, -1)),
        theirs.conv1(grey.expand(-1, 3, -1, -1)),
    )


@pytest.mark.parametrize("name, size", [("googlenet", 32), ("inception_v3", 75)])
def test_pretrained_outputs_in_training_are_one_tensor(stored, name, size):
    stored(name, init_weights=False)
    network = torchvision_model(name, (3, size, size), 3, weights="DEFAULT")
    assert network(torch.rand(2, 3, size, size)).shape == (2, 3)
    with pytest.raises(ValueError, match=f"{name} cannot take images of image_shape"):
        torchvision_model(name, (1, size, size), 3, weights="DEFAULT")


@pytest.mark.parametrize(
    "name, image_shape, message",
    [
        ("alexnet", (3, 28, 28), r"alexnet cannot take .*\(3, 28, 28\): .*too small"),
        ("vit_b_32", (3, 32, 64), "vit_b_32 cannot take .*Wrong image width"),
        ("vit_b_32", (3, 28, 28), "vit_b_32 cannot take .*indivisible"),
        ("fcn_resnet50", (3, 28, 28), "Unknown network 'fcn_resnet50'"),
    ],
)
def test_impossible_networks(name, image_shape, message):
    with pytest.raises(ValueError, match=message):
        torchvision_model(name, image_shape, 10)


def test_densenets_old_names(stored, tmp_path):
    theirs = stored("densenet121").state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): value
        for name, value in theirs.items()
    }
    assert old.keys() != theirs.keys()
    torch.save(old, tmp_path / "weights.pt")
    network = torchvision_model("densenet121", (3, 32, 32), 5, weights="DEFAULT")
    for key, value in network.state_dict().items():
        assert key.startswith("classifier") or torch.equal(value, theirs[key])


@pytest.mark.parametrize(
    "arguments",
    [
        {"pretrained": True},
        {"pretrained": False},
        {"pretrained_backbone": True},
        {"weights_backbone": "DEFAULT"},
        {"backbone_weights": "DEFAULT"},
    ],
    ids=repr,
)
def test_weights_come_by_one_name(monkeypatch, arguments):
    def forbidden(*args, **kwargs):
        raise AssertionError("something was loaded")

    monkeypatch.setattr(torch, "load", forbidden)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", forbidden)
    (name,) = arguments
    for weights in (None, "DEFAULT"):
        with pytest.raises(TypeError, match=f"no argument '{name}'.*weights='DEFAULT'"):
            torchvision_model("resnet18", (3, 32, 32), 5, weights=weights, **arguments)


def test_weights_that_are_no_numbers(stored, tmp_path):
    state = stored("resnet18").state_dict()
    state["layer2.0.conv1.weight"][3, 1, 0, 0] = torch.nan
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(FormatError, match=r"'layer2\.0\.conv1\.weight' has 1 of \d+"):
        torchvision_model("resnet18", (3, 32, 32), 5, weights="DEFAULT")
