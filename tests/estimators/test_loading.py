"""Files that were made to do harm do none."""

import copy
import json
import pickle
import re
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skvision_tests import thorough

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.exceptions import FormatError
from skvision.persistence._format import read_file, write_file
from skvision.persistence._tree import Made, Name
from skvision.preprocessing import RandomShift

HUGE = 10**12


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:60], digits.target[:60]


@pytest.fixture(scope="module")
def trees(data, tmp_path_factory):
    """What is in good files."""
    X, y = data
    teacher = ImageAutoencoder(
        "dense_autoencoder", module__hidden=(4,), max_epochs=1
    ).fit(X)
    nets = [
        ImageClassifier(
            "mlp",
            module__hidden=(4,),
            max_epochs=1,
            random_state=np.random.RandomState(0),
            augment=[RandomShift(1)],
            epoch_scoring="accuracy",
        ).fit(X, y),
        ImageClassifier(pretrained=teacher, module__hidden=4, max_epochs=1).fit(X, y),
        ImageRegressor("mlp", module__hidden=(4,), max_epochs=1).fit(X, y / 9),
        teacher,
    ]
    path = tmp_path_factory.mktemp("good") / "net.skv"
    found = []
    for net in nets:
        net.save(path)
        found.append(read_file(path, "estimator"))
    return found


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported."""
    trace = tmp_path / "trace"
    (tmp_path / "evil.py").write_text(
        f"open({str(trace)!r}, 'w').close()\nclass Net: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "evil.Net"
    assert not trace.exists()
    assert "evil" not in sys.modules


def places(tree, path=()):
    """Yield the paths of all parts of a tree."""
    items = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, (list, tuple)):
        # Batches and layers are alike.
        items = list(enumerate(tree))[:2]
    elif isinstance(tree, Made):
        items = tree.params.items()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(tree, path, value):
    if not path:
        return value
    tree = copy.copy(tree)
    key, *rest = path
    if isinstance(tree, Made):
        return Made(tree.name, changed(tree.params, path, value))
    if isinstance(tree, tuple):
        return tuple(changed(list(tree), path, value))
    tree[key] = changed(tree[key], rest, value)
    return tree


def renamed(tree, rename):
    """Return a tree whose classes have other names."""
    if isinstance(tree, Name):
        return Name(rename(tree.name))
    if isinstance(tree, Made):
        return Made(rename(tree.name), renamed(tree.params, rename))
    if isinstance(tree, dict):
        return {key: renamed(value, rename) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(renamed(value, rename) for value in tree)
    return tree


@pytest.mark.parametrize("module", ["_elsewhere.", ""])
def test_classes_are_known_by_their_packages(module, trees, data, tmp_path):
    """Modules may have been moved since a file was written."""

    def rename(name):
        return re.sub(r"(?<=^skvision\.)(\w+)\._\w+\.", rf"\1.{module}", name)

    path = tmp_path / "net"
    for tree in trees:
        other = renamed(tree, rename)
        assert other["class"] != tree["class"]
        assert check(other, path, data[0])
    assert not check(renamed(tree, lambda name: f"{name}_elsewhere"), path, data[0])


NASTY = [
    None,
    -1,
    HUGE,
    float("nan"),
    "../../etc/passwd",
    [],
    {},
    (HUGE, HUGE, HUGE),
    Name("os.system"),
    Name("evil.Net"),
    Made("evil.Net", {}),
    torch.tensor([float("nan")]),
    torch.zeros(0),
    torch.zeros(3, 4, dtype=torch.complex64),
]


def check(tree, path, X):
    """Load a tree's file: all is well, or there is a FormatError."""
    write_file(path, "estimator", tree)
    start = time.monotonic()
    try:
        net = skvision.load(path)
    except FormatError as error:
        assert path.name in str(error)
        return False
    finally:
        assert time.monotonic() - start < 20
    # Another file than before, but a good one: predictions are made, or refused.
    try:
        found = net.transform(X) if hasattr(net, "reconstruct") else net.predict(X)
    except (TypeError, ValueError):
        return True
    assert len(found) == len(X)
    return True


