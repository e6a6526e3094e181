"""The scale of pixels is decided once, by the first training rows, and kept."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from skorch.helper import predefined_split
from torch.utils.data import Dataset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor, v2

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.datasets import as_Xy
from skvision.export import export_onnx

MLP = {"module": "mlp", "module__hidden": (16,), "random_state": 0}
#: What becomes of pixels from 0 to 255, what wider integers are divided by if these are
#: the training values, and what the numbers are worth as pixels in [0, 1].
KINDS = {
    "uint8": (lambda X: X, 255, 255),
    "int16": (lambda X: X.astype("int16"), 255, 255),
    "int64": (lambda X: X.astype("int64"), 255, 255),
    "uint64": (lambda X: X.astype("uint64"), 255, 255),
    ">i4": (lambda X: X.astype(">i4"), 255, 255),
    "16 bits": (lambda X: X.astype("uint16") * 257, 65535, 65535),
    "16 bits as int32": (lambda X: X.astype("int32") * 257, 65535, 65535),
    "negative": (lambda X: X.astype("int16") - 100, 1, 1),
    "beyond": (lambda X: X.astype("int64") * 1000, 1, 1),
    "unit": (lambda X: np.float32(X / 255), 255, 1),
    "float 0..255": (lambda X: X.astype("float32"), 1, 1),
    "float 0..16": (lambda X: np.float32(X / 255 * 16), 1, 1),
    "float -1..1": (lambda X: np.float32(X / 127.5 - 1), 255, 1),
    "bool": (lambda X: X > 128, 255, 1),
}


class Items(Dataset):
    def __init__(self, images, labels):
        self.images = images
        self.labels = labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.images[row], int(self.labels[row])


GIVEN = {
    "array": lambda X, y: X,
    "tensor": lambda X, y: torch.from_numpy(X.astype(X.dtype.newbyteorder("="))),
    "rows": lambda X, y: X.reshape(len(X), -1),
    "nested lists": lambda X, y: X.tolist(),
    "list": lambda X, y: list(X),
    "data set": Items,
    "as_Xy": lambda X, y: as_Xy(Items(X, y))[0],
    "array as_Xy": lambda X, y: as_Xy(X, y)[0],
}


@pytest.fixture(scope="module")
def data(digits):
    return digits.data[:300], digits.target[:300]


def texts_of(call):
    """Return what a call returns, and the warnings about pixels."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    texts = [str(warning.message) for warning in found]
    return result, [
        text for text in texts if text.startswith(("X holds", "normalize="))
    ]


@pytest.fixture(scope="module")
def fitted(data):
    """Return estimators that are fitted on one kind of pixels each."""
    X, y = data
    nets = {}

    def fit(kind):
        if kind not in nets:
            net = ImageClassifier(**MLP, max_epochs=4, lr=0.003)
            nets[kind] = net.fit(KINDS[kind][0](X), y)
        return nets[kind]

    return fit


# ------------------------------------------------------------------- what is decided


@pytest.mark.parametrize("kind", KINDS)
def test_divisor(kind, data, fitted):
    pixels, net = KINDS[kind][0](data[0]), fitted(kind)
    assert net.pixel_divisor_ == KINDS[kind][1]
    assert net.pixel_range_ == (float(pixels.min()), float(pixels.max()))
    scores = [net.score(pixels, data[1]), fitted("uint8").score(*data)]
    # bool has lost its greys.
    assert scores[0] == pytest.approx(scores[1], abs=0.02 if kind != "bool" else 0.2)


@pytest.mark.parametrize("given", [*GIVEN])
@pytest.mark.parametrize("kind", ["uint8", "16 bits", "negative"])
def test_what_holds_the_pixels_does_not_matter(kind, given, data, fitted):
    X, y = data[0][:40], data[1][:40]
    # Python's integers are wider ones, and so are those of 16 bits in a data set.
    X = KINDS[kind][0](X)
    net = fitted(kind)
    if given == "rows":
        net = ImageClassifier(**MLP, max_epochs=1, image_shape=(1, 8, 8))
        net.fit(KINDS[kind][0](data[0]), data[1])
    expected = net.predict_proba(X)
    found, texts = texts_of(lambda: net.predict_proba(GIVEN[given](X, y)))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not texts


