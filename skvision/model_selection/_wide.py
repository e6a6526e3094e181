"""The graph of a network as that of many, whose channels lie side by side.

Each value of the one network, (b, C, ...), is one of n networks, (b, n * C, ...), the
channels of each together. Operations are known, one by one, to compute the same numbers
for a network whoever its neighbours are; others are refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx
from torch.fx.node import map_arg

from skvision._compat import Operator, operator_arguments, operator_name, with_types_of
from skvision.model_selection._tracing import Graph

Values = dict[fx.Node, Any]
Step = Callable[[int, Values], Any]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Each number from the numbers at the same place.
_ELEMENTWISE = _names("""
    abs add alias celu clamp clamp_max clamp_min clone contiguous cos detach div elu eq
    erf exp expm1 gelu ge gt hardshrink hardsigmoid hardswish hardtanh le leaky_relu log
    log1p log_sigmoid lt maximum minimum mish mul ne neg ones_like pow reciprocal relu
    relu6 rsqrt rsub selu sigmoid sign silu sin softplus softshrink sqrt square sub tanh
    threshold to _to_copy where zeros_like
""")
# Each channel by itself.
_POOLING = _names("""
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d
    avg_pool3d max_pool1d max_pool2d max_pool3d pixel_shuffle pixel_unshuffle
    upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d upsample_trilinear3d
""")
# Those that work along axes which an argument names.
_ALONG = _names("""
    amax amin cat flip log_softmax logsumexp mean narrow permute select slice softmax
    squeeze sum transpose unsqueeze
