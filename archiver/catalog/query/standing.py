"""How far every account has come, in few queries: what decides in which order they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, or_, select

from archiver.catalog import tables
from archiver.model.identity import Pk

_users, _highlights, _calls = tables.users, tables.highlights, tables.api_calls

_LISTED = select(_users.c.pk, _users.c.listed_at).where(_users.c.listed_at.is_not(None))
_NAMED = (
    select(func.lower(_users.c.username), _users.c.pk)
    .where(_users.c.username.is_not(None))
    .order_by(
        _users.c.last_seen_at
    )  # as in user_pk_by_name: of two that claim a name, the one seen last has it
)
_LACKING = (
    select(_highlights.c.user_pk)
    .where(
        _highlights.c.gone_at.is_(None),
        or_(
            _highlights.c.completed_at.is_(None),
            _highlights.c.latest_reel_media != _highlights.c.fetched_latest_reel_media,
            _highlights.c.media_count != _highlights.c.fetched_media_count,
        ),
    )
    .distinct()
)


_LAST_PAGED = select(func.max(_calls.c.run_id)).where(
    _calls.c.subject == bindparam("pk"), _calls.c.path == bindparam("endpoint"), _calls.c.units > 0
)
_PAGED = select(func.coalesce(func.sum(_calls.c.units), 0)).where(
    _calls.c.subject == bindparam("pk"),
    _calls.c.path == bindparam("endpoint"),
    _calls.c.run_id == _LAST_PAGED.scalar_subquery(),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """``bound``: entries of the configuration, ``named``: current names in lower case, each with its pk. ``listed_at``: the last tray of
    each account that was ever listed. ``lacking``: accounts with a highlight that may have something to be had."""

    bound: dict[str, Pk]
    named: dict[str, Pk]
    listed_at: dict[Pk, datetime]
    lacking: frozenset[Pk]


def progress(connection: Connection) -> Progress:
    """How far every stored account has come."""
    targets = tables.targets
    entries = connection.execute(select(targets.c.text, targets.c.user_pk))
    return Progress(
        bound={text: pk for text, pk in entries},  # noqa: C416  # rows are no pairs to mypy
        named={name: pk for name, pk in connection.execute(_NAMED)},  # noqa: C416
        listed_at={pk: at for pk, at in connection.execute(_LISTED) if at is not None},
        lacking=frozenset(connection.scalars(_LACKING)),
    )


def units_of_pages(connection: Connection, user_pk: Pk, path: str) -> int:
    """The units of all pages when the tray of an account was last asked for page by page, by the calls of this path; 0 if it never was."""
    return int(connection.scalar(_PAGED, {"pk": user_pk, "endpoint": path}) or 0)
