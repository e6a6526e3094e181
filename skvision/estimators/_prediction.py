"""What estimators return for images, by way of the network's outputs."""

from __future__ import annotations

import torch
from sklearn.exceptions import NotFittedError
from skorch.utils import to_tensor
from torch import nn

from skvision._random import isolated_random_state
from skvision._warnings import warn
from skvision.images._open import labels_by_name
from skvision.training._losses import NONLINEARITIES, identity
from skvision.training._turns import looking

__all__ = ["PredictionMixin"]

# Matrix products of other numbers of rows end in other rounding errors, so that a
# prediction would depend, in its last bits, on the rows beside it. Flat rows are
# filled up to a multiple; for images that would cost more than it is worth.
_ROWS_AT_ONCE = 16
# By how much sums of probabilities may miss 1, as of float16.
_FAR_FROM_ONE = 0.01


class PredictionMixin:
    """Sends images through the network, and makes predictions of what comes out."""

    @looking
    def evaluation_step(self, batch, training=False):
        X = batch[0]
        missing = -len(X) % _ROWS_AT_ONCE
        if training or not self._flat or not missing:
            return super().evaluation_step(batch, training=training)
        padded = nn.functional.pad(to_tensor(X, device="cpu"), (0, 0, 0, missing))
        outputs = super().evaluation_step((padded, None))
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        if not all(_has_rows(part, len(padded)) for part in parts):
            # What is filled up would count in what has not a row for each image.
            plain = super().evaluation_step(batch)
            others = plain if isinstance(outputs, tuple) else (plain,)
        else:
            others = parts
        parts = tuple(
            part[: len(X)] if _has_rows(part, len(padded)) else other
            for part, other in zip(parts, others, strict=True)
        )
        return parts if isinstance(outputs, tuple) else parts[0]

    def _get_predict_nonlinearity(self):
        chosen = self.predict_nonlinearity
        if not isinstance(chosen, str):
            return super()._get_predict_nonlinearity()
        self.check_is_fitted()
        if chosen == "auto":
            return self._response() or identity
        return NONLINEARITIES[chosen]

    @looking
    def _raw_predict(self, X, nonlinearity=None):
        """Return the network's outputs for X, made predictions of: (n, n_outputs)."""
        self.check_is_fitted()
        if not self._scaling_known and self.scaler_.mean is None:
            raise NotFittedError(
                f"This {type(self).__name__} has never seen the images from which "
                f"normalize={self.normalize!r} learns. Call fit, or set normalize to "
                "None or a pair (mean, std) before initialize."
            )
        nonlinearity = nonlinearity or self._get_predict_nonlinearity()
        self._enter_mode(training=False)
        outputs, n_done = torch.empty(0), 0
        with isolated_random_state(self.device_):
            data = self._to_predict(X)
            for out in self.forward_iter(data, training=False, device="cpu"):
                part = nonlinearity(out[0] if isinstance(out, tuple) else out)
                part = torch.as_tensor(part)  # It may be an array as well.
                if not n_done:
                    # Small blocks, one kept of each batch, would lie between large
                    # ones, so that memory that is freed could not be taken again.
                    outputs = part.new_empty((len(data), *part.shape[1:]))
                outputs[n_done : n_done + len(part)] = part
                n_done += len(part)
            return self._finite(outputs[:n_done], data.images).numpy()

    def _as_probabilities(self, outputs):
        """Return outputs; warn if what the user has chosen makes no probabilities."""
        chosen = self.predict_nonlinearity
        if chosen is not None and chosen != "auto":
            sums = outputs.sum(1)
            if outputs.min() < 0 or abs(sums - 1).max() > _FAR_FROM_ONE:
                warn(
                    f"predict_nonlinearity={chosen!r} makes values from "
                    f"{outputs.min():.4g} on, whose sums in a row go from "
                    f"{sums.min():.4g} to {sums.max():.4g}, of what "
                    f"{type(self.module_).__name__} returns: these are no "
                    "probabilities of classes. Set 'softmax' for logits, 'exp' for "
                    "logarithms of probabilities."
                )
        return outputs

    @looking
    def score(self, X, y=None, sample_weight=None):
        """Return accuracy of a classifier, R² of a regressor.

        Parameters
        ----------
        X : images
            As in ``fit``.
        y : array-like of shape (n,) or (n, k), default=None
            True targets; None takes them from X where X carries them.
        sample_weight : array-like of shape (n,), default=None

        Returns
        -------
        score : float
        """
        with isolated_random_state(getattr(self, "device_", torch.device("cpu"))):
            X, y = labels_by_name(self, X, y)
            return super().score(X, self._required(y), sample_weight)


def _has_rows(output, n_rows):
    """Whether what a network gave has a row for each of its images."""
    has_rows = isinstance(output, torch.Tensor) and output.ndim > 0
    return has_rows and len(output) == n_rows
