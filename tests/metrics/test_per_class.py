import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from skvision.metrics import per_class_accuracy


def test_by_hand():
    y_true = [3, 3, 3, 7, 7, 5]
    y_pred = [3, 3, 7, 7, 3, 5]
    assert_allclose(per_class_accuracy(y_true, y_pred), [2 / 3, 1, 1 / 2])
    assert_allclose(per_class_accuracy(y_true, y_pred, labels=[7, 3]), [1 / 2, 2 / 3])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_is_the_accuracy_of_the_class_alone(pairs):
    names = np.array(["bee", "ant", "cat", "dog"])
    y_true, y_pred = names[np.array(pairs).T]
    accuracies = per_class_accuracy(y_true, y_pred, labels=names)
    for name, accuracy in zip(names, accuracies, strict=True):
        rows = y_true == name
        if rows.any():
            assert accuracy == pytest.approx(accuracy_score(y_true[rows], y_pred[rows]))
        else:
            assert np.isnan(accuracy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of labels that are in y_pred alone.
        balanced = balanced_accuracy_score(y_true, y_pred)
    assert np.nanmean(accuracies) == pytest.approx(balanced)


@pytest.mark.filterwarnings("error")
def test_classes_without_images():
    assert_array_equal(per_class_accuracy([0, 0], [0, 2]), [0.5, np.nan])
    assert_array_equal(
        per_class_accuracy([0, 0], [0, 2], labels=[0, 1, 2]), [0.5, np.nan, np.nan]
    )
