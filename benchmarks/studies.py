"""The five studies in the size that a machine allows, timed.

    python -m benchmarks.studies NAME [options of the example]
    python -m benchmarks.studies --summary

The first runs examples/plot_NAME.py, shows what it prints, and writes its table of
reported and own figures and the seconds it took. The second makes one table of all
studies that have been run, with the examples' lines of code.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import sys
import tempfile
import time
import tokenize
from pathlib import Path
from typing import NamedTuple

from benchmarks._report import RESULTS, write

EXAMPLES = Path(__file__).parents[1] / "examples"


class Study(NamedTuple):
    """A study, the name of its table, and the figures that stand for it."""

    subject: str
    table: str
    headlines: tuple[str, ...]


STUDIES = {
    "emnist_letters": Study(
        "EMNIST: CNN, pretrained encoder, autoencoder",
        "emnist",
        ("E1 test: top-1 in %", "E1 softmax twice test: top-1 in %"),
    ),
    "cifar10_ablation": Study(
        "CIFAR-10: CNN and ablation",
        "cifar10",
        ("C1 LeNet-5: accuracy in %", "C2 final network: accuracy in %"),
    ),
    "fashion_mlp": Study(
        "Fashion-MNIST: multi-layer perceptrons",
        "fashion-mlp",
        ("F1 lr 0.1: accuracy in %", "Better recipe: accuracy in %"),
    ),
    "fashion_subset": Study(
        "Fashion-MNIST: CNN against autoencoder",
        "fashion-subset",
        ("S1 test: accuracy in %", "S3 test: accuracy in %"),
    ),
    "cifar10_sklearn_tools": Study(
        "CIFAR-10 with scikit-learn's tools",
        "cifar10-tools",
        ("K1 test: accuracy in %", "K3 test: accuracy in %"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=STUDIES)
    parser.add_argument("--summary", action="store_true")
    # Where files lie on this machine says nothing of the study.
    parser.add_argument("--data-home")
    parser.add_argument("--image-folder")
    parser.add_argument("--output", help="folder in which to keep the pictures")
    options, others = parser.parse_known_args()
    if options.summary:
        summarize()
    elif options.name is None:
        parser.error("the name of a study, or --summary, is missing")
    else:
        places = []
        for name in ("data_home", "image_folder"):
            if value := getattr(options, name):
                places += [f"--{name.replace('_', '-')}", value]
        with tempfile.TemporaryDirectory() as folder:
            run(options.name, others, places, Path(options.output or folder))


def run(name: str, options: list[str], places: list[str], output: Path) -> None:
    script, study = EXAMPLES / f"plot_{name}.py", STUDIES[name]
    command = [sys.executable, "-u", str(script), *options, *places]
    start = time.perf_counter()
    subprocess.run([*command, "--output", str(output)], check=True)
    seconds = time.perf_counter() - start
    table = json.loads((output / f"{study.table}.json").read_text())
    write(
        f"study_{name}",
        table["title"],
        "python -m benchmarks.studies",
        [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]],
        notes=table["notes"],
        seconds=round(seconds),
    )


def summarize() -> None:
    """Write one table of what each study has come to."""
    rows, commands = [], []
    for name, study in STUDIES.items():
        path = RESULTS / f"study_{name}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text())
        commands.append(found["command"])
        figures = {row["what"]: row for row in found["results"]}
        rows += [
            {
                "study": study.subject,
                "figure": what,
                "reported": figures[what]["reported"],
                "ours": figures[what]["ours"],
                "minutes": round(found["seconds"] / 60),
                "lines of code": code_lines(EXAMPLES / f"plot_{name}.py"),
            }
            for what in study.headlines
        ]
    command = "python -m benchmarks.studies"
    write("studies", "The studies", command, rows, notes=commands)


def code_lines(script: Path) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    text = script.read_text()
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in ignored
        for line in range(token.start[0], token.end[0] + 1)
    }
    docstring = ast.parse(text).body[0]
    return len(lines - set(range(docstring.lineno, (docstring.end_lineno or 0) + 1)))


if __name__ == "__main__":
    main()
