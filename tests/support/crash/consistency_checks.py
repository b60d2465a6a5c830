"""What must hold in an archive at any instant, checked by other means than the program's own: sqlite3,
hashlib and the file system.

The database is looked at as a copy, so that the checks leave a hot write-ahead log as the kill left it. The
journal is read with Python's standard library alone, as docs/archive-format.md describes its files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import sqlite3
import stat
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from archiver.answers.answer_store import AnswerStore
from archiver.catalog.tables import JOURNALED
from archiver.runner.promises import ACCOUNTS_AT_MOST
from archiver.runner.run import JOBS_AT_ONCE
from archiver.store import disk
from tests.support import ROOT

Rows = list[tuple[object, ...]]
_OUTBOX = "select table_name, row_key, row_values from journal_outbox order by txn, id"
_MOST = 3


def _load_reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_archive", ROOT / "docs" / "list_archive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_READER = _load_reader()


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file of the journal, up to what a kill tore."""
    yield from _READER.lines_of(path)


def journal_differences(root: Path, rows: Callable[[str], Rows]) -> Iterator[str]:
    """Yield what the journal at ``root`` lacks or has too much, compared with the rows."""
    if not rows("select 1 from journal_head"):
        return  # it begins with a snapshot, once the archive is opened for writing
    tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]]
    tables, problem = _READER.read_journal(root)
    if problem:
        yield problem
    for name, key, values in rows(_OUTBOX):
        _apply(tables.setdefault(str(name), {}), tuple(json.loads(str(key))), values)
    for table in JOURNALED:
        columns = [column.name for column in table.columns]
        key = [columns.index(column.name) for column in table.primary_key]
        names = ", ".join(f'"{column}"' for column in columns)
        stored = {
            tuple(row[place] for place in key): dict(zip(columns, row, strict=True))
            for row in rows(f"select {names} from {table.name}")
        }
        yield from _compare(table.name, tables.get(table.name, {}), stored)


def _apply(rows: dict[tuple[Any, ...], dict[str, Any]], key: tuple[Any, ...], values: object) -> None:
    if values is None:
        rows.pop(key, None)
    else:
        rows.setdefault(key, {}).update(json.loads(str(values)))


def _compare(
    table: str, journal: Mapping[tuple[Any, ...], object], stored: Mapping[tuple[Any, ...], object]
) -> Iterator[str]:
    different = [key for key in journal.keys() | stored.keys() if journal.get(key) != stored.get(key)]
    for key in different[:_MOST]:
        yield f"I16: {table} {key}: the journal says {journal.get(key)}, the row {stored.get(key)}"


State = dict[str, Rows]
"""An archive without its ids and times: what each table says, and the blobs that lie in the store."""

_BLOB = re.compile(r"[0-9a-f]{64}")
_KEPT = re.compile(r"stored the (\w+) of (user|highlight|item) (\d+), ")
_ENDED = re.compile(r"run (\d+) ended: ok;")
_SIGNED = re.compile(rb"[?&]_nc_oh[ct]?=|[?&]oh=[0-9A-Za-z_-]{20}")

_ENTRIES = ("mentions", "links", "hashtags", "locations", "stickers", "reshares", "sponsors")
_STATE = {
    "users": (
        "select pk, username, full_name, is_private, gone_at is null, tray_length, "
        "avatar_name, avatar_held from users"
    ),
    "usernames": "select user_pk, username from usernames",
    "highlights": "select pk, user_pk, title, position, created_at, latest_reel_media, "
    "media_count, is_pinned, cover_name, cover_held,"
    " fetched_latest_reel_media, fetched_media_count, completed_at is null, gone_at is null from highlights",
    "items": "select pk, user_pk, code, taken_at, media_type, product_type, video_duration from items",
    "highlight_items": "select highlight_pk, item_pk, position, gone_at is null from highlight_items",
    "files": (
        "select user_pk, highlight_pk, item_pk, role, sha256, substr(source_url, 9 + "
        "instr(substr(source_url, 9), '/')) from files"
    ),
    "blobs": "select sha256, size, mime, width, height, lost_at is null from blobs",
    "open failures": "select subject, subject_pk, role, reason from failures where resolved_at is null",
    **{name: f"select * from {name}" for name in _ENTRIES},
}

