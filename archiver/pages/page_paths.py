"""Where pages and media are, relative to the first page. The export and the server use the same paths."""

from __future__ import annotations

import re

from archiver.media_types import extension_for
from archiver.model.archived import KeptAccount, KeptFile


def account_directory(account: KeptAccount) -> str:
    """Return the directory of an account's pages: its name, in characters that a URL can have, and its pk."""
    name = re.sub(r"[^a-z0-9._-]+", "_", (account.username or "").lower()).strip("._-")[:60]
    return f"accounts/{name or 'account'}-{account.pk}"


def media_path(file: KeptFile) -> str:
    """Return the path of a file: its digest and type, and nothing that a stranger chose."""
    digest = file.blob.sha256
    return f"media/{digest[:2]}/{digest}.{extension_for(file.blob.mime)}"
