"""One account some of whose files the CDN serves with faults."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from archiver.media.direct_transport import Dialer, resolve
from archiver.media.downloader import Downloader
from archiver.sandbox import item_factory, media_files
from archiver.sandbox.http_server import HttpReply, LoggedRequest
from archiver.sandbox.world_objects import Role, SandboxAccount, SandboxItem
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyExchange, FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

SIZE = 60_000
"""Bytes of every file that meets a fault: enough to be cut, reset and stalled in its middle."""

Owned = tuple[str, str]
"""A pk and a role."""

ACCOUNT = "ward"
_PER_HIGHLIGHT = 8
_INWARD = {"inside.fbcdn.net": ("157.240.27.63", "10.0.0.1"), "metadata.fbcdn.net": ("169.254.169.254",)}


def cut_body(exchange: FaultyExchange) -> None:
    """The body without its last 700 bytes, under a length that fits, then the end: HTTP calls it complete."""
    body = exchange.begin({"content-length": str(SIZE - 700)})
    exchange.connection.send(body[: SIZE - 700])
    exchange.connection.close()


def redirect_to_itself(exchange: FaultyExchange) -> None:
    """A redirect, by a relative place, to the very URL that was asked for."""
    path, query = exchange.request.path, exchange.request.query
    exchange.deliver(HttpReply(302, b"moved", {"location": f"{path[path.rindex('/') + 1 :]}?{query}"}))


def offering(urls: Mapping[str, str]) -> Action:
    """Return an action: the true page, with other URLs for the pictures of some items."""

    def act(exchange: FaultyExchange) -> None:
        page = json.loads(exchange.reply().body)
        for item in page["items"]:
            item["thumbnail_url"] = urls.get(str(item["pk"]), item["thumbnail_url"])
        exchange.deliver(replace(exchange.reply(), body=json.dumps(page).encode()))

    return act


@contextmanager
def short_waits(patience: float = 5.0) -> Iterator[None]:
    """Downloads wait so many seconds for a silent or slow server, and try again at once.

    Two names of the CDN mean this network.

    A test that counts requests must not be hasty: on a busy machine a server of this process is silent for a
    second.
    """
    dialer = Dialer(timeout=5, resolver=lambda host, port: _INWARD.get(host) or resolve(host, port))
    hastily = partial(Downloader, timeout=patience, speed_window=patience, dialer=dialer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archiver.retry.backoff", lambda attempt, random, base=1.0: 0.0)
        patch.setattr("archiver.media.speed_limits.SLICE", 0.2)
        patch.setattr("archiver.archive.nightly_run.Downloader", hastily)
        yield


class CdnAccount:
    """An archive with one account, and its items by the name of what their files meet; a name with "video" in
    it is that of a video.
    """

    def __init__(self, root: Path, upstream: FaultyStandIn, database: str | None = None) -> None:
        self.harness = ArchiveHarness(root, upstream, database)
        self.harness.environ |= {
            "ARCHIVER_DOWNLOAD_ALLOWED_HOSTS": "127.0.0.1,*.fbcdn.net",
            "ARCHIVER_DOWNLOAD_MAX_FILE_SIZE": "1 MB",
            "ARCHIVER_DOWNLOAD_MIN_SPEED": "20 kB",
        }
        self.upstream = upstream
        self.items: dict[str, SandboxItem] = {}
        self.highlights: list[str] = []
        upstream.world = EditableWorld()
        upstream.world.add_account(SandboxAccount("900", ACCOUNT, "Ward", item_factory.avatar("900")))
        upstream.world.add_highlight(ACCOUNT, "Well", items=4)

    def item(self, name: str) -> SandboxItem:
        """The item of that name, made at its first mention; every eight share a highlight with four items
        that nothing befalls.
        """
        if name not in self.items:
            if len(self.items) % _PER_HIGHLIGHT == 0:
                self.highlights.append(self.upstream.world.add_highlight(ACCOUNT, name, items=4).pk)
            kind: item_factory.Kind = "video" if role(name) == "video" else "photo"
            self.items[name] = self.upstream.world.add_item(self.highlights[-1], kind)
            file = self.items[name].file(role(name))
            assert file is not None
            file.size = SIZE
        return self.items[name]

    def meets(self, name: str, *each: Action | None, count: int | None = 1) -> None:
        """The file of that name meets these actions, one after another, ``count`` times each (None: the first
        for ever).
        """
        for action in each:
            self.upstream.faults.add(
                action, listener="cdn", item=self.owner(name)[0], role=role(name), count=count
            )

    def body(self, name: str) -> bytes:
        """Return the bytes that the file of that name has now."""
        file = self.item(name).file(role(name))
        assert file is not None
        return media_files.body(file)

    def owner(self, name: str) -> Owned:
        """Return whose file it is, and its role."""
        return self.item(name).pk, role(name)

    def offered(self) -> set[Owned]:
        """Return every file that the account offers."""
        account = self.upstream.world.account(ACCOUNT)
        items = [item for highlight in account.highlights for item in highlight.items]
        return {
            (account.pk, "avatar"),
            *((highlight.pk, "cover") for highlight in account.highlights),
            *((item.pk, "thumbnail") for item in items),
            *((item.pk, "video") for item in items if item.video is not None),
        }

    def kept(self) -> set[Owned]:
        """Return every file that has a row."""
        found = self.harness.rows("select coalesce(item_pk, highlight_pk, user_pk), role from files")
        assert len(found) == len(set(found))
        return {(str(pk), str(role)) for pk, role in found}

    def failures(self) -> set[Owned]:
        """Return every file that has an open failure."""
        found = self.harness.rows("select subject_pk, role from failures where resolved_at is null")
        assert len(found) == len(set(found))
        return {(str(pk), str(role)) for pk, role in found}

    def blobs(self) -> set[str]:
        """Return the blobs that the catalog names."""
        return {str(sha256) for (sha256,) in self.harness.rows("select sha256 from files")}

    def night(self) -> int:
        """Run once over the account, and return the exit code."""
        return self.harness.night(ACCOUNT).exit_code

    def asked(self, name: str) -> list[LoggedRequest]:
        """Return the requests to the CDN for this file in the last run."""
        item, asked_as = self.owner(name)
        return self.upstream.requests.cdn_requests(item=item, role=asked_as)

    def failed(self, name: str) -> str | None:
        """Return the reason of the file's open failure, or None."""
        found = self.harness.rows(
            "select reason from failures where subject = 'item' and subject_pk = ? and role = ?"
            " and resolved_at is null",
            *self.owner(name),
        )
        assert len(found) <= 1
        return str(found[0][0]) if found else None

    def held(self, name: str) -> list[bytes]:
        """The bytes of every File of that name: read from the store, and equal to the name that they stand
        under.
        """
        found = self.harness.rows(
            "select sha256 from files where item_pk = ? and role = ?", *self.owner(name)
        )
        return [blob(self.harness.root, str(sha256)) for (sha256,) in found]


def role(name: str) -> Role:
    """Return the role of the file of that name."""
    return "video" if "video" in name else "thumbnail"


def blob(root: Path, sha256: str) -> bytes:
    """Return the bytes of a blob, after a check that they have its name."""
    data = (root / "blobs" / sha256[:2] / sha256).read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    return data


def check_store(root: Path) -> set[str]:
    """Return the names of all blobs, after a check that each is correct and that nothing else is in the store
    or ``tmp``.
    """
    files = [path for path in (root / "blobs").rglob("*") if not path.is_dir()]
    for path in files:
        assert path.parent.name == path.name[:2]
        blob(root, path.name)
    assert list((root / "tmp").iterdir()) == []
    return {path.name for path in files}