# I5: what a watermark vouches for, and no row bears out.
_UNBORNE = {
    "a highlight is marked as complete without the {2} of item {1}: {0}": """
        select h.pk, i.pk, r.role from highlights h
        join highlight_items m on m.highlight_pk = h.pk and m.gone_at is null
        join items i on i.pk = m.item_pk
        join (select 'thumbnail' as role, 0 as least union all select 'video', 2)
        r on coalesce(i.media_type, 0) >= r.least
        where h.completed_at is not null
        and not exists (select 1 from files f where f.item_pk = i.pk and f.role = r.role)
        and not exists (
            select 1 from failures x where x.subject = 'item' and x.subject_pk = i.pk and x.role = r.role)""",
    "a highlight is marked as fetched with {1} items and holds {2}: {0}": """
        select h.pk, h.fetched_media_count, count(m.item_pk) as held from highlights h
        left join highlight_items m on m.highlight_pk = h.pk and m.gone_at is null
        where h.fetched_at is not null group by h.pk, h.fetched_media_count
        having held < h.fetched_media_count""",
    "a highlight is marked as complete, but not as fetched: {0}": """
        select pk from highlights where completed_at is not null and fetched_at is null""",
    "a cover is marked as held and no file is: {0}, {1}": """
        select h.pk, h.cover_held from highlights h where h.cover_held is not null and not exists (
            select 1 from files f where f.highlight_pk = h.pk and f.source_url like '%/' || h.cover_held)""",
    "an avatar is marked as held and no file is: {0}, {1}": """
        select u.pk, u.avatar_held from users u where u.avatar_held is not null and not exists (
            select 1 from files f where f.user_pk = u.pk and f.source_url like '%/' || u.avatar_held)""",
}

_PAID_AGAIN = """
    select c.subject, count(*) as times from api_calls c join answers a on a.api_call_id = c.id
    where c.path = '/v1/highlight/by/url' and c.status = 200
    group by c.subject, a.latest_reel_media, a.media_count having times > 1"""


@dataclass(frozen=True, slots=True)
class Bill:
    """What upstream has billed this archive in all its life, in units."""

    units: int
    killed: int = 0  # runs that were killed: what each had in flight may be counted and was never billed
    lost: int = 0  # units that the ledger may lack, because a database was lost before they were journaled
    at_once: int = ACCOUNTS_AT_MOST + JOBS_AT_ONCE  # calls that one run can have in flight


def violations(
    root: Path,
    *,
    told: Collection[str] = (),
    bill: Bill | None = None,
    secret: str = "",
    ended: bool = False,
    modes: bool = True,
) -> list[str]:
    """What does not hold in the archive at ``root``, each entry beginning with the invariant; empty if all
    does.

    ``told``: lines that the program wrote into its log. ``bill``: what upstream says that it charged.
    ``secret``: the API key. ``ended``: a run has ended well since the last kill, so nothing may be left of
    it. ``modes``: those of the files are the program's own.
    """
    if not root.exists():
        return ["I4: what was told has no archive"] if told else []
    found = [*_blobs(root), *(_modes(root) if modes else ()), *_leaks(root, secret)]
    try:
        return found + _of_rows(root, told, bill, ended)
    except sqlite3.DatabaseError as error:
        return [*found, f"I1: the database is damaged: {error}"]


def _of_rows(root: Path, told: Collection[str], bill: Bill | None, ended: bool) -> list[str]:
    """What the rows do not agree with."""
    found = [*_marker(root)]
    with database(root) as rows:
        if rows is None:
            return found + (["I4: what was told has no database"] if told else [])
        found += [*_sound(rows), *_files(root, rows), *_told(rows, told), *_watermarks(rows)]
        found += journal_differences(root, rows)
        found += [*_answers(root, rows), *(_ledger(rows, bill) if bill is not None else ())]
        if ended:
            found += _leftovers(root, rows)
    return found


