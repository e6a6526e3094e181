import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.history import History

from skvision import ImageClassifier
from skvision.inspection import convergence_epoch


@pytest.mark.parametrize(
    ("values", "n_epochs", "epoch"),
    [
        ([0.1, 0.1], 1, 2),
        ([0.5, 0.7, 0.71, 0.7101], 1, 4),
        ([0.5, 0.5, 0.7, 0.7, 0.7], 2, 5),
        ([0.5, 0.5, 0.7, 0.7, 0.8, 0.8], 2, None),
        ([0.1, 0.1, 0.1, 0.1], 3, 4),
        ([0.1, 0.1, 0.1, 0.1], 4, None),
        ([0.5], 1, None),
        ([], 1, None),
    ],
)
def test_values(values, n_epochs, epoch):
    for source in (values, tuple(values), np.array(values)):
        assert convergence_epoch(source, n_epochs=n_epochs) == epoch


def test_a_change_of_tol_is_a_change():
    assert convergence_epoch([0.5, 0.75], tol=0.25) is None
    assert convergence_epoch([0.5, 0.75], tol=0.2501) == 2
    assert convergence_epoch([0.75, 0.5], tol=0.2501) == 2


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_converges(odd):
    assert convergence_epoch([odd] * 5) is None
    assert convergence_epoch([0.5, odd, 0.5, 0.5]) == 4


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, np.nan]), max_size=12),
    st.integers(1, 4),
)
def test_the_definition(values, n_epochs):
    def still(epoch):
        return epoch > 1 and abs(values[epoch - 1] - values[epoch - 2]) < 0.1

    expected = [
        epoch
        for epoch in range(1, len(values) + 1)
        if all(still(e) for e in range(epoch - n_epochs + 1, epoch + 1))
    ]
    found = convergence_epoch(values, tol=0.1, n_epochs=n_epochs)
    assert found == (expected[0] if expected else None)


def history_with(**columns):
    history = History()
    for values in zip(*columns.values(), strict=True):
        history.new_epoch()
        for key, value in zip(columns, values, strict=True):
            if value is not None:
                history.record(key, value)
    return history


def test_histories():
    history = history_with(valid_acc=[0.1, 0.9, 0.9], train_loss=[2.0, 2.0, 1.0])
    assert convergence_epoch(history) == 3
    assert convergence_epoch(history, "train_loss") == 2


def test_epochs_without_a_value():
    history = history_with(valid_acc=[0.9, None, 0.9, 0.9], epoch=[1, 2, 3, 4])
    assert convergence_epoch(history) == 4


def test_a_column_that_is_missing():
    history = history_with(train_loss=[1.0], dur=[0.1])
    with pytest.raises(ValueError, match="'valid_acc'.* has: train_loss, dur\\.$"):
        convergence_epoch(history)
    with pytest.raises(ValueError, match="no column 'valid_acc', since it is empty"):
        convergence_epoch(History())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators(digits):
    X, y = digits.data[:100], digits.target[:100]
    net = ImageClassifier("mlp", module__hidden=8, lr=0.0, max_epochs=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), net)
    search = GridSearchCV(pipeline, {"imageclassifier__batch_size": [-1]}, cv=2)
    rows = X.reshape(len(X), -1)
    net.fit(X, y)
    pipeline.fit(rows, y)
    search.fit(rows, y)
    # A learning rate of 0 leaves the loss as it is.
    for fitted in (net, net.history, pipeline, search):
        assert convergence_epoch(fitted, "train_loss", tol=1e-6) == 2
        assert convergence_epoch(fitted, "train_loss", tol=1e-6, n_epochs=2) == 3
