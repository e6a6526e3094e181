import pytest
import skorch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skvision.inspection import count_parameters


@pytest.fixture
def data():
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return X.astype("float32"), y


@pytest.fixture
def estimator():
    return skorch.NeuralNetClassifier(
        nn.Linear,
        module__in_features=4,
        module__out_features=3,
        criterion=nn.CrossEntropyLoss,
        max_epochs=1,
        train_split=None,
        verbose=0,
    )


@pytest.mark.parametrize(
    "layer, n_parameters",
    [
        (nn.Linear(784, 256), (784 + 1) * 256),
        (nn.Conv2d(3, 8, (5, 4)), (3 * 5 * 4 + 1) * 8),
        (nn.BatchNorm2d(7), 14),
        (nn.ReLU(), 0),
    ],
)
def test_layers_have_the_parameters_of_the_formula(layer, n_parameters):
    assert count_parameters(layer) == n_parameters


def test_frozen_parameters():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    assert count_parameters(network) == 10
    assert count_parameters(network, trainable_only=False) == 26


def test_shared_parameters_count_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    assert count_parameters(nn.Sequential(first, second, first)) == 9 + 3 + 3


def test_fitted_estimators(estimator, data):
    pipeline = make_pipeline(StandardScaler(), estimator)
    search = GridSearchCV(estimator, {"lr": [0.1]}, cv=2)
    of_pipeline = GridSearchCV(pipeline, {"neuralnetclassifier__lr": [0.1]}, cv=2)
    for fitted in (estimator, pipeline, search, of_pipeline):
        assert count_parameters(fitted.fit(*data)) == 15


def test_not_fitted(estimator):
    pipeline = make_pipeline(StandardScaler(), estimator)
    search = GridSearchCV(pipeline, {"neuralnetclassifier__lr": [0.1]})
    for unfitted in (estimator, pipeline, search, LogisticRegression()):
        with pytest.raises(NotFittedError):
            count_parameters(unfitted)


def test_other_types(data):
    for other, name in [
        (3, "int"),
        (nn.Linear, "type"),
        (LogisticRegression(max_iter=1000).fit(*data), "LogisticRegression"),
        (make_pipeline(StandardScaler()).fit(*data), "StandardScaler"),
    ]:
        with pytest.raises(TypeError, match=f"Expected a torch module .* got {name}"):
            count_parameters(other)
