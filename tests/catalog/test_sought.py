"""What a person types → what is sought: any text, and nothing in it is syntax."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.catalog.search.query_parser import FIELDS, Phrase, SearchQuery
from archiver.errors import UsageError


def _begins(*words: str) -> Phrase:
    return Phrase(words, True)


def _whole(*words: str) -> Phrase:
    return Phrase(words, False)


@pytest.mark.parametrize(
    ("text", "all_of", "none_of"),
    [
        ("nat geo", [_begins("nat"), _begins("geo")], []),
        ("nat* nat", [_begins("nat")], []),
        ('"Gift Guide" x', [_whole("gift", "guide"), _begins("x")], []),
        ('"never ended', [_whole("never", "ended")], []),
        ("@salwaaa_ki #me", [_begins("salwaaa", "ki"), _begins("me")], []),
        ("shop -sale -", [_begins("shop")], [_begins("sale")]),
        ('me -"not me"', [_begins("me")], [_whole("not", "me")]),
        ("北京旅行 旅", [_whole("北京", "京旅", "旅行"), _begins("旅")], []),
        (
            "https://natgeo.com/a?b=c natgeo.com/d?e",
            [_begins("natgeo", "com", "a"), _begins("natgeo", "com", "d")],
            [],
        ),
        ("1/2 and/or", [_begins("1", "2"), _begins("and", "or")], []),
        (
            "a NOT b or NEAR(c)",
            [_begins(word) for word in ("a", "not", "b", "or")] + [_begins("near", "c")],
            [],
        ),
        ("OR a -b OR c OR", [_begins("or"), _begins("a"), _begins("c")], [_begins("b")]),
    ],
)
def test_a_text_is_understood(text: str, all_of: list[Phrase], none_of: list[Phrase]) -> None:
    """All words by their beginnings, quoted ones as they stand, those behind a minus not; an address as
    one.
    """
    assert SearchQuery.parse(text) == SearchQuery(tuple(all_of), tuple(none_of))


def test_or_joins_its_neighbours() -> None:
    """Each chain of ORs is a group; an OR beside a word to exclude, or at an end, is a word."""
    found = SearchQuery.parse('a b OR "c d" OR e f OR f')
    assert found == SearchQuery(
        (_begins("a"), _begins("f")), (), ((_begins("b"), _whole("c", "d"), _begins("e")),)
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no word"),
        ('"*" ()', "no word"),
        ("-a", "only excludes words"),
        (" ".join(f"w{n}" for n in range(300)), "too long"),
        ("a" * 20_000, "too long"),
        ("a" + " " * 10**6, "too long"),
    ],
)
def test_what_asks_for_nothing_or_too_much_is_refused(text: str, why: str) -> None:
    """In a sentence, before anything is asked."""
    with pytest.raises(UsageError, match=why):
        SearchQuery.parse(text)


@pytest.fixture(scope="module")
def fts5() -> Iterator[sqlite3.Connection]:
    """An index as the archive has one."""
    with closing(sqlite3.connect(":memory:")) as lite:
        lite.execute(
            f"create virtual table t using fts5({', '.join(FIELDS)}, filters, tokenize = "
            f"\"ascii tokenchars '|@='\")"
        )
        yield lite


@given(st.text(max_size=60))
def test_no_text_is_a_syntax_error(fts5: sqlite3.Connection, text: str) -> None:
    """FTS5 understands whatever comes of any text."""
    try:
        sought = SearchQuery.parse(text)
    except UsageError:
        return
    for asked in (
        sought.match_field("names", []),
        sought.match_field("links", [["@1", "@2"], ["=photo"]]),
        sought.match_several_fields([]),
    ):
        if asked is not None:
            assert fts5.execute("select * from t where t match ?", [asked.sqlite]).fetchall() == []
