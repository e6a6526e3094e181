"""Rows to validate on that are given to ``fit`` beside those to train on."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import predefined_split
from skvision_tests import DOUBLE, NAMES, make_images, make_targets, weights

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

AUTOENCODER = {**DOUBLE, "module": "dense_autoencoder", "module__hidden": (8, 3)}
#: Estimators, and what is made of images and the numbers of their classes.
KINDS = {
    "classifier": (ImageClassifier(**DOUBLE), lambda X, y: NAMES[y]),
    "regressor": (ImageRegressor(**DOUBLE), lambda X, y: make_targets(X)),
    "autoencoder": (ImageAutoencoder(**AUTOENCODER), lambda X, y: None),
}
TRAIN, VALID = slice(0, 40), slice(40, 60)


def halves(kind):
    """Return an estimator, and X, y, X_val, y_val as keywords."""
    net, targets = KINDS[kind]
    X, y = make_images(60)
    y = targets(X, y)
    given = {"X": X[TRAIN], "X_val": X[VALID]}
    if y is not None:
        given |= {"y": y[TRAIN], "y_val": y[VALID]}
    return net.__sklearn_clone__(), given


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_a_predefined_split(kind, assert_same_weights):
    net, given = halves(kind)
    net.fit(**given)
    split = predefined_split(SkorchDataset(given["X_val"], given.get("y_val")))
    expected = net.__sklearn_clone__().set_params(train_split=split)
    expected.fit(given["X"], given.get("y"))
    assert_array_equal(net.history[:, "valid_loss"], expected.history[:, "valid_loss"])
    assert sum(net.history[0, "batches", :5, "train_batch_size"]) == 40
    # They have no part in the training.
    alone = net.__sklearn_clone__().fit(given["X"], given.get("y"))
    assert_same_weights(weights(net), weights(alone))


def test_losses_and_scores_are_of_these_rows():
    net, given = halves("classifier")
    X_val, y_val = given["X_val"], given["y_val"]
    weight = np.arange(20) % 3 * 1.0
    net.set_params(epoch_scoring="accuracy", class_weight={"red": 3})
    net.fit(**given, sample_weight_val=weight)
    loss = log_loss(
        y_val,
        net.predict_proba(X_val),
        labels=net.classes_,
        sample_weight=weight * np.where(y_val == "red", 3, 1),
    )
    assert_allclose(net.history[-1, "valid_loss"], loss, rtol=1e-9)
    kept = weight > 0  # Others take no part.
    score = net.score(X_val[kept], y_val[kept])
    assert net.history[-1, "valid_accuracy"] == pytest.approx(score)


def test_early_stopping_cuts_nothing_off(assert_same_weights):
    net, given = halves("classifier")
    rng = np.random.default_rng(0)
    given["y_val"] = rng.permutation(given["y_val"])  # Which cannot be learnt.
    net.set_params(early_stopping=True, n_iter_no_change=2, max_epochs=30, lr=0.03)
    net.fit(**given)
    losses = net.history[:, "valid_loss"]
    assert net.best_epoch_ == np.argmin(losses) + 1 == len(losses) - 2
    assert sum(net.history[0, "batches", :5, "train_batch_size"]) == 40
    best = net.__sklearn_clone__().set_params(max_epochs=net.best_epoch_)
    best.set_params(early_stopping=False).fit(given["X"], given["y"])
    assert_same_weights(weights(net), weights(best))


def test_each_call_has_its_own():
    net, given = halves("classifier")
    net.partial_fit(**given)
    other = {**given, "X_val": given["X_val"][:5], "y_val": given["y_val"][:5]}
    net.set_params(warm_start=True).partial_fit(**other).fit(**given)
    net.fit(given["X"], given["y"])
    assert len(net.history) == 8
    sizes = [
        sum(b.get("valid_batch_size", 0) for b in epoch["batches"])
        for epoch in net.history
    ]
    assert sizes == [20, 20, 5, 5, 20, 20, 0, 0]


@pytest.mark.parametrize("changed", [None, "X_val", "y_val", "sample_weight_val"])
def test_checkpoints_know_them(changed, tmp_path):
    net, given = halves("classifier")
    net.set_params(checkpoint=tmp_path).fit(**given)
    other = {**given, "sample_weight_val": None}
    if changed == "sample_weight_val":
        other[changed] = np.arange(20.0)
    elif changed is not None:
        other[changed] = given[changed][::-1]
    net.fit(**other)
    assert len([*tmp_path.iterdir()]) == (1 if changed is None else 2)


# -------------------------------------------------------------- scikit-learn's tools


def test_a_search_hands_them_to_each_fit():
    net, given = halves("classifier")
    X, y = given.pop("X"), given.pop("y")
    search = GridSearchCV(net, {"lr": [0.03]}, cv=2).fit(X, y, **given)
    expected = net.set_params(lr=0.03).fit(X, y, **given)
    history = search.best_estimator_.history
    assert_array_equal(history[:, "valid_loss"], expected.history[:, "valid_loss"])


def test_a_pipeline_transforms_them_if_they_are_requested():
    X, y = make_images(60)
    X = X.reshape(60, 64)
    scaler = StandardScaler().fit(X[TRAIN])
    expected = ImageClassifier(**DOUBLE).fit(
        scaler.transform(X[TRAIN]),
        y[TRAIN],
        X_val=scaler.transform(X[VALID]),
        y_val=y[VALID],
    )
    given = {"X_val": X[VALID], "y_val": y[VALID]}
    with config_context(enable_metadata_routing=True):
        for net in (ImageClassifier(**DOUBLE), ImageAutoencoder(**AUTOENCODER)):
            with pytest.raises(ValueError, match="X_val.*not explicitly set"):
                make_pipeline(StandardScaler(), net).fit(X[TRAIN], y[TRAIN], X_val=X)
        net = ImageClassifier(**DOUBLE).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), net, transform_input=["X_val"])
        pipeline.fit(X[TRAIN], y[TRAIN], **given)
    losses = pipeline[-1].history[:, "valid_loss"]
    assert_array_equal(losses, expected.history[:, "valid_loss"])
