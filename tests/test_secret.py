"""The API key is never printed."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import KeyMissing
from archiver.secret import Secret

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
