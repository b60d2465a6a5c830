"""What is told of a night. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Letter:
    """``title`` and ``text`` are for people, safe for a terminal; ``document`` is the whole object of ``--json``; ``well``: whether
    the night ended with code 0."""

    title: str
    text: str
    document: bytes
    well: bool


class Undelivered(Exception):
    """A letter or ping did not arrive. ``str()`` says why without the address; ``hint`` is the next step."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint
