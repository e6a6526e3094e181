"""Images in one folder per class."""

import errno
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageFile

from skvision.datasets import load_image_folder

CLASSES = ["Äpfel 🍎", "cats", "日本"]


def save(path, pixels):
    """Make an image file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pixels():
    """Four images of 6 x 8 pixels for each of three classes."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 4, 6, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    path = tmp_path / "Bilder ✓"
    for name, images in zip(sorted(CLASSES), pixels, strict=True):
        for i, image in enumerate(images):
            save(path / name / f"ß{i}.png", image)
        (path / name / "notes.txt").write_text("no image")
    (path / "readme.md").write_text("no class")
    return path


def not_read(bunch):
    """Return the images that were left out, without files of other kinds."""
    return [path for path in bunch.skipped if not path.endswith((".txt", ".md"))]


@pytest.mark.parametrize("convert", [str, Path])
def test_content(folder, pixels, convert):
    bunch = load_image_folder(convert(folder))
    assert set(bunch) == {
        *("data", "target", "target_names", "filenames", "DESCR"),
        *("skipped", "skipped_reasons"),
    }
    assert bunch.data.dtype == np.uint8
    assert_array_equal(bunch.data, pixels.reshape(12, 6, 8, 3))
    assert bunch.target.dtype == np.int64
    assert_array_equal(bunch.target, np.repeat([0, 1, 2], 4))
    assert bunch.target_names.tolist() == sorted(CLASSES)
    assert bunch.filenames[5] == str(folder / sorted(CLASSES)[1] / "ß1.png")
    texts = [str(folder / name / "notes.txt") for name in sorted(CLASSES)]
    assert bunch.skipped.tolist() == sorted([*texts, str(folder / "readme.md")])
    assert bunch.skipped.dtype.kind == "U"
    assert str(folder) in bunch.DESCR


def test_return_X_y(folder):
    X, y = load_image_folder(folder, return_X_y=True)
    assert X.shape == (12, 6, 8, 3)
    assert y.shape == (12,)


def test_grey(folder):
    X, _ = load_image_folder(folder, mode="L", return_X_y=True)
    assert X.shape == (12, 6, 8)
    first = Image.open(folder / sorted(CLASSES)[0] / "ß0.png").convert("L")
    assert_array_equal(X[0], np.asarray(first))


def test_images_in_deeper_folders(tmp_path, pixels):
    save(tmp_path / "a" / "deep" / "er" / "0.png", pixels[0, 0])
    save(tmp_path / "b" / "0.png", pixels[1, 0])
    bunch = load_image_folder(tmp_path)
    assert_array_equal(bunch.data, pixels[:2, 0])


def test_file_formats(tmp_path):
    grey = np.full((4, 4), 100, dtype=np.uint8)
    for suffix in ("png", "jpg", "bmp", "tif", "webp", "pgm"):
        save(tmp_path / suffix / f"x.{suffix}", grey)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    save(tmp_path / "rgba" / "x.png", rgba)
    X, _ = load_image_folder(tmp_path, return_X_y=True)
    assert X.shape == (7, 4, 4, 3)
    assert np.abs(X.astype(int) - 100).max() <= 2


def test_chosen_classes_are_named_by_their_targets(folder, pixels):
    bunch = load_image_folder(folder, classes=[2, "cats"])
    chosen = [0, 2] if sorted(CLASSES)[0] == "cats" else [1, 2]
    assert_array_equal(bunch.target, np.repeat([0, 1], 4))
    assert_array_equal(bunch.data, pixels[chosen].reshape(8, 6, 8, 3))
    assert bunch.target_names.tolist() == [sorted(CLASSES)[i] for i in chosen]


def test_only_chosen_images_are_read(folder):
    (folder / "cats" / "ß0.png").write_bytes(b"broken")
    others = [name for name in CLASSES if name != "cats"]
    assert len(load_image_folder(folder, classes=others).data) == 8


def test_n_samples(folder, pixels):
    bunch = load_image_folder(folder, n_samples=6, random_state=0)
    assert np.bincount(bunch.target).tolist() == [2, 2, 2]
    rows = [int(Path(name).stem[1:]) for name in bunch.filenames]
    assert_array_equal(bunch.data, pixels[bunch.target, rows])


