"""Words: of a text that is stored, in any script, and of what a person types, in which nothing is syntax."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.catalog.search import tokenizer
from archiver.catalog.search.query_parser import FIELDS, Phrase, SearchQuery
from archiver.errors import UsageError

_SCRIPTS = st.text(
    st.sampled_from(
        "aZéß0９_.-@ |\"'北京旅行かカ여행สวัสดีम्हि\u0301\u200d\ufe0f🦋👩🏽🇩🇪🏴\U000e0067\U000e007f\0\ud800İﬁ"
    )
)
_FLAGS = st.integers(0, 700).map(lambda n: "\U0001f3f4" + "\U000e0061" * n + "\U000e007f")
_ANY = st.one_of(st.text(st.characters(), max_size=40), _SCRIPTS, _FLAGS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Café CRÈME", "cafe creme"),
        ("Ёлка ΆΝΘΡΩΠΟΣ İstanbul ışık", "елка ανθρωποσ istanbul isik"),
        ("Straße Øresund", "strasse oresund"),
        ("مُحَمَّد", "محمد"),
        ("हिन्दी", "हिन्दी"),
        ("salwaaa_ki natgeo.travel", "salwaaa ki natgeo travel"),
        ("北京旅行", "北京 京旅 旅行 行"),
        ("ｉＰｈｏｎｅ北京2024年", "iphone 北京 京 2024 年"),
        ("ｶﾞｲﾄﾞ", "ガイ イド ド"),
        ("여행", "여행 행"),
        ("สวย", "สว วย ย"),
        ("me 🦋🦋", "me 🦋 🦋"),
        ("👍🏽❤️", "👍 ❤"),
        ("👩‍👩‍👧", "👩 👩 👧"),
        ("🇩🇪🇫🇷", "🇩🇪 🇫🇷"),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿!", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"),
        ("1️⃣ 100%", "1 100"),
        ("می\u200cخواهم so\u00adft", "میخواهم soft"),
        ("𓆩سلوى 𓆪 ᡣ𐭩salwa", "𓆩 سلوى 𓆪 ᡣ 𐭩 salwa"),
        ("ღMariaღ 亗᭄Maria᭄ ʚmariaɞ", "ღ maria ღ 亗 ᭄ maria ᭄ ʚ maria ɞ"),
        ("୨୧2pac୨୧ 𓆩1998𓆪 𒀭Нина99", "୨୧ 2pac ୨୧ 𓆩 1998 𓆪 𒀭 нина99"),
        ("covid19 2pac سلوى٢٠ سلام۱۲ हिन्दी२", "covid19 2pac سلوى٢٠ سلام۱۲ हिन्दी२"),
        ("Hawaiʻi Ⲡ̅ⲁ Ёжи́к", "hawaiʻi ⲡ̅ⲁ ежик"),
        ("maria2سلوى ИКЕАshop 10µm", "maria2 سلوى икеа shop 10μ m"),
        ("ℳ𝒶𝓇𝒾𝒶 𝗠𝗮𝗿𝗶𝗮 ⓜⓐⓡⓘⓐ ᵐᵃʳⁱᵃ Ｍａｒｉａ", "maria " * 5),
        ("ꜱᴍᴀʟʟ ᴄᴀᴘꜱ ᴊᴏꜱé", "small caps jose"),
        ("ᗰᗩᖇIᗩ Mаria", "ᗰᗩᖇ i ᗩ m а ria"),
        ("'); DROP TABLE-- %_*\"\0", "drop table"),
        ("a\ud800b \ufffd", "a b"),
    ],
)
def test_a_text_is_cut_into_words(text: str, expected: str) -> None:
    """Folded as people type them; scripts without spaces in pairs; signs one by one."""
    assert tokenizer.tokenize(text) == expected.split()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://www.natgeo.com/gift-guide/?utm_source=ig#top", "www natgeo com gift guide"),
        ("https://user:secret@shop.example:8443/caf%C3%A9", "shop example cafe"),
        ("https://l.instagram.com/?u=https%3A%2F%2Fexample.com%2Fbook%2520now&e=AT1", "example com book now"),
        ("https://l.instagram.com/?e=AT1", "l instagram com"),
        ("https://[broken/path", "https broken path"),
    ],
)
def test_of_an_address_host_and_path_are_kept(url: str, expected: str) -> None:
    """Of one that goes by way of Instagram those of the one it goes to; keys of shops and counters are no
    words.
    """
    assert tokenizer.tokenize(tokenizer.address_text(url)) == expected.split()


@given(_ANY)
@example("\u0345\u0301")
@example("0\u200b\u094d")
@example("\U0001f3f4" + "\U000e0061" * 700 + "\U000e007f")
def test_words_are_fit_for_both_indexes(text: str) -> None:
    """None has a character that ends, quotes or divides one, or that only looks like another; none is too
    long. Folding is once.
    """
    for word in tokenizer.tokenize(text):
        assert 0 < len(word) <= 64
        assert not set(word) & set(" |@='\"\\\0*(){}:&!<>")
        assert len(word.encode()) <= 256
        assert tokenizer.tokenize(word)[0] == word


@given(_ANY, st.integers(0, 40), st.integers(0, 40))
@example("北京旅行", 1, 1)
def test_a_text_is_found_by_itself_and_scripts_without_spaces_by_every_part(
    text: str, start: int, length: int
) -> None:
    """Whatever the text: by all of it, whole or not; a run of Han also by any part of it."""
    found = tokenizer.tokenize(text)
    for whole in (False, True):
        sought, begins = tokenizer.phrase_words(text, whole=whole)
        assert bool(sought) == bool(found)
        assert not sought or Phrase(sought, begins).is_in(found)
    run = "".join(c for c in text if c in "北京旅行")
    part = run[start : start + length]
    assert not part or Phrase(*tokenizer.phrase_words(part)).is_in(tokenizer.tokenize(run))


_WORDS = st.one_of(
    *(st.text(letters, min_size=1, max_size=8) for letters in ("abzéß09", "αβω7", "жяё1", "سلوى٢3"))
)
_ORNAMENTS = st.text(
    st.one_of(
        st.sampled_from("ღꨄ୨୧ৎꪆᡣఌ᭄ツ亗🦋ʚɞ★༺"),
        st.characters(min_codepoint=0x13000, max_codepoint=0x1342E),  # hieroglyphs
        st.characters(min_codepoint=0x12000, max_codepoint=0x12399),  # cuneiform
        st.characters(min_codepoint=0x10080, max_codepoint=0x100FA, categories=["Lo"]),  # Linear B
        st.characters(min_codepoint=0x1401, max_codepoint=0x166C),  # Canadian syllabics
        st.characters(min_codepoint=0xA000, max_codepoint=0xA48C),  # Yi
    ),
    min_size=1,
    max_size=3,
)


@given(_WORDS, _ORNAMENTS, _ORNAMENTS, st.integers(1, 8))
@example("سلوى", "𓆩", "𓆪", 2)
@example("2pac", "୨୧", "୨୧", 1)
def test_a_decorated_word_is_found_by_itself(word: str, before: str, after: str, length: int) -> None:
    """Whatever letters of other scripts and signs stand around it without a blank: whole, and by its
    beginning.
    """
    for decorated in (before + word + after, word + after, before + word):
        text = tokenizer.tokenize(decorated)
        assert Phrase(*tokenizer.phrase_words(word, whole=True)).is_in(text)
        assert Phrase(*tokenizer.phrase_words(word[:length])).is_in(text)


@given(st.lists(_WORDS, min_size=1, max_size=5), st.data())
def test_words_of_several_scripts_are_found_by_their_beginning_together(
    parts: list[str], data: st.DataObject
) -> None:
    """Words that are written in one, as ИКЕАshop: by all of it, and by the letters before any place of it."""
    run = "".join(parts)
    length = data.draw(st.integers(1, len(run)))
    for whole in (run, f"x {run} y", f"𓆩{run}𓆪"):
        assert Phrase(*tokenizer.phrase_words(run[:length])).is_in(tokenizer.tokenize(whole))
        assert Phrase(*tokenizer.phrase_words(run, whole=True)).is_in(tokenizer.tokenize(whole))


@given(
    st.sampled_from(("aéz9", "жя9")).flatmap(lambda one: st.text(one, min_size=1, max_size=80)),
    st.integers(1, 80),
)
@example("natgeo", 3)
def test_a_word_is_found_by_its_beginning(word: str, length: int) -> None:
    """By the letters before any place of it; in quotes only whole."""
    text = tokenizer.tokenize(f"x {word}")
    assert Phrase(*tokenizer.phrase_words(word[:length])).is_in(text)
    if length < min(len(word), 64):
        assert not Phrase(*tokenizer.phrase_words(word[:length], whole=True)).is_in(text)


def test_a_long_word_is_found_whole_and_not_by_another_that_begins_alike() -> None:
    """A word of any length is told from others to its end."""
    long = "a" * 200
    assert Phrase(*tokenizer.phrase_words(long)).is_in(tokenizer.tokenize(f"x {long}b"))
    assert not Phrase(*tokenizer.phrase_words(long + "c")).is_in(tokenizer.tokenize(f"x {long}b"))


def test_a_field_is_bounded_and_says_nothing_twice() -> None:
    """So that a hostile title fits into an index: thousands of words, not millions; texts that are alike
    count once.
    """
    assert tokenizer.join_texts(["Nat Geo", "nat geo", "", "x"]) == "nat geo | x"
    assert len(tokenizer.join_texts(f"b{n}" for n in range(5_000)).split()) <= 4_000
    assert len(tokenizer.join_texts(f"{'z' * 60}{n} " * 20 for n in range(300)).encode()) <= 200_000


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
        sought.match_field("names", [], "sqlite"),
        sought.match_field("links", [["@1", "@2"], ["=photo"]], "sqlite"),
        sought.match_several_fields([], "sqlite"),
    ):
        if asked is not None:
            assert fts5.execute("select * from t where t match ?", [asked]).fetchall() == []
