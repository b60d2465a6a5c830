"""Covers and avatars: which of them a tray offers under a name that is not the one held."""

from __future__ import annotations

from archiver.catalog import Catalog
from archiver.catalog.query import account_state
from archiver.errors import Reason
from archiver.model.archived import Failure, Owner
from archiver.model.identity import Pk, Role, Subject
from archiver.model.target import Target
from archiver.model.upstream import Tray
from archiver.runner import plan
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.downloads import Download


def wanted(catalog: Catalog, options: RunOptions, target: Target, pk: Pk, tray: Tray) -> list[Download]:
    """The pictures of an account to download now. A failure waits for the next tray and causes no fetch."""
    only = options.repair
    held = {h.pk: h for h in catalog.read(account_state.held, pk)}
    found = [
        Download(Owner(Subject.HIGHLIGHT, h.pk), h.cover, None)
        for h in tray.highlights
        if options.covers
        and h.cover is not None
        and (only is None or h.pk in only.covers)
        and plan.matches(h.title, target.highlights)
        and plan.new_picture(h.cover_name, held[h.pk].cover_name if h.pk in held else None)
    ]
    user, account = tray.user, catalog.read(account_state.user, pk)
    held_name = account.avatar_name if account is not None else None
    face = options.avatars and (only is None or pk in only.avatars)
    if face and user is not None and plan.new_picture(user.avatar_name, held_name):
        assert user.avatar is not None
        found.append(Download(Owner(Subject.USER, pk), user.avatar, None))
    return found


def not_offered(catalog: Catalog, only: RepairScope | None, pk: Pk, tray: Tray) -> list[Failure]:
    """The pictures that a repair is after and the tray does not show: noted, the next repair need not pay to learn it again."""
    if only is None:
        return []
    shown = {h.pk for h in tray.highlights if h.cover_name is not None}
    covers = only.covers & {h.pk for h in catalog.read(account_state.held, pk)}
    lost = [(Subject.HIGHLIGHT, cover, Role.COVER) for cover in sorted(covers - shown)]
    if pk in only.avatars and (tray.user is None or tray.user.avatar_name is None):
        lost.append((Subject.USER, pk, Role.AVATAR))
    return [Failure(*which, Reason.NOT_FOUND, f"lost, and the tray shows no {which[2]}") for which in lost]
