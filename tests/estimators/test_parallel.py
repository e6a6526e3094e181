"""Searches in several processes: equal results, and no more threads than cores."""

import joblib
import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.model_selection import cross_val_score, cross_validate
from skorch.callbacks import EpochScoring
from skvision_tests import disturb

from skvision import ImageClassifier
from skvision.datasets import load_digits_images, load_image_folder
from skvision.training import BatchLoader, ImageDataset


def threads(estimator, X, y):
    """Score by the number of threads that torch has where the score is made."""
    return torch.get_num_threads()


def n_loader_workers(num_workers, n_threads=None):
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    options = {"persistent_workers": True, "prefetch_factor": 2} if num_workers else {}
    data = ImageDataset(np.zeros((4, 1, 1, 1)))
    return BatchLoader(data, num_workers=num_workers, **options).num_workers


def scores_with_loaders(n, files, labels):
    # Two threads leave one of them to a process that reads.
    torch.set_num_threads(2)
    loaders = {"iterator_train__num_workers": n, "iterator_valid__num_workers": n}
    return cross_val_score(net(**loaders), files, labels, cv=2)


@pytest.fixture
def images():
    X, y = load_digits_images(return_X_y=True)
    return X[:300], y[:300]


def net(**params):
    return ImageClassifier("mlp", max_epochs=2, random_state=0, **params)


def test_threads_of_all_workers_fit_the_cores(images):
    scores = cross_val_score(net(), *images, cv=4, scoring=threads, n_jobs=2)
    assert 2 * max(scores) <= max(2, joblib.cpu_count())


def test_results_do_not_depend_on_n_jobs(images):
    estimator = net(
        module__dropout=0.5, callbacks=[EpochScoring("accuracy", on_train=True)]
    )
    options = {"cv": 3, "scoring": ["neg_log_loss", "accuracy"]}
    alone = cross_validate(estimator, *images, **options, n_jobs=1)
    disturb(5)
    together = cross_validate(estimator, *images, **options, n_jobs=2)
    for name in ("test_neg_log_loss", "test_accuracy"):
        np.testing.assert_allclose(together[name], alone[name])


def test_loader_starts_what_it_is_told():
    assert n_loader_workers(2) == 2
    assert n_loader_workers(0) == 0


@pytest.mark.parametrize(("n_threads", "expected"), [(1, 0), (2, 1), (4, 2)])
def test_loader_in_a_worker_takes_its_share(n_threads, expected):
    with parallel_config("loky"):
        found = Parallel(2)(delayed(n_loader_workers)(2, n_threads) for _ in range(2))
    assert found == [expected, expected]


def test_loader_in_a_daemon_starts_none():
    # joblib's multiprocessing workers are daemons, which may have no children.
    with parallel_config("multiprocessing"):
        assert Parallel(2)(delayed(n_loader_workers)(2) for _ in range(2)) == [0, 0]


def test_search_over_files_with_loader_workers(tmp_path, images):
    from PIL import Image

    X, y = images
    for i, (image, label) in enumerate(zip(X[:60], y[:60] % 2, strict=True)):
        folder = tmp_path / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    files, labels = load_image_folder(tmp_path, return_X_y=True)
    with parallel_config("loky"):
        scores = Parallel(2)(
            delayed(scores_with_loaders)(n, files, labels) for n in (0, 2)
        )
    np.testing.assert_array_equal(*scores)
