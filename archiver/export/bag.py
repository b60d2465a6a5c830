"""A bag after BagIt 1.0 (RFC 8493): the payload below ``data/``, and what vouches for it.

Written by ourselves: the ``bagit`` package moves a finished directory into a bag and hashes every byte of it again; here files are links, their
SHA-256 is their name in the archive, and a bag is completed and updated where it stands. That package's ``--validate`` is what tests ask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from archiver.durable import storage_errors
from archiver.errors import UsageError
from archiver.export.manifest import Row
from archiver.export.tables import scratched
from archiver.export.template import Template, parse
from archiver.export.tree import Tree
from archiver.export.wanted import Wanted

LAYOUT = "{user_pk}/{highlight_pk}/{item_pk}.{ext}"
"""Of the media: by pks, so that no renaming moves anything."""
PAYLOAD = "data"
_DECLARED = "bagit"
_MANIFEST, _INFO, _TAGS = "manifest-sha256", "bag-info", "tagmanifest-sha256"
_TEXT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_OWN_LABELS = ("payload-oxum", "bagging-date", "bag-size", "bag-software-agent", "external-identifier")


def layout() -> Template:
    """Where items lie below ``data/media``."""
    return parse(LAYOUT)


def begin(tree: Tree) -> None:
    """See to it that the bag is none from the first change on until ``seal``: without ``bagit.txt`` nobody takes it for one."""
    tree.before_change = lambda: tree.withdraw(_DECLARED)
    tree.keep(_DECLARED, _MANIFEST, _INFO, _TAGS)


def seal(tree: Tree, info: Iterable[tuple[str, str]]) -> None:
    """Write the manifests over all that stands in ``data/``, then the tag files, ``bagit.txt`` last. Everything else must be flushed.

    A file in ``data/`` that is not ours is told, and then the bag is not sealed: it would not be valid.
    """
    strangers = list(_strangers(tree))
    for path in strangers:
        tree.tally.fail(path, "it is not of this bag, which is not valid with it: move it away")
    if strangers:
        tree.withdraw(_DECLARED)
        return
    manifest, size = scratched(_lines(_standing(tree)), tree.scratch)
    text = "".join(f"{label}: {value}\n" for label, value in info).encode()
    tree.put(Wanted(_MANIFEST, (f"{_MANIFEST}.txt",), manifest, size))
    tree.put(Wanted.text(_INFO, (f"{_INFO}.txt",), text))
    declared = Wanted.text(_DECLARED, (f"{_DECLARED}.txt",), _TEXT)
    tree.flush()
    rows = tree.manifest.by_id([_INFO, _MANIFEST])
    tags = sorted([(declared.path[0], declared.digest), *((row.path, row.sha256) for row in rows.values())])
    listed = "".join(f"{digest}  {path}\n" for path, digest in tags).encode()
    tree.put(Wanted.text(_TAGS, (f"{_TAGS}.txt",), listed))
    tree.flush()
    tree.put(declared)
    tree.flush()


def require_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Raises UsageError for a field that cannot stand in ``bag-info.txt``, or is not the owner's to write."""
    for label, value in fields:
        why = ""
        if not label:
            why = "it has no label"
        elif label.lower() in _OWN_LABELS:
            why = "archiver writes it itself"
        elif ":" in label:
            why = "a label has no colon"
        elif not (label + value).isprintable():
            why = "it has a line end, or another character that cannot be printed"
        if why:
            raise UsageError(
                f"the field {label!r} cannot be given to bag-info.txt: {why}",
                "see archiver export bagit --help",
            )


def information(
    tree: Tree, archive: str, agent: str, today: date, more: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """The fields of ``bag-info.txt``: the owner's own, those of an earlier export too, then ours. A label may have several. ``more`` passed
    ``require_fields``: its fields take the place of all earlier ones of their label, and one without a value only ends those."""
    given = {label.lower() for label, _ in more}
    yield from (field for field in _before(tree) if field[0].lower() not in given)
    yield from (field for field in more if field[1])
    count = size = 0
    for row in _standing(tree):
        count, size = count + 1, size + row.size
    yield "External-Identifier", archive
    yield "Bagging-Date", today.isoformat()
    yield "Payload-Oxum", f"{size}.{count}"
    yield "Bag-Software-Agent", agent


def _before(tree: Tree) -> Iterator[tuple[str, str]]:
    """The owner's own fields in the ``bag-info.txt`` that an earlier export wrote, if that stands as it was written."""
    row = tree.manifest.by_id([_INFO]).get(_INFO)
    if row is None or not tree.stands(row):
        return
    with storage_errors(f"{row.path} cannot be read"):
        fd = os.open(row.path, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=tree.root)
        with os.fdopen(fd, encoding="utf-8", newline="\n") as written:
            for line in written:
                label, _, value = line.rstrip("\n").partition(": ")
                if label.lower() not in _OWN_LABELS:
                    yield label, value


def _standing(tree: Tree) -> Iterator[Row]:
    """The rows of what stands in ``data/``: a file of an earlier export may be gone since."""
    return (row for row in tree.manifest.rows(f"{PAYLOAD}/") if row.mtime_ns is not None and tree.stands(row))


def _strangers(tree: Tree) -> Iterator[str]:
    """The paths in ``data/`` that are no files of ours. Paths are compared one by one only where their number is not right."""
    ours = sum(1 for _ in _standing(tree))
    with storage_errors("the export cannot be read"):
        there = sum(1 for _ in tree.files(PAYLOAD))
        if ours != there:
            known = {row.path for row in _standing(tree)}
            yield from (path for path in tree.files(PAYLOAD) if path not in known)


def _lines(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        path = row.path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")
        yield f"{row.sha256}  {path}\n"
