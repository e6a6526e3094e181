"""A frozen part of a network runs once for each image, and changes no result."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from skorch.callbacks import Callback, EpochScoring, Unfreezer
from torch import nn

import skvision
from skvision import ImageClassifier, ImageRegressor
from skvision.model_selection import StackedGridSearchCV, stacked_cross_validate
from skvision.preprocessing import RandomHorizontalFlip

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
Y = np.arange(40) % 3
X[Y == 1, 2:5] //= 4
X[Y == 2, :, 4:] //= 2
FLIP = RandomHorizontalFlip()
UNIT = {"normalize": (0.5, 0.25), "random_state": 0, "batch_size": 16}


class Head(nn.Module):
    """What is trained, with dropout and batch normalisation of its own."""

    def __init__(self, n_inputs, n_outputs, dropout=0.5):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_inputs)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(n_inputs, n_outputs)

    def forward(self, x):
        return self.last(self.drop(self.norm(x)))


class Branched(nn.Module):
    """A backbone with a way around a layer, and operations that are no layers."""

    def __init__(self, n_outputs, head=nn.Linear, **options):
        super().__init__()
        torch.manual_seed(7)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = head(16, n_outputs, **options)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = x + self.second(x)
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


class AfterHead(Branched):
    def forward(self, x):
        return super().forward(x).clamp(-1, 1)


class Beside(Branched):
    def forward(self, x):
        return super().forward(x) + self.fc.weight.sum()


class Noisy(Branched):
    def forward(self, x):
        return super().forward(x + torch.rand_like(x) if self.training else x)


class Dropping(Branched):
    def __init__(self, n_outputs):
        super().__init__(n_outputs)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return super().forward(self.drop(x))


class OfTheBatch(Branched):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class OfIntegers(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.fc = nn.EmbeddingBag(10, n_outputs)

    def forward(self, x):
        return self.fc((3 * self.first(x.flatten(1))).long().clamp(0, 9))


class OtherInTraining(Branched):
    def forward(self, x):
        return super().forward(2 * x if self.training else x)


def layers(n_outputs, n_hidden=8, n_layers=2, dropout=0.0):
    torch.manual_seed(7)
    own = [nn.Flatten(), nn.Linear(64, n_hidden)]
    for _ in range(n_layers):
        own += [nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_hidden, n_hidden)]
    return nn.Sequential(*own, nn.ReLU(), nn.Linear(n_hidden, n_outputs))


BACKBONE = ["first.*", "norm.*", "second.*"]
NETWORKS = [
    (Branched, {"freeze": "backbone"}, "fc"),
    (Branched, {"freeze": BACKBONE, "module__head": Head}, "fc"),
    (layers, {"freeze": "backbone"}, "9"),
    (layers, {"freeze": ["1.*"], "module__dropout": 0.5}, "3"),
    (layers, {"freeze": ["1.*", "4.*"], "module__n_layers": 3}, "7"),
    ("convnet", {"freeze": "backbone", "module__channels": (4,)}, "head.0"),
    ("mlp", {"freeze": "backbone", "module__hidden": (16, 8)}, "head"),
]


def weights_of(net):
    return {k: v.clone() for k, v in net.module_.state_dict().items()}


def assert_same_fits(fitted, other, atol):
    assert_allclose(fitted.predict_proba(X), other.predict_proba(X), atol=atol)
    for name, value in weights_of(other).items():
        assert_allclose(weights_of(fitted)[name], value, atol=atol, err_msg=name)
    losses = [net.history[:, "train_loss"] for net in (fitted, other)]
    assert_allclose(*losses, atol=max(atol, 1e-12))


@pytest.mark.parametrize(("module", "options", "layer"), NETWORKS)
def test_results_are_those_of_the_whole_network(module, options, layer):
    options = {**UNIT, "max_epochs": 3, "dtype": "float64", **options}
    net = ImageClassifier(module, **options).fit(X, Y)
    whole = ImageClassifier(module, feature_cache=False, **options).fit(X, Y)
    assert net.feature_layer_ == layer
    assert whole.feature_layer_ is None
    assert_same_fits(net, whole, 1e-9)


@settings(max_examples=20, deadline=None)
@given(
    network=st.sampled_from(NETWORKS),
    seed=st.integers(0, 9),
    batch_size=st.sampled_from([7, 16, -1]),
    early_stopping=st.booleans(),
    weighted=st.booleans(),
    optimizer=st.sampled_from(["sgd", "adam"]),
    normalize=st.sampled_from(["channel", None, (0.5, 0.25)]),
    as_map=st.booleans(),
)
def test_any_fit_is_that_of_the_whole_network(
    tmp_path_factory, network, seed, weighted, as_map, **settings
):
    module, options, layer = network
    options = {**options, **settings, "random_state": seed, "max_epochs": 2}
    given = X
    if as_map:
        np.save(path := tmp_path_factory.mktemp("map") / "X.npy", X)
        given = np.load(path, mmap_mode="r")
    weight = RNG.random(len(X)) if weighted else None
    net = ImageClassifier(module, dtype="float64", **options)
    whole = clone(net).set_params(feature_cache=False).fit(given, Y, weight)
    net.set_params(feature_cache=tmp_path_factory.mktemp("features"))
    for _ in range(2):  # The second takes all from files.
        assert net.fit(given, Y, weight).feature_layer_ == layer
        assert_same_fits(net, whole, 1e-9)


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
@pytest.mark.parametrize("normalize", [(0.5, 0.25), "channel"])
def test_searches_are_those_of_the_whole_network(tmp_path, search, normalize):
    options = {**UNIT, "normalize": normalize, "dtype": "float64", "max_epochs": 3}
    net = ImageClassifier(Branched, freeze="backbone", module__head=Head, **options)
    grid = {"lr": [1e-3, 1e-2], "module__dropout": [0.0, 0.5]}
    whole = net.set_params(feature_cache=False)
    expected = GridSearchCV(whole, grid, cv=3, scoring="neg_log_loss").fit(X, Y)
    net.set_params(feature_cache=tmp_path if search is GridSearchCV else None)
    stacks = {"calibrate": False} if search is StackedGridSearchCV else {}
    found = search(net, grid, cv=3, scoring="neg_log_loss", **stacks).fit(X, Y)
    for i in range(3):
        key = f"split{i}_test_score"
        assert_allclose(found.cv_results_[key], expected.cv_results_[key], atol=1e-9)
    assert found.best_estimator_.feature_layer_ in ("fc", "fc.last")
    assert found.best_estimator_.feature_cache == net.feature_cache
    assert_same_fits(found.best_estimator_, expected.best_estimator_, 1e-9)


def test_each_image_goes_through_once_in_a_search(tmp_path):
    rows = []
    net = Branched(3)
    net.second.register_forward_hook(lambda layer, args, out: rows.append(len(out)))
    estimator = ImageClassifier(net, freeze="backbone", max_epochs=4, **UNIT)
    grid = {"lr": [1e-3, 1e-2, 1e-1]}
    # A few go through to see that networks fit: two of a fold, and one of its images.
    tried = 20

    def n_images(fit):
        rows.clear()
        fit()
        return sum(rows) - 40

    def search(kind, **parameters):
        net = clone(estimator).set_params(**parameters)
        return lambda: kind(net, grid, cv=4).fit(X, Y)

    stacked = n_images(search(StackedGridSearchCV))
    assert 0 <= stacked <= 13 * tried
    cached = n_images(search(GridSearchCV, feature_cache=tmp_path))
    assert 0 <= cached <= 13 * tried
    # All of it is there now, for other processes as well.
    scores = partial(cross_val_score, cv=4)
    estimator.set_params(feature_cache=tmp_path)
    assert n_images(lambda: scores(estimator, X, Y)) < 4 * tried - 40
    assert n_images(lambda: stacked_cross_validate(estimator, X, Y, cv=4)) < 4 * tried
    # Where statistics are learned, those of folds differ.
    per_fold = n_images(search(StackedGridSearchCV, normalize="channel"))
    assert 4 * 40 <= per_fold <= 4 * 40 + 13 * tried


def test_a_fit_takes_one_pass():
    rows = []
    net = Branched(3)
    net.second.register_forward_hook(lambda layer, args, out: rows.append(len(out)))
    ImageClassifier(net, freeze="backbone", max_epochs=10, **UNIT).fit(X, Y)
    assert 40 <= sum(rows) <= 1.3 * 40


@pytest.mark.parametrize(
    "module",
    [AfterHead, Beside, Noisy, Dropping, OfTheBatch, OfIntegers, OtherInTraining],
)
def test_what_cannot_be_divided_runs_as_a_whole(module):
    options = {"freeze": "backbone", "max_epochs": 2, **UNIT}
    net = ImageClassifier(module, **options).fit(X, Y)
    whole = ImageClassifier(module, feature_cache=False, **options).fit(X, Y)
    assert net.feature_layer_ is None
    assert_same_fits(net, whole, 0)


class OwnStep(ImageClassifier):
    def get_loss(self, y_pred, y_true, X=None, training=False):
        assert X.shape[1:] == (1, 8, 8)
        return super().get_loss(y_pred, y_true, X=X, training=training)


class Looking(Callback):
    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        assert batch[0].shape[1:] == (1, 8, 8)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ImageClassifier, {"augment": lambda images: images.flip(-1)}),
        (ImageClassifier, {"callbacks": [Looking()]}),
        (ImageClassifier, {"iterator_train": torch.utils.data.DataLoader}),
        (ImageClassifier, {"max_epochs": 1}),
        (ImageClassifier, {"freeze": None}),
        (ImageClassifier, {"unfreeze_at": 2}),
        (OwnStep, {}),
    ],
)
@pytest.mark.filterwarnings("ignore:augment")
def test_who_looks_at_images_gets_them(kind, options):
    options = {"freeze": "backbone", "max_epochs": 3, **UNIT, **options}
    assert kind(Branched, **options).fit(X, Y).feature_layer_ is None


class Once(Callback):
    """Changes what is frozen, as no library's callback does."""

    def __init__(self, change):
        self.change = change

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            with torch.no_grad():
                self.change(net.module_)


