"""What is asked of the API, what comes back, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from archiver.model.identity import Digest, Pk
from archiver.model.upstream import TrayFacts


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API before it is made: its price is known (nominal units, charged if it is answered 200/400/403/404).

    ``subject`` is what it is about: a user pk, username or highlight pk; it stands in ``api_calls.subject``.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    subject: str
    units: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One API response as it came: bytes decoded from their content encoding, never parsed. Headers without cookies."""

    call: Call
    url: str  # as asked, without the key (the key travels in a header only)
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    started_at: datetime
    finished_at: datetime

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


class Meaning(StrEnum):
    """What an Answer means, by its status *and* its body."""

    OK = "ok"
    KEY_REJECTED = "key_rejected"
    OUT_OF_UNITS = "out_of_units"
    PRIVATE = "private"
    NOT_FOUND = "not_found"
    REFUSED = "refused"  # 403 without a known type: this target, or the key
    BLOCKED = "blocked"  # Cloudflare or another proxy in between answered, not the API
    RETIRED = "retired"  # 410: the endpoint is gone
    INVALID = "invalid"  # 400, 422: our request is at fault
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"  # 5xx and its relatives
    MALFORMED = "malformed"  # 200 that is not what was promised
    REDIRECTED = "redirected"  # 3xx: never followed with a key in hand


@dataclass(frozen=True, slots=True)
class Verdict:
    """An Answer read for its meaning. ``units`` is what it cost; ``detail`` a short clean text for people."""

    meaning: Meaning
    units: int
    detail: str = ""
    retry_after: float | None = None  # seconds, finite, as the answer asked


@dataclass(frozen=True, slots=True)
class AnswerLocation:
    """Where a kept Answer lies: a segment (path below ``answers/``), the offset and length of its gzip member, the body's SHA-256."""

    segment: str
    offset: int
    length: int
    sha256: Digest


@dataclass(frozen=True, slots=True)
class StoredPage:
    """The last good by/url Answer of a highlight: its row id, where it lies, and the tray facts under which it was asked for."""

    answer_id: int
    location: AnswerLocation
    facts: TrayFacts
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class DatedAnswer:
    """A kept Answer as its row tells of it: where it lies, and when its call ended. What it answers stands in the Answer itself."""

    answer_id: int
    location: AnswerLocation
    finished_at: datetime


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """The run that a segment of kept answers says it is of: the second in which it began, and the id that it had then."""

    started_at: datetime
    run_id: int


@dataclass(frozen=True, slots=True)
class UnrecordedAnswer:
    """A kept Answer that no row tells of, with all that its rows have to say. ``facts``: the tray's, under which it was asked for."""

    location: AnswerLocation
    call: Call
    status: int
    units: int
    facts: TrayFacts
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """The Budget: units that may be spent per run, per UTC day and per UTC calendar month; None is no limit."""

    per_run: int | None = None
    per_day: int | None = None
    per_month: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """What one limit of the Budget leaves: its name (``per_day``), its ``units``, and how many of them are
    ``left``."""

    limit: str
    units: int
    left: int


class CostsBy(StrEnum):
    """What the ledger is summed up by."""

    DAY = "day"  # of UTC
    ACCOUNT = "account"
    ENDPOINT = "endpoint"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Cost:
    """Units and attempts at paid calls. ``unknown_calls`` of them, with ``unknown_units``, were counted though nobody knows the answer.

    ``key`` is the day, the account's name, the path or the run's id; None for what belongs to no account that is known, and for a sum.
    """

    key: str | None
    units: int
    calls: int
    unknown_calls: int
    unknown_units: int
    user_pk: Pk | None = None


@dataclass(frozen=True, slots=True)
class RunCost:
    """What one run paid by the ledger, and the units that the API said were left before and after it (None: not said)."""

    run_id: int
    command: str
    started_at: datetime
    units: int
    balance_before: int | None
    balance_after: int | None

    @property
    def fall(self) -> int | None:
        """What the balance fell by; negative where it rose."""
        if self.balance_before is None or self.balance_after is None:
            return None
        return self.balance_before - self.balance_after

    @property
    def mismatch(self) -> int | None:
        """How many units more than those counted the balance fell by; None where that is not known."""
        return None if self.fall is None else self.fall - self.units
