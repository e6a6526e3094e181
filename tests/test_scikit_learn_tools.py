"""scikit-learn's tools, on real images."""

import os

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    f1_score,
    log_loss,
)
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import Bunch, resample, shuffle
from skorch.helper import SliceDataset
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

from skvision import ImageClassifier, ImageRegressor
from skvision.datasets import ImageSequence, as_Xy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 400


def small(**params):
    """Return a classifier that learns something in a tenth of a second.

    By chance it would score 0.1; with other seeds than this one it reaches 0.5 to 0.7.
    """
    defaults = {
        "module": "mlp",
        "module__hidden": (16,),
        "lr": 0.01,
        "max_epochs": 3,
        "batch_size": 32,
        "random_state": 0,
    }
    return ImageClassifier(**defaults | params)


def small_convnet(**params):
    return small(
        **{
            "module": "convnet",
            "module__channels": (8, 8),
            "module__hidden": (),
            "max_epochs": 3,
        }
        | params
    )


@pytest.fixture(scope="module")
def images(request):
    """Clothes where the files are at hand, digits elsewhere; shuffled."""
    name = "fashion_mnist" if os.environ.get("SKVISION_DATA") else "digits"
    bunch = request.getfixturevalue(name)
    X, y = shuffle(bunch.data, bunch.target, random_state=0)
    names = np.array([f"class {name}" for name in bunch.target_names])
    return Bunch(
        X=X[:N],
        y=y[:N],
        X_test=X[N : 2 * N],
        y_test=y[N : 2 * N],
        names=names,
        image_shape=(1, *X.shape[1:]),
    )


@pytest.fixture(scope="module")
def rows(images):
    """The same as flat rows between 0 and 1."""
    flat = {
        name: images[name].reshape(N, -1).astype(np.float32) / np.float32(255)
        for name in ("X", "X_test")
    }
    return Bunch(**{**images, **flat})


@pytest.fixture
def fashion(data_home):
    """torchvision's FashionMNIST, in full."""

    def build(transform=None):
        return datasets.FashionMNIST(data_home, train=False, transform=transform)

    return build


def folds(n, n_folds=3):
    """Return explicit splits."""
    return list(KFold(n_folds, shuffle=True, random_state=1).split(np.zeros(n)))


# -------------------------------------------------------------------- searches


def test_grid_search(images):
    grid = {
        "lr": [1e-6, 0.01],
        "optimizer": ["adam", torch.optim.AdamW],
        "module__hidden": [(8,), (16,)],
    }
    search = GridSearchCV(small(), grid, cv=2, error_score="raise")
    search.fit(images.X, images.y)
    assert len(search.cv_results_["params"]) == 8
    scores = search.cv_results_["mean_test_score"]
    rates = search.cv_results_["param_lr"].astype(float)
    assert scores[rates == 0.01].min() > scores[rates == 1e-6].max()
    assert search.best_params_["lr"] == 0.01
    assert search.best_score_ > 0.4
    best = search.best_estimator_
    (width,) = search.best_params_["module__hidden"]
    assert best.module_.layers[0].out_features == width
    expected = {"adam": torch.optim.Adam}.get(best.optimizer, best.optimizer)
    assert type(best.optimizer_) is expected
    assert search.score(images.X_test, images.y_test) > 0.4
    assert_array_equal(search.classes_, np.unique(images.y))


def test_grid_search_over_networks_and_criteria(images):
    grid = [
        {"module": ["mlp"], "module__hidden": [(16,), ()]},
        {
            "module": ["convnet"],
            "module__channels": [(4, 4)],
            "module__hidden": [(8,)],
            "normalize": [None, "channel"],
        },
    ]
    net = ImageClassifier(max_epochs=2, lr=0.01, batch_size=32, random_state=0)
    search = GridSearchCV(net, grid, cv=2, error_score="raise")
    search.fit(images.X, images.y)
    assert len(search.cv_results_["params"]) == 4
    assert search.cv_results_["mean_test_score"].max() > 0.4


