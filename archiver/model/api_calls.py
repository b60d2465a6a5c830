"""Calls to the API, their answers, and what they cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from archiver.model.identity import Digest, Pk
from archiver.model.upstream import TrayNumbers
from archiver.model.values import repr_without

RECENT_NIGHTS = timedelta(days=30)
"""How far back the runs are that say what a night costs."""


class Call(Struct, frozen=True):
    """A request to the API. ``units`` is its nominal price, charged for the statuses 200, 400, 403 and 404.

    ``subject``, as in ``api_calls.subject``: a user pk, a username or a highlight pk.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    subject: str
    units: int


class Answer(Struct, frozen=True):
    """A response of the API before anything parses it.

    ``headers`` has no cookies. ``body`` is decoded: it has no content encoding.
    """

    call: Call
    url: str  # without the key, which is only in a header
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    started_at: datetime
    finished_at: datetime

    def __repr__(self) -> str:
        return repr_without(self, "body")

    def header(self, name: str) -> str | None:
        """Return the first header with this name, ignoring case; None if there is none."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


class Meaning(StrEnum):
    """The meaning of an Answer, by its status *and* its body."""

    OK = "ok"
    KEY_REJECTED = "key_rejected"
    OUT_OF_UNITS = "out_of_units"
    PRIVATE = "private"
    NOT_FOUND = "not_found"
    REFUSED = "refused"  # 403 without a known type: the target or the key is refused
    BLOCKED = "blocked"  # not from the API, but from Cloudflare or another proxy
    RETIRED = "retired"  # 410: the endpoint no longer exists
    INVALID = "invalid"  # 400, 422: the request is wrong
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"  # 5xx and similar
    MALFORMED = "malformed"  # 200, but not what the endpoint promises
    REDIRECTED = "redirected"  # 3xx: never followed, as the request holds the key


class CallOutcome(Struct, frozen=True):
    """The meaning of an Answer. ``units`` is what it cost; ``detail`` is a short printable message."""

    meaning: Meaning
    units: int
    detail: str = ""
    retry_after: float | None = None  # seconds, finite, as the answer states


class AnswerLocation(Struct, frozen=True):
    """Where an Answer is stored: a segment (path below ``answers/``), offset and length of its gzip member.

    ``sha256`` is that of the body.
    """

    segment: str
    offset: int
    length: int
    sha256: Digest


class StoredPage(Struct, frozen=True):
    """The last good Answer that shows a highlight.

    ``numbers``: the numbers of the tray when the Answer was fetched. ``run_id``: the run that paid for it.
    """

    answer_id: int
    location: AnswerLocation
    numbers: TrayNumbers
    finished_at: datetime
    run_id: int


class DatedAnswer(Struct, frozen=True):
    """A row of ``answers``: where the Answer is, which run paid for it, and when its call ended."""

    run_id: int
    answer_id: int
    location: AnswerLocation
    finished_at: datetime


class Origin(Struct, frozen=True, order=True):
    """The run named in a segment's file name: its start, in whole seconds, and the id that it had then."""

    started_at: datetime
    run_id: int


class UnrecordedAnswer(Struct, frozen=True):
    """A stored Answer that has no row, with the values for that row.

    ``numbers``: the numbers of the last tray before the Answer.
    """

    location: AnswerLocation
    call: Call
    status: int
    units: int
    numbers: TrayNumbers
    started_at: datetime
    finished_at: datetime


class Limits(Struct, frozen=True):
    """The budget: units that may be spent per run, UTC day and UTC calendar month; None means no limit.

    ``is_flag``: the limit per run is the command's ``--max-units``.
    """

    per_run: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    is_flag: bool = False


class BudgetLeft(Struct, frozen=True):
    """What is left of one limit of the budget. ``limit`` is its name (``per_day``), ``units`` its size.

    ``is_flag``: it is the command's ``--max-units``.
    """

    limit: str
    units: int
    left: int
    is_flag: bool = False

    @property
    def name(self) -> str:
        """The flag or the setting, with its value, for messages."""
        return (
            f"--max-units {self.units}" if self.is_flag else f"budget.max_units_{self.limit} = {self.units:,}"
        )


class CostsBy(StrEnum):
    """What costs are grouped by."""

    DAY = "day"  # UTC
    MONTH = "month"  # UTC
    ACCOUNT = "account"
    ENDPOINT = "endpoint"
    RUN = "run"


class Cost(Struct, frozen=True):
    """What attempts at paid calls cost.

    Of the ``calls``, ``unknown_calls`` got no answer; they count as ``unknown_units``. ``key`` is the day,
    the account's name, the path or the run's id. It is None for a total and for calls that belong to no known
    account.
    """

    key: str | None
    units: int
    calls: int
    unknown_calls: int
    unknown_units: int
    user_pk: Pk | None = None


class RunCost(Struct, frozen=True):
    """The units of a run in the ledger, and the balance of the API before and after it.

    A balance is None if the API did not state it. ``early_units``: the units of the calls that had begun when
    it stated the first one, which may include them already. They are 0 if that makes no difference.
    """

    run_id: int
    command: str
    started_at: datetime
    units: int
    balance_before: int | None
    balance_after: int | None
    early_units: int = 0

    @property
    def balance_drop(self) -> int | None:
        """By how much the balance fell; negative if it rose."""
        if self.balance_before is None or self.balance_after is None:
            return None
        return self.balance_before - self.balance_after

    @property
    def mismatch(self) -> int | None:
        """How much more the balance fell than the ledger counted (negative: less); None if unknown."""
        if self.balance_drop is None:
            return None
        difference = self.balance_drop - self.units
        return 0 if -self.early_units <= difference <= 0 else difference


class CostReport(Struct, frozen=True):
    """Sums of the ledger: ``rows`` has one for each key, ``runs`` has the API's balance of each run."""

    by: CostsBy
    since: datetime | None
    rows: tuple[Cost, ...]
    runs: tuple[RunCost, ...]

    @property
    def total(self) -> Cost:
        """Return the sum of all rows."""
        rows = self.rows
        return Cost(
            None,
            sum(row.units for row in rows),
            sum(row.calls for row in rows),
            sum(row.unknown_calls for row in rows),
            sum(row.unknown_units for row in rows),
        )


def units_per_night(runs: Iterable[tuple[datetime, int]], now: datetime) -> int | None:
    """Return the median number of units per UTC day with a run, over the last 30 days, rounded up.

    ``runs``: the start and the units of each run. None if there were none. The median is
    hardly affected by a first night or one with ``--full``, which cost far more.
    """
    days: Counter[date] = Counter()
    for started_at, units in runs:
        if now - RECENT_NIGHTS <= started_at <= now:
            days[started_at.astimezone(UTC).date()] += units
    if not days:
        return None
    from statistics import median  # slow, and a run does not forecast

    return math.ceil(median(days.values()))


def nights_left(units: int, per_night: int | None) -> int | None:
    """Return how many whole nights these units last; None if the rate is unknown or 0."""
    return max(0, units) // per_night if per_night else None
