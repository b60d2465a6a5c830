"""What a person types to search → what is asked of either database. Any text is understood: nothing in it is syntax of theirs. Pure.

Words are sought by their beginnings, and all of them; "a phrase" as it stands, its last word whole; what a ``-`` stands before
must not be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from archiver.catalog import words
from archiver.errors import UsageError

_PART = re.compile(r'(?P<no>(?<!\S)-)?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')
_ADDRESS = re.compile(r"\w+://|[\w-]+(\.[\w-]+)+/")
_MOST_WORDS, _LONGEST = 256, 10_000
"""Words and characters of one search: more than a title that somebody pasted has."""

FIELDS = ("names", "tags", "mentions", "links")
"""The fields of a document, best first, as columns of ``search_documents``."""
_WEIGHTS = dict(zip(FIELDS, "ABCD", strict=True))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other; with ``begins`` the last of them is the beginning of one."""

    words: tuple[str, ...]
    begins: bool

    def within(self, text: Sequence[str]) -> bool:
        """Whether the words of a text have it."""
        *first, last = self.words
        for at, word in enumerate(text[len(first) :]):
            if (word.startswith(last) if self.begins else word == last) and [
                *text[at : at + len(first)]
            ] == first:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Sought:
    """Phrases that a document has, all of them, and such as it must not have."""

    all_of: tuple[Phrase, ...]
    none_of: tuple[Phrase, ...] = ()

    @classmethod
    def read(cls, text: str) -> Sought:
        """What the text asks for. Raises UsageError if there is no word in it, only words that must not be there, or too many."""
        if len(text) > _LONGEST:
            raise _too_much(f"{_LONGEST:,} characters")
        all_of: dict[Phrase, None] = {}
        none_of: dict[Phrase, None] = {}
        for part in _PART.finditer(text):
            phrase = part["phrase"]
            found, begins = (
                words.sought(phrase, whole=True) if phrase is not None else words.sought(_plain(part["word"]))
            )
            if found:
                (none_of if part["no"] else all_of)[Phrase(found, begins)] = None
        if sum(len(phrase.words) for phrase in (*all_of, *none_of)) > _MOST_WORDS:
            raise _too_much(f"{_MOST_WORDS} words")
        if not all_of:
            if none_of:
                raise UsageError(
                    "there are only words in the text that must not be found: each stands behind a dash",
                    "add one that must be found, as in: archiver search -- shop -sale",
                )
            raise UsageError(
                "there is no word, number or emoji to search for in the text", "see archiver search --help"
            )
        return cls(tuple(all_of), tuple(none_of))

    def in_one(self, field: str, filters: Sequence[Sequence[str]]) -> Expressions:
        """All phrases in this field, and not all of them in a better one."""
        better = FIELDS[1 : FIELDS.index(field)] if field != FIELDS[0] else ()
        return self._in([field], better, filters)

    def in_several(self, filters: Sequence[Sequence[str]]) -> Expressions | None:
        """All phrases in an item, and not all of them in one field; None where there is but one."""
        return self._in(FIELDS[1:], FIELDS[1:], filters) if len(self.all_of) > 1 else None

    def _in(self, fields: Sequence[str], but: Sequence[str], filters: Sequence[Sequence[str]]) -> Expressions:
        return Expressions(
            _expression(self, fields, but, filters, " AND ", " OR ", " NOT ", _fts5),
            _expression(self, fields, but, filters, " & ", " | ", " & !", _tsquery),
        )


@dataclass(frozen=True, slots=True)
class Expressions:
    """One question as each database reads it: of FTS5's MATCH, and as text of a tsquery."""

    sqlite: str
    postgresql: str


def _too_much(limit: str) -> UsageError:
    return UsageError(f"that is too much to search for: more than {limit}", "take the rarest words of it")


def _plain(word: str) -> str:
    """A word as it is sought: of an address what is kept of one."""
    return words.address(word) if _ADDRESS.match(word) else word


def _expression(
    sought: Sought,
    fields: Sequence[str],
    but: Iterable[str],
    filters: Sequence[Sequence[str]],
    both: str,
    either: str,
    without: str,
    spelt: Callable[[Phrase, Sequence[str]], str],
) -> str:
    """``fields`` have all phrases, none of the fields of ``but`` has them all, and of each of ``filters`` one word is there."""

    def all_in(fields: Sequence[str]) -> str:
        return f"({both.join(spelt(phrase, fields) for phrase in sought.all_of)})"

    parts = [all_in(fields)]
    parts += (
        f"({either.join(spelt(Phrase((key,), False), ['filters']) for key in keys)})" for keys in filters
    )
    unwanted = [all_in([field]) for field in but] + [spelt(phrase, FIELDS) for phrase in sought.none_of]
    wanted = f"({both.join(parts)})"
    return f"{wanted}{without}({either.join(unwanted)})" if unwanted else wanted


def _fts5(phrase: Phrase, fields: Sequence[str]) -> str:
    return f'{{{" ".join(fields)}}} : "{" ".join(phrase.words)}"{" *" if phrase.begins else ""}'


def _tsquery(phrase: Phrase, fields: Sequence[str]) -> str:
    weights = "".join(_WEIGHTS.get(field, "") for field in fields)
    last = len(phrase.words) - 1
    marks = [
        f"'{word}'" + (f":{'*' if begins else ''}{weights}" if begins or weights else "")
        for word, begins in ((word, phrase.begins and at == last) for at, word in enumerate(phrase.words))
    ]
    return f"({' <-> '.join(marks)})"
