"""One night over a world built to harm whoever archives it: what stands on disk, on the terminal, in the log
and in rows then.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from archiver.cli import output
from archiver.sandbox.world_objects import Json
from tests.support.command_line import CommandLineUser, files_of, on_terminal
from tests.support.hostile_world import ESCAPES, FILE_NAMES, FORGED, LONG, NATGEO, TITLES, hostile_world
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn

BOTW = "18018069326790931"
OURS = re.compile(
    r"blobs/[0-9a-f]{2}/[0-9a-f]{64}|archive\.db(-wal|-shm)?|archive\.json|lock|log/archiver\.log"
    r"|journal/\d{4}/\d{2}/\d{12}-[0-9a-f]{8}\.jsonl\.gz"
    r"|answers/\d{4}/\d{2}/\d+-(trays|fetched)-[0-9TZ]+-[0-9a-f]{16}\.warc\.gz"
)
"""Every name that a file of an archive may have: none of them comes from upstream."""

LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (INFO|WARNING) \S")


@dataclass(frozen=True, slots=True)
class Morning:
    """After the night: whose archive it is, the code, what the terminal got, and what a query then shows on
    it.
    """

    person: CommandLineUser
    code: int
    terminal: str
    table: str

    @property
    def files(self) -> list[str]:
        """The names of all files of the archive."""
        return list(files_of(self.person.archive))

    @property
    def log(self) -> str:
        """The archive's log."""
        return (self.person.archive / "log" / "archiver.log").read_text("utf-8")

    def column(self, sql: str) -> list[str]:
        """The single column of a query, read by other means than the program's."""
        with closing(sqlite3.connect(self.person.archive / "archive.db")) as database:
            return [str(row[0]) for row in database.execute(sql)]


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Morning]:
    """One ``backup -v`` on a terminal, where a highlight fails with a text as hostile as the titles; then a
    query.
    """
    home = tmp_path_factory.mktemp("around") / "home"
    home.mkdir()
    with FaultyStandIn(hostile_world()) as upstream:
        detail: Json = {"detail": f"{ESCAPES}{FORGED}", "exc_type": "ValidationError"}
        upstream.faults.add(actions.respond(400, detail), path="/v1/highlight/by/url", highlight=BOTW)
        person = CommandLineUser(home, upstream)
        code, terminal = on_terminal(person, "backup", NATGEO, "-v")
        _, shown = on_terminal(
            person, "query", "SELECT title, pk FROM highlights", stream="stdout", columns=80
        )
        yield Morning(person, code, terminal, shown)


def test_fault_x1_no_name_on_disk_comes_from_upstream(morning: Morning) -> None:
    """Titles, usernames and URLs full of ``..`` and ``/``: files are named by hash, run and date, and nothing
    stands beside the archive.
    """
    assert morning.code == 3
    assert [name for name in morning.files if not OURS.fullmatch(name)] == []
    assert [p.name for p in morning.person.home.iterdir()] == ["kept"]
    assert [p.name for p in morning.person.home.parent.iterdir()] == ["home"]


def test_fault_x6_the_archive_can_be_copied_to_any_disk(morning: Morning) -> None:
    """No name that Windows keeps for itself or cannot write, no two that differ in case or composition
    alone.
    """
    names = morning.files
    kept_back = re.compile(
        r"(?:^|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|/|$)|[:*?\"<>|\\]|[. ]$", re.IGNORECASE
    )
    assert not [name for name in names if kept_back.search(name)]
    assert len({unicodedata.normalize("NFC", n).casefold() for n in names}) == len(names)


def test_fault_x14_the_extension_of_a_url_is_never_used(morning: Morning) -> None:
    """``shell.php`` and ``evil.desktop`` are kept like any picture, under a hash without an extension."""
    sources = morning.column(
        "SELECT source_url FROM files JOIN blobs USING (sha256) WHERE mime LIKE 'image/%'"
    )
    assert set(FILE_NAMES) <= {url.rpartition("/")[2] for url in sources}
    assert any(url.endswith(".jpg.php") for url in sources)
    assert {"." in n for n in morning.files if n.startswith("blobs/")} == {False}


def test_fault_x4_marks_of_direction_are_stored_and_not_obeyed(morning: Morning) -> None:
    """An override, isolates and a zero-width space are in the row as they came; a terminal sees them as
    escapes.
    """
    assert "\u202egnp.exe\u2066\u200b\u2069" in morning.column("SELECT title FROM highlights")
    assert r"\u202egnp.exe\u2066\u200b\u2069" in morning.table
    assert not set("\u202e\u2066\u200b\u2069") & set(morning.table + morning.terminal)


def test_fault_x5_a_long_title_is_stored_and_cut_where_it_is_shown(morning: Morning) -> None:
    """10 kB of joined emoji are in the row whole, 100 kB up to 64 kB and never half a character; no line
    overruns the terminal.
    """
    stored = morning.column("SELECT title FROM highlights")
    assert LONG in stored
    longest = max(stored, key=len)
    assert longest == "é" * 32_768
    lines = morning.table.splitlines()
    assert len(lines) == len(stored) + 2
    assert max(map(output.text_width, lines)) <= 80


def test_fault_x11_a_terminal_obeys_nothing_that_came_from_upstream(morning: Morning) -> None:
    """Titles, names and the API's error text with ESC, OSC, C1, CR and BS: what reaches the terminal is the
    bar's own CR and line ends.
    """
    assert set(TITLES) <= set(morning.column("SELECT title FROM highlights"))
    for text in (morning.terminal, morning.table):
        assert not [c for c in text if unicodedata.category(c) == "Cc" and c not in "\r\n"]
    shown = r"\x1b[2J\x1b]52;c;ZXZpbA==\x07\x1b]8;;http://evil.example/\x07\x9b31m\r\x08"
    assert f"../{shown}quiet" in morning.terminal
    assert r"ESC \x1b[2J\x1b]52;c;ZXZpbA==\x07" in morning.table
    assert "\r" not in morning.table


def test_fault_x12_no_title_forges_a_line(morning: Morning) -> None:
    """A username, a title and an error text with a whole line of log in them: each event stays one line, in
    the log and above the bar.
    """
    lines = morning.log.splitlines()
    assert len(lines) == morning.log.count("\n")
    assert [line for line in lines if not LOGGED.match(line)] == []
    assert sum("run 9 ended: ok" in line for line in lines) >= 3
    assert [line for line in lines if re.search("INFO run 9|^AND MORE", line[:45])] == []
    drawn = re.split("[\r\n]", morning.terminal)
    assert [line for line in drawn if line.startswith(("2026-01-01T00:00:00.000000Z", "AND MORE"))] == []


def test_fault_x15_a_title_is_no_template(morning: Morning) -> None:
    """Braces, percent signs, dollar signs and backticks of a title are told as they are: nothing is filled
    in, nothing run.
    """
    title = "{0.__class__.__init__.__globals__} %s%n ${HOME} $(id) `id`"
    assert title in morning.log
    assert title in morning.table
