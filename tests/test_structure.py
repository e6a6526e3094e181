"""The way the code is laid out: imports go one way, and no function grows too long."""

import ast
import sys
from pathlib import Path

import pytest

import skvision

#: Each package or module imports only from itself and from those before it.
ORDER = [
    "exceptions",
    "_compat",
    "_identity",
    "_random",
    "_warnings",
    "images",
    "datasets",
    "preprocessing",
    "networks",
    "training",
    "persistence",
    "estimators",
    "export",
    "metrics",
    "model_selection",
    "inspection",
]
#: Packages that use fitted estimators by their public attributes alone.
NO_ESTIMATORS = {"inspection"}

MAX_FUNCTION = 60

PACKAGE = Path(skvision.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ALL_SOURCES = SOURCES + sorted(
    path
    for name in ["benchmarks", "examples", "tests"]
    for path in (ROOT / name).rglob("*.py")
)


def parametrize(paths):
    ids = [str(path.relative_to(ROOT)) for path in paths]
    return pytest.mark.parametrize("path", paths, ids=ids)


def part(module):
    """Return the X of skvision.X.Y, None for the top level."""
    return module.partition(".")[2].partition(".")[0] or None


def imports(tree):
    """Yield the names of all that is imported, wherever it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def too_far(importer, tree):
    """Return imports that a package of ORDER must not make."""
    allowed = set(ORDER[: ORDER.index(importer) + 1])
    if importer in NO_ESTIMATORS:
        allowed.remove("estimators")
    return [
        name
        for name in imports(tree)
        if name.split(".")[0] == "skvision" and part(name) not in allowed
    ]


def is_documented(name):
    """Whether a name with an underscore is for all: Python's, or for subclasses."""
    return name.endswith("__") or name == "_parameter_constraints"


def private_names(tree):
    """Return the private names of other packages, but Python's own, in a module."""
    modules, found = set(), []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            root = (getattr(node, "module", None) or alias.name).partition(".")[0]
            if root != "skvision" and root not in sys.stdlib_module_names:
                modules.add(alias.asname or alias.name.partition(".")[0])
    for name in imports(tree):
        if not name.startswith(("skvision", "__future__")) and "._" in name:
            found.append(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            of_module = isinstance(root, ast.Name) and root.id in modules
            if of_module and not is_documented(node.attr):
                found.append(ast.unparse(node))
    return found


def package(path):
    """Return the package of skvision, or the module at its top, that a file is of."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def own_names(tree):
    """Return the private attributes that the code of a module makes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def reaches(tree, own):
    """Return private attributes that are read of what another package has made."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        of_python = ast.unparse(node) in (
            "sys._getframe",
            "functools._lru_cache_wrapper",
        )
        is_mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        is_super = ast.unparse(node.value) == "super()"
        # That of named tuples is public.
        known = is_documented(node.attr) or node.attr in own or node.attr == "_replace"
        if not (of_python or is_mine or is_super or known):
            found.append(ast.unparse(node))
    return found


def code_lines(function):
    """Count the lines of a function from its def on, without its docstring."""
    length = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        length -= docstring.end_lineno - docstring.lineno + 1
    return length


@parametrize([path for path in SOURCES if path != PACKAGE / "__init__.py"])
def test_imports_go_one_way(path):
    importer = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert too_far(importer, ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("importer", "code", "expected"),
    [
        ("datasets", "import skvision", ["skvision"]),
        ("datasets", "from skvision import networks", ["skvision.networks"]),
        ("datasets", "def f():\n from skvision.networks import MLP", ["networks"]),
        ("inspection", "import skvision.estimators", ["skvision.estimators"]),
        ("networks", "from skvision import ImageClassifier", ["ImageClassifier"]),
        ("networks", "from skvision.datasets._base import choose", []),
        ("networks", "from skvision import exceptions, networks", []),
        ("networks", "import torch, skvision_of_others", []),
    ],
)
def test_wrong_imports_are_found(importer, code, expected):
    found = too_far(importer, ast.parse(code))
    assert len(found) == len(expected)
    assert all(part in name for part, name in zip(expected, found, strict=True))


@parametrize([path for path in SOURCES if path != PACKAGE / "_compat.py"])
def test_private_names_of_others_are_in_one_place(path):
    assert private_names(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from sklearn.utils import _safe_indexing", 1),
        ("from sklearn.utils._metadata_requests import x", 1),
        ("import torch._dynamo", 1),
        ("import torch\ntorch._ops.f()", 1),
        ("from torch import nn\nnn.modules.batchnorm._BatchNorm", 1),
        ("import numpy as np\nnp.random.mtrand._rand", 1),
        ("import torch\ntorch.__version__", 0),
        ("from skvision.datasets._base import choose", 0),
        ("from __future__ import annotations", 0),
    ],
)
def test_private_names_are_found(code, expected):
    assert len(private_names(ast.parse(code))) == expected


def test_private_attributes_stay_in_their_package():
    trees = {path: ast.parse(path.read_text()) for path in SOURCES}
    own = {package(path): set() for path in SOURCES}
    for path, tree in trees.items():
        own[package(path)] |= own_names(tree)
    found = {
        str(path.relative_to(ROOT)): reaches(tree, own[package(path)])
        for path, tree in trees.items()
        if path != PACKAGE / "_compat.py"
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("net._seed", ["net._seed"]),
        ("net.module_._hooks", ["net.module_._hooks"]),
        ("def f(net):\n return net._f()", ["net._f"]),
        ("self._seed, cls._seed, super()._seed", []),
        ("net._own, channels._replace(n=1), net.__dict__", []),
        ("net._parameter_constraints", []),
    ],
)
def test_reaches_are_found(code, expected):
    assert reaches(ast.parse(code), {"_own"}) == expected


def test_no_object_changes_its_class():
    stored = [
        ast.unparse(node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    ]
    assert [name for name in stored if name.endswith("__class__")] == []


@parametrize(ALL_SOURCES)
def test_functions_are_short(path):
    text = path.read_text()
    too_long = {
        node.name: code_lines(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and code_lines(node) > MAX_FUNCTION
    }
    assert too_long == {}


def undocumented(trees):
    """Return long private functions of a package that nothing says what they return.

    One docstring is enough for a method and what overrides it.
    """
    functions = [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("_")
        and not node.name.endswith("__")
    ]
    told = {node.name for node in functions if ast.get_docstring(node)}
    return [
        node.name
        for node in functions
        if node.end_lineno - node.lineno >= 10
        and node.name.strip("_")
        and node.name not in told
    ]


def test_long_private_functions_have_a_line_each():
    assert undocumented([ast.parse(path.read_text()) for path in SOURCES]) == []


def test_code_lines():
    code = 'def f(\n    x,\n):\n    """One.\n\n    Two.\n    """\n    return x\n'
    assert code_lines(ast.parse(code).body[0]) == 4
