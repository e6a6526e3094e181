"""Images of a list or a column of paths."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageFile
from skvision_tests import as_images

from skvision.datasets import load_image_folder, load_images
from skvision.images._layout import Form
from skvision.preprocessing import InputSpec


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def paths(tmp_path, pixels):
    """Paths of four images in an order that is not the alphabet's."""
    paths = [tmp_path / f"{name} ß.png" for name in "dbca"]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


def texts(paths):
    return [str(path) for path in paths]


KINDS = {
    "list of paths": list,
    "list of str": texts,
    "tuple": tuple,
    "array": lambda paths: np.array(texts(paths)),
    "StringDType": lambda paths: np.array(texts(paths), np.dtypes.StringDType()),
    "objects": lambda paths: np.array(paths, dtype=object),
    "pandas column": lambda paths: pd.Series(texts(paths), index=[7, 5, 3, 1]),
    "pandas frame": lambda paths: pd.DataFrame({"file": texts(paths)}),
    "categories": lambda paths: pd.Series(texts(paths), dtype="category"),
    "polars column": lambda paths: pl.Series(texts(paths)),
    "arrow": lambda paths: pytest.importorskip("pyarrow").array(texts(paths)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_content(paths, pixels, kind):
    bunch = load_images(KINDS[kind](paths))
    assert set(bunch) == {
        *("data", "target", "filenames", "skipped", "skipped_reasons", "DESCR")
    }
    assert bunch.data.dtype == np.uint8
    assert_array_equal(bunch.data, pixels)
    assert bunch.target is None
    assert bunch.filenames.tolist() == texts(paths)
    assert bunch.skipped.tolist() == bunch.skipped_reasons.tolist() == []
    assert bunch.DESCR == "4 images of a list of paths."


def test_paths_of_a_folder(paths, pixels):
    folder, absolute = paths[0].parent, str(paths[1])
    names = [paths[0].name, absolute, f"./{paths[2].name}"]
    bunch = load_images(names, folder=folder)
    assert_array_equal(bunch.data, pixels[:3])
    assert bunch.filenames.tolist() == texts(paths[:3])
    with pytest.raises(NotADirectoryError, match="folder='nowhere' is no folder"):
        load_images(names, folder="nowhere", on_error="skip")


def test_a_way_to_resize_to_no_size(paths):
    with pytest.warns(UserWarning, match="resize='pad' has no effect.*Set image_size="):
        load_images(paths, resize="pad")


TARGETS = {
    "list": ["d", "b", "c", "a"],
    "array": np.array([4.5, 2.5, 3.5, 1.5]),
    "two columns": np.arange(8).reshape(4, 2),
    "pandas": pd.Series(["d", "b", "c", "a"], index=[7, 5, 3, 1]),
    "polars": pl.Series([4, 2, 3, 1]),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_lose_the_same_rows_as_images(paths, pixels, kind):
    target = TARGETS[kind]
    assert load_images(paths, target).target is target
    paths[1].write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"1 of 4 images of paths cannot") as caught:
        X, y = load_images(paths, target, on_error="skip", return_X_y=True)
    assert caught[0].filename == __file__
    assert_array_equal(X, pixels[[0, 2, 3]])
    assert type(y) is type(target)
    assert_array_equal(y, np.asarray(target)[[0, 2, 3]])


def test_what_is_skipped(paths, pixels):
    paths[0].write_bytes(b"broken")
    paths[2].unlink()
    column = pd.Series([*texts(paths), None, np.nan, pd.NA], dtype=object)
    with pytest.warns(UserWarning, match=r"5 of 7 images .* and 2 more\. The first"):
        bunch = load_images(column, range(7), on_error="skip")
    assert_array_equal(bunch.data, pixels[[1, 3]])
    assert [*bunch.target] == [1, 3]
    assert bunch.filenames.tolist() == [str(paths[1]), str(paths[3])]
    assert bunch.skipped.tolist() == [str(paths[0]), str(paths[2]), *["None"] * 3]
    reasons = ["cannot identify", "No such file", *(f"Item {i} " for i in (4, 5, 6))]
    for reason, found in zip(reasons, bunch.skipped_reasons, strict=True):
        assert reason in found


def test_a_list_is_not_changed(paths):
    given = [*paths, None]
    with pytest.warns(UserWarning, match="1 of 5"):
        load_images(given, on_error="skip")
    assert given == [*paths, None]


@pytest.mark.parametrize("color_mode", ["auto", "grey", "rgb"])
def test_colours(tmp_path, pixels, color_mode):
    Image.fromarray(pixels[0]).save(tmp_path / "0.png")
    grey = Image.fromarray(pixels[0]).convert("L")
    grey.save(tmp_path / "1.png")
    mixed = load_images(sorted(tmp_path.glob("*.png")), color_mode=color_mode).data
    only = load_images([tmp_path / "1.png"], color_mode=color_mode).data
    if color_mode == "grey":
        assert_array_equal(mixed, [np.asarray(grey)] * 2)
    else:
        assert_array_equal(mixed, [pixels[0], np.stack([np.asarray(grey)] * 3, -1)])
    assert only.shape == ((1, 6, 8, 3) if color_mode == "rgb" else (1, 6, 8))


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("color_mode", ["grey", "rgb"])
def test_images_are_those_of_estimators_and_of_folders(tmp_path, resize, color_mode):
    rng = np.random.default_rng(0)
    shapes = [(40, 60, 3), (500, 700, 3), (9, 5), (900, 300, 3)]
    paths = [tmp_path / "a" / f"{i}.jpg" for i in range(len(shapes))]
    paths[0].parent.mkdir()
    for path, shape in zip(paths, shapes, strict=True):
        small = rng.integers(0, 256, (4, 4, *shape[2:]), dtype=np.uint8)
        Image.fromarray(small).resize(shape[1::-1]).save(path)
    options = {"image_size": (16, 12), "resize": resize, "color_mode": color_mode}
    data = load_images(paths, **options).data
    assert data.shape == (4, 16, 12, 3) if color_mode == "rgb" else (4, 16, 12)
    assert_array_equal(load_image_folder(tmp_path, **options).data, data)
    form = Form(spec=InputSpec(size=(16, 12), resize=resize), color_mode=color_mode)
    expected = np.asarray(as_images(paths, form=form))
    found = data if color_mode == "rgb" else data[..., None]
    assert_array_equal(np.moveaxis(found, 3, 1), expected)


def test_image_size_of_one_number(paths):
    assert load_images(paths, image_size=5).data.shape == (4, 5, 5, 3)


def test_only_a_part_of_large_jpegs_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "0.jpg"
    Image.new("RGB", (1600, 800), "red").save(path)
    sizes, load = [], ImageFile.ImageFile.load

    def spy(image):
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", spy)
    data = load_images([path], image_size=(50, 100)).data
    assert {*sizes} == {(200, 100)}
    assert data[0, 20, 30].tolist() == [254, 0, 0]


def test_deep_images_stay_deep(tmp_path, save_png):
    halves = np.zeros((8, 16, 3), dtype=np.uint16)
    halves[:, 8:] = [1000, 40_000, 65_535]
    save_png(tmp_path / "0.png", halves)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (image,) = load_images([tmp_path / "0.png"], image_size=(4, 8)).data
    assert image.dtype == np.uint16
    assert_array_equal(image[:, [0, 7]], halves[:4, [0, 15]])
    form = Form(spec=InputSpec(size=(4, 8)))
    (read,) = np.asarray(as_images([tmp_path / "0.png"], form=form))
    assert_array_equal(np.moveaxis(read, 0, 2)[:, [0, 7]], halves[:4, [0, 15]])


def test_photos_are_turned(tmp_path, save_turned):
    paths = [tmp_path / f"{i}.jpg" for i in range(1, 9)]
    expected = [save_turned(path, i) for i, path in enumerate(paths, 1)]
    assert np.abs(load_images(paths).data - np.asarray(expected, int)).max() < 30
    small = load_images(paths, image_size=(6, 10)).data.astype(int)
    assert np.abs(small - small[0]).max() < 30
