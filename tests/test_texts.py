"""Texts: the key, signed URLs, targets, and what is printed."""

from __future__ import annotations

import base64
import copy
import pickle
import traceback
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import signed_url
from archiver.errors import KeyMissing, TargetError
from archiver.model.archived import NamedChange, Surplus
from archiver.model.identity import Digest, Subject
from archiver.model.run_status import Run
from archiver.model.target import ItemTarget, Target, parse_target, parse_target_or_item, read_targets
from archiver.secret import Secret
from archiver.text_format import format_price, format_size, json_value, make_safe, pluralize
from archiver.verify.verify_stores import Damage, LostAnswer, Problem

KEY = "canary-7f3a-never-shown"


@pytest.mark.parametrize("text", [KEY, f"  {KEY}\n", f"\t{KEY}\r\n"])
def test_a_key_is_stripped_and_given_to_who_asks(text: str) -> None:
    """White space around a key, as files and shells leave it, is not part of it."""
    assert Secret(text).reveal() == KEY


def test_fault_l2_no_form_of_it_shows_the_key() -> None:
    """str, repr, format and containers show ``***``."""
    secret = Secret(KEY)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r:>40}", str([secret]), "%s" % secret]  # noqa: UP031
    assert all("***" in form and KEY not in form for form in shown)


def test_fault_l2_it_can_be_neither_pickled_nor_copied() -> None:
    """Pickling and copying fail, without the key in the message."""
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="must not be pickled") as caught:
            carry(Secret(KEY))
        assert KEY not in "".join(traceback.format_exception(caught.value))


def test_fault_l2_it_has_no_attributes_to_list() -> None:
    """``vars`` shows nothing, so a debugger's dump of a client does not show the key."""
    with pytest.raises(TypeError):
        vars(Secret(KEY))


def test_fault_l2_it_is_taken_out_of_a_text_that_quotes_it() -> None:
    """The key is replaced wherever it is; a text of a few letters is not, as it may be any word."""
    assert Secret(KEY).redact(f"head b'{KEY}' and {KEY}{KEY}") == "head b'***' and ******"
    assert Secret("abc").redact("abc of it") == "abc of it"


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_key_is_missing(text: str) -> None:
    """White space alone is not a key, and the message says where to put one."""
    with pytest.raises(KeyMissing, match="empty") as caught:
        Secret(text)
    assert "HIKERAPI_TOKEN" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["SEC\nRET", "SEC RET", "SEC\u2013RET", "SECRE\u0301T", "SEC\x00RET", "SEC\x7fRET", "\ufeffSECRET"],
)
def test_fault_l2_a_key_with_a_strange_character_is_refused_unquoted(text: str) -> None:
    """A key that the HTTP library would quote in an error is refused without quoting it."""
    with pytest.raises(KeyMissing, match="contains an invalid character") as caught:
        Secret(text)
    assert "RET" not in "".join(traceback.format_exception_only(caught.value))


@given(st.text())
def test_a_secret_is_printable_ascii_or_refused(text: str) -> None:
    """Whatever the text is, a key that is accepted can be in a header."""
    try:
        revealed = Secret(text).reveal()
    except KeyMissing:
        return
    assert revealed
    assert revealed == text.strip()
    assert all("\x21" <= c <= "\x7e" for c in revealed)


STORY = "https://scontent-lax3-1.cdninstagram.com/v/t51/123_n.jpg?stp=dst&oe=68A1B2C3&oh=00_SIGNATURE"


@pytest.mark.parametrize(
    ("url", "unix"),
    [
        (STORY, 0x68A1B2C3),
        ("https://c/a?oe=68a1b2c3", 0x68A1B2C3),
        ("https://c/a?oe=0", 0),
        ("https://c/a?x=1&oe=1&oe=2", 1),
        ("https://c/a", None),
        ("https://c/a?oe=", None),
        ("https://c/a?oe=xyz", None),
        ("https://c/a?oe=-1", None),
        ("https://c/a?oe=0x12", None),
        ("https://c/a?oe=1_0", None),
        ("https://c/a?oe=FFFFFFFFFFFF", None),
        ("https://c/a#oe=1", None),
        ("https://[::1/a?oe=1", None),
        ("https://c/a?" + "&".join(f"a{n}=1" for n in range(300)) + "&oe=1", None),
        ("", None),
    ],
)
def test_when_a_signature_ends(url: str, unix: int | None) -> None:
    """``oe`` is hexadecimal Unix time; anything unreadable or beyond the calendar is not said."""
    assert signed_url.parse_expiry(url) == (None if unix is None else datetime.fromtimestamp(unix, UTC))


