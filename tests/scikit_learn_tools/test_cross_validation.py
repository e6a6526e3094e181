"""Cross-validation of images, and data sets in fit, score and splits."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import (
    KFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample, shuffle
from skorch.helper import SliceDataset
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

from skvision.datasets import ImageSequence, as_Xy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 400


def folds(n, n_folds=3):
    """Return explicit splits."""
    return list(KFold(n_folds, shuffle=True, random_state=1).split(np.zeros(n)))


# ------------------------------------------------------------ cross-validation


def test_predictions_of_each_fold(images, small):
    splits = folds(N)
    labels = images.names[images.y]
    predicted = cross_val_predict(small(), images.X, labels, cv=splits)
    proba = cross_val_predict(
        small(), images.X, labels, cv=splits, method="predict_proba"
    )
    assert predicted.shape == (N,)
    assert proba.shape == (N, 10)
    assert_allclose(proba.sum(1), 1, rtol=1e-5)
    assert_array_equal(predicted, np.unique(labels)[proba.argmax(1)])
    assert (predicted == labels).mean() > 0.4
    train, test = splits[1]
    net = small().fit(images.X[train], labels[train])
    assert_array_equal(proba[test], net.predict_proba(images.X[test]))


def test_jobs(images, small):
    data = TensorDataset(torch.from_numpy(images.X), torch.from_numpy(images.y))
    X, y = as_Xy(data)
    scores = [
        cross_val_score(small(), X, y, cv=3, n_jobs=n_jobs, error_score="raise")
        for n_jobs in (1, 2)
    ]
    assert_array_equal(*scores)
    assert min(scores[0]) > 0.4


def test_splitting_a_sequence(images):
    data = TensorDataset(torch.from_numpy(images.X), torch.from_numpy(images.y))
    X, y = as_Xy(data)
    parts = train_test_split(X, y, images.X, stratify=y, random_state=0)
    for part, labels, expected in (parts[::2], parts[1::2]):
        assert isinstance(part, ImageSequence)
        assert_array_equal(np.asarray(part)[:, 0], expected)
        assert len(labels) == len(part)
    for tool in (shuffle, resample):
        some, labels, expected = tool(X, y, images.X, random_state=0)
        assert_array_equal(np.asarray(some)[:, 0], expected)
        assert labels.shape == (N,)


TRANSFORMS = {
    "None": None,
    "ToTensor": v1.ToTensor(),
    "ToTensor, Normalize": v1.Compose([v1.ToTensor(), v1.Normalize((0.3,), (0.35,))]),
    "PILToTensor": v1.PILToTensor(),
    "Resize": v1.Compose([v1.Resize((10, 12)), v1.ToTensor()]),
    "v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_data_sets_and_adapters_score_alike(fashion, transform, small):
    data = Subset(fashion(TRANSFORMS[transform]), range(100, 400))
    splits = folds(300, 2)
    net = small()
    by_adapters = cross_val_score(net, *as_Xy(data), cv=splits, error_score="raise")
    directly = cross_val_score(net, data, cv=splits, error_score="raise")
    assert_array_equal(directly, by_adapters)
    assert by_adapters.min() > 0.4


def test_whole_data_set_straight_into_cross_validation(fashion, small):
    data = fashion(v1.ToTensor())
    splits = [(np.arange(300), np.arange(5_000, 5_500)), (np.arange(300, 600), [7, 9])]
    directly = cross_val_score(small(), data, cv=splits, error_score="raise")
    by_adapters = cross_val_score(small(), *as_Xy(data), cv=splits)
    assert_array_equal(directly, by_adapters)
    assert directly[0] > 0.4
    X, y = data.data.numpy() / np.float32(255), data.targets.numpy()
    assert_array_equal(cross_val_score(small(), X, y, cv=splits), by_adapters)


def test_folder_of_files_in_cross_validation(data_home, small):
    folder = datasets.ImageFolder(data_home / "cifar10" / "train")
    rows = np.random.default_rng(0).permutation(len(folder))
    # Aeroplanes against frogs, since ten classes take longer to learn.
    targets = np.asarray(folder.targets)[rows]
    data = Subset(folder, rows[np.isin(targets, [0, 6])][:300])
    splits = folds(300, 2)
    net = small(module__hidden=(32,), max_epochs=5, lr=0.003)
    by_adapters = cross_val_score(net, *as_Xy(data), cv=splits, error_score="raise")
    directly = cross_val_score(net, data, cv=splits, error_score="raise")
    assert_array_equal(directly, by_adapters)
    assert by_adapters.min() > 0.6
    paths = np.array([folder.samples[row][0] for row in data.indices])
    _, y = as_Xy(data)
    for X in (paths, paths.tolist()):
        assert_array_equal(cross_val_score(net, X, y, cv=splits), by_adapters)


def test_flat_data_set_in_cross_validation(rows, small):
    data = TensorDataset(torch.from_numpy(rows.X), torch.from_numpy(rows.y))
    splits = folds(N, 2)
    expected = cross_val_score(small(), rows.X, rows.y, cv=splits)
    by_adapters = cross_val_score(small(), *as_Xy(data), cv=splits)
    assert_array_equal(by_adapters, expected)
    directly = cross_val_score(small(), data, cv=splits, error_score="raise")
    assert_array_equal(directly, expected)


def test_data_set_sees_no_y_and_the_default_scorer_only(fashion, small):
    data = Subset(fashion(v1.ToTensor()), range(200))
    scores = cross_val_score(small(), data, cv=2, error_score="raise")
    assert scores.min() > 0.4
    net = small().fit(Subset(data, range(100)))
    assert scores[1] == net.score(Subset(data, range(100, 200)))
    with pytest.raises(TypeError, match="y_true"):
        cross_val_score(small(), data, cv=2, scoring="accuracy", error_score="raise")


# -------------------------------------------------------------------- data sets


def test_data_sets_in_fit_and_score(fashion, small):
    data = fashion(v1.ToTensor())
    train, test = Subset(data, range(400)), Subset(data, range(400, 1000))
    net = small().fit(train)
    score = net.score(test)
    assert score > 0.4
    X, y = data.data[:1000].numpy(), data.targets[:1000].numpy()
    assert net.score(X[400:], y[400:]) == score
    assert net.score(test, y[400:]) == score
    proba = net.predict_proba(test)
    for again in (
        small().fit(X[:400], y[:400]),
        small().fit(*as_Xy(train)),
        small().fit(train, y[:400]),
        small().fit(SliceDataset(train), y[:400]),
        small().fit(SliceDataset(data)[np.arange(400)], y[:400]),
        small().fit([data[i] for i in range(400)]),
    ):
        assert_array_equal(again.predict_proba(test), proba)
        assert again.score(SliceDataset(test), y[400:]) == score
    whole = small(max_epochs=1, batch_size=256).fit(data)
    assert whole.score(data) > 0.6
    assert len(whole.history[0, "batches"]) == 40


def test_labels_are_required(fashion, images, small):
    for X in (
        images.X,
        SliceDataset(fashion()),
        as_Xy(Subset(fashion(), range(50)))[0],
        TensorDataset(torch.rand(20, 1, 8, 8)),
    ):
        with pytest.raises(ValueError, match="requires y to be passed"):
            small().fit(X)
    net = small(max_epochs=1).fit(images.X, images.y)
    with pytest.raises(ValueError, match="requires y"):
        net.score(images.X)
    with pytest.raises(ValueError, match="requires y"):
        net.score(SliceDataset(Subset(fashion(), range(50))))


# -------------------------------------------------------------------- pipelines


def test_standard_scaler_before_a_convolutional_network(rows, images, small_convnet):
    pipeline = make_pipeline(
        StandardScaler(),
        small_convnet(image_shape=images.image_shape, normalize=None),
    )
    scores = cross_val_score(pipeline, rows.X, rows.y, cv=2, error_score="raise")
    assert scores.min() > 0.4
    net = pipeline.fit(rows.X, rows.y)[-1]
    assert net.image_shape_ == images.image_shape
    assert net.n_features_in_ == rows.X.shape[1]
    assert any(isinstance(m, torch.nn.Conv2d) for m in net.module_.modules())
    # The same as by hand, with images in place of rows.
    scaled = StandardScaler().fit_transform(rows.X).reshape(N, *images.image_shape)
    by_hand = small_convnet(normalize=None, channels="first").fit(scaled, rows.y)
    assert_allclose(
        pipeline.predict_proba(rows.X), by_hand.predict_proba(scaled), rtol=1e-4
    )
