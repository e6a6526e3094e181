"""Names and values of parameters, and parameters that contradict each other."""

import numpy as np
import pytest
from skorch.callbacks import EpochTimer
from skorch.dataset import ValidSplit
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.preprocessing import RandomHorizontalFlip, RandomResizedCrop
from skvision.training import GradientRecorder

NAMES = [
    (
        "ImageClassifier: misspelt parameter",
        lambda b: ImageClassifier(max_epoch=3),
        TypeError,
        ("ImageClassifier has no parameter 'max_epoch'", "did you mean 'max_epochs'"),
    ),
    (
        "ImageRegressor: misspelt prefix",
        lambda b: ImageRegressor(modul__hidden=(8,)),
        TypeError,
        ("no parameter 'modul__hidden'", "did you mean 'module__hidden'"),
    ),
    (
        "ImageAutoencoder: parameter of another estimator",
        lambda b: ImageAutoencoder(class_weight="balanced"),
        TypeError,
        ("ImageAutoencoder has no parameter 'class_weight'", "Valid parameters: amp"),
    ),
    (
        "ImageClassifier: parameters without names",
        lambda b: ImageClassifier("mlp", "cross_entropy"),
        TypeError,
        ("positional argument", "3 were given"),
    ),
    (
        "ImageClassifier.set_params: misspelt parameter",
        lambda b: b.classifier.set_params(batchsize=3),
        ValueError,
        ("has no parameter 'batchsize'", "did you mean 'batch_size'"),
    ),
    (
        "ImageRegressor.set_params: parameter of no part",
        lambda b: b.regressor.set_params(estimator__lr=1),
        ValueError,
        ("has no parameter 'estimator__lr'", "names that begin with module__"),
    ),
    (
        "ImageAutoencoder.set_params: misspelt parameter",
        lambda b: b.autoencoder.set_params(nois=None),
        ValueError,
        ("has no parameter 'nois'", "did you mean 'noise'"),
    ),
    pytest.param(
        "ImageClassifier.set_params: lr=None",
        lambda b: b.classifier.set_params(lr=None).fit(b.X, b.y),
        ValueError,
        ("'lr' parameter", r"\[0.0, inf\)", "Got None"),
    ),
    pytest.param(
        "ImageClassifier.set_params: optimizer__lr=None",
        lambda b: b.classifier.set_params(optimizer__lr=None).fit(b.X, b.y),
        (TypeError, ValueError),
        ("optimizer__lr|learning rate", "None"),
    ),
    (
        "ImageClassifier.fit: misspelt argument of the network",
        lambda b: b.refit("classifier", module__hiden=(8,)),
        ValueError,
        ("no argument 'hiden', given as module__hiden", "did you mean 'module__hidden"),
    ),
    (
        "ImageRegressor.fit: misspelt argument of the optimizer",
        lambda b: b.refit("regressor", optimizer__weight_decai=1),
        ValueError,
        ("optimizer__weight_decai", "did you mean 'optimizer__weight_decay'"),
    ),
    (
        "ImageClassifier.fit: misspelt argument of the loss",
        lambda b: b.refit("classifier", criterion__label_smooth=0.1),
        ValueError,
        ("criterion__label_smooth", "did you mean 'criterion__label_smoothing'"),
    ),
    (
        "ImageAutoencoder.fit: misspelt argument of the iterator",
        lambda b: b.refit("autoencoder", iterator_train__num_worker=1),
        ValueError,
        ("iterator_train__num_worker", "did you mean 'iterator_train__num_workers'"),
    ),
    pytest.param(
        "ImageClassifier.fit: parameter of a callback that is not there",
        lambda b: b.refit("classifier", callbacks__nosuch__sink=print),
        (ValueError, NameError),
        ("callback", "nosuch"),
    ),
]

