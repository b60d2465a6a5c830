"""What Hypothesis draws: edits of the world, faults of the API and the CDN, and ways in which a run ends
early.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from archiver.errors import StoppedBySignal
from archiver.model.events import Event
from archiver.sandbox.world_objects import SandboxAccount, SandboxHighlight
from archiver.work import StopFlag
from tests.support.nights.early_end import Bug
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

T = TypeVar("T")
SIGTERM = 15


@dataclass(frozen=True)
class Edit:
    """One edit, and three numbers that choose what of the world it is made to."""

    kind: str
    one: int
    two: int
    three: int

    def make(self, world: EditableWorld, now: float, number: int) -> None:
        """Make it, if the world as it is has what it needs; ``number`` makes names that nobody has."""
        accounts = [account for account in world.accounts if account.highlights]
        account = _chosen(accounts, self.one)
        highlight = _chosen(account.highlights, self.two)
        with suppress(LookupError, ValueError):  # nothing of the kind is there, or the name is taken
            _EDITS[self.kind](Place(world, account, highlight, self.three, now, number))


@dataclass(frozen=True)
class Place:
    """Where an edit is made."""

    world: EditableWorld
    account: SandboxAccount
    highlight: SandboxHighlight
    three: int
    now: float
    number: int

    @property
    def item(self) -> str:
        return _chosen(self.highlight.items, self.three).pk

    @property
    def other(self) -> SandboxHighlight:
        return _chosen(self.account.highlights, self.three)

    @property
    def name(self) -> str:
        return f"name{self.number}"


def _chosen(things: Sequence[T], number: int) -> T:
    if not things:
        raise LookupError("nothing to choose from")
    return things[number % len(things)]


def _swap(at: Place) -> None:
    old = at.world.remove_item(at.highlight.pk, at.item)
    at.world.add_item(at.highlight.pk, taken_at=old.taken_at)


def _share(at: Place) -> None:
    if at.item in {item.pk for item in at.other.items}:
        raise LookupError("it is there already")
    at.world.put_item(at.other.pk, at.item, source=at.highlight.pk)


def _move(at: Place) -> None:
    if at.item in {item.pk for item in at.other.items}:
        raise LookupError("it is there already")
    at.world.move_item(at.item, source=at.highlight.pk, target=at.other.pk)


def _turn(pks: Sequence[str], number: int) -> list[str]:
    first = number % (len(pks) or 1)
    return [*pks[first:], *pks[:first]]


_EDITS: dict[str, Callable[[Place], object]] = {
    "rename": lambda at: at.world.rename(at.account.pk, at.name),
    "take a freed name": lambda at: at.world.take_username(f"account000{at.three % 3}"),
    "private": lambda at: at.world.set_private(at.account.pk),
    "public": lambda at: at.world.set_public(at.account.pk),
    "delete": lambda at: at.world.delete_account(at.account.pk),
    "restore": lambda at: at.world.restore_account(at.account.pk),
    "full name": lambda at: at.world.set_full_name(at.account.pk, at.name),
    "avatar": lambda at: at.world.change_avatar(at.account.pk),
    "add highlight": lambda at: at.world.add_highlight(
        at.account.pk, at.name, at.three % 4, created_at=int(at.now)
    ),
    "remove highlight": lambda at: at.world.remove_highlight(at.highlight.pk),
    "restore highlight": lambda at: at.world.restore_highlight(at.highlight.pk),
    "lose page": lambda at: at.world.lose_page(at.highlight.pk),
    "retitle": lambda at: at.world.retitle(at.highlight.pk, at.name),
    "recover": lambda at: at.world.recover(at.highlight.pk),
    "pin": lambda at: at.world.pin(at.highlight.pk, at.three % 2 == 0),
    "reorder tray": lambda at: at.world.reorder_tray(
        at.account.pk, _turn([h.pk for h in at.account.highlights], at.three)
    ),
    "add item": lambda at: at.world.add_item(at.highlight.pk, "video" if at.three % 2 else "photo"),
    "share item": _share,
    "remove item": lambda at: at.world.remove_item(at.highlight.pk, at.item),
    "move item": _move,
    "reorder items": lambda at: at.world.reorder_items(
        at.highlight.pk, _turn([item.pk for item in at.highlight.items], at.three)
    ),
    "withhold": lambda at: at.world.withhold(at.highlight.pk, at.item, "thumbnail"),
    "change bytes": lambda at: at.world.change_bytes(at.highlight.pk, at.item, "thumbnail"),
    "swap": _swap,
}

_API: dict[str, Action] = {
    "500": actions.respond(500, {"detail": "x", "exc_type": "InternalError"}),
    "503": actions.respond(503, "upstream is away"),
    "html": actions.html(),
    "cut": actions.truncated(40),
    "cut JSON": actions.other_bytes(b'[{"pk": "1", "us'),
    "hang up": actions.hang_up(),
    "lost": actions.lose(),
    "reset": actions.reset(),
}
_CDN: dict[str, Action] = {
    "404": actions.respond(404),
    "403": actions.respond(403, "URL signature mismatch"),
    "500": actions.respond(500),
    "html": actions.html(),
    "reset": actions.reset(after=100),
    "cut": actions.truncated(200),
    "hang up": actions.hang_up(),
    "another kind": actions.other_bytes(actions.ELF),
}
_PATHS = ("/v1/user/highlights", "/v2/user/highlights", "/v1/highlight/by/url", "/v1/user/by/id", None)
_ROLES = ("thumbnail", "video", "cover", "avatar", None)


@dataclass(frozen=True)
class Flaw:
    """A fault of one night, from the n-th request that it meets on."""

    listener: str
    action: str
    where: str | None
    nth: int
    count: int

    def begin(self, upstream: FaultyStandIn) -> None:
        """Let it act."""
        api = self.listener == "api"
        upstream.faults.add(
            (_API if api else _CDN)[self.action],
            listener=self.listener,
            path=self.where if api else None,
            role=None if api else self.where,
            nth=self.nth,
            count=self.count,
        )


@dataclass(frozen=True)
class EarlyEnd:
    """How a run ends before it is done: ``units`` of its budget, a signal or a bug after so many events."""

    kind: str
    after: int

    @property
    def units(self) -> int | None:
        return self.after if self.kind == "units" else None

    def observer(self, stop: StopFlag) -> Callable[[Event], None]:
        """What hears the events of the run, and ends it."""
        heard: list[Event] = []

        def observe(event: Event) -> None:
            heard.append(event)
            if len(heard) == self.after and self.kind == "signal":
                stop.stop(StoppedBySignal(SIGTERM))
            if len(heard) == self.after and self.kind == "bug":
                raise Bug

        return observe


@dataclass(frozen=True)
class PlannedNight:
    """The days since the last one, what was edited in them, and what goes wrong in it."""

    days: float
    edits: tuple[Edit, ...]
    flaws: tuple[Flaw, ...]
    early: EarlyEnd


_number = st.integers(0, 11)
edits = st.builds(Edit, st.sampled_from(sorted(_EDITS)), _number, _number, _number)
_api = st.builds(
    Flaw,
    st.just("api"),
    st.sampled_from(sorted(_API)),
    st.sampled_from(_PATHS),
    st.integers(1, 4),
    st.integers(1, 4),
)
_cdn = st.builds(
    Flaw,
    st.just("cdn"),
    st.sampled_from(sorted(_CDN)),
    st.sampled_from(_ROLES),
    st.integers(1, 6),
    st.integers(1, 9),
)
_early = st.builds(
    EarlyEnd, st.sampled_from(["never", "never", "units", "signal", "bug"]), st.integers(1, 25)
)
nights = st.builds(
    PlannedNight,
    st.sampled_from([0.1, 1, 1, 2, 5]),
    st.lists(edits, max_size=8).map(tuple),
    st.lists(_api | _cdn, max_size=3).map(tuple),
    _early,
)


def draw(dice: random.Random) -> PlannedNight:
    """Draw a night as ``nights`` does, from dice instead of Hypothesis."""
    kinds = [dice.choice(sorted(_EDITS)) for _ in range(dice.randint(0, 6))]
    flaws = []
    for _ in range(dice.choice((0, 0, 1, 3))):
        api = dice.random() < 0.5
        action = dice.choice(sorted(_API if api else _CDN))
        where = dice.choice(_PATHS if api else _ROLES)
        flaws.append(Flaw("api" if api else "cdn", action, where, dice.randint(1, 6), dice.randint(1, 6)))
    edits = tuple(Edit(kind, *(dice.randint(0, 11) for _ in range(3))) for kind in kinds)
    early = EarlyEnd(dice.choice(("never", "never", "units", "signal", "bug")), dice.randint(1, 25))
    return PlannedNight(1, edits, tuple(flaws), early)


_never = EarlyEnd("never", 1)
TELLING = [
    PlannedNight(
        1,
        (),
        (Flaw("cdn", "404", "thumbnail", 2, 3), Flaw("api", "500", "/v1/highlight/by/url", 3, 1)),
        _never,
    ),
    PlannedNight(
        1,
        (
            Edit("remove highlight", 0, 0, 0),
            Edit("reorder tray", 0, 0, 3),
            Edit("retitle", 0, 1, 0),
            Edit("remove item", 0, 2, 0),
            Edit("private", 1, 0, 0),
        ),
        (Flaw("api", "hang up", "/v1/user/by/id", 1, 1),),
        EarlyEnd("bug", 12),
    ),
    PlannedNight(1, (Edit("swap", 0, 1, 1), Edit("reorder items", 0, 2, 1)), (), EarlyEnd("signal", 6)),
    PlannedNight(
        5,
        (
            Edit("restore highlight", 0, 0, 0),
            Edit("public", 1, 0, 0),
            Edit("move item", 1, 1, 2),
            Edit("full name", 0, 0, 0),
        ),
        (Flaw("cdn", "cut", "video", 1, 2),),
        _never,
    ),
    PlannedNight(1, (Edit("delete", 0, 0, 0), Edit("reorder tray", 1, 0, 1)), (), EarlyEnd("units", 7)),
    PlannedNight(5, (Edit("restore", 0, 0, 0), Edit("avatar", 1, 0, 0)), (), _never),
]
"""Nights on which something of each kind goes, comes back or moves."""
