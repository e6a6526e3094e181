"""Errors that only skvision raises."""

__all__ = ["DivergedError", "FormatError"]


class DivergedError(RuntimeError):
    """Training left the range in which it can recover.

    Raised by ``fit`` in the epoch in which the loss or a weight becomes infinite
    or NaN, or in which the mean cross-entropy exceeds 100 times that of the
    untrained network. A search with ``error_score=np.nan`` records such a
    candidate as failed instead of scoring a broken network.

    Examples
    --------
    >>> from skvision.exceptions import DivergedError
    >>> issubclass(DivergedError, RuntimeError)
    True
    """


class FormatError(ValueError):
    """A file is damaged, or is not what it should be.

    Examples
    --------
    >>> from skvision.exceptions import FormatError
    >>> issubclass(FormatError, ValueError)
    True
    """
