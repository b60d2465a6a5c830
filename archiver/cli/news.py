"""What a run saw that was otherwise before: read from the rows when the run has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from archiver.cli.story import Story
from archiver.errors import ArchiverError

if TYPE_CHECKING:
    from archiver.model.archived import NamedChange

_LISTED = 1_000
"""So many rows are listed, as of failures; the rest is told folded, and stands in the table."""


@dataclass(slots=True)
class News:
    """The changes of one run: folded for people, and the first thousand as they are. ``unknown``: why they could not be read, or ''."""

    story: Story = field(default_factory=Story)
    changes: list[NamedChange] = field(default_factory=list)
    unknown: str = ""

    def read(self, changes: Iterable[NamedChange]) -> None:
        """Take them all. A database that cannot be read (any more) is no reason not to tell the rest of the night."""
        try:
            for change in changes:
                self.story.add(change)
                if len(self.changes) < _LISTED:
                    self.changes.append(change)
        except ArchiverError as error:
            self.unknown = str(error)


def fields_of(change: NamedChange) -> dict[str, object]:
    """One row as ``--json`` shows it."""
    return {f.name: getattr(change, f.name) for f in fields(change)}
