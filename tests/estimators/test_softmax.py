"""A softmax at the end of a network, under either loss."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from skvision_tests import Flattening, LogSoftmax, Softmax
from torch import nn

from skvision import ImageClassifier, ImageRegressor


def softmax_warnings(estimator, *arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(*arguments)
    return [str(w.message) for w in caught if "softmax" in str(w.message).lower()]


@pytest.mark.parametrize("network", [Softmax, LogSoftmax])
def test_softmax_under_cross_entropy(data, network):
    estimator = ImageClassifier(network, max_epochs=3, early_stopping=True)
    for _ in range(2):  # Each fit says it, and says it once.
        (message,) = softmax_warnings(estimator, *data)
        assert network.__name__ in message
        assert "CrossEntropyLoss" in message
        assert ("LogSoftmax" in message) == (network is LogSoftmax)


def test_softmax_warning_points_at_the_users_line(data):
    with pytest.warns(UserWarning, match="Softmax") as caught:
        ImageClassifier(Softmax, max_epochs=5, lr=0.1).fit(*data)
    assert [w.filename for w in caught if "Softmax" in str(w.message)] == [__file__]


def test_softmax_under_a_subclass_or_an_instance_of_the_criterion(data):
    class Mine(nn.CrossEntropyLoss):
        pass

    for criterion in (Mine, Mine(), nn.CrossEntropyLoss()):
        estimator = ImageClassifier(Softmax, criterion=criterion, max_epochs=1)
        assert len(softmax_warnings(estimator, *data)) == 1


@pytest.mark.parametrize(
    ("network", "criterion"),
    [
        (Flattening, "cross_entropy"),
        (Flattening, nn.CrossEntropyLoss),
        *[(network, nn.NLLLoss) for network in [Softmax, LogSoftmax]],
    ],
)
def test_no_softmax_warning_where_there_is_no_second_softmax(data, network, criterion):
    estimator = ImageClassifier(network, criterion=criterion, max_epochs=1)
    assert softmax_warnings(estimator, *data) == []


def test_no_softmax_warning_for_regressors(data):
    X, y = data
    estimator = ImageRegressor(Softmax, max_epochs=1)
    assert softmax_warnings(estimator, X, np.eye(3)[y]) == []


@pytest.mark.parametrize("network", [Softmax, LogSoftmax])
def test_nll_loss_with_either_pairing(data, network):
    X, y = data
    options = {"max_epochs": 5, "lr": 0.05, "random_state": 0, "dtype": "float64"}
    expected = ImageClassifier(Flattening, **options).fit(X, y)
    estimator = ImageClassifier(network, criterion=nn.NLLLoss, **options).fit(X, y)
    proba = estimator.predict_proba(X)
    assert_allclose(proba.sum(1), 1)
    # Cross-entropy is the same loss, computed in one step.
    assert_allclose(proba, expected.predict_proba(X), rtol=1e-6)
    assert_allclose(
        estimator.history[:, "train_loss"], expected.history[:, "train_loss"], rtol=1e-6
    )
    assert_array_equal(estimator.predict(X), expected.predict(X))
    assert estimator.score(X, y) > 0.9


def test_weighted_nll_loss(data):
    X, y = data
    weight = np.linspace(0.5, 2, len(y))
    options = {"max_epochs": 2, "lr": 0.05, "random_state": 0, "dtype": "float64"}
    probas = [
        ImageClassifier(network, criterion=criterion, **options)
        .fit(X, y, sample_weight=weight)
        .predict_proba(X)
        for network, criterion in [
            (Flattening, "cross_entropy"),
            (LogSoftmax, nn.NLLLoss),
            (Softmax, nn.NLLLoss),
        ]
    ]
    assert_allclose(probas[1], probas[0], rtol=1e-6)
    assert_allclose(probas[2], probas[0], rtol=1e-6)
