"""What all tests share."""

import gc
import os

# scipy and torch read these once, when they are first imported: some of
# scikit-learn's checks need the array API, and the tests' small networks train
# fastest on one thread.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import settings

from skvision.datasets import fetch_fashion_mnist, load_digits_images


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run tests marked slow, too")


def pytest_configure(config):
    # Short trainings, most of which are compared with others, need not succeed.
    config.addinivalue_line(
        "filterwarnings", "ignore::sklearn.exceptions.ConvergenceWarning"
    )
    if not config.getoption("--slow"):
        # What passes once is to pass again; new cases are for those who look for them.
        settings.register_profile("the same cases", derandomize=True, max_examples=25)
        settings.load_profile("the same cases")


def pytest_collection_modifyitems(config, items):
    # Processes that share the tests know them by their names.
    named_by_place = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if named_by_place:
        raise pytest.UsageError(f"A test's name is to be fixed: {named_by_place[0]}")
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="takes long; --slow runs it")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


def pytest_collection_finish():
    # What libraries and the tests themselves consist of stays: to look through it for
    # garbage, again and again, takes its time.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_home():
    """Folder with the files of real data sets, named by SKVISION_DATA."""
    folder = os.environ.get("SKVISION_DATA")
    if not folder:
        pytest.skip("SKVISION_DATA names no folder with real data sets")
    if not Path(folder).is_dir():
        pytest.skip(f"the folder that SKVISION_DATA names, {folder}, does not exist")
    return Path(folder)


@pytest.fixture(scope="session")
def fashion_mnist(data_home):
    """Some real images of clothes, 100 of each class."""
    try:
        return fetch_fashion_mnist(
            data_home=data_home,
            n_samples=1000,
            random_state=0,
            download_if_missing=False,
        )
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits as images."""
    return load_digits_images()
