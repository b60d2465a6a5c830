"""Summaries of changes."""

from __future__ import annotations

import itertools

import pytest

from archiver.cli.change_summary import ChangeSummary
from archiver.model.archived import NamedChange
from archiver.model.identity import Subject
from tests.support.databases import NOW

_ids = itertools.count(1)


def change(
    subject: Subject,
    field: str,
    old: str | None,
    new: str | None,
    *,
    pk: str = "1",
    title: str | None = "BOTW 2026",
    username: str | None = "natgeo",
    user_pk: str | None = "787132",
) -> NamedChange:
    """Return a change, by default of natgeo's highlight BOTW 2026."""
    shown = title if subject is Subject.HIGHLIGHT else None
    return NamedChange(next(_ids), 1, NOW, subject, pk, field, old, new, user_pk, username, shown)


def summary_lines(*changes: NamedChange) -> list[str]:
    return list(ChangeSummary(changes).lines())


def describe(subject: Subject, *edits: tuple[str, str | None, str | None]) -> str:
    """Return the line about one subject after these edits, without its name."""
    (line,) = summary_lines(*(change(subject, *edit) for edit in edits))
    return line.removeprefix("natgeo: ").removeprefix("BOTW 2026: ")


@pytest.mark.parametrize(
    ("subject", "edit", "words"),
    [
        (Subject.USER, ("username", "natgeo_old", "natgeo"), "renamed from natgeo_old"),
        (Subject.USER, ("full_name", "NatGeo", "National"), "full name: NatGeo -> National"),
        (Subject.USER, ("is_verified", "false", "true"), "verified"),
        (Subject.USER, ("is_verified", "true", "false"), "no longer verified"),
        (Subject.USER, ("is_private", "false", "true"), "went private"),
        (Subject.USER, ("is_private", "true", "false"), "public again"),
        (Subject.USER, ("avatar_name", "a.jpg", "b.jpg"), "new avatar"),
        (Subject.USER, ("presence", None, "gone"), "gone"),
        (Subject.USER, ("presence", None, "returned"), "back"),
        (Subject.HIGHLIGHT, ("presence", None, "appeared"), "new"),
        (Subject.HIGHLIGHT, ("presence", None, "gone"), "gone"),
        (Subject.HIGHLIGHT, ("presence", None, "returned"), "back"),
        (Subject.HIGHLIGHT, ("title", "BOTW", "BOTW 2026"), "renamed from BOTW"),
        (Subject.HIGHLIGHT, ("cover_name", "a.jpg", "b.jpg"), "new cover"),
        (Subject.HIGHLIGHT, ("is_pinned", "false", "true"), "pinned"),
        (Subject.HIGHLIGHT, ("is_pinned", "true", "false"), "unpinned"),
        (Subject.HIGHLIGHT, ("position", "4", "0"), "moved in the tray"),
        (Subject.HIGHLIGHT, ("item_order", "1,2", "2,1"), "items reordered"),
        (Subject.HIGHLIGHT, ("items", None, "31"), "1 added"),
        (Subject.HIGHLIGHT, ("items", "31", None), "1 removed"),
        (Subject.HIGHLIGHT, ("user_pk", "42", "787132"), "was the highlight of account 42"),
        (Subject.ITEM, ("video_duration", "15.0", "16.2"), "item 1: video_duration: 15.0 -> 16.2"),
    ],
)
def test_each_edit_has_its_words(
    subject: Subject, edit: tuple[str, str | None, str | None], words: str
) -> None:
    """Every field that ``changes`` records is described."""
    assert describe(subject, edit) == words


def test_a_highlight_is_one_line() -> None:
    """All its changes follow its account and its present title."""
    edits = [
        change(Subject.HIGHLIGHT, "title", "BOTW", "BOTW 2026"),
        change(Subject.HIGHLIGHT, "items", None, "31"),
        change(Subject.HIGHLIGHT, "items", None, "32"),
        change(Subject.HIGHLIGHT, "items", "30", None),
    ]
    assert summary_lines(*edits) == ["natgeo: BOTW 2026: 2 added, 1 removed, renamed from BOTW"]


