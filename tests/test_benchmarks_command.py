"""How benchmarks are listed and run."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
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


def command_line(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_all_are_listed():
    result = command_line()
    assert result.returncode == 0, result.stderr
    listed = dict(
        line.split(maxsplit=1)
        for line in result.stdout.splitlines()
        if line.split()[:1] and line.split()[0] in NAMES
    )
    assert list(listed) == NAMES
    assert len(NAMES) >= 10
    assert all(line.endswith(".") for line in listed.values())


@pytest.mark.parametrize("arguments", [["nonsense"], ["prediction", "nonsense"]])
def test_an_unknown_name_is_an_error(arguments):
    result = command_line(*arguments)
    assert result.returncode == 2
    assert "No benchmark: nonsense" in result.stdout


def test_options_without_a_name_are_an_error():
    assert command_line("--rounds", "1").returncode == 2


def test_a_failure_stops_no_other(module, monkeypatch, capsys):
    main = module("__main__")
    commands = []

    def fail_first(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, 3 if len(commands) == 1 else 0)

    monkeypatch.setattr(main.subprocess, "run", fail_first)
    assert main.main(["prediction", "scaling", "--rounds", "1"]) == 1
    assert [command[1:] for command in commands] == [
        ["-m", "benchmarks.prediction", "--rounds", "1"],
        ["-m", "benchmarks.scaling", "--rounds", "1"],
    ]
    assert capsys.readouterr().err == "Failed: prediction (exit code 3)\n"
    commands[:] = [None]
    assert main.main(["all"]) == 0
    ran = [command[2] for command in commands[1:]]
    assert ran == [f"benchmarks.{name}" for name in NAMES if name not in main.ALONE]


def test_places_of_files_are_not_written_down(module):
    options = module("_report")._options
    kept = ["fashion_mlp", "--full", "--lr", "0.1"]
    places = ["--data-home", "/home/a", "--data-home=/home/a", "--output", "/home/b"]
    assert options([*places, *kept]) == options([*kept, *places]) == kept
    for given in (["--image-folder", "/home/c"], ["--image-folder=/home/c"]):
        assert options([*given, *kept]) == ["--image-folder", "DIR", *kept]
