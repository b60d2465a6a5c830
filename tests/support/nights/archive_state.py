"""What an archive held at one moment, and whether a later one lost any of it or changed otherwise than its
history says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.support.archive_harness import ArchiveHarness
from tests.support.nights.expected_facts import plain
from tests.support.nights.scene import Row

Record = Mapping[str, object]
Records = Mapping[str, Record]

_TOLD = {
    "user": ("username", "full_name", "is_private", "is_verified", "avatar_name"),
    "highlight": ("user_pk", "title", "is_pinned", "cover_name"),
    "item": ("user_pk", "code", "taken_at", "media_type", "product_type", "video_duration"),
}


@dataclass(frozen=True)
class ArchiveState:
    """The rows of an archive.

    ``members``: by highlight, its items in order with the last page that showed them and when they went.
    """

    users: Records
    highlights: Records
    items: Records
    members: Mapping[str, Sequence[tuple[str, object, object]]]
    files: frozenset[tuple[object, ...]]
    changes: Sequence[tuple[object, ...]]

    @classmethod
    def of(cls, harness: ArchiveHarness) -> ArchiveState:
        """The archive as it is now."""
        members: dict[str, list[tuple[str, object, object]]] = {}
        for highlight, item, seen, gone in harness.rows(
            "select highlight_pk, item_pk, last_seen_at, gone_at from highlight_items "
            "order by highlight_pk, position"
        ):
            members.setdefault(str(highlight), []).append((str(item), seen, gone))
        return cls(
            _records(harness, "users", (*_TOLD["user"], "gone_at", "listed_at")),
            _records(
                harness,
                "highlights",
                (*_TOLD["highlight"], "gone_at", "listed_at", "fetched_at", "position", "created_at"),
            ),
            _records(harness, "items", _TOLD["item"]),
            members,
            frozenset(
                harness.rows("select id, coalesce(user_pk, highlight_pk, item_pk), role, sha256 from files")
            ),
            harness.rows("select id, subject, subject_pk, field, old, new from changes order by id"),
        )

    def lost(self, later: ArchiveState) -> list[str]:
        """What was held and is not any more."""
        gone = [f"file {row}" for row in self.files - later.files]
        if list(later.changes[: len(self.changes)]) != list(self.changes):
            gone.append("rows of changes")
        for name in ("users", "highlights", "items", "members"):
            gone += [f"{name} {pk}" for pk in set(getattr(self, name)) - set(getattr(later, name))]
        for pk, was in self.members.items():
            gone += [
                f"{item} in {pk}" for item in {m[0] for m in was} - {m[0] for m in later.members.get(pk, ())}
            ]
        return gone

    def unexplained(self, later: ArchiveState) -> list[str]:
        """What differs in ``later`` and its new rows of ``changes`` do not say, or what they say and does not
        differ.
        """
        said = Counter(
            (str(s), str(pk), str(f), _words(old), _words(new))
            for _, s, pk, f, old, new in later.changes[len(self.changes) :]
        )
        known = Counter(_edits(self, later)) + Counter(_presence(self, later)) + Counter(_items(self, later))
        found = [f"untold: {row}" for row in known - said]
        extra = said - known
        places = {row for row in extra if row[2] == "position"}
        found += [f"not so: {row}" for row in extra if row not in places and row[2:] != _APPEARED]
        found += _appeared(self, later, {row[1] for row in extra if row[2:] == _APPEARED})
        return found + _places(self, later, places)


_APPEARED = ("presence", None, "appeared")


def _records(harness: ArchiveHarness, table: str, columns: Sequence[str]) -> Records:
    rows = harness.rows(f"select pk, {', '.join(columns)} from {table}")
    return {str(pk): dict(zip(columns, map(plain, values), strict=True)) for pk, *values in rows}


def _edits(one: ArchiveState, two: ArchiveState) -> Iterator[Row]:
    for subject, fields in _TOLD.items():
        after: Records = getattr(two, f"{subject}s")
        before: Records = getattr(one, f"{subject}s")
        for pk, was in before.items():
            for name in fields:
                if was[name] is not None and was[name] != after[pk][name]:
                    old, new = was[name], after[pk][name]
                    if name.startswith("is_"):
                        old, new = bool(old), bool(new)
                    yield subject, pk, name, _words(old), _words(new)


def _presence(one: ArchiveState, two: ArchiveState) -> Iterator[Row]:
    for subject in ("user", "highlight"):
        after: Records = getattr(two, f"{subject}s")
        before: Records = getattr(one, f"{subject}s")
        for pk, was in before.items():
            gone = was["gone_at"] is not None, after[pk]["gone_at"] is not None
            if gone[0] != gone[1]:
                yield subject, pk, "presence", None, "gone" if gone[1] else "returned"


def _appeared(one: ArchiveState, two: ArchiveState, told: set[str]) -> list[str]:
    """A new highlight has appeared, unless its account was listed for the first time, or it is as old as what
    a cut tray may have hidden.
    """
    new = {pk: row for pk, row in two.highlights.items() if pk not in one.highlights}
    wrong = [f"{pk} appeared, and was there before" for pk in told - set(new)]
    for pk, row in new.items():
        listed = one.users.get(str(row["user_pk"]), {}).get("listed_at")
        if listed is None and pk in told:
            wrong.append(f"{pk} appeared at the first look at its account")
        if listed is not None and pk not in told and str(row["created_at"]) > str(listed):
            wrong.append(f"untold: {pk} appeared")
    return wrong


def _items(one: ArchiveState, two: ArchiveState) -> Iterator[Row]:
    for pk, was in one.highlights.items():
        before, after = one.members.get(pk, ()), two.members.get(pk, ())
        fetched = was["fetched_at"], two.highlights[pk]["fetched_at"]
        if fetched[0] is None or fetched[0] == fetched[1]:
            continue
        old = {item for item, _, gone in before if gone is None}
        new = {item for item, _, gone in after if gone is None}
        yield from (("highlight", pk, "items", None, item) for item in new - old)
        yield from (("highlight", pk, "items", item, None) for item in old - new)
        seen = [item for item, at, _ in before if plain(at) == fetched[0]]
        sees = [item for item, at, _ in after if plain(at) == fetched[1]]
        stayed = [item for item in seen if item in sees], [item for item in sees if item in seen]
        if stayed[0] != stayed[1]:
            yield "highlight", pk, "item_order", ",".join(stayed[0]), ",".join(stayed[1])


def _places(one: ArchiveState, two: ArchiveState, told: set[Row]) -> list[str]:
    """The fewest highlights have moved that could have, each from where it was to where it is."""
    wrong: list[str] = []
    moved = {row[1]: (row[3], row[4]) for row in told}
    for pk, was in one.users.items():
        listed = was["listed_at"], two.users[pk]["listed_at"]
        if listed[0] == listed[1]:
            continue
        old = _listed(one, pk, listed[0])
        new = _listed(two, pk, listed[1])
        both = [h for h in new if h in old]
        here = {h: moved.pop(h) for h in both if h in moved}
        stayed = [old.index(h) for h in both if h not in here]
        if stayed != sorted(stayed) or len(here) != len(both) - _longest_rise([old.index(h) for h in both]):
            wrong.append(
                f"the tray of {pk} went from {old} to {new}, and {sorted(here)} are said to have moved"
            )
        for h, places in here.items():
            if places != (str(one.highlights[h]["position"]), str(two.highlights[h]["position"])):
                wrong.append(f"{h} is said to have moved {places}")
    return wrong + [f"{h} is said to have moved" for h in moved]


def _listed(memory: ArchiveState, user: str, at: object) -> list[str]:
    rows = [
        (int(str(row["position"])), pk)
        for pk, row in memory.highlights.items()
        if row["user_pk"] == user and row["listed_at"] == at
    ]
    return [pk for _, pk in sorted(rows)]


def _longest_rise(numbers: Sequence[int]) -> int:
    best: list[int] = []
    for place, number in enumerate(numbers):
        best.append(1 + max((best[p] for p in range(place) if numbers[p] < number), default=0))
    return max(best, default=0)


def _words(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
