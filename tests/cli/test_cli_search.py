"""``archiver search`` on a real archive."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from archiver.cli import output
from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NATGEO, SALWA = "natgeo", "salwaaa_ki"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> Iterator[InProcessUser]:
    """Somebody who kept both accounts, and again when one had another name and a highlight another title, or
    none.
    """
    with FaultyStandIn(EditableWorld.seed(), key="canary-0123456789abcdef") as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("search"), upstream)
        archive_copies.backed_up(person, NATGEO, SALWA)
        upstream.world.retitle(BOTW, "Best\x1b[31m 北京旅行\n🦋")
        upstream.world.remove_highlight(LIMITLESS)
        upstream.world.rename(SALWA, "salwa")
        assert person.run("backup", NATGEO, SALWA, "-q").code == 0
        yield person


def test_a_person_reads_what_was_found_and_what_to_type_next(kept: InProcessUser) -> None:
    """What it is and whose, the text that matched, safe for a terminal, and the command that shows it."""
    ended = kept.run("search", "旅行", "🦋")
    head, *more = ended.out.splitlines()
    assert head == "highlight · natgeo · Best\\x1b[31m 北京旅行\\n🦋 · created 2025-10-21"
    assert more == ["  title: Best\\x1b[31m 北京旅行\\n🦋", f"  archiver show highlight:{BOTW}"]
    assert (ended.code, ended.err) == (0, "")


def test_what_was_called_so_once_is_found(kept: InProcessUser) -> None:
    """By its name of that time, which is told; what is shown no more is told as that."""
    out = kept.run("search", "salwaaa_ki").out
    assert out.startswith("account · salwa · first seen ")
    assert "\n  former username: @salwaaa_ki\n  archiver show salwa\n" in out
    assert (
        "highlight · natgeo · Limitless · created 2025-08-08, no longer shown\n"
        in kept.run("search", "limitless").out
    )


def test_items_are_told_with_their_highlight(kept: InProcessUser) -> None:
    """The highlight that shows it, and what of it matched."""
    out = kept.run("search", "on.natgeo.com", "--type", "item").out
    head, link, *_, show_it = out.partition("\n\n")[0].splitlines()
    assert (head, link) == (
        "photo · natgeo · Gift Guide · taken 2025-12-20",
        "  link: https://on.natgeo.com/gifts",
    )
    assert show_it == "  archiver show item:3791570430309957637"


def test_an_account_among_the_words_is_told_as_where_to_search(kept: InProcessUser) -> None:
    """An item has not the name of whose it is: the command that searches within the account stands below, and
    finds it.
    """
    assert kept.run("search", "yosemite").out
    ended = kept.run("search", "@NatGeo", "yosemite")
    hint = "archiver search --account NatGeo yosemite"
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"nothing found\narchiver: search: within that account: {hint}\n"
    assert kept.run(*hint.split()[1:]).out
    assert kept.run("search", "natgeo", "yosemite", "OR", "nothing").err == "nothing found\n"
    assert "--account natgeo -- yosemite -x" in kept.run("search", "--", "natgeo", "yosemite", "-x").err
    for words in (
        ["nobody", "yosemite"],
        ["natgeo", "yosemite", "--account", "salwa"],
        ["natgeo", "yosemite", "-q"],
    ):
        assert "within" not in kept.run("search", *words).err


def test_json_is_one_object_and_exact(kept: InProcessUser) -> None:
    """All that was found, with the texts as they are."""
    found = kept.run("search", "best", "--json").object
    assert (found["exit_code"], found["outcome"]) == (0, "ok")
    assert found["hits"] == [
        {
            "subject": "highlight",
            "subject_pk": BOTW,
            "kind": "highlight",
            "at": "2025-10-21T13:07:47.000000Z",
            "dated": "created_at",
            "user_pk": "787132",
            "username": "natgeo",
            "highlight_pk": BOTW,
            "title": "Best\x1b[31m 北京旅行\n🦋",
            "code": None,
            "gone": False,
            "matched": [{"field": "title", "text": "Best\x1b[31m 北京旅行\n🦋"}],
            "source": None,
        }
    ]


def test_the_limit_is_told_where_there_is_more(kept: InProcessUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """All where nobody reads along, twenty on a terminal, as many as asked for; nothing is said where that
    was all.
    """
    everything = kept.run("search", "natgeo")
    count = everything.out.count("archiver show")
    assert count > 1
    assert everything.err == ""
    some = kept.run("search", "natgeo", "--limit", "1")
    assert some.out == everything.out.partition("\n\n")[0] + "\n"
    assert some.err == "archiver: search: only the first 1 are shown (--limit 0 for all)\n"
    assert kept.run("search", "natgeo", "--limit", "1", "-q").err == ""
    assert kept.run("search", "natgeo", "--limit", str(count)).err == ""
    assert kept.run("search", "natgeo", "--limit", "9" * 30).out == kept.run("search", "natgeo").out
    monkeypatch.setattr(output, "terminal_width", lambda: 40)
    on_terminal = kept.run("search", "n", "--type", "item").out
    assert max(map(len, on_terminal.splitlines())) <= 60
    assert on_terminal.count("archiver show") <= 20


def test_what_another_program_changed_is_told(kept: InProcessUser) -> None:
    """It is found after our next transaction, under its new words alone."""
    with closing(sqlite3.connect(kept.archive / "archive.db")) as other:
        (title,) = other.execute("SELECT title FROM highlights WHERE pk = ?", (BOTW,)).fetchone()
        other.execute("UPDATE highlights SET title = 'elsewhere' WHERE pk = ?", (BOTW,))
        other.commit()
        ended = kept.run("search", "elsewhere")
        assert "1 thing changed by another program can be found after the next run" in ended.err
        assert kept.run("search", "elsewhere", "-q").err == ""
        assert kept.run("search", "elsewhere", "-q", "--json").object["stale"] == 1
        other.execute("UPDATE highlights SET title = ? WHERE pk = ?", (title, BOTW))
        other.commit()
    assert kept.run("backup", NATGEO, "-q").code == 0
    assert kept.run("search", "elsewhere").err == "nothing found\n"
    assert kept.run("search", "elsewhere", "--json").object["stale"] == 0


def test_nothing_found_is_said_and_no_error(kept: InProcessUser) -> None:
    """On stderr, unless nothing is to be said; the object has an empty list."""
    ended = kept.run("search", "zebra")
    assert (ended.code, ended.out, ended.err) == (0, "", "nothing found\n")
    assert kept.run("search", "zebra", "-q").err == ""
    assert kept.run("search", "zebra", "--json").object["hits"] == []
    assert kept.run("search", "gift", "--since", "1d").out == ""
    assert kept.run("search", "gift", "--account", "salwaaa_ki").out == ""


def test_a_link_or_an_id_points_to_show(kept: InProcessUser) -> None:
    """What names something that is kept, and is no words: by which command it is shown; nothing of what is
    not kept, or with -q.
    """
    for text in (
        "https://www.instagram.com/natgeo/",
        "787132",
        f"highlight:{GIFT}",
        f"instagram.com/stories/highlights/{GIFT}/?a=b&c",
    ):
        ended = kept.run("search", text)
        assert (ended.code, ended.out) == (0, "")
        nothing, pointer = ended.err.splitlines()
        assert nothing == "nothing found"
        _, _, typed = pointer.partition(": archiver show ")
        assert kept.run("show", *shlex.split(typed)).code == 0
    for text in (
        "https://www.instagram.com/zebra/",
        "highlight:1",
        "2024",
        "https://www.instagram.com/natgeo/ x",
    ):
        assert kept.run("search", text).err == "nothing found\n"
    assert kept.run("search", "787132", "-q").err == ""


def test_it_can_be_asked_of_one_highlight(kept: InProcessUser) -> None:
    """By the same words as an export: the highlight and its items, and no other's."""
    hits = json.loads(kept.run("search", "g", "--account", f"highlight:{GIFT}", "--json").out)["hits"]
    assert {hit["kind"] for hit in hits} > {"highlight", "photo"}
    assert {hit["highlight_pk"] for hit in hits} == {GIFT}
    assert len(hits) < len(json.loads(kept.run("search", "g", "--json").out)["hits"])
    assert kept.run("search", "guide", "--account", f"highlight:{LIMITLESS}").out == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["'\"*"], "no word, number or emoji"),
        (["--", "-gift"], "(add a word to find, as in: archiver search -- shop -sale)"),
        (
            ["natgeo", "-gift"],
            "no such option: -g; put words to exclude after all options and --: "
            "archiver search natgeo -- -gift",
        ),
        (["natgeo", "-qé'"], """: archiver search natgeo -- '-qé'"'"''"""),
        (["natgeo", "--acount", "x"], "'--account'"),
        (["gift", "--account", "highlight:1"], "the archive has no highlight 1"),
        (["gift", "--account", NATGEO, "--account", f"highlight:{GIFT}"], "use one command for each"),
        (["x" * 20_000], "too long"),
        (["gift", "--account", "natgoe"], "did you mean natgeo?"),
        (["gift", "--type", "story"], "story"),
        ([], "TEXT"),
    ],
)
def test_what_cannot_be_searched_for_is_code_2(kept: InProcessUser, args: list[str], said: str) -> None:
    """In one line that says why; with --json as an object too."""
    ended = kept.run("search", *args)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    failed = json.loads(kept.run("search", "--json", *args).out)
    assert (failed["exit_code"], failed["hits"]) == (2, [])
