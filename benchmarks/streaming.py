"""Memory of a fit on 5 GB of images in a memory map.

    python -m benchmarks.streaming [--n-images 1630000] [--folder DIR]

Runs examples/more_than_memory.py and keeps what it prints.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks._report import write

EXAMPLE = Path(__file__).parents[1] / "examples" / "more_than_memory.py"
LIMIT_MB = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="not needed here; all benchmarks take it")
    parser.add_argument("--n-images", type=int, default=1_630_000)
    parser.add_argument("--folder", help="for the file, which is removed")
    args = parser.parse_args()
    command = [sys.executable, str(EXAMPLE), "--n-images", str(args.n_images)]
    if args.folder is not None:
        command += ["--folder", args.folder]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(result.stdout)
    lines = (line.split(": ") for line in result.stdout.splitlines())
    row = {name: float(value) for name, value in lines}
    write(
        "streaming",
        "Anonymous memory of an epoch of LeNet on a memory map",
        "python -m benchmarks.streaming",
        [row],
        limit_mb=LIMIT_MB,
        met=row["MB of memory at most"] <= LIMIT_MB,
    )


if __name__ == "__main__":
    main()