def state(root: Path) -> State:
    """The logical state of the archive at ``root``."""
    with database(root) as rows:
        assert rows is not None
        tables = {name: sorted(rows(query), key=repr) for name, query in _STATE.items()}
    return tables | {"in the store": sorted((path.name,) for path in _stored(root))}


def differences(found: State, wanted: State) -> list[str]:
    """What ``found`` has too much (+) and too little (-), compared with ``wanted``."""
    return [
        f"I10: {name}: {sign} {row}"
        for name in wanted
        for sign, one, other in (("+", found, wanted), ("-", wanted, found))
        for row in one[name]
        if row not in other[name]
    ]


def reported_stored(root: Path) -> list[str]:
    """What the program has told of in the log of this archive: the lines that a kill left whole."""
    log = root / "log" / "archiver.log"
    return log.read_text().split("\n")[:-1] if log.exists() else []


@contextmanager
def database(root: Path) -> Iterator[Callable[[str], Rows] | None]:
    """Ask a copy of the archive's database as SQLite recovers it; None while there is none, or none with
    tables yet.
    """
    if not (root / "archive.db").exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        for name in ("archive.db", "archive.db-wal"):
            if (root / name).exists():
                shutil.copy(root / name, place)
        Path(place, "archive.db").chmod(0o600)
        with closing(sqlite3.connect(Path(place, "archive.db"))) as copy:
            yield (lambda sql: copy.execute(sql).fetchall()) if _has_tables(copy) else None


def _has_tables(copy: sqlite3.Connection) -> bool:
    return bool(copy.execute("select count(*) from sqlite_master where name = 'files'").fetchone()[0])


def _stored(root: Path) -> Iterator[Path]:
    """Whatever lies where blobs do."""
    blobs = root / "blobs"
    if blobs.is_dir():
        for fan in sorted(blobs.iterdir()):
            yield from sorted(fan.iterdir())


def _blobs(root: Path) -> Iterator[str]:
    for path in _stored(root):
        if not _BLOB.fullmatch(path.name) or path.name[:2] != path.parent.name:
            yield f"I2: blobs/ holds {path.name}, which is no digest"
        elif not stat.S_ISREG(path.lstat().st_mode):
            yield f"I2: {path.name} is no regular file"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield f"I2: the {path.lstat().st_size} bytes under {path.name} are others"


def _files(root: Path, rows: Callable[[str], Rows]) -> Iterator[str]:
    kept = rows(
        "select distinct b.sha256, b.size from files f left join blobs b on b.sha256 = "
        "f.sha256 where b.lost_at is null"
    )
    for sha256, size in kept:
        path = root / "blobs" / str(sha256)[:2] / str(sha256)
        if not path.is_file() or path.is_symlink():
            yield f"I1: a row vouches for {sha256}, which is not in the store"
        elif path.stat().st_size != size:
            yield f"I1: a row says {size} bytes of {sha256}, the store has {path.stat().st_size}"


