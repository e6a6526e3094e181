"""What is measured before a search, and that it makes no difference to results."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, ShuffleSplit
from skvision_tests import small
from torch import nn

from skvision.model_selection import (
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    _fits,
    _plan,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RATES = {"lr": [0.03, 0.003]}


@pytest.mark.parametrize("cls", [StackedGridSearchCV, StackedRandomizedSearchCV])
def test_calibration_gives_the_same_results(cls, small_digits, assert_same_results):
    # Whatever it finds to be faster.
    options = {"cv": 3, "scoring": "neg_log_loss"}
    if cls is StackedRandomizedSearchCV:
        options |= {"n_iter": 2, "random_state": 0}
    net, grid = small(module__dropout=0.2), {"module__hidden": [(8,)], **RATES}
    first = cls(net, grid, calibrate=True, **options).fit(*small_digits)
    second = cls(net, grid, calibrate=False, **options).fit(*small_digits)
    assert_same_results(first.cv_results_, second.cv_results_)


@pytest.mark.parametrize("faster", [False, True])
def test_calibration_leaves_generators_alone(
    faster, monkeypatch, small_digits, stack_sizes, assert_same_results
):
    monkeypatch.setattr(_plan, "_MEASURED", 1.0)
    monkeypatch.setattr(_plan, "_PROVING", np.inf)
    monkeypatch.setattr(_plan, "_WORTH_IT", np.inf if faster else 0)
    generator, expected = np.random.RandomState(0), np.random.RandomState(0)
    spaces = {"lr": loguniform(1e-4, 0.1)}
    options = {"n_iter": 2, "refit": False}
    found = StackedRandomizedSearchCV(
        small(),
        spaces,
        random_state=generator,
        cv=ShuffleSplit(2, random_state=generator),
        **options,
    ).fit(*small_digits)
    ordinary = RandomizedSearchCV(
        small(),
        spaces,
        random_state=expected,
        cv=ShuffleSplit(2, random_state=expected),
        **options,
    ).fit(*small_digits)
    assert bool(stack_sizes) == faster
    assert_same_results(found.cv_results_, ordinary.cv_results_)
    np.testing.assert_equal(generator.get_state(), expected.get_state())


class Fading(nn.CrossEntropyLoss):
    """Counts its calls."""

    n_calls = 0

    def forward(self, output, target):
        self.n_calls += 1
        return super().forward(output, target) / self.n_calls


def test_calibration_leaves_criteria_alone(
    monkeypatch, small_digits, stack_sizes, assert_same_results
):
    monkeypatch.setattr(_plan, "_MEASURED", 1.0)
    monkeypatch.setattr(_plan, "_PROVING", np.inf)
    monkeypatch.setattr(_plan, "_WORTH_IT", np.inf)
    options = {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    net = small(criterion=Fading, dtype="float64")
    found = StackedGridSearchCV(net, RATES, **options).fit(*small_digits)
    expected = GridSearchCV(net, RATES, **options).fit(*small_digits)
    assert stack_sizes
    assert_same_results(found.cv_results_, expected.cv_results_)


@pytest.mark.parametrize("calls", [[], ["proof"]], ids=["short", "long"])
def test_short_searches_are_not_measured(calls, monkeypatch, small_digits, stack_sizes):
    # 6 fits of 2 epochs of 10 steps are 120 steps, of which 2 % are two.
    net, seen = small(batch_size=8), []
    monkeypatch.setattr(
        _fits, "find_engine", lambda members: seen.append("proof") or 1 / 0
    )
    if calls:
        monkeypatch.setattr(_plan, "_PROVING", np.inf)
        net.set_params(max_epochs=8)
        with pytest.warns(UserWarning, match="ZeroDivisionError"):
            StackedGridSearchCV(net, RATES, cv=3).fit(*small_digits)
    else:
        StackedGridSearchCV(net, RATES, cv=3).fit(*small_digits)
    assert (seen, stack_sizes) == (calls, [])


@pytest.mark.parametrize("n_networks", [2, 5, 300])
@pytest.mark.parametrize("n_steps", [1, 299, 300, 500, 1799, 1800, 10**6])
def test_what_is_measured(n_steps, n_networks):
    calibration = _plan.Calibration(n_steps, n_networks, n_workers=1)
    measured = calibration.n_times * (1 + calibration.n_networks)
    if n_steps < 300:
        assert calibration.n_networks < 2
    else:
        assert measured <= 0.02 * n_steps
        assert 2 <= calibration.n_networks <= min(8, n_networks)
        assert 2 <= calibration.n_times <= 4
