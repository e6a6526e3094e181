"""Names and values of parameters, and parameters that contradict each other."""

import numpy as np
from skorch.callbacks import EpochTimer
from skorch.dataset import ValidSplit
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.preprocessing import RandomHorizontalFlip, RandomResizedCrop
from skvision.training import GradientRecorder

NAMES = {
    TypeError: {
        "ImageClassifier: misspelt parameter": (
            lambda b: ImageClassifier(max_epoch=3),
            "ImageClassifier has no parameter 'max_epoch'",
            "did you mean 'max_epochs'",
        ),
        "ImageRegressor: misspelt prefix": (
            lambda b: ImageRegressor(modul__hidden=(8,)),
            "no parameter 'modul__hidden' ... did you mean 'module__hidden'",
        ),
        "ImageAutoencoder: parameter of another estimator": (
            lambda b: ImageAutoencoder(class_weight="balanced"),
            "ImageAutoencoder has no parameter 'class_weight'",
            "Valid parameters: amp",
        ),
        "ImageClassifier: parameters without names": (
            lambda b: ImageClassifier("mlp", "cross_entropy"),
            "positional argument ... 3 were given",
        ),
    },
    ValueError: {
        "ImageClassifier.set_params: misspelt parameter": (
            lambda b: b.classifier.set_params(batchsize=3),
            "has no parameter 'batchsize' ... did you mean 'batch_size'",
        ),
        "ImageRegressor.set_params: parameter of no part": (
            lambda b: b.regressor.set_params(estimator__lr=1),
            "has no parameter 'estimator__lr' ... names that begin with module__",
        ),
        "ImageAutoencoder.set_params: misspelt parameter": (
            lambda b: b.autoencoder.set_params(nois=None),
            "has no parameter 'nois' ... did you mean 'noise'",
        ),
        "ImageClassifier.set_params: lr=None": (
            lambda b: b.classifier.set_params(lr=None).fit(b.X, b.y),
            r"'lr' parameter ... \[0.0, inf\) ... Got None",
        ),
        "ImageClassifier.fit: misspelt argument of the network": (
            lambda b: b.refit("classifier", module__hiden=(8,)),
            "no argument 'hiden', given as module__hiden",
            "did you mean 'module__hidden",
        ),
        "ImageRegressor.fit: misspelt argument of the optimizer": (
            lambda b: b.refit("regressor", optimizer__weight_decai=1),
            "optimizer__weight_decai ... did you mean 'optimizer__weight_decay'",
        ),
        "ImageClassifier.fit: misspelt argument of the loss": (
            lambda b: b.refit("classifier", criterion__label_smooth=0.1),
            "criterion__label_smooth ... did you mean 'criterion__label_smoothing'",
        ),
        "ImageAutoencoder.fit: misspelt argument of the iterator": (
            lambda b: b.refit("autoencoder", iterator_train__num_worker=1),
            "iterator_train__num_worker ... did you mean 'iterator_train__num_workers'",
        ),
    },
    (TypeError, ValueError): {
        "ImageClassifier.set_params: optimizer__lr=None": (
            lambda b: b.classifier.set_params(optimizer__lr=None).fit(b.X, b.y),
            "optimizer__lr|learning rate ... None",
        ),
    },
    (ValueError, NameError): {
        "ImageClassifier.fit: parameter of a callback that is not there": (
            lambda b: b.refit("classifier", callbacks__nosuch__sink=print),
            "callback ... nosuch",
        ),
    },
}

