"""Settings of optimizers that change while there is a state."""

import pytest
import torch

from skvision.training._optimizers import set_groups


def trained(kind, **settings):
    """Return an optimizer that has made a step, of two groups."""
    weights = [torch.ones(3, requires_grad=True) for _ in range(2)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr_mult": 0.5}]
    optimizer = kind(groups, lr=0.1, **settings)
    sum(weight.square().sum() for weight in weights).backward()
    optimizer.step()
    return optimizer, weights


@pytest.mark.parametrize(
    ("kind", "before", "now", "kept"),
    [
        (torch.optim.SGD, {"momentum": 0.5}, {"momentum": 0.9}, True),
        (torch.optim.Adam, {}, {"betas": (0.5, 0.9), "weight_decay": 0.1}, True),
        (torch.optim.Adam, {}, {"amsgrad": True}, False),
        (torch.optim.Adam, {"amsgrad": True}, {"amsgrad": False}, True),
        (torch.optim.RMSprop, {}, {"momentum": 0.5}, False),
        (torch.optim.RMSprop, {}, {"centered": True}, False),
        (torch.optim.RMSprop, {}, {"lr": 0.5}, True),
    ],
)
def test_a_state_is_kept_while_it_is_of_use(kind, before, now, kept):
    optimizer, weights = trained(kind, **before)
    for name, value in now.items():
        assert set_groups(optimizer, None, name, value)
    assert (len(optimizer.state) == 2) is kept
    optimizer.step()
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_one_group_or_all():
    optimizer, _ = trained(torch.optim.SGD)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    assert set_groups(optimizer, None, "lr", 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]
    assert optimizer.param_groups[0]["initial_lr"] == 0.5
    assert set_groups(optimizer, 1, "lr", 4.0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 4.0]
    assert not set_groups(optimizer, 2, "lr", 1.0)
    assert not set_groups(optimizer, None, "betas", (0.5, 0.5))
    assert "betas" not in optimizer.param_groups[0]
