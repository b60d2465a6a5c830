"""What a person writes, as a Target."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import TargetError
from archiver.model.target import ItemTarget, Target, parse_target, parse_target_or_item, read_targets

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