""")
_SHAPES = _names("flatten reshape squeeze unflatten view _unsafe_view")
_LAYERS = _names("""
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear
""")
# How many axes they want behind the channels, where their names do not say it.
_N_PLACES = {"linear": 0, "pixel_shuffle": 2, "pixel_unshuffle": 2}
_NORMS = _names("batch_norm group_norm instance_norm")


class WideNetwork:
    """A network's operations, made wide.

    Parameters
    ----------
    graph : Graph
        Its inputs are the parameters and buffers, then images, then masks.
    names : list of str
        Of the parameters and buffers.
    cumulative : set of str
        Names of batch normalisations that take the mean over all batches.

    Raises
    ------
    ValueError
        If an operation is not known to keep networks apart.
    """

    def __init__(
        self, graph: Graph, names: Sequence[str], cumulative: frozenset[str]
    ) -> None:
        self.graph, self.cumulative = graph, cumulative
        self.given = dict(zip(graph.inputs, names, strict=False))
        self.by_name = {name: node for node, name in self.given.items()}
        #: What has the networks side by side on its second axis.
        self.wide = set(graph.inputs[len(names) :])
        self.steps: list[tuple[Step, Sequence[fx.Node], Sequence[fx.Node]]] = []
        for node in graph.nodes:
            if node.op == "call_function":
                self._add(node)
        outputs = graph.outputs
        if any(node not in self.wide for node in outputs):
            raise ValueError("an output does not depend on the images")
        self.constants = {
            node: getattr(graph.module, node.target)
            for node in graph.nodes
            if node.op == "get_attr"
        }

    def __call__(self, n: int, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return outputs (b, n * k, ...) of n networks."""
        values: Values = dict(zip(self.graph.inputs, inputs, strict=True))
        values.update(self.constants)
        for run, places, done in self.steps:
            made = run(n, values)
            for place in places:
                values[place] = made
            for node in done:
                values.pop(node, None)
        return [values[node] for node in self.graph.outputs]

    def _add(self, node: Any) -> None:
        """Add the step that does an operation for all networks at once."""
        if not isinstance(node.target, Operator):
            raise ValueError(f"{node.target} is not known to keep networks apart")
        name = operator_name(node.target)
        outputs, done = set(self.graph.outputs), self.graph.last_read_at(node)
        done = [other for other in done if other not in outputs]
        places = [node]
        if name == "add_" and node.args[0] in self.given:
            run = self._counted(node)
        elif name.endswith("_") and name[:-1] in _ELEMENTWISE:
            # What only comes later will read is made anew.
            self._check_places(node)
            if self.graph.is_shared(node.args[0], node):
                raise ValueError(f"{name} changes what is read elsewhere, too")
            run = _calling(with_types_of(name[:-1], node.target), node)
            places.append(node.args[0])
        else:
            run = self._made(node, name)
        self.steps.append((run, places, done))
        self.wide.add(node)

    def _made(self, node: Any, name: str) -> Step:
        """Return what makes a new value."""
        args = _arguments(node)
        if name in _SHAPES and self._keeps_rows(node):
            return _reshaped(node)
        if name == "dropout" and not (args["train"] and args["p"]):
            self._check_wide(node.args[0])
            return lambda n, values: values[node.args[0]]
        if name == "cat" and args["dim"] in (1, 1 - _ndim(node)):
            return self._joined(node)
        if name in _LAYERS:
            return self._layer(node, name, args)
        if name in _NORMS:
            return self._norm(node, name, args)
        if name in _ELEMENTWISE:
            self._check_places(node)
        elif name in _POOLING:
            self._check_ndim(node, name)
        elif name == "pad" and len(args["pad"]) <= 2 * (_ndim(node.args[0]) - 2):
            self._check_wide(node.args[0])
        elif name in _ALONG:
            self._check_axes(node, name, args)
        else:
            raise ValueError(f"{name} is not known to keep networks apart")
        return _calling(node.target, node)

    # ------------------------------------------------------------ what is checked

    def _check_wide(self, *nodes: Any) -> None:
        if any(node not in self.wide for node in nodes):
            raise ValueError("weights are used in another way than layers do")

    def _check_ndim(self, node: Any, name: str) -> None:
        self._check_wide(node.args[0])
        n_places = _N_PLACES[name] if name in _N_PLACES else int(name[-2])
        if _ndim(node.args[0]) != 2 + n_places:
            raise ValueError(f"{name} of other axes than rows, channels and places")

    def _check_places(self, node: Any) -> None:
        """Check that what meets at a place is of one network."""
        width = _shape(node)[1:2]
        for other in node.all_input_nodes:
            value = other.meta["val"]
            if other.op == "get_attr" and value.ndim == 0:
                continue  # A number.
            self._check_wide(other)
            if value.ndim != _ndim(node) or value.shape[1:2] != width:
                raise ValueError("channels meet others than those of the same number")

    def _check_axes(self, node: Any, name: str, args: dict[str, Any]) -> None:
        """Check that neither rows nor channels are among the axes of an operation."""
        self._check_wide(*node.all_input_nodes)
        ndim = max(_ndim(node), _ndim(node.all_input_nodes[0]))
        if name == "slice" and _shape(node) == _shape(node.args[0]):
            return
        if name == "transpose":
            axes = [args["dim0"], args["dim1"]]
        elif name == "permute":
            axes = [new for new, old in enumerate(args["dims"]) if new != old % ndim]
        else:
            given = args.get("dim", args.get("dims"))
            axes = list(given) if isinstance(given, (list, tuple)) else [given]
        if not axes or any(axis is None or axis % ndim < 2 for axis in axes):
            raise ValueError(f"{name} along another axis than those of places")

    def _keeps_rows(self, node: Any) -> bool:
        self._check_wide(node.args[0])
        before, after = _shape(node.args[0]), _shape(node)
        return len(after) > 1 and before[0] == after[0]

    def _own(self, node: Any) -> str:
        """Return the name of a parameter or buffer."""
        if node not in self.given:
            raise ValueError("a layer's weights are computed from others")
        return self.given[node]

    # --------------------------------------------------------- what changes values

    def _counted(self, node: Any) -> Step:
        """Return what adds a number to a buffer, as normalisations count batches."""
        counter, number = node.args[:2]
        name = self._own(counter)
        if not name.endswith("num_batches_tracked") or isinstance(number, fx.Node):
            raise ValueError(f"{name} changes")
        return lambda n, values: values[counter].add_(number)

    def _joined(self, node: Any) -> Step:
        """Return what puts each network's channels side by side."""
        parts = list(node.args[0])
        self._check_wide(*parts)
        if any(_ndim(part) != _ndim(node) for part in parts):
            raise ValueError("cat of different numbers of axes")

        def run(n: int, values: Values) -> torch.Tensor:
            apart = [values[part].unflatten(1, (n, -1)) for part in parts]
            return torch.cat(apart, 2).flatten(1, 2)

        return run

    def _layer(self, node: Any, name: str, args: dict[str, Any]) -> Step:
        """Return the step of a layer with weights of each network's own."""
        x, weight, bias = args["input"], args["weight"], args["bias"]
        self._own(weight)
        if bias is not None:
            self._own(bias)
        self._check_ndim(node, name)
        if name == "linear":
            return functools.partial(_linear, x, weight, bias)
        kind = _transposed_convolution if "transpose" in name else _convolution
        return functools.partial(kind, getattr(F, name), args)

    def _norm(self, node: Any, name: str, args: dict[str, Any]) -> Step:
        """Return the step of a normalisation."""
        self._check_wide(node.args[0])
        for key in ("weight", "bias", "running_mean", "running_var"):
            if args.get(key) is not None:
                self._own(args[key])
        if name == "group_norm":
            return functools.partial(_group_norm, args)
        if name == "instance_norm":
            return functools.partial(_instance_norm, args)
        count = None
        if args["running_mean"] is not None and args["training"]:
            prefix = self.given[args["running_mean"]].removesuffix("running_mean")
            if prefix in self.cumulative:
                count = self.by_name[f"{prefix}num_batches_tracked"]
        return functools.partial(_batch_norm, args, count)


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _ndim(node: Any) -> int:
    return len(_shape(node))