@given(st.integers(0, 253_402_300_799))
def test_any_expiry_is_read_back(unix: int) -> None:
    """What the CDN writes into ``oe`` comes back as the same second, aware and UTC."""
    found = signed_url.parse_expiry(f"https://c/a?oe={unix:X}")
    assert found is not None
    assert found.tzinfo is UTC
    assert found - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(seconds=unix)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (STORY, "123_n.jpg"),
        ("https://c/a%20b.jpg", "a b.jpg"),
        ("https://c/a/b/", None),
        ("https://c", None),
        ("https://[::1/a", None),
        ("https://c/a%00b", "ab"),
        ("https://c/" + "x" * 300, "x" * 200),
    ],
)
def test_what_stays_the_same_between_two_answers(url: str, name: str | None) -> None:
    """The last segment of the path, decoded, whatever host and signature are."""
    assert signed_url.basename(url) == name


@given(
    st.from_regex(r"[a-z0-9_.]{1,40}", fullmatch=True), st.sampled_from(["a.cdninstagram.com", "b.fbcdn.net"])
)
def test_host_and_query_do_not_change_the_name(name: str, host: str) -> None:
    """The same picture from another host, signed anew, keeps its name."""
    assert signed_url.basename(f"https://{host}/v/{name}?oe=1&oh=2") == name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (STORY, "https://scontent-lax3-1.cdninstagram.com/v/t51/123_n.jpg"),
        ("https://me:pass@h:8080/a?b#c", "https://h:8080/a"),
        ("http://[::1]:81/a", "http://[::1]:81/a"),
        ("HTTPS://Host/A", "https://host/A"),
        ("https://h:99999/a", ""),
        ("//h/a", ""),
        ("mailto:a@b", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_what_may_stand_in_a_row(url: str, shown: str) -> None:
    """Scheme, host, port and path; no user, no query, no fragment."""
    assert signed_url.without_query(url) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (STORY, "scontent-lax3-1.cdninstagram.com/…/123_n.jpg"),
        ("https://me:pass@h/a?b", "h/…/a"),
        ("https://h/a%0aFORGED%1b[2J%e2%80%ae.jpg", "h/…/a FORGED [2J .jpg"),
        ("https://[::1/a", "?/…/"),
        ("nonsense?oe=1", "?/…/nonsense"),
        (f"https://{'h' * 65536}/{'p' * 65536}", f"{'h' * 200}/…/{'p' * 200}"),
    ],
)
def test_what_may_stand_in_a_message(url: str, shown: str) -> None:
    """Host and name alone, and nothing in the name that could forge a line or steer a terminal (L1, X11,
    X12).
    """
    assert signed_url.redact(url) == shown


urls = st.text() | st.builds("https://{}/{}?{}".format, st.text(), st.text(), st.text())


@given(urls)
def test_no_text_breaks_them(url: str) -> None:
    """Every function takes any text; what is shown is one printable line."""
    signed_url.parse_expiry(url)
    signed_url.without_query(url)
    name = signed_url.basename(url)
    assert name is None or (0 < len(name) <= 200 and "\x00" not in name)
    assert signed_url.redact(url).isprintable()


@given(st.from_regex(r"[A-Za-z0-9_]{12,40}", fullmatch=True), st.sampled_from(["oe", "oh", "_nc_ohc"]))
def test_a_signature_never_shows(signature: str, name: str) -> None:
    """Neither the form for rows nor the one for messages holds any of the query."""
    url = f"https://h/v/a.jpg?{name}={signature}#{signature}"
    assert signature not in signed_url.without_query(url)
    assert signature not in signed_url.redact(url)


PK = "17983407089364361"
SHARE = base64.b64encode(f"highlight:{PK}".encode()).decode()
PKS = st.from_regex(r"[0-9]{1,40}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9._]{0,14}[A-Za-z_][A-Za-z0-9._]{0,14}", fullmatch=True).filter(
    lambda name: name.lower() not in {"instagram.com", "m.instagram.com", "www.instagram.com"}
)


