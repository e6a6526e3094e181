"""Small faults put into the source, and how many of them the tests notice.

    python -m benchmarks.mutations [--commit HEAD] [--n 60] [--seed 0] [--jobs 1]

Takes a copy of a commit and runs its tests once, to note which of them run which line
and how long each takes; this is kept in ``--coverage``, a folder, for the next time.
Then it draws faults by a seed, as many of each kind: operators, constants, conditions
turned around, and statements left out, in functions that tests run. Each is put alone
into a copy of the tree, in which tests that run its line are run, the quick ones first,
until one fails that passes without the fault. Needs git and pytest-cov. ``--modules``
and ``--tests`` make do with a part of the source and of the tests.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
OPERATORS = {
    **{"Lt": "<=", "LtE": "<", "Gt": ">=", "GtE": ">", "Eq": "!=", "NotEq": "=="},
    **{"Is": "is not", "IsNot": "is", "In": "not in", "NotIn": "in"},
    **{"Add": "-", "Sub": "+", "Mult": "/", "Div": "*", "FloorDiv": "/", "Mod": "*"},
    **{"BitOr": "&", "BitAnd": "|", "And": "or", "Or": "and"},
}
#: Notes how long each test takes; a plugin of pytest, in a file of its own.
PLUGIN = """
import collections, json, os
seconds = collections.defaultdict(float)

def pytest_runtest_logreport(report):
    seconds[report.nodeid] += report.duration

def pytest_sessionfinish(session):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["DURATIONS"], "w") as file:
            json.dump(seconds, file)
"""
PYTEST = ["-m", "pytest", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]


class Fault(NamedTuple):
    """One change of one file, how many tests run the line, and some of them."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    text: str
    n_tests: int
    tests: list[str]


def main() -> None:
    from benchmarks._report import write

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", help="of real data sets, for the tests")
    parser.add_argument("--commit", default="HEAD")
    parser.add_argument("--n", type=int, default=60, help="how many faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, default=300, help="of tests per fault")
    parser.add_argument("--modules", default="", help="a part of the paths of files")
    parser.add_argument("--tests", nargs="*", default=["tests"], help="for pytest")
    parser.add_argument("--coverage", type=Path, help="folder to keep what lines ran")
    parser.add_argument("--name", default="mutations", help="of the table's files")
    args = parser.parse_args()
    if args.data_home:
        os.environ["SKVISION_DATA"] = str(Path(args.data_home).absolute())
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", args.commit]
    commit = subprocess.check_output(git, text=True).strip()
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, str(i)) for i in range(args.jobs)]
        for tree in trees:
            unpack(commit, tree)
        kept = (args.coverage or Path(folder, "coverage")).absolute()
        if not (kept / f"{commit}.json").exists():
            run_all(trees[0], kept / commit, args.tests, args.jobs)
        found = json.loads((kept / f"{commit}.json").read_text())
        faults = draw(trees[0], found, args)
        print(f"{len(faults)} faults drawn at {commit}", flush=True)
        if not faults:
            parser.error("no line of these files is run by these tests")
        rows = [*try_out(faults, trees, found["seconds"], args.seconds)]
    write(
        args.name,
        f"{len(rows)} faults, and the tests that notice them",
        "python -m benchmarks.mutations",
        rows,
        notes=[f"Commit {commit}.", *summary(rows)],
        caught=sum(row["caught"] for row in rows),
        commit=commit,
    )


def unpack(commit: str, tree: Path) -> None:
    """Put the files of a commit into a new folder."""
    archive = subprocess.check_output(["git", "-C", str(ROOT), "archive", commit])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(tree, filter="data")


