"""Where and with what a measurement was made, and its results file."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from skvision.inspection import Table

RESULTS = Path(__file__).parent / "results"
PLACES = ("--data-home", "--image-folder", "--output")
PACKAGES = ("skvision", "torch", "torchvision", "skorch", "scikit-learn", "numpy")


def environment() -> dict[str, object]:
    """Return machine and versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _options(arguments: list[str]) -> list[str]:
    """Return the arguments without the places of files, which others do not have."""
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name not in PLACES:
            found.append(argument)
            continue
        if not equals:
            next(rest, None)
        # Where images of a folder were taken, the same command must take some, too.
        found += [name, "DIR"] if name == "--image-folder" else []
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if "model name" in line),
        platform.machine(),
    )


def write(
    name: str,
    title: str,
    command: str,
    rows: list[dict[str, Any]],
    *,
    notes: Sequence[str] = (),
    **facts: Any,
) -> None:
    """Write results as JSON and as a Markdown table, and print the latter.

    Parameters
    ----------
    name : str
        Of the files in benchmarks/results, without suffix.
    title, command : str
        Heading, and the command that makes the file again; what was given on the
        command line is added, but not the places of files.
    rows : list of dict
        Lines of the table; all have the same keys.
    notes : list of str, default=()
        Lines of text below the table.
    **facts
        What else the JSON file is to hold.
    """
    RESULTS.mkdir(exist_ok=True)
    command = " ".join([command, *_options(sys.argv[1:])])
    where = environment()
    content = {"command": command, "environment": where, **facts, "results": rows}
    content |= {"notes": list(notes)} if notes else {}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    machine = ", ".join(f"{key} {value}" for key, value in where.items() if value)
    table = Table(
        list(rows[0]),
        [list(row.values()) for row in rows],
        title=title,
        notes=[f"Command: {command}", *notes, machine],
    )
    (RESULTS / f"{name}.md").write_text(table.to_markdown() + "\n")
    print(table)
