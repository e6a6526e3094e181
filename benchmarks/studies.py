"""The five studies in the size that a machine allows, timed.

    python -m benchmarks.studies NAME [options of the example]
    python -m benchmarks.studies --summary

The first runs examples/plot_NAME.py, shows what it prints, and writes its table of
reported and own figures, the seconds it took and its lines of code. The second makes
one table of all studies that have been run.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import time
import tokenize
from pathlib import Path

from benchmarks._report import RESULTS, write

EXAMPLES = Path(__file__).parents[1] / "examples"

#: The example of each study, the name of its table, and the study's subject.
STUDIES = {
    "emnist_letters": ("emnist", "EMNIST: CNN, pretrained encoder, autoencoder"),
    "cifar10_ablation": ("cifar10", "CIFAR-10: CNN and ablation"),
    "fashion_mlp": ("fashion-mlp", "Fashion-MNIST: multi-layer perceptrons"),
    "fashion_subset": ("fashion-subset", "Fashion-MNIST: CNN against autoencoder"),
    "cifar10_sklearn_tools": ("cifar10-tools", "CIFAR-10 with scikit-learn's tools"),
}


def main() -> None:
    if sys.argv[1:] == ["--summary"]:
        summarize()
    elif sys.argv[1:] and sys.argv[1] in STUDIES:
        run(sys.argv[1], sys.argv[2:])
    else:
        sys.exit(f"{__doc__}\nNAME is one of {', '.join(STUDIES)}.")


def run(name: str, options: list[str]) -> None:
    script = EXAMPLES / f"plot_{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-u", str(script), *options, "--output", folder]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        stem, subject = STUDIES[name]
        table = json.loads((Path(folder) / f"{stem}.json").read_text())
    shown = [option for option in options if not option.startswith("/")]
    shown = [option for option in shown if option not in PLACES]
    write(
        f"study_{name}",
        table["title"] or subject,
        " ".join(["python -m benchmarks.studies", name, *shown]),
        [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]],
        notes=table["notes"],
        seconds=round(seconds),
        code_lines=code_lines(script),
    )


#: Options that say where files lie on this machine, and nothing of the study.
PLACES = ("--data-home", "--image-folder")


def summarize() -> None:
    """Write one table of what each study has come to."""
    rows = []
    for name, (_, subject) in STUDIES.items():
        path = RESULTS / f"study_{name}.json"
        if not path.exists():
            continue
        study = json.loads(path.read_text())
        headline = next(row for row in study["results"] if row.get("headline"))
        rows.append({"study": subject, "lines of code": study["code_lines"]} | headline)
    write("studies", "The studies", "python -m benchmarks.studies --summary", rows)


def code_lines(script: Path) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    text = script.read_text()
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    with script.open("rb") as file:
        lines = {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in ignored | {tokenize.ENCODING}
            for line in range(token.start[0], token.end[0] + 1)
        }
    docstring = ast.parse(text).body[0]
    return len(lines - set(range(docstring.lineno, (docstring.end_lineno or 0) + 1)))


if __name__ == "__main__":
    main()