@pytest.mark.parametrize("normalize", ["channel", None, (0.3, 0.5)])
def test_width_of_integers_makes_no_difference(data, normalize):
    X, y = data
    nets = [
        ImageClassifier(**MLP, normalize=normalize, max_epochs=2).fit(pixels, y)
        for pixels in (X, X.astype("int64"), X.astype("uint16"))
    ]
    expected = nets[0].predict_proba(X)
    for net in nets:
        for dtype in ("uint8", "int16", "uint32", "int64"):
            found, texts = texts_of(lambda d=dtype, n=net: n.predict_proba(X.astype(d)))
            np.testing.assert_array_equal(found, expected)
            assert not texts


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_255 = tuple(tuple(255 * v for v in part) for part in IMAGENET)


@pytest.mark.parametrize(
    ("scale", "pair", "warns"),
    [
        (np.uint8, (127.5, 127.5), True),
        (np.uint8, (0, 255), True),
        (np.uint8, IMAGENET_255, True),
        (np.uint8, (0.5, 0.5), False),
        (np.uint8, IMAGENET, False),
        (lambda X: X.astype("uint16") * 257, (32767.5, 32767.5), True),
        (lambda X: X / 255, (127.5, 127.5), True),
        (lambda X: X / 255 / 50, (0.5, 0.5), False),
        (lambda X: X / 127.5 - 1, (0.5, 0.5), False),
        (np.float32, IMAGENET_255, False),
        (np.float32, IMAGENET, True),
    ],
)
def test_normalisation_for_other_pixels(scale, pair, warns):
    X = np.random.default_rng(0).integers(0, 256, (8, 3, 4, 4))
    net = ImageClassifier("mlp", normalize=pair, max_epochs=1)
    texts = texts_of(lambda: net.fit(scale(X), np.arange(8) % 2))[1]
    assert any("normalize=" in text for text in texts) == warns


def test_rows_without_weight_decide_nothing(data):
    X, y = data[0].astype("int64"), data[1]
    X[0] = 70_000
    weight = np.ones(len(X))
    weight[0] = 0
    net = ImageClassifier(**MLP, max_epochs=1).fit(X, y, sample_weight=weight)
    assert (net.pixel_divisor_, net.pixel_range_) == (255, (0.0, 255.0))


def test_first_call_decides(data):
    X, y = data
    net = ImageClassifier(**MLP, max_epochs=2).partial_fit(X.astype("int64"), y)
    other = copy.deepcopy(net).partial_fit(X, y)
    for pixels in (X.astype("uint16"), np.float32(X) / 255):
        found, texts = texts_of(lambda p=pixels: copy.deepcopy(net).partial_fit(p, y))
        assert found.pixel_divisor_ == 255
        assert not texts
        np.testing.assert_allclose(
            found.predict_proba(X), other.predict_proba(X), atol=1e-3
        )
    _, texts = texts_of(lambda: net.partial_fit(X.astype("float32"), y))
    assert "0 to 255" in texts[0]


# ------------------------------------------------- what comes later, and is told about


#: (kind of fit, kind of predict, whether there is a warning, whether values are right)
PAIRS = [
    ("uint8", "int64", False, True),
    ("uint8", "unit", False, True),
    ("uint8", "16 bits", True, False),
    ("uint8", "float 0..255", True, False),
    ("uint8", "float 0..16", True, False),
    ("uint8", "negative", True, False),
    ("int64", "uint8", False, True),
    ("16 bits", "16 bits as int32", False, True),
    ("16 bits", "uint8", False, True),
    ("16 bits", "unit", False, True),
    ("unit", "uint8", False, True),
    ("unit", "float 0..255", True, False),
    ("float 0..255", "uint8", True, True),
    ("float 0..16", "uint8", True, False),
    ("float -1..1", "uint8", True, False),
    ("bool", "unit", False, True),
    ("unit", "float -1..1", True, False),
    ("float 0..255", "unit", True, False),
    ("float 0..255", "float -1..1", True, False),
    ("float 0..16", "float 0..255", True, False),
    ("negative", "uint8", True, False),
    ("negative", "unit", True, False),
]


