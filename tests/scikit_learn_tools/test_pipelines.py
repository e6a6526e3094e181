"""Image estimators in pipelines and within other estimators."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch.utils.data import TensorDataset

from skvision import ImageRegressor
from skvision.datasets import as_Xy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 400


# -------------------------------------------------------------------- pipelines


def test_wrong_image_shape(rows, small_convnet):
    pipeline = make_pipeline(StandardScaler(), small_convnet(image_shape=(1, 5, 7)))
    with pytest.raises(ValueError, match=r"image_shape=\(1, 5, 7\) has 35 values"):
        pipeline.fit(rows.X, rows.y)


def test_search_within_a_pipeline(rows, images, small):
    pipeline = make_pipeline(StandardScaler(), small(normalize=None))
    grid = {"imageclassifier__lr": [1e-6, 0.01], "standardscaler__with_std": [True]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(rows.X, rows.y)
    assert search.best_params_["imageclassifier__lr"] == 0.01
    assert search.score(rows.X_test, rows.y_test) > 0.4


def test_transformed_images(images, small):
    def crop(X):
        return 255 - X[:, 1:-1, 2:-2]

    pipeline = make_pipeline(FunctionTransformer(crop), small())
    scores = cross_val_score(pipeline, images.X, images.y, cv=2, error_score="raise")
    assert scores.min() > 0.4
    pipeline.fit(images.X, images.y)
    height, width = images.image_shape[1:]
    assert pipeline[-1].image_shape_ == (1, height - 2, width - 4)
    by_hand = small().fit(crop(images.X), images.y)
    assert_array_equal(
        pipeline.predict_proba(images.X_test),
        by_hand.predict_proba(crop(images.X_test)),
    )


def test_frames_between_steps(rows, small):
    pipeline = make_pipeline(StandardScaler(), small()).set_output(transform="pandas")
    pipeline.fit(rows.X, rows.y)
    assert list(pipeline[-1].feature_names_in_) == list(
        pipeline[0].get_feature_names_out()
    )
    # Features have an output to set, predictions have none.
    names = [f"imageclassifier{i}" for i in range(16)]
    assert list(pipeline.transform(rows.X)) == names
    assert isinstance(pipeline.predict(rows.X), np.ndarray)
    assert pipeline.score(rows.X_test, rows.y_test) > 0.4
    with config_context(transform_output="pandas"):
        assert isinstance(small().fit(rows.X, rows.y).predict_proba(rows.X), np.ndarray)


def test_regression_of_a_transformed_target(images):
    y = images.X.mean((1, 2)) * 100 + 50_000
    net = ImageRegressor("mlp", module__hidden=(16,), lr=0.01, random_state=0)
    net.set_params(max_epochs=15, batch_size=32)
    model = TransformedTargetRegressor(net, transformer=StandardScaler())
    scores = cross_val_score(model, images.X, y, cv=2, error_score="raise")
    assert scores.min() > 0.7
    y_test = images.X_test.mean((1, 2)) * 100 + 50_000
    model.fit(images.X, y)
    assert model.score(images.X_test, y_test) > 0.7
    prediction = model.predict(images.X_test)
    assert prediction.shape == (N,)
    assert 40_000 < prediction.mean() < 80_000
    # Two targets at once, and an adapter's images.
    both = np.column_stack([y, -y])
    data = TensorDataset(torch.from_numpy(images.X), torch.from_numpy(both))
    model.fit(*as_Xy(data))
    assert model.predict(images.X_test).shape == (N, 2)
    assert model.score(images.X_test, np.column_stack([y_test, -y_test])) > 0.7


# -------------------------------------------------------------- meta-estimators


@pytest.mark.parametrize("kind", ["images", "rows", "adapters"])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration(images, rows, kind, method, small):
    X, y = (rows if kind == "rows" else images).X, images.y
    X_test = (rows if kind == "rows" else images).X_test
    if kind == "adapters":
        X, y = as_Xy(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)))
    model = CalibratedClassifierCV(small(), cv=2, method=method).fit(X, y)
    proba = model.predict_proba(X_test)
    assert proba.shape == (N, 10)
    assert_allclose(proba.sum(1), 1, rtol=1e-5)
    assert model.score(X_test, images.y_test) > 0.4
    assert len(model.calibrated_classifiers_) == 2


def test_soft_voting(rows, small):
    members = [
        ("wide", small(module__hidden=(32,))),
        ("deep", small(module__hidden=(16, 16))),
        ("linear", LogisticRegression(max_iter=50)),
    ]
    model = VotingClassifier(members, voting="soft").fit(rows.X, rows.y)
    proba = [member.predict_proba(rows.X_test) for member in model.estimators_]
    assert_allclose(model.predict_proba(rows.X_test), np.mean(proba, 0), rtol=1e-6)
    assert model.score(rows.X_test, rows.y_test) > 0.4


def test_stacking(rows, small):
    members = [("net", small()), ("other", small(module__hidden=(32,)))]
    model = StackingClassifier(members, LogisticRegression(max_iter=200), cv=2)
    model.fit(rows.X, rows.y)
    assert model.transform(rows.X_test).shape == (N, 20)
    assert model.score(rows.X_test, rows.y_test) > 0.4


def test_boosting(rows, small):
    model = AdaBoostClassifier(small(max_epochs=2), n_estimators=3, random_state=0)
    model.fit(rows.X, rows.y)
    assert len(model.estimators_) == 3
    assert model.estimator_errors_[0] < 0.7
    assert model.score(rows.X_test, rows.y_test) > 0.4
    # Later members see other weights and thus become other networks.
    weights = [net.module_.head.weight for net in model.estimators_]
    assert not torch.equal(weights[0], weights[1])


def test_bagging(rows, small):
    model = BaggingClassifier(
        small(), n_estimators=3, max_samples=0.8, max_features=0.5, random_state=0
    ).fit(rows.X, rows.y)
    n_features = rows.X.shape[1] // 2
    assert [net.n_features_in_ for net in model.estimators_] == [n_features] * 3
    assert model.score(rows.X_test, rows.y_test) > 0.4
