"""Threads that predict at once on one estimator get what one after the other gets."""

import contextlib
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from skvision_tests import Steps, run_threads
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision._random import isolated_random_state
from skvision.datasets import _cache, as_Xy
from skvision.estimators._run import TrainingRun
from skvision.model_selection import StackedGridSearchCV
from skvision.preprocessing import RandomShift

N_THREADS = 8
#: Of rows; with more than one batch, and with parts of one.
SIZES = [2, 5, 17, 40, 128, 129, 300, 700]
CLASSIFIER = ("predict_proba", "predict", "score", "transform")
AUTOENCODER = ("transform", "reconstruct", "score", "score_samples")


def at_once(functions):
    """Call functions in threads that begin together; return what they return."""
    barrier = threading.Barrier(len(functions))

    def call(function):
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


def answers(net, X, y, methods):
    return [
        getattr(net, name)(*((X, y) if name == "score" else (X,))) for name in methods
    ]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert np.array_equal(one, other)


def as_given(X):
    return X


def as_rows(X):
    return X.reshape(len(X), -1) / 16


CONVNET = {"module__channels": (4, 8), "module__dropout": 0.5, "module__hidden": (9,)}
CASES = {
    "images": (ImageClassifier("convnet", **CONVNET), as_given, CLASSIFIER),
    "rows": (ImageClassifier("mlp", module__dropout=0.5), as_rows, CLASSIFIER),
    "list": (ImageClassifier("mlp", module__batch_norm=True), list, CLASSIFIER),
    "amp": (ImageClassifier("mlp", amp=True), as_given, CLASSIFIER),
    "regressor": (
        ImageRegressor("convnet", **CONVNET, dtype="float64"),
        as_given,
        ("predict", "score"),
    ),
    "autoencoder": (
        ImageAutoencoder(module__channels=(4,), module__conv_dropout=0.3),
        as_given,
        AUTOENCODER,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_answers(case, images):
    estimator, form, methods = CASES[case]
    X, y = images
    estimator.set_params(max_epochs=1, random_state=0, device="cpu")
    fitted = pickle.dumps(estimator.fit(form(X), y))
    parts = [(form(X[:n]), y[:n]) for n in SIZES]
    alone = pickle.loads(fitted)
    expected = [answers(alone, *part, methods) for part in parts]
    for _ in range(2):
        net = pickle.loads(fitted)
        # So that the threads are the ones to turn dropout off.
        assert not net.module_.training
        found = at_once([partial(answers, net, *part, methods) for part in parts])
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    X, y = images[0][:400], images[1][:400]
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        path = folder / str(label) / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def read(folder, transform):
    steps = [v2.Grayscale(), *transform, v2.ToImage()]
    to_float = v2.ToDtype(torch.float32, scale=True)
    return ImageFolder(folder, v2.Compose([*steps, to_float]))


@pytest.mark.parametrize("form", ["paths", "data set", "sequence"])
def test_same_answers_from_files(form, files):
    data = read(files, [])
    X, y = as_Xy(data)
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(X, y)
    rows = [np.arange(i, 8 * (i + 5), 8) for i in range(N_THREADS)]
    paths = np.array([path for path, _ in data.samples])
    parts = {
        "paths": [list(paths[part]) for part in rows],
        "data set": [torch.utils.data.Subset(data, part.tolist()) for part in rows],
        "sequence": [X[part] for part in rows],
    }[form]
    expected = [net.predict_proba(part) for part in parts]
    for _ in range(2):
        found = at_once([partial(net.predict_proba, part) for part in parts])
        assert_same(found, expected)


def test_same_answers_from_a_sequence_that_nobody_has_read(files):
    X, y = as_Xy(read(files, []))
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(X, y)
    expected = net.predict_proba(X[:150])
    for _ in range(2):
        new, _ = as_Xy(read(files, []))
        found = at_once([partial(net.predict_proba, new[:150])] * N_THREADS)
        assert_same(found, [expected] * N_THREADS)


def test_generators_are_left_alone(images):
    X, y = images
    net = ImageClassifier("mlp", max_epochs=1, random_state=0).fit(X, y)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    at_once([partial(net.predict, X[:50])] * N_THREADS)
    assert np.array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


def test_a_cache_that_two_threads_open(monkeypatch):
    cache, steps = _cache.PixelCache((10, 1, 2, 2), np.uint8), Steps()
    reserve = _cache._reserve

    def name():
        return threading.current_thread().name

    def slowly(file, nbytes):
        if name() == "second":
            steps.reach("second opens")
            steps.wait_for("first is half-way")
        else:
            steps.wait_for("second opens")
        reserve(file, nbytes)

    def image(row):
        if (name(), row) == ("first", 5):
            steps.reach("first is half-way")
            steps.wait_for("second has opened")
        if (name(), row) == ("second", 0):
            steps.reach("second has opened")
            steps.wait_for("first is done")
        return torch.full((1, 2, 2), row + 1, dtype=torch.uint8)

    found = {}

    def take():
        images = cache.take(np.arange(10), lambda rows: map(image, rows))
        found[name()] = images[:, 0, 0, 0].tolist()
        steps.reach(f"{name()} is done")

    monkeypatch.setattr(_cache, "_reserve", slowly)
    run_threads(first=take, second=take)
    assert found == {"first": [*range(1, 11)], "second": [*range(1, 11)]}


class SlowToChange(nn.Dropout):
    """Dropout that another thread can find as it was for training."""

    steps = None

    def train(self, mode=True):
        if not mode and self.steps is not None:
            self.steps.reach("changing")
            self.steps.wait_for("the other has predicted", timeout=0.3)
        return super().train(mode)


def with_slow_dropout(image_shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 30), SlowToChange(0.5), nn.Linear(30, n_outputs)
    )


@pytest.mark.parametrize("method", ["predict_proba", "forward"])
def test_no_thread_predicts_while_another_turns_dropout_off(
    method, images, monkeypatch
):
    X, y = images
    net = ImageClassifier(with_slow_dropout, max_epochs=1, random_state=0)
    fitted = pickle.dumps(net.fit(X, y))
    expected = getattr(pickle.loads(fitted), method)(X[:20])
    net, steps, found = pickle.loads(fitted), Steps(), {}
    monkeypatch.setattr(SlowToChange, "steps", steps)

    def first():
        found["first"] = getattr(net, method)(X[:20])

    def second():
        steps.wait_for("changing")
        found["second"] = getattr(net, method)(X[:20])
        steps.reach("the other has predicted")

    run_threads(first=first, second=second)
    assert_same([found["first"], found["second"]], [expected, expected])


def generators():
    return np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("seeds", [(0, 1), (0, None), (None, 1), (None, None)])
def test_generators_are_left_as_found_where_threads_overlap(seeds):
    steps, before, found = Steps(), generators(), {}

    def section(name, seed):
        with isolated_random_state(torch.device("cpu"), seed):
            if seed is not None:
                found[name] = torch.rand(2).tolist()
            steps.reach(f"{name} is in")
            if name == "first":
                # Two that begin at seeds do not overlap.
                steps.wait_for("second is in", timeout=0.2)
            else:
                steps.wait_for("first is out")
            if seed is not None:
                found[name] += torch.rand(2).tolist()
        steps.reach(f"{name} is out")

    def second():
        steps.wait_for("first is in")
        section("second", seeds[1])

    run_threads(first=lambda: section("first", seeds[0]), second=second)
    after = generators()
    for name, seed in zip(("first", "second"), seeds, strict=True):
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            expected = torch.rand(2, generator=generator).tolist()
            expected += torch.rand(2, generator=generator).tolist()
            assert found[name] == expected
    assert after == before


class Meeting:
    """Where two fits wait for each other before they draw their weights."""

    barrier = None


def drawn_together(image_shape, n_outputs):
    if Meeting.barrier is not None:
        with contextlib.suppress(threading.BrokenBarrierError):
            Meeting.barrier.wait(0.5)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))


