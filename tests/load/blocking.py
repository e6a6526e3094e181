"""A transform of images by which workers of a search stop half-way.

A module of its own, so that workers can import it.
"""

import os
import signal
import time
from pathlib import Path

#: Images that this process has had.
count = 0


class Block:
    """Leave images as they are, but in a worker, after some of them, wait or die.

    Parameters
    ----------
    folder : str
        A worker waits as long as there is a file "wait", and dies if there is a file
        "die". It leaves one that is called like its own number.
    parent : int
        The number of the process in which nothing happens.
    after : int
        Images that a worker has before.
    """

    def __init__(self, folder, parent, after):
        self.folder = folder
        self.parent = parent
        self.after = after

    def __call__(self, image):
        global count
        count += 1
        if os.getpid() != self.parent and count > self.after:
            folder = Path(self.folder)
            if (folder / "wait").exists() or (folder / "die").exists():
                (folder / str(os.getpid())).touch()
            if (folder / "die").exists():
                (folder / "die").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            while (folder / "wait").exists():
                time.sleep(0.01)
        return image
