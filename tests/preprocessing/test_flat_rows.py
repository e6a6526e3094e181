"""Rows of features instead of images."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from torch.utils.data import TensorDataset

from skvision import ImageClassifier
from skvision.datasets import as_Xy


@pytest.fixture
def greys(digits):
    return digits.data[:80]


def flat_kinds(rows):
    names = [f"pixel {i}" for i in range(rows.shape[1])]
    return {
        "array": rows,
        "Fortran": np.asfortranarray(rows),
        "list": rows.tolist(),
        "list of arrays": list(rows),
        "tensor": torch.tensor(rows),
        "list of tensors": list(torch.tensor(rows)),
        "frame": pd.DataFrame(rows, columns=names),
        "data set": TensorDataset(torch.tensor(rows), torch.zeros(len(rows))),
        "ImageSequence": as_Xy(
            TensorDataset(torch.tensor(rows), torch.zeros(len(rows)))
        )[0],
        "pairs": [(torch.tensor(row), 0) for row in rows],
    }


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("image_shape", [None, (1, 8, 8)])
@pytest.mark.parametrize("kind", flat_kinds(np.zeros((1, 1))))
def test_estimators_with_flat_rows(greys, digits, kind, image_shape):
    rows = greys.reshape(80, 64).astype(np.float32) / 255
    X = flat_kinds(rows)[kind]
    net = ImageClassifier(
        "mlp",
        module__hidden=(8,),
        max_epochs=1,
        image_shape=image_shape,
        random_state=0,
    )
    expected = net.fit(rows, digits.target[:80]).predict_proba(rows)
    # Matrix products round differently where the memory is laid out differently.
    rtol = 1e-5 if kind == "Fortran" else 0
    assert_allclose(net.predict_proba(X), expected, rtol=rtol)
    net.fit(X, digits.target[:80])
    assert net.image_shape_ == (image_shape or (1, 1, 64))
    assert_allclose(net.predict_proba(X), expected, rtol=rtol)
    if kind == "frame":
        assert list(net.feature_names_in_) == list(X.columns)