def _arguments(node: Any) -> dict[str, Any]:
    """Return the arguments of an operation by name, with those not given."""
    known = operator_arguments(node.target)
    found = {argument.name: argument.default_value for argument in known}
    found.update(zip([argument.name for argument in known], node.args, strict=False))
    return found | node.kwargs


def _calling(function: Callable, node: Any) -> Step:
    """Return what calls a function with the arguments of an operation."""

    def run(n: int, values: Values) -> Any:
        args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
        return function(*args, **kwargs)

    return run


def _reshaped(node: Any) -> Step:
    x: Any = node.args[0]
    n_channels, *places = _shape(node)[1:]

    def run(n: int, values: Values) -> torch.Tensor:
        value = values[x]
        return value.reshape(len(value), n * n_channels, *places)

    return run


def _joined_or_none(values: Values, node: Any) -> Any:
    """Return a parameter or buffer with the networks on its first axis."""
    # torch's batch normalisation goes backward as if its weights were contiguous.
    return None if node is None else values[node].flatten(0, 1).contiguous()


def _with_bias(outputs: torch.Tensor, values: Values, bias: Any) -> torch.Tensor:
    """Add the bias, whose gradient takes libraries long where groups are small."""
    if bias is None:
        return outputs
    joined = _joined_or_none(values, bias)
    return outputs.add_(joined.view(-1, *[1] * (outputs.ndim - 2)))


def _convolution(
    convolve: Callable, args: dict[str, Any], n: int, values: Values
) -> torch.Tensor:
    """Return the convolution of all networks' images, as one with groups."""
    x, weight = values[args["input"]], values[args["weight"]]
    groups = n * args["groups"]
    if (n_shared := _n_shared(x, weight, args["groups"])) > 1:
        weight = _block_diagonal(weight, n_shared)
        groups //= n_shared
    weight = weight.flatten(0, 1)
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        weight = weight.contiguous(memory_format=torch.channels_last)
    rest = args["stride"], args["padding"], args["dilation"], groups
    return _with_bias(convolve(x, weight, None, *rest), values, args["bias"])