@pytest.mark.parametrize("number", range(4))
def test_every_part_is_doubted(trees, number, data, tmp_path, evil):
    tree = trees[number]
    n_refused = n_loaded = 0
    for i, path in enumerate(places(tree)):
        inner = number != 0 and ("pretrained" in path[:-1] or i % 2)
        if path[0] == "versions" or inner:
            continue
        # All values meet all kinds of parts in the course of time.
        for value in NASTY[i % 7 :: 7]:
            if check(changed(tree, path, value), tmp_path / "net", data[0]):
                n_loaded += 1
            else:
                n_refused += 1
    assert n_refused > 100
    assert n_refused > n_loaded


def test_autoencoders_have_encoders(trees, tmp_path):
    tree = trees[3]
    layer = {"module": Name("torch.nn.modules.activation.PReLU")}
    params = {k: v for k, v in tree["params"].items() if not k.startswith("module")}
    weights = {"weight": torch.ones(1)}
    tree = {**tree, "params": params | layer, "module_": weights}
    write_file(tmp_path / "net", "estimator", tree)
    with pytest.raises(FormatError, match="no encoder"):
        skvision.load(tmp_path / "net")


class Masked(torch.nn.Linear):
    """Looks at pixels of the upper half alone."""

    def __init__(self):
        super().__init__(64, 10)
        mask = torch.zeros(64)
        mask[32:] = -torch.inf
        self.register_buffer("mask", mask)

    def forward(self, images):
        return super().forward(self.mask.exp() * images.flatten(1))


def test_masks_are_infinite_and_weights_are_not(data, tmp_path):
    path = tmp_path / "net"
    parameters = {"max_epochs": 1, "random_state": 0, "checkpoint": tmp_path / "fits"}
    net = ImageClassifier(Masked, **parameters).fit(*data)
    net.save(path)
    loaded = skvision.load(path, module=Masked)
    again = ImageClassifier(Masked, **parameters).fit(*data)
    for other in (loaded, again):
        assert np.array_equal(other.predict_proba(data[0]), net.predict_proba(data[0]))
    tree = read_file(path, "estimator")
    (file,) = (tmp_path / "fits").iterdir()
    state = read_file(file, "checkpoint")
    for name, value in [("mask", torch.nan), ("weight", -torch.inf)]:
        for weights in (tree["module_"], state["module"]):
            weights[name] = torch.full_like(weights[name], value)
        write_file(path, "estimator", tree)
        with pytest.raises(FormatError, match=f"'{name}' has .* NaN or infinite"):
            skvision.load(path, module=Masked)
        write_file(file, "checkpoint", state)
        with pytest.raises(FormatError, match=f"'{name}' has .* NaN or infinite"):
            ImageClassifier(Masked, **parameters).fit(*data)


def test_missing_parts(trees, data, tmp_path):
    for tree in trees:
        for name in tree:
            rest = {key: value for key, value in tree.items() if key != name}
            good = check(rest, tmp_path / "net", data[0])
            older = "divisors", "later", "schedules", "trained", "versions"
            assert good == (name in older), name
        for name in tree["facts"]:
            facts = {k: v for k, v in tree["facts"].items() if k != name}
            check({**tree, "facts": facts}, tmp_path / "net", data[0])


@pytest.mark.parametrize("tree", [None, [], 3, {"class": 3}, {"params": {}}])
def test_other_trees(tree, tmp_path):
    write_file(tmp_path / "net", "estimator", tree)
    with pytest.raises(FormatError, match="net"):
        skvision.load(tmp_path / "net")


