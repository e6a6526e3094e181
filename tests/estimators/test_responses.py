"""What predictions are made of outputs, by the loss: of every loss that torch has."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from skvision_tests import DOUBLE, SMALL, Flattening, LogSoftmax, Softmax, make_images
from torch import nn

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.networks import MLP


class Focal(nn.Module):
    """A loss of one's own, of which nobody knows what outputs are to it."""

    def forward(self, outputs, y):
        entropy = F.cross_entropy(outputs, y, reduction="none")
        return ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()


class Margin(nn.MultiMarginLoss):
    """One of torch's, with something of one's own."""


class MeanAndVariance(Flattening):
    def forward(self, images):
        outputs = super().forward(images)
        return outputs, F.softplus(outputs) + 0.1


class Positive(Flattening):
    def forward(self, images):
        return F.softplus(super().forward(images))


class WithScalar(Flattening):
    def forward(self, images):
        outputs = super().forward(images)
        return outputs, outputs.square().mean()


@pytest.fixture(scope="module")
def data():
    return make_images(n=60)


def raw(net, X):
    """Return what the network gives for X."""
    return net.module_(net._to_input(torch.as_tensor(X))).detach().numpy()


# ------------------------------------------------------------------ classifiers


@pytest.mark.parametrize(
    ("module", "criterion", "response"),
    [
        (Flattening, "cross_entropy", "softmax"),
        (Softmax, "cross_entropy", "softmax"),
        (Flattening, nn.MultiMarginLoss, "softmax"),
        (Flattening, Margin(), "softmax"),
        (Softmax, nn.MultiMarginLoss, "none"),
        (Softmax, nn.NLLLoss, "none"),
        (LogSoftmax, nn.NLLLoss, "exp"),
        (Softmax, Focal, "none"),
        (LogSoftmax, Focal, "exp"),
    ],
)
def test_probabilities_by_loss_and_network(data, module, criterion, response):
    X, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = ImageClassifier(module, criterion=criterion, **_rest(DOUBLE)).fit(X, y)
    outputs = torch.from_numpy(raw(net, X))
    proba = net.predict_proba(X)
    expected = {"softmax": outputs.softmax(1), "exp": outputs.exp(), "none": outputs}
    assert_allclose(proba, expected[response], rtol=1e-7)
    assert_allclose(proba.sum(1), 1)
    assert_array_equal(net.predict(X), proba.argmax(1))


def _rest(options):
    return {k: v for k, v in options.items() if not k.startswith("module")}


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_loss_of_ones_own(n_classes):
    X, y = make_images(n=60, n_classes=n_classes)
    net = ImageClassifier(criterion=Focal, **DOUBLE).fit(X, y)
    assert not hasattr(net, "predict_proba")
    with pytest.raises(AttributeError) as caught:
        net.predict_proba(X)
    for part in ("Focal", "predict_nonlinearity", "'softmax'", "decision_function"):
        assert part in str(caught.value.__cause__)
    outputs, decisions = raw(net, X), net.decision_function(X)
    if n_classes == 2:  # As scikit-learn has it.
        assert_allclose(decisions, outputs[:, 1] - outputs[:, 0], rtol=1e-7)
        assert_array_equal(net.predict(X), (decisions > 0).astype(int))
        area = cross_val_score(net, X, y, scoring="roc_auc", cv=2, error_score="raise")
        assert np.isfinite(area).all()
        assert roc_auc_score(y, decisions) >= 0
    else:
        assert_allclose(decisions, outputs, rtol=1e-7)
        assert_array_equal(net.predict(X), decisions.argmax(1))
    chosen = net.set_params(predict_nonlinearity="softmax")
    assert_allclose(chosen.predict_proba(X), torch.tensor(outputs).softmax(1))
    assert not hasattr(chosen, "decision_function")


def test_attributes_are_the_same_before_fit():
    for criterion in (nn.NLLLoss, Margin, Margin(), "cross_entropy"):
        net = ImageClassifier(criterion=criterion)
        assert hasattr(net, "predict_proba")
        assert not hasattr(net, "decision_function")
    for net in (ImageClassifier(criterion=Focal), ImageClassifier(criterion=Focal())):
        assert not hasattr(net, "predict_proba")
        assert hasattr(net, "decision_function")


