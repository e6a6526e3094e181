"""What encodes and decodes targets, without any estimator."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skvision.training._targets import LabelCodec, NoTarget, NumberCodec

LABELS = {
    "text": np.array(["red", "amber", "red", "green"]),
    "numbers": np.array([7, 3, 7, 5]),
    "codes": np.array([2, 0, 2, 1]),
    "booleans": np.array([True, False, True, False]),
}
NUMBERS = {
    "a row": np.array([1.5, 2.0, 3.0]),
    "a column": np.array([[1.5], [2.0], [3.0]]),
    "two columns": np.arange(6.0, dtype=np.float32).reshape(3, 2),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_labels_come_back(y):
    codec = LabelCodec.learnt(LabelCodec.check(y), None, None, "Net")
    codes = codec.encode(y)
    assert_array_equal(np.asarray(codec.shown(codes)), y)
    assert_array_equal(codec.strata(codes), codes.numpy())
    assert_array_equal(codec.decode(np.eye(len(codec.classes))[codes]), y)
    assert_array_equal(LabelCodec.of(codec.facts()).classes, np.unique(y))
    codec.check_same(y, np.unique(y)[::-1])


@pytest.mark.parametrize("y", NUMBERS.values(), ids=NUMBERS)
def test_numbers_come_back(y):
    codec = NumberCodec.learnt(NumberCodec.check(y), None, None, "Net")
    columns = codec.encode(y)
    assert columns.shape == (3, codec.n_outputs)
    assert codec.strata(columns) is None
    for back in (codec.shown(columns).numpy(), codec.decode(columns.numpy())):
        assert_array_equal(back, y)
        assert back.dtype == y.dtype
    assert NumberCodec.of(codec.facts()).facts() == codec.facts()
    with pytest.raises(ValueError, match="the first fit had"):
        codec.check_same(np.zeros((3, 9)), None)


def test_what_is_assumed_of_weights_alone():
    assert_array_equal(LabelCodec.assumed(3).classes, [0, 1, 2])
    assert LabelCodec.assumed(1) is None
    assert NumberCodec.assumed(1).shape == ()
    assert NumberCodec.assumed(4).shape == (4,)
    assert LabelCodec.of({}) is NumberCodec.of({}) is NoTarget.assumed(3) is None
    assert NoTarget.of({}).encode(None) is None