def test_image_size(tmp_path):
    # Left half black, right half white; one image twice as large as the other.
    for name, scale in (("a", 1), ("b", 2)):
        halves = np.zeros((8 * scale, 16 * scale, 3), dtype=np.uint8)
        halves[:, 8 * scale :] = 255
        save(tmp_path / name / "0.png", halves)
    X, _ = load_image_folder(tmp_path, image_size=(4, 8), return_X_y=True)
    assert X.shape == (2, 4, 8, 3)
    assert X[:, :, :3].max() == 0
    assert X[:, :, 5:].min() == 255


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "ppm"])
@pytest.mark.parametrize("how", ["truncated", "header", "text", "empty"])
def test_unreadable_image(tmp_path, suffix, how):
    rng = np.random.default_rng(0)
    path = tmp_path / "cats" / f"0.{suffix}"
    save(path, rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "header": content[:12],
            "text": b"This is not an image.",
            "empty": b"",
        }[how]
    )
    with pytest.raises(OSError, match="cannot be read as an image") as error:
        load_image_folder(tmp_path)
    assert str(error.value).startswith(str(path))
    assert "Delete or replace it" in str(error.value)


def damage(path, how):
    """Make something that cannot be read as an image."""
    if how == "truncated JPEG":
        rng = np.random.default_rng(0)
        save(path, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "dangling link":
        path.symlink_to(path.parent / "nowhere.png")
    elif how == "no permission":
        save(path, np.zeros((6, 8, 3), dtype=np.uint8))
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("may read all files")
    else:
        path.write_bytes({"empty": b"", "text": b"This is not an image."}[how])
    return str(path)


DAMAGES = [
    ("truncated JPEG", "weiß.jpg", "cannot be read as an image"),
    ("empty", "name with spaces .png", "cannot be read as an image"),
    ("text", "文字.png", "cannot be read as an image"),
    ("pipe", "%s {0}.png", "no regular file"),
    ("dangling link", "link.png", "cannot be read as an image"),
    ("no permission", "locked.png", "Permission denied"),
]


@pytest.mark.parametrize("how, name, reason", DAMAGES, ids=[d[0] for d in DAMAGES])
@pytest.mark.parametrize("place", ["before ", "ß4 behind "])
def test_damaged_images_are_skipped(folder, pixels, how, name, reason, place):
    path = damage(folder / "cats" / (place + name), how)
    with pytest.raises((OSError, ValueError), match=reason) as error:
        load_image_folder(folder)
    assert str(error.value).startswith(path)
    with pytest.warns(UserWarning, match=reason) as caught:
        bunch = load_image_folder(folder, on_error="skip")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    message = str(caught[0].message)
    assert message.startswith(f"1 of 13 images of path={str(folder)!r} cannot be read")
    assert repr(path) in message
    assert "np.str_" not in message
    assert not_read(bunch) == [path]
    why = dict(zip(bunch.skipped, bunch.skipped_reasons, strict=True))
    assert reason in why[path]
    assert_array_equal(bunch.data, pixels.reshape(12, 6, 8, 3))
    assert_array_equal(bunch.target, np.repeat([0, 1, 2], 4))
    names = [Path(name).name for name in bunch.filenames]
    assert names == [f"ß{i}.png" for i in range(4)] * 3


def test_all_damages_at_once(folder, pixels):
    hows = [damage for damage in DAMAGES if damage[0] != "no permission"]
    paths = [damage(folder / "cats" / name, how) for how, name, _ in hows]
    with pytest.warns(UserWarning, match=r"5 of 17 images .* and 2 more\.") as caught:
        bunch = load_image_folder(folder, on_error="skip")
    assert len(caught) == 1
    named = [path for path in sorted(paths) if path in str(caught[0].message)]
    assert named[:3] == sorted(paths)[:3]
    assert not_read(bunch) == sorted(paths)
    assert_array_equal(bunch.data, pixels.reshape(12, 6, 8, 3))
    with pytest.warns(UserWarning, match="5 of 17"):
        X, y = load_image_folder(folder, on_error="skip", return_X_y=True)
    assert len(X) == len(y) == 12


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.EMFILE, "Too many open files")],
    ids=["memory", "open files"],
)
def test_a_lack_of_memory_or_files_is_no_damage(folder, monkeypatch, error):
    def load(image):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(type(error)) as caught:
        load_image_folder(folder, on_error="skip")
    assert caught.value is error


