"""Pixels of image files and PIL images: upright, and as deep as they are."""

import base64
import io
import os
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image, ImageOps, features
from skorch.helper import SliceDataset
from skvision_tests import Items, as_images
from torch.utils.data import ConcatDataset, Subset
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from skvision import ImageClassifier
from skvision.datasets import as_Xy, load_image_folder
from skvision.images._decode import UnsuitableImage, pixels_of
from skvision.images._files import read_image

SMALL = {"module": "mlp", "module__hidden": (8,), "max_epochs": 1, "random_state": 0}


def random_pixels(rng, n_channels, shape=(5, 6)):
    return rng.integers(0, 1 << 16, (*shape, n_channels), dtype=np.uint16)


def on_white(pixels):
    """Return what is seen of 16 bits, grey or coloured, where it lies on white."""
    if pixels.shape[2] in (2, 4):
        share = pixels[..., -1:] / 65535
        pixels = np.round(pixels[..., :-1] * share + 65535 * (1 - share))
    pixels = pixels.astype(np.uint16)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


# ----------------------------------------------------------- 16 bits per channel


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_png_of_16_bits(tmp_path, rng, save_png, n_channels):
    pixels = random_pixels(rng, n_channels)
    path = save_png(tmp_path / "x.png", pixels)
    expected = on_white(pixels)
    for mode in (None, "RGB", "L"):
        found = read_image(path, mode)
        assert found.dtype == np.uint16
        if mode == "RGB" and n_channels < 3:
            assert_array_equal(found, np.stack([expected] * 3, axis=-1))
        elif mode == "L" and n_channels > 2:
            grey = expected @ np.array([0.299, 0.587, 0.114])
            np.testing.assert_allclose(found, grey, atol=1)
        else:
            assert_array_equal(found, expected)


@pytest.mark.parametrize("state", ["new", "loaded", "in memory", "twice"])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_pil_images_of_16_bits(tmp_path, rng, save_png, n_channels, state):
    pixels = random_pixels(rng, n_channels)
    path = save_png(tmp_path / "x.png", pixels)
    source = io.BytesIO(path.read_bytes()) if state == "in memory" else path
    with Image.open(source) as image:
        if state == "loaded":
            image.load()
        if state == "twice":
            pixels_of(image)
        assert_array_equal(pixels_of(image), on_white(pixels))
        if n_channels == 4:
            assert_array_equal(pixels_of(image, "RGBA"), pixels)


def test_changed_pil_images_keep_the_changes(tmp_path, rng, save_png):
    path = save_png(tmp_path / "x.png", random_pixels(rng, 3))
    with Image.open(path) as image:
        image.putpixel((2, 1), (1, 2, 3))
        found = pixels_of(image)
    assert found.dtype == np.uint8
    assert found[1, 2].tolist() == [1, 2, 3]


def tiff(pixels, order, planar=False):
    """Return the bytes of an uncompressed TIFF file."""
    height, width, n_channels = pixels.shape
    mark, code = {"<": (b"II", "little"), ">": (b"MM", "big")}[order]
    pixels = pixels.astype(f"{order}u2")
    content = (np.moveaxis(pixels, 2, 0) if planar else pixels).tobytes()

    def number(value, size):
        return value.to_bytes(size, code)

    size = len(content) // (n_channels if planar else 1)
    starts = [size * i for i in range(n_channels if planar else 1)]
    extra = [(338, 3, [2])] if n_channels == 4 else []
    entries = sorted(
        [
            (256, 3, [width]),
            (257, 3, [height]),
            (258, 3, [16] * n_channels),
            (259, 3, [1]),
            (262, 3, [2 if n_channels > 2 else 1]),
            (273, 4, [8 + start for start in starts]),
            (277, 3, [n_channels]),
            (278, 3, [height]),
            (279, 4, [size] * len(starts)),
            (284, 3, [2 if planar else 1]),
            *extra,
        ]
    )
    where = 8 + len(content)
    directory, more = number(len(entries), 2), b""
    for tag, kind, values in entries:
        width = {3: 2, 4: 4}[kind]
        packed = b"".join(number(value, width) for value in values)
        if len(packed) > 4:
            place = where + 2 + 12 * len(entries) + 4 + len(more)
            more += packed
            packed = number(place, 4)
        directory += number(tag, 2) + number(kind, 2) + number(len(values), 4)
        directory += packed.ljust(4, b"\0")
    header = mark + number(42, 2) + number(where, 4)
    return header + content + directory + number(0, 4) + more


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_tiff_of_16_bits(tmp_path, rng, n_channels, order):
    pixels = random_pixels(rng, n_channels)
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(pixels, order))
    found = read_image(path)
    assert found.dtype == np.uint16
    assert_array_equal(found, on_white(pixels))


