"""Constructor parameters: names, copies, and what a fit leaves of them."""

import copy
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from torch.utils.data import DataLoader

from skvision import ImageClassifier, ImageRegressor

ESTIMATORS = [ImageClassifier, ImageRegressor]
SMALL = {"module": "mlp", "module__hidden": (16,), "max_epochs": 1, "batch_size": 16}

# One or two epochs teach these networks little.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Scaled(nn.Module):
    """A linear network with weights that are easy to recognise."""

    def __init__(self, n_inputs=64, n_columns=3):
        super().__init__()
        self.linear = nn.Linear(n_inputs, n_columns)

    def forward(self, X):
        return self.linear(X.flatten(1))


class Probe(Callback):
    """Object to training."""

    def on_batch_begin(self, net, **kwargs):
        raise AssertionError("training has begun")


def make_images(n=40, n_classes=3, shape=(8, 8)):
    """Return images whose brightest row tells their class."""
    y = np.arange(n) % n_classes
    X = np.random.default_rng(0).random((n, *shape))
    X[np.arange(n), ..., y, :] += 1
    return X, y


def weights(estimator):
    state = estimator.module_.state_dict()
    return {name: value.numpy().copy() for name, value in state.items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert_array_equal(value, second[name], err_msg=name)


def own_names(estimator):
    return list(inspect.signature(estimator).parameters)


@pytest.fixture(scope="module")
def data():
    return make_images()


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("max_epoch", "max_epochs"),
        ("learning_rate_", None),
        ("batchsize", "batch_size"),
        ("optimiser", "optimizer"),
        ("modul__hidden", "module__hidden"),
        ("module_hidden", "module__hidden"),
        ("optimiser__weight_decay", "optimizer__weight_decay"),
        ("criterium__label_smoothing", "criterion__label_smoothing"),
        ("iterator_trian__shuffle", "iterator_train__shuffle"),
        ("iteratorvalid__num_workers", "iterator_valid__num_workers"),
        ("callback__print_log", "callbacks__print_log"),
        ("module__", "module"),
        ("xyz", None),
    ],
)
def test_unknown_names(estimator, wrong, right):
    hint = "" if right is None else f".*did you mean '{right}'"
    expected = f"{estimator.__name__} has no parameter '{wrong}'{hint}"
    with pytest.raises(TypeError, match=expected):
        estimator(**{wrong: 1})
    with pytest.raises(ValueError, match=expected):
        estimator().set_params(**{wrong: 1})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_letter_missing_twice_or_exchanged_is_found(draw):
    names = [name for name in own_names(ImageClassifier) if len(name) > 4]
    name = draw.draw(st.sampled_from(names))
    i = draw.draw(st.integers(0, len(name) - 2))
    change = draw.draw(st.sampled_from(["missing", "twice", "exchanged"]))
    wrong = {
        "missing": name[:i] + name[i + 1 :],
        "twice": name[: i + 1] + name[i:],
        "exchanged": name[:i] + name[i + 1] + name[i] + name[i + 2 :],
    }[change]
    if wrong == name or "__" in wrong:
        return
    with pytest.raises(TypeError, match=f"did you mean '{name}'"):
        ImageClassifier(**{wrong: 1})
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        ImageClassifier().set_params(**{wrong: 1})


def test_class_weight_belongs_to_classifiers():
    with pytest.raises(TypeError, match="ImageRegressor has no parameter"):
        ImageRegressor(class_weight="balanced")
    assert own_names(ImageRegressor) == [
        name for name in own_names(ImageClassifier) if name != "class_weight"
    ]


def test_parameters_but_module_are_keyword_only():
    for estimator in ESTIMATORS:
        module, *others = inspect.signature(estimator).parameters.values()
        assert module.name == "module"
        assert {p.kind for p in others} == {inspect.Parameter.KEYWORD_ONLY}


