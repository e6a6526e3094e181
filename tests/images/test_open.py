"""One door for all that may be X: images, labels, and what is known of them."""

import importlib
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from skorch.dataset import Dataset
from skvision_tests import SMALL, Items
from torch.utils.data import Subset

from skvision import ImageClassifier
from skvision._identity._libraries import known_name
from skvision.datasets import ImageSequence, as_Xy
from skvision.images import ImageSchema, open_images
from skvision.images import _readers as readers

UINT8 = np.dtype(np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 7), dtype=np.uint8)
COLOURS = np.random.default_rng(1).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = list("ababab")


class Named(Items):
    """Images whose classes have names."""

    classes = ("cat", "dog")


def pairs(images):
    return list(zip(images, LABELS, strict=True))


@pytest.mark.parametrize(
    ("X", "labels", "layout", "shape"),
    [
        (PIXELS, None, "grey", (1, 5, 7)),
        (COLOURS, None, "last", (3, 5, 7)),
        (np.moveaxis(COLOURS, 3, 1), None, "first", (3, 5, 7)),
        (torch.from_numpy(PIXELS), None, "grey", (1, 5, 7)),
        ([Image.fromarray(image) for image in COLOURS], None, "last", (3, 5, 7)),
        (pairs(PIXELS), LABELS, "grey", (1, 5, 7)),
        (
            pairs([Image.fromarray(image) for image in PIXELS]),
            LABELS,
            "grey",
            (1, 5, 7),
        ),
        (Items(pairs(PIXELS)), LABELS, "first", (1, 5, 7)),
        (Subset(Items(pairs(PIXELS)), [3, 2]), LABELS[3:1:-1], "first", (1, 5, 7)),
        (Dataset(PIXELS, np.array(LABELS)), LABELS, "grey", (1, 5, 7)),
        (PIXELS.reshape(6, 35), None, "flat", (1, 1, 35)),
    ],
)
def test_images_labels_and_schema(X, labels, layout, shape):
    images, found, schema = open_images(X)
    assert schema == ImageSchema(shape, layout, UINT8, flat=layout == "flat")
    assert images.image_shape == shape
    assert (found if found is None else found.tolist()) == labels
    assert open_images(X, labelled=False).labels is None
    # What was opened may be opened again.
    again = open_images(images, list(range(len(images))))
    assert_array_equal(again.images, images)
    assert again.labels == list(range(len(images)))


def test_names_belong_to_labels():
    data = Named([(image, i % 2) for i, image in enumerate(PIXELS)])
    assert open_images(data).schema.names == {0: "cat", 1: "dog"}
    data.targets = [0, 1] * 3
    assert open_images(data, [0, 1] * 3).schema.names == {0: "cat", 1: "dog"}
    assert open_images(data, [1, 0] * 3).schema.names is None
    assert open_images(as_Xy(data)[0], [0, 1] * 3).schema.names is not None


def test_what_is_like_the_images_of_fit():
    fitted = open_images(COLOURS).schema
    opened = open_images(np.moveaxis(COLOURS, 3, 1), fitted=fitted)
    assert opened.schema == ImageSchema((3, 5, 7), "first", UINT8)
    rows = open_images(COLOURS.reshape(6, -1), fitted=fitted)
    assert_array_equal(rows.images, opened.images)
    for X, message in [
        (PIXELS, r"\(1, 5, 7\), but .* was fitted on \(3, 5, 7\)"),
        (COLOURS[0], r"a single image.*X\[None\]"),
        (PIXELS.reshape(6, 35), "105 values, but .* 35 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_images(X, fitted=fitted)
    with pytest.raises(ValueError, match=r"image_shape=\(7, 5, 1\), but"):
        open_images(PIXELS, image_shape=(7, 5, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3, 8), "first", UINT8), r"shape=\(3, 8\) .*three positive ints"),
        (((3, 8, 0), "first", UINT8), "shape="),
        (((3, 8, 8.5), "first", UINT8), "shape="),
        (((3, 8, 8), "middle", UINT8), "layout='middle' .*'grey'"),
        (((3, 8, 8), "flat", UINT8, True), r"\(1, 1, n_features\)"),
    ],
)
def test_schemas_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageSchema(*arguments)


def test_files_are_decoded_once_before_training(tmp_path, monkeypatch):
    paths, read = [], []
    for i, image in enumerate(PIXELS):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(image).save(paths[-1])
    decode = readers.read_image

    def counting(path, *arguments, **options):
        read.append(path)
        return decode(path, *arguments, **options)

    monkeypatch.setattr(readers, "read_image", counting)
    ImageClassifier(**SMALL).fit(paths, LABELS)
    assert sorted(read) == sorted(paths)


def test_former_places_resolve():
    X, _ = as_Xy(PIXELS, LABELS)
    content = pickle.dumps(X, protocol=2).replace(
        b"cskvision.images._sequence\n", b"cskvision.datasets._sequence\n"
    )
    assert b"skvision.datasets._sequence" in content
    assert_array_equal(pickle.loads(content), X)
    for name in ("_layout", "_names", "_readers", "_steps", "_transforms", "_vision"):
        old = importlib.import_module(f"skvision.datasets.{name}")
        assert old is importlib.import_module(f"skvision.images.{name}")


def test_checkpoints_know_images_by_their_first_name():
    # Else none of those that were written before the move would be found.
    assert known_name(ImageSequence) == "skvision.datasets._sequence.ImageSequence"
