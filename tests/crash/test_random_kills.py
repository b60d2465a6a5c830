"""H1: kill -9 at random instants, kill upon kill, for as long as one likes: nothing is lost, and a rerun
converges.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crash.kill_rounds import play

_SERIES = 3  # where more rounds are asked for than one worker should play: they go on at once
_EVERYDAY = 2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One series of the few rounds of every day, for each begins with a process of its own, and each archive
    ends with four runs.
    """
    rounds = metafunc.config.getoption("--crash-rounds")
    metafunc.parametrize("series", range(_SERIES if rounds > _EVERYDAY else 1))


def test_fault_h1_a_kill_at_any_instant_loses_nothing_and_a_rerun_converges(
    series: int,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    sample_seed: str,
    record_property: Callable[[str, object], None],
) -> None:
    """After each kill the invariants I1 to I9 hold, and a run that is let finish leaves the archive of an
    undisturbed one (I10).
    """
    rounds = request.config.getoption("--crash-rounds")
    each = -(-rounds // _SERIES) if rounds > _EVERYDAY else rounds
    score = play(tmp_path / "home", f"{sample_seed}.{series}", each)
    record_property(
        "crash", [score.rounds, score.kills, score.archives, score.seconds, len(score.violations)]
    )
    again = (
        f"pytest {Path(__file__).name} -k 'converges and {series}' --crash-rounds "
        f"{rounds} --crash-seed {sample_seed}"
    )
    assert not score.violations, "\n\n".join([*score.violations, f"to see it again: {again}"])
