"""Targets: the accounts, highlights and items that a user names, and how to write them. Pure.

Share links and highlight links are decoded here, without a call (HIKERAPI.md, "The endpoints").
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from archiver.errors import TargetError, hide_keys
from archiver.model.identity import ADOPTED_PREFIX, Pk, is_pk

_USERNAME = re.compile(r"[A-Za-z0-9._]{1,30}")
_HOSTS = frozenset({"instagram.com", "www.instagram.com", "m.instagram.com"})
_PROFILE_TABS = frozenset({"reels", "tagged"})
_RESERVED = frozenset(
    {"about", "accounts", "api", "challenge", "developer", "direct", "explore", "graphql", "legal"}
    | {"p", "reel", "reels", "s", "share", "stories", "tv", "web"}
)
_CODE = re.compile(r"[A-Za-z0-9_-]{5,40}")
_ADOPTED = re.compile(rf"(?:highlight:)?({ADOPTED_PREFIX}[0-9]{{1,40}}-[0-9a-f]{{16}})")
_COMMENT = re.compile(r"(?:^|\s)#")
_LONGEST = 2048
_LONGEST_QUOTE = 80
_TARGET_HINT = (
    "give a username, @username, a numeric user id, a profile or highlight link, highlight:<pk>, "
    "or a /s/ share link"
)
_ITEM_HINT = (
    "give an account, a highlight or an item: natgeo, an id, a profile, highlight or item link, "
    "highlight:<pk>, item:<pk>, an item's code; archiver search finds them by words"
)


TargetIdentity: TypeAlias = tuple[str | None, Pk | None, Pk | None]
"""Username, pk of an account and pk of a highlight, of which one is set."""


class Target(Struct, frozen=True):
    """An account or highlight that the user named. Exactly one of username, user_pk and highlight_pk is set.

    ``text`` is what the user wrote, for messages. ``highlights`` are title globs, () for all.
    """

    text: str
    username: str | None = None
    user_pk: Pk | None = None
    highlight_pk: Pk | None = None
    highlights: tuple[str, ...] = ()

    @property
    def identity(self) -> TargetIdentity:
        """What is named, however it is spelled, and whatever the title globs are."""
        return self.username, self.user_pk, self.highlight_pk

    @property
    def key(self) -> str:
        """The name or pk under which its failures are recorded (``failures.subject_pk``)."""
        return self.username or self.user_pk or self.highlight_pk or self.text


class ItemTarget(Struct, frozen=True):
    """A stored item that the user named. Exactly one of pk and code is set. Runs do not accept it."""

    text: str
    pk: Pk | None = None
    code: str | None = None


def parse_target(text: str, highlights: tuple[str, ...] = ()) -> Target:
    """Return the Target that a text names. Usernames become lower case; ``highlights`` are title globs.

    Accepted are ``natgeo``, ``@natgeo``, ``787132``, ``highlight:<pk>``, ``instagram.com/natgeo/``,
    ``instagram.com/stories/highlights/<pk>/`` and ``instagram.com/s/<base64>``; links with or without scheme,
    ``www.`` and query. A ``story_media_id`` in the query is ignored. **A text of digits only is a user id**;
    ``@123`` is a username. Raises TargetError for everything else.
    """
    text = text.strip()
    if not text:
        raise TargetError("the target is empty", _TARGET_HINT)
    if len(text) > _LONGEST:
        raise _refusal(text, "too long")
    if not text.isprintable() or " " in text:
        raise _refusal(text, "not a target: it contains white space or control characters")
    if text.startswith("/s/") or _is_link(text):
        return _parse_link(text, highlights)
    if text.startswith("highlight:"):
        return Target(text, highlight_pk=_highlight_pk(text, text), highlights=highlights)
    if is_pk(text):
        return Target(text, user_pk=text, highlights=highlights)
    return Target(text, username=_username(text.removeprefix("@"), text), highlights=highlights)


def parse_target_or_item(text: str) -> Target | ItemTarget:
    """Return the Target or the item that a text names.

    Items are ``item:<pk>``, ``item:<code>``, a code that cannot be a username, and links to an item
    (``instagram.com/p/<code>/``, ``/reel/<code>/``, ``/stories/<name>/<pk>/``). Other codes and bare numbers
    name accounts; the caller tries the other meanings if there is no such account. Raises TargetError.
    """
    stripped = text.strip()
    if (adopted := parse_adopted(stripped)) is not None:
        return adopted
    if stripped.startswith("item:"):
        word = stripped.removeprefix("item:")
        if is_pk(word):
            return ItemTarget(stripped, pk=word)
        if is_code(word):
            return ItemTarget(stripped, code=word)
        raise TargetError(
            f"'{_quote(stripped)}' is not an item: "
            "use a pk (digits), or a code of 5 to 40 letters, digits, - and _",
            _ITEM_HINT,
        )
    try:
        return parse_target(text)
    except TargetError as error:
        if is_code(stripped):
            return ItemTarget(stripped, code=stripped)
        if (item := _parse_item_link(stripped)) is not None:
            return item
        raise TargetError(str(error), _ITEM_HINT) from None


def parse_adopted(text: str) -> Target | None:
    """Return the highlight of a pk, or ``highlight:<pk>``, that ``adopt`` has given; None for another text.

    Runs do not accept it: the API does not know it.
    """
    found = _ADOPTED.fullmatch(text)
    return None if found is None else Target(text, highlight_pk=found[1])


def _parse_item_link(text: str) -> ItemTarget | None:
    """Return the item that a link leads to; None if it leads to something else."""
    if len(text) > _LONGEST or not _is_link(text):
        return None
    try:
        words = [unquote(word) for word in _split(text).path.split("/") if word]
    except TargetError:
        return None
    match words:
        case [("p" | "reel" | "reels" | "tv"), code] | [_, ("p" | "reel"), code] if is_code(code):
            return ItemTarget(text, code=code)
        case ["stories", _, pk] if is_pk(pk):
            return ItemTarget(text, pk=pk)
    return None


def is_username(text: str) -> bool:
    """Return whether a text can be a username, as in ``instagram.com/<username>``, in either case."""
    return _USERNAME.fullmatch(text) is not None and text.strip(".") != "" and text.lower() not in _RESERVED


def is_code(text: str) -> bool:
    """Return whether a text can be an item's code, as in ``instagram.com/p/<code>``: URL-safe base64."""
    return _CODE.fullmatch(text) is not None