def test_outputs_as_they_are_need_be_probabilities(data):
    X, y = data
    net = ImageClassifier(predict_nonlinearity=None, **DOUBLE).fit(X, y)
    assert not hasattr(net, "predict_proba")
    assert_allclose(net.decision_function(X), raw(net, X), rtol=1e-7)
    options = _rest(DOUBLE) | {"criterion": nn.NLLLoss, "predict_nonlinearity": None}
    net = ImageClassifier(Softmax, **options).fit(X, y)
    assert_allclose(net.predict_proba(X).sum(1), 1)


@pytest.mark.parametrize("chosen", ["softmax", lambda z: z.softmax(1).numpy()])
def test_chosen_nonlinearity(data, chosen):
    X, y = data
    net = ImageClassifier(predict_nonlinearity=chosen, **DOUBLE).fit(X, y)
    expected = ImageClassifier(**DOUBLE).fit(X, y).predict_proba(X)
    assert_allclose(net.predict_proba(X), expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("module", "chosen", "warns"),
    [
        (Flattening, "exp", True),
        (Flattening, torch.sigmoid, True),
        (Flattening, "softmax", False),
        (LogSoftmax, "exp", False),
    ],
)
def test_what_is_chosen_makes_probabilities(data, module, chosen, warns):
    net = ImageClassifier(module, predict_nonlinearity=chosen, **_rest(SMALL))
    net.set_params(criterion=Focal).fit(*data)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        net.predict_proba(data[0])
    texts = [str(w.message) for w in found if "predict_nonlinearity=" in str(w.message)]
    assert bool(texts) == warns


def test_settings_of_instances_that_are_lost(data):
    given = {"module": Flattening, **_rest(SMALL), "criterion__reduction": "sum"}
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    with pytest.warns(UserWarning, match="label_smoothing=0.1, which is lost"):
        ImageClassifier(criterion=criterion, **given).fit(*data)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "criterion is an instance")
        ImageClassifier(criterion=nn.CrossEntropyLoss(), **given).fit(*data)
    network = MLP((1, 8, 8), 10)
    net = ImageClassifier(network, module__hidden=(4,), max_epochs=1)
    with pytest.warns(UserWarning, match="module__hidden.* without its weights"):
        net.fit(*data)


def test_scorers_of_epochs_need_probabilities(data):
    X, y = data
    net = ImageClassifier(criterion=Focal, epoch_scoring="neg_log_loss", **SMALL)
    with pytest.raises(ValueError, match="neg_log_loss.*predict_nonlinearity"):
        net.fit(X, y)
    net.set_params(predict_nonlinearity="softmax").fit(X, y)
    assert net.history[-1, "train_neg_log_loss"] < 0
    # Of a network that ends in a softmax, they are known when it has been built.
    net = ImageClassifier(Softmax, criterion=Focal, epoch_scoring="neg_log_loss")
    assert np.isfinite(net.fit(X, y).history[-1, "train_neg_log_loss"])


def test_nll_loss_of_logits(data):
    X, y = data
    net = ImageClassifier(**SMALL).fit(X, y)
    before = net.predict_proba(X)
    with pytest.raises(ValueError, match="NLLLoss.*LogSoftmax.*cross_entropy"):
        net.set_params(criterion=nn.NLLLoss).fit(X, y)
    assert_array_equal(
        net.set_params(criterion="cross_entropy").predict_proba(X), before
    )


def test_outputs_beside_the_predictions_may_be_anything():
    X, y = make_images(n=161)
    flat = X.reshape(161, -1)
    options = _rest(DOUBLE)
    net = ImageClassifier(WithScalar, **options).fit(flat, y)
    expected = ImageClassifier(Flattening, **options).fit(flat, y)
    assert_array_equal(net.predict_proba(flat), expected.predict_proba(flat))


# ------------------------------------------------------------------- regressors


def counts(t):
    return np.random.default_rng(0).poisson(np.exp(t)).astype(float)


def shares(t):
    return np.column_stack([1 / (1 + np.exp(-t)), 1 / (1 + np.exp(t))])


