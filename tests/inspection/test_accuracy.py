from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.utils.data import TensorDataset

from skvision import ImageClassifier
from skvision.inspection import AccuracyDisplay


@pytest.fixture
def images():
    """Return images that `first_pixel` takes for one of each class and more cats."""
    X = np.zeros((6, 2, 2))
    X[:, 0, 0] = [0, 0, 0, 1, 0, 2]
    return X, np.array(["cat", "cat", "dog", "dog", "fox", "fox"])


def heights(display):
    return [bar.get_height() for bar in display.bars_]


def names(display):
    return [label.get_text() for label in display.ax_.get_xticklabels()]


def written(display):
    return [text.get_text() for text in display.ax_.texts]


def test_classes_of_an_estimator(images, first_pixel):
    display = AccuracyDisplay.from_estimator(first_pixel().fit(*images), *images)
    assert heights(display) == [1, 0.5, 0.5]
    assert names(display) == ["cat", "dog", "fox"]
    assert written(display) == ["1.000", "0.500", "0.500"]
    assert display.line_.get_ydata() == pytest.approx([4 / 6, 4 / 6])
    (text,) = display.ax_.get_legend().get_texts()
    assert text.get_text() == "overall 0.667"
    assert display.ax_.get_ylabel() == "accuracy"
    assert display.scores == {"cat": 1.0, "dog": 0.5, "fox": 0.5}
    assert display.overall == pytest.approx(4 / 6)


def test_target_names(images, first_pixel):
    X, y = images
    classifier = first_pixel().fit(X, y)
    few = AccuracyDisplay.from_estimator(
        classifier, X[2:], y[2:], target_names=["Cat", "Dog", "Fox"]
    )
    # There is no cat.
    assert names(few) == ["Dog", "Fox"]
    with pytest.raises(ValueError, match="2 names; expected one for each of the 3"):
        AccuracyDisplay.from_estimator(classifier, X, y, target_names=["Cat", "Dog"])
    with pytest.raises(ValueError, match="the same name twice"):
        AccuracyDisplay.from_estimator(classifier, X, y, target_names=["a", "b", "a"])


def test_estimators(images, first_pixel):
    X, y = images
    first = first_pixel().fit(X, y)
    second = first_pixel().fit(X, ["cat", "dog", "cat", "dog", "fox", "fox"])
    second.classes_ = np.array(["fox", "dog", "cat"])
    _, ax = plt.subplots()
    display = AccuracyDisplay.from_estimators(
        {"one": first, "two": second}, X, y, ax=ax
    )
    assert heights(display) == pytest.approx([4 / 6, 2 / 6])
    assert names(display) == ["one", "two"]
    assert display.line_ is None
    assert display.ax_ is ax and len(ax.patches) == 2


def test_labels_that_the_images_carry(digits):
    images, labels = digits.data[:100], digits.target[:100]
    net = ImageClassifier("mlp", random_state=0).fit(images, labels)
    right = (net.predict(images) == labels).mean()
    pairs = list(zip(images, labels, strict=True))
    assert AccuracyDisplay.from_estimator(net, pairs).overall == pytest.approx(right)
    with pytest.raises(ValueError, match="y is None, and X carries no labels"):
        AccuracyDisplay.from_estimator(net, images)
    data = TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels))
    display = AccuracyDisplay.from_estimators({"net": net}, data)
    assert heights(display) == pytest.approx([right])


def test_scores_of_repeats():
    scores = {"a": [0.7, 0.8, 0.9], "b": 0.25, "c": np.array([0.5])}
    display = AccuracyDisplay.from_scores(scores)
    assert heights(display) == pytest.approx([0.8, 0.25, 0.5])
    assert display.errors == pytest.approx({"a": np.std([0.7, 0.8, 0.9])})
    # The ends of the bar of error.
    (segment, *others) = display.bars_.errorbar.lines[2][0].get_segments()
    std = np.sqrt(0.02 / 3)
    assert_allclose(segment, [[0, 0.8 - std], [0, 0.8 + std]])
    assert all(np.isnan(other).any() or len(other) == 0 for other in others)
    assert written(display) == ["0.800 ± 0.082", "0.250", "0.500"]


def test_scores_without_repeats():
    display = AccuracyDisplay.from_scores({"a": 0.5, "b": 1}, color="green", width=0.5)
    assert display.errors is None and display.bars_.errorbar is None
    assert [bar.get_width() for bar in display.bars_] == [0.5, 0.5]
    assert all(bar.get_facecolor() == (0, 128 / 255, 0, 1) for bar in display.bars_)


def rotations(texts):
    return {text.get_rotation() for text in texts}


@pytest.mark.parametrize(
    "n, name, scores_turn, names_turn",
    [
        (10, "{}", 0, 0),
        (10, "class {}", 0, 30),
        (26, "class {}", 90, 90),
        (47, "{}", 90, 0),
    ],
)
def test_no_text_runs_into_another(n, name, scores_turn, names_turn):
    scores = {name.format(i): (i % 7) / 6 for i in range(n)}
    display = AccuracyDisplay(scores, overall=0.5).plot()
    ax = display.ax_
    assert rotations(ax.texts) == {scores_turn}
    assert rotations(ax.get_xticklabels()) == {names_turn}
    display.figure_.canvas.draw()
    inside = display.figure_.bbox
    for texts in (ax.texts, ax.get_xticklabels()):
        boxes = [text.get_window_extent() for text in texts]
        assert all(box.x0 >= inside.x0 and box.y0 >= inside.y0 for box in boxes)
        if names_turn == 30 and texts is not ax.texts:
            continue  # Boxes around text that leans overlap where the text does not.
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
    top = ax.get_window_extent().y1
    assert all(text.get_window_extent().y1 <= top for text in ax.texts)
