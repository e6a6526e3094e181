"""The examples run, from the command line and without downloads."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def check_letters(rows):
    ours = {row["what"]: row["ours"] for row in rows}
    flawed = [value for what, value in ours.items() if "twice selection" in what]
    assert len(flawed) == 6
    # A softmax twice: SGD stays where a guess among 47 letters is.
    assert flawed[2:] == pytest.approx([math.log(47)] * 4, abs=0.01)
    accuracies = {
        name: float(ours[f"{name} test: top-1 in %"].split("±")[0])
        for name in ("E1", "E1 softmax twice")
    }
    assert accuracies["E1"] > accuracies["E1 softmax twice"] + 5


def check_ablation(rows):
    assert "Training diverged in epoch 1" in rows[-1]["ours with"]
    assert rows[-1]["ours"] > 1000
    assert all(row["ours"] > 15 for row in rows[:5])


def check_perceptrons(rows):
    for row in rows:
        if row["what"].startswith("F1 lr 1,"):
            assert row["ours"] == "DivergedError" or row["ours"] <= 30
        if row["what"].endswith("parameters"):
            assert row["ours"] == row["reported"]
    assert sum(row["what"].endswith("parameters") for row in rows) == 3


def check_subset(rows):
    ours = {row["what"]: row["ours"] for row in rows}
    assert ours["S1: outputs"] == ours["S3: outputs"] == 5
    assert min(ours["S1 test: accuracy in %"], ours["S3 test: accuracy in %"]) > 80


def check_tools(rows):
    ours = {row["what"]: row["ours"] for row in rows}
    by_folds = [value for what, value in ours.items() if what.startswith("K5")]
    assert len(by_folds) == 2
    assert by_folds[0] == by_folds[1]
    assert sum(what.startswith("K7") for what in ours) == 3


def check_fast(rows):
    published, _, ours, without_mirrors = rows
    assert (published["accuracy in %"], published["time in s"]) == (94.01, 3.29)
    # Ten classes; a few hundred steps are not needed to be far beyond a guess.
    assert min(row["accuracy in %"] for row in (ours, without_mirrors)) > 35
    assert ours["epochs"] == 3
    assert ours["training images"] == 2000
    assert 0 < ours["time in s"] < 600


#: Script, name of its table, number of its pictures, what holds for its figures.
STUDIES = [
    ("plot_emnist_letters.py", "emnist", 5, check_letters),
    ("plot_cifar10_ablation.py", "cifar10", 3, check_ablation),
    ("plot_cifar10_94.py", "cifar10-94", 1, check_fast),
    ("plot_fashion_mlp.py", "fashion-mlp", 3, check_perceptrons),
    ("plot_fashion_subset.py", "fashion-subset", 3, check_subset),
    ("plot_cifar10_sklearn_tools.py", "cifar10-tools", 4, check_tools),
]


def run(script, *options, **environment):
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, options)],
        capture_output=True,
        text=True,
        env=os.environ | {"MPLBACKEND": "agg"} | environment,
    )


def check_pictures(folder, names):
    for path in sorted(folder.glob(names)):
        with Image.open(path) as picture:
            assert min(picture.size) > 150, path
            # More than one colour: something has been drawn.
            assert picture.convert("L").getextrema()[0] < 255, path


def test_quickstart(tmp_path):
    result = run("quickstart.py", "--output", tmp_path / "new")
    assert result.returncode == 0, result.stderr
    for text in ["[CV 3/3] END", "Chosen: {", "153,354", "valid_loss", "precision"]:
        assert text in result.stdout
    accuracy = float(result.stdout.partition("Test accuracy: ")[2].split()[0])
    assert accuracy > 0.95
    with Image.open(tmp_path / "new" / "quickstart-digits.png") as picture:
        width, height = picture.size
    assert width > height > 400


def test_stacked_search(tmp_path):
    result = run("plot_stacked_search.py", "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    check_pictures(tmp_path, "*.png")
    ordinary, stacked = result.stdout.splitlines()[:2]
    assert ordinary.startswith("GridSearchCV: {")
    assert stacked.startswith("StackedGridSearchCV: {")
    assert ordinary.split("{")[1].split("}")[0] == stacked.split("{")[1].split("}")[0]


def test_quickstart_with_a_stack(tmp_path):
    """One name is changed, and the choice is the same."""
    text = (EXAMPLES / "quickstart.py").read_text()
    script = tmp_path / "quickstart.py"
    new = "from skvision.model_selection import StackedGridSearchCV as GridSearchCV"
    script.write_text(
        text.replace("from sklearn.model_selection import GridSearchCV", new)
    )
    chosen = []
    for path in (EXAMPLES / "quickstart.py", script):
        result = run(path, "--output", tmp_path)
        assert result.returncode == 0, result.stderr
        chosen.append(result.stdout.partition("Chosen: ")[2].partition("\n")[0])
    assert chosen[0] == chosen[1] != ""


def test_several_processes(tmp_path):
    pytest.importorskip("accelerate")
    outputs = []
    for n in (1, 2):
        result = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run"),
                *("--standalone", "--nproc-per-node", str(n)),
                *(EXAMPLES / "several_processes.py", "--epochs", "6"),
                *("--output", tmp_path / str(n)),
            ],
            capture_output=True,
            text=True,
            # Without a GPU, the processes talk by gloo.
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        # Only one of them has printed: a line for each epoch, and so on.
        assert sum(line.strip().startswith("epoch ") for line in lines) == 1
        (count,) = (line for line in lines if line.startswith("Processes: "))
        assert count.startswith(f"Processes: {n};")
        sums = json.loads(count.partition("weights: ")[2])
        assert len(sums) == n
        assert len(set(sums)) == 1
        assert [path.name for path in (tmp_path / str(n)).iterdir()] == ["digits.skv"]
        outputs.append((sums[0], result.stdout))
    (one, text), (two, other) = outputs
    # The same training, but for the rounding of sums.
    assert one == pytest.approx(two, rel=1e-3)
    accuracies = [
        float(t.partition("Test accuracy: ")[2].split()[0]) for t in (text, other)
    ]
    assert accuracies[0] > 0.85
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)
    assert f"{accuracies[1]:.4f}" in other.partition("Saved: ")[2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_more_than_memory(tmp_path):
    result = run("more_than_memory.py", "--n-images", 30_000, "--folder", tmp_path)
    assert result.returncode == 0, result.stderr
    lines = (line.split(": ") for line in result.stdout.splitlines())
    values = {name: float(value) for name, value in lines}
    assert values["GB of images"] == pytest.approx(0.09, abs=0.01)
    assert values["MB of memory at most"] < 1000
    assert values["Accuracy"] > 0.5
    assert list(tmp_path.iterdir()) == []


def test_convolution_by_hand(tmp_path):
    result = run("plot_convolution_by_hand.py", "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    check_pictures(tmp_path, "*.png")
    for values in [
        "After the ReLU: [[0, 0], [1, 3], [7, 9]]",
        "Largest of 2x2, stride 1: [[3], [9]]",
        "[[1, 0, 0, 0], [0, 0, 0, 2], [0, 1, 3, 8], [0, 7, 9, 14], [8, 25, 28, 20]]",
        "Mean of 2x2: [[0.25, 0.5], [2.0, 8.5]]",
    ]:
        assert values in result.stdout


@pytest.fixture
def cifar10(data_home):
    """Folders of images, which torchvision's own data set cannot read."""
    folder = data_home / "cifar10"
    if not (folder / "train").is_dir():
        pytest.skip(f"there are no folders of images in {folder}")
    return folder