VALUES = [
    (
        "ImageClassifier.fit: negative width of a layer",
        lambda b: b.refit("classifier", module__hidden=-5),
        ValueError,
        ("hidden must be an int of at least 1", "got -5"),
    ),
    (
        "ImageClassifier.fit: negative rate in the optimizer",
        lambda b: b.refit("classifier", optimizer__lr=-1),
        ValueError,
        ("learning rate", "-1"),
    ),
    (
        "ImageRegressor.fit: negative weight decay",
        lambda b: b.refit("regressor", optimizer__weight_decay=-1),
        ValueError,
        ("weight_decay", "-1"),
    ),
    pytest.param(
        "ImageClassifier.fit: label smoothing of 2",
        lambda b: b.refit("classifier", criterion__label_smoothing=2),
        ValueError,
        ("label_smoothing", "2"),
    ),
    pytest.param(
        "ImageClassifier.fit: loss that is not reduced",
        lambda b: b.refit("classifier", criterion__reduction="none"),
        ValueError,
        ("criterion|reduction", "none"),
    ),
    pytest.param(
        "ImageClassifier.fit: loss of a regressor",
        lambda b: b.refit("classifier", criterion="l1"),
        ValueError,
        ("criterion", "L1Loss|l1"),
    ),
    pytest.param(
        "ImageClassifier.fit: batches without rows",
        lambda b: b.refit("classifier", iterator_train__batch_size=0),
        ValueError,
        ("batch_size", "0", "at least 1|-1"),
    ),
    pytest.param(
        "ImageClassifier.fit: batches of a negative size",
        lambda b: b.refit("classifier", iterator_train__batch_size=-5),
        ValueError,
        ("batch_size", "-5", "at least 1|-1"),
    ),
    (
        "ImageRegressor.fit: negative number of workers",
        lambda b: b.refit("regressor", iterator_train__num_workers=-1),
        ValueError,
        ("num_workers", "non-negative"),
    ),
    (
        "ImageClassifier.fit: deviation of zero",
        lambda b: b.refit("classifier", normalize=(0.5, 0)),
        ValueError,
        (r"normalize=\(0.5, 0\)", "std positive"),
    ),
    (
        "ImageRegressor.fit: mean alone",
        lambda b: b.refit("regressor", normalize=(0.5,)),
        ValueError,
        (r"normalize=\(0.5,\)", r"not a pair \(mean, std\)"),
    ),
    (
        "ImageAutoencoder.fit: NaN as mean",
        lambda b: b.refit("autoencoder", normalize=(np.nan, 1)),
        ValueError,
        (r"normalize=\(nan, 1\)", "finite numbers"),
    ),
    (
        "ImageClassifier.fit: three means for one channel",
        lambda b: b.refit("classifier", normalize=([0.1, 0.2, 0.3], [1, 1, 1])),
        ValueError,
        (r"normalize=\(\[0.1", "for each of the 1 channels"),
    ),
    (
        "ImageClassifier.fit: another image_shape",
        lambda b: b.refit("classifier", image_shape=(1, 4, 16)),
        ValueError,
        (r"image_shape=\(1, 4, 16\)", r"X has images of shape \(1, 8, 8\)"),
    ),
    (
        "ImageClassifier.fit: image_shape of other rows",
        lambda b: b.refit("classifier", X=b.rows, image_shape=(1, 8, 9)),
        ValueError,
        (r"image_shape=\(1, 8, 9\) has 72 values", "64 features"),
    ),
    pytest.param(
        "ImageClassifier.fit: negative image_shape",
        lambda b: ImageClassifier(nn.Linear(8, 10), image_shape=(1, -8, -8)).fit(
            b.rows, b.y
        ),
        ValueError,
        ("image_shape", "-8", "at least 1|positive"),
    ),
    pytest.param(
        "ImageClassifier.fit: image_shape of floats",
        lambda b: ImageClassifier(nn.Linear(8, 10), image_shape=(1, 8.0, 8)).fit(
            b.rows, b.y
        ),
        ValueError,
        ("image_shape", r"8\.0", "int"),
    ),
    pytest.param(
        "ImageRegressor.fit: image_shape of one number",
        lambda b: ImageRegressor(nn.Linear(64, 1), image_shape=(64,)).fit(b.rows, b.t),
        ValueError,
        ("image_shape", r"\(64,\)", r"\(channels, height, width\)"),
    ),
    pytest.param(
        "ImageClassifier.fit: something else than a transform",
        lambda b: b.refit("classifier", augment=[5]),
        TypeError,
        ("augment expects transforms", "5 of type int", "callable"),
    ),
    pytest.param(
        "ImageRegressor.fit: class of a transform",
        lambda b: b.refit("regressor", augment=RandomHorizontalFlip),
        TypeError,
        ("augment expects transforms", "class RandomHorizontalFlip", "Make one of it"),
    ),
    pytest.param(
        "ImageAutoencoder.fit: noise that is no transform",
        lambda b: b.refit("autoencoder", noise=["noisy"]),
        TypeError,
        ("noise expects transforms", "'noisy' of type str", "callable"),
    ),
    pytest.param(
        "ImageClassifier.fit: transform with a parameter out of range",
        lambda b: b.refit("classifier", augment=RandomHorizontalFlip(p=2)),
        ValueError,
        ("'p' parameter of RandomHorizontalFlip", r"\[0.0, 1.0\]", "Got 2"),
    ),
    pytest.param(
        "ImageClassifier.fit: transform to another size",
        lambda b: b.refit("classifier", augment=RandomResizedCrop(size=4)),
        ValueError,
        ("augment=RandomResizedCrop", r"\(1, 4, 4\)", "images of one shape"),
    ),
    (
        "ImageClassifier.fit: transforms of flat rows",
        lambda b: b.refit("classifier", X=b.rows, augment=RandomHorizontalFlip()),
        ValueError,
        ("augment=RandomHorizontalFlip", "flat rows", "Set image_shape="),
    ),
    pytest.param(
        "ImageClassifier.fit: scorer that does not exist",
        lambda b: b.refit("classifier", epoch_scoring="accuracyy"),
        ValueError,
        ("epoch_scoring", "accuracyy"),
    ),
    (
        "ImageRegressor.fit: scorer of probabilities",
        lambda b: b.refit("regressor", epoch_scoring=["neg_log_loss"]),
        ValueError,
        ("'neg_log_loss' of epoch_scoring", "needs predict_proba", "ImageRegressor"),
    ),
    (
        "ImageClassifier.fit: two scorers of one name",
        lambda b: b.refit("classifier", epoch_scoring=["accuracy", "accuracy"]),
        ValueError,
        ("epoch_scoring has 2 scorers called 'accuracy'", "Give a dict"),
    ),
    (
        "ImageClassifier.fit: scorer called loss",
        lambda b: b.refit("classifier", epoch_scoring={"loss": "accuracy"}),
        ValueError,
        ("epoch_scoring has a scorer called 'loss'", "another name"),
    ),
    pytest.param(
        "ImageClassifier.fit: weight of an unknown label",
        lambda b: b.refit("classifier", class_weight={99: 2.0}),
        ValueError,
        ("class_weight", "99"),
    ),
    pytest.param(
        "ImageClassifier.fit: negative weight of a label",
        lambda b: b.refit("classifier", class_weight={0: -2.0}),
        ValueError,
        ("class_weight", "-2", "negative|positive"),
    ),
    pytest.param(
        "ImageClassifier.fit: weights of zero for all labels",
        lambda b: b.refit("classifier", class_weight=dict.fromkeys(range(10), 0)),
        ValueError,
        ("class_weight", "zero|0", "positive|every"),
    ),
    pytest.param(
        "ImageClassifier.fit: weight that is no number",
        lambda b: b.refit("classifier", class_weight={0: "much"}),
        (TypeError, ValueError),
        ("class_weight", "much"),
    ),
    (
        "ImageClassifier.fit: device that does not exist",
        lambda b: b.refit("classifier", device="gpu"),
        ValueError,
        ("device='gpu' is no torch device", "cpu"),
    ),
    (
        "ImageRegressor.fit: more GPUs than there are",
        lambda b: b.refit("regressor", device="cuda:99"),
        ValueError,
        ("device='cuda:99'", r"CUDA device\(s\)", "Use device='auto'"),
    ),
    pytest.param(
        "ImageClassifier.fit: device without values",
        lambda b: b.refit("classifier", device="meta"),
        ValueError,
        ("device", "meta", "cpu|auto"),
    ),
    pytest.param(
        "ImageClassifier.fit: callback that is none",
        lambda b: b.refit("classifier", callbacks=["timer"]),
        (TypeError, ValueError),
        ("callbacks", "timer"),
    ),
    (
        "ImageClassifier.fit: two callbacks of one name",
        lambda b: b.refit(
            "classifier", callbacks=[("time", EpochTimer()), ("time", EpochTimer())]
        ),
        ValueError,
        ("callback", "'time'", "unique"),
    ),
    (
        "GradientRecorder: n_steps=0",
        lambda b: b.refit("classifier", callbacks=[GradientRecorder(n_steps=0)]),
        ValueError,
        ("'n_steps' parameter of GradientRecorder", r"\[1, inf\)", "Got 0"),
    ),
    (
        "GradientRecorder: n_steps is no number",
        lambda b: b.refit("regressor", callbacks=[GradientRecorder(n_steps="all")]),
        ValueError,
        ("'n_steps' parameter of GradientRecorder", "an int", "Got 'all'"),
    ),
]

