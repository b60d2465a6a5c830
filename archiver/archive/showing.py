"""One account, highlight or item with everything that a person wants to know of it, from the archive that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from archiver.archive import named
from archiver.archive.opening import Opened, download_rules, reading
from archiver.catalog import Catalog
from archiver.catalog.query import content, details
from archiver.catalog.query.account_state import AccountState, HighlightState, account_state, highlight_state
from archiver.config import Config
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
from archiver.runner.context import RunOptions
from archiver.runner.due import next_fetch_at, why_fetch


@dataclass(frozen=True, slots=True)
class Part:
    """A highlight, how much it holds, and when it is fetched again though its tray tells nothing new: in the next run (``due``), else
    at ``due_at``, None for never."""

    highlight: KeptHighlight
    extent: ContentSize
    open_failures: int
    due: bool
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class ShownAccount:
    """An account; ``held`` tells its standing, ``parts`` are its highlights: shown ones first, as on the profile."""

    account: KeptAccount
    held: AccountState
    names: tuple[DatedUsername, ...]
    renamings: tuple[NameChange, ...]
    extent: ContentSize
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ShownHighlight:
    """A highlight of ``account``."""

    account: KeptAccount
    part: Part
    renamings: tuple[NameChange, ...]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item, the highlights that show or showed it, each with its place, and the answers that it and its files came with, by id."""

    item: KeptItem
    account: KeptAccount
    places: tuple[tuple[KeptHighlight, Placed], ...]
    answers: dict[int, Provenance]


class Showing:
    """What is shown, and the archive that it is in, open until the end of the ``with`` block."""

    def __init__(self, opened: Opened, shown: ShownAccount | ShownHighlight | ShownItem) -> None:
        self.shown = shown
        self._opened = opened

    def path(self, file: KeptFile) -> Path:
        """Where the bytes of a file are, or were before they were lost; absolute."""
        return self._opened.store.path(file.blob.sha256)

    def contents(self) -> Iterator[Placed]:
        """The items of a highlight in their order; streamed."""
        assert isinstance(self.shown, ShownHighlight)
        selection = Selection(highlight_pks=(self.shown.part.highlight.pk,))
        return self._opened.catalog.stream(content.contents, selection)

    def files(self) -> Iterator[KeptFile]:
        """The newest file of each role whose bytes are held: the avatar, each highlight's cover, then its items' in their order; each
        of them once. Streamed."""
        seen: set[str] = set()
        for file in self._every_file():
            if file.blob.sha256 not in seen:
                seen.add(file.blob.sha256)
                yield file

    def _every_file(self) -> Iterator[KeptFile]:
        if isinstance(self.shown, ShownItem):
            yield from self.shown.item.held
            return
        selection = (
            Selection(user_pks=(self.shown.account.pk,))
            if isinstance(self.shown, ShownAccount)
            else Selection(highlight_pks=(self.shown.part.highlight.pk,))
        )
        for step in self._opened.catalog.stream(content.walk, selection, with_entries=False):
            if isinstance(step, Placed):
                yield from step.item.held
            elif isinstance(step, KeptHighlight):
                yield from (step.cover,) if step.cover is not None else ()
            elif step.avatar is not None and isinstance(self.shown, ShownAccount):
                yield step.avatar


@contextmanager
def shown(config: Config, wanted: Target | ItemTarget) -> Iterator[Showing]:
    """What is meant, with the archive open. A number is an account's, else a highlight's, else an item's; a name that nobody bears may be
    an item's code. Raises NotHeld, naming near accounts, and UsageError where several accounts bore the name."""
    with reading(config) as opened:
        yield Showing(opened, _shown(opened.catalog, named.kept(opened.catalog, wanted), config))


def _shown(
    catalog: Catalog, kept: KeptAccount | KeptHighlight | KeptItem, config: Config
) -> ShownAccount | ShownHighlight | ShownItem:
    if isinstance(kept, KeptItem):
        return _item(catalog, kept)
    if isinstance(kept, KeptAccount):
        held = catalog.read(account_state, Target(kept.pk, user_pk=kept.pk))
        return ShownAccount(
            kept,
            held,
            catalog.read(details.names, kept.pk),
            catalog.read(details.renamings, Subject.USER, kept.pk),
            catalog.read(details.extent, kept.pk),
            _parts(catalog, held, config),
        )
    one = catalog.read(highlight_state, kept.pk)
    assert one is not None
    return ShownHighlight(
        _account(catalog, kept.user_pk),
        _part(kept, catalog.read(details.extents, kept.user_pk), one, config),
        catalog.read(details.renamings, Subject.HIGHLIGHT, kept.pk),
    )


def _item(catalog: Catalog, item: KeptItem) -> ShownItem:
    found = catalog.stream(content.contents, Selection(item_pks=(item.pk,)), with_entries=False)
    placed = {place.highlight_pk: place for place in found}
    if not placed:  # it has come with one: somebody has deleted rows
        raise NotHeld(
            f"the item {item.pk} is in no highlight",
            "its rows can be asked for: archiver query",
        )
    shown_in = catalog.stream(content.highlights, Selection(highlight_pks=tuple(placed)))
    places = tuple((highlight, placed[highlight.pk]) for highlight in shown_in)
    ids = {item.answer_id, *(file.answer_id for file in item.files)}
    answers = catalog.read(details.provenance, [answer_id for answer_id in ids if answer_id is not None])
    return ShownItem(item, _account(catalog, places[0][0].user_pk), places, answers)


def _account(catalog: Catalog, pk: Pk) -> KeptAccount:
    return named.account(catalog, Target(pk, user_pk=pk))


def _parts(catalog: Catalog, state: AccountState, config: Config) -> tuple[Part, ...]:
    user_pk = state.pk or ""
    extents = catalog.read(details.extents, user_pk)
    highlights = list(catalog.stream(content.highlights, Selection(user_pks=(user_pk,))))
    held = {one.pk: one for one in state.highlights}
    return tuple(_part(one, extents, held[one.pk], config) for one in highlights if one.pk in held)


def _part(
    highlight: KeptHighlight, extents: Mapping[Pk, ContentSize], held: HighlightState, config: Config
) -> Part:
    extent, now = extents.get(highlight.pk, ContentSize()), utcnow()
    options = RunOptions(sweep_days=config.sync.sweep_days, rules=download_rules(config))
    shown = held.gone_at is None
    due = shown and why_fetch(held, options, now) is not None
    due_at = next_fetch_at(held, options) if shown and not due else None
    return Part(highlight, extent, len(held.failures), due, due_at)
