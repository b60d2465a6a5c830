"""Packages whose parts are imported when they are asked for: a command that reads rows needs no network, and starts the sooner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def parts(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """A ``__getattr__`` for ``package`` (PEP 562). ``homes``: module of the package → names that are looked for in it.

    No module may have the name of something that is looked for: once imported, it would stand in its place.
    """
    found = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> object:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{found[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
