"""Fitted estimators as ONNX files."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator
from numbers import Integral
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from skvision._compat import Interval, validated
from skvision._random import isolated_random_state
from skvision.estimators import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.estimators._data import answers_of, knows_scaling, schema_of
from skvision.images._decode import LUMA
from skvision.images._layout import form_of
from skvision.images._schema import ImageSchema
from skvision.persistence._atomic import write_atomically
from skvision.training._turns import look

#: Name of the input, and of the axis of its rows.
_INPUT, _ROWS = "X", "n"
# A file is one protocol buffer, which holds no more. What is not a weight is small.
_MOST_BYTES = 2**31 - 2**24
_LOGGERS = (
    "onnx_ir",
    "onnxscript",
    "torch._dynamo",
    "torch.export",
    "torch.fx.experimental.symbolic_shapes",
    "torch.onnx",
)


@validated(
    path=[str, os.PathLike],
    opset_version=[Interval(Integral, 1, None, closed="left"), None],
)
def export_onnx(
    estimator: Any,
    path: str | os.PathLike[str],
    *,
    example: Any = None,
    opset_version: int | None = None,
) -> None:
    """Write a fitted estimator as an ONNX file.

    The file takes images as ``predict`` does, any number of rows at once: bringing
    pixels to [0, 1], colours, normalisation, resizing, the network and the softmax are
    all in it. With ``image_size``, or weights that bring a size, the images of a batch
    may have any height and width that they share. Needs the extra ``onnx``.

    Parameters
    ----------
    estimator : ImageClassifier, ImageRegressor or ImageAutoencoder
        Fitted. It is left as it is.
    path : str or os.PathLike
        The file, which is replaced in one step if it is there.
    example : images, default=None
        One image or more as ``predict`` takes them. The file takes images of their
        layout and data type, and no others: ONNX converts nothing by itself. None
        means those of the images in ``fit``. Data sets and paths of files stand for
        arrays of shape (n, channels, height, width) of the values that their items
        hold.
    opset_version : int, default=None
        Version of ONNX's set of operators, where the program that reads the file
        needs an old one. None leaves the choice to torch.

    Raises
    ------
    ImportError
        If onnx or onnxscript is not installed.
    OSError
        If the file cannot be written; an old one stays as it was.
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.
    TypeError
        If `estimator` is none of skvision's.
    ValueError
        If `example` does not fit the estimator, or if ONNX cannot express the network.

    Notes
    -----
    The input is called ``X``. The outputs are

    - of a classifier, ``probabilities``, as of ``predict_proba``, and
      ``class_index``, the position of the most probable class in ``classes_``; where
      it has no ``predict_proba``, ``scores``, one per class, in their place; where y
      had several columns, ``labels``, as of ``predict``, in the place of the latter;
    - of a regressor, ``predictions``, as of ``predict``;
    - of an autoencoder, ``codes``, as of ``transform``, and ``images``, as of
      ``reconstruct``.

    Metadata of the file, as JSON: ``image_shape`` (channels, height, width),
    ``estimator``, the name of its class, ``classes``, if they are numbers or strings,
    and ``thresholds``, if the classifier has ``thresholds_``.

    The network computes in float32, also where the estimator has ``dtype="float64"``
    or ``amp=True``, since runtimes have no convolution of other types on the CPU. Real
    outputs are float32.

    Examples
    --------
    >>> import json
    >>> import tempfile
    >>> import numpy as np
    >>> import onnxruntime
    >>> from skvision import ImageClassifier
    >>> from skvision.datasets import load_digits_images
    >>> from skvision.export import export_onnx
    >>> X, y = load_digits_images(return_X_y=True)
    >>> net = ImageClassifier("mlp", max_epochs=3).fit(X, y)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = f"{folder.name}/digits.onnx"
    >>> export_onnx(net, path, example=X)

    In a program without skvision:

    >>> session = onnxruntime.InferenceSession(path)
    >>> probabilities, index = session.run(None, {"X": X[:100]})
    >>> bool(np.allclose(probabilities, net.predict_proba(X[:100]), atol=1e-5))
    True
    >>> classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    >>> [classes[i] for i in index] == net.predict(X[:100]).tolist()
    True
    """
    kind = _model_of(estimator)
    onnx = _require_onnx()
    title = type(estimator.module_).__name__
    with isolated_random_state(estimator.device_):
        with look(estimator, "export_onnx"):
            schema = schema_of(estimator, example)
            with _explained(title):
                model = kind(estimator, schema)
            metadata = _metadata(estimator)
        _check_size(model, title)
        with _explained(title), _quiet():
            proto = _translate(model, opset_version)
    _check_opset(proto, opset_version, title)
    onnx.helper.set_model_props(proto, metadata)
    content = proto.SerializeToString()
    write_atomically(path, lambda file: file.write(content))


# ----------------------------------------------------------------------- checks


def _model_of(estimator: Any) -> type[_Model]:
    """Return what stands for one of skvision's estimators that has seen images."""
    models = [model for kind, model in _MODELS.items() if isinstance(estimator, kind)]
    if not models:
        hint = ""
        if hasattr(estimator, "best_estimator_"):
            hint = " Give its best_estimator_."
        elif hasattr(estimator, "steps"):
            hint = " Give its last step; what the steps before it do is not exported."
        raise TypeError(
            "export_onnx expects an ImageClassifier, ImageRegressor or "
            f"ImageAutoencoder; got {type(estimator).__name__}.{hint}"
        )
    estimator.check_is_fitted()
    needed = ["image_shape_"]
    if isinstance(estimator, ImageRegressor):
        needed.append("n_outputs_")
    if not knows_scaling(estimator) or not all(hasattr(estimator, n) for n in needed):
        raise NotFittedError(
            f"This {type(estimator).__name__} has a network, but has never seen "
            "images: call fit before export_onnx."
        )
    return models[0]