def environment(tree: Path, **more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"} | more


# ------------------------------------------------------------------- what tests run


def run_all(tree: Path, kept: Path, tests: list[str], jobs: int) -> None:
    """Write which tests run each line, and seconds of each test, as JSON."""
    from coverage import CoverageData

    kept.parent.mkdir(parents=True, exist_ok=True)
    data, durations = Path(f"{kept}.coverage"), Path(f"{kept}.durations")
    (tree / "note_durations.py").write_text(PLUGIN)
    options = ["--cov=skvision", "--cov-branch", "--cov-context=test", "--cov-report="]
    # Where tests may be distributed, pytest-cov leaves contexts to other processes.
    options += ["-p", "note_durations"]
    options += ["-n", str(jobs)] if jobs > 1 else ["--dist=no"]
    files = {"COVERAGE_FILE": str(data), "DURATIONS": str(durations)}
    command = [sys.executable, *PYTEST, *options, *tests]
    subprocess.run(command, cwd=tree, env=environment(tree, **files), check=False)
    (tree / "note_durations.py").unlink()
    seconds = json.loads(durations.read_text())
    names = sorted(seconds, key=seconds.__getitem__)
    numbers = {name: number for number, name in enumerate(names)}
    measured = CoverageData(str(data))
    measured.read()
    lines: dict[str, dict[int, Any]] = {}
    for path in map(Path, sorted(measured.measured_files())):
        contexts = measured.contexts_by_lineno(str(path))
        lines[str(path.relative_to(tree))] = {
            line: some_of(sorted({numbers[name] for name in tests_of(found, numbers)}))
            for line, found in contexts.items()
        }
    found = {"lines": lines, "tests": names, "seconds": seconds}
    Path(f"{kept}.json").write_text(json.dumps(found))
    data.unlink()
    durations.unlink()


def tests_of(contexts: list[str], known: dict[str, int]) -> Iterator[str]:
    """Yield the tests among contexts of coverage, but for what prepares them."""
    for context in contexts:
        name, _, when = context.rpartition("|")
        if when == "run" and name in known:
            yield name


def some_of(tests: list[int]) -> tuple[int, list[int]]:
    """Return how many tests there are, and no more than 600 of them, in their order."""
    if len(tests) <= 600:
        return len(tests), tests
    # The quick ones come first.
    others = random.Random(0).sample(tests[300:], 300)
    return len(tests), tests[:300] + sorted(others)


# ------------------------------------------------------------------------- the faults


def changes(text: str) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """Yield the kind, the node and the code in its place of each change of a module."""
    tree = ast.parse(text)
    left_out: set[int] = set()
    for node in ast.walk(tree):
        # What is annotated runs nothing, and places inside of f-strings are wrong.
        parts = [getattr(node, name, None) for name in ("annotation", "returns")]
        parts += [node] if isinstance(node, ast.JoinedStr) else []
        for part in filter(None, parts):
            left_out |= {id(inner) for inner in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) not in left_out:
            yield from _changes_of(node, text)


def _changes_of(
    node: ast.AST, text: str
) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    def source(part: ast.AST) -> str:
        return f"({ast.get_source_segment(text, part)})"

    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        other = OPERATORS[type(node.ops[0]).__name__]
        left, right = source(node.left), source(node.comparators[0])
        yield "operator", node, f"({left} {other} {right})"
    elif isinstance(node, ast.BinOp) and type(node.op).__name__ in OPERATORS:
        other = OPERATORS[type(node.op).__name__]
        yield "operator", node, f"({source(node.left)} {other} {source(node.right)})"
    elif isinstance(node, ast.BoolOp):
        other = f" {OPERATORS[type(node.op).__name__]} "
        yield "operator", node, f"({other.join(map(source, node.values))})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", node, str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "constant", node, repr(node.value + 1)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "condition", node.test, f"(not {source(node.test)})"
    elif isinstance(node, ast.AugAssign | ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield "statement", node, "pass"


def replaced(text: str, node: ast.expr | ast.stmt, code: str) -> str:
    """Return a module's text with other code in the place of a node."""
    lines = text.splitlines(keepends=True)
    end = node.end_lineno or node.lineno
    # Columns of nodes are counted in bytes.
    first = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    last = lines[end - 1].encode()[node.end_col_offset :].decode()
    lines[node.lineno - 1 : end] = [first + code + last]
    return "".join(lines)


def draw(tree: Path, found: dict[str, Any], args: argparse.Namespace) -> list[Fault]:
    """Draw faults at lines that tests run, as many of each kind."""
    places = defaultdict(list)
    for file, lines in sorted(found["lines"].items()):
        if args.modules not in file:
            continue
        text = (tree / file).read_text()
        for kind, node, code in changes(text):
            n_tests, tests = lines.get(str(node.lineno), (0, []))
            if tests:
                places[kind].append((file, text, node, code, n_tests, tests))
    rng = random.Random(args.seed)
    drawn: list[Fault] = []
    for some in places.values():
        rng.shuffle(some)
    while len(drawn) < args.n and any(places.values()):
        for kind in sorted(kind for kind in places if places[kind]):
            file, text, node, code, n_tests, tests = places[kind].pop()
            before = ast.get_source_segment(text, node) or ""
            changed = replaced(text, node, code)
            ast.parse(changed)
            names = [found["tests"][number] for number in tests]
            place = file, node.lineno, kind
            drawn.append(Fault(*place, before, code, changed, n_tests, names))
    return drawn[: args.n]


# ------------------------------------------------------------------ what comes of them


def try_out(
    faults: list[Fault], trees: list[Path], seconds: dict[str, float], most: float
) -> Iterator[dict[str, Any]]:
    """Yield the row of each fault; trees are taken in turn."""
    free: queue.Queue[Path] = queue.Queue()
    for tree in trees:
        free.put(tree)

    def one(fault: Fault) -> dict[str, Any]:
        tree = free.get()
        try:
            return row_of(fault, tree, seconds, most)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        for row in pool.map(one, faults):
            print(row, flush=True)
            yield row


def row_of(
    fault: Fault, tree: Path, seconds: dict[str, float], most: float
) -> dict[str, Any]:
    """Run the tests of a fault, and say which one failed."""
    tests = within(fault.tests, seconds, most)
    start = time.monotonic()
    limit = 60 + 4 * sum(seconds[name] for name in tests)
    by, rest = first_failure(fault, tree, tests, limit), tests
    while by is not None:
        known = by in rest
        if failure(tree, [by] if known else rest, limit) is None:
            break
        # It fails without the fault as well, and tells nothing.
        rest = rest[rest.index(by) + 1 :] if known else []
        by = first_failure(fault, tree, rest, limit) if rest else None
    return {
        "file": f"{fault.file}:{fault.line}",
        "kind": fault.kind,
        "before": shortened(fault.before),
        "after": shortened(fault.after),
        "caught": by is not None,
        "by": by,
        "tests": len(tests),
        "of": fault.n_tests,
        "seconds": round(time.monotonic() - start, 1),
    }


def within(tests: list[str], seconds: dict[str, float], most: float) -> list[str]:
    """Return the first of the tests, which take no more than so many seconds."""
    taken: list[str] = []
    passed = 0.0
    for name in tests:
        passed += seconds[name]
        if taken and passed > most:
            break
        taken.append(name)
    return taken


def first_failure(
    fault: Fault, tree: Path, tests: list[str], limit: float
) -> str | None:
    """Return the test that fails first with the fault, or how all of them ended."""
    path = tree / fault.file
    before = path.read_text()
    path.write_text(fault.text)
    try:
        return failure(tree, tests, limit)
    finally:
        path.write_text(before)
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


def failure(tree: Path, tests: list[str], limit: float) -> str | None:
    """Return the test that fails first, or how all of them ended."""
    command = [sys.executable, *PYTEST, "-x", "-rfE", *tests]
    try:
        result = subprocess.run(
            command,
            cwd=tree,
            env=environment(tree, PYTHONDONTWRITEBYTECODE="1"),
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if result.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) (.+)$", result.stdout, re.MULTILINE)
    if named is None:
        return f"exit code {result.returncode}"
    # What follows the name is the error's message; names may have spaces and dashes.
    candidates = [name for name in tests if named[1].startswith(name)]
    return max(candidates, key=len, default=named[1])


def shortened(code: str, length: int = 50) -> str:
    line = " ".join(code.split()).replace("|", "¦")
    return line if len(line) <= length else line[: length - 3] + "..."


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each kind of fault."""
    drawn = Counter(row["kind"] for row in rows)
    caught = Counter(row["kind"] for row in rows if row["caught"])
    return [f"{kind}: {caught[kind]} of {drawn[kind]} noticed." for kind in drawn]


if __name__ == "__main__":
    main()
