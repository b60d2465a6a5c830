"""What the client of a bucket says when a request fails, as errors with a hint. Pure: text in, error out."""

from __future__ import annotations

import re

from archiver.errors import DiskFull, StorageError
from archiver.store.bucket_settings import BucketSettings

DELETED = "deleted"
"""What was to be done, in the error of an object that cannot be deleted."""

NOWHERE = "0.0.0.0:0"
"""The proxy for all hosts but those of the store. No connection to it can be made.

The client follows redirects, with the session token in a header, and has no option against it.
"""

_KEYS_HINT = "check the access keys, and that they belong to this store"
LATER_HINT = "run again later; if it stays, ask whoever operates the store"
_REGION_HINT = "check AWS_REGION and AWS_ENDPOINT_URL"

_CODES = {
    "RequestTimeTooSkewed": ("the clock of this machine is wrong, says the store", "set the clock"),
    "InvalidAccessKeyId": ("the store does not know the access key", _KEYS_HINT),
    "SignatureDoesNotMatch": ("the secret access key is wrong", _KEYS_HINT),
    "InvalidToken": ("the session token is not valid", "log in again"),
    "ExpiredToken": ("the session token has expired", "log in again"),
    "NoSuchBucket": ("the bucket does not exist", "create it, or correct its name"),
    "NoSuchKey": ("it does not exist", ""),
    "SlowDown": ("the store receives too many requests", "lower download.concurrency, or run again later"),
    "AuthorizationHeaderMalformed": ("the region is wrong", _REGION_HINT),
    "PermanentRedirect": ("the bucket is in another region", _REGION_HINT),
}
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity"})
_STATUSES = {
    "401": ("the store refuses the access key", _KEYS_HINT),
    "403": (
        "the store does not allow it",
        "check the access keys; they need the rights to get, put and list objects",
    ),
    "404": ("it does not exist", ""),
    "429": _CODES["SlowDown"],
}
_CONNECTION = (  # the first text that the error contains decides
    (NOWHERE, "it sends requests on to another host"),
    ("ConnectionRefused", "the connection was refused"),
    ("dns error", "the name of its host cannot be resolved"),
    ("ertificate", "its certificate is not valid"),
    ("InvalidContentType", "it does not use TLS at this port"),
    ("TimedOut", "it did not answer in time"),
    ("Timeout", "it did not answer in time"),
    ("kind: Connect", "no connection can be made"),
)
_LOGINS = (  # the first option that the settings have decides
    ("web_identity_token_file", "check AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN and the network"),
    ("container_credentials_full_uri", "check AWS_CONTAINER_CREDENTIALS_FULL_URI and the container's role"),
    ("container_credentials_relative_uri", "check the container's role"),
)
_METADATA_HINT = "check that this machine has a role; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class NoAnswer(StorageError):
    """No answer came: the store may have done what was asked, or not."""


class NotUnderstood(StorageError):
    """The store refuses a request because it does not know a header, or the request."""


def bucket_error(problem: str, text: str, settings: BucketSettings) -> StorageError:
    """Return the error for ``text``, which obstore says; it may have a session token, and is never quoted.

    ``problem``: what cannot be done, as in "s3://bucket/name cannot be read".
    """
    return _login_error(problem, text, settings) or _storage_error(problem, text)


def _login_error(problem: str, text: str, settings: BucketSettings) -> StorageError | None:
    """Return the error if what obstore says is about the service or file that gives the keys, else None."""
    if "access_key_id" in settings.login:
        return None
    url = _first(r"Error performing [A-Z]+ (\S+)", text)  # a request to the store names the bucket
    if "token file" not in text and (not url or settings.location.bucket in url):
        return None
    reason = _connection_problem(text) if "HttpError" in text else "they are refused"
    if "token file" in text:
        reason = "the file with the token cannot be read"
    hint = next((hint for option, hint in _LOGINS if option in settings.login), _METADATA_HINT)
    return StorageError(f"{problem}: there are no access keys for the store: {reason}", hint)


def _storage_error(problem: str, text: str) -> StorageError:
    """Return the error for what obstore says. ``text`` may contain a session token and is never quoted."""
    code = _first(r"<Code>(\w+)</Code>", text)
    status = _first(r"status code: (\d{3})", text)
    if code in _FULL or status == "507":
        return DiskFull(f"{problem}: the store is full", "free space in the store, or raise its quota")
    if status == "403" and problem.endswith(f"cannot be {DELETED}"):
        return StorageError(
            f"{problem}: the store does not allow it",
            "give the access keys the right DeleteObject, which only the command forget needs, and run again",
        )
    if status == "403" and "performing DELETE" in text:  # hides why the upload failed
        return StorageError(
            f"{problem}: the upload failed, and the store does not allow to drop its parts",
            "give the access keys the right AbortMultipartUpload to see the cause, and run again",
        )
    if known := _CODES.get(code) or _STATUSES.get(status):
        return StorageError(f"{problem}: {known[0]}", known[1])
    if "invalid path" in text:
        return StorageError(
            f"{problem}: a name contains an invalid character", "find it with another program"
        )
    if "redirect without LOCATION" in text:
        return StorageError(f"{problem}: {_CODES['PermanentRedirect'][0]}", _REGION_HINT)
    if code == "NotImplemented" or status == "501":
        return NotUnderstood(
            f"{problem}: the store does not support such a request", "use another kind of store"
        )
    if code or status:
        return StorageError(f"{problem}: the store answered {' '.join((status, code)).strip()}", LATER_HINT)
    if "HttpError" not in text and "reqwest" not in text:
        return StorageError(
            f"{problem}: the answer of the store cannot be understood",
            "check the endpoint: is it a store that understands S3?",
        )
    return NoAnswer(
        f"{problem}: the store cannot be reached: {_connection_problem(text)}",
        "check the network and the store",
    )


def _connection_problem(text: str) -> str:
    return next((reason for mark, reason in _CONNECTION if mark in text), "the connection broke")


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
