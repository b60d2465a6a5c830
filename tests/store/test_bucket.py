"""Objects of a bucket on a real S3 server: put whole, read, listed, and each fault in plain words."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Barrier
from typing import Any

import boto3
import pytest
from botocore.config import Config

from archiver.errors import ConfigError, DiskFull, StorageError
from archiver.model.values import replace
from archiver.store.bucket_client import PART, SINGLE_PUT, Bucket
from archiver.store.objects import ObjectMissing
from tests.support.s3_server import (
    BUCKET,
    QUICK,
    SECRET,
    Act,
    S3Server,
    answer,
    answer_listing,
    at,
    break_off,
    client_environment,
    describe,
    first,
    ignore_range,
    list_without_end,
    lose_answer,
    read_half_and_reset,
    refuse,
    reset,
    stall_until,
)
from tests.support.scripted_server import Connection, black_hole, scripted_server

LARGE = SINGLE_PUT + 1
TOKEN = "canary-session-token-000000000000000000"


@pytest.fixture
def bucket(server: S3Server) -> Bucket:
    return server.bucket()


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set at the end of the test, for what stalls."""
    event = threading.Event()
    yield event
    event.set()


def names(bucket: Bucket, directory: str = "", after: str = "") -> list[str]:
    return [found.name for found in bucket.list(directory, after)]


# --- what is stored


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000])
@pytest.mark.parametrize("as_file", [False, True])
def test_an_object_comes_back(server: S3Server, bucket: Bucket, content: bytes, as_file: bool) -> None:
    """Bytes and files come back equal in all ways of reading, under their name below the prefix."""
    bucket.put("a/b", io.BytesIO(content) if as_file else content)
    assert (server.objects / "pre/fix/a/b").read_bytes() == content
    assert bucket.read_range("a/b", 0, len(content)) == content
    with bucket.open_object("a/b") as file:
        assert file.read() == content
    found = bucket.head("a/b")
    assert found is not None
    assert (found.name, found.size) == ("a/b", len(content))
    assert found.etag == hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_a_second_client_reads_what_was_written(server: S3Server, bucket: Bucket) -> None:
    """boto3 finds the object under its name, with its size and bytes, and writes one that is read here."""
    bucket.put("one", b"1234")
    s3 = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id="another",
        aws_secret_access_key="another",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    listed = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [(entry["Key"], entry["Size"]) for entry in listed] == [("pre/fix/one", 4)]
    body = s3.get_object(Bucket=BUCKET, Key="pre/fix/one")["Body"]
    assert body.read() == b"1234"
    body.close()
    s3.put_object(Bucket=BUCKET, Key="pre/fix/two", Body=b"5678")
    assert bucket.read_range("two", 0, 4) == b"5678"
    s3.close()


def test_more_than_16_mb_are_uploaded_in_parts_with_checksums(server: S3Server, bucket: Bucket) -> None:
    """A large file is sent in parts of 8 MB, a smaller one at once; each body has its SHA-256 in a header."""
    content = os.urandom(LARGE)
    bucket.put("large", io.BytesIO(content))
    parts = [request for request in server.requests if "partNumber" in request.query]
    assert sorted(request.length for request in parts) == [1, PART, PART]
    assert all("x-amz-checksum-sha256" in request.headers for request in parts)
    assert (server.objects / "pre/fix/large").read_bytes() == content
    server.requests.clear()
    bucket.put("small", content[:SINGLE_PUT])
    assert [(r.method, r.length) for r in server.requests] == [("PUT", SINGLE_PUT)]
    assert "x-amz-checksum-sha256" in server.requests[0].headers


