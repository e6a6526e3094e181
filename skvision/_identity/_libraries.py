"""Modules and what is known of them: whose they are, and in which version."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: Folders that installed packages lie in.
_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD = Path(sysconfig.get_path("stdlib"))
#: Distributions of another name than their package; to search for it takes a while.
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python"}

#: Names by which fits of before have what lies somewhere else by now.
_FORMER_NAMES = {
    "skvision.images._adapters.Listed": "skvision.datasets._adapters._Listed",
    "skvision.images._sequence.ImageSequence": (
        "skvision.datasets._sequence.ImageSequence"
    ),
    "skvision.images._steps.PixelSteps": "skvision.datasets._steps.PixelSteps",
    "skvision.images._transforms.Upright": "skvision.datasets._transforms.Upright",
    "skvision.images._transforms._ToPixels": "skvision.datasets._transforms._ToPixels",
    "skvision.images._vision.ImageLoader": "skvision.datasets._vision.ImageLoader",
}


def module_name(value: Any) -> str:
    """Return the name of the module that made an object, "" where none is told."""
    name = getattr(value, "__module__", None)
    # Classes of extensions may have a descriptor there, for their instances.
    return name if isinstance(name, str) else ""


def known_name(value: Any) -> str:
    """Return the full name of a function or class, as checkpoints know it.

    What has been moved within this library goes by the name that it had first.
    """
    name = f"{module_name(value)}.{value.__qualname__}"
    return _FORMER_NAMES.get(name, name)


@functools.cache
def library_version(module: str | None) -> str | None:
    """Return the version of the library that has a module, None for the user's own.

    Names and a version tell all of what is in a library.
    """
    package = (module or "").partition(".")[0]
    if package == "skvision":
        return str(sys.modules["skvision"].__version__)
    place, is_there = _place(package)
    if not is_there:
        return None
    if package in sys.stdlib_module_names:
        # A script of the user's may have such a name, too.
        is_own = place is not None and not Path(place).is_relative_to(_STANDARD)
        return None if is_own else platform.python_version()
    if place is None or not _INSTALLED & set(Path(place).parts):
        return None
    return _installed_version(package)


def _place(package: str) -> tuple[str | None, bool]:
    """Return where a package is, None if it is built in, and whether it is there."""
    found: Any = sys.modules.get(package)
    if found is not None:
        place = getattr(found, "__file__", None)
        return place or next(iter(getattr(found, "__path__", ())), None), True
    try:
        # It has not been imported yet, and is not for this.
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None, False
    folders = spec.submodule_search_locations or ()
    return spec.origin if spec.has_location else next(iter(folders), None), True


def _installed_version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        name = _DISTRIBUTIONS.get(package, package)
        return _version(importlib.metadata.distribution(name))
    for name in importlib.metadata.packages_distributions().get(package, ()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return _version(importlib.metadata.distribution(name))
    return None


def _version(distribution: importlib.metadata.Distribution) -> str:
    if distribution.read_text("direct_url.json") is None:
        return distribution.version
    # It came from no index, such as from a folder, where the same version may have had
    # other files.
    record = (distribution.read_text("RECORD") or "").encode()
    return f"{distribution.version} {hashlib.sha256(record).hexdigest()}"


def imported(
    imports: Iterable[tuple[str, int, tuple[str, ...]]], package: str
) -> Iterator[tuple[str, types.ModuleType | None]]:
    """Yield modules that code in a package imports, by their names.

    Modules of the user's are imported to be looked at, as the code itself would do; of
    libraries' and of what cannot be imported, the name is all.
    """
    for relative, level, taken in imports:
        try:
            name = importlib.util.resolve_name("." * level + relative, package)
        except ImportError:
            continue
        version = library_version(name)
        if version is not None:
            yield f"{name} {version}", None
            continue
        # What a module gets by hand is no attribute of it if it is a module, too.
        for part in (name, *(f"{name}.{one}" for one in taken)):
            with contextlib.suppress(Exception):
                importlib.import_module(part)
        # The outermost one has the others among its attributes.
        whole = name if taken else name.partition(".")[0]
        yield name, sys.modules.get(whole)
