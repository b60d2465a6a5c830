"""Make an archive with a million items, to measure how long reading takes.

The rows are generated, without media. A run of other accounts works.

    python benchmarks/million.py DIRECTORY [--items 1000000] [--accounts 1000] [--seed 1]

The same seed makes the same rows. The largest account is natgeo: it owns about one item in eighty.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import generated
from generated import LAST, NIGHTS, OPENED, format_time

from archiver.archive.creation import create_archive
from archiver.catalog import Catalog
from archiver.config import load

_BATCH = 50_000  # rows
_PER_HIGHLIGHT = 20  # items on average
_FIRST = datetime(2016, 12, 1, tzinfo=UTC)  # when Instagram introduced highlights
_FIRST_TABLES = ("users", "highlights", "items", "highlight_items", "blobs")
_CDN = "https://scontent.cdninstagram.com/v/t51.2885-15"
_TRAY, _PAGE = "/v1/user/highlights", "/v1/highlight/by/url"


class Rows:
    """Inserts rows in batches of one table, all in one transaction. ``counts``: rows per table."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: dict[str, list[tuple[object, ...]]] = {}
        self.counts: dict[str, int] = {}

    def add(self, table: str, **values: object) -> None:
        """Add a row. All rows of a table must have the same columns."""
        waiting = self._waiting.setdefault(f"INSERT INTO {table} ({', '.join(map(_quote, values))})", [])
        waiting.append(tuple(values.values()))
        self.counts[table] = self.counts.get(table, 0) + 1
        if len(waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Insert the waiting rows, first those that others refer to: triggers count the rows that exist."""
        for statement in sorted(self._waiting, key=_insert_order):
            rows = self._waiting[statement]
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self._connection.executemany(f"{statement} VALUES ({marks})", rows)
                rows.clear()


@contextmanager
def inserting(database: Path) -> Iterator[Rows]:
    """Yield rows that are inserted into a database of an archive at the end of the block."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for setting in ("synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute("BEGIN IMMEDIATE")
        rows = Rows(connection)
        yield rows
        rows.flush()
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert_order(statement: str) -> int:
    table = statement.split()[2]
    return _FIRST_TABLES.index(table) if table in _FIRST_TABLES else len(_FIRST_TABLES)


def _quote(column: str) -> str:
    return f'"{column}"'


class World:
    """The accounts, and what they showed in each night, generated from a seed."""

    def __init__(self, rows: Rows, items: int, accounts: int, seed: int) -> None:
        self._rows, self._draw = rows, Random(seed)
        self._items, self._accounts = items, accounts
        self._hosts = generated.draw_domains(self._draw)
        self._nights = [format_time(OPENED + timedelta(days=night)) for night in range(NIGHTS)]
        self._last = self._nights[-1]
        # Both are numbered by time, so they are written when all of them are known.
        self._calls: list[tuple[int, str, str]] = []
        self._changes: list[tuple[int, str, str, str, str | None, str | None]] = []
        self._number = 0
        self._names: list[str] = []
        self._digests: list[str] = []

    def draw(self) -> None:
        """Generate all rows."""
        self._names = [generated.draw_username(self._draw, number) for number in range(self._accounts)]
        weights = [1 / (rank + 20) for rank in range(self._accounts)]
        for number, weight in enumerate(weights):
            self._add_account(number, max(1, round(self._items * weight / sum(weights))))
        self._add_runs()
        self._add_failures()

    def _add_runs(self) -> None:
        units = Counter(night for night, _, _ in self._calls)
        for night, started in enumerate(self._nights):
            self._rows.add(
                "runs",
                id=night + 1,
                command="run",
                started_at=started,
                finished_at=started[:14] + "41" + started[16:],
                outcome="partial" if night % 30 == 17 else "ok",
                exit_code=3 if night % 30 == 17 else 0,
                units=units[night],
            )
        for number, (night, path, subject) in enumerate(sorted(self._calls), 1):
            self._add_call(number, night, path, subject)
        for night, subject, pk, field, old, new in sorted(self._changes, key=lambda change: change[0]):
            self._rows.add(
                "changes",
                run_id=night + 1,
                at=self._nights[night],
                subject=subject,
                subject_pk=pk,
                field=field,
                old=old,
                new=new,
            )

    def _add_account(self, number: int, items: int) -> None:
        draw, rows = self._draw, self._rows
        pk = str(787132 + number * 91_337)
        joined = 0 if number < self._accounts * 0.9 else draw.randrange(NIGHTS // 2)
        first, gone = self._nights[joined], number % 50 == 49
        rows.add(
            "users",
            pk=pk,
            username=self._names[number],
            full_name="National Geographic" if number == 0 else generated.draw_full_name(draw),
            is_private=gone,
            is_verified=number % 4 == 0,
            first_seen_at=first,
            last_seen_at=self._last,
            gone_at=self._last if gone else None,
            listed_at=self._last,
            tray_endpoint=_TRAY,
            avatar_name=f"{pk}_n.jpg",
        )
        rows.add(
            "usernames",
            user_pk=pk,
            username=self._names[number],
            first_seen_at=first,
            last_seen_at=self._last,
        )
        if number % 5 == 1:
            renamed = draw.randrange(joined, NIGHTS)
            old = f"{self._names[number]}_old"
            rows.add(
                "usernames", user_pk=pk, username=old, first_seen_at=first, last_seen_at=self._nights[renamed]
            )
            self._changes.append((renamed, "user", pk, "username", old, self._names[number]))
        self._add_file("user_pk", pk, "avatar", joined)
        for night in range(joined, NIGHTS):
            self._calls.append((night, _TRAY, pk))
        position, before = 0, list[tuple[str, datetime]]()
        while items > 0:
            size = min(items, max(1, int(draw.expovariate(1 / _PER_HIGHLIGHT)) + 1))
            self._add_highlight(pk, position, size, joined, before)
            items, position = items - size, position + 1

    def _add_highlight(
        self, user_pk: str, position: int, size: int, joined: int, before: list[tuple[str, datetime]]
    ) -> None:
        draw, rows = self._draw, self._rows
        self._number += 1
        pk = str(17_800_000_000_000_000 + self._number * 7_919_333)
        created = _FIRST + (LAST - _FIRST) * draw.random() ** 0.7
        span = timedelta(days=draw.expovariate(1 / 60))
        times = sorted(created + min(span, LAST - created) * draw.random() for _ in range(size))
        first = generated.first_night(created, joined)
        gone = first < NIGHTS - 1 and draw.random() < 0.03
        gone_at = self._nights[draw.randrange(first + 1, NIGHTS)] if gone else None
        shown = generated.draw_title(draw)
        rows.add(
            "highlights",
            pk=pk,
            user_pk=user_pk,
            title=shown,
            position=position,
            created_at=format_time(created),
            latest_reel_media=int(times[-1].timestamp()),
            media_count=size,
            is_pinned=position < 1,
            cover_name=f"{pk}_n.jpg",
            first_seen_at=self._nights[first],
            last_seen_at=gone_at or self._last,
            listed_at=gone_at or self._last,
            fetched_at=self._nights[first],
            completed_at=None if draw.random() < 0.004 else self._nights[first],
            gone_at=gone_at,
        )
        self._calls.append((first, _PAGE, pk))
        self._add_file("highlight_pk", pk, "cover", first)
        if draw.random() < 0.1:
            when, old = draw.randrange(first, NIGHTS), generated.draw_title(draw)
            self._changes.append((when, "highlight", pk, "title", old, shown))
        if first > joined:
            self._changes.append((first, "highlight", pk, "presence", None, "appeared"))
        if gone_at is not None:
            self._changes.append((self._nights.index(gone_at), "highlight", pk, "presence", None, "gone"))
        own = [(self._add_item(user_pk, time, joined, first), time) for time in times]
        members = own + draw.sample(before, min(len(before), max(1, size // 15)))  # an item can be in several
        before[:] = (before + own)[-40:]
        for place, (member, taken) in enumerate(sorted(members, key=lambda one: one[1])):
            seen = max(first, generated.first_night(taken, joined))
            left = draw.random() < 0.01
            rows.add(
                "highlight_items",
                highlight_pk=pk,
                item_pk=member,
                position=place,
                first_seen_at=self._nights[seen],
                last_seen_at=gone_at or self._last,
                gone_at=self._last if left else None,
            )
            if seen > first:
                self._changes.append((seen, "highlight", pk, "items", None, member))
            if left:
                self._changes.append((NIGHTS - 1, "highlight", pk, "items", member, None))

    def _add_item(self, user_pk: str, taken: datetime, joined: int, shown: int) -> str:
        draw = self._draw
        self._number += 1
        pk = f"3{self._number * 1_299_709:018}"
        night = max(shown, generated.first_night(taken, joined))
        video = draw.random() < 0.4
        stranger = draw.random() < 0.005
        self._rows.add(
            "items",
            pk=pk,
            user_pk=f"9{user_pk}" if stranger else user_pk,
            code=f"C{self._number:010x}",
            taken_at=format_time(taken),
            media_type=2 if video else 1,
            product_type="story",
            video_duration=round(draw.uniform(2, 60), 3) if video else None,
            first_seen_at=self._nights[night],
        )
        self._add_file("item_pk", pk, "thumbnail", night)
        if video:
            self._add_file("item_pk", pk, "video", night)
        if draw.random() < 0.01:
            self._add_file("item_pk", pk, "thumbnail", night, again=True)
        self._add_entries(pk)
        return pk

    def _add_entries(self, item: str) -> None:
        draw, rows = self._draw, self._rows
        if draw.random() < 0.2:
            for place in range(draw.choice((1, 1, 1, 2, 3))):
                mentioned = int(draw.expovariate(1 / 300))
                known = mentioned < self._accounts
                rows.add(
                    "mentions",
                    item_pk=item,
                    position=place,
                    user_pk=str(787132 + mentioned * 91_337),
                    username=self._names[mentioned] if known else generated.draw_username(draw, mentioned),
                    full_name=generated.draw_full_name(draw),
                    x=round(draw.random(), 4),
                    y=round(draw.random(), 4),
                )
        if draw.random() < 0.1:
            rows.add("hashtags", item_pk=item, position=0, hashtag_pk=None, name=generated.draw_tag(draw))
        if draw.random() < 0.1:
            url = generated.draw_url(draw, self._hosts)
            rows.add(
                "links",
                item_pk=item,
                position=0,
                url=url,
                title=generated.draw_title(draw),
                source="sticker",
                domain=url.split("/")[2],
            )
        if draw.random() < 0.05:
            place_pk, name, lat, lng = generated.draw_place(draw)
            rows.add("locations", item_pk=item, position=0, location_pk=place_pk, name=name, lat=lat, lng=lng)
        if draw.random() < 0.1:
            kind = draw.choice(("story_polls", "story_questions", "story_quizs", "story_sliders"))
            rows.add("stickers", item_pk=item, position=0, kind=kind, extra='{"question": "?"}')
        if draw.random() < 0.03:
            media = f"2{draw.randrange(10**17):018}"
            rows.add(
                "reshares",
                item_pk=item,
                position=0,
                media_pk=media,
                media_code=f"B{media[-9:]}",
                product_type="clips",
            )
        if draw.random() < 0.01:
            rows.add(
                "sponsors",
                item_pk=item,
                position=0,
                username=generated.draw_username(draw, draw.randrange(1, 200)),
            )

    def _add_file(self, owner: str, pk: str, role: str, night: int, *, again: bool = False) -> None:
        draw, when = self._draw, self._nights[night]
        video = role == "video"
        if self._digests and draw.random() < 0.01:
            digest = draw.choice(self._digests)  # the same bytes as another file
        else:
            digest = hashlib.sha256(f"{pk} {role} {again}".encode()).hexdigest()
            lost = draw.random() < 0.0002
            self._rows.add(
                "blobs",
                sha256=digest,
                size=int(draw.lognormvariate(14.6 if video else 11.8, 0.6)),
                mime="video/mp4" if video else "image/jpeg",
                width=720 if video else 1080,
                height=1280 if video else 1920,
                stored_at=when,
                verified_at=self._last if night % 7 else None,
                lost_at=self._last if lost else None,
            )
            if role == "thumbnail" and not again and len(self._digests) < 5000:
                self._digests.append(digest)
        self._rows.add(
            "files",
            **{"user_pk": None, "highlight_pk": None, "item_pk": None, owner: pk},
            role=role,
            sha256=digest,
            run_id=night + 1,
            source_url=f"{_CDN}/{pk[-9:]}_{digest[:19]}_n.{'mp4' if video else 'jpg'}",
            kept_at=when,
            last_seen_at=when if again else self._last,
        )

    def _add_call(self, number: int, night: int, path: str, subject: str) -> None:
        when = self._nights[night]
        self._rows.add(
            "api_calls",
            id=number,
            run_id=night + 1,
            path=path,
            subject=subject,
            status=200,
            units=1,
            started_at=when,
            finished_at=when,
        )
        self._rows.add(
            "answers",
            id=number,
            api_call_id=number,
            sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            segment=f"{when[:4]}/{when[5:7]}/{night + 1}-{'list' if path == _TRAY else 'fetch'}.warc.gz",
            offset=number % 10**6 * 9000,
            length=8000,
        )

    def _add_failures(self) -> None:
        for number in range(max(10, self._items // 500)):
            night, is_open = self._draw.randrange(NIGHTS), number % 8 == 0
            self._rows.add(
                "failures",
                subject="item",
                subject_pk=f"3{(number * 40 + 2) * 1_299_709:018}",
                role="video",
                reason=self._draw.choice(("network", "expired", "not_found", "truncated")),
                detail="generated",
                attempts=self._draw.randrange(1, 6),
                first_at=self._nights[night],
                last_at=self._last,
                next_try_at=self._last if is_open else None,
                resolved_at=None if is_open else self._last,
            )


def make(directory: Path, items: int, accounts: int = 1000, seed: int = 1) -> dict[str, int]:
    """Make an archive in ``directory``, which must not have one, and return the number of rows per table."""
    create_archive(load(None, {}, {"archive.directory": str(directory)}))
    with inserting(directory / "archive.db") as rows:
        World(rows, items, accounts, seed).draw()
    with Catalog.open(directory / "archive.db", write=True) as catalog:
        # Any transaction of the program writes the words of stale search documents.
        catalog.write(lambda connection: None)
    with closing(sqlite3.connect(directory / "archive.db")) as connection:
        (first,) = connection.execute("SELECT min(sha256) FROM blobs WHERE lost_at IS NULL").fetchone()
    # A run looks for the first blob, to see whether the disk is mounted. The others are never looked for.
    (directory / "blobs" / first[:2] / first).touch()
    return rows.counts


def main() -> None:
    """Make the archive, and print its number of rows and its size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    counts = make(options.directory, options.items, options.accounts, options.seed)
    size = (options.directory / "archive.db").stat().st_size
    print(", ".join(f"{count:,} {table}" for table, count in counts.items()))
    print(f"{size / 2**20:,.0f} MiB in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
