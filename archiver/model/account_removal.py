"""What ``archiver forget`` removes, and what it leaves."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from archiver.model.api_calls import AnswerLocation
from archiver.model.identity import Digest, Pk


class RemovalRequest(Struct, frozen=True):
    """Which account is to be removed. It is stored until the rows of the account are removed.

    ``user_pk``: None if the archive knows it only by a name. ``names``: in lower case. ``reason``: what the
    entry says that remains.
    """

    at: datetime
    user_pk: Pk | None
    names: frozenset[str]
    reason: str | None = None


class PlacedAnswer(Struct, frozen=True):
    """A stored answer with its call."""

    id: int
    call_id: int
    path: str
    subject: str
    location: AnswerLocation


class AccountParts(Struct, frozen=True):
    """Everything in the rows that belongs to one account and to no other.

    ``names``: those it has or had, in lower case. ``shared_names``: those of them that other accounts have or
    had too. ``item_pks``: items that only its highlights show. ``blobs``: those that nobody else has, with
    their sizes. ``calls``: ids of ``api_calls``. ``answers``: theirs. ``doubtful``: answers of which only
    their content says whose they are.
    """

    user_pk: Pk | None
    names: frozenset[str]
    shared_names: frozenset[str]
    highlight_pks: tuple[Pk, ...]
    item_pks: tuple[Pk, ...]
    item_codes: tuple[str, ...]
    files: int
    waiting: tuple[int, ...]
    blobs: tuple[tuple[Digest, int], ...]
    calls: tuple[int, ...]
    answers: tuple[PlacedAnswer, ...]
    doubtful: tuple[PlacedAnswer, ...]
    changes: int
    failures: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the archive has nothing of this account."""
        is_unknown = self.user_pk is None and not self.highlight_pks
        return is_unknown and not (self.calls or self.waiting or self.failures)


class LeftBehind(Struct, frozen=True):
    """What other accounts show of an account, which stays: it belongs to them."""

    mentions: int = 0
    reshares: int = 0
    sponsors: int = 0
    shared_items: int = 0


class AccountRemoval(Struct, frozen=True):
    """What was removed of an account, or would be.

    ``username``: None if it is not known. ``bytes``: of the blobs. ``log_lines``: of the log.
    ``quarantined``: files in ``quarantine/``. ``copies``: files in the archive's directory that are copies of
    the database. ``lost``: answers of other accounts that cannot be read, in files that are written again:
    they are recorded as lost. ``unknown``: what else is in the archive's directory, and is not looked into.
    ``entries``: those of the configuration, which named the account. ``comments``: where comments
    there still name it, as path and line: they are left to their author.
    """

    user_pk: Pk | None
    username: str | None
    highlights: int
    items: int
    files: int
    blobs: int
    bytes: int
    waiting: int
    answers: int
    calls: int
    changes: int
    failures: int
    log_lines: int
    quarantined: int
    copies: tuple[str, ...]
    left: LeftBehind
    unknown: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    lost: int = 0
