"""boto3, a second client, reads everything that an archive has in a bucket, as it is documented."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from warcio.archiveiterator import ArchiveIterator

from archiver.archive.archive import Archive
from archiver.store.bucket_client import SINGLE_PUT
from tests.support import ROOT
from tests.support.archive_harness import ArchiveHarness
from tests.support.real_stores import LOCALBUCKET, OTHER_STORES, RealStore, real_store
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNT = "account0000"
PREFIX = "one/archive/"


class ReadArchive(NamedTuple):
    """An archive in a store. ``harness`` is for its rows: its upstream is gone."""

    harness: ArchiveHarness
    store: RealStore


@pytest.fixture(scope="module", params=[LOCALBUCKET, *OTHER_STORES])
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadArchive]:
    """One after two nights and a repair, with a video of more than 16 MB. All tests read the same."""
    root = tmp_path_factory.mktemp("read")
    with real_store(request.param, root, lambda: request.getfixturevalue("ceph")) as store:
        with (
            FaultyStandIn(EditableWorld.generate(1, 1, 2, video_size=SINGLE_PUT + 1)) as upstream,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in store.environment().items():
                patch.setenv(name, value)
            harness = ArchiveHarness(root / "archive", upstream, storage=store.place(PREFIX))
            assert harness.night(ACCOUNT).exit_code == 0
            damaged = min(store.sizes(f"{PREFIX}blobs/"))
            store.write(damaged, bytes(store.sizes()[damaged]))
            with Archive(harness.config) as opened:
                assert opened.repair(read_data=True).verification.is_damaged
            assert harness.night(ACCOUNT, full=True).exit_code == 0
        yield ReadArchive(harness, store)


def documented_names() -> list[str]:
    """Return a pattern for each row of the table of docs/object-storage.md that says what is where."""
    page = (ROOT / "docs" / "object-storage.md").read_text("utf-8")
    _, _, table = page.partition("| in the bucket, below the prefix | |")
    names = re.findall(r"^\| `([^`]+)` \|", table.partition("\n\n")[0], re.MULTILINE)
    patterns = []
    for name in names:
        pattern = re.escape(name).replace("ab/<sha256>", r"(?P<start>[0-9a-f]{2})/(?P=start)[0-9a-f]{62}")
        pattern = pattern.replace("YYYY/MM", "[0-9]{4}/[0-9]{2}").replace("…", "[^/]+")
        patterns.append(pattern + ".+" if pattern.endswith("/") else pattern)
    return patterns


def test_it_finds_what_is_documented_and_nothing_else(archive: ReadArchive) -> None:
    """Each name is one of those in the table, each row of the table has a name, and no upload is open."""
    patterns = documented_names()
    assert len(patterns) == 5
    names = [name.removeprefix(PREFIX) for name in archive.store.sizes()]
    assert [name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in names)] == []
    if archive.store.kind != LOCALBUCKET:  # which cannot list them
        uploads = archive.store.client.list_multipart_uploads(Bucket=archive.store.bucket_name)
        assert "Uploads" not in uploads


def test_it_reads_all_blobs(archive: ReadArchive) -> None:
    """The bytes of each hash to its name, also of one that was uploaded in parts; all have rows."""
    blobs = archive.store.sizes(f"{PREFIX}blobs/")
    rows = archive.harness.rows("SELECT sha256, size FROM blobs")
    assert {name.rpartition("/")[2]: size for name, size in blobs.items()} == {
        str(sha256): size for sha256, size in rows
    }
    assert max(blobs.values()) > SINGLE_PUT
    contents = {name: archive.store.read(name) for name in blobs}
    assert [
        name for name, content in contents.items() if hashlib.sha256(content).hexdigest() != name[-64:]
    ] == []


def test_it_reads_all_answers(archive: ReadArchive) -> None:
    """They are whole gzip, and WARC with right digests; a body is the JSON that its row has the hash of."""
    names = archive.store.sizes(f"{PREFIX}answers/")
    rows = {
        f"{PREFIX}answers/{segment}": sha256
        for segment, sha256 in archive.harness.rows("SELECT segment, sha256 FROM answers")
    }
    assert set(names) == set(rows)
    for name in names:
        content, kinds = archive.store.read(name), []
        assert gzip.decompress(content)
        for record in ArchiveIterator(io.BytesIO(content), check_digests="raise"):
            kinds.append(record.rec_type)
            body = record.content_stream().read()
            if record.rec_type == "response":
                json.loads(body)
                assert hashlib.sha256(body).hexdigest() == rows[name]
        assert kinds == ["warcinfo", "response", "request"]


def test_it_reads_the_whole_journal(archive: ReadArchive) -> None:
    """Each object is whole gzip with a header and whole lines, whose numbers have no gaps."""
    marker = json.loads(archive.store.read(f"{PREFIX}archive.json"))
    seqs: list[int] = []
    for name in sorted(archive.store.sizes(f"{PREFIX}journal/")):
        text = gzip.decompress(archive.store.read(name))
        assert text.endswith(b"\n")
        header, *lines = map(json.loads, text.splitlines())
        assert (header["archive"], header["format"]) == (marker["id"], 1)
        assert int(name.rpartition("/")[2].partition("-")[0]) == lines[0]["seq"]
        seqs += [line["seq"] for line in lines]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > 10


def test_it_finds_no_key(archive: ReadArchive) -> None:
    """Neither the key of the API nor that of the store is in an object, packed or not."""
    keys = [archive.harness.upstream.key.encode(), archive.store.secret.encode()]
    for name in archive.store.sizes():
        content = archive.store.read(name)
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        assert [key for key in keys if key in content or key in plain] == [], name