def test_an_object_is_deleted(server: S3Server, bucket: Bucket) -> None:
    """By one request, which every store knows; a missing one is no error. The message names the right."""
    bucket.put("a/b", b"x")
    server.calls()
    bucket.delete("a/b")
    bucket.delete("a/b")
    assert server.calls() == ["DELETE pre/fix/a/b"] * 2
    assert bucket.head("a/b") is None
    server.act = refuse(403, "AccessDenied")
    with pytest.raises(StorageError, match="cannot be deleted: the store does not allow it") as refused:
        bucket.delete("a/b")
    assert "DeleteObject" in refused.value.hint


@pytest.mark.parametrize("code", ["", "NoSuchBucket", "NoSuchKey"])
def test_fault_s10_an_object_that_is_listed_is_not_deleted(
    server: S3Server, bucket: Bucket, code: str
) -> None:
    """A gateway without its store answers 404 to a DELETE: ``forget`` must not believe that the object is
    gone. Nor if it answers so to everything.
    """
    bucket.put("a/b", b"x")
    refused = refuse(404, code)
    server.act = at("DELETE", "", refused)
    with pytest.raises(StorageError, match="cannot be deleted"):
        bucket.delete("a/b")
    server.act = refused
    with pytest.raises(StorageError):
        bucket.delete("a/b")
    server.act = None
    assert bucket.head("a/b") is not None


def test_an_object_is_put_only_if_absent(bucket: Bucket) -> None:
    """The first conditional put stores the object, a second one leaves it."""
    assert bucket.put_if_absent("x", b"first")
    assert not bucket.put_if_absent("x", b"second")
    assert bucket.read_range("x", 0, 10) == b"first"
    with pytest.raises(ValueError, match="16 MB"):
        bucket.put_if_absent("y", bytes(LARGE))


def test_of_many_conditional_puts_at_once_one_succeeds(bucket: Bucket) -> None:
    """Sixteen threads put sixteen objects under one name: one of them is stored."""
    barrier = Barrier(16)

    def put(number: int) -> bool:
        barrier.wait()
        return bucket.put_if_absent("x", b"%d" % number)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(put, range(16)))
    assert sum(results) == 1
    assert bucket.read_range("x", 0, 10) == b"%d" % results.index(True)


def test_an_object_that_is_not_there_has_no_size_and_no_bytes(bucket: Bucket, tmp_path: Path) -> None:
    """Whatever reads it says that it does not exist."""
    assert bucket.head("absent") is None
    assert not bucket.holds("absent", b"x")
    for read in (
        lambda: bucket.read_range("absent", 0, 1),
        lambda: bucket.download("absent", tmp_path),
        lambda: bucket.open_object("absent"),
        lambda: bucket.open_range("absent", 0, 1),
    ):
        with pytest.raises(
            ObjectMissing, match=r"s3://archive-bucket/pre/fix/absent cannot be read.*not exist"
        ):
            read()


@pytest.mark.parametrize("act", [None, ignore_range])
def test_a_range_is_read_as_far_as_the_object_goes(server: S3Server, bucket: Bucket, act: Act | None) -> None:
    """Also from a store that ignores the header Range, and over several pieces."""
    content = os.urandom(700_000)
    bucket.put("x", content)
    server.act = act
    for start in (0, 3, 300_000, 699_998, 700_000, 900_000):
        for length in (0, 1, 3, 300_000, 700_000):
            assert bucket.read_range("x", start, length) == content[start : start + length], (start, length)


@pytest.mark.parametrize("act", [None, ignore_range])
def test_an_open_object_can_be_positioned(server: S3Server, bucket: Bucket, act: Act | None) -> None:
    """Seeking gives the bytes from there on, and what lies beyond the end is empty."""
    server.act = act
    content = os.urandom(700_000)
    bucket.put("x", content)
    with bucket.open_object("x") as file:
        assert file.read(10) == content[:10]
        file.seek(600_000)
        assert (file.tell(), file.read(10)) == (600_000, content[600_000:600_010])
        file.seek(-5, os.SEEK_END)
        assert file.read() == content[-5:]
        file.seek(100)
        assert file.read() == content[100:]
        file.seek(1_000_000)
        assert file.read() == b""
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)


