"""What a run shows on the terminal, in its report and in the log."""

from __future__ import annotations

import io
import logging
import resource
import stat
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from archiver.cli import log_file, progress, run_report
from archiver.cli.options import GlobalOptions
from archiver.errors import BudgetReached, Reason
from archiver.model.archived import Failure, Owner
from archiver.model.events import (
    AccountDone,
    AccountListed,
    Event,
    FailureRecorded,
    FileStored,
    HighlightRead,
    Notice,
    Pause,
    RunStarted,
)
from archiver.model.identity import Role, Subject
from archiver.runner.tally import Summary
from tests.support import disk_limits

FAILURE = Failure(Subject.ITEM, "31", Role.VIDEO, Reason.HTTP_STATUS, "status 500\x1b[2J")
EVENTS: tuple[Event, ...] = (
    RunStarted(7, "run", 2),
    AccountListed("787132", "natgeo", 3, 1),
    HighlightRead("17", "BOTW 🌎", 12, 2, True),
    FileStored(Owner(Subject.ITEM, "30"), Role.THUMBNAIL, 2_000, True),
    FailureRecorded(FAILURE),
    Notice("natgeo is now called \u202enatgeo2"),
    Pause(2, "the API asks for a pause"),
    AccountDone("natgeo"),
)


class _Terminal(io.StringIO):
    broken = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(text)


