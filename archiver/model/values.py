"""What the values of the program have in common: they are structs of msgspec, and nearly all are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:  # mypy checks the names and types of changes only for this function, for structs too
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = ["replace", "repr_without"]


def repr_without(value: Struct, *hidden: str) -> str:
    """Return the ``repr`` of a value, without the fields that nobody may read in a log or a traceback."""
    shown = (f"{name}={getattr(value, name)!r}" for name in value.__struct_fields__ if name not in hidden)
    return f"{type(value).__name__}({', '.join(shown)})"
