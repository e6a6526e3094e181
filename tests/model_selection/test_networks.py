"""Which networks are trained as one, and why the others are not."""

import numpy as np
import pytest
from torchvision.models import VisionTransformer

from skvision import ImageAutoencoder, ImageClassifier
from skvision.estimators._run import TrainingRun
from skvision.model_selection._engines import Grouped, Vmapped
from skvision.model_selection._proof import NotStackable, find_engine
from skvision.networks import list_networks

OWN = {
    ("mlp", ImageClassifier): {"module__dropout": 0.2, "module__batch_norm": True},
    ("lenet", ImageClassifier): {"module__dropout": 0.2},
    ("convnet", ImageClassifier): {"module__conv_dropout": 0.2},
    ("conv_autoencoder", ImageAutoencoder): {"module__conv_dropout": 0.2},
    ("dense_autoencoder", ImageAutoencoder): {},
}


def engine_for(name, kind, size, n_channels, params=None):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (12, size, size, n_channels), dtype=np.uint8)
    data = (X, np.arange(12) % 2) if kind is ImageClassifier else (X, None)
    nets = [kind(name, random_state=i, device="cpu", **params or {}) for i in (0, 1)]
    return find_engine([TrainingRun.of(net, *data) for net in nets])


@pytest.mark.parametrize(("name", "kind"), OWN)
def test_networks_of_this_package(name, kind):
    assert type(engine_for(name, kind, 32, 1)) is Grouped
    params = OWN[name, kind]
    if params:
        assert type(engine_for(name, kind, 32, 3, params)) is Grouped


def test_all_of_this_package_are_tried():
    others = {"mlp", "lenet", "convnet"}
    own = [name for name in list_networks() if "auto" in name or name in others]
    assert sorted(own) == sorted(name for name, _ in OWN)


#: On images of 32x32 pixels; the slow ones are tried with --slow.
STACKED = {"squeezenet1_1": Grouped}
SLOW = {
    "densenet121": Grouped,
    "googlenet": Grouped,
    "mnasnet0_5": Grouped,
    "mobilenet_v2": Grouped,
    "mobilenet_v3_small": Grouped,
    "regnet_x_400mf": Grouped,
    "resnet18": Grouped,
    "resnext50_32x4d": Grouped,
    # Channels change places.
    "shufflenet_v2_x0_5": Vmapped,
}
# Whole blocks are left out at random.
REFUSED = ["efficientnet_b0"]
SLOWLY_REFUSED = ["convnext_tiny", "efficientnet_v2_s", "swin_t", "swin_v2_t"]


@pytest.mark.parametrize(
    "name", [*STACKED, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]
)
def test_networks_of_torchvision_that_are_stacked(name):
    kind = (STACKED | SLOW)[name]
    assert type(engine_for(name, ImageClassifier, 32, 3)) is kind


@pytest.mark.parametrize(
    "name",
    [*REFUSED, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOWLY_REFUSED)],
)
def test_networks_of_torchvision_that_are_not(name):
    with pytest.raises(NotStackable, match="random numbers of torch"):
        engine_for(name, ImageClassifier, 32, 3)


class SmallTransformer(VisionTransformer):
    def __init__(self, n_outputs, dropout=0.0, attention_dropout=0.0):
        sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
        rates = {"dropout": dropout, "attention_dropout": attention_dropout}
        super().__init__(32, 8, num_classes=n_outputs, **sizes, **rates)


@pytest.mark.filterwarnings("error:There is a performance drop")
def test_transformers_with_heads_of_zeros():
    assert type(engine_for(SmallTransformer, ImageClassifier, 32, 3)) is Vmapped
    params = {"module__dropout": 0.2}
    engine = engine_for(SmallTransformer, ImageClassifier, 32, 3, params)
    assert type(engine) is Vmapped
    # torch's attention draws for itself.
    params = {"module__attention_dropout": 0.2}
    with pytest.raises(
        NotStackable, match="torch .*self_attention.*MultiheadAttention"
    ):
        engine_for(SmallTransformer, ImageClassifier, 32, 3, params)
