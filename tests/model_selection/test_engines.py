"""Many networks in one pass compute what each of them computes."""

import pytest
import torch
from skvision_tests import Calling
from torch import nn

from skvision.model_selection import _wide
from skvision.model_selection._engines import (
    Grouped,
    Vmapped,
    dropout_calls,
    joined_state,
)
from skvision.model_selection._optimizers import _side_by_side

N_NETWORKS, N_ROWS = 3, 4


def sequence(*layers):
    return lambda: nn.Sequential(*(make() for make in layers))


def make(kind, *args, **kwargs):
    return lambda: kind(*args, **kwargs)


def view():
    layers = {"conv": nn.Conv2d(2, 3, 3), "linear": nn.Linear(48, 5)}
    return Calling(lambda m, x: m.linear(m.conv(x).tanh().view(len(x), -1)), **layers)


def softmax():
    return Calling(lambda m, x: m.conv(x).softmax(1), conv=nn.Conv2d(2, 3, 3))


def own_parameter():
    network = Calling(lambda m, x: m.conv(x) * m.scale, conv=nn.Conv2d(2, 3, 3))
    network.scale = nn.Parameter(torch.rand(3, 1, 1))
    return network


def twice():
    """One layer in two places."""
    layer = nn.Conv2d(2, 2, 3, padding=1)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Flatten(), nn.Linear(72, 3))


def tied():
    """Two layers with one weight."""
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second)


def tuple_of_outputs():
    layers = {"conv": nn.Conv2d(2, 3, 3), "other": nn.Conv2d(2, 4, 1)}
    return Calling(lambda m, x: (m.conv(x), m.other(x)), **layers)


def constant_branch():
    """A layer that has no influence."""
    layers = {"conv": nn.Conv2d(2, 3, 3), "unused": nn.Linear(2, 2)}
    return Calling(lambda m, x: m.conv(x), **layers)


