"""Searches in several processes, which are killed.

A script of its own; test_workers.py runs it. Prints a line of JSON.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV

N_IMAGES, EPOCHS = 60, 2
GRID = {"lr": [1e-4, 1e-3, 1e-2, 1e-1]}
#: So that workers are in the second of the fits that are theirs.
HALF_WAY = int(1.3 * N_IMAGES / 2 * EPOCHS)


def make_search(kind, folder):
    from blocking import Block

    from skvision import ImageClassifier
    from skvision.model_selection import StackedGridSearchCV

    net = ImageClassifier(
        "mlp",
        module__hidden=(8,),
        max_epochs=EPOCHS,
        batch_size=15,
        augment=Block(str(folder), os.getpid(), HALF_WAY),
        device="cpu",
        random_state=0,
    )
    if kind == "grid":
        return GridSearchCV(net, GRID, cv=2)
    return StackedGridSearchCV(net, GRID, cv=2, calibrate=False)


def data():
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, (N_IMAGES, 8, 8)).astype(np.uint8), rng.permutation(
        np.arange(N_IMAGES) % 3
    )


def scores(search):
    return search.cv_results_["mean_test_score"].tolist()


def survive(kind, how, folder):
    """Search alone, with a worker that is killed, and again.

    Again in workers, which take long to start, only where one has been killed by "die".
    """
    from processes import Watcher, descendants

    X, y = data()
    search = make_search(kind, folder)
    found = {"alone": scores(search.fit(X, y))}
    watcher = Watcher(folder if how == "wait" else None)
    watcher.start()
    (folder / how).touch()
    search.set_params(n_jobs=2)
    try:
        search.fit(X, y)
        found["error"] = None
    except Exception as error:
        found["error"] = [type(error).__module__, type(error).__name__, str(error)]
    found["blocked"] = [int(path.name) for path in folder.glob("[0-9]*")]
    (folder / how).unlink(missing_ok=True)
    time.sleep(0.5)
    found["left"] = list(descendants(os.getpid()).values())
    search.set_params(n_jobs=2 if how == "die" else None)
    found["again"] = scores(search.fit(X, y))
    watcher.look()
    found["killed"] = watcher.killed
    found["seen"] = sorted(watcher.seen)
    print(json.dumps(found))


def be_killed(kind, timeout, folder):
    """Search until this process is killed; say when its workers are half-way."""
    (folder / "wait").touch()
    search = make_search(kind, folder).set_params(n_jobs=2)
    with parallel_config("loky", idle_worker_timeout=float(timeout)):
        search.fit(*data())


def load(folder):
    """Train with a process that reads images, until this process is killed."""
    from skvision import ImageClassifier

    X, y = data()
    net = ImageClassifier("mlp", max_epochs=10**6, iterator_train__num_workers=1)
    net.fit(X, y)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, *rest, place = sys.argv[1:]
    {"survive": survive, "be_killed": be_killed, "load": load}[what](*rest, Path(place))
