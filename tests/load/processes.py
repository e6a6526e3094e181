"""What becomes of processes, as Linux's /proc tells."""

import os
import signal
import threading
import time
from pathlib import Path

__all__ = ["Watcher", "descendants", "is_there"]


def descendants(pid):
    """Return {(pid, start): command} of the children of a process, and of theirs."""
    found = {}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, _read(path).split()):
            found[child, _start(child)] = _read(f"/proc/{child}/cmdline")
            found |= descendants(child)
    return {(pid, start): name for (pid, start), name in found.items() if start}


def is_there(process):
    """Whether a process, (pid, start), is neither gone nor dead."""
    pid, start = process
    return start == _start(pid)


def _start(pid):
    """Return when a process was started, None of those that are gone or dead."""
    # The name, in brackets, may hold spaces.
    state, *rest = _read(f"/proc/{pid}/stat").rpartition(")")[2].split() or "X"
    return None if state in "ZX" else int(rest[18])


def _read(path):
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Watcher(threading.Thread):
    """Keeps the descendants of this process, also those that are gone.

    Parameters
    ----------
    folder : Path, default=None
        The first descendant that leaves a file there which is called like it is
        killed.
    """

    def __init__(self, folder=None):
        super().__init__(daemon=True)
        self.folder = folder
        self.seen = {}
        self.killed = []

    def run(self):
        while True:
            self.look()
            time.sleep(0.1)

    def look(self):
        found = descendants(os.getpid())
        self.seen |= found
        for pid, _ in found:
            if self.folder is None or self.killed:
                break
            if (self.folder / str(pid)).exists():
                self.killed.append(pid)
                os.kill(pid, signal.SIGKILL)
