"""Equal seeds give equal networks, and copies go on as the original would."""

import copy
import io
import pickle
import random
import warnings

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.model_selection import cross_validate
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader, Dataset

from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {
    "module": "mlp",
    "module__hidden": (16,),
    "max_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
}
DROPOUT = SMALL | {"module__dropout": 0.5}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Linear(nn.Module):
    """A network that can be pickled, since it is found by its name."""

    def __init__(self, n_columns=3):
        super().__init__()
        self.linear = nn.Linear(64, n_columns)

    def forward(self, X):
        return self.linear(X.flatten(1))


class Augmenting(Dataset):
    """Images that are changed by one kind of random numbers whenever they are read."""

    def __init__(self, X, y, source="torch"):
        self.X = torch.as_tensor(X, dtype=torch.float32)
        self.y = y
        self.source = source

    def __len__(self):
        return len(self.X)

    def noise(self):
        if self.source == "torch":
            return torch.rand(1, 8, 8)
        if self.source == "numpy":
            return torch.as_tensor(np.random.rand(1, 8, 8), dtype=torch.float32)
        return torch.full((1, 8, 8), random.random())

    def __getitem__(self, i):
        return self.X[i][None] + self.noise(), int(self.y[i])


def make_images(n=40, n_classes=3, seed=0):
    """Return images whose brightest row tells their class."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.random((n, 8, 8))
    X[np.arange(n), y] += 1
    return X, y


@pytest.fixture(scope="module")
def data():
    return make_images()


def weights(estimator):
    state = estimator.module_.state_dict()
    return {name: value.numpy().copy() for name, value in state.items()}


def same(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def losses(estimator):
    return [
        [batch["train_loss"] for batch in epoch["batches"] if "train_loss" in batch]
        for epoch in estimator.history
    ]


def disturb(seed):
    """Do what others may do with the global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.rand(seed % 5)


def global_state():
    kind, keys, *rest = np.random.get_state()
    return (
        random.getstate(),
        (kind, keys.tolist(), *rest),
        torch.get_rng_state().tolist(),
    )


CONFIGURATIONS = {
    "mlp": SMALL,
    "dropout": DROPOUT,
    "convnet": SMALL | {"module": "convnet", "module__hidden": (8,)},
    "early stopping": SMALL | {"early_stopping": True},
    "split": SMALL | {"train_split": ValidSplit(4)},
    "loader": SMALL | {"iterator_train": DataLoader, "iterator_train__shuffle": True},
    "instance": SMALL | {"module": Linear()},
    "scoring": DROPOUT | {"epoch_scoring": "neg_log_loss"},
}
del CONFIGURATIONS["instance"]["module__hidden"]


@pytest.fixture(params=CONFIGURATIONS)
def options(request):
    return CONFIGURATIONS[request.param]


# ----------------------------------------------------------------- equal networks


def test_equal_seeds_give_equal_networks(data, options):
    X, y = data
    disturb(1)
    first = ImageClassifier(**options).fit(X, y)
    disturb(2)
    second = ImageClassifier(**options)
    # Whatever was fitted before, with the same estimator or another.
    ImageClassifier(**DROPOUT | {"random_state": 5}).fit(X, y)
    second.fit(X[:20], y[:20])
    second.fit(X, y)
    assert same(first, second)
    assert losses(first) == losses(second)
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    disturbances=st.lists(st.integers(0, 1000), min_size=2, max_size=2),
    dropout=st.sampled_from([0.0, 0.3]),
)
def test_equal_seeds_after_any_disturbance(seed, disturbances, dropout):
    X, y = make_images(24)
    fitted = []
    for disturbance in disturbances:
        disturb(disturbance)
        estimator = ImageClassifier(
            **SMALL | {"random_state": seed, "module__dropout": dropout}
        )
        fitted.append(estimator.fit(X, y))
        before = weights(estimator)
        estimator.predict(X)
        assert all(np.array_equal(before[k], v) for k, v in weights(estimator).items())
    assert same(*fitted)


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
@pytest.mark.parametrize("form", ["dataset", "sequence", "loader"])
@pytest.mark.parametrize("normalize", ["channel", None])
def test_data_sets_with_random_transforms(data, source, form, normalize):
    X, y = data
    fitted = []
    for disturbance in (1, 2):
        disturb(disturbance)
        dataset = Augmenting(X, y, source)
        arguments = as_Xy(dataset) if form == "sequence" else (dataset,)
        disturb(disturbance + 2)
        estimator = ImageClassifier(**DROPOUT, normalize=normalize)
        if form == "loader":
            estimator.set_params(iterator_train=DataLoader)
        fitted.append(estimator.fit(*arguments))
    assert losses(fitted[0]) == losses(fitted[1])
    assert same(*fitted)


