"""config.example.toml agrees with the code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver import config
from archiver.config.sections import KEYS, SECTIONS
from tests.support import config_loading
from tests.support.config_loading import load, value_of, write_config_file

home = config_loading.home  # an autouse fixture
file = config_loading.file


def example_keys() -> Iterator[tuple[str, str]]:
    """Yield every key that is commented out in a section of the example, with its TOML value."""
    section = ""
    for line in config.example().splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif line == "# [[accounts]]":
            return
        elif pair := re.fullmatch(r"# (\w+) = (.+)", line):
            yield f"{section}.{pair[1]}", pair[2]


def test_the_example_holds_every_key_once() -> None:
    """config.example.toml explains every key of the configuration once, in its section, and no other."""
    assert sorted(key for key, _ in example_keys()) == sorted(KEYS)


@pytest.mark.parametrize(("key", "text"), list(example_keys()))
def test_the_example_shows_the_defaults(file: Path, key: str, text: str) -> None:
    """A value in the example is the default; a key without a default has an example that works."""
    section, _, name = key.partition(".")
    write_config_file(file.parent / "accounts.txt", "nasa")
    found = load(file, f"{key} = {text}")
    default = getattr(SECTIONS[section](), name)
    if default is None:
        assert value_of(found, key) is not None
        block = next(block for block in config.example().split("\n\n") if f"# {name} = " in block)
        assert "None by default" in block
    else:
        assert value_of(found, key) == value_of(load(file, ""), key)


def test_the_example_loads(file: Path) -> None:
    """The example is a configuration of defaults without an account, and its commented accounts work too."""
    found = load(file, config.example())
    assert found.accounts == ()
    assert found.warnings == ()
    assert (found.download, found.api) == (config.DownloadSection(), config.ApiSection())
    head, mark, tail = config.example().partition("# [[accounts]]")
    entries = "\n".join(re.findall(r"^# (\[\[accounts\]\]|\w+ = .+)$", mark + tail, re.MULTILINE))
    assert len(load(file, f"{head}\n{entries}").accounts) == 3


def test_there_is_one_example() -> None:
    """The example at the top of the checkout is the one that `archiver init` writes."""
    top = Path(__file__).parents[2] / "config.example.toml"
    assert top.read_text(encoding="utf-8") == config.example()
    assert "accounts" not in tomllib.loads(config.example())