def test_accounts_by_name_and_each_before_its_highlights() -> None:
    """Lines are sorted by name, not by row; what has no name is sorted by its pk."""
    lines = summary_lines(
        change(Subject.HIGHLIGHT, "presence", None, "gone", pk="9", title=None, username=None, user_pk="55"),
        change(Subject.ITEM, "code", "a", "b", pk="31"),
        change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="2", title="Zoo"),
        change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="1", title="ants"),
        change(Subject.USER, "avatar_name", "a", "b", pk="787132"),
        change(Subject.USER, "is_private", "false", "true", pk="42", username="Zoe", user_pk="42"),
        change(Subject.USER, "avatar_name", "a", "b", pk="43", username="aaron", user_pk="43"),
    )
    assert lines == [
        "55: highlight 9: gone",
        "aaron: new avatar",
        "natgeo: new avatar",
        "natgeo: ants: new",
        "natgeo: Zoo: new",
        "natgeo: item 31: code: a -> b",
        "Zoe: went private",
    ]


@pytest.mark.parametrize(
    ("subject", "edits", "words"),
    [
        (Subject.HIGHLIGHT, [("title", "A", "B"), ("title", "B", "BOTW 2026")], "renamed from A"),
        (Subject.HIGHLIGHT, [("title", "A", "B"), ("title", "B", "A")], "renamed and back"),
        (Subject.HIGHLIGHT, [("title", "A", "B")], "renamed from A to B"),  # and renamed again later
        (Subject.USER, [("full_name", "A", "B"), ("full_name", "B", "C")], "full name: A -> C"),
        (Subject.USER, [("full_name", "A", "B"), ("full_name", "B", "A")], "full name: changed and back"),
        (
            Subject.USER,
            [("is_private", "false", "true"), ("is_private", "true", "false")],
            "went private and back",
        ),
        (
            Subject.USER,
            [("is_private", "true", "false"), ("is_private", "false", "true")],
            "public again and back",
        ),
        (Subject.HIGHLIGHT, [("position", "1", "0"), ("position", "0", "3")], "moved in the tray"),
        (Subject.HIGHLIGHT, [("presence", None, "appeared"), ("presence", None, "gone")], "new, then gone"),
        (
            Subject.HIGHLIGHT,
            [("presence", None, "gone"), ("presence", None, "returned"), ("presence", None, "gone")],
            "gone",
        ),
        (Subject.HIGHLIGHT, [("items", None, "1"), ("items", "1", None)], "1 added and removed again"),
        (Subject.HIGHLIGHT, [("items", "1", None), ("items", None, "1")], "1 removed and added back"),
        (Subject.HIGHLIGHT, [("items", None, "1"), ("items", "1", None), ("items", None, "1")], "1 added"),
    ],
)
def test_several_edits_of_one_thing_are_folded(
    subject: Subject, edits: list[tuple[str, str | None, str | None]], words: str
) -> None:
    """A field goes from its first old value to its last new one; what appeared and disappeared says so."""
    assert describe(subject, *edits) == words


def test_a_headline_counts_subjects_not_changes() -> None:
    """Each subject counts once, by its last state; kinds without changes are left out."""
    summary = ChangeSummary(
        [
            change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="1"),
            change(Subject.HIGHLIGHT, "presence", None, "appeared", pk="2"),
            change(Subject.HIGHLIGHT, "items", None, "31", pk="3"),
            change(Subject.HIGHLIGHT, "title", "A", "B", pk="3"),
            change(Subject.HIGHLIGHT, "presence", None, "gone", pk="4"),
            change(Subject.ITEM, "code", "a", "b", pk="31"),
        ]
    )
    assert summary.headline() == "2 highlights new, 1 gone, 1 edited; 1 item edited"
    assert summary.total == 6
    assert ChangeSummary().headline() == ""


def test_a_long_title_is_cut() -> None:
    """A long title does not hide the rest of the line."""
    (line,) = summary_lines(change(Subject.HIGHLIGHT, "title", "x" * 500, "y" * 500, title="y" * 500))
    assert len(line) < 200
    assert line.endswith("…")


def test_words_of_a_later_version_are_shown_as_they_are() -> None:
    """An unknown field or presence is shown, not an error."""
    assert describe(Subject.HIGHLIGHT, ("presence", None, "archived")) == "archived"
    assert describe(Subject.HIGHLIGHT, ("mood", "1", None)) == "mood: 1 -> nothing"
