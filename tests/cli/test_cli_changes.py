"""``archiver changes`` on a real archive whose upstream was edited, and summaries of changes."""

from __future__ import annotations

import fcntl
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from archiver.cli.change_summary import ChangeSummary
from archiver.model.archived import NamedChange
from archiver.model.identity import Subject
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import InProcessUser, files_of
from tests.support.databases import NOW
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


_ids = itertools.count(1)


def change(
    subject: Subject,
    field: str,
    old: str | None,
    new: str | None,
    *,
    pk: str = "1",
    title: str | None = "BOTW 2026",
    username: str | None = "natgeo",
    user_pk: str | None = "787132",
) -> NamedChange:
    """Return a change, by default of natgeo's highlight BOTW 2026."""
    shown = title if subject is Subject.HIGHLIGHT else None
    return NamedChange(next(_ids), 1, NOW, subject, pk, field, old, new, user_pk, username, shown)


def summary_lines(*changes: NamedChange) -> list[str]:
    return list(ChangeSummary(changes).lines())


def describe(subject: Subject, *edits: tuple[str, str | None, str | None]) -> str:
    """Return the line about one subject after these edits, without its name."""
    (line,) = summary_lines(*(change(subject, *edit) for edit in edits))
    return line.removeprefix("natgeo: ").removeprefix("BOTW 2026: ")


@pytest.mark.parametrize(
    ("subject", "edit", "words"),
    [
        (Subject.USER, ("username", "natgeo_old", "natgeo"), "renamed from natgeo_old"),
        (Subject.USER, ("full_name", "NatGeo", "National"), "full name: NatGeo -> National"),
        (Subject.USER, ("is_verified", "false", "true"), "verified"),
        (Subject.USER, ("is_verified", "true", "false"), "no longer verified"),
        (Subject.USER, ("is_private", "false", "true"), "went private"),
        (Subject.USER, ("is_private", "true", "false"), "public again"),
        (Subject.USER, ("avatar_name", "a.jpg", "b.jpg"), "new avatar"),
        (Subject.USER, ("presence", None, "gone"), "gone"),
        (Subject.USER, ("presence", None, "returned"), "back"),
        (Subject.HIGHLIGHT, ("presence", None, "appeared"), "new"),
        (Subject.HIGHLIGHT, ("presence", None, "gone"), "gone"),
        (Subject.HIGHLIGHT, ("presence", None, "returned"), "back"),
        (Subject.HIGHLIGHT, ("title", "BOTW", "BOTW 2026"), "renamed from BOTW"),
        (Subject.HIGHLIGHT, ("cover_name", "a.jpg", "b.jpg"), "new cover"),
        (Subject.HIGHLIGHT, ("is_pinned", "false", "true"), "pinned"),
        (Subject.HIGHLIGHT, ("is_pinned", "true", "false"), "unpinned"),
        (Subject.HIGHLIGHT, ("position", "4", "0"), "moved in the tray"),
        (Subject.HIGHLIGHT, ("item_order", "1,2", "2,1"), "items reordered"),
        (Subject.HIGHLIGHT, ("items", None, "31"), "1 added"),
        (Subject.HIGHLIGHT, ("items", "31", None), "1 removed"),
        (Subject.HIGHLIGHT, ("user_pk", "42", "787132"), "was the highlight of account 42"),
        (Subject.ITEM, ("video_duration", "15.0", "16.2"), "item 1: video_duration: 15.0 -> 16.2"),
    ],
)
def test_each_edit_has_its_words(
    subject: Subject, edit: tuple[str, str | None, str | None], words: str
) -> None:
    """Every field that ``changes`` records is described."""
    assert describe(subject, edit) == words


def test_a_highlight_is_one_line() -> None:
    """All its changes follow its account and its present title."""
    edits = [
        change(Subject.HIGHLIGHT, "title", "BOTW", "BOTW 2026"),
        change(Subject.HIGHLIGHT, "items", None, "31"),
        change(Subject.HIGHLIGHT, "items", None, "32"),
        change(Subject.HIGHLIGHT, "items", "30", None),
    ]
    assert summary_lines(*edits) == ["natgeo: BOTW 2026: 2 added, 1 removed, renamed from BOTW"]