def test_misspelt_parameters_fail_in_a_search(images):
    for name, nearest in (("max_epoch", "max_epochs"), ("Lr", "lr")):
        with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
            GridSearchCV(small(), {name: [1]}, cv=2).fit(images.X, images.y)
    search = GridSearchCV(small(), {"module__hiden": [(4,)]}, cv=2)
    with pytest.raises(ValueError, match="did you mean 'module__hidden'"):
        search.set_params(error_score="raise").fit(images.X, images.y)


def test_randomized_search(images):
    distributions = {
        "lr": loguniform(1e-3, 1e-1),
        "batch_size": [16, 32, 64],
        "optimizer__betas": [(0.9, 0.999), (0.8, 0.99)],
    }
    results = []
    for _ in range(2):
        search = RandomizedSearchCV(
            small(), distributions, n_iter=4, cv=2, random_state=0, error_score="raise"
        ).fit(images.X, images.y)
        results.append(search.cv_results_["mean_test_score"])
    assert_array_equal(*results)
    assert search.best_score_ > 0.4
    group = search.best_estimator_.optimizer_.param_groups[0]
    assert group["lr"] == search.best_params_["lr"]
    assert group["betas"] == search.best_params_["optimizer__betas"]


def test_halving_search_over_epochs(images):
    search = HalvingGridSearchCV(
        small(),
        {"lr": [1e-6, 1e-5, 0.003, 0.01]},
        resource="max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        cv=2,
        error_score="raise",
        random_state=0,
    ).fit(images.X, images.y)
    assert search.n_resources_ == [1, 2, 4]
    assert search.n_candidates_ == [4, 2, 1]
    assert search.best_params_["lr"] >= 0.003
    assert search.best_params_["max_epochs"] == 4
    assert len(search.best_estimator_.history) == 4
    assert search.best_score_ > 0.4


@pytest.mark.parametrize("kind", ["adapters", "data set"])
def test_searches_on_data_sets(fashion, kind):
    data = Subset(fashion(v1.ToTensor()), range(300))
    given = as_Xy(data) if kind == "adapters" else (data,)
    search = GridSearchCV(small(), {"lr": [1e-6, 0.01]}, cv=2, error_score="raise")
    search.fit(*given)
    assert search.best_params_ == {"lr": 0.01}
    assert search.best_score_ > 0.4
    assert search.score(*given) > 0.4
    assert search.predict(given[0]).shape == (300,)


# ------------------------------------------------------------ cross-validation


def test_several_scorers(images):
    scoring = {
        "accuracy": "accuracy",
        "log_loss": "neg_log_loss",
        "auc": "roc_auc_ovr",
        "f1": "f1_macro",
        "top": "top_k_accuracy",
        "own": lambda net, X, y: len(X),
    }
    splits = list(StratifiedKFold(3).split(images.X, images.y))
    result = cross_validate(
        small(),
        images.X,
        images.y,
        cv=splits,
        scoring=scoring,
        return_estimator=True,
        return_train_score=True,
        error_score="raise",
    )
    for i, (net, (train, test)) in enumerate(
        zip(result["estimator"], splits, strict=True)
    ):
        y, proba = images.y[test], net.predict_proba(images.X[test])
        prediction = net.classes_[proba.argmax(1)]
        assert result["test_accuracy"][i] == accuracy_score(y, prediction)
        assert_allclose(result["test_log_loss"][i], -log_loss(y, proba), rtol=1e-6)
        assert_allclose(result["test_f1"][i], f1_score(y, prediction, average="macro"))
        assert result["test_own"][i] == len(test)
        assert result["train_own"][i] == len(train)
    assert result["test_accuracy"].min() > 0.4
    assert result["test_auc"].min() > 0.75
    assert (result["test_top"] > result["test_accuracy"]).all()
    assert result["train_log_loss"].mean() > result["test_log_loss"].mean()


def test_predictions_of_each_fold(images):
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


@pytest.mark.parametrize("kind", ["array", "adapters"])
def test_jobs(images, kind):
    X, y = images.X, images.y
    if kind == "adapters":
        X, y = as_Xy(TensorDataset(torch.from_numpy(X), torch.from_numpy(y)))
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
def test_data_sets_and_adapters_score_alike(fashion, transform):
    data = Subset(fashion(TRANSFORMS[transform]), range(100, 400))
    splits = folds(300, 2)
    net = small()
    by_adapters = cross_val_score(net, *as_Xy(data), cv=splits, error_score="raise")
    directly = cross_val_score(net, data, cv=splits, error_score="raise")
    assert_array_equal(directly, by_adapters)
    assert by_adapters.min() > 0.4