@pytest.mark.parametrize(("then", "now", "warns", "is_right"), PAIRS)
def test_other_pixels_than_in_fit(then, now, warns, is_right, data, fitted):
    X, y = data
    net, pixels = fitted(then), KINDS[now][0](X)
    score, texts = texts_of(lambda: net.score(pixels, y))
    assert bool(texts) is warns, texts
    if warns:
        for values in (pixels, KINDS[then][0](X)):
            assert f"from {values.min():.6g} to {values.max():.6g}" in texts[0]
    if is_right:
        assert score >= net.score(KINDS[then][0](X), y) - 0.05


DARK = ["uint8", "int64", "16 bits", "unit", "float 0..255", "float 0..16"]


@pytest.mark.parametrize("kind", [*DARK, "float -1..1", "negative"])
def test_dark_images_alone_do_not_warn(kind, data, fitted):
    dark = KINDS[kind][0](data[0] // 9)
    for X in (dark, np.zeros_like(dark), dark[:1]):
        assert not texts_of(lambda X=X: fitted(kind).predict(X))[1]


def test_validation_rows(data):
    X, y = data
    X, Y = X[:200].astype("int64"), X[200:]
    rows = [(torch.from_numpy(Y), False), (torch.from_numpy(Y).float() / 255, False)]
    for pixels, warns in [*rows, (torch.from_numpy(Y).float(), True)]:
        valid = TensorDataset(pixels, torch.from_numpy(y[200:]))
        net = ImageClassifier(**MLP, max_epochs=1, train_split=predefined_split(valid))
        net, texts = texts_of(lambda net=net: net.fit(X, y[:200]))
        assert bool(texts) is warns
        if not warns:
            expected = -np.log(net.predict_proba(Y)[np.arange(100), y[200:]]).mean()
            assert net.history[-1, "valid_loss"] == pytest.approx(expected, rel=1e-4)


def test_pretrained_weights_bring_their_scale(data):
    X, y = data
    base = ImageClassifier(**MLP, max_epochs=2).fit(X.astype("float32"), y)
    net = ImageClassifier(**MLP, max_epochs=1, lr=0, pretrained=base)
    net, texts = texts_of(lambda: net.fit(X, y))
    assert len(texts) == 1
    assert net.pixel_divisor_ == 1
    np.testing.assert_allclose(
        net.predict_proba(X), base.predict_proba(np.float32(X)), atol=1e-5
    )


@pytest.mark.parametrize(
    "transform",
    [ToTensor(), v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, True)])],
)
def test_fitted_on_a_data_set_that_scales_by_itself(transform, tmp_path, data):
    X, y = data[0][:40], data[1][:40] % 2
    for row, (image, label) in enumerate(zip(X, y, strict=True)):
        path = tmp_path / f"{label}" / f"{row:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    images = ImageFolder(tmp_path, transform)
    pixels = np.stack(
        [np.asarray(Image.open(path).convert("RGB")) for path, _ in images.samples]
    )
    net, texts = texts_of(lambda: ImageClassifier(**MLP, max_epochs=2).fit(images))
    expected = net.predict_proba(images)
    assert net.pixel_range_ == (0, 1)
    for given in (pixels, pixels.astype("int64"), np.float32(pixels / 255)):
        got, more = texts_of(lambda given=given: net.predict_proba(given))
        assert_allclose(got, expected, atol=1e-5)
        assert not texts + more
    _, texts = texts_of(lambda: net.predict(pixels.astype("float32")))
    assert texts


def test_tensors_of_a_data_set_after_floats_of_255(tmp_path, data):
    # ToTensor's items are in [0, 1], also where uint8 would be taken as it is.
    X, _ = data
    for i in range(6):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(X[i]).convert("RGB").save(tmp_path / str(i % 2) / f"{i}.png")
    folder = ImageFolder(tmp_path, ToTensor())
    items = np.stack([image.numpy() for image, _ in folder])
    net = ImageClassifier(**MLP, max_epochs=1).fit(items * 255, folder.targets)
    np.testing.assert_allclose(
        net.predict_proba(folder), net.predict_proba(items), atol=1e-6
    )