@pytest.mark.parametrize(
    ("dtype", "tag", "change"),
    [("u1", 339, (1, 2)), ("i4", 339, (2, 1)), ("u2", 262, (1, 0))],
    ids=["signed", "unsigned", "0 is white"],
)
def test_numbers_of_tiff(tmp_path, rng, dtype, tag, change):
    """Pillow takes them for numbers of another kind, or black for white."""
    pixels = rng.integers(0, 256, (4, 6 * np.dtype(dtype).itemsize), np.uint8)
    pixels = pixels.view(dtype)
    path = tmp_path / "x.tif"
    Image.fromarray(pixels).save(path, tiffinfo={339: 1} if dtype == "u1" else {})
    before, after = (struct.pack("<HHIHH", tag, 3, 1, value, 0) for value in change)
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))
    other = {"u1": "i1", "i4": "u4"}.get(dtype)
    expected = pixels.view(other) if other else 65535 - pixels
    assert_array_equal(read_image(path), expected, strict=True)


#: 8 x 8 pixels of 10 bits, which Pillow cannot write.
AVIF = (
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAA"
    "cGljdAAAAAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAA"
    "HwAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAA"
    "FGlzcGUAAAAAAAAACAAAAAgAAAAQcGl4aQAAAAADCgoKAAAADGF2MUOBIEAAAAAAE2NvbHJuY2x4AAIA"
    "AgAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAJ21kYXQSAAoIOAi/awICBpAyERlCYwTE000zQSQA"
    "kD+bDGCi"
)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
def test_avif(tmp_path):
    """Pillow reads all of them as 8 bits."""
    path = tmp_path / "x.avif"
    Image.new("RGB", (8, 8), "red").save(path)
    assert read_image(path).shape == (8, 8, 3)
    path.write_bytes(base64.b64decode(AVIF))
    with Image.open(path) as image:
        image.load()
        for read in (lambda: read_image(path), lambda: pixels_of(image)):
            with pytest.raises(UnsuitableImage, match="more than 8 bits"):
                read()


def test_drawings_are_not_run(tmp_path):
    """Whatever their names are."""
    path = tmp_path / "x.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    )
    with pytest.raises(UnsuitableImage, match="another program"):
        read_image(path)


@pytest.mark.filterwarnings("error")
def test_palettes_with_opacity(tmp_path):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).convert("P")
    image.save(tmp_path / "x.png", transparency=bytes(range(200)))
    grey, alpha = np.arange(48).reshape(6, 8, 1), np.arange(48).reshape(6, 8, 1) / 255
    expected = np.repeat(grey * alpha + 255 * (1 - alpha), 3, axis=2)
    np.testing.assert_allclose(read_image(tmp_path / "x.png"), expected, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white_everywhere(tmp_path, mode):
    image = Image.new("RGBA", (8, 6), (200, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 6))
    expected = np.full((3, 6, 8), 255, dtype=np.uint8)
    expected[:, :, :4] = 0
    expected = expected[:1] if mode == "LA" else expected
    path = tmp_path / "class" / "x.png"
    path.parent.mkdir()
    image.convert(mode).save(path)
    with Image.open(path) as image:
        assert image.has_transparency_data
        for X in ([path], [path.read_bytes()], [image], [image.copy()]):
            assert_array_equal(np.asarray(as_images(X))[0], expected)
    in_folder = np.asarray(as_images(ImageFolder(tmp_path)))[0]
    assert_array_equal(in_folder, np.broadcast_to(expected, (3, 6, 8)))
    assert_array_equal(
        load_image_folder(tmp_path).data[0], np.moveaxis(in_folder, 0, 2)
    )


def ppm(pixels):
    return b"P6 6 5 65535\n" + pixels.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "suffix, encode",
    [("tif", lambda pixels: tiff(pixels, "<", planar=True)), ("ppm", ppm)],
    ids=["planes of TIFF", "PPM"],
)
def test_16_bits_that_cannot_be_read(tmp_path, rng, suffix, encode):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(encode(random_pixels(rng, 3)))
    with pytest.raises(ValueError, match="more than 8 bits") as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_pgm_of_16_bits(tmp_path, rng):
    pixels = random_pixels(rng, 1)
    (tmp_path / "x.pgm").write_bytes(b"P5 6 5 65535\n" + pixels.astype(">u2").tobytes())
    found = read_image(tmp_path / "x.pgm")
    assert found.dtype == np.uint16
    assert_array_equal(found, pixels[..., 0])


