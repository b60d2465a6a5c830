"""The files of a folder export: pictures and videos with readable names, JSON and XMP files beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from archiver.export import file_names
from archiver.export.export_entry import CompanionText, ExportEntry, to_nanoseconds
from archiver.export.export_paths import ACCOUNT_FIELDS, HIGHLIGHT_FIELDS, PathFiller, PathTemplate
from archiver.media.formats import extension_for
from archiver.model.archived import KeptAccount, KeptFile, KeptHighlight, Placed, PlacedFile
from archiver.model.foreign_files import WaitingFile
from archiver.model.identity import MEDIA_TYPE_NAMES, Digest, Pk
from archiver.text_format import json_value

WalkStep = KeptAccount | KeptHighlight | Placed | PlacedFile
"""What a walk through an archive yields: an account, its highlights, and after each highlight its items."""

# The position of each field in a time in ISO 8601.
_DATE_FIELDS = {
    "taken_at": slice(19),
    "date": slice(10),
    "year": slice(4),
    "month": slice(5, 7),
    "day": slice(8, 10),
}


class FolderLayout(Struct, frozen=True):
    """How a folder is laid out.

    ``item_template`` says where items go. Avatars and covers go into its deepest directory that belongs to
    one account or one highlight. ``with_sidecars`` adds a JSON file to each. Without
    ``with_gone`` everything that upstream no longer shows is left out. ``below``: the directories in which
    everything goes. ``with_xmp`` adds an XMP sidecar to each file of an item. ``with_replaced`` adds those
    that newer ones have replaced, under their hashes, in the directory ``replaced`` beside them.
    """

    item_template: PathTemplate
    with_sidecars: bool = False
    with_gone: bool = True
    below: tuple[str, ...] = ()
    with_xmp: bool = False
    with_replaced: bool = False


def folder_entries(steps: Iterable[WalkStep], layout: FolderLayout) -> Iterator[ExportEntry | CompanionText]:
    """Yield the files of a folder, from what ``content.walk`` or ``walk_files`` yields, in that order.

    Only ``content.walk`` carries what the sidecars of items need. An item appears once for each highlight
    that shows it, or once for its account if the template does not distinguish highlights.
    """
    return _FolderWalk(layout).entries(steps)


def waiting_entries(files: Iterable[WaitingFile], layout: FolderLayout) -> Iterator[ExportEntry]:
    """Yield the adopted files that wait for their items, as ``adopted/<account>/<highlight>/<file>``.

    The highlight is its pk or, if that is not known, its title.
    """
    for file in files:
        if file.lost_at is not None:
            continue
        account, highlight = (
            file_names.truncate(file_names.clean(name or ""), file_names.MAX_LENGTH)
            for name in (file.username or file.user_pk, file.highlight_pk or file.title)
        )
        folders = (account or "unknown account", highlight or "unknown highlight")
        below = (*layout.below, "adopted", *map(file_names.safe_name, folders))
        name, id_ = f"{file.item_pk} {file.role}", f"adopted {file.item_pk} {file.role} {file.blob.sha256}"
        path = (*below, f"{name}.{extension_for(file.blob.mime)}")
        at_ns, suffixes = to_nanoseconds(file.taken_at or file.adopted_at), (file.blob.sha256[:16],)
        yield ExportEntry(id_, path, file.blob.sha256, file.blob.size, at_ns, suffixes)
        if layout.with_sidecars:
            text = _json({"adopted": file})
            yield ExportEntry.of_text(f"{id_} json", (*below, f"{name}.json"), text, at_ns, suffixes)


class _FolderWalk:
    def __init__(self, layout: FolderLayout) -> None:
        self._layout, template = layout, layout.item_template
        self._item = PathFiller(template)
        self._avatar = PathFiller(template.beside(ACCOUNT_FIELDS, "avatar"))
        self._account = PathFiller(template.beside(ACCOUNT_FIELDS, "account"))
        self._cover = PathFiller(template.beside(ACCOUNT_FIELDS | HIGHLIGHT_FIELDS, "cover"))
        self._highlight = PathFiller(template.beside(ACCOUNT_FIELDS | HIGHLIGHT_FIELDS, "highlight"))
        self._highlight_values: dict[str, str] = {}
        self._last_item: tuple[Pk, dict[str, str]] = "", {}
        self._date_fields = [
            (name, digits) for name, digits in _DATE_FIELDS.items() if name in template.fields
        ]
        self._is_per_highlight = bool(template.fields & (HIGHLIGHT_FIELDS | {"position"}))
        self._seen: set[str] = set()

    def entries(self, steps: Iterable[WalkStep]) -> Iterator[ExportEntry | CompanionText]:
        account: KeptAccount | None = None
        highlight: KeptHighlight | None = None
        with_gone = self._layout.with_gone
        for step in steps:
            if isinstance(step, KeptAccount):
                account, self._seen = step, set()
                yield from self._account_entries(account)
            elif isinstance(step, KeptHighlight):
                highlight = step if with_gone or step.gone_at is None else None
                if highlight is not None:
                    assert account is not None
                    yield from self._highlight_entries(account, highlight)
            elif highlight is None or not (with_gone or step.gone_at is None):
                continue
            elif isinstance(step, PlacedFile):
                if self._is_new(step.item_pk, step.role):
                    yield self._file_entry(step)
            else:
                assert account is not None
                yield from self._item_entries(account, highlight, step)

    def _item_entries(
        self, account: KeptAccount, highlight: KeptHighlight, placed: Placed
    ) -> Iterator[ExportEntry | CompanionText]:
        from archiver.export.xmp_sidecar import describe_item  # imports idna, which is slow

        described: dict[str | None, bytes] = {}
        for kept, file in zip(placed.item.held, placed.files, strict=True):
            if not self._is_new(file.item_pk, file.role):
                continue
            entry = self._file_entry(file)
            yield entry
            if self._layout.with_xmp:
                if kept.source not in described:
                    described[kept.source] = describe_item(account, highlight, placed.item, kept.source)
                xmp = described[kept.source]
                yield CompanionText(f"{entry.id} xmp", entry.id, ".xmp", xmp, entry.at_ns)
        yield from self._replaced_entries(
            f"item {highlight.pk} {placed.item.pk}",
            self._path(self._cover, self._highlight_values, ""),
            placed.item.files,
            placed.item.held,
        )
        if self._layout.with_sidecars and self._is_new(placed.item.pk, "json"):
            yield self._item_sidecar(account, highlight, placed)

    def _account_entries(self, account: KeptAccount) -> Iterator[ExportEntry]:
        values, id_, suffixes = _account_values(account), f"account {account.pk}", (account.pk,)
        if account.avatar is not None:
            entry = self._picture_entry(f"{id_} avatar", self._avatar, values, account.avatar, suffixes)
            yield entry
            yield from self._replaced_entries(id_, entry.path, account.avatars, [account.avatar])
        if self._layout.with_sidecars:
            text, at_ns = _json({"account": account}), to_nanoseconds(account.last_seen_at)
            path = self._path(self._account, values, "json")
            yield ExportEntry.of_text(f"{id_} json", path, text, at_ns, suffixes)

    def _highlight_entries(self, account: KeptAccount, highlight: KeptHighlight) -> Iterator[ExportEntry]:
        id_, suffixes = f"highlight {highlight.pk}", (highlight.pk,)
        title = {"title": highlight.title or "untitled", "highlight_pk": highlight.pk}
        self._highlight_values = values = _account_values(account) | title
        self._last_item = "", {}
        if highlight.cover is not None:
            entry = self._picture_entry(f"{id_} cover", self._cover, values, highlight.cover, suffixes)
            yield entry
            yield from self._replaced_entries(id_, entry.path, highlight.covers, [highlight.cover])
        if self._layout.with_sidecars:
            text = _json({"account": _short_account(account), "highlight": highlight})
            path, at_ns = self._path(self._highlight, values, "json"), to_nanoseconds(highlight.last_seen_at)
            yield ExportEntry.of_text(f"{id_} json", path, text, at_ns, suffixes)

    def _replaced_entries(
        self, id_: str, beside: tuple[str, ...], files: Iterable[KeptFile], current: Iterable[KeptFile]
    ) -> Iterator[ExportEntry]:
        if not self._layout.with_replaced:
            return
        digests = {file.blob.sha256 for file in current}
        for file in files:
            digest = file.blob.sha256
            if file.lost_at is None and digest not in digests:
                digests.add(digest)
                path = (*beside[:-1], "replaced", f"{digest}.{extension_for(file.blob.mime)}")
                at_ns, suffixes = to_nanoseconds(file.kept_at), (id_.rpartition(" ")[2],)
                yield ExportEntry(f"{id_} replaced {digest}", path, digest, file.blob.size, at_ns, suffixes)

    def _is_new(self, item_pk: Pk, role: str) -> bool:
        """Return whether this file of an item is not in the folder yet.

        Another highlight may have put it there.
        """
        if self._is_per_highlight:
            return True
        key = f"{item_pk} {role}"
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _file_entry(self, file: PlacedFile) -> ExportEntry:
        pk, at = file.item_pk, file.at
        if self._last_item[0] != pk:
            taken_at = at if file.is_dated else None
            self._last_item = pk, self._item_values(pk, file.code, file.position, file.media_type, taken_at)
        values = self._last_item[1]
        values["role"] = file.role
        path = self._path(self._item, values, extension_for(file.mime))
        id_ = self._item_id(file.highlight_pk, pk, file.role)
        digest, suffixes = Digest(file.sha256), (pk, file.highlight_pk)
        return ExportEntry(id_, path, digest, file.size, to_nanoseconds(at), suffixes)

    def _item_sidecar(self, account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> ExportEntry:
        item = placed.item
        place = {
            "position": placed.position,
            "first_seen_at": placed.first_seen_at,
            "last_seen_at": placed.last_seen_at,
            "gone_at": placed.gone_at,
        }
        short_highlight = {"pk": highlight.pk, "title": highlight.title}
        text = _json(
            {"account": _short_account(account), "highlight": short_highlight, "place": place, "item": item}
        )
        values = self._item_values(item.pk, item.code, placed.position, item.media_type, item.taken_at)
        path = self._path(self._item, values | {"role": "json"}, "json")
        at_ns = to_nanoseconds(item.taken_at or item.first_seen_at)
        id_ = self._item_id(highlight.pk, item.pk, "json")
        return ExportEntry.of_text(id_, path, text, at_ns, (item.pk, highlight.pk))

    def _item_id(self, highlight_pk: Pk, item_pk: Pk, role: str) -> str:
        return f"item {highlight_pk} {item_pk} {role}" if self._is_per_highlight else f"item {item_pk} {role}"

    def _item_values(
        self, pk: Pk, code: str | None, position: int, media_type: int | None, taken_at: datetime | None
    ) -> dict[str, str]:
        values = self._highlight_values | {
            "code": code or pk,
            "item_pk": pk,
            "position": f"{position + 1:03d}",
        }
        values["type"] = MEDIA_TYPE_NAMES.get(media_type, "other")
        text = taken_at.isoformat(" ").replace(":", "-") if taken_at is not None else None
        for field, digits in self._date_fields:
            values[field] = text[digits] if text is not None else "undated"
        return values

    def _picture_entry(
        self, id_: str, filler: PathFiller, values: dict[str, str], file: KeptFile, suffixes: tuple[str, ...]
    ) -> ExportEntry:
        path = self._path(filler, values, extension_for(file.blob.mime))
        at_ns = to_nanoseconds(file.kept_at)
        return ExportEntry(id_, path, file.blob.sha256, file.blob.size, at_ns, suffixes)

    def _path(self, filler: PathFiller, values: dict[str, str], ext: str) -> tuple[str, ...]:
        values["ext"] = ext
        return self._layout.below + filler.fill(values)


def _account_values(account: KeptAccount) -> dict[str, str]:
    return {
        "username": account.last_username or account.pk,
        "full_name": account.full_name or account.last_username or account.pk,
        "user_pk": account.pk,
    }


def _short_account(account: KeptAccount) -> dict[str, object]:
    return {"pk": account.pk, "username": account.username}


def _json(value: Mapping[str, object]) -> bytes:
    """Return the text of a sidecar: everything in the rows, times in UTC, keys sorted."""
    text = json.dumps(json_value(value), ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return f"{text}\n".encode(errors="replace")
