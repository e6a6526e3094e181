"""What README.md shows works, and its commands are those that are tested."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from skvision import datasets
from skvision.datasets import load_digits_images

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def fake_data(root, download, transform):
    """Stand in for a data set that would be downloaded."""
    return torchvision.datasets.FakeData(
        200, image_size=(1, 28, 28), transform=transform
    )


def save_photos(folder):
    """Save photographs of two kinds and several sizes, and a new one."""
    rng = np.random.default_rng(0)
    for i in range(12):
        kind = ("cat", "dog")[i % 2]
        pixels = rng.integers(0, 80, (30 + i, 50 - i, 3), dtype=np.uint8)
        pixels[..., i % 2] += 150
        place = folder / "photos" / kind if i < 11 else folder
        place.mkdir(parents=True, exist_ok=True)
        name = f"{i}.jpg" if i < 11 else "new.jpg"
        Image.fromarray(pixels).save(place / name)


# The images of the stand-in are noise.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_examples(monkeypatch, capsys, tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fake_data)
    # Fewer images, and no processes, which take seconds to start.
    few = functools.partial(load_digits_images, n_samples=500, random_state=0)
    monkeypatch.setattr(datasets, "load_digits_images", few)

    class Client(distributed.Client):
        def __init__(self, **workers):
            super().__init__(**workers, processes=False, dashboard_address=None)

    monkeypatch.setattr(distributed, "Client", Client)
    monkeypatch.chdir(tmp_path)
    save_photos(tmp_path)
    namespace = {"__name__": "__main__"}
    for code in blocks("python"):
        exec(code, namespace)
    lines = capsys.readouterr().out.splitlines()
    accuracy, kind, several, setting, scores, *tables = lines
    assert float(accuracy) > 0.8
    assert kind in ("['cat']", "['dog']")
    assert several in ("[[0 0]]", "[[0 1]]", "[[1 0]]", "[[1 1]]")
    assert "module__hidden" in setting
    assert len(scores.strip("[]").split()) == 3
    for start in ["layer ", "total ", "label ", "all "]:
        assert any(line.startswith(start) for line in tables)
    X_test = namespace["X_test"]
    same, classifier = (namespace[name] for name in ("same", "classifier"))
    assert (same.predict(X_test) == classifier.predict(X_test)).all()


def test_commands_are_those_of_the_continuous_integration():
    commands = [line for block in blocks("shell") for line in block.splitlines()]
    assert len(commands) == 3
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    for command in commands:
        # What has several processes is run by the tests of examples.
        several = re.fullmatch(r"torchrun --nproc-per-node 2 (\S+)", command)
        assert command in script or (several and (ROOT / several[1]).exists())


def test_figures_are_those_of_the_results():
    results, words = ROOT / "benchmarks" / "results", README.split()
    for name in ("studies", "speed"):
        lines = (results / f"{name}.md").read_text().splitlines()
        table = [line for line in lines if line.startswith("|")]
        assert len(table) > 8
        assert "\n".join(table) in README
    streaming = json.loads((results / "streaming.json").read_text())["results"][0]
    assert f"at most {streaming['MB of memory at most']:.0f} MB" in " ".join(words)
    kills = json.loads((results / "kills.json").read_text())
    n_killed = sum(row["killed"] for row in kills["results"])
    assert kills["met"] and f"Of {n_killed} processes killed" in " ".join(words)
    found = json.loads((results / "default_classifier.json").read_text())["results"]
    last = [f"{100 * row['test accuracy']:.2f}" for row in found if row["epoch"] == 5]
    assert f"{', '.join(last[:-1])} and {last[-1]} %" in " ".join(words)
