"""Batches, and callbacks that record."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from skvision.datasets import as_Xy
from skvision.training import BatchLoader, ImageDataset


def rows(b):
    data = TensorDataset(torch.from_numpy(b.X[:, None]), torch.from_numpy(b.y))
    X, y = as_Xy(data)
    return ImageDataset(X, torch.from_numpy(y))


CASES = [
    *(
        (
            f"BatchLoader: batch_size={size!r}",
            lambda b, s=size: list(BatchLoader(rows(b), batch_size=s)),
            (TypeError, ValueError),
            ("batch_size", str(size)),
        )
        for size in [0, -5, 1.5, "all"]
    ),
    (
        "BatchLoader: a number as data set",
        lambda b: BatchLoader(5),
        TypeError,
        ("int", r"len\(\)|dataset"),
    ),
    (
        "BatchLoader: negative number of workers",
        lambda b: BatchLoader(rows(b), num_workers=-1),
        ValueError,
        ("num_workers", "non-negative"),
    ),
    (
        "BatchLoader: misspelt keyword",
        lambda b: BatchLoader(rows(b), batchsize=3),
        TypeError,
        ("unexpected keyword argument 'batchsize'",),
    ),
    (
        "ImageDataset: a label too few",
        lambda b: list(
            BatchLoader(ImageDataset(rows(b).images, torch.from_numpy(b.y[1:])))
        ),
        ValueError,
        ("inconsistent|length|rows", "59", "60"),
    ),
    (
        "ImageDataset: row that is not there",
        lambda b: rows(b)[60],
        IndexError,
        ("index 60", "size 60"),
    ),
    (
        "ImageDataset: rows of a subset that are not there",
        lambda b: rows(b).subset(np.array([0, 99])),
        IndexError,
        ("index 99", "size 60"),
    ),
    pytest.param(
        "GradientRecorder: misspelt parameter",
        lambda b: b.refit("classifier", callbacks__GradientRecorder__n_step=3),
        (TypeError, ValueError, NameError),
        ("callback", "GradientRecorder"),
    ),
]


def test_bad_input(case, refuse):
    refuse(case)
