"""Labels of which an image may have several: y has a column of 0 and 1 for each."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import TensorDataset

import skvision
from skvision import ImageClassifier
from skvision.exceptions import DivergedError
from skvision.inspection import class_table
from skvision.metrics import cross_entropy_scorer
from skvision.model_selection import StackedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"module__hidden": (8,), "lr": 0.01, "batch_size": 16, "random_state": 0}


def mlp(**params):
    return ImageClassifier("mlp", **{"max_epochs": 2, **SMALL} | params)


def labels_of(digits):
    """Return whether digits are even, greater than 4, and have a loop."""
    columns = digits % 2 == 0, digits > 4, np.isin(digits, [0, 6, 8, 9])
    return np.column_stack(columns).astype(int)


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:120], labels_of(digits.target[:120])


@pytest.fixture(scope="module")
def tuned(data):
    return mlp(threshold="tuned", early_stopping=True, validation_fraction=0.3).fit(
        *data
    )


def test_digits(digits):
    X, y = digits.data, labels_of(digits.target)
    net = mlp(max_epochs=8, module__hidden=(32,), batch_size=64, lr=0.03)
    net.fit(X[:1300], y[:1300])
    assert net.score(X[1300:], y[1300:]) > 0.85
    assert f1_score(y[1300:], net.predict(X[1300:]), average=None).min() > 0.92


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, X):
        return self.layer(X.flatten(1))


WEIGHTS = [{0: 1, 1: 5}, {}, {1: 0}]
TABLE = np.array([[1, 1, 1], [5, 1, 0]])


def weights_of(y, kind):
    """Return the weight of each label of each row."""
    weights = np.ones(y.shape)
    if "rows" in kind:
        weights = weights * np.linspace(1, 3, len(y))[:, None]
    if "labels" in kind:
        weights = weights * TABLE[y, np.arange(3)]
    if "balanced" in kind:
        columns = [compute_sample_weight("balanced", column) for column in y.T]
        weights = weights * np.stack(columns, axis=1)
    return torch.from_numpy(weights / weights.mean())


LOSSES = {
    "cross_entropy": nn.functional.binary_cross_entropy_with_logits,
    "mse": nn.functional.mse_loss,
}


@pytest.mark.parametrize(
    ("kind", "criterion"),
    [
        *((kind, "cross_entropy") for kind in ("", "rows", "labels", "balanced")),
        ("rows and labels", "cross_entropy"),
        ("rows and labels", "mse"),
    ],
)
def test_a_plain_loop_of_torch_comes_to_the_same(kind, criterion, data):
    X, y = data[0] / 255.0, data[1]
    torch.manual_seed(0)
    network = Linear().double()
    params = {"criterion": criterion, "optimizer": "sgd", "lr": 0.05, "batch_size": -1}
    if "labels" in kind or kind == "balanced":
        params["class_weight"] = "balanced" if kind == "balanced" else WEIGHTS
    net = ImageClassifier(
        copy.deepcopy(network), normalize=None, dtype="float64", max_epochs=4, **params
    )
    rows = {"sample_weight": np.linspace(1, 3, len(y))} if "rows" in kind else {}
    net.fit(X, y, **rows)

    images, targets = torch.from_numpy(X), torch.from_numpy(y).double()
    optimizer, losses = torch.optim.SGD(network.parameters(), lr=0.05), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = LOSSES[criterion](network(images), targets, reduction="none")
        loss = (loss * weights_of(y, kind)).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert_allclose(net.history[:, "train_loss"], losses, rtol=0, atol=1e-9)
    with torch.no_grad():
        outputs = network(images).numpy()
    if criterion == "mse":
        assert_allclose(net.predict_proba(X), outputs.clip(0, 1), rtol=0, atol=1e-9)
        assert not hasattr(net, "decision_function")
    else:
        assert_allclose(net.decision_function(X), outputs, rtol=0, atol=1e-9)
        proba = 1 / (1 + np.exp(-outputs))
        assert_allclose(net.predict_proba(X), proba, rtol=0, atol=1e-9)
    assert_array_equal(net.predict(X), net.predict_proba(X) > 0.5)


def test_what_is_fitted_is_as_that_of_an_mlp_of_scikit_learn(data):
    X, y = data
    net = mlp().fit(X, y)
    assert_array_equal(net.classes_, [0, 1, 2])
    assert net.n_outputs_ == 3
    assert_array_equal(net.thresholds_, [0.5, 0.5, 0.5])
    found = net.predict(X)
    assert found.shape == y.shape and found.dtype == np.int64
    assert net.score(X, y) == accuracy_score(y, found) == (found == y).all(1).mean()
    for j in range(3):
        order = rankdata(net.predict_proba(X)[:, j])
        assert_array_equal(order, rankdata(net.decision_function(X)[:, j]))


@pytest.mark.parametrize(
    "kind",
    [
        np.ndarray.tolist,
        list,
        lambda y: y.astype(bool),
        lambda y: y.astype(np.float32),
        lambda y: pd.DataFrame(y, columns=["even", "large", "loop"]),
        torch.from_numpy,
    ],
)
def test_kinds_of_y(kind, data):
    X, y = data
    expected, net = mlp(max_epochs=1).fit(X, y), mlp(max_epochs=1).fit(X, kind(y))
    assert_array_equal(net.predict_proba(X), expected.predict_proba(X))
    assert net.score(X, kind(y)) == expected.score(X, y)


def test_names_of_columns(data, tmp_path):
    X, y = data
    frame = pd.DataFrame(y, columns=["even", "large", "loop"])
    net = mlp(max_epochs=1).fit(X, frame)
    assert_array_equal(net.class_names_, frame.columns)
    assert_array_equal(saved_and_loaded(net, tmp_path).class_names_, frame.columns)
    table = class_table(net, X, frame)
    assert [row[0] for row in table.rows] == [*frame.columns, "all"]
    net.partial_fit(X, y).fit(X, y)
    assert not hasattr(net, "class_names_")


def test_labels_that_a_data_set_carries(data):
    X, y = data
    dataset = TensorDataset(torch.from_numpy(X[:, None]), torch.from_numpy(y))
    expected = mlp(max_epochs=1).fit(X, y)
    for carrying in (dataset, [*zip(X, y, strict=True)]):
        net = mlp(max_epochs=1).fit(carrying)
        assert_array_equal(net.predict_proba(X), expected.predict_proba(X))
    assert net.score(dataset) == expected.score(X, y)


def test_scores_of_each_epoch(data):
    net = mlp(early_stopping=True, epoch_scoring=["f1_macro", "roc_auc"])
    net.set_params(validation_fraction=0.5).fit(*data)
    for name in ("f1_macro", "roc_auc"):
        for part in ("train", "valid"):
            assert 0 < net.history[-1, f"{part}_{name}"] <= 1
    assert 0 <= net.history[-1, "valid_acc"] < net.history[-1, "valid_f1_macro"]


@pytest.mark.parametrize("go_on", ["partial_fit", "warm_start", "partial_fit first"])
def test_going_on(go_on, data):
    X, y = data
    params = {"batch_size": -1, "dtype": "float64"}
    whole = mlp(max_epochs=4, **params).fit(X, y)
    net = mlp(**params)
    if go_on == "partial_fit first":
        # What it is of is not known yet, so that the loss is another one at first.
        net = mlp(image_shape=(1, 8, 8), module__n_outputs=3, **params).initialize()
        net.partial_fit(X, y).partial_fit(X, y)
        assert type(net.criterion_) is nn.BCEWithLogitsLoss
        assert net.history[-1, "train_loss"] < net.history[0, "train_loss"] < 1
        return
    net.fit(X, y)
    net.partial_fit(X, y) if go_on == "partial_fit" else net.set_params(
        warm_start=True
    ).fit(X, y)
    assert_allclose(net.predict_proba(X), whole.predict_proba(X), rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:freeze=")
def test_a_frozen_part_that_runs_once(data):
    X, y = data
    net = mlp(freeze="layers.0.*", dtype="float64", class_weight=WEIGHTS)
    net.set_params(early_stopping=True, threshold="tuned", max_epochs=3).fit(X, y)
    assert net.feature_layer_
    other = clone(net).set_params(feature_cache=False).fit(X, y)
    assert_allclose(net.predict_proba(X), other.predict_proba(X), rtol=0, atol=1e-9)
    assert_allclose(net.thresholds_, other.thresholds_, rtol=0, atol=1e-9)


def test_one_label_per_image_after_several(data):
    X, y = data
    net = mlp().fit(X, y).fit(X, y[:, 0])
    assert not hasattr(net, "thresholds_") and not hasattr(net, "decision_function")
    assert type(net.criterion_) is nn.CrossEntropyLoss
    assert net.predict(X).shape == (120,)


# --------------------------------------------------------------------- thresholds


@pytest.mark.parametrize("threshold", [0.3, [0.2, 0.5, 0.7], np.array([0.2, 0.5, 0.7])])
def test_given_thresholds(threshold, data):
    X, y = data
    net = mlp(threshold=threshold).fit(X, y)
    expected = np.broadcast_to(threshold, 3)
    assert_array_equal(net.thresholds_, expected)
    assert_array_equal(net.predict(X), net.predict_proba(X) > expected)
    net.set_params(threshold=0.6, max_epochs=0).partial_fit(X, y)
    assert_array_equal(net.thresholds_, [0.6, 0.6, 0.6])


@pytest.mark.parametrize("how", ["train_split", "X_val", "weighted"])
def test_tuned_thresholds_are_best_on_the_rows_held_out(how, data):
    X, y = data
    rows = TensorDataset(torch.from_numpy(X[80:, None]), torch.from_numpy(y[80:]))
    net, given, weight = mlp(threshold="tuned"), {}, np.ones(40)
    if how == "train_split":
        net.set_params(train_split=predefined_split(rows))
    else:
        given = {"X_val": X[80:], "y_val": y[80:]}
    if how == "weighted":
        weight = given["sample_weight_val"] = np.linspace(1, 9, 40)
    net.fit(X[:80], y[:80], **given)
    proba, true = net.predict_proba(X[80:]), y[80:]
    for j, threshold in enumerate(net.thresholds_):
        found, *others = (
            f1_score(true[:, j], proba[:, j] > t, sample_weight=weight)
            for t in (threshold, *(proba[:, j] - 1e-7))
        )
        assert found == pytest.approx(max(others)) and 0 < threshold < 1
    before = net.thresholds_
    net.partial_fit(X[:80], y[:80], **given)
    assert (net.thresholds_ != before).any()


def test_tuned_thresholds_of_labels_that_no_row_held_out_has(data):
    X, y = data
    valid = TensorDataset(torch.from_numpy(X[:20, None]), torch.ones(20, 3))
    net = mlp(threshold="tuned", train_split=predefined_split(valid))
    with pytest.warns(UserWarning, match=r"label\(s\) \[0, 1, 2\], whose .* stay 0.5"):
        net.fit(X, y)
    assert_array_equal(net.thresholds_, [0.5, 0.5, 0.5])


# ------------------------------------------------------------------- files, copies


def loaded_weights(net, folder):
    net.save_params(f_params=folder / "weights.pt")
    fresh = mlp(image_shape=(1, 8, 8), module__n_outputs=3).initialize()
    fresh.load_params(f_params=folder / "weights.pt")
    return fresh


def saved_and_loaded(net, folder):
    net.save(folder / "net.skv")
    return skvision.load(folder / "net.skv")


COPIES = {
    "pickle": lambda net, folder: pickle.loads(pickle.dumps(net)),
    "file": saved_and_loaded,
    "weights": loaded_weights,
}


@pytest.mark.parametrize("how", COPIES)
def test_files(how, tuned, data, tmp_path):
    X, y = data
    assert (tuned.thresholds_ != 0.5).any()
    other = COPIES[how](tuned, tmp_path)
    assert_array_equal(other.thresholds_, tuned.thresholds_)
    assert_array_equal(other.predict(X), tuned.predict(X))
    assert_array_equal(other.predict_proba(X), tuned.predict_proba(X))
    assert type(other.criterion_) is nn.BCEWithLogitsLoss
    assert other.partial_fit(X, y).predict(X).shape == y.shape


def test_settings_in_files(data, tmp_path):
    X, y = data
    params = {"class_weight": WEIGHTS, "threshold": np.array([0.2, 0.3, 0.4])}
    net = mlp(predict_nonlinearity="sigmoid", **params).fit(X, y)
    other = saved_and_loaded(net, tmp_path)
    assert other.class_weight == WEIGHTS
    assert_array_equal(other.threshold, params["threshold"])
    expected = net.partial_fit(X, y).predict_proba(X)
    assert_array_equal(other.partial_fit(X, y).predict_proba(X), expected)


def test_checkpoints(tuned, data, tmp_path):
    nets = [clone(tuned).set_params(checkpoint=tmp_path).fit(*data) for _ in range(2)]
    assert len([*tmp_path.iterdir()]) == 1
    for net in nets:
        assert_array_equal(net.thresholds_, tuned.thresholds_)
    mlp(checkpoint=tmp_path, threshold=np.array([0.2, 0.3, 0.4])).fit(*data)
    assert len([*tmp_path.iterdir()]) == 2


# ------------------------------------------------------------------------ searches


@pytest.mark.filterwarnings("error:Some fits are made one by one")
def test_searches(data):
    X, y = data
    net = mlp(dtype="float64", early_stopping=True)
    grid = {"threshold": [None, "tuned"], "class_weight": [None, WEIGHTS]}
    options = {"cv": 2, "scoring": "f1_macro"}
    plain = GridSearchCV(net, grid, **options).fit(X, y)
    stacked = StackedGridSearchCV(net, grid, **options).fit(X, y)
    for name in ("mean_test_score", "std_test_score"):
        assert_allclose(stacked.cv_results_[name], plain.cv_results_[name], atol=1e-9)
    assert_allclose(stacked.predict_proba(X), plain.predict_proba(X), atol=1e-9)
    assert_array_equal(
        stacked.best_estimator_.thresholds_, plain.best_estimator_.thresholds_
    )


def test_cross_entropy_scorer(data):
    X, y = data
    net = mlp(epoch_scoring=cross_entropy_scorer()).fit(X, y)
    found, proba = cross_entropy_scorer()(net, X, y), net.predict_proba(X)
    expected = [log_loss(y[:, j], proba[:, j].astype(float)) for j in range(3)]
    assert found == pytest.approx(-np.mean(expected), abs=1e-12)
    assert net.history[-1, "train_neg_cross_entropy"] < 0
    scores = cross_val_score(mlp(), X, y, cv=2, scoring=cross_entropy_scorer())
    assert (scores < 0).all()


# ------------------------------------------------------------------------ warnings


class Sigmoid(Linear):
    def __init__(self):
        super().__init__()
        self.last = nn.Sigmoid()

    def forward(self, X):
        return self.last(super().forward(X))


WARNINGS = {
    "one-hot": (
        lambda X, y: mlp().fit(X, np.eye(3, dtype=int)[y[:, 0] + y[:, 1]]),
        r"Each row of y, of shape \(120, 3\), .* exactly one 1.*y.argmax\(axis=1\)",
    ),
    "constant columns": (
        lambda X, y: mlp().fit(X, np.c_[y * 0, y, y[:, :1] * 0 + 1]),
        r"4 column\(s\) of y, such as \[0, 1, 2, 6\], .* 120 rows, \[0, 0, 0, 1\]",
    ),
    "a single column": (
        lambda X, y: mlp().fit(X, y[:, :1]),
        "A column-vector y was passed when a 1d array was expected",
    ),
    "sigmoid": (
        lambda X, y: ImageClassifier(Sigmoid, max_epochs=1).fit(X, y),
        "Sigmoid ends in Sigmoid, .* BCEWithLogitsLoss applies a sigmoid itself",
    ),
    "logits as they are": (
        lambda X, y: mlp(predict_nonlinearity=None).fit(X, y).predict_proba(X),
        "predict_nonlinearity=None makes values from .* no probabilities",
    ),
}


@pytest.mark.parametrize("what", WARNINGS)
def test_warnings(what, data):
    call, message = WARNINGS[what]
    with pytest.warns(UserWarning, match=message):
        call(*data)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [{}, {"class_weight": WEIGHTS}])
def test_no_better_than_a_constant(weighted, data):
    X, y = data
    # Of images that are all alike, the frequencies of labels are all that is to learn.
    net = mlp(max_epochs=60, lr=0.05, batch_size=-1, normalize=None, **weighted)
    weights = weights_of(y, "labels" if weighted else "").numpy()
    share = (weights * y).sum(0) / weights.sum(0)
    logs = np.log(share[share > 0]), np.log(1 - share[share < 1])
    entropy = np.zeros(3)
    entropy[share > 0] -= share[share > 0] * logs[0]
    entropy[share < 1] -= (1 - share[share < 1]) * logs[1]
    constant = (entropy * weights.mean(0)).mean()
    with pytest.warns(ConvergenceWarning, match=f"the {constant:.4g} of a constant"):
        net.fit(np.zeros((120, 8, 8)), y)
    if not weighted:
        assert_allclose(net.predict_proba(np.zeros((1, 8, 8)))[0], share, atol=0.02)
        assert (
            mlp(max_epochs=20, lr=0.03).fit(X, y).history[-1, "train_loss"] < constant
        )


def test_divergence(data):
    with pytest.raises(DivergedError, match="Use a smaller learning rate"):
        mlp(optimizer="sgd", lr=1e9, max_epochs=5).fit(*data)


def test_other_criteria(data):
    X, y = data
    weighted = {"criterion": nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))}
    for net in (
        mlp(**weighted),
        mlp(criterion=nn.MultiLabelSoftMarginLoss),
        mlp(criterion="smooth_l1"),
        ImageClassifier(Sigmoid, criterion=nn.BCELoss, max_epochs=2),
    ):
        proba = net.fit(X, y).predict_proba(X)
        assert proba.min() >= 0 and proba.max() <= 1
        assert_array_equal(net.predict(X), proba > 0.5)
