"""What cannot be stacked, what fails, and what does not fit into memory."""

import pickle
import random
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochScoring, Freezer
from skvision_tests import small
from torch import nn

from skvision import ImageClassifier
from skvision.exceptions import DivergedError
from skvision.model_selection import StackedGridSearchCV
from skvision.model_selection._plan import reason_not_stackable
from skvision.model_selection._proof import _Trial
from skvision.model_selection._stack import Stack
from skvision.model_selection._trainer import Request, Trainer
from skvision.networks import MLP
from skvision.training._memory import free_memory

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error:Some fits are made one by one"),
]
ONE_BY_ONE = "Some fits are made one by one, since they cannot be stacked: "
RATES = {"lr": [0.03, 0.003]}
LBFGS = {"optimizer": torch.optim.LBFGS, "optimizer__max_iter": 2}


@pytest.fixture
def compare(small_digits, assert_same_results):
    """Function that makes both searches, and compares their results."""

    def run(net, grid, max_stack=None, **options):
        X, y = (part[:80] for part in small_digits)
        options = {"cv": 3, "scoring": "neg_log_loss", "refit": False} | options
        own = {"calibrate": False, "max_stack": max_stack}
        stacked = StackedGridSearchCV(net, grid, **own, **options).fit(X, y)
        ordinary = GridSearchCV(net, grid, **options).fit(X, y)
        assert_same_results(stacked.cv_results_, ordinary.cv_results_)
        return stacked

    return run


# ------------------------------------------------------------- fits made one by one


class Clipping(ImageClassifier):
    def on_grad_computed(self, net, **kwargs):
        nn.utils.clip_grad_norm_(self.module_.parameters(), 0.01)


class Halved(ImageClassifier):
    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs) / 2


class OwnSGD(torch.optim.SGD):
    """Might do anything."""


REASONS = {
    "the callback Freezer": small(callbacks=[Freezer("*")]),
    "the callback Named": small(callbacks=[("a", type("Named", (EpochScoring,), {}))]),
    "compile=True": small(compile=True),
    "unfreeze_at=2 trains other weights": small(freeze="*0*", unfreeze_at=2),
    "the optimizer LBFGS": small(optimizer=torch.optim.LBFGS),
    "the optimizer OwnSGD": small(optimizer=OwnSGD),
    "Clipping has its own on_grad_computed": small(Clipping),
    "Halved has its own get_loss": small(Halved),
    "Pipeline is no estimator": make_pipeline(small()),
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons(reason):
    assert reason_not_stackable(REASONS[reason], {}).startswith(reason)


def test_no_reasons():
    callbacks = [EpochScoring("accuracy"), ("other", EpochScoring("f1_macro"))]
    assert (
        reason_not_stackable(small(callbacks=callbacks), {"sample_weight": None})
        is None
    )
    assert reason_not_stackable(small(callbacks="disable"), {}) is None
    assert reason_not_stackable(small(), {"other": 1}) == "fit takes no other"


@pytest.mark.parametrize("net", [small(Clipping), small(**LBFGS, max_epochs=1)])
def test_all_one_by_one(net, compare, stack_sizes):
    with pytest.warns(UserWarning, match=ONE_BY_ONE):
        compare(net, RATES)
    assert stack_sizes == []


class Drawing(nn.CrossEntropyLoss):
    """Draws from a generator for each batch."""

    def forward(self, output, target):
        return super().forward(output, target) * (0.5 + self.draw())


class OfTorch(Drawing):
    def draw(self):
        return torch.rand(()).item()


class OfNumPy(Drawing):
    def draw(self):
        return np.random.random()


class OfPython(Drawing):
    def draw(self):
        return random.random()


class Elsewhere(nn.CrossEntropyLoss):
    """Lets another thread draw."""

    def forward(self, output, target):
        thread = threading.Thread(target=random.random)
        thread.start()
        thread.join()
        return super().forward(output, target)


@pytest.mark.parametrize("criterion", [OfTorch, OfNumPy, OfPython, Elsewhere])
def test_criteria_that_draw_are_stacked(criterion, compare, stack_sizes):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    compare(small(criterion=criterion, max_epochs=2, random_state=0), RATES)
    assert stack_sizes == [6, 6]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert random.getstate() == states[0]


def test_some_one_by_one(compare, stack_sizes):
    # The first candidate's optimizer can be stacked, the second one's cannot.
    grid = [{"optimizer": ["adam"]}, {k: [v] for k, v in LBFGS.items()}]
    grid.append({"optimizer": ["sgd"]})
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "the optimizer LBFGS"):
        stacked = compare(small(max_epochs=1), grid)
    assert stack_sizes == [6]
    assert (stacked.cv_results_["mean_fit_time"] > 0).all()


