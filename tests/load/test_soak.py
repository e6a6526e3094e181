"""Random valid configurations: each fits, predicts, is pickled and cloned."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from sklearn.base import clone


@pytest.fixture
def soak(module):
    return module("soak")


def try_out(soak, n, *, large, derandomize):
    """Try configurations out; return them."""
    configurations = soak.configurations(large=large)
    tried = []

    # Configurations are not shrunk: each takes a fit or two.
    @settings(
        max_examples=n,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(configurations)
    def one(configuration):
        with tempfile.TemporaryDirectory() as folder:
            soak.try_out(configuration, Path(folder))
        tried.append(configuration)

    one()
    return tried


def test_some_configurations(soak):
    assert len(try_out(soak, 10, large=False, derandomize=True)) >= 10


@pytest.mark.slow
def test_many_configurations(soak):
    tried = try_out(soak, 200, large=True, derandomize=False)
    assert len(tried) >= 200
    assert {one.kind for one in tried} == {"classifier", "regressor", "autoencoder"}
    assert len({one.data.layout for one in tried}) > 10
    assert len({str(one.params["module"]) for one in tried}) > 5


def test_failures_are_counted(soak, monkeypatch):
    def fail(configuration, folder):
        if configuration.kind == "regressor":
            raise ValueError("on purpose")

    monkeypatch.setattr(soak, "try_out", fail)
    readings, failures = soak.soak(30, 10, 0)
    assert [reading["fits"] for reading in readings] == [10, 20, 30]
    assert readings[-1]["failures"] == len(failures) > 0
    assert all("kind='regressor'" in f["configuration"] for f in failures)
    assert failures[0]["error"] == "ValueError: on purpose"
    assert "in fail" in failures[0]["where"]


def test_differences_are_found(soak):
    same = {"predict": np.array([1.0, 2.0])}
    soak.check_same(same, same, "")
    for other in ([1.0, 2.0 + 1e-15], [1, 2], [1.0]):
        with pytest.raises(AssertionError):
            soak.check_same({"predict": np.array(other)}, same, "")
    with pytest.raises(AssertionError):
        soak.check_same({}, same, "")
    net = soak.classifier(lr=0.01)
    soak.check_clone(clone(net), net)
    with pytest.raises(AssertionError):
        soak.check_clone(soak.classifier(optimizer__lr=0.01), net)