def test_nothing_to_skip_gives_no_warning(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bunch = load_image_folder(folder, on_error="skip")
    assert len(bunch.data) == 12
    assert not_read(bunch) == []


def test_a_folder_with_the_name_of_an_image_is_a_folder(folder, pixels):
    (folder / "cats" / "x.jpg").mkdir()
    assert len(load_image_folder(folder).data) == 12
    save(folder / "cats" / "x.jpg" / "0.png", pixels[0, 0])
    bunch = load_image_folder(folder, classes=["cats"])
    assert_array_equal(bunch.data[-1], pixels[0, 0])


def test_a_class_of_which_nothing_is_left(folder):
    for path in (folder / "cats").glob("*.png"):
        damage(path, "empty")
    with pytest.raises(OSError, match=r"no image of the class\(es\) cats: .*classes="):
        load_image_folder(folder, on_error="skip")
    others = [name for name in CLASSES if name != "cats"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bunch = load_image_folder(folder, on_error="skip", classes=others)
    assert bunch.target_names.tolist() == sorted(others)


def test_only_damaged_images(folder):
    paths = [damage(path, "text") for path in sorted(folder.rglob("*.png"))]
    with pytest.raises(OSError, match="none of the 12 images can be read") as error:
        load_image_folder(folder, on_error="skip")
    assert paths[0] in str(error.value)


def test_images_of_different_size_are_not_skipped(folder):
    damage(folder / sorted(CLASSES)[0] / "ß0.png", "empty")
    odd = folder / "cats" / "ß2.png"
    save(odd, np.zeros((5, 8, 3), dtype=np.uint8))
    first = folder / sorted(CLASSES)[0] / "ß1.png"
    with pytest.raises(ValueError, match="image_size") as error:
        load_image_folder(folder, on_error="skip")
    assert str(error.value).startswith(f"{odd} has (5, 8) pixels (height, width), but")
    assert f"{first} has (6, 8)" in str(error.value)


def test_the_subset_is_drawn_before_images_are_skipped(folder):
    options = {"n_samples": 9, "random_state": 0}
    whole = load_image_folder(folder, **options)
    damage(Path(whole.filenames[4]), "empty")
    with pytest.warns(UserWarning, match="1 of 9 images"):
        bunch = load_image_folder(folder, on_error="skip", **options)
    assert not_read(bunch) == [whole.filenames[4]]
    assert_array_equal(bunch.filenames, np.delete(whole.filenames, 4))
    assert_array_equal(bunch.target, np.delete(whole.target, 4))
    assert_array_equal(bunch.data, np.delete(whole.data, 4, axis=0))


def test_mode_that_cannot_be_converted(tmp_path):
    path = tmp_path / "cats" / "0.tif"
    path.parent.mkdir()
    Image.new("LAB", (4, 4)).save(path)
    with pytest.raises(ValueError, match="cannot be turned into mode='L'") as error:
        load_image_folder(tmp_path, mode="L")
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "dtype, suffix", [("uint16", "png"), ("int32", "tif"), ("float32", "tif")]
)
def test_deep_pixels_are_not_clipped(tmp_path, dtype, suffix, mode):
    path = tmp_path / "cats" / f"0.{suffix}"
    values = np.array([[1000, 3], [300, 40_000]], dtype=dtype)
    save(path, values)
    data = load_image_folder(tmp_path, mode=mode).data
    assert data.dtype == dtype
    assert_array_equal(data[0], np.stack([values] * 3, -1) if mode == "RGB" else values)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("first", ["grey8", "grey16", "colour8", "colour16"])
def test_images_of_different_depth(tmp_path, save_png, first, mode):
    channels = 3 if "colour" in first else 1
    for i, depth in enumerate((16, 8) if "16" in first else (8, 16)):
        pixels = np.full((4, 4, channels), 200, f"uint{depth}")
        save_png(tmp_path / "cats" / f"{i}.png", pixels)
    for on_error in ("raise", "skip"):
        with pytest.raises(
            ValueError, match=r"1\.png has .*0\.png has .*Convert"
        ) as error:
            load_image_folder(tmp_path, mode=mode, on_error=on_error)
        assert "8 bits" in str(error.value)
        assert "uint16" in str(error.value)


def test_deep_images_are_resized(tmp_path, save_png):
    halves = np.zeros((8, 16, 3), dtype=np.uint16)
    halves[:, 8:] = [1000, 40_000, 65_535]
    save_png(tmp_path / "a" / "0.png", halves)
    (image,) = load_image_folder(tmp_path, image_size=(4, 8)).data
    assert image.dtype == np.uint16
    assert image.shape == (4, 8, 3)
    assert_array_equal(image[:, [0, 7]], halves[:4, [0, 15]])


def test_hidden_things_are_no_classes_and_no_images(folder, pixels):
    for name in (".ipynb_checkpoints", ".git", "__MACOSX"):
        save(folder / name / "0.png", pixels[0, 0])
        save(folder / "cats" / name / "deeper" / "0.png", pixels[0, 0])
    (folder / "cats" / "._ß0.png").write_bytes(b"what macOS adds")
    bunch = load_image_folder(folder)
    assert bunch.target_names.tolist() == sorted(CLASSES)
    assert_array_equal(bunch.data, pixels.reshape(12, 6, 8, 3))


def test_a_folder_in_hidden_ones_is_not_hidden(tmp_path, pixels):
    save(tmp_path / ".cache" / "data" / "a" / "0.png", pixels[0, 0])
    assert len(load_image_folder(tmp_path / ".cache" / "data").data) == 1


def test_links_that_loop(folder, pixels):
    cats = folder / "cats"
    (cats / "to itself").symlink_to(cats, target_is_directory=True)
    (cats / "to all").symlink_to(folder, target_is_directory=True)
    (cats / "above").symlink_to(folder.parent, target_is_directory=True)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (cats / "deep").mkdir()
    (cats / "deep" / "back").symlink_to(cats, target_is_directory=True)
    bunch = load_image_folder(folder)
    assert bunch.target_names.tolist() == sorted(CLASSES)
    assert_array_equal(bunch.data, pixels.reshape(12, 6, 8, 3))


def test_links_to_other_places_are_followed(tmp_path, pixels):
    save(tmp_path / "elsewhere" / "0.png", pixels[0, 0])
    save(tmp_path / "elsewhere" / "deep" / "1.png", pixels[0, 1])
    (tmp_path / "all" / "b").mkdir(parents=True)
    for name in ("a", "b/link"):
        (tmp_path / "all" / name).symlink_to(tmp_path / "elsewhere")
    bunch = load_image_folder(tmp_path / "all")
    assert_array_equal(bunch.target, [0, 0, 1, 1])
    assert_array_equal(bunch.data, pixels[0, [0, 1, 0, 1]])


def test_labels_of_other_folders(tmp_path, pixels):
    parts = {"train": ["apple", "banana", "cherry"], "test": ["banana", "cherry"]}
    for part, names in parts.items():
        for name in names:
            save(tmp_path / part / name / "0.png", pixels[0, 0])
    train = load_image_folder(tmp_path / "train")
    assert_array_equal(train.target, [0, 1, 2])
    for part, names in parts.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bunch = load_image_folder(tmp_path / part, classes=train.target_names)
        assert_array_equal(bunch.target_names, train.target_names)
        assert bunch.target_names[bunch.target].tolist() == names
    # Folders without images are like those that are not there.
    (tmp_path / "test" / "apple").mkdir()
    bunch = load_image_folder(tmp_path / "test", classes=train.target_names)
    assert_array_equal(bunch.target, [1, 2])
    with pytest.raises(FileNotFoundError, match="no valid file for the classes apple"):
        load_image_folder(tmp_path / "test")


def test_names_of_classes_that_are_misspelt(folder):
    with pytest.warns(UserWarning, match=r"'cat', .* lacks 'cats'.*misspelt"):
        bunch = load_image_folder(folder, classes=["cat", "日本"])
    assert bunch.target_names[bunch.target].tolist() == ["日本"] * 4


def test_large_images_of_another_size_are_not_decoded(folder, monkeypatch):
    odd = folder / "cats" / "ß2.png"
    Image.new("1", (3000, 2000)).save(odd)
    loaded, load = [], ImageFile.ImageFile.load

    def spy(image):
        loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", spy)
    with pytest.raises(ValueError, match=r"ß2\.png has \(2000, 3000\) pixels"):
        load_image_folder(folder)
    assert (3000, 2000) not in loaded


def test_photos_are_turned(tmp_path, save_turned):
    # Of one size after they are turned, which the files are not before.
    expected = [save_turned(tmp_path / "a" / f"{i}.png", i) for i in range(1, 9)]
    assert_array_equal(load_image_folder(tmp_path).data, expected)


def test_path_of_a_file(folder):
    with pytest.raises(FileNotFoundError, match=r"path=.* should be a folder"):
        load_image_folder(folder / "readme.md")


def test_nothing_in_the_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match=r"sub-folder .* any class folder"):
        load_image_folder(tmp_path)