VALUES = {
    ValueError: {
        "ImageClassifier.fit: negative width of a layer": (
            lambda b: b.refit("classifier", module__hidden=-5),
            "hidden must be an int of at least 1 ... got -5",
        ),
        "ImageClassifier.fit: negative rate in the optimizer": (
            lambda b: b.refit("classifier", optimizer__lr=-1),
            "learning rate ... -1",
        ),
        "ImageRegressor.fit: negative weight decay": (
            lambda b: b.refit("regressor", optimizer__weight_decay=-1),
            "weight_decay ... -1",
        ),
        "ImageClassifier.fit: label smoothing of 2": (
            lambda b: b.refit("classifier", criterion__label_smoothing=2),
            "label_smoothing ... 2",
        ),
        "ImageClassifier.fit: loss that is not reduced": (
            lambda b: b.refit("classifier", criterion__reduction="none"),
            "criterion|reduction ... none",
        ),
        "ImageClassifier.fit: loss of a regressor": (
            lambda b: b.refit("classifier", criterion="l1"),
            "criterion ... L1Loss|l1",
        ),
        "ImageClassifier.fit: batches without rows": (
            lambda b: b.refit("classifier", iterator_train__batch_size=0),
            "batch_size ... 0 ... at least 1|-1",
        ),
        "ImageClassifier.fit: batches of a negative size": (
            lambda b: b.refit("classifier", iterator_train__batch_size=-5),
            "batch_size ... -5 ... at least 1|-1",
        ),
        "ImageRegressor.fit: negative number of workers": (
            lambda b: b.refit("regressor", iterator_train__num_workers=-1),
            "num_workers ... non-negative",
        ),
        "ImageClassifier.fit: deviation of zero": (
            lambda b: b.refit("classifier", normalize=(0.5, 0)),
            r"normalize=\(0.5, 0\) ... std positive",
        ),
        "ImageRegressor.fit: mean alone": (
            lambda b: b.refit("regressor", normalize=(0.5,)),
            r"normalize=\(0.5,\) ... not a pair \(mean, std\)",
        ),
        "ImageAutoencoder.fit: NaN as mean": (
            lambda b: b.refit("autoencoder", normalize=(np.nan, 1)),
            r"normalize=\(nan, 1\) ... finite numbers",
        ),
        "ImageClassifier.fit: three means for one channel": (
            lambda b: b.refit("classifier", normalize=([0.1, 0.2, 0.3], [1, 1, 1])),
            r"normalize=\(\[0.1 ... for each of the 1 channels",
        ),
        "ImageClassifier.fit: another image_shape": (
            lambda b: b.refit("classifier", image_shape=(1, 4, 16)),
            r"image_shape=\(1, 4, 16\) ... X has images of shape \(1, 8, 8\)",
        ),
        "ImageClassifier.fit: image_shape of other rows": (
            lambda b: b.refit("classifier", X=b.rows, image_shape=(1, 8, 9)),
            r"image_shape=\(1, 8, 9\) has 72 values ... 64 features",
        ),
        "ImageClassifier.fit: negative image_shape": (
            lambda b: ImageClassifier(nn.Linear(8, 10), image_shape=(1, -8, -8)).fit(
                b.rows, b.y
            ),
            "image_shape ... -8 ... at least 1|positive",
        ),
        "ImageClassifier.fit: image_shape of floats": (
            lambda b: ImageClassifier(nn.Linear(8, 10), image_shape=(1, 8.0, 8)).fit(
                b.rows, b.y
            ),
            r"image_shape ... 8\.0 ... int",
        ),
        "ImageRegressor.fit: image_shape of one number": (
            lambda b: ImageRegressor(nn.Linear(64, 1), image_shape=(64,)).fit(
                b.rows, b.t
            ),
            r"image_shape ... \(64,\) ... \(channels, height, width\)",
        ),
        "ImageClassifier.fit: transform with a parameter out of range": (
            lambda b: b.refit("classifier", augment=RandomHorizontalFlip(p=2)),
            r"'p' parameter of RandomHorizontalFlip ... \[0.0, 1.0\] ... Got 2",
        ),
        "ImageClassifier.fit: transform to another size": (
            lambda b: b.refit("classifier", augment=RandomResizedCrop(size=4)),
            r"augment=RandomResizedCrop ... \(1, 4, 4\) ... images of one shape",
        ),
        "ImageClassifier.fit: transforms of flat rows": (
            lambda b: b.refit("classifier", X=b.rows, augment=RandomHorizontalFlip()),
            "augment=RandomHorizontalFlip ... flat rows ... Set image_shape=",
        ),
        "ImageClassifier.fit: scorer that does not exist": (
            lambda b: b.refit("classifier", epoch_scoring="accuracyy"),
            "epoch_scoring ... accuracyy",
        ),
        "ImageRegressor.fit: scorer of probabilities": (
            lambda b: b.refit("regressor", epoch_scoring=["neg_log_loss"]),
            "'neg_log_loss' of epoch_scoring ... needs predict_proba",
            "ImageRegressor",
        ),
        "ImageClassifier.fit: two scorers of one name": (
            lambda b: b.refit("classifier", epoch_scoring=["accuracy", "accuracy"]),
            "epoch_scoring has 2 scorers called 'accuracy' ... Give a dict",
        ),
        "ImageClassifier.fit: scorer called loss": (
            lambda b: b.refit("classifier", epoch_scoring={"loss": "accuracy"}),
            "epoch_scoring has a scorer called 'loss' ... another name",
        ),
        "ImageClassifier.fit: weight of an unknown label": (
            lambda b: b.refit("classifier", class_weight={99: 2.0}),
            "class_weight ... 99",
        ),
        "ImageClassifier.fit: negative weight of a label": (
            lambda b: b.refit("classifier", class_weight={0: -2.0}),
            "class_weight ... -2 ... negative|positive",
        ),
        "ImageClassifier.fit: weights of zero for all labels": (
            lambda b: b.refit("classifier", class_weight=dict.fromkeys(range(10), 0)),
            "class_weight ... zero|0 ... positive|every",
        ),
        "ImageClassifier.fit: device that does not exist": (
            lambda b: b.refit("classifier", device="gpu"),
            "device='gpu' is no torch device ... cpu",
        ),
        "ImageRegressor.fit: more GPUs than there are": (
            lambda b: b.refit("regressor", device="cuda:99"),
            r"device='cuda:99' ... CUDA device\(s\) ... Use device='auto'",
        ),
        "ImageClassifier.fit: device without values": (
            lambda b: b.refit("classifier", device="meta"),
            "device ... meta ... cpu|auto",
        ),
        "ImageClassifier.fit: two callbacks of one name": (
            lambda b: b.refit(
                "classifier", callbacks=[("time", EpochTimer()), ("time", EpochTimer())]
            ),
            "callback ... 'time' ... unique",
        ),
        "GradientRecorder: n_steps=0": (
            lambda b: b.refit("classifier", callbacks=[GradientRecorder(n_steps=0)]),
            r"'n_steps' parameter of GradientRecorder ... \[1, inf\) ... Got 0",
        ),
        "GradientRecorder: n_steps is no number": (
            lambda b: b.refit("regressor", callbacks=[GradientRecorder(n_steps="all")]),
            "'n_steps' parameter of GradientRecorder ... an int ... Got 'all'",
        ),
    },
    TypeError: {
        "ImageClassifier.fit: something else than a transform": (
            lambda b: b.refit("classifier", augment=[5]),
            "augment expects transforms ... 5 of type int ... callable",
        ),
        "ImageRegressor.fit: class of a transform": (
            lambda b: b.refit("regressor", augment=RandomHorizontalFlip),
            "augment expects transforms ... class RandomHorizontalFlip",
            "Make one of it",
        ),
        "ImageAutoencoder.fit: noise that is no transform": (
            lambda b: b.refit("autoencoder", noise=["noisy"]),
            "noise expects transforms ... 'noisy' of type str ... callable",
        ),
    },
    (TypeError, ValueError): {
        "ImageClassifier.fit: weight that is no number": (
            lambda b: b.refit("classifier", class_weight={0: "much"}),
            "class_weight ... much",
        ),
        "ImageClassifier.fit: callback that is none": (
            lambda b: b.refit("classifier", callbacks=["timer"]),
            "callbacks ... timer",
        ),
    },
}

