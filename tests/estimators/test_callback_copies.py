"""Copies of callbacks run, and they share what the user's own hold."""

import io
import threading
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LoadInitState,
    PrintLog,
)
from skvision_tests import weights

from skvision import ImageClassifier
from skvision.model_selection import StackedGridSearchCV

SMALL = {"module": "mlp", "module__hidden": (16,), "batch_size": 16, "random_state": 0}


class Log(Callback):
    """Write into what it was given."""

    def __init__(self, log):
        self.log = log

    def on_epoch_end(self, net, **kwargs):
        self.log.append(len(net.history))


class Writer(Callback):
    """Hold what can be neither copied nor pickled."""

    def __init__(self, stream):
        self.stream = stream
        self.lock = threading.Lock()

    def __getstate__(self):
        return {"stream": None, "lock": None}

    def on_epoch_end(self, net, **kwargs):
        with self.lock:
            print(len(net.history), file=self.stream)


class Slotted(Log):
    __slots__ = ("other",)

    def __init__(self, log):
        super().__init__(log)
        self.other = log

    def on_epoch_end(self, net, **kwargs):
        self.other.append(len(net.history))


class Bound(Callback):
    """Keep a method of its own, as it is and with an argument."""

    def __init__(self, how):
        self.how = how
        self.call = self.count if how == "method" else partial(self.count, step=2)
        self.n = 0

    def count(self, step=1):
        self.n += step

    def on_epoch_end(self, net, **kwargs):
        self.call()


class Group(Callback):
    """Hand everything on to others, as a list, a dict or one of them."""

    def __init__(self, parts):
        self.parts = parts

    def _all(self):
        if isinstance(self.parts, dict):
            return self.parts.values()
        return self.parts if isinstance(self.parts, (list, tuple)) else [self.parts]

    def initialize(self):
        for part in self._all():
            part.initialize()
        return self

    def on_train_begin(self, net, **kwargs):
        for part in self._all():
            part.on_train_begin(net, **kwargs)

    def on_epoch_end(self, net, **kwargs):
        for part in self._all():
            part.on_epoch_end(net, **kwargs)


@pytest.mark.parametrize(("kind", "named"), [(Log, False), (Slotted, True)])
def test_a_list_is_shared(data, kind, named):
    log = []
    callback = kind(log)
    given = [("log", callback) if named else callback]
    fitted = ImageClassifier(**SMALL, callbacks=given, max_epochs=2).fit(*data)
    assert log == [1, 2]
    assert fitted.callbacks is given
    running = dict(fitted.callbacks_)["log" if named else kind.__name__]
    assert running is not callback
    assert running.log is log
    fitted.partial_fit(*data)
    assert log == [1, 2, 3, 4]


def test_what_cannot_be_copied_is_shared(data):
    stream = io.StringIO()
    net = ImageClassifier(**SMALL, callbacks=[Writer(stream)], max_epochs=2)
    net.fit(*data)
    assert stream.getvalue() == "1\n2\n"


@pytest.mark.parametrize(("how", "expected"), [("method", 3), ("partial", 6)])
def test_a_method_is_that_of_the_copy(data, how, expected):
    callback = Bound(how)
    net = ImageClassifier(**SMALL, callbacks=[callback], max_epochs=3).fit(*data)
    assert dict(net.callbacks_)["Bound"].n == expected
    assert callback.n == 0


