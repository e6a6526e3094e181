"""Transforms of torchvision's in augment, and tensors with their channels last."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from skvision import ImageClassifier
from skvision.model_selection import StackedGridSearchCV

RANDOM = [
    v2.RandomHorizontalFlip(),
    v2.Compose([v2.Pad(2), v2.RandomCrop(8)]),
    [v2.RandomRotation(5)],
    [v2.ColorJitter(0.1)],
    [v2.RandomErasing(p=1), None],
]


@pytest.mark.parametrize("augment", RANDOM, ids=repr)
def test_random_transforms(digits, augment):
    net = clone(ImageClassifier("mlp", augment=augment, max_epochs=1, random_state=0))
    assert "augment" in net.get_params()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "augment has")
        clone(net).fit(digits.data[:64], digits.target[:64])


@pytest.mark.parametrize(
    "augment",
    [v2.Normalize([0.5], [0.5]), [v2.RandomHorizontalFlip(), lambda x: 1 - x]],
)
def test_transforms_that_are_not_random(digits, augment):
    net = ImageClassifier("mlp", augment=augment, max_epochs=1, random_state=0)
    with pytest.warns(UserWarning, match="augment has .* not random"):
        net.fit(digits.data[:64], digits.target[:64])


@pytest.mark.parametrize("augment", [v2.RandomCrop(8), [None, v2.RandomRotation(5)]])
def test_candidates_of_a_stacked_search(digits, augment):
    net = ImageClassifier("mlp", max_epochs=1, random_state=0)
    search = StackedGridSearchCV(net, {"augment": [augment, None]}, cv=2)
    search.fit(digits.data[:64], digits.target[:64])
    expected = clone(net).set_params(augment=augment)
    expected.fit(digits.data[:64], digits.target[:64])
    search.estimator.set_params(**search.cv_results_["params"][0])
    found = search.estimator.fit(digits.data[:64], digits.target[:64])
    assert_array_equal(
        found.predict_proba(digits.data), expected.predict_proba(digits.data)
    )
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_tensors_with_channels_last():
    X = torch.randint(0, 255, (12, 8, 6, 3), dtype=torch.uint8)
    net = ImageClassifier("mlp", max_epochs=1).fit(
        TensorDataset(X, torch.arange(12) % 3)
    )
    assert net.image_shape_ == (3, 8, 6)
