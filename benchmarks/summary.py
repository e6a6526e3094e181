"""One table of the ratios that README.md shows, from the other results files.

python -m benchmarks.summary
"""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks._report import RESULTS
from skvision.inspection import Table

#: What it is called, results file, what its rows have, and what it is compared with.
LINES: list[tuple[str, str, dict[str, Any], str]] = [
    *(
        (
            f"epoch of the {name}: {what}",
            "training_step",
            {"network": key, "side": side},
            by,
        )
        for name, key in [("MLP", "MLP"), ("small ConvNet", "small ConvNet")]
        for what, side, by in [
            (
                "ImageClassifier, uint8 arrays",
                "skvision, uint8 arrays",
                "loop by hand",
            ),
            ("ImageClassifier, data set", "skvision, data set", "loop by hand"),
            ("skorch, float arrays", "skorch, float arrays", "loop by hand"),
            ("skorch, data set", "skorch, data set", "loop by hand"),
            ("loop over a DataLoader", "DataLoader", "loop by hand"),
        ]
    ),
    *(
        (
            f"predict_proba of the {name}",
            "prediction",
            {"network": name, "side": "skvision"},
            "best loop by hand",
        )
        for name in ["MLP", "small ConvNet", "default ConvNet"]
    ),
    (
        "flipped and shifted batches",
        "augmentation",
        {"measure": "batches alone", "side": "skvision"},
        "best DataLoader of torchvision's transforms",
    ),
    *(
        (
            f"{search.split(',')[0]}, {case}, {search.split(', ')[1]}",
            "stacked_search",
            {"case": case, "search": search},
            "GridSearchCV, as many jobs",
        )
        for case in ["letters", "letters, one width", "clothes"]
        for search in [
            "StackedGridSearchCV, n_jobs=2",
            "StackedGridSearchCV, n_jobs=1",
        ]
    ),
    (
        "GridSearchCV with two jobs",
        "search_jobs",
        {"search": "n_jobs=2, workers there"},
        "one job",
    ),
]


def main() -> None:
    files = sorted({file for _, file, _, _ in LINES})
    missing = [file for file in files if not (RESULTS / f"{file}.json").exists()]
    if missing:
        sys.exit(f"No results yet: first python -m benchmarks {' '.join(missing)}")
    contents = {
        file: json.loads((RESULTS / f"{file}.json").read_text()) for file in files
    }
    rows = []
    for title, file, wanted, other in LINES:
        (found,) = (
            row for row in contents[file]["results"] if wanted.items() <= row.items()
        )
        spread = f"{found['lowest']:.2f} to {found['highest']:.2f}"
        rows.append([title, other, f"{found['ratio']:.2f}", spread])
    columns = ["what", "beside", "ratio of times", "of single rounds"]
    commands = [contents[file]["command"] for file in files]
    notes = [f"Commands: {', '.join(commands)}"]
    table = Table(columns, rows, title="Speed", notes=notes)
    (RESULTS / "speed.md").write_text(table.to_markdown() + "\n")
    print(table)


if __name__ == "__main__":
    main()