@pytest.mark.parametrize(
    ("hold", "listed", "first"),
    [
        (lambda c: c, False, False),
        (lambda c: [c], True, False),
        (lambda c: (c,), True, True),
        (lambda c: {"a": c}, True, False),
    ],
    ids=["itself", "list", "tuple", "dict"],
)
def test_a_callback_that_another_one_holds(data, hold, listed, first):
    stopper = EarlyStopping(monitor="train_loss", patience=2, threshold=10)
    before = dict(vars(stopper))
    group = Group(hold(stopper))
    callbacks = [group, stopper] if first else [stopper, group]
    if not listed:
        callbacks = [group]
    net = ImageClassifier(**SMALL, callbacks=callbacks, max_epochs=9).fit(*data)
    # Called twice in each epoch where it is in the list, too.
    assert len(net.history) == (2 if listed else 3)
    (running,) = dict(net.callbacks_)["Group"]._all()
    assert running is not stopper
    if listed:
        assert running is dict(net.callbacks_)["EarlyStopping"]
    assert vars(stopper) == before
    assert type(group.parts) is type(hold(stopper))


def test_a_checkpoint_that_is_held_by_its_loader(data, tmp_path):
    checkpoint = Checkpoint(monitor=None, dirname=tmp_path, f_optimizer=None)
    callbacks = [LoadInitState(checkpoint), checkpoint]
    net = ImageClassifier(**SMALL | {"module__hidden": (8,)}, callbacks=callbacks)
    first = net.set_params(max_epochs=2, normalize=None).fit(*data)
    again = net.set_params(lr=0.0, max_epochs=1)
    expected = weights(first)
    for name, value in weights(again.fit(*data)).items():
        assert_array_equal(value, expected[name])


def test_a_callback_in_the_place_of_a_default_one(data):
    lines = []
    printer = PrintLog(sink=lines.append)
    before = dict(vars(printer))
    net = ImageClassifier(**SMALL, max_epochs=2, verbose=1)
    net.set_params(callbacks__print_log=printer).fit(*data)
    assert len(lines) == 4
    assert vars(printer) == before
    assert net.get_params()["callbacks__print_log"] is printer
    assert dict(net.callbacks_)["print_log"] is not printer


def test_other_classes_than_skorchs(data):
    class Own:
        """Has all methods, but is no subclass."""

        def __init__(self):
            self.heard = heard

        def set_params(self, **params):
            assert not params

        def initialize(self):
            heard.append("initialize")

        def on_epoch_end(self, net, **kwargs):
            heard.append("on_epoch_end")

        def _nothing(self, net, **kwargs):
            pass

        on_train_begin = on_train_end = on_epoch_begin = on_grad_computed = _nothing
        on_batch_begin = on_batch_end = _nothing

    heard = []
    for callback in (Own(), Own, ("own", Own())):
        heard.clear()
        net = ImageClassifier(**SMALL, callbacks=[callback], max_epochs=1)
        net.fit(*data)
        assert heard == ["initialize", "on_epoch_end"]
    for wrong in (object(), len, ImageClassifier(), lambda net: None):
        with pytest.raises(TypeError, match=r"callbacks should hold.*methods"):
            ImageClassifier(**SMALL, callbacks=[wrong]).fit(*data)


def test_an_estimator_that_a_callback_holds_is_no_callback(data):
    class Teacher(Callback):
        def __init__(self, net):
            self.net = net

    teacher = ImageClassifier(**SMALL, max_epochs=1).fit(*data)
    net = ImageClassifier(**SMALL, callbacks=[Teacher(teacher)], max_epochs=1)
    assert dict(net.fit(*data).callbacks_)["Teacher"].net is teacher


def test_members_of_a_stack_have_callbacks_of_their_own(data):
    X, y = data
    stopper = EarlyStopping(monitor="train_loss", patience=2, threshold=10)
    scorer = EpochScoring("accuracy", on_train=True, lower_is_better=False)
    before = [dict(vars(callback)) for callback in (stopper, scorer)]
    net = ImageClassifier(**SMALL, callbacks=[stopper, scorer], max_epochs=4)
    search = StackedGridSearchCV(net, {"lr": [1e-3, 1e-2]}, cv=2, calibrate=False)
    search.fit(X, y)
    assert len(search.best_estimator_.history) == 3
    assert [vars(callback) for callback in (stopper, scorer)] == before
    assert np.isfinite(search.best_score_)
