"""The real S3 servers that tests use, each with an empty bucket, and boto3: a second client for them.

Ceph RGW comes from the packages of Debian or Ubuntu. One monitor, one OSD that holds its data in memory, and
the gateway: ordinary processes, which need neither root nor systemd, listen on loopback only, and keep all
their files in one directory. An OSD is needed: RGW alone, with its ``dbstore``, reads back wrong bytes.
"""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from archiver.store.bucket_client import Bucket, TimeLimits
from tests.support.s3_server import (
    BUCKET,
    KEY_ID,
    SECRET,
    client_environment,
    no_proxy,
    rclone_server,
    s3_server,
)

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw")
"""Each is in a package of the same name."""

_LONGEST = 60
"""Seconds for one step of the start. All of them take 2 s, and a busy machine a few more."""

# The monitor has the gateway's port on another address, since both must be free. Ceph's own values for the
# two intervals make the start last 11 s; without tcp_nodelay a client reads 22 objects/s. What is deleted
# leaves the memory after a minute.
_CONFIGURATION = """
[global]
fsid = {cluster}
keyring = {directory}/keyring
mon host = v1:127.0.0.2:{port}
public addr = 127.0.0.2
cluster addr = 127.0.0.2
crash dir = {directory}
admin socket =
log to file = false
log to stderr = true
mon cluster log to file = false
mon data = {directory}/mon
mon data avail crit = 1
paxos propose interval = 0.1
objecter tick interval = 0.5
osd data = {directory}/osd
osd objectstore = memstore
memstore device bytes = 8G
osd pool default size = 1
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 64
rgw init timeout = 60
rgw gc obj min wait = 60
rgw gc processor period = 10
debug rgw = 0
debug rgw access = 0
"""


class CephRgw:
    """A running gateway at ``url``, which knows the access keys of ``s3_server``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = _free_port()
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start everything, and return once it answers. Raises RuntimeError with the ends of the logs."""
        cluster, osd, keys = str(uuid.uuid4()), str(uuid.uuid4()), self._directory / "keyring"
        for name in ("mon", "osd"):
            (self._directory / name).mkdir()
        text = _CONFIGURATION.format(cluster=cluster, directory=self._directory, port=self._port)
        (self._directory / "ceph.conf").write_text(text)
        make_key = ("ceph-authtool", str(keys), "--gen-key", "-n")
        monitors = str(self._directory / "monitors")
        address = f"[v1:127.0.0.2:{self._port}]"
        self._run("ceph-authtool", "-C", str(keys), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run(*make_key, "osd.0", "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")
        self._run(*make_key, "client.admin", "--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, monitors)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitors)
        self._start_daemon("ceph-mon", "-f", "-i", "a")
        self._run("ceph", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._start_daemon("ceph-osd", "-f", "-i", "0")
        self.add_user("archiver", KEY_ID, SECRET)
        self._start_daemon("radosgw", "-f", "-n", "client.admin")
        self._wait_for("the gateway", self._answers)

    def add_user(self, name: str, key_id: str, secret: str) -> None:
        """Create a user, who may create any number of buckets. Raises RuntimeError."""
        user = (f"--uid={name}", f"--display-name={name}", "--max-buckets=0")
        self._run(
            "radosgw-admin", "user", "create", *user, f"--access-key={key_id}", f"--secret-key={secret}"
        )

    def stop(self) -> None:
        """Kill the daemons: there is nothing to save."""
        for daemon in self._daemons:
            daemon.kill()
        for daemon in self._daemons:
            daemon.wait()

    def _run(self, *command: str) -> None:
        with self._spawn(command) as step:
            try:
                self._wait_for(command[0], lambda: step.poll() is not None)
            finally:
                step.kill()
        if step.returncode:
            raise self._failure(f"{command[0]} failed with code {step.returncode}")

    def _start_daemon(self, *command: str) -> None:
        self._daemons.append(self._spawn(command))

    def _spawn(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with (self._directory / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],  # whatever ends the tests ends it too
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",  # Debian's "osd class dir" is a relative path
                env={"PATH": os.environ["PATH"], "CEPH_CONF": str(self._directory / "ceph.conf")},
            )

    def _wait_for(self, name: str, is_done: Callable[[], bool]) -> None:
        given_up = time.monotonic() + _LONGEST
        while not is_done():
            if any(daemon.poll() is not None for daemon in self._daemons):
                raise self._failure(f"a daemon ended while {name} was starting")
            if time.monotonic() > given_up:
                raise self._failure(f"{name} was not ready after {_LONGEST} s")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(OSError), closing(http.client.HTTPConnection("127.0.0.1", self._port, 5)) as connection:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        return False

    def _failure(self, problem: str) -> RuntimeError:
        logs = [
            f"{log.name}: {log.read_text(errors='replace')[-500:]}" for log in self._directory.glob("*.log")
        ]
        return RuntimeError("\n".join([f"Ceph RGW: {problem}", *logs]))


def is_installed() -> bool:
    """Return whether all programs are there."""
    return all(shutil.which(program) for program in PROGRAMS)


@contextmanager
def ceph_rgw(directory: Path) -> Iterator[CephRgw]:
    """Yield a gateway without buckets, whose files are in this empty directory."""
    gateway = CephRgw(directory)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


def _free_port() -> int:
    """Return a port that is free on both addresses, below those that Linux gives to clients meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as gateway, socket.socket() as monitor:
            gateway.bind(("127.0.0.1", port))
            monitor.bind(("127.0.0.2", port))
            return port


LOCALBUCKET, RCLONE, RGW = "localbucket", "rclone", "rgw"

OTHER_STORES = tuple(pytest.param(kind, marks=pytest.mark.whole) for kind in (RCLONE, RGW))
"""Those of the long tests."""


@dataclass(frozen=True, slots=True)
class RealStore:
    """A running S3 server. ``kind``: which one. ``bucket_name``: its bucket, which is empty at first.

    ``client``: boto3's. ``objects``: the directory in which localbucket and rclone keep the objects of the
    bucket as files.
    """

    kind: str
    url: str
    client: Any
    bucket_name: str = BUCKET
    objects: Path | None = None

    def environment(self, **changed: str) -> dict[str, str]:
        """Return the variables that a client of this server needs."""
        return client_environment(self.url) | changed

    def place(self, prefix: str) -> str:
        """Return a location in the bucket, as ``archive.storage`` names it."""
        return f"s3://{self.bucket_name}/{prefix}"

    def bucket(self, prefix: str = "pre/fix", limits: TimeLimits | None = None, **changed: str) -> Bucket:
        """Open the part of the bucket below a prefix."""
        return Bucket.open(self.place(prefix), self.environment(**changed), limits=limits)

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
