"""Packages whose parts are imported when they are asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["archiver.archive"])
def test_every_part_is_found_whichever_module_came_first(package: str) -> None:
    """All that ``__all__`` promises is there, and no module would stand in its place."""
    module = importlib.import_module(package)
    assert module.__file__ is not None
    modules = {path.stem for path in Path(module.__file__).parent.glob("*.py")}
    assert modules & set(module.__all__) == set()
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018
