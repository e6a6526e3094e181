"""Which fits go into a stack, and how many at once."""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from skvision._identity import fingerprint
from skvision._random import isolated_random_state
from skvision.estimators._net import ImageNet
from skvision.estimators._own_steps import own_step
from skvision.estimators._run import TrainingRun
from skvision.model_selection._callbacks import reason_against_callbacks
from skvision.model_selection._memory import saved_bytes
from skvision.model_selection._stack import Stack
from skvision.training._batches import DeviceLoader
from skvision.training._losses import CRITERIA, OPTIMIZERS, resolve
from skvision.training._memory import free_memory

# Optimizers that treat each number by itself.
_ELEMENTWISE = (
    *OPTIMIZERS.values(),
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
)
# What drives a training, which a stack does in the estimator's place.
_DRIVERS = ("fit", "fit_loop", "initialize_optimizer")
# What it does for all members at once, as everything that these call.
_STEPS = ("run_single_epoch", "_prepared", "train_step")
# A stack must be faster by this factor than ordinary fits.
_WORTH_IT = 0.95
# What may be measured of all the steps that there are, and networks at most; more would
# take longer, and tell little more.
_MEASURED, _N_MEASURED = 0.02, 8
# Seconds that a proof takes, roughly; rows of a training step that take as long as the
# images of a network; and the proof's part of the time of ordinary fits.
_PROOF, _PROOF_OF_LAYER, _PROOF_OF_WEIGHT = 0.03, 0.005, 3e-7
_PROOF_OF_NETWORK, _PROVING = 32, 0.1
_LARGEST = 256
# On a CPU, activations that no longer fit into a processor's last cache cost more than
# wide operations gain; the first networks gain most. In bytes, and networks.
_IN_CACHE, _GAIN_MOST = 2**24, 8
# What differs between members of a stack.
_FREE = (
    *("lr", "max_epochs", "random_state", "augment", "noise"),
    *("class_weight", "threshold"),
)
_FREE_PREFIXES = (
    "optimizer",
    "callbacks__",
    "criterion__label_smoothing",
    "module__dropout",
)


def reason_not_stackable(net: Any, fit_params: dict[str, Any]) -> str | None:
    """Return why an estimator's fits cannot be stacked, None if they can."""
    if not isinstance(net, ImageNet):
        return f"{type(net).__name__} is no estimator of skvision"
    if (name := own_step(type(net), _STEPS, _DRIVERS)) is not None:
        return f"{type(net).__name__} has its own {name}"
    callbacks = [] if net.callbacks in (None, "disable") else net.callbacks
    if (reason := reason_against_callbacks(callbacks)) is not None:
        return reason
    if net.compile:
        return "compile=True"
    if net.unfreeze_at is not None:
        return f"unfreeze_at={net.unfreeze_at!r} trains other weights later on"
    criterion = resolve(net.criterion, CRITERIA)
    kind = criterion if isinstance(criterion, type) else type(criterion)
    if issubclass(kind, nn.GaussianNLLLoss):
        return "the criterion GaussianNLLLoss needs more than a network's first output"
    if net.checkpoint_steps is not None:
        return "checkpoint_steps goes by the steps of a single fit"
    optimizer = resolve(net.optimizer, OPTIMIZERS)
    if optimizer not in _ELEMENTWISE:
        return f"the optimizer {getattr(optimizer, '__name__', optimizer)}"
    if others := fit_params.keys() - inspect.signature(net.fit).parameters.keys():
        return f"fit takes no {', '.join(sorted(others))}"
    return None


def plan_key(net: Any) -> str:
    """Return what fits have in common that may be of one structure.

    Raises
    ------
    Unidentified
        If the state of a parameter cannot be told.
    """
    return fingerprint(
        {
            name: value
            for name, value in net.get_params(deep=False).items()
            if name not in _FREE and not name.startswith(_FREE_PREFIXES)
        }
    )


def n_steps(net: Any, n_rows: int) -> int:
    """Return how many training steps there are in a fit, or a few more."""
    size = n_rows if net.batch_size == -1 else max(1, net.batch_size)
    return net.max_epochs * math.ceil(n_rows / size)