def test_whole_data_set_straight_into_cross_validation(fashion):
    data = fashion(v1.ToTensor())
    splits = [(np.arange(300), np.arange(5_000, 5_500)), (np.arange(300, 600), [7, 9])]
    directly = cross_val_score(small(), data, cv=splits, error_score="raise")
    by_adapters = cross_val_score(small(), *as_Xy(data), cv=splits)
    assert_array_equal(directly, by_adapters)
    assert directly[0] > 0.4
    X, y = data.data.numpy() / np.float32(255), data.targets.numpy()
    assert_array_equal(cross_val_score(small(), X, y, cv=splits), by_adapters)


def test_folder_of_files_in_cross_validation(data_home):
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


def test_flat_data_set_in_cross_validation(rows):
    data = TensorDataset(torch.from_numpy(rows.X), torch.from_numpy(rows.y))
    splits = folds(N, 2)
    expected = cross_val_score(small(), rows.X, rows.y, cv=splits)
    by_adapters = cross_val_score(small(), *as_Xy(data), cv=splits)
    assert_array_equal(by_adapters, expected)
    directly = cross_val_score(small(), data, cv=splits, error_score="raise")
    assert_array_equal(directly, expected)


def test_data_set_sees_no_y_and_the_default_scorer_only(fashion):
    data = Subset(fashion(v1.ToTensor()), range(200))
    scores = cross_val_score(small(), data, cv=2, error_score="raise")
    assert scores.min() > 0.4
    net = small().fit(Subset(data, range(100)))
    assert scores[1] == net.score(Subset(data, range(100, 200)))
    with pytest.raises(TypeError, match="y_true"):
        cross_val_score(small(), data, cv=2, scoring="accuracy", error_score="raise")


# -------------------------------------------------------------------- data sets


def test_data_sets_in_fit_and_score(fashion):
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


def test_labels_are_required(fashion, images):
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


def test_standard_scaler_before_a_convolutional_network(rows, images):
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


def test_wrong_image_shape(rows):
    pipeline = make_pipeline(StandardScaler(), small_convnet(image_shape=(1, 5, 7)))
    with pytest.raises(ValueError, match=r"image_shape=\(1, 5, 7\) has 35 values"):
        pipeline.fit(rows.X, rows.y)


