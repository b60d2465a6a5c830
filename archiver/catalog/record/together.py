"""Several facts as one: in one transaction, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Fact = Callable[[Connection], object]
"""A fact with its arguments."""


def together(connection: Connection, fact: Callable[[Connection], T], *others: Fact) -> T:
    """Record ``fact``, then ``others`` in their order; return the value of ``fact``."""
    value = fact(connection)
    for other in others:
        other(connection)
    return value
