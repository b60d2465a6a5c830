"""How the program is installed: by its path, under its own name, in lines that work as they are printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

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
