"""Random transforms of training images, and of no others, ours and torchvision's."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skvision_tests import Spy
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from skvision import ImageClassifier, ImageRegressor
from skvision.model_selection import StackedGridSearchCV
from skvision.preprocessing import RandomHorizontalFlip, RandomShift, UniformNoise


def images_of(seen, training):
    found = [images for was_training, images in seen if was_training == training]
    return torch.cat(found).numpy()


def are_among(images, others):
    """Say of each image whether it is one of the others."""
    known = {image.tobytes() for image in others}
    return np.array([image.tobytes() in known for image in images])


@pytest.mark.parametrize("estimator", [ImageClassifier, ImageRegressor])
def test_of_training_batches_alone(estimator, digits, seen):
    X = (digits.data[:200, None] / 255).astype(np.float32)
    y = digits.target[:200]
    net = estimator(
        Spy,
        augment=[UniformNoise(0.05, 0.1)],
        normalize=None,
        early_stopping=True,
        epoch_scoring=["r2" if estimator is ImageRegressor else "accuracy"],
        max_epochs=3,
        random_state=0,
    )
    net.fit(X, y)
    net.predict(X)
    net.score(X, y)
    changed = images_of(seen, training=True)
    assert changed.shape == (3 * 180, 1, 8, 8)
    assert not are_among(changed, X).any()
    # Validation rows of each epoch, predictions and score; before them, two rows that
    # tell what the network ends in, and two that try augmentation and loss.
    unchanged = images_of(seen, training=False)
    assert len(unchanged) == 2 + 2 + 3 * 20 + 2 * 200
    assert are_among(unchanged[4:], X).all()


def test_anew_for_every_image_and_epoch(digits, seen):
    X = np.repeat(digits.data[:1, None], 64, axis=0)
    y = np.arange(64) % 2
    net = ImageClassifier(
        Spy, augment=[UniformNoise(0.01, 0.3)], normalize=None, max_epochs=2
    )
    net.set_params(lr=1e-4, random_state=0).fit(X, y)
    images = images_of(seen, training=True)
    assert len({image.tobytes() for image in images}) == 128


def test_random_state_determines_it(digits):
    X, y = digits.data[:300], digits.target[:300]
    net = ImageClassifier("mlp", max_epochs=2, random_state=0)
    net.set_params(augment=[RandomShift(2), RandomHorizontalFlip()])

    def probabilities():
        return net.fit(X, y).predict_proba(X)

    first = probabilities()
    torch.manual_seed(7)
    np.random.seed(7)
    np.testing.assert_array_equal(probabilities(), first)
    net.set_params(augment=None)
    assert np.abs(probabilities() - first).max() > 0.01


def test_search_chooses(digits):
    X, y = digits.data[:600], digits.target[:600]
    choices = [None, [RandomShift(1)], [UniformNoise(-5.0, 5.0)]]
    net = ImageClassifier("mlp", max_epochs=5, random_state=0)
    search = GridSearchCV(net, {"augment": choices}, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_["augment"] is not choices[2]
    assert scores[:2].min() > 0.5 > scores[2]


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
