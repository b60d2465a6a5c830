"""What changed, as a person would say it: per account and highlight, edits of one field folded into one.

Folding, within one ``ChangeSummary``: a field goes from its first old value to its last new one. If both are
equal, the summary says "changed and back". What appeared and disappeared again is mentioned too: an item that
was shown for one night may be archived nowhere else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from archiver.cli.output import truncate
from archiver.errors import ArchiverError
from archiver.model.archived import NamedChange
from archiver.model.identity import Subject
from archiver.text_format import pluralize
from archiver.wording import PRESENCE, describe_change

_MAX_LISTED = 1_000  # changes in the JSON object of a run; the table ``changes`` has all
_MAX_WIDTH = 60  # columns of a title, name or value

_ITEM_WORDS = {  # whether an item was added by its first change, and by its last
    (True, True): "added",
    (False, False): "removed",
    (True, False): "added and removed again",
    (False, True): "removed and added back",
}
_NOUNS = ((Subject.HIGHLIGHT, "highlight"), (Subject.USER, "account"), (Subject.ITEM, "item"))


class _SubjectChanges(Struct):
    """The changes of one account, highlight or item.

    ``fields``: first old and last new value. ``items``: whether an item's first change and its last added it.
    """

    subject: Subject
    pk: str
    name: str | None
    fields: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    presence: list[str] = field(default_factory=list)
    items: dict[str, tuple[bool, bool]] = field(default_factory=dict)


class _AccountChanges(Struct, frozen=True):
    name: str
    subjects: dict[tuple[Subject, str], _SubjectChanges] = field(default_factory=dict)


class ChangeSummary:
    """A summary of changes that are added in the order in which they were seen.

    Its memory grows with the number of things that changed, not with the number of changes.
    """

    def __init__(self, changes: Iterable[NamedChange] = ()) -> None:
        self._accounts: dict[str | None, _AccountChanges] = {}
        self.total = 0
        """Number of changes added."""
        for change in changes:
            self.add(change)

    def add(self, change: NamedChange) -> None:
        """Add a change."""
        self.total += 1
        name = change.username or change.user_pk or "unknown account"
        account = self._accounts.setdefault(change.user_pk, _AccountChanges(name))
        key = change.subject, change.subject_pk
        subject_name = change.title if change.subject is Subject.HIGHLIGHT else change.username
        changes = account.subjects.setdefault(key, _SubjectChanges(*key, subject_name))
        if change.field == "presence":
            changes.presence = list(dict.fromkeys((*changes.presence[:1], change.new or "")))
        elif change.field == "items":
            item, is_added = (change.new, True) if change.new is not None else (change.old or "", False)
            first, _ = changes.items.get(item, (is_added, is_added))
            changes.items[item] = first, is_added
        else:
            old, _ = changes.fields.get(change.field, (change.old, None))
            changes.fields[change.field] = old, change.new

    def lines(self) -> Iterator[str]:
        """Yield a line for each account, highlight and item, by account. Not yet safe for a terminal.

        ``natgeo: BOTW 2026: 2 added, 1 removed, renamed from BOTW``
        """
        for account in sorted(self._accounts.values(), key=lambda account: account.name.casefold()):
            for changes in sorted(account.subjects.values(), key=_sort_key):
                text = ", ".join(_describe(changes))
                yield f"{truncate(account.name, _MAX_WIDTH)}: {_prefix(changes)}{text}"

    def headline(self) -> str:
        """Return the numbers, as ``2 highlights new, 4 edited; 1 account edited``; '' if nothing changed."""
        counts = Counter(
            (changes.subject, PRESENCE.get(changes.presence[-1], "edited") if changes.presence else "edited")
            for account in self._accounts.values()
            for changes in account.subjects.values()
        )
        return "; ".join(filter(None, (_describe_counts(noun, subject, counts) for subject, noun in _NOUNS)))


class RunChanges(Struct):
    """The changes of one run: all of them summarized, the first thousand also one by one.

    ``error``: why they could not be read, or ''.
    """

    summary: ChangeSummary = field(default_factory=ChangeSummary)
    changes: list[NamedChange] = field(default_factory=list)
    error: str = ""

    def read(self, changes: Iterable[NamedChange]) -> None:
        """Add all changes. If the database cannot be read, keep the error: the report shows the rest."""
        try:
            for change in changes:
                self.summary.add(change)
                if len(self.changes) < _MAX_LISTED:
                    self.changes.append(change)
        except ArchiverError as error:
            self.error = str(error)


def _describe_counts(noun: str, subject: Subject, counts: Mapping[tuple[Subject, str], int]) -> str:
    """Return the counts of one kind of subject, the noun only after the first number."""
    present = [(counts[subject, word], word) for word in (*PRESENCE.values(), "edited")]
    return ", ".join(
        f"{f'{number:,}' if index else pluralize(number, noun)} {word}"
        for index, (number, word) in enumerate(pair for pair in present if pair[0])
    )


def _sort_key(changes: _SubjectChanges) -> tuple[int, str, str]:
    """Put the account itself first, then its highlights by title, then items."""
    return list(Subject).index(changes.subject), (changes.name or "").casefold(), changes.pk


def _prefix(changes: _SubjectChanges) -> str:
    if changes.subject is Subject.USER:
        return ""
    if changes.subject is Subject.HIGHLIGHT and changes.name:
        return f"{truncate(changes.name, _MAX_WIDTH)}: "
    return f"{changes.subject} {changes.pk}: "


def _describe(changes: _SubjectChanges) -> Iterator[str]:
    if changes.presence:
        yield ", then ".join(PRESENCE.get(word, word) for word in changes.presence)
    item_counts = Counter(changes.items.values())
    yield from (f"{item_counts[ends]:,} {words}" for ends, words in _ITEM_WORDS.items() if item_counts[ends])
    for name, (old, new) in changes.fields.items():
        yield describe_change(changes.subject, name, old, new, changes.name, _shorten)


def _shorten(text: str) -> str:
    return truncate(text, _MAX_WIDTH)
