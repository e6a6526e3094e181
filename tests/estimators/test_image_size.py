"""Images of all sizes and colours: `image_size`, `resize` and `color_mode`."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.helper import predefined_split
from skvision_tests import as_images
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor, load
from skvision.datasets import as_Xy
from skvision.images._layout import Form
from skvision.images._resize import fit_size
from skvision.inspection import PredictionDisplay
from skvision.model_selection import StackedGridSearchCV
from skvision.preprocessing import InputSpec

SMALL = {"module": "mlp", "module__hidden": (8,), "max_epochs": 2, "random_state": 0}
SIZED = {**SMALL, "image_size": (12, 16)}


@pytest.fixture(scope="module")
def photos():
    """Twelve smooth images of twelve sizes, red and green in turn."""
    rng, images = np.random.default_rng(0), []
    for i in range(12):
        height, width = rng.integers(20, 60, 2)
        pixels = rng.integers(0, 80, (4, 4, 3), dtype=np.uint8)
        pixels[..., i % 2] += 150
        small = Image.fromarray(pixels)
        images.append(np.asarray(small.resize((int(width), int(height)))))
    return images


@pytest.fixture(scope="module")
def labels():
    return np.array(["red", "green"] * 6)


@pytest.fixture(scope="module")
def folder(photos, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, (image, label) in enumerate(zip(photos, labels, strict=True)):
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / label / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def paths(folder, labels):
    return [folder / label / f"{i:02}.png" for i, label in enumerate(labels)]


@pytest.fixture(scope="module")
def net(paths, labels):
    return ImageClassifier(**SIZED).fit(paths, labels)


KINDS = {
    "paths": lambda paths: paths,
    "strings": lambda paths: [str(path) for path in paths],
    "column": lambda paths: pd.Series(map(str, paths)),
    "strings of pandas": lambda paths: pd.Series(map(str, paths), dtype="string"),
    "table of one column": lambda paths: pd.DataFrame({"file": map(str, paths)}),
    "contents": lambda paths: [path.read_bytes() for path in paths],
    "column of contents": lambda paths: pd.Series([p.read_bytes() for p in paths]),
    "PIL images": lambda paths: [Image.open(path) for path in paths],
    "arrays": lambda paths: [np.asarray(Image.open(path)) for path in paths],
    "tensors": lambda paths: [
        torch.from_numpy(np.moveaxis(np.array(Image.open(path)), 2, 0))
        for path in paths
    ],
    "pairs": lambda paths: [(Image.open(path), path.parent.name) for path in paths],
    "sequence of paths": lambda paths: as_Xy(paths, np.arange(len(paths)))[0],
    "sequence of images": lambda paths: as_Xy(
        [Image.open(path) for path in paths], np.arange(len(paths))
    )[0],
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_holds_photos_gives_the_same(net, paths, labels, kind):
    X = KINDS[kind](paths)
    expected = net.predict_proba(paths)
    assert_array_equal(net.predict_proba(X), expected)
    again = clone(net).fit(KINDS[kind](paths), labels)
    assert again.image_shape_ == (3, 12, 16)
    assert_array_equal(again.predict_proba(paths), expected)


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_columns_of_other_libraries(net, paths, kind):
    library = pytest.importorskip(kind)
    names = [str(path) for path in paths]
    if kind == "polars":
        held = [library.Series(names), library.DataFrame({"file": names})]
    else:
        held = [library.array(names), library.chunked_array([names])]
    for X in held:
        assert_array_equal(net.predict_proba(X), net.predict_proba(paths))


def test_data_sets(net, folder):
    dataset = ImageFolder(folder)
    ordered = [path for path, _ in dataset.samples]
    assert_array_equal(net.predict_proba(dataset), net.predict_proba(ordered))
    fitted = ImageClassifier(**SIZED).fit(dataset)
    assert fitted.image_shape_ == (3, 12, 16)
    assert fitted.score(dataset) > 0.8
    assert cross_val_score(fitted, *as_Xy(dataset), cv=2).shape == (2,)


def test_arrays_of_one_size(photos, labels):
    X = np.stack([image[:20, :20] for image in photos])
    net = ImageClassifier(**SIZED).fit(X, labels)
    assert net.image_shape_ == (3, 12, 16)
    expected = net.predict_proba(X)
    assert_array_equal(net.predict_proba(list(X)), expected)
    assert_array_equal(net.predict_proba(np.moveaxis(X, 3, 1)), expected)
    # Floats are not rounded.
    assert_allclose(net.predict_proba(X / np.float32(255)), expected, atol=0.01)
    assert net.predict(photos[0][None]).shape == (1,)


def test_rows_that_are_images(photos, labels):
    X = np.stack([image[:20, :20].transpose(2, 0, 1) for image in photos])
    net = ImageClassifier(**SIZED, image_shape=(3, 20, 20))
    rows = make_pipeline(FunctionTransformer(), net).fit(X.reshape(12, -1), labels)
    assert (net.n_features_in_, net.image_shape_) == (1200, (3, 12, 16))
    whole = ImageClassifier(**SIZED).fit(X, labels)
    assert_array_equal(rows.predict_proba(X.reshape(12, -1)), whole.predict_proba(X))
    again = pickle.loads(pickle.dumps(net))
    assert again.n_features_in_ == 1200
    with pytest.raises(ValueError, match=r"image_size=\(12, 16\).*image_shape="):
        ImageClassifier(**SIZED).fit(X.reshape(12, -1), labels)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_ways_to_resize(resize):
    # A white image of twice the width, and a black bar on each side.
    image = np.zeros((20, 40), dtype=np.uint8)
    image[:, 10:30] = 255
    (found,) = as_images([image], form=Form(spec=InputSpec(size=(8, 8), resize=resize)))
    if resize == "squash":
        assert (found[0, :, [0, 7]] == 0).all() and (found[0, :, 3:5] == 255).all()
    elif resize == "crop":
        assert (found > 200).all()
    else:
        assert not found[0, [0, 1, 6, 7]].any() and (found[0, 3:5, 3:5] == 255).all()


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    resize=st.sampled_from(["squash", "crop", "pad"]),
    dtype=st.sampled_from(["uint8", "uint16", "int32", "float32", "float64"]),
)
def test_any_size_becomes_any_other(shape, size, resize, dtype):
    image = np.full((1, *shape), 200, dtype=dtype)
    spec = InputSpec(size=size, resize=resize)
    (found,) = as_images([image], form=Form("first", spec=spec))
    assert found.shape == (1, *size)
    assert found.dtype == as_images([image]).dtype
    values = set(np.unique(found.round(3)).tolist())
    # Nothing but black is added, and that by "pad" alone.
    assert values <= {200.0} | ({0.0} if resize == "pad" else set())


@pytest.mark.parametrize("resize", ["crop", 70])
def test_very_long_images_are_cut_first(resize):
    # 64 x 1.9 million pixels otherwise.
    image = torch.randint(256, (1, 3, 2, 60_000), dtype=torch.uint8)
    found = fit_size(image, (64, 64), resize)
    assert_array_equal(found, fit_size(image[..., 29_999:30_001], (64, 64)))
    ordinary = fit_size(image[..., :2000], (64, 64), resize)
    assert ordinary.shape == found.shape == (1, 3, 64, 64)


def test_a_way_to_resize_to_no_size():
    X, y = np.random.default_rng(0).random((20, 8, 8)), np.arange(20) % 2
    for net in (ImageClassifier(**SIZED), ImageAutoencoder(max_epochs=1)):
        net.set_params(image_size=None, resize="crop")
        with pytest.warns(UserWarning, match="resize='crop' has no effect"):
            net.fit(X, y)


def test_a_weight_sets_resize_is_that_of_torchvision(photos):
    spec = InputSpec(size=(14, 14), resize=18)
    for image in photos:
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        resized = functional.resize(pixels, [18], antialias=True)
        expected = functional.center_crop(resized, [14, 14])
        found = spec.fit_size(pixels[None])[0]
        assert int((found.int() - expected.int()).abs().max()) <= 1


def test_large_jpegs_are_decoded_in_part(tmp_path, photos):
    path = tmp_path / "large.jpg"
    Image.fromarray(photos[0]).resize((1200, 800)).save(path, quality=95)
    whole = [np.asarray(Image.open(path))]
    for resize in ("squash", "crop", "pad"):
        form = Form(spec=InputSpec(size=(60, 60), resize=resize))
        found, expected = (np.asarray(as_images(X, form=form)) for X in ([path], whole))
        assert_allclose(found.astype(int), expected.astype(int), atol=6)
    # Photos that lie on their side are large in the other direction.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.jpg"
    Image.open(path).save(turned, exif=exif, quality=95)
    form = Form(spec=InputSpec(size=(90, 60), resize="squash"))
    found, expected = (
        np.asarray(as_images(X, form=form)) for X in ([turned], [Image.open(turned)])
    )
    assert_allclose(found.astype(int), expected.astype(int), atol=6)


def test_files_and_pickles_keep_the_size(net, photos, paths, tmp_path):
    path = tmp_path / "net.skvision"
    net.save(path)
    expected = net.predict_proba(photos)
    for other in (load(path), pickle.loads(pickle.dumps(net))):
        assert other.get_params()["image_size"] == (12, 16)
        assert_array_equal(other.predict_proba(photos), expected)
    # What is set afterwards is for the next fit.
    other.set_params(image_size=5, resize="pad")
    assert_array_equal(other.predict_proba(photos), expected)
    other.save(path)
    assert_array_equal(load(path).predict_proba(photos), expected)
    with pytest.raises(ValueError, match="image_size=5 was set after the network"):
        other.partial_fit(photos, ["red", "green"] * 6)
    code = (
        "import json, sys, skvision; net = skvision.load(sys.argv[1]);"
        "print(json.dumps(net.predict_proba(sys.argv[2:]).tolist()))"
    )
    arguments = [sys.executable, "-c", code, path, *paths[:2]]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert_allclose(json.loads(result.stdout), expected[:2], atol=1e-6)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_onnx_takes_images_of_any_size(photos, labels, tmp_path, resize):
    onnxruntime = pytest.importorskip("onnxruntime")
    from skvision.export import export_onnx

    net = ImageClassifier(**SIZED, resize=resize).fit(photos, labels)
    path = tmp_path / "net.onnx"
    export_onnx(net, path, example=photos[0][None])
    session = onnxruntime.InferenceSession(path)
    large = np.asarray(Image.fromarray(photos[1]).resize((300, 170)))
    for image in [*photos, large, photos[0][:12, :16], photos[0][:5, :6]]:
        X = np.ascontiguousarray(image[None])
        found = session.run(None, {"X": X})[0]
        assert_allclose(found, net.predict_proba(X), atol=0.01)


def test_other_estimators(photos):
    y = np.arange(12.0)
    regressor = ImageRegressor(**SIZED).fit(photos, y)
    assert regressor.predict(photos).shape == (12,)
    autoencoder = ImageAutoencoder(
        "dense_autoencoder", image_size=8, max_epochs=1, random_state=0
    ).fit(photos)
    assert autoencoder.reconstruct(photos).shape == (12, 3, 8, 8)
    assert np.isfinite(autoencoder.score(photos))


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_searches_over_sizes(paths, labels, search):
    grid = {"image_size": [6, (8, 10)], "resize": ["squash", "crop"]}
    found = search(ImageClassifier(**SMALL), grid, cv=2, error_score="raise")
    found.fit(paths, labels)
    expected = [
        cross_val_score(
            clone(found.estimator).set_params(**params), paths, labels, cv=2
        )
        for params in found.cv_results_["params"]
    ]
    assert_allclose(found.cv_results_["mean_test_score"], np.mean(expected, axis=1))


def test_displays_draw_what_the_network_sees(net, photos, labels):
    pytest.importorskip("matplotlib")
    display = PredictionDisplay.from_estimator(net, photos, labels, n_images=4)
    assert display.images.shape == (4, 12, 16, 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"image_size": 0}, "image_size"),
        ({"image_size": (8,)}, r"image_size=\(8,\) should be a positive int"),
        ({"image_size": (8, 0)}, r"image_size=\(8, 0\) should be a positive int"),
        ({"image_size": "8"}, "image_size"),
        ({"resize": "stretch"}, "resize"),
        ({"color_mode": "gray"}, "color_mode"),
    ],
)
def test_wrong_settings(photos, labels, params, message):
    with pytest.raises(ValueError, match=message):
        ImageClassifier(**{**SMALL, **params}).fit(photos, labels)


def test_sizes_that_differ_name_the_remedy(photos, paths, folder, labels):
    net = ImageClassifier(**SMALL)
    for X in (photos, paths, [Image.open(path) for path in paths]):
        with pytest.raises(ValueError, match=r"image_size=\(height, width\)"):
            net.fit(X, labels)
    with pytest.raises(ValueError, match=r"image_size=\(height, width\)"):
        net.fit(ImageFolder(folder))
    net.fit(np.stack([image[:20, :20] for image in photos]), labels)
    with pytest.raises(ValueError, match=r"image_size=\(height, width\), set before"):
        net.predict(photos[0][None, :19])


# ---------------------------------------------------------------------- colours

MODES = ["L", "RGB", "LA", "RGBA", "P", "CMYK", "1"]


@pytest.fixture(scope="module")
def of_all_modes(photos, tmp_path_factory):
    """Paths of one image for each mode, the grey ones first."""
    folder, paths = tmp_path_factory.mktemp("modes"), []
    for mode in sorted(MODES, key=lambda mode: mode not in ("L", "LA", "1")):
        paths.append(folder / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}")
        Image.fromarray(photos[0]).convert(mode).save(paths[-1])
    return paths


def test_auto_takes_rgb_unless_all_are_grey(of_all_modes):
    for paths, n_channels in ((of_all_modes, 3), (of_all_modes[:3], 1)):
        images = [Image.open(path) for path in paths]
        contents = [path.read_bytes() for path in paths]
        expected = np.asarray(as_images(paths))
        assert expected.shape[1] == n_channels
        for X in (images, contents, as_Xy(images, np.arange(len(images)))[0]):
            assert_array_equal(np.asarray(as_images(X)), expected)


@pytest.mark.parametrize("color_mode", ["grey", "rgb"])
def test_colours_that_are_asked_for(of_all_modes, color_mode):
    y = np.arange(len(of_all_modes)) % 2
    net = ImageClassifier(**SIZED, color_mode=color_mode).fit(of_all_modes, y)
    assert net.image_shape_ == ({"grey": 1, "rgb": 3}[color_mode], 12, 16)
    expected = net.predict_proba(of_all_modes)
    images = [Image.open(path) for path in of_all_modes]
    assert_array_equal(net.predict_proba(images), expected)
    for row, image in enumerate(images):
        assert_allclose(net.predict_proba([image]), expected[[row]], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colours_of_arrays(photos, dtype):
    X = np.stack([image[:20, :20] for image in photos]).astype(dtype)
    y = np.arange(12) % 2
    grey = ImageClassifier(**SMALL, color_mode="grey").fit(X, y)
    assert grey.image_shape_ == (1, 20, 20)
    luma = X @ np.array([0.299, 0.587, 0.114])
    seen = np.asarray(as_images(X, form=Form(color_mode="grey")))[:, 0]
    assert seen.dtype == as_images(X).dtype
    assert_allclose(seen, luma, atol=0.51)
    rgb = ImageClassifier(**SMALL, color_mode="rgb").fit(X[..., 0], y)
    assert rgb.image_shape_ == (3, 20, 20)
    with pytest.raises(ValueError, match="color_mode='grey' takes images with 1 or 3"):
        grey.fit(np.concatenate([X, X[..., :1]], axis=-1), y)


def test_colours_after_a_grey_fit(of_all_modes):
    net = ImageClassifier(**SIZED).fit(of_all_modes[:3], [0, 1, 0])
    for X in (of_all_modes[3:4], [Image.open(of_all_modes[3])]):
        with pytest.raises(ValueError, match=r"has colours .*color_mode='grey'"):
            net.predict(X)
    net.set_params(color_mode="grey")
    assert net.predict(of_all_modes[3:4]).shape == (1,)


# ------------------------------------------------------------------------- layouts


def test_sequences_keep_where_they_have_the_channels(photos, labels):
    # Three rows of pixels each, so that the shape does not tell.
    last = [np.ascontiguousarray(image[:3]) for image in photos]
    expected = ImageClassifier(**SIZED, channels="last").fit(last, labels)
    X, y = as_Xy(last, labels, channels="last")
    net = ImageClassifier(**SIZED).fit(X, y)
    assert_array_equal(net.predict_proba(X), expected.predict_proba(last))


def test_channels_are_not_said_of_what_torchvision_transforms(folder):
    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    dataset = ImageFolder(folder, transform=transform)
    net = ImageClassifier(**SIZED, channels="last")
    for X, y in ((dataset, None), as_Xy(dataset)):
        assert net.fit(X, y).image_shape_ == (3, 12, 16)


COLOURS = {
    "grey of rgb, last": ("grey", lambda X: X, (20, 20, 3)),
    "grey of rgb, first": ("grey", lambda X: X.transpose(0, 3, 1, 2), (3, 20, 20)),
    "grey of 16 bits": ("grey", lambda X: X * np.uint16(257), (20, 20, 3)),
    "rgb of grey": ("rgb", lambda X: X[..., 0], (20, 20)),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_onnx_and_autoencoders_know_the_colours_of_fit(photos, tmp_path, kind):
    onnxruntime = pytest.importorskip("onnxruntime")
    from skvision.export import export_onnx

    color_mode, change, shape = COLOURS[kind]
    X = np.ascontiguousarray(change(np.stack([image[:20, :20] for image in photos])))
    net = ImageAutoencoder(
        "dense_autoencoder", color_mode=color_mode, max_epochs=1, random_state=0
    ).fit(X)
    n_channels = 1 if color_mode == "grey" else 3
    images = net.reconstruct(X)
    # Where grey images had no axis of channels, coloured ones have it at the end.
    own = (n_channels, 20, 20) if shape[0] == 3 else (20, 20, n_channels)
    assert images.shape == (12, *own)
    assert net.inverse_transform(net.transform(X)).shape == images.shape
    net.save(tmp_path / "net.skvision")
    path = tmp_path / "net.onnx"
    export_onnx(load(tmp_path / "net.skvision"), path)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape[1:] == list(shape)
    codes, found = session.run(None, {"X": X})
    assert_allclose(codes, net.transform(X), atol=1e-5)
    assert_allclose(found.astype(int), images.astype(int), atol=1)


def test_one_image_is_not_taken_for_many(photos, labels):
    X = np.stack([image[:20, :20] for image in photos])
    grey = ImageClassifier(**SIZED, color_mode="grey").fit(X, labels)
    plain = ImageClassifier(**SIZED).fit(X[..., 0], labels)
    for net in (grey, plain):
        with pytest.raises(ValueError, match=r"single image, .* X\[None\]"):
            net.predict(photos[0])
    rgb = ImageClassifier(**SIZED, color_mode="rgb").fit(X[..., 0], labels)
    # As many grey images as a coloured one has channels.
    assert_array_equal(rgb.predict(X[:3, ..., 0]), rgb.predict(X[..., 0])[:3])


def test_few_pixels_do_not_hide_the_channels(photos, labels):
    cuts = [np.s_[:1], np.s_[:3], np.s_[:, :1], np.s_[:1, :1], np.s_[:, :3]]
    small = [image[cut] for image, cut in zip(photos, cuts, strict=False)]
    images = photos[5:] + small
    net = ImageClassifier(**SIZED).fit(images, labels)
    expected = net.predict_proba([Image.fromarray(image) for image in images])
    assert_array_equal(net.predict_proba(images), expected)


@pytest.mark.parametrize("params", [{}, {"image_size": 8}])
def test_grey_and_coloured_arrays_together(photos, params):
    image = photos[0][:20, :20]
    for X in ([image, image[..., 0]], as_Xy([image, image[..., :1]], [0, 1])[0]):
        with pytest.raises(ValueError, match="shape.* color_mode='rgb' or"):
            ImageClassifier(**SMALL, **params).fit(X, [0, 1])
        for color_mode in ("grey", "rgb"):
            net = ImageClassifier(**SMALL, **params, color_mode=color_mode)
            net.fit(X, [0, 1])
            assert net.image_shape_[0] == {"grey": 1, "rgb": 3}[color_mode]
    opaque = np.dstack([image, image[..., :1]])
    with pytest.raises(ValueError, match=r"opacity, leave it out, as X\[..., :3\]"):
        net.fit(opaque[None], [0])


def test_validation_images_of_any_size(paths, labels, folder):
    dataset = ImageFolder(folder)
    y = np.arange(12) % 2
    split = predefined_split(dataset)
    net = ImageClassifier(**SIZED, train_split=split).fit(paths, 1 - y)
    expected = net.history[-1, "valid_loss"]
    # Not even another network has been there before.
    again = ImageClassifier(**SMALL).fit(np.zeros((2, 5, 5)), [0, 1])
    again.set_params(image_size=(12, 16), train_split=split).fit(paths, 1 - y)
    assert again.history[-1, "valid_loss"] == expected


class Counting(Dataset):
    """Images of several sizes, and how many of them have been read."""

    def __init__(self, images):
        self.images, self.n_read = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        self.n_read += 1
        return Image.fromarray(self.images[row]), row % 2


def test_folds_share_images_that_were_brought_to_a_size(photos):
    dataset = Counting(photos)
    X, y = as_Xy(dataset, cache=True)
    net = ImageClassifier(**SIZED)
    cross_val_score(net, X, y, cv=2, error_score="raise")
    dataset.n_read = 0
    found = cross_val_score(net, X, y, cv=3, error_score="raise")
    assert dataset.n_read == 0
    assert_array_equal(found, cross_val_score(net, photos, y, cv=3))
    net.fit(X, y).score(X, y)
    assert dataset.n_read == 0
    net.set_params(image_size=8).fit(X, y)
    assert dataset.n_read <= len(photos) + 1
    assert pickle.loads(pickle.dumps(X)).shape == X.shape


def test_weights_are_those_of_one_way_to_resize(photos, labels, tmp_path):
    padded = ImageClassifier(**SIZED, resize="pad").fit(photos, labels)
    path = tmp_path / "weights.pt"
    padded.save_params(f_params=path)
    expected = padded.predict_proba(photos)
    new = ImageClassifier(
        **SIZED, module__image_shape=(3, 12, 16), module__n_outputs=2
    ).initialize()
    new.load_params(f_params=path)
    assert_array_equal(new.predict_proba(photos), expected)
    squashed = ImageClassifier(**SIZED).fit(photos, labels)
    with pytest.raises(ValueError, match="resize='pad'.*resize='squash'. Load them"):
        squashed.load_params(f_params=path)
