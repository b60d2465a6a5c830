"""Large answers of the API: what they take in memory, however many come at once, and that an honest one is
read."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.sandbox.world_objects import Json
from tests.support.api_faults import Object, account_pk, edit_page, first_entry, page
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

_MEASURED = (
    "import sys; from archiver.__main__ import main; code = main();"
    " peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'));"
    " open('peak', 'w').write(peak.split()[1]); sys.exit(code)"
)
"""The command in a process of its own that says at its end how many KiB it took at most. The kernel's account
of ended children would not do: a child begins as a copy of this process, which is larger."""


def lists(size: int) -> bytes:
    """``[],[],…``: 5 million values in 15 MB."""
    return b"[" + b"[]," * (size // 3) + b"[]]"


def objects(size: int) -> bytes:
    """``{"0":{},"1":{},…}``: each of them a key and an object."""
    return b"{" + b",".join(b'"%d":{}' % number for number in range(size // 12)) + b"}"


def text(size: int) -> bytes:
    """A highlight with one long title, of signs that take four bytes each in Python, with something to
    clean."""
    return b'{"pk":"1","title":"\\u0000' + "🦋".encode() * (size // 4) + b'"}'


def zipped(size: int) -> bytes:
    """The lists in gzip: 15 MB in 70 kB."""
    return gzip.compress(lists(size), 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("shape", "accounts", "highlights"),
    [
        pytest.param(lists, 1, 3, marks=pytest.mark.whole),
        pytest.param(lists, 4, 8, marks=pytest.mark.whole),
        pytest.param(objects, 4, 8, marks=pytest.mark.whole),
        pytest.param(text, 4, 8, marks=pytest.mark.whole),
        pytest.param(zipped, 4, 8, marks=pytest.mark.whole),
    ],
)
def test_fault_a38_large_answers_at_once_take_the_memory_of_one(
    tmp_path: Path, shape: Callable[[int], bytes], accounts: int, highlights: int
) -> None:
    """Answers of 15 MB from all highlights at once: each fails alone, the run ends by itself, under 250
    MiB."""
    body = shape(15_000_000)
    with FaultyStandIn(EditableWorld.generate(accounts, highlights, 1)) as upstream:
        coding = {"content-encoding": "gzip"} if shape is zipped else {}
        large = actions.respond(200, body, {"content-type": "application/json", **coding})
        upstream.faults.add(large, path="/v1/highlight/by/url", count=None)
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        environ = harness.variables | {"PATH": os.environ["PATH"]}
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, "backup", *map(account_pk, range(accounts))],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 3, done.stderr
        assert int((tmp_path / "peak").read_text()) < 250 * 1024
        failed = "select count(*) from failures where reason in ('malformed', 'upstream')"
        assert harness.one(failed) == accounts * highlights
        assert harness.one("select count(*) from answers") == accounts * (highlights + 1)


@pytest.mark.world(accounts=1, highlights=1, items=1)
def test_fault_a38_a_page_of_2000_items_is_read(harness: ArchiveHarness, whole: bool) -> None:
    """Twenty times the items of the largest honest page, 4 MB: all of them have rows, and the highlight is
    complete. ``--whole``: so many; else 4 MB of 400 items."""
    count = 2_000 if whole else 400

    def grow(_: Object, items: list[Json]) -> None:
        caption = "x" * (3_000_000 // count)
        one = {
            **first_entry(items),
            "thumbnail_url": None,
            "video_url": None,
            "accessibility_caption": caption,
        }
        items += [{**one, "pk": str(number)} for number in range(1, count)]

    harness.upstream.faults.add(edit_page(grow), **page(0))
    assert harness.night(account_pk(0)).exit_code == 0
    assert harness.one("select count(*) from highlight_items") == count
    assert harness.one("select count(*) from highlights where completed_at is null") == 0
