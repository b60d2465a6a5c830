"""A second implementation of search, from the rows and without an index, to compare both databases with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from archiver.catalog.search import tokenizer
from archiver.catalog.search.tokenizer import TEXT_SEPARATOR

Ask = Callable[[str], Sequence[Sequence[object]]]
Key = tuple[str, str]
FIELDS = ("names", "tags", "mentions", "links")
Texts = dict[str, set[str]]
"""By field, the texts in words, each divided by blanks."""

_SAID = {
    "user": (
        ("names", "select pk, username from users union select pk, full_name from users"),
        ("names", "select user_pk, username from usernames"),
        ("names", "select subject_pk, old from changes where subject = 'user' and field = 'full_name'"),
    ),
    "highlight": (
        ("names", "select pk, title from highlights"),
        ("names", "select subject_pk, old from changes where subject = 'highlight' and field = 'title'"),
    ),
    "item": (
        ("tags", "select item_pk, name from hashtags union all select item_pk, name from locations"),
        (
            "mentions",
            "select item_pk, username from mentions union all select item_pk, full_name from mentions",
        ),
        ("mentions", "select item_pk, username from sponsors"),
        ("links", "select item_pk, title from links union all select item_pk, display_url from links"),
    ),
}
_AT = {
    "user": "select pk, first_seen_at from users",
    "highlight": "select pk, coalesce(created_at, first_seen_at) from highlights",
    "item": "select pk, coalesce(taken_at, first_seen_at) from items",
}
_FILTERS = {
    "user": "select pk, '=account' from users union select pk, '@' || pk from users",
    "highlight": "select pk, '=highlight' from highlights union select pk, '@' || user_pk from highlights",
    "item": "select pk, '=item' from items union select pk, '=photo' from items where media_type = 1"
    " union select pk, '=video' from items where media_type = 2"
    " union select item_pk, '@' || user_pk from highlight_items join highlights on pk = highlight_pk"
    " union select pk, '@' || user_pk from items where not exists (select 1 from "
    "highlight_items where item_pk = pk)",
}


def expected_texts(ask: Ask) -> dict[Key, Texts]:
    """Return the texts that can be searched for, by subject."""
    expected_hits: dict[Key, Texts] = defaultdict(lambda: {name: set() for name in FIELDS})
    for subject, parts in _SAID.items():
        for field, question in parts:
            for pk, text in ask(question):
                expected_hits[subject, str(pk)][field].add(to_words(text))
    for pk, url in ask("select item_pk, url from links"):
        expected_hits["item", str(pk)]["links"].add(to_words(tokenizer.address_text(str(url))))
    for fields in expected_hits.values():
        for said in fields.values():
            said.discard("")
    return {key: fields for key, fields in expected_hits.items() if any(fields.values())}


def differences(ask: Ask) -> list[str]:
    """Return the differences between the documents and the rows."""
    at = {(subject, str(pk)): time for subject, question in _AT.items() for pk, time in ask(question)}
    filters: dict[Key, set[str]] = defaultdict(set)
    for subject, question in _FILTERS.items():
        for pk, word in ask(question):
            filters[subject, str(pk)].add(str(word))
    told = {key: (at.get(key), filters[key], said) for key, said in expected_texts(ask).items() if key in at}
    kept = {
        (str(subject), str(pk)): (
            time,
            set(str(by).split()),
            {
                name: set(filter(None, str(text).split(f" {TEXT_SEPARATOR} ")))
                for name, text in zip(FIELDS, said, strict=True)
            },
        )
        for subject, pk, time, by, *said in ask(
            "select subject, subject_pk, at, filters, names, tags, mentions, links from search_documents"
        )
    }
    return [
        f"{key}: {kept.get(key)}, the rows say {told.get(key)}"
        for key in sorted(told.keys() | kept.keys())
        if kept.get(key) != told.get(key)
    ]


def expected_hits(ask: Ask, all_of: Iterable[str], none_of: Iterable[str] = ()) -> set[Key]:
    """Return the subjects with texts that contain all of ``all_of`` as consecutive beginnings of words, and
    none of ``none_of``.
    """

    def stands(sought: str, fields: Texts) -> bool:
        return any(f" {sought}" in f" {text} " for said in fields.values() for text in said)

    return {
        key
        for key, fields in expected_texts(ask).items()
        if all(stands(sought, fields) for sought in all_of) and not any(stands(no, fields) for no in none_of)
    }


def to_words(text: object) -> str:
    """Return a text as its words, separated by blanks."""
    return " ".join(tokenizer.tokenize(str(text))) if text is not None else ""