@pytest.mark.parametrize(
    "text",
    [
        "natgeo",
        "@natgeo",
        "  NatGeo\n",
        "instagram.com/natgeo",
        "www.instagram.com/natgeo/",
        "https://www.instagram.com/natgeo/?hl=en&igsh=abc",
        "http://m.instagram.com/NatGeo/reels/",
        "HTTPS://INSTAGRAM.COM/natgeo#top",
        "https://www.instagram.com//natgeo//",
    ],
)
def test_names_and_profile_links(text: str) -> None:
    """A username, with or without @, and a profile link in any spelling name the same account."""
    target = parse_target(text)
    assert (target.username, target.user_pk, target.highlight_pk) == ("natgeo", None, None)
    assert target.text == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        f"highlight:{PK}",
        f"instagram.com/stories/highlights/{PK}",
        f"https://www.instagram.com/stories/highlights/{PK}/?hl=de",
        f"https://www.instagram.com/s/{SHARE}?story_media_id=3421_787132&igsh=x",
        f"https://www.instagram.com/s/{SHARE.rstrip('=')}/",
        f"https://www.instagram.com/s/{SHARE.replace('=', '%3D')}",
        f"/s/{SHARE}",
    ],
)
def test_highlight_links(text: str) -> None:
    """A highlight page, highlight:<pk> and a share link name the same highlight."""
    assert parse_target(text) == Target(text, highlight_pk=PK)


def test_digits_are_a_user_id() -> None:
    """Digits are a user id; a username of digits is written with @, or as a profile link."""
    assert parse_target("787132") == Target("787132", user_pk="787132")
    assert parse_target("@787132").username == "787132"
    assert parse_target("instagram.com/787132/").username == "787132"


def test_globs_are_passed_through() -> None:
    """The title globs are in the Target as they were given."""
    assert parse_target("natgeo", ("BOTW*", "*")).highlights == ("BOTW*", "*")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t",
        "@",
        "@@natgeo",
        "--help",
        "../x",
        "..",
        ".",
        "a" * 31,
        "x" * 1_000_000,
        "ｎatgeo",
        "１２３",
        "nat geo",
        "nat\x00geo",
        "natgeo\x1b[2J",
        "1" * 41,
        "highlight:",
        "highlight:abc",
        "highlight:١٢",
        "instagram.com",
        "https://instagram.com/",
        "https://www.instagram.com/p/C0ffee/",
        "https://www.instagram.com/reel/C0ffee/",
        "https://www.instagram.com/natgeo/p/C0ffee/",
        "https://www.instagram.com/stories/natgeo/123/",
        "https://www.instagram.com/stories/highlights/",
        "https://www.instagram.com/stories/highlights/abc/",
        "https://www.instagram.com/EXPLORE/",
        "https://www.instagram.com/%2e%2e/",
        "https://www.instagram.com/nat%2Fgeo/",
        "https://www.instagram.com/s/!!!!/",
        "https://www.instagram.com/s/" + base64.b64encode(b"user:1").decode(),
        "https://www.instagram.com/s/" + base64.b64encode(b"\xff\xfe").decode(),
        "https://www.instagram.com/s/a",
        "https://evil.example/natgeo/",
        "https://instagram.com.evil.example/natgeo/",
        "https://instagram.com@evil.example/natgeo/",
        "https://user:pass@instagram.com/natgeo/",
        "https://instagram.com:8443/natgeo/",
        "ftp://instagram.com/natgeo/",
        "https://[::1/natgeo",
        "/natgeo",
        "instagram.com/natgeo/followers/",
        "instagram.com/natgeo?x=\x1b[2J",
        "https://insta\ngram.com/natgeo/",
    ],
)
def test_fault_x13_everything_else_is_refused(text: str) -> None:
    """A text that is not a target is refused with a hint, before any call."""
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert "share link" in caught.value.hint


def test_fault_x13_the_message_obeys_no_terminal() -> None:
    """The refused text is shown escaped and cut to 80 characters."""
    with pytest.raises(TargetError) as caught:
        parse_target("\x1b[2J\u202e" + "x" * 500)
    message = str(caught.value)
    assert message.startswith(r"'\x1b[2J\u202exxx")
    assert message.isprintable()
    assert len(message[: message.rindex("'")]) <= 81


