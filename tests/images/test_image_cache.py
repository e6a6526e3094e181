"""Decoded images in a folder: what is decoded again, and what is not."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from skvision import ImageClassifier, ImageEmbedder, load
from skvision.images import _readers


@pytest.fixture
def paths(tmp_path):
    """Sixteen JPEG files of different sizes, dark and bright ones in turn."""
    rng = np.random.default_rng(0)
    found = []
    for row in range(16):
        height, width = rng.integers(20, 60, 2)
        pixels = rng.integers(0, 120, (height, width, 3)) + 130 * (row % 2)
        found.append(str(tmp_path / f"{row}.jpg"))
        Image.fromarray(pixels.astype(np.uint8)).save(found[-1])
    return found


@pytest.fixture
def decoded(monkeypatch):
    """Return the names of the files that were decoded since the last call."""
    names = []

    def noting(path, *args, **kwargs):
        names.append(os.path.basename(path) if isinstance(path, str) else "bytes")
        return plain(path, *args, **kwargs)

    plain = _readers.read_image
    monkeypatch.setattr(_readers, "read_image", noting)

    def taken():
        found = sorted(names)
        names.clear()
        return found

    return taken


def make(folder, **params):
    params = {"image_size": (12, 10), "max_epochs": 2, "random_state": 0} | params
    return ImageClassifier("mlp", image_cache=folder, module__hidden=(4,), **params)


def kept_files(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file()]


Y = np.arange(16) % 2


def test_each_image_is_decoded_once(paths, tmp_path, decoded):
    folder = tmp_path / "kept" / "here"  # It need not be there.
    expected = make(None).fit(paths, Y).predict_proba(paths)
    decoded()
    net = make(folder).fit(paths, Y)
    assert decoded() == sorted(map(os.path.basename, paths))
    assert len(kept_files(folder)) == 16
    np.testing.assert_array_equal(net.predict_proba(paths), expected)
    # Later fits, folds, candidates and predictions, on other lists of the same files.
    clone(net).fit(paths[::-3], Y[::-3])
    cross_val_score(net, paths, Y, cv=2)
    GridSearchCV(net, {"lr": [0.1, 0.01]}, cv=2).fit(paths, Y)
    net.set_params(lr=0.1, early_stopping=True).fit(paths, Y).score(paths[:3], Y[:3])
    assert decoded() == []
    assert len(kept_files(folder)) == 16


def test_what_is_decoded_again(paths, tmp_path, decoded):
    net = make(str(tmp_path / "kept")).fit(paths, Y)
    decoded()
    for params in ({"image_size": 9}, {"resize": "crop"}, {"color_mode": "grey"}):
        for _ in range(2):
            clone(net).set_params(**params).fit(paths, Y)
        assert len(decoded()) == 16, params
    # The scale of pixels is no matter of decoding, nor is what "auto" found them to be.
    for params in ({"normalize": None}, {"color_mode": "rgb"}):
        clone(net).set_params(**params).fit(paths, Y)
    assert decoded() == []
    Image.new("RGB", (30, 20), "red").save(paths[3])
    os.utime(paths[5], ns=(0, 5))
    net.predict(paths)
    assert decoded() == ["3.jpg", "5.jpg"]


def test_files_that_are_skipped(paths, tmp_path, decoded):
    net = make(tmp_path / "kept", on_error="skip")
    (tmp_path / "4.jpg").write_text("broken")
    for n_decoded in (16 + 15, 1):
        decoded()
        with pytest.warns(UserWarning, match=r"4\.jpg cannot be read"):
            net.fit(paths, Y)
        assert net.skipped_.tolist() == [paths[4]]
        assert len(decoded()) == n_decoded


def test_bytes_and_sixteen_bits(tmp_path, decoded):
    folder, deep = tmp_path / "kept", str(tmp_path / "deep.png")
    pixels = np.random.default_rng(0).integers(0, 2**16, (20, 16), dtype=np.uint16)
    Image.fromarray(pixels).save(deep)
    shutil.copy(deep, tmp_path / "other.png")
    for X in (
        [deep, str(tmp_path / "other.png")],
        [(tmp_path / "deep.png").read_bytes()] * 2,
    ):
        expected = make(None, image_size=8).fit(X, [0, 1]).predict_proba(X)
        decoded()
        for n_decoded in (len(set(X)), 0):
            net = make(folder, image_size=8).fit(X, [0, 1])
            np.testing.assert_array_equal(net.predict_proba(X), expected)
            assert len(decoded()) == n_decoded
        assert net.pixel_divisor_ == 65535


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"PK" + content[2:],
        lambda content: content[:12] + b"\xff" * 4 + content[16:],
    ],
    ids=["empty", "half a head", "cut", "a bit", "another kind", "shape"],
)
def test_damaged_files_are_made_again(paths, tmp_path, decoded, damage):
    folder = tmp_path / "kept"
    net = make(folder).fit(paths, Y)
    expected = net.predict_proba(paths)
    decoded()
    file = kept_files(folder)[0]
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with pytest.warns(UserWarning, match="image_cache.*cannot be read.*decoded again"):
        np.testing.assert_array_equal(net.predict_proba(paths), expected)
    assert len(decoded()) == 1
    assert file.read_bytes() == whole
    net.predict_proba(paths)
    assert decoded() == []


def test_folders_that_take_nothing(paths, tmp_path, decoded, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="image_cache='.*file' cannot be made a folder"):
        make(tmp_path / "file").fit(paths, Y)
    expected = make(None).fit(paths, Y).predict_proba(paths)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.warns(UserWarning, match="image_cache='.*full' takes no more .*space"):
        net = make(tmp_path / "full", max_epochs=0).fit(paths, Y)
    assert net.image_cache == tmp_path / "full"
    monkeypatch.undo()
    net = make(tmp_path / "full").fit(paths, Y)
    np.testing.assert_array_equal(net.predict_proba(paths), expected)


def test_errors_are_those_of_the_files(paths, tmp_path):
    net = make(tmp_path / "kept").fit(paths, Y)
    os.remove(paths[2])
    with pytest.raises(FileNotFoundError, match=r"2\.jpg cannot be read"):
        net.predict(paths)
    # Kept images of another size are none of these.
    net = make(tmp_path / "kept", image_size=None)
    with pytest.raises(ValueError, match="Set image_size="):
        for _ in range(2):
            net.fit(paths[3:], Y[3:])


def fit_and_predict(folder, paths):
    return make(folder).fit(paths, Y).predict_proba(paths)


def test_several_processes(paths, tmp_path, decoded):
    expected = fit_and_predict(None, paths)
    folder = tmp_path / "kept"
    tasks = [joblib.delayed(fit_and_predict)(folder, paths) for _ in range(2)]
    for found in joblib.Parallel(2, "multiprocessing")(tasks):
        np.testing.assert_array_equal(found, expected)
    decoded()
    fit_and_predict(folder, paths)
    assert decoded() == []
    assert len(kept_files(folder)) == 16  # Nothing is left of writing.


def test_other_estimators_and_files(paths, tmp_path, decoded):
    net = make(tmp_path / "kept").fit(paths, Y)
    net.save(tmp_path / "net.skv")
    assert load(tmp_path / "net.skv").image_cache is None
    assert load(tmp_path / "net.skv", image_cache="here").image_cache == "here"
    decoded()
    embedder = ImageEmbedder(
        "resnet18", weights=False, image_size=(12, 10), image_cache=tmp_path / "kept"
    )
    with pytest.warns(UserWarning, match="random weights"):
        assert embedder.fit_transform(paths).shape == (16, 512)
    assert decoded() == []
