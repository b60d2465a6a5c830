"""Which covers and avatars to download: those that a tray offers under a new name. Pure."""

from __future__ import annotations

from archiver.catalog.query.account_state import AccountState
from archiver.errors import Reason
from archiver.model.archived import Failure, Owner
from archiver.model.identity import Role, Subject
from archiver.model.upstream import Tray
from archiver.runner.context import RepairScope, RunOptions
from archiver.runner.downloads import Download
from archiver.runner.due_highlights import is_title_wanted


def pictures_to_download(state: AccountState, tray: Tray, options: RunOptions) -> list[Download]:
    """Return the pictures of an account to download now.

    A picture with the same file name is the same picture. One that failed waits for the next tray.
    """
    repair, target, pk = options.repair, state.target, state.pk
    stored = {highlight.pk: highlight.cover_name for highlight in state.highlights}
    pictures = [
        Download(Owner(Subject.HIGHLIGHT, entry.pk), entry.cover, None)
        for entry in tray.highlights
        if options.covers
        and entry.cover is not None
        and (repair is None or entry.pk in repair.covers)
        and is_title_wanted(entry.title, target.highlights)
        and entry.cover_name not in (None, stored.get(entry.pk))
    ]
    user = tray.user
    is_avatar_new = user is not None and user.avatar_name not in (None, state.avatar_name)
    is_avatar_wanted = options.avatars and (repair is None or pk in repair.avatars)
    if pk is not None and user is not None and user.avatar is not None and is_avatar_new and is_avatar_wanted:
        pictures.append(Download(Owner(Subject.USER, pk), user.avatar, None))
    return pictures


def pictures_not_offered(state: AccountState, tray: Tray, repair: RepairScope | None) -> list[Failure]:
    """Return a gap for each picture that a repair wants and the tray does not show.

    Once they are recorded, the next repair does not pay for these pictures again.
    """
    if repair is None or state.pk is None:
        return []
    offered = {entry.pk for entry in tray.highlights if entry.cover_name is not None}
    covers = repair.covers & {highlight.pk for highlight in state.highlights}
    lost = [(Subject.HIGHLIGHT, cover, Role.COVER) for cover in sorted(covers - offered)]
    if state.pk in repair.avatars and (tray.user is None or tray.user.avatar_name is None):
        lost.append((Subject.USER, state.pk, Role.AVATAR))
    return [Failure(*which, Reason.NOT_FOUND, f"lost, and the tray shows no {which[2]}") for which in lost]
