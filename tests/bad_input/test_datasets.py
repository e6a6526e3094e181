"""Fetchers, loaders and data sets."""

import struct

import numpy as np
import pandas as pd
import torch
from skorch.helper import SliceDataset
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.datasets import ImageFolder

from skvision import datasets
from skvision.datasets import (
    as_Xy,
    fetch_cifar10,
    fetch_emnist,
    fetch_fashion_mnist,
    fetch_mnist,
    get_data_home,
    load_digits_images,
    load_image_folder,
    load_images,
)


class Items(Dataset):
    """A data set of a few items, whatever they are."""

    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1, 8, 8), 0


def tensors(b):
    return TensorDataset(torch.from_numpy(b.X[:, None]), torch.from_numpy(b.y))


def sequence(b):
    return as_Xy(tensors(b))[0]


def idx(array):
    """Return an array in the format of MNIST's files."""
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist(b, name="MNIST", cut=0):
    """Write tiny files of MNIST, those of training images cut short."""
    folder = b.path / name / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = idx(np.zeros((10, 28, 28)))
        if part == "train":
            images = images[: len(images) - cut]
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(10)))
    return b.path


def folder(b, *others):
    """Make a folder with two classes of good images, beside other files."""
    for name in ("cat", "dog"):
        for i in range(3):
            b.save(f"{i}.png", folder=name)
    return b.path


