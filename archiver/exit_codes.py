"""The exit codes of the program: the word for each, and which one wins if a run has several causes.

The codes are a contract: README has their meanings, ``archiver.errors`` the errors that carry them.
"""

from __future__ import annotations

PARTIAL = 3
"""The code of a command that did its work, but not all of it: the rest is listed."""
NOT_FOUND = 6
"""The code of a run none of whose targets exists or is public."""
UPSTREAM = 7
"""The code of a run that the API has stopped, or in which no account succeeded."""
DAMAGED = 12
"""The code of a command that found damage."""

_OUTCOMES = {
    0: "ok",
    1: "bug",
    2: "usage",
    PARTIAL: "partial",
    4: "key",
    5: "units",
    NOT_FOUND: "not_found",
    UPSTREAM: "upstream",
    8: "storage",
    9: "database",
    10: "no_archive",
    11: "locked",
    DAMAGED: "damaged",
}

_PRECEDENCE = (1, 9, 8, 11, 10, 2, 4, 5, UPSTREAM, DAMAGED, PARTIAL, NOT_FOUND, 0)


def outcome(exit_code: int) -> str:
    """Return the word for an exit code in ``--json`` and ``runs.outcome``.

    It is ``stopped`` for 128 + N (signal N).
    """
    return "stopped" if exit_code > 128 else _OUTCOMES[exit_code]


def is_graver(exit_code: int, than: int) -> bool:
    """Return whether a run with both causes ends with ``exit_code``. A signal wins over everything."""
    return _rank(exit_code) < _rank(than)


def _rank(exit_code: int) -> int:
    return -1 if exit_code > 128 else _PRECEDENCE.index(exit_code)