def test_fits_in_threads_are_those_of_one_after_the_other(images, monkeypatch):
    X, y = images
    nets = [
        ImageClassifier(drawn_together, max_epochs=1, random_state=i) for i in (0, 1)
    ]
    expected = [net.fit(X, y).predict_proba(X) for net in nets]
    monkeypatch.setattr(Meeting, "barrier", threading.Barrier(2))
    at_once([partial(net.fit, X, y) for net in nets])
    assert_same([net.predict_proba(X) for net in nets], expected)


def stacked_search(X, y, **params):
    """Return the scores of a search whose networks are trained as one."""
    small = {"module__channels": (4,), "max_epochs": 2, "dtype": "float64"}
    net = ImageClassifier("convnet", random_state=0, **small | params)
    options = {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    search = StackedGridSearchCV(
        net, {"lr": [0.01, 0.003]}, calibrate=False, **options
    ).fit(X, y)
    return search.cv_results_["mean_test_score"]


def meeting_at(method, monkeypatch, n_threads=2):
    """Let threads wait for each other, once each, where a method is called."""
    barrier, own = threading.Barrier(n_threads), method.__get__
    met = threading.local()

    def slowly(self, *args, **kwargs):
        if not getattr(met, "once", False):
            met.once = True
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait(0.3)
        return own(self)(*args, **kwargs)

    monkeypatch.setattr(TrainingRun, method.__name__, slowly)


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"module__conv_dropout": 0.3}, TrainingRun.next_batch),
        ({"augment": [RandomShift(2)]}, TrainingRun.end_epoch),
        (
            {"iterator_train": DataLoader, "iterator_train__shuffle": True},
            TrainingRun.next_batch,
        ),
    ],
    ids=["dropout", "shift", "DataLoader"],
)
def test_stacked_searches_in_threads(params, where, images, monkeypatch):
    X, y = (part[:90] for part in images)
    alone, before = stacked_search(X, y, **params), generators()
    net = ImageClassifier("convnet", **CONVNET, max_epochs=2, random_state=0)
    expected = net.fit(X, y).predict_proba(X)
    meeting_at(where, monkeypatch)
    searches = [partial(stacked_search, X, y, **params)] * 2
    *found, fitted = at_once([*searches, partial(net.fit, X, y)])
    for scores in found:
        assert np.array_equal(scores, alone)
    assert np.array_equal(fitted.predict_proba(X), expected)
    assert generators() == before


def test_stacks_of_one_search_in_threads(images):
    X, y = (part[:90] for part in images)
    net = ImageClassifier(
        "convnet", **CONVNET, max_epochs=2, random_state=0, dtype="float64"
    )
    options = {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    options |= {"calibrate": False, "max_stack": 2}
    grid = {"lr": [0.01, 0.003, 0.001, 0.03]}
    before, scores = generators(), []
    for backend in ("sequential", "threading"):
        with joblib.parallel_config(backend, n_jobs=2):
            search = StackedGridSearchCV(net, grid, **options).fit(X, y)
        scores.append(search.cv_results_["mean_test_score"])
    assert np.array_equal(*scores)
    assert generators() == before