# ------------------------------------------------------------------------- kept


@pytest.mark.parametrize("kind", ["int64", "16 bits", "negative", "float 0..255"])
def test_scale_is_saved(kind, data, fitted, tmp_path):
    net, X = fitted(kind), KINDS[kind][0](data[0])[:50]
    net.save(tmp_path / "net.skv")
    net.save_params(f_params=tmp_path / "net.pt")
    fresh = ImageClassifier(**MLP, image_shape=(1, 8, 8), module__n_outputs=10)
    fresh.initialize().load_params(f_params=tmp_path / "net.pt")
    copies = [skvision.load(tmp_path / "net.skv"), pickle.loads(pickle.dumps(net))]
    for other in [*copies, fresh]:
        assert other.pixel_divisor_ == net.pixel_divisor_
        assert other.pixel_range_ == net.pixel_range_
        np.testing.assert_allclose(
            other.predict_proba(X), net.predict_proba(X), atol=1e-6
        )


def test_pickles_without_a_scale_divide_uint8_alone(data, fitted):
    net = copy.deepcopy(fitted("uint8"))
    del net.scaler_.divisors, net.pixel_range_
    X = data[0][:50]
    expected = fitted("uint8").predict_proba(X)
    np.testing.assert_allclose(net.predict_proba(X), expected, atol=1e-6)
    assert not np.allclose(net.predict_proba(X.astype("int64")), expected, atol=1e-2)


