"""What docs/performance.md relies on: the benchmarks run, and their pictures change only with the figures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *words: str) -> str:
    """Run a benchmark in a process of its own, and return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVER_")}
    environ = inherited | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(BENCHMARKS / script), *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


@pytest.mark.whole
def test_growth_measures_copied_accounts_that_are_quiet(tmp_path: Path) -> None:
    """The stand-in knows the copies of accounts by their names; each costs one unit and downloads nothing."""
    sizes = ("--items", "--accounts", "30", "--calls", "300", "--rounds", "1")
    printed = run("growth.py", *sizes, "--in", str(tmp_path), "--picture", str(tmp_path / "growth.svg"))
    assert "\n| 30 | " in printed
    assert "\n| 300 | " in printed
    assert "accounts listed" in (tmp_path / "growth.svg").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["growth.svg"]


@pytest.mark.whole
def test_each_unit_has_a_cost(tmp_path: Path) -> None:
    """On SQLite; PostgreSQL takes twice the time and the same path."""
    printed = run("cost.py", "--rounds", "1", "--in", str(tmp_path))
    units = ("file", "page of 15 items, 22 files", "quiet account of 20 highlights, 321 files held")
    assert [unit for unit in units if f"\n| {unit} | " in printed] == list(units)


@pytest.mark.parametrize("highlights", [1000, pytest.param(10_000, marks=pytest.mark.whole)])
def test_fault_e4_a_quiet_account_costs_what_the_docs_say(highlights: int) -> None:
    """At most 1.25 units a night in the first four months, 1.15 after a year; as docs/accounts.md has it."""
    printed = run("sweep.py", "--highlights", str(highlights))
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines()[2:]]
    prices = {(age, int(most)): list(map(float, units)) for age, _, most, *units in lines}
    old, new = prices["0 to 2 years", 180], prices["0 to 30 days", 180]
    assert old[0] <= 1.25
    assert max(old[2], new[2]) <= 1.15
    page = (ROOT / "docs" / "accounts.md").read_text("utf-8")
    if highlights == 10_000:
        for age, units in (("0 to 2 years old", old), ("0 to 30 days old", new)):
            assert f"| {age} | 30 | 180 | {' | '.join(f'{unit:.2f}' for unit in units)} |" in page


needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin") is None or shutil.which("curl") is None,
    reason="Debian: apt-get install nginx-light curl",
)


@pytest.mark.whole
@needs_nginx
def test_a_first_night_is_compared_over_plain_http_and_tls(tmp_path: Path) -> None:
    """Each tool downloads every byte, or the benchmark ends with an error."""
    printed = run("first_night.py", "--files", "60", "--rounds", "1", "--all", "--in", str(tmp_path))
    served = ("plain HTTP", "TLS")
    assert [how for how in served if f"\n| {how} to {tmp_path} (" in printed] == list(served)
    assert "\n| `archiver --version` | " in printed


@pytest.mark.whole
@needs_nginx
def test_a_first_night_into_a_bucket_is_compared_with_scripts(tmp_path: Path) -> None:
    """Each puts every file into the store with one request; a large one is sent in parts."""
    small = ("--files", "60", "--video-size", "30000", "--large-file", "170000000", "--rounds", "1")
    picture = tmp_path / "picture.svg"
    printed = run("object_store.py", *small, "--in", str(tmp_path), "--picture", str(picture))
    heads = "| bare Python | plain script | archiver | archiver / bare Python | archiver / plain script |"
    assert f"| 81 files, 0.01 GB, plain HTTP to {tmp_path} (" in printed
    assert heads in printed
    assert "\n| requests to the store, for each file | 1 | 1 | " in printed
    assert re.findall(r"\w+ blobs [^,]+", printed) == ["PUT blobs 81"]
    requests = {int(size): int(count) for size, count in re.findall(r"\n\| (\d+) MB .* (\d+) \|", printed)}
    assert list(requests) == [1, 17, 170]
    assert requests[170] >= requests[17] + 18  # parts of 8 MiB: 21 instead of 3
    assert "peak memory of archiver" in picture.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.svg"]


@pytest.mark.whole
@pytest.mark.parametrize("place", [(), ("--bucket",)], ids=["directory", "bucket"])
def test_workers_are_compared_with_one_process(tmp_path: Path, place: tuple[str, ...]) -> None:
    """Every night has the calls that it must have, or the benchmark ends with an error."""
    small = ("--accounts", "6", "--paced", "12", "--workers", "2", "--rounds", "1")
    picture = tmp_path / "picture.svg"
    printed = run("workers.py", *small, *place, "--in", str(tmp_path), "--picture", str(picture))
    heads = re.findall(r"\n\| (\w+ night of \d+ accounts, at most \d+) calls a second \| (.*) \|", printed)
    assert heads == [
        (f"{night} accounts, at most {rate}", "one process | 2 workers")
        for night, rate in (
            ("first night of 6", 500),
            ("quiet night of 6", 500),
            ("first night of 12", 15),
            ("quiet night of 6", 15),
        )
    ]
    rates = re.findall(r"\n\| less or more than 15, % \| ([-+.\d]+) \| ([-+.\d]+) \|", printed)
    assert all(abs(float(rate)) < 30 for night in rates for rate in night)
    assert "\n| each of 2 workers | " in printed
    assert "calls a second, at most 15" in picture.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.svg"]


@pytest.mark.whole
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_figures_give_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Drawn by two processes, at different times."""
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    code = (
        "import sys, pathlib, pictures as p\n"
        "bars = p.Bars('ms', ['a', 'b'], {'one': [1.0, None], 'two': [2.0, 3.0]})\n"
        "p.draw(pathlib.Path(sys.argv[1]), 'A title', [bars, p.Curve('ms', 'items', {10: 1.0, 100: 2.0})])\n"
    )
    pictures = [tmp_path / f"{name}.{suffix}" for name in ("first", "second")]
    for picture in pictures:
        subprocess.run([sys.executable, "-c", code, str(picture)], check=True)
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    assert len(first) < 60_000
