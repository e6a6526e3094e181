"""What a network computes, as a graph of torch's operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from skvision._compat import memory_key


class Graph:
    """Operations in their order, and which of their results share memory.

    Parameters
    ----------
    module : torch.fx.GraphModule
        That returns a list.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        nodes = list(module.graph.nodes)
        self.inputs = [node for node in nodes if node.op == "placeholder"]
        self.nodes = [
            node for node in nodes if node.op in ("call_function", "get_attr")
        ]
        self.outputs: list[Any] = list(nodes[-1].args[0])
        self._places = {node: place for place, node in enumerate(nodes)}
        #: Where a result is read last.
        self._last = {
            node: max((self._places[user] for user in node.users), default=-1)
            for node in nodes
        }
        self._sharing: dict[int, list[fx.Node]] = defaultdict(list)
        for node in nodes:
            if isinstance(node.meta.get("val"), torch.Tensor):
                self._sharing[_memory(node)].append(node)

    def last_read_at(self, place: fx.Node) -> list[fx.Node]:
        """Return results that nothing reads after an operation."""
        read = [node for node in place.all_input_nodes if node.op != "placeholder"]
        return [node for node in read if self._last[node] == self._places[place]]

    def is_shared(self, node: fx.Node, place: fx.Node) -> bool:
        """Whether the memory of a result is of more than an operation reads.

        It may have been given to the network, or other results in it are read later.
        Those that are made afterwards are made of what the operation has left.
        """
        end = self._places[place]
        others = [n for n in self._sharing[_memory(node)] if n is not node]
        return any(n.op in ("placeholder", "get_attr") for n in (node, *others)) or any(
            self._places[n] < end < self._last[n] for n in others
        )


def _memory(node: fx.Node) -> int:
    return memory_key(node.meta["val"].untyped_storage())


def trace(
    function: Callable[..., Sequence[torch.Tensor]], inputs: Sequence[torch.Tensor]
) -> Graph:
    """Return the operations by which a function comes from tensors to a list of others.

    It is run on tensors without numbers, so that what decides by numbers, or hands them
    to others than torch, is an error.
    """
    traced = make_fx(
        function,
        tracing_mode="fake",
        pre_dispatch=True,
        # Constants that are part of a network.
        _allow_non_fake_inputs=True,
    )
    return Graph(traced(*inputs))
