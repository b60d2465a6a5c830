"""How a run goes about its accounts."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.media import DownloadRules
from archiver.model.target import Target
from archiver.runner.plan import Policy, Sought


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run goes about its accounts. ``bound``: targets are entries of the configuration; ``insist``: a person asked now, so
    a back-off does not hold; ``covers`` and ``avatars``: whether those are kept; ``only``: a repair, of this alone; ``lists``: trays are
    asked for and recorded, and nothing else is done; ``rules``: what the settings allow to be downloaded."""

    sweep_days: int = 30
    full: bool = False
    bound: bool = True
    insist: bool = False
    covers: bool = True
    avatars: bool = True
    only: Sought | None = None
    lists: bool = False
    rules: DownloadRules | None = None

    def policy(self, target: Target) -> Policy:
        """What decides which highlights of a target are fetched."""
        return Policy(self.sweep_days, self.full, target.highlights, self.only, self.rules)