IMAGE, ROW, FLAT = (2, 6, 6), (2, 9), (6,)
BOTH = {
    "Conv1d": (make(nn.Conv1d, 2, 4, 3, groups=2, dilation=2), ROW),
    "Conv1d circular": (
        make(nn.Conv1d, 2, 3, 3, padding=2, padding_mode="circular"),
        ROW,
    ),
    "Conv2d": (make(nn.Conv2d, 2, 4, (3, 2), stride=(2, 1), bias=False), IMAGE),
    "Conv2d in groups": (make(nn.Conv2d, 2, 4, 3, groups=2, padding=1), IMAGE),
    "Conv2d same": (make(nn.Conv2d, 2, 3, (3, 4), padding="same"), IMAGE),
    "Conv2d reflect": (
        make(nn.Conv2d, 2, 3, 3, padding=(2, 1), padding_mode="reflect"),
        IMAGE,
    ),
    "Conv2d replicate": (
        make(nn.Conv2d, 2, 4, 3, groups=2, padding=1, padding_mode="replicate"),
        IMAGE,
    ),
    "Conv2d circular same": (
        make(nn.Conv2d, 2, 3, 3, padding="same", padding_mode="circular"),
        IMAGE,
    ),
    "Conv3d": (make(nn.Conv3d, 2, 3, 2), (2, 3, 4, 4)),
    "ConvTranspose1d": (make(nn.ConvTranspose1d, 2, 3, 3, stride=2), ROW),
    "ConvTranspose2d": (
        make(
            nn.ConvTranspose2d,
            2,
            4,
            3,
            stride=2,
            padding=1,
            output_padding=1,
            groups=2,
            dilation=2,
        ),
        IMAGE,
    ),
    "BatchNorm1d": (make(nn.BatchNorm1d, 6, momentum=0.3, eps=1e-3), FLAT),
    "BatchNorm2d": (
        sequence(make(nn.Conv2d, 2, 3, 3), make(nn.BatchNorm2d, 3), nn.ReLU),
        IMAGE,
    ),
    "one channel": (
        sequence(make(nn.Conv2d, 2, 1, 3), make(nn.BatchNorm2d, 1), nn.Tanh),
        IMAGE,
    ),
    "BatchNorm2d without weights": (make(nn.BatchNorm2d, 2, affine=False), IMAGE),
    "BatchNorm2d without memory": (
        make(nn.BatchNorm2d, 2, track_running_stats=False),
        IMAGE,
    ),
    "GroupNorm": (make(nn.GroupNorm, 2, 6), (6, 3, 3)),
    "InstanceNorm2d": (make(nn.InstanceNorm2d, 2), IMAGE),
    "InstanceNorm2d with weights": (
        make(nn.InstanceNorm2d, 2, affine=True, track_running_stats=True),
        IMAGE,
    ),
    "LocalResponseNorm": (
        sequence(make(nn.Conv2d, 2, 3, 3), make(nn.LocalResponseNorm, 3, alpha=1)),
        IMAGE,
    ),
    "Linear": (
        sequence(make(nn.Linear, 6, 5), nn.ReLU, make(nn.Linear, 5, 3, bias=False)),
        FLAT,
    ),
    "Unflatten": (
        sequence(
            make(nn.Linear, 6, 8),
            make(nn.Unflatten, 1, (2, 2, 2)),
            make(nn.ConvTranspose2d, 2, 1, 2),
        ),
        FLAT,
    ),
    "poolings": (
        sequence(
            make(nn.Conv2d, 2, 8, 3),
            make(nn.PixelShuffle, 2),
            make(nn.MaxPool2d, 2),
            make(nn.AdaptiveAvgPool2d, 2),
            nn.Flatten,
            make(nn.Linear, 8, 3),
        ),
        IMAGE,
    ),
    "view": (view, IMAGE),
    "twice": (twice, IMAGE),
    "tuple": (tuple_of_outputs, IMAGE),
    "constant branch": (constant_branch, IMAGE),
}
VMAPPED = {
    "softmax": (softmax, IMAGE),
    "own parameter": (own_parameter, IMAGE),
    "tied": (tied, FLAT),
    "LayerNorm": (sequence(make(nn.LayerNorm, 6), make(nn.Linear, 6, 2)), FLAT),
    "PReLU": (sequence(make(nn.Linear, 6, 4), nn.PReLU), FLAT),
    "Linear on the last axis": (make(nn.Linear, 9, 2), ROW),
}
CUMULATIVE = {
    "cumulative BatchNorm2d": (make(nn.BatchNorm2d, 2, momentum=None), IMAGE),
    "cumulative BatchNorm1d": (
        make(nn.BatchNorm1d, 6, momentum=None, affine=False),
        FLAT,
    ),
}
CASES = [
    *((kind, *case) for case in BOTH.items() for kind in (Grouped, Vmapped)),
    *((Grouped, *case) for case in CUMULATIVE.items()),
    *((Vmapped, *case) for case in VMAPPED.items()),
]


def networks(build, dtype=torch.float64, n=N_NETWORKS):
    torch.manual_seed(0)
    modules = [build().to(dtype) for _ in range(n)]
    for module in modules:
        # What a network has seen before is not to be the same for all.
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand_like(buffer) + 0.5)
            elif "num_batches" in name:
                buffer.copy_(torch.randint(1, 9, ()))
    return modules


def images_for(shape, dtype=torch.float64, n=N_NETWORKS):
    generator = torch.Generator().manual_seed(1)
    size = (n, N_ROWS, *shape)
    return torch.rand(size, generator=generator, dtype=dtype) - 0.5


def as_tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def total(outputs):
    return sum((out.square() + out).sum() for out in as_tuple(outputs))


