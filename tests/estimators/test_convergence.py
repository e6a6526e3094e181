"""Training that diverges, or ends no better than a constant."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from skvision_tests import Flattening
from torch import nn

from skvision import ImageClassifier, ImageRegressor
from skvision.exceptions import DivergedError

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}


# ----------------------------------------------------------------------- divergence


def test_lenet_with_adam_at_rate_1(colour_images):
    estimator = ImageClassifier(
        "lenet", lr=1.0, batch_size=10, max_epochs=20, random_state=0
    )
    with pytest.raises(DivergedError) as caught:
        estimator.fit(*colour_images)
    message = str(caught.value)
    # At once, not after epochs at ln(5).
    assert len(estimator.history) == 1
    assert "epoch 1" in message
    assert "lr=1.0" in message
    losses = estimator.history[0, "batches", :, "train_loss"]
    assert np.mean(losses) > 100 * losses[0]
    assert f"{losses[0]:.4g}" in message
    assert f"{np.mean(losses):.4g}" in message
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize(
    ("estimator", "lr"), [(ImageClassifier, 1e10), (ImageRegressor, 1e30)]
)
def test_gradient_descent_at_a_huge_rate(data, estimator, lr):
    diverging = estimator(
        **SMALL | {"max_epochs": 10}, optimizer="sgd", lr=lr, random_state=0
    )
    with pytest.raises(DivergedError) as caught:
        diverging.fit(*data)
    assert f"lr={lr}" in str(caught.value)
    assert f"epoch {len(diverging.history)}" in str(caught.value)
    first = diverging.history[0, "batches", 0, "train_loss"]
    assert f"{first:.4g}" in str(caught.value)


def test_divergence_in_a_later_epoch_names_it(data):
    class Raise(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                net.optimizer_.param_groups[0]["lr"] = 1e20

    estimator = ImageClassifier(
        **SMALL | {"max_epochs": 6}, optimizer="sgd", lr=0.01, callbacks=[Raise]
    )
    with pytest.raises(DivergedError, match=r"epoch 3.*lr=1e\+20"):
        estimator.fit(*data)
    assert len(estimator.history) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_divergence_in_the_last_step(data, value):
    class Last(Flattening):
        """Has gradients that are not finite, though its loss is."""

        def forward(self, X):
            outputs = super().forward(X)
            if outputs.requires_grad:
                outputs.register_hook(lambda gradient: gradient * value)
            return outputs

    for estimator in ESTIMATORS:
        diverging = estimator(Last, max_epochs=1, batch_size=-1, optimizer="sgd")
        with pytest.raises(DivergedError, match="epoch 1.*weights") as caught:
            diverging.fit(*data)
        first = diverging.history[0, "batches", 0, "train_loss"]
        assert np.isfinite(first)
        assert f"{first:.4g}" in str(caught.value)


def test_divergence_in_partial_fit(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = ImageClassifier(**SMALL, optimizer="sgd", lr=0.01).fit(*data)
    estimator.set_params(lr=1e20)
    with pytest.raises(DivergedError, match="epoch 2"):
        estimator.partial_fit(*data)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_divergence_in_a_search(data):
    search = GridSearchCV(
        ImageClassifier(**SMALL | {"max_epochs": 15}, optimizer="sgd", random_state=0),
        {"lr": [0.1, 1e30]},
        cv=2,
        error_score=np.nan,
    )
    with pytest.warns(FitFailedWarning, match="DivergedError"):
        search.fit(*data)
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] > 0.9
    assert np.isnan(scores[1])
    assert search.best_params_ == {"lr": 0.1}
    with pytest.raises(DivergedError):
        search.set_params(error_score="raise").fit(*data)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_fine_tuning_is_no_divergence(data, reduction):
    X, y = data
    options = SMALL | {"random_state": 0, "criterion__reduction": reduction}
    base = ImageClassifier(**options | {"max_epochs": 60, "lr": 0.03}).fit(X, y)
    # The first batch is known by heart, and the others have other labels.
    others = np.r_[y[:16], (y[16:] + 1) % 3]
    net = ImageClassifier(
        pretrained=base, iterator_train__shuffle=False, lr=1e-6, **options
    ).fit(X, others)
    losses = net.history[0, "batches", :, "train_loss"]
    assert np.mean(losses) > 100 * losses[0]
    # Nor is more training on rows of one class, then of another.
    net = ImageClassifier(**options | {"max_epochs": 60, "lr": 0.03})
    net.partial_fit(X[y == 0], y[y == 0], classes=range(3))
    net.partial_fit(X[y == 1], y[y == 1])
    assert np.isfinite(net.history[:, "train_loss"]).all()


def test_no_divergence_is_seen_in_a_hard_start(data):
    # A loss that is tiny at the start may grow a hundredfold without harm.
    X, y = data
    perfect = ImageClassifier(Flattening, lr=0.05, max_epochs=60, random_state=0)
    perfect.fit(X, y)
    assert perfect.score(X, y) == 1
    regressor = ImageRegressor(**SMALL, optimizer="sgd", lr=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regressor.fit(X, 1e4 * y)
    assert np.isfinite(regressor.predict(X)).all()


# ------------------------------------------------------------- training without effect


class Zero(Flattening):
    """Begins with the best constant prediction for equally frequent classes."""

    def __init__(self, image_shape, n_outputs):
        super().__init__(image_shape, n_outputs)
        nn.init.zeros_(self.layers[1].weight)
        nn.init.zeros_(self.layers[1].bias)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_training_that_ends_no_better_than_a_constant(data, estimator, weighted):
    X, y = data
    weight = np.linspace(1, 2, len(y)) if weighted else None
    idle = estimator(Zero, max_epochs=1, lr=0.0)
    with pytest.warns(ConvergenceWarning, match=r"max_epochs=1.*lr=0\.0") as caught:
        idle.fit(X, y, sample_weight=weight)
    assert len([w for w in caught if w.category is ConvergenceWarning]) == 1
    assert {w.filename for w in caught if w.category is ConvergenceWarning} == {
        __file__
    }
    able = estimator(
        **SMALL | {"max_epochs": 40, "batch_size": 8}, lr=0.02, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        able.fit(X, y, sample_weight=weight)
    assert able.score(X, y) > 0.9


def test_noise_gives_a_convergence_warning_and_its_loss():
    rng = np.random.default_rng(0)
    X, y = rng.random((400, 6, 6)), rng.integers(0, 4, 400)
    estimator = ImageClassifier(Zero, optimizer="sgd", lr=1e-6, max_epochs=2)
    entropy = -sum(p * np.log(p) for p in np.bincount(y) / 400)
    with pytest.warns(ConvergenceWarning, match=f"{entropy:.4g} of a constant"):
        estimator.fit(X, y)


def test_no_convergence_warning_from_single_steps(data):
    estimator = ImageClassifier(**SMALL, lr=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator.partial_fit(*data).partial_fit(*data)


@pytest.mark.parametrize("criterion", ["l1", "smooth_l1", nn.HuberLoss])
def test_criteria_without_a_known_constant_do_not_warn(data, criterion):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        ImageRegressor(**SMALL, lr=0.0, criterion=criterion).fit(*data)
