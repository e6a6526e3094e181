"""The examples run without downloads, most of them with smaller numbers."""

import json
import math
import os
import re
import runpy
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def check_letters(rows, least):
    ours = {row["what"]: row["ours"] for row in rows}
    flawed = [value for what, value in ours.items() if "twice selection" in what]
    assert len(flawed) == 6
    # A softmax twice: SGD stays where a guess among 47 letters is.
    assert flawed[2:] == pytest.approx([math.log(47)] * 4, abs=0.01)
    accuracies = {
        name: float(ours[f"{name} test: top-1 in %"].split("±")[0])
        for name in ("E1", "E1 softmax twice")
    }
    assert accuracies["E1"] > accuracies["E1 softmax twice"] + least


def check_ablation(rows, least):
    assert "Training diverged in epoch 1" in rows[-1]["ours with"]
    assert rows[-1]["ours"] > 1000
    assert all(row["ours"] > least for row in rows[:5])


def check_perceptrons(rows, most):
    for row in rows:
        if row["what"].startswith("F1 lr 1,"):
            assert row["ours"] == "DivergedError" or row["ours"] <= most
        if row["what"].endswith("parameters"):
            assert row["ours"] == row["reported"]
    assert sum(row["what"].endswith("parameters") for row in rows) == 3


def check_subset(rows, least):
    ours = {row["what"]: row["ours"] for row in rows}
    assert ours["S1: outputs"] == ours["S3: outputs"] == 5
    assert ours["S1 test: accuracy in %"] > least
    assert ours["S3 test: accuracy in %"] > least


def check_tools(rows, _):
    ours = {row["what"]: row["ours"] for row in rows}
    by_folds = [value for what, value in ours.items() if what.startswith("K5")]
    assert len(by_folds) == 2
    assert by_folds[0] == by_folds[1]
    assert sum(what.startswith("K7") for what in ours) == 3


def check_fast(rows, least):
    published, _, ours, without_mirrors = rows
    assert (published["accuracy in %"], published["time in s"]) == (94.01, 3.29)
    # Ten classes; a few hundred steps are not needed to be far beyond a guess.
    assert ours["accuracy in %"] > least
    assert without_mirrors["accuracy in %"] > least
    assert ours["epochs"] == 3
    assert 0 < ours["time in s"] < 600


class Study(NamedTuple):
    """What a script writes, and what holds for its figures."""

    script: str
    table: str
    n_pictures: int
    check: Callable[[list[dict], float], None]
    #: What `check` is given when the script runs as it is, and when made smaller.
    bounds: tuple[float, float]
    smaller: dict[str, str]