def _require_onnx() -> Any:
    """Return onnx, or say how to install it and what torch needs beside it."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export_onnx requires onnx and onnxscript. Install them by "
            "pip install 'skvision[onnx]'."
        ) from error
    return onnx


def _check_size(model: nn.Module, title: str) -> None:
    n_bytes = sum(value.nbytes for value in model.state_dict().values())
    if n_bytes > _MOST_BYTES:
        raise ValueError(
            f"The network {title} has weights of {n_bytes / 2**30:.1f} GB; a single "
            "ONNX file holds less than 2 GB. Make the network smaller."
        )


def _check_opset(proto: Any, opset_version: int | None, title: str) -> None:
    """Raise an error if the file has another version of operators than was asked."""
    # The converter leaves the model as it is where it does not know the way.
    (found,) = (
        entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")
    )
    if opset_version not in (None, found):
        raise ValueError(
            f"opset_version={opset_version}: torch {torch.__version__} cannot write "
            f"the network {title} in this version of ONNX's operators. Set "
            f"opset_version={found} or None."
        )


# ------------------------------------------------------------------------- model


class _Model(nn.Module):
    """From images as the user has them to what an estimator makes of them."""

    output_names: tuple[str, ...]

    def __init__(self, estimator: Any, schema: ImageSchema) -> None:
        super().__init__()
        # A copy of a compiled network is not compiled.
        self.network = copy.deepcopy(estimator.module_).cpu().float()
        self.scaler = copy.deepcopy(estimator.scaler_).cpu()
        # What brings images to the size when they are read does it in the file.
        self.scaler.spec = form_of(estimator).spec
        if self.scaler.spec is not None:
            # onnxruntime resizes nothing but float32.
            self.scaler.dtype = torch.float32
            self.scaler.float()
        dtype = schema.dtype.newbyteorder("=")
        # Neither torch nor ONNX has longer numbers.
        dtype = np.dtype(np.float64) if dtype.itemsize > 8 else dtype
        self.layout, self.dtype = (
            schema.layout,
            torch.from_numpy(np.empty(0, dtype)).dtype,
        )
        # Of what goes in.
        self.image_shape = estimator.image_shape or estimator.image_shape_
        self.n_channels = estimator.image_shape_[0]
        if self.layout != "flat":
            n_channels = schema.n_channels or self.n_channels
            self.image_shape = (n_channels, *self.image_shape[1:])
        self.flat = schema_of(estimator).flat
        self.requires_grad_(False).eval()

    def example(self) -> torch.Tensor:
        """Return images that may go in."""
        shape = self._axes(*self.image_shape)
        if self.layout == "flat":
            shape = (math.prod(self.image_shape),)
        elif self.any_size:
            # As the size that is made of them, it would be taken for a constant.
            n_channels, height, width = self.image_shape
            shape = self._axes(n_channels, height + 7, width + 5)
        # One row or none would be taken for a constant.
        return torch.zeros((2, *shape), dtype=self.dtype)

    @property
    def any_size(self) -> bool:
        """Whether images of all sizes may go in."""
        spec = self.scaler.spec
        return self.layout != "flat" and spec is not None and spec.size is not None

    def _axes(self, n_channels: Any, height: Any, width: Any) -> tuple[Any, ...]:
        """Return what is said of the channels and so on, in the order of the axes."""
        if self.layout == "grey":
            return height, width
        last = self.layout == "last"
        return (height, width, n_channels) if last else (n_channels, height, width)

    def axes(self) -> dict[int, Any]:
        """Return the names of the axes whose lengths are not fixed."""
        names = (_ROWS,)
        if self.any_size:
            names = (_ROWS, *self._axes(None, "height", "width"))
        return {i: name for i, name in enumerate(names) if name is not None}

    def prepared(self, X: torch.Tensor) -> torch.Tensor:
        """Return what the network gets."""
        if self.layout == "last":
            X = X.permute(0, 3, 1, 2)
        elif self.layout == "grey":
            X = X.unsqueeze(1)
        elif not self.flat and self.layout == "flat":
            X = X.reshape(-1, *self.image_shape)
        return self.scaler(self._coloured(X)).float()

    def _coloured(self, X: torch.Tensor) -> torch.Tensor:
        """Return images in the colours of the network, in their data type."""
        if self.flat or X.shape[1] == self.n_channels:
            return X
        if self.n_channels == 3:
            return torch.cat([X, X, X], dim=1)
        if self.dtype.is_floating_point:
            luma = torch.tensor(LUMA.astype(float) / (1 << 16), dtype=torch.float32)
            grey = (X.float() * luma[:, None, None]).sum(1, keepdim=True)
        else:
            luma = torch.tensor(LUMA.astype(int))
            grey = (X.long() * luma[:, None, None]).sum(1, keepdim=True)
            grey = (grey + (1 << 15)) // (1 << 16)
        return grey.to(self.dtype)

    def outputs(self, X: torch.Tensor) -> torch.Tensor:
        """Return what the network gives."""
        outputs = self.network(self.prepared(X))
        return outputs[0] if isinstance(outputs, tuple) else outputs


class _Classifier(_Model):
    def __init__(self, estimator: ImageClassifier, schema: ImageSchema) -> None:
        super().__init__(estimator, schema)
        self.nonlinearity: Callable = answers_of(estimator)[0]
        known = hasattr(estimator, "predict_proba")
        self.output_names = ("probabilities" if known else "scores", "class_index")
        self.thresholds: torch.Tensor | None = None
        if (thresholds := getattr(estimator, "thresholds_", None)) is not None:
            self.thresholds = torch.tensor(thresholds, dtype=torch.float32)
            self.output_names = ("probabilities", "labels")

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.nonlinearity(self.outputs(X))
        if self.thresholds is not None:
            return found, (found > self.thresholds).long()
        return found, found.argmax(1)


class _Regressor(_Model):
    output_names = ("predictions",)

    def __init__(self, estimator: ImageRegressor, schema: ImageSchema) -> None:
        super().__init__(estimator, schema)
        self.nonlinearity: Callable
        self.nonlinearity, self.target_shape = answers_of(estimator)
        self.target = copy.deepcopy(estimator.scaler_.target).cpu().double()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        predictions = self.nonlinearity(self.target.undo(self.outputs(X)))
        return predictions.float().reshape(-1, *self.target_shape)


class _Autoencoder(_Model):
    output_names = ("codes", "images")

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prepared = self.prepared(X)
        # What both have in common is computed once in the file.
        codes = self.network.encoder(prepared).flatten(1)
        return codes, self._as_given(self.scaler.undo(self.network(prepared)))

    def _as_given(self, images: torch.Tensor) -> torch.Tensor:
        """Return images in the layout and data type that go in."""
        if self.dtype.is_floating_point or self.dtype == torch.bool:
            images = images.float()
        else:
            images = self.scaler.from_unit(images, self.dtype)
        if self.layout == "flat":
            return images.flatten(1)
        if self.layout == "grey" and self.n_channels == 1:
            return images.squeeze(1)
        return images if self.layout == "first" else images.permute(0, 2, 3, 1)


_MODELS: dict[Any, type[_Model]] = {
    ImageAutoencoder: _Autoencoder,
    ImageClassifier: _Classifier,
    ImageRegressor: _Regressor,
}


# ------------------------------------------------------------------- translation


def _translate(model: _Model, opset_version: int | None) -> Any:
    """Return a model as a protocol buffer."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    program: Any = torch.onnx.export(
        model,
        (model.example(),),
        input_names=[_INPUT],
        output_names=model.output_names,
        dynamic_shapes=(model.axes(),),
        opset_version=opset_version,
        verbose=False,
    )
    # Which lines of which files on this machine the operations come from.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model_proto


