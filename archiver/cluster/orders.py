"""What the processes of a shared run tell each other, as text in the database. It contains no keys."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from archiver.errors import ArchiverError
from archiver.model.api_calls import Limits
from archiver.model.target import Target
from archiver.runner.context import SharedOptions
from archiver.runner.tally import TallyState

T = TypeVar("T")


class Orders(Struct, frozen=True):
    """What a run tells its workers: its options and its limits, so that all work by the same."""

    options: SharedOptions
    units: Limits


class ReportedError(Struct, frozen=True):
    """An error that ended the work of a worker, or all paid calls of the run."""

    exit_code: int
    slug: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: BaseException) -> ReportedError:
        """Return what others are told of an error."""
        if isinstance(error, ArchiverError):
            return cls(error.exit_code, error.slug, str(error), error.hint)
        return cls(ArchiverError.exit_code, ArchiverError.slug, f"a bug: {error!r}", "")

    def to_error(self, worker: str) -> ArchiverError:
        """Return the error, as one of the run. ``worker``: who reports it."""
        error = ArchiverError(f"{self.message} (worker {worker})", self.hint)
        error.exit_code, error.slug = self.exit_code, self.slug
        return error


class WorkerReport(Struct, frozen=True):
    """What one worker has done for a run. ``error``: what ended its work early, if anything."""

    worker: str
    tally: TallyState
    error: ReportedError | None = None


def encode(value: Orders | WorkerReport | Target) -> str:
    """Return a value as text for the database."""
    return msgspec.json.encode(value).decode()


def decode(text: str, kind: type[T]) -> T:
    """Return a value of this kind from its text."""
    return msgspec.json.decode(text, type=kind)
