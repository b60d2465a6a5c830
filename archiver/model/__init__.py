"""The language of the program as values: frozen, slotted, checked where they are made. Imports only the errors.

All datetimes are aware and UTC. A ``pk`` is a string of digits: some exceed 2**63. Units are what HikerAPI bills.
"""

from __future__ import annotations

from archiver.model.held import (
    Blob,
    Failure,
    File,
    HeldBlob,
    HeldHighlight,
    HeldUser,
    Owner,
    Rows,
    Run,
    Status,
)
from archiver.model.identity import Digest, Pk, Role, Subject, Target, is_pk, utcnow
from archiver.model.paid import Answer, Call, KeptAnswer, Limits, Meaning, PaidHighlight, Verdict
from archiver.model.upstream import (
    Balance,
    Hashtag,
    Highlight,
    HighlightPage,
    Item,
    Link,
    Location,
    Mention,
    Rejected,
    Reshare,
    Sponsor,
    Sticker,
    Tray,
    TrayFacts,
    User,
    WebLink,
)

__all__ = [
    "Answer",
    "Balance",
    "Blob",
    "Call",
    "Digest",
    "Failure",
    "File",
    "Hashtag",
    "HeldBlob",
    "HeldHighlight",
    "HeldUser",
    "Highlight",
    "HighlightPage",
    "Item",
    "KeptAnswer",
    "Limits",
    "Link",
    "Location",
    "Meaning",
    "Mention",
    "Owner",
    "PaidHighlight",
    "Pk",
    "Rejected",
    "Reshare",
    "Role",
    "Rows",
    "Run",
    "Sponsor",
    "Status",
    "Sticker",
    "Subject",
    "Target",
    "Tray",
    "TrayFacts",
    "User",
    "Verdict",
    "WebLink",
    "is_pk",
    "utcnow",
]