@given(NAMES)
def test_a_name_is_read_alike_in_every_spelling(name: str) -> None:
    """The name alone and the name after @ are one account, in lower case."""
    assert parse_target(name).username == parse_target(f"@{name}").username == name.lower()


@given(PKS)
def test_a_highlight_is_read_alike_in_every_spelling(pk: str) -> None:
    """Every pk survives the share link in both base64 alphabets, with padding or without."""
    word = f"highlight:{pk}".encode()
    for code in (base64.b64encode(word).decode(), base64.urlsafe_b64encode(word).decode().rstrip("=")):
        assert parse_target(f"https://www.instagram.com/s/{code}").highlight_pk == pk
    assert parse_target(f"www.instagram.com/stories/highlights/{pk}/").highlight_pk == pk


@given(
    st.one_of(
        st.text(), st.text().map("https://www.instagram.com/{}".format), st.text().map("https://{}".format)
    )
)
def test_fault_x13_any_text_is_a_target_or_refused(text: str) -> None:
    """Every text gives one identity that is safe in a request, or TargetError with a printable message."""
    target, problem = None, None
    try:
        target = parse_target(text)
    except TargetError as error:
        problem = error
    if target is None:
        assert str(problem).isprintable()
        return
    identities = [pk for pk in (target.username, target.user_pk, target.highlight_pk) if pk is not None]
    assert len(identities) == 1
    assert set(identities[0]) <= set("abcdefghijklmnopqrstuvwxyz0123456789._")


def test_a_list_of_targets() -> None:
    """A list has one target per line, without byte order mark, blank lines and comments."""
    lines = [
        "\ufeff# mine\n",
        "natgeo  # the magazine\r\n",
        "\n",
        "   \n",
        "#off\n",
        "instagram.com/nasa#top\n",
        "787132",
    ]
    assert list(read_targets(lines)) == ["natgeo", "instagram.com/nasa#top", "787132"]


def test_items_are_what_an_archive_holds_and_no_run_takes() -> None:
    """item:<pk>, item:<code> and a code that cannot be a username are items, but not targets of a run."""
    for text, item in (
        (f"item:{PK}", ItemTarget(f"item:{PK}", pk=PK)),
        (" item:Cx_-9a ", ItemTarget("item:Cx_-9a", code="Cx_-9a")),
        ("Cx-9a", ItemTarget("Cx-9a", code="Cx-9a")),
    ):
        assert parse_target_or_item(text) == item
        with pytest.raises(TargetError):
            parse_target(text)
    for text in ("natgeo", PK, f"highlight:{PK}"):
        assert parse_target_or_item(text) == parse_target(text)
    for text in ("item:", "item:?", "item:1/2", "https://example.com/natgeo"):
        with pytest.raises(TargetError) as raised:
            parse_target_or_item(text)
        assert "item:<pk>" in raised.value.hint
    with pytest.raises(
        TargetError,
        match=r"'item:abc' is not an item: use a pk \(digits\), "
        r"or a code of 5 to 40 letters, digits, - and _",
    ):
        parse_target_or_item("item:abc")


@pytest.mark.parametrize(
    ("link", "pk", "code"),
    [
        ("https://www.instagram.com/p/DSeXTe_gAAF/?img_index=1", None, "DSeXTe_gAAF"),
        ("instagram.com/reel/DSeXTe_gAAF", None, "DSeXTe_gAAF"),
        ("https://www.instagram.com/natgeo/p/DSeXTe_gAAF/", None, "DSeXTe_gAAF"),
        ("https://www.instagram.com/stories/natgeo/3791570430309957637/", "3791570430309957637", None),
    ],
)
def test_a_link_to_an_item_is_what_an_archive_holds_and_no_run_takes(
    link: str, pk: str | None, code: str | None
) -> None:
    """The case of a code matters; another host, or what is neither code nor pk, is refused."""
    assert parse_target_or_item(link) == ItemTarget(link, pk=pk, code=code)
    for refused in (link.replace("instagram.com", "instagram.com.evil.com", 1), "instagram.com/p/a.b/"):
        with pytest.raises(TargetError):
            parse_target_or_item(refused)
    with pytest.raises(TargetError):
        parse_target(link)


_BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from(_BIDI + "\x1b\x9b\x07\r\n\t\x7f\u2028\u00ad\U000e0041\ud800"))
)
_TIME = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


@given(_HOSTILE)
def test_fault_x11_nothing_that_a_terminal_obeys_comes_through(text: str) -> None:
    """Safe text contains no control character, line break, direction mark or surrogate."""
    assert not [
        c
        for c in make_safe(text)
        if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in f"{_BIDI}\u00ad"
    ]


@given(_HOSTILE)
def test_safe_text_is_safe(text: str) -> None:
    """Safe text is not changed by making it safe again, and can be encoded as UTF-8."""
    once = make_safe(text)
    assert once == make_safe(once)
    once.encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "Photo of the day 🌎",
        "👩‍👩‍👧‍👦 family",  # with joiners
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "❤️",
        "می‌خواهم",  # Persian needs the non-joiner
        "עברית العربية हिन्दी ไทย 日本語 한국어",
        "\u0601 1400",
        "a\u3000b\u00a0c",
        "\U000323af",  # newer than the tables of Python 3.11
    ],
)
def test_emoji_and_all_scripts_stay(text: str) -> None:
    """Titles are shown as people wrote them."""
    assert text == make_safe(text)


def test_escapes_are_those_of_string_literals() -> None:
    """The escape shows which character it replaces."""
    assert make_safe("a\x1b[2Jb\nc\u202ed\U000e0041e\x9b") == r"a\x1b[2Jb\nc\u202ed\U000e0041e\x9b"


@given(st.integers(0, 10**18))
def test_sizes_keep_their_magnitude(count: int) -> None:
    """A size is between 1 and 1,000 of its unit, and within a twentieth of the exact number."""
    number, unit = format_size(count).split()
    factor = 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit)
    assert float(number) < 1000 or unit == "PB"
    assert abs(float(number) * factor - count) <= 0.05 * factor + 1e-9 * count


def test_sizes_at_the_edges() -> None:
    """Rounding carries into the next unit."""
    sizes = [format_size(n) for n in (0, 999, 1_000, 999_999, 1_500_000_000)]
    assert sizes == ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.5 GB"]


@pytest.mark.parametrize(
    ("price", "units", "expected"),
    [
        ("0.60 EUR", 12345, "7.41 EUR"),
        ("$2", 1_000_000, "$2,000.00"),
        ("0.6", 1, "<0.01"),
        ("0.6", 0, "0.00"),
    ],
)
def test_a_price_is_that_of_a_thousand_units(price: str, units: int, expected: str) -> None:
    """Two decimals, with the currency as it was written; less than a hundredth is said to be less."""
    assert format_price(price, units) == expected


def test_counts_have_their_plural() -> None:
    """One file is singular, zero files plural; thousands have commas."""
    counts = (pluralize(1, "file"), pluralize(0, "file"), pluralize(1234, "entry", "entries"))
    assert counts == ("1 file", "0 files", "1,234 entries")


def test_values_of_a_query_in_json() -> None:
    """Times are written as in the archive, bytes in hexadecimal; infinity becomes null."""
    assert json_value([_TIME, b"\x00\xff", float("inf"), {1: [True]}]) == [
        "2026-01-02T03:04:05.000006Z",
        "00ff",
        None,
        {"1": [True]},
    ]


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (
            NamedChange(1, 7, _TIME, Subject.USER, "5", "username", "a", "b", "5", "b", None),
            "id run_id at subject subject_pk field old new user_pk username title",
        ),
        (Damage(Digest("ab" * 32), Problem.MISSING, ("item 1",)), "sha256 problem owners places"),
        (LostAnswer(1, "2026/01/1-a.warc.gz", "truncated"), "id segment why"),
        (Surplus("2026/01/1-a.warc.gz", 10, 20), "segment offset length"),
        (
            Run(1, "run", _TIME, None, None, None, 0),
            "id command started_at finished_at outcome exit_code units",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fields_of_values_are_the_keys_of_the_json_contract(value: object, keys: str) -> None:
    """Renaming such a field would rename a public key of ``--json``."""
    as_json = json_value(value)
    assert isinstance(as_json, dict)
    assert list(as_json) == keys.split()
