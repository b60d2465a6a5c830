"""``archiver export site``: the directory that it fills, and fills again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NATGEO = "787132"

# The command, in a process that kills itself before its n-th file comes to stand.
_KILLED = """
import os, signal, sys
from archiver.cli.main import main
from archiver.export.placement import Placement

left = int(sys.argv[1])

def counted(method):
    def one(*args, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **more)
    return one

Placement.place, Placement.link = counted(Placement.place), counted(Placement.link)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessUser]:
    """Somebody who keeps two accounts, and whose archive no test alters."""
    with FaultyStandIn(EditableWorld.seed()) as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("kept"), upstream)
        assert person.run("backup", "natgeo", "salwaaa_ki").code == 0
        yield person


def bytes_of(site: Path) -> dict[str, bytes]:
    """Every file of a site but the export's own list."""
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in files.items() if not name.startswith(".archiver-export/")
    }


def export(person: InProcessUser, site: Path, *options: str, code: int = 0) -> dict[str, object]:
    """What the command says of itself."""
    ended = person.run("export", "site", str(site), "--json", *options)
    assert ended.code == code, ended.err
    return ended.object


def test_a_second_export_does_nothing(keeper: InProcessUser, tmp_path: Path) -> None:
    """The archive being as it was, the pages are the same to the byte, and none is written again."""
    first = export(keeper, tmp_path / "site")
    assert (first["form"], first["new"], first["written"], first["failed"]) == ("site", 68, 12, 0)
    second = export(keeper, tmp_path / "site")
    assert (second["files"], second["new"], second["replaced"], second["moved"]) == (68, 0, 0, 0)


@pytest.mark.parametrize("moment", [pytest.param(25, marks=pytest.mark.whole), 68])
def test_a_killed_export_run_again_equals_one_never_killed(
    keeper: InProcessUser, tmp_path: Path, moment: int
) -> None:
    """Amid media, and before the last page."""
    site = tmp_path / "killed"
    words = [sys.executable, "-c", _KILLED, str(moment), "export", "site", str(site)]
    assert subprocess.run(words, env=keeper.environ, check=False).returncode == -signal.SIGKILL
    assert not (site / "index.html").exists()
    export(keeper, site)
    export(keeper, tmp_path / "whole")
    assert bytes_of(site) == bytes_of(tmp_path / "whole")


@pytest.mark.whole
def test_what_is_not_selected_stays_until_it_is_pruned(keeper: InProcessUser, tmp_path: Path) -> None:
    """Pages and media of another account; the first page shows what is selected."""
    site = tmp_path / "site"
    export(keeper, site)
    assert export(keeper, site, "--account", "salwaaa_ki")["others"] == 53
    assert list(site.glob("accounts/natgeo-*/index.html"))
    assert "natgeo" not in (site / "index.html").read_text()
    assert export(keeper, site, "--account", "salwaaa_ki", "--prune")["removed"] == 53
    assert [path.name for path in site.glob("accounts/*")] == ["salwaaa_ki-75885841119"]
    export(keeper, tmp_path / "alone", "--account", "salwaaa_ki")
    assert bytes_of(site) == bytes_of(tmp_path / "alone")


def test_a_file_of_somebody_else_stays_and_is_told(keeper: InProcessUser, tmp_path: Path) -> None:
    """A page that could have another name would not be found by those that lead to it."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("mine")
    found = export(keeper, site, "--account", "salwaaa_ki", code=3)
    assert (found["failed"], found["outcome"]) == (1, "partial")
    assert "index.html" in str(found["troubles"])
    assert (site / "index.html").read_text() == "mine"


def test_an_edit_moves_and_rewrites_pages(tmp_path: Path) -> None:
    """A renamed account has its pages under its new name alone; they tell its old name, the old title, and
    what is gone, or not that.
    """
    world = EditableWorld.seed()
    gifts, books, limitless = (highlight.pk for highlight in world.account(NATGEO).highlights)
    with FaultyStandIn(world) as upstream:
        person = InProcessUser(tmp_path, upstream)
        assert person.run("backup", NATGEO).code == 0
        export(person, tmp_path / "site")
        old = world.highlight(gifts).title
        world.rename(NATGEO, "natgeo2")
        world.retitle(gifts, "Presents")
        world.remove_highlight(books)
        world.remove_item(limitless, world.highlight(limitless).items[0].pk)
        assert person.run("backup", NATGEO).code == 0
        export(person, tmp_path / "site", "--prune")
        export(person, tmp_path / "shown", "--no-gone")
    (place,) = (tmp_path / "site" / "accounts").iterdir()
    assert place.name == "natgeo2-787132"
    texts = {path.stem: path.read_text() for path in place.iterdir()}
    assert "formerly <bdi>@natgeo</bdi>" in texts["index"]
    assert f"Formerly <bdi>{old}</bdi>" in texts[gifts]
    assert "This highlight is no longer shown" in texts[books]
    assert texts[limitless].count("No longer shown in the highlight") == 1
    shown = {path.stem: path.read_text() for path in (tmp_path / "shown" / "accounts" / place.name).iterdir()}
    assert shown.keys() == {"index", gifts, limitless}
    assert "No longer shown" not in "".join(shown.values())