def _n_shared(x: torch.Tensor, weight: torch.Tensor, groups: int) -> int:
    """Return how many networks to convolve in one group.

    With few channels each, they fill a vector register of a processor together; the
    zeros between them cost nothing then. Images alone are convolved so: what is not
    finite must not get from one network to others, neither by inputs nor by their
    gradients.
    """
    if x.requires_grad or groups > 1 or x.device.type != "cpu":
        return 1
    n, n_channels = weight.shape[:2]
    limit = max(1, _n_lanes() // n_channels)
    most = max(i for i in range(1, limit + 1) if n % i == 0)
    return most if most > 1 and x.sum().isfinite() else 1


def _block_diagonal(weight: torch.Tensor, n_shared: int) -> torch.Tensor:
    """Return weights (n, out, in, ...) for inputs that some networks share.

    The shape is (n / n_shared, n_shared * out, n_shared * in, ...).
    """
    blocks = weight.unflatten(0, (-1, n_shared)).movedim(1, -1)
    # Axes: group, out, in, size, and the network twice.
    blocks = torch.diag_embed(blocks).movedim((-2, -1), (1, 3))
    return blocks.flatten(3, 4).flatten(1, 2)


@functools.cache
def _n_lanes() -> int:
    """Return how many float32 a vector register of this processor holds."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"AVX512": 16, "AVX2": 8}.get(capability, 4)


def _transposed_convolution(
    convolve: Callable, args: dict[str, Any], n: int, values: Values
) -> torch.Tensor:
    weight = _joined_or_none(values, args["weight"])
    rest = args["stride"], args["padding"], args["output_padding"]
    x, groups = values[args["input"]], n * args["groups"]
    outputs = convolve(x, weight, None, *rest, groups, args["dilation"])
    return _with_bias(outputs, values, args["bias"])


def _linear(x: Any, weight: Any, bias: Any, n: int, values: Values) -> torch.Tensor:
    turned = values[weight].transpose(1, 2)
    rows = values[x].unflatten(1, (n, -1)).transpose(0, 1)
    if bias is None:
        outputs = torch.bmm(rows, turned)
    else:
        outputs = torch.baddbmm(values[bias][:, None], rows, turned)
    return outputs.transpose(0, 1).flatten(1)


def _batch_norm(
    args: dict[str, Any], count: Any, n: int, values: Values
) -> torch.Tensor:
    """Return all networks' batches normalised, each channel by itself."""
    keys = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (_joined_or_none(values, args[key]) for key in keys)
    running = mean, var
    if count is not None:
        # The mean over all batches, of which each network has had its own number.
        mean, var = mean.clone(), var.clone()
    rest = args["training"], args["momentum"], args["eps"]
    outputs = F.batch_norm(values[args["input"]], mean, var, weight, bias, *rest)
    if count is not None:
        part = values[count].to(mean).reciprocal().repeat_interleave(len(mean) // n)
        for value, new in zip(running, (mean, var), strict=True):
            value.lerp_(new, part)
    return outputs


def _group_norm(args: dict[str, Any], n: int, values: Values) -> torch.Tensor:
    weight, bias = (_joined_or_none(values, args[key]) for key in ("weight", "bias"))
    n_groups = n * args["num_groups"]
    return F.group_norm(values[args["input"]], n_groups, weight, bias, args["eps"])


def _instance_norm(args: dict[str, Any], n: int, values: Values) -> torch.Tensor:
    keys = ("running_mean", "running_var", "weight", "bias")
    joined = [_joined_or_none(values, args[key]) for key in keys]
    options = {key: args[key] for key in ("use_input_stats", "momentum", "eps")}
    return F.instance_norm(values[args["input"]], *joined, **options)
