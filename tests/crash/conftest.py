"""How long the crash tests go on, and what came of them: ``scripts/test tests/crash --crash-all --crash-rounds 2000 --crash-seed 7``."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Iterator

import pytest
import recorded
from crash_world import Upstream
from recorded import Night


@pytest.fixture(scope="session")
def crash_all(request: pytest.FixtureRequest) -> bool:
    """Whether all is visited, not a sample."""
    return bool(request.config.getoption("--crash-all", False))


@pytest.fixture(scope="session")
def sample_seed(request: pytest.FixtureRequest) -> str:
    """What a sample is drawn by: the date, unless a seed is given."""
    given = str(request.config.getoption("--crash-seed", "everyday"))
    return datetime.datetime.now(datetime.UTC).date().isoformat() if given == "everyday" else given


@pytest.fixture(scope="session")
def strace() -> None:
    """A test that asks for it fails on a Linux without strace, and is skipped, with its reason, where there is none to be had."""
    if sys.platform != "linux":
        pytest.skip("strace, which this test needs, is Linux's")
    if shutil.which("strace") is None:
        pytest.fail(
            "strace is missing; scripts/test installs it for root (apt-get install strace)", pytrace=False
        )


@pytest.fixture(scope="session")
def night(strace: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """The first night of an archive, of one account with one highlight: it makes the archive and keeps all."""
    home = tmp_path_factory.mktemp("night") / "home"
    home.mkdir()
    with Upstream.small() as upstream:
        yield recorded.record(upstream, home)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line that sums up all series of random kills, where there were any, and one for each test that says what it visited."""
    reports = [r for outcome in ("passed", "failed") for r in terminalreporter.getreports(outcome)]
    told = [(report, name, value) for report in reports for name, value in report.user_properties]
    scores = [value for _, name, value in told if name == "crash"]
    if scores:
        rounds, kills, archives, seconds, violations = map(sum, zip(*scores, strict=True))
        terminalreporter.write_line(
            f"random kills: {rounds} rounds on {archives} archives, {kills} kills hit, {violations} violations, {seconds:.0f} s"
        )
    for line in sorted(str(value) for _, name, value in told if name == "visited"):
        terminalreporter.write_line(line)