def test_random_transforms_differ_between_epochs(data):
    class Look(Callback):
        def initialize(self):
            self.means = []
            return self

        def on_batch_begin(self, net, batch=None, **kwargs):
            self.means.append(float(batch[0].mean()))

    X, y = data
    estimator = ImageClassifier(
        **SMALL | {"batch_size": -1}, callbacks=[Look], iterator_train__shuffle=False
    ).fit(Augmenting(X, y))
    first, second = dict(estimator.callbacks_)["Look"].means
    assert first != second


def test_different_seeds_give_different_networks(data):
    X, y = data
    first, second = (
        ImageClassifier(**SMALL | {"random_state": seed}).fit(X, y) for seed in (0, 1)
    )
    assert not same(first, second)
    unseeded = [ImageClassifier(**SMALL | {"random_state": None}) for _ in range(2)]
    np.random.seed(0)
    unseeded[0].fit(X, y)
    np.random.seed(0)
    unseeded[1].fit(X, y)
    assert not same(*unseeded)


def test_dropout_differs_from_batch_to_batch(data):
    class Look(Callback):
        def initialize(self):
            self.outputs = []
            return self

        def on_batch_end(self, net, training=False, **kwargs):
            self.outputs.append(kwargs["y_pred"].numpy().copy())

    X, y = data
    estimator = ImageClassifier(
        **DROPOUT | {"lr": 0.0, "batch_size": -1},
        iterator_train__shuffle=False,
        callbacks=[Look],
    ).fit(X, y)
    first, second = dict(estimator.callbacks_)["Look"].outputs
    assert not np.array_equal(first, second)
    # In prediction there is none.
    assert_array_equal(estimator.predict_proba(X), estimator.predict_proba(X))


def test_random_state_instances(data):
    X, y = data
    by_int = ImageClassifier(**SMALL).fit(X, y)
    by_instance = ImageClassifier(**SMALL | {"random_state": np.random.RandomState(0)})
    assert same(by_instance.fit(X, y), by_int)
    # As everywhere in scikit-learn, an instance gives other numbers each time.
    first = weights(by_instance)
    by_instance.fit(X, y)
    assert not np.array_equal(weights(by_instance)["head.weight"], first["head.weight"])
    shared = np.random.RandomState(0)
    again = [ImageClassifier(**SMALL | {"random_state": shared}) for _ in range(2)]
    assert same(again[0].fit(X, y), by_int)
    assert same(again[1].fit(X, y), by_instance)


# ------------------------------------------------------------------ global generators


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("random_state", [0, None])
def test_global_generators_are_left_alone(data, options, estimator, random_state):
    X, y = data
    options = {**options, "random_state": random_state}
    if estimator is ImageRegressor:
        if "epoch_scoring" in options:
            options["epoch_scoring"] = "r2"
        if isinstance(options["module"], nn.Module):
            options["module"] = Linear(1)
    disturb(3)
    before = global_state()
    fitted = estimator(**options)
    for action in (
        lambda: fitted.fit(X, y),
        lambda: fitted.partial_fit(X, y),
        lambda: fitted.predict(X),
        lambda: fitted.score(X, y),
        lambda: fitted.fit(X, y, sample_weight=np.ones(len(y))),
        lambda: clone(fitted),
        lambda: pickle.loads(pickle.dumps(fitted)),
    ):
        action()
        assert global_state() == before
    if estimator is ImageClassifier:
        fitted.predict_proba(X)
        assert global_state() == before


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_global_generators_and_random_transforms(data, source):
    X, y = data
    dataset = Augmenting(X, y, source)
    disturb(3)
    before = global_state()
    estimator = ImageClassifier(**SMALL)
    for action in (
        lambda: estimator.fit(dataset),
        lambda: estimator.partial_fit(dataset),
        lambda: estimator.predict(dataset),
        lambda: estimator.score(dataset),
    ):
        action()
        assert global_state() == before


