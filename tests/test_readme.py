"""What README.md shows works, and its commands are those that are tested."""

import json
import re
from pathlib import Path

import pytest
import torchvision

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def fake_data(root, download, transform):
    """Stand in for a data set that would be downloaded."""
    return torchvision.datasets.FakeData(
        200, image_size=(1, 28, 28), transform=transform
    )


# The images of the stand-in are noise.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_examples(monkeypatch, capsys):
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fake_data)
    namespace = {}
    for code in blocks("python"):
        exec(code, namespace)
    accuracy, setting, scores, *tables = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.9
    assert "module__hidden" in setting
    assert len(scores.strip("[]").split()) == 3
    for start in ["layer ", "total ", "label ", "all "]:
        assert any(line.startswith(start) for line in tables)


def test_commands_are_those_of_the_continuous_integration():
    commands = [line for block in blocks("shell") for line in block.splitlines()]
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    for command in commands:
        assert command in script


def test_figures_are_those_of_the_results():
    results = ROOT / "benchmarks" / "results"
    lines = (results / "studies.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) > 8
    assert "\n".join(table) in README
    found = json.loads((results / "default_classifier.json").read_text())["results"]
    last = [f"{100 * row['test accuracy']:.2f}" for row in found if row["epoch"] == 5]
    assert f"{', '.join(last[:-1])} and {last[-1]} %" in " ".join(README.split())