CONTRADICTIONS = {
    ValueError: {
        "ImageClassifier.fit: early_stopping beside train_split": (
            lambda b: b.refit(
                "classifier", early_stopping=True, train_split=ValidSplit(3)
            ),
            "early_stopping=True ... train_split ... not both",
        ),
        "ImageRegressor.fit: early_stopping without callbacks": (
            lambda b: b.refit("regressor", early_stopping=True, callbacks="disable"),
            "early_stopping=True ... callbacks='disable' ... contradicts",
        ),
        "ImageClassifier.fit: amp in float64": (
            lambda b: b.refit("classifier", amp=True, dtype="float64"),
            "amp=True ... dtype='float64' ... set one of them",
        ),
        "ImageAutoencoder.fit: one row to stop early by": (
            lambda b: b.autoencoder.set_params(early_stopping=True).fit(b.X[:1]),
            "early_stopping=True ... hold out 1 row ... n_samples=1",
        ),
        "ImageClassifier.fit: nothing is frozen": (
            lambda b: b.refit("classifier", freeze="decoder.*"),
            "freeze='decoder.*' ... matches no parameter ... it has: layers.0.weight",
        ),
        "ImageClassifier.fit: unfrozen without being frozen": (
            lambda b: b.refit("classifier", unfreeze_at=3),
            "unfreeze_at=3 ... freeze=None. Set freeze",
        ),
        "ImageRegressor.fit: unfrozen before it is frozen": (
            lambda b: b.refit("regressor", freeze="encoder", unfreeze_at={1: "*"}),
            r"unfreeze_at=\{1: '\*'\} ... from 2 on ... got 1: '\*'",
        ),
        "ImageRegressor.fit: a number is unfrozen": (
            lambda b: b.refit("regressor", freeze="encoder", unfreeze_at={3: [4]}),
            r"unfreeze_at= ... a pattern .* or a list ... got 3: \[4\]",
        ),
        "ImageClassifier.fit: what is unfrozen was not frozen": (
            lambda b: b.refit(
                "classifier", freeze="layers.0.*", unfreeze_at={2: "layers.2.*"}
            ),
            r"unfreeze_at= ... 'layers\.2\.\*' matches none ... layers.0.weight",
        ),
        "ImageClassifier.fit: a rate for no pretrained weight": (
            lambda b: b.refit("classifier", pretrained_lr_mult={"layers.*": 0.1}),
            r"pretrained_lr_mult= ... 'layers\.\*' matches no ... there are: none",
        ),
        "ImageClassifier.fit: a rate that is none": (
            lambda b: b.refit("classifier", pretrained_lr_mult={"*": -0.1}),
            r"pretrained_lr_mult= ... number >= 0 ... got '\*': -0.1",
        ),
        "ImageRegressor.fit: everything is frozen": (
            lambda b: b.refit("regressor", freeze=["*"]),
            r"freeze=\['\*'\] ... without parameters to train",
        ),
    },
    (TypeError, ValueError): {
        "ImageClassifier.fit: train_split without a second part": (
            lambda b: b.refit("classifier", train_split=lambda data, y=None: data),
            "train_split ... two|pair|valid",
        ),
        "ImageClassifier.fit: frozen by a number": (
            lambda b: b.refit("classifier", freeze=[0]),
            "freeze ... 0",
        ),
    },
}

CASES = [NAMES, VALUES, CONTRADICTIONS]


def test_bad_input(case, refuse):
    refuse(case)
