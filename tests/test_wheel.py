"""The built wheel, in an environment that knows no checkout, run from ``/``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from archiver.sandbox.standin import StandIn
from tests.support.sample_archive import make_nightly, shelve

ROOT = Path(__file__).parent.parent


_BUILD = """
import os, sys
from hatchling.build import build_wheel
os.chdir(sys.argv[1])
build_wheel(sys.argv[2])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-c", _BUILD, ROOT, place)
    (wheel,) = place.glob("highlight_archiver-*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """The interpreter of a new environment with the wheel in it; what it depends on is lent by this one."""
    place = wheel.parent
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path of another site is only added, its .pth files are not read: this checkout's editable install
    # stays out.
    (own / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return python


def run(*command: object) -> str:
    """Run from ``/`` with a clean environment; its standard output."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ARCHIVER_", "HIKERAPI_", "PYTHON"))}
    done = subprocess.run([str(part) for part in command], cwd="/", env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


_IMPORTS = """
import archiver, importlib, pkgutil
for module in pkgutil.walk_packages(archiver.__path__, "archiver."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import archiver.config as c
from archiver.catalog import schema
from archiver.pages import html_pages as pages
print(archiver.__file__, schema.migrations(), len(c.example()), sum(map(len, map(pages.asset, pages.ASSETS))))
assert "Story highlights" in pages.index_page([])
"""

_EXAMPLES = """
import doctest, os, sys
os.chdir(sys.argv[1])
sys.exit(doctest.testfile(sys.argv[2], module_relative=False).failed)
"""


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Modules, queries, templates, media and migrations, a man page for each command, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = {name for name in there if ".data/" in name}
    commands = re.findall("^## (.+)$", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    pages = {f"share/man/man1/{command.replace(' ', '-')}.1" for command in commands}
    assert {name.partition(".data/data/")[2] for name in data} == pages
    there -= data
    files = {path for top in ("archiver", "migrations") for path in (ROOT / top).rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert there == {re.sub("^migrations/", "archiver/_migrations/", name) for name in names}


@pytest.mark.whole
def test_the_wheel_is_what_runs(python: Path, tmp_path: Path, sqlite_template: Path) -> None:
    """All modules, migrations, example configuration and the pages of a site come from the wheel, not from
    this checkout, and archive the demo.

    One test: a wheel for each of two workers takes as long as all else here.
    """
    page = python.parent.parent / "share" / "man" / "man1" / "archiver-run.1"
    assert r"archiver\-run" in page.read_text()
    where = run(python, "-c", _IMPORTS)
    package, migrations, length, assets = where.split()
    assert str(ROOT) not in where
    assert migrations == str(Path(package).parent / "_migrations")
    assert int(length) > 1000
    assert int(assets) > 1000
    demo = _archives_both_accounts(python, tmp_path)
    _describes_for_datasette(python, tmp_path, demo)
    _archives_them_again(python, demo)
    _reads_as_documented(python, tmp_path, sqlite_template)


_NIGHTS = (
    "select (select count(*) from highlights where completed_at is not null) as whole,"
    " (select count(*) from files) as files, units from runs order by id"
)


def _archives_both_accounts(python: Path, tmp_path: Path) -> Path:
    """Two nights. Returns the archive."""
    archiver, demo = python.with_name("archiver"), tmp_path / "demo"
    run(archiver, "demo", demo)
    nights = json.loads(run(archiver, "query", _NIGHTS, "--format", "json", "--archive", demo))
    assert [(night["whole"], night["units"]) for night in nights] == [(4, 8), (4, 2)]
    return demo


def _archives_them_again(python: Path, demo: Path) -> None:
    """A third night when it is called again: two units more, and nothing downloaded."""
    archiver = python.with_name("archiver")
    first = json.loads(run(archiver, "query", _NIGHTS, "--format", "json", "--archive", demo))
    run(archiver, "demo", demo)
    then = json.loads(run(archiver, "query", _NIGHTS, "--format", "json", "--archive", demo))
    assert then == [*first, {**first[0], "units": 2}]
    assert json.loads(run(archiver, "verify", "--read-data", "--json", "--archive", demo))["damaged"] == []


def _describes_for_datasette(python: Path, tmp_path: Path, archive: Path) -> None:
    """The words for Datasette are those of a page that the wheel brings along."""
    run(python.with_name("archiver"), "datasette", tmp_path / "web", "--archive", archive)
    told = json.loads((tmp_path / "web" / "metadata.json").read_text())
    (database,) = told["databases"].values()
    assert database["tables"]["users"]["columns"]["pk"] == "the identity of the account"
    assert (tmp_path / "web" / "plugins" / "archiver_media.py").stat().st_size > 1000


def _reads_as_documented(python: Path, tmp_path: Path, sqlite_template: Path) -> None:
    """The examples of docs/python.md."""
    archive = tmp_path / "archive"
    archive.mkdir()
    shelve(archive, Path(shutil.copy(sqlite_template, archive / "archive.db")))
    with StandIn() as upstream:
        make_nightly(tmp_path, upstream)
        run(python, "-c", _EXAMPLES, tmp_path, ROOT / "docs" / "python.md")