#: What y is, and what is predicted of the network's outputs z, for each of torch's
#: losses of continuous targets.
REGRESSIONS = [
    (nn.MSELoss, {}, lambda t: t, None),
    (nn.L1Loss, {}, lambda t: t, None),
    (nn.SmoothL1Loss, {}, lambda t: t, None),
    (nn.HuberLoss, {}, lambda t: t, None),
    (nn.PoissonNLLLoss, {}, counts, np.exp),
    (nn.PoissonNLLLoss, {"criterion__log_input": False}, counts, lambda z: z),
    (nn.KLDivLoss, {"criterion__reduction": "batchmean"}, shares, np.exp),
    (nn.KLDivLoss, {"criterion__log_target": True}, lambda t: t, lambda z: z),
    (nn.BCEWithLogitsLoss, {}, lambda t: (t > 0) * 1.0, lambda z: 1 / (1 + np.exp(-z))),
    (nn.MultiLabelSoftMarginLoss, {}, shares, lambda z: 1 / (1 + np.exp(-z))),
    (nn.SoftMarginLoss, {}, lambda t: np.sign(t), lambda z: np.tanh(z / 2)),
    (
        nn.CrossEntropyLoss,
        {},
        shares,
        lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True),
    ),
]


@pytest.mark.parametrize(("criterion", "params", "make", "response"), REGRESSIONS)
def test_predictions_are_on_the_scale_of_y(data, criterion, params, make, response):
    X, _ = data
    y = make(np.linspace(-1, 1, 60))
    net = ImageRegressor(Flattening, criterion=criterion, **_rest(DOUBLE), **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if params.get("criterion__log_input") is False:
            net.set_params(module=Positive)
        net.fit(X, y)
    outputs = raw(net, X)
    if response is None:
        expected = outputs * y.std() + y.mean()
    else:
        assert_array_equal(net.scaler_.target.mean, np.zeros(net.n_outputs_))
        expected = response(outputs)
    assert_allclose(net.predict(X), expected.reshape(y.shape), rtol=1e-7, atol=1e-12)


#: The rest: why they cannot be the loss of a regression.
REFUSED = {
    nn.HingeEmbeddingLoss: "distances",
    nn.CrossEntropyLoss: "columns",
    nn.GaussianNLLLoss: "means and variances",
    nn.NLLLoss: "NLLLoss",
    nn.MultiMarginLoss: "MultiMarginLoss",
    nn.MultiLabelMarginLoss: "MultiLabelMarginLoss",
    nn.CTCLoss: "CTCLoss",
    nn.CosineEmbeddingLoss: "CosineEmbeddingLoss",
    nn.MarginRankingLoss: "MarginRankingLoss",
    nn.TripletMarginLoss: "TripletMarginLoss",
    nn.TripletMarginWithDistanceLoss: "TripletMarginWithDistanceLoss",
}


@pytest.mark.parametrize("criterion", REFUSED)
def test_losses_that_are_none_of_a_regression(data, criterion):
    X, _ = data
    net = ImageRegressor(criterion=criterion, **SMALL)
    with pytest.raises(ValueError, match=REFUSED[criterion]):
        net.fit(X, np.linspace(-1, 1, 60))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("LinearCrossEntropyLoss", {"in_features": 10, "num_classes": 10}),
        (
            "AdaptiveLogSoftmaxWithLoss",
            {"in_features": 10, "n_classes": 10, "cutoffs": [5]},
        ),
    ],
)
def test_losses_with_a_layer_of_their_own(data, name, arguments):
    if not hasattr(nn, name):
        pytest.skip(f"this torch has no {name}")
    criterion = getattr(nn, name)(**arguments)
    net = ImageClassifier(Flattening, criterion=criterion, **_rest(SMALL))
    with pytest.raises(ValueError, match=f"criterion={name} has a layer of its own"):
        net.fit(*data)


def test_every_loss_of_torch_is_looked_at():
    known = {criterion for criterion, *_ in REGRESSIONS} | set(REFUSED)
    # A loss with the last layer in it, and another name of a loss.
    known |= {nn.BCELoss, nn.NLLLoss2d, getattr(nn, "LinearCrossEntropyLoss", None)}
    known |= {nn.AdaptiveLogSoftmaxWithLoss}
    found = {kind for name, kind in vars(nn).items() if name.endswith("Loss")}
    assert found <= known