def test_search_within_a_pipeline(rows, images):
    pipeline = make_pipeline(StandardScaler(), small(normalize=None))
    grid = {"imageclassifier__lr": [1e-6, 0.01], "standardscaler__with_std": [True]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(rows.X, rows.y)
    assert search.best_params_["imageclassifier__lr"] == 0.01
    assert search.score(rows.X_test, rows.y_test) > 0.4


def test_transformed_images(images):
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


def test_frames_between_steps(rows):
    # Estimators that are no transformers have no output to set.
    assert not hasattr(small(), "set_output")
    assert not hasattr(ImageRegressor(), "set_output")
    pipeline = make_pipeline(StandardScaler(), small()).set_output(transform="pandas")
    pipeline.fit(rows.X, rows.y)
    assert list(pipeline[-1].feature_names_in_) == list(
        pipeline[0].get_feature_names_out()
    )
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
def test_calibration(images, rows, kind, method):
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


def test_soft_voting(rows):
    members = [
        ("wide", small(module__hidden=(32,))),
        ("deep", small(module__hidden=(16, 16))),
        ("linear", LogisticRegression(max_iter=50)),
    ]
    model = VotingClassifier(members, voting="soft").fit(rows.X, rows.y)
    proba = [member.predict_proba(rows.X_test) for member in model.estimators_]
    assert_allclose(model.predict_proba(rows.X_test), np.mean(proba, 0), rtol=1e-6)
    assert model.score(rows.X_test, rows.y_test) > 0.4


def test_stacking(rows):
    members = [("net", small()), ("other", small(module__hidden=(32,)))]
    model = StackingClassifier(members, LogisticRegression(max_iter=200), cv=2)
    model.fit(rows.X, rows.y)
    assert model.transform(rows.X_test).shape == (N, 20)
    assert model.score(rows.X_test, rows.y_test) > 0.4


def test_boosting(rows):
    model = AdaBoostClassifier(small(max_epochs=2), n_estimators=3, random_state=0)
    model.fit(rows.X, rows.y)
    assert len(model.estimators_) == 3
    assert model.estimator_errors_[0] < 0.7
    assert model.score(rows.X_test, rows.y_test) > 0.4
    # Later members see other weights and thus become other networks.
    weights = [net.module_.head.weight for net in model.estimators_]
    assert not torch.equal(weights[0], weights[1])


def test_bagging(rows):
    model = BaggingClassifier(
        small(), n_estimators=3, max_samples=0.8, max_features=0.5, random_state=0
    ).fit(rows.X, rows.y)
    n_features = rows.X.shape[1] // 2
    assert [net.n_features_in_ for net in model.estimators_] == [n_features] * 3
    assert model.score(rows.X_test, rows.y_test) > 0.4


# ------------------------------------------------------------------- inspection


def test_importance_of_pixels(digits):
    X = digits.data.reshape(-1, 64) / np.float32(255)
    y = digits.target
    net = small(max_epochs=10).fit(X[:1000], y[:1000])
    result = permutation_importance(
        net, X[1000:1300], y[1000:1300], n_repeats=2, random_state=0
    )
    importance = result.importances_mean.reshape(8, 8)
    assert result.importances.shape == (64, 2)
    # Nothing is ever drawn at the left edge.
    assert (importance[1:, 0] == 0).mean() > 0.7
    assert importance[2:6, 2:6].mean() > 0.002
    assert importance[:, 0].max() < importance.max() / 10


def test_confusion_matrices(images):
    from sklearn.metrics import ConfusionMatrixDisplay

    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    net = small().fit(images.X, images.y)
    data = TensorDataset(
        torch.from_numpy(images.X_test), torch.from_numpy(images.y_test)
    )
    expected = confusion_matrix(images.y_test, net.predict(images.X_test))
    assert np.trace(expected) > 0.4 * N
    for X, y in (
        (images.X_test, images.y_test),
        as_Xy(data),
        (data, images.y_test),
        (SliceDataset(data), images.y_test),
    ):
        display = ConfusionMatrixDisplay.from_estimator(net, X, y)
        assert_array_equal(display.confusion_matrix, expected)
        assert [text.get_text() for text in display.ax_.get_xticklabels()] == [
            str(label) for label in net.classes_
        ]
    pyplot.close("all")


def test_curves(images):
    from sklearn.model_selection import LearningCurveDisplay, ValidationCurveDisplay

    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    display = LearningCurveDisplay.from_estimator(
        small(),
        images.X,
        images.y,
        train_sizes=[40, 200],
        cv=2,
        shuffle=True,
        random_state=0,
        error_score="raise",
    )
    assert_array_equal(display.train_sizes, [40, 200])
    assert display.test_scores.shape == (2, 2)
    few, many = display.test_scores.mean(1)
    assert few < many > 0.4
    data = TensorDataset(torch.from_numpy(images.X), torch.from_numpy(images.y))
    display = ValidationCurveDisplay.from_estimator(
        small(),
        *as_Xy(data),
        param_name="lr",
        param_range=[1e-6, 1e-3, 0.01],
        cv=2,
        error_score="raise",
    )
    scores = display.test_scores.mean(1)
    assert scores[0] < scores[1] < scores[2]
    pyplot.close("all")


def test_report_with_names(images):
    net = small().fit(images.X, images.names[images.y])
    prediction = net.predict(images.X_test)
    assert prediction.dtype == images.names.dtype
    truth = images.names[images.y_test]
    report = classification_report(truth, prediction, output_dict=True, zero_division=0)
    assert set(images.names) < set(report)
    assert report["accuracy"] == net.score(images.X_test, truth) > 0.4


# ---------------------------------------------------------- clones and metadata


def test_clone_starts_afresh(images):
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


def test_weights_through_metadata_routing(images):
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


def test_weights_into_a_pipeline(rows):
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
