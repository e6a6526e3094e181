"""What epoch_scoring records is what the scorer gives."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import check_scoring, f1_score, make_scorer
from skorch.callbacks import Callback, EpochScoring

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import ImageSequence
from skvision.metrics import cross_entropy_scorer, top_k_scorer
from skvision.preprocessing import UniformNoise

# Networks that do not change from batch to batch, so that both must agree.
STILL = {"lr": 0.0, "max_epochs": 2, "batch_size": 50, "random_state": 0}


class Rows(Callback):
    """Keep the data sets of the last epoch."""

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.train_, self.valid_ = dataset_train, dataset_valid


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:260], digits.target[:260]


def rows(net):
    seen = dict(net.callbacks_)["Rows"]
    return {"train": seen.train_, "valid": seen.valid_}


def assert_as_scored(net, scorers, rtol=1e-5):
    """Compare each recorded value with that of the fitted estimator."""
    for part, found in rows(net).items():
        images = np.asarray(found.X)
        for name, scoring in scorers.items():
            score = check_scoring(net, scoring)(net, images, found.y)
            recorded = net.history[:, f"{part}_{name}"]
            assert_allclose(recorded, 2 * [score], rtol=rtol, err_msg=f"{part} {name}")


@pytest.mark.parametrize("hold_out", [False, True])
@pytest.mark.parametrize(
    ("labels", "module"),
    [("numbers", "convnet"), ("strings", "mlp"), ("two", "mlp"), ("gaps", "mlp")],
)
def test_classifiers(data, labels, module, hold_out):
    X, y = data
    y = {
        "numbers": y,
        "strings": np.array([f"no. {i}" for i in y]),
        "two": np.where(y > 4, "large", "small"),
        "gaps": 3 * y + 1,
    }[labels]
    k = 1 if labels == "two" else 3
    scorers = {
        "accuracy": "accuracy",
        f"top_{k}_accuracy": top_k_scorer(k),
        "neg_cross_entropy": cross_entropy_scorer(),
        "neg_log_loss": "neg_log_loss",
        "f1_score": make_scorer(f1_score, average="macro", pos_label=None),
    }
    net = ImageClassifier(
        module,
        **STILL,
        module__dropout=0.0,
        **{"module__batch_norm": False} if module == "convnet" else {},
        epoch_scoring=list(scorers.values()),
        early_stopping=hold_out,
        validation_fraction=0.3,
        callbacks=[Rows],
    ).fit(X, y)
    if hold_out:
        assert_as_scored(net, scorers)
    else:
        for name, scoring in scorers.items():
            score = check_scoring(net, scoring)(net, X, y)
            assert_allclose(net.history[:, f"train_{name}"], 2 * [score], rtol=1e-5)
        assert not [key for key in net.history[-1] if key.startswith("valid_")]


def test_the_loss_is_a_score_too(data):
    net = ImageClassifier(
        "mlp",
        max_epochs=3,
        dtype="float64",
        early_stopping=True,
        epoch_scoring=[cross_entropy_scorer(), top_k_scorer(1), "accuracy"],
        random_state=0,
    ).fit(*data)
    for part in ("train", "valid"):
        losses = net.history[:, f"{part}_loss"]
        assert_allclose(net.history[:, f"{part}_neg_cross_entropy"], -np.array(losses))
        top_1 = net.history[:, f"{part}_top_1_accuracy"]
        assert top_1 == net.history[:, f"{part}_accuracy"]


@pytest.mark.parametrize(
    ("n_targets", "normalize_target"), [(1, True), (1, False), (2, False)]
)
def test_regressors(data, n_targets, normalize_target):
    X, y = data
    y = np.column_stack([y, y % 3])[:, :n_targets].astype(float)
    scorers = {
        "r2": "r2",
        "neg_mean_squared_error": "neg_mean_squared_error",
        "negative": lambda net, X, y: -float(np.abs(net.predict(X) - y).max()),
    }
    net = ImageRegressor(
        "mlp",
        **STILL,
        normalize_target=normalize_target,
        epoch_scoring=scorers,
        early_stopping=True,
        callbacks=[Rows],
    ).fit(X, y[:, 0] if n_targets == 1 else y)
    assert_as_scored(net, scorers)
    losses = [net.history[:, f"{part}_loss"] for part in ("train", "valid")]
    errors = [
        net.history[:, f"{part}_neg_mean_squared_error"] for part in ("train", "valid")
    ]
    # Scores are on the scale of y, losses on that of the network.
    variance = net.scaler_.target.std[0].item() ** 2
    assert_allclose(losses, -np.array(errors) / variance, rtol=1e-5)


def sharpness(net, X, y=None):
    """Score an autoencoder by images as the user has them."""
    assert y is None
    assert isinstance(X, ImageSequence)
    return float(net.reconstruct(X).std() - np.asarray(X).std()) + net.score(X)


@pytest.mark.parametrize("layout", ["images", "flat", "folded"])
def test_autoencoders(data, layout):
    X, _ = data
    shape = {}
    if layout != "images":
        X = X.reshape(len(X), -1)
        shape = {"image_shape": (1, 8, 8)} if layout == "folded" else {}
    for scoring, names in [
        ({"own": None, "sharp": sharpness}, {"own": None, "sharp": sharpness}),
        ([None, sharpness], {"score": None, "sharpness": sharpness}),
        (sharpness, {"sharpness": sharpness}),
    ]:
        net = ImageAutoencoder(
            **STILL,
            **shape,
            **{"module__batch_norm": False} if layout != "flat" else {},
            noise=UniformNoise(0, 0.3) if layout != "flat" else None,
            epoch_scoring=scoring,
            early_stopping=True,
            callbacks=[Rows],
        ).fit(X)
        for part, images in rows(net).items():
            for name, scorer in names.items():
                score = check_scoring(net, scorer)(net, images)
                assert net.history[:, f"{part}_{name}"] == pytest.approx([score] * 2)
    # Without noise, the score of the validation rows is their loss.
    assert_allclose(
        net.history[:, "valid_loss"],
        [-net.score(rows(net)["valid"])] * 2,
        rtol=1e-5,
    )
    train, valid = rows(net).values()
    whole = np.concatenate([train, valid]).reshape(len(X), -1)
    assert_allclose(np.sort(whole.sum(1)), np.sort(X.reshape(len(X), -1).sum(1)))


def test_autoencoders_keep_no_outputs(data):
    class Held(Callback):
        def on_batch_end(self, net, **kwargs):
            scorer = dict(net.callbacks_)["mine"]
            assert scorer.y_preds_ == scorer.y_trues_ == []

    net = ImageAutoencoder(
        **STILL, callbacks=[("mine", EpochScoring(None, name="mine")), Held]
    )
    net.set_params(early_stopping=True).fit(data[0])
    assert net.history[-1, "mine"] < 0


def double(net, X, y, factor=2.0):
    return factor * net.score(X, y)


class Twice:
    def __call__(self, net, X, y):
        return 2 * net.score(X, y)


class Named(Twice):
    __name__ = "mine"


@pytest.mark.parametrize(
    ("scorer", "name"),
    [
        (double, "double"),
        (partial(double, factor=2), "double"),
        (Twice(), "Twice"),
        (Named(), "mine"),
        (None, "score"),
        (top_k_scorer(3), "top_3_accuracy"),
        (cross_entropy_scorer(), "neg_cross_entropy"),
        (make_scorer(partial(f1_score, average="macro")), "f1_score"),
    ],
)
def test_names(data, scorer, name):
    net = ImageClassifier("mlp", max_epochs=1, epoch_scoring=[scorer]).fit(*data)
    score = net.history[-1, f"train_{name}"]
    if name in ("double", "Twice", "mine"):
        single = ImageClassifier("mlp", **STILL, epoch_scoring=[scorer]).fit(*data)
        expected = 2 * single.score(*data)
        assert single.history[-1, f"train_{name}"] == pytest.approx(expected)
    assert np.isfinite(score)


def test_names_in_skorchs_own_callback(data):
    callbacks = [
        ("top", EpochScoring(top_k_scorer(3), on_train=True, lower_is_better=False)),
        ("entropy", EpochScoring(cross_entropy_scorer(), on_train=True)),
    ]
    net = ImageClassifier("mlp", **STILL, callbacks=callbacks).fit(*data)
    assert net.history[-1, "top_3_accuracy"] == top_k_scorer(3)(net, *data)
    assert net.history[-1, "neg_cross_entropy"] == pytest.approx(
        cross_entropy_scorer()(net, *data), rel=1e-5
    )


@pytest.mark.parametrize(
    ("estimator", "scoring", "message"),
    [
        (ImageClassifier, [double, partial(double, factor=3)], "2 scorers .*'double'"),
        (ImageClassifier, {"a": "acuracy"}, "acuracy"),
        (ImageRegressor, top_k_scorer(3), "'top_3_accuracy'.*needs predict_proba"),
        (ImageRegressor, "roc_auc", "needs decision_function or predict_proba"),
        (ImageAutoencoder, ["r2"], "'r2'.*needs predict, which ImageAutoencoder"),
    ],
)
def test_errors_before_training(data, estimator, scoring, message):
    net = estimator(epoch_scoring=scoring)
    with pytest.raises(ValueError, match=message):
        net.fit(*data)
    assert not hasattr(net, "module_")


def test_checkpoints_know_equal_scorers(data, tmp_path):
    def fit(k):
        return ImageClassifier(
            "mlp",
            **STILL,
            epoch_scoring=[top_k_scorer(k), cross_entropy_scorer()],
            checkpoint=tmp_path,
        ).fit(*data)

    first = fit(2)
    assert (
        fit(2).history[:, "train_top_2_accuracy"]
        == first.history[:, "train_top_2_accuracy"]
    )
    assert len(list(tmp_path.iterdir())) == 1
    fit(3)
    assert len(list(tmp_path.iterdir())) == 2
