"""The layers of a network and their parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from skvision._random import isolated_random_state
from skvision.inspection._source import net_of, network_of
from skvision.inspection._table import Table

#: What networks raise where images are not as they expect them.
_MISFITS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
_COLUMNS = ["layer", "type", "output shape", "parameters", "trainable", "MB"]


class ParameterTable(Table):
    """The layers of a network with their output shapes and parameters.

    Made by `parameter_table`.

    Parameters
    ----------
    layers : list of lists
        A row for each layer: name, type, shape of its output or None, number of
        parameters, number of trainable parameters, and MB. Their sum is added as the
        last row.
    title : str, default=None
        Heading of the table.
    notes : list of str, default=()
        Lines of text below the table.

    Attributes
    ----------
    n_parameters : int
        Number of parameters.
    n_trainable : int
        Number of parameters that are not frozen.
    size_mb : float
        Size of the parameters in MB of 2**20 bytes.
    columns, rows, title, notes
        As in `Table`.

    See Also
    --------
    Table : What can be done with it.

    Examples
    --------
    >>> from skvision.inspection import ParameterTable
    >>> print(ParameterTable([["head", "Linear", (10,), 110, 110, 110 * 4 / 2**20]]))
    layer    type    output shape      parameters    trainable         MB
    -------  ------  --------------  ------------  -----------  ---------
    head     Linear  (10,)                    110          110  0.0004196
    total                                     110          110  0.0004196
    """

    def __init__(
        self,
        layers: Sequence[Sequence[Any]],
        *,
        title: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(_COLUMNS, layers, title=title, notes=notes)
        for i, row in enumerate(self.rows):
            if not all(isinstance(number, Real) for number in row[3:]):
                raise TypeError(
                    f"Row {i} must have numbers as {', '.join(_COLUMNS[3:])}; got "
                    f"{row[3:]}."
                )
        self.n_parameters: int = sum(row[3] for row in self.rows)
        self.n_trainable: int = sum(row[4] for row in self.rows)
        self.size_mb = float(sum(row[5] for row in self.rows))
        total = [self.n_parameters, self.n_trainable, self.size_mb]
        self.rows.append(["total", None, None, *total])


def count_parameters(estimator_or_module: Any, trainable_only: bool = True) -> int:
    """Count the parameters of a network.

    Parameters
    ----------
    estimator_or_module : torch.nn.Module or estimator
        A network, or a fitted estimator whose ``module_`` is one, or a fitted
        pipeline that ends with such an estimator, or a fitted search over either.
    trainable_only : bool, default=True
        Whether frozen parameters are left out.

    Returns
    -------
    n_parameters : int
        Parameters that several layers share are counted once.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If there is no network in `estimator_or_module`.
    ValueError
        If the network has lazy parameters, whose number is not known yet.

    Notes
    -----
    A linear layer has ``(n_inputs + 1) * n_outputs`` parameters, a convolution
    ``(n_maps_in * kernel_height * kernel_width + 1) * n_maps_out``.

    Examples
    --------
    >>> from torch import nn
    >>> from skvision.inspection import count_parameters
    >>> count_parameters(nn.Linear(784, 256))
    200960
    """
    parameters = list(network_of(estimator_or_module).parameters())
    if any(is_lazy(parameter) for parameter in parameters):
        raise ValueError(
            "The network has lazy parameters, whose number is known only after a "
            "batch has passed through it."
        )
    return sum(p.numel() for p in parameters if p.requires_grad or not trainable_only)


def parameter_table(
    estimator_or_module: Any, image_shape: Sequence[int] | None = None
) -> ParameterTable:
    """Tabulate the layers of a network.

    Parameters
    ----------
    estimator_or_module : torch.nn.Module or estimator
        A network, or a fitted estimator whose ``module_`` is one, or a fitted
        pipeline that ends with such an estimator, or a fitted search over either.
    image_shape : tuple of int, default=None
        (channels, height, width) of an image, or (n_features,) for a network that
        takes flat rows. None takes that of the estimator; a module needs it.

    Returns
    -------
    table : ParameterTable
        The layers in the order in which they run, with the shape of what they give
        for one image. Layers that run several times, and parameters that several
        layers share, are listed and counted once, at the first. Layers with
        parameters that do not run by themselves come last, without a shape.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If there is no network in `estimator_or_module`.
    ValueError
        If the network cannot take such images or has lazy parameters, or if
        `image_shape` is missing or not valid.

    See Also
    --------
    count_parameters : The total alone.

    Notes
    -----
    Two blank images pass through the network in evaluation mode, after which it is
    as before. MB are 2**20 bytes of parameters, without buffers.

    Examples
    --------
    >>> from skvision.inspection import parameter_table
    >>> from skvision.networks import MLP
    >>> table = parameter_table(MLP((1, 28, 28), 10), image_shape=(1, 28, 28))
    >>> print(table)
    layer     type    output shape      parameters    trainable       MB
    --------  ------  --------------  ------------  -----------  -------
    layers.0  Linear  (256,)               200,960      200,960   0.7666
    layers.1  ReLU    (256,)                     0            0        0
    layers.2  Linear  (512,)               131,584      131,584    0.502
    layers.3  ReLU    (512,)                     0            0        0
    head      Linear  (10,)                  5,130        5,130  0.01957
    total                                  337,674      337,674    1.288
    >>> table.n_parameters, round(table.size_mb, 2)
    (337674, 1.29)
    """
    network = network_of(estimator_or_module)
    count_parameters(network)  # Raises an error for lazy parameters.
    if image_shape is None:
        image_shape = _known_shape(estimator_or_module)
    shape = _check_shape(image_shape)
    # The original of what torch.compile returned, which needs no compilation now.
    network = getattr(network, "_orig_mod", network)
    if not isinstance(estimator_or_module, nn.Module):
        network = copy.deepcopy(network)  # Another thread may train the original.
    outputs = _output_shapes(network, shape)
    # Fused or unused layers do not run, but their parameters are there.
    silent = [m for m in network.modules() if m not in outputs and _own(m)]
    outputs |= dict.fromkeys(silent)
    names = {module: name for name, module in network.named_modules()}
    counted: set[nn.Parameter] = set()
    layers = []
    for module, output in outputs.items():
        parameters = [p for p in _own(module) if p not in counted]
        counted.update(parameters)
        layers.append(
            [
                names[module] or type(module).__name__,
                type(module).__name__,
                output,
                sum(p.numel() for p in parameters),
                sum(p.numel() for p in parameters if p.requires_grad),
                sum(p.numel() * p.element_size() for p in parameters) / 2**20,
            ]
        )
    return ParameterTable(layers)


def _known_shape(found: Any) -> tuple[int, ...]:
    """Return the shape of what an estimator gives to its network."""
    if isinstance(found, nn.Module):
        raise ValueError(
            "A module does not know the shape of its images: give image_shape="
            "(channels, height, width)."
        )
    net = net_of(found)
    shape = getattr(net, "network_shape_", getattr(net, "image_shape_", None))
    if shape is None:
        raise ValueError(
            f"This {type(net).__name__} does not know the shape of its images: give "
            "image_shape=(channels, height, width)."
        )
    is_flat = getattr(getattr(net, "__skvision_schema__", None), "flat", False)
    return (math.prod(shape),) if is_flat else tuple(shape)


def _check_shape(shape: Any) -> tuple[int, ...]:
    """Return the shape of an image or a row as a tuple of ints."""
    if (
        not isinstance(shape, (tuple, list))
        or not shape
        or not all(isinstance(n, Integral) and int(n) > 0 for n in shape)
    ):
        raise ValueError(
            "image_shape must be (channels, height, width) or (n_features,), positive "
            f"ints; got {shape!r}."
        )
    return tuple(map(int, shape))


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _output_shapes(
    network: nn.Module, shape: tuple[int, ...]
) -> dict[nn.Module, tuple[int, ...] | None]:
    """Return the layers that run, in order, and the shapes of their first outputs."""
    shapes: dict[nn.Module, tuple[int, ...] | None] = {}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        shapes.setdefault(module, _shape_of(output))

    tensors = [*network.parameters(), *network.buffers()]
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
    device = tensors[0].device if tensors else torch.device("cpu")
    layers = [m for m in network.modules() if _own(m) or not any(m.children())]
    handles = [layer.register_forward_hook(note) for layer in layers]
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        with isolated_random_state(device), torch.no_grad():
            network(torch.zeros((2, *shape), dtype=dtype, device=device))
    except _MISFITS as error:
        what = "rows" if len(shape) == 1 else "images"
        raise ValueError(
            f"The network {type(network).__name__} cannot take {what} of shape "
            f"{shape}: {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():  # Parts may be in another mode.
            module.training = training
    return shapes


def _shape_of(output: Any) -> tuple[int, ...] | None:
    """Return the shape of the first tensor, without the axis of the batch."""
    if isinstance(output, torch.Tensor):
        return tuple(output.shape[1:])
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (tuple, list)) and output:
        return _shape_of(output[0])
    return None