def test_an_open_range_ends_after_its_bytes(server: S3Server, bucket: Bucket) -> None:
    """Only they are asked for, in one request; after seeking too, nothing behind them is read."""
    content = os.urandom(700_000)
    bucket.put("x", content)
    server.requests.clear()
    with bucket.open_range("x", 100_000, 400_000) as file:
        assert file.tell() == 100_000
        assert file.read() == content[100_000:500_000]
        assert [request.headers["range"] for request in server.requests] == ["bytes=100000-499999"]
        file.seek(499_990)
        assert file.read() == content[499_990:500_000]
    with pytest.raises(StorageError):
        bucket.open_range("x", 700_000, 1)


def test_an_open_object_is_one_request(server: S3Server, bucket: Bucket) -> None:
    """Reading from beginning to end sends one request, whatever the pieces are."""
    content = os.urandom(3_000_000)
    bucket.put("x", content)
    server.calls()
    with bucket.open_object("x") as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == content
    assert server.calls() == ["GET pre/fix/x"]


def test_an_object_is_downloaded_by_one_request(server: S3Server, bucket: Bucket, tmp_path: Path) -> None:
    """It comes whole or not at all, into a file of the archive that has no name."""
    content = os.urandom(3_000_000)
    (tmp_path / "tmp").mkdir()
    assert bucket.put_pieces(
        "x", (content[at : at + 999_999] for at in range(0, 3_000_000, 999_999)), tmp_path
    )
    server.calls()
    file = bucket.download("x", tmp_path)
    assert file is not None
    with file:
        assert file.read() == content
    assert server.calls() == ["GET pre/fix/x"]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_names_come_in_ascending_order_with_their_sizes(bucket: Bucket) -> None:
    """All names below a directory are listed, over several pages, and no others."""
    wanted = sorted([*(f"d/{n:04}" for n in range(1005)), "d/zz-1", "d/zz.x", "d/zz/x", "d/zzz"])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: bucket.put(name, b"12"), [*wanted, "dd", "c", "e/f"]))
    found = list(bucket.list("d"))
    assert [each.name for each in found] == wanted
    assert {each.size for each in found} == {2}
    assert names(bucket, "d", after="d/0900") == [name for name in wanted if name > "d/0900"]
    assert names(bucket) == sorted([*wanted, "dd", "c", "e/f"])
    assert names(bucket, "empty") == []


def test_a_listing_out_of_order_is_refused(server: S3Server, bucket: Bucket) -> None:
    """A store that does not list in ascending order cannot be used, and says so."""
    server.act = answer_listing("b", "a")
    with pytest.raises(StorageError, match="ascending order"):
        list(bucket.list())


def test_a_name_that_is_listed_twice_is_one_object(server: S3Server, bucket: Bucket) -> None:
    """rclone does that, until it is restarted, if two requests put a new object at the same moment."""
    server.act = answer_listing("a", "b", "b", "c")
    assert names(bucket) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        ((), "sends no names, and no end"),
        (("a",), "ascending order"),
        (("a", "b"), "ascending order"),
    ],
)
def test_fault_k10_a_listing_that_repeats_a_page_ends(
    server: S3Server, listed: tuple[str, ...], problem: str
) -> None:
    """With no name, one, or several on the page; the requests would otherwise not end."""
    bucket = server.bucket(limits=QUICK if listed else replace(QUICK, short=0.2))
    server.act = answer_listing(*listed, has_more=True)
    with pytest.raises(StorageError, match=problem):
        list(bucket.list())
    server.act = None
    assert not listed or len(server.requests) < 150


def test_fault_k10_a_listing_of_other_names_without_end_ends(server: S3Server, bucket: Bucket) -> None:
    """The names ascend, but none is one of ours."""
    server.act = list_without_end("{:09}")
    with pytest.raises(StorageError, match="more than 100,000 objects that are not archiver's"):
        list(bucket.list())
    assert sum(1 for _ in islice(bucket.list(is_own=lambda name: name.endswith("7")), 110_000)) == 110_000


