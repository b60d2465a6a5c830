"""What a run saw that was otherwise before: read from the archive when the run has ended."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from archiver.cli.story import Story
from archiver.errors import ArchiverError

if TYPE_CHECKING:
    from archiver.config import Config
    from archiver.model import NamedChange

_LISTED = 1_000
"""So many rows are listed, as of failures; the rest is told folded, and stands in the table."""


@dataclass(frozen=True, slots=True)
class News:
    """The changes of one run: folded for people, and the first thousand as they are. ``unknown``: why they could not be read, or ''."""

    story: Story = field(default_factory=Story)
    changes: tuple[NamedChange, ...] = ()
    unknown: str = ""


def of_run(config: Config, run_id: int) -> News:
    """The news of that run. An archive that cannot be read (any more) is no reason not to tell the rest."""
    from archiver import archive

    story = Story()
    listed: list[NamedChange] = []
    try:
        for change in archive.changes(config, run_id=run_id):
            story.add(change)
            if len(listed) < _LISTED:
                listed.append(change)
    except ArchiverError as error:
        return News(story, tuple(listed), str(error))
    return News(story, tuple(listed))


def fields_of(change: NamedChange) -> dict[str, object]:
    """One row as ``--json`` shows it."""
    return {f.name: getattr(change, f.name) for f in fields(change)}