MISSPELT = [
    ({"module__hiden": (8,)}, "module__hidden"),
    ({"optimizer__weight_decy": 0.1}, "optimizer__weight_decay"),
    ({"iterator_train__shufle": True}, "iterator_train__shuffle"),
    ({"iterator_valid__num_worker": 0}, "iterator_valid__num_workers"),
]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [*MISSPELT, ({"criterion__label_smothing": 0.1}, "criterion__label_smoothing")],
)
def test_misspelt_arguments_are_found_before_training(data, wrong, right):
    estimator = ImageClassifier(**SMALL, callbacks=[Probe], **wrong)
    with pytest.raises(ValueError, match=f"did you mean '{right}'"):
        estimator.fit(*data)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [*MISSPELT, ({"criterion__reductio": "sum"}, "criterion__reduction")],
)
def test_misspelt_arguments_of_a_regressor(data, wrong, right):
    estimator = ImageRegressor(**SMALL, callbacks=[Probe], **wrong)
    with pytest.raises(ValueError, match=f"did you mean '{right}'"):
        estimator.fit(*data)


def test_misspelt_argument_of_a_users_module_and_loader(data):
    estimator = ImageClassifier(Scaled, module__n_colums=3, max_epochs=1)
    with pytest.raises(ValueError, match="Scaled takes no .*'module__n_columns'"):
        estimator.fit(*data)
    estimator = ImageClassifier(
        **SMALL, iterator_train=DataLoader, iterator_train__shufle=True
    )
    with pytest.raises(ValueError, match="'iterator_train__shuffle'"):
        estimator.fit(*data)


def test_missing_arguments_of_a_module_are_named(data):
    class Needy(Scaled):
        def __init__(self, n_inputs, depth):
            super().__init__(n_inputs)

    with pytest.raises(TypeError, match="Needy needs .*module__n_inputs, module__dep"):
        ImageClassifier(Needy).fit(*data)


# ----------------------------------------- a fit that fails leaves what was there


def failing_fits():
    X, y = make_images()
    nan = X.copy()
    nan[3, 0, 0] = np.nan
    yield "name of an argument", {"module__hiden": (8,)}, (X, y)
    yield "name for the optimizer", {"optimizer__weight_decy": 1}, (X, y)
    yield "name for the criterion", {"criterion__reductio": "sum"}, (X, y)
    yield "name for the iterator", {"iterator_train__shufle": True}, (X, y)
    yield "value of a parameter", {"lr": -1}, (X, y)
    yield "value of an argument", {"module__hidden": (-1,)}, (X, y)
    yield "value for the optimizer", {"optimizer__betas": (2, 2)}, (X, y)
    yield "value for the iterator", {"iterator_train__num_workers": -1}, (X, y)
    yield (
        "value for the loader",
        {"iterator_train": DataLoader, "batch_size": -7},
        (X, y),
    )
    yield "network", {"module": "nonsense"}, (X, y)
    yield "network that fits nothing", {"module": Scaled(5)}, (X, y)
    yield "device", {"device": "cuda:99"}, (X, y)
    yield "normalisation", {"normalize": (0.5, -1)}, (X, y)
    yield "contradiction", {"early_stopping": True, "train_split": ValidSplit()}, (X, y)
    yield "scorer", {"epoch_scoring": "acuracy"}, (X, y)
    yield "callback", {"callbacks": [("probe", None)], "callbacks__probe__a": 1}, (X, y)
    yield "lengths", {}, (X, y[:-1])
    yield "NaN", {}, (nan, y)
    yield "NaN without statistics", {"normalize": None}, (nan, y)
    yield "target", {}, (X, [None] * len(X))
    yield "no target", {}, (X, None)
    yield "nothing", {}, (X[:0], y[:0])


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [pytest.param(*case[1:], id=case[0]) for case in failing_fits()],
)
def test_a_failing_fit_leaves_a_fitted_estimator_as_it_was(
    estimator, parameters, arguments
):
    X, y = make_images()
    fitted = estimator(**SMALL, random_state=0).fit(X, y)
    predictions = fitted.predict(X)
    before, history = weights(fitted), list(fitted.history)
    fitted.set_params(**parameters)
    attributes = dict(vars(fitted))
    with pytest.raises((ValueError, TypeError, AttributeError)):
        fitted.fit(*arguments)
    assert_array_equal(fitted.predict(X), predictions)
    assert_same_weights(weights(fitted), before)
    assert list(fitted.history) == history
    assert vars(fitted).keys() == attributes.keys()
    for name, value in attributes.items():
        assert vars(fitted)[name] is value, name