def check(kind, modules, x, channels_last=False, masks=(), needs_grad=True):
    """Compare outputs, gradients and buffers with those of the networks.

    `needs_grad` tells if images have gradients, too.
    """
    engine = kind(modules[0], channels_last=channels_last)
    engine.set_mode(modules[0])
    params, buffers = joined_state(modules)
    # As they are from the second step on.
    for dtype in {value.dtype for value in params.values()}:
        _side_by_side(params, [k for k, v in params.items() if v.dtype == dtype])
    x = x.clone().requires_grad_(needs_grad)
    outputs = engine(params, buffers, x, masks)
    leaves = [*([x] if needs_grad else []), *params.values()]
    grads = torch.autograd.grad(total(outputs), leaves, allow_unused=True)
    for i, module in enumerate(modules):
        inputs = x.detach()[i].clone().requires_grad_(needs_grad)
        expected = module(inputs)
        leaves = [*([inputs] if needs_grad else []), *module.parameters()]
        wanted = torch.autograd.grad(total(expected), leaves, allow_unused=True)
        found = [None if grad is None else grad[i] for grad in grads]
        for out, other in zip(as_tuple(outputs), as_tuple(expected), strict=True):
            assert_close(out[i], other)
        for grad, other in zip(found, wanted, strict=True):
            assert (grad is None) == (other is None)
            if grad is not None:
                assert_close(grad, other)
        for name, value in module.named_buffers():
            assert_close(buffers[name][i], value)


def assert_close(found, expected):
    tolerance = 1e-12 if expected.dtype == torch.float64 else 0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("kind", "name", "case"), CASES, ids=[f"{k.__name__}-{n}" for k, n, _ in CASES]
)
def test_outputs_gradients_and_buffers(kind, name, case):
    build, shape = case
    x = images_for(shape)
    for training in (True, False):
        for last in (True, False) if len(shape) == 3 else (False,):
            modules = [module.train(training) for module in networks(build)]
            check(kind, modules, x, channels_last=last and name != "view")


