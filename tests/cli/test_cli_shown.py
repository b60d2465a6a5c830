"""``archiver show``: the details of an account, highlight or item, as text and as JSON."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from archiver.catalog import Catalog, record
from archiver.cli import show_command
from archiver.model.identity import Role
from archiver.model.upstream import Tray, User
from archiver.text_format import make_safe, pluralize
from tests.support.command_line import CommandResult, InProcessUser
from tests.support.databases import ARCHIVE_ID, NOW, SQLITE_EVERYDAY
from tests.support.sample_archive import HOSTILE, LATER, content, digest, shelve


@pytest.fixture
def rows(tmp_path: Path, database: str | Path) -> str | Path:
    """The database of the sample archive, on SQLite or PostgreSQL."""
    if not isinstance(database, Path):
        return database
    (tmp_path / "kept").mkdir()
    return database.rename(tmp_path / "kept" / "archive.db")


@pytest.fixture
def person(tmp_path: Path, rows: str | Path) -> InProcessUser:
    """A user with the sample archive."""
    shelve(tmp_path / "kept", rows)
    return InProcessUser(tmp_path, more={"ARCHIVER_ARCHIVE_DATABASE": rows} if isinstance(rows, str) else {})


def show(person: InProcessUser, *words: str) -> CommandResult:
    ended = person.run("show", *words)
    assert (ended.code, ended.err) == (0, "")
    return ended


def path(person: InProcessUser, pk: str, role: Role) -> str:
    return str(person.archive / "blobs" / digest(pk, role)[:2] / digest(pk, role))


def test_an_account_is_shown_as_a_person_wants_it(sqlite_person: InProcessUser) -> None:
    """It shows names, contents, state, the highlights in order with counts, and the path of the avatar.

    What ``gaps`` lists is not complete.
    """
    out = show(sqlite_person, "@NatGeo").out
    gaps = sqlite_person.run("gaps", "natgeo", "--json").object["gaps"]
    assert isinstance(gaps, list)
    with_gaps = {gap["highlight_pk"] for gap in gaps} & {"1", "2"}
    assert len(with_gaps) == 1
    complete = f"1 of 2 highlights, {pluralize(len(gaps), 'gap')}"
    for told in (
        "natgeo, National Geographic\n",
        "holds      3 highlights (1 gone), 4 items (1 gone), 9 blobs, 220 B\n",
        f"complete   {complete} (archiver gaps natgeo)\n",
        f"avatar     {path(sqlite_person, '787132', Role.AVATAR)}\n",
        "0  Gifts  ",
    ):
        assert told in out
    assert out.index("Gifts") < out.index("Whales") < out.index(make_safe(HOSTILE))


def test_hostile_text_is_text(sqlite_person: InProcessUser) -> None:
    """Titles and names are escaped in text and exact in JSON."""
    for target, times in (("natgeo", 1), ("highlight:3", 2), ("item:30", 2)):
        out = show(sqlite_person, target).out
        assert out.count(make_safe(HOSTILE)) == times
        assert not {"\x1b", "\u202e"} & set(out)
    mentions = show(sqlite_person, "item:30", "--json").object["mentions"]
    assert isinstance(mentions, list)
    assert [mention["username"] for mention in mentions] == [HOSTILE]


def test_a_highlight_is_shown_with_its_items_and_their_files(sqlite_person: InProcessUser) -> None:
    """Items are in order, with time, type and contents; a former title is shown."""
    out = show(sqlite_person, "https://www.instagram.com/stories/highlights/1/").out
    assert out.index("item 10") < out.index("@nasa  #wild  at Kamchatka") < out.index("item 11")
    assert f"    video      {path(sqlite_person, '10', Role.VIDEO)}\n" in out
    assert "2026-03-31 23:30 UTC  photo  item 11" in out
    assert "formerly   Gift Guide, until 2026-04-01 23:30 UTC" in show(sqlite_person, "highlight:2").out


@SQLITE_EVERYDAY
def test_an_item_is_shown_with_all_that_it_carries(person: InProcessUser, rows: str | Path) -> None:
    """It shows its highlights, its source, and its files with type, size and hash; a lost one is marked."""
    with Catalog.open(rows, write=True) as catalog:
        catalog.write(record.record_lost_blobs, [digest("10", Role.VIDEO)], LATER)
    assert "holds      2 items, 3 blobs, 1 lost, 70 B\n" in show(person, "highlight:1").out
    out = show(person, "item:10").out
    for told in (
        "video, 14.5 s of natgeo\n",
        "Kamchatka, 56 160, 213",
        "Gifts (highlight 2), position 1",
        "Whales (highlight 1), position 0",
        f"{path(person, '10', Role.VIDEO)}  (lost since 2026-04-01 23:30 UTC)\n",
        f"thumbnail: image/jpeg, 720 x 1280, 25 B (25 bytes)\n    sha256 {digest('10', Role.THUMBNAIL)}",
        "run 1, /v1/highlight/by/url: answers/2026/03/1-fetched-",
    ):
        assert told in out


@SQLITE_EVERYDAY
def test_programs_get_every_field(person: InProcessUser) -> None:
    """An account's object lists highlights, a highlight's items, an item's highlights."""
    account = show(person, "natgeo", "--json").object
    assert (account["kind"], account["pk"], account["blobs"], account["bytes"]) == (
        "account",
        "787132",
        9,
        220,
    )
    highlights = account["highlights"]
    assert isinstance(highlights, list)
    assert [(h["title"], h["items_total"], h["items_gone"], h["due"]) for h in highlights] == [
        ("Gifts", 2, 0, True),
        ("Whales", 2, 0, True),
        (HOSTILE, 1, 1, False),
    ]
    items = show(person, "highlight:1", "--json").object["items"]
    assert isinstance(items, list)
    assert [(i["pk"], i["position"], [f["path"] for f in i["files"]]) for i in items] == [
        ("10", 0, [path(person, "10", Role.VIDEO), path(person, "10", Role.THUMBNAIL)]),
        ("11", 1, [path(person, "11", Role.THUMBNAIL)]),
    ]
    item = show(person, "10", "--json").object
    assert isinstance(item["answer"], dict)
    assert (item["answer"]["run_id"], item["answer"]["lost"]) == (1, False)
    assert item["web_links"] == [
        {"url": "https://example.com/whales", "title": None, "display_url": None, "source": "link"}
    ]


