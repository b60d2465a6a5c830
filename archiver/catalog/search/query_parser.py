"""Parse the text of a search into expressions for the index of either database. Pure.

Any syntax is accepted. A document matches if it has all words of the query, each at the beginning of one of
its words. A "quoted phrase" must occur as written, and its last word must end there. A word or phrase after a
``-`` must not occur. Of words or phrases with ``OR`` between them, in capitals, one is enough; OR binds more
closely than the space. An OR that is not between two words to find is a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeAlias

from msgspec import Struct

from archiver.catalog.search import tokenizer
from archiver.errors import UsageError

_TERM = re.compile(r'(?P<no>(?<!\S)-)?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')
_ADDRESS = re.compile(r"\w+://|[\w-]+(\.[\w-]+)+/")
_MAX_WORDS, _MAX_LENGTH = 256, 10_000
"""The limits of a search, in words and characters: more than any title that somebody would paste."""

FIELDS = ("names", "tags", "mentions", "links")
"""The fields of a document, best first, as columns of ``search_documents``."""
_WEIGHTS = dict(zip(FIELDS, "ABCD", strict=True))


_Language: TypeAlias = "tuple[str, str, str, Callable[[Phrase, Sequence[str]], str]]"
"""How a database writes and, or, and not, and a phrase in some fields."""


class Phrase(Struct, frozen=True):
    """Words that follow each other. ``is_prefix``: the last one may be the beginning of a longer word."""

    words: tuple[str, ...]
    is_prefix: bool

    def is_in(self, text: Sequence[str]) -> bool:
        """Return whether the words of a text contain this phrase."""
        *first, last = self.words
        for start, word in enumerate(text[len(first) :]):
            is_last = word.startswith(last) if self.is_prefix else word == last
            if is_last and list(text[start : start + len(first)]) == first:
                return True
        return False


class SearchQuery(Struct, frozen=True):
    """Phrases that a document must have, all of them, and phrases that it must not have.

    ``any_of``: groups of phrases; of each group, a document must have at least one.
    """

    all_of: tuple[Phrase, ...]
    none_of: tuple[Phrase, ...] = ()
    any_of: tuple[tuple[Phrase, ...], ...] = ()

    @property
    def groups(self) -> tuple[tuple[Phrase, ...], ...]:
        """Return the groups of which a document must have a phrase each: single phrases too."""
        return (*((phrase,) for phrase in self.all_of), *self.any_of)

    @classmethod
    def parse(cls, text: str) -> SearchQuery:
        """Parse what a person typed.

        Raises UsageError if no word is left to search for, or there are too many.
        """
        if len(text) > _MAX_LENGTH:
            raise _too_long(f"{_MAX_LENGTH:,} characters")
        none_of: dict[Phrase, None] = {}
        groups: list[list[Phrase]] = []
        terms = [(term, phrase) for term in _TERM.finditer(text) if (phrase := _phrase(term)) is not None]
        joins = False
        for number, (term, phrase) in enumerate(terms):
            if term["no"]:
                none_of[phrase] = None
            elif not joins and _is_or(terms, number):
                joins = True
                continue
            elif joins:
                groups[-1].append(phrase)
            else:
                groups.append([phrase])
            joins = False
        if sum(len(phrase.words) for phrase in (*chain(*groups), *none_of)) > _MAX_WORDS:
            raise _too_long(f"{_MAX_WORDS} words")
        if none_of and not groups:
            raise UsageError(
                "the search only excludes words: every word begins with a dash",
                "add a word to find, as in: archiver search -- shop -sale",
            )
        if not groups:
            raise UsageError(
                "the text has no word, number or emoji to search for", "see archiver search --help"
            )
        unique = dict.fromkeys(tuple(dict.fromkeys(group)) for group in groups)
        all_of = tuple(group[0] for group in unique if len(group) == 1)
        return cls(all_of, tuple(none_of), tuple(group for group in unique if len(group) > 1))

    def match_field(self, field: str, filters: Sequence[Sequence[str]], database: str) -> str:
        """Return the expression for documents that have all phrases in this field.

        Items that have all of them in a better field are left out. ``filters``: a document must also have a
        word of each. The expression is in the language of the ``database``: for FTS5's MATCH, or the text of
        a tsquery.
        """
        better = FIELDS[1 : FIELDS.index(field)] if field != FIELDS[0] else ()
        return _expression(self, [field], better, filters, _LANGUAGES[database])

    def match_several_fields(self, filters: Sequence[Sequence[str]], database: str) -> str | None:
        """Return the expression for items that have all phrases, but not all in one field.

        None if there is only one group. The rest is as in ``match_field``.
        """
        if len(self.groups) < 2:
            return None
        return _expression(self, FIELDS[1:], FIELDS[1:], filters, _LANGUAGES[database])


def _phrase(term: re.Match[str]) -> Phrase | None:
    words, is_prefix = _term_words(term)
    return Phrase(words, is_prefix) if words else None


def _is_or(terms: Sequence[tuple[re.Match[str], Phrase]], number: int) -> bool:
    """Return whether a term is the operator OR: between two terms that must occur."""
    if terms[number][0].group() != "OR" or not 0 < number < len(terms) - 1:
        return False
    return not (terms[number - 1][0]["no"] or terms[number + 1][0]["no"])


def _term_words(term: re.Match[str]) -> tuple[tuple[str, ...], bool]:
    if term["phrase"] is not None:
        return tokenizer.phrase_words(term["phrase"], whole=True)
    word = term["word"]
    return tokenizer.phrase_words(tokenizer.address_text(word) if _ADDRESS.match(word) else word)


def _too_long(limit: str) -> UsageError:
    return UsageError(f"the search is too long: more than {limit}", "use only the rarest words")


def _expression(
    query: SearchQuery,
    fields: Sequence[str],
    not_in: Iterable[str],
    filters: Sequence[Sequence[str]],
    language: _Language,
) -> str:
    """Return an expression for documents that have all phrases in ``fields``, but not in a field of
    ``not_in``.

    A document must also have a word of each filter.
    """
    and_, or_, not_, render = language

    def all_phrases(fields: Sequence[str]) -> str:
        groups = (or_.join(render(phrase, fields) for phrase in group) for group in query.groups)
        return f"({and_.join(f'({group})' for group in groups)})"

    required = [all_phrases(fields)]
    required += (
        f"({or_.join(render(Phrase((word,), False), ['filters']) for word in words)})" for words in filters
    )
    excluded = [all_phrases([field]) for field in not_in]
    excluded += [render(phrase, FIELDS) for phrase in query.none_of]
    expression = f"({and_.join(required)})"
    return f"{expression}{not_}({or_.join(excluded)})" if excluded else expression


def _fts5_phrase(phrase: Phrase, fields: Sequence[str]) -> str:
    return f'{{{" ".join(fields)}}} : "{" ".join(phrase.words)}"{" *" if phrase.is_prefix else ""}'


def _tsquery_phrase(phrase: Phrase, fields: Sequence[str]) -> str:
    weights = "".join(_WEIGHTS.get(field, "") for field in fields)
    labels = [weights] * (len(phrase.words) - 1) + ["*" * phrase.is_prefix + weights]
    marked = (f"'{word}':{label}".rstrip(":") for word, label in zip(phrase.words, labels, strict=True))
    return f"({' <-> '.join(marked)})"


_LANGUAGES: dict[str, _Language] = {
    "sqlite": (" AND ", " OR ", " NOT ", _fts5_phrase),
    "postgresql": (" & ", " | ", " & !", _tsquery_phrase),
}