def test_byte_orders_and_kinds(tmp_path, rng):
    pixels = random_pixels(rng, 1)
    big = Image.frombytes("I;16B", (6, 5), pixels.astype(">u2").tobytes())
    assert pixels_of(big).dtype == np.uint16
    assert pixels_of(big).dtype.isnative
    assert_array_equal(pixels_of(big), pixels[..., 0])
    assert pixels_of(Image.new("F", (6, 5))).dtype == np.float32
    assert pixels_of(Image.new("I", (6, 5))).dtype == np.int32
    with pytest.raises(UnsuitableImage, match="x cannot be turned into mode='L'"):
        pixels_of(Image.new("LAB", (6, 5)), "L", where="x")


# --------------------------------------------------------------------- orientation


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_files(tmp_path, save_turned, suffix, orientation):
    path = tmp_path / f"x.{suffix}"
    expected = save_turned(path, orientation).astype(int)
    assert np.abs(read_image(path) - expected).max() < 20
    for convert in (lambda image: image, lambda image: image.convert("RGB")):
        with Image.open(path) as image:
            assert np.abs(pixels_of(convert(image)) - expected).max() < 20


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_orientation_of_16_bits(tmp_path, rng, save_png, n_channels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    pixels = random_pixels(rng, n_channels)
    save_png(tmp_path / "deep.png", pixels, content)
    save_png(tmp_path / "flat.png", (pixels >> 8).astype(np.uint8), content)
    deep, flat = (read_image(tmp_path / f"{name}.png") for name in ("deep", "flat"))
    np.testing.assert_allclose(deep / 257, flat, atol=2)


def test_damaged_orientation(tmp_path, rng, save_png):
    pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    for content in (b"MM", b"II*\0\xff\xff\xff\xff", bytes(40)):
        path = save_png(tmp_path / "x.png", pixels, content)
        assert_array_equal(read_image(path), pixels)


# -------------------------------------------------------------- one policy everywhere


@pytest.fixture
def kinds_of(tmp_path):
    """Function that returns image files as everything that X can be of them."""

    def function(paths, labels):
        pairs = [(path, int(label)) for path, label in zip(paths, labels, strict=True)]

        class Opened(Items):
            def __getitem__(self, row):
                path, label = self.items[row]
                return Image.open(path), label

        images = [Image.open(path) for path in paths]
        kinds = {
            "paths": [str(path) for path in paths],
            "images": images,
            "pairs": list(zip(images, labels, strict=True)),
            "data set": Opened(pairs),
            "as_Xy": as_Xy([str(path) for path in paths], labels)[0],
            "as_Xy of images": as_Xy(images, labels)[0],
        }
        folder = paths[0].parent.parent
        if folder != tmp_path:
            kinds["ImageFolder"] = ImageFolder(folder)
        return kinds

    return function


@pytest.mark.parametrize("what", ["16 bits", "turned"])
def test_everywhere_alike(tmp_path, rng, save_png, save_turned, kinds_of, what):
    labels = np.arange(8) % 2
    paths = [tmp_path / "all" / f"{y}" / f"{i}.png" for i, y in enumerate(labels)]
    paths, labels = zip(*sorted(zip(paths, labels, strict=True)), strict=True)
    if what == "16 bits":
        expected = [random_pixels(rng, 3) // (1 + 200 * int(y)) for y in labels]
        for path, pixels in zip(paths, expected, strict=True):
            save_png(path, pixels)
    else:
        expected = [save_turned(path, 1 + i) for i, path in enumerate(paths)]
    expected = np.moveaxis(np.stack(expected), 3, 1)
    nets = {}
    for kind, X in kinds_of(paths, labels).items():
        found = np.asarray(as_images(X))
        assert_array_equal(found, expected.astype(found.dtype), err_msg=kind)
        nets[kind] = ImageClassifier(**SMALL).fit(X, labels)
        one = X if kind.startswith(("data", "ImageF")) else X[:1]
        proba = nets["paths"].predict_proba([str(paths[0])])
        assert_array_equal(nets[kind].predict_proba(one)[:1].round(4), proba.round(4))


# ----------------------------------------------------------- transforms and loaders


class WithPaths(ImageFolder):
    """A recipe of many: items that tell their files as well."""

    def __getitem__(self, row):
        return *super().__getitem__(row), self.samples[row][0]


@pytest.fixture
def photos(tmp_path, save_turned):
    """A folder of photos in all orientations, and how they are to be seen."""
    folder = tmp_path / "photos"
    seen = [save_turned(folder / "a" / f"{i}.png", i) for i in range(1, 9)]
    return folder, np.moveaxis(np.stack(seen), 3, 1)


@pytest.mark.parametrize(
    "wrap", ["", "Subset", "ConcatDataset", "both", "SliceDataset"]
)
@pytest.mark.parametrize("kind", [ImageFolder, WithPaths])
@pytest.mark.parametrize(
    "transform",
    [
        None,
        v1.ToTensor(),
        v1.Compose([v1.CenterCrop((24, 40)), v1.PILToTensor()]),
        v2.Compose(
            [v2.Resize((24, 40)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        ),
        lambda image: np.asarray(image),
    ],
    ids=["none", "ToTensor", "CenterCrop", "Resize", "own"],
)
def test_data_sets_turn_photos(photos, transform, kind, wrap):
    folder, expected = photos
    data = kind(folder, transform=transform)
    if wrap == "Subset":
        data, expected = Subset(data, [5, 2]), expected[[5, 2]]
    elif wrap == "ConcatDataset":
        data, expected = ConcatDataset([data, data]), np.tile(expected, (2, 1, 1, 1))
    elif wrap == "Concat of Subset":
        data, expected = ConcatDataset([Subset(data, [5, 2])]), expected[[5, 2]]
    elif wrap == "SliceDataset":
        data = SliceDataset(data)
    X = as_images(data)
    values = np.asarray(X).astype(float) * (1 if X.dtype == np.uint8 else 255)
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_own_loaders_that_turn_photos_themselves(photos):
    folder, expected = photos

    def loader(path):
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)

    assert_array_equal(as_images(ImageFolder(folder, loader=loader)), expected)
    # The user's object stays as it was.
    data = ImageFolder(folder, transform=v1.ToTensor())
    before = dict(vars(data))
    as_Xy(data)
    assert vars(data) == before
    assert data[5][0].shape == (3, *expected.shape[2:][::-1])


@pytest.mark.parametrize("n_channels", [1, 3])
def test_transforms_get_8_of_16_bits(tmp_path, rng, save_png, n_channels):
    pixels = random_pixels(rng, n_channels)
    save_png(tmp_path / "a" / "0.png", pixels)
    data = ImageFolder(tmp_path, transform=v1.PILToTensor())
    with pytest.warns(UserWarning, match=f"{tmp_path.name}.*16 bits .* upper 8"):
        found = as_images(data)[0]
    expected = np.broadcast_to(pixels >> 8, (5, 6, 3))
    assert_array_equal(found, np.moveaxis(expected, 2, 0))
    Image.fromarray(np.ones((5, 6), np.float32)).save(tmp_path / "a" / "1.tif")
    data = ImageFolder(tmp_path, transform=v1.PILToTensor())
    with pytest.raises(ValueError, match=r"1\.tif holds float32 .*list of paths"):
        as_images(data)[1]


def test_pipes_among_the_files_of_a_data_set(tmp_path, save_png, rng):
    save_png(tmp_path / "a" / "0.png", random_pixels(rng, 3))
    os.mkfifo(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").touch()
    data = ImageFolder(tmp_path)
    (tmp_path / "a" / "2.png").unlink()
    X = as_images(data)
    with pytest.raises(OSError, match=r"1\.png.* no regular file"):
        X[1]
    with pytest.raises(FileNotFoundError, match=r"2\.png"):
        X[2]


def test_large_images_of_another_size_are_not_decoded(tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    Image.new("1", (8, 6)).save(paths[0])
    Image.new("1", (13_000, 13_000)).save(paths[1])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for X in (paths, [Image.open(path) for path in paths]):
        tracemalloc.start()
        with pytest.raises(ValueError, match=r"13000, 13000.*8|8.*13000, 13000"):
            as_images(X).read(slice(None))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e7
        if X is not paths:
            assert X[1].tile  # It was not loaded.
