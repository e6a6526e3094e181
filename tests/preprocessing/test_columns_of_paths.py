"""Columns of tables that hold the paths of images."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import cross_val_score
from skvision_tests import SMALL, as_images

from skvision import ImageAutoencoder, ImageClassifier
from skvision.datasets import as_Xy
from skvision.images._sources import Rows, source_of
from skvision.inspection import class_table
from skvision.inspection._images import take_rows
from skvision.model_selection import StackedGridSearchCV


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of twenty images, and their pixels."""
    folder = tmp_path_factory.mktemp("files")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    paths = [str(folder / f"{i}.png") for i in range(20)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths, pixels


def frame(paths):
    return pd.DataFrame({"path": paths}, index=range(100, 100 + len(paths)))


def arrow(paths, chunked):
    pa = pytest.importorskip("pyarrow")
    return pa.chunked_array([paths[:3], paths[3:]]) if chunked else pa.array(paths)


COLUMNS = {
    "list": list,
    "tuple": tuple,
    "pathlib": lambda paths: [Path(path) for path in paths],
    "NumPy": np.array,
    "objects": lambda paths: np.array(paths, dtype=object),
    "pathlib objects": lambda paths: np.array([Path(p) for p in paths], dtype=object),
    "StringDType": lambda paths: np.array(paths, dtype=np.dtypes.StringDType()),
    "column of an array": lambda paths: np.array(paths, dtype=object)[:, None],
    "Series": lambda paths: frame(paths)["path"],
    "Series of objects": lambda paths: frame(paths)["path"].astype(object),
    "Series of pathlib": lambda paths: frame(paths)["path"].map(Path),
    "Series of strings": lambda paths: frame(paths)["path"].astype("string"),
    "categories": lambda paths: frame(paths)["path"].astype("category"),
    "frame": frame,
    "values": lambda paths: frame(paths).path.values,
    "frame's values": lambda paths: frame(paths).to_numpy(),
    "string array": lambda paths: pd.array(paths, dtype="string"),
    "Index": pd.Index,
    "polars": pl.Series,
    "polars frame": lambda paths: pl.DataFrame({"path": paths}),
    "arrow": lambda paths: arrow(paths, chunked=False),
    "chunks of arrow": lambda paths: arrow(paths, chunked=True),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns(files, kind):
    paths, pixels = files
    X = COLUMNS[kind](paths)
    assert_array_equal(as_images(X), pixels[:, None])
    assert_array_equal(as_Xy(X, range(20))[0], pixels[:, None])
    assert_array_equal(as_images(take_rows(X, np.array([7, 3]))), pixels[[7, 3], None])


@pytest.mark.parametrize("kind", [ImageClassifier, ImageAutoencoder])
def test_beside_numeric_columns(files, kind):
    table = pd.DataFrame({"path": files[0], "age": np.arange(20.0)})
    net = kind(max_epochs=1, random_state=0, module__hidden=(8, 4))
    net.set_params(module="mlp" if kind is ImageClassifier else "dense_autoencoder")
    columns = ColumnTransformer(
        [("image", net, "path"), ("age", "passthrough", ["age"])]
    )
    found = columns.set_output(transform="pandas").fit_transform(table, [0, 1] * 10)
    prefix = f"image__{kind.__name__.lower()}"
    assert [*found] == [*(f"{prefix}{i}" for i in range(4)), "age__age"]
    fitted = columns.named_transformers_["image"]
    assert [*fitted.get_feature_names_out(["path"])] == [
        *fitted.get_feature_names_out()
    ]
    with pytest.raises(ValueError, match="input_features should have length"):
        fitted.get_feature_names_out(["path", "age"])


@pytest.mark.parametrize("kind", ["Series", "frame", "values", "polars", "arrow"])
def test_estimators(files, kind):
    paths, _ = files
    X, y = COLUMNS[kind](paths), np.tile(["a", "b"], 10)
    net = ImageClassifier(**SMALL)
    expected = net.fit(paths, y).predict_proba(paths)
    assert_array_equal(net.fit(X, y).predict_proba(X), expected)
    assert not hasattr(net, "feature_names_in_")
    assert net.score(X, y) == net.score(paths, y)
    assert str(class_table(net, X, y)) == str(class_table(net, paths, y))
    if kind != "arrow":
        assert_array_equal(
            cross_val_score(net, X, y, cv=2), cross_val_score(net, paths, y, cv=2)
        )


@pytest.mark.parametrize("kind", ["Series", "frame"])
def test_stacked_searches(files, kind):
    paths, _ = files
    y = np.tile(["a", "b"], 10)
    options = {"cv": 2, "refit": False, "scoring": "neg_log_loss"}
    scores = [
        StackedGridSearchCV(ImageClassifier(**SMALL), {"lr": [0.1, 0.01]}, **options)
        .fit(X, y)
        .cv_results_["mean_test_score"]
        for X in (COLUMNS[kind](paths), paths)
    ]
    np.testing.assert_allclose(*scores, atol=1e-6)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, 3], ids=str)
@pytest.mark.parametrize("place", [0, 5])
def test_what_is_no_path(files, missing, place):
    paths = list(files[0])
    paths[place] = missing
    for X in (pd.Series(paths, dtype=object), np.array(paths, dtype=object)):
        with pytest.raises(TypeError, match=rf"paths of image files.* item {place} is"):
            as_images(X)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_tables_with_more_than_paths(files, make):
    X = make({"number": range(20), "path": files[0]})
    for call in (
        lambda: ImageClassifier().fit(X, range(20)),
        lambda: as_Xy(X, range(20)),
    ):
        with pytest.raises(ValueError, match=r"strings in .*\['path'\].* X\['path'\]"):
            call()


def test_columns_of_numbers_are_features():
    for X in (pd.DataFrame({"a": [1.0, 2.0]}), np.ones((2, 1)), pd.Series([1.0, 2.0])):
        assert isinstance(source_of(X), Rows)


def test_files_that_are_missing(files, tmp_path):
    paths = pd.Series([*files[0][:2], str(tmp_path / "nowhere.png")])
    net = ImageClassifier(**SMALL)
    for call in (lambda: net.fit(paths, [0, 1, 0]), lambda: as_images(paths[2:])):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.png") as error:
            call()
        assert "Delete" not in str(error.value)