def test_fault_k10_a_listing_of_our_names_without_end_ends(server: S3Server, bucket: Bucket) -> None:
    """The caller says how many it can keep in memory."""
    server.act = list_without_end("blobs/00/{:064x}")
    with pytest.raises(StorageError, match="it has more than 5,000 objects"):
        list(bucket.list("blobs", is_own=lambda _: True, most=5000))
    assert len(server.requests) < 10


def test_fault_k20_a_store_that_lists_nothing_of_what_it_has_speaks_another_language(
    server: S3Server, bucket: Bucket
) -> None:
    """XML that is no listing is not an empty one. Without an archive, nothing is listed and that is so."""
    assert names(bucket, "journal") == []
    bucket.put("archive.json", b"{}")
    assert names(bucket, "journal") == []
    server.act = at("GET", "list-type", answer(200, b"<other/>"))
    with pytest.raises(StorageError, match="is there, and is not listed") as caught:
        names(bucket, "journal")
    assert "a store that understands S3" in caught.value.hint


def test_a_name_that_cannot_be_listed_is_reported(server: S3Server, bucket: Bucket) -> None:
    """A control character in a foreign name ends the listing with an error that says so."""
    bucket.put("d/x", b"1")
    (server.objects / "pre/fix/d/\x01").write_text("foreign")
    with pytest.raises(StorageError, match="invalid character"):
        list(bucket.list("d"))


def test_a_copy_has_the_same_bytes(bucket: Bucket) -> None:
    """A copy replaces what is under the new name; the original stays. An incomplete copy is an error."""
    bucket.put("x", b"new")
    bucket.put("y", b"old")
    bucket.copy("x", "y", 3)
    with pytest.raises(StorageError, match="is not complete"):
        bucket.copy("x", "y", 4)
    assert [bucket.read_range(name, 0, 3) for name in ("x", "y")] == [b"new", b"new"]


def test_the_checksum_of_parts_is_recognised(server: S3Server, bucket: Bucket) -> None:
    """Stores that make the ETag of a large object from its parts are understood; unknown ETags mean no."""
    content = os.urandom(LARGE)
    digests = [hashlib.md5(content[at : at + PART]).digest() for at in range(0, LARGE, PART)]
    etag = f"{hashlib.md5(b''.join(digests)).hexdigest()}-3"
    server.act = describe(LARGE, f'"{etag}"')
    assert bucket.holds("x", content)
    server.act = describe(LARGE, f'W/"{hashlib.md5(content).hexdigest()}"')
    assert bucket.holds("x", content)
    server.act = describe(LARGE, '"0123456789abcdef0123456789abcdef"')
    assert not bucket.holds("x", content)


def test_without_a_prefix_names_are_those_of_the_bucket(server: S3Server) -> None:
    """s3://bucket alone is a location."""
    bucket = server.bucket("")
    bucket.put("x", b"1")
    assert (server.objects / "x").exists()
    assert names(bucket) == ["x"]
    assert (bucket.location("x"), bucket.location("")) == (f"s3://{BUCKET}/x", f"s3://{BUCKET}")


# --- faults


@pytest.mark.parametrize(
    "act", [refuse(503, "SlowDown"), refuse(500, "InternalError"), reset, read_half_and_reset, lose_answer]
)
@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_a_passing_fault_is_survived(server: S3Server, bucket: Bucket, act: Act, large: bool) -> None:
    """A busy server, a broken connection, half an upload or a lost answer only repeat the request."""
    content = os.urandom(LARGE if large else 100_000)
    server.act = first(2, act, "PUT")
    bucket.put("x", content)
    assert (server.objects / "pre/fix/x").read_bytes() == content
    server.act = first(2, act, "GET")
    assert bucket.read_range("x", 0, LARGE) == content
    server.act = first(2, act, "GET")
    assert names(bucket) == ["x"]