CONTRADICTIONS = [
    (
        "ImageClassifier.fit: early_stopping beside train_split",
        lambda b: b.refit("classifier", early_stopping=True, train_split=ValidSplit(3)),
        ValueError,
        ("early_stopping=True", "train_split", "not both"),
    ),
    (
        "ImageRegressor.fit: early_stopping without callbacks",
        lambda b: b.refit("regressor", early_stopping=True, callbacks="disable"),
        ValueError,
        ("early_stopping=True", "callbacks='disable'", "contradicts"),
    ),
    (
        "ImageClassifier.fit: amp in float64",
        lambda b: b.refit("classifier", amp=True, dtype="float64"),
        ValueError,
        ("amp=True", "dtype='float64'", "set one of them"),
    ),
    pytest.param(
        "ImageClassifier.fit: train_split without a second part",
        lambda b: b.refit("classifier", train_split=lambda data, y=None: data),
        (TypeError, ValueError),
        ("train_split", "two|pair|valid"),
    ),
    (
        "ImageAutoencoder.fit: one row to stop early by",
        lambda b: b.autoencoder.set_params(early_stopping=True).fit(b.X[:1]),
        ValueError,
        ("early_stopping=True", "hold out 1 row", "n_samples=1"),
    ),
    (
        "ImageClassifier.fit: nothing is frozen",
        lambda b: b.refit("classifier", freeze="decoder.*"),
        ValueError,
        ("freeze='decoder.*'", "matches no parameter", "it has: layers.0.weight"),
    ),
    (
        "ImageRegressor.fit: everything is frozen",
        lambda b: b.refit("regressor", freeze=["*"]),
        ValueError,
        (r"freeze=\['\*'\]", "without parameters to train"),
    ),
    pytest.param(
        "ImageClassifier.fit: frozen by a number",
        lambda b: b.refit("classifier", freeze=[0]),
        (TypeError, ValueError),
        ("freeze", "0"),
    ),
]

CASES = [*NAMES, *VALUES, *CONTRADICTIONS]


def test_bad_input(case, refuse):
    refuse(case)