@pytest.mark.parametrize(("script", "table", "n_pictures", "check"), STUDIES)
def test_study(script, table, n_pictures, check, tmp_path, request):
    options = ["--data-home", request.getfixturevalue("data_home")]
    if "cifar10" in script:
        options = ["--image-folder", request.getfixturevalue("cifar10")]
    result = run(script, *options, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "--full" in result.stdout
    content = json.loads((tmp_path / f"{table}.json").read_text())
    check([dict(zip(content["columns"], row, strict=True)) for row in content["rows"]])
    assert (tmp_path / f"{table}.md").read_text().count("\n| ") >= 6
    assert len(list(tmp_path.glob(f"{table}-*.png"))) >= n_pictures
    check_pictures(tmp_path, "*.png")


@pytest.mark.parametrize("script", ["quickstart.py", *(row[0] for row in STUDIES)])
def test_without_data(script, tmp_path):
    # Proxies that refuse keep torchvision from downloading.
    proxy = "http://127.0.0.1:9"
    options = ["--data", "fashion-mnist"] if script == "quickstart.py" else []
    options += ["--data-home", tmp_path / "data", "--output", tmp_path / "results"]
    result = run(script, *options, http_proxy=proxy, https_proxy=proxy)
    assert result.returncode == 1
    assert str(tmp_path / "data") in result.stderr
    assert "data-home" in result.stderr or "run without --data" in result.stderr
    assert "Traceback" not in result.stderr
