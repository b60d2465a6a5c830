"""H1, where a highlight that was complete has changed: killed between its page and its new file, it counts as
complete no longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crash.consistency_checks import database, violations
from tests.support.crash.run_killer import Kill, RunKiller
from tests.support.crash.workload import Workload
from tests.support.standin import actions


@pytest.mark.whole
def test_fault_h1_a_new_item_whose_file_a_kill_prevented_is_had_by_the_next_run(tmp_path: Path) -> None:
    """The page of the second night is recorded, its new picture is not there yet: the third night downloads
    it, for the tray's unit.
    """
    with Workload.small() as upstream, RunKiller(tmp_path / "home") as ground:
        root = ground.home / "archive"
        environ, standin = upstream.environ(root), upstream.standin
        assert ground.run(environ, upstream.words).codes == (0,)
        highlight = standin.world.accounts[0].highlights[0]
        item = standin.world.add_item(highlight.pk)
        fault = standin.faults.add(actions.stall(10), item=item.pk, count=None)
        assert ground.run(environ, upstream.words, kill=Kill("file opened", 2, 0.0, None)).codes == (-9,)
        assert violations(root) == []
        standin.faults.remove(fault)
        standin.requests.reset()
        assert ground.run(environ, upstream.words).codes == (0,)
        assert standin.units == 1
        with database(root) as rows:
            assert rows is not None
            assert rows(f"select role from files where item_pk = '{item.pk}'") == [("thumbnail",)]
