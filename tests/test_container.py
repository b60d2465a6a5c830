"""The image of contrib/Containerfile, built by podman on a base of Debian's packages, and run.

Needs root and a package index. No registry of images is asked.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.system_programs import require_program

pytestmark = pytest.mark.whole

# In a mount namespace of its own, where the cgroups are those of version 2: crun refuses a mixture.
_PODMAN = """
mount --make-rprivate /
umount -l /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec podman "$@"
"""
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")  # those of podman may exceed ours
_BASE_MB = 130  # what the image may add to its base

_PAGE = """
import time
from urllib.request import urlopen
for _ in range(100):
    try:
        print(urlopen("http://127.0.0.1:8000/").read().decode())
        break
    except OSError:
        time.sleep(0.1)
"""


class Podman:
    """podman with a store of its own."""

    def __init__(self, place: Path) -> None:
        self._store = ("--root", str(place / "store"), "--runroot", str(place / "run"))

    def __call__(self, *words: str) -> str:
        """Return what a command prints. It must succeed."""
        command = ["unshare", "--mount", "--cgroup", "sh", "-c", _PODMAN, "podman", *self._store, *words]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def run(self, *words: str) -> str:
        """Run a container without a network."""
        return self("run", *_LIMITS, "--cgroups", "disabled", "--network", "none", "--read-only", *words)

    def size(self, image: str) -> int:
        """Return the size of an image in MB."""
        return int(self("image", "inspect", "--format", "{{.Size}}", image)) // 10**6


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """podman, with the image ``archiver``."""
    if os.geteuid() != 0:
        pytest.skip("podman is run by root here")
    for program in ("podman", "mmdebstrap"):
        require_program(program, program)
    place = tmp_path_factory.mktemp("podman")
    base = place / "base.tar"
    packages = "--include=python3-venv,ca-certificates"
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    make = ["mmdebstrap", "-q", "--variant=minbase", packages, release, str(base)]
    subprocess.run(make, check=True, timeout=900)
    podman = Podman(place)
    podman("import", str(base), "localhost/base")
    base.unlink()
    podman(
        *("build", "--format", "docker", "--isolation", "chroot", "--network", "host", *_LIMITS),
        *("-v", f"{os.environ.get('SSL_CERT_FILE', _CERTIFICATES)}:{_CERTIFICATES}:ro"),
        *("--build-arg", "BASE=localhost/base", "-f", "contrib/Containerfile", "-t", "archiver", "."),
    )
    yield podman
    podman("rm", "--all", "--force", "--time", "0")
    shutil.rmtree(place, ignore_errors=True)


def test_the_image_is_small_and_is_not_run_by_root(podman: Podman) -> None:
    """It has the program and what that needs, neither pip nor a compiler."""
    assert podman.size("archiver") < podman.size("localhost/base") + _BASE_MB
    assert podman.run("--rm", "archiver", "--version").startswith("archiver, version ")
    assert podman.run("--rm", "--entrypoint", "id", "archiver", "-u") == "10001\n"
    listed = podman.run("--rm", "--entrypoint", "ls", "archiver", "/opt/archiver/bin").split()
    assert [name for name in listed if name.startswith("pip")] == []


def test_any_user_makes_an_archive_in_the_volume(podman: Podman) -> None:
    """It is private to that user, and there in the next container."""
    volume = ("--rm", "--user", "12345:12345", "-v", "demo:/var/lib/archiver")
    podman.run(*volume, "archiver", "demo", "/var/lib/archiver/archive")
    assert "items          36" in podman.run(*volume, "archiver", "status")
    mode = podman.run(*volume, "--entrypoint", "stat", "archiver", "-c", "%u %a", "/var/lib/archiver/archive")
    assert mode == "12345 700\n"


def test_the_server_is_healthy(podman: Podman) -> None:
    """Without a command, the image serves the archive; it ends at once when it is stopped."""
    volume = ("--user", "12345:12345", "-v", "served:/var/lib/archiver")
    podman.run("--rm", *volume, "archiver", "demo", "/var/lib/archiver/archive")
    podman.run("-d", "--name", "served", *volume, "archiver")
    assert "salwaaa_ki" in podman("exec", "served", "python3", "-c", _PAGE)
    podman("healthcheck", "run", "served")
    podman("stop", "--time", "60", "served")
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "served").strip() in ("0", "143")
