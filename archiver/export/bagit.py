"""A BagIt 1.0 bag (RFC 8493): the payload in ``data/``, and the files that describe it.

The ``bagit`` package is not used to write it: it turns a finished directory into a bag and reads every byte
again. Here files are links, their SHA-256 is known from the archive, and a bag is completed and updated in
place. The tests validate bags with that package.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from archiver.durable import storage_errors
from archiver.errors import UsageError
from archiver.export.export_check import ExportCheck
from archiver.export.export_entry import ExportEntry
from archiver.export.export_paths import PathTemplate, parse_template
from archiver.export.export_sync import ExportSync
from archiver.export.manifest import Manifest, ManifestRow

PAYLOAD = "data"
_DECLARATION = "bagit"
_MANIFEST, _INFO, _TAGS = "manifest-sha256", "bag-info", "tagmanifest-sha256"
_TAG_FILES = (_DECLARATION, _MANIFEST, _INFO, _TAGS)
_FOREIGN = "not part of this bag, so the bag would be invalid: move it elsewhere"
_IS_LIST = re.compile(r"(?:tag)?manifest-.+\.txt|fetch\.txt", re.IGNORECASE)
"""The names of lists that a validator reads wherever they come from."""
_DECLARATION_TEXT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_OWN_LABELS = ("payload-oxum", "bagging-date", "bag-size", "bag-software-agent", "external-identifier")


def media_template() -> PathTemplate:
    """Return where items go in ``data/media``: named by pks, so that no new username or title moves them."""
    return parse_template("{user_pk}/{highlight_pk}/{item_pk}.{ext}")


def unseal(sync: ExportSync) -> None:
    """Remove ``bagit.txt`` before the first change, so that an unfinished bag is not taken for a valid
    one.
    """
    sync.before_change = lambda: sync.withdraw(_DECLARATION)
    sync.keep(*_TAG_FILES)


def seal(sync: ExportSync, info: Iterable[tuple[str, str]]) -> None:
    """Write the manifests of all files in ``data/``, then the tag files, ``bagit.txt`` last.

    All other files must have been flushed. The export's own files with wrong bytes, which could not be
    replaced, are removed. A file in ``data/`` that does not belong to the export, or a manifest of another
    tool, makes the bag invalid: it is counted as a failure, and the bag is not sealed.
    """
    if any(_foreign_paths(sync)):
        sync.remove_damaged(f"{PAYLOAD}/")
    foreign_paths = [*_foreign_lists(sync.root, sync.manifest), *_foreign_paths(sync)]
    for path in foreign_paths:
        sync.stats.add_failure(path, _FOREIGN)
    if foreign_paths:
        sync.withdraw(_DECLARATION)
        return
    manifest, size = sync.stage_text(map(_manifest_line, _payload_rows(sync)))
    info_text = "".join(f"{label}: {value}\n" for label, value in info).encode()
    sync.put(ExportEntry(_MANIFEST, (f"{_MANIFEST}.txt",), manifest, size))
    sync.put(ExportEntry.of_text(_INFO, (f"{_INFO}.txt",), info_text))
    declaration = ExportEntry.of_text(_DECLARATION, (f"{_DECLARATION}.txt",), _DECLARATION_TEXT)
    sync.flush()
    rows = sync.manifest.rows_by_id([_INFO, _MANIFEST])
    tags = [(row.path, row.sha256) for row in rows.values()]
    tags = sorted([(declaration.path[0], declaration.digest), *tags])
    tag_text = "".join(f"{digest}  {path}\n" for path, digest in tags).encode()
    sync.put(ExportEntry.of_text(_TAGS, (f"{_TAGS}.txt",), tag_text))
    sync.flush()
    sync.put(declaration)
    sync.flush()


def check_bag(check: ExportCheck) -> None:
    """Check the files of a bag, and that its manifest and ``data/`` have these files and no others."""
    hashed, count = hashlib.sha256(), 0
    for row in check.right_files():
        if row.path.startswith(f"{PAYLOAD}/"):
            hashed.update(_manifest_line(row).encode(errors="replace"))
            count += 1
    stats, tags = check.stats, check.manifest.rows_by_id(_TAG_FILES)
    for id_ in _TAG_FILES:
        if id_ not in tags:
            stats.add_failure(f"{id_}.txt", "missing: the bag is not complete, export again")
    if not stats.failed and tags[_MANIFEST].sha256 != hashed.hexdigest():
        stats.add_failure(f"{_MANIFEST}.txt", "it does not have the files of the bag: export again")
    for name in _foreign_lists(check.root, check.manifest):
        stats.add_failure(name, _FOREIGN)
    with storage_errors("the export cannot be read"):
        if count != sum(1 for _ in check.files(PAYLOAD)):
            own_paths = {row.path for row in check.manifest.rows(f"{PAYLOAD}/")}
            for path in check.files(PAYLOAD):
                if path not in own_paths:
                    stats.add_failure(path, _FOREIGN)


def require_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Raise UsageError for a field that cannot be in ``bag-info.txt``, or that only archiver writes."""
    for label, value in fields:
        why = ""
        if not label:
            why = "it has no label"
        elif label.lower() in _OWN_LABELS:
            why = "archiver writes it itself"
        elif ":" in label:
            why = "a label must not contain a colon"
        elif not (label + value).isprintable():
            why = "it contains a line break or another unprintable character"
        if why:
            raise UsageError(
                f"the field {label!r} cannot be written to bag-info.txt: {why}",
                "see archiver export bagit --help",
            )


