"""Images read from arrays, data sets and files."""

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from PIL import Image
from skvision_tests import Items

from skvision.datasets import ImageSequence
from skvision.images._layout import Form
from skvision.images._readers import ArrayReader, DatasetReader, PathReader, to_chw
from skvision.images._steps import PixelSteps


def save(path, pixels, mode=None, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **kwargs)
    return path


@pytest.fixture
def colours(rng):
    return rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def greys(rng):
    return rng.integers(0, 256, (6, 8), dtype=np.uint8)


# ---------------------------------------------------------------- pixel steps

UINT8 = hnp.arrays(np.uint8, (3, 2, 4, 5))
FLOATS = hnp.arrays(np.float32, (3, 2, 4, 5), elements=st.floats(-9, 9, width=32))


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("unit", ["div", "mul", None])
@given(images=UINT8 | FLOATS)
@settings(max_examples=20, deadline=None)
def test_pixel_steps(images, unit, normalised):
    if unit is None and images.dtype == np.uint8:
        images = images.astype(np.float32)
    mean, std = np.array([0.1, 0.7]), np.array([0.3, 2.1])
    steps = PixelSteps(unit, mean, std) if normalised else PixelSteps(unit)
    given = torch.from_numpy(images.copy())
    values = steps(given)
    expected = images.astype(np.float32)
    if images.dtype == np.uint8 and unit == "div":
        expected = expected / np.float32(255)
    elif images.dtype == np.uint8:
        expected = expected * np.float32(1 / 255)
    if normalised:
        mean, std = (value.astype(np.float32).reshape(2, 1, 1) for value in (mean, std))
        expected = (expected - mean) / std
    assert_array_equal(values.numpy(), expected)
    assert values.numpy().dtype == steps.dtype_of(images.dtype) == np.float32
    assert_array_equal(given.numpy(), images)


def test_stored_pixels_and_steps(colours):
    array = np.stack([colours, colours[::-1]])
    for steps, expected in {
        None: None,
        PixelSteps("div"): None,
        (mul := PixelSteps("mul")): mul,
        (full := PixelSteps("div", [0.5], [0.5])): full,
    }.items():
        X = ImageSequence(ArrayReader(array, "last", steps=steps))
        stored = X[[1]].read_stored(slice(None))
        assert stored.dtype == torch.uint8
        assert_array_equal(stored.numpy()[0], np.moveaxis(array[1], 2, 0))
        assert X.steps is expected
        values = stored if expected is None else expected(stored)
        assert torch.equal(X[[1]].read(slice(None)), values)


# ------------------------------------------------------------------ data sets


def test_items_are_read_once_and_in_order(rng):
    read = []

    class Spied(Items):
        def __getitem__(self, row):
            read.append(row)
            return super().__getitem__(row)

    images = rng.random((8, 1, 6, 5), dtype=np.float32)
    X = ImageSequence(DatasetReader(Spied(list(images))))
    read.clear()
    part = X[[5, 1]][::-1]
    assert read == []
    assert_array_equal(np.asarray(part), images[[1, 5]])
    assert read == [1, 5]
    assert_array_equal(X.read(slice(1, 6, 2)).numpy(), images[1:6:2])
    assert read[2:] == [1, 3, 5]


def test_items_without_labels(rng):
    images = rng.random((4, 1, 6, 5), dtype=np.float32)
    for items in (
        list(images),
        [torch.from_numpy(image) for image in images],
        [(image, 0) for image in images],
        [[image, 0, "more"] for image in images],
        [(image,) for image in images],
    ):
        assert_array_equal(ImageSequence(DatasetReader(Items(items))), images)


def test_no_rows_of_a_data_set(rng):
    X = ImageSequence(DatasetReader(Items(list(rng.random((4, 1, 6, 5))))))
    assert np.asarray(X[[]]).shape == (0, 1, 6, 5)
    assert X[2:2].read(slice(None)).shape == (0, 1, 6, 5)


def test_items_that_cannot_be_read():
    class Failing(Items):
        samples: list

        def __getitem__(self, row):
            if isinstance(self.items[row], Exception):
                raise self.items[row]
            return super().__getitem__(row)

    def failing(error):
        dataset = Failing([np.zeros((6, 5)), error])
        dataset.samples = [("a.png", 0), ("ß.png", 1)]
        return ImageSequence(DatasetReader(dataset))

    # As Pillow raises it for a damaged file.
    with pytest.raises(
        OSError,
        match=r"Item 1 of the Failing data set \(ß.png\) cannot be read: broken",
    ):
        failing(OSError("broken"))[1]
    for error in (KeyError("broken"), FileNotFoundError(errno.ENOENT, "broken")):
        with pytest.raises(type(error), match="broken") as caught:
            failing(error)[1]
        assert caught.value is error
        assert "item 1 of the Failing data set (ß.png)" in error.__notes__[0]