LESS_CIFAR = {
    'load("train", 2000), load("test", 1000)': 'load("train", 600), load("test", 200)'
}
STUDIES = [
    Study(
        "plot_emnist_letters.py",
        "emnist",
        5,
        check_letters,
        (5, 1),
        {"(2000, 1000, 2)": "(705, 235, 1)", "(3, 6, 5)": "(1, 5, 1)"},
    ),
    Study(
        "plot_cifar10_ablation.py",
        "cifar10",
        3,
        check_ablation,
        (15, 13),
        LESS_CIFAR
        | {
            "((32, 64), (128, 128), (256, 256))": "((8, 8), (16, 16), (16, 16))",
            "(1024, 512)": "(64, 32)",
            '"batch_size": 64': '"batch_size": 32',
        },
    ),
    Study(
        "plot_cifar10_94.py",
        "cifar10-94",
        1,
        check_fast,
        (35, 15),
        {
            'load("train", 2000), load("test", 1000)': 'load("train", 600), '
            'load("test", 200)',
            "(64, 256, 256)": "(32, 64, 64)",
            "else 128": "else 50",
        },
    ),
    Study(
        "plot_fashion_mlp.py",
        "fashion-mlp",
        3,
        check_perceptrons,
        (30, 30),
        {
            "3000, 1000, 20, 3": "300, 200, 10, 1",
            '"module__dropout": [0.0, 0.2]': '"module__dropout": [0.2]',
        },
    ),
    Study(
        "plot_fashion_subset.py",
        "fashion-subset",
        3,
        check_subset,
        (80, 60),
        {
            "(1000, 1000, 3)": "(200, 100, 3)",
            "((10, 20, 40, 64),)": "((4, 8, 8, 16),)",
            "BATCH_SIZE, MAX_LR = 100": "BATCH_SIZE, MAX_LR = 50",
        },
    ),
    Study(
        "plot_cifar10_sklearn_tools.py",
        "cifar10-tools",
        4,
        check_tools,
        (0, 0),
        {
            "or 1500, 1000, 200": "or 300, 200, 60",
            '{"K1": 5, "K3": 2, "K4": 1, "K5": 1, "K6": 5, "K7": 3}': "dict.fromkeys("
            '["K1", "K3", "K4", "K5", "K6", "K7"], 1)',
            "else 160": "else 32",
            "(512, 512, 512)": "(64, 64, 64)",
            "((32, 32), (64, 64))": "((8, 8), (16, 16))",
            "(1000, 512)": "(100, 50)",
        },
    ),
]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a script in this process, with other numbers; return what it printed."""

    def run(script, *options, smaller=()):
        text = (EXAMPLES / script).read_text()
        for numbers, others in dict(smaller).items():
            assert text.count(numbers) == 1, numbers
            text = text.replace(numbers, others)
        path = tmp_path / script
        path.write_text(text)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, options)])
        runpy.run_path(str(path), run_name="__main__")
        path.unlink()
        return capsys.readouterr().out

    with plt.style.context("default"):
        backend = plt.get_backend()
        plt.switch_backend("agg")
        yield run
        plt.close("all")
        plt.switch_backend(backend)


def run_alone(*command):
    """Run a command of Python in a process of its own; return what it printed."""
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        # Without a GPU, processes talk by gloo.
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def check_pictures(folder, names):
    for path in sorted(folder.glob(names)):
        with Image.open(path) as picture:
            assert min(picture.size) > 150, path
            # More than one colour: something has been drawn.
            assert picture.convert("L").getextrema()[0] < 255, path


def test_quickstart_and_its_stack(run, tmp_path):
    """One name is changed, and the choice is the same."""
    fewer = {
        "[1e-3, 1e-2]": "[1e-2]",
        "[1e-2, 1e-1]": "[1e-1]",
        "= load_digits_images()": "= load_digits_images(n_samples=900, random_state=0)",
    }
    stdout = run("quickstart.py", "--output", tmp_path / "new", smaller=fewer)
    for text in ["[CV 3/3] END", "Chosen: {", "153,354", "valid_loss", "precision"]:
        assert text in stdout
    accuracy = float(stdout.partition("Test accuracy: ")[2].split()[0])
    assert accuracy > 0.9
    with Image.open(tmp_path / "new" / "quickstart-digits.png") as picture:
        width, height = picture.size
    assert width > height > 400

    new = "from skvision.model_selection import StackedGridSearchCV as GridSearchCV"
    old = "from sklearn.model_selection import GridSearchCV"
    stacked = run("quickstart.py", "--output", tmp_path, smaller=fewer | {old: new})
    choices = [
        text.partition("Chosen: ")[2].partition("\n")[0] for text in (stdout, stacked)
    ]
    assert choices[0] == choices[1] != ""


def test_stacked_search(run, tmp_path):
    smaller = {
        "[1e-1, 3e-2, 1e-2, 3e-3, 1e-3]": "[1e-2, 1e-3]",
        "max_epochs=3": "max_epochs=1",
        "module__hidden=32": 'dtype="float64"',
    }
    stdout = run("plot_stacked_search.py", "--output", tmp_path, smaller=smaller)
    check_pictures(tmp_path, "*.png")
    ordinary, stacked = stdout.splitlines()[:2]
    assert ordinary.startswith("GridSearchCV: {")
    assert stacked.startswith("StackedGridSearchCV: {")
    assert ordinary.split("{")[1].split("}")[0] == stacked.split("{")[1].split("}")[0]


FEWER_DIGITS = "load_digits_images(n_samples=300, random_state=0, return_X_y=True)"


def test_photo_folder(run, tmp_path):
    smaller = {
        "load_digits_images(return_X_y=True)": FEWER_DIGITS,
        "max_epochs=5": "max_epochs=2",
    }
    stdout = run("plot_photo_folder.py", "--output", tmp_path, smaller=smaller)
    check_pictures(tmp_path, "photo-folder.png")
    accuracies = re.findall(r"(\d+\.\d)%", stdout)
    assert len(accuracies) == 2 and min(map(float, accuracies)) > 60


def test_anomalies(run, tmp_path):
    stdout = run("plot_anomalies.py", "--output", tmp_path)
    check_pictures(tmp_path, "anomalies.png")
    assert float(stdout.partition("curve")[2].split()[0]) > 0.95


def test_several_processes(run, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    script = EXAMPLES / "several_processes.py"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    outputs = []
    for n in (1, 2):
        options = ["--epochs", 3, "--output", tmp_path / str(n)]
        if n == 1:
            stdout = run(script.name, *options)
            accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        else:
            stdout = run_alone(*launcher, script, *options)
        lines = stdout.splitlines()
        # Only one of them has printed: a line for each epoch, and so on.
        assert sum(line.strip().startswith("epoch ") for line in lines) == 1
        (count,) = (line for line in lines if line.startswith("Processes: "))
        assert count.startswith(f"Processes: {n};")
        sums = json.loads(count.partition("weights: ")[2])
        assert len(sums) == n
        assert len(set(sums)) == 1
        assert [path.name for path in (tmp_path / str(n)).iterdir()] == ["digits.skv"]
        outputs.append((sums[0], stdout))
    (one, text), (two, other) = outputs
    # The same training, but for the rounding of sums.
    assert one == pytest.approx(two, rel=1e-3)
    accuracies = [
        float(t.partition("Test accuracy: ")[2].split()[0]) for t in (text, other)
    ]
    assert accuracies[0] > 0.8
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)
    assert f"{accuracies[1]:.4f}" in other.partition("Saved: ")[2]


def test_convolution_by_hand(run, tmp_path):
    stdout = run("plot_convolution_by_hand.py", "--output", tmp_path)
    check_pictures(tmp_path, "*.png")
    for values in [
        "After the ReLU: [[0, 0], [1, 3], [7, 9]]",
        "Largest of 2x2, stride 1: [[3], [9]]",
        "[[1, 0, 0, 0], [0, 0, 0, 2], [0, 1, 3, 8], [0, 7, 9, 14], [8, 25, 28, 20]]",
        "Mean of 2x2: [[0.25, 0.5], [2.0, 8.5]]",
    ]:
        assert values in stdout


@pytest.fixture
def cifar10(data_home):
    """Folders of images, which torchvision's own data set cannot read."""
    folder = data_home / "cifar10"
    if not (folder / "train").is_dir():
        pytest.skip(f"there are no folders of images in {folder}")
    return folder