def test_global_generators_after_an_error(data):
    class Failing(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("enough")

    disturb(3)
    before = global_state()
    with pytest.raises(RuntimeError, match="enough"):
        ImageClassifier(**DROPOUT, callbacks=[Failing]).fit(*data)
    assert global_state() == before
    with pytest.raises(ValueError, match="module__hidden"):
        ImageClassifier("mlp", module__hiden=(3,)).fit(*data)
    assert global_state() == before


def test_initial_weights_of_instances_do_not_move_the_generators(data):
    disturb(3)
    before = global_state()
    ImageClassifier(
        **SMALL, image_shape=(1, 8, 8), module__n_outputs=3, normalize=None
    ).initialize()
    assert global_state() == before


# ------------------------------------------------------------------ copies and pickles


def through_joblib(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


COPIES = {
    "pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "joblib": through_joblib,
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.fixture(params=COPIES)
def copied(request):
    return COPIES[request.param]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_copies_of_unfitted_estimators(data, estimator, copied):
    original = estimator(
        **SMALL,
        optimizer__weight_decay=0.1,
        callbacks=[("rate", LRScheduler)],
        callbacks__rate__policy="StepLR",
        callbacks__rate__step_size=1,
        epoch_scoring=["r2"],
    )
    duplicate = copied(original)
    assert type(duplicate) is estimator
    assert repr(duplicate) == repr(original)
    assert duplicate.get_params().keys() == original.get_params().keys()
    assert same(duplicate.fit(*data), original.fit(*data))


def test_copies_of_fitted_estimators(data, options, copied):
    X, y = data
    names = np.array(["a", "b", "c"])[y]
    original = ImageClassifier(**options).fit(X, names)
    duplicate = copied(original)
    assert_array_equal(duplicate.predict_proba(X), original.predict_proba(X))
    assert_array_equal(duplicate.predict(X), original.predict(X))
    assert duplicate.history == original.history
    assert losses(duplicate) == losses(original)
    assert duplicate.get_params().keys() == original.get_params().keys()
    for name in ("classes_", "image_shape_", "n_features_in_", "n_outputs_"):
        assert_array_equal(getattr(duplicate, name), getattr(original, name))
    assert duplicate.history.to_list() == original.history.to_list()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kind", ["pickle", "joblib", "deepcopy"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_copies_go_on_as_the_original_would(data, estimator, kind, optimizer):
    X, y = data
    options = DROPOUT | {"optimizer": optimizer, "epoch_scoring": ["r2"]}
    if optimizer == "sgd":
        options["optimizer__momentum"] = 0.9
    callbacks = [LRScheduler("StepLR", step_size=1, gamma=0.9)]
    uninterrupted = estimator(**options, callbacks=callbacks)
    uninterrupted.partial_fit(X, y).partial_fit(X, y).partial_fit(X, y)
    original = estimator(**options, callbacks=callbacks).partial_fit(X, y)
    disturb(4)
    duplicate = COPIES[kind](original)
    before = weights(original)
    duplicate.partial_fit(X, y)
    # The original is not touched by what the copy does.
    assert_array_equal(weights(original)["head.weight"], before["head.weight"])
    assert len(original.history) == 2
    duplicate = COPIES[kind](duplicate).partial_fit(X, y)
    assert same(duplicate, uninterrupted)
    assert losses(duplicate) == losses(uninterrupted)
    assert_array_equal(duplicate.predict(X), uninterrupted.predict(X))
    original.partial_fit(X, y).partial_fit(X, y)
    assert same(original, uninterrupted)


@pytest.mark.parametrize("kind", ["pickle", "joblib", "deepcopy"])
def test_the_optimizer_of_a_copy_points_to_its_weights(data, kind):
    duplicate = COPIES[kind](ImageClassifier(**SMALL).fit(*data))
    held = [p for group in duplicate.optimizer_.param_groups for p in group["params"]]
    own = list(duplicate.module_.parameters())
    assert [id(p) for p in held] == [id(p) for p in own]
    assert set(duplicate.optimizer_.state) == set(own)


def test_copies_of_module_instances(data, copied):
    X, y = data
    instance = Linear()
    original = ImageClassifier(instance, max_epochs=2, random_state=0).fit(X, y)
    duplicate = copied(original)
    assert_array_equal(duplicate.predict_proba(X), original.predict_proba(X))
    assert torch.equal(duplicate.module.linear.weight, instance.linear.weight)
    # The instance's weights are still those with which a fit begins.
    assert same(duplicate.fit(X, y), original)


def test_pickles_of_earlier_fits_do_not_change(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    stored, shallow = pickle.dumps(estimator), copy.copy(estimator)
    proba = estimator.predict_proba(X)
    estimator.set_params(random_state=1, module__hidden=(4,)).fit(X, y)
    assert_array_equal(pickle.loads(stored).predict_proba(X), proba)
    assert_array_equal(shallow.predict_proba(X), proba)
    assert len(shallow.history) == 2


def test_size_of_a_pickle(data):
    # No batches, gradients or data go with it.
    X, y = make_images(2000)
    small = ImageClassifier(**SMALL | {"batch_size": 100}, epoch_scoring="accuracy")
    size = len(pickle.dumps(small.fit(X, y)))
    assert size < 100_000 < X.nbytes


def test_other_versions_of_scikit_learn(data):
    estimator = ImageClassifier(**SMALL).fit(*data)
    state = estimator.__getstate__()
    assert state["_sklearn_version"]
    state["_sklearn_version"] = "0.1"
    duplicate = ImageClassifier.__new__(ImageClassifier)
    with pytest.warns(InconsistentVersionWarning, match="0.1"):
        duplicate.__setstate__(state)
    assert "_sklearn_version" not in vars(duplicate)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(estimator))


# --------------------------------------------------------------------------- devices


def storages(value):
    """Return all tensors within a state."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, nn.Module):
        return [*value.parameters(), *value.buffers()]
    if isinstance(value, torch.optim.Optimizer):
        return storages(list(value.state.values())) + storages(value.param_groups)
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in storages(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in storages(item)]
    return []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_pickle_from_a_gpu_loads_without_one(data, device):
    X, y = data
    options = DROPOUT | {"optimizer": "adam"}
    expected = ImageClassifier(**options).fit(X, y)
    estimator = ImageClassifier(**options).fit(X, y)
    # As after a fit on a GPU, except that the tensors are here already.
    estimator.device_ = torch.device("cuda", 0)
    estimator.device = device
    stored = pickle.dumps(estimator)
    assert estimator.device_ == torch.device("cuda", 0)
    assert same(estimator, expected)
    duplicate = pickle.loads(stored)
    assert duplicate.device_ == torch.device("cpu")
    assert duplicate.device == device
    assert_array_equal(duplicate.predict_proba(X), expected.predict_proba(X))
    held = [p for group in duplicate.optimizer_.param_groups for p in group["params"]]
    assert [id(p) for p in held] == [id(p) for p in duplicate.module_.parameters()]
    assert same(duplicate.partial_fit(X, y), expected.partial_fit(X, y))


def test_state_of_a_fitted_estimator_is_on_the_cpu(data):
    estimator = ImageClassifier(**SMALL, epoch_scoring="accuracy").fit(*data)
    tensors = storages(estimator.__getstate__())
    assert len(tensors) > 8
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


# ------------------------------------------------------------------ several processes


def test_scores_of_several_processes(data):
    X, y = data
    estimator = ImageClassifier(
        **DROPOUT | {"max_epochs": 5},
        callbacks=[EpochScoring("accuracy", on_train=True)],
    )
    scoring = ["neg_log_loss", "accuracy"]
    alone = cross_validate(estimator, X, y, cv=3, scoring=scoring, n_jobs=1)
    disturb(5)
    together = cross_validate(estimator, X, y, cv=3, scoring=scoring, n_jobs=2)
    assert_allclose(together["test_neg_log_loss"], alone["test_neg_log_loss"])
    assert_array_equal(together["test_accuracy"], alone["test_accuracy"])