def test_an_interrupted_construction_leaves_a_fitted_estimator_as_it_was(data):
    class Interrupted(Scaled):
        def __init__(self):
            raise KeyboardInterrupt

    fitted = ImageClassifier(Scaled, max_epochs=1, random_state=0).fit(*data)
    before = fitted.predict_proba(data[0])
    fitted.set_params(module=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(*data)
    assert_array_equal(fitted.predict_proba(data[0]), before)


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_a_failing_continuation_leaves_a_fitted_estimator_as_it_was(data, method):
    X, y = data
    fitted = ImageClassifier(**SMALL, warm_start=True, random_state=0).fit(X, y)
    before, classes = weights(fitted), fitted.classes_
    for arguments in [(X, y + 1), (X[:, :5], y), (X, y[:3])]:
        with pytest.raises(ValueError, match="among the classes|shape|inconsistent"):
            getattr(fitted, method)(*arguments)
        assert_same_weights(weights(fitted), before)
        assert_array_equal(fitted.classes_, classes)
        assert len(fitted.history) == 1


# ------------------------------------------------- get_params, set_params, clone


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constructor_sets_parameters_only(estimator):
    assert set(vars(estimator())) == set(own_names(estimator))
    instance = estimator(module__hidden=(4,), optimizer__weight_decay=0.1)
    expected = {*own_names(estimator), "module__hidden", "optimizer__weight_decay"}
    public = {name for name in vars(instance) if not name.startswith("_")}
    assert public == set(own_names(estimator))
    assert instance.module__hidden == (4,)
    assert set(instance.get_params()) == expected
    assert set(instance.get_params(deep=False)) == expected


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fit_does_not_change_the_class(data, estimator):
    def attributes():
        return {
            (base, name): copy.copy(value)
            for base in estimator.__mro__
            for name, value in vars(base).items()
            if isinstance(value, (list, dict, tuple, str, int, type(None)))
        }

    before = attributes()
    fitted = estimator(**SMALL, callbacks=[EpochScoring("r2")]).fit(*data)
    fitted.partial_fit(*data)
    assert attributes() == before
    # Nor is another instance fitted by it.
    assert set(vars(estimator())) == set(own_names(estimator))
    assert not estimator().initialized_
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_parameters_are_the_objects_that_were_given(estimator):
    given_objects = {
        "module": Scaled(),
        "callbacks": [EpochScoring("r2")],
        "module__hidden": [1, 2],
        "epoch_scoring": ["r2"],
        "image_shape": [1, 8, 8],
        "criterion": nn.MSELoss(),
    }
    parameters = estimator(**given_objects).get_params(deep=False)
    for name, value in given_objects.items():
        assert parameters[name] is value, name


@pytest.mark.parametrize("fitted", [False, True])
def test_clone_takes_all_parameters(data, fitted):
    estimator = ImageClassifier(
        **SMALL,
        optimizer="sgd",
        optimizer__momentum=0.9,
        criterion__label_smoothing=0.1,
        iterator_train__drop_last=True,
        callbacks__print_log=None,
        random_state=7,
    )
    if fitted:
        estimator.fit(*data)
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    # Nothing but parameters is copied.
    public = {name for name in vars(copied) if not name.startswith("_")}
    assert public == set(own_names(ImageClassifier))
    with pytest.raises(NotFittedError):
        check_is_fitted(copied)
    with pytest.raises(NotFittedError):
        copied.predict(data[0])
    if fitted:
        assert_same_weights(weights(copied.fit(*data)), weights(estimator))


def test_set_params_of_unfitted_estimators():
    estimator = ImageClassifier()
    assert estimator.set_params(module__hidden=(8,), lr=0.5) is estimator
    assert estimator.get_params()["module__hidden"] == (8,)
    assert estimator.lr == 0.5
    copied = clone(estimator)
    assert copied.module__hidden == (8,)
    assert estimator.set_params() is estimator
    estimator.set_params(**ImageClassifier(max_epochs=3).get_params())
    assert estimator.max_epochs == 3


def test_repr_shows_what_was_set():
    text = repr(ImageClassifier("mlp", lr=0.5, module__hidden=(8,), dtype="float64"))
    assert text == (
        "ImageClassifier(dtype='float64', lr=0.5, module='mlp', module__hidden=(8,))"
    )


def test_fitted_networks_are_not_touched_by_set_params(data):
    X, y = data
    estimator = ImageClassifier(**SMALL, random_state=0).fit(X, y)
    network, optimizer, before = (
        estimator.module_,
        estimator.optimizer_,
        weights(estimator),
    )
    probabilities = estimator.predict_proba(X)
    callbacks = estimator.callbacks_
    estimator.set_params(
        module__hidden=(8,),
        criterion__label_smoothing=0.1,
        optimizer__weight_decay=0.1,
        iterator_train__shuffle=False,
        callbacks=[EpochScoring("accuracy")],
        callbacks__epoch_timer=None,
        lr=0.5,
        batch_size=4,
        class_weight="balanced",
    )
    assert estimator.module_ is network
    assert estimator.optimizer_ is optimizer
    assert estimator.callbacks_ is callbacks
    assert_same_weights(weights(estimator), before)
    assert_array_equal(estimator.predict_proba(X), probabilities)
    estimator.fit(X, y)
    assert estimator.module_.head.in_features == 8
    assert network.head.in_features == 16
    # set_params(module=...) and (optimizer=...) wait for the next fit as well.
    network = estimator.module_
    estimator.set_params(module="lenet", optimizer="sgd", criterion=nn.NLLLoss)
    assert estimator.module_ is network
    assert isinstance(estimator.optimizer_, torch.optim.Adam)


def test_learning_rate_reaches_the_optimizer_of_partial_fit(data):
    X, y = data
    estimator = ImageClassifier(**SMALL, random_state=0).fit(X, y)
    before = weights(estimator)
    estimator.set_params(lr=0).partial_fit(X, y)
    assert_same_weights(weights(estimator), before)
    assert estimator.optimizer_.param_groups[0]["lr"] == 0
    estimator.set_params(lr=0.25, optimizer__weight_decay=0.5, optimizer__eps=1e-3)
    group = estimator.optimizer_.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["eps"]) == (0.25, 0.5, 1e-3)
    estimator.partial_fit(X, y)
    assert not np.array_equal(weights(estimator)["head.weight"], before["head.weight"])
    group = estimator.optimizer_.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["eps"]) == (0.25, 0.5, 1e-3)


