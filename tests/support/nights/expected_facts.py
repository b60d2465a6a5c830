"""What the catalog must say of a world, derived from the world alone, and what it says: both as facts by
name, to be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from archiver.sandbox import item_factory, media_files
from archiver.sandbox.world_objects import Role, SandboxAccount, SandboxFile, SandboxHighlight, SandboxItem
from tests.support.archive_harness import ArchiveHarness
from tests.support.nights.item_details import expected_rows, stored_rows
from tests.support.standin.world_edits import EditableWorld

Fact = tuple[str, ...]
Facts = dict[Fact, object]


def differences(harness: ArchiveHarness, names: Iterable[str]) -> list[str]:
    """How the archive differs from the world upstream as far as the accounts of these names or pks go; empty
    where it does not.
    """
    return [line for lines in differences_of_each(harness, names).values() for line in lines]


def differences_of_each(harness: ArchiveHarness, names: Iterable[str]) -> dict[str, list[str]]:
    """As ``differences``, by account.

    An account that cannot be seen is only known to be private or gone; what it showed before is no matter of
    this moment.
    """
    said, held = stored_facts(harness), _held(harness)
    found: dict[str, list[str]] = {}
    for name in names:
        account = harness.upstream.world.account(name)
        found[name] = [
            f"{' '.join(fact)}: upstream {value!r}, the archive says {said.get(fact)!r}"
            for fact, value in sorted(expected_facts([account]).items())
            if said.get(fact) != value
        ] + list(_files(harness, account, held))
    return found


def expected_facts(accounts: Iterable[SandboxAccount]) -> Facts:
    """The facts of these accounts."""
    facts: Facts = {}
    for account in accounts:
        facts[("user", account.pk, "gone")] = account.is_deleted
        if account.is_deleted:
            continue
        facts[("user", account.pk, "is_private")] = account.is_private
        if not account.is_private:
            facts.update(_shown(account))
    return facts


def _shown(account: SandboxAccount) -> Facts:
    tray = account.tray_highlights()
    facts: Facts = {
        ("user", account.pk, "username"): account.username,
        ("user", account.pk, "full_name"): account.full_name,
        ("user", account.pk, "is_verified"): account.is_verified,
        ("user", account.pk, "avatar_name"): account.avatar.name if account.avatar else None,
        ("user", account.pk, "tray"): tuple((place, h.pk) for place, h in enumerate(tray)),
    }
    for highlight in tray:
        facts.update(_highlight(highlight))
    return facts


def _highlight(highlight: SandboxHighlight) -> Facts:
    pk = highlight.pk
    facts: Facts = {
        ("highlight", pk, "title"): highlight.title,
        ("highlight", pk, "created_at"): moment(highlight.created_at),
        ("highlight", pk, "latest_reel_media"): highlight.latest_reel_media,
        ("highlight", pk, "media_count"): highlight.media_count,
        ("highlight", pk, "is_pinned"): highlight.is_pinned,
        ("highlight", pk, "cover_name"): highlight.cover.name if highlight.cover else None,
    }
    if highlight.is_page_lost:
        return facts
    facts[("highlight", pk, "complete")] = True
    facts[("highlight", pk, "items")] = tuple((place, i.pk) for place, i in enumerate(highlight.items))
    for item in highlight.items:
        facts[("item", item.pk, "fields")] = (
            item.user_pk,
            item_factory.code(item.pk),
            moment(item.taken_at),
            item.media_type,
            "story",
            item.duration,
        )
        facts.update({("item", item.pk, table): rows for table, rows in expected_rows(item).items()})
    return facts


def stored_facts(harness: ArchiveHarness) -> Facts:
    """The facts that the rows of the archive state, read by other means than the program's."""
    facts: Facts = {}
    trays, carrying = _trays(harness), stored_rows(harness)
    for pk, name, full, private, verified, avatar, gone in harness.rows(
        "select pk, username, full_name, is_private, is_verified, avatar_name, gone_at from users"
    ):
        said = {"username": name, "full_name": full, "is_private": private, "is_verified": verified}
        said |= {"avatar_name": avatar, "gone": gone is not None, "tray": trays.get(str(pk), ())}
        facts.update({("user", str(pk), field): value for field, value in said.items()})
    for row in harness.rows(
        "select pk, title, created_at, latest_reel_media, media_count, is_pinned, "
        "cover_name, completed_at from highlights"
    ):
        facts.update(_told(row))
    for pk, *fields in harness.rows(
        "select pk, user_pk, code, taken_at, media_type, product_type, video_duration from items"
    ):
        facts[("item", str(pk), "fields")] = tuple(map(plain, fields))
        facts.update({("item", str(pk), table): () for table in carrying})
    for table, of_items in carrying.items():
        facts.update({("item", pk, table): rows for pk, rows in of_items.items()})
    members: dict[str, list[tuple[object, str]]] = {}
    for pk, position, item in harness.rows(
        "select highlight_pk, position, item_pk from highlight_items where gone_at is "
        "null order by highlight_pk, position"
    ):
        members.setdefault(str(pk), []).append((position, str(item)))
    facts.update({("highlight", pk, "items"): tuple(shown) for pk, shown in members.items()})
    return facts


