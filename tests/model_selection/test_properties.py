"""Whatever is searched, a stack finds what fits alone find."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from skvision import ImageClassifier
from skvision.model_selection import StackedGridSearchCV
from skvision.preprocessing import RandomHorizontalFlip, RandomShift

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("error:Some fits are made one by one"),
]

# Numbers of rows that leave no last batch of two: normalised, its gradients are nothing
# but rounding errors, of which Adam makes steps.
BATCHES, SOME_ROWS = st.sampled_from([8, 16, -1]), st.sampled_from([20, 28, 30, 37])
MORE_ROWS = st.sampled_from([30, 37, 45, 47])
WIDTHS = st.integers(1, 4)
MLPS = st.fixed_dictionaries(
    {
        "module": st.just("mlp"),
        "module__hidden": st.lists(WIDTHS, max_size=2).map(tuple),
        "module__activation": st.sampled_from(["tanh", "gelu", "softplus"]),
        "module__batch_norm": st.booleans(),
        "module__dropout": st.sampled_from([0.0, 0.2, 0.6]),
    }
)
CONVNETS = st.fixed_dictionaries(
    {
        "module": st.just("convnet"),
        "module__channels": st.lists(
            st.lists(WIDTHS, min_size=1, max_size=2).map(tuple), min_size=1, max_size=2
        ).map(tuple),
        "module__kernel_size": st.integers(1, 3),
        "module__activation": st.sampled_from(["tanh", "gelu", "elu"]),
        "module__batch_norm": st.sampled_from([False, True, "first"]),
        "module__pool": st.sampled_from(["max", "avg", None]),
        "module__conv_dropout": st.sampled_from([0.0, 0.3]),
        "module__hidden": st.lists(WIDTHS, max_size=1).map(tuple),
        "module__dropout": st.sampled_from([0.0, 0.25]),
    }
)
TRAINING = st.fixed_dictionaries(
    {
        "max_epochs": st.integers(1, 2),
        "batch_size": BATCHES,
        "memory_format": st.sampled_from(["auto", "contiguous"]),
        "normalize": st.sampled_from(["channel", None]),
        "random_state": st.integers(0, 9),
    }
)
SOME = {
    "optimizer": st.lists(
        st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]), min_size=2, max_size=3
    ).map(lambda names: sorted(set(names))),
    "criterion__label_smoothing": st.just([0.0, 0.2]),
    "augment": st.just([None, [RandomHorizontalFlip(), RandomShift(1)]]),
    "class_weight": st.just([None, "balanced"]),
    "max_epochs": st.just([1, 3]),
    # Higher ones make rounding errors grow, of biases before a normalisation most.
    "lr": st.just([0.01, 1e-3]),
}
#: What differs between candidates in two ways.
GRIDS = st.lists(st.sampled_from(sorted(SOME)), min_size=2, max_size=2, unique=True)
GRIDS = GRIDS.flatmap(lambda names: st.fixed_dictionaries({n: SOME[n] for n in names}))


@st.composite
def folds(draw, n=50):
    """Return splits whose parts are of any sizes."""
    order = np.random.RandomState(draw(st.integers(0, 99))).permutation(n)
    sizes = draw(st.lists(SOME_ROWS, min_size=2, max_size=2))
    return [(order[:size], order[size:]) for size in sizes]


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(network=st.one_of(MLPS, CONVNETS), training=TRAINING, grid=GRIDS, cv=folds())
def test_searches(network, training, grid, cv, small_digits, assert_same_results):
    X, y = (part[:50] for part in small_digits)
    net = ImageClassifier(**network, **training, dtype="float64")
    options = {"cv": cv, "refit": False, "return_train_score": True}
    options["scoring"] = {"accuracy": "accuracy", "margin": margin}
    own = {"calibrate": False, "max_stack": 5}
    stacked = StackedGridSearchCV(net, grid, **own, **options).fit(X, y)
    ordinary = GridSearchCV(net, grid, **options).fit(X, y)
    assert_same_results(stacked.cv_results_, ordinary.cv_results_)


def margin(net, X, y):
    """Return a score that each digit of each output has a part in."""
    outputs = net.predict_proba(X)
    return float((outputs * np.arange(outputs.shape[1])).mean())


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(network=st.one_of(MLPS, CONVNETS), training=TRAINING, data=st.data())
def test_fits(network, training, data, small_digits, train_together, assert_same_fit):
    X, y = (part[:50] for part in small_digits)
    net = ImageClassifier(**network, **training, dtype="float64")
    rates = data.draw(st.lists(st.sampled_from([0.02, 1e-3]), min_size=2, max_size=3))
    rows = [data.draw(MORE_ROWS) for _ in rates]  # Of all classes.
    parts = [(X[:n], y[:n]) for n in rows]
    nets = [clone(net).set_params(lr=lr) for lr in rates]
    found = train_together([clone(one) for one in nets], parts)
    # In batches of a few rows, what normalisation takes from a gradient, as of a pixel
    # that is the same in all, leaves rounding errors, of which Adam makes steps.
    atol = 1e-7 if network.get("module__batch_norm") else 1e-9
    for one, other, part in zip(found, nets, parts, strict=True):
        assert_same_fit(one, other.fit(*part), atol)


@settings(max_examples=3, deadline=None)
@given(
    n_splits=st.integers(2, 4),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=4),
)
def test_seeds_make_all_the_difference(n_splits, seeds):
    X = np.random.RandomState(0).rand(24, 6).astype(np.float32)
    y = np.arange(24) % 2
    net = ImageClassifier("mlp", module__hidden=(3,), max_epochs=1)
    cv = KFold(n_splits)
    search = StackedGridSearchCV(
        net, {"random_state": seeds}, cv=cv, calibrate=False, scoring=margin
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    # The same seeds give the same networks, others give others.
    for i, seed in enumerate(seeds):
        same = [j for j, other in enumerate(seeds) if other == seed]
        assert np.allclose(scores[same], scores[i], atol=1e-6)
    assert len(np.unique(scores.round(6))) == len(set(seeds))
    assert isinstance(search.best_estimator_.module_, torch.nn.Module)