def test_optimizer_lr_wins_over_lr(data):
    estimator = ImageClassifier(**SMALL, lr=0.5, optimizer__lr=0.25).fit(*data)
    assert estimator.optimizer_.param_groups[0]["lr"] == 0.25
    estimator.set_params(optimizer__lr=0.125)
    assert estimator.optimizer_.param_groups[0]["lr"] == 0.125


def test_parameter_groups(data):
    estimator = ImageClassifier(
        **SMALL,
        optimizer="sgd",
        lr=0.1,
        optimizer__param_groups=[("head*", {"lr": 0.0})],
        callbacks=[Snapshots()],
    ).fit(*data)
    first = dict(estimator.callbacks_)["Snapshots"].states[0]
    last = weights(estimator)
    assert_array_equal(first["head.weight"], last["head.weight"])
    assert not np.array_equal(first["layers.0.weight"], last["layers.0.weight"])
    estimator.set_params(optimizer__param_groups=[("head*", {"lr": 0.5})])
    assert estimator.module_ is not None


def test_batch_size_and_epochs_of_partial_fit(data):
    X, y = data
    estimator = ImageClassifier(**SMALL).fit(X, y)
    estimator.set_params(batch_size=8, max_epochs=2).partial_fit(X, y)
    sizes = estimator.history[:, "batches", :, "train_batch_size"]
    assert sizes == [[16, 24], [8] * 5, [8] * 5] or sizes == [
        [16, 16, 8],
        [8] * 5,
        [8] * 5,
    ]


