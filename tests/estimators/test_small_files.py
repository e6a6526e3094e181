"""Small files that ask for much get little."""

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

import skvision
from skvision import ImageClassifier
from skvision.exceptions import FormatError
from skvision.networks import get_network
from skvision.persistence import _format, _tree
from skvision.persistence._format import read_file, write_file
from skvision.persistence._tree import Made, Name

SHIFT = "skvision.preprocessing._geometry.RandomShift"


@pytest.fixture(scope="module")
def trees(digits, tmp_path_factory):
    """What is in good files."""
    X, y = digits.data[:60], digits.target[:60]
    path = tmp_path_factory.mktemp("good") / "net.skv"
    found = {}
    for name, params in {
        "mlp": {"module__hidden": (4,)},
        "convnet": {"module__channels": (2,), "module__hidden": (4,)},
    }.items():
        net = ImageClassifier(name, max_epochs=1, random_state=0, **params)
        net.fit(X, y).save(path)
        found[name] = read_file(path, "estimator")
    return found


def with_params(tree, **params):
    return {**tree, "params": {**tree["params"], **params}}


def with_facts(tree, **facts):
    return {**tree, "facts": {**tree["facts"], **facts}}


def layers(kind, **params):
    params = {f"module__{name}": value for name, value in params.items()}
    return {"module": Name(f"torch.nn.modules.{kind}"), **params}


def with_network(tree, **params):
    """Return a file that has the weights of a network, without making it here."""
    params = {**tree["params"], **{f"module__{k}": v for k, v in params.items()}}
    kwargs = {k[8:]: v for k, v in params.items() if k.startswith("module__")}
    with torch.device("meta"):
        network = get_network(params["module"])((1, 8, 8), n_outputs=10, **kwargs)
    state = {
        k: torch.zeros_like(v, device="cpu") for k, v in network.state_dict().items()
    }
    return {**tree, "params": params, "module_": state}


def generations(tree, n):
    outer = tree
    for _ in range(n):
        outer = with_params(tree, pretrained=Made("skvision.estimator", outer))
    return outer


#: Small files: a name, how one is made of a good one, and what the error says.
FILES = {
    "deep network": (
        lambda mlp, _: with_params(
            mlp,
            **layers("rnn.LSTM", input_size=1, hidden_size=1, num_layers=20_000),
        ),
        "module",
    ),
    "copied layers": (
        lambda mlp, _: with_params(
            mlp,
            **layers("transformer.Transformer", num_encoder_layers=3000, d_model=8),
        ),
        "module",
    ),
    "deep layers of a network": (
        lambda mlp, _: with_params(
            mlp,
            module="resnet18",
            module__norm_layer=Name("torch.nn.modules.transformer.Transformer"),
        ),
        "norm_layer",
    ),
    "many layers": (
        lambda mlp, _: with_params(mlp, module__hidden=(1,) * 5000),
        "module__hidden",
    ),
    "many blocks": (
        lambda _, convnet: {
            **convnet,
            "params": {
                "module": "mobilenet_v2",
                "module__inverted_residual_setting": [[1, 8, 10**6, 1]],
            },
        },
        "far more layers",
    ),
    "wide layers": (
        lambda mlp, _: with_params(mlp, module__hidden=(200_000_000,)),
        "do not fit",
    ),
    "large outputs of a layer": (
        lambda _, convnet: with_params(
            convnet,
            module__padding=10_000,
            module__pool_size=5000,
            module__pool_stride=5000,
        ),
        r"\d+ MB of an image",
    ),
    "windows that overlap": (
        lambda _, convnet: with_network(
            convnet,
            channels=((1,), (1,)),
            padding=((500,), (0,)),
            kernel_size=((3,), (1,)),
            pool_size=(500, 507),
            pool_stride=(1, 507),
        ),
        "1.3e[+]11 operations",
    ),
    "large filters": (
        lambda _, convnet: with_network(
            convnet, channels=((1,),), padding=500, kernel_size=500, pool_size=500
        ),
        "operations",
    ),
    "many convolutions": (
        lambda _, convnet: with_params(convnet, module__channels=((1,) * 1000,)),
        "far more layers",
    ),
    "long and empty strings": (
        lambda mlp, _: with_facts(
            mlp, feature_names_in_=np.array(["x" * 4000, *[""] * 4000])
        ),
        "strings of odd lengths",
    ),
    "several arrays of strings": (
        lambda mlp, _: with_facts(
            mlp, a=[np.array(["x" * 2000, *[""] * 2000]) for _ in range(40)]
        ),
        "strings of odd lengths",
    ),
    "lists in a list": (
        lambda mlp, _: with_facts(mlp, a=[[]] * 500_000),
        "far more parts than bytes",
    ),
    "short strings": (
        lambda mlp, _: with_facts(mlp, a=["ab"] * 300_000),
        r"a=\['ab'",
    ),
    "many tensors": (
        lambda mlp, _: with_facts(mlp, a=[torch.zeros(0)] * 12_000),
        "far more tensors than bytes",
    ),
    "many parameters": (
        lambda mlp, _: with_params(mlp, **{f"module__{i}": 1 for i in range(20_000)}),
        r"it has \d+ parameters",
    ),
    "many parameters that were set later": (
        lambda mlp, _: {**mlp, "later": {f"optimizer__{i}": 1 for i in range(400)}},
        "it has 401 parameters",
    ),
    "many patterns": (
        lambda mlp, _: with_params(mlp, freeze=["*"] * 101),
        "freeze",
    ),
    "many transforms": (
        lambda mlp, _: with_params(mlp, augment=[Made(SHIFT, {"max_shift": 1})] * 101),
        "augment",
    ),
    "many generations": (
        lambda mlp, _: generations(mlp, 51),
        "far too many estimators",
    ),
}