@pytest.mark.parametrize("act", [reset, lose_answer, read_half_and_reset])
def test_a_conditional_put_whose_answer_is_lost_is_cleared_up(
    server: S3Server, bucket: Bucket, act: Act
) -> None:
    """If the answer is lost, the object is looked up: it holds these bytes, or it is put again."""
    server.act = first(1, act, "PUT")
    assert bucket.put_if_absent("x", b"mine")
    assert bucket.read_range("x", 0, 10) == b"mine"
    server.act = first(1, act, "PUT")
    assert not bucket.put_if_absent("x", b"other")
    assert bucket.read_range("x", 0, 10) == b"mine"


@pytest.mark.parametrize(
    ("act", "match", "hint"),
    [
        (refuse(403, "InvalidAccessKeyId"), "does not know the access key", "access keys"),
        (refuse(403, "SignatureDoesNotMatch"), "secret access key is wrong", "access keys"),
        (refuse(403, "RequestTimeTooSkewed"), "the clock of this machine is wrong", "set the clock"),
        (refuse(400, "ExpiredToken"), "session token has expired", "log in"),
        (refuse(403, "AccessDenied"), "does not allow it", "get, put and list"),
        (refuse(401, ""), "refuses the access key", "access keys"),
        (refuse(404, "NoSuchBucket"), "bucket does not exist", "create it"),
        (refuse(503, "SlowDown"), "too many requests", "concurrency"),
        (refuse(503, ""), "the store answered 503", "later"),
        (refuse(400, "AuthorizationHeaderMalformed"), "region is wrong", "AWS_REGION"),
        (refuse(301, "PermanentRedirect"), "another region", "AWS_REGION"),
        (reset, "cannot be reached", "network"),
    ],
)
def test_a_lasting_fault_is_reported_in_plain_words(
    server: S3Server, bucket: Bucket, act: Act, match: str, hint: str
) -> None:
    """The error has exit code 8, names the object, says what happened and what to do."""
    server.act = act
    for use in (
        lambda: bucket.put("x", b"1"),
        lambda: bucket.put_if_absent("x", b"1"),
        lambda: bucket.read_range("x", 0, 1),
        lambda: bucket.open_object("x"),
        lambda: bucket.copy("x", "y", 1),
    ):
        with pytest.raises(StorageError, match=match) as caught:
            use()
        assert caught.value.exit_code == 8
        assert f"s3://{BUCKET}/pre/fix/x cannot be" in str(caught.value)
        assert hint in caught.value.hint
    with pytest.raises(StorageError, match=match):
        list(bucket.list("x"))


def test_a_store_that_refuses_preconditions_can_be_used(server: S3Server, bucket: Bucket) -> None:
    """Backblaze B2 and Alibaba OSS answer 501: the object is looked for then, and the store asked no more."""
    not_implemented = refuse(501, "NotImplemented")
    server.act = lambda handler: "If-None-Match" in handler.headers and not_implemented(handler)
    assert bucket.put_if_absent("x", b"mine")
    server.calls()
    assert bucket.put_if_absent("x", b"mine")
    assert not bucket.put_if_absent("x", b"other")
    assert [call.partition(" ")[0] for call in server.calls()] == ["HEAD"] * 4
    assert bucket.put_if_absent("y", b"yours")
    assert (bucket.read_range("x", 0, 10), bucket.read_range("y", 0, 10)) == (b"mine", b"yours")
    server.act = not_implemented
    with pytest.raises(StorageError, match="y cannot be written: the store does not support"):
        bucket.put("y", b"other")


def test_a_conflict_of_a_plain_put_is_an_error(server: S3Server, bucket: Bucket) -> None:
    """A store that refuses to replace an object now has not stored it."""
    server.act = refuse(409, "OperationAborted")
    with pytest.raises(StorageError, match="409 OperationAborted"):
        bucket.put("x", b"1")