def test_parameters_in_pipelines_and_searches(data):
    X, y = data
    pipeline = make_pipeline(
        MinMaxScaler(),
        ImageClassifier(**SMALL, image_shape=(1, 8, 8), random_state=0),
    )
    pipeline.set_params(imageclassifier__module__hidden=(4,))
    assert pipeline[-1].module__hidden == (4,)
    with pytest.raises(ValueError, match="has no parameter 'max_epoch'"):
        pipeline.set_params(imageclassifier__max_epoch=1)
    grid = {
        "imageclassifier__module__hidden": [(4,), (5,)],
        "imageclassifier__optimizer__weight_decay": [0.0, 0.1],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(X.reshape(len(X), -1), y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    network = search.best_estimator_[-1].module_
    best = search.best_params_["imageclassifier__module__hidden"]
    assert network.head.in_features == best[0]


def test_missing_attributes_say_why_they_are_missing(data):
    with pytest.raises(AttributeError, match="no classes_ before fit"):
        _ = ImageClassifier().classes_
    with pytest.raises(AttributeError, match="no best_epoch_.*early_stopping=True"):
        _ = ImageClassifier(**SMALL).fit(*data).best_epoch_
    with pytest.raises(AttributeError, match="ImageRegressor has no predict_proba"):
        _ = ImageRegressor().predict_proba
    with pytest.raises(AttributeError, match="ImageClassifier.* 'module__hidden'"):
        _ = ImageClassifier().module__hidden
    with pytest.raises(AttributeError, match="ImageClassifier.* 'anything'"):
        _ = ImageClassifier().anything


def test_metadata_requests_survive_cloning():
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        estimator = ImageClassifier().set_fit_request(sample_weight=True)
        requests = clone(estimator).get_metadata_routing()
        assert "sample_weight" in str(requests)


# ------------------------------------------------------ fit does not change them


class Snapshots(Callback):
    """Keep the weights with which a training begins and each epoch begins."""

    def initialize(self):
        self.states = []
        return self

    def on_train_begin(self, net, **kwargs):
        self.states.append(weights(net))

    def on_epoch_begin(self, net, **kwargs):
        self.states.append(weights(net))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fit_leaves_parameters_alone(data, estimator, early_stopping):
    fitted = estimator(
        **SMALL,
        early_stopping=early_stopping,
        epoch_scoring=["r2"],
        callbacks=[("rate", LRScheduler("StepLR", step_size=1)), Snapshots],
        normalize=[0.5, 0.5],
        random_state=0,
    )
    before = fitted.get_params(deep=False)
    kept = copy.deepcopy(before)
    X, y = data
    fitted.fit(X, y).partial_fit(X, y)
    fitted.predict(X)
    fitted.score(X, y)
    after = fitted.get_params(deep=False)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert value is before[name], name
        if name not in ("callbacks",):
            assert value == kept[name], name
    assert fitted.image_shape is None
    assert "module__n_outputs" not in after
    assert "module__image_shape" not in after


def test_a_module_instance_gives_the_initial_weights_of_each_fit(data):
    X, y = data
    instance = Scaled()
    initial = {k: v.numpy().copy() for k, v in instance.state_dict().items()}
    estimator = ImageClassifier(
        instance, callbacks=[Snapshots()], max_epochs=1, lr=0.1, random_state=0
    )
    for _ in range(2):
        estimator.fit(X, y)
        states = dict(estimator.callbacks_)["Snapshots"].states
        assert_same_weights(states[0], initial)
        assert not np.array_equal(
            weights(estimator)["linear.bias"], initial["linear.bias"]
        )
        assert estimator.module_ is not instance
        assert estimator.module is instance
        assert_same_weights(
            {k: v.numpy() for k, v in instance.state_dict().items()}, initial
        )
        assert all(p.grad is None for p in instance.parameters())
    # So it is with clones, though scikit-learn copies the instance as well.
    copied = clone(estimator).fit(X, y)
    assert_same_weights(weights(copied), weights(estimator))


def test_a_module_instance_keeps_dtype_and_mode(data):
    instance = Scaled().eval()
    ImageClassifier(instance, max_epochs=1, dtype="float64").fit(*data)
    assert instance.linear.weight.dtype == torch.float32
    assert not instance.training


def test_module_instance_with_arguments_is_built_anew(data):
    instance = Scaled(n_columns=7)
    estimator = ImageClassifier(instance, module__n_columns=3, max_epochs=1).fit(*data)
    assert estimator.module_.linear.out_features == 3


def test_callback_instances_stay_as_they_are(data):
    callbacks = [
        EpochScoring("accuracy", on_train=True, lower_is_better=False),
        ("stop", EarlyStopping(monitor="train_loss", patience=2)),
        LRScheduler("StepLR", step_size=1),
        Snapshots(),
    ]
    instances = [c[1] if isinstance(c, tuple) else c for c in callbacks]
    before = [copy.deepcopy(vars(callback)) for callback in instances]
    estimator = ImageClassifier(**SMALL, callbacks=callbacks).fit(*data)
    assert [vars(callback) for callback in instances] == before
    assert callbacks == [instances[0], ("stop", instances[1]), *instances[2:]]
    ran = dict(estimator.callbacks_)
    assert ran["stop"].dynamic_threshold_ < np.inf
    assert len(ran["Snapshots"].states) == 2
    # Setting a parameter of a callback does not reach the user's instance either.
    estimator.set_params(callbacks__stop__patience=5).fit(*data)
    assert dict(estimator.callbacks_)["stop"].patience == 5
    assert instances[1].patience == 2


def test_criterion_instance_is_copied(data):
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    estimator = ImageClassifier(**SMALL, criterion=criterion, dtype="float64")
    estimator.fit(*data)
    assert estimator.criterion_ is not criterion
    assert criterion.weight.dtype == torch.float32
    assert_array_equal(estimator.criterion_.weight, [1, 2, 3])


@pytest.fixture
def torch_warns_always():
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_arrays_of_the_user_are_not_changed(torch_warns_always, estimator, dtype):
    X, y = make_images()
    X = (100 * X).astype(dtype)
    if estimator is ImageRegressor:
        y = y.astype(np.float32)
    arrays = [X, y, np.linspace(0, 1, len(y))]
    before = [array.copy() for array in arrays]
    for writeable in (True, False):
        for array in arrays:
            array.flags.writeable = writeable
        fitted = estimator(**SMALL).fit(*arrays)
        fitted.partial_fit(X, y)
        fitted.predict(X)
        fitted.score(X, y)
        for array, old in zip(arrays, before, strict=True):
            assert_array_equal(array, old)


# ---------------------------------------------------------------------- refits


@pytest.mark.parametrize("module", ["auto", "mlp"])
def test_refit_on_other_shapes_and_classes(module):
    estimator = ImageClassifier(module, max_epochs=1)
    parameters = estimator.get_params()
    for shape, n_classes in [
        ((8, 8), 3),
        ((3, 6, 6), 2),
        ((64,), 4),
        ((6, 8, 3), 5),
        ((8, 8), 2),
    ]:
        n = 20
        X = np.random.default_rng(0).random((n, *shape))
        y = np.arange(n) % n_classes
        estimator.fit(X, y)
        expected = {
            (8, 8): (1, 8, 8),
            (64,): (1, 1, 64),
            (6, 8, 3): (3, 6, 8),
            (3, 6, 6): (3, 6, 6),
        }[shape]
        assert estimator.image_shape_ == expected
        assert estimator.n_features_in_ == np.prod(shape)
        assert estimator.n_outputs_ == n_classes
        assert estimator.predict_proba(X).shape == (n, n_classes)
        assert estimator.get_params() == parameters
        name = "MLP" if module == "mlp" or shape == (64,) else "ConvNet"
        assert type(estimator.module_).__name__ == name
        assert len(estimator.history) == 1


def test_refit_begins_a_new_history(data):
    estimator = ImageClassifier(**SMALL).fit(*data)
    history = estimator.history
    estimator.fit(*data)
    assert len(estimator.history) == len(history) == 1
    assert estimator.history is not history


def test_image_shape_parameter_folds_flat_rows(data):
    X, y = data
    flat = X.reshape(len(X), -1)
    options = {"module": "convnet", "max_epochs": 1, "random_state": 0}
    folded = ImageClassifier(image_shape=(1, 8, 8), **options).fit(flat, y)
    images = ImageClassifier(**options).fit(X, y)
    assert_same_weights(weights(folded), weights(images))
    assert folded.image_shape == (1, 8, 8)
    assert folded.image_shape_ == (1, 8, 8)
    assert folded.n_features_in_ == 64
    with pytest.raises(ValueError, match=r"\(1, 8, 9\).*72 values.*64 features"):
        ImageClassifier(image_shape=(1, 8, 9)).fit(flat, y)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_contradicting_parameters(data, estimator):
    contradiction = estimator(**SMALL, early_stopping=True, train_split=ValidSplit(3))
    with pytest.raises(ValueError, match=r"early_stopping.*train_split.*not both"):
        contradiction.fit(*data)
    with pytest.raises(ValueError, match="early_stopping.*callbacks='disable'"):
        estimator(**SMALL, early_stopping=True, callbacks="disable").fit(*data)
    estimator(**SMALL, callbacks="disable").fit(*data)


def test_invalid_values_are_found_at_fit_only(data):
    estimator = ImageClassifier(lr="fast", max_epochs=0, module=None)
    estimator.set_params(batch_size=-5)
    with pytest.raises(ValueError, match="The '.*' parameter of ImageClassifier must"):
        estimator.fit(*data)
