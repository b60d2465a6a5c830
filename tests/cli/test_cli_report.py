"""The report of a run: ten lines, the object of ``--json``, the report that is sent, and the pings."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.cli import report_delivery, run_report
from archiver.cli.change_summary import ChangeSummary, RunChanges
from archiver.config import ReportWhen
from archiver.errors import (
    AnswerMalformed,
    ArchiverError,
    CallFailed,
    DatabaseError,
    DownloadFailed,
    Reason,
)
from archiver.model.archived import Failure, NamedChange
from archiver.model.identity import Role, Subject
from archiver.runner.tally import Summary
from tests.support import leak_detector
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, CommandResult, InProcessUser
from tests.support.databases import NOW
from tests.support.report_receiver import ReportReceiver, receive_reports
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn

TOKEN = "canary-8f14e45fceea167a"
BOTW = "18018069326790931"


_FAILURE = Failure(Subject.ITEM, "31", Role.VIDEO, Reason.EXPIRED, "gone at 03:17")


def _news(number: int) -> RunChanges:
    rows = [
        NamedChange(n, 7, NOW, Subject.HIGHLIGHT, str(n), "presence", None, "gone", "1", "natgeo", f"H{n:03}")
        for n in range(number)
    ]
    return RunChanges(ChangeSummary(rows), rows)


@pytest.fixture
def box() -> Iterator[ReportReceiver]:
    """A server that receives reports and pings."""
    with receive_reports() as opened:
        yield opened


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn, box: ReportReceiver) -> InProcessUser:
    """A user with an empty archive, natgeo in the configuration, and a report and a ping URL."""
    somebody = InProcessUser(tmp_path, upstream)
    somebody.list_accounts("natgeo")
    somebody.more |= {
        "ARCHIVER_REPORT_URL": f"{box.url}/hook/{TOKEN}",
        "ARCHIVER_REPORT_PING_URL": f"{box.url}/ping/{TOKEN}",
    }
    assert somebody.run("init", "-q").code == 0
    leak_detector.watch_secret(TOKEN)
    return somebody


@pytest.fixture
def kept(person: InProcessUser, archive_copies: ArchiveCopies) -> InProcessUser:
    """The same user after a first backup, so that a run is short."""
    shutil.rmtree(person.archive)
    archive_copies.backed_up(person, "natgeo")
    return person


HOOK, PING = f"/hook/{TOKEN}", f"/ping/{TOKEN}"


def test_fault_l12_a_successful_run_is_silent_and_reported(kept: InProcessUser, box: ReportReceiver) -> None:
    """The start is pinged, then the end, with a report; the posted object is that of ``--json``."""
    ended = kept.run("run", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert box.targets[0] == f"{PING}/start"
    assert sorted(box.targets[1:]) == [HOOK, PING]
    assert json.loads(box.at(HOOK).body) == ended.object
    text = box.at(PING).body.decode().splitlines()
    assert text[0] == "archiver run 2: ok"
    assert text[1].startswith("1 account, 0 of 3 highlights read, ")


def test_what_changed_is_in_the_report(
    kept: InProcessUser, upstream: FaultyStandIn, box: ReportReceiver
) -> None:
    """Changes are described in the text, and listed and counted in the object."""
    upstream.world.retitle(BOTW, "Best")
    upstream.world.add_item(BOTW)
    found = kept.run("run", "--json").object
    assert found["changes_total"] == 2
    rows = found["changes"]
    assert isinstance(rows, list)
    assert [(row["field"], row["username"], row["title"]) for row in rows] == [
        ("title", "natgeo", "Best"),
        ("items", "natgeo", "Best"),
    ]
    assert json.loads(box.at(HOOK).body) == found
    text = box.at(PING).body.decode()
    assert "changed: 1 highlight edited\n  natgeo: Best: 1 added, renamed from BOTW 2026\n" in text


@pytest.mark.whole
def test_fault_l1_exit_code_3_pings_fail(
    person: InProcessUser, upstream: FaultyStandIn, box: ReportReceiver
) -> None:
    """The ping contains what failed, as stderr does; neither contains the key or a signed query."""
    upstream.faults.add(actions.respond(404), listener="cdn", role="video", count=1)
    ended = person.run("run")
    assert ended.code == 3
    assert sorted(box.targets[1:]) == [HOOK, f"{PING}/fail"]
    text = box.at(f"{PING}/fail").body.decode()
    assert text.startswith("archiver run 1: partial\narchiver: run: not everything could be archived\n")
    assert ended.err.splitlines()[-1] in text
    assert json.loads(box.at(HOOK).body)["exit_code"] == 3


def test_fault_e7_a_missing_name_fails_the_monitor_when_the_api_was_asked(
    kept: InProcessUser, box: ReportReceiver
) -> None:
    """The report says what to do. A run during the back-off is a success, and the last line of its report
    names it, with the day since when; so do ``status``, ``gaps`` and a metric."""
    kept.list_accounts("natgeo", "nobody.xyz")
    codes = []
    for _ in range(4):
        box.received.clear()
        codes.append(kept.run("run", "-q").code)
        if codes[-1] == 3:
            text = box.at(f"{PING}/fail").body.decode()
            assert "  nobody.xyz: no account has this name: correct or remove it\n" in f"{text}\n"
            assert json.loads(box.at(HOOK).body)["failures"][0]["subject_pk"] == "nobody.xyz"
    assert codes == [3, 3, 3, 0]
    last = box.at(PING).body.decode().splitlines()[-1]
    assert re.fullmatch(r"nobody\.xyz \(since \d{4}-\d\d-\d\d\) does not exist: correct or remove it", last)
    document = json.loads(kept.run("run", "--json").out)
    assert [missing["target"] for missing in document["missing_targets"]] == ["nobody.xyz"]
    assert document["failures"] == []
    since = r"\(since \d{4}-\d\d-\d\d\)"
    assert re.search(rf"\nmissing +nobody\.xyz {since} does not exist", kept.run("status").out)
    assert re.search(rf"no account has this name: correct or remove it {since}", kept.run("gaps").out)
    gauge = r'archiver_missing_target_since_timestamp_seconds\{target="nobody\.xyz"\} 1\d{9}'
    assert re.search(gauge, kept.run("metrics").out)


def test_fault_e7_the_report_says_what_to_do_about_a_missing_highlight(
    kept: InProcessUser, box: ReportReceiver
) -> None:
    """As for a name; ``gaps`` too."""
    kept.list_accounts("natgeo", "highlight:4")
    assert kept.run("run", "-q").code == 3
    text = box.at(f"{PING}/fail").body.decode()
    assert "  highlight 4: not_found (no such highlight: correct or remove it)\n" in text
    assert re.search(r"no such highlight: correct or remove it \(since", kept.run("gaps").out)


def test_fault_a44_a_pattern_that_matches_nothing_is_reported(
    person: InProcessUser, upstream: FaultyStandIn, box: ReportReceiver, whole: bool
) -> None:
    """It is in the report, ``--json`` and the log, with code 0; on stderr only beside another message
    (--whole)."""
    config = person.home / "config.toml"
    config.write_text('[[accounts]]\ntarget = "natgeo"\nhighlights = ["gift*"]\n')
    note = "natgeo: no highlight matches 'gift*': matching is case-sensitive; did you mean 'Gift Guide'?"
    ended = person.run("run", "--json")
    assert (ended.code, ended.err, ended.object["notes"]) == (0, "", [note])
    assert note in box.at(PING).body.decode().splitlines()
    assert json.loads(box.at(HOOK).body)["notes"] == [note]
    assert note in (person.archive / "log" / "archiver.log").read_text()
    if not whole:
        return
    upstream.faults.add(actions.respond(404), listener="cdn", role="video", count=None)
    config.write_text('[[accounts]]\ntarget = "natgeo"\nhighlights = ["gift*", "BOTW*"]\n')
    failed = person.run("run")
    assert (failed.code, failed.err.splitlines()[1]) == (3, note)


@pytest.mark.whole
def test_a_highlight_target_counts_as_a_target(person: InProcessUser) -> None:
    """It is not an account, and it lists one highlight."""
    done = person.run("backup", f"highlight:{BOTW}", "-v")
    assert "1 target, 1 of 1 highlight read, 1 unit spent" in done.err.splitlines()
    assert person.run("backup", f"highlight:{BOTW}", "--json").object["highlights_listed"] == 1


def test_a_run_that_cannot_begin_is_reported(person: InProcessUser, box: ReportReceiver) -> None:
    """Without a key or an archive, or with a locked one: /fail, and the object of the error."""

    def failed(outcome: str, code: int) -> None:
        box.received.clear()
        ended = person.run("run", "--json")
        assert ended.code == code
        assert ended.object["outcome"] == outcome
        assert box.targets[0] == f"{PING}/start"
        assert sorted(box.targets[1:]) == [HOOK, f"{PING}/fail"]
        posted = json.loads(box.at(HOOK).body)
        assert posted == ended.object | {"command": "run"}
        assert (
            box.at(f"{PING}/fail")
            .body.decode()
            .startswith(f"archiver run: {outcome}\n{posted['error']['message']} (")
        )

    with (person.archive / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        failed("locked", 11)
    upstream, person.upstream = person.upstream, None
    failed("key", 4)
    person.upstream = upstream
    person.archive.rename(person.home / "elsewhere")
    failed("no_archive", 10)


@pytest.mark.parametrize(
    "error",
    [
        CallFailed("no answer", was_sent=True),
        AnswerMalformed("no JSON"),
        DownloadFailed(Reason.NETWORK, "no connection"),
    ],
)
def test_a_failed_attempt_is_reported_with_the_code_of_the_command(
    person: InProcessUser, box: ReportReceiver, monkeypatch: pytest.MonkeyPatch, error: ArchiverError
) -> None:
    """If one ends a run, the report and the command say that the API is down, not that there is a bug."""

    def fail(*args: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("archiver.cli.run_report.make_run", fail)
    ended = person.run("run", "--json")
    posted = json.loads(box.at(HOOK).body)
    assert [(told["exit_code"], told["outcome"]) for told in (ended.object, posted)] == [(7, "upstream")] * 2
    assert ended.code == 7


def test_a_bug_is_reported_by_its_kind(
    person: InProcessUser, box: ReportReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text may contain secrets, so only its type is sent; the code is 1."""

    def broken(*args: object, **more: object) -> None:
        raise RuntimeError("sesame")

    monkeypatch.setattr("archiver.cli.run_report.make_run", broken)
    assert person.run("run").code == 1
    assert b"a bug: RuntimeError" in box.at(f"{PING}/fail").body
    assert b"sesame" not in box.at(HOOK).body


