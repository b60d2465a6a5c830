"""What was otherwise before, as it is read again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from archiver.model.identity import Pk, Subject


@dataclass(frozen=True, slots=True)
class NamedChange:
    """A row of ``changes`` with the names that a person needs, as they are now: whose it is, and what the highlight is called.

    ``user_pk`` is the account of the highlight or item, None where nobody knows; ``title`` that of the highlight, None for
    an account or an item.
    """

    id: int
    run_id: int
    at: datetime
    subject: Subject
    subject_pk: Pk
    field: str
    old: str | None
    new: str | None
    user_pk: Pk | None
    username: str | None
    title: str | None