def test_probabilities_under_binary_cross_entropy(data):
    class Sigmoid(Flattening):
        def forward(self, images):
            return super().forward(images).sigmoid()

    X, _ = data
    y = (np.linspace(-1, 1, 60) > 0) * 1.0
    net = ImageRegressor(Sigmoid, criterion=nn.BCELoss, **_rest(DOUBLE)).fit(X, y)
    assert_allclose(net.predict(X), raw(net, X)[:, 0], rtol=1e-7)


def test_means_under_a_gaussian_likelihood(data):
    X, _ = data
    y = 3 + np.linspace(-1, 1, 60)
    options = _rest(DOUBLE) | {"lr": 0.05, "max_epochs": 20}
    net = ImageRegressor(MeanAndVariance, criterion=nn.GaussianNLLLoss, **options)
    net.fit(X, y)
    mean, variance = net.module_(net._to_input(torch.as_tensor(X)))
    assert_allclose(net.predict(X), mean.detach()[:, 0], rtol=1e-7)
    loss = nn.GaussianNLLLoss()(mean[:, 0], torch.from_numpy(y), variance[:, 0])
    assert loss < net.history[0, "train_loss"]
    assert abs(net.predict(X).mean() - 3) < 1


def test_targets_that_must_stay_as_they_are(data):
    X, _ = data
    y = counts(np.linspace(-1, 1, 60))
    net = ImageRegressor(criterion=nn.PoissonNLLLoss, normalize_target=True, **SMALL)
    with pytest.raises(ValueError, match="normalize_target=True.*PoissonNLLLoss"):
        net.fit(X, y)
    net = ImageRegressor(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="PoissonNLLLoss.*normali[sz]ed targets"):
        net.set_params(criterion=nn.PoissonNLLLoss).partial_fit(X, y)


@pytest.mark.parametrize("chosen", ["exp", torch.exp, lambda z: z.exp().numpy()])
def test_chosen_response_of_a_regression(data, chosen):
    class Own(nn.Module):
        def forward(self, outputs, y):
            return (outputs.exp() - y * outputs).mean()

    X, _ = data
    y = counts(np.linspace(-1, 1, 60))
    net = ImageRegressor(criterion=Own, predict_nonlinearity=chosen, **DOUBLE).fit(X, y)
    assert_allclose(net.predict(X), np.exp(raw(net, X)[:, 0]), rtol=1e-7)


OUTSIDE = [
    (nn.BCEWithLogitsLoss, 3.0),
    (nn.BCEWithLogitsLoss, -0.5),
    (nn.MultiLabelSoftMarginLoss, 2.0),
    (nn.PoissonNLLLoss, -1.0),
    (nn.SoftMarginLoss, 0.5),
    (nn.KLDivLoss, -1.0),
    (nn.CrossEntropyLoss, -0.25),
]


@pytest.mark.parametrize(("criterion", "value"), OUTSIDE)
def test_targets_that_a_loss_is_not_made_for(data, criterion, value):
    X, _ = data
    y = shares(np.linspace(-1, 1, 60)).round()
    if criterion is nn.SoftMarginLoss:
        y = 2 * y - 1
    net = ImageRegressor(criterion=criterion, **SMALL)
    before = net.fit(X, y).predict(X)
    wrong = y.copy()
    wrong[7, 1] = value
    for fit in (net.fit, net.partial_fit):
        with pytest.raises(ValueError, match=f"{criterion.__name__}.*y has.*{value:g}"):
            fit(X, wrong)
    assert_array_equal(net.predict(X), before)


def test_probabilities_of_classes_sum_to_one(data):
    X, _ = data
    net = ImageRegressor(criterion="cross_entropy", **SMALL)
    with pytest.raises(ValueError, match="sum to 0.5"):
        net.fit(X, shares(np.linspace(-1, 1, 60)) / 2)


@pytest.mark.parametrize(
    "criterion",
    [nn.BCEWithLogitsLoss, nn.PoissonNLLLoss, nn.SoftMarginLoss, nn.KLDivLoss],
)
def test_autoencoders_whose_outputs_would_be_no_pixels(data, criterion):
    X, _ = data
    net = ImageAutoencoder(criterion=criterion, max_epochs=1)
    with pytest.raises(ValueError, match=f"{criterion.__name__}.*pixels.*BCELoss"):
        net.fit(X)
    net.set_params(criterion=nn.BCELoss).fit(X - X.min())