def _shown_text(given: GlobalOptions, stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress.show_events(given) as observer:
        for event in EVENTS:
            observer(event)
    return stderr.getvalue()


def test_without_a_terminal_a_run_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal and without -v, no event is shown."""
    assert _shown_text(GlobalOptions(), io.StringIO(), monkeypatch) == ""


def test_quiet_hides_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """-q on a terminal shows no bar."""
    assert _shown_text(GlobalOptions(quiet=True, verbose=True), _Terminal(), monkeypatch) == ""


def test_verbose_writes_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With -v in a pipe each event is one safe line, except files."""
    text = _shown_text(GlobalOptions(verbose=True), io.StringIO(), monkeypatch)
    assert len(EVENTS) - 1 == len(text.splitlines())
    assert "natgeo: 3 highlights listed, 1 to read" in text
    assert "12 items read, 2 files to download" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_fault_x11_a_terminal_gets_a_bar_with_notices_and_failures_above_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bar counts accounts, units, files and bytes; notices and failures are lines, made safe."""
    text = _shown_text(GlobalOptions(), _Terminal(), monkeypatch)
    assert "1/2" in text
    assert "1/2 accounts, 1 failed, 0 units, 1 file, 2.0 kB, 1 highlight read" in text
    assert "it/s" not in text
    assert "?" not in text
    assert r"natgeo is now called \u202enatgeo2" in text
    assert r"video of item 31: http_status (status 500\x1b[2J)" in text
    assert "\x1b[2J" not in text


def test_a_hundred_failures_do_not_scroll_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five are lines above the bar, and the bar counts all; with -v each is a line."""
    for given, lines in ((GlobalOptions(), 5), (GlobalOptions(verbose=True), 100)):
        terminal = _Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.show_events(given) as observer:
            observer(RunStarted(7, "run", 2))
            for _ in range(100):
                observer(FailureRecorded(FAILURE))
            observer(AccountDone("natgeo"))
        assert terminal.getvalue().count("failed: video") == lines
        assert "1/2 accounts, 100 failed" in terminal.getvalue()


def test_a_bar_states_rate_and_time_left_and_leaves_out_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After half a minute, a quarter is done: a minute and a half is left. In 40 columns the counts and the
    time left are whole, and the rest is missing.
    """
    seconds = 0.0
    monkeypatch.setattr("archiver.cli.progress.time.monotonic", lambda: seconds)
    for columns, shown in (
        (80, "14/56 blobs, 90 s left, 60.0 MB read (2.0 MB/s)"),
        (40, "14/56 blobs, 90 s left"),
    ):
        terminal, seconds = _Terminal(), 0.0
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(progress.ProgressBar, "_columns", lambda _, width=columns: width)
        with progress.show_blobs(GlobalOptions(), lambda: None, total=56, size=240_000_000) as show:
            show(1, 0)
            seconds = 30.0
            show(14, 60_000_000)
        assert shown in [line.strip() for line in terminal.getvalue().split("\r")]


@pytest.mark.parametrize("given", [GlobalOptions(), GlobalOptions(verbose=True)], ids=["terminal", "lines"])
def test_a_missing_target_is_shown_once_during_the_run(
    given: GlobalOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Notice is shown, not the failure that says the same; other failures of targets are shown."""
    terminal = _Terminal() if not given.verbose else io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.show_events(given) as observer:
        observer(EVENTS[0])
        observer(Notice("nobody: no account is called that", is_loud=True))
        observer(FailureRecorded(Failure(Subject.TARGET, "nobody", None, Reason.GONE, "no account")))
        observer(FailureRecorded(Failure(Subject.TARGET, "other", None, Reason.UPSTREAM, "status 500")))
    assert terminal.getvalue().count("nobody") == 1
    assert "other" in terminal.getvalue()


def test_without_a_terminal_only_loud_notices_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loud notice is one safe line that names the command; -q hides it too."""
    for given, says in (
        (GlobalOptions(command="run"), "archiver: run: new\\x1b\n"),
        (GlobalOptions(command="run", quiet=True), ""),
    ):
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress.show_events(given) as observer:
            observer(Notice("new\x1b", is_loud=True))
            observer(Notice("old"))
        assert stderr.getvalue() == says


def test_a_terminal_that_is_gone_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The observer ignores a stderr that cannot be written."""
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.show_events(GlobalOptions()) as bar:
        bar(EVENTS[0])
        terminal.broken = True
        for event in EVENTS[1:]:
            bar(event)


def test_the_log_has_a_line_for_each_event(tmp_path: Path) -> None:
    """Each line has a UTC time and a level and is safe; only the owner can read the file."""
    observer = log_file.LogObserver(tmp_path, last_line="run 7 ended: ok")
    for event in EVENTS:
        observer(event)
    observer.close()
    path = tmp_path / "log" / "archiver.log"
    lines = path.read_text("utf-8").splitlines()
    assert len(EVENTS) + 1 == len(lines)
    assert all(line[10] == "T" and line[26] == "Z" for line in lines)
    assert any(" WARNING failed: video of item 31" in line and "\\x1b[2J" in line for line in lines)
    assert (_mode(path.parent), _mode(path)) == (0o700, 0o600)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_run_that_never_began_makes_no_log(tmp_path: Path) -> None:
    """A mount point without its disk must not get a log directory."""
    log_file.LogObserver(tmp_path, last_line="ended").close()
    assert list(tmp_path.iterdir()) == []


def test_fault_l1_signatures_never_reach_the_log(tmp_path: Path) -> None:
    """Queries of URLs are not logged."""
    file = log_file.attach_log(tmp_path)
    assert file is not None
    log_file.LOGGER.warning("refused https://scontent.cdninstagram.com/v/a.jpg?oh=SIGNATURE&oe=1 (403)")
    log_file.detach_log(file)
    text = (tmp_path / "log" / "archiver.log").read_text("utf-8")
    assert "SIGNATURE" not in text
    assert "https://scontent.cdninstagram.com/v/a.jpg?… (403)" in text


def test_fault_l1_an_http_library_does_not_log_its_urls(tmp_path: Path) -> None:
    """httpx would log signed URLs at INFO, so its level is raised when the log is opened."""
    file = log_file.attach_log(tmp_path)
    assert file is not None
    log_file.detach_log(file)
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)


def test_a_log_that_cannot_be_written_is_ignored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """If a file is in the place of the log's directory, the run continues without a message."""
    (tmp_path / "log").write_text("")
    observer = log_file.LogObserver(tmp_path, last_line="ended")
    for event in EVENTS:
        observer(event)
    observer.close()
    assert capfd.readouterr().err == ""


