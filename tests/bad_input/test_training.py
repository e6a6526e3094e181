"""Batches, and callbacks that record."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from skvision.datasets import as_Xy
from skvision.training import BatchLoader, ImageDataset


def rows(b):
    data = TensorDataset(torch.from_numpy(b.X[:, None]), torch.from_numpy(b.y))
    X, y = as_Xy(data)
    return ImageDataset(X, torch.from_numpy(y))


CASES = [
    {
        (TypeError, ValueError): {
            f"BatchLoader: batch_size={size!r}": (
                lambda b, s=size: list(BatchLoader(rows(b), batch_size=s)),
                "batch_size",
                str(size),
            )
            for size in [0, -5, 1.5, "all"]
        },
        TypeError: {
            "BatchLoader: a number as data set": (
                lambda b: BatchLoader(5),
                r"int ... len\(\)|dataset",
            ),
            "BatchLoader: misspelt keyword": (
                lambda b: BatchLoader(rows(b), batchsize=3),
                "unexpected keyword argument 'batchsize'",
            ),
        },
        ValueError: {
            "BatchLoader: negative number of workers": (
                lambda b: BatchLoader(rows(b), num_workers=-1),
                "num_workers ... non-negative",
            ),
            "ImageDataset: a label too few": (
                lambda b: list(
                    BatchLoader(ImageDataset(rows(b).images, torch.from_numpy(b.y[1:])))
                ),
                "inconsistent|length|rows ... 59 ... 60",
            ),
        },
        IndexError: {
            "ImageDataset: row that is not there": (
                lambda b: rows(b)[60],
                "index 60 ... size 60",
            ),
            "ImageDataset: rows of a subset that are not there": (
                lambda b: rows(b).subset(np.array([0, 99])),
                "index 99 ... size 60",
            ),
        },
        (TypeError, ValueError, NameError): {
            "GradientRecorder: misspelt parameter": (
                lambda b: b.refit("classifier", callbacks__GradientRecorder__n_step=3),
                "callback ... GradientRecorder",
            ),
        },
    }
]


def test_bad_input(case, refuse):
    refuse(case)