def info_fields(
    sync: ExportSync, archive: str, agent: str, today: date, new_fields: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield the fields of ``bag-info.txt``: those of earlier exports, ``new_fields``, and archiver's own.

    A label may occur several times. The new fields, which passed ``require_fields``, replace all earlier ones
    with their label; a new field without a value only removes the earlier ones.
    """
    new_labels = {label.lower() for label, _ in new_fields}
    yield from (field for field in _earlier_fields(sync) if field[0].lower() not in new_labels)
    yield from (field for field in new_fields if field[1])
    count = size = 0
    for row in _payload_rows(sync):
        count, size = count + 1, size + row.size
    yield "External-Identifier", archive
    yield "Bagging-Date", today.isoformat()
    yield "Payload-Oxum", f"{size}.{count}"
    yield "Bag-Software-Agent", agent


def _earlier_fields(sync: ExportSync) -> Iterator[tuple[str, str]]:
    """Yield the user's fields in an earlier ``bag-info.txt``, unless somebody changed that file."""
    row = sync.manifest.rows_by_id([_INFO]).get(_INFO)
    if row is None or not sync.is_in_place(row):
        return
    with storage_errors(f"{row.path} cannot be read"):
        fd = os.open(row.path, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=sync.root)
        with os.fdopen(fd, encoding="utf-8", errors="replace", newline="\n") as lines:
            for line in lines:
                label, _, value = line.rstrip("\n").partition(": ")
                if label.lower() not in _OWN_LABELS:
                    yield label, value


def _payload_rows(sync: ExportSync) -> Iterator[ManifestRow]:
    """Yield the rows of the files that are in ``data/`` now. Files that somebody removed are left out."""
    rows = sync.manifest.rows(f"{PAYLOAD}/")
    return (row for row in rows if row.mtime_ns is not None and sync.is_in_place(row))


def _foreign_paths(sync: ExportSync) -> Iterator[str]:
    """Yield the foreign paths in ``data/``. Paths are compared only if their number is wrong."""
    expected = sum(1 for _ in _payload_rows(sync))
    with storage_errors("the export cannot be read"):
        if expected != sum(1 for _ in sync.files(PAYLOAD)):
            own_paths = {row.path for row in _payload_rows(sync)}
            yield from (path for path in sync.files(PAYLOAD) if path not in own_paths)


def _foreign_lists(root: int, manifest: Manifest) -> list[str]:
    """Return the manifests of other tools: they do not know of the changes that an export makes."""
    own = {row.path for row in manifest.rows_by_id(_TAG_FILES).values()}
    with storage_errors("the export cannot be read"):
        return sorted(name for name in os.listdir(root) if _IS_LIST.fullmatch(name) and name not in own)


def _manifest_line(row: ManifestRow) -> str:
    path = row.path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")
    return f"{row.sha256}  {path}\n"
