"""Files that cannot be read are left out of a fit, with all that belongs to them."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from skvision_tests import make_images, small, weights

import skvision
from skvision import ImageAutoencoder, ImageClassifier, ImageRegressor
from skvision.model_selection import StackedGridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 40
#: Rows of the table whose images cannot be read, and why.
BAD = {0: "cannot identify", 3: "Item 3 of X is missing", 17: "No such file"}
KEPT = np.delete(np.arange(N), [*BAD])
KINDS = {
    "classifier": small(ImageClassifier),
    "regressor": small(ImageRegressor),
    "autoencoder": small(
        ImageAutoencoder, module="dense_autoencoder", module__hidden=(8, 3)
    ),
}


@pytest.fixture
def column(tmp_path):
    """Paths of images, some of which cannot be read, and their labels."""
    X, y = make_images(N)
    paths = [str(tmp_path / f"{row:02}.png") for row in range(N)]
    for path, image in zip(paths, (X * 127).astype(np.uint8), strict=True):
        Image.fromarray(image).save(path)
    with open(paths[0], "wb") as file:
        file.write(b"broken")
    (tmp_path / "17.png").unlink()
    paths[3] = None
    return pd.Series(paths, index=np.arange(N) + 5), pd.Series(y)


def names(paths):
    return [
        str(path) if isinstance(path, str) else "None" for path in paths[[5, 8, 22]]
    ]


def skipping(kind, **params):
    return KINDS[kind].__sklearn_clone__().set_params(on_error="skip", **params)


FORMS = (list, pd.Series.to_frame, pd.Series)


@pytest.mark.parametrize(("kind", "form"), zip(KINDS, FORMS, strict=True))
def test_as_if_they_were_not_there(kind, form, column, assert_same_weights):
    paths, y = column
    y = None if kind == "autoencoder" else y
    given = {"sample_weight": np.arange(1, N + 1), "groups": np.arange(N) % 9}
    net = skipping(kind, early_stopping=True)
    with pytest.warns(
        UserWarning, match=r"^3 of 40 images of X cannot .* 'None'"
    ) as log:
        net.fit(form(paths), y, **given)
    log = [told for told in log if told.category is UserWarning]
    assert len(log) == 1
    assert log[0].filename == __file__
    kept = {name: value[KEPT] for name, value in given.items()}
    expected = net.__sklearn_clone__()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected.fit(paths.iloc[KEPT], None if y is None else y[KEPT], **kept)
    assert_same_weights(weights(net), weights(expected))
    assert_array_equal(net.history[:, "valid_loss"], expected.history[:, "valid_loss"])
    assert_array_equal(net.skipped_, names(paths))
    for part, reason in zip(BAD.values(), net.skipped_reasons_, strict=True):
        assert part in reason
    assert len(expected.skipped_) == len(expected.skipped_reasons_) == 0


def test_rows_to_validate_on(column):
    paths, y = column
    net, good = skipping("classifier"), KEPT[:20]
    with pytest.warns(UserWarning, match="3 of 40 images of X_val cannot be read"):
        net.fit([*paths.iloc[good]], y[good], X_val=paths, y_val=y)
    rows = [batch.get("valid_batch_size", 0) for batch in net.history[0, "batches"]]
    assert sum(rows) == N - 3
    assert net.skipped_.tolist() == names(paths)


def test_what_was_skipped_goes_with_the_estimator(column, tmp_path):
    paths, y = column
    with pytest.warns(UserWarning, match="cannot be read"):
        net = skipping("classifier").fit(paths, y)
    net.save(tmp_path / "net.skv")
    for other in (skvision.load(tmp_path / "net.skv"), pickle.loads(pickle.dumps(net))):
        assert other.on_error == "skip"
        assert_array_equal(other.skipped_, net.skipped_)
        assert_array_equal(other.skipped_reasons_, net.skipped_reasons_)
    net.fit(paths.iloc[KEPT], y[KEPT])
    assert net.skipped_.tolist() == []
    images, labels = make_images()
    assert not hasattr(net.fit(images, labels), "skipped_")


@pytest.mark.parametrize("method", ["predict", "score", "transform"])
def test_results_that_are_owed(method, column):
    paths, y = column
    net = skipping("classifier").fit(paths.iloc[KEPT], y[KEPT])
    targets = (y[1:],) if method == "score" else ()
    with pytest.raises(TypeError, match="item 2 is nan"):
        getattr(net, method)(paths.iloc[1:], *targets)
    with pytest.raises(OSError, match="17.png"):
        getattr(net, method)(paths.iloc[10:], *(t[9:] for t in targets))


def test_other_errors_than_of_single_files(column, tmp_path):
    paths, y = column
    for paths_of, error, message in [
        (paths[:3], OSError, "00.png cannot be read as an image"),
        (paths[3:], TypeError, "item 0 is nan. Leave its row out"),
    ]:
        with pytest.raises(error, match=message):
            KINDS["classifier"].__sklearn_clone__().fit([*paths_of], y[: len(paths_of)])
    net = skipping("classifier")
    with pytest.raises(OSError, match="'skip' leaves nothing: none of the 2 images"):
        net.fit([*paths.iloc[[0, 3]]], [0, 1])
    with pytest.raises(ValueError, match=r"inconsistent.*\[40, 39\]"):
        net.fit(paths, y[1:])
    Image.new("L", (5, 5)).save(tmp_path / "05.png")  # Nothing is wrong with it.
    with (
        pytest.warns(UserWarning, match="3 of 40"),
        pytest.raises(ValueError, match=r"05.png.*\(1, 5, 5\).*image_size"),
    ):
        net.fit(paths, y)


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_searches(search, column):
    paths, y = column
    paths = [*paths]
    folds = [*KFold(2, shuffle=True, random_state=0).split(KEPT)]
    # Rows to score on can be read.
    splits = [(np.setdiff1d(np.arange(N), KEPT[test]), KEPT[test]) for _, test in folds]
    options = {"calibrate": False} if search is StackedGridSearchCV else {}
    net = skipping("classifier", image_size=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = search(net, {"lr": [0.03, 0.01]}, cv=splits, **options)
        found.fit(paths, y, sample_weight=np.arange(1, N + 1))
    told = {str(w.message)[:17] for w in caught if w.category is UserWarning}
    assert told == {"3 of 40 images of"} | {
        f"3 of {len(train)} images of" for train, _ in splits
    }
    expected = GridSearchCV(net, {"lr": [0.03, 0.01]}, cv=folds)
    expected.fit([paths[r] for r in KEPT], y[KEPT], sample_weight=KEPT + 1)
    for name in ("mean_test_score", "split0_test_score", "split1_test_score"):
        assert_array_equal(found.cv_results_[name], expected.cv_results_[name])