def test_splits_are_there_for_ordinary_fits_too(compare, small_digits):
    rows = np.arange(80)
    splits = [(rows[:50], rows[50:]), (rows[20:], rows[:20])]
    X, y = (part[:80] for part in small_digits)
    net = small(**LBFGS, max_epochs=1)
    with pytest.warns(UserWarning, match=ONE_BY_ONE):
        search = StackedGridSearchCV(net, RATES, cv=iter(splits)).fit(X, y)
    assert search.n_splits_ == 2


def test_pipeline(small_digits):
    X, y = small_digits
    rows = X.reshape(120, 64) / 255
    grid = {"imageclassifier__lr": [0.1, 0.01]}
    net = make_pipeline(StandardScaler(), small())
    with pytest.warns(UserWarning, match="StackedGridSearchCV trains Pipeline one by"):
        search = StackedGridSearchCV(net, grid, cv=2).fit(rows, y)
    expected = GridSearchCV(net, grid, cv=2).fit(rows, y)
    for one, other in zip(
        *(s.cv_results_["params"] for s in (search, expected)), strict=True
    ):
        assert one == other
    scores = (s.cv_results_["mean_test_score"] for s in (search, expected))
    np.testing.assert_array_equal(*scores)


class Tied(nn.Module):
    """Two layers with one weight, normalised by hooks."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.utils.weight_norm(nn.Linear(64, n_outputs))

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).tanh()))


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.first = self.second = nn.Linear(64, 64)
        self.head = nn.Linear(64, n_outputs)

    def forward(self, x):
        return self.head(self.second(self.first(x.flatten(1)).tanh()))


class View(nn.Module):
    """Counts on the number of its channels."""

    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.linear = nn.Linear(144, n_outputs)

    def forward(self, x):
        return self.linear(self.conv(x).relu().view(-1, 144))


class Noise(nn.Module):
    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.linear = nn.Linear(64, n_outputs)

    def forward(self, x):
        x = x.flatten(1)
        return self.linear(nn.functional.dropout(x, 0.5, self.training))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("module", [Shared, View, Tied])
def test_unusual_networks(module, compare, stack_sizes, small_digits):
    net = ImageClassifier(module, max_epochs=2, dtype="float64", random_state=0)
    compare(net, RATES)
    assert stack_sizes == [6, 6]
    # To measure does not take what one network does for what many do.
    StackedGridSearchCV(net, RATES, cv=2).fit(*small_digits)


def test_networks_that_cannot_be_stacked(compare, stack_sizes):
    net = ImageClassifier(Noise, max_epochs=2, dtype="float64", random_state=0)
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "Noise: it draws random"):
        compare(net, RATES)
    assert stack_sizes == []


# ----------------------------------------------------------------- fits that fail


def test_failed_candidates(compare, stack_sizes):
    grid = [{"lr": [0.01, 1e300]}, {"module__dropout": [0.2, 7]}]
    grid += [{"module__hidden": [(0,), (5,)]}]
    net = small(optimizer="sgd", epoch_scoring="accuracy")
    with pytest.warns(FitFailedWarning, match="DivergedError"):
        stacked = compare(net, grid, error_score=-1.0)
    failed = [1, 3, 4]
    scores = stacked.cv_results_["mean_test_score"]
    assert (scores[failed] == -1).all()
    assert (scores[[0, 2, 5]] < -1).all()
    assert 6 in stack_sizes


@pytest.mark.parametrize(
    ("params", "error"),
    [({"lr": [1e300]}, DivergedError), ({"module__dropout": [3.0]}, ValueError)],
)
def test_error_score_raise(params, error, small_digits):
    net = small(optimizer="sgd")
    search = StackedGridSearchCV(net, params, error_score="raise", calibrate=False)
    with pytest.raises(error):
        search.fit(*small_digits)


def test_all_fits_fail(small_digits):
    search = StackedGridSearchCV(
        small(optimizer="sgd"), {"lr": [1e300, 1e200]}, cv=2, calibrate=False
    )
    with pytest.raises(ValueError, match="All the 4 fits failed"):
        search.fit(*small_digits)


def test_a_stack_of_fits_that_fail_at_once(compare, stack_sizes):
    grid = {"module__dropout": [0.2, 7.0]}
    with pytest.warns(FitFailedWarning):
        compare(small(), grid, max_stack=3)
    assert stack_sizes == [3, 3]


class FailsAfter:
    """Leaves images as they are, some times."""

    def __init__(self, n):
        self.n = n

    def __call__(self, image):
        self.n -= 1
        if self.n < 0:
            raise ZeroDivisionError("enough")
        return image


def test_one_candidate_that_fails_in_training(compare):
    grid = {"augment": [None, [FailsAfter(20)]]}
    with (
        pytest.warns(UserWarning, match=ONE_BY_ONE + "ZeroDivisionError: enough"),
        pytest.warns(FitFailedWarning),
    ):
        stacked = compare(small(), grid)
    assert np.isnan(stacked.cv_results_["mean_test_score"]).tolist() == [False, True]


def broken(net, X, y):
    raise ZeroDivisionError("no score")


def test_scorers_of_epochs_that_fail(compare):
    net = small(epoch_scoring={"bad": broken})
    with (
        pytest.warns(UserWarning, match=ONE_BY_ONE + "ZeroDivisionError: no score"),
        pytest.raises(ValueError, match="All the 6 fits failed"),
    ):
        compare(net, RATES)


def test_normalisation_of_single_rows(compare):
    net = small(module__batch_norm=True, batch_size=1)
    with (
        pytest.warns(UserWarning, match=ONE_BY_ONE + "ValueError: Expected more"),
        pytest.raises(ValueError, match="All the 6 fits failed"),
    ):
        compare(net, RATES)


# ------------------------------------------------------------------------- memory


@pytest.fixture
def little_memory(monkeypatch):
    """No step is made of more than two networks."""
    tried = []
    step = Stack._step

    def limited(stack, batches):
        tried.append(len(stack.members))
        if len(stack.members) > 2:
            raise torch.OutOfMemoryError("not enough memory")
        return step(stack, batches)

    monkeypatch.setattr(Stack, "_step", limited)
    return tried


def test_out_of_memory(compare, little_memory, stack_sizes):
    compare(small(module__dropout=0.2), RATES)
    assert [size for size in little_memory if size > 2] == [6, 3, 3]
    # Two epochs of 1 + 2 + 1 + 2 networks, after three attempts.
    assert sum(size for size in stack_sizes if size <= 2) == 12


def test_out_of_memory_in_the_second_epoch(monkeypatch, compare):
    step = Stack._step
    seen = []

    def limited(stack, batches):
        seen.append(len(stack.members))
        if len(stack.members) == 6 and len(seen) > 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return step(stack, batches)

    monkeypatch.setattr(Stack, "_step", limited)
    compare(small(module__dropout=0.2), RATES)
    assert seen[:6] == [6] * 6
    assert set(seen[6:]) == {3}


def test_out_of_memory_for_a_single_fit(monkeypatch, compare):
    def never(stack, batches):
        raise MemoryError

    monkeypatch.setattr(Stack, "_step", never)
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "MemoryError"):
        compare(small(max_epochs=1), RATES)


def test_stacks_fit_into_memory(monkeypatch, compare, stack_sizes):
    free = "skvision.model_selection._plan.free_memory"
    monkeypatch.setattr(free, lambda device: 10_000)
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "two .* too large"):
        compare(small(max_epochs=1, module__hidden=(2,)), RATES)
    assert stack_sizes == []
    monkeypatch.setattr(free, lambda device: 300_000)
    compare(small(max_epochs=1, module__hidden=(2,)), RATES)
    assert 1 < max(stack_sizes) < 6


def test_proofs_fit_into_memory(monkeypatch, compare, stack_sizes):
    free = "skvision.model_selection._proof.free_memory"
    tried = []
    run = _Trial.run

    def noted(trial, engine):
        tried.append(len(trial.members))
        run(trial, engine)

    monkeypatch.setattr(_Trial, "run", noted)
    net = small(max_epochs=1, module__hidden=(2,))
    with monkeypatch.context() as context:
        context.setattr(free, lambda device: 60_000)
        compare(net, RATES)
    assert set(tried) == {2}  # Of the six, two at a time.
    assert stack_sizes == [6]
    monkeypatch.setattr(free, lambda device: 10_000)
    with pytest.warns(UserWarning, match=ONE_BY_ONE + "to compare .* memory"):
        compare(net, RATES)
    assert stack_sizes == [6]


def test_free_memory(monkeypatch, tmp_path):
    name = "skvision.training._memory._MEMORY"
    path = tmp_path / "meminfo"
    monkeypatch.setattr(name, path)
    cpu = torch.device("cpu")
    assert free_memory(cpu) == 2**32  # There is no such file.
    path.write_text("MemFree:  10 kB\nMemAvailable:  2000 kB\nHugePages_Total:  0\n")
    assert free_memory(cpu) == 2000 * 1024


def test_trainers_can_be_sent_to_other_processes(small_digits):
    X, y = small_digits
    trainer = Trainer(small(), X, y, {}, False)
    requests = [Request({"lr": lr}, np.arange(60)) for lr in (0.1, 0.01)]
    first = trainer.train(requests, X, y)
    sent = pickle.loads(pickle.dumps(trainer))
    assert sent.X is None  # Data go beside it.
    second = sent.train(requests, X, y)
    for one, other in zip(first, pickle.loads(pickle.dumps(second)), strict=True):
        assert type(one.net) is ImageClassifier
        assert isinstance(one.net.module_, MLP)
        assert clone(one.net).get_params() == one.net.get_params()
        assert np.array_equal(one.net.predict_proba(X), other.net.predict_proba(X))