def test_fault_h44_a_sent_report_names_the_archive_by_its_whole_path(
    person: InProcessUser, box: ReportReceiver
) -> None:
    """A reader in another directory can use the path, also if the run could not begin."""
    ended = person.run("run", "--json", "--archive", "gone")
    assert ended.code == 10
    posted = json.loads(box.at(HOOK).body)
    assert posted["error"] == ended.object["error"]
    assert f"--archive {person.home / 'gone'} init" in posted["error"]["hint"]


def test_fault_h39_a_report_that_cannot_be_sent_changes_nothing(
    kept: InProcessUser, box: ReportReceiver
) -> None:
    """Each is one line, also with -q; the code and the object are those of the run."""
    box.answers |= {HOOK: 500, f"{PING}/start": 404, PING: 404}
    ended = kept.run("run", "--json", "-q")
    assert (ended.code, ended.object["exit_code"]) == (0, 0)
    assert ended.err.splitlines() == [
        "archiver: run: the ping was not sent to http://127.0.0.1: it answered 404 (check report.ping_url)",
        "archiver: run: the report was not sent to http://127.0.0.1: it answered 500 (check report.url)",
    ]


def test_without_apprise_the_run_continues(
    kept: InProcessUser, box: ReportReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line before the run says so, with the command to install it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    kept.more["ARCHIVER_REPORT_URL"] = f"ntfy://{TOKEN}"
    ended = kept.run("run")
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("archiver: run: the report cannot be sent to ntfy://…: ")
    assert line.endswith(f"(install it: {sys.executable} -m pip install apprise)")
    assert box.targets == [f"{PING}/start", PING]


@pytest.mark.whole
def test_apprise_gets_the_ten_lines(kept: InProcessUser, box: ReportReceiver) -> None:
    """Apprise sends the title and the text."""
    kept.more["ARCHIVER_REPORT_URL"] = f"json://127.0.0.1:{box.port}/note/{TOKEN}"
    assert kept.run("run").code == 0
    received = json.loads(box.at(f"/note/{TOKEN}").body)
    assert received["title"] == "archiver run 2: ok"
    assert received["message"].splitlines()[0].startswith("1 account, 0 of 3 highlights read, ")


@pytest.mark.whole
def test_a_run_without_news_may_be_left_out(
    kept: InProcessUser, upstream: FaultyStandIn, box: ReportReceiver
) -> None:
    """With ``report.on = "news"`` a run without news is pinged, but not reported."""
    kept.more["ARCHIVER_REPORT_ON"] = "news"
    for title, sent in (("Best", True), ("Best", False), ("Better", True)):
        box.received.clear()
        upstream.world.retitle(BOTW, title)
        assert kept.run("run").code == 0
        assert (HOOK in box.targets, PING in box.targets) == (sent, True)


@pytest.mark.parametrize(
    ("on", "night", "news", "reported"),
    [
        ("always", Summary(7, "run"), 0, True),
        ("news", Summary(7, "run"), 0, False),
        ("news", Summary(7, "run"), 1, True),
        ("news", Summary(7, "run", items_new=1), 0, True),
        ("news", Summary(7, "run", files_new=1), 0, True),
        ("news", Summary(7, "run", failures=(_FAILURE,)), 0, True),
        ("news", Summary(7, "run", 5), 0, True),
        ("failure", Summary(7, "run", items_new=1), 1, False),
        ("failure", Summary(7, "run", 3), 0, True),
    ],
)
def test_which_runs_are_reported(on: ReportWhen, night: Summary, news: int, reported: bool) -> None:
    """``report.on`` selects all runs, those with news, or those that failed."""
    assert report_delivery.must_report(on, night, _news(news)) == reported


def test_only_run_is_reported(kept: InProcessUser, box: ReportReceiver) -> None:
    """``backup`` is not reported, as its user watches it; nor is a mistyped ACCOUNT."""
    assert kept.run("backup", "natgeo").code == 0
    assert kept.run("run", "natgoe").code == 2
    assert box.received == []


@pytest.mark.whole
def test_fault_h39_a_signal_does_not_wait_for_a_report(kept: InProcessUser, box: ReportReceiver) -> None:
    """If the report hangs after the run, a signal ends the wait; the code is that of the run."""
    box.stalls.add(HOOK)
    process = CommandLineUser(kept.home, kept.upstream, kept.more).start("run")
    assert box.heard.wait(60)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=8)
    ended = CommandResult(process.returncode, out, err)
    assert ended.code == 0
    assert "the report was not sent to http://127.0.0.1: the run was stopped" in ended.err


