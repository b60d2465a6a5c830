"""How the program is installed: from a checkout, as a wheel, and as an image."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.sandbox.standin import StandIn
from tests.support import ROOT
from tests.support.sample_archive import make_nightly, shelve
from tests.support.system_programs import require_program

_NAME = re.compile(r"(highlight[-_.])?archiver(\[[^\]]*\])?([=<>~!@].*)?", re.IGNORECASE)
_INSTALLER = re.compile(
    r"\b(?:pip[\d.]*|pipx|uv)(?:\s+-\S+)*\s+(?:(?:pip|tool)\s+)?"
    r"(?P<verb>install|download|wheel|upgrade|inject|run|add)\b(?P<rest>.*)"
    r"|\b(?P<uvx>uvx)\b(?P<tool>.*)"
    r"|\binstall_command\((?P<argument>.*)"
)


def asked_of_an_index(line: str) -> Iterator[str]:
    """Yield each name of ours that a line tells pip, pipx or uv to look for in a package index."""
    for found in _INSTALLER.finditer(line):
        rest = found["rest"] or found["tool"] or found["argument"] or ""
        words = re.findall(r"[^\s'\"`()|;&]+", re.split(r"\s#\s|&&|;", rest)[0])
        if found["uvx"] or found["verb"] == "run":  # runs a command of the named package; else of its own
            source = next(
                (words[at + 1] for at, w in enumerate(words[:-1]) if w in ("--from", "--spec")), None
            )
            words = [source] if source else [word for word in words if not word.startswith("-")][:1]
        elif found["verb"] == "inject":  # its first word is an environment that is there already
            words = words[1:]
        yield from (word for word in words if _NAME.fullmatch(word))


@pytest.mark.parametrize("name", ["archiver", "highlight-archiver", "Highlight_Archiver"])
@pytest.mark.parametrize(
    "line",
    [
        "pip install {}",
        "python3 -m pip install -U '{}[postgres]'",
        "needs: pip3 install --user {}>=0.1",
        "pipx install {}",
        "pipx inject other {}",
        "pipx run {} --help",
        "uv tool install --with apprise {}",
        "uv pip install {}",
        "uvx {}",
        "uvx --from {} something",
        'install_command("{}")',
    ],
)
def test_a_line_that_asks_an_index_is_seen(line: str, name: str) -> None:
    """Whichever installer it names, with extras, versions and options."""
    assert list(asked_of_an_index(line.format(name)))


@pytest.mark.parametrize(
    "line",
    [
        "pip install . && archiver demo",
        "pip install '.[postgres]'   # archiver uses it",
        "pip install dist/highlight_archiver-*.whl; archiver demo",
        "pipx inject highlight-archiver 'psycopg[binary]' apprise",
        "uvx --from . archiver demo",
        "pip uninstall archiver",
        "uv tool uninstall archiver",
    ],
)
def test_a_path_a_wheel_and_an_environment_are_no_index(line: str) -> None:
    """Nor is what is removed, or run afterwards."""
    assert not list(asked_of_an_index(line))


def test_fault_h42_no_line_asks_an_index_for_our_name() -> None:
    """In no file: the name is not registered, so pip would install the package of whoever registers it."""
    asking = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if list(asked_of_an_index(line))
    ]
    assert asking == []


def _files() -> Iterator[Path]:
    """Yield the files of the checkout that may hold text for a person."""
    for directory, names, files in os.walk(ROOT):
        names[:] = [
            n for n in names if n == ".ci" or (not n.startswith((".", "__")) and n not in ("dist", "build"))
        ]
        for path in (Path(directory, file) for file in files):
            if path.suffix not in (".jpg", ".mp4", ".webp", ".png", ".gz", ".json"):
                yield path


def test_the_metadata_names_no_address_that_does_not_exist() -> None:
    """The project has no public address yet, so the metadata has none."""
    assert "[project.urls]" not in (ROOT / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that what is built leaves nothing in this one."""
    copy = tmp_path_factory.mktemp("install") / "checkout"
    left_out = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "dist", "tests")
    return Path(shutil.copytree(ROOT, copy, symlinks=True, ignore=left_out))


@pytest.fixture(scope="module")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with Python, pip, pipx and uv, as a person has them in PATH."""
    place = tmp_path_factory.mktemp("installers")
    venv.create(place, with_pip=True, symlinks=True)
    subprocess.run([place / "bin" / "pip", "install", "-q", "pipx", "uv"], check=True)
    return place / "bin"


def install_blocks() -> list[str]:
    """Return the code blocks of docs/install.md that install something: one for each way."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if " install " in block]