def test_a_folder_without_sub_folders_has_no_target(tmp_path, pixels):
    for i, image in enumerate(pixels[0]):
        save(tmp_path / f"{i}.png", image)
    save(tmp_path / ".ipynb_checkpoints" / "0.png", pixels[1, 0])
    (tmp_path / "notes.txt").write_text("no image")
    bunch = load_image_folder(tmp_path)
    assert_array_equal(bunch.data, pixels[0])
    assert bunch.target is None
    assert bunch.target_names is None
    assert bunch.filenames.tolist() == [str(tmp_path / f"{i}.png") for i in range(4)]
    hidden, text = bunch.skipped
    assert hidden == str(tmp_path / ".ipynb_checkpoints")
    assert text == str(tmp_path / "notes.txt")
    assert bunch.DESCR.startswith("4 images from the folder ")
    X, y = load_image_folder(tmp_path, n_samples=2, random_state=0, return_X_y=True)
    assert X.shape == (2, 6, 8, 3)
    assert y is None
    path = damage(tmp_path / "2.png", "empty")
    with pytest.warns(UserWarning, match="1 of 4 images"):
        bunch = load_image_folder(tmp_path, on_error="skip")
    assert_array_equal(bunch.data, pixels[0, [0, 1, 3]])
    assert path in bunch.skipped
    with pytest.raises(ValueError, match="classes=.* has none.*Leave classes out"):
        load_image_folder(tmp_path, classes=["a"])