@pytest.mark.parametrize("failures", [0, 1, 3, 50])
@pytest.mark.parametrize("changes", [0, 1, 3, 50])
def test_never_more_than_ten_lines(failures: int, changes: int) -> None:
    """Changes and failures both get lines, and what is left out is counted."""
    code = 3 if failures else 0
    summary = Summary(7, "run", code, "partial" if code else "ok", failures=(_FAILURE,) * failures)
    lines = run_report.report_lines(summary, _news(changes))
    assert len(lines) <= 10
    assert (f"failed: {failures} expired (recorded, and tried again in later runs)" in lines) == bool(
        failures
    )
    changed = [line for line in lines if line.startswith("  natgeo: ")]
    named = [line for line in lines if line.startswith("  video of item 31: ")]
    more = [int(line.split()[1]) for line in lines if line.startswith("  and ")]
    assert len(changed) + len(named) + sum(more) == failures + changes
    assert bool(changed) == bool(changes)
    assert bool(named) == bool(failures)
    if failures == changes == 50:
        assert len(lines) == 10
        assert f"  and {50 - len(changed)} more (archiver changes --run 7)" in lines


def test_changes_that_cannot_be_read_are_reported_as_unknown() -> None:
    """A database that cannot be read after the run hides only the changes."""

    def broken() -> Iterator[NamedChange]:
        yield from _news(1).changes
        raise DatabaseError("the database is gone")

    seen = RunChanges()
    seen.read(broken())
    lines = run_report.report_lines(Summary(7, "run"), seen)
    assert lines[-1] == "changes are unknown: the database is gone"
    assert len(lines) == 3


@pytest.mark.whole
def test_a_run_leaves_one_file_as_its_database(kept: InProcessUser) -> None:
    """Changes are read before the archive is closed, so that the database file alone is complete."""
    assert kept.run("run").code == 0
    assert [path.name for path in kept.archive.glob("archive.db*")] == ["archive.db"]


def test_a_thousand_changes_are_listed_and_all_counted() -> None:
    """The object is bounded, as for failures; that of a run that never began has the same fields."""
    seen = RunChanges()
    seen.read(_news(1_500).changes)
    found = run_report.json_fields(Summary(7, "run"), seen)
    listed = found["changes"]
    assert isinstance(listed, list)
    assert [row.id for row in listed] == list(range(1_000))
    assert found["changes_total"] == 1_500
    assert {"changes", "changes_total"} <= set(run_report.empty_fields())