@contextlib.contextmanager
def _explained(title: str) -> Iterator[None]:
    """Turn what goes wrong in a translation into an error that names the network."""
    try:
        yield
    except Exception as error:
        # Around the first error lie those of each stage of the exporter.
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise ValueError(
            f"The network {title} cannot be written as ONNX, which holds one graph of "
            "ONNX's own operations for any images and any number of them. Change what "
            "forward(), or predict_nonlinearity, does: "
            f"{type(first).__name__}: {shorten(str(first), 400)}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks of the exporter, on which users cannot act, to itself."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        # Where it cannot trace a network, it prints what it has of the graph.
        silent = contextlib.redirect_stderr(io.StringIO())
        with warnings.catch_warnings(), silent:
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _metadata(estimator: Any) -> dict[str, str]:
    """Return what is written into the file beside the network."""
    facts = {
        "estimator": type(estimator).__name__,
        "image_shape": list(estimator.image_shape_),
    }
    classes = getattr(estimator, "classes_", np.empty(0)).tolist()
    if classes and all(isinstance(label, (bool, int, float, str)) for label in classes):
        facts["classes"] = classes
    if hasattr(estimator, "thresholds_"):
        facts["thresholds"] = estimator.thresholds_.tolist()
    return {name: json.dumps(value) for name, value in facts.items()}
