"""Warnings that point at the line of the user's that led to them."""

from __future__ import annotations

import sys
import warnings

_LIBRARIES = ("skvision", "skorch", "sklearn", "joblib", "torch", "contextlib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn from the innermost frame outside of the libraries involved.

    Python shows a warning once for each line it points at: this way once for each
    fit that the user writes, also if a search makes it a hundred fits.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", "").split(".")[0] in _LIBRARIES
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