@pytest.mark.parametrize(
    "image, shape",
    [
        (torch.zeros(6, 5), (1, 6, 5)),
        (torch.zeros(3, 6, 5), (3, 6, 5)),
        (torch.zeros(2, 6, 3), (3, 2, 6)),
        (torch.zeros(6, 5, 3), (3, 6, 5)),
        (np.zeros((6, 5)), (1, 6, 5)),
        (np.zeros((6, 5, 3)), (3, 6, 5)),
        (np.zeros((6, 5, 4)), (4, 6, 5)),
        (np.zeros((6, 5, 1)), (1, 6, 5)),
        (np.zeros((3, 6, 5)), (3, 6, 5)),
        (np.zeros((2, 6, 5)), (2, 6, 5)),
        ([[0.0] * 5] * 6, (1, 6, 5)),
        (Image.new("L", (5, 6)), (1, 6, 5)),
        (Image.new("RGB", (5, 6)), (3, 6, 5)),
        (Image.new("RGBA", (5, 6)), (3, 6, 5)),
        (Image.new("RGB", (3, 3)), (3, 3, 3)),
        (Image.new("RGB", (5, 4)), (3, 4, 5)),
        (Image.new("RGB", (1, 3)), (3, 3, 1)),
        (Image.new("P", (5, 6)), (3, 6, 5)),
        (Image.new("1", (5, 6)), (1, 6, 5)),
        (Image.new("LA", (5, 6)), (1, 6, 5)),
        (Image.new("CMYK", (5, 6)), (3, 6, 5)),
        (Image.new("I;16", (5, 6)), (1, 6, 5)),
        (Image.new("F", (5, 6)), (1, 6, 5)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_layout_of_one_image(image, shape):
    assert tuple(to_chw(image).shape) == shape


def test_pixels_of_one_image(colours, greys):
    assert_array_equal(to_chw(Image.fromarray(colours)), np.moveaxis(colours, 2, 0))
    assert_array_equal(to_chw(Image.fromarray(greys)), greys[None])
    palette = Image.fromarray(colours).convert("P")
    expected = np.moveaxis(np.asarray(palette.convert("RGB")), 2, 0)
    assert_array_equal(to_chw(palette), expected)
    black_and_white = Image.fromarray(greys > 128)
    assert_array_equal(to_chw(black_and_white), (greys > 128)[None] * np.uint8(255))
    assert to_chw(black_and_white).dtype == torch.uint8
    wide = np.array([[0, 65535], [256, 1]], dtype=np.uint16)
    assert_array_equal(to_chw(Image.fromarray(wide)), wide[None])


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("convert", [str, Path], ids=["str", "Path"])
def test_files(tmp_path, rng, convert):
    pixels = rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    names = ["plain.png", "Äpfel 🍎/ß.bmp", "日本/1.png", "with space/'quote'.tif"]
    paths = [
        convert(save(tmp_path / name, image))
        for name, image in zip(names, pixels, strict=True)
    ]
    X = ImageSequence(PathReader(np.array(paths, dtype=object)))
    assert X.shape == (4, 3, 6, 8)
    assert X.dtype == np.uint8
    assert_array_equal(X, np.moveaxis(pixels, 3, 1))
    assert_array_equal(X[2], np.moveaxis(pixels[2], 2, 0))
    assert_array_equal(X[[3, 1]], np.moveaxis(pixels[[3, 1]], 3, 1))
    assert X.read(slice(0, 0)).shape == (0, 3, 6, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_files(tmp_path, greys, mode):
    image = Image.fromarray(greys).convert(mode)
    path = save(tmp_path / "x.png", image)
    X = ImageSequence(PathReader([path, save(tmp_path / "y.png", greys)]))
    assert X.shape == (2, 1, 6, 8)
    assert_array_equal(X[0, ...][0], np.asarray(image.convert("L")))
    assert_array_equal(X[1][0], greys)


@pytest.mark.parametrize(
    "mode, suffix", [("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif")]
)
def test_colour_files(tmp_path, colours, mode, suffix):
    image = Image.fromarray(colours).convert(mode)
    path = save(tmp_path / f"x.{suffix}", image)
    X = ImageSequence(PathReader([path]))
    with Image.open(path) as image:
        assert image.mode == mode
        expected = np.asarray(image.convert("RGB"))
    assert_array_equal(X[0], np.moveaxis(expected, 2, 0))
    assert_array_equal(X.read(slice(None)).numpy()[0], np.moveaxis(expected, 2, 0))


def test_colours_after_grey(tmp_path, greys, colours):
    paths = [save(tmp_path / "grey.png", greys), save(tmp_path / "rgb.png", colours)]
    X = ImageSequence(PathReader(paths))
    assert_array_equal(X, [np.stack([greys] * 3), np.moveaxis(colours, 2, 0)])
    # What all files of the fit were is known afterwards.
    X = ImageSequence(PathReader(paths, form=Form(expected=(1, 6, 8))))
    assert_array_equal(X[0], greys[None])
    with pytest.raises(ValueError, match=r"rgb\.png has colours .*color_mode='grey'"):
        X.read(slice(None))


def test_grey_after_colours(tmp_path, greys, colours):
    paths = [save(tmp_path / "rgb.png", colours), save(tmp_path / "grey.png", greys)]
    X = ImageSequence(PathReader(paths))
    assert_array_equal(X[1], np.stack([greys] * 3))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
@pytest.mark.parametrize("first", ["L", "RGB", None])
def test_more_than_8_bits(tmp_path, greys, first, mode):
    # Pillow clips such pixels at 255 when it converts them.
    wide = Image.fromarray(greys.astype(np.uint16) * 257)
    if mode != "I;16":
        wide = Image.fromarray(
            greys.astype({"I": np.int32, "F": np.float32}[mode]) * 257
        )
    paths = [save(tmp_path / "wide.tif", wide)]
    if first:
        paths.insert(0, save(tmp_path / "first.png", Image.fromarray(greys), first))
    with Image.open(paths[-1]) as image:
        assert image.mode == mode
    X = ImageSequence(PathReader(paths))
    if first:
        with pytest.raises(ValueError, match=r"wide\.tif has more than 8 bits"):
            X.read(slice(None))
    else:
        assert_array_equal(X[0][0], greys.astype(float) * 257)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_truncated_files(tmp_path, rng, suffix):
    pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole.{suffix}", pixels)
    content = whole.read_bytes()
    broken = tmp_path / f"brøken.{suffix}"
    expected = ImageSequence(PathReader([whole]))[0]
    raised = 0
    for end in np.linspace(0, len(content) - 1, 60).astype(int):
        broken.write_bytes(content[:end])
        X = ImageSequence(PathReader([whole, broken]))
        try:
            image = X[1]
        except OSError as error:
            assert str(broken) in str(error)
            raised += 1
        else:
            # The last bytes of some formats say nothing about pixels.
            assert_array_equal(image, expected)
    assert raised > 50


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tif", "webp", "bmp", "ppm"])
def test_corrupt_files(tmp_path, rng, suffix, monkeypatch):
    # A size that comes out huge is to be refused, not to take the memory.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole.{suffix}", pixels)
    content = whole.read_bytes()
    broken = tmp_path / f"broken.{suffix}"
    for _ in range(150):
        changed = bytearray(content)
        start = rng.integers(0, min(len(content), 200))
        changed[start : start + 4] = rng.bytes(4)
        broken.write_bytes(changed)
        # What cannot be read is an OSError, what has another size a ValueError.
        try:
            ImageSequence(PathReader([whole, broken])).read(slice(None))
        except (OSError, ValueError) as error:
            assert str(broken) in str(error)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["missing", "text", "empty", "folder", "pipe"])
def test_files_that_are_no_images(tmp_path, colours, kind, first):
    path = tmp_path / "Bild ✓.png"
    if kind == "text":
        path.write_text("no image")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    paths = [path] if first else [save(tmp_path / "good.png", colours), path]
    error = FileNotFoundError if kind == "missing" else OSError
    with pytest.raises(error, match=r"Bild ✓\.png cannot be read as an image"):
        ImageSequence(PathReader(paths)).read(slice(None))


def test_too_many_open_files(tmp_path, colours):
    # The file is as it should be: nobody is told to delete it.
    resource = pytest.importorskip("resource")
    X = ImageSequence(PathReader([save(tmp_path / "a.png", colours)], cache=False))
    next_file = os.dup(0)
    os.close(next_file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_file, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            X[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
    assert "Delete" not in str(caught.value)
    assert X[0].shape == (3, 6, 8)


def test_no_file_stays_open(tmp_path, colours):
    paths = [save(tmp_path / f"{i}.png", colours) for i in range(20)]
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("Open files are listed on Linux alone.")
    before = len(os.listdir("/proc/self/fd"))
    X = ImageSequence(PathReader(paths))
    X.read(slice(None))
    # That of the pixels which are kept stays open as long as they are, twice.
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    del X
    assert len(os.listdir("/proc/self/fd")) == before


# --------------------------------------------------------------------- pickle


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("kind", ["array", "data set", "files"])
def test_pickle(tmp_path, rng, kind, view):
    pixels = rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    if kind == "array":
        steps = PixelSteps("div", (0.5,) * 3, (2.0,) * 3)
        reader = ArrayReader(pixels, "last", steps=steps)
    elif kind == "data set":
        reader = DatasetReader(Items(list(pixels)))
    else:
        paths = [save(tmp_path / f"{i}.png", image) for i, image in enumerate(pixels)]
        reader = PathReader(paths)
    X = ImageSequence(reader)
    X = X[[3, 0]] if view else X
    loaded = pickle.loads(pickle.dumps(X))
    assert isinstance(loaded, ImageSequence)
    assert (loaded.shape, loaded.dtype) == (X.shape, X.dtype)
    assert_array_equal(loaded, X)