@pytest.mark.parametrize(
    ("kind", "now"),
    [("int64", "int16"), ("16 bits", "16 bits"), ("float 0..255", "uint8")],
)
def test_onnx(kind, now, data, fitted, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net = fitted(kind)
    X = KINDS[now][0](data[0])[:20]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X holds")
        export_onnx(net, tmp_path / "net.onnx", example=X)
        expected = net.predict_proba(X)
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    np.testing.assert_allclose(session.run(None, {"X": X})[0], expected, atol=1e-5)


# -------------------------------------------------------- images of several kinds


MIXED = {
    "uint8 and floats": [np.uint8, np.float32],
    "floats and uint8": [np.float32, np.uint8],
    "8 and 16 bits": [np.uint8, np.uint16],
    "int64 and floats": [np.int64, np.float64],
}


@pytest.mark.parametrize("kinds", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("given", ["list", "rows", "pairs", "data set", "as_Xy"])
def test_images_of_several_kinds(kinds, given, fitted):
    images = [np.ones((8, 8), kinds[i == 2]) for i in range(4)]
    y = np.arange(4) % 2
    if given == "rows":
        images = [image.ravel() for image in images]
    # 16 bits are taken for wider ones on the way.
    name = f"({kinds[1].__name__}|int32)"
    with pytest.raises(ValueError, match=f"(?i)(image|row|item) 2 .*{name}"):
        X = {
            "pairs": lambda: list(zip(images, y, strict=True)),
            "data set": lambda: Items(images, y),
            "as_Xy": lambda: as_Xy(Items(images, y))[0],
        }.get(given, lambda: images)()
        ImageClassifier("mlp", max_epochs=1).fit(X, y)


def test_floats_of_several_widths_may_be_mixed(fitted, data):
    X = [np.full((8, 8), 0.5, [np.float32, np.float64][i % 2]) for i in range(4)]
    proba = fitted("unit").predict_proba(Items(X, [0] * 4))
    np.testing.assert_allclose(proba, proba[[0] * 4], atol=1e-6)


# ------------------------------------------------------------------- autoencoders

DENSE = {"module": "dense_autoencoder", "module__hidden": (32, 8), "random_state": 0}


@pytest.mark.parametrize("kind", [*KINDS])
def test_autoencoder_learns_any_range(kind, data):
    X = KINDS[kind][0](data[0])
    net = ImageAutoencoder(**DENSE, max_epochs=20, lr=0.01).fit(X)
    found = net.reconstruct(X)
    assert 1 - ((found.astype(float) - X) ** 2).mean() / X.astype(float).var() > 0.3
    whole = X.dtype.newbyteorder("=")
    assert found.dtype == (whole if X.dtype.kind in "iu" else np.float32)
    again = net.inverse_transform(net.transform(X))
    assert again.dtype == found.dtype
    spread = float(X.max()) - float(X.min())
    assert np.abs(again.astype(float) - found).max() <= 0.01 * spread
    # In units of [0, 1] for integers, else in those of X.
    unit = net.pixel_divisor_ if X.dtype.kind in "iu" else 1
    expected = -((found.astype(float) - X) ** 2).mean() / unit**2
    assert net.score(X) == pytest.approx(expected, rel=0.02)


def test_autoencoder_range_is_kept(data, tmp_path):
    X = np.float32(data[0]) / 127.5 - 1
    net = ImageAutoencoder(**DENSE, max_epochs=2).fit(X)
    net.save(tmp_path / "net.skv")
    other = skvision.load(tmp_path / "net.skv")
    np.testing.assert_allclose(other.reconstruct(X), net.reconstruct(X), atol=1e-6)
    # Noise is for values in [0, 1] and comes back to the range of X.
    noise = skvision.preprocessing.UniformNoise()
    noisy = ImageAutoencoder(**DENSE, noise=noise, max_epochs=20, lr=0.01).fit(X)
    assert noisy.score(X) > -0.7 * X.var()


def test_autoencoder_says_that_it_learnt_nothing(data):
    X = data[0].astype("float32")
    with pytest.warns(Warning, match="no better than .* of a constant prediction"):
        ImageAutoencoder(**DENSE, normalize=None, max_epochs=3).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageAutoencoder(**DENSE, max_epochs=40, lr=0.01).fit(X)


# ------------------------------------------------------------------ numbers, tensors


@pytest.mark.parametrize("kind", [ImageClassifier, ImageRegressor])
def test_values_that_overflow_are_named(kind, data):
    X = np.float32(data[0]) / 255
    net = kind(**MLP, max_epochs=1).fit(X, data[1])
    X[3, 2, 2] = 3e38
    with pytest.raises(ValueError, match=r"image 3 of X.*3e\+38"):
        net.predict(X)
    with pytest.raises(ValueError, match=r"X contains .*3e\+38.* too large"):
        kind(**MLP, normalize=None, max_epochs=1).fit(X, data[1])
    with torch.no_grad():
        for weight in net.module_.parameters():
            weight.mul_(1e38)
    with pytest.raises(ValueError, match=r"greatest weight of the network is .*e\+3"):
        net.predict(X[:3])


TENSORS = {
    "complex": lambda X: X + 1j,
    "sparse": lambda X: X.to_sparse(),
    "meta": lambda X: X.to("meta"),
}


@pytest.mark.parametrize("given", ["tensor", "rows", "list", "TensorDataset", "items"])
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_without_real_numbers(kind, given, data, fitted):
    X, y = torch.from_numpy(np.float32(data[0][:9]) / 255), torch.arange(9) % 3
    X = {
        "tensor": lambda: TENSORS[kind](X),
        "rows": lambda: TENSORS[kind](X.flatten(1)),
        "list": lambda: [TENSORS[kind](image) for image in X],
        "TensorDataset": lambda: TensorDataset(TENSORS[kind](X), y),
        "items": lambda: Items([TENSORS[kind](image) for image in X], y),
    }[given]()
    for call in (fitted("unit").predict, ImageClassifier("mlp", max_epochs=1).fit):
        with pytest.raises(TypeError, match=kind):
            call(X, *[y] * (call.__name__ == "fit"))


def test_rows_of_images_that_were_given_one_by_one():
    X = np.random.default_rng(0).integers(0, 256, (20, 5, 6, 3), dtype=np.uint8)
    images = [Image.fromarray(image) for image in X]
    net = ImageClassifier(**MLP, max_epochs=1).fit(images, np.arange(20) % 2)
    rows = np.stack([np.asarray(image) for image in images]).reshape(20, -1)
    assert_allclose(net.predict_proba(rows), net.predict_proba(images), atol=1e-6)
    coder = ImageAutoencoder(max_epochs=1).fit(images)
    assert coder.reconstruct(images).shape == X.shape