CHANGES = [
    lambda network: network.first.weight.mul_(2),
    lambda network: network.first.weight.data.mul_(-1),
    lambda network: network.norm.running_mean.add_(1),
    lambda network: setattr(network.norm, "eps", 1.0),
    lambda network: setattr(network, "second", nn.Conv2d(4, 4, 1, dtype=torch.float64)),
]


@pytest.mark.parametrize(
    "options",
    [
        {"unfreeze_at": 4},
        {"callbacks": [("unfreezer", Unfreezer("first.*", at=3))]},
        *({"callbacks": [Once(change)]} for change in CHANGES[:4]),
        {"epoch_scoring": ["accuracy"], "early_stopping": True},
        {"callbacks": [EpochScoring("accuracy", on_train=True)]},
        {"pretrained_lr_mult": 0.1, "class_weight": "balanced"},
    ],
)
def test_what_happens_between_epochs(options):
    options = {"freeze": "backbone", "max_epochs": 5, **UNIT, **options}
    net = ImageClassifier(Branched, dtype="float64", **options).fit(X, Y)
    assert net.feature_layer_ == "fc"
    options["feature_cache"] = False
    whole = ImageClassifier(Branched, dtype="float64", **options).fit(X, Y)
    assert_same_fits(net, whole, 1e-9)
    assert list(net.history[-1]) == list(whole.history[-1])


