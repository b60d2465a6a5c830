"""What was paid, read from the ledger; and what the API's own balance says to that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from archiver.model.identity import Pk


class By(StrEnum):
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
