"""Labels of data that number their classes otherwise, by the names of these."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from skorch.helper import SliceDataset, predefined_split
from skorch.scoring import loss_scoring
from skvision_tests import Items
from torch.utils.data import ConcatDataset, Subset
from torchvision.datasets import ImageFolder

import skvision
from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.inspection import AccuracyDisplay, PredictionDisplay, class_table
from skvision.metrics import top_k_scorer

COLOURS = {"apple": (200, 0, 0), "banana": (0, 200, 0), "cherry": (0, 0, 200)}
SMALL = {"module": "mlp", "module__hidden": (16,), "random_state": 0, "lr": 1e-2}


@pytest.fixture(scope="module")
def fruit(tmp_path_factory):
    """Function that returns an ImageFolder with some of the classes."""
    root = tmp_path_factory.mktemp("fruit")

    def function(*names, **kwargs):
        folder = root / "-".join(names)
        for name in names:
            if not (folder / name).is_dir():
                (folder / name).mkdir(parents=True)
                colour = COLOURS.get(name, (99, 99, 99))
                for i in range(9):
                    image = np.full((8, 8, 3), colour, np.uint8) + np.uint8(i)
                    Image.fromarray(image).save(folder / name / f"{i}.png")
        return ImageFolder(folder, **kwargs)

    return function


@pytest.fixture(scope="module")
def net(fruit):
    return ImageClassifier(**SMALL, max_epochs=15).fit(fruit(*COLOURS))


@pytest.mark.parametrize("by_code", [True, False])
def test_skorch_looks_at_names(net, fruit, by_code):
    if not by_code:
        data = fruit(*COLOURS)
        labels = np.array(data.classes)[data.targets]
        net = ImageClassifier(**SMALL, max_epochs=15).fit(as_Xy(data)[0], labels)
    part = fruit("banana", "cherry")
    for given in [
        (part,),
        (Subset(part, range(5)),),
        as_Xy(part),
        (SliceDataset(part), SliceDataset(part, 1)),
    ]:
        assert loss_scoring(net, *given) < 0.1
    X, y = as_Xy(part)
    expected = net.classes_[[1, 2]]
    assert_array_equal(np.unique(net.get_dataset(X, y).y), expected)


def test_displays_write_names(net, fruit):
    data = fruit("banana", "cherry")
    grid = GridSearchCV(net, {"max_epochs": [1]}, cv=2, refit=False)
    grid.best_estimator_, grid.refit, grid.multimetric_ = net, True, False
    for fitted in (net, Pipeline([("net", net)]), grid):
        found = class_table(fitted, data)
        assert [row[:2] for row in found.rows[1:3]] == [["banana", 9], ["cherry", 9]]
        assert [*AccuracyDisplay.from_estimator(fitted, data).scores] == data.classes
        display = PredictionDisplay.from_estimator(fitted, data, n_images=1)
        assert display.axes_[0].get_title().split("(")[1].startswith("banana")


def test_names_of_classes(net, fruit):
    assert net.classes_.tolist() == [0, 1, 2]
    assert net.class_names_.tolist() == list(COLOURS)
    part = Subset(fruit(*COLOURS), range(9, 27))
    fitted = ImageClassifier(**SMALL, max_epochs=1).fit(part)
    assert fitted.classes_.tolist() == [1, 2]
    assert fitted.class_names_.tolist() == ["banana", "cherry"]
    # Names go with a fit.
    X, y = as_Xy(part)
    fitted.fit(np.asarray(X), y)
    assert not hasattr(fitted, "class_names_")


FORMS = {
    "data set": lambda data: (data, None),
    "subset": lambda data: (Subset(data, range(len(data) - 1)), None),
    "labels": lambda data: (data, np.array(data.targets)),
    "as_Xy": as_Xy,
    "rows": lambda data: tuple(part[::2] for part in as_Xy(data)),
    "slices": lambda data: (
        SliceDataset(data),
        np.array([label for _, label in data.samples]),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "names", [["banana", "cherry"], ["cherry"], ["apple", "cherry"], list(COLOURS)]
)
def test_scores_go_by_name(net, fruit, form, names):
    X, y = FORMS[form](fruit(*names))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net.score(X, y) == 1
        assert top_k_scorer(1)(net, X, y) == 1
        assert str(class_table(net, X, y)).splitlines()[-1].split()[2] == "1"


def test_predictions_are_labels_of_fit(net, fruit):
    for X in (fruit("banana", "cherry"), as_Xy(fruit("banana", "cherry"))[0]):
        for predict in (net.predict, net.predict_proba):
            with pytest.warns(UserWarning, match="'banana' is 0 in X, and 1 in") as log:
                found = predict(X)
            assert log[0].filename == __file__
        assert_array_equal(found.argmax(1), np.repeat([1, 2], 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(fruit("apple", "banana"))


def test_classes_that_were_not_fitted(net, fruit):
    data = fruit("banana", "date")
    for call in (net.score, top_k_scorer(1).__class__.__call__, net.partial_fit):
        arguments = (top_k_scorer(1), net) if "Scorer" in call.__qualname__ else ()
        with pytest.raises(ValueError, match=r"\['date'\].*fitted on \['apple', "):
            call(*arguments, data)
    # None of its images is there.
    assert net.score(Subset(data, range(9))) == 1


def test_training_goes_on_by_name(fruit):
    net = ImageClassifier(**SMALL, max_epochs=8).fit(fruit(*COLOURS))
    net.partial_fit(fruit("banana", "cherry"))
    assert net.score(fruit("banana", "cherry")) == 1
    net.set_params(warm_start=True).fit(fruit("cherry"))
    assert net.class_names_.tolist() == list(COLOURS)
    assert net.score(fruit("cherry")) == 1


@pytest.mark.parametrize("as_X_val", [True, False])
def test_validation_goes_by_name(fruit, as_X_val):
    net = ImageClassifier(**SMALL, max_epochs=15, epoch_scoring="accuracy")

    def fit(valid):
        if as_X_val:
            return net.fit(fruit(*COLOURS), X_val=valid)
        return net.set_params(train_split=predefined_split(valid)).fit(fruit(*COLOURS))

    assert fit(fruit("banana", "cherry")).history[-1, "valid_accuracy"] == 1
    with pytest.raises(ValueError, match=r"class\(es\) \['date'\]"):
        fit(fruit("date"))


def test_labels_that_are_names(fruit):
    data = fruit(*COLOURS)
    y = np.array(data.classes)[data.targets]
    net = ImageClassifier(**SMALL, max_epochs=15).fit(data, y)
    assert not hasattr(net, "class_names_")
    assert net.score(fruit("banana", "cherry")) == 1
    assert net.score(data, y) == 1


def test_other_labels_than_those_of_the_data_set(net, fruit):
    data = fruit("banana", "cherry")
    X, y = as_Xy(data)
    for images in (data, X):
        fitted = ImageClassifier(**SMALL, max_epochs=1).fit(images, y == 0)
        assert not hasattr(fitted, "class_names_")
        # Given as they are meant.
        with pytest.warns(UserWarning, match="other labels"):
            assert net.score(images, y + 1) == 1
    assert as_Xy(data, 1 - y)[0].labels is None
    transformed = fruit("banana", "cherry", target_transform=lambda label: label + 1)
    assert net.score(transformed) == 1


def test_names_of_own_data_sets(fruit):
    class Own(Items):
        classes: object

    folder = fruit(*COLOURS)
    items = [(np.asarray(image), label) for image, label in folder]
    data = Own(items)
    for classes, expected in {
        ("a", "b", "c"): ["a", "b", "c"],
        ("a", "b", "c", "d"): ["a", "b", "c"],
        ("a", "b"): None,
        ("a", "a", "c"): None,
        (0, 1, 2): None,
    }.items():
        data.classes = list(classes)
        net = ImageClassifier(**SMALL, max_epochs=1).fit(data)
        names = getattr(net, "class_names_", None)
        assert (names if names is None else names.tolist()) == expected


def test_data_sets_one_after_the_other(net, fruit):
    together = ConcatDataset([fruit(*COLOURS), fruit("apple", "banana")])
    assert net.score(together) == 1
    differ = ConcatDataset([fruit(*COLOURS), fruit("banana", "cherry")])
    y = np.concatenate([part.targets for part in differ.datasets])
    for call in (net.score, net.partial_fit, as_Xy):
        for labels in ((), (y,)):
            with pytest.raises(ValueError, match="0 is 'apple' in one and 'banana' in"):
                call(differ, *labels)
    # Images alone, and labels that are others, are no reason to complain.
    assert net.score(differ, np.repeat([0, 1, 2, 1, 2], 9)) == 1


def test_hidden_folders_of_data_sets(fruit):
    data = fruit(".ipynb_checkpoints", *COLOURS)
    with pytest.warns(UserWarning, match=r"\['.ipynb_checkpoints'\].*hidden"):
        ImageClassifier(**SMALL, max_epochs=1).fit(data)


def test_names_are_kept(net, fruit, tmp_path):
    net.save(tmp_path / "net")
    for kept in (skvision.load(tmp_path / "net"), pickle.loads(pickle.dumps(net))):
        assert_array_equal(kept.class_names_, net.class_names_)
        assert kept.score(fruit("banana", "cherry")) == 1
    X, y = as_Xy(fruit("banana", "cherry"))
    assert net.score(pickle.loads(pickle.dumps(X)), y) == 1


def test_tools_of_scikit_learn(fruit):
    X, y = as_Xy(fruit(*COLOURS))
    net = ImageClassifier(**SMALL, max_epochs=15)
    accuracy = make_scorer(lambda y_true, y_pred: np.mean(y_true == y_pred))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cross_val_score(net, X, y, cv=3).mean() == 1
        search = GridSearchCV(net, {"lr": [1e-2]}, scoring=accuracy, cv=3).fit(X, y)
    assert search.best_estimator_.class_names_.tolist() == list(COLOURS)
    # Folds without a class, as those of groups may be.
    scores = cross_val_score(net, X, y, cv=[(np.arange(27), np.arange(9, 18))])
    assert scores.tolist() == [1]


def test_images_are_decoded_no_more_often(fruit):
    class Own(Items):
        classes = ["a", "b"]
        reads = 0

        def __getitem__(self, row):
            self.reads += 1
            return super().__getitem__(row)

    items = [(torch.rand(1, 8, 8), i % 2) for i in range(40)]
    net = ImageClassifier(**SMALL, max_epochs=1)
    named, plain = Own(items), Own(items)
    plain.classes = None
    for data in (named, plain):
        net.fit(data)
        net.predict(data)
        net.score(data)
    assert named.reads == plain.reads


def test_codes_are_no_numbers_of_a_regression(fruit):
    data = fruit(*COLOURS)
    net = ImageRegressor("mlp", module__hidden=(4,), max_epochs=1)
    with pytest.warns(UserWarning, match="0 is that of 'apple'.*as y"):
        net.fit(data)
    data.class_to_idx = {"0": 0, "1 - one": 1, "2": 2}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "y is None")
        net.fit(data)
        net.fit(data, data.targets)