def test_all_that_is_left_out_is_listed_with_its_reason(folder, pixels):
    cats = folder / "cats"
    save(cats / ".ipynb_checkpoints" / "0.png", pixels[0, 0])
    (cats / ".DS_Store").write_bytes(b"x")
    (cats / "to itself").symlink_to(cats, target_is_directory=True)
    (cats / "LICENSE").write_text("mine")
    (folder / "日本" / ".hidden").write_text("of another class")
    bunch = load_image_folder(folder, classes=["cats"])
    found = {
        os.path.relpath(path, folder): reason
        for path, reason in zip(bunch.skipped, bunch.skipped_reasons, strict=True)
    }
    expected = {
        "cats/.DS_Store": "hidden",
        "cats/.ipynb_checkpoints": "hidden",
        "cats/LICENSE": "without an extension",
        "cats/notes.txt": "extension '.txt' is none of .jpg",
        "cats/to itself": "read already",
        "readme.md": "extension '.md'",
    }
    assert [*found] == sorted(expected)
    assert all(reason in found[path] for path, reason in expected.items()), found


def test_images_that_are_left_out_for_their_place_or_kind_give_a_warning(
    folder, pixels
):
    save(folder / "stray.png", pixels[0, 0])
    save(folder / "cats" / "moving.gif", pixels[0, 0])
    with pytest.warns(UserWarning) as caught:
        bunch = load_image_folder(folder)
    (message,) = [str(warning.message) for warning in caught]
    assert "1 image(s) lie beside the class folders" in message
    assert repr(str(folder / "stray.png")) in message
    assert "left out because of their extension" in message
    assert "moving.gif" in message
    assert len(bunch.data) == 12
    paths = [str(folder / "cats" / "moving.gif"), str(folder / "stray.png")]
    assert sorted(not_read(bunch)) == sorted(paths)


