"""An upgrade that is killed at any system call which changes a file: the old schema or the new one, and never
anything between.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from archiver.archive.creation import create_archive
from archiver.catalog import Catalog, record, schema
from archiver.config import load
from tests.support import ROOT, upgrade_killer
from tests.support.catalog_samples import NATGEO, tray
from tests.support.databases import NOW, make_newer_migrations

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with an account: what of it an upgrade looks at."""
    root = tmp_path / "archive"
    create_archive(load(None, {"ARCHIVER_ARCHIVE": str(root)}, {}))
    with Catalog.open(root / "archive.db", write=True) as catalog:
        run_id = catalog.write(record.start_run, "run", NOW)
        catalog.write(record.record_tray, run_id, NATGEO.pk, tray("1", "2"), NOW)
    shutil.rmtree(root / "blobs")
    return root


def _upgrades(archive: Path, migrations: Path, work: Path, *, whole: bool) -> dict[str, int]:
    """Kill upgrades in ``work``; returns for each system call the number at which one was not killed any
    more.
    """
    assert shutil.which("strace"), "strace is needed: scripts/setup names the package"
    work.mkdir()
    calls = {name: upgrade_killer.BOUNDS[name] for name in upgrade_killer.calls(whole=whole)}
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={','.join(calls)}"]
    for name, bound in calls.items():
        strace += ["-e", f"inject={name}:signal=SIGKILL:when={bound}"]
    size = "whole" if whole else "sample"
    program = [
        *(sys.executable, "-P", "-m", upgrade_killer.__name__),
        *(str(archive), str(migrations), str(work), size),
    ]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*strace, *program], capture_output=True, text=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return {name: int(k) for name, k in (line.split() for line in done.stdout.splitlines())}


def _revision(database: Path) -> str:
    """The revision of a sound database that has all of its schema and all of its rows."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT username FROM users").fetchall() == [(NATGEO.username,)]
        assert connection.execute("SELECT count(*) FROM highlights").fetchall() == [(2,)]
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        columns = {row[1] for row in connection.execute("PRAGMA table_info(users)")}
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert ("tomorrow" in tables, "biography" in columns) == (revision == "9999", revision == "9999")
    return str(revision)


def test_fault_h27_a_migration_killed_at_any_step_leaves_the_old_schema_or_the_new_one(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Every state is sound and whole; a copy that bears the name of one is whole and old; the next upgrade
    ends it and sweeps up.
    """
    before, work, migrations = schema.head(), tmp_path / "work", tmp_path / "migrations"
    make_newer_migrations(migrations)
    last = _upgrades(archive, migrations, work, whole=whole)
    assert last["pwrite64"] > 100
    assert min(end for name, end in last.items() if name != "rename") > 3
    killed = [
        f"{name}-{k}"
        for name, end in last.items()
        for k in range(1, end, upgrade_killer.stride(name, whole=whole))
    ]
    assert {_revision(work / f"{name}-{k}" / "archive.db") for name, k in last.items()} == {"9999"}
    found = []
    for state in killed:
        found.append(_revision(work / state / "archive.db"))
        for copy in (work / state).glob("archive.db.*[0-9]Z"):
            assert _revision(copy) == before
    assert set(found) == {before, "9999"}
    monkeypatch.setattr(schema, "migrations", lambda: migrations)
    for state, revision in list(zip(killed, found, strict=True))[::3]:
        database = work / state / "archive.db"
        assert _revision(database) == revision
        Catalog.open(database, write=True).close()
        assert _revision(database) == "9999"
        assert not list(database.parent.glob(".*.part*"))
