"""Searches on a cluster of real processes, and what is left when one of them dies."""

import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score

from skvision import ImageClassifier
from skvision.datasets import as_Xy
from skvision.model_selection import (
    StackedGridSearchCV,
    on_dask,
    stacked_cross_validate,
)

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
get_mp_context = pytest.importorskip("distributed.utils").get_mp_context

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    # Of Dask, about ports and other things of its own.
    "ignore::UserWarning:distributed",
)

GRID = {"lr": [1e-3, 1e-2], "module__hidden": [(16,), (32,)]}
N_TASKS = 12


@pytest.fixture(scope="module")
def client():
    # Workers are copies of one process that has imported what they need.
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        context = get_mp_context()
        context.set_forkserver_preload(["distributed", "skvision.model_selection"])
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        )
        with cluster, distributed.Client(cluster) as client:
            yield client


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """More than a megabyte of images, in memory and as a map."""
    rng = np.random.default_rng(0)
    y = np.arange(1600) % 4
    X = rng.integers(0, 255, size=(1600, 28, 28), dtype=np.uint8)
    X[np.arange(1600), y] = 255
    path = tmp_path_factory.mktemp("map") / "X.npy"
    np.save(path, X)
    return X, as_Xy(np.load(path, mmap_mode="r"), y)[0], y


def net(**params):
    defaults = {"module": "mlp", "max_epochs": 1, "random_state": 0}
    return ImageClassifier(**defaults | params)


def scores(search):
    results = search.cv_results_
    return [results[key].tolist() for key in sorted(results) if "test_score" in key]


def test_same_results_as_on_one_machine(client, data):
    X, mapped, y = data
    local = GridSearchCV(net(), GRID, cv=3).fit(X, y)
    cv = cross_val_score(net(), X, y, cv=3)
    with on_dask(client):
        for images in (X, mapped):
            search = GridSearchCV(net(), GRID, cv=3).fit(images, y)
            assert scores(search) == scores(local)
            assert search.best_params_ == local.best_params_
        assert cross_val_score(net(), mapped, y, cv=3).tolist() == cv.tolist()


def test_stacks(client, data):
    X, mapped, y = data
    conv = net(module="convnet", module__channels=(4,), batch_size=100, dtype="float64")
    grid = {"lr": [1e-3, 1e-2]}
    local = StackedGridSearchCV(conv, grid, cv=2, calibrate=False).fit(X, y)
    cv = stacked_cross_validate(conv, X, y, cv=2, calibrate=False)
    before = tasks(client)
    with on_dask(client):
        search = StackedGridSearchCV(conv, grid, cv=2, calibrate=False).fit(mapped, y)
        found = stacked_cross_validate(conv, mapped, y, cv=2, calibrate=False)
    np.testing.assert_allclose(scores(search), scores(local), atol=1e-6)
    np.testing.assert_allclose(found["test_score"], cv["test_score"], atol=1e-6)
    # A stack is a task, for each of two workers, and nothing else is.
    assert tasks(client) - before == 4


def tasks(client):
    """Return how many tasks of joblib the workers have ended."""
    logs = client.run(lambda dask_worker: [*map(str, dask_worker.state.stimulus_log)])
    words = ("ExecuteSuccess", "batch_of")
    return sum(all(w in line for w in words) for log in logs.values() for line in log)


def test_data_are_sent_once(client, data, monkeypatch):
    X, mapped, y = data
    sent = []

    def counting(kind):
        original = kind.__reduce_ex__

        def reduce(self, protocol):
            sent.append(self)
            return original(self, protocol)

        monkeypatch.setattr(kind, "__reduce_ex__", reduce, raising=False)

    in_memory = as_Xy(X, y)[0]
    counting(type(in_memory))
    with on_dask(client):
        GridSearchCV(net(), GRID, cv=3, refit=False).fit(in_memory, y)
    assert 1 <= sum(images is in_memory for images in sent) < N_TASKS / 2
    assert len(pickle.dumps(mapped)) < 1000


@pytest.mark.parametrize(
    "kind", ["memory", pytest.param("map", marks=pytest.mark.slow)]
)
def test_a_worker_is_killed(client, data, kind, tmp_path):
    X, mapped, y = data
    images = X if kind == "memory" else mapped
    slow = net(max_epochs=6, checkpoint=tmp_path / "there")
    local = GridSearchCV(net(max_epochs=6), GRID, cv=3, refit=False).fit(X, y)
    victims = client.run(os.getpid)

    def kill():
        # As soon as a third of the fits have begun.
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            folder = tmp_path / "there"
            if folder.exists() and len(list(folder.glob("*.checkpoint"))) >= 4:
                os.kill(next(iter(victims.values())), signal.SIGKILL)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    with on_dask(client):
        search = GridSearchCV(slow, GRID, cv=3, refit=False).fit(images, y)
    thread.join()
    assert scores(search) == scores(local)
    left = set(client.run(os.getpid).values())
    assert next(iter(victims.values())) not in left


def test_several_threads_in_a_worker():
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with (
        cluster,
        distributed.Client(cluster) as client,
        pytest.raises(ValueError, match="threads_per_worker=1"),
        on_dask(client),
    ):
        pass


def test_what_is_no_client():
    with pytest.raises(TypeError, match="'tcp://here'"), on_dask("tcp://here"):
        pass