def test_empty_class_folders(folder, pixels):
    (folder / "dogs").mkdir()
    (folder / "emus").mkdir()
    (folder / "emus" / "list.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match=r"classes dogs, emus.*on_error='skip'"):
        load_image_folder(folder)
    damage(folder / "cats" / "x.png", "empty")
    with pytest.warns(UserWarning) as caught:
        bunch = load_image_folder(folder, on_error="skip")
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("1 of 13 images")
    assert "2 of 5 class folders" in message
    assert "'dogs', 'emus'" in message
    assert bunch.target_names.tolist() == sorted(CLASSES)
    assert_array_equal(bunch.target, np.repeat([0, 1, 2], 4))
    assert_array_equal(bunch.data, pixels.reshape(12, 6, 8, 3))
    left_out = [str(folder / name) for name in ("cats/x.png", "dogs", "emus")]
    assert not_read(bunch) == left_out
    assert str(folder / "emus" / "list.txt") in bunch.skipped


@pytest.fixture
def parts(tmp_path, pixels):
    """A data set with parts, of which the one to test on lacks a class."""
    for part, names in {"Train": "abc", "val": "abc", "test": "bc"}.items():
        for name in names:
            save(tmp_path / part / name / "0.png", pixels["abc".index(name), 0])
    return tmp_path


def test_parts_of_a_data_set_are_no_classes(parts, pixels):
    with pytest.raises(ValueError, match=r"one deeper.*subset='Train'.*classes=\["):
        load_image_folder(parts)
    as_classes = load_image_folder(parts, classes=["Train", "val", "test"])
    assert as_classes.target_names.tolist() == ["Train", "test", "val"]
    train = load_image_folder(parts, subset="train")
    assert_array_equal(train.data, pixels[:, 0])
    assert train.target_names.tolist() == ["a", "b", "c"]
    assert train.filenames[0] == str(parts / "Train" / "a" / "0.png")
    validation = load_image_folder(parts, subset="validation")
    assert_array_equal(validation.target, [0, 1, 2])
    with pytest.raises(FileNotFoundError, match="there are: 'Train', 'test', 'val'"):
        load_image_folder(parts, subset="dev")


def test_parts_whose_classes_differ(parts):
    (parts / "Train" / "empty").mkdir()
    with pytest.warns(UserWarning, match=r"subset='test' lacks 'a'.*classes="):
        load_image_folder(parts, subset="test")
    with pytest.warns(UserWarning, match="1 of 4 class folders"):
        train = load_image_folder(parts, subset="train", on_error="skip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_image_folder(parts, subset="val").data) == 3
        test = load_image_folder(parts, subset="test", classes=train.target_names)
    assert_array_equal(test.target, [1, 2])


def test_classes_with_names_of_parts(tmp_path, pixels):
    for name in ("car", "train/deep"):
        save(tmp_path / name / "0.png", pixels[0, 0])
    with pytest.warns(UserWarning, match="'train'.*taken as classes"):
        bunch = load_image_folder(tmp_path)
    assert bunch.target_names.tolist() == ["car", "train"]
    (tmp_path / "train" / "deep" / "0.png").rename(tmp_path / "train" / "0.png")
    (tmp_path / "train" / "deep").rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_image_folder(tmp_path).data) == 2


def test_parts_without_classes(tmp_path, pixels):
    for part in ("train", "test"):
        for i in range(2):
            save(tmp_path / part / f"{i}.png", pixels[0, i])
    with pytest.raises(ValueError, match="named like parts of a data set"):
        load_image_folder(tmp_path)
    bunch = load_image_folder(tmp_path, subset="test")
    assert_array_equal(bunch.data, pixels[0, :2])
    assert bunch.target is None


@pytest.mark.parametrize(
    "color_mode, mode", [("grey", "L"), ("rgb", "RGB"), (None, "RGB")]
)
def test_colours_have_two_names(folder, color_mode, mode):
    expected = load_image_folder(folder, mode=mode).data
    assert_array_equal(load_image_folder(folder, color_mode=color_mode).data, expected)


def test_automatic_colours(tmp_path):
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    save(tmp_path / "a" / "0.png", grey)
    save(tmp_path / "b" / "0.png", grey)
    assert load_image_folder(tmp_path, color_mode="auto").data.shape == (2, 4, 4)
    save(tmp_path / "b" / "1.png", np.stack([grey] * 3, axis=-1))
    data = load_image_folder(tmp_path, color_mode="auto").data
    assert_array_equal(data, np.broadcast_to(grey[..., None], (3, 4, 4, 3)))


def test_real_images():
    home = os.environ.get("SKVISION_DATA")
    path = None if home is None else Path(home, "cifar10", "test")
    if path is None or not path.is_dir():
        pytest.skip("needs cifar10/test in a folder named by SKVISION_DATA")
    pets = load_image_folder(path, classes=["cat", "dog"], n_samples=20, random_state=0)
    assert pets.data.shape == (20, 32, 32, 3)
    assert np.unique(pets.target, return_counts=True)[1].tolist() == [10, 10]
    assert pets.target_names.tolist() == ["cat", "dog"]
    assert all(Path(name).parent.name in ("cat", "dog") for name in pets.filenames)
