"""``archiver datasette``, in Datasette itself; and that the database opens there and in sqlite-utils as it
is.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
from click.testing import CliRunner

from archiver.catalog import Catalog
from archiver.catalog.tables import metadata as catalog_tables
from archiver.datasette.metadata import PLUGIN_NAME, build_metadata
from archiver.model.identity import Role
from tests.support.command_line import CommandLineUser, CommandResult, InProcessUser
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.sample_archive import HOSTILE, content, digest, shelve

HTML = digest("11", Role.THUMBNAIL)
LOST = digest("20", Role.VIDEO)
LINK = digest("30", Role.THUMBNAIL)
ABSENT = digest("3", Role.COVER)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> InProcessUser:
    """Somebody with the library, in which one blob claims to be HTML, one is lost, one is a link and one is
    not there.
    """
    person = InProcessUser(tmp_path_factory.mktemp("home"))
    person.archive.mkdir()
    database = person.archive / "archive.db"
    Catalog.create(database, ARCHIVE_ID, NOW).close()
    shelve(person.archive, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE blobs SET mime = 'text/html' WHERE sha256 = ?", [HTML])
        connection.execute("UPDATE blobs SET lost_at = stored_at WHERE sha256 = ?", [LOST])
    blob(person, ABSENT).unlink()
    blob(person, LINK).unlink()
    blob(person, LINK).symlink_to(person.archive / "archive.json")
    return person


@pytest.fixture(scope="module")
def started(person: InProcessUser) -> list[str]:
    """The command that was printed, as sh takes it with these two arguments."""
    ended = person.run("datasette", "web")
    assert (ended.code, ended.err) == (0, "")
    (person.home / "start").write_text(ended.out.replace("datasette serve", "printf '%s\\0'", 1))
    asked = ["sh", str(person.home / "start"), "--get", "/archive/pictures.json?username=natgeo&_shape=array"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def blob(person: InProcessUser, sha256: str) -> Path:
    return person.archive / "blobs" / sha256[:2] / sha256


def get(person: InProcessUser, path: str, headers: Mapping[str, str] | None = None, **allow: Any) -> Any:
    """What a Datasette with these files answers."""
    from datasette.app import Datasette  # not for each worker that only collects: a sixth of that

    metadata = json.loads((person.home / "web" / "metadata.json").read_text()) | allow
    served = Datasette(
        [str(person.archive / "archive.db")],
        metadata=metadata,
        plugins_dir=str(person.home / "web" / "plugins"),
    )
    return asyncio.run(served.client.get(path, headers=headers))


def test_the_printed_command_serves_the_archive(person: InProcessUser, started: list[str]) -> None:
    """On this machine alone; the tables, and the questions that are ready to be asked.

    As a script it hands its arguments on.
    """
    from datasette.cli import cli

    assert started[:2] == ["--host", "127.0.0.1"]
    assert started[-2] == "--get"
    asked = CliRunner().invoke(cli, ["serve", *started])
    assert asked.exit_code == 0, asked.output
    assert {row["title"] for row in json.loads(asked.output)} == {"Gifts", "Whales", HOSTILE}


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize(
    ("path", "pk", "role"),
    [
        pytest.param("/archive/files", "10", Role.THUMBNAIL, marks=pytest.mark.whole),
        ("/archive/files", "10", Role.VIDEO),
        pytest.param("/archive/blobs", "1", Role.COVER, marks=pytest.mark.whole),
        pytest.param("/archive/items", "20", Role.THUMBNAIL, marks=pytest.mark.whole),
        pytest.param("/archive/highlights", "1", Role.COVER, marks=pytest.mark.whole),
        pytest.param("/archive/users", "787132", Role.AVATAR, marks=pytest.mark.whole),
        pytest.param("/archive/highlight_items", "10", Role.THUMBNAIL, marks=pytest.mark.whole),
        ("/archive/pictures?title=Wh", "10", Role.VIDEO),
    ],
)
def test_pictures_show_in_the_tables(person: InProcessUser, path: str, pk: str, role: Role) -> None:
    """By an element whose address brings their bytes, of their type."""
    page = get(person, path).text
    kind, mime = ("video", "video/mp4") if role is Role.VIDEO else ("img", "image/jpeg")
    address = f"/-/archiver/blob/{digest(pk, role)}"
    assert address in re.findall(rf'<{kind} src="([^"]+)"', page)
    answer = get(person, address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, mime)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == content(pk, role)
    part = get(person, address, {"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, content(pk, role)[2:6])
    assert part.headers["content-range"] == f"bytes 2-5/{len(answer.content)}"
    assert "<img src=x" not in page


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("above", [0, 1], ids=["blobs/xy", "blobs"])
def test_fault_k74_a_directory_that_is_a_link_shows_nothing(person: InProcessUser, above: int) -> None:
    """A picture elsewhere, under a name that the archive has, is not found. ``serve`` refuses such blobs."""
    shown = blob(person, digest("10", Role.THUMBNAIL))
    link, elsewhere = shown.parents[above], person.home / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    try:
        assert get(person, f"/-/archiver/blob/{shown.name}").status_code == 404
    finally:
        link.unlink()
        elsewhere.rename(link)


@pytest.mark.usefixtures("started")
def test_what_is_no_picture_never_runs(person: InProcessUser) -> None:
    """What claims to be HTML is a download without a type, and no element of a page."""
    answer = get(person, f"/-/archiver/blob/{HTML}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert "sandbox" in answer.headers["content-security-policy"]
    for path in ("/archive/blobs", "/archive/files", "/archive/items"):
        assert f'src="/-/archiver/blob/{HTML}"' not in get(person, path).text


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("sha256", [LOST, LINK, ABSENT, "0" * 64])
def test_what_is_not_held_is_not_found(person: InProcessUser, sha256: str) -> None:
    """Lost, a link in a blob's place, a file that is gone, a hash of nothing."""
    assert get(person, f"/-/archiver/blob/{sha256}").status_code == 404


