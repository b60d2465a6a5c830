"""archiver metrics: the numbers for Prometheus, and the file for its collector."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiver.catalog import Catalog, record
from archiver.catalog.query import totals
from archiver.model.run_status import LatestRecords
from tests.support.command_line import CommandLineUser, InProcessUser, on_terminal
from tests.support.databases import NOW
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.system_programs import require_program

_SAMPLE = re.compile(r"(archiver_[a-z_]+)(\{.*\})? (\S+)")


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """Two accounts with two highlights of four items each."""
    with FaultyStandIn(EditableWorld.generate(2, 2, 4), balance=1_000) as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> InProcessUser:
    """Somebody with both accounts in the configuration, and an empty archive."""
    somebody = InProcessUser(tmp_path, upstream)
    somebody.list_accounts("account0000", "account0001")
    assert somebody.run("init", "-q").code == 0
    return somebody


def numbers(text: str) -> dict[str, float]:
    """Return each sample with its labels, after a check of every line."""
    found: dict[str, float] = {}
    declared: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            declared.append(line.split()[2])
            continue
        if line.startswith("# TYPE "):
            assert line == f"# TYPE {declared[-1]} gauge"
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample is not None, line
        assert sample[1] == declared[-1], "the samples of a metric follow its declaration"
        found[sample[1] + (sample[2] or "")] = float(sample[3])
    assert len(declared) == len(set(declared))
    return found


def metrics(person: CommandLineUser, *options: str) -> dict[str, float]:
    ended = person.run("metrics", *options)
    assert (ended.code, ended.err) == (0, "")
    return numbers(ended.out)


def change(person: CommandLineUser, statement: str) -> None:
    with closing(sqlite3.connect(person.archive / "archive.db")) as lite, lite:
        lite.execute(statement)


def test_an_archive_without_a_run_has_every_number(person: InProcessUser, upstream: FaultyStandIn) -> None:
    """Times that never were are 0, unknown numbers NaN; both accounts are gaps. No call is made."""
    upstream.requests.reset()
    found = metrics(person)
    assert found.pop("archiver_gaps") == 2
    unknown = {name for name, value in found.items() if value != value}
    assert unknown == {"archiver_last_run_exit_code", "archiver_units_left", "archiver_nights_left"}
    assert {value for name, value in found.items() if name not in unknown} == {0}
    assert len(upstream.requests) == 0


def test_the_numbers_are_those_of_status(person: InProcessUser, upstream: FaultyStandIn) -> None:
    """After a run: its times, what is held, and the balance that it recorded, without a call of their own."""
    assert person.run("run", "-q").code == 0
    assert person.run("verify", "-q", "--read-data").code == 0
    upstream.requests.reset()
    status = person.run("status", "--json").object
    found = metrics(person)
    assert len(upstream.requests) == 0
    for name in ("accounts", "highlights", "items", "files", "blobs", "bytes"):
        assert found[f"archiver_{name}"] == status[name]
    assert found["archiver_units_spent"] == status["units"] == 8
    assert found["archiver_units_left"] == 992
    assert found["archiver_nights_left"] == 124
    assert found["archiver_gaps"] == found["archiver_last_run_exit_code"] == 0
    times = [found[f"archiver_last_{name}_timestamp_seconds"] for name in ("run_start", "run_end", "verify")]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000
    assert found["archiver_last_success_timestamp_seconds"] == times[1]


def test_a_run_that_is_under_way(person: InProcessUser) -> None:
    """It is the last to have started; the end and the exit code are those of the run before."""
    assert person.run("run", "-q").code == 0
    before = metrics(person)
    change(
        person,
        "INSERT INTO runs (command, started_at, units) VALUES ('run', '2096-01-01T00:00:00.000000Z', 0)",
    )
    now = metrics(person)
    changed = {name for name in now if now[name] != before[name]}
    assert changed == {"archiver_last_run_start_timestamp_seconds"}
    assert now["archiver_last_run_start_timestamp_seconds"] == 3_976_214_400


def test_accounts_are_named_only_if_asked_for(person: InProcessUser) -> None:
    """Their labels are escaped: a name comes from strangers."""
    assert person.run("run", "-q").code == 0
    assert "account0000" not in person.run("metrics").out
    change(person, "UPDATE users SET username = 'a\"\\' || char(10) || '}' WHERE username = 'account0001'")
    found = metrics(person, "--by-account")
    labels = r'{pk="70000000001",account="a\"\\\n}"}'
    assert found[f"archiver_account_items{labels}"] == 8
    assert found[f"archiver_account_gaps{labels}"] == 0
    assert found[f"archiver_account_listed_timestamp_seconds{labels}"] > 1_700_000_000
    assert found['archiver_account_items{pk="70000000000",account="account0000"}'] == 8


def test_fault_k11_a_terminal_obeys_no_name_in_a_label(person: InProcessUser) -> None:
    """There the name is escaped as everywhere. Programs get it as it is: the format has no escape for it."""
    assert person.run("run", "-q").code == 0
    change(person, "UPDATE users SET username = char(27) || ']0;x' || char(7) WHERE username = 'account0001'")
    code, shown = on_terminal(person, "metrics", "--by-account", stream="stdout")
    assert code == 0
    assert r'account="\x1b]0;x\x07"' in shown
    assert not any(c in shown for c in "\x1b\x07")
    assert shown.count("\n") == person.run("metrics", "--by-account").out.count("\n")
    assert 'account="\x1b]0;x\x07"' in person.run("metrics", "--by-account").out


def test_the_file_is_replaced_at_once_and_all_can_read_it(person: InProcessUser, tmp_path: Path) -> None:
    """Under any umask; whoever has the old file open reads all of it, and nothing is left beside it."""
    directory = tmp_path / "collector"
    directory.mkdir()
    file = directory / "archiver.prom"
    file.write_text("old\n")
    file.chmod(0o600)
    before = os.umask(0o077)
    try:
        with file.open() as reader:
            ended = person.run("metrics", "--textfile", str(file))
            assert reader.read() == "old\n"
    finally:
        os.umask(before)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert file.stat().st_mode & 0o777 == 0o644
    assert numbers(file.read_text())["archiver_accounts"] == 0
    assert list(directory.iterdir()) == [file]


@pytest.mark.parametrize(("name", "code"), [("archive.json", 2), ("-", 2), ("missing/a.prom", 8)])
def test_a_file_that_cannot_be_written(person: InProcessUser, name: str, code: int) -> None:
    """A name that no collector reads is a mistake: it may be that of another file."""
    ended = person.run("metrics", "--textfile", name)
    assert ended.code == code
    assert ended.out == ""


def test_the_latest_of_each_is_recorded(catalog: Catalog) -> None:
    """On SQLite and PostgreSQL. Commands that visit no account are not the last run."""
    assert catalog.read(totals.latest_records) == LatestRecords(None, None, None, None, None)
    first = catalog.write(record.start_run, "backup", NOW)
    catalog.write(record.record_balance_before, first, 50)
    catalog.write(record.finish_run, first, NOW, "partial", 3)
    catalog.write(record.start_run, "reread", NOW.replace(year=2030))
    assert catalog.read(totals.latest_records) == LatestRecords(NOW, NOW, 3, 50, None)
    catalog.write(record.record_balance_after, first, 40)
    later = NOW.replace(year=2027)
    catalog.write(record.start_run, "run", later)
    assert catalog.read(totals.latest_records) == LatestRecords(later, NOW, 3, 40, None)


@pytest.mark.whole
@pytest.mark.parametrize("ran", [False, True])
def test_promtool_accepts_the_numbers(person: InProcessUser, ran: bool) -> None:
    """Also those of an empty archive, and with hostile names in labels."""
    if ran:
        assert person.run("run", "-q").code == 0
        change(
            person, "UPDATE users SET username = 'a\"\\' || char(10) || '}' WHERE username = 'account0001'"
        )
    text = person.run("metrics", "--by-account").out
    promtool = require_program("promtool", "prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
