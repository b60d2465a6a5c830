"""The process itself: the bare environment of cron, limits that it meets in mid-run, and bugs in any of its
threads.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import archiver
from archiver.cli.main import main
from tests.support import leak_detector
from tests.support.archive_harness import ArchiveHarness
from tests.support.host_faults import assert_sound, environ, run
from tests.support.standin import actions
from tests.support.standin.world_edits import EditableWorld

pytestmark = pytest.mark.world(accounts=2, highlights=2, items=2)

ACCOUNTS = ("account0000", "account0001")


NIGHT = """
import sys
from archiver.cli.main import main
code = main(["run"])
print("run:", code, flush=True)
sys.exit(main(["query", "SELECT title FROM highlights"]))
"""


def as_cron(harness: ArchiveHarness) -> tuple[int, str, str]:
    """``archiver run`` and a query, in one process with what cron gives: no HOME, no terminal, LANG=C, in /;
    and an ASCII-only stdout on top.
    """
    bare = environ(harness, "salwaaa_ki") | {"LANG": "C", "PYTHONIOENCODING": "ascii"}
    del bare["HOME"]
    bare["PYTHONPATH"] = str(Path(archiver.__file__).parent.parent)
    command = [sys.executable, "-W", "error", "-c", NIGHT]
    ended = subprocess.run(
        command, env=bare, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    out, err = ended.stdout.decode("ascii"), ended.stderr.decode("ascii")
    leak_detector.note_output(out, err)
    return ended.returncode, out, err


def test_fault_h34_under_cron_a_good_night_is_silent_and_emoji_break_nothing(harness: ArchiveHarness) -> None:
    """No progress bar, not a word where all went well; titles with emoji come out escaped on a stdout that is
    ASCII only.
    """
    harness.upstream.world = EditableWorld.seed()
    harness.upstream.world.shorten(items=1)
    assert harness.night("salwaaa_ki").exit_code == 0
    code, out, err = as_cron(harness)
    assert (code, out.startswith("run: 0\n"), "me \\U0001f98b" in out, err) == (0, True, True, "")


@pytest.mark.parametrize(
    ("broken", "accounts"),
    [
        pytest.param(  # in the thread of an account
            "archiver.hiker.wire.parse_tray", ACCOUNTS, marks=pytest.mark.whole
        ),
        pytest.param(  # of a highlight
            "archiver.hiker.wire.parse_highlight_page", ACCOUNTS[:1], marks=pytest.mark.whole
        ),
        pytest.param(  # of a download
            "archiver.media.checked_writer.detect_format", ACCOUNTS[:1], marks=pytest.mark.whole
        ),
        ("archiver.catalog.record.stored_files._file_row", ACCOUNTS[:1]),  # in the one that writes
    ],
)
def test_fault_h36_a_bug_in_any_thread_ends_the_run_as_a_bug(
    harness: ArchiveHarness, broken: str, accounts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call but the first raises what nobody expects: the run is recorded as ended by a bug, and nothing
    that it began goes on.
    """
    harness.night()
    harness.upstream.faults.add(
        actions.stall(100), listener="cdn", nth=3, count=None
    )  # siblings do not end by themselves
    with monkeypatch.context() as patch:
        patch.setattr(broken, from_second_call(broken))
        began = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            run(harness, *accounts)
        assert time.monotonic() - began < 20
    assert harness.rows("select outcome, exit_code from runs order by id desc limit 1") == [("bug", 1)]
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("account", "job", "cdn"))]
    assert_sound(harness)
    harness.upstream.faults.clear()
    assert run(harness, *ACCOUNTS)[0] == 0
    assert harness.one("select count(*) from highlights where completed_at is null") == 0


def from_second_call(name: str) -> Callable[..., object]:
    """The function of that name, which divides by zero from its second call on."""
    module, _, attribute = name.rpartition(".")
    real: Callable[..., object] = getattr(sys.modules[module], attribute)
    calls = iter(range(1_000_000))

    def broken(*args: object, **kwargs: object) -> object:
        return 1 / 0 if next(calls) else real(*args, **kwargs)

    return broken


def test_fault_h36_a_bug_is_told_once_and_is_code_1(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says bug, one object whose outcome is «bug», code 1; never «nothing new»."""
    for name, value in environ(harness, *ACCOUNTS).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        "archiver.hiker.wire.parse_highlight_page",
        from_second_call("archiver.hiker.wire.parse_highlight_page"),
    )
    capsys.readouterr()
    assert main(["backup", *ACCOUNTS, "--json", "-v"]) == 1
    told = capsys.readouterr()
    assert (json.loads(told.out)["exit_code"], json.loads(told.out)["outcome"]) == (1, "bug")
    assert told.err.count("a bug: ZeroDivisionError") == 1
    assert "nothing new" not in told.err


def test_fault_h13_a_limit_on_the_size_of_files_stops_the_run_and_harms_nothing(
    harness: ArchiveHarness,
) -> None:
    """A video above the limit of this process (EFBIG): code 8 and the reason; without the limit the next run
    keeps it.
    """
    harness.upstream.world = EditableWorld.generate(1, 1, 2, video_size=3_000_000)
    harness.night()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        code, why = run(harness, ACCOUNTS[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, "File too large" in why) == (8, True)
    assert_sound(harness)
    assert run(harness, ACCOUNTS[0])[0] == 0
    assert harness.one("select count(*) from highlights where completed_at is null") == 0
    assert_sound(harness)