def test_training_goes_on(tmp_path):
    options = {"freeze": "backbone", "max_epochs": 2, "dtype": "float64", **UNIT}
    net = ImageClassifier(Branched, **options).fit(X, Y)
    whole = ImageClassifier(Branched, feature_cache=False, **options).fit(X, Y)
    net.save(tmp_path / "net.skv")
    loaded = skvision.load(tmp_path / "net.skv", module=Branched)
    assert loaded.feature_layer_ == "fc"
    for other in (net, whole, loaded):
        other.partial_fit(X, Y)
    assert net.feature_layer_ == loaded.feature_layer_ == "fc"
    for other in (net, whole, loaded):
        other.set_params(freeze=None, lr=1e-2).partial_fit(X, Y)
        assert other.feature_layer_ is None
    assert_same_fits(net, whole, 1e-9)
    assert_same_fits(loaded, whole, 1e-9)


@pytest.mark.parametrize("options", [{}, {"augment": FLIP, "n_views": 2}])
def test_checkpoints_go_on_bit_by_bit(monkeypatch, tmp_path, options):
    options = {"freeze": "backbone", "max_epochs": 4, **UNIT, **options}
    whole = ImageClassifier(Branched, **options).fit(X, Y)
    net = ImageClassifier(Branched, checkpoint=tmp_path, checkpoint_steps=1, **options)
    step, calls = torch.optim.Adam.step, []

    def failing(self, closure=None):
        calls.append(1)
        if len(calls) == 5:  # In the second epoch of three steps each.
            raise RuntimeError("killed")
        return step(self, closure)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", failing)
        with pytest.raises(RuntimeError, match="killed"):
            clone(net).fit(X, Y)
    assert net.fit(X, Y).feature_layer_ == "fc"
    assert_same_fits(net, whole, 0)
    assert len(net.history) == 4