FETCHERS = {
    "fetch_mnist": fetch_mnist,
    "fetch_fashion_mnist": fetch_fashion_mnist,
    "fetch_emnist": fetch_emnist,
    "fetch_cifar10": fetch_cifar10,
}
FOLDERS = {
    "fetch_mnist": "MNIST",
    "fetch_fashion_mnist": "FashionMNIST",
    "fetch_emnist": "EMNIST",
    "fetch_cifar10": "cifar-10-batches-py",
}
#: Parameters of all fetchers and loaders.
CHOICE = [
    ("classes", "cat", "array-like"),
    ("classes", 3, "array-like"),
    ("n_samples", 0, r"\[1, inf\)"),
    ("n_samples", -1, r"\[1, inf\)"),
    ("n_samples", 1.5, r"\(0.0, 1.0\)"),
    ("n_samples", "all", "None"),
    ("random_state", "seed", "RandomState"),
    ("return_X_y", "yes", "bool"),
]
FETCHED = [
    ("data_home", 5, "os.PathLike"),
    ("subset", "validation", "a str among .*'test'"),
    ("download_if_missing", "no", "bool"),
]
PARAMETERS = {
    ValueError: {
        f"{name}: {parameter}={value!r}": (
            lambda b, f=function, p=parameter, v=value: f(**{p: v}),
            f"'{parameter}' parameter of {name}",
            f"Got {value!r}",
            expected,
        )
        for names, parameters in [
            ([*FETCHERS, "load_digits_images"], CHOICE),
            (FETCHERS, FETCHED),
            (["fetch_emnist"], [("split", "letter", "a str among .*'letters'")]),
        ]
        for name, function in ((name, getattr(datasets, name)) for name in names)
        for parameter, value, expected in parameters
    },
}
MISSING = {
    OSError: {
        f"{name}: files are missing": (
            lambda b, f=fetch: f(data_home=b.path / "böse", download_if_missing=False),
            "`download_if_missing` is False",
            f"böse.{FOLDERS[name]}",
            "lacks",
        )
        for name, fetch in FETCHERS.items()
    },
}
FILES = {
    OSError: {
        "fetch_mnist: truncated file": (
            lambda b: fetch_mnist(data_home=mnist(b, cut=100)),
            "train-images-idx3-ubyte is truncated ... 7756 bytes ... Delete it",
        ),
        "fetch_fashion_mnist: empty file": (
            lambda b: fetch_fashion_mnist(data_home=mnist(b, "FashionMNIST", 7856)),
            "train-images-idx3-ubyte is truncated ... 0 bytes ... Delete it",
        ),
    },
    ValueError: {
        "fetch_mnist: more samples than there are": (
            lambda b: fetch_mnist(data_home=mnist(b), n_samples=11),
            "n_samples=11 was asked for ... only 10 samples",
        ),
        "fetch_mnist: unknown class": (
            lambda b: fetch_mnist(data_home=mnist(b), classes=[3, "twelve"]),
            r"classes=\[3, 'twelve'\] contains 'twelve' ... Available are 0",
        ),
    },
}
DIGITS = {
    ValueError: {
        "load_digits_images: unknown class": (
            lambda b: load_digits_images(classes=[10]),
            r"classes=\[10\] contains 10 ... Available are 0",
        ),
        "load_digits_images: mask as classes": (
            lambda b: load_digits_images(classes=[True, False]),
            "contains True ... neither the label nor the name",
        ),
        "load_digits_images: no class": (
            lambda b: load_digits_images(classes=[]),
            "classes is empty ... at least one",
        ),
        "load_digits_images: more samples than there are": (
            lambda b: load_digits_images(n_samples=1798),
            "n_samples=1798 was asked for ... only 1797",
        ),
    },
    (TypeError, ValueError): {
        "get_data_home: a number": (lambda b: get_data_home(5), "data_home ... 5|int"),
    },
}
#: Parameters of what reads files of one's own.
READ = [
    ("image_size", 0, "Got 0", r"\[1, inf\)"),
    ("image_size", "8", "Got '8'", "tuple"),
    ("image_size", (8,), r"\(8,\)", "positive int, or two"),
    ("image_size", (-8, 8), r"\(-8, 8\)", "positive int, or two"),
    ("image_size", (8.0, 8), r"\(8.0, 8\)", "positive int, or two"),
    ("resize", "stretch", "Got 'stretch'", "'squash'"),
    ("color_mode", "L", "Got 'L'", "'grey'"),
    ("on_error", "ignore", "Got 'ignore'", "'skip'"),
]
IMAGES = {
    ValueError: {
        **{
            f"load_images: {parameter}={value!r}": (
                lambda b, p=parameter, v=value: load_images(
                    [b.save("0.png")], **{p: v}
                ),
                parameter,
                re_value,
                expected,
            )
            for parameter, value, re_value, expected in [
                *READ,
                ("target", 1, "Got 1", "array-like"),
                ("return_X_y", "yes", "Got 'yes'", "bool"),
            ]
        },
        "load_images: no path": (
            lambda b: load_images([]),
            "paths is empty ... at least one",
        ),
        "load_images: no path in an array": (
            lambda b: load_images(np.array([], dtype=str)),
            "paths is empty ... at least one",
        ),
        "load_images: a target too few": (
            lambda b: load_images([b.save("0.png"), b.save("1.png")], [0]),
            "target has 1 entries ... paths has 2 ... one for each path",
        ),
        "load_images: images of two sizes": (
            lambda b: load_images([b.save("0.png"), b.save("1.png", b.X[0, :7])]),
            r"1.png has \(7, 8\) ... 0.png has \(8, 8\) ... Pass image_size=",
        ),
    },
    TypeError: {
        "load_images: a single path": (
            lambda b: load_images(b.save("0.png")),
            "paths should be a list ... 0.png ... a list ... load_image_folder",
        ),
        "load_images: generator": (
            lambda b: load_images(b.path.glob("*.png")),
            r"paths should be a list ... sorted\(paths\)",
        ),
        "load_images: array of numbers": (
            lambda b: load_images(b.X),
            "paths should be a list ... got ndarray without any path",
        ),
        "load_images: table": (
            lambda b: load_images(pd.DataFrame({"file": ["0.png"], "label": [0]})),
            r"table with the columns \['file', 'label'\] ... one with the paths",
        ),
        "load_images: content of a file": (
            lambda b: load_images([b"content"], on_error="skip"),
            "item 0 is b'content'",
        ),
        "load_images: a path is missing": (
            lambda b: load_images([b.save("0.png"), None]),
            "item 1 is None ... on_error='skip'",
        ),
    },
    OSError: {
        "load_images: truncated JPEG": (
            lambda b: load_images([b.truncated_jpeg()]),
            "schöne Katze.jpg cannot be read ... truncated ... Delete or replace",
        ),
        "load_images: nothing left": (
            lambda b: load_images([b.truncated_jpeg()], on_error="skip"),
            "on_error='skip' leaves nothing: none of the 1 images",
        ),
        "load_images: file that is not there": (
            lambda b: load_images([b.path / "fort.png"]),
            "fort.png cannot be read as an image: No such file",
        ),
    },
}
IMAGE_FOLDER = {
    ValueError: {
        **{
            f"load_image_folder: {parameter}={value!r}": (
                lambda b, p=parameter, v=value: load_image_folder(folder(b), **{p: v}),
                parameter,
                re_value,
                expected,
            )
            for parameter, value, re_value, expected in [
                *((p, v, f"Got {v!r}", expected) for p, v, expected in CHOICE),
                *((p, v, got, expected) for p, v, got, expected in READ),
                ("subset", 1, "Got 1", "str"),
                ("mode", "CMYK", "Got 'CMYK'", "'RGB'"),
                ("n_samples", 7, "n_samples=7", "only 6 samples"),
                ("classes", ["cow"], "contains 'cow'", r"Available are 0 \(cat\)"),
            ]
        },
        "load_image_folder: colours that are given twice": (
            lambda b: load_image_folder(folder(b), color_mode="rgb", mode="L"),
            "color_mode='rgb' and mode='L' ... Give color_mode alone",
        ),
        "load_image_folder: classes of a folder that has none": (
            lambda b: load_image_folder(folder(b) / "cat", classes=["cat"]),
            r"classes=\['cat'\] ... no classes ... Leave classes out",
        ),
        "load_image_folder: parts of a data set": (
            lambda b: load_image_folder(
                (b.save("0.png", folder="train/cat"), b.path)[1]
            ),
            "sub-folder.* 'train' ... one deeper ... Pass subset='train'",
        ),
        "load_image_folder: a number as path": (
            lambda b: load_image_folder(5),
            "'path' parameter ... os.PathLike ... Got 5",
        ),
        "load_image_folder: images of two sizes": (
            lambda b: load_image_folder(
                folder(b, b.save("9.png", b.X[0, :7], folder="cat"))
            ),
            r"9.png has \(7, 8\) ... \(8, 8\) ... Pass image_size=",
        ),
    },
    FileNotFoundError: {
        "load_image_folder: folder that is not there": (
            lambda b: load_image_folder(b.path / "fort ß"),
            "path='.*fort ß' ... should be a folder ... sub-folder",
        ),
        "load_image_folder: subset that is not there": (
            lambda b: load_image_folder(folder(b), subset="test"),
            "subset='test' should be a sub-folder ... there are: 'cat', 'dog'",
        ),
        "load_image_folder: class without an image": (
            lambda b: load_image_folder(folder(b, (b.path / "emu").mkdir())),
            "path=' ... classes emu ... on_error='skip'",
        ),
    },
    OSError: {
        "load_image_folder: truncated JPEG": (
            lambda b: load_image_folder(folder(b, b.truncated_jpeg("cat"))),
            "schöne Katze.jpg cannot be read ... truncated ... Delete or replace",
        ),
        "load_image_folder: damaged class, skipped": (
            lambda b: load_image_folder(
                folder(b, b.save("x.png", content=b"", folder="emu")),
                on_error="skip",
            ),
            r"on_error='skip' ... class\(es\) emu ... classes=",
        ),
    },
}
AS_XY = {
    ValueError: {
        "as_Xy: array without labels": (
            lambda b: as_Xy(b.X),
            "Arrays and paths carry no labels ... give them as y",
        ),
        "as_Xy: cache='yes'": (
            lambda b: as_Xy(tensors(b), cache="yes"),
            "'cache' parameter of as_Xy ... 'auto' ... Got 'yes'",
        ),
        "as_Xy: data set without labels": (
            lambda b: as_Xy(TensorDataset(torch.zeros(3, 1, 8, 8))),
            "TensorDataset data set carry no labels ... give them as y",
        ),
        "as_Xy: a label too few": (
            lambda b: as_Xy(b.X, b.y[1:]),
            r"inconsistent numbers of samples ... \[60, 59\]",
        ),
        "as_Xy: array with five axes": (
            lambda b: as_Xy(np.zeros((60, 1, 1, 8, 8)), b.y),
            r"Expected X of shape ... got shape \(60, 1, 1, 8, 8\)",
        ),
        "as_Xy: channels='middle'": (
            lambda b: as_Xy(b.X, b.y, channels="middle"),
            "'channels' parameter of as_Xy ... a str among ... Got 'middle'",
        ),
        "as_Xy: channels that cannot be told": (
            lambda b: as_Xy(np.zeros((60, 5, 8, 8)), b.y),
            "Cannot tell the channels ... Set channels=",
        ),
        "as_Xy: empty data set": (
            lambda b: as_Xy(Items()),
            r"0 sample\(s\) ... Items data set is empty",
        ),
        "as_Xy: labels of a SliceDataset": (
            lambda b: as_Xy(SliceDataset(tensors(b), idx=1)),
            "SliceDataset with idx=1 ... expects one with idx=0",
        ),
        "as_Xy: items with four axes": (
            lambda b: as_Xy(Items((np.zeros((1, 3, 8, 8)), 0))),
            "Expected an image with 2 or 3 axes in item 0",
            r"got shape \(1, 3, 8, 8\)",
        ),
        "as_Xy: rows of features of two sizes": (
            lambda b: as_Xy(Items((np.zeros(8), 0), (np.zeros(9), 1))),
            r"Item 1 .* has shape \(9,\) ... first one \(8,\) ... as many features",
        ),
        "as_Xy: items of two sizes": (
            lambda b: as_Xy(Items((b.X[0], 0), (b.X[1, :7], 1)))[0][[0, 1]].read(
                [0, 1]
            ),
            r"Item 1 .* has shape \(1, 7, 8\) ... first one \(1, 8, 8\) ... image_size",
        ),
        "as_Xy: NaN in an item": (
            lambda b: np.asarray(
                as_Xy(Items((b.X[0] / 1.0, 0), (b.X[1] * np.nan, 1)))[0]
            ),
            "X contains NaN or infinity ... item 1 of the Items data set",
        ),
    },
    TypeError: {
        "as_Xy: None": (
            lambda b: as_Xy(None),
            "X must be an array, a data set ... got NoneType",
        ),
        "as_Xy: class of a data set": (
            lambda b: as_Xy(TensorDataset),
            "X must be an array, a data set ... got type",
        ),
        "as_Xy: array of strings": (
            lambda b: as_Xy(b.X.astype(str), b.y),
            "Expected numbers ... <U3",
        ),
        "as_Xy: data set without a length": (
            lambda b: as_Xy(Stream()),
            "Stream ... length|IterableDataset|map-style",
        ),
        "as_Xy: items that are no images": (
            lambda b: as_Xy(Items(("cat", 0), ("dog", 1))),
            "Expected an image ... item 0 of the Items data set ... got str",
        ),
    },
    OSError: {
        "as_Xy: file that is not there": (
            lambda b: as_Xy([str(b.path / "fort.png")], [0]),
            "fort.png cannot be read as an image ... No such file",
        ),
        "as_Xy: truncated JPEG in an ImageFolder": (
            lambda b: np.asarray(
                as_Xy(ImageFolder(folder(b, b.truncated_jpeg("ape"))), cache=False)[0]
            ),
            "schöne Katze.jpg|item 0 ... truncated",
        ),
    },
}
SEQUENCES = {
    IndexError: {
        "ImageSequence: row that is not there": (
            lambda b: sequence(b)[60],
            "index 60 ... size 60",
        ),
        "ImageSequence: name as row": (
            lambda b: sequence(b)["cat"],
            "only integers, slices ... valid indices",
        ),
        "ImageSequence: index of pixels": (
            lambda b: sequence(b)[:, 0],
            r"Only rows can be selected ... got X\[ ... np.asarray",
        ),
        "ImageSequence: index of two axes": (
            lambda b: sequence(b)[[[0, 1]]],
            "one axis of rows ... 2 dimensions",
        ),
        "ImageSequence: mask of another length": (
            lambda b: sequence(b)[np.ones(3, dtype=bool)],
            "boolean ... 60 ... 3",
        ),
    },
    ValueError: {
        "ImageSequence: array without a copy": (
            lambda b: np.array(sequence(b), copy=False),
            "ImageSequence cannot become an array without a copy",
        ),
    },
}
CASES = [
    PARAMETERS,
    MISSING,
    FILES,
    DIGITS,
    IMAGES,
    IMAGE_FOLDER,
    AS_XY,
    SEQUENCES,
]


def test_bad_input(case, refuse):
    refuse(case)
