"""Random numbers from one seed, without touching anybody else's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

__all__ = ["draw_seed", "isolated_random_state", "next_seed"]


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return the seed of one fit.

    None gives a fresh one: scikit-learn would draw it from NumPy's global
    generator, which is to be left as it is.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


def next_seed(generator: torch.Generator) -> int:
    """Draw a seed from a generator."""
    return int(torch.randint(2**31 - 1, (), generator=generator))


@contextmanager
def isolated_random_state(
    device: torch.device, seed: int | None = None
) -> Iterator[None]:
    """Give Python, NumPy and torch a random state for a while.

    Parameters
    ----------
    device : torch.device
        Whose generator is meant beside that of the CPU.
    seed : int, default=None
        Where the generators begin; None leaves them where they are. Either way
        they are back at their former state afterwards.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
            # torch.manual_seed would seed every GPU, also those not restored.
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