def test_the_page_shows_each_way_to_install() -> None:
    """With pip, pipx and uv from a checkout, and from a wheel. README has the first of them."""
    assert install_blocks()[0] in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [[w for w in ("pip ", "pipx ", "uv ", "wheel ") if w in block] for block in install_blocks()] == [
        ["pip "],
        ["pipx "],
        ["uv "],
        ["pip ", "wheel "],
    ]


@pytest.mark.whole
@pytest.mark.parametrize("block", install_blocks(), ids=["pip", "pipx", "uv", "wheel"])
def test_the_lines_of_the_page_install_the_program(
    block: str, checkout: Path, installers: Path, tmp_path: Path
) -> None:
    """Each way, as printed and in a new home, brings a program that runs, and the optional packages.

    Then without Apprise: the command that the program prints installs it again.
    """
    environ = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "UV_", "HTTP"))
    }
    environ |= {"HOME": str(tmp_path), "PATH": f"{installers}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def shell(script: str) -> str:
        ended = subprocess.run(
            ["sh", "-euc", script], cwd=checkout, env=environ, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    shell(block)
    program = next(
        p for p in (tmp_path / "archiver-venv/bin/archiver", tmp_path / ".local/bin/archiver") if p.exists()
    )
    assert shell(f"{program} --version").startswith("archiver, version ")
    python = program.resolve().with_name("python")
    if "apprise" in block:
        shell(f"{python} -c 'import apprise, psycopg'")
        shell(f"uv pip uninstall --python {python} apprise")
    ask = "from archiver.errors import install_command as c; print(c('apprise'))"
    shell(shell(f"{shlex.quote(str(python))} -c {shlex.quote(ask)}"))
    shell(f"{python} -c 'import apprise'")


@pytest.mark.whole
def test_the_demo_installs_the_program_alone(checkout: Path, tmp_path: Path) -> None:
    """``scripts/demo`` takes less than 110 MB; ``scripts/test`` adds its tools, once."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environ["VIRTUAL_ENV"] = str(tmp_path / "venv")

    def script(*words: str) -> str:
        ended = subprocess.run(
            [checkout / "scripts" / words[0], *words[1:]],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    assert "Installing the program into" in script("demo")
    sizes = [path.lstat().st_size for path in (tmp_path / "venv").rglob("*")]
    assert sum(sizes) < 110_000_000
    assert "Installing the tools into" in script("test", "--version")
    assert "Installing" not in script("demo")
    assert "Installing" not in script("test", "--version")


_BUILD = """
import os, sys
from hatchling.build import build_wheel
os.chdir(sys.argv[1])
build_wheel(sys.argv[2])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    place = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-c", _BUILD, ROOT, place)
    (wheel,) = place.glob("highlight_archiver-*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    """The interpreter of a new environment with the wheel in it; what it depends on is lent by this one."""
    place = wheel.parent
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A path of another site is only added, its .pth files are not read: this checkout's editable install
    # stays out.
    (own / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return python


def run(*command: object) -> str:
    """Run from ``/`` with a clean environment; its standard output."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ARCHIVER_", "HIKERAPI_", "PYTHON"))}
    done = subprocess.run([str(part) for part in command], cwd="/", env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


_IMPORTS = """
import archiver, importlib, pkgutil
for module in pkgutil.walk_packages(archiver.__path__, "archiver."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import archiver.config as c
from archiver.catalog import schema
from archiver.pages import html_pages as pages
print(archiver.__file__, schema.migrations(), len(c.example()), sum(map(len, map(pages.asset, pages.ASSETS))))
assert "Story highlights" in pages.index_page([])
"""

_EXAMPLES = """
import doctest, os, sys
os.chdir(sys.argv[1])
sys.exit(doctest.testfile(sys.argv[2], module_relative=False).failed)
"""


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Modules, queries, templates, media and migrations, a man page for each command, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = {name for name in there if ".data/" in name}
    commands = re.findall("^## (.+)$", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)
    pages = {f"share/man/man1/{command.replace(' ', '-')}.1" for command in commands}
    assert {name.partition(".data/data/")[2] for name in data} == pages
    there -= data
    files = {path for top in ("archiver", "migrations") for path in (ROOT / top).rglob("*") if path.is_file()}
    names = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert there == {re.sub("^migrations/", "archiver/_migrations/", name) for name in names}


@pytest.mark.whole
def test_the_wheel_is_what_runs(python: Path, tmp_path: Path, sqlite_template: Path) -> None:
    """All modules, migrations, example configuration and the pages of a site come from the wheel, not from
    this checkout, and archive the demo.

    One test: a wheel for each of two workers takes as long as all else here.
    """
    page = python.parent.parent / "share" / "man" / "man1" / "archiver-run.1"
    assert r"archiver\-run" in page.read_text()
    where = run(python, "-c", _IMPORTS)
    package, migrations, length, assets = where.split()
    assert str(ROOT) not in where
    assert migrations == str(Path(package).parent / "_migrations")
    assert int(length) > 1000
    assert int(assets) > 1000
    demo = _archives_both_accounts(python, tmp_path)
    _describes_for_datasette(python, tmp_path, demo)
    _archives_them_again(python, demo)
    _reads_as_documented(python, tmp_path, sqlite_template)


_NIGHTS = (
    "select (select count(*) from highlights where completed_at is not null) as whole,"
    " (select count(*) from files) as files, units from runs order by id"
)


def _archives_both_accounts(python: Path, tmp_path: Path) -> Path:
    """Two nights. Returns the archive."""
    archiver, demo = python.with_name("archiver"), tmp_path / "demo"
    run(archiver, "demo", demo)
    nights = json.loads(run(archiver, "query", _NIGHTS, "--format", "json", "--archive", demo))
    assert [(night["whole"], night["units"]) for night in nights] == [(4, 8), (4, 2)]
    return demo


def _archives_them_again(python: Path, demo: Path) -> None:
    """A third night when it is called again: two units more, and nothing downloaded."""
    archiver = python.with_name("archiver")
    first = json.loads(run(archiver, "query", _NIGHTS, "--format", "json", "--archive", demo))
    run(archiver, "demo", demo)
    then = json.loads(run(archiver, "query", _NIGHTS, "--format", "json", "--archive", demo))
    assert then == [*first, {**first[0], "units": 2}]
    assert json.loads(run(archiver, "verify", "--read-data", "--json", "--archive", demo))["damaged"] == []


def _describes_for_datasette(python: Path, tmp_path: Path, archive: Path) -> None:
    """The words for Datasette are those of a page that the wheel brings along."""
    run(python.with_name("archiver"), "datasette", tmp_path / "web", "--archive", archive)
    told = json.loads((tmp_path / "web" / "metadata.json").read_text())
    (database,) = told["databases"].values()
    assert database["tables"]["users"]["columns"]["pk"] == "the identity of the account"
    assert (tmp_path / "web" / "plugins" / "archiver_media.py").stat().st_size > 1000


def _reads_as_documented(python: Path, tmp_path: Path, sqlite_template: Path) -> None:
    """The examples of docs/python.md."""
    archive = tmp_path / "archive"
    archive.mkdir()
    shelve(archive, Path(shutil.copy(sqlite_template, archive / "archive.db")))
    with StandIn() as upstream:
        make_nightly(tmp_path, upstream)
        run(python, "-c", _EXAMPLES, tmp_path, ROOT / "docs" / "python.md")


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
    """podman, with the image ``archiver``. No registry of images is asked, but a package index is."""
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


@pytest.mark.whole
def test_the_image_is_small_and_is_not_run_by_root(podman: Podman) -> None:
    """It has the program and what that needs, neither pip nor a compiler."""
    assert podman.size("archiver") < podman.size("localhost/base") + _BASE_MB
    assert podman.run("--rm", "archiver", "--version").startswith("archiver, version ")
    assert podman.run("--rm", "--entrypoint", "id", "archiver", "-u") == "10001\n"
    listed = podman.run("--rm", "--entrypoint", "ls", "archiver", "/opt/archiver/bin").split()
    assert [name for name in listed if name.startswith("pip")] == []


@pytest.mark.whole
def test_any_user_makes_an_archive_in_the_volume(podman: Podman) -> None:
    """It is private to that user, and there in the next container."""
    volume = ("--rm", "--user", "12345:12345", "-v", "demo:/var/lib/archiver")
    podman.run(*volume, "archiver", "demo", "/var/lib/archiver/archive")
    assert "items          36" in podman.run(*volume, "archiver", "status")
    mode = podman.run(*volume, "--entrypoint", "stat", "archiver", "-c", "%u %a", "/var/lib/archiver/archive")
    assert mode == "12345 700\n"


@pytest.mark.whole
def test_the_server_is_healthy(podman: Podman) -> None:
    """Without a command, the image serves the archive; it ends at once when it is stopped."""
    volume = ("--user", "12345:12345", "-v", "served:/var/lib/archiver")
    podman.run("--rm", *volume, "archiver", "demo", "/var/lib/archiver/archive")
    podman.run("-d", "--name", "served", *volume, "archiver")
    assert "salwaaa_ki" in podman("exec", "served", "python3", "-c", _PAGE)
    podman("healthcheck", "run", "served")
    podman("stop", "--time", "60", "served")
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "served").strip() in ("0", "143")