def test_regression(tmp_path):
    y = X.mean((1, 2)) / 64
    options = {"freeze": "backbone", "max_epochs": 4, "dtype": "float64", **UNIT}
    net = ImageRegressor(Branched, feature_cache=tmp_path, **options).fit(X, y)
    whole = ImageRegressor(Branched, feature_cache=False, **options).fit(X, y)
    assert net.feature_layer_ == "fc"
    assert_allclose(net.predict(X), whole.predict(X), atol=1e-9)


def test_networks_and_images_that_differ_share_nothing(tmp_path):
    options = {"freeze": "backbone", "max_epochs": 2, "dtype": "float64"}
    net = ImageClassifier(layers, feature_cache=tmp_path, **options)
    for changes in (
        {"random_state": 0},
        {"module__n_hidden": 9},
        {"module__n_layers": 3},
        {"normalize": (0.25, 0.5)},
        {"normalize": None},
        {"dtype": "float32"},
    ):
        other = clone(net).set_params(**{**UNIT, **changes})
        whole = clone(other).set_params(feature_cache=False).fit(X, Y)
        assert_same_fits(other.fit(X, Y), whole, 1e-6)
    # Floats and integers of equal values, and images that are there twice.
    other = clone(net).set_params(**UNIT).fit(X, Y)
    floats = X.astype(np.float32) / 255
    twice = np.concatenate([floats[:3], floats[:3]])
    assert_allclose(other.predict_proba(floats), other.predict_proba(X), atol=1e-6)
    assert_array_equal(*np.split(other.predict_proba(twice), 2))