def test_paths_alone_are_for_other_programs(sqlite_person: InProcessUser) -> None:
    """Each present file is printed once, in the order of the profile; with -0 for xargs, filtered by role."""
    listed = show(sqlite_person, "natgeo", "--paths").out.splitlines()
    assert listed == [
        path(sqlite_person, pk, role)
        for pk, role in (
            *(("787132", Role.AVATAR), ("20", Role.THUMBNAIL), ("20", Role.VIDEO)),
            *(("10", Role.THUMBNAIL), ("10", Role.VIDEO), ("1", Role.COVER), ("11", Role.THUMBNAIL)),
            *(("3", Role.COVER), ("30", Role.THUMBNAIL)),
        )
    ]
    assert all(Path(one).is_file() for one in listed)
    videos = show(sqlite_person, "highlight:2", "-0", "--role", "video").out
    assert videos == f"{path(sqlite_person, '20', Role.VIDEO)}\0{path(sqlite_person, '10', Role.VIDEO)}\0"
    assert Path(videos.split("\0")[0]).read_bytes() == content("20", Role.VIDEO)
    assert show(sqlite_person, "item:11", "--paths").out == f"{path(sqlite_person, '11', Role.THUMBNAIL)}\n"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("787132", "account"),
        ("instagram.com/natgeo", "account"),
        ("1", "highlight"),
        ("https://www.instagram.com/s/aGlnaGxpZ2h0OjE=", "highlight"),
        ("30", "item"),
        ("C20-code", "item"),
        ("C30Code", "item"),
        ("item:C30Code", "item"),
    ],
)
def test_a_target_is_read_by_what_is_held(sqlite_person: InProcessUser, target: str, kind: str) -> None:
    """A number is an account's id, else a highlight's, else an item's; a word may be an item's code."""
    assert show(sqlite_person, target, "--json").object["kind"] == kind


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["natgoe"], "did you mean natgeo?"),
        (["99"], "no account, highlight or item 99"),
        (["item:99"], 'no item 99 (archiver query "SELECT pk, code'),
        (["item:?"], "item:<pk>"),
        (["a b"], "item:<pk>"),
        (["a b"], "archiver search finds them by words"),
        (["Presents"], "archiver search finds them by words"),
        (["natgeo", "--role", "video"], "--role needs --paths"),
        (["natgeo", "-0", "--json"], "leave out -0 for the object"),
        (["natgeo", "--paths", "--json"], "leave out --paths for the object"),
    ],
)
def test_what_is_not_held_is_told_with_the_next_step(
    sqlite_person: InProcessUser, words: list[str], said: str
) -> None:
    """The code is 2, and one line says what to do."""
    ended = sqlite_person.run("show", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert said in ended.err


@pytest.fixture(scope="module")
def sqlite_person(tmp_path_factory: pytest.TempPathFactory) -> InProcessUser:
    """A user with the sample archive, for tests that do not change it."""
    home = tmp_path_factory.mktemp("library")
    (home / "kept").mkdir()
    Catalog.create(home / "kept" / "archive.db", ARCHIVE_ID, NOW).close()
    shelve(home / "kept", home / "kept" / "archive.db")
    return InProcessUser(home)


def test_long_lists_are_cut_for_people(sqlite_person: InProcessUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line says how to see the rest."""
    monkeypatch.setattr(show_command, "_ITEMS_SHOWN", 1)
    monkeypatch.setattr(show_command, "_HIGHLIGHTS_SHOWN", 2)
    for target, left in (("highlight:1", "item 11"), ("natgeo", "onerror")):
        out = show(sqlite_person, target).out
        assert left not in out
        assert out.endswith("\nand 1 more (-v shows all; --json and --paths have all)\n")
        assert left in show(sqlite_person, target, "-v").out


def test_a_name_that_several_bore_needs_an_id(sqlite_person: InProcessUser, tmp_path: Path) -> None:
    """That happens when an account was renamed, and another took its name and left it, too."""
    person = InProcessUser(tmp_path)
    copytree(sqlite_person.archive, person.archive)
    with Catalog.open(person.archive / "archive.db", write=True) as catalog:
        for pk in ("5", "6"):
            for name, when in (("shared", NOW), (f"later{pk}", LATER)):
                catalog.write(record.record_tray, 1, pk, Tray(User(pk, name), ()), when)
    ended = person.run("show", "shared")
    assert (ended.code, ended.out) == (2, "")
    assert "use an id: 5, 6" in ended.err
    assert "formerly   shared, 2026-03-31" in show(person, "later6").out