def read_targets(lines: Iterable[str]) -> Iterator[str]:
    """Yield the targets of a list, one per line, without blank lines, comments or a byte order mark.

    ``#`` starts a comment only at the start of a line or after white space, as links may have a fragment.
    """
    for line in lines:
        text = _COMMENT.split(line.removeprefix("\ufeff"), maxsplit=1)[0].strip()
        if text:
            yield text


def _is_link(text: str) -> bool:
    return "://" in text or text.partition("/")[0].partition("?")[0].lower() in _HOSTS


def _parse_link(text: str, highlights: tuple[str, ...]) -> Target:
    words = [unquote(word) for word in _split(text).path.split("/") if word]
    match [word.lower() for word in words]:
        case ["stories", "highlights", pk]:
            return Target(text, highlight_pk=_highlight_pk(f"highlight:{pk}", text), highlights=highlights)
        case ["s", _]:
            return Target(
                text, highlight_pk=_highlight_pk(_decode_share(words[1], text), text), highlights=highlights
            )
        case [name] if name not in _RESERVED:
            return Target(text, username=_username(name, text), highlights=highlights)
        case [name, tab] if name not in _RESERVED and tab in _PROFILE_TABS:
            return Target(text, username=_username(name, text), highlights=highlights)
    raise _refusal(text, "a link to neither a profile nor a highlight")


def _split(text: str) -> SplitResult:
    """Return the parts of an Instagram link. Refuse another host, a port or a user part."""
    if text.startswith("/"):
        text = f"https://www.instagram.com{text}"
    elif "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _refusal(text, "not a valid link") from None
    if parts.scheme not in ("https", "http") or parts.netloc.lower() not in _HOSTS:
        raise _refusal(text, "not a link to instagram.com")
    return parts


def _decode_share(word: str, text: str) -> str:
    """Return the text in a share link.

    Either base64 alphabet will do: the code of ``highlight:<digits>`` contains none of ``+ / - _``.
    """
    word = word.rstrip("=")
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode("ascii")
    except ValueError:
        raise _refusal(text, "a share link to something other than a highlight") from None


def _highlight_pk(word: str, text: str) -> str:
    pk = word.removeprefix("highlight:")
    if pk == word or not is_pk(pk):
        raise _refusal(text, "not a highlight: its pk must be a number")
    return pk


def _username(name: str, text: str) -> str:
    """Return the name in lower case.

    Refuse a name of dots only: none exists, and ``..`` is special in paths.
    """
    if _USERNAME.fullmatch(name) is None or not name.strip("."):
        raise _refusal(text, "not a username: it must have 1 to 30 letters, digits, dots and underscores")
    return name.lower()


def _refusal(text: str, why: str) -> TargetError:
    return TargetError(f"'{_quote(text)}' is {why}", _TARGET_HINT)


def _quote(text: str) -> str:
    """Return at most 80 characters of a text, with control characters escaped and keys hidden."""
    text = hide_keys(text)
    start = text[:_LONGEST_QUOTE]
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in start)
    is_whole = start == text and len(escaped) <= _LONGEST_QUOTE
    return escaped if is_whole else f"{escaped[: _LONGEST_QUOTE - 1]}…"