# So few steps teach some of the networks nothing.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "is_small", [True, pytest.param(False, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.table)
def test_study(study, is_small, run, tmp_path, request):
    options = ["--data-home", request.getfixturevalue("data_home")]
    if "cifar10" in study.script:
        options = ["--image-folder", request.getfixturevalue("cifar10")]
    smaller = study.smaller if is_small else {}
    stdout = run(study.script, *options, "--output", tmp_path, smaller=smaller)
    assert "--full" in stdout
    content = json.loads((tmp_path / f"{study.table}.json").read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["rows"]]
    study.check(rows, study.bounds[is_small])
    assert (tmp_path / f"{study.table}.md").read_text().count("\n|") >= 6
    assert len(list(tmp_path.glob(f"{study.table}-*.png"))) >= study.n_pictures
    check_pictures(tmp_path, "*.png")


@pytest.fixture
def offline():
    """Name proxies that refuse, so that torchvision downloads nothing."""
    refuse = urllib.request.ProxyHandler(
        dict.fromkeys(["http", "https"], "http://127.0.0.1:9")
    )
    urllib.request.install_opener(urllib.request.build_opener(refuse))
    yield
    urllib.request.install_opener(None)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("script", ["quickstart.py", *(row.script for row in STUDIES)])
def test_without_data(script, run, tmp_path):
    options = ["--data", "fashion-mnist"] if script == "quickstart.py" else []
    options += ["--data-home", tmp_path / "data", "--output", tmp_path / "results"]
    with pytest.raises(SystemExit) as exit:
        run(script, *options)
    message = exit.value.code  # Which Python prints, to end with the code 1.
    assert str(tmp_path / "data") in message
    assert "data-home" in message or "run without --data" in message