@pytest.mark.usefixtures("started")
def test_strangers_are_refused(person: InProcessUser) -> None:
    """A web page whose name leads here, and whoever Datasette does not allow to see the tables."""
    address = f"/-/archiver/blob/{digest('10', Role.VIDEO)}"
    for path in (address, "/archive/items"):
        assert get(person, path, {"host": "evil.example:8001"}).status_code == 403
        assert get(person, path, allow=False).status_code == 403
    assert get(person, address, {"host": "127.0.0.1:8001"}).status_code == 200


def test_every_table_is_described(person: InProcessUser) -> None:
    """In the words of docs/schema.md: each but one that has its columns told, and the columns that the page
    has in tables.
    """
    (tables,) = [t["tables"] for t in person.run("datasette", "-").object["databases"].values()]  # type: ignore[attr-defined]
    assert {name for name in catalog_tables.tables if not tables.get(name, {}).get("description")} <= {
        "highlights"
    }
    for name in ("users", "highlights", "files"):
        assert set(tables[name]["columns"]) >= set(catalog_tables.tables[name].columns.keys()) - {"id"}
    for name, told in tables.items():
        if name in catalog_tables.tables:
            known = set(catalog_tables.tables[name].columns.keys())
            named = {
                told.get("label_column"),
                told.get("sort"),
                told.get("sort_desc"),
                *told.get("facets", ()),
            }
            assert named - {None} <= known


def test_named_queries_are_asked_by_name(tmp_path: Path) -> None:
    """With their first line as the title, and under names that no table has."""
    (tmp_path / "changes.sql").write_text(
        "-- What changed since a day? -p since=2026-03-25\nSELECT 1 WHERE :since > ''\n"
    )
    (tmp_path / "README").write_text("none")
    told: Any = build_metadata("kept", {"blobs": "blobs"}, tmp_path)
    queries = told["databases"]["kept"]["queries"]
    assert set(queries) == {"pictures", "ask-changes"}
    assert queries["ask-changes"]["title"] == "What changed since a day?"


def test_a_dry_run_names_the_files(tmp_path: Path, person: InProcessUser) -> None:
    """It makes none. Afterwards, none would be written."""
    place = tmp_path / "web"
    ended = person.run("datasette", str(place), "-n")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == (
        f"{place}/metadata.json would be written\n{place}/plugins/{PLUGIN_NAME} would be written\n"
    )
    assert not place.exists()
    assert person.run("datasette", str(place)).code == 0
    assert "nothing would be written" in person.run("datasette", str(place), "-n").err


def test_files_of_others_stay(tmp_path: Path, person: InProcessUser) -> None:
    """A file that says something else is refused before anything is written; the same again is nothing,
    --force writes over it.
    """
    place = tmp_path / "web"
    place.mkdir()
    (place / "metadata.json").write_text("mine")
    ended = person.run("datasette", str(place))
    assert (ended.code, ended.out) == (2, "")
    assert "--force" in ended.err
    assert [path.name for path in place.iterdir()] == ["metadata.json"]
    assert person.run("datasette", str(place), "--force").code == 0
    assert person.run("datasette", str(place)).code == 0


@pytest.mark.parametrize("place", ["", "web"])
def test_nothing_is_written_into_the_archive(person: InProcessUser, place: str) -> None:
    """Nor below it: code 2, also with --force."""
    ended = person.run("datasette", str(person.archive / place), "--force")
    assert (ended.code, ended.out) == (2, "")
    assert "belongs to the archive at" in ended.err
    assert not {"metadata.json", "plugins", "web"} & {path.name for path in person.archive.iterdir()}


