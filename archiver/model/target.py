"""What a person wrote → Target, without any call: share links and highlight pages decode locally (HIKERAPI.md, "The endpoints"). Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from archiver.errors import TargetError
from archiver.model.identity import Pk, is_pk

_USERNAME = re.compile(r"[A-Za-z0-9._]{1,30}")
_HOSTS = frozenset({"instagram.com", "www.instagram.com", "m.instagram.com"})
_TABS = frozenset({"reels", "tagged"})  # pages of a profile, copied from the address bar
_RESERVED = frozenset(
    {"about", "accounts", "api", "challenge", "developer", "direct", "explore", "graphql", "legal"}
    | {"p", "reel", "reels", "s", "share", "stories", "tv", "web"}
)
_CODE = re.compile(r"[A-Za-z0-9_-]{5,40}")
_COMMENT = re.compile(r"(?:^|\s)#")
_LONGEST = 2048
_SHOWN = 80
_SUPPORTED = "give a username, @username, a numeric user id, a profile or highlight link, highlight:<pk>, or a /s/ share link"

_KEPT = (
    "give an account, a highlight or an item: natgeo, an id, a profile, highlight or item link, highlight:<pk>, item:<pk>, an item's code;"
    " archiver search finds by words"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a person asks for, read from text. Exactly one of the three identities is set.

    ``text`` is what was written, for messages; ``highlights`` are title globs, () for all.
    """

    text: str
    username: str | None = None
    user_pk: Pk | None = None
    highlight_pk: Pk | None = None
    highlights: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the name or pk under which its failures are recorded (``failures.subject_pk``)."""
        return self.username or self.user_pk or self.highlight_pk or self.text


@dataclass(frozen=True, slots=True)
class ItemTarget:
    """A stored item that a person asks for, by its pk or its code: exactly one of them is set. No run takes one."""

    text: str
    pk: Pk | None = None
    code: str | None = None


def parse_target(text: str, highlights: tuple[str, ...] = ()) -> Target:
    """The Target that ``text`` names; usernames in lower case, ``highlights`` (title globs) passed through.

    Taken are ``natgeo``, ``@natgeo``, ``787132``, ``instagram.com/natgeo/``, ``instagram.com/stories/highlights/<pk>/``,
    ``highlight:<pk>`` and ``instagram.com/s/<base64>``, links with or without scheme, ``www.`` and query; a ``story_media_id`` in the
    query is ignored. **A text of digits only is a user id**; ``@123`` is the username. Raises TargetError for everything else.
    """
    text = text.strip()
    if not text:
        raise TargetError("an empty text names no target", _SUPPORTED)
    if len(text) > _LONGEST:
        raise _refused(text, "a text that is too long")
    if not text.isprintable() or " " in text:
        raise _refused(text, "a text with white space or control characters")
    if text.startswith("/s/") or _is_link(text):
        return _from_link(text, highlights)
    if text.startswith("highlight:"):
        return Target(text, highlight_pk=_highlight_pk(text, text), highlights=highlights)
    if is_pk(text):
        return Target(text, user_pk=text, highlights=highlights)
    return Target(text, username=_username(text.removeprefix("@"), text), highlights=highlights)


def parse_kept(text: str) -> Target | ItemTarget:
    """What ``text`` names of all that an archive holds: a Target as ``parse_target`` reads it, or an item.

    ``item:<pk>`` and ``item:<code>`` are items, and so are links to one (``instagram.com/p/<code>/``, ``/reel/<code>/``,
    ``/stories/<name>/<pk>/``) and a code that cannot be a username. Other codes and bare numbers read as accounts:
    whoever looks them up tries the other meanings next. Raises TargetError.
    """
    stripped = text.strip()
    if stripped.startswith("item:"):
        word = stripped.removeprefix("item:")
        if is_pk(word):
            return ItemTarget(stripped, pk=word)
        if is_code(word):
            return ItemTarget(stripped, code=word)
        raise TargetError(
            f"'{_shown(stripped)}' is no item: a pk is digits, a code 5 to 40 letters, digits, - and _", _KEPT
        )
    try:
        return parse_target(text)
    except TargetError as error:
        if is_code(stripped):
            return ItemTarget(stripped, code=stripped)
        if (linked := _linked_item(stripped)) is not None:
            return linked
        raise TargetError(str(error), _KEPT) from None


def _linked_item(text: str) -> ItemTarget | None:
    """The item to which a link leads that is no Target."""
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


def is_code(text: str) -> bool:
    """Whether ``text`` can be an item's code, as in ``instagram.com/p/<code>``: the digits of base64 that are safe in links."""
    return _CODE.fullmatch(text) is not None


def read_targets(lines: Iterable[str]) -> Iterator[str]:
    """The target texts of a list, one a line, not yet parsed: blank lines, a byte order mark and comments are left out.

    A comment starts at a ``#`` at the start of a line or after white space, so that a link with a fragment stays whole.
    """
    for line in lines:
        text = _COMMENT.split(line.removeprefix("\ufeff"), maxsplit=1)[0].strip()
        if text:
            yield text


def _is_link(text: str) -> bool:
    return "://" in text or text.partition("/")[0].partition("?")[0].lower() in _HOSTS


def _from_link(text: str, highlights: tuple[str, ...]) -> Target:
    words = [unquote(word) for word in _split(text).path.split("/") if word]
    match [word.lower() for word in words]:
        case ["stories", "highlights", pk]:
            return Target(text, highlight_pk=_highlight_pk(f"highlight:{pk}", text), highlights=highlights)
        case ["s", _]:
            return Target(
                text, highlight_pk=_highlight_pk(_decoded(words[1], text), text), highlights=highlights
            )
        case [name] if name not in _RESERVED:
            return Target(text, username=_username(name, text), highlights=highlights)
        case [name, tab] if name not in _RESERVED and tab in _TABS:
            return Target(text, username=_username(name, text), highlights=highlights)
    raise _refused(text, "a link, but to no profile and no highlight")


def _split(text: str) -> SplitResult:
    """The parts of an Instagram link; whoever hides another host, a port or a user part in it is refused."""
    if text.startswith("/"):
        text = f"https://www.instagram.com{text}"
    elif "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _refused(text, "no link that can be read") from None
    if parts.scheme not in ("https", "http") or parts.netloc.lower() not in _HOSTS:
        raise _refused(text, "a link, but not to instagram.com")
    return parts


def _decoded(word: str, text: str) -> str:
    """What a share link carries. ``highlight:<digits>`` never yields ``+ / - _``: both base64 alphabets spell it alike."""
    word = word.rstrip("=")
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4), validate=True).decode("ascii")
    except ValueError:
        raise _refused(text, "a share link that does not carry a highlight") from None


def _highlight_pk(word: str, text: str) -> str:
    pk = word.removeprefix("highlight:")
    if pk == word or not is_pk(pk):
        raise _refused(text, "no highlight: its pk is a number")
    return pk


def _username(name: str, text: str) -> str:
    """The name in lower case. Names of dots alone are no accounts, and ``..`` has a meaning of its own in paths."""
    if _USERNAME.fullmatch(name) is None or not name.strip("."):
        raise _refused(text, "no username: those have 1 to 30 letters, digits, dots and underscores")
    return name.lower()


def _refused(text: str, why: str) -> TargetError:
    return TargetError(f"'{_shown(text)}' is {why}", _SUPPORTED)


def _shown(text: str) -> str:
    """At most 80 characters of ``text``, what a terminal would obey escaped."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_SHOWN])
    return escaped if len(text) <= _SHOWN and len(escaped) <= _SHOWN else f"{escaped[: _SHOWN - 1]}…"
