"""gaps, costs and status --balance on a real archive: what they tell, and that they cost nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli_harness import Ended, Nearby, write_config

from archiver.sandbox import StandIn, World, actions


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """Two accounts with two highlights of two items each; one item is offered without its video, one video is not there."""
    with StandIn(World.generated(2, 2, 2), balance=1_000) as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: StandIn) -> Nearby:
    """Somebody with both accounts in the configuration, and an empty archive."""
    somebody = Nearby(tmp_path, upstream)
    somebody.more["ARCHIVER_CONFIG"] = str(write_config(tmp_path / "config.toml", ["account0000", "account0001"]))
    assert somebody.run("init", "-q").code == 0
    return somebody


def sql(person: Nearby, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(person.archive / "archive.db")) as lite:
        return lite.execute(query).fetchall()


def rows(ended: Ended, name: str) -> list[dict[str, object]]:
    found = ended.object[name]
    assert isinstance(found, list)
    return found


def test_gaps_tells_what_is_lacking_account_by_account(person: Nearby, upstream: StandIn) -> None:
    """A video that the CDN does not have and one that is not offered: counted, then named with tries and next try; 0 units."""
    video, other = (
        str(pk) for (pk,) in _videos(person, upstream)
    )
    upstream.world.withhold(*_place(upstream, other), "video")
    upstream.faults.add(actions.respond(404, b""), listener="cdn", item=video, role="video", count=None)
    assert person.run("run", "-q").code == 3
    upstream.requests.reset()
    told = person.run("gaps")
    assert told.code == 0
    assert told.err == ""
    print(told.out)
    by_reason = {str(gap["reason"]): gap for gap in rows(person.run("gaps", "--json"), "gaps")}
    assert len(upstream.requests) == 0
    assert by_reason["not_found"]["subject_pk"] == video
    assert by_reason["never_offered"]["subject_pk"] == other