@pytest.mark.parametrize(
    "params",
    [
        {"module__hidden": (HUGE,)},
        {"module__hidden": tuple(range(1, 5000))},
        {"module__hidden": (4, 4)},
        {"module": "convnet", "module__hidden": None},
        {"module": "vit_h_14"},
        {"module": Name("torch.nn.modules.linear.Linear"), "module__in_features": HUGE},
        {"module": Name("torch.nn.modules.container.Sequential")},
        {"module": Name("torch.hub.load")},
        {"module": Name("builtins.eval")},
        {"module": Name("evil.Net")},
        {"module": "evil.Net"},
        {"module": Made("torch.nn.Module", {"class": "Net"})},
        {"criterion": Name("os.system")},
        {"optimizer": Name("evil.Net")},
        {"predict_nonlinearity": Name("evil.Net")},
        {"epoch_scoring": [Made("evil.Net", {})]},
        {"augment": [Made("skvision.preprocessing._geometry.RandomShift", {"x": 1})]},
        {"augment": [Name("evil.Net")]},
        {"module__weights": "../../evil", "module": "resnet18"},
        {"module__weights": True, "module": "resnet18"},
        {"module__pretrained": True, "module": "resnet18"},
        {"module__pretrained": "DEFAULT", "module": "squeezenet1_1"},
        {"module__weights_backbone": "DEFAULT", "module": "squeezenet1_1"},
        {"module__load_weights": True, "module": "resnet18"},
        {"no_such_parameter": 1},
        {"no_such__parameter": 1},
        {"optimizer": Name("torch.nn.modules.linear.Linear")},
        {"criterion": Name("torch.nn.modules.linear.Linear")},
        {"criterion": Name("torch.nn.modules.loss.L1Loss.__init__")},
        {"module": Name("torch.optim.sgd.SGD")},
        {"module": Name("torch.nn.parallel.data_parallel.DataParallel")},
        {"module__hidden": [[[[[[[4]]]]]]]},
        {"module__activation": "x" * 10**6},
        {"predict_nonlinearity": Name("torch.nn.modules.activation.ReLU")},
        {"train_split": Name("torch.nn.modules.activation.ReLU")},
        {"augment": [Made("skvision.metrics.top_k_scorer", {"k": 3})]},
        {"augment": [Made("numpy.random.RandomState", {})]},
        {"epoch_scoring": [Made("numpy.random.RandomState", {})]},
        {"random_state": Made("skvision.metrics.top_k_scorer", {"k": 3})},
        {"random_state": -1},
        {"batch_size": HUGE},
        {"max_epochs": 10**400},
        {"lr": float("nan")},
        {"image_shape": (1, 8, HUGE)},
        {"freeze": ["*a" * 1000]},
        {"freeze": "layers.0*", "unfreeze_at": {2: ["*a" * 1000]}},
        {"freeze": "layers.0*", "unfreeze_at": {"2": "layers.0*"}},
        {"pretrained_lr_mult": {"*": -1.0}},
        {"class_weight": {1: "x"}},
        {"normalize": (0.5, [1.0, "x"])},
        {"__class__": 1},
        {"__init__": 1},
    ],
    ids=repr,
)
def test_parameters(trees, params, data, tmp_path, evil):
    tree = trees[0]
    tree = {**tree, "params": tree["params"] | params}
    assert not check(tree, tmp_path / "net", data[0])


@pytest.mark.parametrize("place", [-1, 625, 10**7, 1.0])
def test_generators_read_their_own_memory(trees, place, tmp_path, data):
    keys = np.zeros(624, dtype=np.uint32)
    made = Made("numpy.random.RandomState", {"state": ("MT19937", keys, place, 0, 0.0)})
    params = {**trees[0]["params"], "random_state": made}
    assert not check({**trees[0], "params": params}, tmp_path / "net", data[0])


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq", "step"])
def test_steps_write_into_their_own_memory(trees, name, tmp_path, data):
    """A fused step takes the sizes of an optimizer's state for those of the weights."""
    state = copy.deepcopy(trees[0]["optimizer_"])
    weight = torch.zeros(1 if name != "step" else 7)
    state["state"][0][name] = weight
    assert not check({**trees[0], "optimizer_": state}, tmp_path / "net", data[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda state, group: [values.pop("exp_avg") for values in state.values()],
        lambda state, group: state[1].pop("step"),
        lambda state, group: state[0].update(exp_avg=3.0),
        lambda state, group: state[0].update(step=torch.tensor(-1.0)),
        lambda state, group: group.update(lr=-1.0),
        lambda state, group: group.update(fused="yes"),
    ],
)
def test_steps_find_what_they_look_for(trees, change, tmp_path, data):
    state = copy.deepcopy(trees[0]["optimizer_"])
    change(state["state"], state["param_groups"][0])
    assert not check({**trees[0], "optimizer_": state}, tmp_path / "net", data[0])


