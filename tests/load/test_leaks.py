"""Many fits in one process take no more memory, files or threads than some."""

import sys
import tempfile
import threading

import pytest

import skvision

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="resources are counted in Linux's /proc"
)

#: They share one process; the others, which start processes or search, are slow.
QUICK = ["arrays", "files", "data-set", "early-stopping", "checkpoint"]
ALL = [*QUICK, "workers", "stacked-search", "save-and-load"]


def check(soak, readings, every):
    assert [reading["fits"] for reading in readings] == [i * every for i in range(1, 6)]
    assert soak.exceeded(soak.rise(readings)) == [], readings


def test_nothing_grows(module):
    soak = module("soak")
    found = soak.run(QUICK, 20, 4)
    assert list(found) == QUICK
    for readings in found.values():
        check(soak, readings, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_nothing_grows_in_a_process_of_its_own(module, name):
    if name == "save-and-load" and not hasattr(skvision, "load"):
        pytest.skip("there is no skvision.load")
    soak = module("soak")
    check(soak, soak.run([name], 50, 10)[name], 10)


def test_all_variants_are_known(module):
    assert sorted(module("soak").VARIANTS) == sorted(ALL)


def test_leaks_are_found(module):
    soak, kept, ended = module("soak"), [], threading.Event()

    def leak(i):
        # One small data set; of zeros, nothing would be in memory.
        kept.append(b"x" * (soak.N_IMAGES * soak.SHAPE[0] * soak.SHAPE[1]))
        kept.append(tempfile.TemporaryFile())  # noqa: SIM115
        threading.Thread(target=ended.wait).start()

    try:
        found = soak.rise(soak.repeat(leak, 25, 5))
    finally:
        ended.set()
    assert soak.exceeded(found) == ["memory", "files", "threads"]
    assert (found["files"], found["threads"]) == (15, 15)
    # What has risen is not far beyond what may rise: less is a leak, too.
    assert found["memory"] < 3 * 15 * soak.LIMIT_MB_PER_FIT