def _modes(root: Path) -> Iterator[str]:
    for path in (root, *root.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield f"I9: {path.relative_to(root)} is a link"
        elif stat.S_IMODE(mode) not in _wanted_modes(path, mode):
            yield f"I9: {path.relative_to(root)} has mode {stat.S_IMODE(mode):o}"


def _wanted_modes(path: Path, mode: int) -> set[int]:
    if stat.S_ISDIR(mode):
        return {0o700}
    if path.parent.parent.name == "blobs":
        return {0o444}
    return {0o600, 0o444} if path.parent.name == "tmp" else {0o600}


def _leaks(root: Path, secret: str) -> Iterator[str]:
    """The key stands nowhere, and signed queries only in kept answers."""
    for path in root.rglob("*"):
        if not path.is_file() or path.parent.parent.name == "blobs":
            continue
        raw = path.read_bytes()
        plain = b"".join(_members(raw)) if path.name.endswith(".gz") else raw
        if secret and secret.encode() in plain:
            yield f"I8: the key stands in {path.relative_to(root)}"
        if not path.name.endswith(".gz") and path.parent.name != "tmp" and _SIGNED.search(plain):
            yield f"I8: a signed query stands in {path.relative_to(root)}"


def _members(raw: bytes) -> Iterator[bytes]:
    """The gzip members of a segment, up to one that a kill has torn."""
    while raw:
        stream = zlib.decompressobj(31)
        try:
            yield stream.decompress(raw)
        except zlib.error:
            return
        raw = stream.unused_data


def _marker(root: Path) -> Iterator[str]:
    if not (root / "archive.json").exists():
        return
    marker = json.loads((root / "archive.json").read_bytes())["id"]
    with database(root) as rows:
        if rows is None or rows("select id from archive") != [(marker,)]:
            yield "I13: the marker stands, and the database is not its own"


def _sound(rows: Callable[[str], Rows]) -> Iterator[str]:
    if (check := rows("pragma integrity_check")) != [("ok",)]:
        yield f"I1: the database is damaged: {check[:3]}"
    if broken := rows("pragma foreign_key_check"):
        yield f"I1: rows refer to rows that are not there: {broken[:3]}"


def _told(rows: Callable[[str], Rows], told: Collection[str]) -> Iterator[str]:
    """I4: each file that was told as kept has its row, each run that was told to have ended has its end."""
    held = set(rows("select coalesce(item_pk, highlight_pk, user_pk), role from files"))
    ended = {int(str(run)): outcome for run, outcome in rows("select id, outcome from runs")}
    for line in told:
        if (kept := _KEPT.search(line)) and (kept[3], kept[1]) not in held:
            yield f"I4: told and not in the database: {kept[0]}"
        if (end := _ENDED.search(line)) and ended.get(int(end[1])) != "ok":
            yield f"I4: told and not in the database: {end[0]}"


def _watermarks(rows: Callable[[str], Rows]) -> Iterator[str]:
    for sentence, query in _UNBORNE.items():
        for row in rows(query):
            yield f"I5: {sentence.format(*row)}"


def _answers(root: Path, rows: Callable[[str], Rows]) -> Iterator[str]:
    """What was paid for and settled lies in its segment, whole; what else a crash left there is not taken for
    damage."""
    store, rows_of = AnswerStore(disk.Objects(root)), dict[str, dict[int, int]]()
    for segment, offset, length in rows("select segment, offset, length from answers"):
        rows_of.setdefault(str(segment), {})[int(str(offset))] = int(str(length))
    for name in store.segments():
        for surplus in store.surplus(name, rows_of.get(name, {})):
            yield f"I12: what a crash left is taken for damage: {surplus}"
    for segment, offset, length, sha256 in rows("select segment, offset, length, sha256 from answers"):
        path = root / "answers" / str(segment)
        member = path.read_bytes()[int(str(offset)) :][: int(str(length))] if path.is_file() else b""
        plain = b"".join(_members(member))
        body = plain.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n\r\n")
        if hashlib.sha256(body).hexdigest() != sha256:
            yield f"I7: the answer at {offset} of {segment} is not the one that was paid for"


def _ledger(rows: Callable[[str], Rows], bill: Bill) -> Iterator[str]:
    settled, pending, calls = rows(
        "select coalesce(sum(units) filter (where finished_at is not null), 0),"
        " coalesce(sum(units) filter (where finished_at is null), 0), count(*) filter "
        "(where finished_at is null) from api_calls"
    )[0]
    spent = int(str(settled)) + int(str(pending))
    if spent < bill.units - bill.lost:
        yield f"I7: upstream billed {bill.units} units, the ledger has {spent}"
    if int(str(settled)) > bill.units:
        yield f"I7: {settled} units are settled, upstream billed {bill.units}"
    for highlight, times in rows(_PAID_AGAIN):
        yield f"I7: highlight {highlight} was paid for {times} times, though nothing had changed"
    if int(str(calls)) > bill.killed * bill.at_once:
        yield f"I7: {calls} calls of {bill.killed} killed runs are open in the ledger"


def _leftovers(root: Path, rows: Callable[[str], Rows]) -> Iterator[str]:
    for left in (root / "tmp").iterdir():
        yield f"I11: tmp/ holds {left.name}"
    for run, outcome in rows("select id, outcome from runs where outcome is null"):
        yield f"I11: run {run} has the outcome {outcome}"
