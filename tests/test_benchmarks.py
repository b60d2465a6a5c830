"""What docs/performance.md relies on: the benchmarks run, and their pictures change only with the figures."""

from __future__ import annotations

import os
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


@pytest.mark.whole
@pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin") is None or shutil.which("curl") is None,
    reason="Debian: apt-get install nginx-light curl",
)
def test_a_first_night_is_compared_over_plain_http_and_tls(tmp_path: Path) -> None:
    """Each tool downloads every byte, or the benchmark ends with an error."""
    printed = run("first_night.py", "--files", "60", "--rounds", "1", "--all", "--in", str(tmp_path))
    served = ("plain HTTP", "TLS")
    assert [how for how in served if f"\n| {how} to {tmp_path} (" in printed] == list(served)
    assert "\n| `archiver --version` | " in printed


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
