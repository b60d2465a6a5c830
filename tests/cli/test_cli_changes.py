"""``archiver changes`` on a real archive whose upstream was edited."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import InProcessUser, files_of
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NATGEO, SALWA = "natgeo", "salwaaa_ki"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> Iterator[InProcessUser]:
    """Somebody who kept both accounts, and again after edits: run 2 saw them."""
    with FaultyStandIn(EditableWorld.seed(), key="canary-0123456789abcdef") as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("changes"), upstream)
        archive_copies.backed_up(person, NATGEO, SALWA)
        world = upstream.world
        world.retitle(BOTW, "Best\x1b[31m")
        world.add_item(BOTW)
        world.remove_highlight(LIMITLESS)
        world.set_full_name(SALWA, "Salwa")
        world.rename(SALWA, "salwa")
        assert person.run("backup", NATGEO, "salwaaa_ki", "-q").code == 0
        yield person


def test_a_person_reads_what_happened(kept: InProcessUser) -> None:
    """Day by day, a line for each account and highlight, on stdout, safe for a terminal; nothing of the
    archive is touched.
    """
    before = _kept_files(kept)
    ended = kept.run("changes")
    title = "Best\\x1b[31m"
    day, *lines = ended.out.splitlines()
    assert day <= datetime.now(UTC).date().isoformat()
    assert lines == [
        f"  natgeo: {title}: 1 added, renamed from BOTW 2026",
        "  natgeo: Limitless: gone",
        "  salwa: renamed from salwaaa_ki, full name: 𓆩سلوى 𓆪 -> Salwa",
    ]
    assert (ended.code, ended.err) == (0, "")
    assert _kept_files(kept) == before


def _kept_files(person: InProcessUser) -> dict[str, int]:
    """All but what SQLite puts beside a database that is read."""
    return {name: size for name, size in files_of(person.archive).items() if "-" not in name[-4:]}


def test_json_has_every_row_with_its_names(kept: InProcessUser) -> None:
    """One object: the rows in their order, each with whose it is; the title as it is, escaped."""
    found = kept.run("changes", "--json").object
    assert (found["exit_code"], found["outcome"]) == (0, "ok")
    rows = found["changes"]
    assert isinstance(rows, list)
    names = [
        "id",
        "run_id",
        "at",
        "subject",
        "subject_pk",
        "field",
        "old",
        "new",
        "user_pk",
        "username",
        "title",
    ]
    assert all(list(row) == names for row in rows)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    (renamed,) = [row for row in rows if row["field"] == "title"]
    assert {name: renamed[name] for name in names[1:] if name != "at"} == {
        "run_id": 2,
        "subject": "highlight",
        "subject_pk": BOTW,
        "field": "title",
        "old": "BOTW 2026",
        "new": "Best\x1b[31m",
        "user_pk": "787132",
        "username": "natgeo",
        "title": "Best\x1b[31m",
    }
    assert datetime.fromisoformat(renamed["at"]).tzinfo is not None


@pytest.mark.parametrize(
    ("args", "accounts"),
    [
        (("--run", "2"), ["natgeo", "natgeo", "salwa"]),
        (("--account", "natgeo"), ["natgeo", "natgeo"]),
        (("--account", "787132"), ["natgeo", "natgeo"]),
        (("--account", "@NATGEO", "--account", "salwa", "--since", "1h"), ["natgeo", "natgeo", "salwa"]),
        (("--account", "salwaaa_ki"), ["salwa"]),  # what it was called once
        (("--since", "2020-01-01T03:17", "--run", "2", "--account", "salwa"), ["salwa"]),
    ],
)
def test_it_tells_what_is_asked_for(kept: InProcessUser, args: tuple[str, ...], accounts: list[str]) -> None:
    """One run, some accounts, since when: each narrows it down."""
    lines = kept.run("changes", *args).out.splitlines()[1:]
    assert [line.strip().partition(":")[0] for line in lines] == accounts


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--run", "1"), "nothing changed in run 1\n"),
        (("--since", "2120-01-01"), "nothing changed since 2120-01-01 00:00:00 UTC\n"),
        (("--run", "1", "-q"), ""),
    ],
)
def test_nothing_is_said_beside_the_data(kept: InProcessUser, args: tuple[str, ...], words: str) -> None:
    """Where nothing changed stdout is empty, stderr says so, the code is 0."""
    ended = kept.run("changes", *args)
    assert (ended.code, ended.out, ended.err) == (0, "", words)
    assert kept.run("changes", *args, "--json").object["changes"] == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--account", "natgoe"), "no account natgoe; did you mean natgeo? (archiver accounts"),
        (("--account", "1234"), "no account 1234 (archiver accounts"),
        (("--account", f"highlight:{BOTW}"), "is not an account (name one by its username or id)"),
        (("--run", "99"), "there is no run 99 (the last one is 2)"),
        (("--run", str(2**64)), "there is no run"),
        (("--since", "yesterday"), "Invalid value for '--since': invalid time 'yesterday': use 2026-11-01"),
    ],
)
def test_what_cannot_be_asked_names_the_next_step(
    kept: InProcessUser, args: tuple[str, ...], words: str
) -> None:
    """Code 2 and one line; one object with ``--json``."""
    ended = kept.run("changes", *args)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    found = kept.run("changes", *args, "--json")
    assert (found.code, found.object["outcome"], found.object["changes"]) == (2, "usage", [])


def test_it_costs_nothing_and_runs_beside_a_run(kept: InProcessUser) -> None:
    """No call is made, and the lock that a run holds is not asked for."""
    assert kept.upstream is not None
    kept.upstream.requests.reset()
    lock = kept.archive / "lock"
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert kept.run("changes").code == 0
    assert kept.upstream.requests.api_calls() == []
