"""What changed, as a person would tell it: per account and highlight, with several edits of one thing folded into one. Pure.

Folding, within what one Story is told: a field goes from its first old value to its last new one; if both are the same, it is
told as changed and back, since it was. What came and went again is told as that, for items too: an item that was shown for one night may
be held by nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from archiver.cli.show import count
from archiver.cli.table import cut
from archiver.model.archived import NamedChange
from archiver.model.identity import Subject

_LONGEST = 60
"""Columns of a title, name or value."""

_TURNED = {  # field → what is said of true, and of false
    (Subject.USER, "is_private"): ("went private", "public again"),
    (Subject.USER, "is_verified"): ("verified", "no longer verified"),
    (Subject.HIGHLIGHT, "is_pinned"): ("pinned", "unpinned"),
}
_HAPPENED = {
    (Subject.USER, "avatar_name"): "new avatar",
    (Subject.HIGHLIGHT, "cover_name"): "new cover",
    (Subject.HIGHLIGHT, "position"): "moved in the tray",
    (Subject.HIGHLIGHT, "item_order"): "items reordered",
}
_NAMES = {(Subject.USER, "username"), (Subject.HIGHLIGHT, "title")}
_CAME = {"appeared": "new", "gone": "gone", "returned": "back"}
_ITEMS = {  # whether what happened first, and last, was that an item came
    (True, True): "added",
    (False, False): "removed",
    (True, False): "added and removed again",
    (False, True): "removed and back",
}
_NOUNS = ((Subject.HIGHLIGHT, "highlight"), (Subject.USER, "account"), (Subject.ITEM, "item"))


@dataclass(slots=True)
class _Thing:
    """What was told of one account, highlight or item. ``fields``: first old and last new value; ``items``: the first and the last
    that happened to each, True where it came."""

    subject: Subject
    pk: str
    name: str | None
    fields: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    presence: list[str] = field(default_factory=list)
    items: dict[str, tuple[bool, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    things: dict[tuple[Subject, str], _Thing] = field(default_factory=dict)


class Story:
    """Takes changes in the order in which they were seen, and tells them. Memory grows with what changed, not with how often."""

    def __init__(self, changes: Iterable[NamedChange] = ()) -> None:
        self._accounts: dict[str | None, _Account] = {}
        self.total = 0
        """Rows told so far."""
        for change in changes:
            self.add(change)

    def add(self, change: NamedChange) -> None:
        """Tell one change more."""
        self.total += 1
        account = self._accounts.setdefault(
            change.user_pk, _Account(change.username or change.user_pk or "unknown account")
        )
        key = change.subject, change.subject_pk
        name = change.title if change.subject is Subject.HIGHLIGHT else change.username
        thing = account.things.setdefault(key, _Thing(*key, name))
        if change.field == "presence":
            thing.presence = list(dict.fromkeys((*thing.presence[:1], change.new or "")))
        elif change.field == "items":
            item, came = (change.new, True) if change.new is not None else (change.old or "", False)
            first, _ = thing.items.get(item, (came, came))
            thing.items[item] = first, came
        else:
            old, _ = thing.fields.get(change.field, (change.old, None))
            thing.fields[change.field] = old, change.new

    def lines(self) -> Iterator[str]:
        """A line for each account, highlight and item, accounts in the order of their names; not yet safe for a terminal.

        ``natgeo: BOTW 2026: 2 added, 1 removed, renamed from BOTW``
        """
        for account in sorted(self._accounts.values(), key=lambda account: account.name.casefold()):
            for thing in sorted(account.things.values(), key=_rank):
                yield f"{cut(account.name, _LONGEST)}: {_called(thing)}{', '.join(_told(thing))}"

    def headline(self) -> str:
        """How many came, went or were edited: ``2 highlights new, 1 gone, 4 edited; 1 account edited``; '' where nothing changed."""
        counts = Counter(
            (thing.subject, _CAME.get(thing.presence[-1], "edited") if thing.presence else "edited")
            for account in self._accounts.values()
            for thing in account.things.values()
        )
        return "; ".join(filter(None, (_counted(noun, subject, counts) for subject, noun in _NOUNS)))


def _counted(noun: str, subject: Subject, counts: Mapping[tuple[Subject, str], int]) -> str:
    """One kind of thing: its noun stands at the first number only."""
    found = [(counts[subject, word], word) for word in (*_CAME.values(), "edited") if counts[subject, word]]
    return ", ".join(
        f"{count(number, noun) if place == 0 else f'{number:,}'} {word}"
        for place, (number, word) in enumerate(found)
    )


def _rank(thing: _Thing) -> tuple[int, str, str]:
    """The account itself first, then its highlights by title, then items."""
    return list(Subject).index(thing.subject), (thing.name or "").casefold(), thing.pk


def _called(thing: _Thing) -> str:
    if thing.subject is Subject.USER:
        return ""
    if thing.subject is Subject.HIGHLIGHT and thing.name:
        return f"{cut(thing.name, _LONGEST)}: "
    return f"{thing.subject} {thing.pk}: "


def _told(thing: _Thing) -> Iterator[str]:
    if thing.presence:
        yield ", then ".join(_CAME.get(word, word) for word in thing.presence)
    yield from _items(thing)
    for name, (old, new) in thing.fields.items():
        yield _field(thing, name, old, new)


def _items(thing: _Thing) -> Iterator[str]:
    ends = Counter(thing.items.values())
    for came, words in _ITEMS.items():
        if ends[came]:
            yield f"{ends[came]:,} {words}"


def _field(thing: _Thing, name: str, old: str | None, new: str | None) -> str:
    """One field from its first value to its last. Both are the same where it was changed and back."""
    key, back = (thing.subject, name), " and back" if old == new else ""
    if key in _TURNED:
        turned_on = old == "false" if back else new == "true"
        return _TURNED[key][0 if turned_on else 1] + back
    if key in _HAPPENED:
        return _HAPPENED[key] + back
    if key in _NAMES:
        if back:
            return "renamed and back"
        return f"renamed from {_value(old)}" + ("" if new == thing.name else f" to {_value(new)}")
    if key == (Subject.HIGHLIGHT, "user_pk"):
        return f"was the highlight of account {_value(old)}{back}"
    what = name.replace("_", " ") if thing.subject is Subject.USER else name
    return f"{what}: changed and back" if back else f"{what}: {_value(old)} -> {_value(new)}"


def _value(text: str | None) -> str:
    return cut(text, _LONGEST) if text else "nothing"