def test_files(tmp_path):
    for i, (image, label) in enumerate(zip(X, Y, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{i:02}_{label}.png")
    paths = sorted(tmp_path.glob("*.png"))
    contents = [path.read_bytes() for path in paths]
    options = {"freeze": "backbone", "max_epochs": 2, **UNIT}
    cached = ImageClassifier(Branched, feature_cache=tmp_path / "cache", **options)
    whole = ImageClassifier(Branched, feature_cache=False, **options).fit(paths, Y)
    for images in (paths, paths, contents):
        assert_same_fits(cached.fit(images, Y), whole, 1e-6)
    before = cached.predict_proba(paths)
    Image.fromarray(X[1]).save(paths[0])  # A file that changes is another image.
    after = cached.predict_proba(paths)
    assert_allclose(after[0], before[1], atol=1e-6)
    assert_array_equal(after[1:], before[1:])
    cross_val_predict(cached, np.array(paths), Y, cv=2)


@pytest.mark.parametrize("change", CHANGES)
def test_predictions_know_what_has_changed(tmp_path, change):
    options = {"freeze": "backbone", "max_epochs": 2, "dtype": "float64", **UNIT}
    net = ImageClassifier(Branched, feature_cache=tmp_path, **options).fit(X, Y)
    before = net.predict_proba(X)
    with torch.no_grad():
        change(net.module_)
    after = net.predict_proba(X)
    assert np.abs(after - before).max() > 1e-4
    assert_allclose(after, net.set_params(feature_cache=False).predict_proba(X))


def test_damaged_files_are_left_out(tmp_path):
    options = {"freeze": "backbone", "max_epochs": 2, **UNIT}
    net = ImageClassifier(Branched, feature_cache=tmp_path, **options).fit(X, Y)
    expected = weights_of(net)
    (path,) = tmp_path.glob("*/*.features")
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"0", whole[:200], b"", b"\x80\x04N.", whole):
        path.write_bytes(content)
        if content != whole:
            with pytest.warns(UserWarning, match="feature_cache.*damaged"):
                net.fit(X, Y)
        for name, value in weights_of(net).items():
            assert_array_equal(value, expected[name])
        for other in {*tmp_path.glob("*/*.features")} - {path}:
            other.unlink()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    options = {"freeze": "backbone", "max_epochs": 2, **UNIT}
    net = ImageClassifier(Branched, feature_cache=tmp_path / "file", **options)
    with pytest.warns(UserWarning, match="could not be kept"):
        net.fit(X, Y)
    assert_same_fits(net, ImageClassifier(Branched, **options).fit(X, Y), 0)


def test_the_encoder_of_a_vision_transformer_is_not_its_backbone():
    def transformer(n_outputs):
        from torchvision.models import VisionTransformer

        sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
        return VisionTransformer(8, 4, **sizes, num_classes=n_outputs)

    colours = np.stack([X, X // 2, X // 4], axis=-1)
    net = ImageClassifier(transformer, freeze="backbone", max_epochs=2, **UNIT)
    net.fit(colours, Y)
    trained = {n for n, p in net.module_.named_parameters() if p.requires_grad}
    assert trained == {"heads.head.weight", "heads.head.bias"}
    assert net.feature_layer_ == "heads.head"
    assert net.transform(colours).shape == (40, 8)


def test_views_are_drawn_once(tmp_path):
    rows = []
    net = Branched(3)
    net.second.register_forward_hook(lambda layer, args, out: rows.append(len(out)))
    options = {"freeze": "backbone", "augment": FLIP, **UNIT, "max_epochs": 12}
    views = ImageClassifier(net, n_views=3, early_stopping=True, **options)
    views.fit(X, Y)
    # Validation rows go through once, as they are.
    assert 3 * 36 + 4 <= sum(rows) <= 3 * 36 + 4 + 20
    assert views.feature_layer_ == "fc"
    again = clone(views).fit(X, Y)
    assert_same_fits(again, views, 0)
    # With one view, each epoch sees the same images; with more it does not.
    one = ImageClassifier(net, n_views=1, **options).fit(X, Y)
    assert_same_fits(ImageClassifier(net, n_views=1, **options).fit(X, Y), one, 0)
    assert not np.array_equal(one.predict_proba(X), views.predict_proba(X))
    # They stand for new ones in each epoch.
    new = ImageClassifier(net, **options).fit(X, Y)
    assert new.feature_layer_ is None
    assert_allclose(views.predict_proba(X), new.predict_proba(X), atol=0.1)
    search = StackedGridSearchCV(views, {"lr": [1e-3, 1e-2]}, cv=2, calibrate=False)
    expected = GridSearchCV(views, {"lr": [1e-3, 1e-2]}, cv=2).fit(X, Y)
    key = "mean_test_score"
    assert_allclose(search.fit(X, Y).cv_results_[key], expected.cv_results_[key])


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"freeze": "backbone"}, "augment"), ({"augment": nn.Identity()}, "freeze")],
)
@pytest.mark.filterwarnings("ignore:augment")
def test_views_of_what_does_not_change(options, reason):
    net = ImageClassifier(Branched, n_views=2, max_epochs=2, **UNIT, **options)
    with pytest.warns(UserWarning, match=f"n_views=2 has no effect.*{reason}"):
        net.fit(X, Y)