@pytest.mark.parametrize(
    "params",
    [
        {"compile": True, "compile__options": {"cpp.cxx": ["sh -c 'touch x' y"]}},
        {"compile__backend": "evil"},
        {"compile__mode": Name("evil.Net")},
        {"device": "meta"},
        {"device": torch.device("cpu")},
        {"checkpoint": "/tmp/elsewhere", "checkpoint_steps": 1},
        {"iterator_train": Name("subprocess.Popen"), "iterator_valid": "evil.Net"},
        {"iterator_train__collate_fn": Name("evil.Net")},
        {"iterator_valid__num_workers": 40},
        {"iterator_valid__shuffle": True, "iterator_valid__batch_size": HUGE},
        {"callbacks": [Name("evil.Net")], "verbose": HUGE},
        {"callbacks__print_log__sink": Name("evil.Net")},
        {"callbacks__early_stopping": Made("evil.Net", {})},
        {"pretrained": "/dev/zero"},
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:The file's .* not taken")
def test_settings_of_a_session_are_not_heard(trees, params, data, tmp_path, evil):
    """Such as those of the compiler, which can name programs that are to be run."""
    tree = trees[0]
    good = {name: v for name, v in tree["params"].items() if name != "checkpoint"}
    for pretrained in (False, True):
        changed = {**tree, "params": good | params}
        if pretrained:
            changed = Made("skvision.estimator", changed)
            changed = {**tree, "params": tree["params"] | {"pretrained": changed}}
        write_file(tmp_path / "net", "estimator", changed)
        net = skvision.load(tmp_path / "net")
        net = net.pretrained if pretrained else net
        new = ImageClassifier().get_params()
        found = net.get_params()
        assert {k: found.get(k) for k in params} == {k: new.get(k) for k in params}
        assert net.module_._compiled_call_impl is None
        assert net.predict(data[0]).shape == (60,)


@pytest.mark.parametrize("name", ["os.system", "evil.Net", "", ".", "..", "a b", "é.ü"])
def test_classes(trees, name, data, tmp_path, evil):
    tree = {**trees[0], "class": Name(name)}
    assert not check(tree, tmp_path / "net", data[0])


def test_what_is_trusted_has_to_be_an_estimator(trees, tmp_path):
    write_file(tmp_path / "net", "estimator", {**trees[0], "class": Name("json.loads")})
    with pytest.raises(FormatError, match=r"json\.loads"):
        skvision.load(tmp_path / "net", trusted=["json.loads"])
    assert json.loads("1") == 1


class Attack:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


@pytest.mark.parametrize("how", ["pickle", "torch", "joblib"])
def test_pickles(how, tmp_path):
    path = tmp_path / "net.skv"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Attack()))
    elif how == "torch":
        torch.save(Attack(), path)
    else:
        import joblib

        joblib.dump(Attack(), path)
    with pytest.raises(FormatError, match="net.skv"):
        skvision.load(path)


@settings(max_examples=thorough(100), deadline=None)
@given(data=st.data())
def test_random_damage(data, good_file, tmp_path_factory):
    content = bytearray(good_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 8))] = data.draw(
            st.binary(max_size=8)
        )
    if content == good_file.read_bytes():
        return
    path = good_file.with_name("damaged")
    path.write_bytes(content)
    with pytest.raises(FormatError, match="damaged"):
        skvision.load(path)


@pytest.fixture(scope="module")
def good_file(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "net.skv"
    net = ImageClassifier("mlp", module__hidden=(4,), max_epochs=1, random_state=0)
    net.fit(*data).save(path)
    return path