def _trays(harness: ArchiveHarness) -> dict[str, tuple[tuple[object, str], ...]]:
    trays: dict[str, tuple[tuple[object, str], ...]] = {}
    for user, position, pk in harness.rows(
        "select user_pk, position, pk from highlights where gone_at is null order by user_pk, position"
    ):
        trays[str(user)] = (*trays.get(str(user), ()), (position, str(pk)))
    return trays


def _told(row: Sequence[object]) -> Facts:
    pk, title, created, latest, count, pinned, cover, completed = row
    said = {"title": title, "created_at": plain(created), "latest_reel_media": latest, "media_count": count}
    said |= {"is_pinned": pinned, "cover_name": cover, "complete": completed is not None, "items": ()}
    return {("highlight", str(pk), field): value for field, value in said.items()}


def _held(harness: ArchiveHarness) -> dict[tuple[str, str], str]:
    """The current file of each owner and role."""
    rows = harness.rows(
        "select coalesce(user_pk, highlight_pk, item_pk), role, sha256 from files order by last_seen_at, id"
    )
    return {(str(pk), str(role)): str(digest) for pk, role, digest in rows}


def _files(
    harness: ArchiveHarness, account: SandboxAccount, held: dict[tuple[str, str], str]
) -> Iterator[str]:
    """Each file that is offered is held: as the CDN serves it now, or as it once did under the same name."""
    offered = {(pk, role): file for pk, role, file in _offered(account)}
    for (pk, role), file in offered.items():
        current = held.get((pk, role), "")
        if current not in [sha256(version) for version in versions(file)]:
            yield f"{role} of {pk}: offered, and {current or 'nothing'} is held"
        elif not _kept(harness, current):
            yield f"{role} of {pk}: the bytes of {current} are not there"


def _offered(account: SandboxAccount) -> Iterator[tuple[str, Role, SandboxFile]]:
    if account.is_deleted or account.is_private:
        return
    if account.avatar and account.tray_highlights():  # an empty tray shows no owner
        yield account.pk, "avatar", account.avatar
    for highlight in account.tray_highlights():
        if highlight.cover:
            yield highlight.pk, "cover", highlight.cover
        if not highlight.is_page_lost:
            yield from (offer for item in highlight.items for offer in offers(item))


def offers(item: SandboxItem) -> Iterator[tuple[str, Role, SandboxFile]]:
    """The files of an item."""
    if item.thumbnail:
        yield item.pk, "thumbnail", item.thumbnail
    if item.video:
        yield item.pk, "video", item.video


def versions(now: SandboxFile) -> Iterator[SandboxFile]:
    """The file as it is and as it was before each ``change_bytes``."""
    mark = now.mark
    while True:
        yield SandboxFile(now.path, now.base, mark, now.size)
        mark, edited, _ = mark.rpartition(" edited ")
        if not edited:
            return


def sha256(served: SandboxFile) -> str:
    """The digest of what the CDN serves for it."""
    return hashlib.sha256(media_files.body(served)).hexdigest()


def _kept(harness: ArchiveHarness, digest: str) -> bool:
    path = harness.blob_file(digest)
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def moment(seconds: int) -> str:
    """Unix seconds as the catalog's text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def plain(value: object) -> object:
    """A value of either database, times as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def names(world: EditableWorld) -> list[str]:
    """The names of all accounts, as a configuration would list them today."""
    return [account.username for account in world.accounts]
