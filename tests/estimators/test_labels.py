"""Labels of any kind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from skvision_tests import make_ordered_images

from skvision import ImageClassifier, ImageRegressor

LEARNER = {
    "module": "mlp",
    "module__hidden": (16,),
    "max_epochs": 25,
    "batch_size": 8,
    "lr": 0.02,
    "random_state": 0,
}


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, 3, 5, 7, 9]),
        np.array([9, 3, 7, 1, 5]),
        np.array(["cat", "dog", "a bird", "Ähre", "🍎"]),
        np.array(["cat", "dog", "a bird", "Ähre", "🍎"], dtype=object),
        np.array([-2, 0, 10**12, 5, 3]),
        np.array([0.0, 1.0, 2.0, 3.0, 40.0]),
        np.array([1, 3, 5, 7, 9], dtype=np.uint8),
        np.array([1, 3, 5, 7, 9], dtype=np.int32),
    ],
)
def test_labels_of_any_kind(labels):
    X, index = make_ordered_images(40, n_classes=5)
    y = labels[index]
    estimator = ImageClassifier(**LEARNER).fit(X, y)
    assert_array_equal(estimator.classes_, np.unique(labels))
    assert estimator.n_outputs_ == 5
    assert estimator.predict_proba(X).shape == (40, 5)
    predictions = estimator.predict(X)
    assert predictions.dtype == y.dtype
    assert_array_equal(predictions, y)
    assert estimator.score(X, y) == 1
    columns = np.searchsorted(estimator.classes_, y)
    assert_array_equal(estimator.predict_proba(X).argmax(1), columns)


@pytest.mark.parametrize("form", [list, torch.tensor, np.asarray])
def test_booleans(form):
    X, index = make_ordered_images(40, n_classes=2)
    y = [bool(i) for i in index]
    estimator = ImageClassifier(**LEARNER).fit(X, form(y))
    assert estimator.classes_.tolist() == [False, True]
    assert estimator.classes_.dtype == bool
    assert estimator.n_outputs_ == 2
    assert estimator.predict(X).tolist() == y


def test_labels_in_tensors_that_numpy_does_not_take():
    X, index = make_ordered_images(40, n_classes=2)
    y = torch.tensor(index).float().requires_grad_()
    weight = torch.ones(40, requires_grad=True)
    net = ImageClassifier(**LEARNER).fit(X, y, sample_weight=weight)
    assert net.score(X, y) == 1
    regressor = ImageRegressor("mlp", max_epochs=1)
    expected = clone(regressor).set_params(random_state=0).fit(X, index * 1.0)
    found = regressor.set_params(random_state=0).fit(X, y.bfloat16())
    assert_allclose(found.predict(X), expected.predict(X), rtol=1e-5)


def test_other_forms_of_labels():
    import pandas as pd

    X, index = make_ordered_images(40, n_classes=3)
    names = np.array(["a", "b", "c"])[index]
    for y in (
        names.tolist(),
        pd.Series(names),
        pd.Series(names, dtype="category"),
        pd.Series(names, index=np.arange(40)[::-1]),
    ):
        estimator = ImageClassifier(**LEARNER).fit(X, y)
        assert_array_equal(estimator.predict(X), names)
        assert estimator.score(X, y) == 1


@settings(max_examples=6, deadline=None)
@given(
    labels=st.one_of(
        st.sets(st.integers(-(2**40), 2**40), min_size=2, max_size=6),
        st.sets(st.text(max_size=4), min_size=2, max_size=6),
        st.sets(st.floats(-100, 100).map(round).map(float), min_size=2, max_size=6),
    )
)
def test_any_set_of_labels(labels):
    labels = list(labels)
    X, index = make_ordered_images(4 * len(labels), n_classes=len(labels))
    y = np.array(labels)[index]
    estimator = ImageClassifier(**LEARNER | {"max_epochs": 1}).fit(X, y)
    assert_array_equal(estimator.classes_, np.unique(labels))
    assert estimator.n_outputs_ == len(labels)
    # The same as with class numbers in the order of the labels.
    numbers = np.searchsorted(estimator.classes_, y)
    by_number = ImageClassifier(**LEARNER | {"max_epochs": 1}).fit(X, numbers)
    assert_array_equal(estimator.predict_proba(X), by_number.predict_proba(X))
    assert_array_equal(estimator.predict(X), estimator.classes_[by_number.predict(X)])
    assert set(estimator.predict(X)) <= set(y)
