"""Clones, and weights that metadata routing brings."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 400


def folds(n, n_folds=3):
    """Return explicit splits."""
    return list(KFold(n_folds, shuffle=True, random_state=1).split(np.zeros(n)))


def test_clone_starts_afresh(images, small):
    net = small(optimizer__weight_decay=0.01).fit(images.X, images.y)
    proba = net.predict_proba(images.X_test)
    copy = clone(net)
    assert copy.get_params() == net.get_params()
    for name in ("module_", "optimizer_", "classes_", "image_shape_", "n_features_in_"):
        assert hasattr(net, name)
        assert not hasattr(copy, name)
    with pytest.raises(NotFittedError):
        copy.predict(images.X_test)
    copy.set_params(max_epochs=1).fit(images.X[:100], images.y[:100])
    assert len(copy.history) == 1
    assert_array_equal(net.predict_proba(images.X_test), proba)
    copy.set_params(max_epochs=3).fit(images.X, images.y)
    assert_array_equal(copy.predict_proba(images.X_test), proba)


def test_clone_of_a_network_that_was_given(images):
    n_features = int(np.prod(images.image_shape))
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n_features, 10))
    before = module[1].weight.detach().clone()
    net = ImageClassifier(module, lr=0.01, max_epochs=3, batch_size=32, random_state=0)
    scores = [cross_val_score(net, images.X, images.y, cv=2) for _ in range(2)]
    assert_array_equal(*scores)
    assert min(scores[0]) > 0.4
    assert torch.equal(module[1].weight, before)


def test_weights_through_metadata_routing(images, small):
    weight = np.random.default_rng(0).random(N)
    weight[images.y == 3] = 0
    splits = folds(N, 2)
    with config_context(enable_metadata_routing=True):
        net = small().set_fit_request(sample_weight=True)
        net.set_score_request(sample_weight=True)
        result = cross_validate(
            net,
            images.X,
            images.y,
            cv=splits,
            params={"sample_weight": weight},
            return_estimator=True,
            error_score="raise",
        )
        unweighted = cross_val_score(
            net.set_score_request(sample_weight=False),
            images.X,
            images.y,
            cv=splits,
            params={"sample_weight": weight},
        )
        # Nothing is passed on without having been asked for.
        with pytest.raises(ValueError, match="sample_weight"):
            cross_validate(
                small(),
                images.X,
                images.y,
                cv=splits,
                params={"sample_weight": weight},
                error_score="raise",
            )
    for i, (train, test) in enumerate(splits):
        net = small().fit(images.X[train], images.y[train], weight[train])
        expected = net.score(images.X[test], images.y[test], weight[test])
        assert result["test_score"][i] == expected
        assert unweighted[i] == net.score(images.X[test], images.y[test])
        assert 3 not in result["estimator"][i].classes_
    assert min(*result["test_score"], *unweighted) > 0.4


def test_weights_into_a_pipeline(rows, small):
    weight = np.where(rows.y < 5, 1.0, 0.0)
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            small(normalize=None).set_fit_request(sample_weight=True),
        )
        pipeline.fit(rows.X, rows.y, sample_weight=weight)
    assert_array_equal(pipeline.classes_, range(5))
    kept = rows.y < 5
    by_hand = make_pipeline(StandardScaler(), small(normalize=None))
    by_hand.fit(rows.X[kept], rows.y[kept])
    assert_allclose(
        pipeline.predict_proba(rows.X_test),
        by_hand.predict_proba(rows.X_test),
        rtol=1e-2,
        atol=1e-3,
    )
    old_style = make_pipeline(StandardScaler(), small(normalize=None))
    old_style.fit(rows.X, rows.y, imageclassifier__sample_weight=weight)
    assert_array_equal(old_style.classes_, range(5))


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor, ImageAutoencoder])
def test_every_estimator_can_request_weights(kind):
    X = np.random.default_rng(0).random((20, 4, 4))
    y, weight = np.arange(20) % 2, np.ones(20)
    with config_context(enable_metadata_routing=True):
        net = kind(max_epochs=1)
        assert net.get_metadata_routing()
        net.set_fit_request(sample_weight=True)
        net.set_partial_fit_request(sample_weight=True)
        if kind is not ImageAutoencoder:  # It scores without weights.
            net.set_score_request(sample_weight=True)
        params = {"sample_weight": weight}
        cross_validate(net, X, y, cv=2, params=params, error_score="raise")
        request = net._get_metadata_request()
        assert request.partial_fit.requests["sample_weight"] is True
        assert "classes" not in request.partial_fit.requests or kind is ImageClassifier
        if kind is ImageAutoencoder:
            head = LogisticRegression().set_fit_request(sample_weight=True)
            make_pipeline(net, head).fit(X, y, sample_weight=weight)
