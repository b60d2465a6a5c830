"""What ``verify --repair`` cannot have again, and what comes back: recorded, shown, never paid for twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import archive_damage
from tests.support.archive_damage import (
    files,
    flip_bit,
    ids,
    path_of,
    problems,
    remove_answers,
    rows,
    upstream_of,
)
from tests.support.command_line import CommandLineUser, InProcessUser


@pytest.fixture
def person(undamaged: CommandLineUser, tmp_path: Path) -> Iterator[CommandLineUser]:
    """The same with a copy of that archive, and upstream as it was."""
    with archive_damage.copy_of(undamaged, tmp_path) as somebody:
        yield somebody


@pytest.mark.parametrize("how", [pytest.param("removed", marks=pytest.mark.whole), "withheld"])
def test_what_is_shown_no_more_stays_recorded_and_is_not_paid_for_again(
    person: CommandLineUser, how: str
) -> None:
    """Its owner removed the item, or no link is offered for it: the loss is in --json and its rows stay;
    verify is code 0, a second repair costs nothing.
    """
    sha256, item, highlight = rows(
        person,
        (
            "select sha256, f.item_pk, m.highlight_pk from files f join highlight_items m "
            "on m.item_pk = f.item_pk where role = 'video' limit 1"
        ),
    )[0]
    path_of(person, sha256).unlink()
    remove_answers(person)
    if how == "removed":
        upstream_of(person).world.remove_item(highlight, item)
    else:
        upstream_of(person).world.withhold(highlight, item, "video")
    assert person.run("verify", "--repair", "-q").code == 0
    checked = person.run("verify", "--json")
    lost = checked.object["lost"]
    assert isinstance(lost, list)
    assert (checked.code, [(d["sha256"], d["problem"]) for d in lost]) == (0, [(sha256, "missing")])
    assert rows(person, f"select count(*) from files where sha256 = '{sha256}'") == [(1,)]
    upstream_of(person).requests.reset()
    assert person.run("verify", "--repair", "-q").code == 0
    assert upstream_of(person).units == 0


@pytest.mark.whole
def test_a_return_that_was_encoded_anew_is_a_new_file_beside_the_lost(person: CommandLineUser) -> None:
    """Other bytes for the same item: the old row stays, lost; the new one is held."""
    sha256, item, highlight, role = rows(
        person,
        "select sha256, f.item_pk, m.highlight_pk, role from files f join "
        "highlight_items m on m.item_pk = f.item_pk"
        " where role = 'video' limit 1",
    )[0]
    upstream_of(person).world.change_bytes(highlight, item, "video")
    remove_answers(person)
    flip_bit(path_of(person, sha256))
    assert person.run("verify", "--read-data", "--repair", "-q").code == 0
    held = rows(
        person,
        f"select lost_at is null from files f join blobs b on b.sha256 = f.sha256 where item_pk = '{item}'"
        f" and role = '{role}' order by f.id",
    )
    assert held == [(0,), (1,)]
    assert person.run("verify", "--read-data", "-q").code == 0
    assert person.run("verify", "--repair", "--json").object["run"] is None  # nothing is left to pay for


def test_a_kept_answer_that_cannot_be_read_is_damage_once(person: CommandLineUser) -> None:
    """A cut segment gives code 12; --repair records it, and then it is a loss; put back, it is found
    again.
    """
    segment = next((person.archive / "answers").rglob("*-trays-*"))
    name = segment.relative_to(person.archive / "answers").as_posix()
    of_segment = f"select id from answers where segment = '{name}' order by \"offset\""
    first, second = (number for (number,) in rows(person, of_segment))
    before = segment.read_bytes()
    segment.write_bytes(before[: len(before) // 2])
    found = person.run("verify", "--json")
    assert (found.code, ids(found, "answers_damaged")) == (12, [second])
    assert person.run("verify", "--repair", "-q").code == 0
    checked = person.run("verify", "--json")
    assert (checked.code, ids(checked, "answers_lost")) == (0, [second])
    rotten = bytearray(before)
    rotten[len(rotten) // 4] ^= 1
    segment.write_bytes(rotten)
    assert person.run("verify", "--quick", "-q").code == 0
    assert ids(person.run("verify", "--read-data", "--json"), "answers_damaged") == [first]
    segment.write_bytes(before)
    assert person.run("verify", "--repair", "-q").code == 0
    assert rows(person, "select count(*) from answers where lost_at is not null") == [(0,)]


def test_a_restored_blob_is_noted_as_found(person: CommandLineUser) -> None:
    """Somebody copies the bytes back from elsewhere: verify tells it, --repair clears the loss and pays
    nothing.
    """
    path = files(person)[0]
    data = path.read_bytes()
    path.unlink()
    assert person.run("verify", "--repair", "--max-units", "0", "-q").code == 0
    path.write_bytes(data)
    assert person.run("verify", "--json").object["found"] == [path.name]
    assert person.run("verify", "--repair", "--max-units", "0", "-q").code == 0
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]
    assert upstream_of(person).units == 0


def test_without_a_key_the_disk_is_mended_all_the_same(person: CommandLineUser) -> None:
    """The loss is recorded and set aside; then the missing key is told, code 4, with what was found in the
    object.
    """
    flip_bit(files(person)[0])
    person.more["HIKERAPI_TOKEN"] = ""
    ended = person.run("verify", "--read-data", "--repair", "--json")
    assert ended.code == 4
    assert len(problems(ended)) == 1
    assert json.dumps(ended.object["repair"]) == json.dumps(
        {
            "lost": 1,
            "back": 0,
            "quarantined": 1,
            "has_new_journal": False,
            "accounts": 1,
            "highlights": 1,
            "units": 2,
        }
    )
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(1,)]


@pytest.mark.parametrize(
    "words",
    [
        ("--subset", "0"),
        ("--subset", "nan"),
        ("--subset", "101%"),
        ("--subset", "5%", "--quick"),
        ("--wait",),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A share that is none, and options that do not go together: code 2."""
    assert InProcessUser(tmp_path).run("verify", *words).code == 2


@pytest.mark.parametrize("repair", [[], pytest.param(["--repair"], marks=pytest.mark.whole)])
def test_a_check_says_off_a_terminal_too_what_it_did(person: CommandLineUser, repair: list[str]) -> None:
    """Two lines, none under -q, as cron likes it: code 0, no cost."""
    ended = person.run("verify", *repair)
    assert (ended.code, ended.out) == (0, "")
    assert re.fullmatch(r"\d+ blobs checked: 0 damaged\n\d+ answers checked: 0 damaged\n", ended.err)
    quiet = person.run("verify", *repair, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.whole
def test_a_repair_says_what_it_did(person: CommandLineUser) -> None:
    """How many are back, what is still lost, what was paid; lost answers too."""
    flip_bit(files(person)[0])
    ended = person.run("verify", "--read-data", "--repair")
    assert "1 blob now recorded as lost\n1 damaged blob moved to quarantine/\n" in ended.err
    assert ended.err.endswith("1 of 1 lost blob recovered, 1 unit spent\n")
    files(person)[0].unlink()
    ended = person.run("verify", "--repair", "--max-units", "0")
    assert "0 of 1 lost blob recovered, 0 units spent\n1 still lost: see lost_at" in ended.err