@pytest.mark.parametrize(
    ("build", "shape", "reason"),
    [
        (*VMAPPED["own parameter"], "weights are used in another way"),
        (*VMAPPED["LayerNorm"], "layer_norm is not known"),
        (*VMAPPED["PReLU"], "prelu is not known"),
        (*VMAPPED["softmax"], "softmax along another axis"),
        (*VMAPPED["Linear on the last axis"], "linear of other axes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations_that_are_not_known_to_keep_networks_apart(build, shape, reason):
    modules = networks(build)
    engine = Grouped(modules[0], channels_last=False)
    with pytest.raises(ValueError, match=reason):
        engine(*joined_state(modules), images_for(shape))


def test_batches_counted_apart_in_parts_of_a_stack():
    # Networks that have seen different numbers of batches share a pass.
    modules = networks(make(nn.BatchNorm2d, 2, momentum=None))
    counts = [int(module.num_batches_tracked) for module in modules]
    assert len(set(counts)) > 1
    engine = Grouped(modules[0], channels_last=False)
    params, buffers = joined_state(modules)
    x = images_for(IMAGE)
    part = {name: value[1:] for name, value in buffers.items()}
    engine({name: value[1:] for name, value in params.items()}, part, x[1:])
    modules[1](x[1]), modules[2](x[2])
    for i, module in enumerate(modules):
        for name, value in module.named_buffers():
            assert_close(buffers[name][i], value)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("n_lanes", [1, 4, 8, 64])
def test_convolutions_in_one_group(n_lanes, last, monkeypatch):
    monkeypatch.setattr(_wide, "_n_lanes", lambda: n_lanes)
    modules = networks(BOTH["Conv2d reflect"][0], n=4)
    x = images_for(IMAGE, n=4)
    check(Grouped, modules, x, channels_last=last, needs_grad=False)


@pytest.mark.parametrize("where", ["weights", "images"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_stay_where_they_are(value, where, monkeypatch):
    monkeypatch.setattr(_wide, "_n_lanes", lambda: 64)
    layers = make(nn.Conv2d, 2, 2, 3), nn.ReLU, make(nn.Conv2d, 2, 2, 3)
    modules = networks(sequence(*layers), n=4)
    x = images_for(IMAGE, n=4)
    with torch.no_grad():
        (modules[1][0].weight if where == "weights" else x[1]).fill_(value)
    params, buffers = joined_state(modules)
    leaves = [param.requires_grad_() for param in params.values()]
    outputs = Grouped(modules[0], channels_last=True)(params, buffers, x)
    grads = torch.autograd.grad(outputs.square().sum(), leaves)
    assert not outputs[1].isfinite().any()
    for i in (0, 2, 3):
        assert_close(outputs[i], modules[i](x[i]))
        assert all(grad[i].isfinite().all() for grad in grads)


def strided(size, order, dtype):
    """Return a tensor whose axes lie in memory in another order."""
    x = torch.rand([size[axis] for axis in order], dtype=dtype)
    return x.permute([order.index(axis) for axis in range(len(size))])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "size", "order"),
    [
        (nn.Dropout, (4, 50), (0, 1)),
        (nn.Dropout, (4, 50), (1, 0)),
        (nn.Dropout, (4, 6, 5), (0, 2, 1)),
        (nn.Dropout, (4, 3, 5, 5), (0, 1, 2, 3)),
        (nn.Dropout, (4, 3, 5, 5), (0, 2, 3, 1)),
        (nn.Dropout, (4, 3, 5, 5), (0, 1, 3, 2)),
        (nn.Dropout1d, (4, 30, 5), (0, 1, 2)),
        (nn.Dropout2d, (4, 30, 5, 5), (0, 1, 2, 3)),
        (nn.Dropout2d, (4, 30, 5, 5), (0, 2, 3, 1)),
        (nn.Dropout3d, (4, 30, 2, 2, 2), (0, 1, 2, 3, 4)),
    ],
)
def test_masks_are_those_of_the_layer(kind, size, order, dtype):
    layer = kind(0.3)
    x = strided(size, order, dtype)
    (call,) = dropout_calls(nn.Sequential(layer), x)
    torch.manual_seed(0)
    expected = layer(x)
    torch.manual_seed(0)
    mask = call.mask(layer, x)
    assert mask.dtype == dtype
    assert torch.equal(x * mask, expected)
    assert 0 < int((mask == 0).sum()) < mask.numel()


def dropping():
    return nn.Sequential(
        nn.Dropout(0.2),
        nn.Conv2d(2, 3, 3),
        nn.Dropout2d(0.4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.7),
        nn.Linear(48, 3),
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", [Grouped, Vmapped])
def test_networks_with_dropout(kind, channels_last):
    modules, x = networks(dropping), images_for(IMAGE)
    rows = x[0]
    if channels_last:
        rows = rows.contiguous(memory_format=torch.channels_last)
    calls = dropout_calls(modules[0], rows)
    assert [call.name for call in calls] == ["0", "2", "5"]
    by_module = []
    for i, module in enumerate(modules):
        torch.manual_seed(i)
        layers = dict(module.named_modules())
        by_module.append([call.mask(layers[call.name], rows) for call in calls])
    masks = [torch.stack(masks) for masks in zip(*by_module, strict=True)]
    engine = kind(modules[0], channels_last=channels_last)
    for i, module in enumerate(modules):
        module.register_forward_pre_hook(seeding(i, channels_last))
    outputs = engine(*joined_state(modules), x, masks)
    for i, module in enumerate(modules):
        assert_close(outputs[i], module(x[i]))


def seeding(seed, channels_last):
    """Return a hook that has a network draw what its masks were drawn from."""

    def hook(module, args):
        torch.manual_seed(seed)
        order = torch.channels_last if channels_last else torch.contiguous_format
        return (args[0].contiguous(memory_format=order),)

    return hook


def test_frozen_dropout_draws_nothing():
    modules, x = networks(dropping), images_for(IMAGE)
    for module in modules:
        module[0].eval()
        module[2].eval()
    calls = dropout_calls(modules[0], x[0])
    assert [call.name for call in calls] == ["5"]
    masks = [torch.full((N_NETWORKS, N_ROWS, 48), 2.0, dtype=x.dtype)]
    engine = Grouped(modules[0], channels_last=False)
    engine.set_mode(modules[0])
    outputs = engine(*joined_state(modules), x, masks)
    for i, module in enumerate(modules):
        first, last = module[:5].eval(), module[6]
        assert_close(outputs[i], last(2 * first(x[i])))


def test_dropout_along_another_axis_than_the_rows():
    network = nn.Sequential(nn.Flatten(0, 1), nn.Dropout(0.5))
    with pytest.raises(ValueError, match="0|1 drops along another axis"):
        dropout_calls(network, torch.rand(4, 2, 3))
