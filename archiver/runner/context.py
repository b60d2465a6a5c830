"""What all parts of one run share: its options, its limits, and the context that it reports to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from archiver.model.api_calls import Limits
from archiver.model.archived import Failure
from archiver.model.events import FailureRecorded, Notice
from archiver.model.identity import Pk
from archiver.runner.tally import Tally
from archiver.work import Work

if TYPE_CHECKING:  # a command that only reads does not load what downloads
    from archiver.catalog import Catalog
    from archiver.media.egress import DownloadRules


class RepairScope(Struct, frozen=True):
    """What a repair fetches again.

    ``highlights``: those to fetch. ``covers``: highlights whose cover is lost. ``avatars``: accounts whose
    avatar is lost.
    """

    highlights: frozenset[Pk]
    covers: frozenset[Pk]
    avatars: frozenset[Pk]


class SharedOptions(Struct, frozen=True):
    """The options of a run, the same for all its accounts and for all its workers.

    ``sweep_days``, ``sweep_days_max``: the shortest and the longest interval of the sweep; it is off if the
    first is 0, and the second counts only if it is longer. ``from_config``: targets are entries of the
    configuration. ``ignore_backoff``: a person named the accounts, so private, gone and unresolved ones are
    tried at once. ``covers``, ``avatars``: whether these are downloaded. ``repair``: fetch only this, even if
    more is due. ``list_only``: list trays, fetch nothing. ``privacy_check``: have the API check each account,
    which costs one more unit for each tray.
    """

    sweep_days: int = 30
    sweep_days_max: int = 180
    full: bool = False
    from_config: bool = True
    ignore_backoff: bool = False
    covers: bool = True
    avatars: bool = True
    repair: RepairScope | None = None
    list_only: bool = False
    privacy_check: bool = False

    @property
    def is_asked_for(self) -> bool:
        """Whether a person named the accounts."""
        return self.ignore_backoff


class RunOptions(SharedOptions, frozen=True):
    """The options of a run on one machine.

    ``rules``: the downloads that the settings of this machine allow. If None, refused files wait for the
    sweep.
    """

    rules: DownloadRules | None = None


class RunLimits(Struct, frozen=True):
    """How fast and how far a run may go.

    ``calls_per_second``: None for what the API account allows. ``downloads``: threads. ``units``: what may be
    spent.
    """

    calls_per_second: float | None = None
    downloads: int = 8
    units: Limits = field(default_factory=Limits)


class RunContext(Struct, frozen=True):
    """What all parts of a run in this process share.

    Of ``work``, ``clock``, ``stop`` and ``observe`` count. ``require_space`` is called before each target and
    each file, and raises DiskFull if the run must end.
    """

    run_id: int
    catalog: Catalog
    options: RunOptions
    tally: Tally
    work: Work
    require_space: Callable[[], None] = lambda: None

    def note(self, text: str) -> None:
        """Report a fact that is not a failure, in the log, the report and ``--json``."""
        self.tally.note(text)
        self.work.observe(Notice(text))

    def report_failure(self, failure: Failure, *, is_trouble: bool) -> None:
        """Count and report a failure whose row is committed.

        ``is_trouble``: the failure means that the run did not fully succeed.
        """
        self.tally.count_failure(failure, is_trouble=is_trouble)
        self.work.observe(FailureRecorded(failure))