class Calibration:
    """Measures whether a stack is faster than ordinary fits, within a budget.

    Parameters
    ----------
    n_steps : int
        Steps of all networks that there are to train.
    n_networks : int
        All those of the stacks.
    n_workers : int
        Processes, each of which has its part of the threads, whatever it does.
    """

    def __init__(self, n_steps: int, n_networks: int, n_workers: int) -> None:
        self.n_steps, self.n_all, self.n_workers = n_steps, n_networks, n_workers
        budget = int(_MEASURED * n_steps)
        #: Networks to measure, fewer than two where there is no time for that.
        self.n_networks = min(n_networks, _N_MEASURED, budget // 2 - 1)
        # The first time tells little.
        self.n_times = min(4, budget // (1 + max(1, self.n_networks)))
        self.alone = 0.0

    @property
    def is_useless(self) -> bool:
        """Whether there is no time to measure a stack."""
        return self.n_networks < 2

    def is_worth_a_proof(self, member: TrainingRun) -> bool:
        """Measure an ordinary step; tell if all take long beside a proof."""
        with self._undisturbed(member):
            self.alone = _seconds(_ordinary_step(member), self.n_times)
        module = member.network
        n_layers = sum(1 for _ in module.modules())
        n_weights = sum(p.numel() for p in module.parameters())
        proof = _PROOF + _PROOF_OF_LAYER * n_layers + _PROOF_OF_WEIGHT * n_weights
        # Each network goes through some images, which counts where batches are small.
        n_rows = len(_batch(member)[0])
        proof += _PROOF_OF_NETWORK / n_rows * self.n_all * self.alone
        return proof < _PROVING * self.n_steps * self.alone

    def pays(self, members: list[TrainingRun], engine: Any) -> bool:
        """Measure a step of a stack; its members are left as they are."""
        with self._undisturbed(members[0]):
            together = _seconds(_stacked_step(members, engine), self.n_times)
        return together / len(members) < _WORTH_IT * self.alone

    @contextmanager
    def _undisturbed(self, member: TrainingRun) -> Iterator[None]:
        """Measure on a worker's threads, and leave generators as they are."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(max(1, n_threads // self.n_workers))
        try:
            with (
                isolated_random_state(member.net.device_, alone=True),
                torch.enable_grad(),
            ):
                yield
        finally:
            torch.set_num_threads(n_threads)


def _seconds(step: Callable[[], None], n_times: int) -> float:
    seconds = []
    for _ in range(n_times):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _batch(member: TrainingRun) -> tuple[Any, ...]:
    net, data = member.net, member.data
    size = len(data) if net.batch_size == -1 else min(net.batch_size, len(data))
    loader = DeviceLoader([data[:size]], net.device_, data.images.steps)
    return next(iter(loader))


def _ordinary_step(member: TrainingRun) -> Callable[[], None]:
    """Return a function that makes one step of a fit as ``fit`` does it."""
    net, batch = member.net, _batch(member)
    # A copy trains; what it needs beside the network does not change.
    other = member.copied()
    other.net.callbacks_ = []

    def step() -> None:
        with isolated_random_state(net.device_, 0):
            other.net.train_step(other.for_step(other.prepared(batch, training=True)))
        if net.device_.type == "cuda":
            torch.cuda.synchronize(net.device_)

    return step


def _stacked_step(members: list[TrainingRun], engine: Any) -> Callable[[], None]:
    """Return a function that makes a step of a stack, which leaves them as they are."""
    stack = Stack([_trial(member) for member in members], engine)
    device = stack.net.device_
    batches = {i: m.prepared(_batch(m)) for i, m in enumerate(stack.members)}

    def step() -> None:
        stack._step(batches)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def _trial(member: TrainingRun) -> TrainingRun:
    """Return a member that shares the network of another one, and nothing it counts."""
    trial = copy.copy(member)
    trial.states = dict(member.states or {})
    trial.hears_batches = False
    trial.net = object.__new__(type(member.net))
    vars(trial.net).update(vars(member.net))
    trial.net.criterion_ = copy.deepcopy(member.net.criterion_)
    return trial


def largest_stack(member: TrainingRun, max_stack: int | None, n_workers: int) -> int:
    """Return how many networks like one to train at once.

    They fit into their part of half of the memory that is free and, unless `max_stack`
    is given, on a CPU roughly into its cache.
    """
    net = member.net
    X, *_ = _batch(member)
    module = copy.deepcopy(member.network).train()
    with isolated_random_state(net.device_, 0):
        saved = saved_bytes(module, member.to_input(X))
    weights = sum(p.nbytes for p in module.parameters())
    # Weights, gradients twice, two states, the network's own copy of all but the
    # gradients, and what a step makes of them; activations and their gradients.
    needed = 10 * weights + 2 * saved + X.nbytes
    fitting = max(1, free_memory(net.device_) // 2 // max(needed, 1))
    fitting //= n_workers
    if max_stack is None:
        max_stack = _LARGEST
        if net.device_.type == "cpu":
            max_stack = min(max_stack, max(_GAIN_MOST, _IN_CACHE // max(saved, 1)))
    return min(fitting, max_stack)
