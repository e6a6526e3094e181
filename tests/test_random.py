"""Random numbers from one seed, and from nobody else's generators."""

import random

import numpy as np
import pytest
import torch

from skvision._random import draw_seed, isolated_random_state, next_seed

CPU = torch.device("cpu")


def draw():
    """Return the next number of each global generator."""
    return random.random(), np.random.random_sample(), torch.rand(()).item()


def seed_all(seed=7):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture(autouse=True)
def _global_generators():
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.mark.parametrize("seed", [None, 0, 2**31 - 2])
def test_state_comes_back(seed):
    seed_all()
    expected = draw()
    seed_all()
    with isolated_random_state(CPU, seed):
        for _ in range(3):
            draw()
    assert draw() == expected


def test_state_comes_back_after_an_error():
    seed_all()
    expected = draw()
    seed_all()
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), isolated_random_state(CPU, 3):
            draw()
            raise error
    assert draw() == expected


def test_a_seed_decides_what_is_drawn():
    numbers = []
    for outside in (1, 2):
        seed_all(outside)
        with isolated_random_state(CPU, 5):
            numbers.append(draw())
    assert numbers[0] == numbers[1]
    with isolated_random_state(CPU, 6):
        assert all(a != b for a, b in zip(draw(), numbers[0], strict=True))


def test_without_a_seed_the_state_goes_on():
    seed_all()
    expected = draw()
    seed_all()
    with isolated_random_state(CPU):
        assert draw() == expected


def test_nested():
    with isolated_random_state(CPU, 1):
        first = draw()
        second = draw()
    with isolated_random_state(CPU, 1):
        assert draw() == first
        with isolated_random_state(CPU, 2):
            draw()
        assert draw() == second


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
def test_state_of_a_gpu_comes_back():
    device = torch.device("cuda", 0)
    torch.cuda.manual_seed(3)
    expected = torch.rand((), device=device).item()
    torch.cuda.manual_seed(3)
    numbers = []
    for _ in range(2):
        with isolated_random_state(device, 1):
            numbers.append(torch.rand((), device=device).item())
    assert numbers[0] == numbers[1] != expected
    assert torch.rand((), device=device).item() == expected


def test_drawn_seeds():
    assert draw_seed(0) == draw_seed(0) == draw_seed(np.random.RandomState(0))
    assert draw_seed(0) != draw_seed(1)
    state = np.random.RandomState(0)
    assert draw_seed(state) != draw_seed(state)
    for random_state in (0, None, 2**32 - 1):
        seed = draw_seed(random_state)
        assert isinstance(seed, int)
        assert 0 <= seed < 2**31


def test_no_seed_is_a_fresh_one():
    seed_all()
    expected = draw()
    seed_all()
    seeds = {draw_seed(None) for _ in range(10)}
    assert len(seeds) > 5
    assert draw() == expected
    # Fresh even where the global generators are in the same state.
    seed_all()
    first = draw_seed(None)
    seed_all()
    assert draw_seed(None) != first


def test_seeds_from_a_generator():
    seeds = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        seeds.append([next_seed(generator) for _ in range(5)])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 5
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in seeds[0])
