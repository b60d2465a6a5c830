"""One account, highlight or item with everything that ``archiver show`` prints about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from archiver.archive import selection
from archiver.archive.gap_list import read_gaps
from archiver.archive.session import Session, read_download_rules, with_settings
from archiver.catalog import Catalog
from archiver.catalog.query import change_history, content, holdings
from archiver.catalog.query.account_state import AccountState, HighlightState, account_state, highlight_state
from archiver.errors import NotHeld
from archiver.model.archived import (
    ContentSize,
    DatedUsername,
    KeptAccount,
    KeptFile,
    KeptHighlight,
    KeptItem,
    NameChange,
    Placed,
    Provenance,
    Selection,
)
from archiver.model.identity import Pk, Subject, utcnow
from archiver.model.target import ItemTarget, Target
from archiver.model.values import replace
from archiver.runner.context import RunOptions
from archiver.runner.due_highlights import next_fetch_at, why_fetch


class HighlightSummary(Struct, frozen=True):
    """A highlight, its size, and when it is fetched again if its tray shows nothing new.

    ``due``: in the next run. Otherwise at ``due_at``; None means never. ``gaps``: how many of its gaps
    ``archiver gaps`` lists.
    """

    highlight: KeptHighlight
    extent: ContentSize
    open_failures: int
    gaps: int
    due: bool
    due_at: datetime | None

    @property
    def is_complete(self) -> bool:
        """Return whether it was fetched, and nothing that was offered is missing."""
        return self.highlight.completed_at is not None and not self.gaps


class AccountDetails(Struct, frozen=True):
    """An account. ``state`` determines the next visit; ``highlights`` lists gone ones last.

    ``gaps``: how many ``archiver gaps`` lists, those of the highlights included.
    """

    account: KeptAccount
    state: AccountState
    names: tuple[DatedUsername, ...]
    name_changes: tuple[NameChange, ...]
    extent: ContentSize
    gaps: int
    highlights: tuple[HighlightSummary, ...]


class HighlightDetails(Struct, frozen=True):
    """A highlight of ``account``."""

    account: KeptAccount
    summary: HighlightSummary
    name_changes: tuple[NameChange, ...]


class ItemDetails(Struct, frozen=True):
    """An item, its places in highlights, and the answers that it and its files came from, by id."""

    item: KeptItem
    account: KeptAccount
    places: tuple[tuple[KeptHighlight, Placed], ...]
    answers: dict[int, Provenance]


Details = AccountDetails | HighlightDetails | ItemDetails


def read_details(session: Session, target: Target | ItemTarget) -> Details:
    """Return the details of a target. Raises the errors of ``selection.find_subject``."""
    catalog, config = session.catalog, session.config
    subject = selection.find_subject(catalog, target)
    if isinstance(subject, KeptItem):
        return _item_details(catalog, subject)
    options = replace(with_settings(config, RunOptions()), rules=read_download_rules(config))
    if isinstance(subject, KeptAccount):
        state = catalog.read(account_state, Target(subject.pk, user_pk=subject.pk))
        gaps = _count_gaps(session, subject.pk)
        return AccountDetails(
            subject,
            state,
            catalog.read(change_history.names, subject.pk),
            catalog.read(change_history.renamings, Subject.USER, subject.pk),
            catalog.read(content.extent, subject.pk),
            gaps.total(),
            _highlight_summaries(catalog, state, gaps, options),
        )
    highlight = catalog.read(highlight_state, subject.pk)
    assert highlight is not None
    extents, gaps = catalog.read(content.extents, subject.user_pk), _count_gaps(session, subject.user_pk)
    return HighlightDetails(
        _account(catalog, subject.user_pk),
        _summary(subject, extents, gaps, highlight, options),
        catalog.read(change_history.renamings, Subject.HIGHLIGHT, subject.pk),
    )


def read_current_files(
    catalog: Catalog, subject: KeptAccount | KeptHighlight | KeptItem
) -> Generator[KeptFile, None, None]:
    """Yield the newest stored file of each role, without duplicates.

    For an account: the avatar, each highlight's cover, then the files of its items in their order.
    """
    seen: set[str] = set()
    for file in _newest_files(catalog, subject):
        if file.blob.sha256 not in seen:
            seen.add(file.blob.sha256)
            yield file


def _newest_files(catalog: Catalog, subject: KeptAccount | KeptHighlight | KeptItem) -> Iterator[KeptFile]:
    if isinstance(subject, KeptItem):
        yield from subject.held
        return
    is_account = isinstance(subject, KeptAccount)
    selected = Selection(user_pks=(subject.pk,)) if is_account else Selection(highlight_pks=(subject.pk,))
    for step in catalog.stream(content.walk, selected, with_entries=False):
        if isinstance(step, Placed):
            yield from step.item.held
        elif isinstance(step, KeptHighlight):
            yield from (step.cover,) if step.cover is not None else ()
        elif step.avatar is not None and is_account:
            yield step.avatar


def _item_details(catalog: Catalog, item: KeptItem) -> ItemDetails:
    found = catalog.stream(content.contents, Selection(item_pks=(item.pk,)), with_entries=False)
    placed = {place.highlight_pk: place for place in found}
    if not placed:  # an item is stored together with its place: somebody has deleted rows
        raise NotHeld(f"the item {item.pk} is in no highlight", "archiver query shows its rows")
    highlights = catalog.stream(content.highlights, Selection(highlight_pks=tuple(placed)))
    places = tuple((highlight, placed[highlight.pk]) for highlight in highlights)
    ids = {item.answer_id, *(file.answer_id for file in item.files)}
    answers = catalog.read(holdings.provenance, [answer_id for answer_id in ids if answer_id is not None])
    return ItemDetails(item, _account(catalog, places[0][0].user_pk), places, answers)


def _account(catalog: Catalog, pk: Pk) -> KeptAccount:
    return selection.find_account(catalog, Target(pk, user_pk=pk))


def _count_gaps(session: Session, user_pk: Pk) -> Counter[Pk | None]:
    """Return how many gaps each highlight of an account has; None: the account itself."""
    return Counter(gap.highlight_pk for gap in read_gaps(session, [Target(user_pk, user_pk=user_pk)]))


def _highlight_summaries(
    catalog: Catalog, state: AccountState, gaps: Counter[Pk | None], options: RunOptions
) -> tuple[HighlightSummary, ...]:
    user_pk = state.pk or ""
    extents = catalog.read(content.extents, user_pk)
    highlights = list(catalog.stream(content.highlights, Selection(user_pks=(user_pk,))))
    states = {highlight.pk: highlight for highlight in state.highlights}
    return tuple(
        _summary(one, extents, gaps, states[one.pk], options) for one in highlights if one.pk in states
    )


def _summary(
    highlight: KeptHighlight,
    extents: Mapping[Pk, ContentSize],
    gaps: Counter[Pk | None],
    state: HighlightState,
    options: RunOptions,
) -> HighlightSummary:
    is_shown = state.gone_at is None
    is_due = is_shown and why_fetch(state, options, utcnow()) is not None
    return HighlightSummary(
        highlight,
        extents.get(highlight.pk, ContentSize()),
        len(state.failures),
        gaps[highlight.pk],
        is_due,
        next_fetch_at(state, options) if is_shown and not is_due else None,
    )