@pytest.fixture(scope="module")
def files(trees, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    for i, (make, _) in enumerate(FILES.values()):
        write_file(
            folder / f"{i}.skv", "estimator", make(trees["mlp"], trees["convnet"])
        )
    write_file(folder / "good.skv", "estimator", trees["mlp"])
    return folder


@pytest.mark.parametrize("name", FILES)
def test_what_is_said(files, name):
    number, (_, message) = list(FILES).index(name), FILES[name]
    with pytest.raises(FormatError, match=f"{number}.skv.*{message}"):
        skvision.load(files / f"{number}.skv")


CODE = """
import json, pathlib, sys, time
import torchvision
import skvision

def kilobytes():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

folder = pathlib.Path(sys.argv[1])
skvision.load(folder / "good.skv").predict([[[0.0] * 8] * 8])
found = {}
for path in sorted(folder.iterdir()):
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before, began = kilobytes(), time.process_time()
    try:
        skvision.load(path)
    except skvision.exceptions.FormatError:
        pass
    taken = time.process_time() - began, 1024 * (kilobytes() - before)
    found[path.name] = *taken, path.stat().st_size
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs the memory's high water")
def test_time_and_memory(files):
    command = [sys.executable, "-c", CODE, files]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(result.stdout)
    assert len(found) == len(FILES) + 1
    for name, (seconds, n_taken, n_bytes) in found.items():
        assert n_taken < 64 * 2**20 + 8 * n_bytes, name
        assert seconds < 2 + n_bytes / 10**7, name


def test_a_network_ends_where_the_file_has_no_more_weights(trees, tmp_path):
    """And not after all of its layers are made."""
    made, here = [], threading.get_ident()
    tree = with_params(trees["mlp"], module__hidden=(1,) * 1000, module__dropout=0.5)
    tree = generations(tree, 5)
    write_file(tmp_path / "net", "estimator", tree)

    def count(module, name, submodule):
        if threading.get_ident() == here:
            made.append(name)

    hook = nn.modules.module.register_module_module_registration_hook(count)
    try:
        with pytest.raises(FormatError, match="cannot be loaded"):
            skvision.load(tmp_path / "net")
    finally:
        hook.remove()
    assert len(made) < 10_000


def test_layers_that_name_one_tensor(trees, tmp_path, monkeypatch):
    """A file with one large tensor is not one with three hundred."""
    write_file(tmp_path / "net", "estimator", trees["mlp"])
    encode = _format.encode

    def encode_with_one(tree, tensors):
        text = json.dumps(encode(tree, tensors))
        return json.loads(text.replace('"tensor 1"', '"tensor 0"'))

    monkeypatch.setattr(_format, "encode", encode_with_one)
    write_file(tmp_path / "net", "estimator", trees["mlp"])
    with pytest.raises(FormatError, match="tensor 0"):
        skvision.load(tmp_path / "net")


@pytest.mark.parametrize("kind", [set, frozenset, dict.fromkeys])
@pytest.mark.parametrize(
    "keys",
    [
        [i * (2**61 - 1) for i in range(20_000)],
        [i * 2**61 for i in range(20_000)],
        [i / 7 for i in range(20_000)],
        [(i, 1) for i in range(20_000)],
    ],
    ids=lambda keys: repr(keys[1]),
)
def test_keys_with_one_hash(kind, keys, trees, tmp_path, monkeypatch):
    collection = kind(keys[:200])
    with pytest.raises(TypeError, match="more than 100 keys"):
        write_file(tmp_path / "net", "estimator", {"a": collection})
    with monkeypatch.context() as patch:
        patch.setattr(_tree, "_MOST_ODD_KEYS", 10**9)
        write_file(tmp_path / "net", "estimator", {"a": collection})
    with pytest.raises(FormatError, match="too many odd keys"):
        skvision.load(tmp_path / "net")


def test_large_but_honest(tmp_path):
    """A long history and many weights are no attack."""
    rng = np.random.default_rng(0)
    batches = [
        {"train_loss": loss, "train_batch_size": 128}
        for loss in rng.random(100_000).tolist()
    ]
    names = rng.integers(0, 10**6, (5000, 8))
    tree = {
        "history": [{"batches": batches}],
        "weights": {f"layer {i}": torch.ones(2) for i in range(4000)},
        "names": np.array([" ".join(map(str, row)) for row in names]),
        "labels": dict.fromkeys(range(20_000), 1.0),
    }
    write_file(tmp_path / "file", "estimator", tree)
    found = read_file(tmp_path / "file", "estimator")
    assert found["history"] == tree["history"]
    assert found["labels"] == tree["labels"]
    np.testing.assert_array_equal(found["names"], tree["names"])


@pytest.mark.parametrize("name", ["regnet_x_400mf", "shufflenet_v2_x0_5"])
def test_networks_that_compute_while_they_are_built(name, digits, tmp_path):
    X = np.pad(digits.data[:4], ((0, 0), (12, 12), (12, 12)))
    net = ImageClassifier(name, max_epochs=0, random_state=0)
    net.fit(X, [0, 1, 0, 1]).save(tmp_path / "net")
    loaded = skvision.load(tmp_path / "net")
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    assert loaded._n_values == net._n_values
