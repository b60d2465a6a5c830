"""The errors. Each class has an exit code, and each error may have a hint: what to do next.

    ArchiverError                1   a bug: the archive is intact
    ├── UsageError               2   arguments, configuration or a query cannot be used
    │   ├── ConfigError
    │   ├── TargetError
    │   ├── NotHeld
    │   └── QueryRefused
    ├── KeyMissing               4   there is no API key, or it cannot be a key
    ├── KeyRejected              4   the API does not accept the key
    ├── OutOfUnits               5   the account at the API has no units left
    ├── BudgetReached            5   a call would exceed a limit of the configuration
    ├── UpstreamDown             7   the API cannot be used now
    ├── PayingEnded       4, 5 or 7  the run pays for nothing more, because of one of the four above
    ├── StorageError             8   the disk or the store cannot be used
    │   ├── DiskFull
    │   └── MarkerMismatch
    ├── DatabaseError            9   the database cannot be used
    │   ├── SchemaOld
    │   ├── SchemaNew
    │   ├── ArchiveTooOld
    │   ├── DatabaseForeign
    │   ├── JournalDiffers
    │   ├── JournalDamaged
    │   └── LeaseLost
    ├── NoArchive               10   there is no archive here
    ├── ArchiveLocked           11   another run holds the lock
    ├── ArchiveDamaged          12   rows or files are not what this program writes
    ├── StoppedBySignal    128 + N   a signal ended the program
    ├── CallFailed               7   an attempt at an API call got no answer; the runner decides what follows
    ├── AnswerMalformed          7   an answer is not what its endpoint promises
    └── DownloadFailed           7   an attempt at a download got no usable bytes

The last three never end a run: the runner records them and goes on. Outside a run, a failed call (for the
balance) means that the API is down. This module imports nothing from the
program.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable
from enum import StrEnum
from signal import Signals

_PATH_OR_KEY = re.compile(
    r"""(?P<directories>(?<![^\s'"(])/(?:[^\s/]+/)+)"""
    r"|(?<![A-Za-z0-9])(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{31,}(?![A-Za-z0-9])"
    r"|(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])"
)
_HIDDEN = "(hidden: it looks like a key)"


def hide_keys(text: str) -> str:
    """Return a text without what looks like an API key: it is longer than any username.

    For texts that quote a setting, a variable or a line of a file: a key may be there by mistake. The
    directories of an absolute path stay, as the name of a disk may look like a key.
    """
    return _PATH_OR_KEY.sub(lambda found: found["directories"] or _HIDDEN, text)


def hide_keys_of_words(text: str, words: Iterable[str]) -> str:
    """Return a text without what looks like an API key in these words of a command line.

    For texts that may have a hash too, which looks like a key. A word that is the path of a file stays.
    """
    for word in words:
        keys = [found[0] for found in _PATH_OR_KEY.finditer(word) if found["directories"] is None]
        if keys and not os.path.lexists(word):
            text = re.sub("|".join(map(re.escape, keys)), _HIDDEN, text, flags=re.IGNORECASE)
    return text


def install_command(package: str) -> str:
    """Return the shell command that installs a package into the environment of this program.

    A bare ``pip`` may belong to another environment. Environments of pipx and ``uv tool`` may have no pip.
    """
    from importlib.util import find_spec
    from pathlib import Path

    python, name = shlex.quote(sys.executable), shlex.quote(package)
    environment = Path(sys.prefix)
    if (environment / "pipx_metadata.json").exists():
        return f"pipx inject {shlex.quote(environment.name)} {name}"
    if find_spec("pip") is None:
        return f"uv pip install --python {python} {name}"
    return f"{python} -m pip install {name}"


class ArchiverError(Exception):
    """Base of all errors raised on purpose. ``str()`` says what happened, ``hint`` what to do (or '')."""

    exit_code = 1
    slug = "E_BUG"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ArchiverError):
    """Arguments, configuration or a query cannot be used."""

    exit_code = 2
    slug = "E_USAGE"


class ConfigError(UsageError):
    """The configuration names an unknown key, an impossible value, or a file that cannot be read.

    What looks like an API key is hidden in its text.
    """

    slug = "E_CONFIG"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(hide_keys(message), hide_keys(hint))


class TargetError(UsageError):
    """A text is not a target: a username, a user id, or a profile, highlight or share link."""

    slug = "E_TARGET"


class NotHeld(UsageError):
    """The archive has no such account, highlight or item."""

    slug = "E_NOT_HELD"


class QueryRefused(UsageError):
    """A query would write, or the database does not understand it."""

    slug = "E_QUERY"


class KeyMissing(ArchiverError):
    """There is no API key, or it cannot be a key. What looks like one is hidden in its text."""

    exit_code = 4
    slug = "E_KEY"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(hide_keys(message), hide_keys(hint))


class KeyRejected(ArchiverError):
    """The API does not accept the key, or refuses all calls with it."""

    exit_code = 4
    slug = "E_KEY_REJECTED"


class OutOfUnits(ArchiverError):
    """The account at the API has no units left."""

    exit_code = 5
    slug = "E_UNITS"


class BudgetReached(ArchiverError):
    """A call would exceed a limit of the configuration; it was not made."""

    exit_code = 5
    slug = "E_BUDGET"


class UpstreamDown(ArchiverError):
    """The API cannot be used now."""

    exit_code = 7
    slug = "E_UPSTREAM"


class PayingEnded(ArchiverError):
    """The run pays for nothing more. ``cause`` says why: code, word, text and hint are those of the cause."""

    def __init__(self, cause: ArchiverError) -> None:
        super().__init__(str(cause), cause.hint)
        self.cause = cause
        self.exit_code, self.slug = cause.exit_code, cause.slug


class StorageError(ArchiverError):
    """The disk or the store cannot be used."""

    exit_code = 8
    slug = "E_STORAGE"


class DiskFull(StorageError):
    """No space is left, or less than the reserve."""

    slug = "E_DISK_FULL"


class MarkerMismatch(StorageError):
    """The directory and the database belong to different archives."""

    slug = "E_MARKER"


class DatabaseError(ArchiverError):
    """The database cannot be opened, read or written."""

    exit_code = 9
    slug = "E_DATABASE"


class SchemaOld(DatabaseError):
    """The database was made by an older version and must be upgraded first."""

    slug = "E_SCHEMA_OLD"


class SchemaNew(DatabaseError):
    """The database was made by a newer version; this one must not touch it."""

    slug = "E_SCHEMA_NEW"


_LAST_UPGRADER = "22731ab190bd"
"""The last commit that upgrades archives of revisions before 0022. Not more digits: see ``hide_keys``."""


class ArchiveTooOld(DatabaseError):
    """The database, the journal or the marker is from before the first revision that this version knows."""

    slug = "E_TOO_OLD"

    def __init__(self, message: str, *, command: str = "db upgrade", or_else: str = "") -> None:
        """``command``: what to run with the commit that the hint names. ``or_else``: what else it names."""
        super().__init__(
            message,
            f"the last commit that upgrades it is {_LAST_UPGRADER}: install that, run archiver {command}, "
            f"then install this version again{or_else}",
        )


class DatabaseForeign(DatabaseError):
    """The file or database was not created by this program."""

    slug = "E_FOREIGN"


class JournalDiffers(DatabaseError):
    """The database is older than the journal of the archive, has more than it, or has another history."""

    slug = "E_JOURNAL_DIFFERS"


class JournalDamaged(DatabaseError):
    """A file of the journal is not what this program wrote."""

    slug = "E_JOURNAL_DAMAGED"


class LeaseLost(DatabaseError):
    """This process may no longer write for a shared run: its lease ended, and others do its work."""

    slug = "E_LEASE"


class NoArchive(ArchiverError):
    """There is no archive at this path."""

    exit_code = 10
    slug = "E_NO_ARCHIVE"


class ArchiveLocked(ArchiverError):
    """Another run holds the lock of this archive."""

    exit_code = 11
    slug = "E_LOCKED"


class ArchiveDamaged(ArchiverError):
    """Rows or files of the archive are not what this program writes: something else has changed them."""

    exit_code = 12
    slug = "E_DAMAGED"


class StoppedBySignal(ArchiverError):
    """A signal ended the program; everything recorded so far remains."""

    slug = "E_STOPPED"

    def __init__(self, signum: int, hint: str = "") -> None:
        super().__init__(f"stopped by {Signals(signum).name}", hint)
        self.signum = signum
        self.exit_code = 128 + signum


class CallFailed(ArchiverError):
    """An attempt at an API call got no answer.

    ``was_sent``: whether a byte of the request may have reached the API; then the call counts as charged.
    ``is_permanent``: whether another attempt in this run would be useless (a bad certificate) or charged
    again. ``status``: set if the head of an answer came but its body cannot be used; the call costs what that
    status costs.
    """

    exit_code = 7
    slug = "E_CALL"

    def __init__(
        self, message: str, *, was_sent: bool, is_permanent: bool = False, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        self.is_permanent = is_permanent
        self.status = status


class AnswerMalformed(ArchiverError):
    """An answer is not what its endpoint promises (no JSON, another user's tray, a missing key)."""

    exit_code = 7
    slug = "E_ANSWER"


class Reason(StrEnum):
    """Why something could not be fetched or downloaded: the values of ``failures.reason``."""

    EXPIRED = "expired"  # the signed URL has expired
    FORBIDDEN = "forbidden"  # the CDN answers 403 for another reason
    NOT_FOUND = "not_found"  # 404 or 410
    HTTP_STATUS = "http_status"  # any other status that is not a success
    NETWORK = "network"  # no connection, or one that broke
    TRUNCATED = "truncated"  # fewer bytes than promised, or an incomplete structure
    TOO_SLOW = "too_slow"  # under the minimum speed
    NOT_MEDIA = "not_media"  # the bytes are neither a picture nor a video
    WRONG_KIND = "wrong_kind"  # a picture instead of a video, or the reverse
    DIGEST = "digest"  # a checksum sent along does not match
    REDIRECT = "redirect"  # a redirect that must not be followed, or too many
    TOO_LARGE = "too_large"  # over max_file_size: a gap by the user's choice
    ENDLESS = "endless"  # no length stated and no end within max_file_size: not the user's choice
    REFUSED = "refused"  # the link is malformed or unsafe: a gap
    HOST_NOT_ALLOWED = "host_not_allowed"  # not in download.allowed_hosts: a failure until it is listed
    PRIVATE = "private"  # the account is private
    GONE = "gone"  # the account does not exist, or no longer exists
    EMPTY = "empty"  # the account is public and shows no highlights
    NAME_TAKEN = "name_taken"  # the name belongs to another account now
    UPSTREAM = "upstream"  # the API answered with an error
    MALFORMED = "malformed"  # an answer, or one item of it, cannot be read
    TOO_MANY = "too_many"  # a list of an item is longer than what is recorded: a gap
    UNSUPPORTED = "unsupported"  # a tray lists highlights of a kind that nothing fetches: a gap
    LOST = "lost"  # the bytes were stored, but are missing now


GAPS = frozenset({Reason.TOO_LARGE, Reason.REFUSED, Reason.TOO_MANY, Reason.UNSUPPORTED})
"""Reasons that are not failures: a limit set by the user or this program, or an unsafe link."""

NOT_RETRIED = GAPS | {Reason.HOST_NOT_ALLOWED}
"""Reasons that do not go away with time: such a failure has no ``next_try_at``.

A file that a setting refuses is due as soon as the setting allows it (``media.egress.DownloadRules``).
"""


class DownloadFailed(ArchiverError):
    """An attempt at a download got no usable bytes.

    ``is_retryable``: whether another attempt in this run may succeed. ``retry_after``: the seconds that the
    CDN asked to wait. ``host``: for HOST_NOT_ALLOWED. ``size``: the stated length in bytes, for TOO_LARGE.
    """

    exit_code = 7
    slug = "E_DOWNLOAD"

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        is_retryable: bool = False,
        retry_after: float | None = None,
        host: str | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_retryable = is_retryable
        self.retry_after = retry_after
        self.host = host
        self.size = size