@pytest.mark.parametrize("place", [".", "accounts/new"])
def test_nothing_is_written_into_an_export(tmp_path: Path, person: InProcessUser, place: str) -> None:
    """Nor below one: it is another's directory."""
    assert person.run("export", "site", str(tmp_path / "out"), "--account", "natgeo").code in (0, 3)
    before = sorted((tmp_path / "out").rglob("*"))
    ended = person.run("datasette", str(tmp_path / "out" / place))
    assert ended.code == 2
    assert f"belongs to the export in {tmp_path / 'out'} (name a directory outside of it)\n" in ended.err
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_directory_in_the_place_of_a_file_is_code_8(tmp_path: Path, person: InProcessUser) -> None:
    """With and without --force; it stays, and no draft is left."""
    place = tmp_path / "web"
    (place / "metadata.json").mkdir(parents=True)
    for words in ((), ("--force",)):
        ended = person.run("datasette", str(place), *words)
        assert (ended.code, ended.out) == (8, "")
        assert "metadata.json cannot be read: Is a directory" in ended.err
    assert [path.name for path in place.iterdir()] == ["metadata.json"]


@pytest.mark.parametrize("words", [(), pytest.param(("--force",), marks=pytest.mark.whole)])
def test_a_pipe_in_the_place_of_a_file_is_no_wait(
    tmp_path: Path, person: InProcessUser, words: tuple[str, ...]
) -> None:
    """Nor is one that bears the name of a draft, nor a link written through: code 8 for what would be
    replaced, the rest is made anew.
    """
    place = tmp_path / "web"
    place.mkdir()
    os.mkfifo(place / "metadata.json")
    ended = _forked(person, str(place), *words)
    assert ended.code == 8
    assert "metadata.json cannot be read: not a regular file" in ended.err
    assert [path.name for path in place.iterdir()] == ["metadata.json"]
    (place / "metadata.json").unlink()
    os.mkfifo(place / ".metadata.json.part")
    (place / "plugins").mkdir()
    (place / "plugins" / f".{PLUGIN_NAME}.part").symlink_to(tmp_path / "elsewhere")
    done = _forked(person, str(place), *words)
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in place.iterdir()) == ["metadata.json", "plugins"]
    assert (place / "metadata.json").is_file()
    assert not (tmp_path / "elsewhere").exists()


def _forked(person: InProcessUser, *words: str) -> CommandResult:
    """``archiver datasette`` as a process, which is killed if it waits for ever."""
    return CommandLineUser(person.home).run("datasette", *words)


def test_an_archive_in_postgresql_is_for_other_programs(tmp_path: Path) -> None:
    """Datasette reads SQLite alone: code 2, with what to ask instead, before anybody is connected to."""
    elsewhere = {"ARCHIVER_ARCHIVE_DATABASE": "postgresql+psycopg://127.0.0.1:1/archive"}
    ended = InProcessUser(tmp_path, more=elsewhere).run("datasette", "-")
    assert (ended.code, ended.out) == (2, "")
    assert "archiver query" in ended.err


def test_sqlite_utils_opens_the_database_as_it_is(person: InProcessUser) -> None:
    """Its tables with their keys, times as text in their order, JSON of stickers as text."""
    database = sqlite_utils.Database(person.archive / "archive.db")
    try:
        assert set(catalog_tables.tables) <= set(database.table_names())
        keys = {(key.column, key.other_table) for key in database["files"].foreign_keys}  # type: ignore[union-attr]
        assert keys >= {("item_pk", "items"), ("sha256", "blobs"), ("run_id", "runs")}
        newest = next(iter(database.query("SELECT taken_at FROM items ORDER BY taken_at DESC")))
        assert newest == {"taken_at": "2026-03-31T23:30:00.250000Z"}
        assert html.escape(HOSTILE) not in {row["title"] for row in database["highlights"].rows}
    finally:
        database.close()


def test_fault_e20_datasette_follows_the_database(
    person: InProcessUser, started: list[str], tmp_path: Path, sqlite_template: Path
) -> None:
    """One that was put in its place is shown at the next request, and the old one is not kept open; while
    there is none, the answer is 503. So too if it was opened as one that nobody writes.
    """
    from datasette.app import Datasette

    database, aside = tmp_path / "archive.db", tmp_path / "aside.db"

    def use(source: Path) -> None:
        for name in ("archive.db-wal", "archive.db-shm"):
            tmp_path.joinpath(name).unlink(missing_ok=True)
        Path(shutil.copy(source, tmp_path / "new.db")).replace(database)

    async def look(served: Datasette) -> tuple[int, bool]:
        answer = await served.client.get("/archive/users.json?_shape=array")
        return answer.status_code, '"username": "natgeo"' in answer.text

    async def look_at_all(served: Datasette) -> list[tuple[int, bool]]:
        found = [await look(served)]
        use(sqlite_template)
        found.append(await look(served))
        database.rename(aside)
        found.append(await look(served))
        use(person.archive / "archive.db")
        found.append(await look(served))
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE users SET username = 'another'")
        found.append(await look(served))
        return found

    metadata = json.loads((person.home / "web" / "metadata.json").read_text())
    plugins = str(person.home / "web" / "plugins")
    for files in ({"files": [str(database)]}, {"files": [], "immutables": [str(database)]}):
        use(person.archive / "archive.db")
        served = Datasette(**files, metadata=metadata, plugins_dir=plugins)
        assert asyncio.run(look_at_all(served)) == [
            (200, True),
            (200, False),
            (503, False),
            (200, True),
            (200, False),
        ]
