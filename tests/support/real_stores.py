"""The real S3 servers that tests use, each with an empty bucket, and boto3: a second client for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from archiver.store.bucket_client import Bucket, TimeLimits
from tests.support.ceph_rgw import CephRgw
from tests.support.s3_server import (
    BUCKET,
    KEY_ID,
    SECRET,
    client_environment,
    no_proxy,
    rclone_server,
    s3_server,
)

LOCALBUCKET, RCLONE, RGW = "localbucket", "rclone", "rgw"

OTHER_STORES = tuple(pytest.param(kind, marks=pytest.mark.whole) for kind in (RCLONE, RGW))
"""Those of the long tests."""


@dataclass(frozen=True, slots=True)
class RealStore:
    """A running S3 server. ``kind``: which one. ``bucket_name``: its bucket, which is empty at first.

    ``client``: boto3's. ``key_id``, ``secret``: the access keys of both clients. ``objects``: the directory
    in which localbucket and rclone keep the objects of the bucket as files.
    """

    kind: str
    url: str
    client: Any
    bucket_name: str = BUCKET
    key_id: str = KEY_ID
    secret: str = SECRET
    objects: Path | None = None

    def environment(self, **changed: str) -> dict[str, str]:
        """Return the variables that a client of this server needs."""
        keys = {"AWS_ACCESS_KEY_ID": self.key_id, "AWS_SECRET_ACCESS_KEY": self.secret}
        return client_environment(self.url) | keys | changed

    def place(self, prefix: str) -> str:
        """Return a location in the bucket, as ``archive.storage`` names it."""
        return f"s3://{self.bucket_name}/{prefix}"

    def bucket(self, prefix: str = "pre/fix", limits: TimeLimits | None = None, **changed: str) -> Bucket:
        """Open the part of the bucket below a prefix."""
        return Bucket.open(self.place(prefix), self.environment(**changed), limits=limits)

    @contextmanager
    def as_user(self, key_id: str, secret: str) -> Iterator[RealStore]:
        """Yield the same bucket, for a user with other access keys."""
        with closing(_boto3_client(self.url, key_id, secret)) as client:
            yield replace(self, client=client, key_id=key_id, secret=secret)

    def read(self, name: str) -> bytes:
        """Return the bytes of an object, as boto3 reads them."""
        with closing(self.client.get_object(**self._object(name))["Body"]) as body:
            return bytes(body.read())

    def write(self, name: str, content: bytes) -> None:
        """Put an object by boto3."""
        self.client.put_object(**self._object(name), Body=content)

    def delete(self, name: str) -> None:
        """Delete an object by boto3."""
        self.client.delete_object(**self._object(name))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return all names with this prefix and their sizes, as boto3 lists them."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket_name, Prefix=prefix)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket_name, "Key": name}


@contextmanager
def real_store(kind: str, root: Path, find_ceph: Callable[[], CephRgw]) -> Iterator[RealStore]:
    """Yield a server of this kind. ``root``: a directory for its files. ``find_ceph``: returns a running one.

    rclone ignores If-None-Match, and cannot send a part of an object; the others can do both.
    """
    with ExitStack() as stack:
        if kind == RGW:
            stack.enter_context(no_proxy())
            url, bucket_name = find_ceph().url, f"{BUCKET}-{uuid.uuid4().hex[:8]}"
        elif kind == RCLONE:
            url, bucket_name = stack.enter_context(rclone_server(root / kind)), BUCKET
        else:
            url, bucket_name = stack.enter_context(s3_server(root / kind)).url, BUCKET
        client = stack.enter_context(closing(_boto3_client(url, KEY_ID, SECRET)))
        if kind == RGW:
            client.create_bucket(Bucket=bucket_name)
        yield RealStore(
            kind, url, client, bucket_name, objects=None if kind == RGW else root / kind / bucket_name
        )


def _boto3_client(url: str, key_id: str, secret: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
