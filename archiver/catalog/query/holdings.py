"""What is stored: files and their blobs, and the answers that were paid for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.query.account_state import loss_to_confirm
from archiver.catalog.sql import Query
from archiver.model.api_calls import AnswerLocation, DatedAnswer, StoredPage
from archiver.model.archived import Provenance, StoredAnswer, StoredBlob
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import TrayNumbers

OWNER_COLUMNS = {Subject.USER: "user_pk", Subject.HIGHLIGHT: "highlight_pk", Subject.ITEM: "item_pk"}
"""The column of ``files`` that names an owner of this kind; the other two are empty."""
_IN_PAGE = 1000
_LOST = "SELECT sha256 FROM blobs WHERE lost_at IS NOT NULL"
_ROLES = Query(
    f"""
    SELECT item_pk, role FROM files WHERE item_pk IN :pks AND sha256 NOT IN ({_LOST})
        AND source IS NULL -- if is_downloaded
    """,
    lambda item_pk, role: (item_pk, Role(role)),
)
_IS_LOST = Query("SELECT lost_at IS NOT NULL AS is_lost FROM blobs WHERE sha256 = :digest", bool)
_MEMBERS = Query(
    "SELECT item_pk FROM highlight_items WHERE highlight_pk = :pk AND gone_at IS NULL ORDER BY position", Pk
)
_LOSS = Query(
    "SELECT shrunk_to, shrunk_run_id FROM highlights WHERE pk = :pk",
    lambda shrunk_to, shrunk_run_id: (shrunk_to, shrunk_run_id),
)
_PLACES = Query(
    """
    SELECT files.sha256, files.user_pk, users.username, NULL AS pk, NULL AS title
    FROM files JOIN users ON users.pk = files.user_pk WHERE files.sha256 IN :digests
    UNION ALL
    SELECT files.sha256, users.pk, users.username, highlights.pk, highlights.title
    FROM files JOIN highlights ON highlights.pk = files.highlight_pk
    JOIN users ON users.pk = highlights.user_pk WHERE files.sha256 IN :digests
    UNION ALL
    SELECT files.sha256, users.pk, users.username, highlights.pk, highlights.title
    FROM files JOIN highlight_items AS member ON member.item_pk = files.item_pk
    JOIN highlights ON highlights.pk = member.highlight_pk
    JOIN users ON users.pk = highlights.user_pk WHERE files.sha256 IN :digests
    ORDER BY 1, 3, 5, 4
    """,
    lambda sha256, user_pk, username, pk, title: (
        Digest(sha256),
        (username or user_pk) + ("" if pk is None else f", {title or f'highlight {pk}'}"),
    ),
)
_FILES_OF_ITEMS = "SELECT sha256 FROM files JOIN highlight_items AS member ON member.item_pk = files.item_pk"
_DIGESTS_OF_USER = Query(
    f"""
    SELECT DISTINCT sha256 FROM (
        SELECT sha256 FROM files WHERE user_pk = :pk
        UNION ALL
        SELECT sha256 FROM files JOIN highlights ON highlights.pk = highlight_pk
        WHERE highlights.user_pk = :pk
        UNION ALL -- By the highlight: an item may name another owner than the account that shows it.
        {_FILES_OF_ITEMS} JOIN highlights ON highlights.pk = member.highlight_pk
        WHERE highlights.user_pk = :pk
    ) AS named
    WHERE sha256 NOT IN ({_LOST})
        -- An expression: no database starts from all blobs of the archive that begin with these digits.
        AND substr(sha256, 1, 1) IN :digits -- if digits
    """,
    Digest,
)
_DIGESTS_OF_HIGHLIGHT = Query(
    f"""
    SELECT DISTINCT sha256 FROM (
        SELECT sha256 FROM files WHERE highlight_pk = :pk
        UNION ALL
        {_FILES_OF_ITEMS} WHERE member.highlight_pk = :pk
    ) AS named
    WHERE sha256 NOT IN ({_LOST})
    """,
    Digest,
)
_NOT_LOST = Query(
    "SELECT sha256 FROM blobs WHERE lost_at IS NULL AND sha256 > :last ORDER BY sha256 LIMIT :limit", Digest
)


def _with_owners(blobs: str) -> Query[tuple[Any, ...]]:
    """Return the query for these blobs, each once for every file and every adopted file with its bytes."""
    return Query(
        f"""
        SELECT page.sha256, page.size, page.lost_at, page.verified_at,
            files.user_pk, files.highlight_pk, files.item_pk, files.role,
            adopted.item_pk, adopted.role, adopted.source, adopted.username
        FROM ({blobs}) AS page
        LEFT JOIN files ON files.sha256 = page.sha256 LEFT JOIN adopted ON adopted.sha256 = page.sha256
        ORDER BY page.sha256, files.id
        """,
        lambda *columns: columns,
    )


_BLOBS = _with_owners("SELECT * FROM blobs WHERE sha256 > :last ORDER BY sha256 LIMIT :limit")
_NAMED_BLOBS = _with_owners("SELECT * FROM blobs WHERE sha256 IN :digests")


def stored_roles(
    connection: Connection, item_pks: Sequence[Pk], *, with_adopted: bool = True
) -> frozenset[tuple[Pk, Role]]:
    """Return the (item, role) pairs that have a stored file whose bytes are not known to be lost.

    ``with_adopted``: whether a file that another tool downloaded counts.
    """
    return frozenset(_ROLES.all_of(connection, "pks", item_pks, is_downloaded=None if with_adopted else True))


def digests_of_account(
    connection: Connection, user_pk: Pk, first_digits: str | None = None
) -> tuple[Digest, ...]:
    """Return the blobs of an account (avatar, covers, items of its highlights) not known to be lost.

    ``first_digits``: only the digests that begin with one of these hexadecimal digits; None: all.
    """
    return tuple(_DIGESTS_OF_USER.all(connection, pk=user_pk, digits=first_digits))


def digests_of_highlight(connection: Connection, highlight_pk: Pk) -> tuple[Digest, ...]:
    """Return all blobs of a highlight (covers, items that are or were in it) not known to be lost."""
    return tuple(_DIGESTS_OF_HIGHLIGHT.all(connection, pk=highlight_pk))


def members(connection: Connection, highlight_pk: Pk) -> tuple[Pk, ...]:
    """Return the items that are in a highlight now, in its order."""
    return tuple(_MEMBERS.all(connection, pk=highlight_pk))


class PageBefore(Struct, frozen=True):
    """The items of a highlight by the pages recorded so far, and the fingerprint of a loss to confirm."""

    items: tuple[Pk, ...]
    shrunk_to: str | None


def page_before(connection: Connection, highlight_pk: Pk, run_id: int) -> PageBefore:
    """Return what decides whether items that the next page lacks are gone.

    ``run_id``: as in ``loss_to_confirm``.
    """
    loss = _LOSS.first(connection, pk=highlight_pk)
    shrunk_to = loss_to_confirm(*loss, run_id) if loss is not None else None
    return PageBefore(members(connection, highlight_pk), shrunk_to)


def is_lost(connection: Connection, digest: Digest) -> bool | None:
    """Return whether a blob is recorded as lost; None if it has no row."""
    return _IS_LOST.first(connection, digest=digest)


def digests_after(connection: Connection, last: Digest | None) -> list[Digest]:
    """Return the next blobs that are not known to be lost, in ascending order; for ``Catalog.read_pages``."""
    return _NOT_LOST.all(connection, last=last or "", limit=_IN_PAGE)


def blobs_after(connection: Connection, last: StoredBlob | None) -> list[StoredBlob]:
    """Return the next blobs with their owners, in ascending order; for ``Catalog.read_pages``."""
    return _stored_blobs(_BLOBS.all(connection, last="" if last is None else last.sha256, limit=_IN_PAGE))


def blobs(connection: Connection, digests: Sequence[Digest]) -> dict[Digest, StoredBlob]:
    """Return those of these blobs that have a row, at most 1,000, with their owners."""
    return {blob.sha256: blob for blob in _stored_blobs(_NAMED_BLOBS.all(connection, digests=digests))}


def places(connection: Connection, digests: Sequence[Digest]) -> dict[Digest, tuple[str, ...]]:
    """Return the account, or the account and the highlight, that each of these blobs belongs to, as text."""
    found: dict[Digest, list[str]] = {}
    for digest, name in _PLACES.all_of(connection, "digests", digests):
        found.setdefault(digest, []).append(name)
    return {digest: tuple(dict.fromkeys(names)) for digest, names in found.items()}


def _stored_blobs(rows: Iterable[tuple[Any, ...]]) -> list[StoredBlob]:
    found = []
    for (sha256, size, lost_at, verified_at), group in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        owners = dict.fromkeys(owner for row in group for owner in _owners(*row[4:]))
        found.append(StoredBlob(Digest(sha256), size, lost_at, verified_at, tuple(owners)))
    return found


def _owners(
    user_pk: Pk | None,
    highlight_pk: Pk | None,
    item_pk: Pk | None,
    role: str | None,
    awaited_pk: Pk | None,
    awaited_role: str | None,
    source: str | None,
    username: str | None,
) -> Iterator[str]:
    owners = ((Subject.USER, user_pk), (Subject.HIGHLIGHT, highlight_pk), (Subject.ITEM, item_pk))
    for subject, pk in owners:
        if pk is not None:
            yield f"{subject} {pk} {role}"
    if awaited_pk is not None:
        folder = f" of {username}" if username else ""
        if awaited_role == Role.METADATA:
            yield f"what {source} says of item {awaited_pk}{folder}"
        else:
            yield f"waits for item {awaited_pk} {awaited_role}, from {source}{folder}"


# --- answers

PLAN = "plan"
"""The command of a run that only lists, in ``runs.command``."""

_ANSWERS_IN_PAGE = 10_000
"""Each page sorts the answers of its first segment again, and on a disk a segment may have many."""
_LOCATION = 'segment, "offset", length, sha256'

_SEGMENTS = Query("SELECT DISTINCT segment FROM answers", str)


def _location(segment: str, offset: int, length: int, sha256: str) -> AnswerLocation:
    return AnswerLocation(segment, offset, length, Digest(sha256))


def _stored_answer(answer_id: int, is_lost: bool, *location: Any) -> StoredAnswer:
    return StoredAnswer(answer_id, _location(*location), is_lost)


_STORED = f"SELECT id, lost_at IS NOT NULL AS is_lost, {_LOCATION} FROM answers"
_IN_SEGMENTS = Query(
    f"""
    {_STORED} WHERE true
        -- The index has the segment only.
        AND segment >= :segment AND (segment > :segment OR "offset" > :offset) -- if segment
    ORDER BY segment, "offset" LIMIT :limit
    """,
    _stored_answer,
)
_OF_SEGMENT = Query(f"{_STORED} WHERE segment = :segment", _stored_answer)
_BY_ARRIVAL = Query(
    f"""
    SELECT run_id, answers.id, finished_at, {_LOCATION}
    FROM answers JOIN api_calls ON api_calls.id = api_call_id WHERE lost_at IS NULL
        -- Two conditions on the run: so PostgreSQL joins only the rows of these calls.
        AND run_id >= :run AND (run_id > :run OR answers.id > :after) -- if run
    ORDER BY run_id, answers.id LIMIT :limit
    """,
    lambda run_id, answer_id, finished_at, *location: DatedAnswer(
        run_id, answer_id, _location(*location), finished_at
    ),
)
_EXISTING = Query("SELECT id FROM answers WHERE id IN :ids", int)
_COUNTS = Query("SELECT count(*), count(lost_at) FROM answers", lambda rows, lost: (rows, lost))
_HAS_SEGMENT = Query("SELECT EXISTS (SELECT 1 FROM answers WHERE segment = :segment)", bool)
_LENGTHS = Query(
    'SELECT "offset", length FROM answers WHERE segment = :segment', lambda offset, length: (offset, length)
)
_PLANS = Query("SELECT id FROM runs WHERE command = :command AND started_at > :since", int)
_PAID = Query(  # the last by the order of arrival, whatever a clock said
    f"""
    SELECT answers.id, latest_reel_media, media_count, finished_at, run_id, {_LOCATION}
    FROM answers JOIN api_calls ON api_calls.id = api_call_id
    WHERE subject = :pk AND path = :path AND status = 200 ORDER BY run_id DESC, answers.id DESC LIMIT 1
    """,
    lambda answer_id, latest, count, finished_at, run_id, *location: StoredPage(
        answer_id, _location(*location), TrayNumbers(latest, count), finished_at, run_id
    ),
)
_PROVENANCE = Query(
    f"""
    SELECT answers.id, run_id, path, lost_at IS NOT NULL AS is_lost, {_LOCATION}
    FROM answers JOIN api_calls ON api_calls.id = api_call_id WHERE answers.id IN :ids
    """,
    lambda answer_id, run_id, path, is_lost, *location: Provenance(
        answer_id, run_id, path, _location(*location), is_lost
    ),
)


class _ListAnswer(NamedTuple):
    path: str
    run_id: int
    started_at: datetime
    finished_at: datetime | None
    location: AnswerLocation


_LISTED = Query(
    f"""
    SELECT path, run_id, started_at, finished_at, {_LOCATION}
    FROM answers JOIN api_calls ON api_calls.id = api_call_id
    WHERE subject IN :subjects AND path IN :paths AND status = 200
        -- An expression: no database starts from all calls of a plan, for each account.
        AND (run_id + 0) IN :plans
    ORDER BY api_calls.id
    """,
    lambda path, run_id, started_at, finished_at, *location: _ListAnswer(
        path, run_id, started_at, finished_at, _location(*location)
    ),
)
_HAS_LATER_RUN = Query(
    "SELECT EXISTS (SELECT 1 FROM runs WHERE id > :run AND started_at <= :listed_at)", bool
)


def answers_after(connection: Connection, last: StoredAnswer | None) -> list[StoredAnswer]:
    """Return the next stored answers, segment by segment; for ``Catalog.read_pages``."""
    segment, offset = (None, None) if last is None else (last.location.segment, last.location.offset)
    return _IN_SEGMENTS.all(connection, segment=segment, offset=offset, limit=_ANSWERS_IN_PAGE)


def segments(connection: Connection) -> tuple[str, ...]:
    """Return the segments that rows name."""
    return tuple(_SEGMENTS.all(connection))


def answers_of_segment(connection: Connection, segment: str) -> tuple[StoredAnswer, ...]:
    """Return the stored answers of a segment."""
    return tuple(_OF_SEGMENT.all(connection, segment=segment))


def paid_answers_after(connection: Connection, last: DatedAnswer | None) -> list[DatedAnswer]:
    """Return the next answers that are not lost, in the order of their arrival; for ``Catalog.read_pages``.

    The order is by run, then by id: an answer may be recorded long after its run
    (``record.record_recovered_answers``). The times do not count: a clock may have been wrong.
    """
    run_id, after = (None, None) if last is None else (last.run_id, last.answer_id)
    return _BY_ARRIVAL.all(connection, run=run_id, after=after, limit=_ANSWERS_IN_PAGE)


def existing_ids(connection: Connection, ids: Collection[int]) -> frozenset[int]:
    """Return which of these answers still have a row: a run may drop trays (``keep_answers = "fetched"``)."""
    return frozenset(_EXISTING.all_of(connection, "ids", ids))


def answer_counts(connection: Connection) -> tuple[int, int]:
    """Return how many stored answers have a row, and how many of those are lost."""
    return _COUNTS.one(connection)


def has_segment(connection: Connection, segment: str) -> bool:
    """Return whether a row names this segment."""
    return _HAS_SEGMENT.one(connection, segment=segment)


def lengths_by_offset(connection: Connection, segment: str) -> dict[int, int]:
    """Return the length of each answer of a segment that has a row, by its offset."""
    return dict(_LENGTHS.all(connection, segment=segment))


def paid_highlight(connection: Connection, highlight_pk: Pk, path: str) -> StoredPage | None:
    """Return the last good stored answer about a highlight, with the tray numbers at the time of the call.

    ``path`` is that of the call; only the package ``hiker`` knows paths.
    """
    return _PAID.first(connection, pk=highlight_pk, path=path)


def provenance(connection: Connection, answer_ids: Collection[int]) -> dict[int, Provenance]:
    """Return where these answers are stored, except those dropped (``keep_answers = "fetched"``)."""
    found = _PROVENANCE.all(connection, ids=list(answer_ids))
    return {provenance.answer_id: provenance for provenance in found}


def plans_since(connection: Connection, since: datetime) -> frozenset[int]:
    """Return the runs of ``plan --list`` that have begun since then."""
    return frozenset(_PLANS.all(connection, command=PLAN, since=since))


def unused_list(
    connection: Connection,
    subjects: Collection[str],
    paths: Collection[str],
    plans: Collection[int],
    *,
    listed_at: datetime,
    since: datetime,
    until: datetime,
) -> tuple[str, tuple[AnswerLocation, ...]] | None:
    """Return the path and the answers of the list that a run can use for an account; None if there is none.

    It was paid for by one of ``plans``, between ``since`` and ``until``, and no run has listed the account
    or used the list since. Only the last call counts; if it is one of several pages, so do the pages before
    it. ``subjects``: the account, as its calls may name it. ``paths``: those that list an account.
    ``listed_at``: when the account was last listed.
    """
    rows = _LISTED.all(connection, subjects=subjects, paths=paths, plans=plans)
    if not rows:
        return None
    last = rows[-1]
    pages = [row for row in rows if (row.run_id, row.path) == (last.run_id, last.path)]
    is_recorded = last.finished_at is not None and last.finished_at <= listed_at
    is_recent = all(since < row.started_at <= until for row in pages)
    if not (is_recorded and is_recent):
        return None
    if _HAS_LATER_RUN.one(connection, run=last.run_id, listed_at=listed_at):
        return None
    return last.path, tuple(row.location for row in pages)
