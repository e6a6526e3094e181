"""What is public is documented as numpydoc has it."""

import importlib
import inspect
import pkgutil

import pytest

import skvision

numpydoc = pytest.importorskip("numpydoc.validate", reason="needs the extra dev")

#: What numpydoc wants that a reader does not miss: a second paragraph, a See Also or an
#: example everywhere, a name for each returned value, and a summary of one line only.
NOT_WANTED = {"ES01", "EX01", "SA01", "RT02"}


def packages():
    yield skvision
    for found in pkgutil.iter_modules(skvision.__path__, "skvision."):
        if not found.name.rpartition(".")[2].startswith("_"):
            yield importlib.import_module(found.name)


def documented(kind):
    """Return the public methods of a class, but those documented by what they override.

    What a property is for stands among the attributes.
    """
    names = []
    for name, found in vars(kind).items():
        function = getattr(found, "__func__", found)
        inherits = any(getattr(base, name, None) for base in kind.__mro__[1:])
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if function.__doc__ or not inherits:
            names.append(name)
    return names


def public_names():
    """Return the functions, classes and methods of all that `__all__` lists, once."""
    names = {}
    for package in packages():
        for name in getattr(package, "__all__", vars(package)):
            value = getattr(package, name)
            if not getattr(value, "__module__", "").startswith("skvision"):
                continue
            full = names.setdefault(id(value), f"{package.__name__}.{name}")
            if inspect.isclass(value):
                for method in documented(value):
                    names[id(value), method] = f"{full}.{method}"
    return sorted(names.values())


@pytest.mark.parametrize("name", public_names())
def test_docstring(name):
    errors = numpydoc.validate(name)["errors"]
    assert [text for code, text in errors if code not in NOT_WANTED] == []