def test_fault_k9_a_redirect_to_another_host_is_not_followed(server: S3Server) -> None:
    """Neither the request nor the session token is sent there; the message says what the store did."""
    received: list[bytes] = []
    with scripted_server(lambda connection: received.append(connection.request())) as elsewhere:
        server.act = answer(307, Location=f"{elsewhere.url.replace('127.0.0.1', 'localhost')}/x")
        bucket = server.bucket(AWS_SESSION_TOKEN=TOKEN)
        for use in (lambda: bucket.head("x"), lambda: bucket.read_range("x", 0, 1), lambda: names(bucket)):
            with pytest.raises(StorageError, match="sends requests on to another host"):
                use()
        with pytest.raises(StorageError):
            bucket.put("x", b"1")
    assert received == []


def test_an_answer_that_is_not_of_s3_is_an_error(server: S3Server, bucket: Bucket) -> None:
    """A page where an answer of S3 was expected does not count as a stored object."""
    server.act = answer(200, b"<html>")
    for content in (b"1", bytes(LARGE)):
        with pytest.raises(StorageError, match="cannot be understood"):
            bucket.put("x", content)


def test_without_obstore_the_error_says_how_to_install_it(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the command that installs it into this environment."""
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigError, match="not installed") as caught:
        server.bucket()
    assert "install obstore" in caught.value.hint


@pytest.mark.parametrize("act", [refuse(507, ""), refuse(403, "QuotaExceeded")])
def test_a_full_store_is_a_full_disk(server: S3Server, bucket: Bucket, act: Act) -> None:
    """A store without space is DiskFull."""
    server.act = act
    with pytest.raises(DiskFull):
        bucket.put("x", b"1")


def test_an_upload_that_cannot_be_finished_leaves_no_object(server: S3Server, bucket: Bucket) -> None:
    """If a part is refused, or the end of the upload, there is no object, and the error says why."""

    def refuse_part(handler: Any) -> bool:
        return "partNumber=2" in handler.path and refuse(403, "AccessDenied")(handler)

    def refuse_to_drop_parts(handler: Any) -> bool:
        if handler.command == "DELETE":
            return refuse(403, "AccessDenied")(handler)
        return "partNumber=2" in handler.path and refuse(503, "SlowDown")(handler)

    def refuse_end(handler: Any) -> bool:  # S3 may begin its answer before it knows the end
        is_end = handler.command == "POST" and "uploadId" in handler.path
        return is_end and refuse(200, "InternalError")(handler)

    for act, match in (
        (refuse_part, "does not allow"),
        (refuse_to_drop_parts, "not allow to drop its parts"),
        (refuse_end, "InternalError"),
    ):
        server.act = act
        with pytest.raises(StorageError, match=match):
            bucket.put("large", bytes(LARGE))
        assert bucket.head("large") is None


def test_a_body_that_ends_too_early_is_asked_for_again_or_an_error(server: S3Server, bucket: Bucket) -> None:
    """The rest of a body is asked for; if the object has changed, or nothing comes, reading fails."""
    content = os.urandom(600_000)
    bucket.put("x", content)

    def half(etag: str) -> Act:
        sent = describe(600_000, f'"{etag}"', content[:300_000])
        return lambda handler: sent(handler) and break_off(handler)

    server.act = first(1, half(hashlib.md5(content).hexdigest()))
    with bucket.open_object("x") as file:
        assert file.read() == content
    server.act = first(1, half("another"))
    with pytest.raises(StorageError), bucket.open_object("x") as file:
        file.read()
    server.act = half(hashlib.md5(content).hexdigest())
    with pytest.raises(StorageError):
        bucket.read_range("x", 0, 600_000)


@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_a_store_that_does_not_answer_is_given_up(
    server: S3Server, bucket: Bucket, over: threading.Event, large: bool
) -> None:
    """A store that takes requests and does not answer is reported after the time limits."""
    server.act = stall_until(over)
    content, longest = (bytes(2 << 20), 10) if large else (b"1", 6)
    began = time.monotonic()
    with pytest.raises(StorageError, match="did not answer in time"):
        bucket.put("x", content)
    assert time.monotonic() - began < longest


@pytest.mark.whole
@pytest.mark.usefixtures("server")
def test_a_body_that_stalls_is_given_up(over: threading.Event) -> None:
    """A store that stops in the middle of a body is reported after the time limits."""

    def stall(connection: Connection) -> None:
        while connection.request():
            connection.sock.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: x\r\n"
                b"Last-Modified: Thu, 26 Nov 2026 16:00:00 GMT\r\n\r\n" + bytes(1000)
            )
            connection.over.wait(30)

    with scripted_server(stall) as server:
        bucket = Bucket.open(f"s3://{BUCKET}", client_environment(server.url), limits=QUICK)
        began = time.monotonic()
        with pytest.raises(StorageError), bucket.open_object("x") as file:
            file.read()
        assert time.monotonic() - began < 10


@pytest.mark.whole
def test_a_store_that_cannot_be_reached_is_reported(server: S3Server) -> None:
    """A refused connection, a host that swallows it, and a server without TLS are StorageErrors."""
    port = server.url.rpartition(":")[2]
    with black_hole() as hole:
        for url, match in (
            ("http://127.0.0.1:9", "connection was refused"),
            (f"http://127.0.0.1:{hole}", "did not answer in time"),
            (f"https://127.0.0.1:{port}", "does not use TLS"),
        ):
            bucket = Bucket.open(f"s3://{BUCKET}", client_environment(url), limits=QUICK)
            with pytest.raises(StorageError, match=match):
                bucket.put("x", b"1")


@pytest.mark.whole
def test_an_unavailable_store_is_reported_within_a_minute(server: S3Server, over: threading.Event) -> None:
    """With the usual limits, no small request takes a minute, however the store fails."""
    bucket = server.bucket(limits=None)
    for act in (stall_until(over), refuse(503, "SlowDown"), reset):
        server.act = act
        for use in (
            lambda: bucket.put("x", b"1"),
            lambda: bucket.read_range("x", 0, 1),
            lambda: names(bucket),
        ):
            began = time.monotonic()
            with pytest.raises(StorageError):
                use()
            assert time.monotonic() - began < 60
    with black_hole() as hole:
        for content in (b"1", bytes(2 << 20)):
            unreachable = Bucket.open(f"s3://{BUCKET}", client_environment(f"http://127.0.0.1:{hole}"))
            began = time.monotonic()
            with pytest.raises(StorageError):
                unreachable.put("x", content)
            assert time.monotonic() - began < 60


FORK = """
import os, sys
from archiver.store.bucket_client import Bucket
bucket = Bucket.open(sys.argv[1])
def put():
    try:
        bucket.put("x", b"1")
    except RuntimeError as exc:
        print(exc, flush=True)
for _ in range(2):
    if not os.fork():
        put()
        os._exit(0)
    os.wait()
    put()
"""


def test_a_process_that_cannot_send_requests_says_so(server: S3Server) -> None:
    """A fork before the first request can send some; one after it gets an error, and does not wait."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, f"s3://{BUCKET}"],
        env=os.environ | server.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stdout == "this process was forked from one that had sent requests to the store\n"
    assert server.calls() == ["PUT x"] * 3


# --- secrets


def whole_text(error: BaseException) -> str:
    """Return all that a traceback or a logger may print of an error and its causes."""
    texts = []
    current: BaseException | None = error
    while current is not None:
        texts += [str(current), repr(current), str(getattr(current, "hint", "")), repr(vars(current))]
        current = current.__cause__ or current.__context__
    return "\n".join(texts)


def test_no_secret_is_in_an_error_or_a_repr(server: S3Server) -> None:
    """Even if the store quotes the request, as AWS does, no error has the secret key or the session token."""
    bucket = server.bucket(AWS_SESSION_TOKEN=TOKEN)
    server.act = refuse(403, "SignatureDoesNotMatch", f"x-amz-security-token:{TOKEN} {SECRET}")
    uses: list[Callable[[], object]] = [
        lambda: bucket.put("x", b"1"),
        lambda: bucket.put_if_absent("x", b"1"),
        lambda: bucket.read_range("x", 0, 1),
        lambda: bucket.open_object("x"),
        lambda: names(bucket),
    ]
    texts = [repr(bucket), str(bucket), repr(bucket.settings)]
    for use in uses:
        with pytest.raises(StorageError) as caught:
            use()
        texts.append(whole_text(caught.value))
    assert not [text for text in texts if TOKEN in text or SECRET in text]
    assert server.requests[0].headers["x-amz-security-token"] == TOKEN  # it was really used


def test_the_metadata_service_is_asked_only_if_allowed(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without keys nothing is asked; with the permission, the service is asked for them."""
    asked: list[bytes] = []

    def note(connection: Connection) -> None:
        asked.append(connection.request())
        connection.answer(b"", status="404 Not Found")

    environment = {key: value for key, value in server.environment().items() if "KEY" not in key}
    with scripted_server(note) as service:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", service.url)
        with pytest.raises(StorageError, match="no access keys"):
            Bucket.open(f"s3://{BUCKET}", environment)
        assert asked == []
        bucket = Bucket.open(f"s3://{BUCKET}", environment, allow_metadata_service=True, limits=QUICK)
        with pytest.raises(StorageError):
            bucket.put("x", b"1")
    assert asked


@pytest.mark.parametrize(
    ("variables", "match", "hint"),
    [
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent", "AWS_ROLE_ARN": "arn:x"},
            "the file with the token cannot be read",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
        ),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/keys",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/dev/null",
            },
            "the connection was refused",
            "container's role",
        ),
        ({"AWS_METADATA_ENDPOINT": "http://127.0.0.1:1"}, "the connection was refused", "machine has a role"),
        ({"AWS_METADATA_ENDPOINT": "the store itself"}, "they are refused", "machine has a role"),
    ],
)
def test_a_login_that_fails_is_not_blamed_on_the_store(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], match: str, hint: str
) -> None:
    """Whoever gives the keys cannot be reached, or gives none: the store and the bucket are not the cause."""
    environment = {key: value for key, value in server.environment().items() if "KEY" not in key}
    for name, value in variables.items():
        monkeypatch.setenv(name, server.url if value == "the store itself" else value)
        environment[name] = value
    bucket = Bucket.open(f"s3://{BUCKET}/x", environment, allow_metadata_service=True, limits=QUICK)
    for use in (lambda: bucket.put("x", b"1"), lambda: bucket.read_range("x", 0, 1), lambda: names(bucket)):
        with pytest.raises(StorageError, match=f"there are no access keys for the store: {match}") as caught:
            use()
        assert hint in caught.value.hint


def test_keys_of_a_container_are_used(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The role of a container is asked for keys, which then sign the requests."""
    (tmp_path / "token").write_text("container-token")

    def answer(connection: Connection) -> None:
        if b"container-token" in connection.request():
            connection.answer(
                b'{"AccessKeyId": "AKIACONTAINER", "SecretAccessKey": "x", "Token": "t",'
                b' "Expiration": "2036-01-01T00:00:00Z"}'
            )

    with scripted_server(answer) as service:
        environment = {key: value for key, value in server.environment().items() if "KEY" not in key} | {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": service.url,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
        Bucket.open(f"s3://{BUCKET}", environment, limits=QUICK).put("x", b"1")
    assert "AKIACONTAINER" in server.requests[-1].headers["authorization"]
