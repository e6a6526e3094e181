"""Worker processes that are killed: an error that says so, and nothing left behind."""

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are looked for in Linux's /proc"
)


@pytest.fixture(scope="module")
def processes():
    """The module beside this file, which is no package."""
    path = Path(__file__).with_name("processes.py")
    spec = importlib.util.spec_from_file_location("processes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def are_gone(processes):
    return lambda some: not any(map(processes.is_there, some))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("stacked", "wait"),
        pytest.param("stacked", "die", marks=pytest.mark.slow),
        pytest.param("grid", "wait", marks=pytest.mark.slow),
        pytest.param("grid", "die", marks=pytest.mark.slow),
    ],
)
def test_killed_worker(kind, how, run, tmp_path, wait_until, are_gone):
    found = run("searching.py", "survive", kind, how, tmp_path, timeout=120)
    assert found["blocked"], "no worker was half-way"
    assert len(found["killed"]) == (how == "wait")
    assert set(found["killed"]) <= set(found["blocked"])
    module, name, message = found["error"]
    assert (module.split(".")[0], name) == ("joblib", "TerminatedWorkerError")
    assert "unexpectedly terminated" in message
    assert "SIGKILL" in message
    # What keeps account of shared memory stays until the parent ends.
    assert all("resource_tracker" in name for name in found["left"]), found["left"]
    assert found["again"] == found["alone"]
    assert len(found["seen"]) >= (4 if how == "die" else 2)
    assert wait_until(lambda: are_gone(found["seen"]), 30) < 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "grid",
        pytest.param(
            "stacked",
            marks=pytest.mark.xfail(
                reason="large results wait for ever to be taken", raises=AssertionError
            ),
        ),
    ],
)
def test_killed_parent(kind, start, tmp_path, wait_until, processes, are_gone):
    # Workers do not learn of it. They end what they are at and what waits in the queue,
    # wait for more as long as they were told to, 300 s by default, and then up to 30 s
    # for the parent to say good-bye.
    timeout, goodbye = 1, 30
    parent = start("searching.py", "be_killed", kind, timeout, tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("[0-9]*"))) == 2, 60)
    workers = processes.descendants(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        assert not are_gone(workers)
        (tmp_path / "wait").unlink()
        wait_until(lambda: are_gone(workers), timeout + goodbye + 20)
    finally:
        for worker in filter(processes.is_there, workers):
            os.kill(worker[0], signal.SIGKILL)


@pytest.mark.slow
def test_killed_parent_of_a_loader(start, tmp_path, wait_until, processes, are_gone):
    parent = start("searching.py", "load", tmp_path)
    workers = {}
    while not workers:
        # Each epoch has a worker of its own, and between two there is none.
        wait_until(lambda: processes.descendants(parent.pid), 60)
        os.kill(parent.pid, signal.SIGSTOP)
        workers = processes.descendants(parent.pid)
        if not workers:
            os.kill(parent.pid, signal.SIGCONT)
    # A worker notes at its start whose child it is.
    time.sleep(2)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    # torch's workers look every five seconds if they have become orphans.
    wait_until(lambda: are_gone(workers), 30)
