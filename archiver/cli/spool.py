"""The one object of ``--json`` where a list in it may be longer than memory: written only once all of it is known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping

from archiver.cli import show
from archiver.durable import storage_errors

_IN_MEMORY = 8_000_000
_PIECE = 65_536


def document(head: Mapping[str, object], name: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Write ``head`` and, as its last field, the list ``name`` of these rows. What the rows raise is raised before anything is written."""
    with (
        storage_errors("the answer cannot be put together in the temporary directory"),
        tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="") as spool,
    ):
        spool.writelines(_lines(rows))
        spool.seek(0)
        opened = show.json_text({**head, name: []}, indent=2)
        show.data(opened.removesuffix("]\n}"))
        while piece := spool.read(_PIECE):
            show.data(piece)
        show.data("]\n}\n")


def _lines(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}\n    {show.json_text(row)}"