def test_accounts_by_name_and_each_before_its_highlights() -> None:
    """Lines are sorted by name, not by row; what has no name is sorted by its pk."""
    lines = summary_lines(
        change(Subject.HIGHLIGHT, "presence", None, "gone", pk="9", title=None, username=None, user_pk="55"),
        change(Subject.ITEM, "code", "a", "b", pk="31"),
        change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="2", title="Zoo"),
        change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="1", title="ants"),
        change(Subject.USER, "avatar_name", "a", "b", pk="787132"),
        change(Subject.USER, "is_private", "false", "true", pk="42", username="Zoe", user_pk="42"),
        change(Subject.USER, "avatar_name", "a", "b", pk="43", username="aaron", user_pk="43"),
    )
    assert lines == [
        "55: highlight 9: gone",
        "aaron: new avatar",
        "natgeo: new avatar",
        "natgeo: ants: new",
        "natgeo: Zoo: new",
        "natgeo: item 31: code: a -> b",
        "Zoe: went private",
    ]


@pytest.mark.parametrize(
    ("subject", "edits", "words"),
    [
        (Subject.HIGHLIGHT, [("title", "A", "B"), ("title", "B", "BOTW 2026")], "renamed from A"),
        (Subject.HIGHLIGHT, [("title", "A", "B"), ("title", "B", "A")], "renamed and back"),
        (Subject.HIGHLIGHT, [("title", "A", "B")], "renamed from A to B"),  # and renamed again later
        (Subject.USER, [("full_name", "A", "B"), ("full_name", "B", "C")], "full name: A -> C"),
        (Subject.USER, [("full_name", "A", "B"), ("full_name", "B", "A")], "full name: changed and back"),
        (
            Subject.USER,
            [("is_private", "false", "true"), ("is_private", "true", "false")],
            "went private and back",
        ),
        (
            Subject.USER,
            [("is_private", "true", "false"), ("is_private", "false", "true")],
            "public again and back",
        ),
        (Subject.HIGHLIGHT, [("position", "1", "0"), ("position", "0", "3")], "moved in the tray"),
        (Subject.HIGHLIGHT, [("presence", None, "appeared"), ("presence", None, "gone")], "new, then gone"),
        (
            Subject.HIGHLIGHT,
            [("presence", None, "gone"), ("presence", None, "returned"), ("presence", None, "gone")],
            "gone",
        ),
        (Subject.HIGHLIGHT, [("items", None, "1"), ("items", "1", None)], "1 added and removed again"),
        (Subject.HIGHLIGHT, [("items", "1", None), ("items", None, "1")], "1 removed and added back"),
        (Subject.HIGHLIGHT, [("items", None, "1"), ("items", "1", None), ("items", None, "1")], "1 added"),
    ],
)
def test_several_edits_of_one_thing_are_folded(
    subject: Subject, edits: list[tuple[str, str | None, str | None]], words: str
) -> None:
    """A field goes from its first old value to its last new one; what appeared and disappeared says so."""
    assert describe(subject, *edits) == words


def test_a_headline_counts_subjects_not_changes() -> None:
    """Each subject counts once, by its last state; kinds without changes are left out."""
    summary = ChangeSummary(
        [
            change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="1"),
            change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="2"),
            change(Subject.HIGHLIGHT, "items", None, "31", pk="3"),
            change(Subject.HIGHLIGHT, "title", "A", "B", pk="3"),
            change(Subject.HIGHLIGHT, "presence", None, "gone", pk="4"),
            change(Subject.ITEM, "code", "a", "b", pk="31"),
        ]
    )
    assert summary.headline() == "2 highlights new, 1 gone, 1 edited; 1 item edited"
    assert summary.total == 6
    assert ChangeSummary().headline() == ""


def test_a_long_title_is_cut() -> None:
    """A long title does not hide the rest of the line."""
    (line,) = summary_lines(change(Subject.HIGHLIGHT, "title", "x" * 500, "y" * 500, title="y" * 500))
    assert len(line) < 200
    assert line.endswith("…")


def test_words_of_a_later_version_are_shown_as_they_are() -> None:
    """An unknown field or presence is shown, not an error."""
    assert describe(Subject.HIGHLIGHT, ("presence", None, "archived")) == "archived"
    assert describe(Subject.HIGHLIGHT, ("mood", "1", None)) == "mood: 1 -> nothing"