def test_a_log_that_a_full_disk_does_not_take_is_ignored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Closing it fails too, as a part of a line is still to be written; the end of the run stays the same."""
    observer = log_file.LogObserver(tmp_path, last_line="ended")
    with disk_limits.limit(resource.RLIMIT_FSIZE, 20):
        for event in EVENTS:
            observer(event)
        observer.close()
    assert (tmp_path / "log" / "archiver.log").stat().st_size == 20
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("link", ["log", "log/archiver.log"])
def test_a_link_in_the_place_of_the_log_is_not_followed(tmp_path: Path, link: str) -> None:
    """A link cannot redirect the log to another file or directory."""
    root, other = tmp_path / "archive", tmp_path / "other"
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(other)
    if link == "log":
        other.mkdir()
    observer = log_file.LogObserver(root)
    observer(EVENTS[0])
    observer.close()
    assert not other.exists() or list(other.iterdir()) == []


def test_a_report_without_new_items_says_so() -> None:
    """It has two lines: what was read, and that nothing is new."""
    summary = Summary(1, "run", units=2, accounts=2, highlights_listed=4)
    assert list(run_report.count_lines(summary)) == [
        "2 accounts, 0 of 4 highlights read, 2 units spent",
        "nothing new",
    ]


def test_failures_are_counted_by_reason_then_named() -> None:
    """The most frequent reason comes first, then each failure."""
    failures = (FAILURE, FAILURE, Failure(Subject.TARGET, "nobody", None, Reason.GONE, ""))
    once = list(run_report.failure_lines(Summary(1, "backup", failures=failures)))
    assert once[0] == "failed: 2 http_status, 1 unknown"
    lines = list(run_report.failure_lines(Summary(1, "run", failures=failures)))
    assert lines[0] == "failed: 2 http_status, 1 unknown (recorded, and tried again in later runs)"
    assert lines[-1] == "  nobody: no such account"


def test_a_thousand_failures_take_ten_lines() -> None:
    """Some are named, the rest are counted."""
    lines = list(run_report.failure_lines(Summary(1, "run", failures=(FAILURE,) * 1000)))
    assert len(lines) == 10
    assert lines[-1] == "  and 992 more: archiver gaps"


def test_the_object_of_a_run_has_the_names_of_the_contract() -> None:
    """Counts are integers, failures have five fields, and ``error`` says what stopped the run."""
    cause = BudgetReached("a call would pass the budget", "raise it")
    summary = Summary(
        3, "run", 5, "units", failures=(FAILURE,), message=str(cause), hint=cause.hint, slug=cause.slug
    )
    fields = run_report.json_fields(summary)
    counts = "units api_calls accounts highlights_listed highlights_fetched"
    counts += " items_new files_new bytes_new files_failed"
    assert all(fields[name] == 0 for name in counts.split())
    assert (fields["exit_code"], fields["outcome"], fields["run_id"]) == (5, "units", 3)
    assert [
        {
            "subject": "item",
            "subject_pk": "31",
            "role": "video",
            "reason": "http_status",
            "detail": FAILURE.detail,
        }
    ] == fields["failures"]
    assert {"slug": "E_BUDGET", "message": str(cause), "hint": "raise it"} == fields["error"]
    assert set(run_report.empty_fields()) <= set(fields)


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_every_event_has_a_description(event: Event) -> None:
    """No event is shown as its repr."""
    assert type(event).__name__ not in progress.describe_event(event)


def test_a_line_is_written_within_seconds_by_another_thread(tmp_path: Path) -> None:
    """Who logs does not wait for the disk, and a log that is followed shows each line soon."""
    file = log_file.attach_log(tmp_path)
    assert file is not None
    writers: SimpleQueue[str] = SimpleQueue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_file.LogFile, "emit", lambda *_: writers.put(threading.current_thread().name))
        log_file.LOGGER.warning("a line")
        assert writers.get(timeout=10) == "log"
    log_file.detach_log(file)


def test_a_log_of_10_mb_is_set_aside(tmp_path: Path) -> None:
    """By the first line of a process, and within a hundred lines after it has grown that large."""
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "archiver.log").write_bytes(bytes(10_000_000))
    file = log_file.attach_log(tmp_path)
    assert file is not None
    for number in range(201):
        log_file.LOGGER.warning("%s", f"line {number} " + "x" * 100_000 * (number == 1))
        if number == 1:
            file.flush()
            (folder / "archiver.log").write_bytes(bytes(10_000_000))
    log_file.detach_log(file)
    assert sorted(path.name for path in folder.iterdir()) == [
        "archiver.log",
        "archiver.log.1",
        "archiver.log.2",
    ]
    assert (folder / "archiver.log").stat().st_size < 10_000_000
