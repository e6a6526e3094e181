"""List the benchmarks, or run some or all of them.

    python -m benchmarks
    python -m benchmarks NAME [NAME ...] [options]
    python -m benchmarks all [options]

Each runs in a process of its own, with all of the options, such as --data-home DIR. A
failure stops none of the others. `studies` and `mutations` have options of their own:
they run alone, and `all` leaves them out; so does it with `summary`, a table of what
others wrote.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

FOLDER = Path(__file__).parent
ALONE = ("mutations", "studies", "summary")


def main(arguments: list[str]) -> int:
    known = benchmarks()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        width = max(map(len, known))
        for name, line in known.items():
            print(f"{name:{width}}  {line}")
        return 0
    names = list(takewhile(lambda text: not text.startswith("-"), arguments))
    options = arguments[len(names) :]
    if names and names[0] in ALONE:
        names, options = names[:1], arguments[1:]
    elif names == ["all"]:
        names = [name for name in known if name not in ALONE]
    if unknown := [name for name in names if name not in known]:
        print(f"No benchmark: {', '.join(unknown)}. See python -m benchmarks.")
        return 2
    if not names:
        print("The names of benchmarks come before the options; `all` runs all.")
        return 2
    return run(names, options)


def benchmarks() -> dict[str, str]:
    """Return the modules of the folder with the first lines of their docstrings."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        found[path.stem] = docstring.partition("\n")[0]
    return found


def run(names: list[str], options: list[str]) -> int:
    failures = []
    for name in names:
        print(f"=== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *options]
        code = subprocess.run(command).returncode
        if code:
            failures.append(f"{name} (exit code {code})")
    if failures:
        print(f"Failed: {', '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
